//! [`restore`]: brings a snapshot, or a part of it, back to this machine.
//!
//! ```text
//! walk (trees; makes directories and links) ──► fetch (records of small files) ──► gather (opens them)
//!                                                                ──► write (4 threads; fetch and open large files)
//! ```
//! Everything is written below a held directory; no link is followed, and no path of a snapshot reaches a system call.
//! A file whose content cannot be had whole is reported and does not appear.

mod fetch;
mod gather;
mod guards;
mod links;
mod sink;
mod walk;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use host_fs::{RestoreOptions, RestoreRoot};
use vault::{Entry, EntryKind};

use crate::browse::{Found, Node};
use crate::counted::Traffic;
use crate::error::ClientError;
use crate::line::Line;
use crate::monitor::{Event, FileProblem, Monitor, Progress};

use self::fetch::Fetch;
use self::gather::Gather;
use self::guards::DirGuard;
use self::sink::Sink;
use self::walk::Walk;
use self::write::Writer;

const TASKS_AHEAD: usize = 4;
/// Batches of files with their records that wait to be opened.
const FETCHED_AHEAD: usize = 1;
/// Batches of files with their content that wait for a writer.
const READY_AHEAD: usize = 2;
/// More than there are cores: they wait for the server's answers part of the time.
const WRITERS: usize = 4;

/// Where to restore, and what may be restored.
#[derive(Clone, Debug)]
pub struct RestoreJob {
    /// Made when it is missing.
    pub target: PathBuf,
    /// Rules for owners, devices, and targets that others can write to.
    pub options: RestoreOptions,
}

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    /// Names of regular files restored.
    pub files: u64,
    /// Entries of every kind that were met.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of all connections, but for those of TLS and TCP themselves.
    pub traffic: Traffic,
    /// Trouble with single files.
    pub problems: Vec<FileProblem>,
    /// What restored entries lack: what and why, and how many of them.
    pub not_applied: BTreeMap<String, u64>,
    /// Whether the content of any file could not be had.
    pub is_damaged: bool,
}

/// Restores what `found` stands for: the contents of a directory straight into the target, anything else under its name.
///
/// # Errors
/// [`ClientError`] when the restore as a whole could not go on. Trouble with single files is in the report.
pub fn restore(
    line: &Line,
    found: Found,
    job: &RestoreJob,
    monitor: &Arc<dyn Monitor>,
) -> Result<RestoreReport, ClientError> {
    monitor.event(Event::Stage("restoring"));
    let existed = job.target.exists();
    let root = RestoreRoot::create(&job.target, job.options)?;
    let sink = Sink::new(Arc::clone(monitor));
    let (tasks_in, tasks) = crossbeam_channel::bounded(TASKS_AHEAD);
    let (fetched_in, fetched) = crossbeam_channel::bounded(FETCHED_AHEAD);
    let (ready_in, ready) = crossbeam_channel::bounded(READY_AHEAD);
    let mut fetch = Fetch::new(line, fetched_in, Arc::clone(&sink));
    let mut gather = Gather::new(line, ready_in, Arc::clone(&sink));
    let mut walk = Walk::new(line, tasks_in, Arc::clone(&sink));
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let mut writer = Writer::new(line, Arc::clone(walk.links()), Arc::clone(&sink));
            let (ready, sink) = (ready.clone(), &sink);
            scope.spawn(move || note(sink, writer.run(&ready)));
        }
        drop(ready);
        let parts_sink = &sink;
        scope.spawn(move || note(parts_sink, fetch.run(&tasks)));
        scope.spawn(move || note(parts_sink, gather.run(&fetched)));
        note(&sink, begin(&mut walk, found, &root, existed, &sink));
        drop(walk);
    });
    if let Some(error) = sink.take_failure() {
        return Err(error);
    }
    monitor.event(Event::Stage("syncing"));
    root.sync()?;
    let progress = monitor.progress();
    Ok(RestoreReport {
        files: Progress::get(&progress.files),
        entries: Progress::get(&progress.entries),
        bytes: Progress::get(&progress.bytes),
        traffic: line.traffic(),
        problems: sink.take_problems(),
        not_applied: sink.take_not_applied(),
        is_damaged: sink.is_damaged(),
    })
}

fn begin(
    walk: &mut Walk,
    found: Found,
    root: &RestoreRoot,
    existed: bool,
    sink: &Arc<Sink>,
) -> Result<(), ClientError> {
    match found.node {
        Node::Root(tree) => walk.directory(tree, root.dir().clone(), None),
        Node::Entry(Entry { kind: EntryKind::Directory { tree }, metadata, .. }) => {
            // A directory that was there before keeps its own owner, mode and time.
            let metadata = (!existed).then_some(metadata);
            walk.directory(tree, root.dir().clone(), metadata)
        }
        Node::Entry(entry) => {
            let target = DirGuard::new(root.dir().clone(), None, Arc::clone(sink), None);
            walk.entry(&target, entry)?;
            walk.flush()
        }
    }
}

/// Keeps the reason why a part stopped; that another part failed is none.
fn note(sink: &Sink, result: Result<(), ClientError>) {
    match result {
        Ok(()) | Err(ClientError::Stopped) => {}
        Err(error) => sink.fail(error),
    }
}
