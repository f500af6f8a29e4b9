//! The rows of `peers` on data a hundredth as large, ours alone, held to counts and never to times: bytes on the wire and in
//! the store, objects, and how often the server waits for the disk. A test of `e2e` runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use testkit::process::Outcome;

use super::data::{DataSet, SETS};
use super::digest::digest;
use super::options::Scale;
use super::row::Phase;
use crate::rig::Rig;

/// The most that a backup may need.
struct Limit {
    row: &'static str,
    phase: Phase,
    counts: Counts,
}

/// What a backup needed.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Bytes on the wire.
    sent: u64,
    received: u64,
    /// Bytes by which the data directory grew.
    grown: u64,
    /// Objects that were not there before.
    objects: u64,
    /// Calls of the server that wait for the disk.
    syncs: u64,
}

const fn limit(row: &'static str, phase: Phase, [sent, received, grown, objects, syncs]: [u64; 5]) -> Limit {
    Limit { row, phase, counts: Counts { sent, received, grown, objects, syncs } }
}

/// About a tenth more than was measured, whatever the vault's key (it decides where chunks end); more where it is little. A call that waits for each file would be a thousand.
const LIMITS: [Limit; 10] = [
    limit("source", Phase::First, [4_400_000, 2_000, 4_700_000, 1_200, 30]),
    limit("source", Phase::Unchanged, [1_500, 2_000, 200_000, 2, 30]),
    limit("source", Phase::Edited, [40_000, 5_000, 250_000, 60, 30]),
    limit("database", Phase::First, [5_700_000, 2_000, 5_950_000, 24, 30]),
    limit("database", Phase::Edited, [25_000, 30_000, 250_000, 32, 30]),
    limit("random", Phase::First, [20_050_000, 2_000, 20_300_000, 40, 30]),
    limit("image", Phase::First, [24_900_000, 2_000, 25_200_000, 60, 30]),
    limit("image", Phase::Edited, [9_500_000, 80_000, 9_900_000, 60, 30]),
    limit("log", Phase::First, [1_400_000, 2_000, 1_650_000, 20, 30]),
    limit("log", Phase::Edited, [25_000, 3_000, 250_000, 16, 30]),
];

/// Longer than files count as racy: a backup reads those again.
const AGE: Duration = Duration::from_millis(2100);
const SYNCS: &str = "trace=fsync,fdatasync,syncfs,sync_file_range";
const WATCH_TRIES: u32 = 200;
const WATCH_INTERVAL: Duration = Duration::from_millis(25);

/// Runs every row with these programs, and restores what it backed up last.
///
/// # Errors
/// Everything that was more than it may be, and a restore of other names or bytes.
pub fn run(server: &Path, client: &Path) -> Outcome {
    let can_trace = can_trace()?;
    let work = tempfile::Builder::new().prefix("delta-backup-smoke.").tempdir().map_err(|error| error.to_string())?;
    let mut excess = Vec::new();
    println!("row       phase           sent   received      grown  objects  syncs");
    for set in &SETS {
        let source = set.base(work.path(), Scale::Smoke)?;
        let rig = Rig::start_of(server, client, &[])?;
        row(&rig, set, &source, can_trace, &mut excess)?;
    }
    if excess.is_empty() { Ok(()) } else { Err(format!("more than it may be:\n{}", excess.join("\n"))) }
}

