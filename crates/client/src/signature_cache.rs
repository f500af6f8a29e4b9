//! What a hot file looked like last time: its pieces, how its chunks came to the server, and signatures, so that the next
//! change of it can be found without asking the server.
//!
//! One file per backed-up file, replaced as a whole, least recently written ones deleted first. The cache may vanish or be
//! damaged at any time. In a managed vault signatures are fetched then. A sealed vault's server has none to give: chunks
//! that change are sent whole then. Every signature carries a tag made with the vault's key, for nobody checks the deltas
//! of a sealed vault before they are relied on. Layout: `docs/formats.md`.
#![expect(clippy::disallowed_methods, reason = "it is the place where the cache is written")]

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use delta_core::{BlockLen, Limits, Signature};
use object::{BASIS_COUNT_MAX, ObjectId, VaultId};
use vault::{Content, Keys, Mode, Piece, SignatureLevel, SignatureTag};

use crate::config::ensure_private;
use crate::outward::outward;
use crate::random::random;

const MAGIC: &[u8; 8] = b"DBSIGS\0\x02";
const HEADER_LEN: usize = 8 + 1 + 32;
const RECORD_HOLE: u8 = 0;
const RECORD_CHUNK: u8 = 1;
const RECORD_SIGNATURE: u8 = 2;
const SIGNATURE_LEN_MAX: usize = 1 << 20;
/// Longest file there can be, in bytes.
const FILE_LEN_MAX: u64 = i64::MAX as u64;
/// All files together; the oldest go first.
const CACHE_BYTES_MAX: u64 = 1 << 30;
/// Pieces read of one file; a longer one is not worth its memory here.
const PIECE_COUNT_MAX: usize = 1 << 20;
/// Signatures read of one file: those of its chunks, or of what they stand on.
const SIGNATURE_COUNT_MAX: usize = 2 * PIECE_COUNT_MAX;

/// The folder of all signature files of one vault and chain.
#[derive(Clone, Debug)]
pub(crate) struct SignatureCache {
    folder: PathBuf,
    prefix: String,
}

impl SignatureCache {
    pub(crate) fn new(cache_folder: &Path, vault: VaultId, chain: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 signature cache name");
        hasher.update(vault.as_bytes());
        hasher.update(chain.as_bytes());
        let prefix = hasher.finalize().to_hex()[..12].to_owned();
        Self { folder: cache_folder.join("signatures"), prefix }
    }

    /// What is remembered of the file at `path`; `None` when nothing is, or it is damaged.
    pub(crate) fn read(&self, path: &[u8]) -> Option<RememberedFile> {
        RememberedFile::open(&self.file_name(path, "sig"))
    }

    /// Begins to remember another version of the file at `path`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write(&self, path: &[u8]) -> io::Result<FileMemoryWriter> {
        ensure_private(&self.folder)?;
        let attempt = u64::from_le_bytes(random());
        let temporary = self.file_name(path, &format!("new-{attempt:016x}"));
        let mut out = BufWriter::new(File::create(&temporary)?);
        out.write_all(&[0; HEADER_LEN])?;
        let path = self.file_name(path, "sig");
        let unfinished = Unfinished { out: Ok(out), signatures: HashSet::new() };
        Ok(FileMemoryWriter { temporary, path, unfinished: Mutex::new(Some(unfinished)) })
    }

    /// Forgets the file at `path`: what is remembered of it has turned out wrong.
    pub(crate) fn forget(&self, path: &[u8]) {
        // What cannot be deleted is wrong again next time, and forgotten then.
        let _ = fs::remove_file(self.file_name(path, "sig"));
    }

    /// Deletes the oldest files until all together stay within the bound.
    pub(crate) fn evict(&self) {
        let Ok(folder) = fs::read_dir(&self.folder) else {
            return;
        };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = folder
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= CACHE_BYTES_MAX {
                break;
            }
            // Another run may have deleted it; either way it is gone.
            let _ = fs::remove_file(path);
            total -= len;
        }
    }

    fn file_name(&self, path: &[u8], ending: &str) -> PathBuf {
        let hash = blake3::hash(path).to_hex();
        self.folder.join(format!("{}-{}.{ending}", self.prefix, &hash[..32]))
    }
}

/// A chunk of a file's last version, or one that such a chunk stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasisChunk {
    pub(crate) id: ObjectId,
    pub(crate) len: u32,
    /// Where in its version of the file it starts.
    pub(crate) offset: u64,
}

