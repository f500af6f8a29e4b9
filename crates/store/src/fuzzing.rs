//! Decoders that only fuzz targets call from outside.

use std::path::Path;
use std::sync::Arc;

use crate::catalog::idempotency;
use crate::data_dir::DataDir;
use crate::disk::Disk;
use crate::layout::anchor::{ANCHOR_LEN, Anchor};
use crate::layout::ledger::{ENTRY_LEN, LedgerEntry};
use crate::{StoreId, ledger};

/// Decodes an ANCHOR; one that is sound is the same after it is written again.
pub fn anchor(bytes: &[u8; ANCHOR_LEN]) -> bool {
    let Ok(anchor) = Anchor::decode(bytes) else { return false };
    assert_eq!(Anchor::decode(&anchor.encode()), Ok(anchor));
    true
}

/// The same for an entry of the LEDGER.
pub fn ledger_entry(bytes: &[u8; ENTRY_LEN]) -> bool {
    let Ok(entry) = LedgerEntry::decode(bytes) else { return false };
    assert_eq!(LedgerEntry::decode(&entry.encode()), Ok(entry));
    true
}

/// Decodes an answer that the catalog keeps: refused, or the same after it is written again.
pub fn answer(bytes: &[u8]) -> bool {
    idempotency::reads(bytes)
}

/// Reads the LEDGER of the store in `root`: how many snapshots it knows, and whether it is damaged.
pub fn ledger(disk: Arc<dyn Disk>, root: &Path, store: [u8; 16]) -> (usize, bool) {
    let dir = DataDir::new(root, disk);
    let read = ledger::read(&dir, StoreId::from_bytes(store)).expect("the disk can read");
    (read.last.len(), read.is_damaged)
}