fn row(rig: &Rig, set: &'static DataSet, source: &Path, can_trace: bool, excess: &mut Vec<String>) -> Outcome {
    let mut phases = vec![Phase::First];
    phases.extend(set.has_unchanged.then_some(Phase::Unchanged));
    phases.extend(set.edit.map(|_| Phase::Edited));
    for phase in phases {
        if let (Phase::Edited, Some(edit)) = (phase, set.edit) {
            edit(source, Scale::Smoke)?;
        }
        if set.has_unchanged {
            std::thread::sleep(AGE);
        }
        let counts = back_up(rig, source, can_trace)?;
        let Counts { sent, received, grown, objects, syncs } = counts;
        println!("{:9} {:9} {sent:>10} {received:>10} {grown:>10} {objects:>8} {syncs:>6}", set.name, phase.name());
        let limit = LIMITS.iter().find(|limit| limit.row == set.name && limit.phase == phase);
        let limit = limit.ok_or_else(|| format!("{} {} has no limit", set.name, phase.name()))?.counts;
        let figures = [
            ("bytes sent", sent, limit.sent),
            ("bytes received", received, limit.received),
            ("bytes grown", grown, limit.grown),
            ("objects", objects, limit.objects),
            ("syncs", syncs, limit.syncs),
        ];
        let over = figures.into_iter().filter(|(_, figure, most)| figure > most);
        excess.extend(
            over.map(|(what, figure, most)| format!("{} {}: {figure} {what}, at most {most}", set.name, phase.name())),
        );
    }
    let (_, restored) = rig.restore("latest", source)?;
    if digest(&restored)? == digest(source)? {
        Ok(())
    } else {
        Err(format!("{}: other names or bytes were restored", set.name))
    }
}

fn back_up(rig: &Rig, source: &Path, can_trace: bool) -> Outcome<Counts> {
    let (stored_before, objects_before) = (rig.stored_len()?, objects(rig)?);
    let trace = if can_trace { Some(Trace::start(rig)?) } else { None };
    let run = rig.back_up(source)?;
    let syncs = trace.map_or(Ok(0), Trace::finish)?;
    Ok(Counts {
        sent: run.number("bytes_sent"),
        received: run.number("bytes_received"),
        grown: rig.stored_len()?.saturating_sub(stored_before),
        objects: objects(rig)?.saturating_sub(objects_before),
        syncs,
    })
}

fn objects(rig: &Rig) -> Outcome<u64> {
    let status = rig.server.admin(&["status"])?.wait()?.succeeded()?;
    let objects = status.last().and_then(|event| event["objects_stored"].as_u64());
    objects.ok_or_else(|| "status does not say how many objects are stored".to_owned())
}

/// Whether system calls can be counted; where everything must be tested it is an error when they cannot.
fn can_trace() -> Outcome<bool> {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if strace.is_ok_and(|status| status.success()) && geteuid().is_root() {
        return Ok(true);
    }
    let what = "syncs are not counted: that needs root and strace";
    if std::env::var_os("DELTA_BACKUP_TEST_ALL").is_some() {
        return Err(what.to_owned());
    }
    println!("{what}");
    Ok(false)
}

/// A `strace` that counts how often the server waits for the disk.
struct Trace {
    strace: Child,
    output: PathBuf,
}

impl Trace {
    fn start(rig: &Rig) -> Outcome<Self> {
        let [output, said] = ["syncs", "strace.err"].map(|name| rig.home().join(name));
        let at = |error: std::io::Error| format!("strace: {error}");
        let strace = Command::new("strace")
            .args(["-f", "-c", "-e", SYNCS, "-p", &rig.server.id().to_string(), "-o"])
            .arg(&output)
            .stderr(fs::File::create(&said).map_err(at)?)
            .spawn()
            .map_err(at)?;
        for _ in 0..WATCH_TRIES {
            if fs::read_to_string(&said).map_err(at)?.contains("attached") {
                return Ok(Self { strace, output });
            }
            std::thread::sleep(WATCH_INTERVAL);
        }
        Err(format!("strace does not watch: {}", fs::read_to_string(&said).map_err(at)?))
    }

    /// Ends it; the count.
    fn finish(mut self) -> Outcome<u64> {
        let at = |error: std::io::Error| format!("strace: {error}");
        kill_process(Pid::from_child(&self.strace), Signal::INT).map_err(|error| at(error.into()))?;
        self.strace.wait().map_err(at)?;
        let table = fs::read_to_string(&self.output).map_err(at)?;
        let total = table.lines().find(|line| line.ends_with("total"));
        // No line at all when there was no call. Columns: share of time, seconds, time a call, calls.
        let calls = total.map_or(Some(0), |line| line.split_whitespace().nth(3)?.parse().ok());
        calls.ok_or_else(|| format!("strace says:\n{table}"))
    }
}
