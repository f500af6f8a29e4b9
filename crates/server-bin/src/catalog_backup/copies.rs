//! Copies of the backups in a second place, best on another disk: what takes the data directory away leaves them.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{Backup, forget_old, list_in, make_file, unavailable};
use crate::failure::Failure;
use crate::private_files;

/// Copies to `folder` the `backups` that are newer than any there, as they are; with `may_forget`, those go that are no
/// longer among the kept. What a place that was away has missed is made up for.
///
/// # Errors
/// [`Failure`] at the first that cannot be copied.
pub(super) fn complete(folder: &Path, backups: &[Backup], may_forget: bool) -> Result<(), Failure> {
    private_files::ensure_dir(folder)?;
    let order = |backup: &Backup| (backup.generation, backup.created_ms);
    let newest = list_in(folder)?.last().map(order);
    for backup in backups.iter().filter(|backup| Some(order(backup)) > newest) {
        let path = folder.join(backup.path.file_name().unwrap_or_default());
        let copied = make_file(&path, |out| io::copy(&mut File::open(&backup.path)?, out).map(drop));
        copied.map_err(|error| unavailable("write", &path, &error))?;
    }
    if may_forget { forget_old(folder) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn make(folder: &Path, created_ms: u64) -> Backup {
        let path = folder.join(format!("catalog-{created_ms:014}-7.backup"));
        fs::write(&path, created_ms.to_le_bytes()).unwrap();
        Backup { generation: 7, created_ms, path }
    }

    fn times(folder: &Path) -> Vec<u64> {
        list_in(folder).unwrap().iter().map(|backup| backup.created_ms).collect()
    }

    #[test]
    fn what_a_place_has_missed_is_made_up_for_and_old_copies_go() {
        const DAY_MS: u64 = 86_400_000;
        let dir = tempfile::tempdir().unwrap();
        let [first, second]: [PathBuf; 2] = ["first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&first).unwrap();
        for day in 1000..1029 {
            make(&first, day * DAY_MS);
            forget_old(&first).unwrap();
            // The second place is there every third day only.
            if day % 3 == 2 {
                complete(&second, &list_in(&first).unwrap(), true).unwrap();
            }
        }
        assert_eq!(times(&second), times(&first));
        let newest = list_in(&second).unwrap().pop().unwrap();
        assert_eq!(fs::read(newest.path).unwrap(), newest.created_ms.to_le_bytes());
        // While the catalog may be an old one, nothing goes.
        let later = [make(&first, 1100 * DAY_MS)];
        complete(&second, &later, false).unwrap();
        assert_eq!(times(&second).len(), times(&first).len());
    }

    #[test]
    fn a_copy_that_was_cut_off_is_none_and_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second]: [PathBuf; 2] = ["first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&first).unwrap();
        let backups = [make(&first, 1), make(&first, 2)];
        private_files::ensure_dir(&second).unwrap();
        fs::write(second.join("catalog-00000000000002-7.new"), b"half").unwrap();
        assert!(times(&second).is_empty());
        complete(&second, &backups, false).unwrap();
        assert_eq!(times(&second), [1, 2]);
        assert_eq!(fs::read_dir(&second).unwrap().count(), 2);
        // A place that is none.
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(complete(&dir.path().join("file"), &backups, false).is_err());
    }
}
