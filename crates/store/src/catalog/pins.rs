//! Pins: snapshots that somebody is restoring. A pinned snapshot is a root of garbage collection, also when it is purged
//! meanwhile: a restore that began can end.
//!
//! A pin ends when its holder says so, or with [`Store::sweep`]: a holder whose connection broke may come back.

use object::{ObjectId, VaultId};

use crate::catalog::{clock, signed};
use crate::{DeviceId, Store, StoreError, UnixMs};

/// Pins of one device; with one more, the oldest goes.
const OWN_MAX: usize = 64;

impl Store {
    /// Keeps what a snapshot refers to until [`unpin`](Self::unpin) or the sweep; `false` when it can no longer be read: it
    /// was purged, or is not the device's. A device has 64 pins at most; the oldest make room.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault. When the catalog fails.
    pub fn pin(
        &self,
        holder: &[u8; 16],
        vault: VaultId,
        device: DeviceId,
        snapshot: &ObjectId,
        now: UnixMs,
    ) -> Result<bool, StoreError> {
        let vault = self.vault_key(vault)?;
        self.catalog().write(|tx| {
            let crowded = "DELETE FROM pin WHERE (holder, snapshot) IN (
                               SELECT holder, snapshot FROM pin JOIN device USING (device) WHERE device.id = ?1
                               ORDER BY pinned_ms DESC LIMIT -1 OFFSET ?2)";
            tx.prepare_cached(crowded)?.execute((device.as_bytes(), signed(OWN_MAX as u64 - 1)))?;
            let sql = "INSERT OR REPLACE INTO pin (holder, snapshot, device, pinned_ms)
                       SELECT ?1, snapshot, device, ?5 FROM snapshot JOIN chain USING (chain) JOIN device USING (device)
                       WHERE snapshot.vault = ?2 AND device.id = ?3 AND snapshot.id = ?4 AND state IN (1, 2)";
            let parameters =
                (&holder[..], vault.0, device.as_bytes(), &snapshot.as_bytes()[..], clock::counted(tx, now)?.0);
            Ok(tx.prepare_cached(sql)?.execute(parameters)? == 1)
        })
    }

    /// Ends the pins of a holder.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn unpin(&self, holder: &[u8; 16]) -> Result<(), StoreError> {
        self.catalog().write(|tx| Ok(tx.execute("DELETE FROM pin WHERE holder = ?1", [&holder[..]])?))?;
        Ok(())
    }
}
