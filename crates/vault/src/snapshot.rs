//! [`Snapshot`]: what was backed up, from where, when by the client's clock, with which options and counts.

use bytes::Bytes;
use delta_core::varint;
use object::{Kind, ObjectId};

use crate::entry::{Timestamp, UnknownField};
use crate::fields::{FieldError, FieldReader, FieldWriter, number, numbers, put_bytes, take_bytes, text};
use crate::keys::Keys;
use crate::paged::PageError;
use crate::seal::PlainObject;

const FORMAT: u8 = 1;
const TAG_STARTED: u64 = 1;
const TAG_FINISHED: u64 = 2;
const TAG_HOST: u64 = 3;
const TAG_USER: u64 = 4;
const TAG_SOFTWARE: u64 = 5;
const TAG_ROOTS: u64 = 6;
const TAG_EXCLUDES: u64 = 7;
const TAG_FILES: u64 = 8;
const TAG_DIRECTORIES: u64 = 9;
const TAG_OTHERS: u64 = 10;
const TAG_BYTES: u64 = 11;
const TAG_PROBLEMS: u64 = 12;
const TAG_PARENT: u64 = 13;
const TAG_DEVICE: u64 = 14;
const TAG_CHAIN: u64 = 15;

/// A finished backup, as its maker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The tree of `/`: it holds every backed-up root under its full path.
    pub tree: ObjectId,
    /// When reading began, by the client's clock: for people, never for retention.
    pub started: Timestamp,
    /// When reading ended, by the client's clock.
    pub finished: Timestamp,
    /// The machine's name.
    pub host: String,
    /// Who ran the backup.
    pub user: String,
    /// Name and version of the client.
    pub software: String,
    /// Absolute paths that were backed up.
    pub roots: Vec<Vec<u8>>,
    /// Patterns that were left out.
    pub excludes: Vec<String>,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices and sockets.
    pub others: u64,
    /// Bytes in the files.
    pub bytes: u64,
    /// Files that could not be read, or changed while they were.
    pub problems: u64,
    /// The snapshot before this one in the chain, if it was used: no edge, it may be gone.
    pub parent: Option<ObjectId>,
    /// The device that made it, as the server names it; empty when unknown. With [`chain`](Self::chain) it tells where the
    /// snapshot belongs when the server's catalog is lost.
    pub device: Vec<u8>,
    /// Which of the device's jobs; empty when unknown.
    pub chain: String,
    /// Fields of a newer version.
    pub unknown: Vec<UnknownField>,
}

impl Snapshot {
    /// The snapshot as an object, with the root tree as its edge.
    #[must_use]
    pub fn encode(&self, keys: &Keys) -> PlainObject {
        let mut body = vec![FORMAT];
        let mut fields = FieldWriter::new(&mut body);
        for (tag, time) in [(TAG_STARTED, self.started), (TAG_FINISHED, self.finished)] {
            fields.numbers(tag, &[varint::zigzag(time.secs), u64::from(time.nanos)]);
        }
        for (tag, value) in [(TAG_HOST, &self.host), (TAG_USER, &self.user), (TAG_SOFTWARE, &self.software)] {
            fields.bytes(tag, value.as_bytes());
        }
        fields.bytes(TAG_ROOTS, &join(self.roots.iter().map(Vec::as_slice)));
        fields.bytes(TAG_EXCLUDES, &join(self.excludes.iter().map(String::as_bytes)));
        let counts = [
            (TAG_FILES, self.files),
            (TAG_DIRECTORIES, self.directories),
            (TAG_OTHERS, self.others),
            (TAG_BYTES, self.bytes),
            (TAG_PROBLEMS, self.problems),
        ];
        for (tag, count) in counts {
            fields.number(tag, count);
        }
        if let Some(parent) = &self.parent {
            fields.bytes(TAG_PARENT, parent.as_bytes());
        }
        for (tag, value) in [(TAG_DEVICE, &self.device[..]), (TAG_CHAIN, self.chain.as_bytes())] {
            if !value.is_empty() {
                fields.bytes(tag, value);
            }
        }
        for field in &self.unknown {
            fields.bytes(field.tag, &field.value);
        }
        PlainObject::new(keys, Kind::Snapshot, vec![self.tree], Bytes::from(body))
    }

