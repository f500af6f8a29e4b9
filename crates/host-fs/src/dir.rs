//! [`HostDir`]: a directory that is being read, held by a descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, fstat, openat, seek, statat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{HostError, HostErrorKind};
use crate::listing::Listing;
use crate::name::Name;
use crate::path::HostPath;
use crate::stat::{Identity, Stat};

pub(crate) const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const PASS_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory held open for reading.
///
/// Whatever happens to the names above it, what is opened below it is below this very directory: symbolic links are
/// never followed from here on. Access times stay as they are where the process may keep them so.
#[derive(Debug)]
pub struct HostDir {
    fd: OwnedFd,
    path: HostPath,
    quiet: Quiet,
    was_listed: bool,
    /// Opened to get further down only: it cannot be listed.
    is_passage: bool,
}

/// What is kept of a [`HostDir`] that was closed to save descriptors: enough to know it again.
#[derive(Debug)]
pub struct ParkedHostDir {
    identity: Identity,
    path_len: usize,
    is_passage: bool,
}

impl HostDir {
    /// Opens the directory where a walk begins; symbolic links on the way to it, and it itself, are followed.
    ///
    /// # Errors
    /// `NotFound`, `NotAllowed`; `Changed` when it is no directory.
    pub fn open_root(path: &Path) -> Result<Self, HostError> {
        let host_path = HostPath::new(path);
        let quiet = Quiet::default();
        let fd = quiet.open(CWD, path.as_os_str().as_encoded_bytes(), OPEN_DIR);
        let fd = fd.map_err(|errno| HostError::os("open directory", host_path.clone(), errno))?;
        Ok(Self { fd, path: host_path, quiet, was_listed: false, is_passage: false })
    }

    /// Opens the directory at `path` to get to what is below it by name. As [`open_root`](Self::open_root), but works
    /// where listing is not allowed; then the directory cannot be listed.
    ///
    /// # Errors
    /// As for [`open_root`](Self::open_root).
    pub fn open_root_passage(path: &Path) -> Result<Self, HostError> {
        match Self::open_root(path) {
            Err(error) if error.kind() == HostErrorKind::NotAllowed => {}
            outcome => return outcome,
        }
        let host_path = HostPath::new(path);
        let fd = retry_on_intr(|| openat(CWD, path.as_os_str().as_encoded_bytes(), PASS_DIR, Mode::empty()));
        let fd = fd.map_err(|errno| HostError::os("open directory", host_path.clone(), errno))?;
        Ok(Self { fd, path: host_path, quiet: Quiet::default(), was_listed: false, is_passage: true })
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    /// `NotFound`, `NotAllowed`; `Changed` when `name` is no directory (any more), a symbolic link to one included.
    pub fn open_child(&self, name: Name<'_>) -> Result<Self, HostError> {
        let quiet = self.quiet.clone();
        match quiet.open(self.fd.as_fd(), name.as_bytes(), OPEN_DIR | OFlags::NOFOLLOW) {
            Ok(fd) => Ok(Self { fd, path: self.path.join(name), quiet, was_listed: false, is_passage: false }),
            Err(errno) => Err(HostError::os("open directory", self.path.join(name), errno)),
        }
    }

    /// Opens a directory in this one to get to what is below it by name. That works where listing is not allowed, as in
    /// `/home` on many machines, and then the directory cannot be listed.
    ///
    /// # Errors
    /// As for [`open_child`](Self::open_child).
    pub fn open_passage(&self, name: Name<'_>) -> Result<Self, HostError> {
        match self.open_child(name) {
            Err(error) if error.kind() == HostErrorKind::NotAllowed => {}
            outcome => return outcome,
        }
        let quiet = self.quiet.clone();
        let fd = retry_on_intr(|| openat(&self.fd, name.as_bytes(), PASS_DIR | OFlags::NOFOLLOW, Mode::empty()));
        let fd = fd.map_err(|errno| HostError::os("open directory", self.path.join(name), errno))?;
        Ok(Self { fd, path: self.path.join(name), quiet, was_listed: false, is_passage: true })
    }

    /// Replaces what is in `listing` by the names of this directory.
    ///
    /// # Errors
    /// Of the kernel, reading the directory.
    pub fn list(&mut self, listing: &mut Listing) -> Result<(), HostError> {
        if self.was_listed {
            seek(&self.fd, SeekFrom::Start(0)).map_err(|errno| self.error("list", errno))?;
        }
        self.was_listed = true;
        listing.fill(self.fd.as_fd()).map_err(|errno| self.error("list", errno))
    }

    /// Looks at one name, without following it.
    ///
    /// # Errors
    /// `NotFound` when it is gone; `NotSupported` for a kind of file that nobody has heard of.
    pub fn stat(&self, name: Name<'_>) -> Result<Stat, HostError> {
        stat_in(self.fd.as_fd(), name).map_err(|errno| HostError::os("look at", self.path.join(name), errno))
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    /// Of the file system, when it fails.
    pub fn own_stat(&self) -> Result<Stat, HostError> {
        stat_of(self.fd.as_fd()).map_err(|errno| self.error("look at", errno))
    }

    /// Where the directory was when it was opened. For people: nothing should be opened by it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_path()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn path_of(&self, name: Name<'_>) -> HostPath {
        self.path.join(name)
    }

    pub(crate) fn is_passage(&self) -> bool {
        self.is_passage
    }

    pub(crate) fn host_path(&self) -> &HostPath {
        &self.path
    }

    pub(crate) fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    pub(crate) fn parked(&self) -> Result<ParkedHostDir, HostError> {
        let identity = self.own_stat()?.identity();
        Ok(ParkedHostDir { identity, path_len: self.path.len(), is_passage: self.is_passage })
    }

    pub(crate) fn reopen(parked: &ParkedHostDir, child: &Self) -> Result<Self, HostError> {
        let path = child.path.clone().truncated(parked.path_len);
        let is_passage = parked.is_passage;
        let flags = if is_passage { PASS_DIR } else { OPEN_DIR };
        let fd = open_parent(child.fd.as_fd(), parked.identity, &path, flags)?;
        Ok(Self { fd, path, quiet: child.quiet.clone(), was_listed: false, is_passage })
    }

    fn error(&self, verb: &'static str, errno: Errno) -> HostError {
        HostError::os(verb, self.path.clone(), errno)
    }
}

/// Whether access times can be left alone below some directory.
///
/// Only owners and the privileged may, so the first refusal is remembered for everything opened from there on: a tree of
/// somebody else's files costs one wasted call per directory at most.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    refused: AtomicBool,
}

