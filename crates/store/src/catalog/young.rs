//! [`Young`]: index rows of packs that were sealed lately, kept in memory until there are enough of them to be worth a
//! walk through the whole index.
//!
//! Rows of the index fall all over its file: written pack by pack, nearly each would cost a page. Nothing is at stake in
//! waiting: the rows can be read from the packs again, and are, at opening, for every pack whose row says it is not
//! indexed yet. Whoever looks for objects asks here first and in the catalog afterwards, so that rows on their way from
//! here to there are seen at least once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use object::ObjectId;

use crate::StoreError;
use crate::catalog::objects::{self, Copies, Form, IndexEntry};
use crate::catalog::{Catalog, packs};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::pack::Span;

/// Vault, object, pack and offset: the primary key of the index.
type RowKey = (VaultKey, HalfId, PackKey, u32);

/// Rows that are not in the catalog yet.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<RowKey, (u32, Form)>,
    packs: BTreeSet<PackKey>,
}

#[derive(Default)]
struct Generations {
    newest: Rows,
    /// On their way into the catalog.
    moving: Rows,
}

pub(crate) struct Young {
    rows_max: usize,
    generations: RwLock<Generations>,
    /// Held by whoever moves rows into the catalog.
    mover: Mutex<()>,
}

/// A copy found in memory.
pub(crate) struct YoungCopy {
    id_index: usize,
    pub(crate) pack: PackKey,
    pub(crate) span: Span,
    pub(crate) form: Form,
}

impl Young {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { rows_max, generations: RwLock::default(), mover: Mutex::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Generations> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Generations> {
        self.generations.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, vault: VaultKey, ids: &[ObjectId]) -> Vec<YoungCopy> {
        let generations = self.read();
        let mut found = Vec::new();
        for rows in [&generations.newest.rows, &generations.moving.rows] {
            if rows.is_empty() {
                continue;
            }
            for (id_index, id) in ids.iter().enumerate() {
                let [first, last] = [i64::MIN, i64::MAX].map(|pack| (vault, half(id), PackKey(pack), 0));
                found.extend(rows.range(first..last).map(|((_, _, pack, offset), (len, form))| YoungCopy {
                    id_index,
                    pack: *pack,
                    span: Span { offset: *offset, len: *len },
                    form: *form,
                }));
            }
        }
        found
    }
}

impl Catalog {
    /// Indexes the objects of a pack that is sealed: they are found from now on.
    ///
    /// May move what has gathered into the catalog. A catalog without space for that is no error: the rows wait.
    pub(crate) fn index(&self, vault: VaultKey, pack: PackKey, entries: &[IndexEntry]) -> Result<(), StoreError> {
        let is_full = {
            let mut generations = self.young.write();
            let newest = &mut generations.newest;
            newest.packs.insert(pack);
            for entry in entries {
                let key = (vault, half(&entry.id), pack, entry.span.offset);
                newest.rows.entry(key).or_insert((entry.span.len, entry.form));
            }
            newest.rows.len() >= self.young.rows_max
        };
        match if is_full { self.settle() } else { Ok(()) } {
            Err(error) if error.is_transient() => Ok(()),
            settled => settled,
        }
    }

    /// Moves all rows that wait in memory into the catalog.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let _mover = self.young.mover.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut generations = self.young.write();
            // What could not be moved before is moved now, together with what came since.
            let Rows { rows, packs } = std::mem::take(&mut generations.newest);
            generations.moving.rows.extend(rows);
            generations.moving.packs.extend(packs);
            if generations.moving.packs.is_empty() {
                return Ok(());
            }
        }
        self.write(|tx| {
            let generations = self.young.read();
            let rows = generations.moving.rows.iter();
            let rows = rows.map(|((vault, id, pack, offset), (len, form))| objects::Row {
                vault: *vault,
                id: *id,
                pack: *pack,
                span: Span { offset: *offset, len: *len },
                form: *form,
            });
            objects::insert(tx, rows)?;
            packs::set_indexed(tx, generations.moving.packs.iter().copied())
        })?;
        self.young.write().moving = Rows::default();
        Ok(())
    }

    /// Finds the readable copies of objects: `ids[i]` answers `copies[i]`. `ids` must ascend and not repeat.
    ///
    /// `is_absent` names packs whose file is known to be gone.
    pub(crate) fn locate(
        &self,
        vault: VaultKey,
        ids: &[ObjectId],
        is_absent: impl Fn(PackKey) -> bool,
    ) -> Result<Vec<Copies>, StoreError> {
        let young = self.young.find(vault, ids);
        self.read(|catalog| {
            let mut copies = objects::locate(catalog, vault, ids, &is_absent)?;
            let mut states = BTreeMap::new();
            for found in young {
                let state = match states.entry(found.pack) {
                    std::collections::btree_map::Entry::Occupied(entry) => *entry.get(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        *entry.insert(packs::state(catalog, found.pack)?)
                    }
                };
                if !is_absent(found.pack) {
                    copies[found.id_index].add_young(&found, state);
                }
            }
            Ok(copies)
        })
    }
}
