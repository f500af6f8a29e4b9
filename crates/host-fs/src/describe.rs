//! [`Describer`]: everything a snapshot keeps about a file besides its content.

use std::sync::Arc;

use rustix::fs::{major, minor, readlinkat};
use rustix::io::Errno;
use vault::{EntryKind, HardLink, Metadata};

use crate::dir::HostDir;
use crate::error::{HostError, HostErrorKind};
use crate::name::Name;
use crate::owners::OwnerNames;
use crate::path::HostPath;
use crate::source::SourceFile;
use crate::stat::{FileKind, Stat};
use crate::xattr::{XattrReader, XattrTarget};

/// Reads what [`Stat`] lacks: extended attributes, owners' names, links' targets.
///
/// Files and directories are asked through the descriptor that is open for their content anyway (0.2 µs when there are
/// no attributes). Links, pipes, sockets and devices must not be opened: they are asked below the held directory by way
/// of `/proc/self/fd` (3.6 µs), so a bent path cannot mislead; where `/proc` is not mounted they are described without
/// attributes, and [`Described::unread`] says so. Keep one per thread: it owns the memory it reads into.
#[derive(Debug)]
pub struct Describer {
    owners: Arc<OwnerNames>,
    xattrs: XattrReader,
}

/// A description, and what is missing from it.
#[derive(Debug)]
pub struct Described {
    /// What was found.
    pub metadata: Metadata,
    /// Why some extended attributes are missing, if any is: the first failure.
    pub unread: Option<HostError>,
}

impl Describer {
    /// A describer that takes names from `owners`.
    #[must_use]
    pub fn new(owners: Arc<OwnerNames>) -> Self {
        Self { owners, xattrs: XattrReader::default() }
    }

    /// Describes a regular file as it was when it was opened.
    pub fn file(&mut self, file: &SourceFile) -> Described {
        self.describe(file.stat(), &XattrTarget::Open(file.fd()), || file.host_path().clone())
    }

    /// Describes a directory; `stat` is its [`HostDir::own_stat`].
    pub fn directory(&mut self, dir: &HostDir, stat: &Stat) -> Described {
        let target = if dir.is_passage() { XattrTarget::node(dir.fd()) } else { XattrTarget::Open(dir.fd()) };
        self.describe(stat, &target, || dir.host_path().clone())
    }

    /// Describes anything that has no content: a symbolic link, a pipe, a socket, a device.
    ///
    /// # Errors
    /// `NotFound` when it is gone; `Changed` when it is a file, a directory, or no symbolic link any more.
    pub fn leaf(&mut self, dir: &HostDir, name: Name<'_>, stat: &Stat) -> Result<(EntryKind, Described), HostError> {
        let (major, minor) = (major(stat.rdev), minor(stat.rdev));
        let kind = match stat.kind {
            FileKind::Symlink => EntryKind::Symlink { target: target_of(dir, name)? },
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Socket => EntryKind::Socket,
            FileKind::CharDevice => EntryKind::CharDevice { major, minor },
            FileKind::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileKind::File | FileKind::Directory => {
                let why = "it has content, so it is described once it is open";
                return Err(HostError::rule("describe", dir.path_of(name), HostErrorKind::Misuse, why));
            }
        };
        let described = self.describe(stat, &XattrTarget::named(dir.fd(), name), || dir.path_of(name));
        Ok((kind, described))
    }

    fn describe(&mut self, stat: &Stat, target: &XattrTarget<'_>, path: impl Fn() -> HostPath) -> Described {
        let (xattrs, failure) = self.xattrs.read(target);
        let has_more_names = stat.nlink > 1 && stat.kind != FileKind::Directory;
        let metadata = Metadata {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            user: self.owners.user(stat.uid).to_vec(),
            group: self.owners.group(stat.gid).to_vec(),
            mtime: stat.mtime,
            xattrs,
            hard_link: has_more_names.then_some(HardLink { device: stat.dev, inode: stat.ino }),
            changed_while_read: false,
            unknown: Vec::new(),
        };
        let unread = failure.map(|errno| HostError::os("read the attributes of", path(), errno));
        Described { metadata, unread }
    }
}

fn target_of(dir: &HostDir, name: Name<'_>) -> Result<Vec<u8>, HostError> {
    match readlinkat(dir.fd(), name.as_bytes(), Vec::with_capacity(256)) {
        Ok(target) => Ok(target.into_bytes()),
        // What the kernel says when it is no link.
        Err(Errno::INVAL) => {
            let why = "it is no symbolic link any more";
            Err(HostError::rule("read link", dir.path_of(name), HostErrorKind::Changed, why))
        }
        Err(errno) => Err(HostError::os("read link", dir.path_of(name), errno)),
    }
}
