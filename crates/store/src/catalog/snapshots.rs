//! Snapshots and chains. Rows of snapshots are made by the commit and nowhere else.

use object::{ObjectId, VaultId};
use rusqlite::{Connection, Row};

use crate::catalog::{row, rows, signed, unsigned};
use crate::commit::{Checked, Stored};
use crate::ids::VaultKey;
use crate::{DeviceId, Store, StoreError, UnixMs};

/// A committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number in this store: later commits have higher ones. The cursor of listings.
    pub number: u64,
    /// Its object.
    pub id: ObjectId,
    /// Who made it.
    pub device: DeviceId,
    /// The name of who made it.
    pub device_name: String,
    /// Which of the device's jobs.
    pub chain: String,
    /// Its number in the chain, from 1.
    pub seq: u64,
    /// When it was committed, by the server's clock.
    pub received: UnixMs,
    /// What its session added to the store.
    pub stored: Stored,
}

/// Which snapshots to list.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotQuery<'a> {
    /// Of this vault.
    pub vault: VaultId,
    /// Of this device only.
    pub device: Option<DeviceId>,
    /// Of chains of this name only.
    pub chain: Option<&'a str>,
    /// Older than this [`Snapshot::number`].
    pub before: Option<u64>,
    /// At most this many.
    pub limit: usize,
}

/// The snapshots of one device's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Whose it is.
    pub device: DeviceId,
    /// The name of whose it is.
    pub device_name: String,
    /// Which job.
    pub name: String,
    /// Snapshots that can be restored.
    pub snapshots: u64,
    /// When the newest of them was committed.
    pub latest: Option<UnixMs>,
}

impl Store {
    /// Lists snapshots that can be restored, newest first; ask for the next page before the last one's number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn snapshots(&self, query: &SnapshotQuery<'_>) -> Result<Vec<Snapshot>, StoreError> {
        let vault = self.vault_key(query.vault)?;
        let sql = format!(
            "{SELECT_SNAPSHOT} AND (?2 IS NULL OR device.id = ?2) AND (?3 IS NULL OR chain.name = ?3)
             AND snapshot < ?4 ORDER BY snapshot DESC LIMIT ?5"
        );
        let device = query.device.as_ref().map(DeviceId::as_bytes);
        let before = query.before.map_or(i64::MAX, signed);
        let limit = signed(query.limit as u64);
        self.catalog().read(|catalog| rows(catalog, &sql, (vault.0, device, query.chain, before, limit), snapshot_row))
    }

    /// Finds the snapshots whose id begins with these hex digits, newest first; two at most, which is ambiguous enough.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault, [`StoreError::Invalid`] when `prefix` is not 1 to 64 hex digits.
    pub fn snapshots_by_prefix(
        &self,
        vault: VaultId,
        device: Option<DeviceId>,
        prefix: &str,
    ) -> Result<Vec<Snapshot>, StoreError> {
        let is_hex = prefix.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || prefix.is_empty() || prefix.len() > 2 * ObjectId::LEN {
            return Err(StoreError::Invalid { what: "not the beginning of an id" });
        }
        let end = |digit: &str| -> Result<ObjectId, StoreError> {
            let text = prefix.to_owned() + &digit.repeat(2 * ObjectId::LEN - prefix.len());
            text.parse().map_err(|_| StoreError::Invalid { what: "not the beginning of an id" })
        };
        let (first, last) = (end("0")?, end("f")?);
        let vault = self.vault_key(vault)?;
        let sql = format!(
            "{SELECT_SNAPSHOT} AND (?2 IS NULL OR device.id = ?2) AND snapshot.id BETWEEN ?3 AND ?4
             ORDER BY snapshot DESC LIMIT 2"
        );
        let device = device.as_ref().map(DeviceId::as_bytes);
        let parameters = (vault.0, device, &first.as_bytes()[..], &last.as_bytes()[..]);
        self.catalog().read(|catalog| rows(catalog, &sql, parameters, snapshot_row))
    }

    /// The chains of a vault, or of one device in it, by device and name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn chains(&self, vault: VaultId, device: Option<DeviceId>) -> Result<Vec<Chain>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT device.id, device.name, chain.name, count(snapshot), max(received_ms)
                   FROM chain JOIN device USING (device)
                   LEFT JOIN snapshot ON snapshot.chain = chain.chain AND snapshot.state = 1
                   WHERE chain.vault = ?1 AND (?2 IS NULL OR device.id = ?2)
                   GROUP BY chain.chain ORDER BY device.device, chain.name";
        let device = device.as_ref().map(DeviceId::as_bytes);
        self.catalog().read(|catalog| {
            rows(catalog, sql, (vault.0, device), |row| {
                Ok(Chain {
                    device: DeviceId::from_bytes(row.get(0)?),
                    device_name: row.get(1)?,
                    name: row.get(2)?,
                    snapshots: unsigned(row, 3)?,
                    latest: row.get::<_, Option<i64>>(4)?.map(UnixMs),
                })
            })
        })
    }
}

