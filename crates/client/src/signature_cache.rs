//! What a hot file looked like last time: its pieces, and signatures of its chunks, so that the next change of it can be
//! found without asking the server.
//!
//! One file per backed-up file, replaced as a whole, least recently written ones deleted first. The cache may vanish or be
//! damaged at any time: then signatures are fetched, and nothing else happens. Layout: `docs/formats.md`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use delta_core::{Limits, Signature, SignatureParams};
use object::{ObjectId, VaultId};
use vault::{Content, Piece};

use crate::random::random;

const MAGIC: &[u8; 8] = b"DBSIGS\0\x01";
const HEADER_LEN: usize = 8 + 1 + 32;
/// offset u64, length u64, has_id u8, id 32, signature_len u32.
const RECORD_LEN: usize = 8 + 8 + 1 + 32 + 4;
const SIGNATURE_LEN_MAX: usize = 1 << 20;
/// All files together; the oldest go first.
const CACHE_BYTES_MAX: u64 = 1 << 30;
/// Pieces read of one file; a longer one is not worth its memory here.
const PIECE_COUNT_MAX: usize = 1 << 20;

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
        fs::create_dir_all(&self.folder)?;
        let attempt = u64::from_le_bytes(random());
        let temporary = self.file_name(path, &format!("new-{attempt:016x}"));
        let mut out = BufWriter::new(File::create(&temporary)?);
        out.write_all(&[0; HEADER_LEN])?;
        let path = self.file_name(path, "sig");
        Ok(FileMemoryWriter { temporary, path, out: Mutex::new(Some(Ok(out))) })
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

/// The last version of a file, as far as it is remembered.
#[derive(Debug)]
pub(crate) struct RememberedFile {
    file: File,
    content: Content,
    pieces: Vec<(u64, Piece)>,
    /// Where each chunk's signature is: offset and length.
    signatures: HashMap<ObjectId, (u64, u32)>,
}

impl RememberedFile {
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0).ok()?;
        let rest = header.strip_prefix(MAGIC)?;
        let id = ObjectId::from_bytes(*rest[1..].first_chunk()?);
        let content = match rest[0] {
            1 => Content::Chunk(id),
            2 => Content::List(id),
            _ => return None,
        };
        let file_len = file.metadata().ok()?.len();
        let mut pieces = Vec::new();
        let mut signatures = HashMap::new();
        let mut at = HEADER_LEN as u64;
        while at < file_len {
            let mut record = [0; RECORD_LEN];
            file.read_exact_at(&mut record, at).ok()?;
            at += RECORD_LEN as u64;
            let offset = u64::from_le_bytes(*record.first_chunk()?);
            let len = u64::from_le_bytes(*record[8..].first_chunk()?);
            let id = ObjectId::from_bytes(*record[17..].first_chunk()?);
            let signature_len = u32::from_le_bytes(*record[49..].first_chunk()?);
            if len == 0 || pieces.len() == PIECE_COUNT_MAX || signature_len as usize > SIGNATURE_LEN_MAX {
                return None;
            }
            let piece = if record[16] == 1 { Piece::Chunk { len, id } } else { Piece::Hole { len } };
            pieces.push((offset, piece));
            if signature_len > 0 {
                signatures.insert(id, (at, signature_len));
            }
            at += u64::from(signature_len);
        }
        pieces.sort_unstable_by_key(|(offset, _)| *offset);
        Some(Self { file, content, pieces, signatures })
    }

    /// Which version it is.
    pub(crate) fn content(&self) -> Content {
        self.content
    }

    /// All its pieces with their offsets, in order.
    pub(crate) fn pieces(&self) -> &[(u64, Piece)] {
        &self.pieces
    }

    /// The signature of one of its chunks, if it was made with these parameters.
    pub(crate) fn signature(&self, chunk: &ObjectId, len: u32, params: SignatureParams) -> Option<Signature> {
        let encoded = self.encoded_signature(chunk)?;
        Signature::decode(&encoded, params, len, &Limits::default()).ok()
    }

    /// The same as it was written, to be written again.
    pub(crate) fn encoded_signature(&self, chunk: &ObjectId) -> Option<Vec<u8>> {
        let (offset, len) = *self.signatures.get(chunk)?;
        let mut encoded = vec![0; len as usize];
        self.file.read_exact_at(&mut encoded, offset).ok()?;
        Some(encoded)
    }
}

