//! The way of snapshots out of sight and back: what a device asks for, and the purge, which is the server's alone.
//!
//! Each change is one transaction, counted by a generation that the ANCHOR then holds. What is in the trash stays a root;
//! purged, it is none, and garbage collection takes it from there.

use blake3::Hasher;
use object::{ObjectId, VaultId};
use rusqlite::Transaction;

use crate::catalog::alarms::IS_FROZEN;
use crate::catalog::idempotency::{self, Answer};
use crate::catalog::snapshots::{LIVE, PURGED, TRASH};
use crate::catalog::{accounts, clock, next_generation, row, rows, signed};
use crate::commit::Stored;
use crate::ids::VaultKey;
use crate::{DeviceId, IdempotencyKey, NodeId, Store, StoreError, UnixMs};

/// From the policy that holds for a chain (as it was given; `None` for none): the moment at which a snapshot must have been
/// received, or before, to be forgotten by a device.
pub type ForgetRule<'a> = &'a dyn Fn(Option<&str>) -> UnixMs;

/// What is to become of snapshots.
#[derive(Clone, Copy)]
pub enum SnapshotChange<'a> {
    /// Into the trash, if they are old enough and not held.
    Forget(ForgetRule<'a>),
    /// Back from the trash.
    Undelete,
    /// Nothing may take them away.
    Hold,
    /// The hold is over.
    Unhold,
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// When.
    pub at: UnixMs,
    /// How many snapshots were not so before.
    pub count: u64,
}

/// What restoring a sample of a snapshot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// Files restored and compared.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that could not be restored as they are in the snapshot.
    pub problems: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// What a purge took out of the trash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Snapshots.
    pub snapshots: u64,
    /// Files and directories of drives.
    pub drive_nodes: u64,
}

/// A snapshot of the device, or the vault's owner, that asks.
struct Own {
    number: i64,
    state: i64,
    is_held: bool,
    is_frozen: bool,
    chain: i64,
    seq: i64,
}

impl Store {
    /// Changes snapshots of the vault, all or none; with a `device`, only its own. The same `key` always gets the same
    /// answer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when one of them is not there, not the device's or was purged, or the device was revoked.
    /// [`StoreError::Protected`] when one may not be forgotten. [`StoreError::Conflict`] when the key was used for
    /// something else, or nothing may be deleted.
    pub fn change_snapshots(
        &self,
        vault: VaultId,
        device: Option<DeviceId>,
        key: IdempotencyKey,
        ids: &[ObjectId],
        change: SnapshotChange<'_>,
        now: UnixMs,
    ) -> Result<Changed, StoreError> {
        if matches!(change, SnapshotChange::Forget(_)) {
            self.check_deletion()?;
        }
        let mut hasher = Hasher::new_derive_key("delta-backup v1 change of snapshots");
        hasher.update(device.as_ref().map_or(&[][..], |device| device.as_bytes())).update(change.word());
        for id in ids {
            hasher.update(id.as_bytes());
        }
        self.once(vault, key, *hasher.finalize().as_bytes(), now, |tx, vault, generation| {
            let mut count = 0;
            for id in ids {
                let own = find(tx, vault, device, id)?;
                count += change.make(tx, id, &own, (now, generation))?;
            }
            Ok(count)
        })
    }

    /// Keeps what a device found when it restored a sample of one of its snapshots.
    ///
    /// # Errors
    /// As [`change_snapshots`](Self::change_snapshots).
    pub fn record_drill(
        &self,
        vault: VaultId,
        device: DeviceId,
        key: IdempotencyKey,
        snapshot: &ObjectId,
        drill: &Drill,
        now: UnixMs,
    ) -> Result<Changed, StoreError> {
        let Drill { files, bytes, problems, duration_ms } = *drill;
        let numbers = [files, bytes, problems, duration_ms];
        let mut hasher = Hasher::new_derive_key("delta-backup v1 report of a drill");
        hasher.update(device.as_bytes()).update(snapshot.as_bytes());
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        self.once(vault, key, *hasher.finalize().as_bytes(), now, |tx, vault, _| {
            let own = find(tx, vault, Some(device), snapshot)?;
            let [files, bytes, problems, duration_ms] = numbers.map(signed);
            let sql = "INSERT OR REPLACE INTO drill VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            Ok(tx.execute(sql, (own.number, now.0, files, bytes, problems, duration_ms))? as u64)
        })
    }

