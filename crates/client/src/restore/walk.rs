//! [`Walk`]: goes through a snapshot's trees, makes directories and everything without content, and hands files out as
//! [`Task`]s. One thread, names ascending.

use std::sync::Arc;

use crossbeam_channel::Sender;
use host_fs::{Leaf, Name, RestoreDir};
use object::ObjectId;
use vault::{Content, Entry, EntryKind, Metadata, Piece, PieceCursor, Reader, TreeCursor};

use super::guards::{DirGuard, FileGuard, finish_file};
use super::links::Links;
use super::sink::Sink;
use crate::error::ClientError;
use crate::line::Line;
use crate::monitor::Progress;

/// Files restored together: so many, or so many bytes.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 4 << 20;
/// Bytes of a large file restored at once.
const WINDOW_BYTES: u64 = 4 << 20;
/// Opened trees and lists that are kept: they are stored in groups, so the next one is often here already.
const RECENT_BYTES: usize = 16 << 20;

/// Something to be fetched and written.
pub(crate) enum Task {
    /// Files of one chunk each, whose chunks were sealed near each other.
    Files(Vec<SmallFile>),
    /// Chunks of one file.
    Window { file: Arc<FileGuard>, chunks: Vec<PlacedChunk> },
}

/// A file whose content is one chunk.
pub(crate) struct SmallFile {
    pub(crate) directory: Arc<DirGuard>,
    pub(crate) name: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) chunk: ObjectId,
    pub(crate) metadata: Metadata,
}

/// A chunk and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct PlacedChunk {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) id: ObjectId,
}

pub(crate) struct Walk {
    reader: Reader<Line>,
    tasks: Sender<Task>,
    batch: Vec<SmallFile>,
    batch_bytes: u64,
    links: Arc<Links>,
    sink: Arc<Sink>,
}

/// Why there is nothing to link to.
enum Absent {
    /// A device, for somebody who may not make one; each of its names is left out.
    NotMade,
    Lost,
}

impl Walk {
    pub(crate) fn new(line: &Line, tasks: Sender<Task>, sink: Arc<Sink>) -> Self {
        let reader = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
        let links = Links::new(Arc::clone(&sink));
        Self { reader, tasks, batch: Vec::new(), batch_bytes: 0, links, sink }
    }

    /// Restores everything in the directory with root page `tree` into `target`, which gets `metadata` at the end.
    pub(crate) fn directory(
        &mut self,
        tree: ObjectId,
        target: RestoreDir,
        metadata: Option<Metadata>,
    ) -> Result<(), ClientError> {
        let top = DirGuard::new(target, metadata, Arc::clone(&self.sink), None);
        let mut levels = vec![(top, TreeCursor::new(tree))];
        while let Some((directory, cursor)) = levels.last_mut() {
            if self.sink.has_failed() {
                return Err(ClientError::Stopped);
            }
            match cursor.next(&mut self.reader) {
                Ok(Some(entry)) => {
                    let directory = Arc::clone(directory);
                    if let Some(below) = self.entry(&directory, entry)? {
                        levels.push(below);
                    }
                }
                Ok(None) => drop(levels.pop()),
                Err(vault::ReadError::Source(error)) => return Err(error),
                // The walk goes on behind the page that cannot be read.
                Err(error) => self.sink.damaged(directory.dir.path(), &error),
            }
        }
        self.flush()
    }

    /// Restores one entry; a directory is returned, to go through.
    pub(crate) fn entry(
        &mut self,
        directory: &Arc<DirGuard>,
        entry: Entry,
    ) -> Result<Option<(Arc<DirGuard>, TreeCursor)>, ClientError> {
        let Entry { name, kind, metadata } = entry;
        let checked = Name::new(&name).expect("trees hold only names");
        let progress = self.sink.monitor().progress();
        Progress::add(&progress.entries, 1);
        match kind {
            EntryKind::Directory { tree } => match directory.dir.child_dir(checked) {
                Ok(dir) => {
                    let above = Some(Arc::clone(directory));
                    let guard = DirGuard::new(dir, Some(metadata), Arc::clone(&self.sink), above);
                    return Ok(Some((guard, TreeCursor::new(tree))));
                }
                Err(error) => self.sink.host_problem(&error),
            },
            EntryKind::File { size, content } => self.file(directory, name, size, content, metadata)?,
            leaf => self.leaf(directory, &name, &leaf, &metadata),
        }
        Ok(None)
    }

