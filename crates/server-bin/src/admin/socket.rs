//! The local socket through which commands reach a running server: one order per connection, one JSON object per line.
//!
//! It stands in the data directory, which only the server's user can enter. Socket addresses are short; going through
//! `/proc/self/fd` makes the length of the directory's path no matter.
#![expect(clippy::disallowed_methods, reason = "it removes the socket of a server that died")]

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;

use crate::admin::desk::{Desk, Live};
use crate::admin::{Item, Line, Order, RunningItem};
use crate::failure::{Failure, FailureKind};
use crate::host_port::HostPort;
use crate::service::Service;

const NAME: &str = "admin.sock";
/// Longest order.
const ORDER_LEN_MAX: u64 = 64 << 10;
/// Time for an order to arrive, and for a line of the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of an answer that wait to be taken.
const LINES_AHEAD: usize = 64;
/// Silence after which the server is given up: something long tells how far it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The socket of a running server; its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Makes the socket in `dir`, whose lock the caller holds: a socket that is there is a dead server's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let handle = File::open(dir)?;
        let listener = UnixListener::bind(short_path(&handle))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Takes orders until the server stops.
    pub(crate) async fn serve(self, service: Arc<Service>, address: HostPort, url: String) {
        let shared = Arc::new(Shared { service, address, url });
        let tasks = shared.service.tasks.clone();
        loop {
            let accepted = tokio::select! {
                () = shared.service.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(take_order(stream, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an administrator's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

struct Shared {
    service: Arc<Service>,
    address: HostPort,
    url: String,
}

impl Shared {
    fn running(&self) -> RunningItem {
        let metrics = &self.service.metrics;
        let started = metrics.started().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        RunningItem {
            pid: std::process::id(),
            url: self.url.clone(),
            started_ms: u64::try_from(started.as_millis()).unwrap_or_default(),
            sockets: metrics.sockets.get(),
            clients: metrics.clients.get(),
            sessions: metrics.sessions.get(),
            unusual_snapshots: metrics.unusual_snapshots.get(),
            hash_mismatches: metrics.hash_mismatches.get(),
        }
    }
}

async fn take_order(stream: UnixStream, shared: Arc<Shared>) {
    let (reader, mut writer) = stream.into_split();
    let mut text = Vec::new();
    let mut reader = tokio::io::BufReader::new(reader.take(ORDER_LEN_MAX));
    if !matches!(tokio::time::timeout(PATIENCE, reader.read_until(b'\n', &mut text)).await, Ok(Ok(1..))) {
        return;
    }
    let asking = Arc::clone(&shared);
    // Bounded: whoever does not take what is told holds up the order, and ends it when gone.
    let (lines, mut told) = tokio::sync::mpsc::channel(LINES_AHEAD);
    // Not in the pool: an order may take hours, and clients must not wait for it.
    let performing = tokio::task::spawn_blocking(move || perform(&asking, &text, &lines));
    while let Some(line) = told.recv().await {
        if !send(&mut writer, &line).await {
            return;
        }
    }
    let last = performing.await.unwrap_or_else(|error| {
        Line::Failed(Failure::new(FailureKind::Internal, "the server failed at this order").because(&error))
    });
    send(&mut writer, &last).await;
}

/// Sends a line; `false` when nobody takes it.
async fn send(writer: &mut tokio::net::unix::OwnedWriteHalf, line: &Line) -> bool {
    let mut text = serde_json::to_vec(line).expect("lines have no maps with odd keys");
    text.push(b'\n');
    matches!(tokio::time::timeout(PATIENCE, writer.write_all(&text)).await, Ok(Ok(())))
}

/// Performs an order, tells its items, and returns the last line.
fn perform(shared: &Shared, text: &[u8], lines: &Sender<Line>) -> Line {
    let order: Order = match serde_json::from_slice(text) {
        Ok(order) => order,
        Err(error) => {
            let failure = Failure::usage("the running server does not understand this command").because(&error);
            return Line::Failed(failure.hint("command and server are of different versions; restart the server"));
        }
    };
    let live = Live {
        revoked: &shared.service.revoked,
        address: &shared.address,
        running: &|| shared.running(),
        service: &shared.service,
        is_wanted: &|| !lines.is_closed() && !shared.service.stop.is_cancelled(),
    };
    let desk = Desk { home: &shared.service.home, live: Some(live) };
    // Nobody to hear it is no reason to do an order by halves.
    let performed = desk.perform(order, &mut |item| drop(lines.blocking_send(Line::Item(item))));
    shared.service.note_halt();
    match performed {
        Ok(()) => Line::Done,
        Err(failure) => Line::Failed(failure),
    }
}

/// Gives an order to the server that runs in `dir`; `None` when none does.
///
/// # Errors
/// [`Failure`]: the server's own, or that it does not answer.
pub(crate) fn order(dir: &Path, order: &Order, emit: &mut dyn FnMut(Item)) -> Result<Option<()>, Failure> {
    let unanswered = |error: &io::Error| {
        Failure::new(FailureKind::Unavailable, format!("the server in {} does not answer", dir.display()))
            .because(error)
    };
    let handle = match File::open(dir) {
        Ok(handle) => handle,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unanswered(&error)),
    };
    let mut stream = match BlockingStream::connect(short_path(&handle)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(unanswered(&error)),
    };
    match exchange(&mut stream, order, emit) {
        Ok(None) => Ok(Some(())),
        Ok(Some(failure)) => Err(failure),
        Err(error) => Err(unanswered(&error)),
    }
}

/// Sends an order and takes the answer; the server's failure, if it had one.
fn exchange(stream: &mut BlockingStream, order: &Order, emit: &mut dyn FnMut(Item)) -> io::Result<Option<Failure>> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut text = serde_json::to_vec(order)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Line::Item(item) => emit(item),
            Line::Done => return Ok(None),
            Line::Failed(failure) => return Ok(Some(failure)),
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

fn short_path(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
}
