//! [`Window`]: chunks that were read and cut, on their way to the server.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use delta_core::{BASIS_COUNT_MAX, Signature, SignatureParams};
use object::ObjectId;
use vault::{Content, Mode, PlainObject};

use crate::budget::Share;
use crate::error::ClientError;
use crate::signature_cache::{BasisChunk, FileMemoryWriter, RememberedFile};

use super::bases::FAR_MAX;

/// After so many chunks in a row that no delta helped, most of a file's further chunks are sent whole: it is compressed,
/// encrypted, or another file under the old name.
const MISSES_MAX: u32 = 2;
/// Of such a file one chunk of so many is tried all the same: it may have changed in parts.
const PROBE_INTERVAL: u32 = 8;
/// Shorter chunks say nothing about their file: a page in what was a hole has nothing to stand on.
const TELLING_LEN_MIN: usize = 128 * 1024;
/// Remembered chunks looked at around the place of a new one: a chunk has at most 17 of the shortest under it.
const BASES_HERE: usize = 20;

/// Signatures that a file keeps of what the server has sent; each takes a few KiB.
const ANSWERED_MAX: usize = 64;

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
    /// What stood after the chunk that is before this one, and before the chunk that is after it, where those stood in
    /// the last version.
    pub(crate) seams: Seams,
    /// The chunk before or after it stood in the last version, so that one end of it may have, too.
    pub(crate) is_beside_kept: bool,
}

/// The chunks of the last version that went on where a new chunk's neighbours end. What is moved into the middle of a
/// chunk starts or ends there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seams {
    /// Its first bytes may begin the new chunk.
    pub(crate) left: Option<BasisChunk>,
    /// Its last bytes may end the new chunk.
    pub(crate) right: Option<BasisChunk>,
}

impl WindowChunk {
    /// A chunk that has no bases yet.
    pub(crate) fn new(id: ObjectId, bytes: Bytes, offset: u64, file: std::sync::Arc<FileContext>) -> Self {
        let (bases, far_bases) = (Vec::new(), Vec::new());
        Self { id, bytes, offset, file, bases, far_bases, seams: Seams::default(), is_beside_kept: false }
    }

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

/// The chunks without repetitions, as many as one matching takes.
pub(super) fn distinct(bases: impl Iterator<Item = BasisChunk>) -> Vec<BasisChunk> {
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
    /// What the server has told of it.
    pub(crate) answered: Mutex<AnsweredSignatures>,
    content: OnceLock<Content>,
    /// Chunks in a row that no delta helped.
    misses: AtomicU32,
    /// Chunks that were not tried for that.
    passed_over: AtomicU32,
}

/// Signatures of a file's bases that the server has sent, the last ones of them: what one window asked for, the next one
/// often needs, too.
#[derive(Default)]
pub(crate) struct AnsweredSignatures(VecDeque<(ObjectId, Signature)>);

impl AnsweredSignatures {
    pub(crate) fn get(&self, id: &ObjectId, params: SignatureParams) -> Option<Signature> {
        let is_it = |(known, signature): &&(ObjectId, Signature)| known == id && signature.params() == params;
        self.0.iter().find(is_it).map(|(_, signature)| signature.clone())
    }

    pub(crate) fn keep(&mut self, id: ObjectId, signature: &Signature) {
        if self.get(&id, signature.params()).is_none() {
            if self.0.len() == ANSWERED_MAX {
                self.0.pop_front();
            }
            self.0.push_back((id, signature.clone()));
        }
    }
}

impl FileContext {
    pub(crate) fn new(path: PathBuf, remembered: Option<RememberedFile>, memory: Option<FileMemoryWriter>) -> Self {
        let answered = Mutex::default();
        let (misses, passed_over) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { path, remembered, memory, answered, content: OnceLock::new(), misses, passed_over }
    }

    pub(crate) fn memory(&self) -> Option<&FileMemoryWriter> {
        self.memory.as_ref()
    }

    /// A chunk of the last version stands in this one, too.
    pub(crate) fn kept(&self) {
        self.misses.store(0, Ordering::Relaxed);
    }

    /// The file was read to its end.
    pub(crate) fn finish(&self, content: Content) {
        self.content.set(content).expect("a file is read to its end once");
    }

    /// Whether it is worth while to look for a delta of its next chunk, of `len` bytes.
    pub(crate) fn is_worth_matching(&self, len: usize) -> bool {
        if self.misses.load(Ordering::Relaxed) < MISSES_MAX {
            return true;
        }
        len >= TELLING_LEN_MIN
            && self.passed_over.fetch_add(1, Ordering::Relaxed) % PROBE_INTERVAL == PROBE_INTERVAL - 1
    }

    /// Notes whether a delta helped for a chunk of `len` bytes.
    pub(crate) fn matched(&self, len: usize, helped: bool) {
        if helped {
            self.misses.store(0, Ordering::Relaxed);
        } else if len >= TELLING_LEN_MIN {
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
