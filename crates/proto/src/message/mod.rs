//! What the two sides say to each other, parsed: a value that exists keeps to every limit that its own fields decide.
//!
//! [`ClientMessage`] and [`ServerMessage`] are everything that can be said; most of it is a [`ClientRequest`] or the
//! [`ServerReply`] to one. How they look on the wire is the business of [`wire`](crate::wire).

mod drive;
mod failure;
mod ids;
mod names;
mod reply;
mod request;
mod secret;
mod signature;
mod text;

pub use drive::{DriveContent, DriveEntry, DriveName, DriveNode, DrivePath, Timestamp};
pub use failure::{FailCode, Failure};
pub use ids::{HeldAnswer, Ids};
pub use names::{DeviceId, IdempotencyKey, SessionId};
pub use reply::{
    Access, Authenticated, Begun, Changed, Committed, DriveCommitted, DriveEntries, DriveTrashed, Enrolled, Objects,
    Parent, ServerMessage, ServerReply, SnapshotItem, SnapshotsAnswer, TrashedItem, VaultOpened, Welcome,
};
pub use request::{
    Authenticate, BackupProgress, ChangeKind, ClientMessage, ClientRequest, Commit, DrillReport, DriveList, DrivePut,
    DriveRemove, DriveTrash, DriveUndelete, Enroll, Extent, Fetch, Hello, Purpose, SnapshotChange, Snapshots,
};
pub use secret::Secret;
pub use signature::{SignatureRange, SignatureRequest, SignatureRequestError};
pub use text::{AccountName, ChainName, DeviceName, FailureText, HostName, SoftwareName, Text, TextError};

/// A count or value that is outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, {min} to {max} are allowed")]
pub struct LimitError {
    /// What is counted or measured.
    pub field: &'static str,
    /// The value found.
    pub value: u64,
    /// The least value allowed.
    pub min: u64,
    /// The greatest value allowed.
    pub max: u64,
}

impl LimitError {
    /// Holds `value` against its bounds.
    pub(crate) fn check(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), Self> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(Self { field, value: value as u64, min: min as u64, max: max as u64 })
    }
}
