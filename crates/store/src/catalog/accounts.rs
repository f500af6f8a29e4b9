//! Accounts, devices and enrolments. Secrets arrive hashed: the store compares nothing and reveals nothing.

use rusqlite::{Connection, Row};

use crate::catalog::{next_generation, row, rows, unknown_number};
use crate::{AccountId, DeviceId, Store, StoreError, UnixMs};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Everything, other accounts included.
    Admin = 1,
    /// Everything within its own vaults.
    Member = 2,
    /// Reading within its own vaults.
    ReadOnly = 3,
}

impl Role {
    fn from_number(column: usize, number: i64) -> rusqlite::Result<Self> {
        match number {
            1 => Ok(Self::Admin),
            2 => Ok(Self::Member),
            3 => Ok(Self::ReadOnly),
            _ => Err(unknown_number(column, number)),
        }
    }
}

/// Somebody who owns vaults and devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name, unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: UnixMs,
}

/// A client machine that was enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name on the wire.
    pub id: DeviceId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name for people; not unique.
    pub name: String,
    /// Hash of its token, as given at enrolment; compare in constant time.
    pub token_hash: [u8; 32],
    /// When it was enrolled.
    pub created: UnixMs,
    /// When it was last here.
    pub last_seen: Option<UnixMs>,
    /// Since when its token is void.
    pub revoked: Option<UnixMs>,
}

/// An invitation for one device, valid once.
#[derive(Clone, Copy, Debug)]
pub struct NewEnrolment<'a> {
    /// Hash of the secret in the enrolment string.
    pub secret_hash: [u8; 32],
    /// Whose device it will be.
    pub account: AccountId,
    /// What the device will be called.
    pub device_name: &'a str,
    /// After this moment it is void.
    pub expires: UnixMs,
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub fn create_account(&self, name: &str, role: Role, now: UnixMs) -> Result<AccountId, StoreError> {
        let sql = "INSERT INTO account (name, role, created_ms) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO NOTHING RETURNING account";
        let account = self.catalog().write(|tx| row(tx, sql, (name, role as u8, now.0), |row| row.get(0)))?;
        account.map(AccountId).ok_or(StoreError::Conflict { what: "an account of this name exists" })
    }

    /// All accounts, oldest first.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let sql = "SELECT account, name, role, created_ms FROM account ORDER BY account";
        self.catalog().read(|catalog| rows(catalog, sql, (), account_row))
    }

    /// The account of this name.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let sql = "SELECT account, name, role, created_ms FROM account WHERE name = ?1";
        self.catalog().read(|catalog| row(catalog, sql, [name], account_row))
    }

    /// Invites a device.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account, [`StoreError::Conflict`] when the secret was used before.
    pub fn create_enrolment(&self, enrolment: &NewEnrolment<'_>, now: UnixMs) -> Result<(), StoreError> {
        let sql = "INSERT INTO enrolment (secret_hash, account, device_name, created_ms, expires_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        self.catalog().write(|tx| {
            let account = enrolment.account;
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [account.0], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            let inserted = tx.prepare_cached(sql)?.execute((
                &enrolment.secret_hash[..],
                account.0,
                enrolment.device_name,
                now.0,
                enrolment.expires.0,
            ))?;
            if inserted == 1 { Ok(()) } else { Err(StoreError::Conflict { what: "the secret exists" }) }
        })
    }

    /// Turns an invitation into a device whose token has the hash `token_hash`. Works once per invitation: when this
    /// returns, no old catalog can bring the invitation back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], the same for an invitation that is unknown, used or expired.
    pub fn redeem_enrolment(
        &self,
        secret_hash: &[u8; 32],
        token_hash: &[u8; 32],
        now: UnixMs,
    ) -> Result<Device, StoreError> {
        let id = DeviceId::from_bytes(self.fresh_id()?);
        let (device, generation) = self.catalog().write(|tx| {
            let sql = "SELECT account, device_name FROM enrolment
                       WHERE secret_hash = ?1 AND device IS NULL AND expires_ms >= ?2";
            let found = row(tx, sql, (&secret_hash[..], now.0), |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
            let (account, name): (i64, String) = found.ok_or(StoreError::NotFound { what: "enrolment" })?;
            let sql = "INSERT INTO device (id, account, name, token_hash, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
            tx.execute(sql, (id.as_bytes(), account, &name, &token_hash[..], now.0))?;
            let used = "UPDATE enrolment SET device = ?2 WHERE secret_hash = ?1";
            tx.execute(used, (&secret_hash[..], tx.last_insert_rowid()))?;
            let (account, token_hash) = (AccountId(account), *token_hash);
            let device = Device { id, account, name, token_hash, created: now, last_seen: None, revoked: None };
            Ok((device, next_generation(tx)?))
        })?;
        self.raise_anchor(generation)?;
        Ok(device)
    }

    /// The device of this id, revoked or not.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn device(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let sql = format!("{SELECT_DEVICE} WHERE id = ?1");
        self.catalog().read(|catalog| row(catalog, &sql, [id.as_bytes()], device_row))
    }

    /// An account's devices, oldest first, revoked ones included.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn devices(&self, account: AccountId) -> Result<Vec<Device>, StoreError> {
        let sql = format!("{SELECT_DEVICE} WHERE account = ?1 ORDER BY device");
        self.catalog().read(|catalog| rows(catalog, &sql, [account.0], device_row))
    }

    /// Notes that a device is here. Costs a write, so callers ask once per connection.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn touch_device(&self, id: DeviceId, now: UnixMs) -> Result<(), StoreError> {
        let sql = "UPDATE device SET last_seen_ms = ?2 WHERE id = ?1";
        self.catalog().write(|tx| Ok(tx.prepare_cached(sql)?.execute((id.as_bytes(), now.0))?))?;
        Ok(())
    }

    /// Voids a device's token for ever. When this returns, no old catalog can bring the token back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a device; revoking twice is no error.
    pub fn revoke_device(&self, id: DeviceId, now: UnixMs) -> Result<(), StoreError> {
        let sql = "UPDATE device SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1";
        let generation = self.catalog().write(|tx| {
            if tx.execute(sql, (id.as_bytes(), now.0))? == 0 {
                return Err(StoreError::NotFound { what: "device" });
            }
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }
}

const SELECT_DEVICE: &str = "SELECT id, account, name, token_hash, created_ms, last_seen_ms, revoked_ms FROM device";

fn account_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: AccountId(row.get(0)?),
        name: row.get(1)?,
        role: Role::from_number(2, row.get(2)?)?,
        created: UnixMs(row.get(3)?),
    })
}

fn device_row(row: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        id: DeviceId::from_bytes(row.get(0)?),
        account: AccountId(row.get(1)?),
        name: row.get(2)?,
        token_hash: row.get(3)?,
        created: UnixMs(row.get(4)?),
        last_seen: row.get::<_, Option<i64>>(5)?.map(UnixMs),
        revoked: row.get::<_, Option<i64>>(6)?.map(UnixMs),
    })
}

/// The number and the account of a device that may still write.
pub(crate) fn active_device(connection: &Connection, id: DeviceId) -> Result<Option<(i64, AccountId)>, StoreError> {
    let sql = "SELECT device, account FROM device WHERE id = ?1 AND revoked_ms IS NULL";
    row(connection, sql, [id.as_bytes()], |row| Ok((row.get(0)?, AccountId(row.get(1)?))))
}