/// How a chunk is stored, as far as this client knows: which deltas can be made against it follows from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Whole, if its signature is remembered. Nobody here knows, if it is not.
    Plain,
    /// As a delta against these chunks, which are stored whole.
    Delta { bases: Vec<ObjectId> },
}

/// A signature as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptSignature {
    /// Of which chunk, and where in the file its blocks were laid out.
    pub(crate) chunk: BasisChunk,
    pub(crate) block_len: BlockLen,
    pub(crate) tag: SignatureTag,
    pub(crate) encoded: Vec<u8>,
}

impl KeptSignature {
    /// Computes what is kept of the chunk `id` of these bytes.
    pub(crate) fn compute(
        keys: &Keys,
        mode: Mode,
        level: SignatureLevel,
        (id, offset): (ObjectId, u64),
        bytes: &[u8],
    ) -> Self {
        let params = mode.params(level, offset);
        let signature = Signature::compute(bytes, params, keys.hash_key()).expect("chunks are at most 4 MiB");
        let mut encoded = Vec::new();
        signature.encode(&mut encoded);
        let chunk = BasisChunk { id, len: signature.basis_len(), offset };
        Self { chunk, block_len: level.block_len(), tag: keys.signature_tag(&id, &encoded), encoded }
    }

    /// Whether blocks laid out from `offset` would be the same ones.
    pub(crate) fn is_laid_out_for(&self, mode: Mode, offset: u64) -> bool {
        let level = SignatureLevel::Coarse(self.block_len);
        mode.params(level, self.chunk.offset) == mode.params(mode.cached_level(), offset)
    }
}

/// Where a signature is in the file.
#[derive(Clone, Copy, Debug)]
struct SignaturePlace {
    chunk: BasisChunk,
    block_len: BlockLen,
    tag: SignatureTag,
    at: u64,
    len: u32,
}

/// The last version of a file, as far as it is remembered.
#[derive(Debug)]
pub(crate) struct RememberedFile {
    file: File,
    content: Content,
    pieces: Vec<(u64, Piece)>,
    deltas: HashMap<ObjectId, Form>,
    signatures: HashMap<ObjectId, SignaturePlace>,
    /// The chunks whose signatures there are, by their offset.
    bases: Vec<BasisChunk>,
}

impl RememberedFile {
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let file_len = file.metadata().ok()?.len();
        let mut records = Records { file: BufReader::new(&file), at: 0 };
        let header: [u8; HEADER_LEN] = records.array()?;
        let rest = header.strip_prefix(MAGIC)?;
        let id = ObjectId::from_bytes(*rest[1..].first_chunk()?);
        let content = match rest[0] {
            1 => Content::Chunk(id),
            2 => Content::List(id),
            _ => return None,
        };
        let (mut pieces, mut deltas, mut signatures) = (Vec::new(), HashMap::new(), HashMap::new());
        while records.at < file_len {
            match records.record()? {
                CacheRecord::Hole { offset, len } => pieces.push((offset, Piece::Hole { len })),
                CacheRecord::Chunk { offset, len, id, form } => {
                    pieces.push((offset, Piece::Chunk { len, id }));
                    if form != Form::Plain {
                        deltas.insert(id, form);
                    }
                }
                CacheRecord::Signature(place) => drop(signatures.insert(place.chunk.id, place)),
            }
            if pieces.len() > PIECE_COUNT_MAX || signatures.len() > SIGNATURE_COUNT_MAX || records.at > file_len {
                return None;
            }
        }
        pieces.sort_unstable_by_key(|(offset, _)| *offset);
        let mut bases: Vec<BasisChunk> = signatures.values().map(|place| place.chunk).collect();
        bases.sort_unstable_by_key(|basis| basis.offset);
        Some(Self { file, content, pieces, deltas, signatures, bases })
    }

    /// Which version it is.
    pub(crate) fn content(&self) -> Content {
        self.content
    }

    /// All its pieces with their offsets, in order.
    pub(crate) fn pieces(&self) -> &[(u64, Piece)] {
        &self.pieces
    }

    /// Forgets the signatures of those chunks of which `held` says that they are not there; it is asked about all
    /// at once.
    pub(crate) fn keep_held<E>(&mut self, held: impl FnOnce(&[ObjectId]) -> Result<Vec<bool>, E>) -> Result<(), E> {
        let ids: Vec<ObjectId> = self.bases.iter().map(|basis| basis.id).collect();
        for (id, is_held) in ids.iter().zip(held(&ids)?) {
            if !is_held {
                self.signatures.remove(id);
            }
        }
        self.bases.retain(|basis| self.signatures.contains_key(&basis.id));
        Ok(())
    }

    /// How a chunk is stored.
    pub(crate) fn form(&self, chunk: &ObjectId) -> Form {
        self.deltas.get(chunk).cloned().unwrap_or(Form::Plain)
    }

    /// Chunks whose signatures are remembered, those first that stand nearest to `offset`; at most `count`.
    pub(crate) fn bases_around(&self, offset: u64, count: usize) -> impl Iterator<Item = &BasisChunk> {
        let center = self.bases.partition_point(|basis| basis.offset <= offset).saturating_sub(1);
        outward(center, self.bases.len()).take(count).map(|index| &self.bases[index])
    }

    /// The chunks whose signatures are remembered and that a chunk is stored as: itself, or what its delta stands on.
    pub(crate) fn bases_of(&self, chunk: &ObjectId) -> Vec<BasisChunk> {
        let known = |id: &ObjectId| self.signatures.get(id).map(|place| place.chunk);
        match self.deltas.get(chunk) {
            Some(Form::Delta { bases }) => bases.iter().filter_map(known).collect(),
            _ => known(chunk).into_iter().collect(),
        }
    }

    /// The signature of a chunk, if it was made with the vault's key and in its mode.
    pub(crate) fn signature(&self, keys: &Keys, mode: Mode, chunk: &ObjectId) -> Option<Signature> {
        let kept = self.kept_signature(keys, chunk)?;
        let params = mode.params(SignatureLevel::Coarse(kept.block_len), kept.chunk.offset);
        Signature::decode(&kept.encoded, params, kept.chunk.len, &Limits::default()).ok()
    }

    /// The same as it was written, to be written again.
    pub(crate) fn kept_signature(&self, keys: &Keys, chunk: &ObjectId) -> Option<KeptSignature> {
        let SignaturePlace { chunk, block_len, tag, at, len } = *self.signatures.get(chunk)?;
        // Bounded: nothing longer than `SIGNATURE_LEN_MAX` is a place.
        let mut encoded = vec![0; len as usize];
        self.file.read_exact_at(&mut encoded, at).ok()?;
        let is_ours = keys.is_signature_tag(&tag, &chunk.id, &encoded);
        is_ours.then_some(KeptSignature { chunk, block_len, tag, encoded })
    }
}

