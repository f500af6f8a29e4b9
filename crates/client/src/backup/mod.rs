//! [`backup`]: reads what changed, sends what the server does not have, and commits a snapshot.
//!
//! ```text
//! plan ──items──────────────────────────────► assemble ─► trees, next stat cache
//!   └──jobs──► read (2 threads) ─► windows ─► upload (4 threads) ─► session
//! ```
//! Every arrow is a bounded channel, and what was read but not sent is bounded in bytes, so memory does not depend on how
//! many or how large the files are. The stages: [`plan`], [`read`], [`upload`] with [`matching`], [`assemble`].

mod assemble;
mod bases;
mod buffers;
mod excludes;
mod items;
mod matching;
mod memory;
mod outlook;
mod plan;
mod problem;
mod questions;
mod read;
mod roots;
mod sealing;
mod seams;
mod shared;
mod upload;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::TryRecvError;
use object::ObjectId;
use proto::{ChainName, Committed, FailCode, IdempotencyKey, Parent};
use vault::{Reader, Snapshot, Timestamp};

use crate::config::{Connection, Folders};
use crate::counted::Traffic;
use crate::error::ClientError;
use crate::monitor::{Event, FileProblem, Monitor, Progress};
use crate::passphrase::Passphrase;
use crate::random::random;
use crate::rounds::{Trust, in_rounds};
use crate::session::Session;
use crate::signature_cache::SignatureCache;
use crate::stat_cache::{CacheKey, StatCache, StatCacheWriter};

use self::assemble::{Assembled, Assembler};
use self::excludes::Excludes;
use self::items::Batch;
pub(crate) use self::items::{FileJob, FileOutcome};
use self::outlook::{Outlook, survey};
use self::plan::{Before, ITEMS_AT_ONCE, Planner};
pub(crate) use self::problem::problem;
use self::read::{FileReader, ReadJob};
use self::roots::Roots;
use self::shared::Shared;
use self::upload::Uploader;
use self::window::{Outbox, Window};

/// Items between the walk and the trees.
const ITEMS_AHEAD: usize = 8192;
/// Batches of files between the walk and the readers.
const JOBS_AHEAD: usize = 4;
const WINDOWS_AHEAD: usize = 8;
const READERS: usize = 2;
/// More than there are cores: they wait for the server's answers most of the time.
const UPLOADERS: usize = 4;
/// Waiting time before the first attempt to reconnect; it doubles up to the longest.
const RECONNECT_WAIT: Duration = Duration::from_millis(500);
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

/// What is to be backed up.
#[derive(Clone, Debug)]
pub struct BackupJob {
    /// Files and directories; relative ones are below `current_dir`.
    pub paths: Vec<PathBuf>,
    /// Where relative paths begin.
    pub current_dir: PathBuf,
    /// The chain of snapshots it continues.
    pub chain: String,
    /// What is left out, in the syntax of `.gitignore`.
    pub excludes: Vec<String>,
    /// For the snapshot: this machine's name.
    pub host: String,
    /// For the snapshot: who runs the backup.
    pub user: String,
    /// Every so many backups of a chain all files are read, whatever their stamps say: 1 for this one, 0 for never.
    pub reread_every: u32,
    /// How long to go without a server: attempts in a row that brought nothing, and the waits between them.
    pub max_wait: Duration,
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The snapshot that was committed.
    pub snapshot: ObjectId,
    /// Its number on the server: greater than that of every snapshot before.
    pub seq: u64,
    /// When the server committed it, in milliseconds since 1970 by its clock.
    pub server_time_ms: u64,
    /// Regular files in the snapshot.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Links, pipes, devices and sockets in it.
    pub others: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Bytes that were read from files.
    pub bytes_read: u64,
    /// Every file was read: no stamp of an earlier backup was relied on.
    pub is_full_read: bool,
    /// Bytes of all connections, but for those of TLS and TCP themselves.
    pub traffic: Traffic,
    /// The same as TCP counts them.
    pub wire_traffic: Traffic,
    /// Bytes the server's store grew by.
    pub bytes_stored: u64,
    /// Objects that were stored.
    pub objects_stored: u64,
    /// How many of them as a delta.
    pub delta_objects: u64,
    /// Trouble with single files.
    pub problems: Vec<FileProblem>,
}

