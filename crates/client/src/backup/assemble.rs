//! [`Assembler`]: makes the trees of a snapshot from the items of the walk, and the next stat cache on the way.
//!
//! A directory in which nothing changed costs nothing here but counting: its tree and its record in the cache stay what
//! they were. At the first change in it, the unchanged entries before are taken from the cache again.

use std::sync::Arc;

use object::ObjectId;
use vault::{Entry, EntryKind, PlainObject, TreeBuilder};

use super::items::{DirectoryEntry, FileOutcome, Item};
use super::shared::Shared;
use super::window::{Outbox, Window};
use crate::error::ClientError;
use crate::monitor::Progress;
use crate::stat_cache::{CachedDir, CachedEntry, DirPointer, DirWriter, Stamp, StatCache, StatCacheWriter};

/// Tree pages are sent on when so many are ready.
const PAGES_AT_ONCE: usize = 256;

/// Regular files, directories, everything else, and the bytes in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) others: u64,
    pub(crate) bytes: u64,
}

/// Everything below `/`, ready to be named by a snapshot.
pub(crate) struct Assembled {
    pub(crate) tree: ObjectId,
    pub(crate) counts: Counts,
    /// The next stat cache, unless it could not be written.
    pub(crate) cache: Option<(StatCacheWriter, DirPointer)>,
}

/// Takes items in order.
pub(crate) struct Assembler<'s> {
    shared: &'s Shared<'s>,
    outbox: Outbox,
    before: Option<Arc<StatCache>>,
    cache: Option<StatCacheWriter>,
    pages: Vec<PlainObject>,
    counts: Counts,
}

/// A directory whose items are coming in.
enum Frame {
    /// So far as the cache has it: so many entries of it.
    Unchanged { cached: CachedDir, pointer: DirPointer, count: usize },
    /// Another than before, or new.
    Changed { tree: Box<TreeBuilder>, record: DirWriter },
}

/// A directory that is complete.
#[derive(Clone, Copy)]
struct Finished {
    tree: ObjectId,
    place: Place,
}

/// Where a directory's record is.
#[derive(Clone, Copy)]
enum Place {
    /// In the last cache: nothing changed in the directory.
    Before(DirPointer),
    /// In the next one, if there will be one.
    Next(Option<DirPointer>),
}

impl<'s> Assembler<'s> {
    pub(crate) fn new(
        shared: &'s Shared<'s>,
        outbox: Outbox,
        before: Option<Arc<StatCache>>,
        cache: Option<StatCacheWriter>,
    ) -> Self {
        Self { shared, outbox, before, cache, pages: Vec::new(), counts: Counts::default() }
    }

