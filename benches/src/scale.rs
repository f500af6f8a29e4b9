//! `benches scale`: a store of millions of objects, made through the store's own API: how fast it answers which of ten
//! thousand ids it holds, and what a collection of garbage takes in time and memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use object::{Codec, Kind, ObjectId, RecordHeadWriter, SealedRecord, VaultId};
use store::{
    DeviceId, GcMonitor, GcOptions, GcPhase, IdempotencyKey, NewEnrolment, NewVault, Purpose, Role, Scope, Store,
    StoreOptions, UnixMs, VaultMode, WriteSession,
};
use testkit::process::{Outcome, peak_resident};

use crate::report::{Report, mebibytes, seconds};

const USAGE: &str = "scale takes numbers of objects, in millions: scale 1 10";
const VAULT: VaultId = VaultId::from_bytes([7; 16]);
const NOW: UnixMs = UnixMs(0);
/// Objects sealed together, as small files are.
const RECORD_OBJECTS: u64 = 128;
/// Edges of a page, as lists and trees of a vault have them at most.
const PAGE_EDGES: usize = 1024;
/// Of so many objects, one belongs to no snapshot.
const DEAD_EVERY: u64 = 10;
const ASKED: u64 = 10_000;
const QUESTIONS: u64 = 21;
const HELD_SECONDS_MAX: f64 = 0.050;
/// For ten million objects.
const MARK_BYTES_MAX: f64 = 64.0 * 1_048_576.0;

/// Runs it for each number of millions, 1 and 10 without any. `fill DIR COUNT` is the part of it that is done by a process
/// of its own, so that what filling took is not taken for the base of what is measured.
pub fn run(arguments: &[&str]) -> Outcome {
    if let ["fill", dir, count] = arguments {
        let count = count.parse().map_err(|_| USAGE)?;
        return fill(Path::new(dir), count).map_err(|error| error.to_string());
    }
    let mut millions = Vec::new();
    for argument in arguments {
        millions.push(argument.parse::<u64>().ok().filter(|count| (1..=100).contains(count)).ok_or(USAGE)?);
    }
    if millions.is_empty() {
        millions = vec![1, 10];
    }
    let mut report = Report::default();
    for millions in millions {
        let scratch = tempfile::Builder::new().prefix("delta-backup-scale.").tempdir().map_err(|e| e.to_string())?;
        measure(scratch.path(), millions, &mut report).map_err(|error| format!("{millions} million: {error}"))?;
    }
    report.finish()
}

fn measure(dir: &Path, millions: u64, report: &mut Report) -> Outcome {
    let count = millions * 1_000_000;
    let what = |line: &str| format!("scale, {millions} M objects: {line}");
    let started = Instant::now();
    let filling = std::env::current_exe()
        .and_then(|program| Command::new(program).args(["scale", "fill"]).arg(dir).arg(count.to_string()).status());
    if !filling.map_err(|error| error.to_string())?.success() {
        return Err("the store could not be filled".to_owned());
    }
    report.note(&what("storing them"), &seconds(started.elapsed().as_secs_f64()));
    let store = Store::open(dir, &options(), NOW).map_err(|error| error.to_string())?;
    let catalog = fs::metadata(dir.join("catalog.sqlite3")).map_err(|error| error.to_string())?;
    report.note(&what("catalog"), &mebibytes(catalog.len() as f64));

    let mut times = Vec::new();
    for question in 0..QUESTIONS {
        // Scattered over everything; every fourth is not stored.
        let number = |index: u64| (index * 7919 + question * 104_729).wrapping_mul(48_271) % (count * 4 / 3);
        let ids: Vec<ObjectId> = (0..ASKED).map(|index| data(number(index))).collect();
        let started = Instant::now();
        let held = store.held(VAULT, &ids).map_err(|error| error.to_string())?;
        times.push(started.elapsed().as_secs_f64());
        let expected = (0..ASKED).filter(|index| number(*index) < count).count();
        let found = held.iter().filter(|held| **held).count();
        if found != expected {
            return Err(format!("{found} of {expected} ids are held"));
        }
    }
    times.sort_by(f64::total_cmp);
    let milliseconds = |time: f64| format!("{:.1} ms", time * 1000.0);
    report.at_most(&what("held, 10,000 ids, median"), times[times.len() / 2], HELD_SECONDS_MAX, milliseconds);
    report.note(&what("held, 10,000 ids, slowest"), &milliseconds(times[times.len() - 1]));

    let mut collecting = GcOptions::default();
    collecting.is_dry_run = true;
    let base = settle_peak()?;
    let phases = Phases::default();
    let started = Instant::now();
    let found = store.collect_garbage(&collecting, &phases, NOW).map_err(|error| error.to_string())?;
    let taken = started.elapsed().as_secs_f64();
    let beyond = peak_resident(std::process::id()).unwrap_or(0).saturating_sub(base);
    let dead = count / DEAD_EVERY;
    if found.objects_dead != dead || !found.refusals.is_empty() {
        return Err(format!("{} dead objects instead of {dead}; {:?}", found.objects_dead, found.refusals));
    }
    report.note(&what("gc, census, mark and tally"), &seconds(taken));
    for (phase, begun) in phases.begun.borrow().iter() {
        report.note(&what(&format!("  {phase:?} begins after")), &seconds((*begun - started).as_secs_f64()));
    }
    let bound = MARK_BYTES_MAX * millions as f64 / 10.0;
    // What does not grow with the number of objects is allowed in full.
    let bound = bound.max(MARK_BYTES_MAX / 2.0);
    report.at_most(&what("gc, most memory beyond the base"), beyond as f64, bound, mebibytes);
    Ok(())
}

