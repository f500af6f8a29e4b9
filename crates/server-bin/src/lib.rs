//! `backup-server`: a self-hosted backup server. One port, one data directory.
//!
//! [`main`] is the program. [`Server`] is a running server, for programs and tests that want one within themselves.
//!
//! **How it is wired.** [`Server`] opens the data directory (store, keys, TLS identity), listens, and gives every connection
//! to HTTP. `GET /api/v1/connect` turns a connection into a stream of frames; from there a task per connection drives
//! `proto::ServerExchange`. What a session writes is done by a thread of its own, in order: records of a managed vault are
//! opened and checked, deltas rebuilt and made anew, and all of it is put into packs. What only reads is done by a small
//! pool. Under `/api/v1` the drive is served to any HTTP client: an upload has a thread of its own too, and a download is read
//! chunk by chunk on the pool. A local socket takes an administrator's orders while the server runs.
//!
//! **What holds.**
//! - Nothing is acknowledged before the store has made it durable.
//! - In a managed vault nothing is stored whose ids were not recomputed from its content.
//! - No connection waits for another's client: each has its own queue, bounded in bytes.
//! - Before authentication a connection gets one deadline, small frames, and no memory to speak of.
//! - Secrets are compared in constant time, kept only as keyed hashes, and never logged; neither are names of files.

mod access;
mod address_key;
mod admin;
mod arenas;
pub mod args;
mod audit;
mod base_path;
mod basis;
mod browse;
mod catalog_backup;
mod clock;
mod collect;
mod config;
mod connect;
mod dav;
mod digests;
mod drive;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod home;
mod host_port;
mod hosts;
mod housekeeping;
mod http;
mod identity;
mod ingest;
mod jobs;
mod keeper;
mod keys;
mod lan;
mod limits;
mod listen;
mod live;
mod log;
mod login;
mod metered;
mod metrics;
mod mirror;
mod options;
mod pool;
mod porter;
mod private_files;
mod proxies;
mod qr;
mod release;
mod reseal;
mod rest;
mod retention;
mod scrub;
mod serve;
mod service;
mod session;
mod slots;
mod supervisor;
mod throttle;
mod thumbnail;
mod units;
mod validity;
mod vault_keys;
mod vaults;
mod websocket;

pub use config::Settings;
pub use drive::{Facts, FoundKind, NameFilter, NameIndex, NameQuery, Whereabouts};
pub use failure::{Failure, FailureKind};
pub use host_port::{HostPort, HostPortError};
pub use mirror::{MirrorSetting, MirrorSettingError};
pub use options::{LogFormat, LogLevel, MetricsAccess, Options, PermanentDelete};
pub use serve::Server;
pub use units::{ByteCount, Span, UnitError};

use std::env;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::shares::ShareOrder;
use crate::admin::{Order, VerifyScope, command};
use crate::args::{
    AccountCommand, Arguments, Audit, CatalogCommand, Command, ConfigCommand, DeviceCommand, Doctor, Enroll, Gc,
    KeyCommand, Place, Reindex, Repair, RetentionCommand, Serve, SettingsCommand, ShareCommand, Status, TokenCommand,
    Verify,
};
use crate::mirror::{MirrorRequest, MirrorSource};

/// Threads of the runtime for work that blocks: those of the pool, and some for the runtime itself.
const BLOCKING_THREADS: usize = 8;

