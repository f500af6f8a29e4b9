//! Puts content that exists as a file at a second path: by reflink where the file system can share extents, else by a
//! second name for the same file, else by copying. Says which, and why nothing better was possible.
//!
//! Never overwrites: the target must not exist. What is not a regular file is refused, a symbolic link at the source
//! included. The source is read only; its holes stay holes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

/// How content came to be at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// A new file that shares its bytes with the source until either changes.
    Reflink,
    /// The same file under a second name: a change to one changes the other, and so do mode, owner and times.
    HardLink,
    /// A new file with bytes of its own.
    Copy(CopyReason),
}

/// Why content had to be copied: what kept the last, cheaper way from working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CopyReason {
    /// Source and target are on different file systems.
    CrossDevice,
    /// The file system can do neither of what was allowed.
    NotSupported,
    /// Only reflinks were allowed, and the file system has none.
    HardLinksForbidden,
    /// Copies were asked for.
    LinksForbidden,
    /// The source has as many names as it can have.
    TooManyLinks,
    /// The system does not let this user share the source.
    NotPermitted,
}

/// Which ways are allowed. A copy always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Share extents.
    pub reflinks: bool,
    /// Share the file. Wrong where either name may be written to.
    pub hard_links: bool,
}

impl Policy {
    /// Anything: for content that nobody changes.
    pub const ANY: Self = Self { reflinks: true, hard_links: true };
    /// Files of their own, sharing bytes where possible: for content that may change.
    pub const OWN_FILE: Self = Self { reflinks: true, hard_links: false };
}

/// Nothing was placed; there is no target.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct PlaceError {
    /// What failed.
    pub verb: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl PlaceError {
    fn new(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { verb, path: path.to_owned(), source: source.into() }
    }
}

/// Places the content of `source` at `target`, in the cheapest way that `policy` allows and the system can do.
///
/// A new file is readable and writable by its owner only, and not synced: mode, times and durability are the caller's.
///
/// # Errors
/// [`PlaceError`] with `AlreadyExists` when something has the target's name, with `InvalidInput` when the source is no
/// regular file. What was begun is removed.
///
/// ```
/// use placement::{Placement, Policy, place};
///
/// let scratch = tempfile::tempdir()?;
/// let (source, target) = (scratch.path().join("source"), scratch.path().join("target"));
/// std::fs::write(&source, "content")?;
/// match place(&source, &target, Policy::ANY)? {
///     Placement::Reflink | Placement::HardLink => println!("no bytes were written"),
///     Placement::Copy(reason) => println!("copied: {reason:?}"),
/// }
/// assert_eq!(std::fs::read(&target)?, b"content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn place(source: &Path, target: &Path, policy: Policy) -> Result<Placement, PlaceError> {
    let from = open_regular(source)?;
    let refused = match reflink_into(&from, target, policy)? {
        Ok(()) => return Ok(Placement::Reflink),
        Err(refused) => refused,
    };
    let reason = match hard_link(source, target, policy, refused)? {
        Ok(()) => return Ok(Placement::HardLink),
        Err(reason) => reason,
    };
    copy_into(&from, source, target)?;
    Ok(Placement::Copy(reason))
}

/// Opens the source, without following a link or waiting for a pipe's other end.
fn open_regular(source: &Path) -> Result<File, PlaceError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).expect("the flags of the system fit its own type");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(source);
    let file = file.map_err(|error| PlaceError::new("open", source, error))?;
    let metadata = file.metadata().map_err(|error| PlaceError::new("look at", source, error))?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(PlaceError::new("place", source, io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")))
}

/// Makes the target a reflink; `Ok(Err(_))` when that is not possible here, with nothing left behind.
fn reflink_into(from: &File, target: &Path, policy: Policy) -> Result<Result<(), CopyReason>, PlaceError> {
    if !policy.reflinks {
        return Ok(Err(CopyReason::LinksForbidden));
    }
    let to = create(target)?;
    match rustix::fs::ioctl_ficlone(&to, from) {
        Ok(()) => Ok(Ok(())),
        Err(error) => {
            remove_begun(target)?;
            Ok(Err(match error {
                Errno::XDEV => CopyReason::CrossDevice,
                Errno::PERM | Errno::ACCESS => CopyReason::NotPermitted,
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NOSYS | Errno::TXTBSY => {
                    CopyReason::NotSupported
                }
                _ => return Err(PlaceError::new("reflink to", target, error)),
            }))
        }
    }
}

/// Gives the source a second name; `Ok(Err(_))` when that is not possible here.
fn hard_link(
    source: &Path,
    target: &Path,
    policy: Policy,
    refused: CopyReason,
) -> Result<Result<(), CopyReason>, PlaceError> {
    if !policy.hard_links {
        return Ok(Err(match refused {
            CopyReason::NotSupported => CopyReason::HardLinksForbidden,
            other => other,
        }));
    }
    // Does not follow a link that took the source's place.
    match fs::hard_link(source, target) {
        Ok(()) => Ok(Ok(())),
        Err(error) => Ok(Err(match Errno::from_io_error(&error) {
            Some(Errno::XDEV) => CopyReason::CrossDevice,
            Some(Errno::MLINK) => CopyReason::TooManyLinks,
            // Also what file systems without hard links say, such as FAT.
            Some(Errno::PERM | Errno::ACCESS) => CopyReason::NotPermitted,
            Some(Errno::OPNOTSUPP | Errno::NOSYS) => CopyReason::NotSupported,
            _ => return Err(PlaceError::new("link to", target, error)),
        })),
    }
}

/// Copies the source's data; its holes become holes.
fn copy_into(from: &File, source: &Path, target: &Path) -> Result<(), PlaceError> {
    let to = create(target)?;
    let copied = copy_data(from, &to);
    if let Err(error) = copied {
        drop(to);
        remove_begun(target)?;
        return Err(PlaceError::new("copy", source, error));
    }
    Ok(())
}

fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let len = from.metadata()?.size();
    to.set_len(len)?;
    let mut end = 0;
    while end < len {
        let start = match rustix::fs::seek(from, SeekFrom::Data(end)) {
            Ok(start) => start,
            // Nothing but a hole follows.
            Err(Errno::NXIO) => break,
            // The file system does not tell its holes.
            Err(Errno::INVAL) => end,
            Err(error) => return Err(error.into()),
        };
        end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
            Ok(hole) => hole.min(len),
            Err(Errno::NXIO | Errno::INVAL) => len,
            Err(error) => return Err(error.into()),
        };
        copy_range(from, to, start, end)?;
    }
    Ok(())
}

/// Copies bytes from one file to the same place in another, inside the kernel where it can.
fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let len = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), len) {
            // The source became shorter meanwhile; the target ends there, too.
            Ok(0) => return to.set_len(read_at),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;

    let mut buffer = vec![0; 1 << 20];
    let mut at = start;
    while at < end {
        let len = usize::try_from(end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        match from.read_at(&mut buffer[..len], at) {
            Ok(0) => return to.set_len(at),
            Ok(count) => {
                to.write_all_at(&buffer[..count], at)?;
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn create(target: &Path) -> Result<File, PlaceError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    created.map_err(|error| PlaceError::new("create", target, error))
}

/// Removes the file that [`create`] made.
fn remove_begun(target: &Path) -> Result<(), PlaceError> {
    fs::remove_file(target).map_err(|error| PlaceError::new("remove", target, error))
}
