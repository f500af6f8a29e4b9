//! [`Name`]: one path component that cannot lead anywhere else.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use crate::shown::Shown;

/// One name in a directory: not empty, not `.` or `..`, no `/`, no NUL; otherwise any bytes.
///
/// Every function of this crate that opens or makes something below a directory takes one, so a path that a forged
/// snapshot smuggles in as a name never reaches a system call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'n>(&'n [u8]);

impl<'n> Name<'n> {
    /// Takes `bytes` as a name, or `None` when they cannot be one.
    #[must_use]
    pub fn new(bytes: &'n [u8]) -> Option<Self> {
        let is_name =
            !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        is_name.then_some(Self(bytes))
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'n [u8] {
        self.0
    }

    /// The name as the standard library takes it.
    #[must_use]
    pub fn as_os_str(self) -> &'n OsStr {
        OsStr::from_bytes(self.0)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", Shown::new(self.0))
    }
}
