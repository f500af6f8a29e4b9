//! Full disks: refused before anything is half-written where possible, and over when space returns.

use std::io::ErrorKind as Io;

use store::{ErrorKind, Purpose};
use testkit::disk::Fault;

use crate::props::*;

#[test]
fn below_the_reserve_nothing_new_is_taken_in() {
    let mut world = World::new();
    world.options.min_free_bytes = 1000;
    let store = world.open();
    let mut session = world.begin(&store);
    session.put(&chunk("a"), NOW).unwrap();
    world.disk.set_free_bytes(999);
    let purpose = Purpose::Backup { device: world.device, chain: "home", parent_hint: None };
    let refused = store.begin(VAULT, &purpose, NOW).unwrap_err();
    assert_eq!((refused.kind(), refused.is_transient()), (ErrorKind::Full, true));
    let effects = world.disk.effects();
    assert_eq!(session.put(&tree("root", &["a"]), NOW).unwrap_err().kind(), ErrorKind::Full, "a new pack");
    let large = chunk_of("large", 1 << 20);
    assert_eq!(session.put(&large, NOW).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(world.disk.effects(), effects, "nothing was written");
    assert_eq!(session.flush(NOW).unwrap(), 1, "what was taken is made durable: the reserve is for that");
    world.disk.set_free_bytes(1000);
    put_all(&mut session, &[large, tree("root", &["a", "large"]), snapshot("snap", "root")]);
    session.commit_snapshot(key(1), id("snap"), NOW).unwrap();
    assert_eq!(restore(&store, id("snap")).len(), 4);
}

#[test]
fn a_pack_that_meets_a_full_disk_is_given_up_and_the_store_goes_on() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    session.put(&chunk("a"), NOW).unwrap();
    assert_eq!(session.flush(NOW).unwrap(), 1);
    session.put(&chunk("b"), NOW).unwrap();
    world.disk.plan(0, Fault::Tear(Io::StorageFull));
    let full = session.flush(NOW).unwrap_err();
    assert_eq!((full.kind(), full.is_transient()), (ErrorKind::Full, true));
    let broken = session.put(&chunk("c"), NOW).unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::Full, "{broken}");
    assert_eq!(session.durable_count(), 1);
    assert_eq!(store.halted(), None);
    drop(session);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE state = 1"), 0, "its intent is gone");
    let mut session = world.begin(&store);
    assert_eq!(session.held(&ids(&["a", "b"])).unwrap(), [true, false]);
    back_up(&mut session, "1", 1);
    check_restores(&store, "1");
}

#[test]
fn a_pack_that_cannot_be_made_costs_nothing() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    world.disk.plan(0, Fault::Refuse(Io::StorageFull));
    assert_eq!(session.put(&chunk("a"), NOW).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack"), 0);
    session.put(&chunk("a"), NOW).unwrap();
    assert_eq!(session.close(NOW).unwrap(), 1);
}

/// The staging file of a session that is dropped goes with it.
#[test]
fn a_dropped_session_leaves_no_file() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a"), tree("root", &["a"])]);
    let staging =
        |world: &World| world.disk.files().iter().filter(|path| path.starts_with(world.root.join("staging"))).count();
    assert_eq!(staging(&world), 2);
    drop(session);
    assert_eq!(staging(&world), 0);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack"), 0);
}

#[test]
fn a_damaged_record_is_refused_and_costs_nothing() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    let mut bytes = chunk("a").bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let damaged = object::SealedRecord::new(bytes.into()).unwrap();
    assert_eq!(session.put(&damaged, NOW).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(session.put_count(), 0);
    session.put(&chunk("a"), NOW).unwrap();
    assert_eq!(session.close(NOW).unwrap(), 1);
}
