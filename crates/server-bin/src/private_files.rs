//! Files and folders that only the server's own user may read. What others can read is refused, with the command that
//! mends it.
#![expect(clippy::disallowed_methods, reason = "it is the place where keys are written")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, access};
use zeroize::Zeroizing;

use crate::failure::{Failure, FailureKind};

const OTHERS: u32 = 0o077;
/// Keys and certificates are far shorter.
const FILE_LEN_MAX: u64 = 64 << 10;

/// Makes sure that `path` is a folder of the server's user alone. A folder that is empty is taken over.
///
/// # Errors
/// [`Failure`] when it cannot be made, or others can enter it.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), Failure> {
    let unavailable = |error: std::io::Error| {
        Failure::new(FailureKind::Unavailable, format!("cannot make the directory {}", path.display())).because(&error)
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(unavailable)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unavailable(error)),
    }
    match look_at_dir(path)? {
        Dir::OfOthersToo => fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(unavailable),
        Dir::Private => Ok(()),
    }
}

/// Whether [`ensure_dir`] could make `path` a folder of this user alone; changes nothing.
///
/// # Errors
/// As [`ensure_dir`].
pub(crate) fn check_dir(path: &Path) -> Result<(), Failure> {
    let there = path.ancestors().find(|above| above.exists());
    let there = there.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if there == path {
        look_at_dir(path)?;
    }
    if !there.is_dir() {
        return Err(Failure::new(FailureKind::Unavailable, format!("{} is not a directory", there.display())));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let message = format!("this user may not write in {}", there.display());
        Failure::new(FailureKind::Unavailable, message)
            .because(&error)
            .hint("run this as the server's user, or give it the directory with chown")
    })
}

/// A directory that can be used.
enum Dir {
    Private,
    /// It is empty, and others can enter it.
    OfOthersToo,
}

fn look_at_dir(path: &Path) -> Result<Dir, Failure> {
    let unavailable = |error: std::io::Error| {
        Failure::new(FailureKind::Unavailable, format!("cannot use the directory {}", path.display())).because(&error)
    };
    let metadata = fs::metadata(path).map_err(unavailable)?;
    if !metadata.is_dir() {
        return Err(Failure::new(FailureKind::Unavailable, format!("{} is not a directory", path.display())));
    }
    let is_empty = fs::read_dir(path).map_err(unavailable)?.next().is_none();
    if metadata.mode() & OTHERS != 0 && is_empty {
        return Ok(Dir::OfOthersToo);
    }
    check_private(path, &metadata, "700").map(|()| Dir::Private)
}

/// Reads a file that only the server's user can read; `None` when there is none.
///
/// # Errors
/// [`Failure`] when it cannot be read, or others can.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let unavailable = |error: std::io::Error| {
        Failure::new(FailureKind::Unavailable, format!("cannot read {}", path.display())).because(&error)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(error)),
    };
    check_private(path, &file.metadata().map_err(unavailable)?, "600")?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_LEN_MAX).read_to_end(&mut bytes).map_err(unavailable)?;
    Ok(Some(bytes))
}

/// Writes a file that only the server's user can read: durable, and there at once or not at all.
///
/// # Errors
/// [`Failure`] when the disk refuses.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace(path, bytes, 0o600).map_err(|error| {
        Failure::new(FailureKind::Unavailable, format!("cannot write {}", path.display())).because(&error)
    })
}

/// Puts a file in place of whatever has its name; durable, and there at once or not at all.
///
/// # Errors
/// When the disk refuses; the file before is still there then.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut new_name = path.file_name().unwrap_or_default().to_owned();
    new_name.push(".new");
    let new = path.with_file_name(new_name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Writes a new file that only this user can read; durable.
///
/// # Errors
/// When there is one of this name, or the disk refuses.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes a file, makes it safe, and removes it again: whether a disk takes anything.
///
/// # Errors
/// When it does not.
pub(crate) fn probe(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace(path, bytes, 0o600)?;
    fs::remove_file(path)
}

fn check_private(path: &Path, metadata: &fs::Metadata, wanted: &str) -> Result<(), Failure> {
    let mode = metadata.mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let message = format!("others may read {} (its mode is {mode:o})", path.display());
    Err(Failure::new(FailureKind::NotAllowed, message).hint(format!("chmod {wanted} {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"secret").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let report = read(&path).unwrap_err().report();
        assert!(report.contains("mode is 640") && report.contains("hint: chmod 600"), "{report}");
        assert!(read(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn an_empty_folder_is_taken_over_and_a_full_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        ensure_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        ensure_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::write(path.join("file"), b"").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(ensure_dir(&path).unwrap_err().report().contains("chmod 700"));
    }

    #[test]
    fn a_folder_is_looked_at_without_being_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        check_dir(&path).unwrap();
        assert!(!dir.path().join("a").exists());
        fs::write(dir.path().join("a"), b"").unwrap();
        assert!(check_dir(&path).unwrap_err().report().contains("a is not a directory"));
        assert!(check_dir(&dir.path().join("a")).is_err());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check_dir(dir.path()).unwrap_err().report().contains("chmod 700"));
    }
}
