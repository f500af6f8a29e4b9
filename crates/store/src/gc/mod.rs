//! Garbage collection: finds what no root refers to and gives its space back, beside live backups and without a lock.
//!
//! [`Store::collect_garbage`] is one cycle. Its steps can also be taken one by one: [`Collection`] has begun,
//! [`Marked`] knows what is kept.
//!
//! 1. *Begin*: one transaction raises the epoch and captures the roots.
//! 2. *Mark*: takes a census of the index, walks the edges of all roots, and adds up per pack what is kept of it. Every copy
//!    of an object that is kept counts, and so do the bases of every copy that is a delta.
//! 3. *Condemn*: packs that hold nothing that is kept, and whose stamp is older than this epoch.
//! 4. *Delete*: packs that an earlier cycle condemned and this one found dead again, when grace, sessions and catalog backup
//!    allow: durable in the catalog, ANCHOR raised, file removed, directory synced, row forgotten.
//! 5. *Repack*: the emptiest packs, until little enough is wasted. Records are copied byte for byte into new packs, read back,
//!    and made visible; then, in one transaction that finds the old pack unstamped since the mark, its copies are let go and
//!    it is condemned. Copies that a better one replaces are not copied.
//!
//! **Why it is safe beside commits**, for any timing and any clock: a commit stamps every pack it relies on with the current
//! epoch, inside the transaction that makes the reference. Whatever was referred to when the cycle began is found by the
//! mark; whatever is referred to later carries this epoch's stamp. Condemning and letting go look for the stamp inside
//! their transaction. A commit that comes after them finds `condemn_seq` raised and looks again. The reasoning, and every
//! way to get it wrong, is `tests/it/gc_model.rs`.

mod census;
mod delete;
mod mark;
mod release;
mod repack;
mod tally;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use object::ObjectId;

use crate::catalog::collection::{self, Begun, DriveCursor};
use crate::gc::census::Census;
use crate::gc::mark::Marker;
use crate::gc::release::Leaning;
use crate::gc::tally::Tally;
use crate::ids::{HalfId, PackKey, VaultKey};
use crate::{PackId, Store, StoreError, UnixMs};

pub use release::GcRelease;

/// Rows of the index, or of drive versions, read together.
const PAGE_LEN: usize = 4096;

/// How a collection decides; [`GcOptions::default`] is right for a scheduled one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GcOptions {
    /// Time between a pack's condemnation and its deletion, in milliseconds: for changing one's mind, not for safety.
    pub grace_ms: u64,
    /// Share of dead bytes, in percent, that packs may hold before the emptiest are repacked.
    pub waste_percent_max: u8,
    /// Packs of about the same length, much smaller than packs are meant to be, that are joined when there are so many.
    pub join_count_min: usize,
    /// Share of all stored bytes, in percent, that one collection may find dead without being told that this is right.
    pub loss_percent_max: u8,
    /// Somebody says that this is right: no roots at all, or more than `loss_percent_max` dead.
    pub allow_unusual: bool,
    /// Only tell what would be done.
    pub is_dry_run: bool,
    /// Why nothing may be deleted now although the rest may be done, if so: a clock that cannot be trusted.
    pub deletion_hold: Option<String>,
    /// Generation that the newest backup of the catalog holds: what was condemned later is not deleted. `None`: no backups
    /// are kept, and deletion waits for none.
    pub catalog_backup: Option<u64>,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            grace_ms: 7 * 24 * 3_600_000,
            waste_percent_max: 5,
            join_count_min: 64,
            loss_percent_max: 30,
            allow_unusual: false,
            is_dry_run: false,
            deletion_hold: None,
            catalog_backup: None,
        }
    }
}

/// What a collection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GcPhase {
    /// Reading the index; counts objects.
    Census,
    /// Following edges; counts pages.
    Mark,
    /// Adding up what is kept of each pack; counts objects.
    Tally,
    /// Removing packs; counts packs.
    Delete,
    /// Moving what is kept; counts packs.
    Repack,
}

/// Watches a collection and may stop it; called from its thread, often.
pub trait GcMonitor {
    /// `done` of `total` things of this phase; a `total` of 0 is not known.
    fn progress(&self, _phase: GcPhase, _done: u64, _total: u64) {}

