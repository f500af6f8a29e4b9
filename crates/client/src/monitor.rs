//! [`Monitor`]: how an operation tells whoever watches what it does. [`Progress`] holds the numbers everybody shows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Trouble with one file, which ended nothing but itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The file.
    pub path: PathBuf,
    /// What went wrong, for people.
    pub message: String,
    /// Whether what was backed up or restored lacks something because of it.
    pub is_loss: bool,
}

/// Numbers of a running operation; each only grows.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries looked at, of every kind.
    pub entries: AtomicU64,
    /// Regular files done.
    pub files: AtomicU64,
    /// Bytes of files that are done, read or not.
    pub bytes: AtomicU64,
    /// Of these, bytes of files that did not have to be read.
    pub bytes_unchanged: AtomicU64,
    /// Bytes read from files.
    pub bytes_read: AtomicU64,
    /// Bytes of chunks that the server did not have.
    pub bytes_new: AtomicU64,
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Something worth telling while an operation runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another stage began: `scanning`, `committing`, `restoring` …
    Stage(&'static str),
    /// Trouble with a file.
    Problem(FileProblem),
    /// The connection was lost; the operation goes on after `wait_ms` milliseconds.
    Reconnecting {
        /// Why, for people.
        reason: String,
        /// Milliseconds until the next attempt.
        wait_ms: u64,
    },
    /// The server lacks what it was taken to hold: the files are read again, and what is missing is sent.
    ReadingAgain {
        /// What it lacks, for people.
        reason: String,
    },
}

/// Hears what an operation does. Called from several threads; must not wait.
pub trait Monitor: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event);

    /// The numbers, to be read at any time.
    fn progress(&self) -> &Progress;
}
