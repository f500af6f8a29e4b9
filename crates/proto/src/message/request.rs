//! [`ClientMessage`]: everything a client says. Most of it is a [`ClientRequest`], which gets an answer.

use object::{ObjectId, SealedRecord, VaultId};

use super::{
    ChainName, DeviceId, DriveContent, DriveName, DrivePath, HostName, IdempotencyKey, Ids, LimitError, Secret,
    SignatureRequest, SoftwareName, Timestamp,
};
use crate::limits::{
    CHANGE_COUNT_MAX, DRIVE_ENTRY_COUNT_MAX, DRIVE_TRASH_COUNT_MAX, FETCH_ID_COUNT_MAX, HELD_ID_COUNT_MAX,
    PATH_LEN_MAX, SIGNATURE_ANSWER_LEN_MAX, SIGNATURE_REQUEST_COUNT_MAX, SNAPSHOT_COUNT_MAX,
};
use crate::{Capabilities, MessageType, VersionRange};

/// Everything a client says.
#[derive(Clone, Debug)]
pub enum ClientMessage {
    /// The first message; answered by `Welcome`.
    Hello(Hello),
    /// Something that gets a reply of its own.
    Request(ClientRequest),
    /// Records of the open session. No reply: `Durable` and `Refused` follow when the server knows.
    ///
    /// Their heads are sound; nobody has looked at their bodies yet.
    Put(Vec<SealedRecord>),
    /// How far the open backup has come. No reply; only to a server that has [`Capabilities::PROGRESS`].
    Progress(BackupProgress),
    /// Is anybody there? Answered by `Pong`.
    Ping,
    /// The client is done; the server closes the connection.
    Bye,
}

/// Something a client asks for, and gets a reply to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// A known device shows its token. [`Authenticated`](super::ServerReply::Authenticated).
    Authenticate(Authenticate),
    /// A new device shows a one-time secret. [`Enrolled`](super::ServerReply::Enrolled).
    Enroll(Enroll),
    /// Chooses a vault, or the account's default. [`VaultOpened`](super::ServerReply::VaultOpened).
    OpenVault(Option<VaultId>),
    /// Opens the session of writing. [`Begun`](super::ServerReply::Begun).
    Begin(Purpose),
    /// Which of these objects does the vault hold, with everything below them?
    /// [`HeldAnswer`](super::ServerReply::HeldAnswer).
    Held(Ids),
    /// Signatures of basis objects. [`SignaturesAnswer`](super::ServerReply::SignaturesAnswer).
    Signatures(Vec<SignatureRequest>),
    /// Make everything put before durable, now. [`Flushed`](super::ServerReply::Flushed).
    Flush,
    /// Makes a snapshot visible and ends the session. [`Committed`](super::ServerReply::Committed).
    Commit(Commit),
    /// Snapshots, newest first. [`SnapshotsAnswer`](super::ServerReply::SnapshotsAnswer).
    Snapshots(Snapshots),
    /// Objects by id. [`Objects`](super::ServerReply::Objects), one or more.
    Fetch(Fetch),
    /// Entries of a directory of the drive. [`DriveEntries`](super::ServerReply::DriveEntries).
    DriveList(DriveList),
    /// One entry of the drive. [`DriveEntries`](super::ServerReply::DriveEntries) with one entry.
    DriveStat(DrivePath),
    /// Makes or replaces a file of the drive. [`DriveCommitted`](super::ServerReply::DriveCommitted).
    DrivePut(DrivePut),
    /// Removes an entry of the drive. [`DriveCommitted`](super::ServerReply::DriveCommitted).
    DriveRemove(DriveRemove),
    /// Moves snapshots to the trash or back, holds them or lets them go. [`Changed`](super::ServerReply::Changed).
    SnapshotChange(SnapshotChange),
    /// What is in the drive's trash. [`DriveTrashed`](super::ServerReply::DriveTrashed).
    DriveTrash(DriveTrash),
    /// Brings an entry of the drive back from the trash. [`DriveCommitted`](super::ServerReply::DriveCommitted).
    DriveUndelete(DriveUndelete),
    /// What restoring a sample of a snapshot came to. [`Changed`](super::ServerReply::Changed).
    DrillReport(DrillReport),
}

/// What a client is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// What it can do beyond the version.
    pub capabilities: Capabilities,
    /// What it calls itself.
    pub software: SoftwareName,
}

