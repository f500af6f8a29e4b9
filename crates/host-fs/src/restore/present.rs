//! What is below a target already: looking at it, taking it away, and placing its content a second time.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use placement::{PlaceError, Placement, Policy};
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, seek, unlinkat};
use rustix::io::Errno;
use vault::Metadata;

use super::Restored;
use super::dir::RestoreDir;
use super::file::{MODE_WHILE_WRITTEN, apply_to_file};
use super::link::LinkSource;
use super::place::{replace, temporary_name};
use crate::beneath::{open_dir, open_one};
use crate::dir::{OPEN_DIR, stat_in, stat_of};
use crate::error::{HostError, HostErrorKind};
use crate::listing::Listing;
use crate::name::Name;
use crate::stat::{FileKind, Stat};
use crate::xattr::proc_path;

/// A regular file below the target, as somebody looked at it.
#[derive(Clone, Debug)]
pub struct PresentFile {
    source: LinkSource,
    stat: Stat,
}

impl PresentFile {
    /// What the file was when it was looked at.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// The file, to be given more names.
    #[must_use]
    pub fn link_source(&self) -> &LinkSource {
        &self.source
    }
}

impl RestoreDir {
    /// Opens the directory that has the name, and changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Changed` when it is no directory, a symbolic link to one included; `NotAllowed`.
    pub fn open_child(&self, name: Name<'_>) -> Result<Self, HostError> {
        let fd = open_one(self.fd(), name.as_bytes(), OPEN_DIR, Mode::empty());
        self.found(fd.map_err(|errno| self.error_at(name, "open directory", errno))?, name)
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    /// Of the file system, when it fails.
    pub fn own_stat(&self) -> Result<Stat, HostError> {
        stat_of(self.fd()).map_err(|errno| self.error("look at", errno))
    }

    /// Replaces what is in `listing` by the names of this directory.
    ///
    /// # Errors
    /// Of the kernel, reading the directory.
    pub fn list(&self, listing: &mut Listing) -> Result<(), HostError> {
        seek(self.fd(), SeekFrom::Start(0)).map_err(|errno| self.error("list", errno))?;
        listing.fill(self.fd()).map_err(|errno| self.error("list", errno))
    }

    /// Removes what has the name and is no directory. Nothing there is no error.
    ///
    /// # Errors
    /// `Occupied` when it is a directory; `NotAllowed`.
    pub fn remove(&self, name: Name<'_>) -> Result<(), HostError> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes the directory that has the name, when it is empty. Nothing there is no error.
    ///
    /// # Errors
    /// `Occupied` when something is in it; `Changed` when it is no directory; `NotAllowed`.
    pub fn remove_dir(&self, name: Name<'_>) -> Result<(), HostError> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: Name<'_>, flags: AtFlags) -> Result<(), HostError> {
        match unlinkat(self.fd(), name.as_bytes(), flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error_at(name, "remove", errno)),
        }
    }

    /// The regular file that has the name, as [`stat`](Self::stat) told, to be placed a second time or given more names;
    /// `None` when it is none.
    #[must_use]
    pub fn present_file(&self, name: Name<'_>, stat: Stat) -> Option<PresentFile> {
        (stat.kind == FileKind::File).then(|| PresentFile { source: LinkSource::at(self, name, &stat), stat })
    }

    /// Gives `name` the content of a file that is below the target already, in the cheapest way that `policy` allows, in
    /// place of whatever has that name. A file of its own gets `metadata`; a second name shares what the first one has.
    ///
    /// # Errors
    /// `Changed` when the file is not what it was when it was looked at; those of making a file. What had the name keeps
    /// it then.
    pub fn place_file(
        &self,
        name: Name<'_>,
        from: &PresentFile,
        policy: Policy,
        metadata: &Metadata,
    ) -> Result<(Placement, Restored), HostError> {
        let error = |errno| self.error_at(name, "place", errno);
        let source_name = Name::new(&from.source.name).expect("it was made from a name");
        let source_dir = open_dir(from.source.shared.fd.as_fd(), &from.source.dir).map_err(error)?;
        let found = stat_in(source_dir.as_fd(), source_name).map_err(error)?;
        let is_same =
            found.identity() == from.stat.identity() && (found.size, found.mtime) == (from.stat.size, from.stat.mtime);
        if !is_same {
            return Err(self.rule(name, "the file with this content is not what it was any more"));
        }
        let temporary = temporary_name(name);
        let held = |dir, name| PathBuf::from(OsString::from_vec(proc_path(dir, Some(name))));
        let temporary_held = held(self.fd(), Name::new(&temporary).expect("it was made from a name"));
        let placed = placement::place(&held(source_dir.as_fd(), source_name), &temporary_held, policy);
        let placement =
            placed.map_err(|PlaceError { source, .. }| HostError::io("place", self.path_of(name), source))?;
        let finished = self.finish_placed(name, &temporary, placement, metadata);
        // Failed, or a second name of the file that had the name before: renaming does nothing then.
        let _ = unlinkat(self.fd(), &temporary, AtFlags::empty());
        Ok((placement, finished?))
    }

    fn finish_placed(
        &self,
        name: Name<'_>,
        temporary: &[u8],
        placement: Placement,
        metadata: &Metadata,
    ) -> Result<Restored, HostError> {
        let error = |errno| self.error_at(name, "place", errno);
        let fd = open_one(self.fd(), temporary, OFlags::RDONLY, Mode::empty());
        let not_applied = match placement {
            Placement::HardLink => Vec::new(),
            _ => {
                let birth = self.file_birth(MODE_WHILE_WRITTEN);
                apply_to_file(self, fd.map_err(error)?.as_fd(), birth, metadata)
            }
        };
        replace(self.fd(), temporary, name).map_err(error)?;
        let link = match metadata.hard_link {
            Some(_) => Some(LinkSource::at(self, name, &self.stat(name)?)),
            None => None,
        };
        Ok(Restored { link, not_applied })
    }

    fn rule(&self, name: Name<'_>, why: &'static str) -> HostError {
        HostError::rule("place", self.path_of(name), HostErrorKind::Changed, why)
    }
}

/// To make files of the caller's own in the directory, such as one that says what was restored.
impl AsFd for RestoreDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// Whether a name is one that something has until it is complete, as [`RestoreDir`] makes them.
#[must_use]
pub fn is_temporary(name: Name<'_>) -> bool {
    let name = name.as_bytes();
    let Some(at) = name.len().checked_sub(16) else { return false };
    let (before, random) = name.split_at(at);
    before.ends_with(b".bk-tmp-") && random.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
