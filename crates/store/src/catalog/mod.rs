//! The catalog: SQLite, one writer, a few readers. Its commit is the only moment at which anything becomes visible.
//!
//! Every write is one [`Catalog::write`]: `BEGIN IMMEDIATE`, a look whether this process still owns the catalog, the
//! change, `COMMIT` with `synchronous=FULL`. An I/O error in a write stops all writing until the store is opened again,
//! because what is durable is unknown. Reads see the last commit and wait for nobody. All SQL of the crate is in this
//! folder; nothing else in the process may open the catalog's files (closing them would drop SQLite's locks).

pub(crate) mod accounts;
pub(crate) mod alarms;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod collection;
pub(crate) mod copy;
pub(crate) mod drive;
pub(crate) mod idempotency;
pub(crate) mod log;
pub(crate) mod logins;
pub(crate) mod objects;
pub(crate) mod packs;
pub(crate) mod pins;
pub(crate) mod quota;
pub(crate) mod requests;
pub(crate) mod retention;
pub(crate) mod second_factor;
pub(crate) mod sessions;
pub(crate) mod setup;
pub(crate) mod shares;
pub(crate) mod snapshots;
pub(crate) mod status;
pub(crate) mod traffic;
pub(crate) mod trash;
pub(crate) mod uploads;
pub(crate) mod vaults;
pub(crate) mod web_sessions;
pub(crate) mod young;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior};

use crate::catalog::young::Young;
use crate::reserve::Reserve;
use crate::{StoreError, StoreId};

/// Changes of the schema, in order; a catalog's `user_version` counts those it has.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [include_str!("v1.sql")];
const SCHEMA_VERSION: u32 = 1;
/// Marks the file as ours.
const APPLICATION_ID: i32 = 0x6462_6361;
/// First release without the WAL-reset bug.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// Pages of the log that are worth a checkpoint: 128 MiB. Rows of the object index fall all over the file, so a page is
/// better written back once for many of them.
const CHECKPOINT_PAGES: u32 = 32_768;
const WRITER_CACHE_KIB: u32 = 40 * 1024;
const READER_CACHE_KIB: u32 = 4 * 1024;
const READER_COUNT: usize = 4;
const BUSY_TIMEOUT_MS: u32 = 10_000;

pub(crate) struct Catalog {
    // Readers close before the writer, whose closing then checkpoints and removes the log.
    readers: Readers,
    writer: Mutex<Connection>,
    instance: [u8; 16],
    young: Young,
    reserve: Arc<Reserve>,
    halted: OnceLock<String>,
}

/// Facts about the store that are read when it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) store: StoreId,
    pub(crate) generation: u64,
    pub(crate) latch: Option<String>,
    /// Whether whoever had the store open before closed it.
    pub(crate) was_closed: bool,
}

impl Catalog {
    /// Makes the catalog's file with an empty catalog. A file left by a creation that was cut off is completed.
    pub(crate) fn create(path: &Path, store: StoreId, now_ms: i64) -> Result<(), StoreError> {
        Self::create_with(path, store, now_ms, None)
    }

    /// Makes an empty catalog for packs that are there already: nothing may be deleted, for this reason.
    pub(crate) fn create_latched(path: &Path, store: StoreId, now_ms: i64, latch: &str) -> Result<(), StoreError> {
        Self::create_with(path, store, now_ms, Some(latch))
    }

    fn create_with(path: &Path, store: StoreId, now_ms: i64, latch: Option<&str>) -> Result<(), StoreError> {
        let mut writer = open_writer(path)?;
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if schema_version(&tx)? != 0 {
            return Err(StoreError::Conflict { what: "a store exists here already" });
        }
        migrate(&tx, 0)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.execute(
            "INSERT INTO meta VALUES (1, ?1, zeroblob(16), 0, 0, 0, 0, ?3, ?2, NULL, NULL, NULL, NULL)",
            (store.as_bytes(), now_ms, latch),
        )?;
        tx.commit()?;
        Ok(())
    }

