//! A backup and a restore in one, without anything between: reads a tree and writes it elsewhere.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_fs::{
    Describer, DirStack, FileKind, HostDir, HostError, Leaf, LinkSource, Listing, Name, NotApplied, OwnerNames,
    RestoreDir, RestoreOptions, RestoreRoot, Restored, SegmentKind, SourceFile,
};
use vault::{HardLink, Metadata};

/// What came of a copy.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    pub(crate) entries: usize,
    pub(crate) not_applied: Vec<(PathBuf, NotApplied)>,
    /// Hard links that became files of their own, and why.
    pub(crate) separate: Vec<HostError>,
}

/// Files up to this length are written at once.
const WHOLE_LEN_MAX: u64 = 256 * 1024;

struct Level {
    listing: Listing,
    next: usize,
    metadata: Metadata,
}

struct Copier {
    describer: Describer,
    links: HashMap<HardLink, LinkSource>,
    copied: Copied,
    buffer: Vec<u8>,
}

/// Copies what is in `from` into `to`, holding at most `held_max` directories of each open.
pub(crate) fn copy_tree(from: &Path, to: &Path, options: RestoreOptions, held_max: usize) -> Result<Copied, HostError> {
    let held_max = NonZeroUsize::new(held_max).expect("at least one");
    let mut copier = Copier {
        describer: Describer::new(Arc::new(OwnerNames::read())),
        links: HashMap::new(),
        copied: Copied::default(),
        buffer: vec![0; 1 << 20],
    };
    let root = RestoreRoot::create(to, options)?;
    let mut sources = DirStack::new(held_max);
    let mut targets = DirStack::new(held_max);
    let mut levels = Vec::new();
    let mut source = HostDir::open_root(from)?;
    levels.push(copier.level(&mut source)?);
    sources.push(source)?;
    targets.push(root.dir().clone())?;

    while let (Some(level), Some(source), Some(target)) = (levels.last_mut(), sources.top(), targets.top()) {
        let Some(listed) = level.listing.get(level.next) else {
            let not_applied = target.finish(&level.metadata);
            copier.note(target.path(), not_applied);
            levels.pop();
            sources.pop()?;
            targets.pop()?;
            continue;
        };
        level.next += 1;
        copier.copied.entries += 1;
        let name = listed.name;
        let stat = source.stat(name)?;
        assert!(listed.kind.is_none_or(|kind| kind == stat.kind));
        match stat.kind {
            FileKind::Directory => {
                let mut child = source.open_child(name)?;
                let child_target = target.child_dir(name)?;
                levels.push(copier.level(&mut child)?);
                sources.push(child)?;
                targets.push(child_target)?;
            }
            FileKind::File => {
                let file = SourceFile::open(source, name)?;
                copier.file(&file, target, name)?;
            }
            _ => {
                let (kind, described) = copier.describer.leaf(source, name, &stat)?;
                assert!(described.unread.is_none(), "{:?}", described.unread);
                let metadata = described.metadata;
                if !copier.link(target, name, &metadata) {
                    let leaf = Leaf::of(&kind).expect("it has no content");
                    let restored = target.leaf(name, leaf, &metadata)?;
                    copier.restored(target, name, &metadata, restored);
                }
            }
        }
    }
    root.sync()?;
    Ok(copier.copied)
}

impl Copier {
    fn level(&mut self, dir: &mut HostDir) -> Result<Level, HostError> {
        let stat = dir.own_stat()?;
        let described = self.describer.directory(dir, &stat);
        assert!(described.unread.is_none(), "{:?}", described.unread);
        let mut listing = Listing::new();
        dir.list(&mut listing)?;
        Ok(Level { listing, next: 0, metadata: described.metadata })
    }

    fn file(&mut self, file: &SourceFile, target: &RestoreDir, name: Name<'_>) -> Result<(), HostError> {
        let described = self.describer.file(file);
        assert!(described.unread.is_none(), "{:?}", described.unread);
        let metadata = described.metadata;
        if self.link(target, name, &metadata) {
            return Ok(());
        }
        let size = file.stat().size;
        let segments: Vec<_> = file.segments().collect::<Result<_, _>>()?;
        let is_whole = segments.iter().all(|segment| segment.kind == SegmentKind::Data);
        let restored = if is_whole && size <= WHOLE_LEN_MAX {
            let len = file.read_at(0, &mut self.buffer)?;
            target.write_file(name, &self.buffer[..len], &metadata)?
        } else {
            let new = target.create_file(name, size)?;
            for segment in segments.iter().filter(|segment| segment.kind == SegmentKind::Data) {
                let mut position = segment.range.start;
                while position < segment.range.end {
                    let wanted = (segment.range.end - position).min(self.buffer.len() as u64);
                    let piece = &mut self.buffer[..usize::try_from(wanted).expect("it is below the buffer's length")];
                    let read = file.read_at(position, piece)?;
                    assert!(read > 0, "the file became shorter");
                    new.write_at(position, &piece[..read])?;
                    position += read as u64;
                }
            }
            new.finish(&metadata)?
        };
        assert!(file.restat()?.same_as(file.stat()));
        self.restored(target, name, &metadata, restored);
        Ok(())
    }

    /// Whether the file was restored before under another name, and now has this one too.
    fn link(&mut self, target: &RestoreDir, name: Name<'_>, metadata: &Metadata) -> bool {
        let source = metadata.hard_link.and_then(|link| self.links.get(&link));
        source.is_some_and(|source| match target.hard_link(name, source) {
            Ok(()) => true,
            Err(error) => {
                self.copied.separate.push(error);
                false
            }
        })
    }

    fn restored(&mut self, target: &RestoreDir, name: Name<'_>, metadata: &Metadata, restored: Restored) {
        if let (Some(link), Some(source)) = (metadata.hard_link, restored.link) {
            self.links.insert(link, source);
        }
        self.note(&target.path().join(name.as_os_str()), restored.not_applied);
    }

    fn note(&mut self, path: &Path, not_applied: Vec<NotApplied>) {
        self.copied.not_applied.extend(not_applied.into_iter().map(|not_applied| (path.to_path_buf(), not_applied)));
    }
}
