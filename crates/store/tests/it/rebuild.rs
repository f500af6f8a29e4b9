//! Rebuilding the catalog from the packs: nothing acknowledged is lost, whatever became of the catalog, and deletion is
//! allowed again only afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use object::ObjectId;
use store::{Adoption, ErrorKind, ReindexReport, SnapshotQuery, Store, UnixMs};
use testkit::disk::{Call, Fault, HookDisk, until_death};

use crate::props::*;

/// Every row about stored objects, in words.
fn rows(world: &World) -> Vec<String> {
    let catalog = rusqlite::Connection::open(world.root.join("catalog.sqlite3")).unwrap();
    let sql = "SELECT hex(half_id) || ' ' || hex(pack.id) || ' ' || offset || ' ' || len || ' ' || form || ' ' || state
                   || ' ' || bytes || ' ' || record_count || ' ' || object_count || ' ' || hex(hash)
               FROM object JOIN pack USING (pack) ORDER BY 1";
    let mut statement = catalog.prepare(sql).unwrap();
    let rows = statement.query_map((), |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn snapshots(store: &Store) -> BTreeMap<ObjectId, (String, u64)> {
    let query = SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 100, in_trash: false };
    let found = store.snapshots(&query).unwrap();
    found.into_iter().map(|snapshot| (snapshot.id, (snapshot.chain, snapshot.seq))).collect()
}

/// Rebuilds, takes in what was forgotten, and allows deletion again.
pub(crate) fn rebuild(store: &Store) -> ReindexReport {
    let report = store.reindex(NOW, &mut |_| {}).unwrap();
    for unknown in &report.unknown {
        let adoption = Adoption {
            vault: unknown.vault,
            snapshot: unknown.id,
            device: None,
            device_name: "recovered",
            chain: "recovered",
            received: UnixMs(NOW.0 - 5),
        };
        store.adopt_snapshot(&adoption, NOW).unwrap();
    }
    store.lift_latch().unwrap();
    report
}

fn world_with(count: u8) -> World {
    let world = World::new();
    let store = world.open();
    for number in 1..=count {
        let mut session = world.begin(&store);
        back_up(&mut session, &number.to_string(), number);
        session.close(NOW).unwrap();
    }
    drop(store);
    world
}

#[test]
fn a_rebuilt_index_is_the_same_whatever_became_of_it() {
    let world = world_with(3);
    let before = rows(&world);
    let spoils = [
        "SELECT 1",
        "DELETE FROM object",
        "UPDATE object SET offset = offset + 3, len = len + 1",
        "UPDATE object SET form = form + 16",
        "DELETE FROM object; DELETE FROM pack",
        "UPDATE pack SET bytes = 0, record_count = 0, object_count = 7, is_indexed = 0",
    ];
    for spoil in spoils {
        let world = world.fork();
        world.sql(spoil);
        let store = world.open();
        let report = rebuild(&store);
        assert!(report.unknown.is_empty() && report.damaged.is_empty(), "{spoil}: {report:?}");
        drop(store);
        let after: Vec<_> = rows(&world).into_iter().filter(|row| !is_marked(row)).collect();
        assert_eq!(after, before, "{spoil}");
        for number in 1..=3 {
            check_restores(&world.open(), &number.to_string());
        }
    }
}

fn is_marked(row: &str) -> bool {
    row.split(' ').nth(4).unwrap().parse::<u8>().unwrap() >= 16
}

#[test]
fn damage_is_remembered_and_other_objects_are_not_blamed() {
    let world = world_with(2);
    let packs = world.packs();
    let pack = packs.iter().find(|path| world.disk.contents(path).windows(10).any(|w| w == b"body of b1")).unwrap();
    let at = world.disk.contents(pack).windows(10).position(|window| window == b"body of b1").unwrap();
    world.disk.damage(pack, |bytes| bytes[at] ^= 1);
    let store = world.open();
    let report = rebuild(&store);
    assert_eq!((report.damaged.len(), report.missing.len()), (1, 0));
    assert_eq!(store.held(VAULT, &ids(&["a1", "b1", "a2", "b2"])).unwrap(), [true, false, true, true]);
    assert_eq!(store.incomplete_snapshots(VAULT).unwrap().len(), 1);
}

/// The catalog as it was after every step is put back; rebuilt, it knows everything that was acknowledged.
#[test]
fn every_older_catalog_catches_up() {
    let world = World::new();
    let copy = |world: &World| std::fs::read(world.root.join("catalog.sqlite3")).unwrap();
    let mut copies = vec![copy(&world)];
    for number in 1..=4u8 {
        let store = world.open();
        let mut session = world.begin_chain(&store, if number % 2 == 0 { "even" } else { "odd" }).0;
        let [a, b, root, snap] = ["a", "b", "root", "snap"].map(|name| format!("{name}{number}"));
        put_all(&mut session, &[chunk(&a), chunk(&b), tree(&root, &[&a, &b]), snapshot(&snap, &root)]);
        session.close(NOW).unwrap();
        drop(store);
        // Between the seal and the commit, too.
        copies.push(copy(&world));
        let store = world.open();
        let mut session = world.begin_chain(&store, if number % 2 == 0 { "even" } else { "odd" }).0;
        session.commit_snapshot(key(number), id(&snap), NOW).unwrap();
        session.close(NOW).unwrap();
        drop(store);
        copies.push(copy(&world));
    }
    let newest = copies.len() - 1;
    for (age, copy) in copies.iter().enumerate() {
        let world = world.fork();
        std::fs::write(world.root.join("catalog.sqlite3"), copy).unwrap();
        let store = world.open();
        assert_eq!(store.deletion_latch().is_some(), age < newest, "copy {age}");
        assert_eq!(store.lift_latch().unwrap_err().kind(), ErrorKind::Conflict, "not before the packs were read");
        let report = rebuild(&store);
        assert_eq!(report.unknown.len(), (newest - age).div_ceil(2), "copy {age}");
        assert_eq!(store.deletion_latch(), None);
        drop(store);
        let store = world.open();
        assert_eq!(store.deletion_latch(), None, "copy {age}: the verdict does not come back");
        assert_eq!(snapshots(&store).len(), 4, "copy {age}");
        for number in 1..=4 {
            check_restores(&store, &number.to_string());
        }
        // And the chain goes on.
        back_up(&mut world.begin(&store), "9", 9);
    }
}

/// Nothing is left of the catalog.
#[test]
fn snapshots_come_back_without_any_catalog() {
    let world = world_with(3);
    for file in ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
        drop(std::fs::remove_file(world.root.join(file)));
    }
    assert_eq!(world.try_open().unwrap_err().kind(), ErrorKind::NotFound);
    let error = Store::create(&world.root, &world.options, NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "packs are never started over");
    let store = Store::create_again(&world.root, &world.options, NOW).unwrap();
    assert!(store.deletion_latch().is_some());
    let unknown = store.unknown_vaults().unwrap();
    assert_eq!(unknown.iter().map(|(vault, packs)| (*vault, *packs > 0)).collect::<Vec<_>>(), [(VAULT, true)]);
    populate(&store);
    assert!(store.unknown_vaults().unwrap().is_empty());
    rebuild(&store);
    drop(store);
    let store = world.open();
    assert_eq!(store.deletion_latch(), None);
    let found = snapshots(&store);
    assert_eq!(found[&id("snap1")], ("recovered".to_owned(), 1));
    assert_eq!(found[&id("snap3")], ("recovered".to_owned(), 3), "in the order they were made");
    for number in 1..=3 {
        check_restores(&store, &number.to_string());
    }
    let device = store.snapshots(&SnapshotQuery {
        vault: VAULT,
        device: None,
        chain: None,
        before: None,
        limit: 1,
        in_trash: false,
    });
    let device = store.device(device.unwrap()[0].device).unwrap().unwrap();
    assert!(device.revoked.is_some(), "nobody can log in as it");
}

