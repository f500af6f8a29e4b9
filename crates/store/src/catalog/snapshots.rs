//! Snapshots and chains. Rows of snapshots are made by the commit and nowhere else.

use object::{ObjectId, VaultId};
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::{row, rows, signed, unknown_number, unsigned};
use crate::commit::{Checked, Stored};
use crate::ids::VaultKey;
use crate::layout::ledger::LedgerEntry;
use crate::{ChainId, DeviceId, Store, StoreError, UnixMs};

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
    /// The number of that.
    pub chain_id: ChainId,
    /// Its number in the chain, from 1.
    pub seq: u64,
    /// When it was committed, by the server's clock.
    pub received: UnixMs,
    /// What its session added to the store.
    pub stored: Stored,
    /// Since when nothing may take it away.
    pub held: Option<UnixMs>,
    /// Since when it is in the trash.
    pub trashed: Option<UnixMs>,
    /// When a drill last found a sample of it sound.
    pub drilled: Option<UnixMs>,
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
    /// Those in the trash, instead of those that can be restored.
    pub in_trash: bool,
}

/// The snapshots of one device's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its number.
    pub id: ChainId,
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
    /// Snapshots in the trash.
    pub trashed: u64,
    /// Snapshots that nothing may take away.
    pub held: u64,
    /// What the sessions of all these added to the store.
    pub bytes_stored: u64,
}

impl Store {
    /// Lists snapshots that can be restored, or those in the trash, newest first; ask for the next page before the last one's number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn snapshots(&self, query: &SnapshotQuery<'_>) -> Result<Vec<Snapshot>, StoreError> {
        let vault = self.vault_key(query.vault)?;
        let sql = format!(
            "{SELECT_SNAPSHOT} = ?6 AND (?2 IS NULL OR device.id = ?2) AND (?3 IS NULL OR chain.name = ?3)
             AND snapshot < ?4 ORDER BY snapshot DESC LIMIT ?5"
        );
        let device = query.device.as_ref().map(DeviceId::as_bytes);
        let before = query.before.map_or(i64::MAX, signed);
        let limit = signed(query.limit as u64);
        let state = if query.in_trash { TRASH } else { LIVE };
        self.catalog()
            .read(|catalog| rows(catalog, &sql, (vault.0, device, query.chain, before, limit, state), snapshot_row))
    }

    /// Finds the snapshots, also in the trash, whose id begins with these hex digits, newest first; two at most, which is ambiguous enough.
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
            "{SELECT_SNAPSHOT} IN (1, 2) AND (?2 IS NULL OR device.id = ?2) AND snapshot.id BETWEEN ?3 AND ?4
             ORDER BY snapshot DESC LIMIT 2"
        );
        let device = device.as_ref().map(DeviceId::as_bytes);
        let parameters = (vault.0, device, &first.as_bytes()[..], &last.as_bytes()[..]);
        self.catalog().read(|catalog| rows(catalog, &sql, parameters, snapshot_row))
    }

    /// When a device's last snapshots were received, the newest first, of all its chains, and of those too that are gone by
    /// now; at most `limit`.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn backup_times(&self, device: DeviceId, limit: u64) -> Result<Vec<UnixMs>, StoreError> {
        let sql = "SELECT received_ms FROM snapshot WHERE chain IN
                       (SELECT chain FROM chain JOIN device USING (device) WHERE device.id = ?1)
                   ORDER BY received_ms DESC LIMIT ?2";
        let parameters = (device.as_bytes(), signed(limit));
        self.catalog().read(|catalog| rows(catalog, sql, parameters, |row| row.get(0).map(UnixMs)))
    }

    /// The chains of a vault, or of one device in it, by device and name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn chains(&self, vault: VaultId, device: Option<DeviceId>) -> Result<Vec<Chain>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT device.id, device.name, chain.name, count(snapshot) FILTER (WHERE state = 1),
                       max(received_ms) FILTER (WHERE state = 1), chain.chain, count(snapshot) FILTER (WHERE state = 2),
                       count(held_ms), coalesce(sum(bytes_stored), 0)
                   FROM chain JOIN device USING (device)
                   LEFT JOIN snapshot ON snapshot.chain = chain.chain AND snapshot.state IN (1, 2)
                   WHERE chain.vault = ?1 AND (?2 IS NULL OR device.id = ?2)
                   GROUP BY chain.chain ORDER BY device.device, chain.name";
        let device = device.as_ref().map(DeviceId::as_bytes);
        self.catalog().read(|catalog| {
            rows(catalog, sql, (vault.0, device), |row| {
                Ok(Chain {
                    id: ChainId(row.get(5)?),
                    device: DeviceId::from_bytes(row.get(0)?),
                    device_name: row.get(1)?,
                    name: row.get(2)?,
                    snapshots: unsigned(row, 3)?,
                    latest: row.get::<_, Option<i64>>(4)?.map(UnixMs),
                    trashed: unsigned(row, 6)?,
                    held: unsigned(row, 7)?,
                    bytes_stored: unsigned(row, 8)?,
                })
            })
        })
    }
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SnapshotState {
    /// It can be restored.
    Live = 1,
    /// It can be brought back.
    Trash = 2,
    /// It is gone; its row remembers that it was there.
    Purged = 3,
}

