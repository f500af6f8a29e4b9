//! [`Store::repair_pack`]: makes the store sound again by adding and setting aside, never by deleting.
//!
//! The sound records of a damaged pack go into a new pack; then one transaction makes the new one visible, points the index
//! at it, marks what could not be saved and calls the old pack bad; last, its file is moved to `quarantine/`. Wherever that
//! ends early, opening the store completes it, or repair does what is left.

use std::collections::HashSet;

use crate::catalog::objects::{self, IndexEntry, MarkedRow};
use crate::catalog::packs::{self, PackFacts, PackState};
use crate::ids::{HalfId, PackKey, half};
use crate::layout::pack::PackHeader;
use crate::pack::scan::{PackFinding, PackScan};
use crate::pack::{PackReader, PackWriter, Span};
use crate::recover::{self, Recovery};
use crate::{PackId, Store, StoreError, UnixMs};

/// What repairing one pack did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackRepair {
    /// The new pack that holds what could be saved of the damaged one.
    pub moved_to: Option<PackId>,
    /// Records in it.
    pub records: u64,
    /// Whether the damaged pack was set aside; its file, if there is one, is in `quarantine/`.
    pub is_set_aside: bool,
    /// Copies that are marked as damaged now and were not before.
    pub marked: u64,
    /// Index rows that were missing or wrong and are right now.
    pub indexed: u64,
}

/// Files among the packs that the catalog did not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Packs it knows now.
    pub adopted: Vec<PackId>,
    /// Files that are no packs of this store; they are left as they are.
    pub strangers: Vec<std::path::PathBuf>,
}

/// Sound records of a damaged pack, in a new file.
struct Salvage {
    key: PackKey,
    id: PackId,
    file: crate::pack::PackFile,
    entries: Vec<IndexEntry>,
    /// Where the same members stood in the damaged pack.
    before: Vec<(HalfId, u32)>,
}

impl Store {
    /// Takes in packs whose files are there and that the catalog does not know.
    ///
    /// # Errors
    /// When catalog or disk fail.
    pub fn adopt_orphans(&self, now: UnixMs) -> Result<Orphans, StoreError> {
        let mut recovery = Recovery::default();
        // Files first: a pack gets its row before its file.
        let files = recover::list_packs(self.dir(), &mut recovery)?;
        let known: HashSet<PackId> = self.catalog().read(packs::all)?.into_iter().map(|row| row.id).collect();
        let mut orphans: Vec<PackId> = files.into_iter().filter(|id| !known.contains(id)).collect();
        orphans.sort_unstable();
        for orphan in orphans {
            recover::adopt(self.catalog(), self.dir(), orphan, now, &mut recovery)?;
        }
        Ok(Orphans { adopted: recovery.adopted, strangers: recovery.strangers })
    }