/// What was sent and never committed, or cut off before it was complete, does not appear.
#[test]
fn what_is_not_complete_stays_out() {
    let world = world_with(1);
    let old = std::fs::read(world.root.join("catalog.sqlite3")).unwrap();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[tree("half root", &["never sent"]), snapshot("half", "half root")]);
    session.close(NOW).unwrap();
    enroll(&store, world.account, "raises the anchor");
    drop(store);
    std::fs::write(world.root.join("catalog.sqlite3"), old).unwrap();
    let store = world.open();
    let report = store.reindex(NOW, &mut |_| {}).unwrap();
    assert_eq!(report.unknown.iter().map(|unknown| unknown.id).collect::<Vec<_>>(), [id("half")]);
    let adoption =
        Adoption { vault: VAULT, snapshot: id("half"), device: None, device_name: "x", chain: "x", received: NOW };
    assert_eq!(store.adopt_snapshot(&adoption, NOW).unwrap(), None);
    assert_eq!(snapshots(&store).len(), 1);
    let wrong = Adoption { snapshot: id("root1"), ..adoption };
    assert_eq!(store.adopt_snapshot(&wrong, NOW).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn nobody_may_write_meanwhile() {
    let world = world_with(1);
    let store = world.open();
    let session = world.begin(&store);
    assert_eq!(store.reindex(NOW, &mut |_| {}).unwrap_err().kind(), ErrorKind::Conflict);
    drop(session);
    store.reindex(NOW, &mut |_| {}).unwrap();
}

#[test]
fn a_copy_of_the_catalog_can_be_put_back() {
    let world = world_with(2);
    let store = world.open();
    let copy = world.root.join("copy");
    let facts = store.copy_catalog(&copy).unwrap();
    assert_eq!(facts.generation, store.status().unwrap().generation);
    let mut session = world.begin(&store);
    back_up(&mut session, "3", 3);
    session.close(NOW).unwrap();
    assert_eq!(Store::put_catalog_back(&world.root, &world.options, &copy).unwrap_err().kind(), ErrorKind::Locked);
    drop(store);
    let before = rows(&world);
    let (back, aside) = Store::put_catalog_back(&world.root, &world.options, &copy).unwrap();
    assert_eq!(back, facts);
    assert!(aside.unwrap().exists());
    let store = world.open();
    assert!(store.deletion_latch().is_some());
    check_restores(&store, "1");
    rebuild(&store);
    assert_eq!(snapshots(&store).len(), 3);
    drop(store);
    assert_eq!(rows(&world), before, "the copy without index, opened again, has all of it");

    let foreign = world_with(1);
    let store = foreign.open();
    store.copy_catalog(&copy).unwrap();
    drop(store);
    let other = World::new();
    let mut anchor = other.disk.contents(&other.root.join("packs/ANCHOR"));
    anchor[20] ^= 1;
    let crc = crc32c::crc32c(&anchor[..60]);
    anchor[60..].copy_from_slice(&crc.to_le_bytes());
    other.disk.damage(&other.root.join("packs/ANCHOR"), |bytes| *bytes = anchor);
    assert_eq!(Store::put_catalog_back(&other.root, &other.options, &copy).unwrap_err().kind(), ErrorKind::Conflict);
    std::fs::write(&copy, vec![1; 5000]).unwrap();
    let error = Store::put_catalog_back(&world.root, &world.options, &copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    check_restores(&world.open(), "3");
}

/// Logs of the catalog that goes would be taken for those of the one that comes. They are away, and durably, before it comes.
#[test]
fn no_log_of_the_old_catalog_stays_beside_a_copy_that_is_put_back() {
    let world = world_with(2);
    let copy = world.root.join("copy");
    let store = world.open();
    store.copy_catalog(&copy).unwrap();
    drop(store);
    let catalog = world.root.join("catalog.sqlite3");
    let with = |companion: &str| world.root.join(format!("catalog.sqlite3{companion}"));
    let logs = ["-wal", "-shm", "-journal"].map(with);
    for log in &logs {
        std::fs::write(log, b"of the old one").unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let (seen, root, logs, catalog, copy) =
            (Arc::clone(&seen), world.root.clone(), logs.clone(), catalog.clone(), copy.clone());
        move |call: &Call| {
            if call.verb == "sync_dir" && call.path == root {
                let stay = logs.iter().any(|log| log.exists());
                seen.lock().unwrap().push((catalog.exists(), stay, copy.exists()));
            }
        }
    };
    let mut options = world.options.clone();
    options.disk = Arc::new(HookDisk::new(world.disk.clone(), Box::new(hook)));
    Store::put_catalog_back(&world.root, &options, &copy).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(false, false, true), (true, false, false)]);
    check_restores(&world.open(), "2");
}

