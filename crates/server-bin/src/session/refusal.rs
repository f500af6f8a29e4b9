//! What a client is told when something does not work: enough to act upon, and nothing about the server's inside.

use proto::{FailCode, Failure, Ids};
use store::{ErrorKind, StoreError};

use crate::drive::DriveError;
use crate::pool::Panicked;

const INTERNAL: &str = "the server failed; its log tells more";

/// What a failure of the store means to the client; what is the server's own trouble goes to the log.
pub(super) fn of_store(doing: &'static str, error: &StoreError) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new(FailCode::NotFound, &error.to_string()),
        ErrorKind::Conflict => Failure::new(FailCode::Conflict, &error.to_string()),
        ErrorKind::Invalid => Failure::new(FailCode::NotAllowed, &error.to_string()),
        ErrorKind::Busy => Failure::new(FailCode::Busy, &error.to_string()),
        ErrorKind::Missing => {
            let StoreError::Missing { ids } = error else { return internal(doing, error) };
            let ids: Ids = ids.iter().take(proto::limits::MISSING_ID_COUNT_MAX).collect();
            Failure::missing(&error.to_string(), ids).expect("cut to the limit")
        }
        ErrorKind::Full if matches!(error, StoreError::Quota { .. }) => {
            Failure::new(FailCode::Full, &error.to_string())
        }
        ErrorKind::Full => {
            tracing::warn!(doing, %error, "the disk is full");
            Failure::new(FailCode::Full, "the server's disk is full")
        }
        ErrorKind::Damaged => {
            tracing::error!(doing, %error, "stored bytes are damaged");
            Failure::new(FailCode::Integrity, "stored bytes are damaged; the server's log tells which")
        }
        _ => internal(doing, error),
    }
}

/// What a failure of the drive means to the client.
pub(super) fn of_drive(error: &DriveError) -> Failure {
    match error {
        DriveError::NotFound => Failure::new(FailCode::NotFound, &error.to_string()),
        DriveError::Sealed => Failure::new(FailCode::NotAllowed, &error.to_string()),
        DriveError::TooMany { .. } | DriveError::PathTooLong => Failure::new(FailCode::NotAllowed, &error.to_string()),
        DriveError::Unreadable => {
            tracing::error!(%error, "the catalog's names do not open");
            Failure::new(FailCode::Integrity, &error.to_string())
        }
        DriveError::Store(error) => of_store("using the drive", error),
    }
}

/// Something of ours broke.
pub(super) fn internal(doing: &'static str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut causes = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        next = cause.source();
    }
    tracing::error!(doing, error = causes, "request failed");
    Failure::new(FailCode::Internal, INTERNAL)
}

/// A thread panicked.
pub(super) fn panicked(doing: &'static str, error: Panicked) -> Failure {
    internal(doing, &error)
}
