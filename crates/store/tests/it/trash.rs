//! Trash, holds, purge, drills, policies, and the clock they go by.

use object::ObjectId;
use store::{
    Alarm, ChainId, ClockReading, Drill, ErrorKind, IdempotencyKey, Purged, SnapshotChange, SnapshotQuery, Store,
    StoreError, Sweep, UnixMs,
};

use crate::props::*;

const DAY: i64 = 86_400_000;

/// A store with snapshots `snap1`, `snap2`, … of the chain `home`, received a day apart, the first at [`NOW`].
fn store_of(world: &World, count: u8) -> Store {
    let store = world.open();
    for number in 1..=count {
        let suffix = number.to_string();
        let mut session = world.begin(&store);
        let [a, root, snap] = ["a", "root", "snap"].map(|name| format!("{name}{suffix}"));
        put_all(&mut session, &[chunk(&a), tree(&root, &[&a]), snapshot(&snap, &root)]);
        session.commit_snapshot(key(number), id(&snap), day(number)).unwrap();
    }
    store
}

/// The moment at which snapshot `number` is received.
fn day(number: u8) -> UnixMs {
    UnixMs(NOW.0 + i64::from(number - 1) * DAY)
}

fn listed(store: &Store, in_trash: bool) -> Vec<ObjectId> {
    let query = SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 100, in_trash };
    store.snapshots(&query).unwrap().into_iter().map(|snapshot| snapshot.id).collect()
}

/// Forgets what was received before the third day.
const FORGET: SnapshotChange<'_> = SnapshotChange::Forget(&|_| UnixMs(NOW.0 + 2 * DAY - 1));

struct Device<'a> {
    world: &'a World,
    store: &'a Store,
}

impl Device<'_> {
    fn change(&self, number: u8, change: SnapshotChange<'_>, names: &[&str]) -> Result<u64, StoreError> {
        let key = IdempotencyKey::from_bytes([number; 16]);
        let now = UnixMs(NOW.0 + 10 * DAY);
        let changed = self.store.change_snapshots(VAULT, Some(self.world.device), key, &ids(names), change, now)?;
        Ok(changed.count)
    }
}

#[test]
fn snapshots_go_to_the_trash_and_come_back() {
    let world = World::new();
    let store = store_of(&world, 3);
    let device = Device { world: &world, store: &store };
    let generation = store.status().unwrap().generation;
    assert_eq!(device.change(100, FORGET, &["snap1", "snap2"]).unwrap(), 2);
    assert_eq!(listed(&store, false), ids(&["snap3"]));
    assert_eq!(listed(&store, true), ids(&["snap2", "snap1"]));
    let status = store.status().unwrap();
    assert_eq!((status.snapshots, status.trashed_snapshots, status.generation), (1, 2, generation + 1));
    // What is in the trash can be read, and compared with in a commit that was begun before.
    assert_eq!(restore(&store, id("snap1")).len(), 3);
    assert_eq!(device.change(101, FORGET, &["snap1"]).unwrap(), 0, "it is there already");
    assert_eq!(device.change(102, SnapshotChange::Undelete, &["snap1"]).unwrap(), 1);
    assert_eq!(listed(&store, false), ids(&["snap3", "snap1"]));
    // The same key gets the same answer, whatever happened since; with another request it gets none.
    assert_eq!(device.change(100, FORGET, &["snap1", "snap2"]).unwrap(), 2);
    assert_eq!(listed(&store, false), ids(&["snap3", "snap1"]));
    assert_eq!(device.change(100, FORGET, &["snap1"]).unwrap_err().kind(), ErrorKind::Conflict);
    drop(store);
    assert_eq!(listed(&world.open(), true), ids(&["snap2"]));
}

