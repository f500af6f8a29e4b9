//! [`restore`]: one tree, entry by entry, on one thread.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use host_fs::{
    DirStack, HostError, HostErrorKind, Leaf, LinkSource, Name, NotApplied, RestoreDir, RestoreOptions, RestoreRoot,
    Restored,
};
use object::ObjectId;
use vault::{Content, Entry, EntryKind, HardLink, Metadata, Piece, PieceCursor, PlainObject, Reader, TreeCursor};

use crate::RescueError;
use crate::packs::PackSource;

/// Directories held open on the way down.
const HELD: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct RescueReport {
    /// Names of regular files restored.
    pub files: u64,
    /// Entries of every kind that were met.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What could not be restored.
    pub problems: Vec<Problem>,
    /// What restored entries lack, and how many lack it.
    pub not_applied: BTreeMap<String, u64>,
}

impl RescueReport {
    /// Whether anything could not be had from the packs.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.problems.iter().any(|problem| problem.is_damage)
    }
}

/// Something that could not be restored.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Where it would be.
    pub path: PathBuf,
    /// Why it is not.
    pub message: String,
    /// Whether the packs do not have it, or this machine would not take it.
    pub is_damage: bool,
}

/// One directory on the way down.
struct Level {
    cursor: TreeCursor,
    metadata: Option<Metadata>,
}

struct Restorer<'a> {
    reader: Reader<PackSource>,
    report: RescueReport,
    /// Files with several names that were met; `None` when their content cannot be had.
    links: HashMap<HardLink, Option<LinkSource>>,
    on_entry: &'a mut dyn FnMut(),
}

/// Restores everything in the tree `tree` into `target`, which is made when it is missing.
pub(crate) fn restore(
    reader: Reader<PackSource>,
    tree: ObjectId,
    target: &Path,
    options: RestoreOptions,
    on_entry: &mut dyn FnMut(),
) -> Result<RescueReport, RescueError> {
    let root = RestoreRoot::create(target, options)?;
    let mut restorer = Restorer { reader, report: RescueReport::default(), links: HashMap::new(), on_entry };
    restorer.directories(tree, root.dir().clone())?;
    root.sync()?;
    Ok(restorer.report)
}

