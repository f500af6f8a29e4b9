//! `benches peers`: the released programs beside restic, borg, rustic, bupstash and rsync, on the same data, in the same run.
//!
//! A row is a set of data; a pass of it is a copy of the data in a new folder, and each tool in turn does to it what people
//! do: a first backup, one with nothing changed, one after changes that were made in place, a restore. Every pass begins with
//! another tool. Nothing is deleted between timed runs of a pass, what is read is in the page cache, and what was written
//! before is on the disk. What is compared are medians: absolute seconds are those of this machine and its load.

pub mod cost;
mod data;
mod digest;
mod edits;
mod goals;
mod options;
mod row;
pub mod smoke;
mod table;
mod tool;

use std::fs;
use std::path::PathBuf;

use testkit::process::Outcome;

use self::options::Options;
use self::row::Place;
use self::table::Table;

/// Runs the rows that `arguments` name, or all, and prints tables.
///
/// # Errors
/// When a row could not be measured. Goals that are not met are in the table: they are no error.
pub fn run(arguments: &[&str]) -> Outcome {
    let options = Options::parse(arguments)?;
    let temporary;
    let work: PathBuf = match &options.work {
        Some(work) => work.clone(),
        None => {
            let made = tempfile::Builder::new().prefix("delta-backup-peers.").tempdir();
            temporary = made.map_err(|error| error.to_string())?;
            temporary.path().to_owned()
        }
    };
    // What an interrupted run left stays beside it: to remove it now would make creating files slow for minutes.
    let run = work.join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&run).map_err(|error| format!("{}: {error}", run.display()))?;
    let (peers, missing) = tool::find(&options.peers);
    let mut table = Table::new(&options);
    for (peer, hint) in missing {
        table.missing(peer, hint);
    }
    let mut passes = Vec::new();
    for row in options.rows.iter().copied() {
        match row {
            options::Row::Edits => edits::run(&mut table, &run)?,
            options::Row::Data(set) => {
                let base = set.base(&work, options.scale)?;
                row::run(&mut table, set, &peers, &options, &Place { base: &base, run: &run }, &mut passes)?;
            }
        }
    }
    table.finish();
    row::remove_all(&mut passes)?;
    fs::remove_dir(&run).map_err(|error| format!("{}: {error}", run.display()))
}
