//! [`Planner`]: walks the machine's directories beside what the last backup saw, and decides what must be read.
//!
//! One thread, names ascending, depth first. It stats every name and opens nothing but directories; an unchanged name
//! costs one system call and one comparison.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};
use host_fs::{Described, Describer, DirStack, FileKind, HostDir, Listing, Name, OwnerNames, Stat};
use object::ObjectId;
use vault::{Content, Entry, EntryKind, Reader, Timestamp, TreeCursor};

use super::excludes::Excludes;
use super::items::{Batch, DirectoryEntry, FileJob, Item};
use super::problem::problem;
use super::read::{READ_ALONE_LEN, ReadJob};
use super::roots::Roots;
use super::shared::Shared;
use crate::error::ClientError;
use crate::monitor::{FileProblem, Progress};
use crate::session::Session;
use crate::stat_cache::{CachedDir, CachedEntry, Stamp, StatCache};

/// Directories held open on the way down.
const DIRECTORIES_HELD: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
/// Files read together: so many, or so many bytes, or of so many directories (each holds a descriptor).
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_DIRECTORIES: usize = 32;
/// Items handed on at once: whoever takes them is woken for each handful.
pub(crate) const ITEMS_AT_ONCE: usize = 128;
/// Opened objects of the parent's trees that are kept.
const PARENT_RECENT_BYTES: usize = 16 << 20;

/// What the last backup of the chain left, to compare with.
pub(crate) enum Before {
    /// Nothing.
    Nothing,
    /// A stat cache that belongs to the parent snapshot: equal stamps need no reading.
    Cache(Arc<StatCache>),
    /// Only the parent's trees on the server: everything is read, and finds its bases there.
    Tree(ObjectId),
}

/// Walks and decides.
pub(crate) struct Planner<'s> {
    shared: &'s Shared<'s>,
    excludes: &'s Excludes,
    describer: Describer,
    cache: Option<Arc<StatCache>>,
    parent: Option<Reader<&'s Session>>,
    /// When the backup began.
    started: Timestamp,
    items: Sender<Vec<Item>>,
    /// Those that are not handed on yet.
    gathered: Vec<Item>,
    jobs: Sender<ReadJob>,
    batch: PendingBatch,
    /// The path of the directory that is walked.
    path: Vec<u8>,
}

#[derive(Default)]
struct PendingBatch {
    batch: Option<Arc<Batch>>,
    files: Vec<FileJob>,
    bytes: u64,
    directories: usize,
}

/// One directory on the way down.
struct Level<'r> {
    names: Names<'r>,
    next: usize,
    cached: Option<CachedDir>,
    cached_next: Option<CachedEntry>,
    parent: Option<TreeCursor>,
    parent_next: Option<Entry>,
    /// The cache has names that are not there any more, and who assembles has not been told yet.
    has_lost: bool,
    this: Option<DirectoryEntry>,
    path_len: usize,
}

enum Names<'r> {
    /// All there are.
    Listed(Listing),
    /// Those that lead to roots.
    Leading(Vec<(&'r [u8], &'r Roots)>),
}

impl<'s> Planner<'s> {
    pub(crate) fn new(
        shared: &'s Shared<'s>,
        excludes: &'s Excludes,
        before: &Before,
        started: Timestamp,
        items: Sender<Vec<Item>>,
        jobs: Sender<ReadJob>,
    ) -> Self {
        let parent = matches!(before, Before::Tree(_))
            .then(|| Reader::new(shared.session, Arc::clone(shared.keys()), PARENT_RECENT_BYTES));
        let cache = match before {
            Before::Cache(cache) => Some(Arc::clone(cache)),
            Before::Nothing | Before::Tree(_) => None,
        };
        Self {
            shared,
            excludes,
            describer: Describer::new(Arc::new(OwnerNames::read())),
            cache,
            parent,
            started,
            items,
            gathered: Vec::with_capacity(ITEMS_AT_ONCE),
            jobs,
            batch: PendingBatch::default(),
            path: Vec::new(),
        }
    }

