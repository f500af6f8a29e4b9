//! [`Leaf`]: entries without content.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat, symlinkat};
use rustix::io::Errno;
use vault::{EntryKind, Metadata};

use super::Restored;
use super::apply::{Birth, Subject, apply};
use super::dir::RestoreDir;
use super::link::LinkSource;
use super::not_applied::{Aspect, NotApplied, Reason};
use super::place::place;
use crate::beneath::open_one;
use crate::dir::stat_of;
use crate::error::{HostError, HostErrorKind};
use crate::name::Name;
use crate::stat::FileKind;

/// Something without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf<'l> {
    /// A symbolic link that says `target`, whatever that is.
    Symlink {
        /// Any bytes but NUL.
        target: &'l [u8],
    },
    /// A named pipe.
    Fifo,
    /// A socket's place.
    Socket,
    /// A character device.
    CharDevice {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
}

impl<'l> Leaf<'l> {
    /// The leaf that an entry of this kind is; `None` for files and directories.
    #[must_use]
    pub fn of(kind: &'l EntryKind) -> Option<Self> {
        Some(match kind {
            EntryKind::File { .. } | EntryKind::Directory { .. } => return None,
            EntryKind::Symlink { target } => Self::Symlink { target },
            EntryKind::Fifo => Self::Fifo,
            EntryKind::Socket => Self::Socket,
            EntryKind::CharDevice { major, minor } => Self::CharDevice { major: *major, minor: *minor },
            EntryKind::BlockDevice { major, minor } => Self::BlockDevice { major: *major, minor: *minor },
        })
    }

    fn kind(self) -> FileKind {
        match self {
            Self::Symlink { .. } => FileKind::Symlink,
            Self::Fifo => FileKind::Fifo,
            Self::Socket => FileKind::Socket,
            Self::CharDevice { .. } => FileKind::CharDevice,
            Self::BlockDevice { .. } => FileKind::BlockDevice,
        }
    }

    fn device_number(self) -> u64 {
        match self {
            Self::CharDevice { major, minor } | Self::BlockDevice { major, minor } => makedev(major, minor),
            Self::Symlink { .. } | Self::Fifo | Self::Socket => 0,
        }
    }

    fn is_device(self) -> bool {
        matches!(self, Self::CharDevice { .. } | Self::BlockDevice { .. })
    }

    fn make(self, dir: &RestoreDir, name: &[u8]) -> Result<(), Errno> {
        let file_type = match self {
            Self::Symlink { target } => return symlinkat(target, dir.fd(), name),
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::CharDevice { .. } => FileType::CharacterDevice,
            Self::BlockDevice { .. } => FileType::BlockDevice,
        };
        mknodat(dir.fd(), name, file_type, Mode::RUSR | Mode::WUSR, self.device_number())
    }
}

impl RestoreDir {
    /// Makes something without content, in place of whatever has that name, an empty directory included.
    ///
    /// Devices are only made when privileged; otherwise nothing is touched and `not_applied` says so.
    ///
    /// # Errors
    /// `Occupied` when a directory with entries has the name; `Changed` when somebody replaced the new entry before it
    /// got its metadata; those of making it.
    pub fn leaf(&self, name: Name<'_>, leaf: Leaf<'_>, metadata: &Metadata) -> Result<Restored, HostError> {
        if leaf.is_device() && !self.rights().privileged {
            let not_applied = vec![NotApplied::new(Aspect::Device, Reason::Unprivileged)];
            return Ok(Restored { link: None, not_applied });
        }
        let error = |verb, errno| self.error_at(name, verb, errno);
        place(self.fd(), name, |name| leaf.make(self, name)).map_err(|errno| error("make", errno))?;

        // What is found by the name must be what was made: somebody who may write here could have put a second name of
        // a foreign file in its place, to have its owner changed.
        let fd = open_one(self.fd(), name.as_bytes(), OFlags::PATH, Mode::empty());
        let fd = fd.map_err(|errno| error("open", errno))?;
        let stat = stat_of(fd.as_fd()).map_err(|errno| error("look at", errno))?;
        let is_as_made =
            stat.kind == leaf.kind() && stat.nlink == 1 && (!leaf.is_device() || stat.rdev == leaf.device_number());
        if !is_as_made {
            let why = "somebody replaced it as soon as it was made";
            return Err(HostError::rule("restore", self.path_of(name), HostErrorKind::Changed, why));
        }
        let subject = Subject {
            fd: fd.as_fd(),
            kind: leaf.kind(),
            birth: Birth { owner: self.birth_owner(), mode: None, acl: self.hands_acl_on(), existed: false },
            kept_times: self.kept_times(),
        };
        let not_applied = apply(self.rights(), &subject, metadata);
        let link = metadata.hard_link.map(|_| LinkSource::new(self, name, fd.as_fd())).transpose()?;
        Ok(Restored { link, not_applied })
    }
}
