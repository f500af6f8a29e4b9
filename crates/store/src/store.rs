//! [`Store`]: an open data directory. Opening recovers whatever an earlier process left behind.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::anchor::{AnchorError, AnchorKeeper};
use crate::catalog::Catalog;
use crate::data_dir::DataDir;
use crate::disk::{Disk, DiskLock, OsDisk, carrier};
use crate::faults::Faults;
use crate::ids::PackKey;
use crate::ledger::{Ledger, LedgerError, LedgerKeeper};
use crate::pack_cache::PackCache;
use crate::random::{OsRandom, Random, fresh};
use crate::recover::{self, Recovery};
use crate::reserve::{Reserve, ReserveStatus};
use crate::{ErrorKind, SessionId, StoreError, StoreId, UnixMs};

/// How a store works; [`StoreOptions::default`] is right for a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreOptions {
    /// A pack is sealed once it is this long. At most what leaves room in 128 MiB for one more record
    /// and the footer; longer is taken as that.
    pub pack_target_bytes: u64,
    /// With less than this free, nothing new is taken in.
    pub min_free_bytes: u64,
    /// Room that is taken in advance, and used on a full disk for what makes room; 0 for none.
    pub reserve_bytes: u64,
    /// Packs kept open for reading.
    pub open_packs_max: usize,
    /// Objects whose index rows may wait in memory to be written together; about 80 bytes each.
    pub unwritten_rows_max: usize,
    /// Somebody vouches for a file system that is not known to keep the catalog safe.
    pub allow_any_file_system: bool,
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
            reserve_bytes: 0,
            open_packs_max: 128,
            unwritten_rows_max: 128 * 1024,
            allow_any_file_system: false,
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
    reserve: Arc<Reserve>,
    ledger: LedgerKeeper,
    options: StoreOptions,
    recovery: Recovery,
    /// Whether the catalog was rebuilt from the packs since it was opened.
    is_rebuilt: AtomicBool,
    is_latch_lifted: AtomicBool,
    open_sessions: Mutex<HashSet<SessionId>>,
    faults: Faults,
    /// Whether garbage is being collected.
    collecting: AtomicBool,
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
    /// is using it; [`StoreError::Carrier`] on a file system that may lose the catalog.
    pub fn create(dir: &Path, options: &StoreOptions, now: UnixMs) -> Result<Self, StoreError> {
        let data = DataDir::new(dir, options.disk.clone());
        if data.ensure_dir(data.root())?
            && let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty())
        {
            data.sync_dir(parent)?;
        }
        check_carrier(&data, options)?;
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
    /// it, [`StoreError::Carrier`] on a file system that may lose the catalog.
    pub fn open(dir: &Path, options: &StoreOptions, now: UnixMs) -> Result<Self, StoreError> {
        let data = DataDir::new(dir, options.disk.clone());
        check_carrier(&data, options)?;
        match Catalog::exists(&data.catalog_path()) {
            Ok(false) => return Err(StoreError::NotFound { what: "store" }),
            // On a full disk not even that can be asked, until the reserve is let go of.
            Ok(true) => {}
            Err(error) if error.kind() == ErrorKind::Full => {}
            Err(error) => return Err(error),
        }
        let lock = data.lock()?;
        Self::open_locked(data, lock, options, now)
    }

    pub(crate) fn open_locked(
        dir: DataDir,
        lock: DiskLock,
        options: &StoreOptions,
        now: UnixMs,
    ) -> Result<Self, StoreError> {
        let reserve = Arc::new(Reserve::new(&dir, options.reserve_bytes));
        let open = || -> Result<_, StoreError> {
            let (path, instance) = (dir.catalog_path(), draw(options)?);
            let (catalog, meta) = Catalog::open(&path, instance, options.unwritten_rows_max, Arc::clone(&reserve))?;
            let mut recovery = recover::recover(&catalog, &dir, &meta, now)?;
            let ledger = recover::open_ledger(&catalog, &meta, &mut recovery)?;
            Ok((catalog, meta, recovery, ledger))
        };
        let (catalog, meta, recovery, ledger) = match open() {
            Err(error) if error.kind() == ErrorKind::Full => {
                reserve.make_room();
                open()?
            }
            opened => opened?,
        };
        reserve.refill();
        let inner = Inner {
            catalog,
            packs: PackCache::new(options.open_packs_max),
            anchor: AnchorKeeper::new(meta.store, recovery.anchor_generation),
            reserve,
            ledger,
            options: options.clone(),
            recovery,
            is_rebuilt: AtomicBool::new(false),
            is_latch_lifted: AtomicBool::new(false),
            open_sessions: Mutex::default(),
            faults: Faults::default(),
            collecting: AtomicBool::new(false),
            dir,
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        // Whoever had it open may have died between catalog and ledger, or the ledger was lost or damaged.
        store.keep_ledger()?;
        Ok(store)
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
        let is_lifted = self.inner.is_latch_lifted.load(Ordering::SeqCst);
        self.inner.recovery.latch.as_deref().filter(|_| !is_lifted)
    }

    pub(crate) fn note_rebuilt(&self) {
        self.inner.is_rebuilt.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_rebuilt(&self) -> bool {
        self.inner.is_rebuilt.load(Ordering::SeqCst)
    }

    pub(crate) fn note_latch_lifted(&self) {
        self.inner.is_latch_lifted.store(true, Ordering::SeqCst);
    }

    /// Why writing has stopped, if so. The process must end and start again.
    #[must_use]
    pub fn halted(&self) -> Option<&str> {
        self.inner.catalog.halted()
    }

    /// Why nothing new is taken in, if so: the disk failed several times within an hour. Opening the store again takes it
    /// in again.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.inner.faults.read_only()
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.inner.faults
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

    /// What is held in reserve for a full disk.
    #[must_use]
    pub fn reserve(&self) -> ReserveStatus {
        self.inner.reserve.status()
    }

    /// Lets go of the reserve when the disk is nearly full: for whoever writes beside the store what makes room in it.
    pub fn make_room(&self) {
        self.inner.reserve.make_room();
    }

    /// Takes the reserve again when it was let go of and there is room.
    pub fn refill_reserve(&self) {
        self.inner.reserve.refill();
    }

    /// Bytes that must be free for anything new to be taken in: what a reserve that was let go of occupied is not for that.
    #[must_use]
    pub fn kept_free_bytes(&self) -> u64 {
        self.options().min_free_bytes.saturating_add(self.inner.reserve.missing_bytes())
    }

    /// Fails with [`StoreError::Full`] when less is free than is kept free.
    pub(crate) fn check_space(&self) -> Result<(), StoreError> {
        self.check_free(self.kept_free_bytes(), "take anything in at")
    }

    /// Whether `len` bytes more would be taken in now, as far as anybody can tell before.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they would not.
    pub fn check_room(&self, len: u64) -> Result<(), StoreError> {
        self.check_free(self.kept_free_bytes().saturating_add(len), "take anything in at")
    }

    /// As [`check_space`](Self::check_space) for `len` bytes that collection moves to make room: these may use the reserve.
    pub(crate) fn check_space_to_move(&self, len: u64) -> Result<(), StoreError> {
        let needed = self.inner.reserve.make_room_for(len);
        self.check_free(
            needed.map_or(self.kept_free_bytes(), |needed| needed.min(self.kept_free_bytes())),
            "move anything at",
        )
    }

    fn check_free(&self, bytes: u64, verb: &'static str) -> Result<(), StoreError> {
        if self.dir().free_bytes()? < bytes {
            return Err(StoreError::Full { verb, path: self.dir().root().to_owned() });
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

    /// Makes sure that what became of snapshots survives the loss of the catalog: after each change, before it is
    /// acknowledged.
    pub(crate) fn keep_ledger(&self) -> Result<(), StoreError> {
        self.catalog().check_running()?;
        match self.inner.ledger.keep(self.catalog(), self.dir()) {
            Ok(()) => Ok(()),
            Err(LedgerError::Refused(error)) => Err(error),
            Err(LedgerError::Final(error)) => {
                self.catalog().halt(format!("the ledger may not be durable: {error}"));
                Err(error)
            }
        }
    }

    /// The ledger as its file has it.
    pub(crate) fn read_ledger(&self) -> Result<Ledger, StoreError> {
        self.inner.ledger.read(self.dir())
    }

    pub(crate) fn collecting(&self) -> &AtomicBool {
        &self.inner.collecting
    }

    pub(crate) fn is_session_open(&self, id: SessionId) -> bool {
        self.sessions().contains(&id)
    }

    pub(crate) fn sessions(&self) -> std::sync::MutexGuard<'_, HashSet<SessionId>> {
        self.inner.open_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails with [`StoreError::Carrier`] where the catalog would not be safe. Asked before any of its files is opened. A
/// directory that is not there is on no file system.
pub(crate) fn check_carrier(data: &DataDir, options: &StoreOptions) -> Result<(), StoreError> {
    let number = match data.file_system() {
        Ok(number) => number,
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match carrier::objection(number).filter(|_| !options.allow_any_file_system) {
        None => Ok(()),
        Some(what) => Err(StoreError::Carrier { path: data.root().to_owned(), what }),
    }
}

pub(crate) fn draw<const N: usize>(options: &StoreOptions) -> Result<[u8; N], StoreError> {
    fresh(&*options.random).map_err(|error| StoreError::io("draw random bytes from", Path::new("the system"), error))
}
