//! [`RestoreDir`]: a directory that is being restored, held by a descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, fchmod, fgetxattr, mkdirat, unlinkat};
use rustix::io::Errno;
use vault::Metadata;

use super::apply::{Birth, Subject, apply};
use super::kept_times::KeptTimes;
use super::not_applied::NotApplied;
use super::options::Rights;
use super::root::Shared;
use crate::beneath::open_one;
use crate::dir::{OPEN_DIR, open_parent, stat_in, stat_of};
use crate::error::{HostError, HostErrorKind};
use crate::name::Name;
use crate::path::HostPath;
use crate::source::{OPEN_FILE, SourceFile};
use crate::stack::Parkable;
use crate::stat::{FileKind, Identity, Stat};
use crate::xattr::{ACL_ACCESS, ACL_DEFAULT, XattrTarget, proc_path};

/// What a new directory may be until it is finished: nobody else can come in and meddle.
const MODE_WHILE_FILLED: u32 = 0o700;
/// How often a name that keeps changing under our hands is tried again.
const ATTEMPTS: usize = 4;

/// A directory of a restore, held open: what is made through it is made in this very directory, wherever somebody may
/// have moved it, and no link is followed.
///
/// Clones share the descriptor, so files under way keep their directory open.
#[derive(Clone, Debug)]
pub struct RestoreDir(Arc<Held>);

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    fd: OwnedFd,
    path: HostPath,
    identity: Identity,
    traits: Traits,
    kept_times: KeptTimes,
    finished: AtomicBool,
}

/// What is kept of a [`RestoreDir`] that was closed to save descriptors: enough to know it again.
#[derive(Debug)]
pub struct ParkedRestoreDir {
    shared: Arc<Shared>,
    path_len: usize,
    identity: Identity,
    traits: Traits,
}

/// What new entries of a directory are like.
#[derive(Clone, Copy, Debug)]
struct Traits {
    /// Whether it was there before this restore.
    existed: bool,
    /// Whom new entries belong to, when known: what a new directory got itself, its entries get too.
    owner: Option<(u32, u32)>,
    /// Whether new entries get an ACL from it.
    hands_acl_on: bool,
}

impl RestoreDir {
    /// Takes a directory that was there before the restore.
    pub(crate) fn existing(shared: Arc<Shared>, fd: OwnedFd, path: HostPath) -> Result<Self, HostError> {
        let stat = stat_of(fd.as_fd()).map_err(|errno| HostError::os("look at", path.clone(), errno))?;
        let entered = shared.enter(stat.dev, &fd);
        entered.map_err(|error| HostError::io("open directory", path.clone(), error))?;
        if stat.uid == shared.rights.uid && stat.mode & 0o700 != 0o700 {
            // Its owner may have closed it, or an earlier restore finished it; finishing sets the right mode.
            let opened = fchmod(&fd, Mode::from_raw_mode(stat.mode | 0o700));
            opened.map_err(|errno| HostError::os("open up", path.clone(), errno))?;
        }
        let traits = Traits { existed: true, owner: None, hands_acl_on: has_default_acl(fd.as_fd()) };
        Ok(Self::new(shared, fd, path, stat.identity(), traits, KeptTimes::default()))
    }

    fn new(
        shared: Arc<Shared>,
        fd: OwnedFd,
        path: HostPath,
        identity: Identity,
        traits: Traits,
        kept_times: KeptTimes,
    ) -> Self {
        Self(Arc::new(Held { shared, fd, path, identity, traits, kept_times, finished: AtomicBool::new(false) }))
    }