    /// Walks everything below `roots`.
    pub(crate) fn run(mut self, roots: &Roots, before: &Before) -> Result<(), ClientError> {
        let mut directories: DirStack<Arc<HostDir>> = DirStack::new(DIRECTORIES_HELD);
        let mut levels = Vec::new();
        let top = HostDir::open_root(Path::new("/"))?;
        let cached = self.cache.as_ref().map(|cache| cache.root_directory());
        let parent_tree = match before {
            Before::Tree(tree) => Some(*tree),
            Before::Nothing | Before::Cache(_) => None,
        };
        self.item(Item::Enter { cached })?;
        levels.push(self.level(top, Some(roots), cached, parent_tree, None, &mut directories)?);
        while let Some(level) = levels.last_mut() {
            let Some((name, lead)) = level.take_name() else {
                self.leave(&mut levels, &mut directories)?;
                continue;
            };
            let directory = directories.top().expect("a directory per level");
            let directory = Arc::clone(directory);
            if let Some(below) = self.visit(level, &directory, &name, lead)? {
                let Descent { dir, lead, cached, parent_tree, this } = below;
                self.path.push(b'/');
                self.path.extend_from_slice(&name);
                self.item(Item::Enter { cached })?;
                let level = self.level(dir, lead, cached, parent_tree, Some(this), &mut directories)?;
                levels.push(level);
            }
        }
        self.flush_items()?;
        self.flush_batch()
    }

