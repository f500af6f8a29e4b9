//! [`verify`]: reads everything a snapshot needs, as a restore would, and writes nothing.
//!
//! Every object is fetched, opened and checked against its id; lengths must add up. It is the only check that needs to
//! trust nobody: not the server, not its disk.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};
use object::ObjectId;
use vault::{Content, Entry, EntryKind, Piece, PieceCursor, PlainObject, ReadError, Reader, TreeCursor};

use crate::browse::{Found, Node, tree_of};
use crate::counted::Traffic;
use crate::error::{ClientError, explain};
use crate::line::Line;
use crate::monitor::{Event, FileProblem, Monitor, Progress};

/// Chunks checked together: so many, or so many bytes.
const BATCH_CHUNKS: usize = 256;
const BATCH_BYTES: u64 = 8 << 20;
const CHECKERS: usize = 4;
const RECENT_BYTES: usize = 12 << 20;
/// Chunks remembered so as not to read them twice; 16 bytes each. Beyond that some are.
const SEEN_MAX: usize = 1 << 20;

/// What was read, and what was found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Names of regular files whose content was looked at.
    pub files: u64,
    /// Bytes of them, those of equal chunks once for each name.
    pub bytes: u64,
    /// Bytes of chunks that were read and checked, each chunk once.
    pub bytes_checked: u64,
    /// Bytes of all connections, but for those of TLS and TCP themselves.
    pub traffic: Traffic,
    /// Files and directories that cannot be restored.
    pub problems: Vec<FileProblem>,
}

struct Batch {
    chunks: Vec<Chunk>,
    bytes: u64,
}

struct Chunk {
    id: ObjectId,
    len: u64,
    path: Arc<PathBuf>,
}

/// Checks everything below `found`.
///
/// # Errors
/// [`ClientError`] when it cannot go on as a whole. What is damaged is in the report.
pub fn verify(line: &Line, found: &Found, monitor: &dyn Monitor) -> Result<VerifyReport, ClientError> {
    monitor.event(Event::Stage("verifying"));
    let checking =
        Checking { line, monitor, problems: Mutex::default(), seen: HashSet::new(), failure: Mutex::default() };
    checking.run(found)
}

struct Checking<'c> {
    line: &'c Line,
    monitor: &'c dyn Monitor,
    problems: Mutex<Vec<FileProblem>>,
    seen: HashSet<u128>,
    failure: Mutex<Option<ClientError>>,
}

impl Checking<'_> {
    fn run(mut self, found: &Found) -> Result<VerifyReport, ClientError> {
        let (batches_in, batches) = crossbeam_channel::bounded(CHECKERS);
        let mut seen = std::mem::take(&mut self.seen);
        std::thread::scope(|scope| {
            for _ in 0..CHECKERS {
                let (batches, checking) = (batches.clone(), &self);
                scope.spawn(move || checking.note(checking.check(&batches)));
            }
            drop(batches);
            self.note(self.walk(found, &mut seen, batches_in));
        });
        if let Some(error) = self.failure.into_inner().expect("nobody panics with it") {
            return Err(error);
        }
        let progress = self.monitor.progress();
        Ok(VerifyReport {
            files: Progress::get(&progress.files),
            bytes: Progress::get(&progress.bytes),
            bytes_checked: Progress::get(&progress.bytes_read),
            traffic: self.line.traffic(),
            problems: self.problems.into_inner().expect("nobody panics with it"),
        })
    }

    fn walk(&self, found: &Found, seen: &mut HashSet<u128>, batches: Sender<Batch>) -> Result<(), ClientError> {
        let reader = Reader::new(self.line.clone(), Arc::clone(self.line.keys()), RECENT_BYTES);
        let mut walk = Walk { checking: self, reader, seen, batches, batch: Batch { chunks: Vec::new(), bytes: 0 } };
        match (&found.node, tree_of(&found.node)) {
            (_, Some(tree)) => walk.directory(tree)?,
            (Node::Entry(entry), None) => walk.entry(Path::new(""), entry)?,
            (Node::Root(_), None) => unreachable!("a root has a tree"),
        }
        walk.flush()
    }

    fn check(&self, batches: &Receiver<Batch>) -> Result<(), ClientError> {
        let mut reader = Reader::new(self.line.clone(), Arc::clone(self.line.keys()), RECENT_BYTES);
        for batch in batches {
            let ids: Vec<ObjectId> = batch.chunks.iter().map(|chunk| chunk.id).collect();
            let together = match reader.objects(&ids) {
                Ok(objects) => Some(objects),
                Err(ReadError::Source(error)) => return Err(error),
                Err(_) => None,
            };
            for (index, chunk) in batch.chunks.iter().enumerate() {
                let object = match &together {
                    Some(objects) => Ok(objects[index].clone()),
                    None => reader.object(chunk.id),
                };
                match object.and_then(PlainObject::into_chunk) {
                    Ok(bytes) if bytes.len() as u64 == chunk.len => {}
                    Ok(bytes) => {
                        let found = bytes.len();
                        self.problem(&chunk.path, format!("a chunk of {} bytes has {found}", chunk.len));
                    }
                    Err(ReadError::Source(error)) => return Err(error),
                    Err(error) => self.problem(&chunk.path, explain(&error)),
                }
            }
            Progress::add(&self.monitor.progress().bytes_read, batch.bytes);
        }
        Ok(())
    }

    fn problem(&self, path: &Path, message: String) {
        let problem = FileProblem { path: path.to_owned(), message, is_loss: true };
        self.monitor.event(Event::Problem(problem.clone()));
        self.problems.lock().expect("nobody panics with it").push(problem);
    }

    /// Keeps the reason why a part stopped; that another part failed is none.
    fn note(&self, result: Result<(), ClientError>) {
        match result {
            Ok(()) | Err(ClientError::Stopped) => {}
            Err(error) => drop(self.failure.lock().expect("nobody panics with it").get_or_insert(error)),
        }
    }
}

