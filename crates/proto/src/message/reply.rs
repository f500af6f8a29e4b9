//! [`ServerMessage`]: everything a server says. Most of it is the [`ServerReply`] to a request.

use bytes::Bytes;
use object::{ObjectId, SealedRecord, VaultId};

use super::{
    AccountName, ChainName, DeviceId, DeviceName, DriveEntry, DrivePath, Failure, HeldAnswer, Ids, LimitError, Secret,
    SessionId, SoftwareName,
};
use crate::limits::{
    DRIVE_ENTRY_COUNT_MAX, DRIVE_TRASH_COUNT_MAX, FETCH_ID_COUNT_MAX, SIGNATURE_REQUEST_COUNT_MAX, SLOT_COUNT_MAX,
    SLOT_LEN_MAX, SNAPSHOT_COUNT_MAX,
};
use crate::{Capabilities, MessageType};

/// Everything a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The answer to `Hello`.
    Welcome(Welcome),
    /// The answer to a request, or a part of it.
    Reply(ServerReply),
    /// So many records of the session, counted from its first, survive power loss, but for those that `Refused` named
    /// before.
    Durable(u64),
    /// Objects whose delta did not rebuild: they are not stored, and have to be sent whole.
    Refused(Ids),
    /// The answer to `Ping`.
    Pong,
    /// A request failed; on [`StreamId::CONNECTION`](crate::StreamId::CONNECTION), the connection did.
    Failed(Failure),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerReply {
    /// The token is right.
    Authenticated(Authenticated),
    /// The device is known from now on.
    Enrolled(Enrolled),
    /// The vault is open.
    VaultOpened(VaultOpened),
    /// The session is open.
    Begun(Begun),
    /// Which objects are held.
    HeldAnswer(HeldAnswer),
    /// One encoded signature per request, in order; an empty one where the basis is not available.
    SignaturesAnswer(Vec<Bytes>),
    /// All records put before the `Flush` survive power loss; this is their number, counted from the session's first.
    Flushed(u64),
    /// The snapshot is visible and survives power loss.
    Committed(Committed),
    /// Snapshots, newest first.
    SnapshotsAnswer(SnapshotsAnswer),
    /// Objects, or a part of them.
    Objects(Objects),
    /// Entries of a directory, in byte order of their names.
    DriveEntries(DriveEntries),
    /// The change is made and survives power loss.
    DriveCommitted(DriveCommitted),
    /// A change to something other than the drive is made and survives power loss.
    Changed(Changed),
    /// Entries of the drive's trash.
    DriveTrashed(DriveTrashed),
}

/// What a server is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version spoken from now on.
    pub version: u16,
    /// What the server can do beyond the version.
    pub capabilities: Capabilities,
    /// What it calls itself.
    pub software: SoftwareName,
    /// Its clock, in milliseconds since 1970-01-01 UTC.
    pub server_time_ms: u64,
}

/// Who the client is, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Name of the device.
    pub device_name: DeviceName,
    /// Name of the account it belongs to.
    pub account: AccountName,
}

/// A new device's token and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The device's id.
    pub device: DeviceId,
    /// Its secret, to be kept.
    pub secret: Secret<32>,
    /// Name of the device.
    pub device_name: DeviceName,
    /// Name of the account it belongs to.
    pub account: AccountName,
}

/// The vault that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultOpened {
    /// Which.
    pub vault: VaultId,
    /// How its content can be read.
    pub access: Access,
}

/// How a client gets at the content of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The server has the key and lends it for as long as the connection lasts: in memory only.
    Managed {
        /// The vault's root key.
        key: Secret<32>,
    },
    /// Only the client can have the key.
    Sealed {
        /// Key slots, to be opened by whoever knows how; at most 32, of 1024 bytes each.
        slots: Vec<Bytes>,
    },
}

/// A session of writing is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its name.
    pub session: SessionId,
    /// The snapshot to build upon: held for as long as the session is open.
    pub parent: Option<Parent>,
}

/// A snapshot to build upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The `snapshot` object.
    pub snapshot: ObjectId,
    /// Its sequence number.
    pub seq: u64,
    /// When the server committed it, in milliseconds since 1970-01-01 UTC.
    pub received_ms: u64,
}

/// A snapshot is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its sequence number: greater than that of every snapshot before.
    pub seq: u64,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub server_time_ms: u64,
    /// Bytes the session added to the store.
    pub bytes_stored: u64,
    /// Objects the session added to the store.
    pub objects_stored: u64,
    /// How many of them are stored as a delta.
    pub delta_objects: u64,
    /// Whether it had been committed before, under the same key; the numbers are those of then.
    pub repeated: bool,
}

/// A change of the drive is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveCommitted {
    /// The entry's version from now on.
    pub version: u64,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub server_time_ms: u64,
    /// Bytes the session added to the store since its last change.
    pub bytes_stored: u64,
    /// Objects the session added to the store since its last change.
    pub objects_stored: u64,
    /// How many of them are stored as a delta.
    pub delta_objects: u64,
}

/// Snapshots, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotsAnswer {
    /// In descending order of their sequence numbers.
    pub items: Vec<SnapshotItem>,
    /// Ask again with this as `before` for the rest; `None` at the end.
    pub next: Option<u64>,
}

