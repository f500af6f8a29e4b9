//! [`Store`]: an open data directory. Opening recovers whatever an earlier process left behind.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::anchor::{AnchorError, AnchorKeeper};
use crate::catalog::Catalog;
use crate::data_dir::DataDir;
use crate::disk::{Disk, DiskLock, OsDisk};
use crate::ids::PackKey;
use crate::pack_cache::PackCache;
use crate::random::{OsRandom, Random, fresh};
use crate::recover::{self, Recovery};
use crate::{SessionId, StoreError, StoreId, UnixMs};

/// How a store works; [`StoreOptions::default`] is right for a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreOptions {
    /// A pack is sealed once it is this long. At most what leaves room in 128 MiB for one more record
    /// and the footer; longer is taken as that.
    pub pack_target_bytes: u64,
    /// With less than this free, nothing new is taken in.
    pub min_free_bytes: u64,
    /// Packs kept open for reading.
    pub open_packs_max: usize,
    /// Objects whose index rows may wait in memory to be written together; about 80 bytes each.
    pub unwritten_rows_max: usize,
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// Where ids come from.
    pub random: Arc<dyn Random>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            pack_target_bytes: 64 << 20,
            min_free_bytes: 64 << 20,
            open_packs_max: 128,
            unwritten_rows_max: 128 * 1024,
            disk: Arc::new(OsDisk),
            random: Arc::new(OsRandom),
        }
    }
}

/// An open data directory, shared by everybody who clones it.
///
/// There is one per directory: a second opener, in this process or another, gets [`StoreError::Locked`]. All methods
/// block; none holds a lock while it waits for the disk but the catalog's writer for its own commit.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    dir: DataDir,
    packs: PackCache,
    anchor: AnchorKeeper,
    options: StoreOptions,
    recovery: Recovery,
    open_sessions: Mutex<HashSet<SessionId>>,
    // Let go of last, when nothing can write any more.
    _lock: DiskLock,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.dir().root().display())
    }
}

impl Store {
    /// Makes an empty store in `dir`, which may exist, and opens it. A creation that was cut off can be repeated.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when `dir` holds a store, or packs of one; [`StoreError::Locked`] when another process
    /// is using it.
    pub fn create(dir: &Path, options: &StoreOptions, now: UnixMs) -> Result<Self, StoreError> {
        let data = DataDir::new(dir, options.disk.clone());
        if data.ensure_dir(data.root())?
            && let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty())
        {
            data.sync_dir(parent)?;
        }
        let lock = data.lock()?;
        if Catalog::exists(&data.catalog_path())? {
            return Err(StoreError::Conflict { what: "a store exists here already" });
        }
        for path in [data.packs_path(), data.staging_path(), data.quarantine_path()] {
            data.ensure_dir(&path)?;
        }
        for path in data.shard_paths() {
            // Packs without a catalog: somebody's backups, to be reindexed, never to be started over.
            if !data.ensure_dir(&path)? && !data.list(&path)?.is_empty() {
                return Err(StoreError::Conflict { what: "packs exist here, but no catalog" });
            }
        }
        let store = StoreId::from_bytes(draw(options)?);
        AnchorKeeper::create(&data, store)?;
        data.sync_dir(data.root())?;
        Catalog::create(&data.catalog_path(), store, now.0)?;
        data.sync_dir(data.root())?;
        Self::open_locked(data, lock, options, now)
    }

    /// Opens the store in `dir` and recovers: packs that were complete become visible, unfinished ones vanish.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no store was created there, [`StoreError::Locked`] when another process is using
    /// it.
    pub fn open(dir: &Path, options: &StoreOptions, now: UnixMs) -> Result<Self, StoreError> {
        let data = DataDir::new(dir, options.disk.clone());
        if !Catalog::exists(&data.catalog_path())? {
            return Err(StoreError::NotFound { what: "store" });
        }
        let lock = data.lock()?;
        Self::open_locked(data, lock, options, now)
    }

    fn open_locked(dir: DataDir, lock: DiskLock, options: &StoreOptions, now: UnixMs) -> Result<Self, StoreError> {
        let (catalog, meta) = Catalog::open(&dir.catalog_path(), draw(options)?, options.unwritten_rows_max)?;
        let recovery = recover::recover(&catalog, &dir, &meta, now)?;
        let inner = Inner {
            catalog,
            packs: PackCache::new(options.open_packs_max),
            anchor: AnchorKeeper::new(meta.store, recovery.anchor_generation),
            options: options.clone(),
            recovery,
            open_sessions: Mutex::default(),
            dir,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What was found and done when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Why nothing may be deleted, if so: the catalog is older than what was acknowledged, or packs are missing.
    /// Found out when the store is opened, and kept until the catalog is rebuilt from the packs.
    #[must_use]
    pub fn deletion_latch(&self) -> Option<&str> {
        self.inner.recovery.latch.as_deref()
    }

    /// Why writing has stopped, if so. The process must end and start again.
    #[must_use]
    pub fn halted(&self) -> Option<&str> {
        self.inner.catalog.halted()
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(crate) fn dir(&self) -> &DataDir {
        &self.inner.dir
    }

    pub(crate) fn packs(&self) -> &PackCache {
        &self.inner.packs
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.inner.options
    }

    /// Whether a pack's file was missing when the store was opened: its objects count as not stored.
    pub(crate) fn is_absent(&self, pack: PackKey) -> bool {
        self.inner.recovery.absent.contains(&pack)
    }

    pub(crate) fn fresh_id<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        draw(self.options())
    }

    /// Fails with [`StoreError::Full`] when the reserve is touched.
    pub(crate) fn check_space(&self) -> Result<(), StoreError> {
        if self.dir().free_bytes()? < self.options().min_free_bytes {
            return Err(StoreError::Full { verb: "take anything in at", path: self.dir().root().to_owned() });
        }
        Ok(())
    }

    /// Makes sure no catalog older than `generation`, which is durable, can be put back unnoticed.
    pub(crate) fn raise_anchor(&self, generation: u64) -> Result<(), StoreError> {
        self.catalog().check_running()?;
        match self.inner.anchor.raise(self.dir(), generation) {
            Ok(()) => Ok(()),
            Err(AnchorError::Refused(error)) => Err(error),
            Err(AnchorError::Final(error)) => {
                self.catalog().halt(format!("the anchor may not be durable: {error}"));
                Err(error)
            }
        }
    }

    pub(crate) fn is_session_open(&self, id: SessionId) -> bool {
        self.sessions().contains(&id)
    }

    pub(crate) fn sessions(&self) -> std::sync::MutexGuard<'_, HashSet<SessionId>> {
        self.inner.open_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn draw<const N: usize>(options: &StoreOptions) -> Result<[u8; N], StoreError> {
    fresh(&*options.random).map_err(|error| StoreError::io("draw random bytes from", Path::new("the system"), error))
}
