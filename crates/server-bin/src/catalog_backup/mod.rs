//! Backups of the catalog, in `catalog-backups/` of the data directory: sealed under the master key, made daily and after
//! every deletion of packs, 7 daily and 4 weekly ones kept; and copies of them in a second place, where there is one.
//!
//! A backup leaves out what the packs tell themselves, so it is small. One that is put back is older than what was
//! acknowledged, or may be: deletion stays off until `reindex`.
#![expect(clippy::disallowed_methods, reason = "it is the place where backups of the catalog are written")]

mod copies;
mod drill;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod keep;
mod seal;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use store::{CatalogCopy, Store, StoreOptions};

use crate::admin::CatalogBackupItem;
use crate::clock;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, failed};
use crate::keys::{ServerKeys, random};
use crate::private_files;
use crate::service::Service;

pub(crate) use drill::drill;

const FOLDER: &str = "catalog-backups";
/// A copy on its way into or out of a backup.
const PLAIN_NAME: &str = "plain.tmp";
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// A backup, by its file. Backups are ordered by generation: the clock may have been wrong when one was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backup {
    /// The catalog's generation, which every backup raises.
    pub(crate) generation: u64,
    /// What the clock said when it was made.
    pub(crate) created_ms: u64,
    /// Its file.
    pub(crate) path: PathBuf,
}

impl Backup {
    /// As `catalog list` shows it.
    pub(crate) fn item(&self) -> CatalogBackupItem {
        CatalogBackupItem {
            name: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            folder: self.path.parent().unwrap_or(Path::new("")).display().to_string(),
            created_ms: self.created_ms,
            generation: self.generation,
            bytes: fs::metadata(&self.path).map_or(0, |metadata| metadata.len()),
        }
    }
}

/// Backs the catalog up and forgets backups that are no longer among those kept; none while the catalog may be older than
/// what was acknowledged. Garbage collection calls this when it has deleted something. What goes wrong in the second place is
/// told and stops nothing.
///
/// # Errors
/// [`Failure`] when the backup cannot be made; those made before are still there.
pub(crate) fn make(home: &Home) -> Result<Backup, Failure> {
    let folder = folder(&home.settings.data_dir);
    private_files::ensure_dir(&folder)?;
    let plain = folder.join(PLAIN_NAME);
    // Deletions wait for it.
    home.store.make_room();
    let made = (|| {
        remove(&plain)?;
        let copy = home.store.copy_catalog(&plain).map_err(|error| failed("cannot copy the catalog", &error))?;
        let created_ms = clock::now_ms();
        let path = folder.join(format!("catalog-{created_ms:014}-{}.backup", copy.generation));
        write(&home.keys, &plain, &path, created_ms, copy).map_err(|error| unavailable("write", &path, &error))?;
        Ok(Backup { generation: copy.generation, created_ms, path })
    })();
    remove(&plain)?;
    let made = made?;
    let may_forget = home.store.deletion_latch().is_none();
    if let Some(second) = &home.settings.catalog_backup_copy
        && let Err(failure) = copies::complete(second, &list_in(&folder)?, may_forget)
    {
        tracing::warn!(%failure, "the catalog is backed up, and not copied to the second place");
    }
    if may_forget {
        forget_old(&folder)?;
    }
    Ok(made)
}

/// The backups of a data directory, the newest last.
///
/// # Errors
/// [`Failure`] when the folder cannot be listed.
pub(crate) fn list(data_dir: &Path) -> Result<Vec<Backup>, Failure> {
    list_in(&folder(data_dir))
}

/// The same with those of the second place, of which a copy stands beside what it is a copy of.
///
/// # Errors
/// [`Failure`] when the data directory's cannot be listed.
pub(crate) fn list_everywhere(settings: &Settings) -> Result<Vec<Backup>, Failure> {
    let mut backups = list(&settings.data_dir)?;
    if let Some(second) = &settings.catalog_backup_copy {
        match list_in(second) {
            Ok(copies) => backups.extend(copies),
            Err(failure) => tracing::warn!(%failure, "the second place of catalog backups cannot be looked at"),
        }
    }
    backups.sort_unstable();
    Ok(backups)
}

/// When the newest backup in the second place was made, in milliseconds since 1970, 0 without any; `None` where there is no
/// such place.
pub(crate) fn newest_copy_ms(settings: &Settings) -> Option<u64> {
    let copies = list_in(settings.catalog_backup_copy.as_ref()?).unwrap_or_default();
    Some(copies.last().map_or(0, |copy| copy.created_ms))
}

