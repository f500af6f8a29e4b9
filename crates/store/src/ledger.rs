//! [`LedgerKeeper`]: keeps beside the packs what became of snapshots: which are in the trash, held, or purged.
//!
//! Packs tell which snapshots there are, not what somebody decided about them. The ledger does, so that a lost catalog
//! costs no decision: every change is an entry of it, synced, before the change is acknowledged. The catalog is what
//! counts while it is there; the ledger is read only where the catalog may be older than what was acknowledged.
//!
//! The file is written anew by whoever makes the first change after the store was opened, and grows by entries until the
//! store is closed; nothing opens an existing one for writing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use object::{ObjectId, VaultId};

use crate::catalog::{Catalog, snapshots};
use crate::data_dir::DataDir;
use crate::disk::{DiskFile, DiskWriter};
use crate::layout::ledger::{ENTRY_LEN, HEADER_LEN, LedgerEntry, header, parse_header};
use crate::{StoreError, StoreId};

/// Entries read or written together.
const BATCH_LEN: usize = 1024;

/// A ledger that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// What was last said of each snapshot.
    pub(crate) last: HashMap<(VaultId, ObjectId), LedgerEntry>,
    /// Whether some of it could not be read: what it says last of a snapshot may not be the last word.
    pub(crate) is_damaged: bool,
}

impl Ledger {
    /// The highest generation of a change, 0 without any.
    pub(crate) fn generation(&self) -> u64 {
        self.last.values().map(|entry| entry.generation).max().unwrap_or(0)
    }
}

pub(crate) struct LedgerKeeper {
    store: StoreId,
    /// What the file said when a store was opened whose catalog does not know all of it: stays part of the file.
    witnessed: Vec<LedgerEntry>,
    open: Mutex<Open>,
}

struct Open {
    /// Changes up to this generation are in the file.
    kept: u64,
    /// The file, once this process has written it.
    writer: Option<Box<dyn DiskWriter>>,
}

/// Why the ledger was not kept.
#[derive(Debug)]
pub(crate) enum LedgerError {
    /// The change is in the catalog and not in the ledger; keeping it may be tried again.
    Refused(StoreError),
    /// What is durable is unknown.
    Final(StoreError),
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl LedgerKeeper {
    /// `kept`: changes up to this generation are in the file, if the file and the catalog agree. `witnessed`: entries that
    /// the catalog may not know.
    pub(crate) fn new(store: StoreId, kept: u64, mut witnessed: Vec<LedgerEntry>) -> Self {
        witnessed.sort_unstable_by_key(|entry| entry.generation);
        Self { store, witnessed, open: Mutex::new(Open { kept, writer: None }) }
    }

    /// Makes sure that the file holds every change the catalog knows. One write serves everybody who waited for it.
    pub(crate) fn keep(&self, catalog: &Catalog, dir: &DataDir) -> Result<(), LedgerError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = catalog.read(snapshots::changed_generation)?;
        if newest <= open.kept {
            return Ok(());
        }
        // A file to which something could not be written is not written to again.
        let writer = match open.writer.take() {
            Some(mut writer) => {
                append(&mut *writer, dir, catalog, (open.kept, newest))?;
                writer
            }
            None => self.write_anew(catalog, dir, newest)?,
        };
        *open = Open { kept: newest, writer: Some(writer) };
        Ok(())
    }

    /// Reads the file as it is, with nobody writing to it meanwhile.
    pub(crate) fn read(&self, dir: &DataDir) -> Result<Ledger, StoreError> {
        let _open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        read(dir, self.store)
    }

    fn write_anew(&self, catalog: &Catalog, dir: &DataDir, newest: u64) -> Result<Box<dyn DiskWriter>, LedgerError> {
        let path = dir.fresh_staging_path("ledger");
        let write = || -> Result<Box<dyn DiskWriter>, StoreError> {
            let mut writer = dir.create_new(&path)?;
            let failed = |error| StoreError::io("write", &path, error);
            writer.append(&header(self.store)).map_err(failed)?;
            for batch in self.witnessed.chunks(BATCH_LEN) {
                writer.append(&bytes_of(batch)).map_err(failed)?;
            }
            let witnessed = self.witnessed.last().map_or(0, |entry| entry.generation);
            append(&mut *writer, dir, catalog, (witnessed, newest))?;
            dir.rename_replace(&path, &dir.ledger_path())?;
            Ok(writer)
        };
        let writer = write().inspect_err(|_| {
            // Nothing of it is visible; the name goes at the next start at the latest.
            drop(dir.remove(&path));
        })?;
        dir.sync_dir(&dir.packs_path()).map_err(LedgerError::Final)?;
        Ok(writer)
    }
}

/// Appends the changes after one generation and up to another, and makes the file durable.
fn append(
    writer: &mut dyn DiskWriter,
    dir: &DataDir,
    catalog: &Catalog,
    (after, until): (u64, u64),
) -> Result<(), StoreError> {
    let failed = |verb| move |error| StoreError::io(verb, &dir.ledger_path(), error);
    let mut cursor = (after, i64::MAX);
    loop {
        let batch = catalog.read(|catalog| snapshots::changed(catalog, cursor, until, BATCH_LEN))?;
        let Some((last, _)) = batch.last() else { break };
        cursor = *last;
        let entries: Vec<LedgerEntry> = batch.into_iter().map(|(_, entry)| entry).collect();
        writer.append(&bytes_of(&entries)).map_err(failed("write"))?;
    }
    writer.sync_data().map_err(failed("sync"))
}

fn bytes_of(entries: &[LedgerEntry]) -> Vec<u8> {
    entries.iter().flat_map(LedgerEntry::encode).collect()
}

/// Reads the ledger of `store`; there is none until something was decided about a snapshot.
pub(crate) fn read(dir: &DataDir, store: StoreId) -> Result<Ledger, StoreError> {
    let path = dir.ledger_path();
    let file = match dir.open(&path) {
        Ok(file) => file,
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Ledger::default());
        }
        Err(error) => return Err(error),
    };
    let mut ledger = Ledger::default();
    let mut place = [0; HEADER_LEN];
    let read = |buffer: &mut [u8], offset: u64| {
        fill(&*file, buffer, offset).map_err(|error| StoreError::io("read", &path, error))
    };
    if read(&mut place, 0)? < HEADER_LEN || parse_header(&place) != Ok(store) {
        return Ok(Ledger { last: HashMap::new(), is_damaged: true });
    }
    let mut batch = vec![0; ENTRY_LEN * BATCH_LEN];
    let mut offset = HEADER_LEN as u64;
    loop {
        let filled = read(&mut batch, offset)?;
        let (entries, rest) = batch[..filled].as_chunks::<ENTRY_LEN>();
        for entry in entries {
            match LedgerEntry::decode(entry) {
                Ok(entry) => {
                    ledger.last.insert((entry.vault, entry.snapshot), entry);
                }
                Err(_) => ledger.is_damaged = true,
            }
        }
        ledger.is_damaged |= !rest.is_empty();
        if filled < batch.len() {
            return Ok(ledger);
        }
        offset += filled as u64;
    }
}

/// Reads until `buffer` is full or the file ends; how much.
fn fill(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
