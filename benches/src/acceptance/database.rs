//! A SQLite file of which 0.5 % of the rows change at random.

use std::path::Path;

use rusqlite::Connection;
use testkit::process::Outcome;
use testkit::tree::Random;

use super::generations;
use crate::report::{Report, megabytes, percent};
use crate::rig::{Rig, wire_len};

const ROWS: i64 = 1_000_000;
const ROWS_CHANGED: i64 = ROWS / 200;
const SENT_SHARE_MAX: f64 = 0.05;
const STORED_SHARE_MAX: f64 = 0.03;

pub fn run(report: &mut Report) -> Outcome {
    let rig = Rig::start()?;
    let file = rig.source()?.join("app.db");
    let mut random = Random::new(5);
    make(&file, &mut random).map_err(|error| error.to_string())?;
    let len = file.metadata().map_err(|error| error.to_string())?.len() as f64;
    report.note("database: size", &megabytes(len));
    let costs = generations::run(report, "database", &rig, &file, |_| {
        change(&file, &mut random).map_err(|error| error.to_string())
    })?;
    let most = |figure: &dyn Fn(&generations::Cost) -> u64| costs.iter().map(figure).max().unwrap_or(0) as f64 / len;
    report.at_most("database: sent + received per generation", most(&|c| wire_len(&c.run)), SENT_SHARE_MAX, percent);
    report.at_most(
        "database: stored per generation",
        most(&|c| c.run.number("bytes_stored")),
        STORED_SHARE_MAX,
        percent,
    );
    report.at_most("database: data directory grown per generation", most(&|c| c.grown_len), STORED_SHARE_MAX, percent);
    Ok(())
}

fn make(file: &Path, random: &mut Random) -> rusqlite::Result<()> {
    let mut database = Connection::open(file)?;
    database.execute_batch(
        "PRAGMA synchronous = OFF;
         CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body TEXT, amount REAL, stamp INTEGER);",
    )?;
    let transaction = database.transaction()?;
    let mut insert = transaction.prepare("INSERT INTO item VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for id in 0..ROWS {
        let [name, body] = [20, 160].map(|len| String::from_utf8_lossy(&random.text(len)).into_owned());
        insert.execute((
            id,
            name,
            body,
            random.below(1_000_000) as f64 / 100.0,
            random.below(1 << 40).cast_signed(),
        ))?;
    }
    drop(insert);
    transaction.execute_batch("CREATE INDEX item_name ON item (name)")?;
    transaction.commit()
}

fn change(file: &Path, random: &mut Random) -> rusqlite::Result<()> {
    let mut database = Connection::open(file)?;
    let transaction = database.transaction()?;
    let mut update = transaction.prepare("UPDATE item SET amount = ?2, stamp = ?3 WHERE id = ?1")?;
    for _ in 0..ROWS_CHANGED {
        let amount = random.below(1_000_000) as f64 / 100.0;
        update.execute((
            random.below(ROWS.cast_unsigned()).cast_signed(),
            amount,
            random.below(1 << 40).cast_signed(),
        ))?;
    }
    drop(update);
    transaction.commit()
}
