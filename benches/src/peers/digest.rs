//! [`digest`]: whether two folders hold the same names and bytes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use testkit::process::Outcome;

use crate::rig::hash;

/// A hash of the names, contents and targets of links below a folder.
///
/// # Errors
/// When something cannot be read.
pub fn digest(folder: &Path) -> Outcome<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    add(folder, &mut hasher)?;
    Ok(hasher.finalize())
}

fn add(folder: &Path, hasher: &mut blake3::Hasher) -> Outcome {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(at)?.collect();
    let mut entries = entries.map_err(at)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(at)?;
        let name = entry.file_name();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        if kind.is_dir() {
            hasher.update(b"(");
            add(&entry.path(), hasher)?;
            hasher.update(b")");
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).map_err(at)?;
            hasher.update(b"@").update(blake3::hash(target.as_os_str().as_bytes()).as_bytes());
        } else {
            hasher.update(b"=").update(hash(&entry.path())?.as_bytes());
        }
    }
    Ok(())
}