    /// Prepares a directory: its names, and what was there before.
    fn level<'r>(
        &mut self,
        mut dir: HostDir,
        lead: Option<&'r Roots>,
        cached: Option<crate::stat_cache::DirPointer>,
        parent_tree: Option<ObjectId>,
        this: Option<DirectoryEntry>,
        directories: &mut DirStack<Arc<HostDir>>,
    ) -> Result<Level<'r>, ClientError> {
        let names = match lead {
            Some(roots) if !roots.is_root => {
                Names::Leading(roots.children.iter().map(|(name, roots)| (name.as_slice(), roots)).collect())
            }
            _ => {
                let mut listing = Listing::new();
                if let Err(error) = dir.list(&mut listing) {
                    self.problem(problem(&error));
                }
                Names::Listed(listing)
            }
        };
        directories.push(Arc::new(dir))?;
        let cached = self.cache.as_ref().zip(cached).and_then(|(cache, pointer)| CachedDir::open(cache, pointer));
        let mut level = Level {
            names,
            next: 0,
            cached,
            cached_next: None,
            parent: parent_tree.map(TreeCursor::new),
            parent_next: None,
            has_lost: false,
            this,
            path_len: self.path.len(),
        };
        level.cached_next = level.cached.as_mut().and_then(CachedDir::next);
        self.advance_parent(&mut level)?;
        Ok(level)
    }

    fn leave(
        &mut self,
        levels: &mut Vec<Level<'_>>,
        directories: &mut DirStack<Arc<HostDir>>,
    ) -> Result<(), ClientError> {
        let level = levels.pop().expect("the caller looked at it");
        directories.pop()?;
        if level.has_lost || level.cached_next.is_some() {
            self.item(Item::Lost)?;
        }
        self.item(Item::Leave { this: level.this })?;
        self.path.truncate(levels.last().map_or(0, |above| above.path_len));
        Ok(())
    }

    /// Decides about one name; what to descend into when it is a directory.
    fn visit<'r>(
        &mut self,
        level: &mut Level<'_>,
        directory: &Arc<HostDir>,
        name: &[u8],
        lead: Option<&'r Roots>,
    ) -> Result<Option<Descent<'r>>, ClientError> {
        let Some(checked) = Name::new(name) else {
            return Ok(None);
        };
        let cached = level.cached_entry(name);
        if std::mem::take(&mut level.has_lost) {
            self.item(Item::Lost)?;
        }
        let previous = self.parent_entry(level, name)?;
        let stat = match directory.stat(checked) {
            Ok(stat) => stat,
            Err(error) => {
                level.has_lost |= cached.is_some();
                self.problem(problem(&error));
                return Ok(None);
            }
        };
        if lead.is_none() && self.is_left_out(name, stat.kind == FileKind::Directory) {
            level.has_lost |= cached.is_some();
            return Ok(None);
        }
        Progress::add(&self.shared.progress().entries, 1);
        let stamp = stamp_of(&stat);
        let unchanged = cached.as_ref().is_some_and(|cached| cached.stands_for(&stamp));
        let is_racy = stamp.is_racy(self.started);
        match stat.kind {
            FileKind::Directory => {
                return self.descend(level, directory, checked, lead, cached, previous, unchanged, stamp, is_racy);
            }
            _ if unchanged => self.item(Item::Unchanged(cached.expect("unchanged against something")))?,
            FileKind::File => {
                let before = cached.and_then(|cached| cached.entry()).or(previous);
                self.read(directory, name, stat, stamp, is_racy, before)?;
            }
            _ => match self.describer.leaf(directory, checked, &stat) {
                Ok((kind, described)) => {
                    let metadata = self.described(described);
                    let entry = Entry { name: name.to_vec(), kind, metadata };
                    self.item(Item::Changed { entry, stamp, is_racy })?;
                }
                Err(error) => {
                    level.has_lost |= cached.is_some();
                    self.problem(problem(&error));
                }
            },
        }
        Ok(None)
    }

    #[expect(clippy::too_many_arguments, reason = "the one caller has them all at hand")]
    fn descend<'r>(
        &mut self,
        level: &mut Level<'_>,
        directory: &Arc<HostDir>,
        name: Name<'_>,
        lead: Option<&'r Roots>,
        cached: Option<CachedEntry>,
        previous: Option<Entry>,
        unchanged: bool,
        stamp: Stamp,
        is_racy: bool,
    ) -> Result<Option<Descent<'r>>, ClientError> {
        let opened = if lead.is_some() { directory.open_passage(name) } else { directory.open_child(name) };
        let opened = opened.and_then(|dir| dir.own_stat().map(|stat| (dir, stat)));
        let (dir, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                level.has_lost |= cached.is_some();
                self.problem(problem(&error));
                return Ok(None);
            }
        };
        let pointer = cached.as_ref().and_then(|cached| cached.directory);
        let parent_tree = previous.and_then(|entry| match entry.kind {
            EntryKind::Directory { tree } => Some(tree),
            _ => None,
        });
        let metadata = if unchanged {
            vault::Metadata::default()
        } else {
            let described = self.describer.directory(&dir, &stat);
            self.described(described)
        };
        let name = name.as_bytes().to_vec();
        let this = DirectoryEntry { name, metadata, stamp, is_racy, unchanged: cached.filter(|_| unchanged) };
        Ok(Some(Descent { dir, lead, cached: pointer, parent_tree, this }))
    }

    /// Puts a file into the batch that is being gathered.
    fn read(
        &mut self,
        directory: &Arc<HostDir>,
        name: &[u8],
        stat: Stat,
        stamp: Stamp,
        is_racy: bool,
        before: Option<Entry>,
    ) -> Result<(), ClientError> {
        let previous = before.and_then(|entry| match entry.kind {
            EntryKind::File { size, content } if content != Content::Empty => Some((content, size)),
            _ => None,
        });
        let is_alone = stat.size > READ_ALONE_LEN;
        let pending = &self.batch;
        let is_full = pending.files.len() >= BATCH_FILES
            || pending.bytes + stat.size > BATCH_BYTES
            || pending.directories >= BATCH_DIRECTORIES;
        if is_alone || is_full {
            self.flush_batch()?;
        }
        let path = directory.path().join(OsStr::from_bytes(name));
        let job = FileJob { directory: Arc::clone(directory), name: name.to_vec(), path, stat, previous };
        let pending = &mut self.batch;
        let batch = Arc::clone(pending.batch.get_or_insert_with(Batch::new));
        let is_new_directory = pending.files.last().is_none_or(|last| !Arc::ptr_eq(&last.directory, directory));
        pending.directories += usize::from(is_new_directory);
        pending.bytes += job.stat.size;
        let index = pending.files.len();
        pending.files.push(job);
        self.item(Item::Reading { name: name.to_vec(), stamp, is_racy, batch, index })?;
        if is_alone { self.flush_batch() } else { Ok(()) }
    }

    fn flush_batch(&mut self) -> Result<(), ClientError> {
        let pending = std::mem::take(&mut self.batch);
        let Some(batch) = pending.batch else {
            return Ok(());
        };
        self.jobs.send(ReadJob::new(batch, pending.files)).map_err(|_| ClientError::Stopped)
    }

    /// Emits an item.
    fn item(&mut self, item: Item) -> Result<(), ClientError> {
        self.gathered.push(item);
        if self.gathered.len() == ITEMS_AT_ONCE { self.flush_items() } else { Ok(()) }
    }

    /// Hands the items on. Before this waits for room, the pending batch must go out: whoever makes room may wait for it.
    fn flush_items(&mut self) -> Result<(), ClientError> {
        let items = std::mem::replace(&mut self.gathered, Vec::with_capacity(ITEMS_AT_ONCE));
        match self.items.try_send(items) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(ClientError::Stopped),
            Err(TrySendError::Full(items)) => {
                self.flush_batch()?;
                self.items.send(items).map_err(|_| ClientError::Stopped)
            }
        }
    }

    fn is_left_out(&self, name: &[u8], is_directory: bool) -> bool {
        let path = [&self.path[..], b"/", name].concat();
        self.excludes.leaves_out(Path::new(OsStr::from_bytes(&path)), is_directory)
    }

    /// The parent's entry of this name; names come in ascending order.
    fn parent_entry(&mut self, level: &mut Level<'_>, name: &[u8]) -> Result<Option<Entry>, ClientError> {
        while level.parent_next.as_ref().is_some_and(|entry| entry.name.as_slice() < name) {
            self.advance_parent(level)?;
        }
        if level.parent_next.as_ref().is_none_or(|entry| entry.name != name) {
            return Ok(None);
        }
        let found = level.parent_next.take();
        self.advance_parent(level)?;
        Ok(found)
    }

    fn advance_parent(&mut self, level: &mut Level<'_>) -> Result<(), ClientError> {
        level.parent_next = match (&mut level.parent, &mut self.parent) {
            (Some(cursor), Some(reader)) => cursor.next(reader).map_err(ClientError::from)?,
            _ => None,
        };
        Ok(())
    }

    /// The description, and a word about what could not be read of it.
    fn described(&self, described: Described) -> vault::Metadata {
        if let Some(error) = described.unread {
            self.problem(FileProblem { is_loss: false, ..problem(&error) });
        }
        described.metadata
    }

    fn problem(&self, problem: FileProblem) {
        self.shared.problem(problem);
    }
}