/// Backs up, over as many connections as it takes; into a sealed vault with its `passphrase`.
///
/// What one connection brought to the server is not sent again over the next.
///
/// # Errors
/// [`ClientError`]; then there is no snapshot. Trouble with single files is in the report.
pub fn backup(
    connection: &Connection,
    passphrase: Option<&Passphrase>,
    folders: &Folders,
    job: &BackupJob,
    monitor: &dyn Monitor,
) -> Result<BackupReport, ClientError> {
    let mut outage = Duration::ZERO;
    let mut traffic = Traffic::default();
    let mut wire_traffic = Traffic::default();
    let mut unanswered = None;
    let mut wait = RECONNECT_WAIT;
    loop {
        let asked = Instant::now();
        let error = match Session::open(connection, passphrase) {
            Ok(session) => {
                let result = attempt(&session, folders, job, monitor, &mut unanswered);
                traffic = traffic + session.traffic();
                wire_traffic = wire_traffic + session.wire_traffic();
                if session.durable_records() > 0 {
                    (outage, wait) = (Duration::ZERO, RECONNECT_WAIT);
                }
                match result {
                    Ok(report) => return Ok(BackupReport { traffic, wire_traffic, ..report }),
                    Err(error) => error,
                }
            }
            Err(error) => {
                outage += asked.elapsed();
                error
            }
        };
        if !error.is_transient() || outage + wait > job.max_wait {
            return Err(error);
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        monitor.event(Event::Reconnecting { reason: error.to_string(), wait_ms });
        std::thread::sleep(wait);
        outage += wait;
        wait = (wait * 2).min(RECONNECT_WAIT_MAX);
    }
}

/// A snapshot whose commit was asked for, and everything that is known of it.
struct Pending {
    key: IdempotencyKey,
    snapshot: ObjectId,
    report: BackupReport,
    cache: Option<(StatCacheWriter, crate::stat_cache::DirPointer)>,
}

fn attempt(
    session: &Session,
    folders: &Folders,
    job: &BackupJob,
    monitor: &dyn Monitor,
    unanswered: &mut Option<Pending>,
) -> Result<BackupReport, ClientError> {
    let chain = ChainName::new(&job.chain).map_err(|error| ClientError::Usage(format!("chain name: {error}")))?;
    let key = CacheKey { vault: session.vault(), chain: job.chain.clone() };
    let cache = StatCache::open(&folders.cache, &key).map(Arc::new);
    let begun = session.begin_backup(chain, cache.as_ref().map(|cache| cache.snapshot()))?;
    if let Some(pending) = unanswered.take() {
        // The connection was lost while the commit was under way: the same key gives the same answer.
        match session.commit(pending.key, pending.snapshot) {
            Ok(committed) => return finish(pending, &committed),
            Err(ClientError::Refused(failure)) if failure.code() == FailCode::Missing => {}
            Err(error) => return Err(error),
        }
    }
    let (roots, resolved) = Roots::new(&job.paths, &job.current_dir)?;
    let excludes = Excludes::new(&job.excludes)?;
    let run = Run { session, folders, job, monitor, key, roots, resolved, excludes, parent: begun.parent };
    let is_due = cache.as_ref().is_some_and(|cache| is_due(cache.runs(), job.reread_every));
    monitor.event(Event::Stage(if is_due { "reading every file again" } else { "scanning" }));
    in_rounds(monitor, |trust| {
        let before = match trust {
            Trust::Earlier => before(session, cache.clone().filter(|_| !is_due), begun.parent)?,
            Trust::Nothing => Before::Nothing,
        };
        run.go_through(&before, unanswered)
    })
}

/// A backup over one connection.
struct Run<'r> {
    session: &'r Session,
    folders: &'r Folders,
    job: &'r BackupJob,
    monitor: &'r dyn Monitor,
    key: CacheKey,
    roots: Roots,
    resolved: Vec<Vec<u8>>,
    excludes: Excludes,
    parent: Option<Parent>,
}