    /// Whether to stop at the next good moment. What was done by then stays done.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl GcMonitor for () {}

/// Why a collection did less than it could.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum GcRefusal {
    /// The catalog may be older than what was acknowledged.
    #[error("nothing may be deleted until the catalog is rebuilt from the packs: {reason}")]
    Latched { reason: String },
    /// Not one snapshot or file, but packs: that looks like a catalog that lost them.
    #[error("there is no snapshot and no file, but {packs} packs")]
    NoRoots { packs: u64 },
    /// Something a root refers to cannot be read, so what it refers to is unknown.
    #[error("what {id} refers to is unknown: {what}")]
    Unreadable { id: ObjectId, what: &'static str },
    /// More would go than is usual.
    #[error("{dead_bytes} of {stored_bytes} bytes would go, more than {percent_max} %")]
    TooMuch { dead_bytes: u64, stored_bytes: u64, percent_max: u8 },
    /// Packs could be deleted, but not now.
    #[error("{packs} packs are not deleted now: {reason}")]
    Held { packs: u64, reason: String },
    /// No space to move objects to.
    #[error("too little space is free to repack")]
    NoSpace,
    /// Somebody stopped it.
    #[error("stopped before the end")]
    Stopped,
}

/// What becomes of a pack, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GcAction {
    /// Nothing refers to what it holds; it is condemned.
    Condemn,
    /// It was condemned before, and its time has come.
    Delete,
    /// It was condemned before and stays until the next cycle: its grace has not passed.
    WaitForGrace,
    /// It was condemned before and stays until the next cycle: a session open at that time may count on it.
    WaitForSession,
    /// It was condemned before and stays until the next cycle: no backup of the catalog knows that it was.
    WaitForBackup,
    /// It was condemned before, but something refers to it again.
    Reprieve,
    /// Too little of it is kept: that is moved to another pack.
    Repack,
}

/// What a collection would do with a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcPlan {
    /// Which pack.
    pub pack: PackId,
    /// What would be done with it.
    pub action: GcAction,
    /// Its length.
    pub bytes: u64,
    /// Bytes of its records that are kept.
    pub live_bytes: u64,
}

/// What a collection found and did. Of a dry run, what it would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// The collection's number.
    pub epoch: u64,
    /// Whether nothing was changed.
    pub is_dry_run: bool,
    /// Complete packs when it began.
    pub packs_examined: u64,
    /// Their length.
    pub bytes_examined: u64,
    /// Objects that a root refers to.
    pub objects_live: u64,
    /// Objects that none refers to.
    pub objects_dead: u64,
    /// Objects that a root refers to and of which no copy can be read.
    pub objects_lost: u64,
    /// Packs condemned now.
    pub packs_condemned: u64,
    /// Their length.
    pub bytes_condemned: u64,
    /// Packs condemned before that are kept after all.
    pub packs_reprieved: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Their length.
    pub bytes_freed: u64,
    /// Packs condemned before that stay until a later cycle.
    pub packs_waiting: u64,
    /// Their length.
    pub bytes_waiting: u64,
    /// Packs whose kept records were moved; they are condemned too.
    pub packs_repacked: u64,
    /// Their length.
    pub bytes_repacked: u64,
    /// Bytes of records moved.
    pub bytes_moved: u64,
    /// Copies let go because a better one is stored.
    pub copies_dropped: u64,
    /// Files removed from `staging/`.
    pub staging_removed: u64,
    /// Packs left as they are because something in them is damaged.
    pub packs_damaged: Vec<PackId>,
    /// Why it did less than it could.
    pub refusals: Vec<GcRefusal>,
    /// What would be done with which pack; of a dry run only.
    pub plans: Vec<GcPlan>,
    /// Objects that would take less space whole than the bases do that are kept for their deltas alone. Whoever can open
    /// them may put them whole; see [`GcRelease`].
    pub releases: Vec<GcRelease>,
}

