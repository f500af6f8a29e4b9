//! How entries, directories and the root are written: [`CachedEntry`], [`DirPointer`], [`Root`].

use delta_core::varint;
use object::{ObjectId, VaultId};
use vault::{Entry, Timestamp};

/// Times have a granularity, so a change within so many seconds of a look may not show.
const RACY_SECS: i64 = 2;
const ROOT_MAGIC: &[u8; 8] = b"DBSTAT\0\x01";
pub(super) const ROOT_LEN: usize = 8 + 16 + 16 + 3 * 8 + 32 + 4 + 4;

/// What tells whether a name still stands for what it did: kind, size, both times, inode.
///
/// The change time covers owner, mode, attributes and link count, so equal stamps mean an equal entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) kind: u8,
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
    pub(crate) inode: u64,
}

impl Stamp {
    /// The number of a regular file's kind.
    pub(crate) const FILE: u8 = 1;

    pub(crate) fn is_file(&self) -> bool {
        self.kind == Self::FILE
    }

    /// Whether a change after the look at `started` might have left the stamp as it is: its times are not older than that
    /// by more than two seconds. Times to come are racy, too.
    pub(crate) fn is_racy(&self, started: Timestamp) -> bool {
        let racy_from = Timestamp { secs: started.secs - RACY_SECS, ..started };
        self.mtime >= racy_from || self.ctime >= racy_from
    }
}

/// A name as the last backup saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachedEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) stamp: Stamp,
    /// Changed so shortly before it was looked at that an equal stamp would prove nothing.
    pub(crate) is_racy: bool,
    /// For a directory: where the cache has it.
    pub(crate) directory: Option<DirPointer>,
    /// The entry as [`Entry::to_bytes`] wrote it.
    pub(crate) encoded: Vec<u8>,
}

/// Where a directory is in the cache file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirPointer {
    /// Where its record starts.
    pub(super) offset: u64,
    /// Bytes of the file that hold this directory and everything below.
    pub(super) live_len: u64,
}

/// A directory's record: its tree, and where its entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirRecord {
    pub(super) tree: ObjectId,
    pub(super) segments: Vec<u64>,
}

/// The one moment at which a new cache becomes valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) vault: VaultId,
    /// Which cache file this root belongs to.
    pub(super) file_id: [u8; 16],
    pub(super) file_len: u64,
    pub(super) directory: DirPointer,
    /// The snapshot whose tree this is.
    pub(super) snapshot: ObjectId,
    /// Backups since one that read every file.
    pub(super) runs: u32,
}

impl CachedEntry {
    /// The entry itself; `None` when the cache is damaged.
    pub(crate) fn entry(&self) -> Option<Entry> {
        Entry::from_bytes(&self.encoded).ok()
    }

    /// Whether a name that has this stamp now stands for what it did, so that it need not be read.
    pub(crate) fn stands_for(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && !self.is_racy
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_bytes(&self.name, out);
        let flags = u8::from(self.is_racy) | u8::from(self.directory.is_some()) << 1;
        out.extend_from_slice(&[self.stamp.kind, flags]);
        varint::put(self.stamp.size, out);
        put_time(self.stamp.mtime, out);
        put_time(self.stamp.ctime, out);
        varint::put(self.stamp.inode, out);
        if let Some(DirPointer { offset, live_len }) = self.directory {
            varint::put(offset, out);
            varint::put(live_len, out);
        }
        put_bytes(&self.encoded, out);
    }

    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let name = take_bytes(bytes)?.to_vec();
        let (&[kind, flags], rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        let size = varint::take(bytes)?;
        let (mtime, ctime) = (take_time(bytes)?, take_time(bytes)?);
        let inode = varint::take(bytes)?;
        let directory = match flags & 2 {
            0 => None,
            _ => Some(DirPointer { offset: varint::take(bytes)?, live_len: varint::take(bytes)? }),
        };
        let encoded = take_bytes(bytes)?.to_vec();
        let stamp = Stamp { kind, size, mtime, ctime, inode };
        Some(Self { name, stamp, is_racy: flags & 1 == 1, directory, encoded })
    }
}

