//! A SQLite database of 1 GB. The next version has 0.5 % of its rows updated at random.

use std::path::Path;

use rusqlite::Connection;
use testkit::process::Outcome;
use testkit::tree::Random;

use crate::peers::options::Scale;

const ROWS: u64 = 3_400_000;
/// One row in so many is updated.
const UPDATED: u64 = 200;
/// Bytes of an updated row that are new: a number and a time.
const UPDATED_LEN: u64 = 14;

pub fn make(folder: &Path, scale: Scale) -> Outcome {
    fill(&folder.join("app.db"), scale.of(ROWS)).map_err(|error| error.to_string())
}

pub fn edit(folder: &Path, scale: Scale) -> Outcome<u64> {
    let rows = scale.of(ROWS);
    update(&folder.join("app.db"), rows).map_err(|error| error.to_string())?;
    Ok(rows / UPDATED * UPDATED_LEN)
}

fn fill(file: &Path, rows: u64) -> rusqlite::Result<()> {
    let mut random = Random::new(22);
    let mut database = Connection::open(file)?;
    database.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;
         CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, token BLOB, body TEXT, amount REAL, stamp INTEGER);",
    )?;
    let transaction = database.transaction()?;
    let mut insert = transaction.prepare("INSERT INTO item VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for id in 0..rows {
        let name = format!("customer-{:08x}", random.below(1 << 32));
        let body = String::from_utf8_lossy(&random.text(120)).into_owned();
        let amount = random.below(1_000_000) as f64 / 100.0;
        insert.execute((
            id.cast_signed(),
            name,
            random.bytes(96),
            body,
            amount,
            random.below(1 << 40).cast_signed(),
        ))?;
    }
    drop(insert);
    transaction.execute_batch("CREATE INDEX item_name ON item (name)")?;
    transaction.commit()
}

fn update(file: &Path, rows: u64) -> rusqlite::Result<()> {
    let mut random = Random::new(23);
    let mut database = Connection::open(file)?;
    database.execute_batch("PRAGMA journal_mode = MEMORY;")?;
    let transaction = database.transaction()?;
    let mut update = transaction.prepare("UPDATE item SET amount = ?2, stamp = ?3 WHERE id = ?1")?;
    for _ in 0..rows / UPDATED {
        let amount = random.below(1_000_000) as f64 / 100.0;
        update.execute((random.below(rows).cast_signed(), amount, random.below(1 << 40).cast_signed()))?;
    }
    drop(update);
    transaction.commit()
}
