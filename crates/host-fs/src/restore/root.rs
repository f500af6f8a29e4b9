//! [`RestoreRoot`]: the directory that a restore stays below.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, fstatvfs, openat, syncfs};
use rustix::io::retry_on_intr;

use super::dir::RestoreDir;
use super::options::{RestoreOptions, Rights};
use crate::dir::stat_of;
use crate::error::{HostError, HostErrorKind};
use crate::path::HostPath;
use crate::stat::Stat;

/// The target of a restore, held open: nothing outside of it is touched through this value.
#[derive(Debug)]
pub struct RestoreRoot {
    shared: Arc<Shared>,
    dir: RestoreDir,
}

/// What everything below one target has in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) rights: Rights,
    /// The target again, to begin at when a hard link's other name is looked up.
    pub(crate) fd: OwnedFd,
    pub(crate) path_len: usize,
    /// One directory of each file system that was entered, to be synced at the end.
    file_systems: Mutex<Vec<(u64, OwnedFd)>>,
}

impl RestoreRoot {
    /// Opens an existing directory as the target. Links on the way to it are followed: the user named it.
    ///
    /// # Errors
    /// `NotFound`, `NotAllowed`; `Changed` when it is no directory; `Untrusted` when the process is root and the
    /// directory belongs to, or can be written by, anybody else, unless [`RestoreOptions::trust_target`].
    pub fn open(path: &Path, options: RestoreOptions) -> Result<Self, HostError> {
        let host_path = HostPath::new(path);
        let error = |errno| HostError::os("open target", host_path.clone(), errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(CWD, path, flags, Mode::empty())).map_err(error)?;
        let stat = stat_of(fd.as_fd()).map_err(error)?;
        let rights = Rights::new(options);
        if rights.uid == 0 && !options.trust_target && !is_roots_own(&stat) {
            let why = "somebody else could rearrange it while root restores into it";
            return Err(HostError::rule("restore into", host_path, HostErrorKind::Untrusted, why));
        }
        let path_len = host_path.len();
        let shared = Shared {
            rights,
            fd: fd.try_clone().map_err(|error| HostError::io("open target", host_path.clone(), error))?,
            path_len,
            file_systems: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let dir = RestoreDir::existing(Arc::clone(&shared), fd, host_path)?;
        Ok(Self { shared, dir })
    }

    /// Makes the target, and the directories above it that are missing, then opens it. One that is there is opened.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of making directories.
    pub fn create(path: &Path, options: RestoreOptions) -> Result<Self, HostError> {
        fs::create_dir_all(path).map_err(|error| HostError::io("make target", HostPath::new(path), error))?;
        Self::open(path, options)
    }

    /// The target itself.
    #[must_use]
    pub fn dir(&self) -> &RestoreDir {
        &self.dir
    }

    /// Bytes that the target's file system has free for this process.
    ///
    /// # Errors
    /// Of the file system, when it does not tell.
    pub fn free_bytes(&self) -> Result<u64, HostError> {
        let free = fstatvfs(&self.shared.fd).map_err(|errno| self.dir.error("look at", errno))?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    /// Makes everything restored so far durable, on every file system that the restore entered.
    ///
    /// # Errors
    /// `Full` and others: something restored may be lost. Syncing again and believing the answer would be wrong.
    pub fn sync(&self) -> Result<(), HostError> {
        for (_, fd) in self.shared.file_systems.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            syncfs(fd).map_err(|errno| self.dir.error("sync", errno))?;
        }
        Ok(())
    }
}

impl Shared {
    /// Remembers the file system of a directory that was there before.
    pub(crate) fn enter(&self, dev: u64, dir: &OwnedFd) -> std::io::Result<()> {
        let mut file_systems = self.file_systems.lock().unwrap_or_else(PoisonError::into_inner);
        if file_systems.iter().all(|(known, _)| *known != dev) {
            file_systems.push((dev, dir.try_clone()?));
        }
        Ok(())
    }
}

/// Whether nobody but root can make, rename or remove names in a directory. An ACL shows in the group's bits.
fn is_roots_own(stat: &Stat) -> bool {
    let others_write = stat.mode & 0o002 != 0;
    let group_writes = stat.mode & 0o020 != 0;
    stat.uid == 0 && !others_write && !group_writes
}
