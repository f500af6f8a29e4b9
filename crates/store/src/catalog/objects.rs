//! The object index: where each copy of each object stands. Asked and filled in batches.

use std::cmp::Reverse;
use std::collections::HashMap;

use object::{Kind, ObjectId, RecordHead};
use rusqlite::{Connection, Transaction};

use crate::StoreError;
use crate::catalog::packs::PackState;
use crate::catalog::young::YoungCopy;
use crate::catalog::{row, rows, signed, unknown_number};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::pack::Span;

/// What a stored copy of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) is_delta: bool,
}

impl Form {
    const DELTA: u8 = 8;
    /// From here on copies are known to be damaged and are not found.
    const DAMAGED: u8 = 16;

    fn number(self) -> u8 {
        self.kind as u8 | if self.is_delta { Self::DELTA } else { 0 }
    }

    fn from_number(number: u8) -> rusqlite::Result<Self> {
        let kind = Kind::try_from(number & !Self::DELTA).map_err(|_| unknown_number(5, number.into()))?;
        Ok(Self { kind, is_delta: number & Self::DELTA != 0 })
    }

    /// The form of a copy that may be marked as damaged.
    fn of_marked(number: u8) -> rusqlite::Result<Self> {
        Self::from_number(number & !Self::DAMAGED)
    }

    /// Whether the copy is all there is to it: no edges, nothing to rebuild from.
    pub(crate) fn is_leaf(self) -> bool {
        self.kind == Kind::Data && !self.is_delta
    }
}

/// What a row of the index says a copy is, damaged ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredForm {
    pub(crate) form: Form,
    pub(crate) is_damaged: bool,
}

/// The form of a row, whether or not its copy is found by [`locate`].
pub(crate) fn stored_form(number: u8) -> rusqlite::Result<StoredForm> {
    let form = Form::from_number(number & !Form::DAMAGED)?;
    Ok(StoredForm { form, is_damaged: number & Form::DAMAGED != 0 })
}

/// A row of the index as garbage collection reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) id: HalfId,
    pub(crate) pack: PackKey,
    pub(crate) span: Span,
    pub(crate) form: StoredForm,
}

/// One copy of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackKey,
    pub(crate) span: Span,
    pub(crate) form: Form,
    condemned: bool,
}

impl Location {
    fn preference(&self) -> impl Ord + use<> {
        preference(self.form, self.condemned, self.pack, self.span)
    }
}

/// The order of an object's copies, the best first: copies that need no other object come first, then those whose pack is
/// not condemned, then the newest.
pub(crate) fn preference(form: Form, condemned: bool, pack: PackKey, span: Span) -> impl Ord + use<> {
    (form.is_delta, condemned, Reverse(pack), span)
}

/// All copies of an object that can be read, the best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    best: Option<Location>,
    others: Vec<Location>,
}

impl Copies {
    pub(crate) fn best(&self) -> Option<Location> {
        self.best
    }

    pub(crate) fn get(&self, index: usize) -> Option<Location> {
        if index == 0 { self.best } else { self.others.get(index - 1).copied() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Location> {
        self.best.into_iter().chain(self.others.iter().copied())
    }

    /// Adds a copy that was found in memory, if its pack can be read.
    pub(crate) fn add_young(&mut self, young: &YoungCopy, state: Option<PackState>) {
        let condemned = match state {
            Some(PackState::Sealed) => false,
            Some(PackState::Condemned) => true,
            _ => return,
        };
        let YoungCopy { pack, span, form, .. } = *young;
        // It may have been moved into the catalog meanwhile and be found twice.
        if self.iter().all(|copy| (copy.pack, copy.span) != (pack, span)) {
            self.add(Location { pack, span, form, condemned });
        }
    }

    fn add(&mut self, location: Location) {
        let Some(best) = self.best else {
            self.best = Some(location);
            return;
        };
        let worse = if location.preference() < best.preference() {
            self.best = Some(location);
            best
        } else {
            location
        };
        let at = self.others.partition_point(|other| other.preference() < worse.preference());
        self.others.insert(at, worse);
    }
}

/// An object of a pack that is about to become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) id: ObjectId,
    pub(crate) span: Span,
    pub(crate) form: Form,
}

/// The index entries of one record's members.
pub(crate) fn entries_of<'a>(head: RecordHead<'a>, span: Span) -> impl Iterator<Item = IndexEntry> + use<'a> {
    let is_delta = head.codec().is_delta();
    head.members().map(move |member| IndexEntry { id: member.id, span, form: Form { kind: member.kind, is_delta } })
}

