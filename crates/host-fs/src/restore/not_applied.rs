//! [`NotApplied`]: what a restored entry lacks.

use rustix::io::Errno;
use std::io;

/// Something that a snapshot holds about an entry and that the restored entry does not have.
///
/// No error: the entry is there, and its content is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApplied {
    /// What is missing.
    pub aspect: Aspect,
    /// Why.
    pub reason: Reason,
}

/// What can be missing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aspect {
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// The permission bits.
    Mode,
    /// The bits that let a program run as its owner or group.
    SetId,
    /// An extended attribute of this name; ACLs are among them.
    Xattr(Vec<u8>),
    /// The exact time of the last modification.
    Mtime,
    /// The entry itself: a device node was not made.
    Device,
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It is only restored with [`RestoreOptions::privileged`](crate::RestoreOptions::privileged).
    Unprivileged,
    /// The owner it belongs to is missing.
    OwnerMissing,
    /// The file system keeps something near it.
    Rounded,
    /// The system refused.
    Refused(io::ErrorKind),
}

impl NotApplied {
    pub(crate) fn new(aspect: Aspect, reason: Reason) -> Self {
        Self { aspect, reason }
    }

    pub(crate) fn refused(aspect: Aspect, errno: Errno) -> Self {
        Self { aspect, reason: Reason::Refused(io::Error::from(errno).kind()) }
    }
}
