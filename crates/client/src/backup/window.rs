//! [`Window`]: chunks that were read and cut, on their way to the server.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use delta_core::BASIS_COUNT_MAX;
use object::ObjectId;
use vault::{Content, Mode, PlainObject};

use crate::budget::Share;
use crate::error::ClientError;
use crate::signature_cache::{BasisChunk, FileMemoryWriter, RememberedFile};

use super::bases::FAR_MAX;

/// After so many chunks in a row that no delta helped, a file's further chunks are sent whole: it is compressed,
/// encrypted, or another file under the old name.
const MISSES_MAX: u32 = 2;
/// Remembered chunks looked at around the place of a new one: a chunk has at most 17 of the shortest under it.
const BASES_HERE: usize = 20;

/// Something to be sent.
pub(crate) enum Window {
    /// Chunks of one large file or several small ones.
    Data {
        chunks: Vec<WindowChunk>,
        /// Memory they take, given back when they are gone.
        share: Share,
    },
    /// Lists, trees, the snapshot.
    Metadata(Vec<PlainObject>),
}

/// Where windows go to be sent.
#[derive(Clone)]
pub(crate) struct Outbox(crossbeam_channel::Sender<Window>);

impl Outbox {
    pub(crate) fn new(windows: crossbeam_channel::Sender<Window>) -> Self {
        Self(windows)
    }

    /// Hands a window over; waits while others are before it.
    pub(crate) fn send(&self, window: Window) -> Result<(), ClientError> {
        self.0.send(window).map_err(|_| ClientError::Stopped)
    }
}

/// A chunk that was read.
pub(crate) struct WindowChunk {
    pub(crate) id: ObjectId,
    pub(crate) bytes: Bytes,
    /// Where in the file it starts.
    pub(crate) offset: u64,
    pub(crate) file: std::sync::Arc<FileContext>,
    /// Chunks of the file's last version that it most likely comes from, best first.
    pub(crate) bases: Vec<BasisChunk>,
    /// Others of that version, nearest first.
    pub(crate) far_bases: Vec<BasisChunk>,
}

impl WindowChunk {
    /// What a delta of it may stand on, likeliest first. The server of a managed vault has every chunk of the last version
    /// at hand; a delta in a sealed vault stands on chunks that are stored whole and whose signatures are remembered.
    pub(crate) fn near_bases(&self, mode: Mode) -> Vec<BasisChunk> {
        match (mode, &self.file.remembered) {
            (Mode::Managed, _) => self.bases.clone(),
            (Mode::Sealed, None) => Vec::new(),
            (Mode::Sealed, Some(remembered)) => {
                let end = self.offset + self.bytes.len() as u64;
                let is_here =
                    |basis: &&BasisChunk| basis.offset < end && self.offset < basis.offset + u64::from(basis.len);
                let named = self.bases.iter().flat_map(|old| remembered.bases_of(&old.id));
                // What the memory names stands in another version where a backup was cut off: look at the place, too.
                let here = remembered.bases_around(self.offset, BASES_HERE).filter(is_here).copied();
                distinct(named.chain(here))
            }
        }
    }

    /// Others, nearest first.
    pub(crate) fn further_bases(&self, mode: Mode) -> Vec<BasisChunk> {
        match (mode, &self.file.remembered) {
            (Mode::Managed, _) => self.far_bases.clone(),
            (Mode::Sealed, None) => Vec::new(),
            (Mode::Sealed, Some(remembered)) => remembered.bases_around(self.offset, FAR_MAX).copied().collect(),
        }
    }
}

fn distinct(bases: impl Iterator<Item = BasisChunk>) -> Vec<BasisChunk> {
    let mut kept: Vec<BasisChunk> = Vec::new();
    for basis in bases {
        if kept.len() < usize::from(BASIS_COUNT_MAX) && kept.iter().all(|other| other.id != basis.id) {
            kept.push(basis);
        }
    }
    kept
}

/// What the chunks of one file share. When the last of them is gone, the memory of this version is complete.
pub(crate) struct FileContext {
    pub(crate) path: PathBuf,
    /// What this client remembers of the last version.
    pub(crate) remembered: Option<RememberedFile>,
    /// Where it remembers this one.
    memory: Option<FileMemoryWriter>,
    content: OnceLock<Content>,
    misses: AtomicU32,
}

impl FileContext {
    pub(crate) fn new(path: PathBuf, remembered: Option<RememberedFile>, memory: Option<FileMemoryWriter>) -> Self {
        Self { path, remembered, memory, content: OnceLock::new(), misses: AtomicU32::new(0) }
    }

    pub(crate) fn memory(&self) -> Option<&FileMemoryWriter> {
        self.memory.as_ref()
    }

    /// The file was read to its end.
    pub(crate) fn finish(&self, content: Content) {
        self.content.set(content).expect("a file is read to its end once");
    }

    /// Whether it is worth while to look for deltas.
    pub(crate) fn is_worth_matching(&self) -> bool {
        self.misses.load(Ordering::Relaxed) < MISSES_MAX
    }

    pub(crate) fn matched(&self, helped: bool) {
        if helped {
            self.misses.store(0, Ordering::Relaxed);
        } else {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for FileContext {
    fn drop(&mut self) {
        if let (Some(memory), Some(content)) = (self.memory.take(), self.content.get()) {
            // A memory that cannot be written costs the next change a few bytes, that is all.
            let _ = memory.finish(*content);
        }
    }
}
