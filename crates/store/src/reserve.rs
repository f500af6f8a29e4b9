//! [`Reserve`]: room on the disk that is taken in advance and let go of when the disk is full, so that what makes room
//! can still be written: deletions, garbage collection, commits, and the opening of a store after a crash.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data_dir::DataDir;
use crate::disk::Disk;

/// Less free than this part of the reserve is a full disk: writing the catalog may fail.
const LOW_PART: u64 = 4;

/// A file that nobody reads. What it occupies is no room for packs, held or not.
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    packs: PathBuf,
    path: PathBuf,
    /// Bytes; 0 for none.
    len: u64,
    state: Mutex<State>,
}

struct State {
    is_held: bool,
    /// Why it could not be taken, when last tried.
    problem: Option<String>,
}

/// What there is of the reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveStatus {
    /// Bytes that are to be held in reserve; 0 for none.
    pub bytes: u64,
    /// Whether they are. If not, the disk was too full, or it cannot hold room in advance.
    pub is_held: bool,
    /// Why it could not be taken, when last tried; a disk that has too little room is no reason.
    pub problem: Option<String>,
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserve({} bytes)", self.len)
    }
}

impl Reserve {
    /// The reserve of a data directory, with what an earlier process left of it.
    pub(crate) fn new(dir: &DataDir, len: u64) -> Self {
        let (disk, path) = (dir.disk(), dir.reserve_path());
        let found = if len == 0 { None } else { disk.open(&path).and_then(|file| file.len()).ok() };
        let state = State { is_held: found.is_some_and(|found| found >= len), problem: None };
        Self { disk, root: dir.root().to_owned(), packs: dir.packs_path(), path, len, state: Mutex::new(state) }
    }

    /// Lets go of the reserve when the disk is nearly full.
    pub(crate) fn make_room(&self) {
        self.make_room_for(0);
    }

    /// Lets go of the reserve when the disk is nearly full, or would be with so many bytes more; how many have to be free
    /// for them. `None` without a reserve. Best effort: what is written next tells of a disk that fails.
    pub(crate) fn make_room_for(&self, len: u64) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let needed = len.saturating_add(self.len / LOW_PART);
        let mut state = self.state();
        if state.is_held && self.free_bytes().is_ok_and(|free| free < needed) {
            // File systems hand out again what was removed once its removal is durable.
            let gone = self.disk.remove(&self.path).and_then(|()| self.disk.sync_dir(&self.root));
            state.is_held = gone.is_err();
        }
        Some(needed)
    }

    /// Takes the reserve unless it is held, where there is room for it twice.
    pub(crate) fn refill(&self) {
        let mut state = self.state();
        if state.is_held {
            return;
        }
        // Of another length, or half of one.
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => state.problem = Some(error.to_string()),
            _ if self.len == 0 => {}
            _ if self.free_bytes().is_ok_and(|free| free < self.len.saturating_mul(2)) => {}
            _ => match self.disk.allocate(&self.path, self.len).and_then(|()| self.disk.sync_dir(&self.root)) {
                Ok(()) => *state = State { is_held: true, problem: None },
                Err(error) => {
                    // What there is of it is no use; it goes now or when this is tried again.
                    drop(self.disk.remove(&self.path));
                    state.problem = Some(error.to_string());
                }
            },
        }
    }

    /// Bytes of free space that are the reserve's, because it was let go of.
    pub(crate) fn missing_bytes(&self) -> u64 {
        if self.state().is_held { 0 } else { self.len }
    }

    pub(crate) fn status(&self) -> ReserveStatus {
        let state = self.state();
        ReserveStatus { bytes: self.len, is_held: state.is_held, problem: state.problem.clone() }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes(&self.packs)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
