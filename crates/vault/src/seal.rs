//! [`Sealer`] turns plain objects into records, [`Opener`] turns records back into plain objects and checks every id.
//!
//! A sealer draws its AES key from a salt of its own and counts its records, so no nonce is ever used twice as long as
//! salts are fresh. An opened object's id has been recomputed from its content: what comes out of an [`Opener`] is what
//! the id promises, or an error.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use object::{Codec, Kind, ObjectId, PLAIN_LEN_MAX, Record, RecordError, RecordHeadWriter, SealedRecord};
use zeroize::Zeroizing;

use crate::compress::{Compress, CompressionLevel, Compressor, DecompressError, Decompressor};
use crate::keys::Keys;

const SALT_LEN: usize = 16;
const KEY_EPOCH: u32 = 0;
/// A random 128-bit salt and this many records keep far below every limit of AES-GCM.
const RECORDS_PER_SALT_MAX: u64 = 1 << 32;
const KEY_CACHE_LEN: usize = 32;
/// A delta's encoding is never longer than its target and this.
const DELTA_OVERHEAD_MAX: usize = 4096;

/// An object nobody has sealed yet, or that was opened and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainObject {
    /// What the object is for.
    pub kind: Kind,
    /// The object's name, made from all the rest.
    pub id: ObjectId,
    /// What the object refers to, in order; empty for data.
    pub edges: Vec<ObjectId>,
    /// The content.
    pub body: Bytes,
}

impl PlainObject {
    /// Names the object.
    #[must_use]
    pub fn new(keys: &Keys, kind: Kind, edges: Vec<ObjectId>, body: Bytes) -> Self {
        let id = keys.object_id(kind, &edges, &body);
        Self { kind, id, edges, body }
    }
}

/// Why objects cannot be sealed together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The objects break a limit or rule of records.
    #[error("objects do not fit one record")]
    Record(#[from] RecordError),
    /// The sealer has counted to its end: make a new one with a fresh salt.
    #[error("sealing session is used up")]
    UsedUp,
    /// Opened again, the record does not hold what went into it.
    #[error("a record just sealed does not hold what was sealed: this machine's memory may be failing")]
    NotAsSealed,
}

/// Makes records; one per worker thread, each with a salt of its own.
pub struct Sealer {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
    counter: u64,
    compressor: Box<dyn Compress>,
    gathered: Vec<u8>,
    frame: Vec<u8>,
}

impl Sealer {
    /// Starts a sealing session. `salt` must be fresh from the operating system.
    #[must_use]
    pub fn new(keys: &Keys, salt: [u8; SALT_LEN], level: CompressionLevel) -> Self {
        Self::with_compressor(keys, salt, Box::new(Compressor::new(level)))
    }

    /// The same with any compressor whose frames are those of zstd, with their length in them.
    #[must_use]
    pub fn with_compressor(keys: &Keys, salt: [u8; SALT_LEN], compressor: Box<dyn Compress>) -> Self {
        Self { key: record_key(keys, &salt), salt, counter: 0, compressor, gathered: Vec::new(), frame: Vec::new() }
    }

    /// Seals `objects` together, compressed when that helps.
    ///
    /// Objects that are read together and are alike belong together; a reader opens all of them at once.
    ///
    /// # Errors
    /// [`SealError::Record`] when they are none, too many, too long, or data and metadata mixed.
    pub fn seal(&mut self, objects: &[PlainObject]) -> Result<SealedRecord, SealError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let plain: &[u8] = match objects {
            [single] => &single.body,
            _ => {
                gathered.clear();
                for object in objects {
                    gathered.extend_from_slice(&object.body);
                }
                &gathered
            }
        };
        let members = objects.iter().map(|object| (object.kind, &object.id, object.body.len(), &object.edges[..]));
        let record = self.seal_members(members, plain, Codec::Raw, Codec::Zstd);
        self.gathered = gathered;
        record
    }

    /// Seals the chunk `id` of `target_len` bytes as a delta that rebuilds it from the `bases`, in their order.
    ///
    /// # Errors
    /// [`SealError::Record`] when there are none or more than eight bases.
    pub fn seal_delta(
        &mut self,
        id: &ObjectId,
        target_len: usize,
        bases: &[ObjectId],
        encoded: &[u8],
    ) -> Result<SealedRecord, SealError> {
        let member = (Kind::Data, id, target_len, bases);
        self.seal_members(std::iter::once(member), encoded, Codec::Delta, Codec::DeltaZstd)
    }

    fn seal_members<'m>(
        &mut self,
        members: impl Iterator<Item = (Kind, &'m ObjectId, usize, &'m [ObjectId])>,
        plain: &[u8],
        raw: Codec,
        compressed: Codec,
    ) -> Result<SealedRecord, SealError> {
        if self.counter == RECORDS_PER_SALT_MAX {
            return Err(SealError::UsedUp);
        }
        if plain.len() > PLAIN_LEN_MAX {
            let (value, limit) = (plain.len() as u64, PLAIN_LEN_MAX as u64);
            return Err(RecordError::Limit { field: "plain_len", value, limit }.into());
        }
        let (codec, content) =
            if self.compressor.compress(plain, &mut self.frame) { (compressed, &self.frame[..]) } else { (raw, plain) };
        let mut nonce = [0; 24];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&self.counter.to_le_bytes());
        let mut writer = RecordHeadWriter::new(codec, KEY_EPOCH, &nonce);
        for (kind, id, plain_len, edges) in members {
            writer.member(kind, id, plain_len, edges)?;
        }
        let mut bytes = writer.finish(content.len() + MAX_TAG_LEN)?;
        RecordHeadWriter::append_body(&mut bytes, |head, body| {
            let (ciphertext, tag) = body.split_at_mut(content.len());
            self.key
                .seal_out_of_place_scatter(gcm_nonce(self.counter), Aad::from(head), content, ciphertext, &[], tag)
                .expect("lengths are far below AES-GCM's limits");
        });
        self.counter += 1;
        Ok(SealedRecord::new(bytes.into()).expect("a record just written is sound"))
    }
}

