//! [`Stat`]: what one system call tells about a file, and [`FileKind`].

use rustix::fs::FileType;
use vault::Timestamp;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl FileKind {
    /// `None` when the system does not say, or says something unheard of.
    pub(crate) fn from_file_type(file_type: FileType) -> Option<Self> {
        Some(match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => return None,
        })
    }
}

/// What `fstatat` tells: cheap (about 1.2 µs), and enough to decide that a file did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, 0o0 to 0o7777.
    pub mode: u32,
    /// Bytes, holes included; of a symlink, the length of its target.
    pub size: u64,
    /// Last modification of the content.
    pub mtime: Timestamp,
    /// Last change of anything, set by the kernel and by nobody else.
    pub ctime: Timestamp,
    /// The file's number in its file system.
    pub ino: u64,
    /// The file system's number on this machine, until the next start.
    pub dev: u64,
    /// How many names the file has.
    pub nlink: u64,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Of a device: major and minor number together.
    pub rdev: u64,
    /// Allocated 512-byte units.
    pub blocks: u64,
}

impl Stat {
    /// `None` when the file is of a kind that this version does not know.
    #[expect(clippy::allow_attributes, reason = "the widths of the fields differ between machines")]
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_lossless, reason = "as above")]
    pub(crate) fn from_raw(raw: &rustix::fs::Stat) -> Option<Self> {
        Some(Self {
            kind: FileKind::from_file_type(FileType::from_raw_mode(raw.st_mode))?,
            mode: raw.st_mode & 0o7777,
            size: u64::try_from(raw.st_size).unwrap_or(0),
            mtime: timestamp(raw.st_mtime as i64, raw.st_mtime_nsec as u64),
            ctime: timestamp(raw.st_ctime as i64, raw.st_ctime_nsec as u64),
            ino: raw.st_ino as u64,
            dev: raw.st_dev as u64,
            nlink: raw.st_nlink as u64,
            uid: raw.st_uid,
            gid: raw.st_gid,
            rdev: raw.st_rdev as u64,
            blocks: raw.st_blocks as u64,
        })
    }

    /// Whether `other`, taken of the same name at another time, shows no sign of a change (I-37): equal kind, size,
    /// mtime, ctime and inode.
    ///
    /// Times have a granularity: a file that was still being written within two seconds of the older look may have
    /// changed and show nothing; the caller adds that rule, because it knows when it looked. `dev` is left out, because
    /// it is a new number after each start for many file systems.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.size == other.size
            && self.mtime == other.mtime
            && self.ctime == other.ctime
            && self.ino == other.ino
    }

    /// Which file this is, as long as the machine runs and the file exists.
    pub(crate) fn identity(&self) -> Identity {
        Identity { dev: self.dev, ino: self.ino }
    }
}

/// A file's number and its file system's: equal for two looks at one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

fn timestamp(secs: i64, nanos: u64) -> Timestamp {
    // A broken file system may tell more than a second of nanoseconds, which a snapshot cannot hold.
    Timestamp { secs, nanos: u32::try_from(nanos).unwrap_or(0).min(999_999_999) }
}