/// One record of the file, but for the signature itself.
enum CacheRecord {
    Hole { offset: u64, len: u64 },
    Chunk { offset: u64, len: u64, id: ObjectId, form: Form },
    Signature(SignaturePlace),
}

/// Reads records one after the other.
struct Records<'f> {
    file: BufReader<&'f File>,
    at: u64,
}

impl Records<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).ok()?;
        self.at += N as u64;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn short_number(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn id(&mut self) -> Option<ObjectId> {
        self.array().map(ObjectId::from_bytes)
    }

    /// The next record; `None` when there is no sound one.
    fn record(&mut self) -> Option<CacheRecord> {
        let [kind] = self.array()?;
        // No file is longer; what adds offsets and lengths may rely on it.
        let offset = self.number().filter(|offset| *offset <= FILE_LEN_MAX)?;
        match kind {
            RECORD_HOLE => {
                let len = self.number().filter(|len| *len > 0 && *len <= FILE_LEN_MAX - offset)?;
                Some(CacheRecord::Hole { offset, len })
            }
            RECORD_CHUNK => {
                let (len, id) = (self.short_number().filter(|len| *len > 0)?, self.id()?);
                let [basis_count] = self.array()?;
                if usize::from(basis_count) > BASIS_COUNT_MAX {
                    return None;
                }
                let bases: Option<Vec<ObjectId>> = (0..basis_count).map(|_| self.id()).collect();
                let bases = bases?;
                let form = if bases.is_empty() { Form::Plain } else { Form::Delta { bases } };
                Some(CacheRecord::Chunk { offset, len: u64::from(len), id, form })
            }
            RECORD_SIGNATURE => {
                let (chunk_len, id) = (self.short_number()?, self.id()?);
                let block_len = self.short_number().and_then(BlockLen::new)?;
                let tag = self.array()?;
                let len = self.short_number().filter(|len| *len as usize <= SIGNATURE_LEN_MAX)?;
                let chunk = BasisChunk { id, len: chunk_len, offset };
                let place = SignaturePlace { chunk, block_len, tag, at: self.at, len };
                self.file.seek_relative(i64::from(len)).ok()?;
                self.at += u64::from(len);
                Some(CacheRecord::Signature(place))
            }
            _ => None,
        }
    }
}

