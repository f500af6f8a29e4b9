//! Reading the whole catalog again, table by table: its pages, cells and indexes against each other.
//!
//! SQLite keeps no checksums, so a value that is another one of the same shape is not found here: of objects the packs tell, of
//! trash, holds and purges the ledger.

use std::path::Path;

use rusqlite::Connection;

use crate::StoreError;
use crate::catalog::{open_reader, rows};

/// What is wrong with the catalog at `path`, which may be in use; `None` when nothing was found. Every table is a read of its
/// own, so that the log can be written back in between. `on_table` hears before each how many were read, and of how many;
/// `false` ends it there.
pub(crate) fn check(path: &Path, on_table: &mut dyn FnMut(u64, u64) -> bool) -> Result<Option<String>, StoreError> {
    match look(path, on_table) {
        Err(error) if error.is_catalog_damage() => Ok(Some(match error {
            StoreError::Catalog(error) => error.to_string(),
            error => error.to_string(),
        })),
        looked => looked,
    }
}

fn look(path: &Path, on_table: &mut dyn FnMut(u64, u64) -> bool) -> Result<Option<String>, StoreError> {
    // A connection of its own: the others have pages in memory.
    let catalog = open_reader(path)?;
    let mut tables = vec!["sqlite_schema".to_owned()];
    tables.extend(names(&catalog)?);
    let total = tables.len() as u64;
    for (done, table) in (0u64..).zip(&tables) {
        if !on_table(done, total) {
            break;
        }
        let finding: String = catalog.query_row(&format!("PRAGMA integrity_check('{table}')"), (), |row| row.get(0))?;
        if finding != "ok" {
            return Ok(Some(finding));
        }
    }
    Ok(None)
}

fn names(catalog: &Connection) -> Result<Vec<String>, StoreError> {
    rows(catalog, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", (), |row| row.get(0))
}