/// The program, with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|command| command == "serve") {
        arenas::limit();
    }
    let matches = Arguments::command().try_get_matches_from(env::args_os());
    let parsed = matches.and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    let (arguments, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Also for --help and --version, which are no errors.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match dispatch(arguments.command, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = io::stderr().write_all(failure.report().as_bytes());
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

fn dispatch(said: Command, matches: &ArgMatches) -> Result<(), Failure> {
    let (place, order) = match said {
        Command::Serve(said) => return serve(*said),
        Command::Enroll(Enroll { place, device, account, scope, address, plain }) => {
            (place, Order::Enroll { account, device, scope, address, plain })
        }
        Command::Status(Status { place }) => (place, Order::Status),
        Command::Doctor(Doctor { place }) => return admin::doctor::run(place, &mut print),
        Command::Gc(Gc { place, now, grace, dry_run }) => {
            let grace_ms = grace.map(|grace| u64::try_from(grace.0.as_millis()).unwrap_or(u64::MAX));
            (place, Order::CollectGarbage { now, grace_ms, dry_run })
        }
        Command::Account(AccountCommand::Add { name, role, place }) => (place, Order::AddAccount { name, role }),
        Command::Account(AccountCommand::List { place }) => (place, Order::ListAccounts),
        Command::Account(AccountCommand::Role { name, role, place }) => (place, Order::SetRole { account: name, role }),
        Command::Account(AccountCommand::Disable { name, place }) => {
            (place, Order::SetDisabled { account: name, is_disabled: true })
        }
        Command::Account(AccountCommand::Enable { name, place }) => {
            (place, Order::SetDisabled { account: name, is_disabled: false })
        }
        Command::Account(AccountCommand::Quota { name, bytes, place }) => {
            (place, Order::SetQuota { account: name, quota_bytes: bytes.0.map(|bytes| bytes.0) })
        }
        Command::Account(AccountCommand::SetupLink { name, place }) => (place, Order::MakeSetupLink { account: name }),
        Command::Account(AccountCommand::TotpReset { name, place }) => {
            (place, Order::RemoveSecondFactor { account: name })
        }
        Command::Audit(Audit { place, event, account, limit }) => (place, Order::ShowAudit { event, account, limit }),
        Command::Account(AccountCommand::Password { name, stdin, place }) => {
            return command::set_password(place, name, stdin, &mut print);
        }
        Command::Token(TokenCommand::Add { name, account, scope, expires_in, place }) => {
            let expires_in_ms = expires_in.map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX));
            (place, Order::AddToken { account, name, scope, expires_in_ms })
        }
        Command::Token(TokenCommand::List { account, place }) => (place, Order::ListTokens { account }),
        Command::Token(TokenCommand::Revoke { token, place }) => (place, Order::RevokeToken { token }),
        Command::Token(TokenCommand::Confirm { token, place, .. }) => (place, Order::ConfirmTokens { token }),
        Command::Share(ShareCommand::List { account, place }) => (place, Order::ListShares { account }),
        Command::Share(ShareCommand::Revoke { share, place }) => (place, Order::RevokeShare { share }),
        Command::Share(ShareCommand::Add {
            path,
            account,
            upload,
            expires_in,
            forever,
            password_stdin,
            uses_max,
            file_len_max,
            place,
        }) => {
            let expires_in_ms = u64::try_from(expires_in.0.as_millis()).unwrap_or(u64::MAX);
            let order = ShareOrder {
                account,
                path,
                is_upload: upload,
                expires_in_ms: (!forever).then_some(expires_in_ms),
                password_hash: None,
                uses_max,
                file_len_max: file_len_max.map(|len| len.0),
            };
            return command::add_share(place, order, password_stdin, &mut print);
        }
        Command::Device(DeviceCommand::List { account, place }) => (place, Order::ListDevices { account }),
        Command::Device(DeviceCommand::Revoke { device, place }) => (place, Order::RevokeDevice { device }),
        Command::Device(DeviceCommand::Confirm { device, place, .. }) => (place, Order::ConfirmDevices { device }),
        Command::Verify(Verify { place, recent: true, .. }) => (place, Order::Verify { scope: VerifyScope::Recent }),
        Command::Verify(Verify { place, snapshot: Some(snapshot), .. }) => {
            (place, Order::Verify { scope: VerifyScope::Snapshot(snapshot) })
        }
        Command::Verify(Verify { place, .. }) => (place, Order::Verify { scope: VerifyScope::Full }),
        Command::Repair(Repair { place, dry_run }) => (place, Order::Repair { dry_run }),
        Command::Mirror(said) => mirror_order(said)?,
        Command::Catalog(CatalogCommand::Backup { place }) => (place, Order::BackUpCatalog),
        Command::Catalog(CatalogCommand::List { place }) => (place, Order::ListCatalogBackups),
        Command::Catalog(CatalogCommand::Restore { backup, place }) => {
            return command::alone(place, &mut print, |settings, emit| {
                admin::reindex::restore(settings, backup.as_deref(), emit)
            });
        }
        Command::Reindex(Reindex { place, accept_loss }) => {
            return command::alone(place, &mut print, |settings, emit| {
                admin::reindex::run(settings, accept_loss, emit)
            });
        }
        Command::Config(ConfigCommand::Show(said)) => {
            let mut emit = |item| command::tell(said.json, &mut print, &item);
            return admin::origins::show(&said.serve, innermost(matches), &mut emit);
        }
        Command::Config(ConfigCommand::Check(said)) => {
            let mut emit = |item| command::tell(said.json, &mut print, &item);
            return admin::config_check::run(&said.serve, innermost(matches), &mut emit);
        }
        Command::Settings(SettingsCommand::Export { out, place }) => {
            return admin::settings::export(place, out.as_deref(), &mut print);
        }
        Command::Settings(SettingsCommand::Import { file, dry_run, place }) => {
            return admin::settings::import(place, &file, dry_run, &mut print);
        }
        Command::Key(KeyCommand::Export { file, passphrase_file, place }) => {
            return command::alone(place, &mut print, |settings, emit| {
                admin::export::run(settings, &file, passphrase_file.as_deref(), emit)
            });
        }
        Command::Rescue(said) => return admin::rescue::run(&said, &mut print),
        Command::Retention(said) => retention_order(said)?,
    };
    command::run(place, &order, &mut print)
}