/// A process that died while it changed the catalog left a journal: whoever opens it next takes that back first.
#[test]
fn a_catalog_with_a_journal_is_opened() {
    let world = world_with(1);
    let catalog = world.root.join("catalog.sqlite3");
    let connection = rusqlite::Connection::open(&catalog).unwrap();
    connection.pragma_update(None, "journal_mode", "DELETE").unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; UPDATE meta SET generation = 0; DELETE FROM snapshot;").unwrap();
    connection.cache_flush().unwrap();
    let [database, journal] =
        [&catalog, &world.root.join("catalog.sqlite3-journal")].map(|path| std::fs::read(path).unwrap());
    drop(connection);
    std::fs::write(&catalog, database).unwrap();
    std::fs::write(world.root.join("catalog.sqlite3-journal"), journal).unwrap();
    let store = world.open();
    assert_eq!(store.deletion_latch(), None);
    check_restores(&store, "1");
    assert_eq!(snapshots(&store).len(), 1);
}

/// The process dies before and after every effect of rebuilding: done again, the result is the same.
#[test]
fn a_rebuild_cut_off_anywhere_can_be_done_again() {
    let template = world_with(1);
    let old = std::fs::read(template.root.join("catalog.sqlite3")).unwrap();
    let store = template.open();
    for number in 2..=3 {
        let mut session = template.begin(&store);
        back_up(&mut session, &number.to_string(), number);
        session.close(NOW).unwrap();
    }
    drop(store);
    std::fs::write(template.root.join("catalog.sqlite3"), old).unwrap();
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for loses_power in [false, true] {
            for effects in 0.. {
                let world = template.fork();
                let when = format!("{fault:?} after {effects} effects, power lost: {loses_power}");
                let is_done = until_death(|| {
                    world.disk.plan(effects, fault);
                    let store = world.open();
                    rebuild(&store);
                    world.disk.take_plan()
                });
                if loses_power {
                    world.disk.lose_power(None);
                } else {
                    world.disk.reboot();
                }
                let store = world.open();
                if store.deletion_latch().is_some() || snapshots(&store).len() < 3 {
                    assert!(store.deletion_latch().is_some(), "{when}: the latch was lifted too early");
                    rebuild(&store);
                }
                assert_eq!(snapshots(&store).len(), 3, "{when}");
                for number in 1..=3 {
                    check_restores(&store, &number.to_string());
                }
                drop(store);
                assert_eq!(world.open().deletion_latch(), None, "{when}");
                if is_done == Some(true) {
                    assert!(effects > 5, "a rebuild has {effects} effects only");
                    break;
                }
            }
        }
    }
}