    /// Whether a catalog was created at `path`.
    pub(crate) fn exists(path: &Path) -> Result<bool, StoreError> {
        let version = |access| {
            let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        };
        let is = |error: &rusqlite::Error, code| error.sqlite_error_code() == Some(code);
        let found = match version(OpenFlags::SQLITE_OPEN_READ_ONLY) {
            // A process died while it changed the file: what it began is taken back by whoever may write.
            Err(error) if is(&error, ErrorCode::ReadOnly) => version(OpenFlags::SQLITE_OPEN_READ_WRITE),
            found => found,
        };
        match found {
            Ok(version) => Ok(version != 0),
            Err(error) if is(&error, ErrorCode::CannotOpen) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the catalog, brings its schema up to date and takes it over: whoever had it open can write no more.
    pub(crate) fn open(
        path: &Path,
        instance: [u8; 16],
        young_rows_max: usize,
        reserve: Arc<Reserve>,
    ) -> Result<(Self, Meta), StoreError> {
        check_version(rusqlite::version_number(), rusqlite::version())?;
        if !Self::exists(path)? {
            return Err(StoreError::NotFound { what: "store" });
        }
        let mut writer = open_writer(path)?;
        let application: i32 = writer.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application != APPLICATION_ID {
            return Err(StoreError::CatalogUnusable { what: "the file is not a catalog of ours".to_owned() });
        }
        let was_closed: bool = writer.query_row("SELECT is_open = 0 FROM meta", (), |row| row.get(0))?;
        if !was_closed {
            quick_check(&writer)?;
        }
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = schema_version(&tx)?;
        if version > SCHEMA_VERSION {
            return Err(StoreError::CatalogUnusable {
                what: format!("its schema {version} is newer than {SCHEMA_VERSION}, the newest known here"),
            });
        }
        migrate(&tx, version)?;
        tx.execute("UPDATE meta SET instance_id = ?1, is_open = 1", [instance])?;
        let meta = tx.query_row("SELECT store_id, generation, latch FROM meta", (), |row| {
            Ok(Meta {
                store: StoreId::from_bytes(row.get(0)?),
                generation: unsigned(row, 1)?,
                latch: row.get(2)?,
                was_closed,
            })
        })?;
        tx.commit()?;
        let readers = Readers::open(path)?;
        let halted = OnceLock::new();
        let young = Young::new(young_rows_max);
        Ok((Self { readers, writer: Mutex::new(writer), instance, young, reserve, halted }, meta))
    }

    /// Runs a query on what was committed last.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let reader = self.readers.take();
        query(reader.connection())
    }

    /// Runs a change as one transaction: durable when this returns `Ok`, without effect when it returns an error.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.check_running()?;
        let mut writer = self.lock_writer();
        let result = self.write_locked(&mut writer, change);
        self.halt_if_final(result)
    }

    fn halt_if_final<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| {
            if is_final(error) {
                self.halt(format!("the catalog failed: {error}"));
            }
        })
    }

    /// The same for what makes room, and for commits: on a disk that is nearly full they use the reserve.
    pub(crate) fn write_on_reserve<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reserve.make_room();
        self.write(change)
    }

    /// Stops all writing, for the reason of the first call.
    pub(crate) fn halt(&self, reason: String) {
        self.halted.get_or_init(|| reason);
    }

    pub(crate) fn halted(&self) -> Option<&str> {
        self.halted.get().map(String::as_str)
    }

    pub(crate) fn check_running(&self) -> Result<(), StoreError> {
        match self.halted.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Halted { reason: reason.clone() }),
        }
    }

    fn write_locked<T>(
        &self,
        writer: &mut Connection,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let owner: [u8; 16] = tx.prepare_cached("SELECT instance_id FROM meta")?.query_row((), |row| row.get(0))?;
        if owner != self.instance {
            return Err(StoreError::Fenced);
        }
        let value = change(&tx)?;
        tx.commit()?;
        Ok(value)
    }

    /// A panic under the lock rolled its transaction back, so the connection is as good as before.
    fn lock_writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        // Unwinding or halted, this process died as far as the next one is concerned.
        if std::thread::panicking() || self.halted.get().is_some() {
            return;
        }
        // Best effort: what is left undone here is done at the next opening.
        let instance = self.instance;
        let closed = self.settle().and_then(|()| {
            self.write(|tx| Ok(tx.execute("UPDATE meta SET is_open = 0 WHERE instance_id = ?1", [instance])?))
        });
        drop(closed);
    }
}

/// Whether an error leaves unknown what is durable.
fn is_final(error: &StoreError) -> bool {
    let StoreError::Catalog(error) = error else { return false };
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ReadOnly)
    )
}

fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::CatalogUnusable { what: format!("its journal mode is {mode} and cannot be WAL") });
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    configure(&connection, WRITER_CACHE_KIB)?;
    for (pragma, expected) in [("synchronous", 2), ("foreign_keys", 1)] {
        check_pragma(&connection, pragma, expected)?;
    }
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

/// Settings of writer and readers alike, read back because SQLite ignores what it does not know.
fn configure(connection: &Connection, cache_kib: u32) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    for (pragma, expected) in [("trusted_schema", 0), ("cell_size_check", 1), ("mmap_size", 0)] {
        check_pragma(connection, pragma, expected)?;
    }
    Ok(())
}

fn check_pragma(connection: &Connection, pragma: &'static str, expected: i64) -> Result<(), StoreError> {
    // A build without mmap answers `mmap_size` with no row at all.
    let found: Option<i64> = connection.pragma_query_value(None, pragma, |row| row.get(0)).optional()?;
    if found.unwrap_or(0) == expected {
        return Ok(());
    }
    Err(StoreError::CatalogUnusable { what: format!("its setting {pragma} does not take") })
}

fn quick_check(connection: &Connection) -> Result<(), StoreError> {
    let finding: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(StoreError::CatalogDamaged { what: finding })
}