fn list_in(folder: &Path) -> Result<Vec<Backup>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unavailable("list", folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unavailable("list", folder, &error))?.path();
        found.extend(of_path(path));
    }
    found.sort_unstable();
    Ok(found)
}

/// Puts a backup in the catalog's place; what it says of itself, and where the one before is now.
///
/// # Errors
/// [`Failure`] when the backup does not open, is of another store, or somebody is using the data directory; nothing was
/// changed then.
pub(crate) fn put_back(
    data_dir: &Path,
    options: &StoreOptions,
    keys: &ServerKeys,
    backup: &Path,
) -> Result<(CatalogCopy, Option<PathBuf>), Failure> {
    let folder = folder(data_dir);
    private_files::ensure_dir(&folder)?;
    let plain = folder.join(PLAIN_NAME);
    remove(&plain)?;
    let put = read(keys, backup, &plain).map_err(|error| {
        let kind =
            if error.kind() == ErrorKind::InvalidData { FailureKind::Integrity } else { FailureKind::Unavailable };
        Failure::new(kind, format!("cannot open the catalog backup {}", backup.display())).because(&error)
    });
    let put = put.and_then(|()| {
        Store::put_catalog_back(data_dir, options, &plain)
            .map_err(|error| failed("cannot put the catalog back", &error))
    });
    remove(&plain)?;
    put
}

/// Backs the catalog up whenever the newest backup is older than the interval, until the server stops.
pub(crate) async fn run(service: Arc<Service>) {
    let interval = service.home.settings.catalog_backup_interval;
    if interval.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(interval.min(CHECK_INTERVAL_MAX));
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let backing_up = Arc::clone(&service);
        let made = service.pool.run(move || {
            let home = &backing_up.home;
            if is_due(&list(&home.settings.data_dir)?, interval) { make(home).map(Some) } else { Ok(None) }
        });
        match made.await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(backup))) => tracing::info!(generation = backup.generation, "catalog backed up"),
            Ok(Err(failure)) => tracing::error!(%failure, "the catalog could not be backed up"),
            Err(error) => tracing::error!(%error, "backing up the catalog failed"),
        }
    }
}

/// Whether the newest backup is older than the interval, or of a moment that has not come yet: the clock was wrong then, or is
/// now.
fn is_due(backups: &[Backup], interval: Duration) -> bool {
    let Some(newest) = backups.last() else { return true };
    let age = clock::now_ms().checked_sub(newest.created_ms).map(Duration::from_millis);
    age.is_none_or(|age| age >= interval)
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

fn of_path(path: PathBuf) -> Option<Backup> {
    let name = path.file_name()?.to_str()?.strip_prefix("catalog-")?.strip_suffix(".backup")?;
    let (created_ms, generation) = name.split_once('-')?;
    Some(Backup { generation: generation.parse().ok()?, created_ms: created_ms.parse().ok()?, path })
}

fn forget_old(folder: &Path) -> Result<(), Failure> {
    let backups = list_in(folder)?;
    let times: Vec<u64> = backups.iter().map(|backup| backup.created_ms).collect();
    let kept = keep::kept(&times);
    for (backup, _) in backups.iter().zip(kept).filter(|(_, kept)| !kept) {
        remove(&backup.path)?;
    }
    forget_unfinished(folder)
}

/// Removes what processes left that died while they made a backup: each has a name of its own, so no later one would.
fn forget_unfinished(folder: &Path) -> Result<(), Failure> {
    let failed = |error| unavailable("read", folder, &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "new")
            && of_path(path.with_extension("backup")).is_some()
        {
            remove(&path)?;
        }
    }
    Ok(())
}

fn write(keys: &ServerKeys, plain: &Path, path: &Path, created_ms: u64, copy: CatalogCopy) -> io::Result<()> {
    let salt = random().map_err(|_| io::Error::other("the system has no random bytes"))?;
    let header = seal::Header { created_ms, generation: copy.generation, store: copy.store, salt };
    make_file(path, |out| seal::seal(&header, &keys.catalog_backup_key(&salt), &mut File::open(plain)?, out))
}

