//! Accounts, devices and enrolments. Secrets arrive hashed: the store compares nothing and reveals nothing.

use rusqlite::{Connection, Row, ToSql, Transaction};

use crate::catalog::{next_generation, row, rows, signed, unknown_number, unsigned};
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

/// Stands for the token of a device that was made again from what it left in packs: no token has this hash.
const NO_TOKEN: [u8; 32] = [0; 32];

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

/// What a device's token is good for, whatever its account may do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Adding snapshots; nothing is read.
    PutOnly = 1,
    /// Reading; nothing is changed.
    Read = 2,
    /// Adding and reading; nothing is taken away.
    Restore = 3,
    /// Everything the account may do.
    Admin = 4,
}

impl Scope {
    /// All scopes, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::PutOnly, Self::Read, Self::Restore, Self::Admin];

    pub(crate) fn from_number(column: usize, number: i64) -> rusqlite::Result<Self> {
        let scope = Self::ALL.into_iter().find(|scope| *scope as i64 == number);
        scope.ok_or_else(|| unknown_number(column, number))
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
    /// Since when nobody gets in by it.
    pub disabled: Option<UnixMs>,
    /// Most bytes that its packs may take; `None`: as many as there are.
    pub quota_bytes: Option<u64>,
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
    /// What its token is good for.
    pub scope: Scope,
    /// When it was enrolled.
    pub created: UnixMs,
    /// When it was last here.
    pub last_seen: Option<UnixMs>,
    /// Since when its token is void.
    pub revoked: Option<UnixMs>,
    /// Whether its token is void until [`Store::confirm_devices`]: it was in a catalog that is older than what was
    /// acknowledged, so it may have been revoked since.
    pub is_suspended: bool,
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
    /// What its token will be good for.
    pub scope: Scope,
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
        let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account ORDER BY account");
        self.catalog().read(|catalog| rows(catalog, &sql, (), account_row))
    }