/// Another version being remembered; several threads may add to it, in any order.
#[derive(Debug)]
pub(crate) struct FileMemoryWriter {
    temporary: PathBuf,
    path: PathBuf,
    /// `None` once it is finished.
    unfinished: Mutex<Option<Unfinished>>,
}

#[derive(Debug)]
struct Unfinished {
    /// A cache that cannot be written is none: the failure is kept until the file is finished.
    out: io::Result<BufWriter<File>>,
    /// Whose signatures are in it.
    signatures: HashSet<ObjectId>,
}

impl Unfinished {
    fn write(&mut self, record: &[u8]) {
        if let Ok(file) = &mut self.out
            && let Err(error) = file.write_all(record)
        {
            self.out = Err(error);
        }
    }
}

impl FileMemoryWriter {
    /// Adds a hole.
    pub(crate) fn add_hole(&self, offset: u64, len: u64) {
        let mut record = vec![RECORD_HOLE];
        record.extend_from_slice(&offset.to_le_bytes());
        record.extend_from_slice(&len.to_le_bytes());
        self.with_unfinished(|unfinished| unfinished.write(&record));
    }

    /// Adds a chunk, and how it is stored.
    pub(crate) fn add_chunk(&self, chunk: BasisChunk, form: &Form) {
        let bases = match form {
            Form::Plain => &[][..],
            Form::Delta { bases } => bases,
        };
        let mut record = vec![RECORD_CHUNK];
        record.extend_from_slice(&chunk.offset.to_le_bytes());
        record.extend_from_slice(&chunk.len.to_le_bytes());
        record.extend_from_slice(chunk.id.as_bytes());
        record.push(u8::try_from(bases.len()).expect("a delta has at most eight bases"));
        record.extend(bases.iter().flat_map(|basis| *basis.as_bytes()));
        self.with_unfinished(|unfinished| unfinished.write(&record));
    }

    /// Whether a chunk's signature is in it.
    pub(crate) fn has_signature(&self, chunk: &ObjectId) -> bool {
        let unfinished = self.unfinished.lock().expect("nobody panics with it");
        unfinished.as_ref().is_some_and(|unfinished| unfinished.signatures.contains(chunk))
    }

    /// Adds a signature, unless it is there.
    pub(crate) fn add_signature(&self, kept: &KeptSignature) {
        let KeptSignature { chunk, block_len, tag, encoded } = kept;
        let Some(len) = u32::try_from(encoded.len()).ok().filter(|len| *len as usize <= SIGNATURE_LEN_MAX) else {
            return;
        };
        let mut record = Vec::with_capacity(128 + encoded.len());
        record.push(RECORD_SIGNATURE);
        record.extend_from_slice(&chunk.offset.to_le_bytes());
        record.extend_from_slice(&chunk.len.to_le_bytes());
        record.extend_from_slice(chunk.id.as_bytes());
        record.extend_from_slice(&block_len.bytes().to_le_bytes());
        record.extend_from_slice(tag);
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(encoded);
        self.with_unfinished(|unfinished| {
            if unfinished.signatures.insert(chunk.id) {
                unfinished.write(&record);
            }
        });
    }

    fn with_unfinished(&self, add: impl FnOnce(&mut Unfinished)) {
        if let Some(unfinished) = &mut *self.unfinished.lock().expect("nobody panics with it") {
            add(unfinished);
        }
    }

