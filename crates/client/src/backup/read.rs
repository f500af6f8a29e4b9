//! [`FileReader`]: reads files, cuts them into chunks and names the chunks; new ones go out in windows.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use host_fs::{Describer, HostError, Name, OwnerNames, Segment, SegmentKind, SourceFile};
use object::ObjectId;
use vault::{CHUNK_LEN_MAX, Content, Keys, ListBuilder, Metadata, Mode, Piece, PieceCursor, PlainObject, Reader};

use super::bases::Bases;
use super::buffers::Buffer;
use super::items::{Batch, FileJob, FileOutcome};
use super::memory::{Fate, remember};
use super::problem::problem;
use super::shared::{Shared, WINDOW_LEN};
use super::window::{FileContext, Outbox, Window, WindowChunk};
use crate::budget::Share;
use crate::error::ClientError;
use crate::monitor::{FileProblem, Progress};
use crate::session::Session;
use crate::signature_cache::{BasisChunk, FileMemoryWriter, RememberedFile, SignatureCache};

/// Files longer than this are read on their own, window by window.
pub(crate) const READ_ALONE_LEN: u64 = 1 << 20;
/// Before the end of the data is in sight, fewer bytes than this are not cut: few chunks are longer.
const CUT_LEN_MIN: usize = CHUNK_LEN_MAX / 2;
/// Times a file that changes is read, before it is taken as it is.
const ATTEMPTS: u32 = 3;
/// Lists are sent on when so many pages are ready.
const PAGES_AT_ONCE: usize = 64;
/// Files this long that changed lately will change again: their signatures are kept from the start.
const HOT_LEN: u64 = 4 << 20;
const HOT_SECS: i64 = 30 * 24 * 3600;
/// Files shorter than this are cheap to ask the server about.
const REMEMBERED_LEN_MIN: u64 = 64 * 1024;
const LIST_RECENT_BYTES: usize = 4 << 20;

/// Files to be read together; dropped unread, it tells whoever waits.
pub(crate) struct ReadJob {
    batch: Arc<Batch>,
    files: Vec<FileJob>,
}

impl ReadJob {
    pub(crate) fn new(batch: Arc<Batch>, files: Vec<FileJob>) -> Self {
        Self { batch, files }
    }
}

impl Drop for ReadJob {
    fn drop(&mut self) {
        self.batch.abandon();
    }
}

/// Reads jobs; one per thread.
pub(crate) struct FileReader<'s> {
    shared: &'s Shared<'s>,
    outbox: Outbox,
    describer: Describer,
    lists: Reader<&'s Session>,
    signatures: &'s SignatureCache,
    /// Seconds since 1970 when the backup began.
    started_secs: i64,
    pages: Vec<PlainObject>,
}

/// Why a file is not in the backup, or why there is no backup.
enum ReadFailure {
    File(FileProblem),
    Backup(ClientError),
}

impl From<ClientError> for ReadFailure {
    fn from(error: ClientError) -> Self {
        Self::Backup(error)
    }
}

impl From<HostError> for ReadFailure {
    fn from(error: HostError) -> Self {
        Self::File(problem(&error))
    }
}

impl<'s> FileReader<'s> {
    pub(crate) fn new(
        shared: &'s Shared<'s>,
        outbox: Outbox,
        signatures: &'s SignatureCache,
        started_secs: i64,
    ) -> Self {
        Self {
            shared,
            outbox,
            describer: Describer::new(Arc::new(OwnerNames::read())),
            lists: Reader::new(shared.session, Arc::clone(shared.keys()), LIST_RECENT_BYTES),
            signatures,
            started_secs,
            pages: Vec::new(),
        }
    }

    /// Reads until there is nothing more to read.
    pub(crate) fn run(&mut self, jobs: &Receiver<ReadJob>) -> Result<(), ClientError> {
        for job in jobs {
            if self.shared.has_failed() {
                return Err(ClientError::Stopped);
            }
            match &job.files[..] {
                [file] if file.stat.size > READ_ALONE_LEN => self.read_alone(&job.batch, file)?,
                _ => self.read_together(&job)?,
            }
        }
        Ok(())
    }

