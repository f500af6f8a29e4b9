//! `benches gc-load`: what a collection of garbage that has packs to delete and to repack costs the backups and restores
//! that run beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::process::{Outcome, Server};
use testkit::tree::Random;

use crate::report::{Report, seconds, times};
use crate::rig::{Rig, snapshot};

const USAGE: &str = "gc-load takes --rounds N, --megabytes N";
const FACTOR_MAX: f64 = 1.2;
const FILE_LEN: usize = 1 << 20;
/// What is in the trash goes at once, and nothing is kept from going.
const OPTIONS: [&str; 4] = ["--trash-delay", "0s", "--retention-interval", "200ms"];
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it as the arguments say.
pub fn run(arguments: &[&str]) -> Outcome {
    let (mut rounds, mut megabytes) = (5, 300);
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<usize>().ok()).filter(|value| *value > 0);
        match *flag {
            "--rounds" => rounds = value.ok_or(USAGE)?,
            "--megabytes" => megabytes = value.ok_or(USAGE)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let rig = Rig::start_with(&OPTIONS)?;
    rig.server.admin(&["retention", "set", "--keep-last", "999", "--min-age", "0s"])?.wait()?.succeeded()?;
    let mut random = Random::new(testkit::tree::seed());
    let source = rig.source()?;
    let waste = rig.home().join("waste");
    // Backups and restores alone, and beside a collection.
    let mut taken = [[const { Vec::<f64>::new() }; 2], [const { Vec::new() }; 2]];
    let (collections, moved) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..rounds {
        for is_beside in if round % 2 == 0 { [false, true] } else { [true, false] } {
            write(&source, megabytes, &mut random)?;
            leave_waste(&rig, &waste, megabytes, &mut random)?;
            let both = || -> Outcome<(f64, f64)> {
                let backup = rig.back_up(&source)?;
                let (restore, _) = rig.restore(&snapshot(&backup), &source)?;
                Ok((backup.duration.as_secs_f64(), restore.duration.as_secs_f64()))
            };
            let (backup, restore) =
                if is_beside { beside_collections(&rig.server, &collections, &moved, both)? } else { both()? };
            taken[0][usize::from(is_beside)].push(backup);
            taken[1][usize::from(is_beside)].push(restore);
            println!("round {round}, gc {is_beside}: backup {backup:.2} s, restore {restore:.2} s");
            // What this round left is gone before the next begins.
            rig.server.admin(&["gc", "--now", "--grace", "0s"])?.wait()?.succeeded()?;
        }
    }
    let mut report = Report::default();
    for (what, [alone, beside]) in ["backup", "restore"].into_iter().zip(&mut taken) {
        let (alone, beside) = (median(alone), median(beside));
        report.note(&format!("gc-load: {what} alone, median"), &seconds(alone));
        report.note(&format!("gc-load: {what} beside gc, median"), &seconds(beside));
        report.at_most(&format!("gc-load: {what} beside gc"), beside / alone, FACTOR_MAX, times);
    }
    report.note("gc-load: collections beside", &collections.load(Ordering::Relaxed).to_string());
    report.note("gc-load: bytes moved or freed by them", &format!("{}", moved.load(Ordering::Relaxed)));
    report.finish()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Collects again and again while `work` runs.
fn beside_collections<T>(
    server: &Server,
    collections: &AtomicU64,
    moved: &AtomicU64,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| -> Outcome {
            while !is_over.load(Ordering::Relaxed) {
                let run = server.admin(&["gc", "--now", "--grace", "0s"])?.wait()?.succeeded()?;
                collections.fetch_add(1, Ordering::Relaxed);
                let bytes = |field: &str| run.all("gc").filter_map(|item| item[field].as_u64()).sum::<u64>();
                moved.fetch_add(bytes("bytes_moved") + bytes("bytes_freed"), Ordering::Relaxed);
            }
            Ok(())
        });
        let worked = work();
        is_over.store(true, Ordering::Relaxed);
        collecting.join().map_err(|_| "the collecting thread failed".to_owned())??;
        worked
    })
}

/// Leaves packs of which half is needed by nobody: a snapshot of many files, of which every second one stays.
fn leave_waste(rig: &Rig, folder: &Path, megabytes: usize, random: &mut Random) -> Outcome {
    write(folder, megabytes, random)?;
    let whole = snapshot(&rig.back_up(folder)?);
    for file in files(folder)?.into_iter().step_by(2) {
        fs::remove_file(file).map_err(|error| error.to_string())?;
    }
    rig.back_up(folder)?;
    rig.client.run(&["forget", &whole])?;
    let started = Instant::now();
    loop {
        let status = rig.server.admin(&["status"])?.wait()?.succeeded()?;
        if status.number("trashed_snapshots") == 0 {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err("the snapshot was not purged".to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Replaces what is in a folder by fresh files that share nothing.
fn write(folder: &Path, megabytes: usize, random: &mut Random) -> Outcome {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| error.to_string())?;
    }
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for number in 0..megabytes {
        fs::write(folder.join(format!("{number:05}")), random.bytes(FILE_LEN)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = entries.map_while(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
