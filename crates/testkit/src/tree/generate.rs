//! [`TreeSpec`]: a tree that a seed decides, with every kind of file that a backup meets.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fallocate, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, utimensat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::random::Random;

/// Longest path of the ordinary part of a tree, below the tree's root: the rest of 4095 bytes is left to that.
const PATH_LEN_MAX: usize = 3000;

/// What a tree consists of. Equal specifications make equal trees, except for inode numbers and change times.
#[derive(Clone, Debug)]
pub struct TreeSpec {
    /// Decides everything that the other fields leave open.
    pub seed: u64,
    /// Ordinary files, spread over the directories.
    pub file_count: usize,
    /// Directories, spread over each other.
    pub dir_count: usize,
    /// Longest ordinary file.
    pub file_len_max: usize,
    /// Entries of one directory that has many.
    pub crowd: usize,
    /// Levels of one chain of directories, each in the one before.
    pub depth: usize,
    /// One of each special thing: kinds, sizes, holes, links, names, modes, owners, times, attributes.
    pub specials: bool,
}

/// What came of writing a tree.
#[derive(Debug, Default)]
pub struct Written {
    /// Names made, directories included.
    pub entries: usize,
    /// Bytes written, holes not counted.
    pub bytes: u64,
    /// What this process or file system cannot make, in words.
    pub left_out: Vec<String>,
}

impl TreeSpec {
    /// Every kind of file that a backup has to bring back, about 5,000 entries and 30 MB.
    #[must_use]
    pub fn everything(seed: u64) -> Self {
        Self { seed, file_count: 300, dir_count: 60, file_len_max: 40_000, crowd: 4000, depth: 40, specials: true }
    }

    /// Plain files of the sizes of a source tree, 16 in a directory; nothing special.
    #[must_use]
    pub fn source_like(seed: u64, file_count: usize) -> Self {
        Self { seed, file_count, dir_count: file_count / 16, file_len_max: 18_000, crowd: 0, depth: 0, specials: false }
    }

    /// Writes the tree into `root`, which is made, or is there and empty.
    ///
    /// # Errors
    /// Of the file system, except what it cannot do at all: that is left out, and said.
    pub fn write(&self, root: &Path) -> io::Result<Written> {
        if !root.is_dir() {
            fs::create_dir(root)?;
        }
        let mut writer = Writer {
            spec: self,
            random: Random::new(self.seed),
            root: root.to_path_buf(),
            dirs: vec![root.to_path_buf()],
            files: Vec::new(),
            taken: HashSet::new(),
            written: Written::default(),
        };
        writer.directories()?;
        writer.files()?;
        writer.crowd()?;
        writer.chain()?;
        if self.specials {
            writer.sizes()?;
            writer.holes()?;
            writer.names()?;
            writer.links()?;
            writer.nodes()?;
            writer.attributes()?;
            writer.modes()?;
            writer.owners()?;
        }
        writer.times()?;
        Ok(writer.written)
    }
}

struct Writer<'s> {
    spec: &'s TreeSpec,
    random: Random,
    root: PathBuf,
    /// Parents before children.
    dirs: Vec<PathBuf>,
    files: Vec<PathBuf>,
    taken: HashSet<PathBuf>,
    written: Written,
}