/// One row of the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) vault: VaultKey,
    pub(crate) id: HalfId,
    pub(crate) pack: PackKey,
    pub(crate) span: Span,
    pub(crate) form: Form,
}

/// Adds rows, which best come in the order of the index: neighbours then share its pages.
pub(crate) fn insert(tx: &Transaction<'_>, rows: impl Iterator<Item = Row>) -> Result<(), StoreError> {
    // A record may name an object twice; either member is as good.
    let mut statement = tx.prepare_cached("INSERT OR IGNORE INTO object VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for Row { vault, id, pack, span, form } in rows {
        statement.execute((vault.0, id, pack.0, span.offset, span.len, form.number()))?;
    }
    Ok(())
}

/// Ids per statement: a few fixed sizes, so that a few prepared statements serve all questions.
const BATCH_LENS: [usize; 4] = [1, 16, 128, 512];

/// Finds the readable copies of objects that are in the catalog: see [`Catalog::locate`](super::Catalog::locate).
pub(crate) fn locate(
    connection: &Connection,
    vault: VaultKey,
    ids: &[ObjectId],
    is_absent: impl Fn(PackKey) -> bool,
) -> Result<Vec<Copies>, StoreError> {
    debug_assert!(ids.is_sorted_by(|a, b| a < b), "ids ascend");
    let mut copies = vec![Copies::default(); ids.len()];
    let batch_len_max = BATCH_LENS[BATCH_LENS.len() - 1];
    for (batch, copies) in ids.chunks(batch_len_max).zip(copies.chunks_mut(batch_len_max)) {
        let padded_len =
            *BATCH_LENS.iter().find(|len| **len >= batch.len()).expect("chunks are no longer than the last");
        let mut statement = connection.prepare_cached(locate_sql(padded_len))?;
        statement.raw_bind_parameter(1, vault.0)?;
        let padding = std::iter::repeat_n(&batch[0], padded_len - batch.len());
        for (index, id) in batch.iter().chain(padding).enumerate() {
            statement.raw_bind_parameter(index + 2, half(id))?;
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let found: HalfId = row.get(0)?;
            let location = Location {
                pack: PackKey(row.get(1)?),
                span: Span { offset: row.get(2)?, len: row.get(3)? },
                form: Form::from_number(row.get(5)?)?,
                condemned: row.get(4)?,
            };
            if is_absent(location.pack) {
                continue;
            }
            let first = batch.partition_point(|id| half(id) < found);
            let same = batch[first..].iter().take_while(|id| half(id) == found).count();
            copies[first..first + same].iter_mut().for_each(|copies| copies.add(location));
        }
    }
    Ok(copies)
}

fn locate_sql(padded_len: usize) -> &'static str {
    static TEXTS: std::sync::LazyLock<[String; BATCH_LENS.len()]> = std::sync::LazyLock::new(|| {
        BATCH_LENS.map(|len| {
            let marks: Vec<String> = (0..len).map(|index| format!("?{}", index + 2)).collect();
            format!(
                "SELECT half_id, pack, offset, len, pack.state = 3, form FROM object JOIN pack USING (pack)
                 WHERE object.vault = ?1 AND half_id IN ({}) AND pack.state IN (2, 3) AND form < {}",
                marks.join(","),
                Form::DAMAGED
            )
        })
    });
    let index = BATCH_LENS.iter().position(|len| *len == padded_len).expect("one of the sizes");
    &TEXTS[index]
}

/// One row of the index, as verification sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkedRow {
    pub(crate) id: HalfId,
    pub(crate) span: Span,
    pub(crate) form: Form,
    /// The copy is known to be damaged, and not found.
    pub(crate) is_damaged: bool,
}

/// The row of one copy.
pub(crate) fn marked_row(
    connection: &Connection,
    vault: VaultKey,
    id: HalfId,
    pack: PackKey,
    offset: u32,
) -> Result<Option<MarkedRow>, StoreError> {
    let sql = "SELECT half_id, offset, len, form FROM object
               WHERE vault = ?1 AND half_id = ?2 AND pack = ?3 AND offset = ?4";
    row(connection, sql, (vault.0, id, pack.0, offset), to_marked_row)
}