    /// Makes it the version that is remembered: `content`.
    ///
    /// # Errors
    /// When the file, or an earlier part of it, could not be written.
    pub(crate) fn finish(self, content: Content) -> io::Result<()> {
        let (tag, id) = match content {
            Content::Empty => return Ok(()),
            Content::Chunk(id) => (1, id),
            Content::List(id) => (2, id),
        };
        let unfinished = self.unfinished.lock().expect("nobody panics with it").take().expect("finished once");
        let file = unfinished.out?.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut header = MAGIC.to_vec();
        header.push(tag);
        header.extend_from_slice(id.as_bytes());
        file.write_all_at(&header, 0)?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for FileMemoryWriter {
    fn drop(&mut self) {
        // After a rename there is nothing of that name, which is as well.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use vault::VaultKey;

    use super::*;

    fn cache(folder: &Path) -> SignatureCache {
        SignatureCache::new(folder, VaultId::from_bytes([1; 16]), "chain")
    }

    fn keys() -> Keys {
        Keys::new(&VaultKey::from_bytes([3; 32]))
    }

    fn id(name: u8) -> ObjectId {
        ObjectId::from_bytes([name; 32])
    }

    fn kept(keys: &Keys, mode: Mode, place: (ObjectId, u64), len: u32) -> KeptSignature {
        let bytes: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        KeptSignature::compute(keys, mode, mode.cached_level(), place, &bytes)
    }

    #[test]
    fn what_is_written_is_remembered() {
        for mode in [Mode::Managed, Mode::Sealed] {
            let folder = tempfile::tempdir().unwrap();
            let (cache, keys) = (cache(folder.path()), keys());
            let whole = kept(&keys, mode, (id(1), 0), 100_000);
            let old = kept(&keys, mode, (id(7), 99_000), 50_000);
            let delta = Form::Delta { bases: vec![id(1), id(7)] };
            let chunk = |name, offset, len| BasisChunk { id: id(name), len, offset };

            let writer = cache.write(b"/a/file").unwrap();
            writer.add_chunk(chunk(2, 104_096, 5), &delta);
            writer.add_hole(100_000, 4096);
            writer.add_signature(&old);
            writer.add_chunk(chunk(1, 0, 100_000), &Form::Plain);
            writer.add_signature(&whole);
            writer.add_signature(&whole);
            writer.add_chunk(chunk(3, 104_101, 9), &Form::Plain);
            writer.finish(Content::List(id(9))).unwrap();

            let read = cache.read(b"/a/file").unwrap();
            assert_eq!(read.content(), Content::List(id(9)));
            let offsets: Vec<u64> = read.pieces().iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, [0, 100_000, 104_096, 104_101]);
            assert_eq!(read.kept_signature(&keys, &id(1)), Some(whole.clone()));
            assert_eq!(read.signature(&keys, mode, &id(7)).unwrap().basis_len(), 50_000);
            assert_eq!((read.form(&id(1)), read.form(&id(2)), read.form(&id(3))), (Form::Plain, delta, Form::Plain));
            assert_eq!(read.bases_of(&id(1)), [whole.chunk]);
            assert_eq!(read.bases_of(&id(2)), [whole.chunk, old.chunk]);
            assert_eq!(read.bases_of(&id(3)), [], "nobody knows how it is stored");
            assert_eq!(read.bases_around(90_000, 9).collect::<Vec<_>>(), [&whole.chunk, &old.chunk]);
            assert_eq!(read.bases_around(1 << 40, 1).collect::<Vec<_>>(), [&old.chunk]);
            let mut read = read;
            read.keep_held(|ids| Ok::<_, ()>(ids.iter().map(|asked| *asked != id(7)).collect())).unwrap();
            assert_eq!(read.bases_of(&id(2)), [whole.chunk]);
            assert!(cache.read(b"/another").is_none());
            cache.forget(b"/a/file");
            assert!(cache.read(b"/a/file").is_none());
        }
    }

    /// Any damage ends in forgetting, never in another signature.
    #[test]
    fn damage_is_forgetting() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, keys, mode) = (cache(folder.path()), keys(), Mode::Sealed);
        let kept = kept(&keys, mode, (id(1), 0), 5000);
        let writer = cache.write(b"x").unwrap();
        writer.add_chunk(kept.chunk, &Form::Plain);
        writer.add_signature(&kept);
        writer.finish(Content::Chunk(id(1))).unwrap();
        let sound = cache.read(b"x").unwrap().signature(&keys, mode, &id(1));
        assert!(sound.is_some());
        let path = cache.file_name(b"x", "sig");
        let whole = fs::read(&path).unwrap();
        let check = |damaged: &[u8]| {
            fs::write(&path, damaged).unwrap();
            let Some(read) = cache.read(b"x") else { return };
            assert!(read.pieces().iter().all(|(offset, _)| *offset <= FILE_LEN_MAX));
            let signature = read.signature(&keys, mode, &id(1));
            assert!(signature.is_none() || signature == sound);
        };
        for len in 0..whole.len() {
            check(&whole[..len]);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            for bit in [0x10, 0x80] {
                damaged[at] ^= bit;
                check(&damaged);
            }
        }
    }

    #[test]
    fn another_vaults_signature_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let others = Keys::new(&VaultKey::from_bytes([4; 32]));
        let writer = cache.write(b"x").unwrap();
        writer.add_signature(&kept(&others, Mode::Sealed, (id(1), 0), 5000));
        writer.finish(Content::Chunk(id(1))).unwrap();
        let read = cache.read(b"x").unwrap();
        assert!(read.signature(&others, Mode::Sealed, &id(1)).is_some());
        assert_eq!(read.signature(&keys(), Mode::Sealed, &id(1)), None);
        assert_eq!(read.signature(&others, Mode::Managed, &id(1)), None, "made for another mode");
    }
}
