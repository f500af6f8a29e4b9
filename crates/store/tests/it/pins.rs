//! A snapshot that somebody restores is kept, also when it is purged meanwhile.

use object::ObjectId;
use store::{GcOptions, SnapshotChange, Store, Sweep, UnixMs};

use crate::props::*;

const HOLDER: [u8; 16] = [1; 16];

/// A store of two snapshots.
fn world() -> World {
    let world = World::new();
    let store = world.open();
    for number in 1..=2 {
        let mut session = world.begin(&store);
        back_up(&mut session, &number.to_string(), number);
        session.close(NOW).unwrap();
    }
    drop(store);
    world
}

fn pin(world: &World, store: &Store, holder: [u8; 16], snapshot: ObjectId, now: UnixMs) -> bool {
    store.pin(&holder, VAULT, world.device, &snapshot, now).unwrap()
}

fn purge(world: &World, store: &Store, number: u8) {
    let forget = SnapshotChange::Forget(&|_| UnixMs(i64::MAX));
    store
        .change_snapshots(VAULT, Some(world.device), key(100 + number), &[id(&format!("snap{number}"))], forget, NOW)
        .unwrap();
    assert_eq!(store.purge(NOW).unwrap().snapshots, 1);
}

/// Collects until nothing is left to collect, without any grace; whether all of `snap1` is left.
fn is_left_after_collecting(store: &Store) -> bool {
    let mut options = GcOptions::default();
    (options.grace_ms, options.waste_percent_max, options.allow_unusual) = (0, 0, true);
    for _ in 0..4 {
        assert_eq!(store.collect_garbage(&options, &(), NOW).unwrap().refusals, []);
    }
    check_restores(store, "2");
    let held = store.held(VAULT, &ids(&["a1", "b1", "root1", "snap1"])).unwrap();
    assert!(held.windows(2).all(|pair| pair[0] == pair[1]), "all or nothing: {held:?}");
    held[0]
}

fn sweep(pins_before: i64) -> Sweep {
    let never = UnixMs(i64::MIN);
    Sweep {
        sessions_idle_since: never,
        pins_before: UnixMs(pins_before),
        answers_before: never,
        enrolments_before: never,
        web_sessions_before: (never, never),
    }
}

#[test]
fn a_pinned_snapshot_outlives_its_purge_until_the_restore_ends() {
    let world = world();
    let mut store = world.open();
    assert!(pin(&world, &store, HOLDER, id("snap1"), NOW));
    assert!(pin(&world, &store, [2; 16], id("snap1"), NOW), "another restore of the same");
    purge(&world, &store, 1);
    assert!(is_left_after_collecting(&store));
    assert_eq!(store.status().unwrap().pinned_snapshots, 1);
    // The server is started again; the client comes back.
    drop(store);
    store = world.open();
    assert!(is_left_after_collecting(&store));
    check_restores(&store, "1");
    store.unpin(&HOLDER).unwrap();
    assert!(is_left_after_collecting(&store), "the other one goes on");
    store.unpin(&[2; 16]).unwrap();
    assert!(!is_left_after_collecting(&store));
    assert_eq!(store.status().unwrap().pinned_snapshots, 0);
}

#[test]
fn a_pin_whose_holder_does_not_come_back_is_swept() {
    let world = world();
    let store = world.open();
    assert!(pin(&world, &store, HOLDER, id("snap1"), NOW));
    purge(&world, &store, 1);
    store.sweep(&sweep(NOW.0)).unwrap();
    assert!(is_left_after_collecting(&store), "not before its time");
    store.sweep(&sweep(NOW.0 + 1)).unwrap();
    assert!(!is_left_after_collecting(&store));
}

#[test]
fn only_ones_own_and_only_what_is_there_is_pinned() {
    let world = world();
    let store = world.open();
    let other = enroll(&store, world.account, "other");
    assert!(!store.pin(&HOLDER, VAULT, other, &id("snap1"), NOW).unwrap());
    assert!(!pin(&world, &store, HOLDER, id("nothing"), NOW));
    purge(&world, &store, 1);
    assert!(!pin(&world, &store, HOLDER, id("snap1"), NOW), "purged is purged");
    assert!(!is_left_after_collecting(&store));
}

#[test]
fn pins_of_a_device_are_bounded_and_the_newest_stay() {
    let world = world();
    let store = world.open();
    for number in 0..200u8 {
        assert!(pin(&world, &store, [number; 16], id("snap1"), UnixMs(NOW.0 + i64::from(number))));
    }
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pin"), 64);
    assert_eq!(world.ask::<i64>("SELECT min(pinned_ms) FROM pin") - NOW.0, 200 - 64);
}