    /// Makes a directory in this one, or opens the one that is there. Anything else of that name, a link to a directory
    /// included, is removed first.
    ///
    /// # Errors
    /// `NotAllowed`, `Full`; `Changed` when somebody else keeps replacing the name.
    pub fn child_dir(&self, name: Name<'_>) -> Result<Self, HostError> {
        for _ in 0..ATTEMPTS {
            match mkdirat(self.fd(), name.as_bytes(), Mode::from_raw_mode(MODE_WHILE_FILLED)) {
                Ok(()) => {}
                Err(Errno::EXIST) => match self.open_existing(name) {
                    Ok(fd) => return Self::existing(Arc::clone(self.shared()), fd, self.path_of(name)),
                    Err(Errno::LOOP | Errno::NOTDIR) => {
                        self.remove_file(name)?;
                        continue;
                    }
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(self.error_at(name, "open directory", errno)),
                },
                Err(errno) => return Err(self.error_at(name, "make directory", errno)),
            }
            match open_one(self.fd(), name.as_bytes(), OPEN_DIR, Mode::empty()) {
                Ok(fd) => return self.new_child(fd, name),
                Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => {}
                Err(errno) => return Err(self.error_at(name, "open directory", errno)),
            }
        }
        let why = "somebody else keeps replacing it";
        Err(HostError::rule("make directory", self.path_of(name), HostErrorKind::Changed, why))
    }