fn check_version(number: i32, name: &str) -> Result<(), StoreError> {
    if number < SQLITE_VERSION_MIN {
        return Err(StoreError::CatalogUnusable { what: format!("SQLite {name} has the WAL-reset bug") });
    }
    Ok(())
}

fn schema_version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn migrate(tx: &Transaction<'_>, from: u32) -> Result<(), StoreError> {
    for migration in &MIGRATIONS[from as usize..] {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(())
}

/// A few read-only connections; a reader waits when all are taken.
struct Readers {
    free: Mutex<Vec<Connection>>,
    returned: Condvar,
}

/// A connection taken from [`Readers`], given back when dropped.
struct Reader<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Readers {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let free = (0..READER_COUNT).map(|_| open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { free: Mutex::new(free), returned: Condvar::new() })
    }

    fn take(&self) -> Reader<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = free.pop() {
                return Reader { readers: self, connection: Some(connection) };
            }
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Reader<'_> {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("given back only when dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut free = self.readers.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.connection.take());
        self.readers.returned.notify_one();
    }
}

/// Adds one to the generation and returns it.
pub(crate) fn next_generation(tx: &Transaction<'_>) -> Result<u64, StoreError> {
    let mut statement = tx.prepare_cached("UPDATE meta SET generation = generation + 1 RETURNING generation")?;
    Ok(statement.query_row((), |row| unsigned(row, 0))?)
}

/// Makes the generation higher than it is and than `witnessed`, and returns it.
pub(crate) fn lift_generation(tx: &Transaction<'_>, witnessed: u64) -> Result<u64, StoreError> {
    let sql = "UPDATE meta SET generation = max(generation, ?1) + 1 RETURNING generation";
    Ok(tx.query_row(sql, [signed(witnessed)], |row| unsigned(row, 0))?)
}

/// Reads all rows of a query.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, map)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads the one row of a query, if there is one.
fn row<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    Ok(connection.prepare_cached(sql)?.query_row(parameters, map).optional()?)
}

/// Reads a column that is never negative.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Stores a count, which never comes near the limit of what SQLite keeps.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The error of an enum column that holds a number nobody wrote.
fn unknown_number(column: usize, value: i64) -> rusqlite::Error {
    rusqlite::Error::IntegralValueOutOfRange(column, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(connection: &Connection, pragma: &str) -> i64 {
        connection.pragma_query_value(None, pragma, |row| row.get(0)).optional().unwrap().unwrap_or(0)
    }

    /// Whoever writes syncs each commit, and nobody maps the file or believes in cells unchecked.
    #[test]
    fn the_settings_are_those_that_durability_needs() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("catalog.sqlite3");
        Catalog::create(&path, StoreId::from_bytes([1; 16]), 0).unwrap();
        let writer = open_writer(&path).unwrap();
        let mode: String = writer.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), setting(&writer, "synchronous"), setting(&writer, "foreign_keys")), ("wal", 2, 1));
        for connection in [writer, open_reader(&path).unwrap()] {
            for (pragma, expected) in [("trusted_schema", 0), ("cell_size_check", 1), ("mmap_size", 0)] {
                assert_eq!(setting(&connection, pragma), expected, "{pragma}");
            }
        }
    }

    /// A setting that SQLite takes note of and does not follow is found by reading it back.
    #[test]
    fn a_setting_that_does_not_take_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("catalog.sqlite3");
        for (pragma, weaker, expected) in [
            ("synchronous", "NORMAL", 2),
            ("foreign_keys", "OFF", 1),
            ("trusted_schema", "ON", 0),
            ("cell_size_check", "OFF", 1),
        ] {
            let writer = open_writer(&path).unwrap();
            check_pragma(&writer, pragma, expected).unwrap();
            writer.pragma_update(None, pragma, weaker).unwrap();
            let error = check_pragma(&writer, pragma, expected).unwrap_err();
            assert!(matches!(&error, StoreError::CatalogUnusable { what } if what.contains(pragma)), "{error}");
        }
        // A database in memory answers "memory" to the wish for a log.
        let error = open_writer(Path::new(":memory:")).unwrap_err();
        assert!(error.to_string().contains("cannot be WAL"), "{error}");
    }

    #[test]
    fn an_sqlite_with_the_wal_reset_bug_is_refused() {
        check_version(rusqlite::version_number(), rusqlite::version()).unwrap();
        for (number, name) in
            [(3_051_003, "3.51.3"), (3_051_004, "3.51.4"), (3_052_000, "3.52.0"), (4_000_000, "4.0.0")]
        {
            check_version(number, name).unwrap();
        }
        for (number, name) in [(3_051_002, "3.51.2"), (3_050_004, "3.50.4"), (3_009_009, "3.9.9"), (0, "0")] {
            let error = check_version(number, name).unwrap_err();
            assert!(matches!(&error, StoreError::CatalogUnusable { what } if what.contains(name)), "{error}");
        }
    }
}