/// One snapshot of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotItem {
    /// The `snapshot` object.
    pub snapshot: ObjectId,
    /// The chain it belongs to.
    pub chain: ChainName,
    /// Its sequence number.
    pub seq: u64,
    /// When the server committed it, in milliseconds since 1970-01-01 UTC.
    pub received_ms: u64,
    /// Bytes it added to the store.
    pub bytes_stored: u64,
    /// The device that made it.
    pub device_name: DeviceName,
    /// Neither retention nor a `Forget` touches it.
    pub is_held: bool,
    /// Since when it is in the trash, in milliseconds since 1970-01-01 UTC.
    pub trashed_ms: Option<u64>,
    /// From when on the server may take it out of the trash for good.
    pub purge_ms: Option<u64>,
    /// Since when, at least, everything it needs is known to be as it was written; none while some of it was never read.
    pub verified_ms: Option<u64>,
    /// When a drill last found a sample of it sound.
    pub drilled_ms: Option<u64>,
    /// Some of what it needs cannot be read.
    pub is_damaged: bool,
}

/// Objects, or a part of them.
#[derive(Clone, Debug)]
pub struct Objects {
    /// Records that hold them, each once per `Fetch`. Their heads are sound; nobody has looked at their bodies yet.
    pub records: Vec<SealedRecord>,
    /// Indexes into the request of ids the vault does not hold.
    pub missing: Vec<u32>,
    /// Whether nothing more follows.
    pub last: bool,
}

/// Entries of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveEntries {
    /// In byte order of their names.
    pub entries: Vec<DriveEntry>,
    /// Whether there are more: ask again with the last name as `after`.
    pub more: bool,
}

/// A change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub server_time_ms: u64,
    /// How many things were not so before.
    pub count: u64,
}

/// Entries of the drive's trash, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveTrashed {
    /// In descending order of their numbers.
    pub items: Vec<TrashedItem>,
    /// Ask again with this as `before` for the rest; `None` at the end.
    pub next: Option<u64>,
}

/// An entry of the drive that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashedItem {
    /// Its number: that of a later entry is higher.
    pub number: u64,
    /// Where it was.
    pub path: DrivePath,
    /// Bytes in a file; `None` for a directory.
    pub size: Option<u64>,
    /// When it was removed, in milliseconds since 1970-01-01 UTC.
    pub trashed_ms: u64,
    /// From when on the server may take it out of the trash for good.
    pub purge_ms: u64,
}

impl ServerMessage {
    /// The type of frame it travels in.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Welcome(_) => MessageType::Welcome,
            Self::Reply(reply) => reply.message_type(),
            Self::Durable(_) => MessageType::Durable,
            Self::Refused(_) => MessageType::Refused,
            Self::Pong => MessageType::Pong,
            Self::Failed(_) => MessageType::Failed,
        }
    }
}

impl ServerReply {
    /// The type of frame it travels in.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Authenticated(_) => MessageType::Authenticated,
            Self::Enrolled(_) => MessageType::Enrolled,
            Self::VaultOpened(_) => MessageType::VaultOpened,
            Self::Begun(_) => MessageType::Begun,
            Self::HeldAnswer(_) => MessageType::HeldAnswer,
            Self::SignaturesAnswer(_) => MessageType::SignaturesAnswer,
            Self::Flushed(_) => MessageType::Flushed,
            Self::Committed(_) => MessageType::Committed,
            Self::SnapshotsAnswer(_) => MessageType::SnapshotsAnswer,
            Self::Objects(_) => MessageType::Objects,
            Self::DriveEntries(_) => MessageType::DriveEntries,
            Self::DriveCommitted(_) => MessageType::DriveCommitted,
            Self::Changed(_) => MessageType::Changed,
            Self::DriveTrashed(_) => MessageType::DriveTrashed,
        }
    }

    /// Holds every count against its limit, for both directions.
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        match self {
            Self::VaultOpened(VaultOpened { access: Access::Sealed { slots }, .. }) => {
                LimitError::check("slot count", slots.len(), 0, SLOT_COUNT_MAX)?;
                slots.iter().try_for_each(|slot| LimitError::check("slot length", slot.len(), 0, SLOT_LEN_MAX))
            }
            Self::SignaturesAnswer(signatures) => {
                LimitError::check("signature count", signatures.len(), 0, SIGNATURE_REQUEST_COUNT_MAX)
            }
            Self::SnapshotsAnswer(answer) => {
                LimitError::check("snapshot count", answer.items.len(), 0, SNAPSHOT_COUNT_MAX)
            }
            Self::Objects(objects) => {
                LimitError::check("missing id count", objects.missing.len(), 0, FETCH_ID_COUNT_MAX)
            }
            Self::DriveEntries(answer) => {
                LimitError::check("entry count", answer.entries.len(), 0, DRIVE_ENTRY_COUNT_MAX)?;
                answer.entries.iter().try_for_each(|entry| entry.node.check())
            }
            Self::DriveTrashed(answer) => {
                LimitError::check("entry count", answer.items.len(), 0, DRIVE_TRASH_COUNT_MAX)
            }
            _ => Ok(()),
        }
    }
}

/// Records are equal when their bytes are.
impl PartialEq for Objects {
    fn eq(&self, other: &Self) -> bool {
        self.last == other.last && self.missing == other.missing && same_records(&self.records, &other.records)
    }
}

impl Eq for Objects {}

pub(super) fn same_records(a: &[SealedRecord], b: &[SealedRecord]) -> bool {
    a.iter().map(SealedRecord::bytes).eq(b.iter().map(SealedRecord::bytes))
}
