//! The cache on disk: [`StatCache`] reads the last backup's, [`StatCacheWriter`] writes this one's.
#![expect(clippy::disallowed_methods, reason = "it is the place where the cache is written")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::{ObjectId, VaultId};

use super::layout::{CachedEntry, DirPointer, DirRecord, ROOT_LEN, Root};
use crate::config::ensure_private;

pub(super) const FILE_MAGIC: &[u8; 16] = b"delta-backup st\x01";
const FILE_HEADER_LEN: usize = 32;
const FRAME_LEN: usize = 8;
/// Entries go out in segments of about this many bytes, so a huge directory needs little memory.
const SEGMENT_BYTES: usize = 64 * 1024;
const SEGMENT_BYTES_MAX: u32 = 16 << 20;
/// Below this it is not worth while to write a new file.
const GARBAGE_FLOOR: u64 = 1 << 20;

/// Which cache: one per vault and chain.
#[derive(Clone, Debug)]
pub(crate) struct CacheKey {
    pub(crate) vault: VaultId,
    pub(crate) chain: String,
}

impl CacheKey {
    pub(super) fn path(&self, folder: &Path, ending: &str) -> PathBuf {
        let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 stat cache name");
        hasher.update(self.vault.as_bytes());
        hasher.update(self.chain.as_bytes());
        folder.join(format!("stat-{}.{ending}", &hasher.finalize().to_hex()[..16]))
    }
}

/// The last backup's view, sound as far as its root goes; every record is checked when it is read.
#[derive(Debug)]
pub(crate) struct StatCache {
    file: File,
    root: Root,
}

impl StatCache {
    /// The chain's cache; `None` when there is none to rely on.
    pub(crate) fn open(folder: &Path, key: &CacheKey) -> Option<Self> {
        let bytes = fs::read(key.path(folder, "root")).ok()?;
        let root = Root::from_bytes(bytes.as_slice().try_into().ok()?)?;
        let file = File::open(key.path(folder, "cache")).ok()?;
        let mut header = [0; FILE_HEADER_LEN];
        file.read_exact_at(&mut header, 0).ok()?;
        let is_same_file = header[..16] == *FILE_MAGIC && header[16..] == root.file_id;
        let is_long_enough = file.metadata().ok()?.len() >= root.file_len;
        let is_usable = is_same_file && is_long_enough && root.vault == key.vault;
        is_usable.then_some(Self { file, root })
    }

    /// The snapshot whose tree the cache describes.
    pub(crate) fn snapshot(&self) -> ObjectId {
        self.root.snapshot
    }

    /// Backups that relied on stamps since one that read every file.
    pub(crate) fn runs(&self) -> u32 {
        self.root.runs
    }

    /// The directory `/`.
    pub(crate) fn root_directory(&self) -> DirPointer {
        self.root.directory
    }

    fn read_record(&self, offset: u64) -> Option<Vec<u8>> {
        let mut frame = [0; FRAME_LEN];
        let payload_offset = offset.checked_add(FRAME_LEN as u64)?;
        if payload_offset > self.root.file_len {
            return None;
        }
        self.file.read_exact_at(&mut frame, offset).ok()?;
        let len = u32::from_le_bytes(*frame.first_chunk()?);
        let crc = u32::from_le_bytes(*frame.last_chunk()?);
        if len > SEGMENT_BYTES_MAX || payload_offset.checked_add(u64::from(len))? > self.root.file_len {
            return None;
        }
        // Bounded: by `SEGMENT_BYTES_MAX`, as checked above.
        let mut payload = vec![0; len as usize];
        self.file.read_exact_at(&mut payload, payload_offset).ok()?;
        (crc32c::crc32c(&payload) == crc).then_some(payload)
    }
}

/// A directory of the last backup; entries come in ascending order of their names.
#[derive(Debug)]
pub(crate) struct CachedDir {
    cache: Arc<StatCache>,
    record: DirRecord,
    next_segment: usize,
    segment: Vec<u8>,
    offset: usize,
}

impl CachedDir {
    /// Opens a directory; `None` when its record is damaged.
    pub(crate) fn open(cache: &Arc<StatCache>, pointer: DirPointer) -> Option<Self> {
        let record = DirRecord::read(&cache.read_record(pointer.offset)?)?;
        Some(Self { cache: Arc::clone(cache), record, next_segment: 0, segment: Vec::new(), offset: 0 })
    }

    /// The directory's tree in that backup.
    pub(crate) fn tree(&self) -> ObjectId {
        self.record.tree
    }

    /// The next entry; `None` at the end, and after damage.
    pub(crate) fn next(&mut self) -> Option<CachedEntry> {
        while self.offset == self.segment.len() {
            let offset = *self.record.segments.get(self.next_segment)?;
            self.next_segment += 1;
            self.segment = self.cache.read_record(offset)?;
            self.offset = 0;
        }
        let mut rest = &self.segment[self.offset..];
        let entry = CachedEntry::read(&mut rest)?;
        self.offset = self.segment.len() - rest.len();
        Some(entry)
    }
}

/// Writes a backup's view; without [`commit`](Self::commit) the one before stays.
#[derive(Debug)]
pub(crate) struct StatCacheWriter {
    folder: PathBuf,
    key: CacheKey,
    /// Named like this until the commit when the file is new; `None` when the last backup's file is continued.
    new_file: Option<PathBuf>,
    out: BufWriter<File>,
    file_id: [u8; 16],
    file_len: u64,
    runs: u32,
}