/// Another version being remembered; several threads may add to it, in any order.
#[derive(Debug)]
pub(crate) struct FileMemoryWriter {
    temporary: PathBuf,
    path: PathBuf,
    /// `None` once it is finished.
    out: Mutex<Option<io::Result<BufWriter<File>>>>,
}

impl FileMemoryWriter {
    /// Adds a piece at `offset` of the file, with its chunk's encoded signature if there is one.
    pub(crate) fn add(&self, offset: u64, piece: Piece, signature: Option<&[u8]>) {
        let signature = signature.filter(|encoded| encoded.len() <= SIGNATURE_LEN_MAX).unwrap_or_default();
        let mut record = Vec::with_capacity(RECORD_LEN);
        record.extend_from_slice(&offset.to_le_bytes());
        record.extend_from_slice(&piece.span_len().to_le_bytes());
        match piece {
            Piece::Chunk { id, .. } => {
                record.push(1);
                record.extend_from_slice(id.as_bytes());
            }
            Piece::Hole { .. } => record.extend_from_slice(&[0; 33]),
        }
        record.extend_from_slice(&u32::try_from(signature.len()).expect("limited above").to_le_bytes());
        let mut out = self.out.lock().expect("nobody panics with it");
        let Some(Ok(file)) = &mut *out else {
            return;
        };
        let written = file.write_all(&record).and_then(|()| file.write_all(signature));
        // A cache that cannot be written is none: the failure is kept until the file is finished.
        if let Err(error) = written {
            *out = Some(Err(error));
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
        let out = self.out.lock().expect("nobody panics with it").take().expect("finished once")?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
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
    use delta_core::{BlockLen, HashKey, StrongKind};

    use super::*;

    fn cache(folder: &Path) -> SignatureCache {
        SignatureCache::new(folder, VaultId::from_bytes([1; 16]), "chain")
    }

    #[test]
    fn what_is_written_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let key = HashKey::from_secret(&[3; 32]);
        let params = SignatureParams::on_page_grid(BlockLen::CACHED, StrongKind::COARSE, 0);
        let bytes: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let signature = Signature::compute(&bytes, params, &key).unwrap();
        let mut encoded = Vec::new();
        signature.encode(&mut encoded);
        let (first, second) = (ObjectId::from_bytes([1; 32]), ObjectId::from_bytes([2; 32]));
        let list = Content::List(ObjectId::from_bytes([9; 32]));

        let writer = cache.write(b"/a/file").unwrap();
        writer.add(100_000 + 4096, Piece::Chunk { len: 5, id: second }, None);
        writer.add(100_000, Piece::Hole { len: 4096 }, None);
        writer.add(0, Piece::Chunk { len: 100_000, id: first }, Some(&encoded));
        writer.finish(list).unwrap();

        let read = cache.read(b"/a/file").unwrap();
        assert_eq!(read.content(), list);
        let offsets: Vec<u64> = read.pieces().iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 100_000, 104_096]);
        assert_eq!(read.signature(&first, 100_000, params), Some(signature));
        assert_eq!(read.signature(&second, 5, params), None);
        assert!(cache.read(b"/another").is_none());
    }

    #[test]
    fn damage_is_forgetting() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let writer = cache.write(b"x").unwrap();
        let id = ObjectId::from_bytes([1; 32]);
        writer.add(0, Piece::Chunk { len: 5, id }, Some(b"not a signature"));
        writer.finish(Content::Chunk(id)).unwrap();
        let path = cache.file_name(b"x", "sig");
        let whole = fs::read(&path).unwrap();
        for len in 0..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            if let Some(read) = cache.read(b"x") {
                let params = SignatureParams::on_page_grid(BlockLen::CACHED, StrongKind::COARSE, 0);
                assert_eq!(read.signature(&id, 5, params), None);
            }
        }
    }
}
