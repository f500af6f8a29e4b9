//! [`Folders`]: what is in folders, kept from one page of a listing to the next.
//!
//! The catalog holds names sealed, and has no order by name: the whole folder is read and sorted for its first page. The
//! pages that follow show the same state and cost what they show, and so does the first page of a folder in a drive that
//! has not changed since.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use object::VaultId;
use proto::{DriveEntry, DriveName, DrivePath};

use crate::drive::{DriveError, DriveView};

/// Most entries kept, those of all drives together: some 30 MB.
const KEPT_ENTRIES_MAX: usize = 150_000;

/// What was in a folder at one moment, by name.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    vault: VaultId,
    path: DrivePath,
    /// Of the drive, at that moment.
    pub(crate) version: u64,
    entries: Arc<Vec<DriveEntry>>,
}

impl Listing {
    /// At most `limit` entries behind `after`, and whether there are more.
    pub(crate) fn page(&self, after: Option<&DriveName>, limit: usize) -> (&[DriveEntry], bool) {
        let start = match after {
            None => 0,
            Some(after) => self.entries.partition_point(|entry| entry.name.as_ref() <= Some(after)),
        };
        let rest = &self.entries[start..];
        (&rest[..rest.len().min(limit)], rest.len() > limit)
    }
}

/// Listings that clients go through.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entry_count: usize,
    /// Used longest ago first.
    listings: VecDeque<Listing>,
}

impl Folders {
    /// What is in a folder now, or was at the drive's `version`, if that is still kept.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is no folder at this path.
    pub(crate) fn listing(
        &self,
        drive: &DriveView<'_>,
        path: &DrivePath,
        version: Option<u64>,
    ) -> Result<Listing, DriveError> {
        if let Some(kept) = version.and_then(|version| self.kept(drive.vault(), path, version)) {
            return Ok(kept);
        }
        // Asked before the names are read: what changes meanwhile is in another version.
        let version = drive.version()?;
        if let Some(kept) = self.kept(drive.vault(), path, version) {
            return Ok(kept);
        }
        let entries = Arc::new(drive.list(path)?);
        let listing = Listing { vault: drive.vault(), path: path.clone(), version, entries };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(listing.clone(), KEPT_ENTRIES_MAX);
        Ok(listing)
    }

    fn kept(&self, vault: VaultId, path: &DrivePath, version: u64) -> Option<Listing> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).find(vault, path, version)
    }
}

impl Kept {
    fn find(&mut self, vault: VaultId, path: &DrivePath, version: u64) -> Option<Listing> {
        let is_it = |kept: &Listing| (kept.vault, &kept.path, kept.version) == (vault, path, version);
        let index = self.listings.iter().position(is_it)?;
        let listing = self.listings.remove(index)?;
        self.listings.push_back(listing.clone());
        Some(listing)
    }

    fn keep(&mut self, listing: Listing, entries_max: usize) {
        // An empty folder is a thing to remember, too.
        let weight = |listing: &Listing| listing.entries.len() + 1;
        if weight(&listing) > entries_max || self.find(listing.vault, &listing.path, listing.version).is_some() {
            return;
        }
        while self.entry_count + weight(&listing) > entries_max {
            let Some(oldest) = self.listings.pop_front() else { break };
            self.entry_count -= weight(&oldest);
        }
        self.entry_count += weight(&listing);
        self.listings.push_back(listing);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::{DriveNode, Timestamp};

    use super::*;

    fn listing(version: u64, len: usize) -> Listing {
        let entry = |index: usize| DriveEntry {
            name: DriveName::new(Bytes::from(format!("{index:05}"))),
            node: DriveNode::Directory,
            mtime: Timestamp::new(0, 0).unwrap(),
            mode: 0,
            version: 1,
        };
        let entries = Arc::new((0..len).map(entry).collect());
        Listing { vault: VaultId::from_bytes([1; 16]), path: DrivePath::ROOT, version, entries }
    }

    fn has(kept: &mut Kept, version: u64) -> bool {
        kept.find(VaultId::from_bytes([1; 16]), &DrivePath::ROOT, version).is_some()
    }

    #[test]
    fn what_was_used_longest_ago_goes_when_there_are_too_many() {
        let mut kept = Kept::default();
        for version in 1..=3 {
            kept.keep(listing(version, 3), 13);
        }
        assert_eq!((kept.entry_count, kept.listings.len()), (12, 3));
        assert!(has(&mut kept, 1), "and is the one used last now");
        kept.keep(listing(4, 3), 13);
        assert!(!has(&mut kept, 2) && has(&mut kept, 1) && has(&mut kept, 3) && has(&mut kept, 4));
        kept.keep(listing(4, 3), 13);
        assert_eq!((kept.entry_count, kept.listings.len()), (12, 3), "nothing is kept twice");
        kept.keep(listing(5, 13), 13);
        assert!(!has(&mut kept, 5), "what is larger than all may be is not kept");
        kept.keep(listing(6, 12), 13);
        assert_eq!((kept.entry_count, kept.listings.len()), (13, 1));
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let listing = listing(1, 25);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (page, has_more) = listing.page(after.as_ref(), 10);
            seen.extend(page.iter().map(|entry| entry.name.clone().unwrap()));
            after = seen.last().cloned();
            if !has_more {
                break;
            }
            assert_eq!(page.len(), 10);
        }
        assert_eq!(seen, listing.entries.iter().map(|entry| entry.name.clone().unwrap()).collect::<Vec<_>>());
        assert_eq!(listing.page(seen.last(), 10), (&[][..], false));
    }
}
