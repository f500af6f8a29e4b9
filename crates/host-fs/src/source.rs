//! [`SourceFile`]: a regular file that is being read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{pread, retry_on_intr};

use crate::dir::{HostDir, stat_of};
use crate::error::{HostError, HostErrorKind};
use crate::name::Name;
use crate::path::HostPath;
use crate::read_behind::ReadBehind;
use crate::segment::Segments;
use crate::stat::{FileKind, Stat};

/// `O_NONBLOCK` so that a pipe which took the file's place cannot hold up the backup.
pub(crate) const OPEN_FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A regular file open for reading, as it was when it was opened.
///
/// Reads do not move a common position, so several threads may read one file. Of large files the pages that a backup
/// alone brought into the page cache are given back while reading.
#[derive(Debug)]
pub struct SourceFile {
    fd: OwnedFd,
    path: HostPath,
    stat: Stat,
    read_behind: Option<ReadBehind>,
}

impl SourceFile {
    /// Opens the regular file `name` in `dir`.
    ///
    /// What was there may have been replaced since the caller looked: [`stat`](Self::stat) tells about the file that is
    /// open, and [`Stat::same_as`] whether it is the one that was looked at. A caller that knows the kind from the
    /// listing need not look first.
    ///
    /// # Errors
    /// `NotFound`, `NotAllowed`; `Changed` when it is no regular file.
    pub fn open(dir: &HostDir, name: Name<'_>) -> Result<Self, HostError> {
        match dir.quiet().open(dir.fd(), name.as_bytes(), OPEN_FILE) {
            Ok(fd) => Self::new(fd, dir.path_of(name)),
            Err(errno) => Err(HostError::os("open", dir.path_of(name), errno)),
        }
    }

    pub(crate) fn new(fd: OwnedFd, path: HostPath) -> Result<Self, HostError> {
        match stat_of(fd.as_fd()) {
            Ok(stat) if stat.kind == FileKind::File => {
                let read_behind = ReadBehind::new(fd.as_fd(), stat.size);
                Ok(Self { fd, path, stat, read_behind })
            }
            Ok(_) => Err(HostError::rule("open", path, HostErrorKind::Changed, "it is no regular file any more")),
            Err(errno) => Err(HostError::os("look at", path, errno)),
        }
    }

    /// What the file was when it was opened.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Looks at the file again. Unless the answer is [`Stat::same_as`] the one of [`stat`](Self::stat), what was read may
    /// be of several moments.
    ///
    /// # Errors
    /// Of the file system, when it fails.
    pub fn restat(&self) -> Result<Stat, HostError> {
        stat_of(self.fd.as_fd()).map_err(|errno| HostError::os("look at", self.path.clone(), errno))
    }

    /// Fills `buffer` from `offset` on and returns how many bytes it got: fewer than it holds only at the end that the
    /// file had when it was opened, or has now if that is earlier.
    ///
    /// # Errors
    /// Of the file system: the bytes cannot be read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, HostError> {
        let left = usize::try_from(self.stat.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let buffer = &mut buffer[..wanted];
        if let Some(read_behind) = &self.read_behind {
            read_behind.before(self.fd.as_fd(), offset);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let read = retry_on_intr(|| pread(&self.fd, &mut buffer[filled..], offset + filled as u64));
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(errno) => return Err(HostError::os("read", self.path.clone(), errno)),
            }
        }
        if let Some(read_behind) = &self.read_behind {
            read_behind.after(self.fd.as_fd(), offset + filled as u64);
        }
        Ok(filled)
    }

    /// Where the file has data and where it has holes.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments::new(self)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn host_path(&self) -> &HostPath {
        &self.path
    }
}
