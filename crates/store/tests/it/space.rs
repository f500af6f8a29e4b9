//! Full disks: refused before anything is half-written where possible, and over when space returns.

use std::io::ErrorKind as Io;

use store::disk::Disk;
use store::{AuditQuery, DriveChange, DriveContent, DriveName, ErrorKind, NameKey, NewAuditEntry, Purpose, Store};
use testkit::disk::Fault;

use crate::props::*;

#[test]
fn with_too_little_free_nothing_new_is_taken_in() {
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
    assert_eq!(session.flush(NOW).unwrap(), 1, "what was taken is made durable: what is kept free is for that");
    world.disk.set_free_bytes(1000);
    put_all(&mut session, &[large, tree("root", &["a", "large"]), snapshot("snap", "root")]);
    session.commit_snapshot(key(1), id("snap"), NOW).unwrap();
    assert_eq!(restore(&store, id("snap")).len(), 4);
}

/// What is stored counts, by whichever of the account's vaults; what changes a drive may take away and is let in.
#[test]
fn a_quota_that_is_used_up_lets_nothing_new_in() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    session.close(NOW).unwrap();
    let used = store.quota_use(world.account).unwrap().used_bytes;
    let sizes: u64 = world.packs().iter().map(|path| world.disk.open(path).unwrap().len().unwrap()).sum();
    assert_eq!(used, sizes);
    assert!(store.check_quota(VAULT, u64::MAX).is_ok(), "without a quota there is room for anything");

    store.set_quota(world.account, Some(used + 6000)).unwrap();
    assert!(store.check_quota(VAULT, 6000).is_ok());
    let refused = store.check_quota(VAULT, 6001).unwrap_err();
    assert_eq!((refused.kind(), refused.is_transient()), (ErrorKind::Full, true));
    assert!(refused.to_string().contains(&format!("{} bytes", used + 6000)), "{refused}");
    let mut session = world.begin(&store);
    session.put(&chunk_of("one", 3000), NOW).unwrap();
    assert_eq!(
        session.put(&chunk_of("two", 3000), NOW).unwrap_err().kind(),
        ErrorKind::Full,
        "with its frame and head"
    );
    session.put(&chunk("small"), NOW).unwrap();
    store.set_quota(world.account, Some(used)).unwrap();
    assert_eq!(session.put(&tree("root", &["small"]), NOW).unwrap_err().kind(), ErrorKind::Full, "a new pack");
    store.set_quota(world.account, None).unwrap();
    put_all(&mut session, &[tree("root", &["small", "one"]), snapshot("snap", "root")]);
    session.commit_snapshot(key(2), id("snap"), NOW).unwrap();

    store.set_quota(world.account, Some(used)).unwrap();
    let purpose = Purpose::Backup { device: world.device, chain: "home", parent_hint: None };
    assert_eq!(store.begin(VAULT, &purpose, NOW).unwrap_err().kind(), ErrorKind::Full);
    assert!(store.begin(VAULT, &Purpose::Drive { device: None }, NOW).is_ok());
    check_restores(&store, "1");
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

fn world_with_reserve(free: u64) -> World {
    let mut world = World::new();
    world.options.min_free_bytes = 0;
    world.options.reserve_bytes = 4000;
    world.disk.set_free_bytes(free);
    world
}

fn reserve(world: &World, store: &Store) -> (bool, bool) {
    (store.reserve().is_held, world.disk.files().contains(&world.root.join("reserve")))
}

#[test]
fn the_reserve_goes_when_the_disk_is_full_and_comes_back_with_the_room() {
    let world = world_with_reserve(10_000);
    let store = world.open();
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((true, true), 6000));
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    assert_eq!(reserve(&world, &store), (true, true), "there is room enough");

    world.disk.set_free_bytes(999);
    let mut session = world.begin(&store);
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((true, true), 999), "a session can do without");
    back_up(&mut session, "3", 3);
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((false, false), 4999), "a commit cannot");
    drop(session);
    world.disk.set_free_bytes(4000 - 1);
    let purpose = Purpose::Backup { device: world.device, chain: "home", parent_hint: None };
    let refused = store.begin(VAULT, &purpose, NOW).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full, "what it occupied is not for packs");
    check_restores(&store, "1");

    world.disk.set_free_bytes(7999);
    store.refill_reserve();
    assert_eq!(reserve(&world, &store), (false, false), "it would be the next to go");
    world.disk.set_free_bytes(8000);
    store.refill_reserve();
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((true, true), 4000));
    session = world.begin(&store);
    back_up(&mut session, "2", 2);
    check_restores(&store, "2");
}