/// Why a record does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum OpenError {
    /// Sealed with a data key this vault does not have yet.
    #[error("record is sealed with key epoch {key_epoch}, which is not known here")]
    KeyEpoch { key_epoch: u32 },
    /// Another vault's record, or altered since it was sealed.
    #[error("record was altered or belongs to another vault")]
    Altered,
    /// The sealer packed something that does not unpack.
    #[error("record does not decompress")]
    Decompress(#[from] DecompressError),
    /// The content is not as long as the head says.
    #[error("record holds {found} bytes of content, its head declares {declared}")]
    Length { declared: usize, found: usize },
    /// The content is not what the id names.
    #[error("content of object {} does not match its id", id.short())]
    WrongId { id: ObjectId },
}

/// What a record held.
#[derive(Clone, Debug)]
pub enum Opened {
    /// Objects, each checked against its id.
    Objects(Vec<PlainObject>),
    /// A delta; the chunk is checked when it is rebuilt.
    Delta(SealedDelta),
}

/// A delta as it was sealed: what rebuilds a chunk from its basis objects.
#[derive(Clone, Debug)]
pub struct SealedDelta {
    /// The chunk's name.
    pub id: ObjectId,
    /// Bytes of the chunk.
    pub target_len: usize,
    /// The basis objects, in the order the delta counts them.
    pub bases: Vec<ObjectId>,
    /// The encoded delta.
    pub encoded: Bytes,
}

/// Opens records of one vault; one per worker thread.
pub struct Opener {
    keys: Arc<Keys>,
    /// Most recently used last.
    record_keys: Vec<([u8; SALT_LEN], LessSafeKey)>,
    decompressor: Decompressor,
    frame: Vec<u8>,
    /// What was looked at last, when nobody wants to have it.
    looked_at: Vec<u8>,
}

impl Opener {
    /// Starts with an empty cache of record keys.
    #[must_use]
    pub fn new(keys: Arc<Keys>) -> Self {
        let (frame, looked_at) = (Vec::new(), Vec::new());
        Self { keys, record_keys: Vec::new(), decompressor: Decompressor::new(), frame, looked_at }
    }

    /// The vault's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Decrypts, unpacks and checks a record; allocates no more than its declared plaintext.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of the content is returned then.
    pub fn open(&mut self, record: Record<'_>) -> Result<Opened, OpenError> {
        let head = record.head();
        let mut plain = Vec::new();
        self.unpack(record, &mut plain)?;
        let plain = Bytes::from(plain);
        if head.codec().is_delta() {
            let member = head.members().next().expect("a record has a member");
            let bases = member.edges.iter().collect();
            let delta = SealedDelta { id: member.id, target_len: member.plain_len, bases, encoded: plain };
            return Ok(Opened::Delta(delta));
        }
        // Bounded: a head is refused that says it has more than `MEMBER_COUNT_MAX`.
        let mut objects = Vec::with_capacity(head.member_count());
        let mut offset = 0;
        for member in head.members() {
            let body = plain.slice(offset..offset + member.plain_len);
            offset += member.plain_len;
            let object = PlainObject::new(&self.keys, member.kind, member.edges.iter().collect(), body);
            if object.id != member.id {
                return Err(OpenError::WrongId { id: member.id });
            }
            objects.push(object);
        }
        Ok(Opened::Objects(objects))
    }

    /// Checks a record of whole objects as [`open`](Self::open) does, for whoever does not want them: in memory that is used
    /// again for the next one.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    ///
    /// # Panics
    /// When the record holds a delta, which cannot be checked without its bases.
    pub fn check(&mut self, record: Record<'_>) -> Result<(), OpenError> {
        assert!(!record.head().codec().is_delta(), "whoever opens a delta needs it");
        let mut plain = std::mem::take(&mut self.looked_at);
        let checked = self.unpack(record, &mut plain).and_then(|()| self.check_ids(record, &plain));
        self.looked_at = plain;
        checked
    }

