//! [`HostError`]: what the machine refused to do, and to which path.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::path::HostPath;

/// One thing that could not be done to one path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path}")]
pub struct HostError {
    verb: &'static str,
    path: HostPath,
    source: Cause,
}

/// What a caller can do about a [`HostError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostErrorKind {
    /// Nothing has that name (any more).
    NotFound,
    /// The process lacks the right.
    NotAllowed,
    /// It is not what it was when it was looked at: replaced by another kind, moved, or shorter.
    Changed,
    /// The system or file system cannot do this.
    NotSupported,
    /// No space or quota left.
    Full,
    /// Something stands in the way that must not be removed, such as a directory with entries.
    Occupied,
    /// The target directory can be rearranged by somebody else.
    Untrusted,
    /// The caller went past what it declared.
    Misuse,
    /// Anything else.
    Other,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(transparent)]
    Os(io::Error),
    #[error("{why}")]
    Rule { kind: HostErrorKind, why: &'static str },
}

impl HostError {
    pub(crate) fn os(verb: &'static str, path: HostPath, errno: Errno) -> Self {
        Self { verb, path, source: Cause::Os(errno.into()) }
    }

    pub(crate) fn io(verb: &'static str, path: HostPath, error: io::Error) -> Self {
        Self { verb, path, source: Cause::Os(error) }
    }

    pub(crate) fn rule(verb: &'static str, path: HostPath, kind: HostErrorKind, why: &'static str) -> Self {
        Self { verb, path, source: Cause::Rule { kind, why } }
    }

    /// What was tried, as a verb with its object's article left out: `open`, `read`.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// What it was tried on.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_path()
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> HostErrorKind {
        match &self.source {
            Cause::Rule { kind, .. } => *kind,
            Cause::Os(error) => Errno::from_io_error(error).map_or(HostErrorKind::Other, kind_of),
        }
    }

    /// Whether the same call may succeed a little later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.source {
            Cause::Rule { .. } => false,
            Cause::Os(error) => Errno::from_io_error(error).is_some_and(|errno| {
                matches!(errno, Errno::AGAIN | Errno::BUSY | Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::NOMEM)
            }),
        }
    }
}

/// What a failed system call means to a caller of this crate.
pub(crate) fn kind_of(errno: Errno) -> HostErrorKind {
    match errno {
        Errno::NOENT => HostErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => HostErrorKind::NotAllowed,
        // O_NOFOLLOW met a link, O_DIRECTORY something else, open a socket, openat2 a way out; the server forgot the file.
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::XDEV | Errno::STALE => HostErrorKind::Changed,
        Errno::OPNOTSUPP | Errno::NOSYS => HostErrorKind::NotSupported,
        Errno::NOSPC | Errno::DQUOT => HostErrorKind::Full,
        Errno::NOTEMPTY | Errno::ISDIR | Errno::EXIST => HostErrorKind::Occupied,
        _ => HostErrorKind::Other,
    }
}
