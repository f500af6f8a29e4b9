//! [`Entry`]: one name in a directory, with everything a restore needs to make it again.
//!
//! Names are bytes. Fields are tagged; those this version does not know are kept in [`Metadata::unknown`], so that an
//! older version can pass on what a newer one wrote.

use delta_core::varint;
use object::ObjectId;

use crate::content::Content;
use crate::cut::CutProfile;
use crate::fields::{FieldError, FieldReader, FieldWriter, number, numbers, put_bytes, take_bytes};
use crate::paged::{PageError, take_edge};

const TAG_MODE: u64 = 1;
const TAG_UID: u64 = 2;
const TAG_GID: u64 = 3;
const TAG_MTIME: u64 = 4;
const TAG_SIZE: u64 = 5;
const TAG_CONTENT: u64 = 6;
const TAG_CUT_PROFILE: u64 = 7;
const TAG_TARGET: u64 = 8;
const TAG_DEVICE_NUMBER: u64 = 9;
const TAG_HARD_LINK: u64 = 10;
const TAG_XATTRS: u64 = 11;
const TAG_USER: u64 = 12;
const TAG_GROUP: u64 = 13;
const TAG_CHANGED: u64 = 14;

const TYPE_FILE: u8 = 1;
const TYPE_DIRECTORY: u8 = 2;
const TYPE_SYMLINK: u8 = 3;
const TYPE_FIFO: u8 = 4;
const TYPE_SOCKET: u8 = 5;
const TYPE_CHAR_DEVICE: u8 = 6;
const TYPE_BLOCK_DEVICE: u8 = 7;

const CONTENT_CHUNK: u64 = 1;
const CONTENT_LIST: u64 = 2;

/// Longest name of any file system we know, in bytes.
const NAME_LEN_MAX: usize = 255 * 4;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One path component: 1 to 1020 bytes, no `/`, no NUL, not `.` or `..`.
    pub name: Vec<u8>,
    /// What the name stands for.
    pub kind: EntryKind,
    /// What all kinds have.
    pub metadata: Metadata,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    File {
        /// Bytes in the file, holes included.
        size: u64,
        /// Where the bytes are.
        content: Content,
    },
    /// A directory.
    Directory {
        /// The root page of its tree.
        tree: ObjectId,
    },
    /// A symbolic link.
    Symlink {
        /// What the link says, as bytes; it may point anywhere.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket; only its place is kept.
    Socket,
    /// A character device.
    CharDevice {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
}

/// What all kinds of entries have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits, 0o0 to 0o7777.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name where the backup was made; empty when unknown.
    pub user: Vec<u8>,
    /// Group's name where the backup was made; empty when unknown.
    pub group: Vec<u8>,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes, names ascending; POSIX ACLs are among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Set when the file had more than one name.
    pub hard_link: Option<HardLink>,
    /// The file changed while it was read: its content may be of several moments.
    pub changed_while_read: bool,
    /// Fields of a newer version.
    pub unknown: Vec<UnknownField>,
}

/// A moment: seconds since 1970, may be negative, and nanoseconds after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// 0..=999 999 999.
    pub nanos: u32,
}

/// Names with equal `device` and `inode` in one snapshot were names of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HardLink {
    /// The file system's number where the backup was made.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
}

/// A field this version does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// The field's number.
    pub tag: u64,
    /// What it holds.
    pub value: Vec<u8>,
}

impl Entry {
    /// Whether `name` can stand in a directory.
    #[must_use]
    pub fn is_name(name: &[u8]) -> bool {
        !name.is_empty()
            && name.len() <= NAME_LEN_MAX
            && name != b"."
            && name != b".."
            && !name.iter().any(|byte| matches!(byte, b'/' | 0))
    }