    /// Assembles until the walk is over.
    pub(crate) fn run(mut self, items: &crossbeam_channel::Receiver<Vec<Item>>) -> Result<Assembled, ClientError> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut root = None;
        for item in items.iter().flatten() {
            match item {
                Item::Enter { cached } => frames.push(self.enter(cached)),
                Item::Unchanged(entry) => self.unchanged(top(&mut frames), entry)?,
                Item::Lost => self.change(top(&mut frames))?,
                Item::Changed { entry, stamp, is_racy } => {
                    self.count(&entry.kind);
                    self.changed(top(&mut frames), entry, stamp, is_racy, None)?;
                }
                Item::Reading { name, stamp, is_racy, batch, index } => {
                    let outcome = batch.take(index).map_err(|_| ClientError::Stopped)?;
                    self.read(top(&mut frames), name, outcome, stamp, is_racy)?;
                }
                Item::Leave { this } => {
                    let finished = self.leave(frames.pop().expect("what is left was entered"))?;
                    match this {
                        Some(this) => self.directory(top(&mut frames), this, finished)?,
                        None => root = Some(finished),
                    }
                }
            }
            if self.pages.len() >= PAGES_AT_ONCE {
                self.send_pages()?;
            }
        }
        self.send_pages()?;
        let root: Finished = root.ok_or(ClientError::Stopped)?;
        let pointer = self.place_in_next(root.place);
        let cache = self.cache.take().zip(pointer);
        Ok(Assembled { tree: root.tree, counts: self.counts, cache })
    }

    fn enter(&self, cached: Option<DirPointer>) -> Frame {
        let opened = self.before.as_ref().zip(cached).and_then(|(before, pointer)| {
            CachedDir::open(before, pointer).map(|cached| Frame::Unchanged { cached, pointer, count: 0 })
        });
        opened.unwrap_or_else(Frame::new)
    }

    fn unchanged(&mut self, frame: &mut Frame, cached: CachedEntry) -> Result<(), ClientError> {
        if cached.stamp.is_file() {
            self.counts.files += 1;
            self.counts.bytes += cached.stamp.size;
            let progress = self.shared.progress();
            Progress::add(&progress.files, 1);
            Progress::add(&progress.bytes, cached.stamp.size);
            Progress::add(&progress.bytes_unchanged, cached.stamp.size);
        } else {
            self.counts.others += 1;
        }
        match frame {
            Frame::Unchanged { count, .. } => *count += 1,
            Frame::Changed { .. } => self.push_cached(frame, cached)?,
        }
        Ok(())
    }

    fn read(
        &mut self,
        frame: &mut Frame,
        name: Vec<u8>,
        outcome: FileOutcome,
        stamp: Stamp,
        is_racy: bool,
    ) -> Result<(), ClientError> {
        match outcome {
            FileOutcome::Read { content, size, metadata } => {
                // What changed while it was read must be looked at again, whatever its stamp says by then.
                let is_racy = is_racy || metadata.changed_while_read || size != stamp.size;
                let entry = Entry { name, kind: EntryKind::File { size, content }, metadata };
                self.count(&entry.kind);
                self.changed(frame, entry, stamp, is_racy, None)
            }
            FileOutcome::Left(problem) => {
                self.shared.problem(problem);
                self.change(frame)
            }
        }
    }

    fn directory(&mut self, frame: &mut Frame, this: DirectoryEntry, finished: Finished) -> Result<(), ClientError> {
        self.counts.directories += 1;
        if let (Some(_), Place::Before(_), Frame::Unchanged { count, .. }) =
            (&this.unchanged, finished.place, &mut *frame)
        {
            *count += 1;
            return Ok(());
        }
        let (stamp, is_racy) = (this.stamp, this.is_racy);
        let entry = match &this.unchanged {
            Some(cached) => {
                let entry = cached.entry().ok_or_else(damaged_cache)?;
                Entry { kind: EntryKind::Directory { tree: finished.tree }, ..entry }
            }
            None => this.entry(finished.tree),
        };
        let pointer = self.place_in_next(finished.place);
        self.changed(frame, entry, stamp, is_racy, pointer)
    }

    /// Appends an entry that is not as the cache has it.
    fn changed(
        &mut self,
        frame: &mut Frame,
        entry: Entry,
        stamp: Stamp,
        is_racy: bool,
        directory: Option<DirPointer>,
    ) -> Result<(), ClientError> {
        self.change(frame)?;
        let mut encoded = Vec::new();
        entry.to_bytes(&mut encoded);
        let cached = CachedEntry { name: entry.name.clone(), stamp, is_racy, directory, encoded };
        self.push(frame, entry, &cached);
        Ok(())
    }

    /// From here on the directory is not as the cache has it.
    fn change(&mut self, frame: &mut Frame) -> Result<(), ClientError> {
        let Frame::Unchanged { pointer, count, .. } = *frame else {
            return Ok(());
        };
        *frame = Frame::new();
        let before = self.before.clone().expect("unchanged against a cache");
        let mut cached = CachedDir::open(&before, pointer).ok_or_else(damaged_cache)?;
        for _ in 0..count {
            let entry = cached.next().ok_or_else(damaged_cache)?;
            self.push_cached(frame, entry)?;
        }
        Ok(())
    }

    fn push_cached(&mut self, frame: &mut Frame, mut cached: CachedEntry) -> Result<(), ClientError> {
        let entry = cached.entry().ok_or_else(damaged_cache)?;
        if let Some(pointer) = cached.directory {
            cached.directory = self.carry_over(pointer);
        }
        self.push(frame, entry, &cached);
        Ok(())
    }

    fn push(&mut self, frame: &mut Frame, entry: Entry, cached: &CachedEntry) {
        let Frame::Changed { tree, record } = frame else {
            unreachable!("entries are pushed to changed directories");
        };
        tree.push(self.shared.keys(), entry, &mut |page| self.pages.push(page));
        if let Some(cache) = &mut self.cache
            && record.push(cache, cached).is_err()
        {
            // Without the next cache, the next backup reads everything: slower, and as good.
            self.cache = None;
        }
    }

    fn leave(&mut self, frame: Frame) -> Result<Finished, ClientError> {
        match frame {
            Frame::Unchanged { cached, pointer, .. } => {
                Ok(Finished { tree: cached.tree(), place: Place::Before(pointer) })
            }
            Frame::Changed { tree, record } => {
                let tree = tree.finish(self.shared.keys(), &mut |page| self.pages.push(page));
                let pointer = self.cache.as_mut().and_then(|cache| record.finish(cache, tree).ok());
                Ok(Finished { tree, place: Place::Next(pointer) })
            }
        }
    }

    fn place_in_next(&mut self, place: Place) -> Option<DirPointer> {
        match place {
            Place::Before(pointer) => self.carry_over(pointer),
            Place::Next(pointer) => pointer,
        }
    }

    /// Where the next cache has a directory that the last one has at `pointer`.
    fn carry_over(&mut self, pointer: DirPointer) -> Option<DirPointer> {
        let cache = self.cache.as_mut()?;
        if cache.is_continued() {
            return Some(pointer);
        }
        let before = self.before.as_ref().expect("a pointer into a cache");
        cache.copy(before, pointer).ok().flatten()
    }

    fn count(&mut self, kind: &EntryKind) {
        match kind {
            EntryKind::File { size, .. } => {
                self.counts.files += 1;
                self.counts.bytes += size;
            }
            EntryKind::Directory { .. } => {}
            _ => self.counts.others += 1,
        }
    }

    fn send_pages(&mut self) -> Result<(), ClientError> {
        if self.pages.is_empty() {
            return Ok(());
        }
        self.outbox.send(Window::Metadata(std::mem::take(&mut self.pages)))
    }
}

impl Frame {
    fn new() -> Self {
        Self::Changed { tree: Box::new(TreeBuilder::new()), record: DirWriter::new() }
    }
}

fn top(frames: &mut [Frame]) -> &mut Frame {
    frames.last_mut().expect("items come after their directory was entered")
}

/// The walk compared with records that cannot be read a second time: the disk under the cache is failing.
fn damaged_cache() -> ClientError {
    ClientError::Usage("the stat cache became unreadable; delete it and run again".to_owned())
}
