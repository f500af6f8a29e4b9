//! [`Shared`]: what all threads of a backup have in common: the session, the numbers, and the first failure.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use object::ObjectId;
use vault::{CHUNK_LEN_MAX, Keys};

use super::buffers::Buffers;
use crate::budget::Budget;
use crate::error::ClientError;
use crate::monitor::{Event, FileProblem, Monitor, Progress};
use crate::random::random;
use crate::session::Session;

/// Plaintext of chunks that were read and not yet sent.
const READ_AHEAD_BYTES: usize = 48 << 20;
/// Bytes of a large file that are read and cut at once: room for two of the longest chunks.
pub(crate) const WINDOW_LEN: usize = 2 * CHUNK_LEN_MAX;
/// Ids remembered so as not to ask twice; 16 bytes each.
const SEEN_IDS_MAX: usize = 1 << 20;

pub(crate) struct Shared<'s> {
    pub(crate) session: &'s Session,
    pub(crate) monitor: &'s dyn Monitor,
    pub(crate) read_ahead: Arc<Budget>,
    pub(crate) buffers: Arc<Buffers>,
    failure: Mutex<Option<ClientError>>,
    problems: Mutex<Vec<FileProblem>>,
    seen: Mutex<HashSet<u128>>,
    deltas: Mutex<Deltas>,
    pub(crate) delta_count: AtomicU64,
}

/// Chunks that were sent as deltas and may still be refused: where to read them again.
#[derive(Default)]
struct Deltas {
    sent: HashMap<ObjectId, DeltaSource>,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Debug)]
pub(crate) struct DeltaSource {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    /// The record's number in the session.
    record: u64,
}

impl<'s> Shared<'s> {
    pub(crate) fn new(session: &'s Session, monitor: &'s dyn Monitor) -> Self {
        Self {
            session,
            monitor,
            read_ahead: Budget::new(READ_AHEAD_BYTES),
            buffers: Buffers::new(WINDOW_LEN),
            failure: Mutex::default(),
            problems: Mutex::default(),
            seen: Mutex::default(),
            deltas: Mutex::default(),
            delta_count: AtomicU64::new(0),
        }
    }

    pub(crate) fn keys(&self) -> &Arc<Keys> {
        self.session.keys()
    }

    pub(crate) fn progress(&self) -> &Progress {
        self.monitor.progress()
    }

    /// A fresh salt for a sealer.
    pub(crate) fn salt() -> [u8; 16] {
        random()
    }

    /// The backup cannot succeed any more. The first reason counts; everything that waits is woken.
    pub(crate) fn fail(&self, error: ClientError) {
        let mut failure = lock(&self.failure);
        if !matches!(error, ClientError::Stopped) && failure.is_none() {
            *failure = Some(error);
        }
        self.read_ahead.close();
    }

    pub(crate) fn take_failure(&self) -> Option<ClientError> {
        lock(&self.failure).take()
    }

    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// Trouble with one file: told, counted, and the backup goes on.
    pub(crate) fn problem(&self, problem: FileProblem) {
        self.monitor.event(Event::Problem(problem.clone()));
        lock(&self.problems).push(problem);
    }

    pub(crate) fn problem_count(&self) -> u64 {
        lock(&self.problems).len() as u64
    }

    pub(crate) fn take_problems(&self) -> Vec<FileProblem> {
        std::mem::take(&mut lock(&self.problems))
    }

    /// Those of `ids` that nobody has asked about in this backup; they count as asked about from now on.
    pub(crate) fn first_seen(&self, ids: impl Iterator<Item = ObjectId>) -> Vec<bool> {
        let mut seen = lock(&self.seen);
        ids.map(|id| {
            let key = u128::from_le_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes"));
            if seen.len() >= SEEN_IDS_MAX { !seen.contains(&key) } else { seen.insert(key) }
        })
        .collect()
    }

    /// Notes chunks just sent as deltas, the last of them as record `last_record`.
    pub(crate) fn deltas_sent(&self, last_record: u64, sources: Vec<(ObjectId, PathBuf, u64, usize)>) {
        self.delta_count.fetch_add(sources.len() as u64, Ordering::Relaxed);
        let durable = self.session.durable_records();
        let mut deltas = lock(&self.deltas);
        // What is durable was not refused, or was and has been taken out.
        deltas.sent.retain(|_, source| source.record > durable);
        for (id, path, offset, len) in sources {
            deltas.sent.insert(id, DeltaSource { path, offset, len, record: last_record });
        }
    }

    /// Takes out the sources of refused deltas.
    pub(crate) fn take_refused(&self) -> Vec<(ObjectId, DeltaSource)> {
        let refused = self.session.take_refused();
        let mut deltas = lock(&self.deltas);
        refused.into_iter().filter_map(|id| deltas.sent.remove_entry(&id)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
