//! [`DataDir`]: the paths of a data directory, and a [`Disk`] whose errors name the path and the verb.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, DiskFile, DiskLock, DiskWriter};
use crate::{PackId, StoreError};

pub(crate) const CATALOG_NAME: &str = "catalog.sqlite3";

pub(crate) struct DataDir {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    attempts: AtomicU64,
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataDir({})", self.root.display())
    }
}

impl DataDir {
    pub(crate) fn new(root: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { root: root.to_owned(), disk, attempts: AtomicU64::new(0) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn reserve_path(&self) -> PathBuf {
        self.root.join("reserve")
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn catalog_path(&self) -> PathBuf {
        self.root.join(CATALOG_NAME)
    }

    pub(crate) fn packs_path(&self) -> PathBuf {
        self.root.join("packs")
    }

    pub(crate) fn anchor_path(&self) -> PathBuf {
        self.packs_path().join("ANCHOR")
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.packs_path().join("LEDGER")
    }

    pub(crate) fn staging_path(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn quarantine_path(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The 256 directories that packs are spread over.
    pub(crate) fn shard_paths(&self) -> impl Iterator<Item = PathBuf> {
        let packs = self.packs_path();
        (0..=u8::MAX).map(move |shard| packs.join(format!("{shard:02x}")))
    }

    pub(crate) fn shard_path(&self, pack: PackId) -> PathBuf {
        self.packs_path().join(format!("{:02x}", pack.as_bytes()[0]))
    }

    pub(crate) fn pack_path(&self, pack: PackId) -> PathBuf {
        self.shard_path(pack).join(format!("{pack}.pack"))
    }

    /// A name in `staging/` that was never given out before by this process.
    pub(crate) fn fresh_staging_path(&self, stem: &str) -> PathBuf {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.staging_path().join(format!("{stem}.{attempt}"))
    }

    /// Makes a directory unless it is there; says whether it was made.
    pub(crate) fn ensure_dir(&self, path: &Path) -> Result<bool, StoreError> {
        match self.disk.create_dir(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::io("create directory", path, error)),
        }
    }

    pub(crate) fn create_new(&self, path: &Path) -> Result<Box<dyn DiskWriter>, StoreError> {
        self.disk.create_new(path).map_err(|error| StoreError::io("create", path, error))
    }

    pub(crate) fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        self.disk.open(path).map_err(|error| StoreError::io("open", path, error))
    }

    pub(crate) fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.disk.rename_noreplace(from, to).map_err(|error| StoreError::io("rename to", to, error))
    }

    pub(crate) fn rename_replace(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.disk.rename_replace(from, to).map_err(|error| StoreError::io("rename to", to, error))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(path).map_err(|error| StoreError::io("sync directory", path, error))
    }

    /// The names in a directory, in order; names that are not UTF-8 are none of ours and are left out.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        let names = self.disk.list(path).map_err(|error| StoreError::io("list", path, error))?;
        let mut names: Vec<_> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn free_bytes(&self) -> Result<u64, StoreError> {
        let path = self.packs_path();
        self.disk.free_bytes(&path).map_err(|error| StoreError::io("measure the space at", &path, error))
    }

    /// The number of the file system the directory is on.
    pub(crate) fn file_system(&self) -> Result<u32, StoreError> {
        let failed = |error| StoreError::io("ask for the file system of", &self.root, error);
        self.disk.file_system(&self.root).map_err(failed)
    }

    pub(crate) fn lock(&self) -> Result<DiskLock, StoreError> {
        let path = self.lock_path();
        let lock = self.disk.lock(&path).map_err(|error| StoreError::io("lock", &path, error))?;
        lock.ok_or_else(|| StoreError::Locked { path: self.root.clone() })
    }
}
