//! Damage: files that changed, vanished or stopped being readable. It costs what it hits and nothing else.

use std::path::PathBuf;

use store::{ErrorKind, Purpose, StoreError};
use testkit::disk::Fault;

use crate::props::*;

/// A store with one committed snapshot, its chunks `a1`, `b1` in the first pack, its tree in the second.
fn world_with_snapshot() -> World {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    session.close(NOW).unwrap();
    drop(store);
    world
}

/// What the index calls an object, in hex.
fn half(name: &str) -> String {
    id(name).to_string()[..32].to_owned()
}

/// The pack that holds an object, and the object's place in it.
fn place_of(world: &World, name: &str) -> (PathBuf, usize) {
    let row = |column: &str| -> String {
        format!(
            "SELECT {column} FROM object JOIN pack USING (pack) WHERE half_id = x'{}' ORDER BY pack LIMIT 1",
            half(name)
        )
    };
    let pack: String = world.ask(&row("lower(hex(pack.id))"));
    let offset: i64 = world.ask(&row("offset"));
    (world.root.join(format!("packs/{}/{pack}.pack", &pack[..2])), usize::try_from(offset).unwrap())
}

#[test]
fn a_damaged_record_is_reported_and_others_are_read() {
    let world = world_with_snapshot();
    let (pack, offset) = place_of(&world, "a1");
    world.disk.damage(&pack, |bytes| bytes[offset + 100] ^= 1);
    let store = world.open();
    assert_eq!(store.deletion_latch(), None);
    let StoreError::Damaged { offset: at, .. } = store.read(VAULT, &id("a1")).unwrap_err() else { panic!() };
    assert_eq!(at, offset as u64);
    assert_eq!(store.read(VAULT, &id("b1")).unwrap().record.view().body(), body_of("b1"));

    let reader = store.read_records(VAULT, &ids(&["a1", "b1", "root1"])).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = reader.partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (2, 1));
    assert_eq!(bad[0].as_ref().unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn another_copy_is_read_where_one_is_damaged() {
    let world = world_with_snapshot();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a1"), tree("root1", &["a1", "b1"])]);
    session.close(NOW).unwrap();
    for first in [false, true] {
        let world = world.fork();
        let packs = world.packs();
        let (old, offset) = place_of(&world, "a1");
        let (pack, offset) = if first {
            (old, offset)
        } else {
            let twin = packs.iter().find(|pack| {
                **pack != old && world.disk.contents(pack).len() < 300 && world.disk.contents(pack)[10] == 0
            });
            (twin.unwrap().clone(), 64)
        };
        world.disk.damage(&pack, |bytes| bytes[offset + 100] ^= 1);
        let store = world.open();
        assert_eq!(store.read(VAULT, &id("a1")).unwrap().record.view().body(), body_of("a1"));
        let records: Vec<_> = store.read_records(VAULT, &ids(&["a1", "b1"])).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.iter().map(|record| record.wanted.len()).sum::<usize>(), 2);
        check_restores(&store, "1");
    }
}

/// What a disk cannot read once is read again; what it never can is as good as damaged, and nothing else is.
#[test]
fn bytes_that_cannot_be_read_are_tried_once_more_and_then_damage() {
    for (times, readable) in [(1, true), (u64::MAX, false)] {
        let world = world_with_snapshot();
        let (pack, offset) = place_of(&world, "a1");
        world.disk.fail_reads(&pack, offset as u64 + 90..offset as u64 + 91, times);
        let store = world.open();
        let read = store.read(VAULT, &id("a1"));
        if readable {
            assert_eq!(read.unwrap().record.view().body(), body_of("a1"));
            check_restores(&store, "1");
            continue;
        }
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(store.read(VAULT, &id("b1")).unwrap().record.view().body(), body_of("b1"));
        let damaged = crate::heal::verify_all(&store).iter().filter(|report| !report.is_sound()).count();
        assert_eq!(damaged, 1);
        assert_eq!(world.begin(&store).held(&ids(&["a1", "b1"])).unwrap(), [false, true]);
        let (mut session, _) = world.begin_chain(&store, "other");
        put_all(&mut session, &[chunk("a1")]);
        session.close(NOW).unwrap();
        check_restores(&store, "1");
    }
}