    fn read_together(&mut self, job: &ReadJob) -> Result<(), ClientError> {
        let bytes: u64 = job.files.iter().map(|file| file.stat.size).sum();
        let share = self.take_share(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        let mut gathered = Gathered { chunks: Vec::new(), share: Some(share) };
        let outcomes: Result<Vec<FileOutcome>, ClientError> =
            job.files.iter().map(|file| self.read(file, &mut gathered)).collect();
        job.batch.fill(outcomes?);
        gathered.send(&self.outbox)?;
        self.send_pages()
    }

    fn read_alone(&mut self, batch: &Batch, file: &FileJob) -> Result<(), ClientError> {
        let mut gathered = Gathered { chunks: Vec::new(), share: None };
        let outcome = self.read(file, &mut gathered)?;
        gathered.send(&self.outbox)?;
        self.send_pages()?;
        batch.fill(vec![outcome]);
        Ok(())
    }

    fn read(&mut self, job: &FileJob, gathered: &mut Gathered) -> Result<FileOutcome, ClientError> {
        for attempt in 1..=ATTEMPTS {
            match self.read_once(job, gathered) {
                Ok((content, size, metadata, is_same)) if is_same || attempt == ATTEMPTS => {
                    if !is_same {
                        self.shared.problem(FileProblem {
                            path: job.path.clone(),
                            message: "changed while it was read; its copy may be of several moments: back it up \
                                      again when it is quiet"
                                .to_owned(),
                            is_loss: true,
                        });
                    }
                    let metadata = Metadata { changed_while_read: !is_same, ..metadata };
                    let progress = self.shared.progress();
                    Progress::add(&progress.files, 1);
                    Progress::add(&progress.bytes, size);
                    return Ok(FileOutcome::Read { content, size, metadata });
                }
                Ok(_) => {}
                Err(ReadFailure::File(problem)) => return Ok(FileOutcome::Left(problem)),
                Err(ReadFailure::Backup(error)) => return Err(error),
            }
        }
        unreachable!("the last attempt is taken as it is")
    }

    /// Content, length and description of the file, and whether it stayed the same meanwhile.
    fn read_once(
        &mut self,
        job: &FileJob,
        gathered: &mut Gathered,
    ) -> Result<(Content, u64, Metadata, bool), ReadFailure> {
        let name = Name::new(&job.name).expect("the planner checked it");
        let file = SourceFile::open(&job.directory, name)?;
        let described = self.describer.file(&file);
        if let Some(error) = &described.unread {
            self.shared.problem(FileProblem { is_loss: false, ..problem(error) });
        }
        let (bases, remembered) = self.last_version(job)?;
        let memory = self.memory(job, file.stat().size);
        let context = Arc::new(FileContext::new(job.path.clone(), remembered, memory));
        let mut cutting = Cutting {
            shared: self.shared,
            outbox: &self.outbox,
            file: &file,
            context: Arc::clone(&context),
            bases,
            run_start: gathered.chunks.len(),
            list: ListBuilder::new(),
            gathered,
            pages: &mut self.pages,
        };
        for segment in file.segments() {
            let Segment { kind, range } = segment?;
            match kind {
                SegmentKind::Hole => cutting.hole(range.start, range.end - range.start),
                SegmentKind::Data => cutting.data(range.start, range.end)?,
            }
        }
        let list = cutting.list;
        let size = list.file_len();
        let content = list.finish(self.shared.keys(), &mut |page| self.pages.push(page));
        context.finish(content);
        let is_same = size == file.stat().size && file.restat()?.same_as(file.stat());
        Ok((content, size, described.metadata, is_same))
    }

    /// The chunks of the file's last version, and what is remembered of it.
    fn last_version(&mut self, job: &FileJob) -> Result<(Bases, Option<RememberedFile>), ReadFailure> {
        let path = job.path.as_os_str().as_bytes();
        let session = self.shared.session;
        let size = job.previous.map_or(job.stat.size, |(_, size)| size);
        let mut remembered = if size >= REMEMBERED_LEN_MIN { self.signatures.read(path) } else { None };
        let of_last = |file: &RememberedFile| job.previous.is_some_and(|(content, _)| file.content() == content);
        if session.mode() == Mode::Sealed
            && let Some(file) = remembered.as_mut().filter(|file| !of_last(file))
        {
            // It is of a version that never was committed. Some of what it calls a basis may not have got there.
            file.keep_held(|ids| session.held(ids))?;
        }
        let Some((content, size)) = job.previous else {
            return Ok((Bases::default(), remembered));
        };
        if let Some(file) = remembered.as_ref().filter(|file| file.content() == content) {
            return Ok((Bases::new(file.pieces()), remembered));
        }
        let mut pieces = Vec::new();
        let mut offset = 0;
        let mut cursor = PieceCursor::new(content, size);
        while let Some(piece) = cursor.next(&mut self.lists).map_err(ClientError::from)? {
            pieces.push((offset, piece));
            offset += piece.span_len();
        }
        Ok((Bases::new(&pieces), remembered))
    }

    /// Where this version is to be remembered, if the file is hot.
    fn memory(&self, job: &FileJob, size: u64) -> Option<FileMemoryWriter> {
        let is_recent = job.stat.mtime.secs > self.started_secs - HOT_SECS;
        // Without the memory the next change costs a few more bytes in a managed vault. In a sealed one it costs whole
        // chunks, so what is likely to change is remembered there from the start, however short it is.
        let len_min = if self.shared.session.mode() == Mode::Sealed { REMEMBERED_LEN_MIN } else { HOT_LEN };
        let is_hot = size >= REMEMBERED_LEN_MIN && job.previous.is_some() || size >= len_min && is_recent;
        if is_hot { self.signatures.write(job.path.as_os_str().as_bytes()).ok() } else { None }
    }

    fn take_share(&self, bytes: usize) -> Result<Share, ClientError> {
        self.shared.read_ahead.take(bytes).map_err(|_| ClientError::Stopped)
    }

    fn send_pages(&mut self) -> Result<(), ClientError> {
        if self.pages.is_empty() {
            return Ok(());
        }
        self.outbox.send(Window::Metadata(std::mem::take(&mut self.pages)))
    }
}

/// Chunks that go out together.
struct Gathered {
    chunks: Vec<WindowChunk>,
    /// Memory they take; `None` while nothing is read.
    share: Option<Share>,
}

impl Gathered {
    fn send(&mut self, outbox: &Outbox) -> Result<(), ClientError> {
        match self.share.take() {
            Some(share) if !self.chunks.is_empty() => {
                outbox.send(Window::Data { chunks: std::mem::take(&mut self.chunks), share })
            }
            _ => Ok(()),
        }
    }
}

/// One file being read and cut.
struct Cutting<'c, 's> {
    shared: &'c Shared<'s>,
    outbox: &'c Outbox,
    file: &'c SourceFile,
    context: Arc<FileContext>,
    bases: Bases,
    /// The first gathered chunk that has no bases yet.
    run_start: usize,
    list: ListBuilder,
    gathered: &'c mut Gathered,
    pages: &'c mut Vec<PlainObject>,
}

impl Cutting<'_, '_> {
    fn hole(&mut self, offset: u64, len: u64) {
        if let Some(memory) = self.context.memory() {
            memory.add_hole(offset, len);
        }
        self.push(Piece::Hole { len });
    }

