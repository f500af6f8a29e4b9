//! Quotas: how many bytes the packs of an account may take.
//!
//! What counts is what lies on the disk for the account: its packs after dedup, compression and deltas, garbage that was
//! not collected yet included, packs that collection found to be needed by nobody not.

use object::VaultId;
use rusqlite::Connection;

use crate::catalog::packs::PackState;
use crate::catalog::{row, signed, unsigned};
use crate::ids::VaultKey;
use crate::{AccountId, Store, StoreError};

/// What an account has used of its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// Bytes of its packs.
    pub used_bytes: u64,
    /// Most bytes they may take; `None`: as many as there are.
    pub quota_bytes: Option<u64>,
}

impl QuotaUse {
    /// Bytes that may be added; `None`: as many as there are.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.quota_bytes.map(|quota| quota.saturating_sub(self.used_bytes))
    }

    /// The error of who wants more.
    pub(crate) fn exceeded(&self) -> StoreError {
        let Self { used_bytes, quota_bytes } = *self;
        StoreError::Quota { used_bytes, quota_bytes: quota_bytes.unwrap_or(u64::MAX) }
    }
}

impl Store {
    /// What an account has used of its quota. Cost grows with the number of packs.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account.
    pub fn quota_use(&self, account: AccountId) -> Result<QuotaUse, StoreError> {
        let found = self.catalog().read(|catalog| Ok((quota(catalog, account)?, used(catalog, account)?)))?;
        let quota_bytes = found.0.ok_or(StoreError::NotFound { what: "account" })?;
        Ok(QuotaUse { used_bytes: found.1, quota_bytes })
    }

    /// Whether `len` bytes more would be taken into a vault, as far as its account's quota goes. At least one byte has to be
    /// left: of what is sent, nobody knows before how much is new.
    ///
    /// # Errors
    /// [`StoreError::Quota`] when they would not; [`StoreError::NotFound`] without the vault.
    pub fn check_quota(&self, vault: VaultId, len: u64) -> Result<(), StoreError> {
        let key = self.vault_key(vault)?;
        match self.quota_of(key)? {
            Some(found) if found.left().is_some_and(|left| left < len.max(1)) => Err(found.exceeded()),
            _ => Ok(()),
        }
    }

    /// What the account of a vault has used, if it has a quota. Without one this costs next to nothing.
    pub(crate) fn quota_of(&self, vault: VaultKey) -> Result<Option<QuotaUse>, StoreError> {
        self.catalog().read(|catalog| {
            let sql = "SELECT account FROM vault WHERE vault = ?1";
            let Some(account) = row(catalog, sql, [vault.0], |row| row.get(0).map(AccountId))? else { return Ok(None) };
            match quota(catalog, account)?.flatten() {
                None => Ok(None),
                quota_bytes => Ok(Some(QuotaUse { used_bytes: used(catalog, account)?, quota_bytes })),
            }
        })
    }
}

/// The quota of an account, if there is such an account, if it has one.
fn quota(catalog: &Connection, account: AccountId) -> Result<Option<Option<u64>>, StoreError> {
    let sql = "SELECT quota_bytes IS NULL, coalesce(quota_bytes, 0) FROM account WHERE account = ?1";
    row(catalog, sql, [account.0], |row| Ok(if row.get(0)? { None } else { Some(unsigned(row, 1)?) }))
}

fn used(catalog: &Connection, account: AccountId) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(sum(bytes), 0) FROM pack
               WHERE vault IN (SELECT vault FROM vault WHERE account = ?1) AND state NOT IN (?2, ?3)";
    let gone = [PackState::Condemned, PackState::Deleting].map(|state| signed(state as u64));
    let used = row(catalog, sql, (account.0, gone[0], gone[1]), |row| unsigned(row, 0))?;
    Ok(used.unwrap_or_default())
}