/// Why a step ended early.
enum Stop {
    Refused(GcRefusal),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// One cycle of garbage collection. A pack takes two cycles to go: condemned in one, deleted in a later one.
    ///
    /// Runs beside sessions, commits and reads. Memory: about 5 bytes per stored object and 150 per pack, and some 16 MiB.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a collection is under way. When catalog or disk fail; what was done by then stays
    /// done, and the next cycle goes on. A refusal is no error: see [`GcReport::refusals`].
    pub fn collect_garbage(
        &self,
        options: &GcOptions,
        monitor: &dyn GcMonitor,
        now: UnixMs,
    ) -> Result<GcReport, StoreError> {
        let mut marked = Collection::begin(self, options, monitor)?.mark()?;
        marked.condemn(now)?;
        marked.delete(now)?;
        marked.repack(now)?;
        self.refill_reserve();
        Ok(marked.finish())
    }
}

/// The right to collect; given back when dropped.
#[derive(Debug)]
struct Running(Store);

impl Running {
    fn new(store: &Store) -> Result<Self, StoreError> {
        if store.collecting().swap(true, Ordering::AcqRel) {
            return Err(StoreError::Conflict { what: "garbage is being collected" });
        }
        Ok(Self(store.clone()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.collecting().store(false, Ordering::Release);
    }
}

/// A collection that has its epoch and its roots.
pub struct Collection<'a> {
    shared: Shared<'a>,
    begun: Begun,
}

/// What all steps need.
struct Shared<'a> {
    store: Store,
    options: GcOptions,
    monitor: &'a dyn GcMonitor,
    report: GcReport,
    _running: Running,
}

impl Shared<'_> {
    /// Stops at what is unusual, unless somebody said that it is right. A dry run only takes note.
    fn ask(&mut self, refusal: GcRefusal) -> Result<(), Stop> {
        match (self.options.allow_unusual, self.options.is_dry_run) {
            (true, _) => Ok(()),
            (false, true) => {
                self.report.refusals.push(refusal);
                Ok(())
            }
            (false, false) => Err(Stop::Refused(refusal)),
        }
    }
}

impl std::fmt::Debug for Collection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collection(epoch {}, {} roots and the drives)", self.begun.epoch, self.begun.roots.len())
    }
}

impl<'a> Collection<'a> {
    /// Begins a cycle, unless the store is latched: then every step does nothing and the report says why.
    ///
    /// # Errors
    /// As [`Store::collect_garbage`].
    pub fn begin(store: &Store, options: &GcOptions, monitor: &'a dyn GcMonitor) -> Result<Self, StoreError> {
        if !options.is_dry_run {
            store.faults().check()?;
        }
        let running = Running::new(store)?;
        let mut report = GcReport { is_dry_run: options.is_dry_run, ..GcReport::default() };
        let latch = store.deletion_latch().map(str::to_owned);
        let begun = if options.is_dry_run || latch.is_some() {
            store.catalog().read(collection::preview)?
        } else {
            store.catalog().write_on_reserve(collection::begin)?
        };
        report.refusals.extend(latch.map(|reason| GcRefusal::Latched { reason }));
        report.epoch = u64::try_from(begun.epoch).unwrap_or_default();
        let (store, options) = (store.clone(), options.clone());
        Ok(Self { shared: Shared { store, options, monitor, report, _running: running }, begun })
    }

    /// Finds out what is kept.
    ///
    /// # Errors
    /// When catalog or disk fail.
    pub fn mark(self) -> Result<Marked<'a>, StoreError> {
        let Self { mut shared, begun } = self;
        let mut found = Found { epoch: begun.epoch, ..Found::default() };
        let mut is_refused = !shared.report.refusals.is_empty();
        if !is_refused {
            match find(&mut shared, &begun, &mut found) {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => {
                    shared.report.refusals.push(refusal);
                    is_refused = true;
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok(Marked { shared, found, is_refused })
    }
}

/// What the mark found.
#[derive(Default)]
struct Found {
    epoch: i64,
    censuses: HashMap<VaultKey, Census>,
    /// By ascending key.
    packs: Vec<Tally>,
    /// Objects that are stored whole and as a delta, some of them.
    doubled: Vec<(VaultKey, HalfId)>,
}

impl Found {
    fn is_kept(&self, vault: VaultKey, id: &HalfId) -> bool {
        self.censuses.get(&vault).is_some_and(|census| census.is_kept(id))
    }

    fn tally(&self, pack: PackKey) -> Option<&Tally> {
        let index = self.packs.binary_search_by_key(&pack, |tally| tally.facts.key).ok()?;
        self.packs.get(index)
    }
}

/// A collection that knows what is kept. Its steps can be taken in any order, more than once, or not at all.
pub struct Marked<'a> {
    shared: Shared<'a>,
    found: Found,
    is_refused: bool,
}

impl std::fmt::Debug for Marked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Marked({:?})", self.shared.report)
    }
}