/// What makes room on the drive needs none but that of the catalog.
#[test]
fn the_drive_gives_away_on_a_full_disk_and_takes_nothing_in() {
    let mut world = world_with_reserve(10_000);
    world.options.min_free_bytes = 1000;
    let store = world.open();
    let purpose = Purpose::Drive { device: Some(world.device) };
    let name = |name: &str| NameKey::from_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().unwrap());
    let (mut session, _) = store.begin(VAULT, &purpose, NOW).unwrap();
    session.put(&chunk("a"), NOW).unwrap();
    let path = [DriveName { key: name("letter"), sealed: b"letter" }];
    let content = DriveContent::Chunk(id("a"));
    let put = DriveChange::Put { path: &path, expected_version: None, content, size: 5, sealed_metadata: b"" };
    session.commit_drive(key(1), &[put], NOW).unwrap();
    session.finish(NOW).unwrap();

    world.disk.set_free_bytes(0);
    let backup = Purpose::Backup { device: world.device, chain: "home", parent_hint: None };
    assert_eq!(store.begin(VAULT, &backup, NOW).unwrap_err().kind(), ErrorKind::Full);
    let (mut session, _) = store.begin(VAULT, &purpose, NOW).unwrap();
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((false, false), 4000), "it is what the reserve is for");
    let effects = world.disk.effects();
    assert_eq!(session.put(&chunk("b"), NOW).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(world.disk.effects(), effects, "nothing was written");
    let remove = DriveChange::Remove { path: &[name("letter")], expected_version: None };
    session.commit_drive(key(2), &[remove], NOW).unwrap();
    session.finish(NOW).unwrap();
    assert_eq!(store.drive_find(VAULT, &[name("letter")]).unwrap(), None);
    assert_eq!(store.purge(NOW).unwrap().drive_nodes, 1);
}

#[test]
fn a_store_opens_on_the_reserve() {
    let world = world_with_reserve(10_000);
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    drop(session);
    drop(store);
    world.disk.set_free_bytes(0);
    drop(world.open());
    assert_eq!(world.free_bytes(), 0, "where that is enough, without");
    world.disk.create_new(&world.root.join("staging/left")).unwrap();
    // The first thing that opening does to the disk is to empty `staging/`.
    world.disk.plan(0, Fault::Refuse(Io::StorageFull));
    let store = world.open();
    assert!(!world.disk.take_plan());
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((false, false), 4000));
    check_restores(&store, "1");
    drop(store);
    world.disk.set_free_bytes(9000);
    let store = world.open();
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((true, true), 5000));
}

#[test]
fn a_reserve_of_another_length_is_taken_anew_and_one_that_nobody_wants_goes() {
    let mut world = world_with_reserve(100_000);
    drop(world.open());
    world.options.reserve_bytes = 5000;
    let store = world.open();
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((true, true), 95_000));
    drop(store);
    world.options.reserve_bytes = 0;
    let store = world.open();
    assert_eq!((reserve(&world, &store), world.free_bytes()), ((false, false), 100_000));
}

#[test]
fn a_disk_that_takes_no_room_in_advance_is_told_of_and_used_without() {
    let world = world_with_reserve(100_000);
    drop(world.open());
    let mut options = world.options.clone();
    options.reserve_bytes = 5000;
    // Removing the old one, then making the new one.
    let opened = world.disk.effects();
    drop(Store::open(&world.root, &world.options, NOW).unwrap());
    let opening = world.disk.effects() - opened;
    world.disk.plan(opening + 1, Fault::Refuse(Io::Unsupported));
    let store = Store::open(&world.root, &options, NOW).unwrap();
    assert!(!world.disk.take_plan());
    let status = store.reserve();
    assert!(!status.is_held && status.problem.is_some(), "{status:?}");
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    check_restores(&store, "1");
}

/// Its space comes back, less so while somebody reads what was before; nothing that was written is lost.
#[test]
fn the_catalogs_log_is_folded_back() {
    let world = World::new();
    let store = world.open();
    let log_len = || std::fs::metadata(world.root.join("catalog.sqlite3-wal")).unwrap().len();
    assert_eq!(store.fold_log().unwrap(), 0);
    assert_ne!(log_len(), 0, "a short one is left alone");
    let detail = "x".repeat(20_000);
    let entry = NewAuditEntry { actor: "", means: "", address: "", event: "noted", subject: "", detail: &detail };
    let write = || (0..60).for_each(|_| store.add_audit(&entry, NOW).unwrap());
    write();
    let len = log_len();
    assert!(len > 1 << 20, "{len} bytes");

    let reader = rusqlite::Connection::open(world.root.join("catalog.sqlite3")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM audit").unwrap();
    write();
    assert_eq!(store.fold_log().unwrap(), 0, "a reader still needs it");
    assert!(log_len() > len);
    reader.execute_batch("COMMIT").unwrap();
    assert!(store.fold_log().unwrap() > len);
    assert_eq!((log_len(), store.fold_log().unwrap()), (0, 0));
    assert_eq!(store.audit(&AuditQuery { limit: 1000, ..AuditQuery::default() }).unwrap().len(), 120);
}
