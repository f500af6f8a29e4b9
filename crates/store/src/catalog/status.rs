//! Numbers for people: what is in the store and how it is doing.

use object::VaultId;

use crate::catalog::packs::{self, PackTotals};
use crate::catalog::unsigned;
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
    /// Accounts.
    pub accounts: u64,
    /// Devices that are not revoked.
    pub devices: u64,
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
                (SELECT count(*) FROM vault), (SELECT count(*) FROM session), store_id FROM meta";
            let mut status = catalog.query_row(sql, (), |row| {
                Ok(Status {
                    store: StoreId::from_bytes(row.get(8)?),
                    generation: unsigned(row, 0)?,
                    epoch: unsigned(row, 1)?,
                    packs: Vec::new(),
                    snapshots: unsigned(row, 2)?,
                    trashed_snapshots: unsigned(row, 3)?,
                    accounts: unsigned(row, 4)?,
                    devices: unsigned(row, 5)?,
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
}
