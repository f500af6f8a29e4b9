//! What flows between the stages of a backup: [`Item`]s in the order of the walk, [`Batch`]es of files to be read.
//!
//! The walk emits items; files that must be read stand in a batch, which a reader fills while the walk goes on. Whoever
//! assembles the trees takes the items in order and waits for a batch only when its turn has come.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use host_fs::HostDir;
use vault::{Content, Entry, EntryKind, Metadata};

use crate::monitor::FileProblem;
use crate::stat_cache::{CachedEntry, DirPointer, Stamp};

/// One step of the walk. Names in a directory ascend.
#[derive(Debug)]
pub(crate) enum Item {
    /// Into a directory, which the cache has at `cached`.
    Enter { cached: Option<DirPointer> },
    /// A name that stands for the same as in the cache; the cache's next one, unless some were lost before.
    Unchanged(CachedEntry),
    /// The cache has a name here that is not there any more.
    Lost,
    /// A name without content, as it is now.
    Changed { entry: Entry, stamp: Stamp, is_racy: bool },
    /// A file that is being read.
    Reading { name: Vec<u8>, stamp: Stamp, is_racy: bool, batch: Arc<Batch>, index: usize },
    /// Out of the directory again.
    Leave {
        /// The directory's own entry in the one above; `None` for `/`.
        this: Option<DirectoryEntry>,
    },
}

/// A directory in the one above it, before its tree is known.
#[derive(Debug)]
pub(crate) struct DirectoryEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Stamp,
    pub(crate) is_racy: bool,
    /// What the cache has of it, if its stamp is the same: its tree may still have changed.
    pub(crate) unchanged: Option<CachedEntry>,
}

impl DirectoryEntry {
    pub(crate) fn entry(self, tree: object::ObjectId) -> Entry {
        Entry { name: self.name, kind: EntryKind::Directory { tree }, metadata: self.metadata }
    }
}

/// A file to be read.
#[derive(Debug)]
pub(crate) struct FileJob {
    pub(crate) directory: Arc<HostDir>,
    pub(crate) name: Vec<u8>,
    /// For messages and for the signature cache.
    pub(crate) path: PathBuf,
    pub(crate) stat: host_fs::Stat,
    /// Its content in the last backup, and how long it was.
    pub(crate) previous: Option<(Content, u64)>,
}

/// What reading a file gave.
#[derive(Debug)]
pub(crate) enum FileOutcome {
    /// It was read.
    Read {
        content: Content,
        /// Bytes that were read, holes included.
        size: u64,
        metadata: Metadata,
    },
    /// It could not be read, or is gone: it is not in this backup.
    Left(FileProblem),
}

/// Files that are read together, and what came of it.
#[derive(Debug)]
pub(crate) struct Batch {
    outcomes: Mutex<Outcomes>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Outcomes {
    /// One per file, once all are read; taken out one by one.
    files: Option<Vec<Option<FileOutcome>>>,
    is_abandoned: bool,
}

/// The batch will never be filled: another part has failed.
#[derive(Debug)]
pub(crate) struct Abandoned;

impl Batch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { outcomes: Mutex::default(), filled: Condvar::new() })
    }

    /// A reader has read the files: what came of each. All at once, so that who waits is woken once.
    pub(crate) fn fill(&self, files: Vec<FileOutcome>) {
        self.outcomes.lock().expect("nobody panics with it").files = Some(files.into_iter().map(Some).collect());
        self.filled.notify_all();
    }

    /// Takes what came of the file at `index`; waits for it.
    pub(crate) fn take(&self, index: usize) -> Result<FileOutcome, Abandoned> {
        let outcomes = self.outcomes.lock().expect("nobody panics with it");
        let waiting = |outcomes: &mut Outcomes| !outcomes.is_abandoned && outcomes.files.is_none();
        let mut outcomes = self.filled.wait_while(outcomes, waiting).expect("nobody panics with it");
        let files = outcomes.files.as_mut().ok_or(Abandoned)?;
        files.get_mut(index).and_then(Option::take).ok_or(Abandoned)
    }

    /// Nobody will read the rest.
    pub(crate) fn abandon(&self) {
        self.outcomes.lock().expect("nobody panics with it").is_abandoned = true;
        self.filled.notify_all();
    }
}
