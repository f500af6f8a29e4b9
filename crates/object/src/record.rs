//! [`Record`]: one or more objects sealed together, with a head anyone can read and a body only the vault can open.
//!
//! ```text
//! prefix 40 B | members | crc32c(prefix, members) | body | crc32c(body)
//! ```
//! The head (prefix and members) is the additional data of the seal: nothing in it can change without the open failing.
//! The two checksums let damage be found without keys. [`RecordHeadWriter`] makes a head, [`Record::parse`] reads one;
//! a `Record` that exists has a sound head within every limit below.

use bytes::Bytes;

use crate::{Codec, Kind, ObjectId, UnknownTag};

/// The record format this version writes, and the only one it reads.
pub const RECORD_FORMAT: u8 = 1;
/// Bytes before the first member.
pub const RECORD_PREFIX_LEN: usize = 40;
/// Most objects in one record.
pub const MEMBER_COUNT_MAX: usize = 4096;
/// Most edges of one object.
pub const EDGE_COUNT_MAX: usize = 4096;
/// Longest head, checksum excluded.
pub const HEAD_LEN_MAX: usize = 1 << 20;
/// Most plaintext of one record, all members together.
pub const PLAIN_LEN_MAX: usize = 8 << 20;
/// Longest body: a body never needs more than its plaintext and a little framing.
pub const BODY_LEN_MAX: usize = PLAIN_LEN_MAX + 4096;

/// Most basis objects of one delta.
pub const BASIS_COUNT_MAX: usize = 8;

const MEMBER_PREFIX_LEN: usize = 40;
const CRC_LEN: usize = 4;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum RecordError {
    /// The bytes end before the record does. More bytes may help.
    #[error("record needs {needed} bytes, only {available} are there")]
    Truncated { needed: usize, available: usize },
    /// Written by a newer version, or not a record.
    #[error("record format {format} is not supported")]
    Format { format: u8 },
    /// A length or count is outside its limit.
    #[error("record field {field} is {value}, the limit is {limit}")]
    Limit { field: &'static str, value: u64, limit: u64 },
    /// A tag byte of the head is unknown.
    #[error(transparent)]
    Tag(#[from] UnknownTag),
    /// The members do not fill the head exactly.
    #[error("record head holds {found} bytes of members, {declared} are declared")]
    MemberLength { declared: usize, found: usize },
    /// The head breaks a rule on which kinds and edges may stand together.
    #[error("record head is malformed: {rule}")]
    Rule { rule: &'static str },
    /// The head was damaged.
    #[error("record head checksum does not match")]
    HeadChecksum,
    /// The body was damaged.
    #[error("record body checksum does not match")]
    BodyChecksum,
    /// Bytes follow where exactly one record was expected.
    #[error("{extra} bytes follow the record")]
    Trailing { extra: usize },
}

/// Lengths of a record, readable from its first [`RECORD_PREFIX_LEN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLen {
    /// Bytes of prefix and members, without their checksum.
    pub head_len: usize,
    /// Bytes of the sealed body, without its checksum.
    pub body_len: usize,
}

impl RecordLen {
    /// Reads the lengths from the first bytes of a record, within limits but without checking anything else.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] with fewer than [`RECORD_PREFIX_LEN`] bytes; `Format` and `Limit` for bytes that
    /// cannot begin a record.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let prefix = bytes
            .first_chunk::<RECORD_PREFIX_LEN>()
            .ok_or(RecordError::Truncated { needed: RECORD_PREFIX_LEN, available: bytes.len() })?;
        if prefix[0] != RECORD_FORMAT {
            return Err(RecordError::Format { format: prefix[0] });
        }
        let head_len = u32_at(prefix, 8) as usize;
        let body_len = u32_at(prefix, 12) as usize;
        limit("head_len", head_len, HEAD_LEN_MAX)?;
        limit("body_len", body_len, BODY_LEN_MAX)?;
        if head_len < RECORD_PREFIX_LEN + MEMBER_PREFIX_LEN {
            return Err(RecordError::Rule { rule: "a record has at least one member" });
        }
        Ok(Self { head_len, body_len })
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn total(&self) -> usize {
        self.head_len + self.body_len + 2 * CRC_LEN
    }

    /// Bytes from the record's start to its body.
    #[must_use]
    pub fn body_offset(&self) -> usize {
        self.head_len + CRC_LEN
    }
}

/// A record in borrowed bytes whose head is sound; the body's checksum is checked on request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    len: RecordLen,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Finds one record at the start of `bytes`, which may go on after it.
    ///
    /// # Errors
    /// Any [`RecordError`] but `BodyChecksum` and `Trailing`; nothing is allocated.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let len = RecordLen::read(bytes)?;
        let bytes =
            bytes.get(..len.total()).ok_or(RecordError::Truncated { needed: len.total(), available: bytes.len() })?;
        let record = Self { len, bytes };
        if crc32c::crc32c(record.aad()) != u32_at(bytes, len.head_len) {
            return Err(RecordError::HeadChecksum);
        }
        check_head(record.aad())?;
        Ok(record)
    }

    /// Reads a head that was stored without its body, for walks along edges.
    ///
    /// `head` is what [`RecordLen::body_offset`] bytes of a record hold.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_head(head: &'a [u8]) -> Result<RecordHead<'a>, RecordError> {
        let len = RecordLen::read(head)?;
        let needed = len.body_offset();
        let bytes = head.get(..needed).ok_or(RecordError::Truncated { needed, available: head.len() })?;
        let aad = &bytes[..len.head_len];
        if crc32c::crc32c(aad) != u32_at(bytes, len.head_len) {
            return Err(RecordError::HeadChecksum);
        }
        check_head(aad)?;
        Ok(RecordHead { len, aad })
    }

    /// Compares the body with its checksum: finds damage, proves nothing about who wrote it.
    ///
    /// # Errors
    /// [`RecordError::BodyChecksum`].
    pub fn check_body(&self) -> Result<(), RecordError> {
        let stored = u32_at(self.bytes, self.bytes.len() - CRC_LEN);
        if crc32c::crc32c(self.body()) == stored { Ok(()) } else { Err(RecordError::BodyChecksum) }
    }

    /// The head without the body.
    #[must_use]
    pub fn head(&self) -> RecordHead<'a> {
        RecordHead { len: self.len, aad: &self.bytes[..self.len.head_len] }
    }

    /// The bytes the seal authenticates beside the body.
    #[must_use]
    pub fn aad(&self) -> &'a [u8] {
        self.head().aad
    }

    /// The encrypted body, tag included.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.len.body_offset()..self.len.body_offset() + self.len.body_len]
    }

    /// The whole record.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The record's lengths.
    #[must_use]
    pub fn len(&self) -> RecordLen {
        self.len
    }
}

