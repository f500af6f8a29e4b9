//! Rows of packs: intents, seals, the stamps of the commit, and what recovery asks for.

use object::VaultId;
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::{next_generation, row, rows, signed, unknown_number, unsigned};
use crate::ids::{PackKey, VaultKey};
use crate::layout::pack::{PackClass, PackHeader};
use crate::pack::PackFile;
use crate::{PackId, StoreError, UnixMs};

/// What may happen to a pack next. Only sealed and condemned packs are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackState {
    /// Intended: its file may exist, nothing of it is visible.
    Writing = 1,
    /// Complete, durable and visible.
    Sealed = 2,
    /// Found dead by garbage collection; a commit that relies on it seals it again.
    Condemned = 3,
    /// Its file is going; nothing brings it back.
    Deleting = 4,
    /// Damaged and set aside by repair; its objects count as not stored.
    Bad = 5,
}

impl PackState {
    pub(crate) fn from_number(column: usize, number: i64) -> rusqlite::Result<Self> {
        match number {
            1 => Ok(Self::Writing),
            2 => Ok(Self::Sealed),
            3 => Ok(Self::Condemned),
            4 => Ok(Self::Deleting),
            5 => Ok(Self::Bad),
            _ => Err(unknown_number(column, number)),
        }
    }
}

/// A pack as recovery sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackRow {
    pub(crate) key: PackKey,
    pub(crate) id: PackId,
    pub(crate) vault: VaultKey,
    pub(crate) state: PackState,
    pub(crate) is_indexed: bool,
}

/// Notes that a pack will be written, before its file exists; this raises the generation.
pub(crate) fn intend(
    tx: &Transaction<'_>,
    pack: PackId,
    class: PackClass,
    (vault_key, vault): (VaultKey, VaultId),
) -> Result<(PackKey, PackHeader), StoreError> {
    let header = PackHeader { class, pack, vault, created_generation: next_generation(tx)? };
    Ok((insert(tx, &header, vault_key)?, header))
}

/// Adds the row of a pack whose header is, or will be, `header`.
pub(crate) fn insert(tx: &Transaction<'_>, header: &PackHeader, vault: VaultKey) -> Result<PackKey, StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO pack (id, vault, class, state, touched_epoch, created_generation)
         SELECT ?1, ?2, ?3, 1, epoch, ?4 FROM meta RETURNING pack",
    )?;
    let parameters = (header.pack.as_bytes(), vault.0, header.class as u8, signed(header.created_generation));
    Ok(statement.query_row(parameters, |row| row.get(0).map(PackKey))?)
}

/// Makes a pack visible whose file is complete and durable; stamps it with the current epoch.
pub(crate) fn seal(
    tx: &Transaction<'_>,
    key: PackKey,
    file: &PackFile,
    object_count: usize,
    now: UnixMs,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "UPDATE pack SET state = 2, touched_epoch = (SELECT epoch FROM meta), bytes = ?2, record_count = ?3,
             object_count = ?4, hash = ?5, sealed_ms = ?6
         WHERE pack = ?1 AND state = 1",
    )?;
    let changed = statement.execute((
        key.0,
        signed(file.len),
        file.record_count,
        signed(object_count as u64),
        file.hash,
        now.0,
    ))?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict { what: "the pack is not being written" }) }
}

/// Forgets packs that were intended and never became anything.
pub(crate) fn forget_intents(tx: &Transaction<'_>, keys: &[PackKey]) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("DELETE FROM pack WHERE pack = ?1 AND state = 1")?;
    for key in keys {
        statement.execute([key.0])?;
    }
    Ok(())
}

/// Forgets a pack whose deletion is complete, with all that was in it.
pub(crate) fn forget_deleted(tx: &Transaction<'_>, key: PackKey) -> Result<(), StoreError> {
    // The object index is ordered by object, so this reads all of it: recovery after a crash may, garbage collection,
    // which has the pack's file at hand, deletes by object instead.
    tx.execute("DELETE FROM object WHERE pack = ?1", [key.0])?;
    tx.execute("DELETE FROM pack WHERE pack = ?1 AND state = 4", [key.0])?;
    Ok(())
}

