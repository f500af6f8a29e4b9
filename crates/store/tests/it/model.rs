//! Random histories of several sessions, trash and purge, garbage collection, verification, repair, reindexing and power
//! losses, step by step beside a naive model.
//!
//! The steps of a collection fall anywhere between those of the sessions. The model knows its rules in their plainest form:
//! what live snapshots reach is kept, in every copy; condemned is what is neither kept nor stamped since; deleted is what
//! was condemned before, if no session is as old. Whatever the order of steps: condemned and deleted are exactly the packs
//! the model says, every committed snapshot can be restored, the trash included, `held` says what the oracle says, and a
//! commit succeeds exactly when nothing is missing; verification finds everything sound and repair nothing to do;
//! what a session was told is held stays until it ends. At the end of each history nothing is left but what is kept, each object once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use object::{Codec, Kind, SealedRecord};
use proptest::prelude::*;
use store::disk::Disk;
use store::{
    Collection, ErrorKind, GcOptions, IdempotencyKey, Marked, PackChoice, SnapshotChange, Store, StoreError, Sweep,
    UnixMs, WriteSession,
};
use testkit::disk::{Fault, until_death};

use crate::props::*;

const CHUNKS: usize = 8;
const PAGES: usize = 8;
const SNAPSHOTS: usize = 6;
const SESSIONS: usize = 2;

/// Every object there can be: chunks, each also as a delta; pages that refer to chunks and pages; snapshots of pages.
#[derive(Debug, Clone)]
struct Universe {
    bases: Vec<BTreeSet<usize>>,
    pages: Vec<BTreeSet<usize>>,
    roots: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Put { session: usize, object: usize, as_delta: bool },
    PutSubtree { session: usize, snapshot: usize },
    Flush { session: usize },
    Held { session: usize },
    Commit { session: usize, snapshot: usize },
    Close { session: usize },
    Trash { snapshot: usize },
    Undelete { snapshot: usize },
    Purge,
    Pin { snapshot: usize },
    Unpin { snapshot: usize },
    Mark,
    Condemn,
    Delete,
    Repack,
    Sweep,
    Verify,
    Repair,
    Reindex,
    Restart { seed: Option<u64> },
}