/// Makes a file that is there as a whole, and durable, or not at all.
fn make_file(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    // What a process left that died here.
    drop(fs::remove_file(&new));
    let mut out = BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?);
    let made = fill(&mut out)
        .and_then(|()| out.flush())
        .and_then(|()| out.get_ref().sync_all())
        .and_then(|()| fs::rename(&new, path));
    if let Err(error) = made {
        drop(fs::remove_file(&new));
        return Err(error);
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn read(keys: &ServerKeys, backup: &Path, plain: &Path) -> io::Result<()> {
    let mut sealed = BufReader::new(File::open(backup)?);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(plain)?;
    seal::open(|salt| keys.catalog_backup_key(salt), &mut sealed, &mut out)?;
    out.sync_all()
}

/// Removes a file and what SQLite may have left beside it.
fn remove(path: &Path) -> Result<(), Failure> {
    for companion in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(companion);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable("remove", path, &error)),
            _ => {}
        }
    }
    Ok(())
}

fn unavailable(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Unavailable, format!("cannot {verb} {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use store::{ClockReading, UnixMs};

    use super::*;
    use crate::clock::simulated::{self, Shown};

    const DAY: Duration = Duration::from_secs(86_400);
    /// Some day of 2026.
    const TODAY_MS: u64 = 20_700 * 86_400_000;

    /// Lets the clock say this, for this thread.
    fn at(wall_ms: u64) {
        let wall = UnixMs(wall_ms.try_into().unwrap());
        let reading = ClockReading { wall, since_boot_ms: 0, boot: [0; 16] };
        simulated::show(Some(Shown { instant: clock::instant(), reading }));
    }

    /// What `make` does but for the bytes: a file, the second place, the forgetting.
    fn back_up(folder: &Path, second: &Path, generation: u64) {
        let path = folder.join(format!("catalog-{:014}-{generation}.backup", clock::now_ms()));
        fs::write(path, generation.to_le_bytes()).unwrap();
        copies::complete(second, &list_in(folder).unwrap(), true).unwrap();
        forget_old(folder).unwrap();
    }

    /// Backs up on ten days of a clock that is `wrong_ms`, then on forty of the right one; after each the one just made must be
    /// the newest in both places, and the next be due a day later.
    #[track_caller]
    fn check_wrong_clock(wrong_ms: u64) {
        let dir = tempfile::tempdir().unwrap();
        let [folder, second]: [PathBuf; 2] = ["first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        let days = (0..10).map(|day| (wrong_ms, day)).chain((0..40).map(|day| (TODAY_MS, day)));
        for (generation, (start_ms, day)) in days.enumerate() {
            at(start_ms + day * 86_400_000);
            assert!(is_due(&list_in(&folder).unwrap(), DAY), "day {day} from {start_ms}");
            back_up(&folder, &second, generation as u64);
            for place in [&folder, &second] {
                let listed = list_in(place).unwrap();
                assert_eq!(listed.last().unwrap().generation, generation as u64, "{listed:?}");
                assert!(!is_due(&listed, DAY));
            }
        }
        let kept = list_in(&second).unwrap();
        assert!(
            kept.len() <= 11 && kept.iter().all(|backup| backup.generation >= 10),
            "no wrong one is left: {kept:?}"
        );
        assert_eq!(kept.len(), list_in(&folder).unwrap().len());
        simulated::show(None);
    }

    #[test]
    fn a_clock_that_was_ahead_holds_no_backup_up() {
        check_wrong_clock(TODAY_MS + 3_650 * 86_400_000);
    }

    #[test]
    fn a_backup_of_a_clock_that_was_behind_is_kept() {
        check_wrong_clock(86_400_000);
    }

    /// The clock goes wrong after right backups: what was made last is the newest, by its generation.
    #[test]
    fn a_clock_that_falls_behind_loses_no_new_backup() {
        let dir = tempfile::tempdir().unwrap();
        let [folder, second]: [PathBuf; 2] = ["first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        for day in 0..30 {
            at(TODAY_MS + day * 86_400_000);
            back_up(&folder, &second, day);
        }
        at(0);
        assert!(is_due(&list_in(&folder).unwrap(), DAY), "what is of the future is due");
        back_up(&folder, &second, 30);
        for place in [&folder, &second] {
            assert_eq!(list_in(place).unwrap().last().unwrap().generation, 30);
        }
        assert!(!is_due(&list_in(&folder).unwrap(), DAY));
        simulated::show(None);
    }
}