/// All packs.
pub(crate) fn all(connection: &Connection) -> Result<Vec<PackRow>, StoreError> {
    rows(connection, "SELECT pack, id, vault, state, is_indexed FROM pack", (), pack_row)
}

/// The header that a pack's file was given.
pub(crate) fn header(connection: &Connection, key: PackKey) -> Result<Option<PackHeader>, StoreError> {
    let sql = "SELECT pack.id, class, vault.id, created_generation FROM pack JOIN vault USING (vault) WHERE pack = ?1";
    row(connection, sql, [key.0], |row| {
        let class = unsigned(row, 1)?;
        Ok(PackHeader {
            pack: PackId::from_bytes(row.get(0)?),
            class: PackClass::from_number(class).ok_or_else(|| unknown_number(1, signed(class)))?,
            vault: VaultId::from_bytes(row.get(2)?),
            created_generation: unsigned(row, 3)?,
        })
    })
}

/// A pack as verification sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackFacts {
    pub(crate) row: PackRow,
    pub(crate) header: PackHeader,
    pub(crate) hash: Option<[u8; 32]>,
    /// Whether garbage collection let go of copies in it: records that the index does not know are no wonder then.
    pub(crate) has_let_go: bool,
}

impl PackFacts {
    /// Whether it is there to be read: not being written, deleted, or set aside.
    pub(crate) fn is_readable(&self) -> bool {
        matches!(self.row.state, PackState::Sealed | PackState::Condemned) && self.row.is_indexed
    }
}

/// What the catalog knows of a pack; `None` when it does not know it.
pub(crate) fn facts(connection: &Connection, id: PackId) -> Result<Option<PackFacts>, StoreError> {
    let sql = "SELECT pack, id, vault, state, is_indexed, hash, has_let_go FROM pack WHERE id = ?1";
    let found = row(connection, sql, [id.as_bytes()], |row| Ok((pack_row(row)?, row.get(5)?, row.get(6)?)))?;
    let Some((row, hash, has_let_go)) = found else { return Ok(None) };
    let header = header(connection, row.key)?.ok_or(StoreError::NotFound { what: "vault" })?;
    Ok(Some(PackFacts { row, header, hash, has_let_go }))
}

/// Notes that every byte of a pack has been read.
pub(crate) fn set_verified(tx: &Transaction<'_>, key: PackKey, now: UnixMs) -> Result<(), StoreError> {
    tx.execute("UPDATE pack SET verified_ms = ?2 WHERE pack = ?1", (key.0, now.0))?;
    Ok(())
}

/// Notes that objects of a pack are not where they were: whatever was concluded from it before is looked up again.
pub(crate) fn unsettle(tx: &Transaction<'_>, key: PackKey) -> Result<(), StoreError> {
    let seq: i64 =
        tx.query_row("UPDATE meta SET condemn_seq = condemn_seq + 1 RETURNING condemn_seq", (), |row| row.get(0))?;
    tx.execute("UPDATE pack SET condemn_seq = ?2 WHERE pack = ?1", (key.0, seq))?;
    Ok(())
}

/// Sets a pack aside: nothing is read from it any more.
pub(crate) fn set_bad(tx: &Transaction<'_>, key: PackKey) -> Result<(), StoreError> {
    let sql = "UPDATE pack SET state = 5, condemned_epoch = NULL, condemned_ms = NULL, condemned_generation = NULL
               WHERE pack = ?1 AND state IN (2, 3)";
    tx.execute(sql, [key.0])?;
    unsettle(tx, key)
}

/// Takes a pack that was set aside in again, as if it were about to be sealed.
pub(crate) fn take_back(tx: &Transaction<'_>, key: PackKey) -> Result<(), StoreError> {
    tx.execute("UPDATE pack SET state = 1 WHERE pack = ?1 AND state = 5", [key.0])?;
    Ok(())
}

/// Notes what a pack's file was found to be.
pub(crate) fn set_file(
    tx: &Transaction<'_>,
    key: PackKey,
    file: &PackFile,
    object_count: usize,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE pack SET bytes = ?2, record_count = ?3, object_count = ?4, hash = ?5, is_indexed = 1,
         has_let_go = 0 WHERE pack = ?1",
        (key.0, signed(file.len), file.record_count, signed(object_count as u64), file.hash),
    )?;
    Ok(())
}