impl SnapshotState {
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        [Self::Live, Self::Trash, Self::Purged].into_iter().find(|state| *state as i64 == number)
    }
}

pub(crate) const LIVE: i64 = SnapshotState::Live as i64;
pub(crate) const TRASH: i64 = SnapshotState::Trash as i64;
pub(crate) const PURGED: i64 = SnapshotState::Purged as i64;

/// What the state has to be comes next.
const SELECT_SNAPSHOT: &str = "SELECT snapshot, snapshot.id, device.id, device.name, chain.name, seq, received_ms,
        bytes_stored, objects_stored, delta_objects, held_ms, trashed_ms,
        (SELECT max(reported_ms) FROM drill WHERE drill.snapshot = snapshot.snapshot AND problems = 0),
        snapshot.chain
    FROM snapshot JOIN chain USING (chain) JOIN device USING (device) WHERE snapshot.vault = ?1 AND snapshot.state";

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
        held: row.get::<_, Option<i64>>(10)?.map(UnixMs),
        trashed: row.get::<_, Option<i64>>(11)?.map(UnixMs),
        drilled: row.get::<_, Option<i64>>(12)?.map(UnixMs),
        chain_id: ChainId(row.get(13)?),
    })
}

/// The generation in which a snapshot was committed.
pub(crate) fn generation(connection: &Connection, number: u64) -> Result<u64, StoreError> {
    let found = row(connection, "SELECT generation FROM snapshot WHERE snapshot = ?1", [signed(number)], |row| {
        unsigned(row, 0)
    })?;
    found.ok_or(StoreError::NotFound { what: "snapshot" })
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
            "{SELECT_SNAPSHOT} = 1 AND snapshot.id = ?3 AND device.device = (SELECT device FROM chain WHERE chain = ?2)"
        );
        if let Some(found) = row(connection, &sql, (vault.0, chain, &hint.as_bytes()[..]), snapshot_row)? {
            return Ok(Some(found));
        }
    }
    let sql = format!("{SELECT_SNAPSHOT} = 1 AND snapshot.chain = ?2 ORDER BY snapshot DESC LIMIT 1");
    row(connection, &sql, (vault.0, chain), snapshot_row)
}

/// Whether what a snapshot reaches is still kept: it is live or in the trash.
pub(crate) fn is_root(connection: &Connection, number: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM snapshot WHERE snapshot = ?1 AND state IN (1, 2)";
    Ok(row(connection, sql, [signed(number)], |_| Ok(()))?.is_some())
}