impl Writer<'_> {
    fn directories(&mut self) -> io::Result<()> {
        for _ in 0..self.spec.dir_count {
            let parent = self.random.pick(&self.dirs).clone();
            if let Some(path) = self.free_path(&parent) {
                self.make_dir(path)?;
            }
        }
        Ok(())
    }

    fn files(&mut self) -> io::Result<()> {
        for _ in 0..self.spec.file_count {
            let parent = self.random.pick(&self.dirs).clone();
            let len = self.random.index(self.spec.file_len_max + 1);
            let content = self.content(len);
            if let Some(path) = self.free_path(&parent) {
                self.make_file(path, &content)?;
            }
        }
        Ok(())
    }

    fn crowd(&mut self) -> io::Result<()> {
        if self.spec.crowd == 0 {
            return Ok(());
        }
        let dir = self.root.join("crowd");
        self.make_dir(dir.clone())?;
        for index in 0..self.spec.crowd {
            let content: &[u8] = if index % 100 == 0 { b"not empty" } else { b"" };
            // Not among `files`: nothing special happens to these.
            fs::write(dir.join(format!("entry-{index:06}.txt")), content)?;
        }
        self.written.entries += self.spec.crowd;
        Ok(())
    }

    /// The paths in it may be longer than the system takes, so it is made one directory at a time.
    fn chain(&mut self) -> io::Result<()> {
        if self.spec.depth == 0 {
            return Ok(());
        }
        let top = self.root.join("chain");
        self.make_dir(top.clone())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir: OwnedFd = openat(CWD, &top, flags, Mode::empty())?;
        for level in 0..self.spec.depth {
            let name = format!("level-{level}-{}", "x".repeat(self.random.index(12)));
            mkdirat(&dir, &name, Mode::from_raw_mode(0o755))?;
            dir = openat(&dir, &name, flags, Mode::empty())?;
            if level % 100 == 0 || level + 1 == self.spec.depth {
                let create = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
                let file = File::from(openat(&dir, "file", create, Mode::from_raw_mode(0o644))?);
                file.write_all_at(format!("{level} levels down").as_bytes(), 0)?;
                self.written.entries += 1;
            }
        }
        self.written.entries += self.spec.depth;
        Ok(())
    }

    /// The lengths at which something begins or ends: blocks, chunks, pages.
    fn sizes(&mut self) -> io::Result<()> {
        let dir = self.root.join("sizes");
        self.make_dir(dir.clone())?;
        let lens = [0, 1, 4095, 4096, 4097, 65_536, 262_143, 262_144, 262_145, 1_048_577, 5_242_880];
        for len in lens {
            let contents = [self.random.bytes(len), self.random.text(len), self.random.zero_heavy(len)];
            for (content, kind) in contents.iter().zip(["random", "text", "zeros"]) {
                self.make_file(dir.join(format!("{len}.{kind}")), content)?;
            }
        }
        let same = self.random.bytes(300_000);
        self.make_file(dir.join("same-1"), &same)?;
        self.make_file(dir.join("same-2"), &same)
    }

    fn holes(&mut self) -> io::Result<()> {
        let dir = self.root.join("holes");
        self.make_dir(dir.clone())?;
        self.make_sparse(dir.join("both-ends"), 5 << 20, &[(1 << 20, 4096), (3 << 20, 70_000)])?;
        self.make_sparse(dir.join("front"), (1 << 20) + 4096, &[(1 << 20, 4096)])?;
        self.make_sparse(dir.join("back"), 1 << 20, &[(0, 10)])?;
        self.make_sparse(dir.join("only-hole"), 3 << 20, &[])?;
        self.make_sparse(dir.join("small-hole"), 100, &[])?;
        self.make_sparse(dir.join("middle"), 300_000, &[(0, 4096), (200_000, 100_000)])?;
        self.make_sparse(dir.join("odd-edges"), 1_000_003, &[(123_457, 1), (777_777, 3)])?;
        self.make_sparse(dir.join("vast"), 1 << 40, &[(1 << 39, 4096)])?;
        let comb: Vec<(u64, usize)> = (0..200).map(|tooth| (tooth * 65_536, 4096)).collect();
        self.make_sparse(dir.join("comb"), 200 * 65_536 + 1, &comb)?;
        let path = dir.join("reserved");
        self.make_file(path.clone(), b"few bytes in much reserved space")?;
        let file = File::options().write(true).open(&path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, 1 << 20) {
            Err(Errno::OPNOTSUPP) => self.leave_out("preallocated space: the file system has none"),
            outcome => outcome?,
        }
        Ok(())
    }

    fn names(&mut self) -> io::Result<()> {
        let dir = self.root.join("names");
        self.make_dir(dir.clone())?;
        let mut names: Vec<Vec<u8>> = vec![
            b"-rf".to_vec(),
            b"...".to_vec(),
            b"a\nb\tc\x1b[31m".to_vec(),
            b"\xff\xfe\x80".to_vec(),
            b"na\xc3\xafve".to_vec(),
            b"nai\xcc\x88ve".to_vec(),
            b"README".to_vec(),
            b"readme".to_vec(),
            "\u{202e}fdp.exe".as_bytes().to_vec(),
            b"back\\slash".to_vec(),
            b"file.bk-tmp-0123456789abcdef".to_vec(),
            vec![b'n'; 255],
            "\u{1f980}".repeat(63).into_bytes(),
        ];
        names.extend((1..=255).filter(|byte| !matches!(byte, b'/' | b'.')).map(|byte| vec![byte]));
        for name in names {
            let path = dir.join(OsString::from_vec(name));
            match self.make_file(path, b"named") {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.leave_out("some names: the file system refuses them");
                }
                outcome => outcome?,
            }
        }
        let nested = dir.join(OsString::from_vec(vec![0xc3; 200]));
        self.make_dir(nested.clone())?;
        self.make_file(nested.join("in a directory of an odd name"), b"here")?;
        self.make_dir(dir.join("empty directory"))
    }

    fn links(&mut self) -> io::Result<()> {
        let dir = self.root.join("links");
        let other = dir.join("other");
        self.make_dir(dir.clone())?;
        self.make_dir(other.clone())?;
        let long = "l".repeat(4000);
        let targets: [(&str, &[u8]); 8] = [
            ("dangling", b"nowhere/at/all"),
            ("absolute", b"/etc/passwd"),
            ("to-dir", b"other"),
            ("up", b"../.."),
            ("self", b"self"),
            ("odd", b"\xff\xfe\n"),
            ("long", long.as_bytes()),
            ("root", b"/"),
        ];
        for (name, target) in targets {
            match symlink(OsStr::from_bytes(target), dir.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                    self.leave_out("a symbolic link with a long target: the file system refuses it");
                }
                outcome => {
                    outcome?;
                    self.written.entries += 1;
                }
            }
        }
        let pairs = [("within-a", "within-b", &dir), ("across-a", "across-b", &other)];
        for (first, second, place) in pairs {
            let content = self.random.bytes(10_000);
            self.make_file(dir.join(first), &content)?;
            fs::hard_link(dir.join(first), place.join(second))?;
        }
        self.make_file(dir.join("many-0"), b"")?;
        for index in 1..20 {
            let place = if index % 2 == 0 { &dir } else { &other };
            fs::hard_link(dir.join("many-0"), place.join(format!("many-{index}")))?;
        }
        let linked = linkat(CWD, dir.join("dangling"), CWD, other.join("same-link"), AtFlags::empty());
        match linked {
            Err(Errno::PERM | Errno::OPNOTSUPP) => self.leave_out("a symbolic link with two names"),
            outcome => outcome?,
        }
        self.written.entries += pairs.len() + 20;
        Ok(())
    }

    fn nodes(&mut self) -> io::Result<()> {
        let dir = self.root.join("nodes");
        self.make_dir(dir.clone())?;
        let nodes = [
            ("fifo", FileType::Fifo, 0),
            ("socket", FileType::Socket, 0),
            ("null", FileType::CharacterDevice, makedev(1, 3)),
            ("far-char", FileType::CharacterDevice, makedev(4000, 1_000_000)),
            ("block", FileType::BlockDevice, makedev(7, 200)),
        ];
        for (name, file_type, device) in nodes {
            match mknodat(CWD, dir.join(name), file_type, Mode::from_raw_mode(0o640), device) {
                Ok(()) => self.written.entries += 1,
                Err(Errno::PERM) => self.leave_out("devices: not allowed"),
                Err(Errno::INVAL) => self.leave_out("a device of a large number: the file system has none"),
                Err(errno) => return Err(errno.into()),
            }
        }
        fs::hard_link(dir.join("fifo"), dir.join("fifo-2"))?;
        self.written.entries += 1;
        Ok(())
    }

    fn attributes(&mut self) -> io::Result<()> {
        let dir = self.root.join("attributes");
        self.make_dir(dir.clone())?;
        let file = dir.join("file");
        let read_only = dir.join("read-only");
        let shared = dir.join("shared");
        self.make_file(file.clone(), b"with attributes")?;
        self.make_file(read_only.clone(), b"with attributes, and read-only")?;
        self.make_dir(shared.clone())?;
        let big = self.random.bytes(2000);
        let users: [(&Path, &str, &[u8]); 6] = [
            (&file, "user.comment", b"a value\0with a NUL"),
            (&file, "user.empty", b""),
            (&file, "user.big", &big),
            (&file, "user.n\u{e4}me", b"\xff"),
            (&read_only, "user.comment", b"set before it became read-only"),
            (&shared, "user.comment", b"of a directory"),
        ];
        for (path, name, value) in users {
            self.set_xattr(path, name, value)?;
        }
        for index in 0..30 {
            self.set_xattr(&read_only, &format!("user.many.{index}"), b"x")?;
        }
        let others = [(0x02, 4, 12_345), (0x04, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
        let acl = acl((0x01, 7, u32::MAX), &others);
        self.set_xattr(&file, "system.posix_acl_access", &acl)?;
        self.set_xattr(&shared, "system.posix_acl_access", &acl)?;
        self.set_xattr(&shared, "system.posix_acl_default", &acl)?;
        // Has what the default ACL of its directory gave it.
        self.make_file(shared.join("inheritor"), b"has an inherited ACL")?;
        let without = shared.join("without");
        self.make_file(without.clone(), b"has none")?;
        match rustix::fs::lremovexattr(&without, "system.posix_acl_access") {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            outcome => outcome?,
        }
        if geteuid().is_root() {
            let fifo = dir.join("fifo");
            let link = dir.join("link");
            mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
            symlink("nowhere", &link)?;
            self.written.entries += 2;
            // Permitted and effective: CAP_NET_BIND_SERVICE, in version 2 of the format.
            let mut capability = vec![1, 0, 0, 2, 0, 4, 0, 0];
            capability.resize(20, 0);
            self.set_xattr(&file, "security.capability", &capability)?;
            for path in [&file, &shared, &fifo, &link] {
                self.set_xattr(path, "trusted.test", b"of the system")?;
            }
            self.set_xattr(&fifo, "system.posix_acl_access", &acl)?;
        } else {
            self.leave_out("attributes of the system: not root");
        }
        chmodat(CWD, &read_only, Mode::from_raw_mode(0o444), AtFlags::empty())?;
        Ok(())
    }

    fn modes(&mut self) -> io::Result<()> {
        let dir = self.root.join("modes");
        self.make_dir(dir.clone())?;
        let is_root = geteuid().is_root();
        let mut modes = vec![0o777, 0o644, 0o600, 0o444, 0o500, 0o1644, 0o4755, 0o2755, 0o6711, 0o7777];
        if is_root {
            modes.extend([0o000, 0o200, 0o111]);
        } else {
            self.leave_out("files and directories that nobody may read: not root");
        }
        for mode in modes {
            let file = dir.join(format!("file-{mode:04o}"));
            let inner = dir.join(format!("dir-{mode:04o}"));
            self.make_file(file.clone(), b"mode")?;
            chmodat(CWD, &file, Mode::from_raw_mode(mode), AtFlags::empty())?;
            if mode & 0o500 == 0o500 || is_root {
                self.make_dir(inner.clone())?;
                self.make_file(inner.join("inside"), b"mode")?;
                chmodat(CWD, &inner, Mode::from_raw_mode(mode), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn owners(&mut self) -> io::Result<()> {
        if !geteuid().is_root() {
            self.leave_out("other owners: not root");
            return Ok(());
        }
        let dir = self.root.join("owners");
        self.make_dir(dir.clone())?;
        for (uid, gid) in
            [(1, 1), (1000, 1000), (65_534, 65_534), (12_345, 0), (0, 54_321), (u32::MAX - 1, u32::MAX - 1)]
        {
            let file = dir.join(format!("file-{uid}-{gid}"));
            let set_id = dir.join(format!("set-id-{uid}-{gid}"));
            let inner = dir.join(format!("dir-{uid}-{gid}"));
            let link = dir.join(format!("link-{uid}-{gid}"));
            self.make_file(file.clone(), b"owned")?;
            self.make_file(set_id.clone(), b"owned, and runs as its owner")?;
            self.make_dir(inner.clone())?;
            self.make_file(inner.join("inside"), b"owned by root")?;
            symlink("file", &link)?;
            self.written.entries += 1;
            for path in [&file, &set_id, &inner, &link] {
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            chmodat(CWD, &set_id, Mode::from_raw_mode(0o6755), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Last, and from the deepest directory up, because everything else touches times.
    fn times(&mut self) -> io::Result<()> {
        let special = self.root.join("times");
        if self.spec.specials {
            self.make_dir(special.clone())?;
            let times = [
                (0, 0),
                (-1, 999_999_999),
                (-1_000_000_000, 1),
                (i64::from(i32::MIN), 0),
                (i64::from(i32::MAX) + 1, 500),
                (15_000_000_000, 123_456_789),
                (1_700_000_000, 1),
                (1_700_000_000, 999_999_999),
            ];
            for (secs, nanos) in times {
                let path = special.join(format!("{secs}.{nanos}"));
                let link = special.join(format!("link.{secs}.{nanos}"));
                let inner = special.join(format!("dir.{secs}.{nanos}"));
                fs::write(&path, b"time")?;
                symlink("time", &link)?;
                fs::create_dir(&inner)?;
                for path in [&path, &link, &inner] {
                    set_mtime(path, secs, nanos)?;
                }
                self.written.entries += 3;
            }
            for link in ["dangling", "to-dir"] {
                set_mtime(&self.root.join("links").join(link), 1_234_567_890, 987_654_321)?;
            }
        }
        for path in self.files.iter().chain(self.dirs.iter().rev()) {
            let secs = 1_000_000_000 + i64::try_from(self.random.below(700_000_000)).expect("it is small");
            let nanos = i64::try_from(self.random.below(1_000_000_000)).expect("it is small");
            set_mtime(path, secs, nanos)?;
        }
        Ok(())
    }

    fn content(&mut self, len: usize) -> Vec<u8> {
        match self.random.below(10) {
            0..6 => self.random.text(len),
            6..9 => self.random.bytes(len),
            _ => self.random.zero_heavy(len),
        }
    }

    /// A path in `parent` that nothing has, unless it would be too long.
    fn free_path(&mut self, parent: &Path) -> Option<PathBuf> {
        (0..8).find_map(|_| {
            let path = parent.join(OsString::from_vec(self.name()));
            let fits = path.as_os_str().len() - self.root.as_os_str().len() <= PATH_LEN_MAX;
            (fits && self.taken.insert(path.clone())).then_some(path)
        })
    }

    fn name(&mut self) -> Vec<u8> {
        let number = self.random.below(100_000);
        if !self.spec.specials {
            return format!("part_{number}.rs").into_bytes();
        }
        match self.random.below(12) {
            0 => format!("Übersicht {number} (Kopie).txt").into_bytes(),
            1 => vec![b'a' + u8::try_from(number % 26).expect("it is small"); 200 + self.random.index(56)],
            2 => {
                let len = 1 + self.random.index(30);
                let mut name = self.random.bytes(len);
                name.iter_mut().filter(|byte| matches!(**byte, b'/' | 0 | b'.')).for_each(|byte| *byte = 0x80);
                name
            }
            3 => format!(".hidden-{number}").into_bytes(),
            _ => format!("file-{number}.dat").into_bytes(),
        }
    }

    fn make_dir(&mut self, path: PathBuf) -> io::Result<()> {
        fs::create_dir(&path)?;
        self.written.entries += 1;
        self.dirs.push(path);
        Ok(())
    }

    fn make_file(&mut self, path: PathBuf, content: &[u8]) -> io::Result<()> {
        fs::write(&path, content)?;
        self.written.entries += 1;
        self.written.bytes += content.len() as u64;
        self.files.push(path);
        Ok(())
    }

    fn make_sparse(&mut self, path: PathBuf, len: u64, pieces: &[(u64, usize)]) -> io::Result<()> {
        let file = File::create_new(&path)?;
        if let Err(error) = file.set_len(len) {
            if error.kind() != io::ErrorKind::FileTooLarge && error.raw_os_error() != Some(Errno::INVAL.raw_os_error())
            {
                return Err(error);
            }
            self.leave_out("a file of a terabyte: the file system has none");
        } else {
            for (offset, piece_len) in pieces {
                file.write_all_at(&self.random.bytes(*piece_len), *offset)?;
                self.written.bytes += *piece_len as u64;
            }
        }
        self.written.entries += 1;
        self.files.push(path);
        Ok(())
    }

    fn set_xattr(&mut self, path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
        match lsetxattr(path, name, value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSPC) => {
                let family = name.split('.').next().unwrap_or(name);
                self.leave_out(&format!("some attributes of the family {family}: refused"));
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn leave_out(&mut self, what: &str) {
        if !self.written.left_out.iter().any(|known| known == what) {
            self.written.left_out.push(what.to_owned());
        }
    }
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// An ACL as the kernel keeps it: version 2, then tag, permissions and id of each entry.
fn acl(owner: (u16, u16, u32), others: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [&[owner], others].concat() {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}