    /// The account of this name.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE name = ?1");
        self.catalog().read(|catalog| row(catalog, &sql, [name], account_row))
    }

    /// The account of this number.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn account(&self, account: AccountId) -> Result<Option<Account>, StoreError> {
        let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE account = ?1");
        self.catalog().read(|catalog| row(catalog, &sql, [account.0], account_row))
    }

    /// Gives an account another role. When this returns, no old catalog can bring the one before back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account; [`StoreError::Conflict`] when no administrator would be left.
    pub fn set_role(&self, account: AccountId, role: Role) -> Result<(), StoreError> {
        self.change_account(account, "UPDATE account SET role = ?2 WHERE account = ?1", role as u8)
    }

    /// Shuts an account, or opens it again: while it is shut nobody gets in by it, whatever they have. Its sessions in
    /// browsers end for good. When this returns, no old catalog can open it again unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account; [`StoreError::Conflict`] when no administrator would be left.
    pub fn set_disabled(&self, account: AccountId, since: Option<UnixMs>) -> Result<(), StoreError> {
        // Whoever is shut twice was shut the first time.
        let sql = match since {
            Some(_) => "UPDATE account SET disabled_ms = coalesce(disabled_ms, ?2) WHERE account = ?1",
            None => "UPDATE account SET disabled_ms = ?2 WHERE account = ?1",
        };
        self.change_account(account, sql, since.map(|since| since.0))
    }

    /// Limits the bytes that an account's packs may take; `None` takes the limit away.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account.
    pub fn set_quota(&self, account: AccountId, quota_bytes: Option<u64>) -> Result<(), StoreError> {
        let sql = "UPDATE account SET quota_bytes = ?2 WHERE account = ?1";
        self.change_account(account, sql, quota_bytes.map(signed))
    }

    fn change_account(&self, account: AccountId, sql: &str, value: impl ToSql) -> Result<(), StoreError> {
        let has_admin = |tx: &Transaction<'_>| {
            let sql = "SELECT EXISTS (SELECT 1 FROM account WHERE role = 1 AND disabled_ms IS NULL)";
            tx.query_row(sql, (), |row| row.get::<_, bool>(0))
        };
        let generation = self.catalog().write(|tx| {
            let had_admin = has_admin(tx)?;
            if tx.execute(sql, (account.0, value))? == 0 {
                return Err(StoreError::NotFound { what: "account" });
            }
            if had_admin && !has_admin(tx)? {
                return Err(StoreError::Conflict { what: "no administrator would be left" });
            }
            let ended = "DELETE FROM web_session WHERE account = ?1
                         AND (SELECT disabled_ms FROM account WHERE account = ?1) IS NOT NULL";
            tx.execute(ended, [account.0])?;
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// Invites a device.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account, [`StoreError::Conflict`] when the secret was used before.
    pub fn create_enrolment(&self, enrolment: &NewEnrolment<'_>, now: UnixMs) -> Result<(), StoreError> {
        let sql = "INSERT INTO enrolment (secret_hash, account, device_name, scope, created_ms, expires_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        self.catalog().write(|tx| {
            let account = enrolment.account;
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [account.0], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            let inserted = tx.prepare_cached(sql)?.execute((
                &enrolment.secret_hash[..],
                account.0,
                enrolment.device_name,
                enrolment.scope as u8,
                now.0,
                enrolment.expires.0,
            ))?;
            if inserted == 1 { Ok(()) } else { Err(StoreError::Conflict { what: "the secret exists" }) }
        })
    }

    /// Turns an invitation into a device whose token has the hash `token_hash`. Works once per invitation: when this
    /// returns, no old catalog can bring the invitation back unnoticed. A device of that name that was made again from what
    /// it had left in packs becomes this one: its snapshots are this device's again.
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
            let sql = "SELECT account, device_name, scope FROM enrolment
                       WHERE secret_hash = ?1 AND device IS NULL AND expires_ms >= ?2";
            let found = row(tx, sql, (&secret_hash[..], now.0), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, Scope::from_number(2, row.get(2)?)?))
            })?;
            let (account, name, scope) = found.ok_or(StoreError::NotFound { what: "enrolment" })?;
            let sql = "UPDATE device SET token_hash = ?3, scope = ?5, revoked_ms = NULL, is_suspended = 0
                       WHERE device = (SELECT min(device) FROM device WHERE account = ?1 AND name = ?2 AND token_hash = ?4)
                       RETURNING device, id";
            let former = row(tx, sql, (account, &name, &token_hash[..], &NO_TOKEN[..], scope as u8), |row| {
                Ok((row.get::<_, i64>(0)?, DeviceId::from_bytes(row.get(1)?)))
            })?;
            let (device, id) = match former {
                Some(former) => former,
                None => {
                    let sql = "INSERT INTO device (id, account, name, token_hash, scope, created_ms)
                               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                    tx.execute(sql, (id.as_bytes(), account, &name, &token_hash[..], scope as u8, now.0))?;
                    (tx.last_insert_rowid(), id)
                }
            };
            let used = "UPDATE enrolment SET device = ?2 WHERE secret_hash = ?1";
            tx.execute(used, (&secret_hash[..], device))?;
            let (account, token_hash) = (AccountId(account), *token_hash);
            let created = now;
            let device = Device {
                id,
                account,
                name,
                token_hash,
                scope,
                created,
                last_seen: None,
                revoked: None,
                is_suspended: false,
            };
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
        let generation = self.catalog().write_on_reserve(|tx| {
            if tx.execute(sql, (id.as_bytes(), now.0))? == 0 {
                return Err(StoreError::NotFound { what: "device" });
            }
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// Takes the suspension from a device, or from all that are suspended, and says from how many. Those that are revoked
    /// stay revoked. When this returns, no catalog that is older passes for one that was confirmed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a device; confirming one that is not suspended is no error.
    pub fn confirm_devices(&self, id: Option<DeviceId>) -> Result<u64, StoreError> {
        let (confirmed, generation) = self.catalog().write(|tx| {
            let is_known = |id: DeviceId| row(tx, "SELECT 1 FROM device WHERE id = ?1", [id.as_bytes()], |_| Ok(()));
            if let Some(id) = id {
                is_known(id)?.ok_or(StoreError::NotFound { what: "device" })?;
            }
            let sql = "UPDATE device SET is_suspended = 0
                       WHERE is_suspended = 1 AND revoked_ms IS NULL AND (?1 IS NULL OR id = ?1)";
            let confirmed = tx.execute(sql, [id.as_ref().map(DeviceId::as_bytes)])? as u64;
            Ok((confirmed, next_generation(tx)?))
        })?;
        self.raise_anchor(generation)?;
        Ok(confirmed)
    }
}

/// Voids the tokens of devices and scripts that a catalog older than what was acknowledged brought back, until somebody
/// confirms them, and the invitations for good: whoever still needs one is invited again.
pub(crate) fn suspend_all(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE device SET is_suspended = 1 WHERE revoked_ms IS NULL", ())?;
    tx.execute("UPDATE api_token SET is_suspended = 1 WHERE revoked_ms IS NULL", ())?;
    tx.execute("DELETE FROM enrolment WHERE device IS NULL", ())?;
    // Sessions, links and shares may have been ended since: whoever needs one logs in, or is given another.
    tx.execute("DELETE FROM web_session", ())?;
    tx.execute("DELETE FROM setup_link", ())?;
    tx.execute("DELETE FROM share", ())?;
    Ok(())
}

const SELECT_DEVICE: &str =
    "SELECT id, account, name, token_hash, created_ms, last_seen_ms, revoked_ms, scope, is_suspended FROM device";

/// What [`account_row`] reads, first in every query.
pub(crate) const ACCOUNT_COLUMNS: &str = "account.account, account.name, account.role, account.created_ms,
    account.disabled_ms, account.quota_bytes";
/// The column after them.
pub(crate) const AFTER_ACCOUNT: usize = 6;

pub(crate) fn account_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    let quota: Option<i64> = row.get(5)?;
    Ok(Account {
        id: AccountId(row.get(0)?),
        name: row.get(1)?,
        role: Role::from_number(2, row.get(2)?)?,
        created: UnixMs(row.get(3)?),
        disabled: row.get::<_, Option<i64>>(4)?.map(UnixMs),
        quota_bytes: quota.map(|_| unsigned(row, 5)).transpose()?,
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
        scope: Scope::from_number(7, row.get(7)?)?,
        is_suspended: row.get(8)?,
    })
}

