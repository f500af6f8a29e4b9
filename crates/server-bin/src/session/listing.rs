//! Lists that come in pages: the snapshots of a device, and the entries of a directory of the drive.

use std::sync::{Arc, Mutex, PoisonError};

use proto::{
    ChainName, DeviceName, DriveEntries, DriveList, DrivePath, ServerReply, SnapshotItem, Snapshots, SnapshotsAnswer,
};
use store::{DeviceId, SnapshotQuery, Store, StoreError, Verification};

use crate::clock;
use crate::drive::{DriveError, DriveView, Folders};

/// One page of a device's own snapshots, newest first. Those of other devices do not exist as far as it is concerned.
pub(super) fn snapshots(
    store: &Store,
    vault: object::VaultId,
    device: DeviceId,
    asked: &Snapshots,
    trash_delay_ms: u64,
) -> Result<ServerReply, StoreError> {
    let limit = asked.limit as usize;
    let query = SnapshotQuery {
        vault,
        device: Some(device),
        chain: asked.chain.as_ref().map(ChainName::as_str),
        before: asked.before,
        limit: limit + 1,
        in_trash: asked.in_trash,
    };
    let mut found = store.snapshots(&query)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.number);
    let verified = store.verifications(vault, &found)?;
    let items = found.into_iter().zip(verified).filter_map(|(snapshot, verified)| {
        Some(SnapshotItem {
            snapshot: snapshot.id,
            chain: ChainName::new(&snapshot.chain).ok()?,
            seq: snapshot.number,
            received_ms: clock::wire_ms(snapshot.received),
            bytes_stored: snapshot.stored.bytes,
            device_name: DeviceName::lossy(&snapshot.device_name),
            is_held: snapshot.held.is_some(),
            trashed_ms: snapshot.trashed.map(clock::wire_ms),
            purge_ms: snapshot
                .trashed
                .filter(|_| snapshot.held.is_none())
                .map(|trashed| clock::wire_ms(trashed).saturating_add(trash_delay_ms)),
            verified_ms: verified.since().map(clock::wire_ms),
            drilled_ms: snapshot.drilled.map(clock::wire_ms),
            is_damaged: verified == Verification::Damaged,
        })
    });
    Ok(ServerReply::SnapshotsAnswer(SnapshotsAnswer { items: items.collect(), next }))
}

/// One connection's way through directories. A page that follows another one shows the state that it showed.
#[derive(Debug)]
pub(super) struct Listings {
    folders: Arc<Folders>,
    /// The directory that was shown last, at which version of the drive.
    shown: Mutex<Option<(DrivePath, u64)>>,
}

impl Listings {
    pub(super) fn new(folders: Arc<Folders>) -> Self {
        Self { folders, shown: Mutex::default() }
    }

    /// One page of a directory. A page without `after` looks anew; those that follow show the same state, unless so many
    /// others are listing that it had to go.
    ///
    /// # Errors
    /// [`DriveError`].
    pub(super) fn page(&self, drive: &DriveView<'_>, asked: &DriveList) -> Result<ServerReply, DriveError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let version = match &*shown {
            Some((path, version)) if asked.after.is_some() && *path == asked.path => Some(*version),
            _ => None,
        };
        let listing = self.folders.listing(drive, &asked.path, version)?;
        *shown = Some((asked.path.clone(), listing.version));
        let (page, more) = listing.page(asked.after.as_ref(), asked.limit as usize);
        Ok(ServerReply::DriveEntries(DriveEntries { entries: page.to_vec(), more }))
    }
}
