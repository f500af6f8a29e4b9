//! Decoders of the cache that only fuzz targets call from outside: any bytes are refused, or mean the same after they are
//! written again.
#![expect(missing_docs, reason = "fuzz targets read the code")]

use super::layout::{CachedEntry, DirRecord, ROOT_LEN, Root};

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