/// All rows of a pack, by offset. Reads the whole index: there is none by pack.
pub(crate) fn rows_of_pack(connection: &Connection, pack: PackKey) -> Result<Vec<MarkedRow>, StoreError> {
    let sql = "SELECT half_id, offset, len, form FROM object WHERE pack = ?1 ORDER BY offset, half_id";
    rows(connection, sql, [pack.0], to_marked_row)
}

fn to_marked_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<MarkedRow> {
    let form: u8 = row.get(3)?;
    Ok(MarkedRow {
        id: row.get(0)?,
        span: Span { offset: row.get(1)?, len: row.get(2)? },
        form: Form::of_marked(form)?,
        is_damaged: form & Form::DAMAGED != 0,
    })
}

/// How many rows each pack has. Reads the whole index.
pub(crate) fn count_by_pack(connection: &Connection) -> Result<HashMap<PackKey, u64>, StoreError> {
    let mut counts = HashMap::new();
    let mut statement = connection.prepare_cached("SELECT pack FROM object")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        *counts.entry(PackKey(row.get(0)?)).or_default() += 1;
    }
    Ok(counts)
}

/// Writes rows as they are, in place of those that are there: the copies have just been read and are sound.
pub(crate) fn put(tx: &Transaction<'_>, rows: impl Iterator<Item = Row>) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("INSERT OR REPLACE INTO object VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for Row { vault, id, pack, span, form } in rows {
        statement.execute((vault.0, id, pack.0, span.offset, span.len, form.number()))?;
    }
    Ok(())
}

/// Marks copies in a pack as damaged; says how many were not before.
pub(crate) fn mark_damaged(
    tx: &Transaction<'_>,
    vault: VaultKey,
    pack: PackKey,
    copies: impl Iterator<Item = (HalfId, u32)>,
) -> Result<u64, StoreError> {
    let sql = "UPDATE object SET form = form + 16
               WHERE vault = ?1 AND half_id = ?2 AND pack = ?3 AND offset = ?4 AND form < 16";
    let mut statement = tx.prepare_cached(sql)?;
    let mut marked = 0;
    for (id, offset) in copies {
        marked += statement.execute((vault.0, id, pack.0, offset))? as u64;
    }
    Ok(marked)
}

/// Marks everything as damaged, for a rebuild that puts every row back whose copy it finds.
pub(crate) fn mark_all(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE object SET form = form + 16 WHERE form < 16", ())?;
    Ok(())
}

/// Whether any copy of an object of this vault is marked as damaged.
pub(crate) fn has_damaged(connection: &Connection, vault: VaultKey) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM object WHERE vault = ?1 AND form >= 16)";
    Ok(connection.prepare_cached(sql)?.query_row([vault.0], |row| row.get(0))?)
}

/// Forgets one copy.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    vault: VaultKey,
    pack: PackKey,
    copies: impl Iterator<Item = (HalfId, u32)>,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM object WHERE vault = ?1 AND half_id = ?2 AND pack = ?3 AND offset = ?4";
    let mut statement = tx.prepare_cached(sql)?;
    for (id, offset) in copies {
        statement.execute((vault.0, id, pack.0, offset))?;
    }
    Ok(())
}

/// Forgets copies in packs that the catalog does not know.
pub(crate) fn forget_dangling(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM object WHERE pack NOT IN (SELECT pack FROM pack)", ())?;
    Ok(())
}

/// Objects that have damaged copies and no other, of one vault; `limit` bounds the answer.
pub(crate) fn lost(connection: &Connection, vault: VaultKey, limit: u64) -> Result<Vec<HalfId>, StoreError> {
    // The plain `form >= 16` lets the partial index serve.
    let sql = "SELECT DISTINCT half_id FROM object AS damaged WHERE vault = ?1 AND form >= 16 AND NOT EXISTS (
                   SELECT 1 FROM object AS sound JOIN pack USING (pack)
                   WHERE sound.vault = damaged.vault AND sound.half_id = damaged.half_id AND sound.form < 16
                       AND pack.state IN (2, 3))
               LIMIT ?2";
    rows(connection, sql, (vault.0, signed(limit)), |row| row.get(0))
}