/// The number and the account of a device that may still write.
pub(crate) fn active_device(connection: &Connection, id: DeviceId) -> Result<Option<(i64, AccountId)>, StoreError> {
    let sql = "SELECT device, account FROM device WHERE id = ?1 AND revoked_ms IS NULL";
    row(connection, sql, [id.as_bytes()], |row| Ok((row.get(0)?, AccountId(row.get(1)?))))
}

/// The number of the device that made something, for which a device without access is made when the account has none of
/// this id, or, where the id is not known, no former one of this name.
pub(crate) fn ensure_former_device(
    tx: &Transaction<'_>,
    account: AccountId,
    (id, fresh): (Option<DeviceId>, DeviceId),
    name: &str,
    now: UnixMs,
) -> Result<i64, StoreError> {
    let found: Option<(i64, i64)> = match id {
        Some(id) => {
            let sql = "SELECT device, account FROM device WHERE id = ?1";
            row(tx, sql, [id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
        }
        None => {
            let sql = "SELECT device, account FROM device
                       WHERE account = ?1 AND name = ?2 AND token_hash = ?3 ORDER BY device LIMIT 1";
            row(tx, sql, (account.0, name, &NO_TOKEN[..]), |row| Ok((row.get(0)?, row.get(1)?)))?
        }
    };
    let id = match found {
        Some((device, owner)) if owner == account.0 => return Ok(device),
        // The id is another account's: somebody's clock or catalog is from elsewhere.
        Some(_) => fresh,
        None => id.unwrap_or(fresh),
    };
    // Who enrols again under the name gets the scope that the enrolment says.
    let sql = "INSERT INTO device (id, account, name, token_hash, scope, created_ms, revoked_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";
    tx.execute(sql, (id.as_bytes(), account.0, name, &NO_TOKEN[..], Scope::PutOnly as u8, now.0))?;
    Ok(tx.last_insert_rowid())
}