/// The readable part of a record: a sound head, within limits.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead<'a> {
    len: RecordLen,
    aad: &'a [u8],
}

impl<'a> RecordHead<'a> {
    /// How the body is packed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        Codec::try_from(self.aad[1]).expect("checked when the head was parsed")
    }

    /// Which generation of the vault's data key sealed the body.
    #[must_use]
    pub fn key_epoch(&self) -> u32 {
        u32_at(self.aad, 4)
    }

    /// Session salt (16 bytes) and counter (8 bytes) of the seal.
    #[must_use]
    pub fn nonce(&self) -> &'a [u8; 24] {
        self.aad[16..].first_chunk().expect("the prefix is 40 bytes")
    }

    /// Whether the members describe other objects; all members of a record are alike in this.
    #[must_use]
    pub fn is_metadata(&self) -> bool {
        self.members().next().is_some_and(|member| member.kind.is_metadata())
    }

    /// Number of objects in the record, at least one.
    #[must_use]
    pub fn member_count(&self) -> usize {
        usize::from(u16_at(self.aad, 2))
    }

    /// The objects of the record, in the order of their plaintexts.
    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let mut rest = &self.aad[RECORD_PREFIX_LEN..];
        std::iter::from_fn(move || {
            let (member, after) = Member::split(rest).ok()??;
            rest = after;
            Some(member)
        })
    }

    /// Plaintext bytes of all members together.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.members().map(|member| member.plain_len).sum()
    }

    /// The record's lengths.
    #[must_use]
    pub fn len(&self) -> RecordLen {
        self.len
    }
}

/// One object of a record, as the head tells it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What the object is for.
    pub kind: Kind,
    /// The object's name.
    pub id: ObjectId,
    /// Bytes of the object's plaintext; for a delta, of the chunk it rebuilds.
    pub plain_len: usize,
    /// What the object refers to; for a delta, its basis objects.
    pub edges: Edges<'a>,
}

impl<'a> Member<'a> {
    /// Splits the first member off `bytes`; `None` at the end.
    fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, RecordError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let short = RecordError::Rule { rule: "a member ends past the head" };
        let (prefix, rest) = bytes.split_first_chunk::<MEMBER_PREFIX_LEN>().ok_or(short.clone())?;
        let kind = Kind::try_from(prefix[0])?;
        if prefix[1] != 0 {
            return Err(UnknownTag { what: "member flag", tag: prefix[1] }.into());
        }
        let edge_count = usize::from(u16_at(prefix, 2));
        limit("edge_count", edge_count, EDGE_COUNT_MAX)?;
        let plain_len = u32_at(prefix, 4) as usize;
        limit("plain_len", plain_len, PLAIN_LEN_MAX)?;
        let id = ObjectId::from_bytes(*prefix[8..].first_chunk().expect("the prefix is 40 bytes"));
        let (edges, rest) = rest.split_at_checked(edge_count * ObjectId::LEN).ok_or(short)?;
        Ok(Some((Self { kind, id, plain_len, edges: Edges { bytes: edges } }, rest)))
    }
}