/// What was said to the subcommand of a subcommand.
fn innermost(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, below)) = matches.subcommand() {
        matches = below;
    }
    matches
}

fn mirror_order(said: args::Mirror) -> Result<(Place, Order), Failure> {
    let args::Mirror { target, drive, chain, every_snapshot, privileged, dry_run, place } = said;
    let source = match (drive, chain) {
        (Some(account), _) => MirrorSource::Drive(account),
        (None, Some(chain)) if every_snapshot => MirrorSource::Snapshots(chain),
        (None, chain) => MirrorSource::Latest(chain.unwrap_or_default()),
    };
    // The server that does it has a working directory of its own.
    let target = std::path::absolute(&target)
        .map_err(|error| Failure::usage(format!("{} is no folder", target.display())).because(&error))?;
    let request = MirrorRequest { source, target, is_dry_run: dry_run, is_privileged: privileged };
    Ok((place, Order::Mirror { request }))
}

fn retention_order(said: RetentionCommand) -> Result<(Place, Order), Failure> {
    Ok(match said {
        RetentionCommand::Set { chain, inherit: true, place, .. } => {
            (place, Order::SetRetention { chain, policy: None })
        }
        RetentionCommand::Set { chain, rules, place, .. } => {
            let policy = rules.policy().ok_or_else(|| {
                Failure::usage("no rule is said")
                    .hint("say for example --keep-daily 7 --keep-weekly 4 --keep-monthly 12")
            })?;
            (place, Order::SetRetention { chain, policy: Some(policy) })
        }
        RetentionCommand::Show { chain, place } => (place, Order::ShowRetention { chain }),
        RetentionCommand::Simulate { chain, rules, place } => {
            (place, Order::SimulateRetention { chain, policy: rules.policy() })
        }
        RetentionCommand::Run { chain, rules, confirm_large, place } => {
            (place, Order::RunRetention { chain, policy: rules.policy(), is_large_confirmed: confirm_large })
        }
        RetentionCommand::ConfirmChange { chain, place, .. } => (place, Order::ConfirmChange { chain }),
        RetentionCommand::ConfirmClock { place } => (place, Order::ConfirmClock),
    })
}

fn serve(said: Serve) -> Result<(), Failure> {
    let settings = Settings::resolve(said.options, said.config.as_deref())?;
    log::start(settings.log_level, settings.log_format);
    limits::set();
    let passed = supervisor::listener()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::new(FailureKind::Internal, "cannot start threads").because(&error))?;
    let served = runtime.block_on(serve_until_told(settings, passed));
    // Threads that are still at work have had their time.
    runtime.shutdown_background();
    served
}

async fn serve_until_told(settings: Settings, passed: Option<TcpListener>) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let mut hangups = catch(SignalKind::hangup())?;
    let server = tokio::select! {
        server = Server::start_on(settings, passed) => server?,
        () = signals.next() => return Ok(()),
    };
    let urls = server.urls();
    urls.iter().for_each(|url| print(&format!("listening on {url}")));
    if let Some((first, others)) = server.setup_links().split_first() {
        print(&format!("set up at {first} (good once, for 24 hours)"));
        others.iter().for_each(|link| print(&format!("or at {link}")));
    }
    supervisor::ready(&urls.join(" "));
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = server.failed() => break,
            _ = hangups.recv() => server.reload(),
        }
    }
    supervisor::stopping();
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
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn catch(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(FailureKind::Internal, "cannot catch signals").because(&error))
}

/// A line of standard output. Nobody to read it is no reason to stop.
fn print(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
