//! [`Failure`]: a request, or the whole connection, cannot go on, and why.

use std::fmt;

use super::{FailureText, Ids, LimitError};
use crate::limits::MISSING_ID_COUNT_MAX;

/// What kind of trouble it is. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum FailCode {
    /// The other side broke the protocol.
    Protocol = 1,
    /// There is no version that both sides speak.
    Version = 2,
    /// The device or its secret is not right.
    Authentication = 3,
    /// This device may not do that.
    NotAllowed = 4,
    /// There is nothing of that name.
    NotFound = 5,
    /// Something else was changed in between, or the same key was used for another change.
    Conflict = 6,
    /// There is no room left, on disk or in the quota.
    Full = 7,
    /// The commit refers to objects the vault does not hold; the failure names them.
    Missing = 8,
    /// Stored bytes are damaged.
    Integrity = 9,
    /// Too much is going on.
    Busy = 10,
    /// The server failed.
    Internal = 11,
    /// The server is about to stop.
    ShuttingDown = 12,
    /// Nothing was heard for too long.
    Timeout = 13,
}

impl FailCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Protocol,
        Self::Version,
        Self::Authentication,
        Self::NotAllowed,
        Self::NotFound,
        Self::Conflict,
        Self::Full,
        Self::Missing,
        Self::Integrity,
        Self::Busy,
        Self::Internal,
        Self::ShuttingDown,
        Self::Timeout,
    ];

    /// The code with this number, if there is one.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == tag)
    }

    /// Whether the same thing may well work a little later, with nothing changed and nobody asked.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Full | Self::Busy | Self::ShuttingDown | Self::Timeout)
    }
}

impl fmt::Display for FailCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "protocol error",
            Self::Version => "no common version",
            Self::Authentication => "not authenticated",
            Self::NotAllowed => "not allowed",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Full => "no room left",
            Self::Missing => "missing objects",
            Self::Integrity => "stored bytes are damaged",
            Self::Busy => "busy",
            Self::Internal => "internal error",
            Self::ShuttingDown => "shutting down",
            Self::Timeout => "timed out",
        })
    }
}

/// Why the server did not do what was asked. As an error it is the server's word, not ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server says: {code}: {message}")]
pub struct Failure {
    code: FailCode,
    message: FailureText,
    missing: Ids,
}

impl Failure {
    /// A failure of any code; for [`FailCode::Missing`] one that names no objects.
    ///
    /// `message` is for people, who see it as it is, shortened to 1024 bytes: no secrets, no internals.
    #[must_use]
    pub fn new(code: FailCode, message: &str) -> Self {
        Self { code, message: FailureText::lossy(message), missing: Ids::default() }
    }

    /// A [`FailCode::Missing`] that names objects the vault does not hold; there may be more than these.
    ///
    /// # Errors
    /// [`LimitError`] for more than [`MISSING_ID_COUNT_MAX`] ids.
    pub fn missing(message: &str, ids: Ids) -> Result<Self, LimitError> {
        LimitError::check("missing id count", ids.len(), 0, MISSING_ID_COUNT_MAX)?;
        Ok(Self { code: FailCode::Missing, message: FailureText::lossy(message), missing: ids })
    }

    /// What a peer sent; the caller has checked that `missing` and `code` fit together.
    pub(crate) fn received(code: FailCode, message: FailureText, missing: Ids) -> Result<Self, LimitError> {
        LimitError::check("missing id count", missing.len(), 0, MISSING_ID_COUNT_MAX)?;
        Ok(Self { code, message, missing })
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn code(&self) -> FailCode {
        self.code
    }

    /// What went wrong, in a sentence.
    #[must_use]
    pub fn message(&self) -> &FailureText {
        &self.message
    }

    /// Objects the vault does not hold, some of them at least; empty unless the code is [`FailCode::Missing`].
    #[must_use]
    pub fn missing_ids(&self) -> &Ids {
        &self.missing
    }

    /// Whether the same thing may well work a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code.is_transient()
    }
}