    /// Takes out of the trash, for good, what went there at `trashed_until` or before. Held snapshots stay.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while nothing may be deleted.
    pub fn purge(&self, trashed_until: UnixMs) -> Result<Purged, StoreError> {
        self.check_deletion()?;
        let sql = "SELECT snapshot FROM snapshot WHERE state = ?1 AND trashed_ms <= ?2 AND held_ms IS NULL
                   UNION ALL SELECT node FROM drive_node WHERE trashed_ms <= ?2 LIMIT 1";
        if self.catalog().read(|catalog| row(catalog, sql, (TRASH, trashed_until.0), |_| Ok(())))?.is_none() {
            return Ok(Purged::default());
        }
        let (purged, generation) = self.catalog().write_on_reserve(|tx| {
            let generation = next_generation(tx)?;
            let sql = "UPDATE snapshot SET state = ?3, changed_generation = ?4
                       WHERE state = ?1 AND trashed_ms <= ?2 AND held_ms IS NULL";
            let snapshots = tx.execute(sql, (TRASH, trashed_until.0, PURGED, signed(generation)))? as u64;
            let drive_nodes = remove_nodes(tx, "trashed_ms <= ?1", trashed_until.0)?;
            Ok((Purged { snapshots, drive_nodes }, generation))
        })?;
        self.keep_ledger()?;
        self.raise_anchor(generation)?;
        Ok(purged)
    }

    /// Takes these out of the trash of a drive, for good, with all that is in them; how many of them were there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault; [`StoreError::Conflict`] while nothing may be deleted.
    pub fn purge_from_drive(&self, vault: VaultId, nodes: &[NodeId]) -> Result<u64, StoreError> {
        self.check_deletion()?;
        let vault = self.vault_key(vault)?;
        let (purged, generation) = self.catalog().write_on_reserve(|tx| {
            let mut purged = 0;
            for node in nodes {
                let sql = "SELECT 1 FROM drive_node WHERE node = ?1 AND vault = ?2 AND trashed_ms IS NOT NULL";
                if row(tx, sql, (node.0, vault.0), |_| Ok(()))?.is_some() {
                    remove_nodes(tx, "node = ?1", node.0)?;
                    purged += 1;
                }
            }
            Ok((purged, next_generation(tx)?))
        })?;
        self.raise_anchor(generation)?;
        Ok(purged)
    }

    /// Fails while the catalog may be older than what was acknowledged.
    pub(crate) fn check_deletion(&self) -> Result<(), StoreError> {
        match self.deletion_latch() {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict { what: "nothing may be deleted until the catalog is rebuilt" }),
        }
    }

    /// Makes a change, unless it was made under this key before.
    fn once(
        &self,
        vault: VaultId,
        key: IdempotencyKey,
        hash: [u8; 32],
        now: UnixMs,
        change: impl FnOnce(&Transaction<'_>, VaultKey, u64) -> Result<u64, StoreError>,
    ) -> Result<Changed, StoreError> {
        let vault = self.vault_key(vault)?;
        let answer = self.catalog().write_on_reserve(|tx| {
            if let Some(answer) = idempotency::find(tx, vault, key, &hash)? {
                return Ok(answer);
            }
            let generation = next_generation(tx)?;
            let numbers = vec![change(tx, vault, generation)?];
            let answer = Answer { received: now, generation, stored: Stored::default(), numbers };
            idempotency::insert(tx, vault, key, &hash, &answer)?;
            Ok(answer)
        })?;
        self.keep_ledger()?;
        self.raise_anchor(answer.generation)?;
        Ok(Changed { at: answer.received, count: answer.numbers.first().copied().unwrap_or_default() })
    }
}