impl Marked<'_> {
    /// What was found and done so far.
    #[must_use]
    pub fn report(&self) -> &GcReport {
        &self.shared.report
    }

    /// Ends the cycle.
    #[must_use]
    pub fn finish(self) -> GcReport {
        self.shared.report
    }

    fn is_stopped(&mut self) -> bool {
        let stopped = self.shared.monitor.is_stopped();
        if stopped && !self.shared.report.refusals.contains(&GcRefusal::Stopped) {
            self.shared.report.refusals.push(GcRefusal::Stopped);
        }
        stopped
    }
}

/// Census, mark and tally.
fn find(shared: &mut Shared<'_>, begun: &Begun, found: &mut Found) -> Result<(), Stop> {
    let (store, monitor) = (shared.store.clone(), shared.monitor);
    // Rows that wait in memory may be of objects the roots refer to: into the index with them, after the epoch was raised.
    store.catalog().settle()?;
    found.packs = store.catalog().read(collection::pack_facts)?.into_iter().map(Tally::new).collect();
    shared.report.packs_examined = found.packs.len() as u64;
    shared.report.bytes_examined = found.packs.iter().map(|tally| tally.facts.bytes).sum();
    let mut expected: HashMap<VaultKey, u64> = HashMap::new();
    for Tally { facts, .. } in &found.packs {
        *expected.entry(facts.vault).or_default() += facts.object_count;
    }
    let total = expected.values().sum();
    let mut counted = 0;
    for (vault, expected_count) in expected {
        let census = tally::take_census(&store, vault, expected_count, |count| {
            monitor.progress(GcPhase::Census, counted + count, total);
            if monitor.is_stopped() { Err(Stop::Refused(GcRefusal::Stopped)) } else { Ok(()) }
        })?;
        counted += census.len();
        found.censuses.insert(vault, census);
    }
    let mut leaning = Leaning::default();
    let root_count = mark_roots(shared, begun, &mut found.censuses, &mut leaning)?;
    shared.report.releases = leaning.releases(&store, found)?;
    if root_count == 0 && !found.packs.is_empty() {
        shared.ask(GcRefusal::NoRoots { packs: found.packs.len() as u64 })?;
    }
    tally::count(shared, found)?;
    tally::plan(shared, found)
}

/// Walks from every root; returns how many there are.
fn mark_roots(
    shared: &Shared<'_>,
    begun: &Begun,
    censuses: &mut HashMap<VaultKey, Census>,
    leaning: &mut Leaning,
) -> Result<u64, Stop> {
    let mut roots = begun.roots.clone();
    let mut root_count = 0;
    let mut marked_pages = 0;
    let mut cursor: DriveCursor = (i64::MIN, i64::MIN);
    while !roots.is_empty() || cursor != (i64::MAX, i64::MAX) {
        root_count += roots.len() as u64;
        roots.sort_unstable();
        for roots in roots.chunk_by(|a, b| a.0 == b.0) {
            let vault = roots[0].0;
            // A vault without a single pack has no objects.
            let unreadable = GcRefusal::Unreadable { id: roots[0].1, what: "its vault has no packs" };
            let census = censuses.get_mut(&vault).ok_or(Stop::Refused(unreadable))?;
            let mut marker = Marker::new(&shared.store, vault, census, leaning, shared.monitor, marked_pages);
            roots.iter().try_for_each(|(_, root)| marker.root(root))?;
            marked_pages = marker.finish()?;
        }
        let page = shared
            .store
            .catalog()
            .read(|catalog| collection::drive_roots(catalog, begun.generation, cursor, PAGE_LEN))?;
        cursor = page.last().map_or((i64::MAX, i64::MAX), |(cursor, ..)| *cursor);
        roots = page.into_iter().filter_map(|(_, vault, content)| Some((vault, content?))).collect();
    }
    Ok(root_count)
}
