//! [`recover`]: what happens when a store is opened, whatever happened to the process that had it open before.
//!
//! First the guard is evaluated (is the catalog as new as what was acknowledged?), then unfinished work is completed or
//! dropped. Only files in `staging/` and packs whose deletion was durable are ever removed; a file in `packs/` that
//! nobody can use is moved to `quarantine/`, and one that nobody knows is adopted.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;

use rusqlite::Transaction;

use crate::anchor;
use crate::catalog::objects::{self, IndexEntry, Row};
use crate::catalog::packs::{self, PackRow, PackState};
use crate::catalog::snapshots::{self, SnapshotState};
use crate::catalog::{Catalog, Meta, accounts, lift_generation, vaults};
use crate::data_dir::DataDir;
use crate::ids::{PackKey, VaultKey, half};
use crate::layout::ledger::LedgerEntry;
use crate::layout::pack::{PackHeader, SYNC_MARKER};
use crate::ledger::{self, Ledger, LedgerKeeper};
use crate::pack::scan::{PackFinding, PackScan};
use crate::pack::{PackFault, PackFile, PackReader, Span};
use crate::{PackId, StoreError, UnixMs};

/// What was found and done when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Whether whoever had the store open before closed it; the catalog was checked if not.
    pub was_closed: bool,
    /// Packs that were complete but not yet visible, and are now.
    pub sealed: Vec<PackId>,
    /// Packs that were not complete. Nothing of them was acknowledged.
    pub dropped: Vec<PackId>,
    /// Packs that the catalog did not know, and knows now.
    pub adopted: Vec<PackId>,
    /// Files moved to `quarantine/` because they are not the packs they should be.
    pub quarantined: Vec<PackId>,
    /// Packs whose deletion was completed.
    pub deleted: Vec<PackId>,
    /// Packs that should be there and are not.
    pub missing: Vec<PackId>,
    /// Files below `packs/` that could not be understood; left as they are.
    pub strangers: Vec<PathBuf>,
    pub(crate) latch: Option<String>,
    pub(crate) absent: HashSet<PackKey>,
    pub(crate) anchor_generation: u64,
    pub(crate) ledger: Ledger,
}

/// A pack's file that was read, ready to be indexed.
struct ReadPack {
    header: PackHeader,
    vault: VaultKey,
    file: PackFile,
    entries: Vec<IndexEntry>,
}

pub(crate) fn recover(catalog: &Catalog, dir: &DataDir, meta: &Meta, now: UnixMs) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery { was_closed: meta.was_closed, ..Recovery::default() };
    let rows = catalog.read(packs::all)?;
    let files = list_packs(dir, &mut recovery)?;
    let orphans = guard(catalog, dir, meta, (&rows, &files), now, &mut recovery)?;
    empty_staging(dir)?;
    for row in &rows {
        match row.state {
            PackState::Writing => finish_or_drop(catalog, dir, row, files.contains(&row.id), now, &mut recovery)?,
            PackState::Deleting if recovery.latch.is_none() => {
                delete(catalog, dir, row)?;
                recovery.deleted.push(row.id);
            }
            PackState::Sealed | PackState::Condemned if !row.is_indexed && files.contains(&row.id) => {
                index_again(catalog, dir, row)?;
            }
            PackState::Bad if files.contains(&row.id) => take_back_or_set_aside(catalog, dir, row, now, &mut recovery)?,
            PackState::Sealed | PackState::Condemned | PackState::Deleting | PackState::Bad => {}
        }
    }
    for orphan in orphans {
        adopt(catalog, dir, orphan, now, &mut recovery)?;
    }
    Ok(recovery)
}

/// The packs whose files exist. Directories that are missing, as after a copy that left empty ones out, are made.
pub(crate) fn list_packs(dir: &DataDir, recovery: &mut Recovery) -> Result<HashSet<PackId>, StoreError> {
    let shards: HashSet<String> = dir.list(&dir.packs_path())?.into_iter().collect();
    let mut files = HashSet::new();
    let mut made = false;
    for shard in dir.shard_paths() {
        if !shard.file_name().and_then(OsStr::to_str).is_some_and(|name| shards.contains(name)) {
            made |= dir.ensure_dir(&shard)?;
        }
        for name in dir.list(&shard)? {
            let id = name.strip_suffix(".pack").and_then(|stem| stem.parse::<PackId>().ok());
            match id.filter(|id| dir.pack_path(*id) == shard.join(&name)) {
                Some(id) => {
                    files.insert(id);
                }
                None => recovery.strangers.push(shard.join(&name)),
            }
        }
    }
    if made {
        dir.sync_dir(&dir.packs_path())?;
    }
    Ok(files)
}

