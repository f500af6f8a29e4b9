//! [`Disk`]: the few things the store asks of a file system, and nothing else.
//!
//! Files are created, appended to, synced, renamed and then only read: there is no way to open an existing file for
//! writing. [`OsDisk`] is the real one; `testkit` has one that fails, tears and loses power on request. Both pass
//! `testkit::disk::check_disk`.

pub(crate) mod carrier;
mod os;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;

pub use os::OsDisk;

/// A file system, as far as the store uses one. Paths are absolute or relative as the store was given its directory.
///
/// Nothing is durable until it is synced: bytes by [`DiskWriter::sync_data`], names by [`sync_dir`](Self::sync_dir) of
/// the directory that holds them. A failed sync is final: the caller must not sync again and believe the answer.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory; its parent exists.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file and opens it for appending.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskWriter>>;

    /// Makes a file of `len` bytes whose room on the disk is taken, durably; what is in it does not matter.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name; `Unsupported` where room cannot be taken in advance. A file that was
    /// made may be left.
    fn allocate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Moves a file to a name nobody has.
    ///
    /// # Errors
    /// `AlreadyExists` when somebody has; nothing is moved then.
    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Moves a file over whatever file has the name `to`.
    ///
    /// # Errors
    /// `NotFound` when `from` does not exist.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Any error is final: what is durable is unknown.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>>;

    /// Bytes an unprivileged writer can still add where `path` is.
    ///
    /// # Errors
    /// When the file system does not tell.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Which file system `path` is on: the number `statfs` gives it, as in `linux/magic.h`.
    ///
    /// # Errors
    /// When the file system does not tell.
    fn file_system(&self, path: &Path) -> io::Result<u32>;

    /// Takes the lock named by a file that is made when it is missing; `None` when somebody holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locks do not work there.
    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>>;
}

/// A held lock; dropping it, or dying, lets go.
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl DiskLock {
    /// Wraps whatever lets go of the lock when it is dropped.
    #[must_use]
    pub fn new(guard: Box<dyn Any + Send + Sync>) -> Self {
        Self(guard)
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads from `offset` into `buffer` and returns the count, which is 0 only at the end of the file.
    ///
    /// # Errors
    /// When the disk cannot deliver.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// When the file system does not tell.
    fn len(&self) -> io::Result<u64>;

    /// Asks the system to forget what it keeps of the file in memory, so that later reads ask the disk; of what is synced
    /// that loses nothing. A hint, where there is such a memory.
    fn forget_cached(&self) {}

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file that was just created, open for appending and reading.
pub trait DiskWriter: DiskFile {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// After any error the file's content is unknown.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all appended bytes, and the length, durable.
    ///
    /// # Errors
    /// After any error the file's content is unknown, whatever a later sync says.
    fn sync_data(&mut self) -> io::Result<()>;
}
