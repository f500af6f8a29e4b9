//! [`Window`]: chunks that were read and cut, on their way to the server.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use object::ObjectId;
use vault::{Content, PlainObject};

use crate::budget::Share;
use crate::error::ClientError;
use crate::signature_cache::{FileMemoryWriter, RememberedFile};

/// After so many chunks in a row that no delta helped, a file's further chunks are sent whole: it is compressed,
/// encrypted, or another file under the old name.
const MISSES_MAX: u32 = 2;

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

/// A chunk of a file's last version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasisChunk {
    pub(crate) id: ObjectId,
    pub(crate) len: u32,
    /// Where in that version it starts.
    pub(crate) offset: u64,
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
