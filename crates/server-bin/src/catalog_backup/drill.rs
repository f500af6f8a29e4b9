//! The drill: opens every backup, as whoever needs it would, and the newest one of each place as a catalog.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use store::FileFlaw;

use super::{Backup, FOLDER, list_in, read, remove, seal};
use crate::failure::Failure;
use crate::home::Home;
use crate::keys::ServerKeys;

/// The newest backup while it is looked at, on the disk that took the backup.
const PLAIN_NAME: &str = "drill.tmp";
/// One drill at a time.
static DRILL: Mutex<()> = Mutex::new(());

/// The backups that do not open with these keys, and the newest ones that are no sound catalog of this store. Goes on while
/// `is_wanted`.
///
/// # Errors
/// [`Failure`] when the backups cannot be listed, or a copy not removed.
pub(crate) fn drill(home: &Home, keys: &ServerKeys, is_wanted: &dyn Fn() -> bool) -> Result<Vec<FileFlaw>, Failure> {
    let _drill = DRILL.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = home.settings.data_dir.join(FOLDER);
    let plain = folder.join(PLAIN_NAME);
    let mut flaws = Vec::new();
    for place in [Some(&folder), home.settings.catalog_backup_copy.as_ref()].into_iter().flatten() {
        let backups = match list_in(place) {
            Ok(backups) => backups,
            Err(failure) if place == &folder => return Err(failure),
            Err(failure) => {
                tracing::warn!(%failure, "the second place of catalog backups cannot be looked at");
                continue;
            }
        };
        let newest = backups.last().cloned();
        for backup in backups {
            if !is_wanted() {
                return Ok(flaws);
            }
            let tried = if Some(&backup) == newest.as_ref() {
                remove(&plain)?;
                let tried = put_to_the_test(home, keys, &backup, &plain);
                remove(&plain)?;
                tried
            } else {
                open(keys, &backup.path).map_err(|error| (error.kind(), error.to_string()))
            };
            match tried {
                Ok(()) => {}
                // Forgotten meanwhile.
                Err((ErrorKind::NotFound, _)) => {}
                Err((_, what)) => flaws.push(FileFlaw { path: backup.path, what }),
            }
        }
    }
    Ok(flaws)
}

fn open(keys: &ServerKeys, path: &Path) -> io::Result<()> {
    let mut sealed = BufReader::new(File::open(path)?);
    seal::open(|salt| keys.catalog_backup_key(salt), &mut sealed, &mut io::sink())
}

fn put_to_the_test(home: &Home, keys: &ServerKeys, backup: &Backup, plain: &Path) -> Result<(), (ErrorKind, String)> {
    read(keys, &backup.path, plain).map_err(|error| (error.kind(), error.to_string()))?;
    match home.store.check_catalog_copy(plain) {
        Ok(copy) if copy.generation == backup.generation => Ok(()),
        Ok(copy) => {
            Err((ErrorKind::InvalidData, format!("its name says another generation than it has: {}", copy.generation)))
        }
        Err(error) => Err((ErrorKind::InvalidData, error.to_string())),
    }
}