/// Compares the catalog with ANCHOR and packs, keeps the verdict in the catalog, and returns the packs it knows not.
///
/// Headers are read of unknown packs only: those of known ones carry generations the catalog itself gave out. A catalog that
/// is older than what was acknowledged may have brought revoked devices back: all are suspended. It learns from the ledger
/// what became of the snapshots it knows, and its generation goes above all that was witnessed, so that nothing it gives
/// out from now on is taken for something older; the latch remembers that it is not to be trusted.
fn guard(
    catalog: &Catalog,
    dir: &DataDir,
    meta: &Meta,
    (rows, files): (&[PackRow], &HashSet<PackId>),
    now: UnixMs,
    recovery: &mut Recovery,
) -> Result<Vec<PackId>, StoreError> {
    let mut reasons = Vec::new();
    recovery.ledger = ledger::read(dir, meta.store)?;
    let mut witnessed = recovery.ledger.generation();
    if meta.generation < witnessed {
        reasons.push(format!("the catalog has generation {}, LEDGER {witnessed}", meta.generation));
    }
    match anchor::read(dir)? {
        Ok(anchor) if anchor.store != meta.store => reasons.push("ANCHOR is of another store".to_owned()),
        Ok(anchor) => {
            recovery.anchor_generation = anchor.generation;
            witnessed = witnessed.max(anchor.generation);
            if meta.generation < anchor.generation {
                reasons.push(format!(
                    "the catalog has generation {}, {} was acknowledged",
                    meta.generation, anchor.generation
                ));
            }
        }
        Err(reason) => reasons.push(reason),
    }
    let known: HashMap<PackId, &PackRow> = rows.iter().map(|row| (row.id, row)).collect();
    let mut orphans: Vec<PackId> = files.iter().filter(|id| !known.contains_key(id)).copied().collect();
    orphans.sort_unstable();
    let mut newer = None;
    for id in &orphans {
        if let Ok(pack) = open(dir, *id)? {
            let generation = pack.header().created_generation;
            if generation > meta.generation && newer.is_none_or(|(_, newest)| generation > newest) {
                newer = Some((id, generation));
            }
        }
    }
    if let Some((id, generation)) = newer {
        reasons.push(format!("pack {id} has generation {generation}, the catalog {}", meta.generation));
        witnessed = witnessed.max(generation);
    }
    let is_older = !reasons.is_empty();
    for row in rows.iter().filter(|row| !files.contains(&row.id)) {
        if matches!(row.state, PackState::Sealed | PackState::Condemned) {
            recovery.missing.push(row.id);
            recovery.absent.insert(row.key);
        }
    }
    if let Some(first) = recovery.missing.first() {
        reasons.push(format!("{} packs are missing, one is {first}", recovery.missing.len()));
    }
    recovery.latch.clone_from(&meta.latch);
    if !reasons.is_empty() {
        let reason = recovery.latch.get_or_insert_with(|| reasons.join("; "));
        catalog.write(|tx| {
            tx.execute("UPDATE meta SET latch = ?1", [&*reason])?;
            if is_older {
                accounts::suspend_all(tx)?;
                for entry in recovery.ledger.last.values().filter(|entry| entry.generation > meta.generation) {
                    snapshots::apply(tx, &in_doubt(entry, recovery.ledger.is_damaged, now), entry.generation)?;
                }
                lift_generation(tx, witnessed)?;
            }
            Ok(())
        })?;
    }
    Ok(orphans)
}

/// An entry as it is to be believed: where parts of the ledger are lost, something purged may have been committed again,
/// so it is kept in the trash.
pub(crate) fn in_doubt(entry: &LedgerEntry, is_damaged: bool, now: UnixMs) -> LedgerEntry {
    match entry.state {
        SnapshotState::Purged if is_damaged => {
            LedgerEntry { state: SnapshotState::Trash, trashed: Some(now), ..*entry }
        }
        _ => *entry,
    }
}

/// The keeper of the ledger. Where the catalog may not know what the ledger says, that stays part of it; else the ledger is
/// as good as the catalog, or is written anew.
pub(crate) fn open_ledger(catalog: &Catalog, meta: &Meta, recovery: &mut Recovery) -> Result<LedgerKeeper, StoreError> {
    if recovery.latch.is_some() {
        let ledger = &recovery.ledger;
        return Ok(LedgerKeeper::new(meta.store, ledger.generation(), ledger.last.values().copied().collect()));
    }
    let ledger = std::mem::take(&mut recovery.ledger);
    let newest = catalog.read(snapshots::changed_generation)?;
    let is_whole = !ledger.is_damaged && ledger.generation() == newest;
    Ok(LedgerKeeper::new(meta.store, if is_whole { newest } else { 0 }, Vec::new()))
}