impl Run<'_> {
    /// Goes through the files once, and commits. What `before` has is taken for held by the server.
    fn go_through(&self, before: &Before, unanswered: &mut Option<Pending>) -> Result<BackupReport, ClientError> {
        let Self { session, job, monitor, .. } = *self;
        let now = now();
        let next_cache = StatCacheWriter::create(&self.folders.cache, &self.key, before.cache(), random()).ok();
        let signatures = SignatureCache::new(&self.folders.cache, session.vault(), &job.chain);
        let shared = Shared::new(session, monitor);
        let assembled = std::thread::scope(|scope| {
            // Dropped at the end, which both hear.
            let (running, end) = crossbeam_channel::bounded::<()>(0);
            let (count, counted) = crossbeam_channel::bounded(1);
            if matches!(before, Before::Nothing) && self.parent.is_none() {
                let (end, shared) = (end.clone(), &shared);
                scope.spawn(move || {
                    let is_wanted = || !shared.has_failed() && end.try_recv() == Err(TryRecvError::Empty);
                    survey(&self.resolved, &self.excludes, &is_wanted).map(|extent| count.send(extent))
                });
            }
            let outlook = Outlook::new(&shared);
            scope.spawn(move || outlook.run(&end, &counted));
            let assembled = run_stages(&shared, &self.roots, &self.excludes, before, next_cache, &signatures, now);
            drop(running);
            assembled
        })?;
        monitor.event(Event::Stage("committing"));
        let snapshot = Snapshot {
            tree: assembled.tree,
            started: now,
            finished: self::now(),
            host: job.host.clone(),
            user: job.user.clone(),
            software: format!("backup-client {}", env!("CARGO_PKG_VERSION")),
            roots: self.resolved.clone(),
            excludes: job.excludes.clone(),
            files: assembled.counts.files,
            directories: assembled.counts.directories,
            others: assembled.counts.others,
            bytes: assembled.counts.bytes,
            problems: shared.problem_count(),
            parent: self.parent.map(|parent| parent.snapshot),
            device: session.device().as_bytes().to_vec(),
            chain: job.chain.clone(),
            unknown: Vec::new(),
        };
        let object = snapshot.encode(session.keys());
        let id = object.id;
        let mut uploader = Uploader::new(&shared);
        uploader.metadata(&[object])?;
        let report = BackupReport {
            snapshot: id,
            seq: 0,
            server_time_ms: 0,
            files: assembled.counts.files,
            directories: assembled.counts.directories,
            others: assembled.counts.others,
            bytes: assembled.counts.bytes,
            bytes_read: Progress::get(&monitor.progress().bytes_read),
            is_full_read: before.cache().is_none(),
            traffic: Traffic::default(),
            wire_traffic: Traffic::default(),
            bytes_stored: 0,
            objects_stored: 0,
            delta_objects: 0,
            problems: shared.take_problems(),
        };
        let pending =
            Pending { key: IdempotencyKey::from_bytes(random()), snapshot: id, report, cache: assembled.cache };
        loop {
            match session.commit(pending.key, id) {
                Ok(committed) => {
                    signatures.evict();
                    return finish(pending, &committed);
                }
                Err(error) => {
                    let refused = shared.take_refused();
                    if refused.is_empty() || error.is_transient() {
                        *unanswered = error.is_transient().then_some(pending);
                        return Err(error);
                    }
                    uploader.put_refused(refused, &signatures)?;
                }
            }
        }
    }
}

fn finish(pending: Pending, committed: &Committed) -> Result<BackupReport, ClientError> {
    if let Some((cache, directory)) = pending.cache {
        // Without its cache, the next backup reads everything: slower, and as good.
        let _ = cache.commit(pending.snapshot, directory);
    }
    Ok(BackupReport {
        seq: committed.seq,
        server_time_ms: committed.server_time_ms,
        bytes_stored: committed.bytes_stored,
        objects_stored: committed.objects_stored,
        delta_objects: committed.delta_objects,
        ..pending.report
    })
}

/// Whether stamps are to be distrusted, `runs` backups after all files were read: a file may change behind its stamp's back.
fn is_due(runs: u32, reread_every: u32) -> bool {
    reread_every > 0 && runs >= reread_every - 1
}

/// What to compare with: the cache if it belongs to the parent snapshot, else the parent's trees on the server.
fn before(session: &Session, cache: Option<Arc<StatCache>>, parent: Option<Parent>) -> Result<Before, ClientError> {
    match (cache, parent) {
        (Some(cache), Some(parent)) if cache.snapshot() == parent.snapshot => Ok(Before::Cache(cache)),
        (_, Some(parent)) => {
            let mut reader = Reader::new(session, Arc::clone(session.keys()), 0);
            let snapshot = Snapshot::decode(&reader.object(parent.snapshot)?);
            let damaged = |error| ClientError::Damaged {
                what: format!("snapshot {}", parent.snapshot.short()),
                source: Box::new(error),
            };
            Ok(Before::Tree(snapshot.map_err(damaged)?.tree))
        }
        (_, None) => Ok(Before::Nothing),
    }
}