impl DirRecord {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tree.as_bytes());
        varint::put(self.segments.len() as u64, out);
        for offset in &self.segments {
            varint::put(*offset, out);
        }
    }

    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let (tree, rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let count = usize::try_from(varint::take(&mut bytes)?).ok()?;
        // Bounded: a number takes at least a byte.
        let mut segments = Vec::with_capacity(count.min(bytes.len()));
        for _ in 0..count {
            segments.push(varint::take(&mut bytes)?);
        }
        bytes.is_empty().then_some(Self { tree: ObjectId::from_bytes(*tree), segments })
    }
}

impl Root {
    pub(super) fn to_bytes(&self) -> [u8; ROOT_LEN] {
        let parts: [&[u8]; 8] = [
            ROOT_MAGIC,
            self.vault.as_bytes(),
            &self.file_id,
            &self.file_len.to_le_bytes(),
            &self.directory.offset.to_le_bytes(),
            &self.directory.live_len.to_le_bytes(),
            self.snapshot.as_bytes(),
            &self.runs.to_le_bytes(),
        ];
        let mut bytes = parts.concat();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().expect("the parts have fixed lengths")
    }

    pub(super) fn from_bytes(bytes: &[u8; ROOT_LEN]) -> Option<Self> {
        let (plain, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(plain).to_le_bytes() != *crc {
            return None;
        }
        let rest = plain.strip_prefix(ROOT_MAGIC)?;
        let (vault, rest) = rest.split_first_chunk()?;
        let (file_id, rest) = rest.split_first_chunk()?;
        let (file_len, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (live_len, rest) = rest.split_first_chunk()?;
        let (snapshot, rest) = rest.split_first_chunk()?;
        Some(Self {
            vault: VaultId::from_bytes(*vault),
            file_id: *file_id,
            file_len: u64::from_le_bytes(*file_len),
            directory: DirPointer { offset: u64::from_le_bytes(*offset), live_len: u64::from_le_bytes(*live_len) },
            snapshot: ObjectId::from_bytes(*snapshot),
            runs: u32::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    varint::put(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::take(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(value)
}

fn put_time(time: Timestamp, out: &mut Vec<u8>) {
    varint::put(varint::zigzag(time.secs), out);
    varint::put(u64::from(time.nanos), out);
}

fn take_time(bytes: &mut &[u8]) -> Option<Timestamp> {
    let secs = varint::unzigzag(varint::take(bytes)?);
    let nanos = u32::try_from(varint::take(bytes)?).ok()?;
    Some(Timestamp { secs, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64, nanos: u32) -> Timestamp {
        Timestamp { secs, nanos }
    }

    const STARTED: Timestamp = Timestamp { secs: 1_000, nanos: 500 };

    fn stamp(mtime: Timestamp, ctime: Timestamp) -> Stamp {
        Stamp { kind: Stamp::FILE, size: 7, mtime, ctime, inode: 11 }
    }

    fn cached(stamp: Stamp) -> CachedEntry {
        let is_racy = stamp.is_racy(STARTED);
        CachedEntry { name: b"file".to_vec(), stamp, is_racy, directory: None, encoded: Vec::new() }
    }

    #[test]
    fn only_a_stamp_that_is_the_same_in_everything_stands_for_the_same() {
        let old = stamp(at(500, 1), at(600, 2));
        assert!(cached(old).stands_for(&old));
        let others = [
            Stamp { kind: 3, ..old },
            Stamp { size: 8, ..old },
            Stamp { mtime: at(500, 2), ..old },
            Stamp { mtime: at(499, 1), ..old },
            Stamp { ctime: at(600, 3), ..old },
            Stamp { ctime: at(601, 2), ..old },
            Stamp { inode: 12, ..old },
        ];
        for other in others {
            assert!(!cached(old).stands_for(&other), "{other:?}");
        }
    }

    #[test]
    fn a_time_that_is_not_older_than_the_look_by_two_seconds_proves_nothing() {
        let old = at(500, 0);
        let cases = [
            (at(998, 499), false),
            (at(998, 500), true),
            (at(999, 0), true),
            (STARTED, true),
            // The clock went back, or another machine's is ahead.
            (at(2_000, 0), true),
            (at(i64::MIN, 0), false),
        ];
        for (time, is_racy) in cases {
            for stamp in [stamp(time, old), stamp(old, time)] {
                assert_eq!(cached(stamp).stands_for(&stamp), !is_racy, "{stamp:?}");
            }
        }
    }
}