const SELECT_SNAPSHOT: &str = "SELECT snapshot, snapshot.id, device.id, device.name, chain.name, seq, received_ms,
        bytes_stored, objects_stored, delta_objects
    FROM snapshot JOIN chain USING (chain) JOIN device USING (device) WHERE snapshot.vault = ?1 AND snapshot.state = 1";

fn snapshot_row(row: &Row<'_>) -> rusqlite::Result<Snapshot> {
    Ok(Snapshot {
        number: unsigned(row, 0)?,
        id: ObjectId::from_bytes(row.get(1)?),
        device: DeviceId::from_bytes(row.get(2)?),
        device_name: row.get(3)?,
        chain: row.get(4)?,
        seq: unsigned(row, 5)?,
        received: UnixMs(row.get(6)?),
        stored: Stored { bytes: unsigned(row, 7)?, objects: unsigned(row, 8)?, delta_objects: unsigned(row, 9)? },
    })
}

/// The snapshot a new one of this chain is best compared with: the one hinted at if it is the device's and can be
/// restored, else the chain's newest.
pub(crate) fn parent(
    connection: &Connection,
    vault: VaultKey,
    chain: i64,
    hint: Option<ObjectId>,
) -> Result<Option<Snapshot>, StoreError> {
    if let Some(hint) = hint {
        let sql = format!(
            "{SELECT_SNAPSHOT} AND snapshot.id = ?3 AND device.device = (SELECT device FROM chain WHERE chain = ?2)"
        );
        if let Some(found) = row(connection, &sql, (vault.0, chain, &hint.as_bytes()[..]), snapshot_row)? {
            return Ok(Some(found));
        }
    }
    let sql = format!("{SELECT_SNAPSHOT} AND snapshot.chain = ?2 ORDER BY snapshot DESC LIMIT 1");
    row(connection, &sql, (vault.0, chain), snapshot_row)
}

/// Whether what a snapshot reaches is still kept: it is live or in the trash.
pub(crate) fn is_root(connection: &Connection, number: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM snapshot WHERE snapshot = ?1 AND state IN (1, 2)";
    Ok(row(connection, sql, [signed(number)], |_| Ok(()))?.is_some())
}

/// Makes a snapshot visible and returns its number in the store, and in the chain.
///
/// Fails with [`StoreError::Conflict`] when the vault has this very snapshot, unless it was purged.
pub(crate) fn insert(
    checked: &Checked<'_>,
    vault: VaultKey,
    chain: i64,
    id: ObjectId,
    generation: u64,
    stored: Stored,
    now: UnixMs,
) -> Result<(u64, u64), StoreError> {
    let tx = checked.transaction();
    tx.execute("DELETE FROM snapshot WHERE vault = ?1 AND id = ?2 AND state = 3", (vault.0, &id.as_bytes()[..]))?;
    let sql = "UPDATE chain SET last_seq = last_seq + 1 WHERE chain = ?1 RETURNING last_seq";
    let seq = tx.query_row(sql, [chain], |row| unsigned(row, 0))?;
    let sql = "INSERT INTO snapshot (vault, id, chain, seq, state, received_ms, generation,
                   bytes_stored, objects_stored, delta_objects)
               VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (vault, id) DO NOTHING
               RETURNING snapshot";
    let number = row(
        tx,
        sql,
        (
            vault.0,
            &id.as_bytes()[..],
            chain,
            signed(seq),
            now.0,
            signed(generation),
            signed(stored.bytes),
            signed(stored.objects),
            signed(stored.delta_objects),
        ),
        |row| unsigned(row, 0),
    )?;
    number.map(|number| (number, seq)).ok_or(StoreError::Conflict { what: "this snapshot exists" })
}
