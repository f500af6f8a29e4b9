//! A backup of 1 GB, killed again and again: first the client, then the server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use testkit::process::Outcome;
use testkit::tree::{CompareOptions, Random, compare};

use crate::report::{Report, megabytes, times};
use crate::rig::{Rig, snapshot};

const KILLS: usize = 10;
const FILES: usize = 100;
const FILE_LEN: usize = 10_000_000;
/// Bytes on their way when the client dies; the server seals what has arrived.
const LOST_WITH_CLIENT_MAX: f64 = 5e6;
/// A pack that is not sealed yet dies with the server.
const LOST_WITH_SERVER_MAX: f64 = 64e6;

pub fn run(report: &mut Report) -> Outcome {
    let seed = testkit::tree::seed();
    let mut random = Random::new(seed);
    kill_clients(report, &mut random)?;
    kill_servers(report, &mut random)
}

fn kill_clients(report: &mut Report, random: &mut Random) -> Outcome {
    let rig = Rig::start()?;
    let source = rig.source()?;
    make(&source, random).map_err(|error| error.to_string())?;
    let mut kills = 0;
    for _ in 0..KILLS {
        let running = rig.client.start(&["backup".as_ref(), source.as_os_str()])?;
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        kills += usize::from(running.kill()?.was_killed());
    }
    let kept = rig.stored_len()? as f64;
    let last = rig.back_up(&source)?;
    let total = last.number("bytes") as f64;
    let sent = last.number("bytes_sent") as f64;
    report.note("kills: of the client", &kills.to_string());
    report.note("kills: of the client, stored before the last run", &megabytes(kept));
    report.note("kills: of the client, sent by the last run", &megabytes(sent));
    report.at_most(
        "kills: stored before + sent by the last run, of all",
        (kept + sent) / total,
        1.0 + KILLS as f64 * LOST_WITH_CLIENT_MAX / total,
        times,
    );
    check_all(report, "kills: of the client", &rig, &source, &[snapshot(&last)])
}

fn kill_servers(report: &mut Report, random: &mut Random) -> Outcome {
    let mut rig = Rig::start()?;
    let source = rig.source()?;
    make(&source, random).map_err(|error| error.to_string())?;
    let first = rig.back_up(&source.join("file-000"))?;
    let running = rig.client.start(&["backup".as_ref(), source.as_os_str()])?;
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        rig.server.kill()?;
        rig.server.restart()?;
    }
    let run = running.wait()?;
    if !run.status.success() {
        return Err(format!("the client did not come through: {}\n{}", run.status, run.errors));
    }
    let (total, sent) = (run.number("bytes") as f64, run.number("bytes_sent") as f64);
    report.note("kills: of the server", &KILLS.to_string());
    report.at_most(
        "kills: of the server, sent in all",
        sent / total,
        1.0 + KILLS as f64 * LOST_WITH_SERVER_MAX / total,
        times,
    );
    check_all(report, "kills: of the server", &rig, &source, &[snapshot(&run)])?;
    let (_, target) = rig.restore(&snapshot(&first), &source)?;
    if target.join("file-000").metadata().is_ok_and(|metadata| metadata.len() == FILE_LEN as u64) {
        Ok(())
    } else {
        Err("the snapshot from before the kills does not restore".to_owned())
    }
}

/// Every snapshot there is restores, and those named are the source.
fn check_all(report: &mut Report, what: &str, rig: &Rig, source: &Path, named: &[String]) -> Outcome {
    for snapshot in named {
        let (_, target) = rig.restore(snapshot, source)?;
        let differences = compare(source, &target, CompareOptions::for_this_user()).map_err(|e| e.to_string())?;
        if let Some(difference) = differences.first() {
            return Err(format!("{what}: {snapshot} restores differently: {difference}"));
        }
    }
    rig.client.run(&["verify"])?;
    report.note(&format!("{what}, restored identically"), "yes");
    Ok(())
}

fn make(source: &Path, random: &mut Random) -> std::io::Result<()> {
    for index in 0..FILES {
        fs::write(source.join(format!("file-{index:03}")), random.bytes(FILE_LEN))?;
    }
    Ok(())
}