/// Removes entries of drives, and all that is in them; how many.
fn remove_nodes(tx: &Transaction<'_>, which: &str, parameter: i64) -> Result<u64, StoreError> {
    let gone = format!(
        "WITH RECURSIVE gone (node) AS (
             SELECT node FROM drive_node WHERE {which}
             UNION SELECT below.node FROM drive_node below JOIN gone ON below.parent = gone.node)"
    );
    for table in ["drive_property", "drive_version"] {
        tx.execute(&format!("{gone} DELETE FROM {table} WHERE node IN gone"), [parameter])?;
    }
    Ok(tx.execute(&format!("{gone} DELETE FROM drive_node WHERE node IN gone"), [parameter])? as u64)
}

impl SnapshotChange<'_> {
    /// Stands for it in the hash of a request.
    fn word(self) -> &'static [u8] {
        match self {
            Self::Forget(_) => b"forget",
            Self::Undelete => b"undelete",
            Self::Hold => b"hold",
            Self::Unhold => b"unhold",
        }
    }

    /// Makes the change, and counts it unless it was so before.
    fn make(
        self,
        tx: &Transaction<'_>,
        id: &ObjectId,
        own: &Own,
        (now, generation): (UnixMs, u64),
    ) -> Result<u64, StoreError> {
        let set = |what: &str, value: Option<i64>| -> Result<u64, StoreError> {
            let sql = format!("UPDATE snapshot SET {what}, changed_generation = ?3 WHERE snapshot = ?1");
            Ok(tx.execute(&sql, (own.number, value, signed(generation)))? as u64)
        };
        match self {
            Self::Forget(rule) if own.state == LIVE => {
                if own.is_held {
                    return Err(StoreError::Protected { snapshot: *id, why: "is held" });
                }
                let until = rule(policy(tx, own.chain)?.as_deref());
                if newest_evidence(tx, own)? > until {
                    return Err(StoreError::Protected { snapshot: *id, why: "is too young to be taken away" });
                }
                // Where a device may take away what it made this moment, nothing is kept from it.
                if own.is_frozen && until < now {
                    let why = "is from before an unusual change that nobody has confirmed";
                    return Err(StoreError::Protected { snapshot: *id, why });
                }
                set("state = 2, trashed_ms = ?2", Some(clock::counted(tx, now)?.0))
            }
            Self::Undelete if own.state == TRASH => set("state = 1, trashed_ms = ?2", None),
            Self::Hold if !own.is_held => set("held_ms = ?2", Some(now.0)),
            Self::Unhold if own.is_held => set("held_ms = ?2", None),
            Self::Forget(_) | Self::Undelete | Self::Hold | Self::Unhold => Ok(0),
        }
    }
}

fn find(tx: &Transaction<'_>, vault: VaultKey, device: Option<DeviceId>, id: &ObjectId) -> Result<Own, StoreError> {
    let missing = || StoreError::NotFound { what: "snapshot" };
    let device = match device {
        Some(device) => Some(accounts::active_device(tx, device)?.ok_or_else(missing)?.0),
        None => None,
    };
    let sql = format!(
        "SELECT snapshot, state, held_ms IS NOT NULL, chain, seq, {IS_FROZEN} FROM snapshot JOIN chain USING (chain)
         WHERE snapshot.vault = ?1 AND snapshot.id = ?2 AND (?3 IS NULL OR device = ?3) AND state <> ?4"
    );
    let found = row(tx, &sql, (vault.0, &id.as_bytes()[..], device, PURGED), |row| {
        let (number, state, is_held) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Own { number, state, is_held, chain: row.get(3)?, seq: row.get(4)?, is_frozen: row.get(5)? })
    })?;
    found.ok_or_else(missing)
}

/// The latest moment at which the snapshot may have been received: a clock that went back gave it too early a time, but
/// the order of receipt stands.
fn newest_evidence(tx: &Transaction<'_>, own: &Own) -> Result<UnixMs, StoreError> {
    let sql = "SELECT max(received_ms) FROM snapshot WHERE chain = ?1 AND seq <= ?2";
    Ok(UnixMs(tx.query_row(sql, (own.chain, own.seq), |row| row.get(0))?))
}

/// The policy that holds for a chain: its own, else the one for all.
fn policy(tx: &Transaction<'_>, chain: i64) -> Result<Option<String>, StoreError> {
    let sql = "SELECT policy FROM retention WHERE chain IN (0, ?1) ORDER BY chain DESC";
    Ok(rows(tx, sql, [chain], |row| row.get(0))?.into_iter().next())
}
