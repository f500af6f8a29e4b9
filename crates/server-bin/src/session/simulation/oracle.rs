//! [`Oracle`]: what clients were told, held against what the server has.

use std::collections::BTreeMap;
use std::sync::Arc;

use object::{ObjectId, VaultId};
use store::{Snapshot, SnapshotQuery, Store};
use vault::Keys;

use super::files::Files;
use crate::admin::affected::StoreSource;

/// What is known of snapshots, whatever the server says.
#[derive(Default)]
pub(super) struct Oracle {
    snapshots: BTreeMap<ObjectId, Known>,
}

struct Known {
    files: Arc<Files>,
    /// Somebody was told that it is committed, and nothing may have taken it away since.
    is_required: bool,
    /// It was taken out of the trash.
    is_purged: bool,
}

impl Oracle {
    /// Somebody asks for the commit of a snapshot: from now on it may be there.
    pub(super) fn asked(&mut self, snapshot: ObjectId, files: &Arc<Files>) {
        let known = Known { files: Arc::clone(files), is_required: false, is_purged: false };
        self.snapshots.entry(snapshot).or_insert(known);
    }

    /// Somebody was told that it is committed: from now on it has to be there.
    pub(super) fn acknowledged(&mut self, snapshot: ObjectId) {
        self.snapshots.get_mut(&snapshot).expect("it was asked for").is_required = true;
    }

    /// What a snapshot holds.
    pub(super) fn files(&self, snapshot: &ObjectId) -> &Files {
        &self.snapshots[snapshot].files
    }

    /// What a snapshot holds, if somebody asked for its commit.
    pub(super) fn knows(&self, snapshot: &ObjectId) -> Option<&Files> {
        self.snapshots.get(snapshot).map(|known| &*known.files)
    }

    /// All that was ever to be committed and not purged.
    pub(super) fn all_files(&self) -> impl Iterator<Item = &Files> {
        self.snapshots.values().filter(|known| !known.is_purged).map(|known| &*known.files)
    }

    /// Whether a snapshot has to be there.
    pub(super) fn is_required(&self, snapshot: &ObjectId) -> bool {
        self.snapshots.get(snapshot).is_some_and(|known| known.is_required)
    }

    /// A snapshot went out of the trash, rightly.
    pub(super) fn purged(&mut self, snapshot: ObjectId) {
        let known = self.snapshots.get_mut(&snapshot).expect("it was listed");
        (known.is_required, known.is_purged) = (false, true);
    }

    /// These may have gone out of the trash, rightly.
    pub(super) fn perhaps_purged(&mut self, snapshots: impl Iterator<Item = ObjectId>) {
        for snapshot in snapshots {
            self.snapshots.get_mut(&snapshot).expect("it was listed").is_required = false;
        }
    }

    /// Every snapshot that was acknowledged and not purged is there, every one that is there was asked for and restores
    /// equal; how many that are.
    pub(super) fn check(&self, store: &Store, vault: VaultId, keys: &Arc<Keys>) -> usize {
        assert_eq!(store.deletion_latch(), None, "a catalog is taken for an old one");
        let listed: Vec<Snapshot> = [false, true].into_iter().flat_map(|trash| list(store, vault, trash)).collect();
        let mut reader = StoreSource::reader(store, vault, Arc::clone(keys));
        for snapshot in &listed {
            let known = self.snapshots.get(&snapshot.id);
            let known = known.unwrap_or_else(|| panic!("nobody asked for snapshot {}", snapshot.id));
            assert!(!known.is_purged, "snapshot {} came back", snapshot.id);
            let files = Files::read(&mut reader, snapshot.id);
            let files = files.unwrap_or_else(|error| panic!("snapshot {} cannot be restored: {error:?}", snapshot.id));
            assert!(files == *known.files, "snapshot {} restores as something else", snapshot.id);
        }
        for (id, known) in &self.snapshots {
            let is_listed = listed.iter().any(|snapshot| snapshot.id == *id);
            assert!(is_listed || !known.is_required, "snapshot {id} was acknowledged and is gone");
        }
        listed.len()
    }
}

/// All snapshots, or all in the trash.
pub(super) fn list(store: &Store, vault: VaultId, in_trash: bool) -> Vec<Snapshot> {
    let query = SnapshotQuery { vault, device: None, chain: None, before: None, limit: 1000, in_trash };
    store.snapshots(&query).expect("a catalog can be read")
}
