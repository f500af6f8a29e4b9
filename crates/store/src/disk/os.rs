//! [`OsDisk`]: the operating system's file system.
#![expect(clippy::disallowed_methods, reason = "the one place of this crate that touches std::fs")]

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, CWD, FallocateFlags, RenameFlags, fadvise, fallocate};

use super::{Disk, DiskFile, DiskLock, DiskWriter};

/// How much of a new file is sent on its way to the disk at once.
const SEND_STEP_LEN: u64 = 8 << 20;

/// The real file system. Everything it makes belongs to its owner alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskWriter>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(NewFile { file, len: 0, sent_len: 0 }))
    }

    fn allocate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, len)?;
        file.sync_all()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn file_system(&self, path: &Path) -> io::Result<u32> {
        // The kernel's numbers have 32 bits, whatever the type of the field is on this machine.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits are what is meant")]
        let number = rustix::fs::statfs(path)?.f_type as u32;
        Ok(number)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(DiskLock::new(Box::new(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn forget_cached(&self) {
        // From the first byte to the last; what is dirty stays.
        let _ = fadvise(self, 0, None, Advice::DontNeed);
    }
}

/// A file being written, most of which is on its way to the disk before it is synced: the disk works while records come in,
/// and the sync at the end does not wait for all of them.
struct NewFile {
    file: File,
    len: u64,
    /// So much the kernel has been told to write.
    sent_len: u64,
}

impl DiskFile for NewFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        DiskFile::len(&self.file)
    }
}

impl DiskWriter for NewFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        if self.len >= self.sent_len + SEND_STEP_LEN {
            // Of pages that are not written yet this begins the writing. A hint: what it does not do, the sync does.
            let _ = fadvise(&self.file, self.sent_len, NonZeroU64::new(self.len - self.sent_len), Advice::DontNeed);
            self.sent_len = self.len;
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