/// A directory to go down into.
struct Descent<'r> {
    dir: HostDir,
    lead: Option<&'r Roots>,
    cached: Option<crate::stat_cache::DirPointer>,
    parent_tree: Option<ObjectId>,
    this: DirectoryEntry,
}

impl<'r> Level<'r> {
    fn take_name(&mut self) -> Option<(Vec<u8>, Option<&'r Roots>)> {
        let index = self.next;
        self.next += 1;
        match &self.names {
            Names::Listed(listing) => listing.get(index).map(|listed| (listed.name.as_bytes().to_vec(), None)),
            Names::Leading(names) => names.get(index).map(|(name, roots)| (name.to_vec(), Some(*roots))),
        }
    }

    /// The cache's entry of this name; names come in ascending order.
    fn cached_entry(&mut self, name: &[u8]) -> Option<CachedEntry> {
        let cached = self.cached.as_mut()?;
        while self.cached_next.as_ref()?.name.as_slice() < name {
            self.has_lost = true;
            self.cached_next = cached.next();
        }
        if self.cached_next.as_ref()?.name != name {
            return None;
        }
        std::mem::replace(&mut self.cached_next, cached.next())
    }
}

fn stamp_of(stat: &Stat) -> Stamp {
    let kind = match stat.kind {
        FileKind::File => Stamp::FILE,
        FileKind::Directory => 2,
        FileKind::Symlink => 3,
        FileKind::Fifo => 4,
        FileKind::Socket => 5,
        FileKind::CharDevice => 6,
        FileKind::BlockDevice => 7,
    };
    // A directory's size says nothing that its times do not.
    let size = if stat.kind == FileKind::Directory { 0 } else { stat.size };
    Stamp { kind, size, mtime: stat.mtime, ctime: stat.ctime, inode: stat.ino }
}

impl From<vault::ReadError<ClientError>> for ClientError {
    fn from(error: vault::ReadError<ClientError>) -> Self {
        match error {
            vault::ReadError::Source(error) => error,
            other => Self::Damaged { what: "the vault".to_owned(), source: Box::new(other) },
        }
    }
}