/// How far a backup has come, for people who look on: nothing else depends on it, so that whoever says what is wrong harms
/// nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// What is through, whether it had to be read or not.
    pub done: Extent,
    /// What there will be in the end, as far as the client can tell.
    pub expected: Option<Extent>,
}

/// Some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// A device's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// Which device.
    pub device: DeviceId,
    /// Proof that it is the one.
    pub secret: Secret<32>,
}

/// The one-time secret of an enrolment string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enroll {
    /// The secret.
    pub secret: Secret<16>,
    /// What the machine calls itself.
    pub host: HostName,
}

/// What a session of writing is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One snapshot; the session ends when it is committed.
    Backup {
        /// The chain it continues.
        chain: ChainName,
        /// The snapshot the client would like to build upon, if the server still has it.
        parent_hint: Option<ObjectId>,
    },
    /// Any number of changes to the drive; the session ends with the connection.
    Drive,
}

/// A snapshot to be made visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Names this commit, so that it happens once however often it is asked for.
    pub key: IdempotencyKey,
    /// The `snapshot` object.
    pub snapshot: ObjectId,
}

/// Which snapshots are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// Only of this chain.
    pub chain: Option<ChainName>,
    /// Only with a lower sequence number than this.
    pub before: Option<u64>,
    /// At most so many: 1 to [`SNAPSHOT_COUNT_MAX`].
    pub limit: u32,
    /// Those in the trash instead of those that are not.
    pub in_trash: bool,
}

/// Which objects are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Their ids, at most [`FETCH_ID_COUNT_MAX`].
    pub ids: Ids,
    /// Whether the basis objects of those that are stored as a delta are wanted too.
    pub with_basis: bool,
}

/// Which entries of a directory are wanted: in byte order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveList {
    /// The directory.
    pub path: DrivePath,
    /// Only names after this one.
    pub after: Option<DriveName>,
    /// At most so many: 1 to [`DRIVE_ENTRY_COUNT_MAX`].
    pub limit: u32,
}

/// A file to be made or replaced, its content put before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrivePut {
    /// Names this change, so that it happens once however often it is asked for.
    pub key: IdempotencyKey,
    /// Where. Not the root.
    pub path: DrivePath,
    /// When the content was changed last.
    pub mtime: Timestamp,
    /// Unix permission bits.
    pub mode: u32,
    /// Length in bytes; 0 exactly when the content is empty.
    pub size: u64,
    /// What it consists of.
    pub content: DriveContent,
    /// Only if the entry has this version; 0: only if there is none.
    pub expected_version: Option<u64>,
}

/// An entry to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveRemove {
    /// Names this change, so that it happens once however often it is asked for.
    pub key: IdempotencyKey,
    /// Which. Not the root.
    pub path: DrivePath,
    /// Only if the entry has this version.
    pub expected_version: Option<u64>,
}

/// A change to snapshots of this device, of all of them or of none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChange {
    /// Names this change, so that it happens once however often it is asked for.
    pub key: IdempotencyKey,
    /// What is to become of them.
    pub kind: ChangeKind,
    /// The `snapshot` objects, 1 to [`CHANGE_COUNT_MAX`].
    pub snapshots: Ids,
}

/// What is to become of a snapshot. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChangeKind {
    /// Into the trash, from which only the server takes things out for good.
    Forget = 1,
    /// Back from the trash.
    Undelete = 2,
    /// Neither retention nor anybody's `Forget` touches it any more.
    Hold = 3,
    /// The hold is over.
    Unhold = 4,
}

impl ChangeKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Forget, Self::Undelete, Self::Hold, Self::Unhold];

    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == tag)
    }
}

/// Which entries of the drive's trash are wanted: those removed, not what was in them; newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveTrash {
    /// Only with a lower number than this.
    pub before: Option<u64>,
    /// At most so many: 1 to [`DRIVE_TRASH_COUNT_MAX`].
    pub limit: u32,
}

/// An entry to be brought back to where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveUndelete {
    /// Names this change, so that it happens once however often it is asked for.
    pub key: IdempotencyKey,
    /// Where it was. Not the root. Of several removed there, the one removed last.
    pub path: DrivePath,
}