fn universe() -> impl Strategy<Value = Universe> {
    let bases = prop::collection::vec(prop::collection::btree_set(0..CHUNKS, 1..3), CHUNKS);
    let pages = prop::collection::vec(prop::collection::btree_set(0..CHUNKS + PAGES, 0..5), PAGES);
    let roots = prop::collection::vec(CHUNKS..CHUNKS + PAGES, SNAPSHOTS);
    (bases, pages, roots).prop_map(|(mut bases, pages, roots)| {
        for (chunk, bases) in bases.iter_mut().enumerate() {
            bases.remove(&chunk);
            if bases.is_empty() {
                bases.insert((chunk + 1) % CHUNKS);
            }
        }
        Universe { bases, pages, roots }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 0..SESSIONS;
    let snapshot = || 0..SNAPSHOTS;
    prop_oneof![
        6 => (session(), 0..CHUNKS + PAGES + SNAPSHOTS, any::<bool>())
            .prop_map(|(session, object, as_delta)| Step::Put { session, object, as_delta }),
        4 => (session(), snapshot()).prop_map(|(session, snapshot)| Step::PutSubtree { session, snapshot }),
        3 => session().prop_map(|session| Step::Flush { session }),
        3 => session().prop_map(|session| Step::Held { session }),
        6 => (session(), snapshot()).prop_map(|(session, snapshot)| Step::Commit { session, snapshot }),
        1 => session().prop_map(|session| Step::Close { session }),
        3 => snapshot().prop_map(|snapshot| Step::Trash { snapshot }),
        1 => snapshot().prop_map(|snapshot| Step::Undelete { snapshot }),
        2 => Just(Step::Purge),
        2 => snapshot().prop_map(|snapshot| Step::Pin { snapshot }),
        1 => snapshot().prop_map(|snapshot| Step::Unpin { snapshot }),
        3 => Just(Step::Mark),
        3 => Just(Step::Condemn),
        3 => Just(Step::Delete),
        3 => Just(Step::Repack),
        2 => Just(Step::Sweep),
        1 => Just(Step::Verify),
        1 => Just(Step::Repair),
        1 => Just(Step::Reindex),
        1 => any::<Option<u64>>().prop_map(|seed| Step::Restart { seed }),
    ]
}

impl Universe {
    fn name(object: usize) -> String {
        format!("object {object}")
    }

    fn edges(&self, object: usize) -> Vec<usize> {
        match object.checked_sub(CHUNKS) {
            None => Vec::new(),
            Some(page) if page < PAGES => self.pages[page].iter().copied().collect(),
            Some(snapshot) => vec![self.roots[snapshot - PAGES]],
        }
    }

    fn record(&self, object: usize, as_delta: bool) -> SealedRecord {
        let name = Self::name(object);
        let as_delta = as_delta && object < CHUNKS;
        let edges = if as_delta { self.bases[object].iter().copied().collect() } else { self.edges(object) };
        let edges: Vec<String> = edges.into_iter().map(Self::name).collect();
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        let (kind, codec) = match object {
            0..CHUNKS if as_delta => (Kind::Data, Codec::Delta),
            0..CHUNKS => (Kind::Data, Codec::Raw),
            _ if object < CHUNKS + PAGES => (Kind::Tree, Codec::Zstd),
            _ => (Kind::Snapshot, Codec::Zstd),
        };
        record_with(codec, &[(kind, &name, &edges)], &body_of(&name))
    }

    /// All that an object reaches, itself included.
    fn reach(&self, object: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![object];
        while let Some(object) = open.pop() {
            if reached.insert(object) {
                open.extend(self.edges(object));
            }
        }
        reached
    }
}

/// Which objects are stored in readable packs: by pack, and whether whole.
#[derive(Default)]
struct Stored {
    copies: BTreeMap<usize, Vec<(i64, bool)>>,
}

impl Stored {
    fn read(world: &World) -> Self {
        let catalog = rusqlite::Connection::open(world.root.join("catalog.sqlite3")).unwrap();
        let sql = "SELECT half_id, pack, form < 8 FROM object JOIN pack USING (pack) WHERE state IN (2, 3)";
        let mut statement = catalog.prepare(sql).unwrap();
        let mut stored = Self::default();
        let half = |object| *id(&Universe::name(object)).as_bytes().first_chunk::<16>().unwrap();
        let known: BTreeMap<_, usize> = (0..CHUNKS + PAGES + SNAPSHOTS).map(|object| (half(object), object)).collect();
        let mut rows = statement.query(()).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let object = known[&row.get::<_, [u8; 16]>(0).unwrap()];
            stored.copies.entry(object).or_default().push((row.get(1).unwrap(), row.get(2).unwrap()));
        }
        stored
    }

    fn is_whole(&self, object: usize) -> bool {
        self.copies.get(&object).is_some_and(|copies| copies.iter().any(|(_, whole)| *whole))
    }

    fn is_complete(&self, universe: &Universe, object: usize) -> bool {
        universe.reach(object).into_iter().all(|object| {
            self.is_whole(object)
                || self.copies.contains_key(&object) && universe.bases[object].iter().all(|basis| self.is_whole(*basis))
        })
    }

    /// The packs that hold any copy of these objects.
    fn packs_of(&self, objects: &BTreeSet<usize>) -> BTreeSet<i64> {
        let copies = objects.iter().filter_map(|object| self.copies.get(object));
        copies.flatten().map(|(pack, _)| *pack).collect()
    }

    /// What these objects need.
    fn needed(&self, universe: &Universe, objects: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let mut needed: BTreeSet<usize> = objects.flat_map(|object| universe.reach(object)).collect();
        // A copy that is a delta needs its bases; the mark counts every copy, and those of bases too.
        loop {
            let is_delta = |object: &&usize| {
                self.copies.get(*object).is_some_and(|copies| copies.iter().any(|(_, is_whole)| !is_whole))
            };
            let bases: BTreeSet<usize> =
                needed.iter().filter(is_delta).flat_map(|object| &universe.bases[*object]).copied().collect();
            if bases.is_subset(&needed) {
                return needed;
            }
            needed.extend(bases);
        }
    }
}

/// The collection under way, and what the model knows of it.
struct Mark {
    marked: Marked<'static>,
    /// Objects that are kept.
    needed: BTreeSet<usize>,
    /// Packs that held any of them.
    kept: BTreeSet<i64>,
    /// All packs there were.
    known: BTreeSet<i64>,
}

struct History<'a> {
    universe: &'a Universe,
    world: World,
    store: Option<Store>,
    sessions: Vec<Option<WriteSession>>,
    open: Vec<HashSet<usize>>,
    live: BTreeSet<usize>,
    /// Taken away, not purged: kept like live ones.
    trash: BTreeSet<usize>,
    /// Somebody is restoring them: kept, also when they were purged since.
    pinned: BTreeSet<usize>,
    marked: Option<Mark>,
    keys: u64,
    deletions: u64,
    /// What each session was told that it is held: it stays as long as the session does.
    promised: Vec<BTreeSet<usize>>,
    /// Deletions before each session began.
    deletions_before: Vec<u64>,
}

