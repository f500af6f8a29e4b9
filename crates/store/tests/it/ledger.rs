//! What was decided about snapshots survives the loss of the catalog, as it was acknowledged; where in doubt, snapshots
//! stay.

use std::collections::BTreeMap;

use store::{Adoption, ErrorKind, GcOptions, SnapshotChange, SnapshotQuery, Store, StoreError, UnixMs};
use testkit::disk::{Fault, until_death};

use crate::props::*;

const LATER: UnixMs = UnixMs(NOW.0 + 1000);
const FORGET: SnapshotChange<'_> = SnapshotChange::Forget(&|_| UnixMs(i64::MAX));
const CATALOG: [&str; 3] = ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"];

/// A store with snapshots `snap1` to `snap5`. It is closed.
fn world() -> World {
    let world = World::new();
    let store = world.open();
    for number in 1..=5 {
        let mut session = world.begin(&store);
        back_up(&mut session, &number.to_string(), number);
        session.close(NOW).unwrap();
    }
    drop(store);
    world
}

fn change(world: &World, store: &Store, number: u8, change: SnapshotChange<'_>, name: &str) -> Result<(), StoreError> {
    store.change_snapshots(VAULT, Some(world.device), key(number), &[id(name)], change, LATER).map(drop)
}

/// What became of each snapshot, in words; those that are purged are not there.
fn states(store: &Store) -> BTreeMap<String, String> {
    let mut states = BTreeMap::new();
    for in_trash in [false, true] {
        let query = SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 100, in_trash };
        for snapshot in store.snapshots(&query).unwrap() {
            let name = (1..=9).map(|number| format!("snap{number}")).find(|name| id(name) == snapshot.id).unwrap();
            let word = if in_trash { "trash" } else { "live" };
            let held = snapshot.held.map_or_else(String::new, |at| format!(", held at {}", at.0 - NOW.0));
            let trashed = snapshot.trashed.map_or_else(String::new, |at| format!(" since {}", at.0 - NOW.0));
            states.insert(name, format!("{word}{trashed}{held}"));
        }
    }
    states
}

fn expect(states: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> = states.iter().map(|(name, state)| (name.as_str(), state.as_str())).collect();
    assert_eq!(found, expected);
}

/// `snap1` is purged, `snap2` is in the trash, `snap3` is held, `snap4` was in the trash and came back.
fn decide(world: &World, store: &Store) -> Result<(), StoreError> {
    change(world, store, 101, FORGET, "snap1")?;
    store.purge(LATER)?;
    change(world, store, 102, FORGET, "snap2")?;
    change(world, store, 103, SnapshotChange::Hold, "snap3")?;
    change(world, store, 104, FORGET, "snap4")?;
    change(world, store, 105, SnapshotChange::Undelete, "snap4")
}

const DECIDED: [(&str, &str); 4] =
    [("snap2", "trash since 1000"), ("snap3", "live, held at 1000"), ("snap4", "live"), ("snap5", "live")];

fn lose_catalog(world: &World) {
    for file in CATALOG {
        drop(std::fs::remove_file(world.root.join(file)));
    }
}

/// Rebuilds the catalog from the packs, whatever is there of it.
fn rebuild(world: &World) -> Store {
    let store = match world.try_open() {
        Ok(store) => store,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let store = Store::create_again(&world.root, &world.options, NOW).unwrap();
            populate(&store);
            store
        }
        Err(error) => panic!("{error}"),
    };
    for unknown in store.reindex(NOW, &mut |_| {}).unwrap().unknown {
        let adoption = Adoption {
            vault: unknown.vault,
            snapshot: unknown.id,
            device: None,
            device_name: "recovered",
            chain: "recovered",
            received: NOW,
        };
        store.adopt_snapshot(&adoption, NOW).unwrap();
    }
    store.lift_latch().unwrap();
    store
}