/// Which packs to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackChoice {
    /// All.
    All,
    /// Those sealed at this moment or later.
    SealedSince(UnixMs),
    /// Those that are due.
    Due(Due),
}

/// Which packs are due to be verified. One that was written or verified later than now is, too: the clock was wrong then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Those verified before this moment.
    pub verified_before: UnixMs,
    /// Those that were never verified and are sealed since before this moment.
    pub sealed_before: UnixMs,
    /// What time it is.
    pub now: UnixMs,
}

/// The packs chosen that can be read, and their lengths; those verified longest ago first, `limit` at most.
pub(crate) fn choose(
    connection: &Connection,
    choice: PackChoice,
    limit: u64,
) -> Result<Vec<(PackId, u64)>, StoreError> {
    let always = i64::MAX;
    let (sealed_since, verified_before, sealed_before, now) = match choice {
        PackChoice::All => (i64::MIN, always, always, always),
        PackChoice::SealedSince(moment) => (moment.0, always, always, always),
        PackChoice::Due(due) => (i64::MIN, due.verified_before.0, due.sealed_before.0, due.now.0),
    };
    let sql = "SELECT id, bytes FROM pack WHERE state IN (2, 3) AND coalesce(sealed_ms, 0) >= ?1
                   AND (coalesce(verified_ms, sealed_ms, -9223372036854775808)
                            < CASE WHEN verified_ms IS NULL THEN ?3 ELSE ?2 END
                        OR coalesce(verified_ms, sealed_ms) > ?4)
               ORDER BY coalesce(verified_ms, sealed_ms) NULLS FIRST, pack LIMIT ?5";
    rows(connection, sql, (sealed_since, verified_before, sealed_before, now, signed(limit)), |row| {
        Ok((PackId::from_bytes(row.get(0)?), unsigned(row, 1)?))
    })
}

/// When each pack of a vault that can be read was read last, with the generation it was begun in, in the order of that.
pub(crate) fn readings(connection: &Connection, vault: VaultKey) -> Result<Vec<(u64, Option<UnixMs>)>, StoreError> {
    let sql = "SELECT created_generation, verified_ms FROM pack WHERE vault = ?1 AND state IN (2, 3)
               ORDER BY created_generation";
    rows(connection, sql, [vault.0], |row| Ok((unsigned(row, 0)?, row.get::<_, Option<i64>>(1)?.map(UnixMs))))
}

/// Whether a pack of this vault is set aside.
pub(crate) fn has_bad(connection: &Connection, vault: VaultKey) -> Result<bool, StoreError> {
    // Found by the index of unsealed packs, of which there are few.
    let sql = "SELECT EXISTS (SELECT 1 FROM pack WHERE state <> 2 AND state = 5 AND vault = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([vault.0], |row| row.get(0))?)
}

/// What may happen to a pack next; `None` when there is no such pack.
pub(crate) fn state(connection: &Connection, key: PackKey) -> Result<Option<PackState>, StoreError> {
    row(connection, "SELECT state FROM pack WHERE pack = ?1", [key.0], |row| PackState::from_number(0, row.get(0)?))
}

/// The vault a pack belongs to.
pub(crate) fn vault(connection: &Connection, key: PackKey) -> Result<Option<VaultKey>, StoreError> {
    row(connection, "SELECT vault FROM pack WHERE pack = ?1", [key.0], |row| row.get(0).map(VaultKey))
}

/// What may happen next to the pack of this name.
pub(crate) fn state_by_id(connection: &Connection, id: PackId) -> Result<Option<PackState>, StoreError> {
    row(connection, "SELECT state FROM pack WHERE id = ?1", [id.as_bytes()], |row| {
        PackState::from_number(0, row.get(0)?)
    })
}

/// Notes that all objects of these packs have their rows.
pub(crate) fn set_indexed(tx: &Transaction<'_>, keys: impl Iterator<Item = PackKey>) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("UPDATE pack SET is_indexed = 1 WHERE pack = ?1")?;
    for key in keys {
        statement.execute([key.0])?;
    }
    Ok(())
}

