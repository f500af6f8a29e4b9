//! The transactions of garbage collection: every change of a pack's state that it makes, with its conditions.
//!
//! What makes collection safe beside commits is written here and in [`packs::stamp`](super::packs::stamp): a pack is
//! condemned, or its objects are let go, only inside a transaction that finds it sealed and its stamp older than the
//! collection; a deletion is durable before the file goes.

use object::ObjectId;
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::objects::{self, Copy, Row as IndexRow};
use crate::catalog::packs::PackState;
use crate::catalog::{clock, next_generation, row, rows, signed, unsigned};
use crate::ids::{HalfId, PackKey, VaultKey};
use crate::layout::pack::PackClass;
use crate::pack::Span;
use crate::{PackId, StoreError, UnixMs};

/// What a collection starts from.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Packs stamped with this epoch or a later one are left alone.
    pub(crate) epoch: i64,
    /// Drive versions of later generations are none of this collection's roots.
    pub(crate) generation: u64,
    /// Snapshots, live and in the trash, those that somebody restores, and the parents of open sessions; what is stored of
    /// files on their way in.
    pub(crate) roots: Vec<(VaultKey, ObjectId)>,
}

/// BEGIN-MARK: raises the epoch and captures the roots that are few, in one transaction.
///
/// Drive versions are too many to be captured; they are read later, page by page ([`drive_roots`]). That is as safe: a
/// version that was committed before the epoch was raised is still found unless it was purged since, and whatever is
/// committed later stamps the packs it relies on with the new epoch.
pub(crate) fn begin(tx: &Transaction<'_>) -> Result<Begun, StoreError> {
    tx.execute("UPDATE meta SET epoch = epoch + 1", ())?;
    capture(tx, 0)
}

/// What [`begin`] would return, without changing anything.
pub(crate) fn preview(connection: &Connection) -> Result<Begun, StoreError> {
    capture(connection, 1)
}

fn capture(connection: &Connection, epochs_ahead: i64) -> Result<Begun, StoreError> {
    let sql = "SELECT vault, id FROM snapshot WHERE state IN (1, 2)
               OR snapshot IN (SELECT parent FROM session WHERE parent IS NOT NULL)
               OR snapshot IN (SELECT snapshot FROM pin)
               UNION ALL SELECT vault, content FROM upload WHERE content IS NOT NULL";
    let roots = rows(connection, sql, (), |row| Ok((VaultKey(row.get(0)?), ObjectId::from_bytes(row.get(1)?))))?;
    let (epoch, generation) = connection.query_row("SELECT epoch, generation FROM meta", (), |row| {
        Ok((row.get::<_, i64>(0)? + epochs_ahead, unsigned(row, 1)?))
    })?;
    Ok(Begun { epoch, generation, roots })
}

/// Where a reader of drive versions stands: node and version.
pub(crate) type DriveCursor = (i64, i64);

/// The contents of the next `limit` drive versions of these generations; every version is a root.
pub(crate) fn drive_roots(
    connection: &Connection,
    generation: u64,
    after: DriveCursor,
    limit: usize,
) -> Result<Vec<(DriveCursor, VaultKey, Option<ObjectId>)>, StoreError> {
    let sql = "SELECT drive_version.node, drive_version.version, vault, content
               FROM drive_version JOIN drive_node USING (node)
               WHERE (drive_version.node, drive_version.version) > (?1, ?2) AND generation <= ?3
               ORDER BY drive_version.node, drive_version.version LIMIT ?4";
    rows(connection, sql, (after.0, after.1, signed(generation), signed(limit as u64)), |row| {
        let content: Option<[u8; ObjectId::LEN]> = row.get(3)?;
        Ok(((row.get(0)?, row.get(1)?), VaultKey(row.get(2)?), content.map(ObjectId::from_bytes)))
    })
}

/// A pack as a collection sees it when it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackFacts {
    pub(crate) key: PackKey,
    pub(crate) vault: VaultKey,
    pub(crate) class: PackClass,
    pub(crate) state: PackState,
    pub(crate) touched_epoch: i64,
    pub(crate) bytes: u64,
    pub(crate) record_count: u64,
    pub(crate) object_count: u64,
    pub(crate) is_indexed: bool,
}

/// All packs that were complete once and whose files are not going yet.
pub(crate) fn pack_facts(connection: &Connection) -> Result<Vec<PackFacts>, StoreError> {
    let sql = "SELECT pack, vault, class, state, touched_epoch, bytes, record_count, object_count, is_indexed
               FROM pack WHERE state IN (2, 3, 5) ORDER BY pack";
    rows(connection, sql, (), facts_row)
}

