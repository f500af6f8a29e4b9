//! [`Store::fold_log`]: the catalog's log, written back into its file while nobody waits for it.
//!
//! SQLite writes its log back when that is [`CHECKPOINT_PAGES`](super::CHECKPOINT_PAGES) long, and keeps the file for what
//! comes next: after a first backup it would lie there at 128 MiB for good.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use rusqlite::Connection;

use super::{BUSY_TIMEOUT_MS, Catalog};
use crate::{Store, StoreError};

/// A shorter log is left alone: it costs nobody anything.
const FOLDED_LEN_MIN: u64 = 1 << 20;

impl Store {
    /// Writes the catalog's log back into its file and gives its space back; how many bytes that were. None when the log is
    /// short, or when a reader is in the way: then as much as can be is written back, and the log stays as long as it is.
    ///
    /// # Errors
    /// When the catalog fails. An I/O error stops the store, as in every other write.
    pub fn fold_log(&self) -> Result<u64, StoreError> {
        let mut path = self.dir().catalog_path().into_os_string();
        path.push("-wal");
        let path = PathBuf::from(path);
        let len = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(StoreError::io("look at", &path, error)),
        };
        if len < FOLDED_LEN_MIN {
            return Ok(0);
        }
        Ok(if self.catalog().fold_log()? { len } else { 0 })
    }
}

impl Catalog {
    /// Whether nothing is left of the log.
    fn fold_log(&self) -> Result<bool, StoreError> {
        self.check_running()?;
        let writer = self.lock_writer();
        // Writers would wait for as long as this waits for readers.
        writer.busy_timeout(Duration::ZERO)?;
        let folded = checkpoint(&writer);
        writer.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS.into()))?;
        self.halt_if_final(folded)
    }
}

fn checkpoint(writer: &Connection) -> Result<bool, StoreError> {
    let is_blocked: bool = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
    Ok(!is_blocked)
}