    /// Cuts the bytes from `start` to `end`; fewer are there when the file got shorter meanwhile.
    fn data(&mut self, start: u64, end: u64) -> Result<(), ReadFailure> {
        let is_windowed = self.file.stat().size > READ_ALONE_LEN;
        let mut rest = Bytes::new();
        let mut position = start;
        let mut is_at_end = false;
        while !is_at_end {
            if is_windowed && self.gathered.share.is_none() {
                let share = self.shared.read_ahead.take(WINDOW_LEN).map_err(|_| ClientError::Stopped)?;
                self.gathered.share = Some(share);
            }
            (rest, is_at_end) = self.read_on(&rest, position, end)?;
            position = self.cut(&mut rest, position, is_at_end);
            if is_windowed {
                self.end_window()?;
            }
        }
        self.bases.explain(&mut self.gathered.chunks[self.run_start..], None);
        self.run_start = self.gathered.chunks.len();
        Ok(())
    }

    fn end_window(&mut self) -> Result<(), ClientError> {
        self.bases.explain(&mut self.gathered.chunks[self.run_start..], None);
        self.gathered.send(self.outbox)?;
        self.run_start = self.gathered.chunks.len();
        if self.pages.len() >= PAGES_AT_ONCE {
            self.outbox.send(Window::Metadata(std::mem::take(self.pages)))?;
        }
        Ok(())
    }