impl Clone for Quiet {
    fn clone(&self) -> Self {
        Self { refused: AtomicBool::new(self.refused.load(Ordering::Relaxed)) }
    }
}

impl Quiet {
    pub(crate) fn open(&self, dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if !self.refused.load(Ordering::Relaxed) {
            match retry_on_intr(|| openat(dir, path, flags | OFlags::NOATIME, Mode::empty())) {
                Err(Errno::PERM) => self.refused.store(true, Ordering::Relaxed),
                outcome => return outcome,
            }
        }
        retry_on_intr(|| openat(dir, path, flags, Mode::empty()))
    }
}

/// Looks at `name` in `dir`, without following it.
pub(crate) fn stat_in(dir: BorrowedFd<'_>, name: Name<'_>) -> Result<Stat, Errno> {
    let raw = statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
    Stat::from_raw(&raw).ok_or(Errno::OPNOTSUPP)
}

/// Looks at what `fd` holds.
pub(crate) fn stat_of(fd: BorrowedFd<'_>) -> Result<Stat, Errno> {
    Stat::from_raw(&fstat(fd)?).ok_or(Errno::OPNOTSUPP)
}

/// Opens the directory above `child`, which must be the one that `identity` tells: `..` leads elsewhere once somebody
/// has moved `child`.
pub(crate) fn open_parent(
    child: BorrowedFd<'_>,
    identity: Identity,
    path: &HostPath,
    flags: OFlags,
) -> Result<OwnedFd, HostError> {
    let again = || {
        let fd = retry_on_intr(|| openat(child, "..", flags | OFlags::NOFOLLOW, Mode::empty()))?;
        let stat = stat_of(fd.as_fd())?;
        Ok((fd, stat))
    };
    match again() {
        Ok((fd, stat)) if stat.identity() == identity => Ok(fd),
        Ok(_) => Err(HostError::rule(
            "go back to",
            path.clone(),
            HostErrorKind::Changed,
            "a directory below it was moved elsewhere",
        )),
        Err(errno) => Err(HostError::os("go back to", path.clone(), errno)),
    }
}