/// Whether the catalog has this snapshot, purged ones included.
pub(crate) fn is_known(connection: &Connection, vault: VaultKey, id: ObjectId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM snapshot WHERE vault = ?1 AND id = ?2";
    Ok(row(connection, sql, (vault.0, &id.as_bytes()[..]), |_| Ok(()))?.is_some())
}

/// The generation of the last change of what became of any snapshot, 0 before the first.
pub(crate) fn changed_generation(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(max(changed_generation), 0) FROM snapshot WHERE changed_generation > 0";
    Ok(connection.prepare_cached(sql)?.query_row((), |row| unsigned(row, 0))?)
}

/// A place in the order of changes: generation and row.
pub(crate) type ChangeCursor = (u64, i64);

/// What became of the next snapshots whose last change came after `cursor`, and not after
/// `until`, in the order of changes, each with its own place in that order.
pub(crate) fn changed(
    connection: &Connection,
    cursor: ChangeCursor,
    until: u64,
    limit: usize,
) -> Result<Vec<(ChangeCursor, LedgerEntry)>, StoreError> {
    let sql = "SELECT vault.id, snapshot.id, changed_generation, snapshot.state, held_ms, trashed_ms, snapshot
               FROM snapshot JOIN vault USING (vault)
               WHERE changed_generation > 0 AND (changed_generation, snapshot) > (?1, ?2) AND changed_generation <= ?3
               ORDER BY changed_generation, snapshot LIMIT ?4";
    rows(connection, sql, (signed(cursor.0), cursor.1, signed(until), signed(limit as u64)), |row| {
        let number = row.get(3)?;
        let entry = LedgerEntry {
            vault: VaultId::from_bytes(row.get(0)?),
            snapshot: ObjectId::from_bytes(row.get(1)?),
            generation: unsigned(row, 2)?,
            state: SnapshotState::from_number(number).ok_or_else(|| unknown_number(3, number))?,
            held: row.get::<_, Option<i64>>(4)?.map(UnixMs),
            trashed: row.get::<_, Option<i64>>(5)?.map(UnixMs),
        };
        Ok(((entry.generation, row.get(6)?), entry))
    })
}

/// Makes of a snapshot what the ledger says became of it; nothing when the catalog does not know it.
pub(crate) fn apply(tx: &Transaction<'_>, entry: &LedgerEntry, generation: u64) -> Result<(), StoreError> {
    let sql = "UPDATE snapshot SET state = ?3, held_ms = ?4, trashed_ms = ?5, changed_generation = ?6
               WHERE vault = (SELECT vault FROM vault WHERE id = ?1) AND id = ?2";
    tx.prepare_cached(sql)?.execute((
        entry.vault.as_bytes(),
        &entry.snapshot.as_bytes()[..],
        entry.state as i64,
        entry.held.map(|at| at.0),
        entry.trashed.map(|at| at.0),
        signed(generation),
    ))?;
    Ok(())
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
    let sql = "DELETE FROM snapshot WHERE vault = ?1 AND id = ?2 AND state = 3";
    let was_purged = tx.execute(sql, (vault.0, &id.as_bytes()[..]))? > 0;
    // The ledger calls it purged; its last word must be another.
    let changed = if was_purged { generation } else { 0 };
    let sql = "UPDATE chain SET last_seq = last_seq + 1 WHERE chain = ?1 RETURNING last_seq";
    let seq = tx.query_row(sql, [chain], |row| unsigned(row, 0))?;
    let sql = "INSERT INTO snapshot (vault, id, chain, seq, state, received_ms, generation,
                   bytes_stored, objects_stored, delta_objects, changed_generation)
               VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (vault, id) DO NOTHING
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
            signed(changed),
        ),
        |row| unsigned(row, 0),
    )?;
    number.map(|number| (number, seq)).ok_or(StoreError::Conflict { what: "this snapshot exists" })
}