/// Removes what earlier processes left in `staging/`: none of it was ever acknowledged.
fn empty_staging(dir: &DataDir) -> Result<(), StoreError> {
    let staging = dir.staging_path();
    if dir.ensure_dir(&staging)? {
        dir.sync_dir(dir.root())?;
    }
    let names = dir.list(&staging)?;
    for name in &names {
        dir.remove(&staging.join(name))?;
    }
    if names.is_empty() { Ok(()) } else { dir.sync_dir(&staging) }
}

/// Makes a pack visible that was renamed but not sealed, or drops what there is of it.
fn finish_or_drop(
    catalog: &Catalog,
    dir: &DataDir,
    row: &PackRow,
    has_file: bool,
    now: UnixMs,
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    if has_file {
        // The rename may have reached the disk without the sync that follows it.
        dir.sync_dir(&dir.shard_path(row.id))?;
        match read_whole(catalog, dir, row)? {
            Some(pack) => {
                catalog.write(|tx| index(tx, row.key, pack, now))?;
                recovery.sealed.push(row.id);
                return Ok(());
            }
            None => {
                recovery.quarantined.push(row.id);
                quarantine(dir, row.id)?;
            }
        }
    }
    catalog.write(|tx| packs::forget_intents(tx, &[row.key]))?;
    recovery.dropped.push(row.id);
    Ok(())
}

/// Deals with the file of a pack that repair set aside: somebody put a whole one back, or the process died before the
/// damaged one was moved.
fn take_back_or_set_aside(
    catalog: &Catalog,
    dir: &DataDir,
    row: &PackRow,
    now: UnixMs,
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    let Some(pack) = read_whole(catalog, dir, row)? else {
        recovery.quarantined.push(row.id);
        return quarantine(dir, row.id);
    };
    dir.sync_dir(&dir.shard_path(row.id))?;
    catalog.write(|tx| {
        packs::take_back(tx, row.key)?;
        packs::seal(tx, row.key, &pack.file, pack.entries.len(), now)?;
        objects::put(tx, rows_of(pack.vault, row.key, &pack.entries))?;
        packs::set_indexed(tx, std::iter::once(row.key))
    })?;
    recovery.adopted.push(row.id);
    Ok(())
}

/// Completes a deletion that was durable in the catalog.
fn delete(catalog: &Catalog, dir: &DataDir, row: &PackRow) -> Result<(), StoreError> {
    dir.remove(&dir.pack_path(row.id))?;
    dir.sync_dir(&dir.shard_path(row.id))?;
    catalog.write(|tx| packs::forget_deleted(tx, row.key))
}

/// Takes in a pack that the catalog does not know: all of it that is sound.
pub(crate) fn adopt(
    catalog: &Catalog,
    dir: &DataDir,
    id: PackId,
    now: UnixMs,
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    match read_sound(catalog, dir, id)? {
        Some(pack) => {
            // A rename that failed may have taken place all the same, and nobody synced it.
            dir.sync_dir(&dir.shard_path(id))?;
            catalog.write(|tx| {
                let key = packs::insert(tx, &pack.header, pack.vault)?;
                index(tx, key, pack, now)
            })?;
            recovery.adopted.push(id);
        }
        None => recovery.strangers.push(dir.pack_path(id)),
    }
    Ok(())
}

/// Seals a pack and writes its index rows.
fn index(tx: &Transaction<'_>, key: PackKey, pack: ReadPack, now: UnixMs) -> Result<(), StoreError> {
    packs::seal(tx, key, &pack.file, pack.entries.len(), now)?;
    write_rows(tx, pack.vault, key, pack.entries)
}

/// Writes the index rows of a sealed pack that only the memory of the process before had.
fn index_again(catalog: &Catalog, dir: &DataDir, row: &PackRow) -> Result<(), StoreError> {
    // What cannot be read is not found, like any other damaged object.
    let header =
        catalog.read(|catalog| packs::header(catalog, row.key))?.ok_or(StoreError::NotFound { what: "pack" })?;
    let entries = match PackReader::open_known(dir.open(&dir.pack_path(row.id))?, header) {
        Ok(pack) => entries_by_footer(&pack).unwrap_or_else(|_| entries_by_scan(pack).0),
        Err(_) => Vec::new(),
    };
    catalog.write(|tx| write_rows(tx, row.vault, row.key, entries))
}

