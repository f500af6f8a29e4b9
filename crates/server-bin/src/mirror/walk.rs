//! [`Walker`]: goes through a tree and the folder that mirrors it, side by side with the record of what the mirror put there,
//! and makes the folder like the tree.
//!
//! All three come in the order of names, so memory holds one folder per level, whatever the tree's size. **What holds:** what
//! is removed or replaced is what a mark says the mirror put there, looked at right before; a mark is in the record before what
//! it is of is on the disk; nothing is touched but through directories held open below the target.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;

use host_fs::{
    Aspect, DirStack, FileKind, HostError, HostErrorKind, Leaf, LinkSource, Listing, Name, Placement, Policy,
    PresentFile, RestoreDir, RestoreRoot, Restored, Stat, is_temporary,
};
use vault::{Content, Entry, EntryKind, HardLink, Metadata};

use crate::failure::{Failure, FailureKind};
use crate::mirror::record::{Mark, RecordReader, RecordWriter, Recorded};
use crate::mirror::report::{MirrorProblem, Teller};
use crate::mirror::source::{Contents, Entries, Folder, Trouble};

/// Directories held open on the way down.
const HELD: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");
/// Files whose content is remembered, to place it a second time.
const KNOWN_MAX: usize = 65_536;
/// Free space is looked at after so many bytes.
const SPACE_STEP: u64 = 16 << 20;
/// Of a folder that has none of its own.
const DIRECTORY_MODE: u32 = 0o755;

/// One tree to be mirrored into one folder.
pub(super) struct Task<'t> {
    /// What it is of.
    pub(super) folder: Folder,
    /// Where it goes; `None` where a dry run finds nothing.
    pub(super) top: Option<RestoreDir>,
    /// The path of that below the target, for people.
    pub(super) shown: &'t [u8],
    /// What the mirror put there before.
    pub(super) record: RecordReader,
    /// What it puts there now; `None` in a dry run.
    pub(super) writer: Option<RecordWriter>,
    /// A folder whose files may have the same content at the same paths, and its record.
    pub(super) previous: Option<(RestoreDir, RecordReader)>,
    /// Whether a run was cut off here, so that names of the unfinished may be the mirror's.
    pub(super) was_cut_off: bool,
    /// A name at the top that nobody's entries may have.
    pub(super) reserved: &'t [u8],
}

/// Makes folders like trees.
pub(super) struct Walker<'a> {
    pub(super) contents: Contents,
    pub(super) teller: Teller<'a>,
    /// `None` where a dry run finds nothing.
    pub(super) root: Option<&'a RestoreRoot>,
    /// Bytes to be left free on the target's file system.
    pub(super) min_free: u64,
    /// Files by their content.
    pub(super) known: HashMap<([u8; 32], u64), PresentFile>,
    /// Bytes placed since free space was looked at; none yet.
    pub(super) unlooked_bytes: Option<u64>,
}

/// A folder on the way down.
struct Level {
    folder: Folder,
    entries: Entries,
    ahead: Option<Entry>,
    is_over: bool,
    /// Something of it could not be read: what is missing in it may be there all the same.
    is_patchy: bool,
    listing: Listing,
    /// Names of the listing that were passed.
    passed: usize,
    is_present: bool,
    /// What it should be like when everything is in it; none of the top.
    metadata: Option<Metadata>,
    /// Whether that is what it was when it was finished last.
    is_same_metadata: bool,
    /// What the mirror had in the way of the next entry was gone through; in a dry run it is still there.
    is_emptied: bool,
    /// The same folder of the previous tree.
    previous: Option<RestoreDir>,
    /// Bytes of the path above.
    above_len: usize,
}

/// What is needed on the way, and is not the walker's.
struct Way<'t> {
    task: Task<'t>,
    dirs: DirStack<RestoreDir>,
    levels: Vec<Level>,
    path: Vec<u8>,
    /// Files with several names that were met, and their content.
    links: HashMap<HardLink, (LinkSource, ([u8; 32], u64))>,
}