    /// Repairs one pack: see the module. `None` when there is nothing to repair. Sound records that are needed stay
    /// readable throughout; needs free space of at most the pack's length.
    ///
    /// # Errors
    /// When catalog or disk fail; what was not done yet is done by repairing again.
    pub fn repair_pack(
        &self,
        pack: PackId,
        counts: Option<&crate::IndexCounts>,
        now: UnixMs,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Option<PackRepair>, StoreError> {
        let Some((inspected, facts)) = self.inspect(pack, counts, on_bytes)? else { return Ok(None) };
        let (key, vault) = (facts.row.key, facts.row.vault);
        let report = inspected.report;
        if report.is_flawed() {
            return self.replace_pack(&facts, report.is_missing, now).map(Some);
        }
        if inspected.wrong.is_empty() && report.damaged.is_empty() {
            return Ok(None);
        }
        let mut repair = PackRepair::default();
        self.catalog().write(|tx| {
            if !is_readable(packs::state(tx, key)?) {
                return Ok(());
            }
            repair.indexed = inspected.wrong.len() as u64;
            objects::put(tx, inspected.wrong.iter().map(|wrong| wrong.row))?;
            let damaged = report.damaged.iter().map(|object| (object.half_id, object.offset));
            repair.marked = objects::mark_damaged(tx, vault, key, damaged)?;
            packs::unsettle(tx, key)
        })?;
        Ok(Some(repair))
    }

    /// Moves what is sound out of a damaged pack and sets the pack aside.
    fn replace_pack(&self, facts: &PackFacts, is_missing: bool, now: UnixMs) -> Result<PackRepair, StoreError> {
        let (key, vault) = (facts.row.key, facts.row.vault);
        let salvage = self.salvage(facts, is_missing)?;
        let mut repair = PackRepair::default();
        self.catalog().write(|tx| {
            if let Some(salvage) = &salvage {
                packs::seal(tx, salvage.key, &salvage.file, salvage.entries.len(), now)?;
                objects::put(tx, recover::rows_of(vault, salvage.key, &salvage.entries))?;
                packs::set_indexed(tx, std::iter::once(salvage.key))?;
                repair.moved_to = Some(salvage.id);
                repair.records = salvage.file.record_count.into();
            }
            // Garbage collection may have been quicker; then there is nothing to set aside.
            if !is_readable(packs::state(tx, key)?) {
                return Ok(());
            }
            if let Some(salvage) = &salvage {
                objects::forget(tx, vault, key, salvage.before.iter().copied())?;
            }
            let left = objects::rows_of_pack(tx, key)?;
            let left = left.iter().map(|row| (row.id, row.span.offset));
            repair.marked = objects::mark_damaged(tx, vault, key, left)?;
            repair.is_set_aside = true;
            packs::set_bad(tx, key)
        })?;
        if repair.is_set_aside {
            match recover::quarantine(self.dir(), facts.row.id) {
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        Ok(repair)
    }

    /// Copies the sound records of a pack into a new one whose file is durable in its place, and not visible yet.
    fn salvage(&self, facts: &PackFacts, is_missing: bool) -> Result<Option<Salvage>, StoreError> {
        self.check_space()?;
        let Some(source) = self.open_source(facts, is_missing)? else { return Ok(None) };
        let header = *source.header();
        // Of another pack's records the index says nothing.
        let rows = if header.pack == facts.row.id {
            self.catalog().read(|catalog| objects::rows_of_pack(catalog, facts.row.key))?
        } else {
            Vec::new()
        };
        let mut target = Target { store: self, facts, header, writer: None, entries: Vec::new(), before: Vec::new() };
        let copied = target.copy(source, &rows).and_then(|()| target.publish());
        if copied.is_err() {
            target.give_up();
        }
        copied
    }

    /// The file to save records from: the pack's own, or what stands under its name, if that is of the same vault.
    fn open_source(&self, facts: &PackFacts, is_missing: bool) -> Result<Option<PackReader>, StoreError> {
        if !is_missing {
            return Ok(self.open_to_verify(facts)?.ok());
        }
        match recover::open(self.dir(), facts.row.id) {
            Ok(found) => Ok(found.ok().filter(|pack| pack.header().vault == facts.header.vault)),
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The pack that takes what is saved, made for the first record.
struct Target<'a> {
    store: &'a Store,
    facts: &'a PackFacts,
    header: PackHeader,
    writer: Option<(PackKey, PackWriter)>,
    entries: Vec<IndexEntry>,
    before: Vec<(HalfId, u32)>,
}

impl Target<'_> {
    /// Takes every sound record of `source`, and those that `rows` lead to where a scan cannot come.
    fn copy(&mut self, source: PackReader, rows: &[MarkedRow]) -> Result<(), StoreError> {
        let mut scan = PackScan::new(source);
        let mut offsets = HashSet::new();
        // Where the disk fails the scan ends.
        for finding in scan.by_ref().map_while(Result::ok) {
            if let PackFinding::Record { offset, record } = finding {
                offsets.insert(offset);
                self.take(offset, &record)?;
            }
        }
        for row in rows {
            if offsets.insert(row.span.offset)
                && let Ok(record) = scan.reader().record(row.span)
            {
                self.take(row.span.offset, &record)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, offset: u32, record: &object::SealedRecord) -> Result<(), StoreError> {
        let (_, writer) = match &mut self.writer {
            Some(open) => open,
            None => {
                let open = self.create()?;
                self.writer.insert(open)
            }
        };
        let span: Span = writer.append(record.bytes())?;
        for entry in objects::entries_of(record.view().head(), span) {
            self.before.push((half(&entry.id), offset));
            self.entries.push(entry);
        }
        Ok(())
    }

    fn create(&self) -> Result<(PackKey, PackWriter), StoreError> {
        let id = PackId::from_bytes(self.store.fresh_id()?);
        let vault = (self.facts.row.vault, self.facts.header.vault);
        let class = self.header.class;
        let (key, header) = self.store.catalog().write(|tx| packs::intend(tx, id, class, vault))?;
        PackWriter::create(self.store.dir(), header).map(|writer| (key, writer)).inspect_err(|_| {
            drop(self.store.catalog().write(|tx| packs::forget_intents(tx, &[key])));
        })
    }

    fn publish(&mut self) -> Result<Option<Salvage>, StoreError> {
        let Some((key, writer)) = self.writer.take() else { return Ok(None) };
        let (store, id, staged) = (self.store, writer.header().pack, writer.path().to_owned());
        let placed = writer.finish().and_then(|finished| {
            store.dir().rename_noreplace(&finished.path, &store.dir().pack_path(id))?;
            Ok(finished.file)
        });
        let file = placed.inspect_err(|_| forget(store, key, &staged))?;
        if let Err(error) = store.dir().sync_dir(&store.dir().shard_path(id)) {
            store.catalog().halt(format!("a pack may not be durable: {error}"));
            return Err(error);
        }
        let (entries, before) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.before));
        Ok(Some(Salvage { key, id, file, entries, before }))
    }

    fn give_up(&mut self) {
        if let Some((key, writer)) = self.writer.take() {
            forget(self.store, key, writer.path());
        }
    }
}

/// Cleans up after a pack that will not be. Best effort: opening the store does the same.
fn forget(store: &Store, key: PackKey, staged: &std::path::Path) {
    drop(store.dir().remove(staged));
    drop(store.catalog().write(|tx| packs::forget_intents(tx, &[key])));
}

fn is_readable(state: Option<PackState>) -> bool {
    matches!(state, Some(PackState::Sealed | PackState::Condemned))
}