impl Restorer<'_> {
    fn directories(&mut self, tree: ObjectId, top: RestoreDir) -> Result<(), RescueError> {
        let mut directories = DirStack::new(HELD);
        directories.push(top)?;
        let mut levels = vec![Level { cursor: TreeCursor::new(tree), metadata: None }];
        while let (Some(level), Some(dir)) = (levels.last_mut(), directories.top()) {
            match level.cursor.next(&mut self.reader) {
                Ok(Some(entry)) => {
                    let dir = dir.clone();
                    if let Some((below, level)) = self.entry(&dir, entry)? {
                        directories.push(below)?;
                        levels.push(level);
                    }
                }
                Ok(None) => {
                    let metadata = levels.pop().and_then(|level| level.metadata);
                    let dir = directories.pop()?;
                    if let (Some(metadata), Some(dir)) = (metadata, dir) {
                        self.lacking(&dir.finish(&metadata));
                    }
                }
                // The walk goes on behind the page that cannot be had.
                Err(error) => {
                    let path = dir.path().to_owned();
                    self.damage(path, &error);
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: &RestoreDir, entry: Entry) -> Result<Option<(RestoreDir, Level)>, RescueError> {
        (self.on_entry)();
        self.report.entries += 1;
        let Entry { name, kind, metadata } = entry;
        let checked = Name::new(&name).expect("trees hold only names");
        if let EntryKind::Directory { tree } = kind {
            return match dir.child_dir(checked) {
                Ok(below) => Ok(Some((below, Level { cursor: TreeCursor::new(tree), metadata: Some(metadata) }))),
                Err(error) => self.refused(error).map(|()| None),
            };
        }
        if let Some(file) = metadata.hard_link
            && let Some(source) = self.links.get(&file).cloned()
        {
            let is_file = matches!(kind, EntryKind::File { .. });
            return self.link(dir, checked, source, is_file).map(|()| None);
        }
        let restored = match &kind {
            EntryKind::File { size, content } => self.file(dir, checked, *size, *content, &metadata)?,
            leaf => {
                let leaf = Leaf::of(leaf).expect("files and directories have gone");
                match dir.leaf(checked, leaf, &metadata) {
                    Ok(restored) => Some(restored),
                    Err(error) => self.refused(error).map(|()| None)?,
                }
            }
        };
        if let Some(restored) = &restored {
            self.lacking(&restored.not_applied);
        }
        if let Some(file) = metadata.hard_link {
            match restored {
                Some(Restored { link: Some(source), .. }) => drop(self.links.insert(file, Some(source))),
                // A device that this user may not make: each of its names is left out.
                Some(_) => {}
                None => drop(self.links.insert(file, None)),
            }
        }
        Ok(None)
    }

    fn link(
        &mut self,
        dir: &RestoreDir,
        name: Name<'_>,
        source: Option<LinkSource>,
        is_file: bool,
    ) -> Result<(), RescueError> {
        let Some(source) = source else {
            let message = "another name of a file whose content cannot be had".to_owned();
            self.report.problems.push(Problem { path: dir.path().join(name.as_os_str()), message, is_damage: true });
            return Ok(());
        };
        match dir.hard_link(name, &source) {
            Ok(()) => self.report.files += u64::from(is_file),
            Err(error) => self.refused(error)?,
        }
        Ok(())
    }

    /// Restores a regular file; `None` when it was reported instead.
    fn file(
        &mut self,
        dir: &RestoreDir,
        name: Name<'_>,
        size: u64,
        content: Content,
        metadata: &Metadata,
    ) -> Result<Option<Restored>, RescueError> {
        let written = match content {
            Content::Empty => dir.write_file(name, &[], metadata),
            Content::Chunk(id) => match self.chunk(id, size) {
                Ok(bytes) => dir.write_file(name, &bytes, metadata),
                Err(error) => {
                    self.damage(dir.path().join(name.as_os_str()), &*error);
                    return Ok(None);
                }
            },
            Content::List(_) => match self.large(dir, name, size, content, metadata) {
                Ok(written) => written,
                Err(error) => {
                    self.damage(dir.path().join(name.as_os_str()), &*error);
                    return Ok(None);
                }
            },
        };
        match written {
            Ok(restored) => {
                self.report.files += 1;
                self.report.bytes += size;
                Ok(Some(restored))
            }
            Err(error) => self.refused(error).map(|()| None),
        }
    }

    /// Writes a file piece by piece. The outer error says why its content cannot be had: it vanishes then.
    fn large(
        &mut self,
        dir: &RestoreDir,
        name: Name<'_>,
        size: u64,
        content: Content,
        metadata: &Metadata,
    ) -> Result<Result<Restored, HostError>, Box<dyn Error>> {
        let file = match dir.create_file(name, size) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let mut pieces = PieceCursor::new(content, size);
        let mut offset = 0u64;
        while let Some(piece) = pieces.next(&mut self.reader)? {
            if let Piece::Chunk { len, id } = piece {
                let bytes = self.chunk(id, len)?;
                if let Err(error) = file.write_at(offset, &bytes) {
                    return Ok(Err(error));
                }
            }
            offset = offset.saturating_add(piece.span_len());
            if offset > size {
                break;
            }
        }
        if offset != size {
            return Err(format!("its list makes {offset} bytes, its entry says {size}").into());
        }
        Ok(file.finish(metadata))
    }

    fn chunk(&mut self, id: ObjectId, len: u64) -> Result<impl std::ops::Deref<Target = [u8]> + use<>, Box<dyn Error>> {
        let bytes = self.reader.object(id).and_then(PlainObject::into_chunk)?;
        if bytes.len() as u64 != len {
            return Err(format!("a chunk of {len} bytes has {}", bytes.len()).into());
        }
        Ok(bytes)
    }

    /// Takes note of something that the packs do not have.
    fn damage(&mut self, path: PathBuf, error: &(dyn Error + 'static)) {
        let mut message = error.to_string();
        let mut next = error.source();
        while let Some(error) = next {
            message.push_str(&format!(": {error}"));
            next = error.source();
        }
        self.report.problems.push(Problem { path, message, is_damage: true });
    }

    /// Takes note of something that this machine would not take; when it is full, that is the end.
    fn refused(&mut self, error: HostError) -> Result<(), RescueError> {
        if error.kind() == HostErrorKind::Full {
            return Err(error.into());
        }
        let (path, message) = (error.path().to_owned(), error.to_string());
        self.report.problems.push(Problem { path, message, is_damage: false });
        Ok(())
    }

    fn lacking(&mut self, lacking: &[NotApplied]) {
        for NotApplied { aspect, reason } in lacking {
            *self.report.not_applied.entry(format!("{aspect:?}: {reason:?}")).or_default() += 1;
        }
    }
}
