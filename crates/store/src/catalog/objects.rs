//! The object index: where each copy of each object stands. Asked and filled in batches.

use std::cmp::Reverse;

use object::{Kind, ObjectId, RecordHead};
use rusqlite::{Connection, Transaction};

use crate::StoreError;
use crate::catalog::packs::PackState;
use crate::catalog::unknown_number;
use crate::catalog::young::YoungCopy;
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

    /// Whether the copy is all there is to it: no edges, nothing to rebuild from.
    pub(crate) fn is_leaf(self) -> bool {
        self.kind == Kind::Data && !self.is_delta
    }
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
    /// Copies that need no other object come first, then those whose pack is not condemned, then the newest.
    fn preference(&self) -> impl Ord + use<> {
        (self.form.is_delta, self.condemned, Reverse(self.pack), self.span)
    }
}

/// All copies of an object that can be read, the best first.
#[derive(Clone, Debug, Default)]
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