impl<'a> History<'a> {
    fn new(template: &World, universe: &'a Universe) -> Self {
        let world = template.fork();
        let store = Some(world.open());
        Self {
            universe,
            world,
            store,
            sessions: (0..SESSIONS).map(|_| None).collect(),
            open: vec![HashSet::new(); SESSIONS],
            live: BTreeSet::new(),
            trash: BTreeSet::new(),
            pinned: BTreeSet::new(),
            marked: None,
            keys: 0,
            deletions: 0,
            promised: vec![BTreeSet::new(); SESSIONS],
            deletions_before: vec![0; SESSIONS],
        }
    }

    fn session(&mut self, index: usize) -> &mut WriteSession {
        let store = self.store.as_ref().unwrap();
        let world = &self.world;
        if self.sessions[index].is_none() {
            self.deletions_before[index] = self.deletions;
        }
        self.sessions[index].get_or_insert_with(|| world.begin_chain(store, &format!("chain {index}")).0)
    }

    fn put(&mut self, session: usize, object: usize, as_delta: bool) {
        let record = self.universe.record(object, as_delta);
        self.session(session).put(&record, NOW).unwrap();
        self.open[session].insert(object);
        let session_ref = self.sessions[session].as_ref().unwrap();
        if session_ref.durable_count() == session_ref.put_count() {
            self.open[session].clear();
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Put { session, object, as_delta } => self.put(session, object, as_delta),
            Step::PutSubtree { session, snapshot } => {
                for object in self.universe.reach(CHUNKS + PAGES + snapshot) {
                    self.put(session, object, false);
                }
            }
            Step::Flush { session } => {
                let opened = self.session(session);
                assert_eq!(opened.flush(NOW).unwrap(), opened.put_count());
                self.open[session].clear();
            }
            Step::Held { session } => self.check_held(session),
            Step::Commit { session, snapshot } => self.commit(session, snapshot),
            Step::Close { session } => {
                if let Some(open) = self.sessions[session].take() {
                    open.close(NOW).unwrap();
                    self.open[session].clear();
                    self.promised[session].clear();
                }
            }
            Step::Trash { snapshot } => {
                if self.live.remove(&snapshot) {
                    let id = id(&Universe::name(CHUNKS + PAGES + snapshot));
                    let question = format!("SELECT snapshot FROM snapshot WHERE id = x'{id}' AND state = 1");
                    let number = u64::try_from(self.world.ask::<i64>(&question)).unwrap();
                    assert_eq!(self.store.as_ref().unwrap().trash(&[number], NOW).unwrap(), 1);
                    self.trash.insert(snapshot);
                }
            }
            Step::Undelete { snapshot } => self.undelete(snapshot),
            Step::Purge => {
                let purged = self.store.as_ref().unwrap().purge(NOW).unwrap();
                assert_eq!(purged.snapshots, self.trash.len() as u64);
                self.trash.clear();
            }
            Step::Pin { snapshot } => self.pin(snapshot),
            Step::Unpin { snapshot } => {
                self.store.as_ref().unwrap().unpin(&holder(snapshot)).unwrap();
                self.pinned.remove(&snapshot);
            }
            Step::Mark => self.mark(),
            Step::Condemn => self.condemn(),
            Step::Delete => self.delete(),
            Step::Repack => {
                if let Some(mark) = &mut self.marked {
                    mark.marked.repack(NOW).unwrap();
                }
            }
            Step::Sweep => self.sweep(),
            Step::Verify => self.verify(),
            Step::Repair => self.repair(),
            Step::Reindex => self.reindex(),
            Step::Restart { seed } => self.restart(seed),
        }
    }

    fn check_held(&mut self, session: usize) {
        let all: Vec<usize> = (0..CHUNKS + PAGES + SNAPSHOTS).collect();
        let stored = Stored::read(&self.world);
        let ids: Vec<_> = all.iter().map(|object| id(&Universe::name(*object))).collect();
        let held = self.session(session).held(&ids).unwrap();
        for (object, held) in all.into_iter().zip(held) {
            let complete = stored.is_complete(self.universe, object) || self.open[session].contains(&object);
            if held && complete && !self.open[session].contains(&object) {
                self.promised[session].insert(object);
            }
            // A memo may still believe in what was deleted since; the commit does not.
            assert!(held || !complete, "object {object} is there and not held");
            assert!(
                !held || complete || self.deletions > self.deletions_before[session],
                "object {object} is not there"
            );
        }
    }