fn write_rows(
    tx: &Transaction<'_>,
    vault: VaultKey,
    pack: PackKey,
    mut entries: Vec<IndexEntry>,
) -> Result<(), StoreError> {
    entries.sort_unstable_by_key(|entry| (entry.id, entry.span));
    objects::insert(tx, rows_of(vault, pack, &entries))?;
    packs::set_indexed(tx, std::iter::once(pack))
}

pub(crate) fn rows_of(vault: VaultKey, pack: PackKey, entries: &[IndexEntry]) -> impl Iterator<Item = Row> {
    entries.iter().map(move |entry| Row { vault, id: half(&entry.id), pack, span: entry.span, form: entry.form })
}

/// Reads a pack that was about to become visible; `None` unless every byte of it is as it was written.
fn read_whole(catalog: &Catalog, dir: &DataDir, row: &PackRow) -> Result<Option<ReadPack>, StoreError> {
    let Ok(pack) = open(dir, row.id)? else { return Ok(None) };
    let read = || -> Result<(PackFile, Vec<IndexEntry>), PackFault> {
        let (trailer, _) = pack.verify()?;
        let file = PackFile { len: pack.len(), record_count: trailer.record_count, hash: Some(trailer.hash) };
        Ok((file, entries_by_footer(&pack)?))
    };
    let Ok((file, entries)) = read() else { return Ok(None) };
    let header = *pack.header();
    let vault = catalog.read(|catalog| vaults::find(catalog, header.vault))?.map(|(key, _)| key);
    let is_intended = header.pack == row.id && vault == Some(row.vault);
    Ok(is_intended.then_some(ReadPack { header, vault: row.vault, file, entries }))
}

/// Reads a pack that nobody knows; `None` when it is not what it is called, or of no vault of ours.
fn read_sound(catalog: &Catalog, dir: &DataDir, id: PackId) -> Result<Option<ReadPack>, StoreError> {
    let Ok(pack) = open(dir, id)? else { return Ok(None) };
    let header = *pack.header();
    let vault = catalog.read(|catalog| vaults::find(catalog, header.vault))?;
    let (true, Some((vault, _))) = (header.pack == id, vault) else { return Ok(None) };
    let hash = pack.verify().ok().map(|(trailer, _)| trailer.hash);
    let len = pack.len();
    let (entries, record_count) = entries_by_scan(pack);
    Ok(Some(ReadPack { header, vault, file: PackFile { len, record_count, hash }, entries }))
}

/// The objects of a pack whose footer is sound, from the heads of its records.
fn entries_by_footer(pack: &PackReader) -> Result<Vec<IndexEntry>, PackFault> {
    let (_, spans) = pack.spans()?;
    let mut entries = Vec::new();
    for span in spans {
        let head = pack.head(span)?;
        entries.extend(objects::entries_of(object::Record::parse_head(&head)?, span));
    }
    Ok(entries)
}

/// The objects of the sound records of any pack, and how many records those are.
fn entries_by_scan(pack: PackReader) -> (Vec<IndexEntry>, u32) {
    let mut entries = Vec::new();
    let mut record_count = 0;
    // Where the disk fails the scan ends; what stands before is taken.
    for finding in PackScan::new(pack).map_while(Result::ok) {
        if let PackFinding::Record { offset, record } = finding {
            let len = u32::try_from(SYNC_MARKER.len() + record.bytes().len()).expect("records are limited");
            entries.extend(objects::entries_of(record.view().head(), Span { offset, len }));
            record_count += 1;
        }
    }
    (entries, record_count)
}

pub(crate) fn open(dir: &DataDir, id: PackId) -> Result<Result<PackReader, PackFault>, StoreError> {
    Ok(PackReader::open(dir.open(&dir.pack_path(id))?))
}

/// Moves a pack's file out of the way; nothing is ever removed there.
pub(crate) fn quarantine(dir: &DataDir, id: PackId) -> Result<(), StoreError> {
    let quarantine = dir.quarantine_path();
    dir.ensure_dir(&quarantine)?;
    let taken: HashSet<String> = dir.list(&quarantine)?.into_iter().collect();
    let names = (0u32..).map(|n| if n == 0 { format!("{id}.pack") } else { format!("{id}.{n}.pack") });
    let name = names.into_iter().find(|name| !taken.contains(name)).expect("there are more numbers than files");
    dir.rename_noreplace(&dir.pack_path(id), &quarantine.join(name))?;
    dir.sync_dir(&quarantine)?;
    dir.sync_dir(&dir.shard_path(id))
}