    /// One object of a record of whole objects, counted from 0. What stands behind it is not unpacked, and no other is
    /// compared with its id: this is for single objects out of groups.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    ///
    /// # Panics
    /// When the record holds a delta, or not so many members.
    pub fn open_member(&mut self, record: Record<'_>, index: usize) -> Result<PlainObject, OpenError> {
        let head = record.head();
        assert!(!head.codec().is_delta(), "a delta has no members to choose from");
        let start: usize = head.members().take(index).map(|member| member.plain_len).sum();
        let member = head.members().nth(index).expect("an index of a member");
        let end = start + member.plain_len;
        let mut plain = std::mem::take(&mut self.looked_at);
        let unpacked = self.unpack_beginning(record, end, &mut plain);
        let body = unpacked.map(|()| Bytes::copy_from_slice(&plain[start..end]));
        self.looked_at = plain;
        let object = PlainObject::new(&self.keys, member.kind, member.edges.iter().collect(), body?);
        if object.id == member.id { Ok(object) } else { Err(OpenError::WrongId { id: member.id }) }
    }

    fn check_ids(&self, record: Record<'_>, plain: &[u8]) -> Result<(), OpenError> {
        let mut rest = plain;
        for member in record.head().members() {
            let body = rest.split_off(..member.plain_len).expect("the lengths of members add up to the plaintext's");
            let edges: Vec<ObjectId> = member.edges.iter().collect();
            if self.keys.object_id(member.kind, &edges, body) != member.id {
                return Err(OpenError::WrongId { id: member.id });
            }
        }
        Ok(())
    }

    /// Replaces `plain` by what the record holds, which is as long as its head says.
    fn unpack(&mut self, record: Record<'_>, plain: &mut Vec<u8>) -> Result<(), OpenError> {
        check_key_epoch(record)?;
        let head = record.head();
        let declared = head.plain_len();
        let codec = head.codec();
        if codec.is_compressed() {
            let limit = if codec.is_delta() { declared + DELTA_OVERHEAD_MAX } else { declared };
            let mut frame = std::mem::take(&mut self.frame);
            let unpacked = self
                .decrypt(record, &mut frame)
                .and_then(|()| Ok(self.decompressor.decompress(&frame, limit, plain)?));
            self.frame = frame;
            unpacked?;
        } else {
            self.decrypt(record, plain)?;
        }
        if !codec.is_delta() && plain.len() != declared {
            return Err(OpenError::Length { declared, found: plain.len() });
        }
        Ok(())
    }

    /// Replaces `plain` by the first `len` bytes, or more, of what a record of whole objects holds.
    fn unpack_beginning(&mut self, record: Record<'_>, len: usize, plain: &mut Vec<u8>) -> Result<(), OpenError> {
        if !record.head().codec().is_compressed() {
            return self.unpack(record, plain);
        }
        check_key_epoch(record)?;
        let declared = record.head().plain_len();
        let mut frame = std::mem::take(&mut self.frame);
        let unpacked = self
            .decrypt(record, &mut frame)
            .and_then(|()| Ok(self.decompressor.decompress_beginning(&frame, declared, len, plain)?));
        self.frame = frame;
        unpacked
    }

    /// Replaces `plain` by the record's decrypted body.
    fn decrypt(&mut self, record: Record<'_>, plain: &mut Vec<u8>) -> Result<(), OpenError> {
        let (ciphertext, tag) = record.body().split_last_chunk::<MAX_TAG_LEN>().ok_or(OpenError::Altered)?;
        let nonce = record.head().nonce();
        let (salt, counter) = nonce.split_first_chunk::<SALT_LEN>().expect("a nonce has 24 bytes");
        let counter = u64::from_le_bytes(*counter.first_chunk().expect("a nonce has 24 bytes"));
        plain.resize(ciphertext.len(), 0);
        self.record_key(salt)
            .open_separate_gather(gcm_nonce(counter), Aad::from(record.aad()), ciphertext, tag, plain)
            .map_err(|_| OpenError::Altered)
    }

    fn record_key(&mut self, salt: &[u8; SALT_LEN]) -> &LessSafeKey {
        let found = self.record_keys.iter().rposition(|(known, _)| known == salt);
        let entry = match found {
            Some(index) => self.record_keys.remove(index),
            None => {
                if self.record_keys.len() == KEY_CACHE_LEN {
                    self.record_keys.remove(0);
                }
                (*salt, record_key(&self.keys, salt))
            }
        };
        self.record_keys.push(entry);
        &self.record_keys.last().expect("just pushed").1
    }
}

fn check_key_epoch(record: Record<'_>) -> Result<(), OpenError> {
    let key_epoch = record.head().key_epoch();
    if key_epoch == KEY_EPOCH { Ok(()) } else { Err(OpenError::KeyEpoch { key_epoch }) }
}

fn record_key(keys: &Keys, salt: &[u8; SALT_LEN]) -> LessSafeKey {
    let mut material = Zeroizing::new([0; 32 + SALT_LEN]);
    material[..32].copy_from_slice(keys.data_key());
    material[32..].copy_from_slice(salt);
    let key = Zeroizing::new(blake3::derive_key("delta-backup v1 record key", &material[..]));
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key[..]).expect("the key has 32 bytes"))
}

fn gcm_nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
