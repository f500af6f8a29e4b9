//! Numbers for people: what is in the store and how it is doing.

use object::VaultId;

use crate::catalog::packs::{self, PackTotals};
use crate::catalog::{row, signed, unsigned};
use crate::{Store, StoreError, StoreId};

/// How the store is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The store's name.
    pub store: StoreId,
    /// Grows with every change that must not be forgotten.
    pub generation: u64,
    /// Garbage collections begun.
    pub epoch: u64,
    /// Packs by class and state.
    pub packs: Vec<PackTotals>,
    /// Snapshots that can be restored.
    pub snapshots: u64,
    /// Snapshots in the trash.
    pub trashed_snapshots: u64,
    /// Snapshots that are purged, and kept because somebody is restoring them.
    pub pinned_snapshots: u64,
    /// Chains of which nothing older than an unusual change goes until somebody confirms it.
    pub frozen_chains: u64,
    /// Accounts.
    pub accounts: u64,
    /// Devices that are not revoked.
    pub devices: u64,
    /// Those of them that are suspended: see [`Store::confirm_devices`].
    pub suspended_devices: u64,
    /// Tokens of scripts that are suspended: see [`Store::confirm_tokens`].
    pub suspended_tokens: u64,
    /// Vaults.
    pub vaults: u64,
    /// Sessions that are open, or were cut off and may come back.
    pub sessions: u64,
    /// Bytes that can still be stored.
    pub free_bytes: u64,
}

/// What one vault holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultUsage {
    /// Packs by class and state.
    pub packs: Vec<PackTotals>,
    /// Snapshots that can be restored.
    pub snapshots: u64,
}

impl Store {
    /// Counts everything. Cost grows with the number of packs, not of objects.
    ///
    /// # Errors
    /// When the catalog or the file system fail.
    pub fn status(&self) -> Result<Status, StoreError> {
        let free_bytes = self.dir().free_bytes()?;
        self.catalog().read(|catalog| {
            let sql = "SELECT generation, epoch,
                (SELECT count(*) FROM snapshot WHERE state = 1), (SELECT count(*) FROM snapshot WHERE state = 2),
                (SELECT count(*) FROM account), (SELECT count(*) FROM device WHERE revoked_ms IS NULL),
                (SELECT count(*) FROM vault), (SELECT count(*) FROM session), store_id,
                (SELECT count(*) FROM device WHERE is_suspended AND revoked_ms IS NULL),
                (SELECT count(DISTINCT snapshot) FROM pin JOIN snapshot USING (snapshot) WHERE state = 3),
                (SELECT count(*) FROM alarm),
                (SELECT count(*) FROM api_token WHERE is_suspended AND revoked_ms IS NULL) FROM meta";
            let mut status = catalog.query_row(sql, (), |row| {
                Ok(Status {
                    store: StoreId::from_bytes(row.get(8)?),
                    generation: unsigned(row, 0)?,
                    epoch: unsigned(row, 1)?,
                    packs: Vec::new(),
                    snapshots: unsigned(row, 2)?,
                    trashed_snapshots: unsigned(row, 3)?,
                    pinned_snapshots: unsigned(row, 10)?,
                    frozen_chains: unsigned(row, 11)?,
                    accounts: unsigned(row, 4)?,
                    devices: unsigned(row, 5)?,
                    suspended_devices: unsigned(row, 9)?,
                    suspended_tokens: unsigned(row, 12)?,
                    vaults: unsigned(row, 6)?,
                    sessions: unsigned(row, 7)?,
                    free_bytes,
                })
            })?;
            status.packs = packs::totals(catalog, None)?;
            Ok(status)
        })
    }

    /// Counts what one vault holds.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn vault_usage(&self, vault: VaultId) -> Result<VaultUsage, StoreError> {
        let key = self.vault_key(vault)?;
        self.catalog().read(|catalog| {
            let sql = "SELECT count(*) FROM snapshot WHERE vault = ?1 AND state = 1";
            let snapshots = catalog.query_row(sql, [key.0], |row| unsigned(row, 0))?;
            Ok(VaultUsage { packs: packs::totals(catalog, Some(key))?, snapshots })
        })
    }

    /// How many objects cannot be read in any copy, as far as anybody has noticed; counted up to `limit`.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn lost_objects(&self, limit: u64) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT DISTINCT vault, half_id FROM object AS damaged WHERE form >= 16 AND NOT EXISTS (
                       SELECT 1 FROM object AS sound JOIN pack USING (pack)
                       WHERE sound.vault = damaged.vault AND sound.half_id = damaged.half_id AND sound.form < 16
                           AND pack.state IN (2, 3)
                   ) LIMIT ?1)";
        let count = self.catalog().read(|catalog| row(catalog, sql, [signed(limit)], |row| unsigned(row, 0)))?;
        Ok(count.unwrap_or_default())
    }
}
