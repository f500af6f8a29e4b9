//! Vaults and their wrapped keys.

use object::VaultId;
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::{next_generation, row, rows, unknown_number};
use crate::ids::VaultKey;
use crate::{AccountId, Store, StoreError, UnixMs};

/// Who can open a vault's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum VaultMode {
    /// The server, and through it the account's devices.
    Managed = 1,
    /// The account's devices only.
    Sealed = 2,
}

/// A boundary of dedup, keys and access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    /// Its name on the wire.
    pub id: VaultId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name for people, unique within the account.
    pub name: String,
    /// Who can open its keys.
    pub mode: VaultMode,
    /// Its keys, wrapped; the store cannot open them.
    pub slots: Vec<Vec<u8>>,
    /// When it was made.
    pub created: UnixMs,
}

/// A vault to be made; the id is the caller's because keys may be bound to it.
#[derive(Clone, Copy, Debug)]
pub struct NewVault<'a> {
    /// Random, never used before.
    pub id: VaultId,
    /// Whose it will be.
    pub account: AccountId,
    /// Its name for people.
    pub name: &'a str,
    /// Who can open its keys.
    pub mode: VaultMode,
    /// Its keys, wrapped.
    pub slots: &'a [Vec<u8>],
}

impl Store {
    /// Makes a vault with an empty drive. When this returns, no old catalog can lose its keys unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account, [`StoreError::Conflict`] when id or name are taken.
    pub fn create_vault(&self, vault: &NewVault<'_>, now: UnixMs) -> Result<(), StoreError> {
        let generation = self.catalog().write(|tx| {
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [vault.account.0], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            let sql = "INSERT INTO vault (id, account, name, mode, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO NOTHING RETURNING vault";
            let parameters = (vault.id.as_bytes(), vault.account.0, vault.name, vault.mode as u8, now.0);
            let key = row(tx, sql, parameters, |row| row.get(0).map(VaultKey))?
                .ok_or(StoreError::Conflict { what: "a vault of this id or name exists" })?;
            let sql = "INSERT INTO drive_node (vault, name_key, sealed_name, is_dir, version, created_ms)
                       VALUES (?1, x'', x'', 1, 0, ?2)";
            tx.execute(sql, (key.0, now.0))?;
            insert_slots(tx, key, vault.slots)?;
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// Replaces a vault's wrapped keys, all at once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn set_vault_slots(&self, vault: VaultId, slots: &[Vec<u8>]) -> Result<(), StoreError> {
        let key = self.vault_key(vault)?;
        let generation = self.catalog().write(|tx| {
            tx.execute("DELETE FROM vault_slot WHERE vault = ?1", [key.0])?;
            insert_slots(tx, key, slots)?;
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// The vault of this id.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn vault(&self, id: VaultId) -> Result<Option<Vault>, StoreError> {
        self.catalog().read(|catalog| {
            let sql = format!("{SELECT_VAULT} WHERE id = ?1");
            row(catalog, &sql, [id.as_bytes()], vault_row)?.map(|vault| with_slots(catalog, vault)).transpose()
        })
    }

    /// An account's vaults, oldest first: the first is its default.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn vaults(&self, account: AccountId) -> Result<Vec<Vault>, StoreError> {
        self.catalog().read(|catalog| {
            let sql = format!("{SELECT_VAULT} WHERE account = ?1 ORDER BY vault");
            let vaults = rows(catalog, &sql, [account.0], vault_row)?;
            vaults.into_iter().map(|vault| with_slots(catalog, vault)).collect()
        })
    }
}

const SELECT_VAULT: &str = "SELECT vault, id, account, name, mode, created_ms FROM vault";

fn vault_row(row: &Row<'_>) -> rusqlite::Result<(VaultKey, Vault)> {
    let mode = match row.get(4)? {
        1 => VaultMode::Managed,
        2 => VaultMode::Sealed,
        number => return Err(unknown_number(4, number)),
    };
    let vault = Vault {
        id: VaultId::from_bytes(row.get(1)?),
        account: AccountId(row.get(2)?),
        name: row.get(3)?,
        mode,
        slots: Vec::new(),
        created: UnixMs(row.get(5)?),
    };
    Ok((VaultKey(row.get(0)?), vault))
}

fn with_slots(connection: &Connection, (key, vault): (VaultKey, Vault)) -> Result<Vault, StoreError> {
    let sql = "SELECT bytes FROM vault_slot WHERE vault = ?1 ORDER BY slot";
    let slots = rows(connection, sql, [key.0], |row| row.get(0))?;
    Ok(Vault { slots, ..vault })
}

fn insert_slots(tx: &Transaction<'_>, key: VaultKey, slots: &[Vec<u8>]) -> Result<(), StoreError> {
    for (index, bytes) in (0i64..).zip(slots) {
        tx.execute("INSERT INTO vault_slot VALUES (?1, ?2, ?3)", (key.0, index, bytes))?;
    }
    Ok(())
}

/// The name of a vault.
pub(crate) fn id(connection: &Connection, key: VaultKey) -> Result<Option<VaultId>, StoreError> {
    row(connection, "SELECT id FROM vault WHERE vault = ?1", [key.0], |row| row.get(0).map(VaultId::from_bytes))
}

/// A vault's key and owner.
pub(crate) fn find(connection: &Connection, id: VaultId) -> Result<Option<(VaultKey, AccountId)>, StoreError> {
    let sql = "SELECT vault, account FROM vault WHERE id = ?1";
    row(connection, sql, [id.as_bytes()], |row| Ok((VaultKey(row.get(0)?), AccountId(row.get(1)?))))
}
