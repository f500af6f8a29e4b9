//! [`Pins`]: keeps the snapshots that a connection reads, so that what it restores can be restored to the end.
//!
//! Nobody says that a restore begins, but each begins by fetching the snapshot.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use object::{ObjectId, VaultId};
use store::{DeviceId, Store, StoreError};

use crate::clock;
use crate::failure::Failure;
use crate::home::failed;
use crate::keys::random;

/// The pins of one connection.
#[derive(Debug, Default)]
pub(super) struct Pins {
    holder: OnceLock<[u8; 16]>,
    pinned: Mutex<HashSet<(VaultId, ObjectId)>>,
}

impl Pins {
    /// Pins a snapshot; `false` when there is none that the device may read. One that cannot be pinned, on a full disk for
    /// example, is read all the same.
    ///
    /// # Errors
    /// [`StoreError`] when the catalog cannot be read.
    pub(super) fn pin(
        &self,
        store: &Store,
        vault: VaultId,
        device: DeviceId,
        snapshot: &ObjectId,
    ) -> Result<bool, StoreError> {
        // Held while the catalog is asked: whoever asks for the same waits until it is pinned.
        let mut pinned = self.pinned.lock().expect("nobody panics with it");
        if pinned.contains(&(vault, *snapshot)) {
            return Ok(true);
        }
        match self.pin_now(store, vault, device, snapshot) {
            Ok(true) => {
                pinned.insert((vault, *snapshot));
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(failure) => {
                tracing::warn!(%device, report = failure.report(), "a snapshot that is being restored is not pinned");
                let found = store.snapshots_by_prefix(vault, Some(device), &snapshot.to_string())?;
                Ok(!found.is_empty())
            }
        }
    }

    fn pin_now(&self, store: &Store, vault: VaultId, device: DeviceId, snapshot: &ObjectId) -> Result<bool, Failure> {
        let holder = match self.holder.get() {
            Some(holder) => holder,
            None => {
                let fresh = random()?;
                self.holder.get_or_init(|| fresh)
            }
        };
        store
            .pin(holder, vault, device, snapshot, clock::now())
            .map_err(|error| failed("cannot pin a snapshot", &error))
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.holder.get().is_some()
    }

    /// Lets go of all.
    ///
    /// # Errors
    /// [`StoreError`] when the catalog fails; they end by themselves after their time.
    pub(super) fn release(&self, store: &Store) -> Result<(), StoreError> {
        self.holder.get().map_or(Ok(()), |holder| store.unpin(holder))
    }
}