/// A disk that gives a few bytes at a time gives the same ones.
#[test]
fn short_reads_are_continued() {
    let world = world_with_snapshot();
    world.disk.shorten_reads(7);
    let store = world.open();
    check_restores(&store, "1");
    let report = store.reindex(NOW, &mut |_| {}).unwrap();
    assert!(report.damaged.is_empty() && report.unknown.is_empty(), "{report:?}");
}

#[test]
fn a_damaged_page_is_not_held_and_the_next_backup_heals_it() {
    let world = world_with_snapshot();
    let (pack, offset) = place_of(&world, "root1");
    world.disk.damage(&pack, |bytes| bytes[offset + 60] ^= 1);
    let store = world.open();
    let (mut session, _) = world.begin_chain(&store, "other");
    assert_eq!(session.held(&ids(&["root1", "a1", "snap1"])).unwrap(), [false, true, false]);
    assert_eq!(store.edges(VAULT, &ids(&["root1"])).unwrap_err().kind(), ErrorKind::Damaged);
    put_all(&mut session, &[tree("root1", &["a1", "b1"]), snapshot("snap2", "root1")]);
    session.commit_snapshot(key(2), id("snap2"), NOW).unwrap();
    check_restores(&store, "1");
}

#[test]
fn an_index_that_points_to_another_object_is_noticed() {
    let world = world_with_snapshot();
    world.sql(&format!(
        "UPDATE object SET offset = (SELECT offset FROM object WHERE half_id = x'{}') WHERE half_id = x'{}'",
        half("b1"),
        half("a1")
    ));
    let store = world.open();
    assert_eq!(store.read(VAULT, &id("a1")).unwrap_err().kind(), ErrorKind::Damaged);
    let read: Vec<_> = store.read_records(VAULT, &ids(&["a1", "b1"])).unwrap().collect();
    assert_eq!(read.iter().filter(|read| read.is_ok()).count(), 1, "its neighbour does not suffer");
}

#[test]
fn a_missing_pack_stops_deletion_and_nothing_else() {
    let world = world_with_snapshot();
    let store = world.open();
    back_up(&mut world.begin(&store), "2", 2);
    drop(store);
    let (pack, _) = place_of(&world, "a1");
    world.disk.lose_file(&pack);
    let store = world.open();
    assert_eq!(store.recovery().missing.len(), 1);
    assert!(store.deletion_latch().unwrap().contains("missing"), "{:?}", store.deletion_latch());
    check_restores(&store, "2");
    let (mut session, _) = world.begin_chain(&store, "other");
    assert_eq!(session.held(&ids(&["a1", "a2", "root1", "root2"])).unwrap(), [false, true, false, true]);
    assert_eq!(store.read(VAULT, &id("a1")).unwrap_err().kind(), ErrorKind::NotFound);
    // Sent again, it is there again; the verdict stays until somebody rebuilds the catalog.
    back_up(&mut session, "3", 3);
    put_all(&mut session, &[chunk("a1"), chunk("b1")]);
    session.close(NOW).unwrap();
    check_restores(&store, "1");
    drop(store);
    assert!(world.open().deletion_latch().is_some());
}

#[test]
fn a_pack_under_another_name_is_not_believed() {
    let world = world_with_snapshot();
    let (a, _) = place_of(&world, "a1");
    let (root, _) = place_of(&world, "root1");
    let bytes = world.disk.contents(&root);
    world.disk.damage(&a, |place| *place = bytes);
    let store = world.open();
    assert_eq!(store.read(VAULT, &id("a1")).unwrap_err().kind(), ErrorKind::Damaged);
    store.read(VAULT, &id("root1")).unwrap();
}

#[test]
fn a_pack_that_vanishes_while_the_store_is_open_is_damage() {
    let world = world_with_snapshot();
    let store = world.open();
    let (pack, _) = place_of(&world, "a1");
    world.disk.lose_file(&pack);
    assert_eq!(store.read(VAULT, &id("a1")).unwrap_err().kind(), ErrorKind::Damaged);
    store.read(VAULT, &id("root1")).unwrap();
}