    /// Reads a snapshot object.
    ///
    /// # Errors
    /// [`PageError`] for anything but the one encoding of a snapshot.
    pub fn decode(object: &PlainObject) -> Result<Self, PageError> {
        if object.kind != Kind::Snapshot {
            return Err(PageError::Kind { expected: Kind::Snapshot, found: object.kind });
        }
        let [tree] = object.edges[..] else {
            return Err(PageError::Malformed { what: "a snapshot has one edge" });
        };
        let (&format, fields) =
            object.body.split_first().ok_or(PageError::Malformed { what: "header is cut short" })?;
        if format != FORMAT {
            return Err(PageError::Format { format });
        }
        let mut snapshot = Self::empty(tree);
        let mut reader = FieldReader::new(fields);
        while let Some((tag, value)) = reader.next()? {
            snapshot.take(tag, value)?;
        }
        Ok(snapshot)
    }

    fn empty(tree: ObjectId) -> Self {
        Self {
            tree,
            started: Timestamp::default(),
            finished: Timestamp::default(),
            host: String::new(),
            user: String::new(),
            software: String::new(),
            roots: Vec::new(),
            excludes: Vec::new(),
            files: 0,
            directories: 0,
            others: 0,
            bytes: 0,
            problems: 0,
            parent: None,
            device: Vec::new(),
            chain: String::new(),
            unknown: Vec::new(),
        }
    }

    fn take(&mut self, tag: u64, value: &[u8]) -> Result<(), FieldError> {
        let wrong = FieldError::Value { tag };
        match tag {
            TAG_STARTED => self.started = time(tag, value)?,
            TAG_FINISHED => self.finished = time(tag, value)?,
            TAG_HOST => self.host = text(tag, value)?,
            TAG_USER => self.user = text(tag, value)?,
            TAG_SOFTWARE => self.software = text(tag, value)?,
            TAG_ROOTS => self.roots = split(value).ok_or(wrong)?.into_iter().map(<[u8]>::to_vec).collect(),
            TAG_EXCLUDES => {
                let excludes = split(value).ok_or(wrong)?;
                self.excludes = excludes.into_iter().map(|exclude| text(tag, exclude)).collect::<Result<_, _>>()?;
            }
            TAG_FILES => self.files = number(tag, value)?,
            TAG_DIRECTORIES => self.directories = number(tag, value)?,
            TAG_OTHERS => self.others = number(tag, value)?,
            TAG_BYTES => self.bytes = number(tag, value)?,
            TAG_PROBLEMS => self.problems = number(tag, value)?,
            TAG_PARENT => self.parent = Some(ObjectId::from_bytes(value.try_into().map_err(|_| wrong)?)),
            TAG_DEVICE if !value.is_empty() => self.device = value.to_vec(),
            TAG_CHAIN if !value.is_empty() => self.chain = text(tag, value)?,
            TAG_DEVICE | TAG_CHAIN => return Err(wrong),
            _ => self.unknown.push(UnknownField { tag, value: value.to_vec() }),
        }
        Ok(())
    }
}

fn time(tag: u64, value: &[u8]) -> Result<Timestamp, FieldError> {
    let [secs, nanos] = numbers(tag, value)?;
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    Ok(Timestamp { secs: varint::unzigzag(secs), nanos: nanos.ok_or(FieldError::Value { tag })? })
}

fn join<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        put_bytes(value, &mut bytes);
    }
    bytes
}

fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(take_bytes(&mut bytes)?);
    }
    Some(values)
}