/// Reads files and sends what the server does not have of them, into the session that is open; one outcome per job, in
/// order. When it returns, everything has been put, and refused deltas have been put again.
pub(crate) fn send_files(
    session: &Session,
    monitor: &dyn Monitor,
    signatures: &SignatureCache,
    files: Vec<FileJob>,
) -> Result<(Vec<FileOutcome>, Vec<FileProblem>), ClientError> {
    let shared = Shared::new(session, monitor);
    let (jobs_in, jobs) = crossbeam_channel::bounded(files.len());
    let (windows_in, windows) = crossbeam_channel::bounded::<Window>(WINDOWS_AHEAD);
    let outbox = Outbox::new(windows_in);
    let batches: Vec<Arc<Batch>> = files.iter().map(|_| Batch::new()).collect();
    for (batch, file) in batches.iter().zip(files) {
        jobs_in.send(ReadJob::new(Arc::clone(batch), vec![file])).expect("there is room for all");
    }
    drop(jobs_in);
    let noted = |result: Result<(), ClientError>| {
        if let Err(error) = result {
            shared.fail(error);
        }
    };
    std::thread::scope(|scope| {
        let shared = &shared;
        for _ in 0..UPLOADERS {
            let windows = windows.clone();
            scope.spawn(move || noted(Uploader::new(shared).run(&windows)));
        }
        for _ in 0..READERS {
            let (jobs, outbox) = (jobs.clone(), outbox.clone());
            scope.spawn(move || noted(FileReader::new(shared, outbox, signatures, now().secs).run(&jobs)));
        }
        drop((windows, jobs, outbox));
    });
    if let Some(error) = shared.take_failure() {
        return Err(error);
    }
    let outcomes: Result<Vec<FileOutcome>, _> = batches.iter().map(|batch| batch.take(0)).collect();
    let outcomes = outcomes.map_err(|_| ClientError::Stopped)?;
    loop {
        session.flush()?;
        let refused = shared.take_refused();
        if refused.is_empty() {
            return Ok((outcomes, shared.take_problems()));
        }
        Uploader::new(&shared).put_refused(refused, signatures)?;
    }
}

fn run_stages(
    shared: &Shared<'_>,
    roots: &Roots,
    excludes: &Excludes,
    before: &Before,
    next_cache: Option<StatCacheWriter>,
    signatures: &SignatureCache,
    started: Timestamp,
) -> Result<Assembled, ClientError> {
    let (items_in, items) = crossbeam_channel::bounded(ITEMS_AHEAD / ITEMS_AT_ONCE);
    let (jobs_in, jobs) = crossbeam_channel::bounded(JOBS_AHEAD);
    let (windows_in, windows) = crossbeam_channel::bounded::<Window>(WINDOWS_AHEAD);
    let outbox = Outbox::new(windows_in);
    let noted = |result: Result<(), ClientError>| {
        if let Err(error) = result {
            shared.fail(error);
        }
    };
    let assembled = std::thread::scope(|scope| {
        for _ in 0..UPLOADERS {
            let windows = windows.clone();
            scope.spawn(move || noted(Uploader::new(shared).run(&windows)));
        }
        for _ in 0..READERS {
            let (jobs, outbox) = (jobs.clone(), outbox.clone());
            scope.spawn(move || noted(FileReader::new(shared, outbox, signatures, started.secs).run(&jobs)));
        }
        // Each stage ends when those before it are gone, so nobody else may keep their ends of the channels.
        drop((windows, jobs));
        let planner = Planner::new(shared, excludes, before, started, items_in, jobs_in);
        scope.spawn(move || noted(planner.run(roots, before)));
        let assembled = Assembler::new(shared, outbox, before.cache().cloned(), next_cache).run(&items);
        if let Err(error) = &assembled {
            shared.fail(ClientError::Stopped);
            drop(items);
            let _ = error;
        }
        assembled
    });
    match (shared.take_failure(), assembled) {
        (Some(error), _) => Err(error),
        (None, assembled) => assembled,
    }
}

impl Before {
    fn cache(&self) -> Option<&Arc<StatCache>> {
        match self {
            Self::Cache(cache) => Some(cache),
            Self::Nothing | Self::Tree(_) => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is the place where the wall is asked")]
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since_1970.as_secs().cast_signed(), nanos: since_1970.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nth_backup_reads_all_files() {
        // The backup that reads all files leaves 0 runs, the next 1, and so on.
        let full_reads = |every: u32| -> Vec<u32> {
            let mut runs = None;
            (1..=9)
                .filter(|_| {
                    let is_full = runs.is_none_or(|runs| is_due(runs, every));
                    runs = Some(if is_full { 0 } else { runs.unwrap_or_default() + 1 });
                    is_full
                })
                .collect()
        };
        assert_eq!(full_reads(4), [1, 5, 9]);
        assert_eq!(full_reads(2), [1, 3, 5, 7, 9]);
        assert_eq!(full_reads(1), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(full_reads(0), [1], "never again");
    }
}
