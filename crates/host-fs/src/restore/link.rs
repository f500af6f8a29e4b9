//! [`LinkSource`]: a file below the target that may get more names.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;

use super::dir::RestoreDir;
use super::place::place;
use super::root::Shared;
use crate::beneath::{open_dir, open_one};
use crate::dir::{stat_in, stat_of};
use crate::error::{HostError, HostErrorKind};
use crate::name::Name;
use crate::stat::{Identity, Stat};
use crate::xattr::proc_path;

/// A file below the target, restored in this run or found there: the only thing that a hard link can be made to.
///
/// It holds a path below the target and the file's identity, not a descriptor, because a snapshot may hold any number
/// of files with several names. The path is walked again without following links, and what is found there must be the
/// very same file.
#[derive(Clone, Debug)]
pub struct LinkSource {
    pub(super) shared: Arc<Shared>,
    /// Below the target; empty for the target itself.
    pub(super) dir: Vec<u8>,
    pub(super) name: Vec<u8>,
    identity: Identity,
}

impl LinkSource {
    /// Of the file that `fd` holds, restored as `name` in `dir`.
    pub(crate) fn new(dir: &RestoreDir, name: Name<'_>, fd: BorrowedFd<'_>) -> Result<Self, HostError> {
        let stat = stat_of(fd).map_err(|errno| dir.error_at(name, "look at", errno))?;
        Ok(Self::at(dir, name, &stat))
    }

    /// Of the file that was found as `name` in `dir`.
    pub(super) fn at(dir: &RestoreDir, name: Name<'_>, stat: &Stat) -> Self {
        Self {
            shared: Arc::clone(dir.shared()),
            dir: dir.path_below_target().to_vec(),
            name: name.as_bytes().to_vec(),
            identity: stat.identity(),
        }
    }

    /// Finds the file again.
    fn open(&self) -> Result<OwnedFd, Errno> {
        let dir = open_dir(self.shared.fd.as_fd(), &self.dir)?;
        open_one(dir.as_fd(), &self.name, OFlags::PATH, Mode::empty())
    }
}

impl RestoreDir {
    /// Gives a file below the target one more name.
    ///
    /// # Errors
    /// `Changed` when the file is not where it was restored (any more); `NotAllowed` when the way there was closed by
    /// the permissions of a finished directory; `NotSupported` where the file system or a missing `/proc` has no way to
    /// do it. The caller can still restore the content once more, and report that the names are not one file.
    pub fn hard_link(&self, name: Name<'_>, source: &LinkSource) -> Result<(), HostError> {
        let error = |errno| self.error_at(name, "make hard link", errno);
        let fd = source.open().map_err(error)?;
        let found = stat_of(fd.as_fd()).map_err(error)?.identity();
        if !Arc::ptr_eq(&source.shared, self.shared()) || found != source.identity {
            let why = "the file's first name stands for something else by now";
            return Err(HostError::rule("make hard link", self.path_of(name), HostErrorKind::Changed, why));
        }
        // Renaming one name of a file over another does nothing, and would leave the temporary one.
        if stat_in(self.fd(), name).is_ok_and(|stat| stat.identity() == found) {
            return Ok(());
        }
        place(self.fd(), name, |name| link_fd(fd.as_fd(), self.fd(), name)).map_err(error)
    }
}

/// Gives the file that `fd` holds, with or without a name so far, the name `name` in `dir`.
pub(crate) fn link_fd(fd: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match linkat(fd, "", dir, name, AtFlags::EMPTY_PATH) {
        // Kernels before 6.10 want a capability for this; the way by `/proc` means the same and is for everybody.
        Err(Errno::NOENT) => match linkat(CWD, proc_path(fd, None), dir, name, AtFlags::SYMLINK_FOLLOW) {
            Err(Errno::NOENT) => Err(Errno::OPNOTSUPP),
            outcome => outcome,
        },
        outcome => outcome,
    }
}