fn facts_row(row: &Row<'_>) -> rusqlite::Result<PackFacts> {
    let class = unsigned(row, 2)?;
    Ok(PackFacts {
        key: PackKey(row.get(0)?),
        vault: VaultKey(row.get(1)?),
        class: PackClass::from_number(class).ok_or_else(|| super::unknown_number(2, signed(class)))?,
        state: PackState::from_number(3, row.get(3)?)?,
        touched_epoch: row.get(4)?,
        bytes: unsigned(row, 5)?,
        record_count: unsigned(row, 6)?,
        object_count: unsigned(row, 7)?,
        is_indexed: row.get(8)?,
    })
}

/// The next `limit` rows of a vault's index, in the order of ids.
pub(crate) fn index_page(
    connection: &Connection,
    vault: VaultKey,
    after: Option<&Copy>,
    limit: usize,
) -> Result<Vec<Copy>, StoreError> {
    let sql = "SELECT half_id, pack, offset, len, form FROM object
               WHERE vault = ?1 AND (half_id, pack, offset) > (?2, ?3, ?4)
               ORDER BY half_id, pack, offset LIMIT ?5";
    let (id, pack, offset) = after.map_or((&[][..], i64::MIN, 0), |copy| (&copy.id[..], copy.pack.0, copy.span.offset));
    rows(connection, sql, (vault.0, id, pack, offset, signed(limit as u64)), |row| {
        Ok(Copy {
            id: row.get(0)?,
            pack: PackKey(row.get(1)?),
            span: Span { offset: row.get(2)?, len: row.get(3)? },
            form: objects::stored_form(row.get(4)?)?,
        })
    })
}

/// CONDEMN: each pack that is sealed, indexed and stamped before `epoch`. Returns those that were condemned.
pub(crate) fn condemn(
    tx: &Transaction<'_>,
    packs: &[PackKey],
    epoch: i64,
    now: UnixMs,
) -> Result<Vec<PackKey>, StoreError> {
    let mut condemned = Vec::new();
    if packs.is_empty() {
        return Ok(condemned);
    }
    let generation = next_generation(tx)?;
    let seq = next_condemn_seq(tx)?;
    let now = clock::counted(tx, now)?;
    let mut statement = tx.prepare_cached(
        "UPDATE pack SET state = 3, condemned_epoch = ?2, condemned_ms = ?3, condemned_generation = ?4, condemn_seq = ?5
         WHERE pack = ?1 AND state = 2 AND is_indexed = 1 AND touched_epoch < ?2",
    )?;
    for pack in packs {
        if statement.execute((pack.0, epoch, now.0, signed(generation), seq))? == 1 {
            condemned.push(*pack);
        }
    }
    Ok(condemned)
}

/// Takes condemnation back from packs that hold something that is kept. No stamp is due: the mark found the reference.
pub(crate) fn reprieve(tx: &Transaction<'_>, packs: &[PackKey]) -> Result<u64, StoreError> {
    let mut statement = tx.prepare_cached(
        "UPDATE pack SET state = 2, condemned_epoch = NULL, condemned_ms = NULL, condemned_generation = NULL
         WHERE pack = ?1 AND state = 3",
    )?;
    let mut reprieved = 0;
    for pack in packs {
        reprieved += statement.execute([pack.0])? as u64;
    }
    Ok(reprieved)
}

/// Which condemned packs may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeleteRule {
    /// The collection whose mark found them dead again.
    pub(crate) epoch: i64,
    /// Packs condemned after this moment wait.
    pub(crate) condemned_until: UnixMs,
    /// Packs condemned with a later generation wait for a backup of the catalog.
    pub(crate) generation_max: Option<u64>,
}

/// Why a condemned pack stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may go.
    None,
    /// It was found dead once only.
    Mark,
    /// Its grace has not passed.
    Grace,
    /// A session that began before it was condemned, or while the collection ran that did, may still count on it.
    Session,
    /// No catalog backup knows that it was condemned.
    Backup,
}

/// Whether a condemned pack may go; `None` when it is no longer condemned.
pub(crate) fn wait_of(connection: &Connection, pack: PackKey, rule: &DeleteRule) -> Result<Option<Wait>, StoreError> {
    let sql = "SELECT condemned_epoch >= ?2, condemned_ms > ?3,
                   condemned_epoch >= (SELECT coalesce(min(started_epoch), ?2) FROM session),
                   ?4 IS NOT NULL AND condemned_generation > ?4
               FROM pack WHERE pack = ?1 AND state = 3";
    let parameters = (pack.0, rule.epoch, rule.condemned_until.0, rule.generation_max.map(signed));
    row(connection, sql, parameters, |row| {
        let waits = [Wait::Mark, Wait::Grace, Wait::Session, Wait::Backup];
        for (column, wait) in waits.into_iter().enumerate() {
            if row.get::<_, Option<bool>>(column)?.unwrap_or(false) {
                return Ok(wait);
            }
        }
        Ok(Wait::None)
    })
}