struct Walk<'w, 'c> {
    checking: &'w Checking<'c>,
    reader: Reader<Line>,
    seen: &'w mut HashSet<u128>,
    batches: Sender<Batch>,
    batch: Batch,
}

impl Walk<'_, '_> {
    fn directory(&mut self, tree: ObjectId) -> Result<(), ClientError> {
        let mut levels = vec![(PathBuf::new(), TreeCursor::new(tree))];
        while let Some((path, cursor)) = levels.last_mut() {
            match cursor.next(&mut self.reader) {
                Ok(None) => drop(levels.pop()),
                Ok(Some(entry)) => {
                    let path = path.join(OsStr::from_bytes(&entry.name));
                    self.entry(&path, &entry)?;
                    if let EntryKind::Directory { tree } = entry.kind {
                        levels.push((path, TreeCursor::new(tree)));
                    }
                }
                Err(ReadError::Source(error)) => return Err(error),
                Err(error) => {
                    self.checking.problem(path, explain(&error));
                    levels.pop();
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, entry: &Entry) -> Result<(), ClientError> {
        let progress = self.checking.monitor.progress();
        Progress::add(&progress.entries, 1);
        let EntryKind::File { size, content } = entry.kind else {
            return Ok(());
        };
        Progress::add(&progress.files, 1);
        Progress::add(&progress.bytes, size);
        self.file(&Arc::new(path.to_owned()), size, content)
    }

    fn file(&mut self, path: &Arc<PathBuf>, size: u64, content: Content) -> Result<(), ClientError> {
        let mut pieces = PieceCursor::new(content, size);
        let mut total = 0u64;
        loop {
            match pieces.next(&mut self.reader) {
                Ok(Some(piece)) => {
                    total = total.saturating_add(piece.span_len());
                    if let Piece::Chunk { len, id } = piece {
                        self.chunk(Chunk { id, len, path: Arc::clone(path) })?;
                    }
                }
                Ok(None) if total == size => return Ok(()),
                Ok(None) => {
                    let message = format!("its content has {total} bytes, its entry says {size}");
                    self.checking.problem(path, message);
                    return Ok(());
                }
                Err(ReadError::Source(error)) => return Err(error),
                Err(error) => {
                    self.checking.problem(path, explain(&error));
                    return Ok(());
                }
            }
        }
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), ClientError> {
        let id = u128::from_le_bytes(*chunk.id.as_bytes().first_chunk().expect("an id has 32 bytes"));
        // The same chunk, said to be of another length, is looked at again.
        let key = id ^ u128::from(chunk.len);
        if self.seen.contains(&key) {
            return Ok(());
        }
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(key);
        }
        if self.batch.chunks.len() == BATCH_CHUNKS || self.batch.bytes.saturating_add(chunk.len) > BATCH_BYTES {
            self.flush()?;
        }
        self.batch.bytes = self.batch.bytes.saturating_add(chunk.len);
        self.batch.chunks.push(chunk);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        let batch = std::mem::replace(&mut self.batch, Batch { chunks: Vec::new(), bytes: 0 });
        if batch.chunks.is_empty() { Ok(()) } else { self.batches.send(batch).map_err(|_| ClientError::Stopped) }
    }
}