impl Way<'_> {
    fn dir(&self) -> Option<RestoreDir> {
        self.levels.last().filter(|level| level.is_present).and_then(|_| self.dirs.top().cloned())
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the walk is in a folder")
    }

    fn child(&self, name: &[u8]) -> Vec<u8> {
        let separator: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
        [&self.path, separator, name].concat()
    }

    /// For people.
    fn shown(&self, path: &[u8]) -> Vec<u8> {
        let separator: &[u8] = if self.task.shown.is_empty() || path.is_empty() { b"" } else { b"/" };
        [self.task.shown, separator, path].concat()
    }

    fn is_begun(&self, mark: &Mark, stat: &Stat) -> bool {
        self.task.was_cut_off && mark.is_begun(stat)
    }

    fn put(&mut self, path: &[u8], mark: &Mark) -> Result<(), Failure> {
        match &mut self.task.writer {
            Some(writer) => writer.put(path, mark).map_err(|error| record_failed(&error)),
            None => Ok(()),
        }
    }

    /// Adds what is about to be there; false when there can be no such thing.
    fn announce(&mut self, path: &[u8], mark: &Mark) -> Result<bool, Failure> {
        let Some(writer) = &mut self.task.writer else { return Ok(true) };
        match writer.put(path, mark).and_then(|()| writer.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            Err(error) => Err(record_failed(&error)),
        }
    }

    /// The name of the next recorded entry of this folder.
    fn recorded_name(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let Some(next) = self.task.record.peek().map_err(|error| record_failed(&error))? else { return Ok(None) };
            let below = match next.path.strip_prefix(&self.path[..]) {
                Some(below) if self.path.is_empty() => below,
                Some([b'/', below @ ..]) => below,
                _ => return Ok(None),
            };
            if !below.contains(&b'/') {
                return Ok(Some(below.to_vec()));
            }
            // Of a folder that nobody went into, or that the record lost.
            self.take_recorded()?;
        }
    }

    fn take_recorded(&mut self) -> Result<Vec<Mark>, Failure> {
        let taken = self.task.record.next().map_err(|error| record_failed(&error))?;
        Ok(taken.map_or_else(Vec::new, |Recorded { marks, .. }| marks))
    }
}

pub(super) fn record_failed(error: &io::Error) -> Failure {
    let kind = FailureKind::Unavailable;
    Failure::new(kind, "the mirror cannot keep a record of what it puts into the target").because(error)
}

