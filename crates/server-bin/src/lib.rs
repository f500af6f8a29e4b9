//! `backup-server`: a self-hosted backup server. One port, one data directory.
//!
//! [`run`] is the program. [`Server`] is a running server, for programs and tests that want one within themselves.
//!
//! **How it is wired.** [`Server`] opens the data directory (store, keys, TLS identity), listens, and gives every connection
//! to HTTP. `GET /api/v1/connect` turns a connection into a stream of frames; from there a task per connection drives
//! `proto::ServerExchange`. What a session writes is done by a thread of its own, in order: records of a managed vault are
//! opened and checked, deltas rebuilt and made anew, and all of it is put into packs. What only reads is done by a small
//! pool. A local socket takes an administrator's orders while the server runs.
//!
//! **What holds.**
//! - Nothing is acknowledged before the store has made it durable.
//! - In a managed vault nothing is stored whose ids were not recomputed from its content.
//! - No connection waits for another's client: each has its own queue, bounded in bytes.
//! - Before authentication a connection gets one deadline, small frames, and no memory to speak of.
//! - Secrets are compared in constant time, kept only as keyed hashes, and never logged; neither are names of files.

mod address_key;
mod admin;
pub mod args;
mod basis;
mod clock;
mod config;
mod connect;
mod failure;
mod gate;
mod home;
mod host_port;
mod housekeeping;
mod http;
mod identity;
mod ingest;
mod keys;
mod limits;
mod listen;
mod log;
mod metered;
mod metrics;
mod options;
mod pool;
mod private_files;
mod serve;
mod service;
mod session;
mod throttle;
mod units;
mod validity;
mod vaults;
mod websocket;

pub use config::Settings;
pub use failure::{Failure, FailureKind};
pub use host_port::{HostPort, HostPortError};
pub use options::{LogFormat, LogLevel, MetricsAccess, Options};
pub use serve::Server;
pub use units::{ByteCount, Span, UnitError};

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{Order, command};
use crate::args::{AccountCommand, Arguments, Command, DeviceCommand, Enroll, Serve, Status};

/// Threads of the runtime for work that blocks: those of the pool, and some for the runtime itself.
const BLOCKING_THREADS: usize = 8;

/// Runs the program with these arguments, the program's own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Also for --help and --version, which are no errors.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = io::stderr().write_all(failure.report().as_bytes());
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

fn dispatch(said: Command) -> Result<(), Failure> {
    let (place, order) = match said {
        Command::Serve(said) => return serve(*said),
        Command::Enroll(Enroll { place, device, account, address, plain }) => {
            (place, Order::Enroll { account, device, address, plain })
        }
        Command::Status(Status { place }) => (place, Order::Status),
        Command::Account(AccountCommand::Add { name, place }) => (place, Order::AddAccount { name }),
        Command::Account(AccountCommand::List { place }) => (place, Order::ListAccounts),
        Command::Device(DeviceCommand::List { account, place }) => (place, Order::ListDevices { account }),
        Command::Device(DeviceCommand::Revoke { device, place }) => (place, Order::RevokeDevice { device }),
    };
    command::run(place, &order, &mut print)
}

fn serve(said: Serve) -> Result<(), Failure> {
    let settings = Settings::resolve(said.options, said.config.as_deref())?;
    log::start(settings.log_level, settings.log_format);
    limits::set();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::new(FailureKind::Internal, "cannot start threads").because(&error))?;
    let served = runtime.block_on(serve_until_told(settings));
    // Threads that are still at work have had their time.
    runtime.shutdown_background();
    served
}

async fn serve_until_told(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let server = tokio::select! {
        server = Server::start(settings) => server?,
        () = signals.next() => return Ok(()),
    };
    print(&format!("listening on {}", server.url()));
    tokio::select! {
        () = signals.next() => {}
        () = server.failed() => {}
    }
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        stopped = server.stop() => stopped,
        () = signals.next() => Ok(()),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| Failure::new(FailureKind::Internal, "cannot catch signals").because(&error))
        };
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A line of standard output. Nobody to read it is no reason to stop.
fn print(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
