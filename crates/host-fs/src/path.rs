//! [`HostPath`]: where something is, for messages; nothing is ever opened by it.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::name::Name;
use crate::shown::Shown;

/// The path a person would call something by.
///
/// It is told in errors only. Directories are held as descriptors, so a path that is wrong by now, or longer than the
/// system takes, does no harm.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HostPath(Vec<u8>);

impl HostPath {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn join(&self, name: Name<'_>) -> Self {
        let name = name.as_bytes();
        let mut joined = Vec::with_capacity(self.0.len() + 1 + name.len());
        joined.extend_from_slice(&self.0);
        if joined.last().is_some_and(|last| *last != b'/') {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
        Self(joined)
    }

    /// The path of a directory above: its first `len` bytes.
    pub(crate) fn truncated(mut self, len: usize) -> Self {
        self.0.truncate(len);
        self
    }

    /// What follows the first `len` bytes, without the slash between.
    pub(crate) fn after(&self, len: usize) -> &[u8] {
        let after = &self.0[len..];
        after.strip_prefix(b"/").unwrap_or(after)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown::new(&self.0).fmt(f)
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}