    /// Opens a directory that is there; one that its owner cannot read is opened up first.
    fn open_existing(&self, name: Name<'_>) -> Result<OwnedFd, Errno> {
        match open_one(self.fd(), name.as_bytes(), OPEN_DIR, Mode::empty()) {
            Err(Errno::ACCESS) => {}
            outcome => return outcome,
        }
        let fd = open_one(self.fd(), name.as_bytes(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let stat = stat_of(fd.as_fd())?;
        if stat.uid != self.rights().uid {
            return Err(Errno::ACCESS);
        }
        let mode = Mode::from_raw_mode(stat.mode | 0o700);
        chmodat(CWD, proc_path(fd.as_fd(), None), mode, AtFlags::empty())?;
        open_one(fd.as_fd(), b".", OPEN_DIR, Mode::empty())
    }

    /// Takes a directory that was just made, unless it turns out that somebody exchanged it.
    fn new_child(&self, fd: OwnedFd, name: Name<'_>) -> Result<Self, HostError> {
        let error = |errno| self.error_at(name, "open directory", errno);
        let stat = stat_of(fd.as_fd()).map_err(error)?;
        let is_ours = stat.uid == self.rights().uid && stat.mode & 0o777 == MODE_WHILE_FILLED;
        if !is_ours {
            return Self::existing(Arc::clone(self.shared()), fd, self.path_of(name));
        }
        if self.hands_acl_on() {
            let target = XattrTarget::Open(fd.as_fd());
            target.remove(ACL_DEFAULT).and_then(|()| target.remove(ACL_ACCESS)).map_err(error)?;
        }
        let traits = Traits { existed: false, owner: Some((stat.uid, stat.gid)), hands_acl_on: false };
        let is_same = stat.dev == self.0.identity.dev;
        let kept_times = if is_same { self.kept_times().inherited() } else { KeptTimes::default() };
        Ok(Self::new(Arc::clone(self.shared()), fd, self.path_of(name), stat.identity(), traits, kept_times))
    }

    /// Takes a directory that was there, as it is.
    pub(super) fn found(&self, fd: OwnedFd, name: Name<'_>) -> Result<Self, HostError> {
        let path = self.path_of(name);
        let stat = stat_of(fd.as_fd()).map_err(|errno| HostError::os("look at", path.clone(), errno))?;
        let entered = self.shared().enter(stat.dev, &fd);
        entered.map_err(|error| HostError::io("open directory", path.clone(), error))?;
        let traits = Traits { existed: true, owner: None, hands_acl_on: has_default_acl(fd.as_fd()) };
        Ok(Self::new(Arc::clone(self.shared()), fd, path, stat.identity(), traits, KeptTimes::default()))
    }

    fn remove_file(&self, name: Name<'_>) -> Result<(), HostError> {
        match unlinkat(self.fd(), name.as_bytes(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error_at(name, "remove", errno)),
        }
    }

    /// Looks at one name, without following it.
    ///
    /// # Errors
    /// `NotFound` when nothing has it.
    pub fn stat(&self, name: Name<'_>) -> Result<Stat, HostError> {
        stat_in(self.fd(), name).map_err(|errno| self.error_at(name, "look at", errno))
    }

    /// Opens the regular file that has the name, so that what it holds need not be fetched; `None` when there is no such
    /// file or it cannot be read. It can be read even after a new file took its name.
    ///
    /// # Errors
    /// Of the file system, when it fails.
    pub fn existing_file(&self, name: Name<'_>) -> Result<Option<SourceFile>, HostError> {
        let fd = match open_one(self.fd(), name.as_bytes(), OPEN_FILE, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS | Errno::PERM) => return Ok(None),
            Err(errno) => return Err(self.error_at(name, "open", errno)),
        };
        match SourceFile::new(fd, self.path_of(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == HostErrorKind::Changed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the directory its metadata, once everything in it is there: making something in it changes its time.
    ///
    /// What could not be applied comes back.
    #[must_use = "it tells what could not be applied"]
    pub fn finish(&self, metadata: &Metadata) -> Vec<NotApplied> {
        let subject = Subject {
            fd: self.fd(),
            kind: FileKind::Directory,
            birth: Birth { owner: self.birth_owner(), mode: None, acl: false, existed: self.0.traits.existed },
            kept_times: self.kept_times(),
        };
        self.0.finished.store(true, Ordering::Relaxed);
        apply(self.rights(), &subject, metadata)
    }

    /// Where the directory was when it was opened. For people: nothing should be opened by it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path.as_path()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn rights(&self) -> &Rights {
        &self.0.shared.rights
    }

    pub(crate) fn path_of(&self, name: Name<'_>) -> HostPath {
        self.0.path.join(name)
    }

    pub(crate) fn path_below_target(&self) -> &[u8] {
        self.0.path.after(self.0.shared.path_len)
    }

    pub(crate) fn error(&self, verb: &'static str, errno: Errno) -> HostError {
        HostError::os(verb, self.0.path.clone(), errno)
    }

    pub(crate) fn error_at(&self, name: Name<'_>, verb: &'static str, errno: Errno) -> HostError {
        HostError::os(verb, self.path_of(name), errno)
    }

    /// Whom something made in it belongs to, when known.
    pub(crate) fn birth_owner(&self) -> Option<(u32, u32)> {
        if self.0.finished.load(Ordering::Relaxed) { None } else { self.0.traits.owner }
    }

    /// Whether nobody else can come in.
    pub(crate) fn is_private(&self) -> bool {
        !self.0.traits.existed && !self.0.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn hands_acl_on(&self) -> bool {
        self.0.traits.hands_acl_on || self.0.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn kept_times(&self) -> &KeptTimes {
        &self.0.kept_times
    }
}

impl Parkable for RestoreDir {
    type Parked = ParkedRestoreDir;

    fn park(self) -> Result<Self::Parked, HostError> {
        let Held { shared, path, identity, traits, .. } = &*self.0;
        let (shared, path_len) = (Arc::clone(shared), path.len());
        Ok(ParkedRestoreDir { shared, path_len, identity: *identity, traits: *traits })
    }

    fn reopen(parked: Self::Parked, child: &Self) -> Result<Self, HostError> {
        let path = child.0.path.clone().truncated(parked.path_len);
        let fd = open_parent(child.fd(), parked.identity, &path, OPEN_DIR)?;
        Ok(Self::new(parked.shared, fd, path, parked.identity, parked.traits, KeptTimes::default()))
    }
}

/// Whether what is made in a directory gets an ACL from it.
fn has_default_acl(dir: BorrowedFd<'_>) -> bool {
    let mut acl = [0; 0];
    // Asked for no bytes, the kernel tells the length.
    fgetxattr(dir, ACL_DEFAULT, &mut acl).is_ok()
}
