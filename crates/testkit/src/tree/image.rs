//! [`TreeImage`]: everything there is to know about a tree, and [`compare`], the oracle.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    Advice, AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, fadvise, lgetxattr, llistxattr, openat, readlinkat,
    seek, statat,
};
use rustix::io::Errno;

/// Content is taken in by blocks of this length; those of zeros count as nothing, wherever the holes are.
const BLOCK_LEN: usize = 4096;

/// File systems keep extents and the like in blocks of the file's own: this much more than its data is nothing special.
const SURPLUS_MAX: u64 = 128 * 1024;

/// A tree as it was at one time: every entry by its path below the root, the root itself by the empty path.
#[derive(Clone, Debug)]
pub struct TreeImage {
    nodes: BTreeMap<Vec<u8>, Node>,
}

/// What two trees are compared by besides kinds, contents, names and targets.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions {
    /// Owners and groups.
    pub owners: bool,
    /// Permission bits, set-id bits left out when `set_id` is false.
    pub modes: bool,
    /// Set-id bits of files.
    pub set_id: bool,
    /// Modification times.
    pub mtimes: bool,
    /// Where the holes are.
    pub holes: bool,
    /// Extended attributes, ACLs among them.
    pub xattrs: bool,
    /// Attributes of the system: `trusted.*` and `security.*`.
    pub system_xattrs: bool,
    /// Which names are names of one file.
    pub hard_links: bool,
    /// Devices: ignored when false, even if missing.
    pub devices: bool,
    /// Inode numbers and change times: whether it is the same tree, untouched.
    pub untouched: bool,
}

impl CompareOptions {
    /// All that a restore must bring back.
    #[must_use]
    pub fn exact() -> Self {
        Self {
            owners: true,
            modes: true,
            set_id: true,
            mtimes: true,
            holes: true,
            xattrs: true,
            system_xattrs: true,
            hard_links: true,
            devices: true,
            untouched: false,
        }
    }

    /// What a restore brings back for an ordinary user.
    #[must_use]
    pub fn unprivileged() -> Self {
        Self { owners: false, set_id: false, system_xattrs: false, devices: false, ..Self::exact() }
    }

    /// What a restore brings back for the user this process runs as.
    #[must_use]
    pub fn for_this_user() -> Self {
        if rustix::process::geteuid().is_root() { Self::exact() } else { Self::unprivileged() }
    }

    /// Nothing at all happened to the tree.
    #[must_use]
    pub fn untouched() -> Self {
        Self { untouched: true, ..Self::exact() }
    }
}

/// One thing that is not the same in two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Below the roots; empty for the roots themselves.
    pub path: String,
    /// What differs, and how.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// How the tree at `restored` differs from the one at `original`: nothing, when a restore did its work.
///
/// # Errors
/// Something cannot be read: then nothing can be said.
pub fn compare(original: &Path, restored: &Path, options: CompareOptions) -> io::Result<Vec<Difference>> {
    Ok(TreeImage::read(original)?.differences(&TreeImage::read(restored)?, options))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: FileType,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    ctime: (i64, i64),
    inode: u64,
    size: u64,
    device: u64,
    content: Option<blake3::Hash>,
    /// Where there is data, if that can be told: in space that is reserved and not written, whatever pages happen to be
    /// cached count as data, and they come and go.
    data: Option<Vec<(u64, u64)>>,
    target: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name, in order, of the file that this is a name of.
    first_name: Vec<u8>,
}

impl TreeImage {
    /// Takes everything in, from the directory `root` down. Needs two descriptors, however deep the tree is.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut image = Self { nodes: BTreeMap::new() };
        let mut dir = openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut node = read_node(dir.as_fd(), b".")?;
        node.inode = 0;
        image.nodes.insert(Vec::new(), node);
        let mut path = Vec::new();
        let mut levels = vec![names_in(&dir)?];
        while let Some(names) = levels.last_mut() {
            let Some(name) = names.pop() else {
                levels.pop();
                if !levels.is_empty() {
                    dir = open_dir(dir.as_fd(), b"..")?;
                    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                }
                continue;
            };
            let parent_len = path.len();
            if parent_len > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", shown(&path)));
            let node = read_node(dir.as_fd(), &name).map_err(failed)?;
            if node.kind == FileType::Directory {
                dir = open_dir(dir.as_fd(), &name).map_err(failed)?;
                levels.push(names_in(&dir)?);
                image.nodes.insert(path.clone(), node);
            } else {
                image.nodes.insert(path.clone(), node);
                path.truncate(parent_len);
            }
        }
        image.group_hard_links();
        Ok(image)
    }

    /// How many entries there are, the root itself included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is not even a root, which [`read`](Self::read) never returns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Leaves out the entry at `path` and everything below it.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/").into_bytes();
        self.nodes.retain(|other, _| other != path.as_bytes() && !other.starts_with(&below));
        self
    }

    /// How `other` differs from this.
    #[must_use]
    pub fn differences(&self, other: &Self, options: CompareOptions) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut report = |path: &[u8], what: String| differences.push(Difference { path: shown(path), what });
        for (path, node) in &self.nodes {
            match other.nodes.get(path) {
                Some(other) => node.differences(other, options, |what| report(path, what)),
                None if !options.devices && node.is_device() => {}
                None => report(path, "is missing".to_owned()),
            }
        }
        for path in other.nodes.keys().filter(|path| !self.nodes.contains_key(*path)) {
            report(path, "was not there".to_owned());
        }
        differences
    }

    fn group_hard_links(&mut self) {
        let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (path, node) in &mut self.nodes {
            if node.kind != FileType::Directory {
                node.first_name = first_names.entry(node.inode).or_insert_with(|| path.clone()).clone();
            }
        }
    }
}