/// The ids an object refers to, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Edges<'a> {
    bytes: &'a [u8],
}

impl<'a> Edges<'a> {
    /// Number of edges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / ObjectId::LEN
    }

    /// Whether the object refers to nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The edges' bytes, 32 per edge.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The edges in order; an edge may stand there more than once.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ObjectId> + use<'a> {
        self.bytes.as_chunks::<{ ObjectId::LEN }>().0.iter().map(|id| ObjectId::from_bytes(*id))
    }
}

impl std::fmt::Debug for Edges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Writes a record: head first, then the body that was sealed with that head.
///
/// ```
/// use object::{Codec, Kind, ObjectId, Record, RecordHeadWriter};
///
/// let id = ObjectId::from_bytes([7; 32]);
/// let mut writer = RecordHeadWriter::new(Codec::Raw, 0, &[0; 24]);
/// writer.member(Kind::Data, &id, 5, &[])?;
/// let mut bytes = writer.finish(5)?;          // what the seal authenticates
/// RecordHeadWriter::append_body(&mut bytes, |_head, body| body.copy_from_slice(b"hello"));
/// let record = Record::parse(&bytes)?;
/// record.check_body()?;
/// assert_eq!(record.body(), b"hello");
/// assert_eq!(record.head().members().next().unwrap().id, id);
/// # Ok::<(), object::RecordError>(())
/// ```
#[derive(Debug)]
pub struct RecordHeadWriter {
    head: Vec<u8>,
    member_count: usize,
}

impl RecordHeadWriter {
    /// Starts a head; `nonce` is session salt and counter of the seal.
    #[must_use]
    pub fn new(codec: Codec, key_epoch: u32, nonce: &[u8; 24]) -> Self {
        let mut head = Vec::with_capacity(RECORD_PREFIX_LEN + MEMBER_PREFIX_LEN + CRC_LEN);
        head.extend_from_slice(&[RECORD_FORMAT, codec as u8, 0, 0]);
        head.extend_from_slice(&key_epoch.to_le_bytes());
        head.extend_from_slice(&[0; 8]);
        head.extend_from_slice(nonce);
        Self { head, member_count: 0 }
    }

    /// Adds an object; its plaintext of `plain_len` bytes follows those of the members before it.
    ///
    /// # Errors
    /// [`RecordError::Limit`] when the object alone cannot be in any record.
    pub fn member(
        &mut self,
        kind: Kind,
        id: &ObjectId,
        plain_len: usize,
        edges: &[ObjectId],
    ) -> Result<(), RecordError> {
        limit("edge_count", edges.len(), EDGE_COUNT_MAX)?;
        limit("plain_len", plain_len, PLAIN_LEN_MAX)?;
        let edge_count = u16::try_from(edges.len()).expect("limited above");
        let plain_len = u32::try_from(plain_len).expect("limited above");
        self.head.extend_from_slice(&[kind as u8, 0]);
        self.head.extend_from_slice(&edge_count.to_le_bytes());
        self.head.extend_from_slice(&plain_len.to_le_bytes());
        self.head.extend_from_slice(id.as_bytes());
        for edge in edges {
            self.head.extend_from_slice(edge.as_bytes());
        }
        self.member_count += 1;
        Ok(())
    }

    /// Completes the head for a body of `body_len` bytes; the result is the additional data of the seal.
    ///
    /// # Errors
    /// [`RecordError`] when the members together break a limit or a rule.
    pub fn finish(mut self, body_len: usize) -> Result<Vec<u8>, RecordError> {
        limit("member_count", self.member_count, MEMBER_COUNT_MAX)?;
        limit("head_len", self.head.len(), HEAD_LEN_MAX)?;
        limit("body_len", body_len, BODY_LEN_MAX)?;
        let member_count = u16::try_from(self.member_count).expect("limited above");
        let head_len = u32::try_from(self.head.len()).expect("limited above");
        let body_len = u32::try_from(body_len).expect("limited above");
        self.head[2..4].copy_from_slice(&member_count.to_le_bytes());
        self.head[8..12].copy_from_slice(&head_len.to_le_bytes());
        self.head[12..16].copy_from_slice(&body_len.to_le_bytes());
        check_head(&self.head)?;
        Ok(self.head)
    }

