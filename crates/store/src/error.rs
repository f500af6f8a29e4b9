//! [`StoreError`]: what went wrong, for code ([`StoreError::kind`]) and for people (the chain of messages).

use std::io;
use std::path::{Path, PathBuf};

use object::{ObjectId, RecordError};
use rusqlite::ErrorCode;

use crate::PackId;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum StoreError {
    /// The file system refused. A pack being written is given up by this, never tried again.
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// No space, or less than the configured reserve. Nothing half-written is visible.
    #[error("no space left to {verb} {}", path.display())]
    Full { verb: &'static str, path: PathBuf },
    /// The account has used its quota up, or would with what is to come.
    #[error("the account's quota of {quota_bytes} bytes leaves no room: {used_bytes} are used")]
    Quota { quota_bytes: u64, used_bytes: u64 },
    /// The catalog would be on a file system that may not be able to carry it, and nobody vouches for it.
    #[error("{} is on {what}, which is not known to carry a catalog", path.display())]
    Carrier { path: PathBuf, what: String },
    /// Another process holds the data directory.
    #[error("another process is using {}", path.display())]
    Locked { path: PathBuf },
    /// Another process took the catalog over while this one held it; this one must end.
    #[error("another process has taken the catalog over")]
    Fenced,
    /// An earlier failure left it unknown what is durable; the process must end and start again.
    #[error("writing has stopped until the store is opened again: {reason}")]
    Halted { reason: String },
    /// The disk failed again and again: what is stored can be read, and nothing is taken in until the store is opened again.
    #[error("nothing is taken in until the store is opened again: {reason}")]
    ReadOnly { reason: String },
    /// An earlier failure cost this session records that were not durable yet; begin another.
    #[error("the session lost its open packs: {reason}")]
    SessionBroken { kind: ErrorKind, reason: String },
    /// There is no such thing, or the asker may not know of it.
    #[error("{what} not found")]
    NotFound { what: &'static str },
    /// The state of things forbids it: it exists already, or has changed.
    #[error("conflict: {what}")]
    Conflict { what: &'static str },
    /// What names a change, so that it is not made twice, has named another one.
    #[error("this key was used for another request")]
    OtherRequest,
    /// The request itself makes no sense.
    #[error("invalid request: {what}")]
    Invalid { what: &'static str },
    /// The snapshot may not be taken away by who asks.
    #[error("snapshot {} {why}", snapshot.short())]
    Protected { snapshot: ObjectId, why: &'static str },
    /// These objects must be sent first; at most [`MISSING_MAX`](crate::MISSING_MAX) are named.
    #[error("{} objects or more are missing", ids.len())]
    Missing { ids: Vec<ObjectId> },
    /// Stored bytes are not what was written, in every copy there is.
    #[error("pack {pack} is damaged at byte {offset}: {what}")]
    Damaged { pack: PackId, offset: u64, what: String },
    /// A file that is not what it should be: a pack, an anchor, the catalog.
    #[error("{} is not sound: {what}", path.display())]
    Layout { path: PathBuf, what: String },
    /// The record to be stored is not sound.
    #[error("record refused")]
    Record(#[from] RecordError),
    /// The catalog refused.
    #[error("the catalog failed")]
    Catalog(#[source] rusqlite::Error),
    /// The catalog's file is damaged.
    #[error("the catalog is damaged: {what}")]
    CatalogDamaged { what: String },
    /// The catalog cannot be used as it is.
    #[error("the catalog is unusable: {what}")]
    CatalogUnusable { what: String },
    /// Others changed the same things again and again; ask again.
    #[error("too many concurrent changes")]
    Contended,
}

/// What a caller can do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Ask for something else.
    NotFound,
    /// Look at the present state, then decide.
    Conflict,
    /// Correct the request.
    Invalid,
    /// Send the objects named, then ask again.
    Missing,
    /// Wait for space, then ask again.
    Full,
    /// Somebody else owns the data directory.
    Locked,
    /// Ask again.
    Busy,
    /// Stored bytes were damaged.
    Damaged,
    /// The file system failed.
    Io,
    /// The catalog failed.
    Catalog,
    /// End the process; opening the store again recovers.
    Halted,
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

impl StoreError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::ReadOnly { .. } => ErrorKind::Io,
            Self::Full { .. } | Self::Quota { .. } => ErrorKind::Full,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Carrier { .. } => ErrorKind::Catalog,
            Self::Fenced | Self::Halted { .. } => ErrorKind::Halted,
            Self::SessionBroken { kind, .. } => *kind,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } | Self::OtherRequest => ErrorKind::Conflict,
            Self::Invalid { .. } | Self::Protected { .. } | Self::Record(_) => ErrorKind::Invalid,
            Self::Missing { .. } => ErrorKind::Missing,
            Self::Damaged { .. } | Self::Layout { .. } | Self::CatalogDamaged { .. } => ErrorKind::Damaged,
            Self::Catalog(error) if is_damage(error) => ErrorKind::Damaged,
            Self::Catalog(_) | Self::CatalogUnusable { .. } => ErrorKind::Catalog,
            Self::Contended => ErrorKind::Busy,
        }
    }

    /// Whether the catalog's file is not what was written, so that another one has to take its place.
    #[must_use]
    pub fn is_catalog_damage(&self) -> bool {
        match self {
            Self::CatalogDamaged { .. } => true,
            Self::Catalog(error) => is_damage(error),
            _ => false,
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), ErrorKind::Full | ErrorKind::Busy | ErrorKind::Locked)
    }

    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { verb, path },
            _ => Self::Io { verb, path, source },
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Self::Full { verb: "write", path: PathBuf::from(crate::data_dir::CATALOG_NAME) }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Contended,
            _ => Self::Catalog(error),
        }
    }
}