    /// Restores something without content, which may have several names as files do.
    fn leaf(&self, directory: &Arc<DirGuard>, name: &[u8], kind: &EntryKind, metadata: &Metadata) {
        if let Some(file) = metadata.hard_link
            && !self.links.meet(file, directory, name, false)
        {
            return;
        }
        let checked = Name::new(name).expect("trees hold only names");
        let leaf = Leaf::of(kind).expect("files and directories have gone");
        let source = match directory.dir.leaf(checked, leaf, metadata) {
            Ok(restored) => {
                self.sink.not_applied(&restored.not_applied);
                restored.link.ok_or(Absent::NotMade)
            }
            Err(error) => {
                self.sink.host_problem(&error);
                Err(Absent::Lost)
            }
        };
        match (metadata.hard_link, source) {
            (None, _) => {}
            (Some(file), Ok(source)) => self.links.settle(file, Some(&source)),
            (Some(file), Err(Absent::Lost)) => self.links.settle(file, None),
            (Some(file), Err(Absent::NotMade)) => self.links.forget(file),
        }
    }

    fn file(
        &mut self,
        directory: &Arc<DirGuard>,
        name: Vec<u8>,
        size: u64,
        content: Content,
        metadata: Metadata,
    ) -> Result<(), ClientError> {
        if let Some(file) = metadata.hard_link
            && !self.links.meet(file, directory, &name, true)
        {
            return Ok(());
        }
        match content {
            Content::Empty => {
                let checked = Name::new(&name).expect("trees hold only names");
                let written = directory.dir.write_file(checked, &[], &metadata);
                let restored = written.map_err(|error| self.sink.host_problem(&error)).ok();
                finish_file(restored, &metadata, size, &self.links, &self.sink);
                Ok(())
            }
            Content::Chunk(chunk) => {
                if self.batch.len() == BATCH_FILES || self.batch_bytes.saturating_add(size) > BATCH_BYTES {
                    self.flush()?;
                }
                // Whoever forged a tree may say anything.
                self.batch_bytes = self.batch_bytes.saturating_add(size);
                let directory = Arc::clone(directory);
                self.batch.push(SmallFile { directory, name, size, chunk, metadata });
                Ok(())
            }
            Content::List(_) => self.large(directory, name, size, content, metadata),
        }
    }

    fn large(
        &mut self,
        directory: &Arc<DirGuard>,
        name: Vec<u8>,
        size: u64,
        content: Content,
        metadata: Metadata,
    ) -> Result<(), ClientError> {
        let checked = Name::new(&name).expect("trees hold only names");
        let file = match directory.dir.create_file(checked, size) {
            Ok(file) => file,
            Err(error) => {
                self.sink.host_problem(&error);
                finish_file(None, &metadata, size, &self.links, &self.sink);
                return Ok(());
            }
        };
        let (links, sink) = (Arc::clone(&self.links), Arc::clone(&self.sink));
        let file = FileGuard::new(file, Arc::clone(directory), name, size, metadata, links, sink);
        let mut pieces = PieceCursor::new(content, size);
        let mut chunks = Vec::new();
        let (mut offset, mut window_bytes) = (0u64, 0);
        loop {
            let piece = match pieces.next(&mut self.reader) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(vault::ReadError::Source(error)) => return Err(error),
                Err(error) => {
                    file.lose();
                    self.sink.damaged(&file.path(), &error);
                    return Ok(());
                }
            };
            if let Piece::Chunk { len, id } = piece {
                if window_bytes + len > WINDOW_BYTES {
                    self.window(&file, std::mem::take(&mut chunks))?;
                    window_bytes = 0;
                }
                window_bytes += len;
                chunks.push(PlacedChunk { offset, len, id });
            }
            offset = offset.saturating_add(piece.span_len());
            if offset > size {
                break;
            }
        }
        if offset != size {
            file.lose();
            let error = std::io::Error::other(format!("its list makes {offset} bytes, its entry says {size}"));
            self.sink.damaged(&file.path(), &error);
            return Ok(());
        }
        self.window(&file, chunks)
    }

    fn window(&self, file: &Arc<FileGuard>, chunks: Vec<PlacedChunk>) -> Result<(), ClientError> {
        if chunks.is_empty() {
            return Ok(());
        }
        self.tasks.send(Task::Window { file: Arc::clone(file), chunks }).map_err(|_| ClientError::Stopped)
    }

    /// Hands out the files gathered so far.
    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        self.tasks.send(Task::Files(std::mem::take(&mut self.batch))).map_err(|_| ClientError::Stopped)
    }

    pub(crate) fn links(&self) -> &Arc<Links> {
        &self.links
    }
}
