//! What a chain's last backup saw: for every directory its entries with their stamps, so that the next backup reads only
//! what changed.
//!
//! The cache may vanish or be damaged at any time: then files are read again, and nothing else happens. It is a
//! copy-on-write tree in one append-only file: a backup appends the directories that changed, points to the others where
//! they are, and at last replaces a small root file. A run that dies leaves the old root, and its bytes are cut off next
//! time. Layout: `docs/formats.md`.

mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod layout;

pub(crate) use file::{CacheKey, CachedDir, DirWriter, StatCache, StatCacheWriter};
pub(crate) use layout::{CachedEntry, DirPointer, Stamp};
