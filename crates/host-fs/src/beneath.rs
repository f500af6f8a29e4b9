//! Opening something below a held directory and nowhere else.
//!
//! [`open_one`] takes one component and [`open_dir`] several. Both go through `openat2`, which refuses inside the kernel
//! to leave the directory or to follow any link; where that call is missing or blocked, component by component with
//! `O_NOFOLLOW`, which is as strict because a [`Name`](crate::Name) is never `..` and never holds a `/`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, retry_on_intr};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const OPEN_WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Longest path that one call takes, its NUL left out.
const PATH_LEN_MAX: usize = 4095;

/// Set once `openat2` turned out to be missing or blocked: both stay so for the life of a process.
static WITHOUT_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens or makes `name` (one component, or `.`) in `dir`, never following a link.
pub(crate) fn open_one(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if WITHOUT_OPENAT2.load(Ordering::Relaxed) {
        return step(dir, name, flags, mode);
    }
    match retry_on_intr(|| openat2(dir, name, flags, mode, BENEATH)) {
        Err(Errno::NOSYS) => {
            WITHOUT_OPENAT2.store(true, Ordering::Relaxed);
            step(dir, name, flags, mode)
        }
        // The file system's answer, or a sandbox's that does not know the call: the older call tells them apart.
        Err(Errno::PERM) => {
            let opened = step(dir, name, flags, mode)?;
            WITHOUT_OPENAT2.store(true, Ordering::Relaxed);
            Ok(opened)
        }
        outcome => outcome,
    }
}

/// Opens the directory at `path` below `root` to name it, not to read it. An empty path is `root` itself; the path may
/// be longer than the system takes at once.
pub(crate) fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut dir = open_one(root, b".", OPEN_WAY, Mode::empty())?;
    let mut rest = path;
    while !rest.is_empty() {
        let (stretch, after) = split(rest);
        dir = if WITHOUT_OPENAT2.load(Ordering::Relaxed) {
            walk(dir, stretch)?
        } else {
            retry_on_intr(|| openat2(&dir, stretch, OPEN_WAY, Mode::empty(), BENEATH))?
        };
        rest = after;
    }
    Ok(dir)
}

/// The same without `openat2`.
fn walk(mut dir: OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    for name in path.split(|byte| *byte == b'/') {
        dir = step(dir.as_fd(), name, OPEN_WAY | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(dir)
}

fn step(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| openat(dir, name, flags, mode))
}

/// As many whole components from the front as one call takes, and the rest.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PATH_LEN_MAX {
        return (path, &[]);
    }
    match path[..=PATH_LEN_MAX].iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, &[]),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make traps themselves")]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, fstat, open};

    use super::*;

    #[test]
    fn long_paths_are_split_between_components() {
        let path = vec!["component"; 1000].join("/").into_bytes();
        let mut rest = path.as_slice();
        let mut joined = Vec::new();
        while !rest.is_empty() {
            let (stretch, after) = split(rest);
            assert!(stretch.len() <= PATH_LEN_MAX);
            joined.push(stretch);
            rest = after;
        }
        assert_eq!(joined.join(&b'/'), path);
        assert!(joined.len() > 2);
    }

    /// The fallback must refuse what `openat2` refuses.
    #[test]
    fn no_link_is_followed_either_way() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let inner = place.path().join("a/b");
        std::fs::create_dir_all(&inner).expect("directories");
        symlink("b", place.path().join("a/link")).expect("a link");
        symlink("/", place.path().join("root")).expect("a link");
        let dir = open(place.path(), OPEN_WAY, Mode::empty()).expect("it opens");
        let again = || openat(&dir, ".", OPEN_WAY, Mode::empty()).expect("it opens");

        let expected = fstat(openat(CWD, &inner, OPEN_WAY, Mode::empty()).expect("it opens")).expect("a stat").st_ino;
        let kernel = open_dir(dir.as_fd(), b"a/b").expect("it opens");
        let walked = walk(again(), b"a/b").expect("it opens");
        assert_eq!(fstat(kernel).expect("a stat").st_ino, expected);
        assert_eq!(fstat(walked).expect("a stat").st_ino, expected);
        for path in [&b"a/link"[..], b"root", b"root/etc"] {
            assert!(open_dir(dir.as_fd(), path).is_err());
            assert!(walk(again(), path).is_err());
        }
        assert!(open_dir(dir.as_fd(), b"..").is_err());
        assert!(step(dir.as_fd(), b"root", OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).is_err());
    }
}
