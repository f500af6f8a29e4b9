//! [`MessageType`]: the byte of a frame's header that says what the frame carries.

use std::fmt;

use crate::Side;

/// What a frame carries. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented at the message of the same name")]
pub enum MessageType {
    Hello = 0x01,
    Authenticate = 0x02,
    Enroll = 0x03,
    OpenVault = 0x04,
    Begin = 0x05,
    Held = 0x06,
    Signatures = 0x07,
    Put = 0x08,
    Flush = 0x09,
    Commit = 0x0a,
    Snapshots = 0x0b,
    Fetch = 0x0c,
    DriveList = 0x0d,
    DriveStat = 0x0e,
    DrivePut = 0x0f,
    DriveRemove = 0x10,
    Ping = 0x11,
    Bye = 0x12,
    SnapshotChange = 0x13,
    DriveTrash = 0x14,
    DriveUndelete = 0x15,
    DrillReport = 0x16,
    Progress = 0x17,
    Welcome = 0x41,
    Authenticated = 0x42,
    Enrolled = 0x43,
    VaultOpened = 0x44,
    Begun = 0x45,
    HeldAnswer = 0x46,
    SignaturesAnswer = 0x47,
    Durable = 0x48,
    Refused = 0x49,
    Flushed = 0x4a,
    Committed = 0x4b,
    SnapshotsAnswer = 0x4c,
    Objects = 0x4d,
    DriveEntries = 0x4e,
    DriveCommitted = 0x4f,
    Pong = 0x50,
    Failed = 0x51,
    Changed = 0x52,
    DriveTrashed = 0x53,
}

impl MessageType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 42] = [
        Self::Hello,
        Self::Authenticate,
        Self::Enroll,
        Self::OpenVault,
        Self::Begin,
        Self::Held,
        Self::Signatures,
        Self::Put,
        Self::Flush,
        Self::Commit,
        Self::Snapshots,
        Self::Fetch,
        Self::DriveList,
        Self::DriveStat,
        Self::DrivePut,
        Self::DriveRemove,
        Self::Ping,
        Self::Bye,
        Self::SnapshotChange,
        Self::DriveTrash,
        Self::DriveUndelete,
        Self::DrillReport,
        Self::Progress,
        Self::Welcome,
        Self::Authenticated,
        Self::Enrolled,
        Self::VaultOpened,
        Self::Begun,
        Self::HeldAnswer,
        Self::SignaturesAnswer,
        Self::Durable,
        Self::Refused,
        Self::Flushed,
        Self::Committed,
        Self::SnapshotsAnswer,
        Self::Objects,
        Self::DriveEntries,
        Self::DriveCommitted,
        Self::Pong,
        Self::Failed,
        Self::Changed,
        Self::DriveTrashed,
    ];

    /// The type with this number, if there is one.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|message_type| *message_type as u8 == tag)
    }

    /// Which side sends it.
    #[must_use]
    pub fn sender(self) -> Side {
        if self < Self::Welcome { Side::Client } else { Side::Server }
    }

    /// Whether the body is records, which carry checksums of their own; the frame's checksum then leaves it out.
    #[must_use]
    pub fn has_records(self) -> bool {
        matches!(self, Self::Put | Self::Objects)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