#[test]
fn a_pack_that_nobody_knows_is_adopted() {
    let world = world_with_snapshot();
    world.sql("DELETE FROM object; DELETE FROM pack;");
    let store = world.open();
    assert_eq!(store.recovery().adopted.len(), 2);
    assert_eq!(store.deletion_latch(), None);
    check_restores(&store, "1");
    drop(store);
    assert!(world.open().recovery().adopted.is_empty());
}

#[test]
fn what_is_sound_of_a_damaged_stray_pack_is_adopted() {
    let world = world_with_snapshot();
    let (pack, offset) = place_of(&world, "a1");
    world.disk.damage(&pack, |bytes| bytes[offset + 100] ^= 1);
    world.sql("DELETE FROM object; DELETE FROM pack;");
    let store = world.open();
    assert_eq!(store.recovery().adopted.len(), 2);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE hash IS NULL"), 1);
    let mut session = world.begin(&store);
    assert_eq!(session.held(&ids(&["a1", "b1"])).unwrap(), [false, true]);
}

#[test]
fn a_stray_pack_of_a_vault_nobody_knows_is_left_alone() {
    let world = world_with_snapshot();
    world.sql(
        "DELETE FROM object; DELETE FROM session; DELETE FROM idempotency; DELETE FROM snapshot; DELETE FROM chain;
         DELETE FROM pack; DELETE FROM vault_slot; DELETE FROM drive_node; DELETE FROM vault;",
    );
    let before = world.packs();
    let store = world.open();
    assert_eq!(store.recovery().strangers, before);
    assert_eq!(world.packs(), before);
}

#[test]
fn files_that_are_no_packs_are_reported_and_left_alone() {
    let world = world_with_snapshot();
    let stranger = world.root.join("packs/00/notes.txt");
    drop(store::disk::Disk::create_new(&world.disk, &stranger).unwrap());
    let misplaced = world.root.join(format!("packs/00/{}.pack", "11".repeat(16)));
    drop(store::disk::Disk::create_new(&world.disk, &misplaced).unwrap());
    let empty = world.root.join(format!("packs/11/{}.pack", "11".repeat(16)));
    drop(store::disk::Disk::create_new(&world.disk, &empty).unwrap());
    let store = world.open();
    let mut strangers = store.recovery().strangers.clone();
    strangers.sort();
    assert_eq!(strangers, [misplaced, stranger, empty.clone()]);
    assert!(world.packs().contains(&empty));
}