impl Walker<'_> {
    /// Makes a folder like a tree; what there is to know of its record is returned, not finished.
    ///
    /// # Errors
    /// [`Failure`] when store or target fail as a whole, or nobody wants more; what was done so far is right.
    pub(super) fn walk(&mut self, task: Task<'_>) -> Result<Option<RecordWriter>, Failure> {
        let mut way =
            Way { task, dirs: DirStack::new(HELD), levels: Vec::new(), path: Vec::new(), links: HashMap::new() };
        let previous = way.task.previous.as_ref().map(|(dir, _)| dir.clone());
        let (folder, top) = (way.task.folder.clone(), way.task.top.take());
        self.enter(&mut way, b"", folder, top, None, previous)?;
        while !way.levels.is_empty() {
            self.step(&mut way)?;
        }
        Ok(way.task.writer)
    }

    /// Goes into a folder that has the name `name` in the last one.
    fn enter(
        &mut self,
        way: &mut Way<'_>,
        name: &[u8],
        folder: Folder,
        dir: Option<RestoreDir>,
        metadata: Option<(Metadata, bool)>,
        previous: Option<RestoreDir>,
    ) -> Result<(), Failure> {
        let above_len = way.path.len();
        way.path = if way.levels.is_empty() { Vec::new() } else { way.child(name) };
        let mut listing = Listing::new();
        if let Some(dir) = &dir
            && let Err(error) = dir.list(&mut listing)
        {
            self.teller.refused(&way.shown(&way.path), &error)?;
        }
        let (entries, is_patchy) = match self.contents.enter(&folder) {
            Ok(entries) => (entries, false),
            Err(trouble) => {
                self.trouble(&way.shown(&way.path), trouble)?;
                (Entries::Listed(Vec::new().into_iter()), true)
            }
        };
        let is_present = dir.is_some();
        if let Some(dir) = dir {
            way.dirs.push(dir).map_err(|error| lost(&error))?;
        }
        let (metadata, is_same_metadata) =
            metadata.map_or((None, false), |(metadata, is_same)| (Some(metadata), is_same));
        way.levels.push(Level {
            folder,
            entries,
            ahead: None,
            is_over: false,
            is_patchy,
            listing,
            passed: 0,
            is_present,
            metadata,
            is_same_metadata,
            is_emptied: false,
            previous,
            above_len,
        });
        Ok(())
    }

    /// Looks after the next name of the folder, or leaves it.
    fn step(&mut self, way: &mut Way<'_>) -> Result<(), Failure> {
        self.look_ahead(way)?;
        let recorded = way.recorded_name()?;
        let next = way.level().ahead.as_ref().map(|entry| &entry.name);
        let is_same = next.is_some() && next == recorded.as_ref();
        match recorded {
            Some(recorded) if next.is_none_or(|next| recorded < *next) => {
                let marks = way.take_recorded()?;
                self.vanished(way, &recorded, &marks)
            }
            _ => match way.level().ahead.take() {
                None => self.leave(way),
                Some(entry) => {
                    let marks = if is_same { way.take_recorded()? } else { Vec::new() };
                    self.entry(way, entry, &marks)
                }
            },
        }
    }

    /// Reads the next entry of the tree, if it is not there.
    fn look_ahead(&mut self, way: &mut Way<'_>) -> Result<(), Failure> {
        while way.level().ahead.is_none() && !way.level().is_over {
            let level = way.level();
            match self.contents.next(&mut level.entries) {
                Ok(None) => level.is_over = true,
                Ok(Some(entry)) => level.ahead = Some(entry),
                Err(trouble) => {
                    level.is_patchy = true;
                    let path = way.shown(&way.path);
                    self.trouble(&path, trouble)?;
                }
            }
        }
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], trouble: Trouble) -> Result<(), Failure> {
        match trouble {
            Trouble::Damage(message) => {
                self.teller.problem(MirrorProblem::Damaged, path, message);
                Ok(())
            }
            Trouble::Store(failure) => Err(failure),
        }
    }

    /// Tells of what stands in the folder before `name`, and is neither in the tree nor in the record.
    fn pass(&mut self, way: &mut Way<'_>, name: Option<&[u8]>) -> Result<(), Failure> {
        loop {
            let is_top = way.levels.len() == 1;
            let Level { listing, passed, .. } = way.level();
            let Some(listed) = listing.get(*passed) else { return Ok(()) };
            if name.is_some_and(|name| listed.name.as_bytes() > name) {
                return Ok(());
            }
            let found = listed.name.as_bytes().to_vec();
            *passed += 1;
            if name == Some(&found[..]) || (is_top && found == way.task.reserved) {
                continue;
            }
            let path = way.shown(&way.child(&found));
            let found = Name::new(&found).expect("it was listed");
            if way.task.was_cut_off && is_temporary(found) && !self.teller.report.is_dry_run {
                // The run that was cut off left it; it has no other name and nobody waits for it.
                if let Some(dir) = way.dir()
                    && let Err(error) = dir.remove(found)
                {
                    self.teller.refused(&path, &error)?;
                }
            } else {
                self.teller.problem(MirrorProblem::Foreign, &path, "it is not the mirror's");
            }
        }
    }

    /// Looks at what has a name; `None` when nothing has.
    fn look(&mut self, way: &Way<'_>, name: Name<'_>, path: &[u8]) -> Result<Result<Option<Stat>, ()>, Failure> {
        let Some(dir) = way.dir() else { return Ok(Ok(None)) };
        match dir.stat(name) {
            Ok(stat) => Ok(Ok(Some(stat))),
            Err(error) if error.kind() == HostErrorKind::NotFound => Ok(Ok(None)),
            Err(error) => {
                self.teller.refused(&way.shown(path), &error)?;
                Ok(Err(()))
            }
        }
    }

    /// Takes away what is not in the tree any more.
    fn vanished(&mut self, way: &mut Way<'_>, name: &[u8], marks: &[Mark]) -> Result<(), Failure> {
        self.teller.entry()?;
        self.pass(way, Some(name))?;
        let path = way.child(name);
        let checked = Name::new(name).expect("a record holds only names");
        if way.level().is_patchy {
            return carry_over(way, &path, marks);
        }
        let Ok(Some(stat)) = self.look(way, checked, &path)? else { return Ok(()) };
        if !marks.iter().any(|mark| mark.is_of(&stat) || way.is_begun(mark, &stat)) {
            let message = "it is not in what is mirrored any more, and was changed by hand: it stays";
            self.teller.problem(MirrorProblem::Kept, &way.shown(&path), message);
            return Ok(());
        }
        if stat.kind == FileKind::Directory {
            return self.empty(way, name);
        }
        self.remove(way, checked, &path).map(drop)
    }

    /// Goes into a folder of the mirror to take everything away that is the mirror's.
    fn empty(&mut self, way: &mut Way<'_>, name: &[u8]) -> Result<(), Failure> {
        let dir = way.dir().expect("something was found in it");
        let checked = Name::new(name).expect("it is one in the folder");
        let opened = if self.teller.report.is_dry_run { dir.open_child(checked) } else { dir.child_dir(checked) };
        match opened {
            Ok(below) => self.enter(way, name, Folder::Gone, Some(below), None, None),
            Err(error) => self.teller.refused(&way.shown(&way.child(name)), &error),
        }
    }

    /// Removes something of the mirror's; whether it is gone.
    fn remove(&mut self, way: &Way<'_>, name: Name<'_>, path: &[u8]) -> Result<bool, Failure> {
        if !self.teller.report.is_dry_run {
            let dir = way.dir().expect("something was found in it");
            if let Err(error) = dir.remove(name) {
                self.teller.refused(&way.shown(path), &error)?;
                return Ok(false);
            }
        }
        self.teller.report.removed += 1;
        Ok(true)
    }

    /// Makes what the tree has of a name.
    fn entry(&mut self, way: &mut Way<'_>, entry: Entry, marks: &[Mark]) -> Result<(), Failure> {
        self.teller.entry()?;
        let path = way.child(&entry.name);
        let is_reserved = way.levels.len() == 1 && entry.name == way.task.reserved;
        let Some(name) = Name::new(&entry.name).filter(|_| !is_reserved) else {
            self.teller.problem(MirrorProblem::Refused, &way.shown(&path), "the mirror needs this name for itself");
            return Ok(());
        };
        self.pass(way, Some(&entry.name))?;
        let Ok(found) = self.look(way, name, &path)? else {
            return carry_over(way, &path, marks);
        };
        if let EntryKind::Directory { tree } = entry.kind {
            let folder = way.level().folder.child(&entry, tree);
            return self.directory(way, &entry, folder, marks, found);
        }
        let was_emptied = std::mem::take(&mut way.level().is_emptied) && self.teller.report.is_dry_run;
        let is_ours = |stat: &Stat| marks.iter().find(|mark| mark.is_of(stat));
        match found {
            None => self.place(way, &path, &entry, None, &[]),
            Some(_) if was_emptied => self.place(way, &path, &entry, None, &[]),
            Some(stat) if stat.kind == FileKind::Directory => match is_ours(&stat) {
                Some(_) => {
                    // What is in it goes first; then this entry's turn comes again.
                    let name = entry.name.clone();
                    way.level().ahead = Some(entry);
                    self.empty(way, &name)
                }
                None => {
                    self.in_the_way(way, &path);
                    Ok(())
                }
            },
            Some(stat) => {
                let wanted = mark_of(&entry);
                match is_ours(&stat) {
                    Some(mark) if (mark.holds(), mark.metadata) == (wanted.holds(), wanted.metadata) => {
                        let mark = *mark;
                        self.left_alone(way, &path, &entry, stat, mark)
                    }
                    Some(mark) => {
                        let own = (mark.holds() == wanted.holds()).then_some(stat);
                        self.place(way, &path, &entry, own, marks)
                    }
                    None if marks.iter().any(|mark| way.is_begun(mark, &stat)) => {
                        self.place(way, &path, &entry, None, marks)
                    }
                    None if self.is_as_wanted(way, &path, &entry, &stat)? => {
                        self.left_alone(way, &path, &entry, stat, wanted)
                    }
                    None => {
                        self.in_the_way(way, &path);
                        Ok(())
                    }
                }
            }
        }
    }

    fn in_the_way(&mut self, way: &Way<'_>, path: &[u8]) {
        let message = "it was changed by hand, or is not the mirror's: it stays, and what belongs there is missing";
        self.teller.problem(MirrorProblem::Kept, &way.shown(path), message);
    }

    /// Goes into a folder, which is made where it is missing.
    fn directory(
        &mut self,
        way: &mut Way<'_>,
        entry: &Entry,
        folder: Option<Folder>,
        marks: &[Mark],
        found: Option<Stat>,
    ) -> Result<(), Failure> {
        let path = way.child(&entry.name);
        let name = Name::new(&entry.name).expect("it was checked");
        let Some(folder) = folder else {
            self.teller.problem(MirrorProblem::Refused, &way.shown(&path), "its path is too long");
            return Ok(());
        };
        let is_dry_run = self.teller.report.is_dry_run;
        let is_there = found.is_some_and(|stat| stat.kind == FileKind::Directory);
        if let Some(stat) = found.filter(|_| !is_there) {
            if !marks.iter().any(|mark| mark.is_of(&stat) || way.is_begun(mark, &stat)) {
                self.in_the_way(way, &path);
                return Ok(());
            }
            if !self.remove(way, name, &path)? {
                return Ok(());
            }
        }
        let wanted = mark_of(entry);
        if is_there {
            way.put(&path, &wanted)?;
        } else if !way.announce(&path, &wanted)? {
            self.teller.problem(MirrorProblem::Refused, &way.shown(&path), "its path is too long");
            return Ok(());
        }
        let dir = match way.dir() {
            Some(dir) if is_dry_run && is_there => dir.open_child(name).map(Some),
            Some(dir) if !is_dry_run => dir.child_dir(name).map(Some),
            _ => Ok(None),
        };
        let dir = match dir {
            Ok(dir) => dir,
            Err(error) => {
                self.teller.refused(&way.shown(&path), &error)?;
                return carry_over(way, &path, &[]);
            }
        };
        let is_same = is_there && marks.iter().any(|mark| mark.metadata == wanted.metadata);
        let is_near = way.levels.len() < HELD.get();
        let previous = way.level().previous.as_ref().filter(|_| is_near).and_then(|dir| dir.open_child(name).ok());
        let metadata = entry.metadata.clone();
        self.enter(way, &entry.name, folder, dir, Some((metadata, is_same)), previous)
    }

    /// Finishes a folder whose names were all looked after.
    fn leave(&mut self, way: &mut Way<'_>) -> Result<(), Failure> {
        self.pass(way, None)?;
        let level = way.levels.pop().expect("the walk is in a folder");
        let path = std::mem::take(&mut way.path);
        way.path = path[..level.above_len].to_vec();
        let dir = if level.is_present { way.dirs.pop().map_err(|error| lost(&error))? } else { None };
        let is_gone = matches!(level.folder, Folder::Gone);
        if let Some(above) = way.levels.last_mut() {
            above.is_emptied = is_gone;
        }
        let Some(dir) = dir.filter(|_| !self.teller.report.is_dry_run && !way.levels.is_empty()) else { return Ok(()) };
        if is_gone {
            let above = way.dir().expect("it is in one");
            let name = path[if level.above_len == 0 { 0 } else { level.above_len + 1 }..].to_vec();
            return match above.remove_dir(Name::new(&name).expect("it had this name")) {
                Ok(()) => Ok(()),
                // What is still in it was told of.
                Err(error) if error.kind() == HostErrorKind::Occupied => Ok(()),
                Err(error) => self.teller.refused(&way.shown(&path), &error),
            };
        }
        if let Some(metadata) = level.metadata {
            self.finish(way, &dir, &path, metadata, level.folder.has_metadata(), level.is_same_metadata)?;
        }
        Ok(())
    }

    /// Gives a folder its metadata, unless it has them.
    fn finish(
        &mut self,
        way: &Way<'_>,
        dir: &RestoreDir,
        path: &[u8],
        mut metadata: Metadata,
        has_time: bool,
        is_same: bool,
    ) -> Result<(), Failure> {
        let stat = match dir.own_stat() {
            Ok(stat) => stat,
            Err(error) => return self.teller.refused(&way.shown(path), &error),
        };
        if !has_time {
            (metadata.mtime, metadata.mode) = (stat.mtime, DIRECTORY_MODE);
        }
        if is_same && stat.mtime == metadata.mtime && stat.mode == metadata.mode {
            return Ok(());
        }
        self.teller.lacking(&dir.finish(&metadata));
        Ok(())
    }

    /// Whether what somebody put there is just what belongs there.
    fn is_as_wanted(&mut self, way: &Way<'_>, path: &[u8], entry: &Entry, stat: &Stat) -> Result<bool, Failure> {
        let wanted = mark_of(entry);
        if !wanted.is_of(stat) {
            return Ok(false);
        }
        let EntryKind::File { size, content } = entry.kind else { return Ok(true) };
        let dir = way.dir().expect("something was found in it");
        let name = Name::new(&entry.name).expect("it was checked");
        let Ok(Some(file)) = dir.existing_file(name) else { return Ok(false) };
        let teller = &mut self.teller;
        match self.contents.is_in(&file, (content, size), &mut |len| teller.bytes(len)) {
            Ok(is_same) => Ok(is_same),
            Err(trouble) => self.trouble(&way.shown(path), trouble).map(|()| false),
        }
    }

    /// Takes note of a file that is as it should be.
    fn left_alone(
        &mut self,
        way: &mut Way<'_>,
        path: &[u8],
        entry: &Entry,
        stat: Stat,
        mark: Mark,
    ) -> Result<(), Failure> {
        self.teller.report.unchanged += 1;
        way.put(path, &mark.as_found(&stat))?;
        self.remember(way, entry, stat, &mark);
        Ok(())
    }

    /// Remembers where a content is.
    fn remember(&mut self, way: &mut Way<'_>, entry: &Entry, stat: Stat, mark: &Mark) {
        let Some(dir) = way.dir() else { return };
        let name = Name::new(&entry.name).expect("it was checked");
        let Some(file) = dir.present_file(name, stat) else { return };
        if let Some(number) = entry.metadata.hard_link {
            way.links.entry(number).or_insert_with(|| (file.link_source().clone(), mark.holds()));
        }
        if stat.size > 0 && self.known.len() < KNOWN_MAX {
            self.known.entry(mark.holds()).or_insert(file);
        }
    }

    /// Puts an entry where nothing is, or over what the mirror put there: `own` when only its metadata differ from `entry`.
    fn place(
        &mut self,
        way: &mut Way<'_>,
        path: &[u8],
        entry: &Entry,
        own: Option<Stat>,
        before: &[Mark],
    ) -> Result<(), Failure> {
        if self.teller.report.is_dry_run {
            self.teller.report.written += 1;
            return Ok(());
        }
        let wanted = mark_of(entry);
        if !way.announce(path, &wanted)? {
            self.teller.problem(MirrorProblem::Refused, &way.shown(path), "its path is too long");
            return Ok(());
        }
        let dir = way.dir().expect("only a dry run has folders that are missing");
        let name = Name::new(&entry.name).expect("it was checked");
        let made = match self.make(way, &dir, path, entry, &wanted, own) {
            Ok(made) => made,
            Err(trouble) => {
                self.trouble(&way.shown(path), trouble)?;
                None
            }
        };
        let Some(restored) = made else {
            // What was there still is, and is still the mirror's.
            return before.iter().try_for_each(|mark| way.put(path, mark));
        };
        self.teller.lacking(&restored.not_applied);
        let Ok(Some(stat)) = self.look(way, name, path)? else { return Ok(()) };
        if stat.kind == wanted.kind && wanted.as_found(&stat) != wanted {
            way.announce(path, &wanted.as_found(&stat))?;
        }
        self.remember(way, entry, stat, &wanted);
        Ok(())
    }

    /// Makes an entry in the cheapest way there is; `None` when it was reported instead.
    fn make(
        &mut self,
        way: &mut Way<'_>,
        dir: &RestoreDir,
        path: &[u8],
        entry: &Entry,
        wanted: &Mark,
        own: Option<Stat>,
    ) -> Result<Option<Restored>, Trouble> {
        let Entry { kind, metadata, .. } = entry;
        let name = Name::new(&entry.name).expect("it was checked");
        let shown = way.shown(path);
        let refused = |walker: &mut Self, error: HostError| -> Result<Option<Restored>, Trouble> {
            walker.teller.refused(&shown, &error).map(|()| None).map_err(Trouble::Store)
        };
        if let Some((source, holds)) = metadata.hard_link.and_then(|number| way.links.get(&number))
            && *holds == wanted.holds()
            && dir.hard_link(name, source).is_ok()
        {
            self.teller.report.linked += 1;
            return Ok(Some(Restored { link: None, not_applied: Vec::new() }));
        }
        let (size, content) = match kind {
            EntryKind::File { size, content } => (*size, *content),
            leaf => {
                let leaf = Leaf::of(leaf).expect("files and folders have gone");
                return match dir.leaf(name, leaf, metadata) {
                    Ok(restored) => {
                        let is_made = restored.not_applied.iter().all(|lacks| lacks.aspect != Aspect::Device);
                        self.teller.report.written += u64::from(is_made);
                        Ok(Some(restored))
                    }
                    Err(error) => refused(self, error),
                };
            }
        };
        self.look_at_space(size).map_err(Trouble::Store)?;
        for (file, policy) in self.elsewhere(way, dir, name, path, wanted, own).map_err(Trouble::Store)? {
            match dir.place_file(name, &file, policy, metadata) {
                Ok((placement, restored)) => {
                    self.teller.placed(placement);
                    if let Placement::Copy(_) = placement {
                        self.teller.report.bytes_written += size;
                    }
                    return Ok(Some(restored));
                }
                Err(error) if error.kind() == HostErrorKind::Full => return refused(self, error),
                // The store has it, too.
                Err(_) => {}
            }
        }
        let teller = &mut self.teller;
        match self.contents.write(dir, name, (content, size), metadata, &mut |len| teller.bytes(len))? {
            Ok(restored) => {
                self.teller.report.written += 1;
                self.teller.report.bytes_written += size;
                Ok(Some(restored))
            }
            Err(error) => refused(self, error),
        }
    }

    /// Files below the target that have the content, and how each may be placed again.
    fn elsewhere(
        &mut self,
        way: &mut Way<'_>,
        dir: &RestoreDir,
        name: Name<'_>,
        path: &[u8],
        wanted: &Mark,
        own: Option<Stat>,
    ) -> Result<Vec<(PresentFile, Policy)>, Failure> {
        let mut found = Vec::new();
        if let Some(file) = own.and_then(|stat| dir.present_file(name, stat)) {
            found.push((file, Policy::OWN_FILE));
        }
        if wanted.size == 0 {
            return Ok(found);
        }
        if let Some((_, record)) = &mut way.task.previous {
            let recorded = record.at(path).map_err(|error| record_failed(&error))?;
            let mark =
                recorded.and_then(|recorded| recorded.marks.into_iter().find(|mark| mark.holds() == wanted.holds()));
            let level = way.levels.last().expect("the walk is in a folder");
            if let (Some(mark), Some(previous)) = (mark, &level.previous)
                && let Ok(stat) = previous.stat(name)
                && mark.is_of(&stat)
            {
                // The same file under the same path of another snapshot: nobody changes either.
                let policy = if mark.metadata == wanted.metadata { Policy::ANY } else { Policy::OWN_FILE };
                found.extend(previous.present_file(name, stat).map(|file| (file, policy)));
            }
        }
        if let Some(known) = self.known.get(&wanted.holds()) {
            found.push((known.clone(), Policy::OWN_FILE));
        }
        Ok(found)
    }

    /// Looks now and then whether enough stays free.
    fn look_at_space(&mut self, len: u64) -> Result<(), Failure> {
        let Some(root) = self.root else { return Ok(()) };
        let unlooked = self.unlooked_bytes.map_or(u64::MAX, |bytes| bytes.saturating_add(len));
        if unlooked < SPACE_STEP {
            self.unlooked_bytes = Some(unlooked);
            return Ok(());
        }
        self.unlooked_bytes = Some(0);
        let free = root.free_bytes().map_err(|error| lost(&error))?;
        // A file of holes takes less than its length, so only what is certain to be written counts.
        if free < self.min_free {
            return Err(Failure::new(FailureKind::Unavailable, "the target of the mirror is full")
                .hint("the setting `min-free` says how much of it has to stay free")
                .hint("make room there; the next run goes on from where this one stopped"));
        }
        Ok(())
    }
}