    fn fresh_key(&mut self) -> IdempotencyKey {
        self.keys += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.keys.to_le_bytes());
        IdempotencyKey::from_bytes(key)
    }

    fn undelete(&mut self, snapshot: usize) {
        let key = self.fresh_key();
        let ids = [id(&Universe::name(CHUNKS + PAGES + snapshot))];
        let store = self.store.as_ref().unwrap();
        match store.change_snapshots(VAULT, Some(self.world.device), key, &ids, SnapshotChange::Undelete, NOW) {
            Ok(changed) => {
                assert_eq!(changed.count, u64::from(self.trash.contains(&snapshot)));
                assert!(self.trash.remove(&snapshot) || self.live.contains(&snapshot));
                self.live.insert(snapshot);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(!self.trash.contains(&snapshot) && !self.live.contains(&snapshot), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn pin(&mut self, snapshot: usize) {
        let (store, device) = (self.store.as_ref().unwrap(), self.world.device);
        let id = id(&Universe::name(CHUNKS + PAGES + snapshot));
        let can_be_read = self.live.contains(&snapshot) || self.trash.contains(&snapshot);
        assert_eq!(store.pin(&holder(snapshot), VAULT, device, &id, NOW).unwrap(), can_be_read);
        if can_be_read {
            self.pinned.insert(snapshot);
        }
    }

    /// Nothing is damaged, whatever a collection is in the middle of.
    fn verify(&self) {
        let store = self.store.as_ref().unwrap();
        let counts = store.index_counts().unwrap();
        for (pack, _) in store.packs_to_verify(PackChoice::All, u64::MAX >> 1).unwrap() {
            let report = store.verify_pack(pack, Some(&counts), NOW, &mut |_| {}).unwrap();
            assert!(report.as_ref().is_none_or(store::PackReport::is_sound), "{report:?}");
        }
    }

    /// Repair finds nothing to do.
    fn repair(&self) {
        let store = self.store.as_ref().unwrap();
        let orphans = store.adopt_orphans(NOW).unwrap();
        assert_eq!((orphans.adopted.len(), orphans.strangers.len()), (0, 0));
        let counts = store.index_counts().unwrap();
        for (pack, _) in store.packs_to_verify(PackChoice::All, u64::MAX >> 1).unwrap() {
            assert_eq!(store.repair_pack(pack, Some(&counts), NOW, &mut |_| {}).unwrap(), None);
        }
    }

    /// Rebuilds the index from the packs; nobody may write meanwhile.
    fn reindex(&mut self) {
        for session in 0..SESSIONS {
            self.take(&Step::Close { session });
        }
        self.marked = None;
        let report = self.store.as_ref().unwrap().reindex(NOW, &mut |_| {}).unwrap();
        assert_eq!((report.missing.len(), report.damaged.len()), (0, 0));
        self.verify();
    }

    fn commit(&mut self, session: usize, snapshot: usize) {
        let key = self.fresh_key();
        let object = CHUNKS + PAGES + snapshot;
        let result = self.session(session).commit_snapshot(key, id(&Universe::name(object)), NOW);
        self.open[session].clear();
        let stored = Stored::read(&self.world);
        match result {
            Ok(committed) => {
                assert!(!committed.repeated);
                assert!(!self.live.contains(&snapshot) && !self.trash.contains(&snapshot));
                self.live.insert(snapshot);
                // What was pinned was another, that was purged.
                self.pinned.remove(&snapshot);
                let again = self.session(session).commit_snapshot(key, id(&Universe::name(object)), NOW).unwrap();
                assert!(again.repeated && again.seq == committed.seq);
            }
            Err(StoreError::Missing { ids: missing }) => {
                assert!(!stored.is_complete(self.universe, object), "nothing is missing, but {missing:?}");
                let reach = self.universe.reach(object);
                for missing in missing {
                    let object = reach.iter().find(|object| id(&Universe::name(**object)) == missing);
                    let object = *object.expect("only what is needed is missing");
                    assert!(!stored.is_complete(self.universe, object) && !stored.is_whole(object));
                }
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                assert!(self.live.contains(&snapshot) || self.trash.contains(&snapshot), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The packs for which this holds.
    fn packs_with(&self, condition: &str) -> BTreeSet<i64> {
        let question = format!("SELECT coalesce(group_concat(pack), '') FROM pack WHERE {condition}");
        let packs: String = self.world.ask(&question);
        packs.split(',').filter(|pack| !pack.is_empty()).map(|pack| pack.parse().unwrap()).collect()
    }

    fn mark(&mut self) {
        // One at a time.
        self.marked = None;
        let mut roots: BTreeSet<usize> = self.kept().collect();
        // Parents of open sessions are kept even when they were purged.
        for snapshot in 0..SNAPSHOTS {
            let id = id(&Universe::name(CHUNKS + PAGES + snapshot));
            let sql = "SELECT count(*) FROM session JOIN snapshot ON parent = snapshot WHERE snapshot.id = ";
            if self.world.ask::<i64>(&format!("{sql} x'{id}'")) > 0 {
                roots.insert(snapshot);
            }
        }
        let stored = Stored::read(&self.world);
        let needed = stored.needed(self.universe, roots.iter().map(|snapshot| CHUNKS + PAGES + snapshot));
        let kept = stored.packs_of(&needed);
        let known = self.packs_with("state IN (2, 3)");
        let marked = Collection::begin(self.store.as_ref().unwrap(), &gc_options(), &()).unwrap().mark().unwrap();
        assert_eq!(marked.report().refusals, []);
        assert_eq!(marked.report().objects_lost, 0);
        self.marked = Some(Mark { marked, needed, kept, known });
    }

    fn condemn(&mut self) {
        let Some(mark) = &mut self.marked else { return };
        mark.marked.condemn(NOW).unwrap();
        let epoch = mark.marked.report().epoch;
        let dead: BTreeSet<i64> = mark.known.difference(&mark.kept).copied().collect();
        let needed = mark.needed.clone();
        let left = self.packs_with(&format!("state = 2 AND touched_epoch < {epoch}"));
        let left: Vec<_> = left.intersection(&dead).collect();
        assert!(left.is_empty(), "{left:?} are dead and not condemned");
        // A repack may have emptied a pack that held something kept.
        let kept = Stored::read(&self.world).packs_of(&needed);
        let wrong = self.packs_with(&format!("state = 3 AND condemned_epoch = {epoch}"));
        let wrong: Vec<_> = wrong.intersection(&kept).collect();
        assert!(wrong.is_empty(), "{wrong:?} are kept and condemned");
        let stamped = self.packs_with(&format!("state = 3 AND touched_epoch >= {epoch}"));
        assert!(stamped.is_empty(), "{stamped:?} are stamped and condemned");
    }

    fn delete(&mut self) {
        let Some(Mark { marked, kept, known, .. }) = &self.marked else { return };
        let epoch = marked.report().epoch;
        let (kept, known) = (kept.clone(), known.clone());
        let oldest: i64 = self.world.ask("SELECT coalesce(min(started_epoch), 1000000) FROM session");
        let condition = format!("state = 3 AND condemned_epoch < {epoch} AND condemned_epoch < {oldest}");
        let ripe: BTreeSet<i64> = self.packs_with(&condition).intersection(&known).copied().collect();
        let ripe: BTreeSet<i64> = ripe.difference(&kept).copied().collect();
        let before = self.packs_with("TRUE");
        self.marked.as_mut().unwrap().marked.delete(NOW).unwrap();
        let after = self.packs_with("TRUE");
        let gone: BTreeSet<i64> = before.difference(&after).copied().collect();
        assert_eq!(gone, ripe, "deleted are others than those that may be");
        assert_eq!(self.world.packs().len(), after.len() - self.packs_with("state = 1").len());
        self.deletions += gone.len() as u64;
    }

    /// Forgets sessions that were cut off.
    fn sweep(&mut self) {
        let sweep = Sweep {
            sessions_idle_since: UnixMs(NOW.0 + 1),
            pins_before: UnixMs(0),
            answers_before: UnixMs(0),
            enrolments_before: UnixMs(0),
            web_sessions_before: (UnixMs(0), UnixMs(0)),
        };
        self.store.as_ref().unwrap().sweep(&sweep).unwrap();
    }

    /// Ends all sessions and collects until nothing is left to collect.
    fn settle(&mut self) {
        for session in 0..SESSIONS {
            self.take(&Step::Close { session });
        }
        self.sweep();
        self.marked = None;
        let store = self.store.as_ref().unwrap();
        for _ in 0..3 {
            let report = store.collect_garbage(&gc_options(), &(), NOW).unwrap();
            assert_eq!(report.refusals, []);
        }
        let report = store.collect_garbage(&gc_options(), &(), NOW).unwrap();
        assert_eq!((report.packs_condemned, report.packs_repacked, report.copies_dropped), (0, 0, 0), "{report:?}");
        assert_eq!((report.packs_waiting, report.objects_dead), (0, 0), "{report:?}");
        let stored = Stored::read(&self.world);
        for (object, copies) in &stored.copies {
            assert_eq!(copies.len(), 1, "object {object} is stored more than once: {copies:?}");
        }
        let mut kept: BTreeSet<usize> =
            self.kept().flat_map(|snapshot| self.universe.reach(CHUNKS + PAGES + snapshot)).collect();
        loop {
            let deltas = kept.iter().filter(|object| **object < CHUNKS && !stored.is_whole(**object));
            let bases: BTreeSet<usize> = deltas.flat_map(|object| &self.universe.bases[*object]).copied().collect();
            if bases.is_subset(&kept) {
                break;
            }
            kept.extend(bases);
        }
        assert_eq!(stored.copies.keys().copied().collect::<BTreeSet<_>>(), kept, "kept is what is needed");
        self.check();
    }

    /// The process dies, and with it power goes if there is a seed.
    fn restart(&mut self, seed: Option<u64>) {
        self.world.disk.plan(0, Fault::DieBefore);
        let sessions = std::mem::take(&mut self.sessions);
        let store = self.store.take();
        // A collection does not survive its process.
        let marked = self.marked.take();
        let died = until_death(|| {
            let _running = (sessions, marked, store);
            drop(self.world.disk.sync_dir(&self.world.root));
        });
        assert!(died.is_none());
        match seed {
            Some(seed) => self.world.disk.lose_power(Some(seed)),
            None => self.world.disk.reboot(),
        }
        self.store = Some(self.world.open());
        self.sessions = (0..SESSIONS).map(|_| None).collect();
        self.open.iter_mut().for_each(HashSet::clear);
        self.promised.iter_mut().for_each(BTreeSet::clear);
    }

    /// Snapshots that are needed.
    fn kept(&self) -> impl Iterator<Item = usize> {
        let listed: BTreeSet<usize> = self.live.union(&self.trash).copied().collect();
        listed.union(&self.pinned).copied().collect::<BTreeSet<_>>().into_iter()
    }

    fn check(&self) {
        let store = self.store.as_ref().unwrap();
        assert_eq!(store.deletion_latch(), None);
        assert_eq!(store.halted(), None);
        for snapshot in self.kept() {
            let object = CHUNKS + PAGES + snapshot;
            let found = restore_with_bases(store, &Universe::name(object));
            for object in self.universe.reach(object) {
                assert!(found.contains(&id(&Universe::name(object))), "object {object} of snapshot {snapshot}");
            }
        }
        let stored = Stored::read(&self.world);
        for object in self.promised.iter().flatten() {
            assert!(stored.is_complete(self.universe, *object), "object {object} was held, and its session is open");
        }
        let listed: i64 = self.world.ask("SELECT count(*) FROM snapshot WHERE state = 1");
        assert_eq!(usize::try_from(listed).unwrap(), self.live.len());
    }
}

/// Nothing waits, nothing is tolerated.
fn gc_options() -> GcOptions {
    let mut options = GcOptions::default();
    options.grace_ms = 0;
    options.waste_percent_max = 0;
    options.allow_unusual = true;
    options
}

/// Who restores a snapshot.
fn holder(snapshot: usize) -> [u8; 16] {
    [u8::try_from(snapshot).unwrap(); 16]
}

/// What can be read from here on, the bases of deltas included.
fn restore_with_bases(store: &Store, name: &str) -> HashSet<object::ObjectId> {
    restore(store, id(name)).into_keys().collect()
}

/// A world whose index rows never wait in memory: the oracle reads them from the catalog.
fn template() -> World {
    let mut world = World::new();
    world.options.unwritten_rows_max = 0;
    world
}

/// 500 histories, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig { cases, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_histories(universe in universe(), steps in prop::collection::vec(step(), 1..80)) {
        thread_local!(static TEMPLATE: World = template());
        TEMPLATE.with(|template| {
            let mut history = History::new(template, &universe);
            for step in &steps {
                history.take(step);
                history.check();
            }
            history.settle();
        });
    }
}
