//! Two hundred who upload and download at once, and one who lists meanwhile: everything arrives, nobody sees an error of the
//! server, and the list does not wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use testkit::process::{Outcome, Script};
use testkit::tree::Random;

use crate::report::{Report, mebibytes, milliseconds, seconds};
use crate::rig::Rig;

const UPLOADERS: u64 = 100;
const DOWNLOADERS: u64 = 100;
const ROUNDS: u64 = 10;
const FILE_LEN: usize = 2 << 20;
/// What is listed meanwhile.
const LISTED: u64 = 500;
const LIST_P99_MAX: f64 = 0.25;

pub fn run(report: &mut Report) -> Outcome {
    let rig = Rig::start_with(&["--plain-http"])?;
    let script = Script::new(&rig.server, "crowd")?;
    for number in 0..LISTED {
        script.ask("PUT", &format!("/api/v1/files/listed/{number}"), &[], number.to_string().as_bytes())?;
    }
    for number in 0..DOWNLOADERS {
        script.ask("PUT", &format!("/api/v1/files/down/{number}"), &[], &file(number))?;
    }

    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let (transfers, times) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..UPLOADERS + DOWNLOADERS)
            .map(|number| {
                let script = &script;
                scope.spawn(move || if number < UPLOADERS { upload(script, number) } else { download(script, number) })
            })
            .collect();
        let listing = scope.spawn(|| list(&script, &is_over));
        let transfers: Outcome = workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"));
        is_over.store(true, Ordering::Relaxed);
        (transfers, listing.join().expect("listing does not panic"))
    });
    transfers?;
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    let duration = begun.elapsed().as_secs_f64();
    report.note("crowd: 1,000 uploads and 1,000 downloads of 2 MiB", &seconds(duration));
    report.note("crowd: lists meanwhile", &times.len().to_string());
    report.note("crowd: list, median", &milliseconds(times[times.len() / 2]));
    report.at_most("crowd: list, 99th of 100", times[times.len() * 99 / 100], LIST_P99_MAX, milliseconds);
    report.note("crowd: server's memory", &mebibytes(rig.server.peak_resident() as f64));
    for number in 0..UPLOADERS {
        let stored = script.ask("GET", &format!("/api/v1/files/up/{number}"), &[], &[])?;
        if stored.body != file(last_version(number)) {
            return Err(format!("up/{number} is not what was sent last"));
        }
    }
    Ok(())
}

fn file(seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(FILE_LEN)
}

fn last_version(number: u64) -> u64 {
    1000 * ROUNDS + number
}

fn upload(script: &Script, number: u64) -> Outcome {
    for round in 1..=ROUNDS {
        script.ask("PUT", &format!("/api/v1/files/up/{number}"), &[], &file(1000 * round + number))?;
    }
    Ok(())
}

fn download(script: &Script, number: u64) -> Outcome {
    let number = number - UPLOADERS;
    let expected = file(number);
    for _ in 0..ROUNDS {
        if script.ask("GET", &format!("/api/v1/files/down/{number}"), &[], &[])?.body != expected {
            return Err(format!("down/{number} comes with other bytes"));
        }
    }
    Ok(())
}

/// Seconds of each list.
fn list(script: &Script, is_over: &AtomicBool) -> Outcome<Vec<f64>> {
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        script.ask("GET", "/api/v1/folder?path=listed&limit=100", &[], &[])?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(times)
}