#[test]
fn what_is_young_held_or_foreign_is_not_forgotten() {
    let world = World::new();
    let store = store_of(&world, 3);
    let device = Device { world: &world, store: &store };
    let refused = |result: Result<u64, StoreError>, kind: ErrorKind, text: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().ends_with(text), "{error}");
    };
    refused(device.change(100, FORGET, &["snap1", "snap3"]), ErrorKind::Invalid, "is too young to be taken away");
    assert_eq!(listed(&store, false).len(), 3, "all or none");
    assert_eq!(device.change(101, SnapshotChange::Hold, &["snap1"]).unwrap(), 1);
    refused(device.change(102, FORGET, &["snap2", "snap1"]), ErrorKind::Invalid, "is held");
    assert_eq!(store.trash(&[1, 2], NOW).unwrap(), 1, "retention passes over it");
    assert_eq!(listed(&store, true), ids(&["snap2"]));
    assert_eq!(device.change(103, SnapshotChange::Unhold, &["snap1"]).unwrap(), 1);
    assert_eq!(device.change(104, FORGET, &["snap1"]).unwrap(), 1);

    let other = enroll(&store, world.account, "other");
    for (name, owner) in [("snap3", other), ("nothing", world.device)] {
        let key = IdempotencyKey::from_bytes([105; 16]);
        let result = store.change_snapshots(VAULT, Some(owner), key, &ids(&[name]), SnapshotChange::Hold, NOW);
        assert_eq!(result.unwrap_err().to_string(), "snapshot not found", "{name}");
    }
    store.revoke_device(world.device, NOW).unwrap();
    assert_eq!(device.change(106, SnapshotChange::Hold, &["snap3"]).unwrap_err().kind(), ErrorKind::NotFound);
    // Who the vault belongs to goes on, by the same rules.
    let own = |number: u8, change| {
        store.change_snapshots(VAULT, None, IdempotencyKey::from_bytes([number; 16]), &ids(&["snap3"]), change, NOW)
    };
    assert_eq!(own(107, SnapshotChange::Hold).unwrap().count, 1);
    refused(own(108, FORGET).map(|changed| changed.count), ErrorKind::Invalid, "is held");
    assert_eq!(own(109, SnapshotChange::Unhold).unwrap().count, 1);
    refused(own(110, FORGET).map(|changed| changed.count), ErrorKind::Invalid, "is too young to be taken away");
}