    /// `rest`, which begins at `position`, and what comes after it in the file, as much as a window holds; whether that
    /// was the end.
    fn read_on(&self, rest: &Bytes, position: u64, end: u64) -> Result<(Bytes, bool), ReadFailure> {
        let filled = rest.len();
        let from = position + filled as u64;
        let left = usize::try_from(end - from).unwrap_or(usize::MAX);
        let wanted = left.min(WINDOW_LEN - filled);
        let mut buffer = self.shared.buffers.take(filled + wanted);
        buffer[..filled].copy_from_slice(rest);
        let read = self.file.read_at(from, &mut buffer[filled..filled + wanted])?;
        Progress::add(&self.shared.progress().bytes_read, read as u64);
        Ok((Buffer::into_bytes(buffer, filled + read), read == left || read < wanted))
    }

    /// Takes whole chunks off `bytes`, which begin at `position`; without the end in sight, a chunk that could still grow
    /// stays. Where the rest begins.
    fn cut(&mut self, bytes: &mut Bytes, mut position: u64, is_at_end: bool) -> u64 {
        let keys = Arc::clone(self.shared.keys());
        while let Some((len, id)) = self.next_chunk(&keys, bytes, is_at_end) {
            let bytes = bytes.split_to(len);
            let run = &mut self.gathered.chunks[self.run_start..];
            if self.bases.anchor(&id, position, run) {
                self.run_start = self.gathered.chunks.len();
                // It is the file it was: what was new before this said nothing about what comes.
                self.context.kept();
                let len = u32::try_from(len).expect("chunks are at most 4 MiB");
                let chunk = BasisChunk { id, len, offset: position };
                remember(self.shared.session, &self.context, chunk, &bytes, &Fate::Held);
            } else {
                let file = Arc::clone(&self.context);
                self.gathered.chunks.push(WindowChunk::new(id, bytes, position, file));
            }
            self.push(Piece::Chunk { len: len as u64, id });
            position += len as u64;
        }
        position
    }

    /// The first chunk of `bytes`; `None` when it takes more of them to tell, or when there are none.
    fn next_chunk(&self, keys: &Keys, bytes: &[u8], is_at_end: bool) -> Option<(usize, ObjectId)> {
        if bytes.is_empty() || bytes.len() < CUT_LEN_MIN && !is_at_end {
            return None;
        }
        // The cutter begins anew at every cut, so where the last version's next chunk stands it would cut there too.
        if let Some((len, id)) = self.bases.expected(bytes.len(), is_at_end)
            && keys.chunk_id(&bytes[..len]) == id
        {
            return Some((len, id));
        }
        let len = keys.cutter().cut(bytes);
        let is_whole = len < bytes.len() || is_at_end || len == CHUNK_LEN_MAX;
        is_whole.then(|| (len, keys.chunk_id(&bytes[..len])))
    }

    fn push(&mut self, piece: Piece) {
        self.list.push(self.shared.keys(), piece, &mut |page| self.pages.push(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_dropped_wakes_who_waits() {
        let batch = Batch::new();
        drop(ReadJob::new(Arc::clone(&batch), Vec::new()));
        assert!(batch.take(0).is_err());
    }
}
