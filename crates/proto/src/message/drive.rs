//! The live files of a vault, as they are named and described: [`DrivePath`], [`DriveName`], [`DriveNode`].

use std::fmt;

use bytes::Bytes;
use object::ObjectId;

use super::LimitError;
use crate::limits::{NAME_LEN_MAX, PATH_LEN_MAX};

/// Where something is on a drive: names with `/` between them, none before or after. The empty path is the root.
///
/// Each name is a [`DriveName`], so a path never leads out of its drive; the whole has at most [`PATH_LEN_MAX`] bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrivePath(Bytes);

impl DrivePath {
    /// The root of the drive.
    pub const ROOT: Self = Self(Bytes::new());

    /// Takes a path; `None` when a name in it is not allowed or it is too long.
    #[must_use]
    pub fn new(path: Bytes) -> Option<Self> {
        let sound = path.is_empty() || path.len() <= PATH_LEN_MAX && path.split(|byte| *byte == b'/').all(is_name);
        sound.then_some(Self(path))
    }

    /// The path's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names from the root down; none for the root itself.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = DriveName> + '_ {
        let names = self.0.split(|byte| *byte == b'/');
        names.filter(|name| !name.is_empty()).map(|name| DriveName(self.0.slice_ref(name)))
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<DriveName> {
        self.names().next_back()
    }

    /// What this path is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let name = self.name()?;
        Some(Self(self.0.slice(..self.0.len().saturating_sub(name.0.len() + 1))))
    }
}

impl fmt::Debug for DrivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DrivePath(\"{}\")", self.0.escape_ascii())
    }
}

/// Name of one entry of a directory on a drive: 1 to [`NAME_LEN_MAX`] bytes, any but `/` and NUL, and not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriveName(Bytes);

impl DriveName {
    /// Takes a name; `None` when it is not allowed.
    #[must_use]
    pub fn new(name: Bytes) -> Option<Self> {
        is_name(&name).then_some(Self(name))
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for DriveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriveName(\"{}\")", self.0.escape_ascii())
    }
}

fn is_name(name: &[u8]) -> bool {
    let allowed = |byte: &u8| !matches!(byte, b'/' | 0);
    (1..=NAME_LEN_MAX).contains(&name.len()) && name != b"." && name != b".." && name.iter().all(allowed)
}

/// A moment in time, as file systems know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    secs: i64,
    nanos: u32,
}

impl Timestamp {
    /// `secs` seconds after (or before) 1970-01-01 UTC, and `nanos` nanoseconds later than that; `None` unless `nanos`
    /// is below 10^9.
    #[must_use]
    pub const fn new(secs: i64, nanos: u32) -> Option<Self> {
        if nanos < 1_000_000_000 { Some(Self { secs, nanos }) } else { None }
    }

    /// Whole seconds since 1970-01-01 UTC, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.secs
    }

    /// Nanoseconds after that, below 10^9.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }
}

/// What a file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveContent {
    /// Nothing: the file has 0 bytes.
    Empty,
    /// One chunk.
    Chunk(ObjectId),
    /// The chunks a `list` names.
    List(ObjectId),
}

impl DriveContent {
    /// A file has content exactly when it has bytes.
    pub(crate) fn check_size(self, size: u64) -> Result<(), LimitError> {
        let (min, max) = if self == Self::Empty { (0, 0) } else { (1, u64::MAX) };
        let error = LimitError { field: "size", value: size, min, max };
        if (min..=max).contains(&size) { Ok(()) } else { Err(error) }
    }
}

/// What an entry of a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveNode {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its length in bytes; 0 exactly when the content is empty.
        size: u64,
        /// Its bytes.
        content: DriveContent,
    },
}

impl DriveNode {
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        match self {
            Self::Directory => Ok(()),
            Self::File { size, content } => content.check_size(*size),
        }
    }
}

/// One entry of a directory on a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveEntry {
    /// Its name in its directory; `None` for the root itself, which only `DriveStat` answers with.
    pub name: Option<DriveName>,
    /// Directory or file.
    pub node: DriveNode,
    /// When its content was changed last, as the client that wrote it says.
    pub mtime: Timestamp,
    /// Unix permission bits.
    pub mode: u32,
    /// Counts up with each change of the entry, from 1.
    pub version: u64,
}