    /// Appends the entry on its own, object ids included: for caches, not for trees.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        let mut edges = Vec::new();
        self.write(out, &mut edges);
        out.extend(edges.iter().flat_map(ObjectId::as_bytes));
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`PageError`] for anything but the one encoding of an entry.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, PageError> {
        let mut head = bytes;
        let cut_short = PageError::Malformed { what: "an entry is cut short" };
        take_bytes(&mut head).ok_or(cut_short.clone())?;
        take_bytes(&mut head).ok_or(cut_short)?;
        let (edges, rest) = head.as_chunks::<{ ObjectId::LEN }>();
        if !rest.is_empty() {
            return Err(PageError::Malformed { what: "bytes follow the entry" });
        }
        let edges: Vec<ObjectId> = edges.iter().map(|id| ObjectId::from_bytes(*id)).collect();
        let mut edges = &edges[..];
        let entry = Self::read(&mut bytes, &mut edges)?;
        if !edges.is_empty() {
            return Err(PageError::Malformed { what: "edges are left over" });
        }
        Ok(entry)
    }

    pub(crate) fn write(&self, body: &mut Vec<u8>, edges: &mut Vec<ObjectId>) {
        put_bytes(&self.name, body);
        let mut fields = Vec::with_capacity(64);
        fields.push(self.kind.tag());
        self.write_fields(&mut fields);
        put_bytes(&fields, body);
        edges.extend(self.kind.edge());
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        let metadata = &self.metadata;
        let mut fields = FieldWriter::new(out);
        fields.number(TAG_MODE, u64::from(metadata.mode));
        if metadata.uid != 0 {
            fields.number(TAG_UID, u64::from(metadata.uid));
        }
        if metadata.gid != 0 {
            fields.number(TAG_GID, u64::from(metadata.gid));
        }
        fields.numbers(TAG_MTIME, &[varint::zigzag(metadata.mtime.secs), u64::from(metadata.mtime.nanos)]);
        match &self.kind {
            EntryKind::File { size, content } => {
                fields.number(TAG_SIZE, *size);
                match content {
                    Content::Empty => {}
                    Content::Chunk(_) => fields.number(TAG_CONTENT, CONTENT_CHUNK),
                    Content::List(_) => {
                        fields.number(TAG_CONTENT, CONTENT_LIST);
                        fields.number(TAG_CUT_PROFILE, CutProfile::Large as u64);
                    }
                }
            }
            EntryKind::Symlink { target } => fields.bytes(TAG_TARGET, target),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                fields.numbers(TAG_DEVICE_NUMBER, &[u64::from(*major), u64::from(*minor)]);
            }
            EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Socket => {}
        }
        if let Some(link) = metadata.hard_link {
            fields.numbers(TAG_HARD_LINK, &[link.device, link.inode]);
        }
        if !metadata.xattrs.is_empty() {
            let mut value = Vec::new();
            for (name, content) in &metadata.xattrs {
                put_bytes(name, &mut value);
                put_bytes(content, &mut value);
            }
            fields.bytes(TAG_XATTRS, &value);
        }
        if !metadata.user.is_empty() {
            fields.bytes(TAG_USER, &metadata.user);
        }
        if !metadata.group.is_empty() {
            fields.bytes(TAG_GROUP, &metadata.group);
        }
        if metadata.changed_while_read {
            fields.bytes(TAG_CHANGED, &[]);
        }
        for field in &metadata.unknown {
            fields.bytes(field.tag, &field.value);
        }
    }

    pub(crate) fn read(body: &mut &[u8], edges: &mut &[ObjectId]) -> Result<Self, PageError> {
        let name = take_bytes(body).ok_or(PageError::Malformed { what: "a name is cut short" })?;
        if !Self::is_name(name) {
            return Err(PageError::Malformed { what: "a name cannot stand in a directory" });
        }
        let fields = take_bytes(body).ok_or(PageError::Malformed { what: "an entry is cut short" })?;
        let (&kind_tag, fields) = fields.split_first().ok_or(PageError::Malformed { what: "an entry is empty" })?;
        let mut parts = Parts::default();
        let mut reader = FieldReader::new(fields);
        while let Some((tag, value)) = reader.next()? {
            parts.take(tag, value)?;
        }
        let kind = parts.kind(kind_tag, edges)?;
        Ok(Self { name: name.to_vec(), kind, metadata: parts.metadata })
    }
}

impl EntryKind {
    fn tag(&self) -> u8 {
        match self {
            Self::File { .. } => TYPE_FILE,
            Self::Directory { .. } => TYPE_DIRECTORY,
            Self::Symlink { .. } => TYPE_SYMLINK,
            Self::Fifo => TYPE_FIFO,
            Self::Socket => TYPE_SOCKET,
            Self::CharDevice { .. } => TYPE_CHAR_DEVICE,
            Self::BlockDevice { .. } => TYPE_BLOCK_DEVICE,
        }
    }

    fn edge(&self) -> Option<ObjectId> {
        match self {
            Self::File { content, .. } => content.id(),
            Self::Directory { tree } => Some(*tree),
            _ => None,
        }
    }
}