/// Keeps what a record says of a path, and of everything below it.
fn carry_over(way: &mut Way<'_>, path: &[u8], marks: &[Mark]) -> Result<(), Failure> {
    marks.iter().try_for_each(|mark| way.put(path, mark))?;
    loop {
        let next = way.task.record.peek().map_err(|error| record_failed(&error))?;
        let is_below = |below: &[u8]| below.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'));
        let Some(below) = next.map(|next| next.path.clone()).filter(|below| is_below(below)) else { return Ok(()) };
        let marks = way.take_recorded()?;
        marks.iter().try_for_each(|mark| way.put(&below, mark))?;
    }
}

fn lost(error: &HostError) -> Failure {
    Failure::new(FailureKind::Unavailable, "the target of the mirror cannot be used any more").because(error)
}

/// What an entry is like when the mirror has made it.
pub(super) fn mark_of(entry: &Entry) -> Mark {
    let (kind, size, content) = match &entry.kind {
        EntryKind::File { size, content } => (FileKind::File, *size, content_of(*content)),
        EntryKind::Directory { .. } => (FileKind::Directory, 0, [0; 32]),
        EntryKind::Symlink { target } => (FileKind::Symlink, target.len() as u64, hash(target)),
        EntryKind::Fifo => (FileKind::Fifo, 0, [0; 32]),
        EntryKind::Socket => (FileKind::Socket, 0, [0; 32]),
        EntryKind::CharDevice { major, minor } => (FileKind::CharDevice, 0, device(*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (FileKind::BlockDevice, 0, device(*major, *minor)),
    };
    // Numbers of files and names of owners are those of another machine: they change, and nothing is different.
    let metadata = Metadata {
        hard_link: None,
        changed_while_read: false,
        user: Vec::new(),
        group: Vec::new(),
        unknown: Vec::new(),
        ..entry.metadata.clone()
    };
    let mut encoded = Vec::new();
    Entry { name: b"-".to_vec(), kind: EntryKind::Fifo, metadata }.to_bytes(&mut encoded);
    let metadata = *hash(&encoded).first_chunk().expect("a hash has 32 bytes");
    Mark { kind, size, mtime: entry.metadata.mtime, content, metadata }
}

fn content_of(content: Content) -> [u8; 32] {
    content.id().map_or([0; 32], |id| *id.as_bytes())
}

fn device(major: u32, minor: u32) -> [u8; 32] {
    hash(&[major.to_le_bytes(), minor.to_le_bytes()].concat())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}