impl Node {
    fn is_device(&self) -> bool {
        matches!(self.kind, FileType::CharacterDevice | FileType::BlockDevice)
    }

    fn differences(&self, other: &Self, options: CompareOptions, mut report: impl FnMut(String)) {
        if self.kind != other.kind {
            report(format!("is {:?}, was {:?}", other.kind, self.kind));
            return;
        }
        if self.is_device() && !options.devices {
            return;
        }
        if self.size != other.size && self.kind != FileType::Directory {
            report(format!("has {} bytes, had {}", other.size, self.size));
        }
        if self.content != other.content {
            report("has other content".to_owned());
        }
        if self.target != other.target {
            report(format!("points to {}, pointed to {}", shown(&other.target), shown(&self.target)));
        }
        if self.device != other.device {
            report(format!("has device number {:x}, had {:x}", other.device, self.device));
        }
        let mask = if options.set_id || self.kind == FileType::Directory { 0o7777 } else { 0o1777 };
        if options.modes && self.mode & mask != other.mode & mask {
            report(format!("has mode {:04o}, had {:04o}", other.mode, self.mode));
        }
        if options.owners && self.owner != other.owner {
            report(format!("belongs to {:?}, belonged to {:?}", other.owner, self.owner));
        }
        if options.mtimes && self.mtime != other.mtime {
            report(format!("has mtime {:?}, had {:?}", other.mtime, self.mtime));
        }
        if let (true, Some(data), Some(other_data)) = (options.holes, &self.data, &other.data)
            && data != other_data
        {
            report(format!("has data at {:?}, had it at {:?}", brief(other_data), brief(data)));
        }
        if options.hard_links && self.first_name != other.first_name {
            report(format!("is a name of {}, was one of {}", shown(&other.first_name), shown(&self.first_name)));
        }
        if options.xattrs && self.xattrs(options) != other.xattrs(options) {
            report(format!("has attributes {:?}, had {:?}", other.xattrs(options), self.xattrs(options)));
        }
        if options.untouched && (self.inode, self.ctime) != (other.inode, other.ctime) {
            report(format!("was touched: inode and ctime {:?}", (other.inode, other.ctime)));
        }
    }

    fn xattrs(&self, options: CompareOptions) -> Vec<(String, String)> {
        let is_compared =
            |name: &[u8]| options.system_xattrs || !(name.starts_with(b"trusted.") || name.starts_with(b"security."));
        let compared = self.xattrs.iter().filter(|(name, _)| is_compared(name));
        compared.map(|(name, value)| (shown(name), shown(value))).collect()
    }
}

fn read_node(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Node> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let nanos = |nanos| i64::try_from(nanos).unwrap_or(-1);
    let mut node = Node {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        mtime: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
        ctime: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        device: 0,
        content: None,
        data: None,
        target: Vec::new(),
        xattrs: read_xattrs(dir, name)?,
        first_name: Vec::new(),
    };
    match kind {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(openat(dir, name, flags, Mode::empty())?);
            let data = data_of(&file, node.size)?;
            let content = hash_of(&file, &data)?;
            node.content = Some(content.hash);
            let data = if content.has_zeros { uncached_data_of(&file, node.size)? } else { data };
            let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            let data_len: u64 = data.iter().map(|(start, end)| end - start).sum();
            node.data = (allocated <= data_len + SURPLUS_MAX).then_some(data);
        }
        FileType::Symlink => node.target = readlinkat(dir, name, Vec::new())?.into_bytes(),
        FileType::CharacterDevice | FileType::BlockDevice => node.device = stat.st_rdev,
        _ => {}
    }
    Ok(node)
}

/// Where the file has data, as the file system tells.
fn data_of(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut data = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match seek(file, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => break,
            start => start?,
        };
        position = seek(file, SeekFrom::Hole(start))?.min(size);
        data.push((start, position));
    }
    Ok(data)
}

/// The same once clean pages have left the cache.
fn uncached_data_of(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    fadvise(file, 0, None, Advice::DontNeed)?;
    data_of(file, size)
}

struct Content {
    /// Of every block that is not zeros, and of where it stands.
    hash: blake3::Hash,
    /// Whether blocks of zeros count as data.
    has_zeros: bool,
}

fn hash_of(file: &File, data: &[(u64, u64)]) -> io::Result<Content> {
    let mut has_zeros = false;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * BLOCK_LEN];
    for (start, end) in data {
        let mut position = start / BLOCK_LEN as u64 * BLOCK_LEN as u64;
        while position < *end {
            let read = file.read_at(&mut buffer, position)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
            }
            // Only whole blocks, unless it is the last, so that blocks stand where they stand in every file.
            let whole = if position + (read as u64) < *end { read / BLOCK_LEN * BLOCK_LEN } else { read };
            for (index, block) in buffer[..whole].chunks(BLOCK_LEN).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    hasher.update(&(position + (index * BLOCK_LEN) as u64).to_le_bytes());
                    hasher.update(block);
                } else {
                    has_zeros = true;
                }
            }
            position += whole as u64;
        }
    }
    Ok(Content { hash: hasher.finalize(), has_zeros })
}

fn read_xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut names = vec![0; 65_536];
    let len = match llistxattr(&path, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        len => len?,
    };
    let mut xattrs = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let len = lgetxattr(&path, name, &mut value)?;
        value.truncate(len);
        xattrs.insert(name.to_vec(), value);
    }
    Ok(xattrs)
}

fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

fn names_in(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// The first few; a message need not be longer.
fn brief(data: &[(u64, u64)]) -> &[(u64, u64)] {
    &data[..data.len().min(4)]
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