impl StatCacheWriter {
    /// Continues the file of `previous`, or starts a new one when there is none or most of it is garbage.
    ///
    /// `is_continued` afterwards says whether pointers of `previous` may be used. `file_id` must be random.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn create(
        folder: &Path,
        key: &CacheKey,
        previous: Option<&Arc<StatCache>>,
        file_id: [u8; 16],
    ) -> io::Result<Self> {
        ensure_private(folder)?;
        let continued =
            previous.filter(|cache| cache.root.file_len / 2 < cache.root.directory.live_len + GARBAGE_FLOOR);
        if let Some(cache) = continued {
            let file = OpenOptions::new().append(true).open(key.path(folder, "cache"))?;
            file.set_len(cache.root.file_len)?;
            return Ok(Self {
                folder: folder.to_owned(),
                key: key.clone(),
                new_file: None,
                out: BufWriter::new(file),
                file_id: cache.root.file_id,
                file_len: cache.root.file_len,
                runs: cache.root.runs.saturating_add(1),
            });
        }
        let path = key.path(folder, "cache.new");
        let mut out = BufWriter::new(File::create(&path)?);
        out.write_all(FILE_MAGIC)?;
        out.write_all(&file_id)?;
        Ok(Self {
            folder: folder.to_owned(),
            key: key.clone(),
            new_file: Some(path),
            out,
            file_id,
            file_len: FILE_HEADER_LEN as u64,
            runs: previous.map_or(0, |cache| cache.root.runs.saturating_add(1)),
        })
    }

    /// Whether directories of the previous cache may be pointed to.
    pub(crate) fn is_continued(&self) -> bool {
        self.new_file.is_none()
    }

    /// Copies a directory and everything below it from `previous`, for a file that is not continued.
    ///
    /// # Errors
    /// When the file cannot be written; `Ok(None)` when `previous` is damaged there.
    pub(crate) fn copy(&mut self, previous: &Arc<StatCache>, pointer: DirPointer) -> io::Result<Option<DirPointer>> {
        let Some(mut old) = CachedDir::open(previous, pointer) else {
            return Ok(None);
        };
        let tree = old.tree();
        let mut new = DirWriter::new();
        while let Some(mut entry) = old.next() {
            if let Some(child) = entry.directory {
                match self.copy(previous, child)? {
                    Some(pointer) => entry.directory = Some(pointer),
                    None => return Ok(None),
                }
            }
            new.push(self, &entry)?;
        }
        Ok(Some(new.finish(self, tree)?))
    }

    /// Makes this the chain's cache: the view of `snapshot`, whose `/` is `directory`.
    ///
    /// # Errors
    /// When a file cannot be written or renamed.
    pub(crate) fn commit(mut self, snapshot: ObjectId, directory: DirPointer) -> io::Result<()> {
        self.out.flush()?;
        let root = Root {
            vault: self.key.vault,
            file_id: self.file_id,
            file_len: self.file_len,
            directory,
            snapshot,
            runs: self.runs,
        };
        let root_path = self.key.path(&self.folder, "root");
        if let Some(new_file) = &self.new_file {
            // Between the two renames the root belongs to no file: it is found not to fit, and files are read again.
            fs::rename(new_file, self.key.path(&self.folder, "cache"))?;
        }
        let new_root = self.key.path(&self.folder, "root.new");
        let bytes: [u8; ROOT_LEN] = root.to_bytes();
        fs::write(&new_root, bytes)?;
        fs::rename(&new_root, root_path)
    }

    fn append(&mut self, payload: &[u8]) -> io::Result<u64> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len <= SEGMENT_BYTES_MAX);
        let len = len.ok_or_else(|| io::Error::other("an entry is too long for the stat cache"))?;
        let offset = self.file_len;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&crc32c::crc32c(payload).to_le_bytes())?;
        self.out.write_all(payload)?;
        self.file_len += FRAME_LEN as u64 + u64::from(len);
        Ok(offset)
    }
}

/// One directory being written; several may be open at once, each holds at most one segment.
#[derive(Debug, Default)]
pub(crate) struct DirWriter {
    segments: Vec<u64>,
    segment: Vec<u8>,
    live_len: u64,
}

impl DirWriter {
    /// A directory with no entries yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends an entry; names must ascend.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn push(&mut self, writer: &mut StatCacheWriter, entry: &CachedEntry) -> io::Result<()> {
        entry.write(&mut self.segment);
        self.live_len += entry.directory.map_or(0, |directory| directory.live_len);
        if self.segment.len() >= SEGMENT_BYTES { self.end_segment(writer) } else { Ok(()) }
    }

    /// Completes the directory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(mut self, writer: &mut StatCacheWriter, tree: ObjectId) -> io::Result<DirPointer> {
        if !self.segment.is_empty() {
            self.end_segment(writer)?;
        }
        let mut payload = Vec::new();
        DirRecord { tree, segments: self.segments }.write(&mut payload);
        let live_len = self.live_len + (FRAME_LEN + payload.len()) as u64;
        Ok(DirPointer { offset: writer.append(&payload)?, live_len })
    }

    fn end_segment(&mut self, writer: &mut StatCacheWriter) -> io::Result<()> {
        let segment = std::mem::take(&mut self.segment);
        self.live_len += (FRAME_LEN + segment.len()) as u64;
        self.segments.push(writer.append(&segment)?);
        Ok(())
    }
}