/// DELETE, first half: the packs of these that may go are going from now on. Returns them with the generation that must
/// be in ANCHOR before any file is touched.
pub(crate) fn start_deleting(
    tx: &Transaction<'_>,
    packs: &[PackKey],
    rule: &DeleteRule,
) -> Result<(Vec<PackKey>, u64), StoreError> {
    let generation = next_generation(tx)?;
    let mut going = Vec::new();
    for pack in packs {
        if wait_of(tx, *pack, rule)? == Some(Wait::None) {
            tx.prepare_cached("UPDATE pack SET state = 4 WHERE pack = ?1")?.execute([pack.0])?;
            going.push(*pack);
        }
    }
    Ok((going, generation))
}

/// Packs whose deletion is durable and not complete.
pub(crate) fn deleting(connection: &Connection) -> Result<Vec<PackKey>, StoreError> {
    rows(connection, "SELECT pack FROM pack WHERE state = 4", (), |row| row.get(0).map(PackKey))
}

/// DELETE, second half, after the file is gone: forgets a pack and the index rows of what it held.
pub(crate) fn finish_deleting(
    tx: &Transaction<'_>,
    vault: VaultKey,
    pack: PackKey,
    held: &[(HalfId, Span)],
) -> Result<(), StoreError> {
    remove_copies(tx, vault, pack, held)?;
    tx.prepare_cached("DELETE FROM pack WHERE pack = ?1 AND state = 4")?.execute([pack.0])?;
    Ok(())
}

/// What moving objects out of a pack relies on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SwitchRule<'a> {
    /// The collection; a source stamped in it stays as it is.
    pub(crate) epoch: i64,
    /// Packs that hold what is kept of the source: all must be sealed.
    pub(crate) relies_on: &'a [PackKey],
}

/// Lets go of copies in one pack, if nobody has relied on the pack since the mark and everything that is kept stands
/// elsewhere. `false`: nothing was changed.
pub(crate) fn let_go(
    tx: &Transaction<'_>,
    vault: VaultKey,
    source: PackKey,
    copies: &[(HalfId, Span)],
    rule: SwitchRule<'_>,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM pack WHERE pack = ?1 AND state = 2 AND is_indexed = 1 AND touched_epoch < ?2";
    if row(tx, sql, (source.0, rule.epoch), |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    for pack in rule.relies_on {
        let sql = "SELECT 1 FROM pack WHERE pack = ?1 AND state = 2";
        if row(tx, sql, [pack.0], |_| Ok(()))?.is_none() {
            return Ok(false);
        }
    }
    next_generation(tx)?;
    let seq = next_condemn_seq(tx)?;
    tx.prepare_cached("UPDATE pack SET condemn_seq = ?2, has_let_go = 1 WHERE pack = ?1")?.execute((source.0, seq))?;
    remove_copies(tx, vault, source, copies)?;
    Ok(true)
}

/// Writes the index rows of a pack that was just sealed.
pub(crate) fn index_now(
    tx: &Transaction<'_>,
    vault: VaultKey,
    pack: PackKey,
    mut copies: Vec<Copy>,
) -> Result<(), StoreError> {
    copies.sort_unstable_by_key(|copy| (copy.id, copy.span));
    let rows = copies.iter().map(|copy| IndexRow { vault, id: copy.id, pack, span: copy.span, form: copy.form.form });
    objects::insert(tx, rows)?;
    super::packs::set_indexed(tx, std::iter::once(pack))
}

fn remove_copies(
    tx: &Transaction<'_>,
    vault: VaultKey,
    pack: PackKey,
    copies: &[(HalfId, Span)],
) -> Result<(), StoreError> {
    let sql = "DELETE FROM object WHERE vault = ?1 AND half_id = ?2 AND pack = ?3 AND offset = ?4";
    let mut statement = tx.prepare_cached(sql)?;
    for (id, span) in copies {
        statement.execute((vault.0, id, pack.0, span.offset))?;
    }
    Ok(())
}

fn next_condemn_seq(tx: &Transaction<'_>) -> Result<i64, StoreError> {
    let sql = "UPDATE meta SET condemn_seq = condemn_seq + 1 RETURNING condemn_seq";
    Ok(tx.prepare_cached(sql)?.query_row((), |row| row.get(0))?)
}

/// The name of a pack.
pub(crate) fn pack_id(connection: &Connection, key: PackKey) -> Result<PackId, StoreError> {
    let id = row(connection, "SELECT id FROM pack WHERE pack = ?1", [key.0], |row| row.get(0).map(PackId::from_bytes))?;
    id.ok_or(StoreError::NotFound { what: "pack" })
}