/// When each phase of a collection began.
#[derive(Default)]
struct Phases {
    begun: std::cell::RefCell<Vec<(GcPhase, Instant)>>,
}

impl GcMonitor for Phases {
    fn progress(&self, phase: GcPhase, _done: u64, _total: u64) {
        let mut begun = self.begun.borrow_mut();
        if begun.last().is_none_or(|(last, _)| *last != phase) {
            begun.push((phase, Instant::now()));
        }
    }
}

/// What is resident now, from which on the most is counted.
fn settle_peak() -> Outcome<u64> {
    fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("cannot begin to count memory: {error}"))?;
    peak_resident(std::process::id()).ok_or_else(|| "the system does not tell how much memory is used".to_owned())
}

fn options() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.min_free_bytes = 0;
    options
}

/// The id of the data object of this number.
fn data(number: u64) -> ObjectId {
    named("data", number)
}

fn named(kind: &str, number: u64) -> ObjectId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&number.to_le_bytes());
    ObjectId::from_bytes(*hasher.finalize().as_bytes())
}

/// A record of these objects, with a body of no meaning.
fn record(codec: Codec, members: &[(Kind, ObjectId, &[ObjectId])]) -> SealedRecord {
    let mut writer = RecordHeadWriter::new(codec, 0, &[0; 24]);
    for (kind, id, edges) in members {
        writer.member(*kind, id, 100, edges).expect("within the limits");
    }
    let mut bytes = writer.finish(16).expect("within the limits");
    RecordHeadWriter::append_body(&mut bytes, |_head, _body| ());
    SealedRecord::new(bytes.into()).expect("just made")
}

/// Stores `count` data objects and a snapshot that refers to all but every tenth record of them.
fn fill(dir: &Path, count: u64) -> Result<(), store::StoreError> {
    let store = Store::create(dir, &options(), NOW)?;
    let account = store.create_account("bench", Role::Admin, NOW)?;
    store.create_vault(&NewVault { id: VAULT, account, name: "main", mode: VaultMode::Managed, slots: &[] }, NOW)?;
    let secret_hash = [1; 32];
    let enrolment = NewEnrolment { secret_hash, account, device_name: "bench", scope: Scope::Admin, expires: NOW };
    store.create_enrolment(&enrolment, NOW)?;
    let device: DeviceId = store.redeem_enrolment(&secret_hash, &[2; 32], NOW)?.id;
    let mut session = store.begin(VAULT, &Purpose::Backup { device, chain: "bench", parent_hint: None }, NOW)?.0;
    let mut live = Vec::new();
    for first in (0..count).step_by(RECORD_OBJECTS as usize) {
        let numbers = first..(first + RECORD_OBJECTS).min(count);
        let ids: Vec<ObjectId> = numbers.clone().map(data).collect();
        let members: Vec<_> = ids.iter().map(|id| (Kind::Data, *id, &[][..])).collect();
        session.put(&record(Codec::Raw, &members), NOW)?;
        live.extend(numbers.zip(ids).filter(|(number, _)| number % DEAD_EVERY != 0).map(|(_, id)| id));
    }
    let mut level = 0;
    let mut kind = Kind::List;
    while live.len() > 1 {
        live = put_pages(&mut session, kind, level, &live)?;
        (kind, level) = (Kind::Tree, level + 1);
    }
    let snapshot = named("snapshot", 0);
    session.put(&record(Codec::Zstd, &[(Kind::Snapshot, snapshot, &live)]), NOW)?;
    session.commit_snapshot(IdempotencyKey::from_bytes([1; 16]), snapshot, NOW)?;
    session.close(NOW).map(drop)
}

/// Puts pages that refer to `edges`, and returns theirs.
fn put_pages(
    session: &mut WriteSession,
    kind: Kind,
    level: u64,
    edges: &[ObjectId],
) -> Result<Vec<ObjectId>, store::StoreError> {
    let mut pages = Vec::new();
    for (number, edges) in (level << 32..).zip(edges.chunks(PAGE_EDGES)) {
        let id = named("page", number);
        session.put(&record(Codec::Zstd, &[(kind, id, edges)]), NOW)?;
        pages.push(id);
    }
    Ok(pages)
}