/// What restoring a sample of a snapshot to this machine came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillReport {
    /// Names this report, so that it is kept once however often it is sent.
    pub key: IdempotencyKey,
    /// The `snapshot` object.
    pub snapshot: ObjectId,
    /// Files that were restored and compared.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that could not be restored as they are in the snapshot.
    pub problems: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl ClientMessage {
    /// The type of frame it travels in.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Hello(_) => MessageType::Hello,
            Self::Request(request) => request.message_type(),
            Self::Put(_) => MessageType::Put,
            Self::Progress(_) => MessageType::Progress,
            Self::Ping => MessageType::Ping,
            Self::Bye => MessageType::Bye,
        }
    }
}

/// Records are equal when their bytes are.
impl PartialEq for ClientMessage {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hello(a), Self::Hello(b)) => a == b,
            (Self::Request(a), Self::Request(b)) => a == b,
            (Self::Put(a), Self::Put(b)) => super::reply::same_records(a, b),
            (Self::Progress(a), Self::Progress(b)) => a == b,
            (Self::Ping, Self::Ping) | (Self::Bye, Self::Bye) => true,
            _ => false,
        }
    }
}

impl ClientRequest {
    /// The type of frame it travels in.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Authenticate(_) => MessageType::Authenticate,
            Self::Enroll(_) => MessageType::Enroll,
            Self::OpenVault(_) => MessageType::OpenVault,
            Self::Begin(_) => MessageType::Begin,
            Self::Held(_) => MessageType::Held,
            Self::Signatures(_) => MessageType::Signatures,
            Self::Flush => MessageType::Flush,
            Self::Commit(_) => MessageType::Commit,
            Self::Snapshots(_) => MessageType::Snapshots,
            Self::Fetch(_) => MessageType::Fetch,
            Self::DriveList(_) => MessageType::DriveList,
            Self::DriveStat(_) => MessageType::DriveStat,
            Self::DrivePut(_) => MessageType::DrivePut,
            Self::DriveRemove(_) => MessageType::DriveRemove,
            Self::SnapshotChange(_) => MessageType::SnapshotChange,
            Self::DriveTrash(_) => MessageType::DriveTrash,
            Self::DriveUndelete(_) => MessageType::DriveUndelete,
            Self::DrillReport(_) => MessageType::DrillReport,
        }
    }

    /// Holds every count against its limit, for both directions.
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        match self {
            Self::Held(ids) => LimitError::check("id count", ids.len(), 0, HELD_ID_COUNT_MAX),
            Self::Fetch(fetch) => LimitError::check("id count", fetch.ids.len(), 0, FETCH_ID_COUNT_MAX),
            Self::Signatures(requests) => {
                LimitError::check("request count", requests.len(), 0, SIGNATURE_REQUEST_COUNT_MAX)?;
                let answer_len = requests.iter().map(SignatureRequest::answer_len_max).sum();
                LimitError::check("bytes of signatures", answer_len, 0, SIGNATURE_ANSWER_LEN_MAX)
            }
            Self::Snapshots(snapshots) => {
                LimitError::check("snapshot limit", snapshots.limit as usize, 1, SNAPSHOT_COUNT_MAX)
            }
            Self::DriveList(list) => LimitError::check("entry limit", list.limit as usize, 1, DRIVE_ENTRY_COUNT_MAX),
            Self::DrivePut(put) => {
                LimitError::check("path length", put.path.as_bytes().len(), 1, PATH_LEN_MAX)?;
                put.content.check_size(put.size)
            }
            Self::DriveRemove(remove) => {
                LimitError::check("path length", remove.path.as_bytes().len(), 1, PATH_LEN_MAX)
            }
            Self::SnapshotChange(change) => {
                LimitError::check("snapshot count", change.snapshots.len(), 1, CHANGE_COUNT_MAX)
            }
            Self::DriveTrash(trash) => LimitError::check("entry limit", trash.limit as usize, 1, DRIVE_TRASH_COUNT_MAX),
            Self::DriveUndelete(undelete) => {
                LimitError::check("path length", undelete.path.as_bytes().len(), 1, PATH_LEN_MAX)
            }
            Self::Authenticate(_)
            | Self::Enroll(_)
            | Self::OpenVault(_)
            | Self::Begin(_)
            | Self::Flush
            | Self::Commit(_)
            | Self::DriveStat(_)
            | Self::DrillReport(_) => Ok(()),
        }
    }
}
