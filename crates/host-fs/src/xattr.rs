//! [`XattrTarget`]: extended attributes of something held, read and written the same way however it is held.

use std::io::Write as _;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, lgetxattr, listxattr, llistxattr,
    removexattr, setxattr,
};
use rustix::io::Errno;

use crate::name::Name;

/// POSIX ACL that decides who may access.
pub(crate) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// POSIX ACL that new entries of a directory begin with.
pub(crate) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Longest list of names, and longest value, that Linux lets through.
const XATTR_LEN_MAX: usize = 64 * 1024;
/// Enough for nearly every file. The kernel allocates what it is offered, so a first offer of the maximum costs more
/// than a second call on the rare file that needs it.
const XATTR_LEN_TYPICAL: usize = 512;

/// What to ask for attributes.
pub(crate) enum XattrTarget<'fd> {
    /// A descriptor that was opened for reading or writing.
    Open(BorrowedFd<'fd>),
    /// The file behind a descriptor that only names it (`O_PATH`), by way of `/proc`.
    Node(Vec<u8>),
    /// A name in a held directory, not followed, by way of `/proc`.
    Named(Vec<u8>),
}

impl<'fd> XattrTarget<'fd> {
    pub(crate) fn node(fd: BorrowedFd<'fd>) -> Self {
        Self::Node(proc_path(fd, None))
    }

    pub(crate) fn named(dir: BorrowedFd<'fd>, name: Name<'_>) -> Self {
        Self::Named(proc_path(dir, Some(name)))
    }

    /// Names of the attributes, each ended by a NUL, in `out`.
    fn list(&self, out: &mut Vec<u8>) -> Result<(), Errno> {
        sized(out, |buffer| match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Node(path) => listxattr(path, buffer),
            Self::Named(path) => llistxattr(path, buffer),
        })
    }

    fn get(&self, name: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        sized(out, |buffer| match self {
            Self::Open(fd) => fgetxattr(fd, name, buffer),
            Self::Node(path) => getxattr(path, name, buffer),
            Self::Named(path) => lgetxattr(path, name, buffer),
        })
    }

    /// Writes one attribute, whether or not it is there already.
    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Node(path) => setxattr(path, name, value, XattrFlags::empty()),
            Self::Named(_) => Err(Errno::BADF),
        }
    }

    /// Removes one attribute; one that is not there is removed already.
    pub(crate) fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        let outcome = match self {
            Self::Open(fd) => fremovexattr(fd, name),
            Self::Node(path) => removexattr(path, name),
            Self::Named(_) => Err(Errno::BADF),
        };
        match outcome {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Reads attributes, using the same memory again for every file.
#[derive(Debug, Default)]
pub(crate) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

/// Attributes, names ascending.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl XattrReader {
    /// The attributes of `target`: one system call when there are none. Of attributes that cannot be read, the first
    /// failure comes back too.
    pub(crate) fn read(&mut self, target: &XattrTarget<'_>) -> (Xattrs, Option<Errno>) {
        if let Err(errno) = self.list(target) {
            return (Xattrs::new(), Some(errno));
        }
        let mut xattrs = Xattrs::new();
        let mut failure = None;
        for name in self.names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            match target.get(name, &mut self.value) {
                Ok(()) => xattrs.push((name.to_vec(), self.value.clone())),
                Err(Errno::NODATA) => {}
                Err(errno) => failure = failure.or(Some(errno)),
            }
        }
        xattrs.sort_unstable();
        xattrs.dedup_by(|a, b| a.0 == b.0);
        (xattrs, failure)
    }

    /// The names alone, each ended by a NUL. A file system without attributes has none.
    pub(crate) fn list(&mut self, target: &XattrTarget<'_>) -> Result<&[u8], Errno> {
        match target.list(&mut self.names) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.names.clear(),
            Err(errno) => return Err(errno),
        }
        Ok(&self.names)
    }
}

/// Calls `read` with enough room, and leaves what it read in `out`.
fn sized(out: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
    out.clear();
    out.resize(XATTR_LEN_TYPICAL, 0);
    let len = match read(out) {
        Err(Errno::RANGE) => {
            out.resize(XATTR_LEN_MAX, 0);
            read(out)
        }
        outcome => outcome,
    };
    out.truncate(*len.as_ref().unwrap_or(&0));
    len.map(drop)
}

/// Where `/proc` shows what `fd` holds, or `name` in it. The way there is a descriptor, so nobody can bend it.
pub(crate) fn proc_path(fd: BorrowedFd<'_>, name: Option<Name<'_>>) -> Vec<u8> {
    let mut path = Vec::with_capacity(32 + name.map_or(0, |name| name.as_bytes().len()));
    write!(path, "/proc/self/fd/{}", fd.as_raw_fd()).expect("a vector takes every byte");
    if let Some(name) = name {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
    }
    path
}