#[test]
fn decisions_survive_the_loss_of_the_catalog() {
    let world = world();
    let before = std::fs::read(world.root.join(CATALOG[0])).unwrap();
    let store = world.open();
    decide(&world, &store).unwrap();
    drop(store);
    type Loss<'a> = &'a dyn Fn(&World);
    let older = |world: &World| std::fs::write(world.root.join(CATALOG[0]), &before).unwrap();
    let losses: [(&str, Loss<'_>); 3] = [("nothing", &|_| {}), ("gone", &lose_catalog), ("older", &older)];
    for (what, loss) in losses {
        let world = world.fork();
        loss(&world);
        let store = rebuild(&world);
        expect(&states(&store), &DECIDED);
        // Again: what was learned from the ledger stands in it.
        drop(store);
        lose_catalog(&world);
        let store = rebuild(&world);
        expect(&states(&store), &DECIDED);
        // What is held cannot be forgotten; what is purged gives its space back, and nothing else does.
        let number: i64 = world.ask(&format!("SELECT snapshot FROM snapshot WHERE id = x'{}'", id("snap3")));
        assert_eq!(store.trash(&[u64::try_from(number).unwrap()], NOW).unwrap(), 0, "{what}");
        let mut options = GcOptions::default();
        (options.grace_ms, options.waste_percent_max, options.allow_unusual) = (0, 0, true);
        for _ in 0..3 {
            assert_eq!(store.collect_garbage(&options, &(), NOW).unwrap().refusals, [], "{what}");
        }
        assert_eq!(store.held(VAULT, &ids(&["a1", "snap1", "a2", "a5"])).unwrap(), [false, false, true, true]);
        for number in 2..=5 {
            check_restores(&store, &number.to_string());
        }
    }
}

/// Whatever was acknowledged before the process died, at any effect, is so after the loss of the catalog.
#[test]
fn what_was_acknowledged_survives_death_and_the_loss_of_the_catalog() {
    let template = world();
    let error = std::io::ErrorKind::Other;
    for fault in [Fault::DieBefore, Fault::DieAfter, Fault::Tear(error), Fault::Refuse(error)] {
        for effects in 0.. {
            let world = template.fork();
            let mut acknowledged = 0;
            let too_late = until_death(|| {
                let store = world.open();
                world.disk.plan(effects, fault);
                let names = ["snap1", "snap2", "snap3"];
                for (number, name) in (110..).zip(names) {
                    let how = if name == "snap3" { SnapshotChange::Hold } else { FORGET };
                    // A refused change is asked for again, as a client does.
                    if change(&world, &store, number, how, name).is_ok()
                        || change(&world, &store, number, how, name).is_ok()
                    {
                        acknowledged += 1;
                    }
                }
                world.disk.take_plan()
            });
            world.disk.lose_power(Some(effects));
            lose_catalog(&world);
            let states = states(&rebuild(&world));
            let expected = ["trash since 1000", "trash since 1000", "live, held at 1000"];
            for (number, expected) in (1..=acknowledged).zip(expected) {
                assert_eq!(states[&format!("snap{number}")], expected, "{fault:?} after {effects} effects");
            }
            assert_eq!(states.len(), 5, "{fault:?} after {effects} effects");
            if too_late == Some(true) {
                assert!(effects > 10 && acknowledged == 3, "{effects} effects, {acknowledged} changes");
                break;
            }
        }
    }
}

/// Every byte of the ledger in turn: a snapshot is live or in the trash, never gone, unless that is certain.
#[test]
fn a_damaged_ledger_takes_nothing_away() {
    let world = world();
    let store = world.open();
    decide(&world, &store).unwrap();
    drop(store);
    let ledger = world.root.join("packs/LEDGER");
    let len = world.disk.contents(&ledger).len();
    for byte in (0..len).step_by(7) {
        let damaged = world.fork();
        damaged.disk.damage(&damaged.root.join("packs/LEDGER"), |bytes| bytes[byte] ^= 0x10);
        lose_catalog(&damaged);
        let states = states(&rebuild(&damaged));
        assert_eq!(states.len(), 5, "byte {byte}: {states:?}");
        assert!(!states["snap5"].contains("trash"), "byte {byte}");
    }
    for len in [0, 10, 64, 65, len - 1] {
        let damaged = world.fork();
        damaged.disk.damage(&damaged.root.join("packs/LEDGER"), |bytes| bytes.truncate(len));
        lose_catalog(&damaged);
        let states = states(&rebuild(&damaged));
        assert!(states.len() == 5, "{len} bytes are left: {states:?}");
    }
}

/// While the catalog is there, a lost or damaged ledger is written anew.
#[test]
fn a_lost_ledger_is_written_anew() {
    let world = world();
    let store = world.open();
    decide(&world, &store).unwrap();
    drop(store);
    let ledger = world.root.join("packs/LEDGER");
    let flip = |bytes: &mut Vec<u8>| bytes[70] ^= 1;
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(64 + 96);
    let spoils: [&dyn Fn(); 3] =
        [&|| world.disk.lose_file(&ledger), &|| world.disk.damage(&ledger, flip), &|| world.disk.damage(&ledger, cut)];
    for spoil in spoils {
        spoil();
        drop(world.open());
        let world = world.fork();
        lose_catalog(&world);
        expect(&states(&rebuild(&world)), &DECIDED);
    }
}

/// What was purged and then committed again is no longer purged.
#[test]
fn the_last_word_counts() {
    let world = world();
    let store = world.open();
    decide(&world, &store).unwrap();
    let mut session = world.begin(&store);
    session.commit_snapshot(key(120), id("snap1"), LATER).unwrap();
    session.close(NOW).unwrap();
    drop(store);
    lose_catalog(&world);
    assert_eq!(states(&rebuild(&world))["snap1"], "live");
}

/// Decisions that are made while the catalog waits to be rebuilt are kept like others.
#[test]
fn a_latched_store_keeps_decisions() {
    let world = world();
    let before = std::fs::read(world.root.join(CATALOG[0])).unwrap();
    let store = world.open();
    decide(&world, &store).unwrap();
    drop(store);
    std::fs::write(world.root.join(CATALOG[0]), &before).unwrap();
    let store = world.open();
    assert!(store.deletion_latch().is_some());
    expect(&states(&store), &DECIDED);
    change(&world, &store, 121, SnapshotChange::Unhold, "snap3").unwrap();
    change(&world, &store, 122, SnapshotChange::Hold, "snap5").unwrap();
    drop(store);
    lose_catalog(&world);
    let decided =
        [("snap2", "trash since 1000"), ("snap3", "live"), ("snap4", "live"), ("snap5", "live, held at 1000")];
    expect(&states(&rebuild(&world)), &decided);
}

/// Every byte of ANCHOR and LEDGER is another, one at a time, while the store is open: the file is named, and nothing else.
#[test]
fn every_flipped_byte_of_anchor_and_ledger_is_found() {
    let world = world();
    let store = world.open();
    decide(&world, &store).unwrap();
    let flawed = || {
        let mut of_catalog = 0;
        let flaws = store.check_files(&mut |_, _| {
            of_catalog += 1;
            false
        });
        assert_eq!(of_catalog, 1, "the catalog is let alone here");
        flaws.unwrap().into_iter().map(|flaw| flaw.path).collect::<Vec<_>>()
    };
    assert!(flawed().is_empty());
    for name in ["ANCHOR", "LEDGER"] {
        let path = world.root.join("packs").join(name);
        let len = world.disk.contents(&path).len();
        assert!(len > 30, "{name} has {len} bytes");
        for at in 0..len {
            world.disk.damage(&path, |bytes| bytes[at] ^= 0x20);
            assert_eq!(flawed(), std::slice::from_ref(&path), "byte {at}");
            world.disk.damage(&path, |bytes| bytes[at] ^= 0x20);
        }
        let last = world.disk.contents(&path)[len - 1];
        world.disk.damage(&path, |bytes| bytes.truncate(len - 1));
        assert_eq!(flawed(), std::slice::from_ref(&path), "cut off");
        world.disk.damage(&path, |bytes| bytes.push(last));
    }
    assert!(flawed().is_empty());
    let mut tables = (0, 0);
    assert!(
        store
            .check_files(&mut |done, total| {
                tables = (done, total);
                true
            })
            .unwrap()
            .is_empty()
    );
    assert!(tables.1 > 20 && tables.0 + 1 == tables.1, "all tables were read: {tables:?}");
}
