//! Decoders of the cache that only fuzz targets call from outside: any bytes are refused, or mean the same after they are
//! written again.
#![expect(missing_docs, reason = "fuzz targets read the code")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use object::{ObjectId, VaultId};

use super::file::{self, CacheKey, CachedDir, StatCache};
use super::layout::{CachedEntry, DirPointer, DirRecord, ROOT_LEN, Root};

pub fn root(bytes: &[u8]) -> bool {
    let Some(root) = bytes.first_chunk::<ROOT_LEN>().and_then(Root::from_bytes) else { return false };
    assert_eq!(Root::from_bytes(&root.to_bytes()), Some(root));
    true
}

pub fn directory(bytes: &[u8]) -> bool {
    let Some(record) = DirRecord::read(bytes) else { return false };
    let mut written = Vec::new();
    record.write(&mut written);
    assert_eq!(DirRecord::read(&written), Some(record));
    true
}

/// How many entries there are at the beginning.
pub fn entries(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(entry) = CachedEntry::read(&mut bytes) {
        let mut written = Vec::new();
        entry.write(&mut written);
        assert_eq!(CachedEntry::read(&mut &written[..]).as_ref(), Some(&entry));
        let _ = entry.entry();
        count += 1;
    }
    count
}

/// Reads a whole cache file whose records are these, the directory `/` the one at `root`; how many entries it tells of, of
/// `entries_max` at most.
pub fn cache(folder: &Path, records: &[Vec<u8>], root: usize, entries_max: usize) -> usize {
    let mut file = [&file::FILE_MAGIC[..], &[7; 16]].concat();
    let mut offsets = Vec::new();
    for record in records {
        offsets.push(file.len() as u64);
        file.extend_from_slice(&u32::try_from(record.len()).expect("small").to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
        file.extend_from_slice(record);
    }
    let key = CacheKey { vault: VaultId::from_bytes([1; 16]), chain: "fuzz".to_owned() };
    let directory = DirPointer { offset: offsets.get(root).copied().unwrap_or(root as u64), live_len: 0 };
    let file_len = file.len() as u64;
    let snapshot = ObjectId::from_bytes([2; 32]);
    let root = Root { file_id: [7; 16], vault: key.vault, file_len, directory, snapshot, runs: 0 };
    fs::write(key.path(folder, "cache"), file).expect("there is room");
    fs::write(key.path(folder, "root"), root.to_bytes()).expect("there is room");

    let cache = Arc::new(StatCache::open(folder, &key).expect("its root is right"));
    let mut pointers = vec![cache.root_directory()];
    let mut count = 0;
    while let Some(pointer) = pointers.pop() {
        let Some(mut directory) = CachedDir::open(&cache, pointer) else { continue };
        while let Some(entry) = directory.next() {
            count += 1;
            pointers.extend(entry.directory);
            if count == entries_max {
                return count;
            }
        }
    }
    count
}
