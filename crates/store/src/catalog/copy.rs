//! Copies of the catalog without what the packs tell themselves, and putting one in the catalog's place.
//!
//! A copy leaves the object index out, but for copies known to be damaged, and says of every pack that it is not indexed:
//! opening it reads the index from the packs again. That makes copies small enough to be kept by the dozen.
#![expect(clippy::disallowed_methods, reason = "the catalog's files are SQLite's, and never on another disk")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::catalog::{APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, quick_check, schema_version, unsigned};
use crate::{StoreError, StoreId};

/// SQLite's files beside a database.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// What a copy of a catalog says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogCopy {
    /// The store it is of.
    pub store: StoreId,
    /// The catalog's generation when the copy was made.
    pub generation: u64,
}

/// Copies the catalog at `from`, which may be in use, to the new file `to`; durable when this returns, but for its name.
pub(crate) fn copy_to(from: &Path, to: &Path) -> Result<CatalogCopy, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags)?;
    copy.pragma_update(None, "foreign_keys", false)?;
    copy.pragma_update(None, "synchronous", "FULL")?;
    let from = from.to_str().ok_or_else(|| StoreError::CatalogUnusable { what: "its path is not UTF-8".to_owned() })?;
    copy.execute("ATTACH ?1 AS source", [from])?;
    let tx = copy.transaction()?;
    let version: u32 = tx.pragma_query_value(Some("source"), "user_version", |row| row.get(0))?;
    if version != SCHEMA_VERSION {
        return Err(StoreError::CatalogUnusable { what: format!("its schema is {version}, not {SCHEMA_VERSION}") });
    }
    for migration in &MIGRATIONS {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(Some("main"), "user_version", SCHEMA_VERSION)?;
    tx.pragma_update(Some("main"), "application_id", APPLICATION_ID)?;
    let tables: Vec<String> = tx
        .prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?
        .query_map((), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        let which = if table == "object" { "WHERE form >= 16" } else { "" };
        tx.execute(&format!("INSERT INTO main.{table} SELECT * FROM source.{table} {which}"), ())?;
    }
    tx.execute("DELETE FROM main.sqlite_sequence", ())?;
    tx.execute("INSERT INTO main.sqlite_sequence SELECT * FROM source.sqlite_sequence", ())?;
    tx.execute("UPDATE main.pack SET is_indexed = 0", ())?;
    tx.execute("UPDATE main.meta SET is_open = 0", ())?;
    let facts = facts(&tx)?;
    tx.commit()?;
    Ok(facts)
}

/// Looks whether a file is a sound catalog that this version can open.
pub(crate) fn check(path: &Path) -> Result<CatalogCopy, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(path, flags)?;
    let application: i32 = copy.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = schema_version(&copy)?;
    if application != APPLICATION_ID || version == 0 {
        return Err(StoreError::CatalogUnusable { what: "the file is not a catalog of ours".to_owned() });
    }
    if version > SCHEMA_VERSION {
        let what = format!("its schema {version} is newer than {SCHEMA_VERSION}, the newest known here");
        return Err(StoreError::CatalogUnusable { what });
    }
    quick_check(&copy)?;
    facts(&copy)
}

/// What a catalog says of itself.
pub(crate) fn facts(connection: &Connection) -> Result<CatalogCopy, StoreError> {
    Ok(connection.query_row("SELECT store_id, generation FROM main.meta", (), |row| {
        Ok(CatalogCopy { store: StoreId::from_bytes(row.get(0)?), generation: unsigned(row, 1)? })
    })?)
}

/// Gives a catalog's files, which nobody has open, another name beside it: `catalog-aside-0.sqlite3`, or a higher number.
/// The database's new name, if there was one.
pub(crate) fn set_aside(catalog: &Path) -> Result<Option<PathBuf>, StoreError> {
    let free = (0u32..)
        .map(|number| catalog.with_file_name(format!("catalog-aside-{number}.sqlite3")))
        .find(|path| COMPANIONS.iter().all(|companion| !with(path, companion).exists()))
        .expect("there are more numbers than files");
    let mut moved = None;
    // Logs go last: without its database a log is nothing, and the database without its log is an older one. None may stay:
    // it would be taken for the log of what comes in this place.
    for companion in COMPANIONS {
        let to = with(&free, companion);
        match fs::rename(with(catalog, companion), &to) {
            Ok(()) if companion.is_empty() => moved = Some(to),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("rename to", &to, error)),
        }
    }
    Ok(moved)
}

/// Gives a catalog's file its place.
pub(crate) fn put_in_place(copy: &Path, catalog: &Path) -> Result<(), StoreError> {
    fs::rename(copy, catalog).map_err(|error| StoreError::io("rename to", catalog, error))
}

fn with(path: &Path, companion: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(companion);
    name.into()
}
