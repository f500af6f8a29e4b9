//! [`ClientError`]: why an operation as a whole failed, and of which [`ErrorKind`] that is.
//!
//! Trouble with a single file is not an error: see [`FileProblem`](crate::FileProblem).

use std::io;
use std::path::PathBuf;

use host_fs::{HostError, HostErrorKind};
use object::ObjectId;
use proto::{FailCode, Failure};
use vault::SlotError;

/// What the caller can do about an error. Each has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Wrong use, wrong settings, or a defect of ours.
    Usage,
    /// The server cannot be reached, is stopping, or is busy: try again later.
    Unreachable,
    /// The server has no room left, or this machine has none.
    Full,
    /// The server refuses this device.
    NotAllowed,
    /// The server knows this device, and does not let it do that.
    Forbidden,
    /// There is no such snapshot, file or chain.
    NotFound,
    /// Stored or received bytes are not what they must be.
    Integrity,
    /// The server is not the one this device was connected to.
    OtherServer,
}

/// Why an operation as a whole failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ClientError {
    /// This device was never connected, or its state was lost.
    #[error("this device is not connected to a server")]
    NotConnected,
    /// The connection file is unusable.
    #[error("cannot use {}", path.display())]
    Config { path: PathBuf, source: ConfigError },
    /// Trouble with a file of our own, or the target of a restore.
    #[error("cannot {verb} {}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    /// Trouble with the machine's files as a whole.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No connection.
    #[error("cannot reach the server at {address}")]
    Connect { address: String, source: io::Error },
    /// Another key than the pinned one.
    #[error("the server at {address} is not the one this device was connected to")]
    OtherServer { address: String },
    /// The server speaks something else.
    #[error("{address} does not answer as a backup server: {status}{}", proxy_note(*status))]
    NotABackupServer { address: String, status: hyper::StatusCode },
    /// The connection ended, or the server broke the protocol.
    #[error("the connection to the server was lost")]
    ConnectionLost { source: io::Error },
    /// The sealed vault's key could not be opened.
    #[error("the sealed vault cannot be opened with this passphrase")]
    Locked { source: SlotError },
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// An object that must be there is not, or is not what it must be.
    #[error("{what} cannot be read")]
    Damaged { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// Named by the caller, and not there.
    #[error("there is no {what}")]
    NotFound { what: String },
    /// The caller asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// The chunk of a file changed after it was read, and the server wants it again.
    #[error("chunk {} of {} changed before the server had it", id.short(), path.display())]
    ChangedUnderway { id: ObjectId, path: PathBuf },
    /// Another thread's failure ended this one.
    #[error("stopped because another part failed")]
    Stopped,
}

/// Why a configuration file is unusable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ConfigError {
    /// Not readable.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// Others can read the device's token.
    #[error("it holds a secret, and its mode {mode:o} lets others read it; run chmod 600 on it")]
    Exposed { mode: u32 },
    /// Not what it should contain.
    #[error("it is not a connection file: {0}")]
    Malformed(String),
}

impl ClientError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Host(error) if error.kind() == HostErrorKind::Full => ErrorKind::Full,
            Self::NotConnected | Self::Config { .. } | Self::Usage(_) | Self::Stopped | Self::Host(_) => {
                ErrorKind::Usage
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Full,
            Self::Io { .. } => ErrorKind::Usage,
            Self::Connect { .. } | Self::ConnectionLost { .. } | Self::NotABackupServer { .. } => {
                ErrorKind::Unreachable
            }
            Self::OtherServer { .. } => ErrorKind::OtherServer,
            Self::Locked { source: SlotError::WrongKey } => ErrorKind::NotAllowed,
            Self::Locked { .. } => ErrorKind::Integrity,
            Self::Damaged { .. } => ErrorKind::Integrity,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::ChangedUnderway { .. } => ErrorKind::Usage,
            Self::Refused(failure) => kind_of(failure.code()),
        }
    }

    /// Whether the same thing may well work a little later, or on a new connection.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::ConnectionLost { .. } => true,
            Self::Refused(failure) => failure.is_transient(),
            _ => false,
        }
    }

    /// Whether the server lacks what it was taken to hold, so that reading the files again and asking about every object
    /// brings back what is missing.
    pub(crate) fn is_cured_by_reading(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::ChangedUnderway { .. } => true,
            Self::Refused(failure) => failure.code() == FailCode::Missing,
            _ => false,
        }
    }
}

fn kind_of(code: FailCode) -> ErrorKind {
    match code {
        FailCode::Authentication => ErrorKind::NotAllowed,
        FailCode::NotAllowed => ErrorKind::Forbidden,
        FailCode::NotFound => ErrorKind::NotFound,
        FailCode::Full => ErrorKind::Full,
        FailCode::Integrity | FailCode::Missing => ErrorKind::Integrity,
        FailCode::Busy | FailCode::ShuttingDown | FailCode::Timeout | FailCode::Internal => ErrorKind::Unreachable,
        _ => ErrorKind::Usage,
    }
}

/// An error and all its causes in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}

/// What an answer tells of who stands before the server.
fn proxy_note(status: hyper::StatusCode) -> &'static str {
    match status {
        hyper::StatusCode::UPGRADE_REQUIRED => " (a proxy in between seems to drop the Upgrade header)",
        _ => "",
    }
}
