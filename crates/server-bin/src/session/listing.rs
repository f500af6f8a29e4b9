//! Lists that come in pages: the snapshots of a device, and the entries of a directory of the drive.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use proto::{
    ChainName, DeviceName, DriveEntries, DriveEntry, DriveList, DrivePath, ServerReply, SnapshotItem, Snapshots,
    SnapshotsAnswer,
};
use store::{DeviceId, SnapshotQuery, Store, StoreError};

use crate::clock;
use crate::session::drive::{DriveError, DriveView};

/// Most entries kept between the pages of listings, those of all clients together: some 30 MB.
const KEPT_ENTRIES_MAX: usize = 150_000;

/// One page of a device's own snapshots, newest first. Those of other devices do not exist as far as it is concerned.
pub(super) fn snapshots(
    store: &Store,
    vault: object::VaultId,
    device: DeviceId,
    asked: &Snapshots,
) -> Result<ServerReply, StoreError> {
    let limit = asked.limit as usize;
    let query = SnapshotQuery {
        vault,
        device: Some(device),
        chain: asked.chain.as_ref().map(ChainName::as_str),
        before: asked.before,
        limit: limit + 1,
    };
    let mut found = store.snapshots(&query)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.number);
    let items = found.into_iter().filter_map(|snapshot| {
        Some(SnapshotItem {
            snapshot: snapshot.id,
            chain: ChainName::new(&snapshot.chain).ok()?,
            seq: snapshot.number,
            received_ms: clock::wire_ms(snapshot.received),
            bytes_stored: snapshot.stored.bytes,
            device_name: DeviceName::lossy(&snapshot.device_name),
        })
    });
    Ok(ServerReply::SnapshotsAnswer(SnapshotsAnswer { items: items.collect(), next }))
}

/// Directories whose pages clients are going through. The catalog has no order by name, so that of a listing's first page
/// is kept for those that follow.
#[derive(Debug, Default)]
pub(crate) struct ListingCache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last_owner: u64,
    entry_count: usize,
    /// Oldest first; one per owner.
    listings: VecDeque<Listing>,
}

#[derive(Clone, Debug)]
struct Listing {
    owner: u64,
    path: DrivePath,
    entries: Arc<Vec<DriveEntry>>,
}

/// One connection's use of a [`ListingCache`]; what it keeps there goes when it is dropped.
#[derive(Debug)]
pub(super) struct Listings {
    cache: Arc<ListingCache>,
    owner: u64,
}

impl Listings {
    pub(super) fn new(cache: Arc<ListingCache>) -> Self {
        let owner = {
            let mut kept = cache.lock();
            kept.last_owner += 1;
            kept.last_owner
        };
        Self { cache, owner }
    }

    /// One page of a directory. A page without `after` looks anew; those that follow show the same state, unless so many
    /// others are listing that it had to go.
    ///
    /// # Errors
    /// [`DriveError`].
    pub(super) fn page(&self, drive: &DriveView<'_>, asked: &DriveList) -> Result<ServerReply, DriveError> {
        let kept = self.cache.lock().take(self.owner);
        let entries = match kept.filter(|kept| asked.after.is_some() && kept.path == asked.path) {
            Some(kept) => kept.entries,
            None => Arc::new(drive.list(&asked.path)?),
        };
        let start = match &asked.after {
            None => 0,
            Some(after) => entries.partition_point(|entry| entry.name.as_ref() <= Some(after)),
        };
        let page = &entries[start..];
        let limit = page.len().min(asked.limit as usize);
        let answer = DriveEntries { entries: page[..limit].to_vec(), more: limit < page.len() };
        if answer.more {
            let listing = Listing { owner: self.owner, path: asked.path.clone(), entries };
            self.cache.lock().keep(listing, KEPT_ENTRIES_MAX);
        }
        Ok(ServerReply::DriveEntries(answer))
    }
}

impl Drop for Listings {
    fn drop(&mut self) {
        drop(self.cache.lock().take(self.owner));
    }
}

impl ListingCache {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics with it")
    }
}

impl Kept {
    fn take(&mut self, owner: u64) -> Option<Listing> {
        let index = self.listings.iter().position(|listing| listing.owner == owner)?;
        let listing = self.listings.remove(index)?;
        self.entry_count -= listing.entries.len();
        Some(listing)
    }

    fn keep(&mut self, listing: Listing, entries_max: usize) {
        if listing.entries.len() > entries_max {
            return;
        }
        // The same client may have asked twice at once.
        drop(self.take(listing.owner));
        while self.entry_count + listing.entries.len() > entries_max {
            let Some(oldest) = self.listings.pop_front() else { break };
            self.entry_count -= oldest.entries.len();
        }
        self.entry_count += listing.entries.len();
        self.listings.push_back(listing);
    }
}

#[cfg(test)]
mod tests {
    use proto::{DriveNode, Timestamp};

    use super::*;

    fn listing(owner: u64, len: usize) -> Listing {
        let entry = DriveEntry {
            name: None,
            node: DriveNode::Directory,
            mtime: Timestamp::new(0, 0).unwrap(),
            mode: 0,
            version: 1,
        };
        Listing { owner, path: DrivePath::ROOT, entries: Arc::new(vec![entry; len]) }
    }

    #[test]
    fn the_oldest_listing_goes_when_there_are_too_many() {
        let mut kept = Kept::default();
        for owner in 1..=3 {
            kept.keep(listing(owner, 4), 10);
        }
        assert!(kept.take(1).is_none());
        assert_eq!(kept.entry_count, 8);
        kept.keep(listing(3, 2), 10);
        assert_eq!((kept.entry_count, kept.listings.len()), (6, 2));
        kept.keep(listing(4, 11), 10);
        assert!(kept.take(4).is_none() && kept.take(2).is_some() && kept.take(3).is_some());
        assert_eq!((kept.entry_count, kept.listings.len()), (0, 0));
    }
}
