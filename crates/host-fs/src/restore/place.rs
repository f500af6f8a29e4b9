//! [`place`]: gives something new its name, over whatever has that name.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use crate::name::Name;

/// Longest name of the file systems at hand.
const NAME_LEN_MAX: usize = 255;

/// Has `make` make something named `name` in `dir`. When the name is taken, it is made under a temporary name and
/// renamed, so that the name never stands for nothing and a link there is replaced, not followed. Only an empty
/// directory gives way.
pub(crate) fn place(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    make: impl Fn(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    match make(name.as_bytes()) {
        Err(Errno::EXIST) => {}
        outcome => return outcome,
    }
    let temporary = temporary_name(name);
    make(&temporary)?;
    replace(dir, &temporary, name).inspect_err(|_| {
        let _ = unlinkat(dir, &temporary, AtFlags::empty());
    })
}

/// Moves `temporary` over `name`, where only an empty directory and anything that is no directory gives way.
pub(crate) fn replace(dir: BorrowedFd<'_>, temporary: &[u8], name: Name<'_>) -> Result<(), Errno> {
    match renameat(dir, temporary, dir, name.as_bytes()) {
        Err(Errno::ISDIR) => {
            unlinkat(dir, name.as_bytes(), AtFlags::REMOVEDIR)?;
            renameat(dir, temporary, dir, name.as_bytes())
        }
        outcome => outcome,
    }
}

/// A name that nobody has: `name.bk-tmp-` and 16 random digits, with `name` cut short where it must be.
pub(crate) fn temporary_name(name: Name<'_>) -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The standard library's hasher is keyed by the system's randomness, anew for each of these.
    let random = RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    let ending = format!(".bk-tmp-{random:016x}");
    let kept = name.as_bytes().len().min(NAME_LEN_MAX - ending.len());
    let mut temporary = Vec::with_capacity(kept + ending.len());
    temporary.extend_from_slice(&name.as_bytes()[..kept]);
    temporary.extend_from_slice(ending.as_bytes());
    temporary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_differ_and_fit() {
        let long = vec![b'n'; 255];
        for name in [&b"a"[..], &long] {
            let name = Name::new(name).expect("a name");
            let (first, second) = (temporary_name(name), temporary_name(name));
            assert!(first.len() <= NAME_LEN_MAX && Name::new(&first).is_some());
            assert_ne!(first, second);
        }
    }
}