    /// Appends checksum, body and checksum to a finished head, which makes it a record.
    ///
    /// `write` gets the head (the additional data of the seal) and the zeroed place of the body.
    pub fn append_body(head: &mut Vec<u8>, write: impl FnOnce(&[u8], &mut [u8])) {
        let head_len = head.len();
        let body_len = u32_at(head, 12) as usize;
        let body_offset = head_len + CRC_LEN;
        // Bounded: `finish` refuses a body that is longer than any.
        head.reserve(body_len + 2 * CRC_LEN);
        let crc = crc32c::crc32c(head);
        head.extend_from_slice(&crc.to_le_bytes());
        // Bounded: as above.
        head.resize(body_offset + body_len, 0);
        let (aad, body) = head.split_at_mut(body_offset);
        write(&aad[..head_len], body);
        let crc = crc32c::crc32c(body);
        head.extend_from_slice(&crc.to_le_bytes());
    }
}

/// A record that owns its bytes; cloning shares them.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    len: RecordLen,
    bytes: Bytes,
}

impl SealedRecord {
    /// Takes bytes that are exactly one record.
    ///
    /// # Errors
    /// As [`Record::parse`], and [`RecordError::Trailing`] when more follows.
    pub fn new(bytes: Bytes) -> Result<Self, RecordError> {
        let len = Record::parse(&bytes)?.len();
        if bytes.len() > len.total() {
            return Err(RecordError::Trailing { extra: bytes.len() - len.total() });
        }
        Ok(Self { len, bytes })
    }

    /// The record, without parsing it again.
    #[must_use]
    pub fn view(&self) -> Record<'_> {
        Record { len: self.len, bytes: &self.bytes }
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Splits bytes into the records they hold back to back, without copying.
#[derive(Debug)]
pub struct Records {
    rest: Bytes,
}

impl Records {
    /// Reads `bytes`, which must hold whole records and nothing else.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Records {
    type Item = Result<SealedRecord, RecordError>;

    /// The next record; after an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let len = match Record::parse(&self.rest) {
            Ok(record) => record.len(),
            Err(error) => {
                self.rest.clear();
                return Some(Err(error));
            }
        };
        let bytes = self.rest.split_to(len.total());
        Some(Ok(SealedRecord { len, bytes }))
    }
}

/// Checks everything about a head but its checksum.
fn check_head(head: &[u8]) -> Result<(), RecordError> {
    let codec = Codec::try_from(head[1])?;
    let declared = usize::from(u16_at(head, 2));
    limit("member_count", declared, MEMBER_COUNT_MAX)?;
    let mut rest = &head[RECORD_PREFIX_LEN..];
    let mut found = 0;
    let mut plain_len = 0;
    let mut is_metadata = None;
    while let Some((member, after)) = Member::split(rest)? {
        rest = after;
        found += 1;
        plain_len += member.plain_len;
        limit("plain_len", plain_len, PLAIN_LEN_MAX)?;
        if *is_metadata.get_or_insert(member.kind.is_metadata()) != member.kind.is_metadata() {
            return Err(RecordError::Rule { rule: "data and metadata do not share a record" });
        }
        if codec.is_delta() {
            check_delta_member(&member)?;
        } else if member.kind == Kind::Data && !member.edges.is_empty() {
            return Err(RecordError::Rule { rule: "whole data has no edges" });
        }
    }
    if found != declared {
        return Err(RecordError::MemberLength { declared, found });
    }
    if found == 0 {
        return Err(RecordError::Rule { rule: "a record has at least one member" });
    }
    if codec.is_delta() && found != 1 {
        return Err(RecordError::Rule { rule: "a delta is alone in its record" });
    }
    Ok(())
}

fn check_delta_member(member: &Member<'_>) -> Result<(), RecordError> {
    if member.kind != Kind::Data {
        return Err(RecordError::Rule { rule: "only data is stored as a delta" });
    }
    if !(1..=BASIS_COUNT_MAX).contains(&member.edges.len()) {
        return Err(RecordError::Rule { rule: "a delta has one to eight basis objects" });
    }
    if member.edges.iter().any(|basis| basis == member.id) {
        return Err(RecordError::Rule { rule: "a delta is not its own basis" });
    }
    Ok(())
}

fn limit(field: &'static str, value: usize, limit: usize) -> Result<(), RecordError> {
    if value > limit {
        return Err(RecordError::Limit { field, value: value as u64, limit: limit as u64 });
    }
    Ok(())
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(*bytes[offset..].first_chunk().expect("callers check the length"))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().expect("callers check the length"))
}