/// Fields of an entry, collected before its kind decides which of them must be there.
#[derive(Default)]
struct Parts {
    metadata: Metadata,
    size: Option<u64>,
    content: Option<u64>,
    target: Option<Vec<u8>>,
    device_number: Option<(u32, u32)>,
}

impl Parts {
    fn take(&mut self, tag: u64, value: &[u8]) -> Result<(), FieldError> {
        let metadata = &mut self.metadata;
        match tag {
            TAG_MODE => {
                metadata.mode = number(tag, value)?;
                if metadata.mode > 0o7777 {
                    return Err(FieldError::Value { tag });
                }
            }
            TAG_UID => metadata.uid = non_zero(tag, value)?,
            TAG_GID => metadata.gid = non_zero(tag, value)?,
            TAG_MTIME => {
                let [secs, nanos] = numbers(tag, value)?;
                let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
                metadata.mtime.secs = varint::unzigzag(secs);
                metadata.mtime.nanos = nanos.ok_or(FieldError::Value { tag })?;
            }
            TAG_SIZE => self.size = Some(number(tag, value)?),
            TAG_CONTENT => self.content = Some(number(tag, value)?),
            TAG_CUT_PROFILE => {
                CutProfile::from_number(number(tag, value)?).ok_or(FieldError::Value { tag })?;
            }
            TAG_TARGET => self.target = Some(value.to_vec()),
            TAG_DEVICE_NUMBER => {
                let [major, minor] = numbers(tag, value)?;
                let narrow = |part: u64| u32::try_from(part).map_err(|_| FieldError::Value { tag });
                self.device_number = Some((narrow(major)?, narrow(minor)?));
            }
            TAG_HARD_LINK => {
                let [device, inode] = numbers(tag, value)?;
                metadata.hard_link = Some(HardLink { device, inode });
            }
            TAG_XATTRS => metadata.xattrs = xattrs(value).ok_or(FieldError::Value { tag })?,
            TAG_USER => metadata.user = value.to_vec(),
            TAG_GROUP => metadata.group = value.to_vec(),
            TAG_CHANGED if value.is_empty() => metadata.changed_while_read = true,
            TAG_CHANGED => return Err(FieldError::Value { tag }),
            _ => metadata.unknown.push(UnknownField { tag, value: value.to_vec() }),
        }
        Ok(())
    }

    fn kind(&mut self, tag: u8, edges: &mut &[ObjectId]) -> Result<EntryKind, PageError> {
        let device = |number: Option<(u32, u32)>| number.ok_or(PageError::Malformed { what: "a device has no number" });
        Ok(match tag {
            TYPE_FILE => {
                let size = self.size.take().ok_or(PageError::Malformed { what: "a file has no size" })?;
                let content = match self.content.take() {
                    None if size == 0 => Content::Empty,
                    Some(CONTENT_CHUNK) => Content::Chunk(take_edge(edges)?),
                    Some(CONTENT_LIST) => Content::List(take_edge(edges)?),
                    _ => return Err(PageError::Malformed { what: "a file's content does not fit its size" }),
                };
                EntryKind::File { size, content }
            }
            TYPE_DIRECTORY => EntryKind::Directory { tree: take_edge(edges)? },
            TYPE_SYMLINK => {
                let target = self.target.take().ok_or(PageError::Malformed { what: "a link has no target" })?;
                EntryKind::Symlink { target }
            }
            TYPE_FIFO => EntryKind::Fifo,
            TYPE_SOCKET => EntryKind::Socket,
            TYPE_CHAR_DEVICE => {
                let (major, minor) = device(self.device_number.take())?;
                EntryKind::CharDevice { major, minor }
            }
            TYPE_BLOCK_DEVICE => {
                let (major, minor) = device(self.device_number.take())?;
                EntryKind::BlockDevice { major, minor }
            }
            _ => return Err(PageError::Malformed { what: "an entry is of an unknown kind" }),
        })
    }
}

/// Zero is written by leaving the field out.
fn non_zero(tag: u64, value: &[u8]) -> Result<u32, FieldError> {
    match number(tag, value)? {
        0 => Err(FieldError::Value { tag }),
        number => Ok(number),
    }
}

fn xattrs(mut value: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while !value.is_empty() {
        let name = take_bytes(&mut value)?;
        let content = take_bytes(&mut value)?;
        let ascends = xattrs.last().is_none_or(|(last, _)| last.as_slice() < name);
        if name.is_empty() || name.contains(&0) || !ascends {
            return None;
        }
        xattrs.push((name.to_vec(), content.to_vec()));
    }
    Some(xattrs)
}