/// The clock went back for one snapshot; that it came after others is known all the same.
#[test]
fn a_clock_that_went_back_makes_nothing_old() {
    let world = World::new();
    let store = store_of(&world, 3);
    world.sql("UPDATE snapshot SET received_ms = 0 WHERE seq = 3");
    let device = Device { world: &world, store: &store };
    let rule = SnapshotChange::Forget(&|_| UnixMs(NOW.0 + DAY - 1));
    assert_eq!(device.change(100, rule, &["snap3"]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(device.change(101, rule, &["snap1"]).unwrap(), 1);
    // In the future, it is young for as long.
    world.sql("UPDATE snapshot SET received_ms = 1e17 WHERE seq = 2");
    assert_eq!(device.change(102, rule, &["snap2"]).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_purge_takes_what_was_in_the_trash_long_enough() {
    let world = World::new();
    let store = store_of(&world, 3);
    let device = Device { world: &world, store: &store };
    store.trash(&[1], NOW).unwrap();
    store.trash(&[2], UnixMs(NOW.0 + 1)).unwrap();
    store.trash(&[3], NOW).unwrap();
    device.change(100, SnapshotChange::Hold, &["snap3"]).unwrap();
    let generation = store.status().unwrap().generation;
    assert_eq!(store.purge(UnixMs(NOW.0 - 1)).unwrap(), Purged::default());
    assert_eq!(store.status().unwrap().generation, generation, "nothing happened");
    assert_eq!(store.purge(NOW).unwrap(), Purged { snapshots: 1, drive_nodes: 0 });
    assert_eq!(listed(&store, true), ids(&["snap3", "snap2"]));
    assert_eq!(store.status().unwrap().generation, generation + 1);
    assert_eq!(device.change(101, SnapshotChange::Undelete, &["snap1"]).unwrap_err().kind(), ErrorKind::NotFound);
    // It can be made again, and is new then.
    let mut session = world.begin(&store);
    let again = session.commit_snapshot(key(50), id("snap1"), NOW).unwrap();
    assert_eq!(again.seq, 4);
    // The hold may end in the trash.
    device.change(102, SnapshotChange::Unhold, &["snap3"]).unwrap();
    assert_eq!(store.purge(UnixMs(i64::MAX)).unwrap().snapshots, 2);
    assert_eq!(listed(&store, true), []);
}

#[test]
fn nothing_is_deleted_from_a_latched_store() {
    let world = World::new();
    drop(store_of(&world, 2));
    world.sql("UPDATE meta SET latch = 'the catalog is old'");
    let store = world.open();
    let device = Device { world: &world, store: &store };
    assert_eq!(device.change(100, FORGET, &["snap1"]).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.trash(&[1], NOW).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.purge(UnixMs(i64::MAX)).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(device.change(101, SnapshotChange::Hold, &["snap1"]).unwrap(), 1, "to keep is always allowed");
}

/// A store of four snapshots; the third raises the alarm, and the first was in the trash before.
fn alarmed(world: &World) -> (Store, ChainId) {
    let store = store_of(world, 2);
    store.trash(&[1], NOW).unwrap();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a3"), tree("root3", &["a3"]), snapshot("snap3", "root3")]);
    session.commit_snapshot_with_alarm(key(3), id("snap3"), Some("all is gone"), day(3)).unwrap();
    // The answer is given again, and nothing is raised anew.
    assert!(session.commit_snapshot_with_alarm(key(3), id("snap3"), Some("another"), day(9)).unwrap().repeated);
    drop(session);
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a4"), tree("root4", &["a4"]), snapshot("snap4", "root4")]);
    session.commit_snapshot(key(4), id("snap4"), day(4)).unwrap();
    let chain = store.retained_chains().unwrap()[0].id;
    (store, chain)
}

#[test]
fn nothing_from_before_an_alarm_goes_until_it_is_confirmed() {
    let world = World::new();
    let (store, chain) = alarmed(&world);
    drop(store);
    // It is the catalog that remembers, not the process.
    let store = world.open();
    let device = Device { world: &world, store: &store };
    let alarm = Alarm { snapshot: id("snap3"), raised: day(3), what: "all is gone".to_owned() };
    let [home] = &store.retained_chains().unwrap()[..] else { panic!("one chain") };
    assert_eq!(home.alarm, Some(alarm));
    assert_eq!(store.status().unwrap().frozen_chains, 1);
    let frozen: Vec<bool> = store.retained_snapshots(chain).unwrap().iter().map(|one| one.is_frozen).collect();
    assert_eq!(frozen, [true, false, false], "of those that are not in the trash");

    // Neither by retention nor by a device, unless that may take away anything.
    let old = SnapshotChange::Forget(&|_| UnixMs(NOW.0 + 9 * DAY));
    let refused = device.change(100, old, &["snap2"]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().ends_with("is from before an unusual change that nobody has confirmed"), "{refused}");
    assert_eq!(store.trash(&[2, 3], NOW).unwrap(), 1, "what came with the alarm may go");
    assert_eq!(listed(&store, false), ids(&["snap4", "snap2"]));
    assert_eq!(device.change(101, SnapshotChange::Undelete, &["snap1"]).unwrap(), 1, "to bring back is always allowed");
    let anything = SnapshotChange::Forget(&|_| UnixMs(i64::MAX));
    assert_eq!(device.change(102, anything, &["snap1"]).unwrap(), 1);
    assert_eq!(store.purge(UnixMs(i64::MAX)).unwrap().snapshots, 2, "what is in the trash is no matter of the alarm");

    // Another alarm keeps what came in between, too; who confirms the one he has seen confirms no other.
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a5"), tree("root5", &["a5"]), snapshot("snap5", "root5")]);
    session.commit_snapshot_with_alarm(key(5), id("snap5"), Some("again"), day(5)).unwrap();
    drop(session);
    assert!(!store.confirm_change(chain, &id("snap3")).unwrap());
    assert_eq!(store.trash(&[2, 4], NOW).unwrap(), 0);
    // A commit that fails raises nothing; another chain is not concerned.
    let (mut other, _) = world.begin_chain(&store, "other");
    put_all(&mut other, &[snapshot("snap6", "nothing")]);
    other.commit_snapshot_with_alarm(key(6), id("snap6"), Some("all is gone"), day(6)).unwrap_err();
    assert_eq!(store.status().unwrap().frozen_chains, 1);

    assert!(store.confirm_change(chain, &id("snap5")).unwrap());
    assert_eq!((store.status().unwrap().frozen_chains, store.trash(&[2, 4], NOW).unwrap()), (0, 2));
}

/// Trash, purge, hold and policies are counted, so a catalog from before them is found out.
#[test]
fn an_old_catalog_is_noticed_after_each_change() {
    type Change = fn(&World, &Store);
    let changes: [(&str, Change); 6] = [
        ("trash", |_, store| assert_eq!(store.trash(&[1], NOW).unwrap(), 1)),
        ("forget", |world, store| assert_eq!(Device { world, store }.change(100, FORGET, &["snap1"]).unwrap(), 1)),
        ("hold", |world, store| {
            let held = Device { world, store }.change(100, SnapshotChange::Hold, &["snap1"]);
            assert_eq!(held.unwrap(), 1);
        }),
        ("purge", |_, store| assert_eq!(store.purge(UnixMs(i64::MAX)).unwrap().snapshots, 1)),
        ("confirmation", |_, store| {
            let chain = store.retained_chains().unwrap()[0].id;
            store.confirm_change(chain, &id("snap1")).unwrap();
        }),
        ("policy", |_, store| store.set_policy(None, Some("{}")).unwrap()),
    ];
    for (what, change) in changes {
        let world = World::new();
        let store = store_of(&world, 2);
        store.trash(&[2], NOW).unwrap();
        drop(store);
        let path = world.root.join("catalog.sqlite3");
        let before = std::fs::read(&path).unwrap();
        let store = world.open();
        change(&world, &store);
        drop(store);
        std::fs::write(&path, before).unwrap();
        assert!(world.open().deletion_latch().is_some(), "{what}");
    }
}

#[test]
fn policies_are_kept_by_chain_with_a_default() {
    let world = World::new();
    let store = store_of(&world, 1);
    drop(world.begin_chain(&store, "other"));
    assert_eq!(store.default_policy().unwrap(), None);
    let [home, other] = &store.retained_chains().unwrap()[..] else { panic!("two chains") };
    assert_eq!((home.account.as_str(), home.device_name.as_str(), home.name.as_str()), ("ada", "laptop", "home"));
    assert_eq!((home.device, home.policy.as_deref(), other.policy.as_deref()), (world.device, None, None));
    store.set_policy(None, Some("all")).unwrap();
    store.set_policy(Some(other.id), Some("own")).unwrap();
    store.set_policy(Some(other.id), Some("its own")).unwrap();
    assert_eq!(store.default_policy().unwrap().as_deref(), Some("all"));
    assert_eq!(store.retained_chains().unwrap()[1].policy.as_deref(), Some("its own"));
    // The rule of a device's wish is asked with the policy that holds.
    let device = Device { world: &world, store: &store };
    for (number, own, expected) in [(100, None, "all"), (101, Some("own"), "own")] {
        store.set_policy(Some(home.id), own).unwrap();
        let seen = std::cell::RefCell::new(None);
        let rule = |policy: Option<&str>| {
            *seen.borrow_mut() = policy.map(str::to_owned);
            UnixMs(0)
        };
        device.change(number, SnapshotChange::Forget(&rule), &["snap1"]).unwrap_err();
        assert_eq!(seen.into_inner().as_deref(), Some(expected));
    }
    let retained = store.retained_snapshots(home.id).unwrap();
    assert_eq!(
        retained.iter().map(|one| (one.number, one.id, one.received, one.is_held)).collect::<Vec<_>>(),
        [(1, id("snap1"), NOW, false)]
    );
}

#[test]
fn the_last_sound_drill_is_remembered() {
    let world = World::new();
    let store = store_of(&world, 1);
    let query = SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 1, in_trash: false };
    let drilled = || store.snapshots(&query).unwrap()[0].drilled;
    let record = |number: u8, problems: u64, now: i64| {
        let drill = Drill { files: 20, bytes: 1 << 20, problems, duration_ms: 300 };
        let (key, now) = (IdempotencyKey::from_bytes([number; 16]), UnixMs(now));
        store.record_drill(VAULT, world.device, key, &id("snap1"), &drill, now).unwrap()
    };
    assert_eq!(drilled(), None);
    record(100, 1, NOW.0 + 1);
    assert_eq!(drilled(), None, "it was not sound");
    assert_eq!(record(101, 0, NOW.0 + 2).count, 1);
    assert_eq!(record(101, 0, NOW.0 + 9).at, UnixMs(NOW.0 + 2), "told twice, kept once");
    record(102, 1, NOW.0 + 3);
    assert_eq!(drilled(), Some(UnixMs(NOW.0 + 2)));
}

#[test]
fn a_doubt_about_the_clock_stays_until_it_is_confirmed() {
    let world = World::new();
    let store = world.open();
    let reading = |wall: i64, since_boot_ms| ClockReading { wall: UnixMs(wall), since_boot_ms, boot: [1; 16] };
    assert_eq!(store.watch_clock(&reading(NOW.0, 0)).unwrap(), None, "the first look");
    assert_eq!(store.watch_clock(&reading(NOW.0 + DAY, DAY)).unwrap(), None);
    let jumped = store.watch_clock(&reading(NOW.0 + 3650 * DAY, DAY + 1)).unwrap().unwrap();
    assert!(jumped.contains("ahead"), "{jumped}");
    // Back again, and after a restart: it is still somebody's turn to look.
    assert_eq!(store.watch_clock(&reading(NOW.0 + DAY + 2, DAY + 2)).unwrap(), Some(jumped.clone()));
    drop(store);
    let store = world.open();
    assert_eq!(store.clock_doubt().unwrap(), Some(jumped));
    store.confirm_clock(&reading(NOW.0 + 2 * DAY, 2 * DAY)).unwrap();
    assert_eq!(store.watch_clock(&reading(NOW.0 + 3 * DAY, 3 * DAY)).unwrap(), None);
}

/// What a store does whose clock was last believed at [`NOW`].
struct Watched {
    world: World,
    store: Store,
}

impl Watched {
    fn new() -> Self {
        let world = World::new();
        let store = store_of(&world, 1);
        let watched = Self { world, store };
        assert_eq!(watched.look(0, 0), None);
        watched
    }

    fn reading(day: i64, days_since_boot: i64) -> ClockReading {
        ClockReading { wall: UnixMs(NOW.0 + day * DAY), since_boot_ms: days_since_boot * DAY, boot: [1; 16] }
    }

    fn look(&self, day: i64, days_since_boot: i64) -> Option<String> {
        self.store.watch_clock(&Self::reading(day, days_since_boot)).unwrap()
    }

    fn confirm(&self, day: i64) {
        self.store.confirm_clock(&Self::reading(day, day)).unwrap();
    }

    /// Commits `snap9` under the same key as ever, by a clock that shows this day, and is told when that was.
    fn commit(&self, day: i64) -> Result<UnixMs, StoreError> {
        let mut session = self.world.begin(&self.store);
        put_all(&mut session, &[chunk("a9"), tree("root9", &["a9"]), snapshot("snap9", "root9")]);
        let committed = session.commit_snapshot(key(9), id("snap9"), UnixMs(NOW.0 + day * DAY))?;
        Ok(committed.received)
    }

    /// Forgets answers older than 30 days.
    fn sweep(&self, day: i64) {
        let never = UnixMs(i64::MIN);
        let answers_before = UnixMs(NOW.0 + (day - 30) * DAY);
        let sweep = Sweep {
            sessions_idle_since: never,
            pins_before: never,
            answers_before,
            enrolments_before: never,
            web_sessions_before: (never, never),
        };
        self.store.sweep(&sweep).unwrap();
    }
}

#[test]
fn an_answer_given_by_a_clock_that_was_behind_is_given_again() {
    // Nobody saw that the clock was behind, or it was behind for longer than answers are kept.
    for days_behind in [0, 40] {
        let watched = Watched::new();
        let told = watched.commit(days_behind - 60).unwrap();
        if days_behind > 0 {
            assert!(watched.look(days_behind - 60, days_behind).is_some());
            watched.confirm(days_behind);
        }
        for day in [0, 29] {
            watched.sweep(days_behind + day);
            assert_eq!(watched.commit(days_behind + day).unwrap(), told, "{days_behind} days behind, {day} later");
        }
        watched.sweep(days_behind + 31);
        assert_eq!(watched.commit(days_behind + 31).unwrap_err().kind(), ErrorKind::Conflict);
    }
}

#[test]
fn what_was_trashed_by_a_wrong_clock_goes_in_its_time_once_the_clock_is_right() {
    // In which order the clock is looked at and goes wrong does not matter.
    for (days_ahead, is_noticed) in [(3650, true), (3650, false), (-60, true), (-60, false)] {
        let watched = Watched::new();
        let Watched { world, store } = &watched;
        if is_noticed {
            assert!(watched.look(days_ahead + 2, 2).is_some());
        }
        let number: i64 = world.ask("SELECT snapshot FROM snapshot");
        let number = u64::try_from(number).unwrap();
        assert_eq!(store.trash(&[number], UnixMs(NOW.0 + (days_ahead + 2) * DAY)).unwrap(), 1);
        let is_there = || !listed(store, true).is_empty();
        if days_ahead < 0 && !is_noticed {
            // As if it had gone when the clock was last right.
            store.purge(UnixMs(NOW.0 - 1)).unwrap();
            assert!(is_there());
            continue;
        }
        watched.confirm(3);
        store.purge(UnixMs(NOW.0 + 3 * DAY - 1)).unwrap();
        assert!(is_there(), "{days_ahead} days ahead: before its time");
        // The ledger says the same, so that a lost catalog brings no wrong time back.
        let ledger = world.disk.contents(&world.root.join("packs/LEDGER"));
        let trashed = &ledger[ledger.len() - 96..][64..72];
        assert_eq!(trashed, (NOW.0 + 3 * DAY).to_le_bytes());
        assert_eq!(store.purge(UnixMs(NOW.0 + 3 * DAY)).unwrap().snapshots, 1);
    }
}

#[test]
fn what_was_trashed_by_a_clock_that_was_right_goes_when_it_would_have() {
    let watched = Watched::new();
    let Watched { world, store } = &watched;
    let number: i64 = world.ask("SELECT snapshot FROM snapshot");
    store.trash(&[u64::try_from(number).unwrap()], UnixMs(NOW.0 + DAY)).unwrap();
    assert_eq!(watched.look(2, 2), None);
    // The machine was off for a while, and somebody says that the clock is right.
    assert!(watched.look(30, 3).is_some());
    watched.confirm(30);
    store.purge(UnixMs(NOW.0 + DAY - 1)).unwrap();
    assert_eq!(store.purge(UnixMs(NOW.0 + DAY)).unwrap().snapshots, 1);
}
