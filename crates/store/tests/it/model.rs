//! Random histories of several sessions, garbage collection and power losses, step by step beside a naive model.
//!
//! Garbage collection is played here, with the conditions of the design: mark what live snapshots reach, condemn what is
//! neither marked nor stamped since, delete what is condemned. Whatever the order of steps: every committed snapshot can
//! be restored, `held` says what the oracle says, and a commit succeeds exactly when nothing is missing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use object::{Codec, Kind, SealedRecord};
use proptest::prelude::*;
use store::disk::Disk;
use store::{ErrorKind, IdempotencyKey, Store, StoreError, WriteSession};
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
    Purge { snapshot: usize },
    BeginMark,
    Condemn { pack: usize },
    Delete { pack: usize },
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
        2 => snapshot().prop_map(|snapshot| Step::Purge { snapshot }),
        2 => Just(Step::BeginMark),
        6 => (0..12usize).prop_map(|pack| Step::Condemn { pack }),
        4 => (0..12usize).prop_map(|pack| Step::Delete { pack }),
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

    /// The packs that hold any copy of what these objects need.
    fn packs(&self, universe: &Universe, objects: impl Iterator<Item = usize>) -> BTreeSet<i64> {
        let mut needed: BTreeSet<usize> = objects.flat_map(|object| universe.reach(object)).collect();
        // A copy that is a delta needs its bases; the mark counts every copy.
        let deltas: Vec<usize> = needed.iter().copied().filter(|object| *object < CHUNKS).collect();
        for object in deltas {
            if self.copies.get(&object).is_some_and(|copies| copies.iter().any(|(_, whole)| !whole)) {
                needed.extend(&universe.bases[object]);
            }
        }
        let copies = needed.iter().filter_map(|object| self.copies.get(object));
        copies.flatten().map(|(pack, _)| *pack).collect()
    }
}

struct History<'a> {
    universe: &'a Universe,
    world: World,
    store: Option<Store>,
    sessions: Vec<Option<WriteSession>>,
    open: Vec<HashSet<usize>>,
    live: BTreeSet<usize>,
    /// Epoch and marked packs of the collection under way.
    mark: Option<(i64, BTreeSet<i64>)>,
    keys: u64,
    deletions: u64,
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
            mark: None,
            keys: 0,
            deletions: 0,
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
                }
            }
            Step::Purge { snapshot } => {
                if self.live.remove(&snapshot) {
                    let id = id(&Universe::name(CHUNKS + PAGES + snapshot));
                    self.world.sql(&format!("UPDATE snapshot SET state = 3 WHERE id = x'{id}'"));
                }
            }
            Step::BeginMark => {
                let stored = Stored::read(&self.world);
                let marked = stored.packs(self.universe, self.live.iter().map(|snapshot| CHUNKS + PAGES + snapshot));
                self.world.sql("UPDATE meta SET epoch = epoch + 1");
                self.mark = Some((self.world.ask("SELECT epoch FROM meta"), marked));
            }
            Step::Condemn { pack } => self.condemn(pack),
            Step::Delete { pack } => self.delete(pack),
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
            // A memo may still believe in what was deleted since; the commit does not.
            assert!(held || !complete, "object {object} is there and not held");
            assert!(
                !held || complete || self.deletions > self.deletions_before[session],
                "object {object} is not there"
            );
        }
    }

    fn commit(&mut self, session: usize, snapshot: usize) {
        self.keys += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.keys.to_le_bytes());
        let key = IdempotencyKey::from_bytes(key);
        let object = CHUNKS + PAGES + snapshot;
        let result = self.session(session).commit_snapshot(key, id(&Universe::name(object)), NOW);
        self.open[session].clear();
        let stored = Stored::read(&self.world);
        match result {
            Ok(committed) => {
                assert!(!committed.repeated);
                assert!(!self.live.contains(&snapshot));
                self.live.insert(snapshot);
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
            Err(error) if error.kind() == ErrorKind::Conflict => assert!(self.live.contains(&snapshot), "{error}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// The pack's number, if it is of those that are in this state.
    fn pack_in_state(&self, index: usize, state: i64) -> Option<i64> {
        let packs: String = self.world.ask(&format!(
            "SELECT coalesce(group_concat(pack), '') FROM (SELECT pack FROM pack WHERE state = {state} ORDER BY pack)"
        ));
        let packs: Vec<&str> = packs.split(',').filter(|pack| !pack.is_empty()).collect();
        (!packs.is_empty()).then(|| packs[index % packs.len()].parse().unwrap())
    }

    fn condemn(&mut self, index: usize) {
        let (Some((epoch, marked)), Some(pack)) = (&self.mark, self.pack_in_state(index, 2)) else { return };
        let touched: i64 = self.world.ask(&format!("SELECT touched_epoch FROM pack WHERE pack = {pack}"));
        if !marked.contains(&pack) && touched < *epoch {
            self.world.sql(&format!(
                "BEGIN; UPDATE meta SET condemn_seq = condemn_seq + 1;
                 UPDATE pack SET state = 3, condemned_epoch = {epoch}, condemn_seq = (SELECT condemn_seq FROM meta)
                 WHERE pack = {pack}; COMMIT;"
            ));
        }
    }

    fn delete(&mut self, index: usize) {
        let Some(pack) = self.pack_in_state(index, 3) else { return };
        self.deletions += 1;
        self.world.sql(&format!("UPDATE pack SET state = 4 WHERE pack = {pack}"));
        let id: String = self.world.ask(&format!("SELECT lower(hex(id)) FROM pack WHERE pack = {pack}"));
        self.world.disk.lose_file(&self.world.root.join(format!("packs/{}/{id}.pack", &id[..2])));
        self.world.sql(&format!(
            "BEGIN; DELETE FROM object WHERE pack = {pack}; DELETE FROM pack WHERE pack = {pack}; COMMIT;"
        ));
    }

    /// The process dies, and with it power goes if there is a seed.
    fn restart(&mut self, seed: Option<u64>) {
        self.world.disk.plan(0, Fault::DieBefore);
        let sessions = std::mem::take(&mut self.sessions);
        let store = self.store.take();
        let died = until_death(|| {
            let _running = (sessions, store);
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
        // A collection does not survive its process.
        self.mark = None;
    }

    fn check(&self) {
        let store = self.store.as_ref().unwrap();
        assert_eq!(store.deletion_latch(), None);
        assert_eq!(store.halted(), None);
        for snapshot in &self.live {
            let object = CHUNKS + PAGES + snapshot;
            let found = restore_with_bases(store, &Universe::name(object));
            for object in self.universe.reach(object) {
                assert!(found.contains(&id(&Universe::name(object))), "object {object} of snapshot {snapshot}");
            }
        }
        let listed: i64 = self.world.ask("SELECT count(*) FROM snapshot WHERE state = 1");
        assert_eq!(usize::try_from(listed).unwrap(), self.live.len());
    }
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

/// 48 histories, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
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
        });
    }
}