#[test]
fn an_intended_pack_that_is_broken_is_set_aside() {
    let world = world_with_snapshot();
    let (pack, _) = place_of(&world, "a1");
    world.sql("DELETE FROM object WHERE pack = 1; UPDATE pack SET state = 1 WHERE pack = 1;");
    world.disk.damage(&pack, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let store = world.open();
    let recovery = store.recovery();
    assert_eq!((recovery.dropped.len(), &recovery.quarantined), (1, &recovery.dropped));
    assert!(world.disk.files().iter().any(|path| path.starts_with(world.root.join("quarantine"))));
    assert!(!world.packs().contains(&pack));
}

#[test]
fn a_deletion_is_completed_at_opening() {
    for file_is_gone in [false, true] {
        let world = world_with_snapshot();
        let (pack, _) = place_of(&world, "a1");
        world.sql("UPDATE pack SET state = 4 WHERE pack = 1");
        if file_is_gone {
            world.disk.lose_file(&pack);
        }
        let store = world.open();
        assert_eq!(store.recovery().deleted.len(), 1);
        assert_eq!(store.deletion_latch(), None);
        assert!(!world.packs().contains(&pack));
        assert_eq!(world.ask::<i64>("SELECT count(*) FROM object WHERE pack = 1"), 0);
        assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE pack = 1"), 0);
        assert_eq!(world.begin(&store).held(&ids(&["a1"])).unwrap(), [false]);
    }
}

#[test]
fn missing_shard_directories_are_made_again() {
    let world = World::new();
    let store = world.open();
    drop(store);
    let copy = scratch();
    std::fs::copy(world.root.join("catalog.sqlite3"), copy.path().join("catalog.sqlite3")).unwrap();
    // A copy without empty directories, as some tools make them.
    std::fs::create_dir(copy.path().join("packs")).unwrap();
    std::fs::write(copy.path().join("packs/ANCHOR"), world.disk.contents(&world.root.join("packs/ANCHOR"))).unwrap();
    let mut options = store::StoreOptions::default();
    options.min_free_bytes = 0;
    options.allow_any_file_system = true;
    let store = store::Store::open(copy.path(), &options, NOW).unwrap();
    assert_eq!(store.deletion_latch(), None);
    back_up(&mut world.begin(&store), "1", 1);
    check_restores(&store, "1");
}

#[test]
fn an_unmounted_pack_directory_keeps_the_store_shut() {
    let world = world_with_snapshot();
    let mut options = store::StoreOptions::default();
    options.min_free_bytes = 0;
    options.allow_any_file_system = true;
    let error = store::Store::open(&world.root, &options, NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn a_failed_directory_sync_stops_all_writing() {
    let world = world_with_snapshot();
    let store = world.open();
    let mut session = world.begin(&store);
    session.put(&chunk("x"), NOW).unwrap();
    // Records, trailer, sync, rename; then the directory's sync.
    world.disk.plan(4, Fault::Refuse(std::io::ErrorKind::Other));
    assert_eq!(session.flush(NOW).unwrap_err().kind(), ErrorKind::Io);
    assert!(store.halted().is_some());
    assert_eq!(session.flush(NOW).unwrap_err().kind(), ErrorKind::Halted);
    assert_eq!(store.create_account("x", store::Role::Member, NOW).unwrap_err().kind(), ErrorKind::Halted);
    check_restores(&store, "1");
    drop(session);
    drop(store);
    let store = world.open();
    assert!(!store.recovery().was_closed);
    assert_eq!(store.halted(), None);
    assert_eq!(store.recovery().sealed.len(), 1, "the file was complete after all");
}

#[test]
fn a_disk_that_fails_three_times_within_an_hour_is_only_read_from() {
    let minutes = |count: i64| store::UnixMs(NOW.0 + count * 60_000);
    let world = world_with_snapshot();
    let store = world.open();
    let fail = |name: &str, at: store::UnixMs| {
        let mut session = world.begin(&store);
        session.put(&chunk(name), at).unwrap();
        // The first write of the records.
        world.disk.plan(0, Fault::Refuse(std::io::ErrorKind::Other));
        assert_eq!(session.flush(at).unwrap_err().kind(), ErrorKind::Io);
        assert!(matches!(session.flush(at).unwrap_err(), StoreError::SessionBroken { .. }));
    };
    let mut before = world.begin(&store);
    fail("x", minutes(0));
    fail("y", minutes(40));
    // The first was more than an hour ago, and a full disk is no fault.
    fail("z", minutes(61));
    let mut session = world.begin(&store);
    session.put(&chunk("w"), minutes(62)).unwrap();
    world.disk.plan(0, Fault::Refuse(std::io::ErrorKind::StorageFull));
    assert_eq!(session.flush(minutes(62)).unwrap_err().kind(), ErrorKind::Full);
    drop(session);
    assert_eq!(store.read_only(), None);
    // The next one is the third within an hour.
    fail("v", minutes(100));
    assert!(store.read_only().unwrap().contains("3 times within an hour"));
    assert_eq!(store.halted(), None);

    // Nothing is taken in and nothing collected; what is stored can be read, and what is in the catalog changed.
    let refused = before.put(&chunk("w"), minutes(300)).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    let backup = Purpose::Backup { device: world.device, chain: "home", parent_hint: None };
    assert!(matches!(store.begin(VAULT, &backup, minutes(300)), Err(StoreError::ReadOnly { .. })));
    check_restores(&store, "1");
    store.create_account("x", store::Role::Member, minutes(300)).unwrap();

    // Opened again, by somebody who has looked after the disk, it goes on.
    drop(before);
    drop(store);
    let store = world.open();
    assert_eq!(store.read_only(), None);
    back_up(&mut world.begin(&store), "2", 2);
    check_restores(&store, "2");
}