/// The present value of the counter that condemning and moving objects raises.
pub(crate) fn condemn_seq(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached("SELECT condemn_seq FROM meta")?.query_row((), |row| row.get(0))?)
}

/// Of these packs, the condemned ones.
pub(crate) fn condemned_of(
    connection: &Connection,
    is_one: impl Fn(PackKey) -> bool,
) -> Result<Vec<PackKey>, StoreError> {
    // Found by the index of unsealed packs, of which there are few.
    let condemned = rows(connection, "SELECT pack FROM pack WHERE state <> 2 AND state = 3", (), |row| row.get(0))?;
    Ok(condemned.into_iter().map(PackKey).filter(|pack| is_one(*pack)).collect())
}

/// Seals condemned packs again and stamps them with the current epoch; those that are going, or gone, stay so.
pub(crate) fn take_condemnation_back(tx: &Transaction<'_>, keys: &[PackKey]) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "UPDATE pack SET state = 2, condemned_epoch = NULL, condemned_ms = NULL, condemned_generation = NULL,
             touched_epoch = (SELECT epoch FROM meta) WHERE pack = ?1 AND state = 3",
    )?;
    for key in keys {
        statement.execute([key.0])?;
    }
    Ok(())
}

/// Stamp-and-check: every pack must still be readable and untouched by condemnation and repacking since `seq`; then all
/// of them are sealed and carry the current epoch. `false`: what relied on them must be looked up again.
pub(crate) fn stamp(
    tx: &Transaction<'_>,
    keys: impl IntoIterator<Item = PackKey>,
    seq: i64,
) -> Result<bool, StoreError> {
    let epoch: i64 = tx.prepare_cached("SELECT epoch FROM meta")?.query_row((), |row| row.get(0))?;
    let mut look = tx.prepare_cached("SELECT state, condemn_seq, touched_epoch FROM pack WHERE pack = ?1")?;
    let mut touch = tx.prepare_cached(
        "UPDATE pack SET state = 2, condemned_epoch = NULL, condemned_ms = NULL,
                               condemned_generation = NULL, touched_epoch = ?2 WHERE pack = ?1",
    )?;
    for key in keys {
        let mut found = look.query([key.0])?;
        let Some(found) = found.next()? else { return Ok(false) };
        let state = PackState::from_number(0, found.get(0)?)?;
        let condemn_seq: i64 = found.get(1)?;
        let touched_epoch: i64 = found.get(2)?;
        if !matches!(state, PackState::Sealed | PackState::Condemned) || condemn_seq > seq {
            return Ok(false);
        }
        if state == PackState::Condemned || touched_epoch != epoch {
            touch.execute((key.0, epoch))?;
        }
    }
    Ok(true)
}

fn pack_row(row: &Row<'_>) -> rusqlite::Result<PackRow> {
    Ok(PackRow {
        key: PackKey(row.get(0)?),
        id: PackId::from_bytes(row.get(1)?),
        vault: VaultKey(row.get(2)?),
        state: PackState::from_number(3, row.get(3)?)?,
        is_indexed: row.get(4)?,
    })
}

/// Packs of one vault, class and state together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackTotals {
    /// Which kinds of object they hold.
    pub class: PackClass,
    /// What may happen to them next.
    pub state: PackState,
    /// How many.
    pub packs: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Objects in them; an object stored twice counts twice.
    pub objects: u64,
}

/// Totals by class and state, of one vault or of all.
pub(crate) fn totals(connection: &Connection, vault: Option<VaultKey>) -> Result<Vec<PackTotals>, StoreError> {
    let sql = "SELECT class, state, count(*), sum(bytes), sum(record_count), sum(object_count) FROM pack
               WHERE ?1 IS NULL OR vault = ?1 GROUP BY class, state ORDER BY class, state";
    rows(connection, sql, [vault.map(|vault| vault.0)], |row| {
        let class = unsigned(row, 0)?;
        Ok(PackTotals {
            class: PackClass::from_number(class).ok_or_else(|| unknown_number(0, signed(class)))?,
            state: PackState::from_number(1, row.get(1)?)?,
            packs: unsigned(row, 2)?,
            bytes: unsigned(row, 3)?,
            records: unsigned(row, 4)?,
            objects: unsigned(row, 5)?,
        })
    })
}
