//! Verifying and repairing: every damaged byte is found and named, costs what it hits and nothing else, and the next backup
//! brings back what it cost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::ObjectId;
use store::disk::Disk;
use store::{Due, PackChoice, PackId, PackReport, SnapshotQuery, Store, UnixMs, Verification};
use testkit::disk::{Fault, until_death};

use crate::props::*;

const NAMES: [&str; 9] = ["a1", "b1", "c1", "d1", "small", "root1", "snap1", "root2", "snap2"];

/// Everything that is backed up here, in two packs of data and two of metadata.
fn back_up_all(session: &mut store::WriteSession, number: u8) {
    let is_first = number == 1;
    let snap = if is_first { "snap1" } else { "snap2" };
    if is_first {
        put_all(session, &[chunk("a1"), chunk("b1"), chunk("c1")]);
        put_all(session, &[tree("root1", &["a1", "b1", "c1"]), snapshot("snap1", "root1")]);
    } else {
        put_all(session, &[chunk("d1"), delta("small", &["a1"])]);
        put_all(session, &[tree("root2", &["a1", "d1", "small"]), snapshot("snap2", "root2")]);
    }
    session.commit_snapshot(key(number), id(snap), NOW).unwrap();
}

fn world() -> World {
    let world = World::new();
    let store = world.open();
    for number in [1, 2] {
        let mut session = world.begin(&store);
        back_up_all(&mut session, number);
        session.close(NOW).unwrap();
    }
    drop(store);
    world
}

fn pack_of(path: &Path) -> PackId {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

pub(crate) fn verify_all(store: &Store) -> Vec<PackReport> {
    let counts = store.index_counts().unwrap();
    let packs = store.packs_to_verify(PackChoice::All, 1000).unwrap();
    let reports = packs.iter().map(|(pack, _)| store.verify_pack(*pack, Some(&counts), NOW, &mut |_| {}).unwrap());
    reports.map(Option::unwrap).collect()
}

fn name_of(half_id: [u8; 16]) -> &'static str {
    NAMES.into_iter().find(|name| id(name).as_bytes()[..16] == half_id).unwrap()
}

fn damaged_names(reports: &[PackReport]) -> BTreeSet<&'static str> {
    reports.iter().flat_map(|report| &report.damaged).map(|object| name_of(object.half_id)).collect()
}

/// What an object's loss takes with it.
fn broken_by(damaged: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let edges = [
        ("small", vec!["a1"]),
        ("root1", vec!["a1", "b1", "c1"]),
        ("root2", vec!["a1", "d1", "small"]),
        ("snap1", vec!["root1"]),
        ("snap2", vec!["root2"]),
    ];
    let mut broken = damaged.clone();
    for (name, needs) in edges {
        if needs.iter().any(|needed| broken.contains(needed)) {
            broken.insert(name);
        }
    }
    broken
}

/// Damages one pack, verifies, and mends it again. The damage must be found and named there and nowhere else; what is not
/// named is read, and what stands on it is not held. What was damaged.
#[track_caller]
fn check_damage(world: &World, store: &Store, path: &Path, damage: &Damage) -> BTreeSet<&'static str> {
    let pack = pack_of(path);
    let whole = world.disk.contents(path);
    world.disk.damage(path, |bytes| damage.apply(bytes));
    let reports = verify_all(store);
    let found: Vec<_> = reports.iter().filter(|report| !report.is_sound()).collect();
    assert!(found.len() == 1 && found[0].pack == pack, "{damage:?} of {pack}: {found:?}");
    let flaws = &found[0].flaws;
    let at = damage.offset() as u64;
    // Of what is cut off nothing is left that could be counted.
    let is_cut = matches!(damage, Damage::Cut(_));
    let is_covered = |flaw: &store::Flaw| flaw.offset <= at && (is_cut || at < flaw.offset + flaw.len);
    assert!(flaws.iter().any(is_covered), "{damage:?} of {pack}: {flaws:?}");
    let damaged = damaged_names(&reports);
    let broken = broken_by(&damaged);
    for name in NAMES {
        let read = store.read(VAULT, &id(name));
        assert_eq!(read.is_ok(), !damaged.contains(name), "{damage:?} of {pack}: {name}: {:?} {reports:?}", read.err());
        assert_eq!(store.held(VAULT, &[id(name)]).unwrap(), [!broken.contains(name)], "{name}");
    }
    let incomplete: BTreeSet<ObjectId> =
        store.incomplete_snapshots(VAULT).unwrap().into_iter().map(|snapshot| snapshot.id).collect();
    let expected = ["snap1", "snap2"].into_iter().filter(|name| broken.contains(name)).map(id).collect();
    assert_eq!(incomplete, expected, "{damage:?} of {pack}");
    world.disk.damage(path, |bytes| *bytes = whole);
    // What can be read again loses its mark, and then nothing is left to say.
    verify_all(store);
    assert!(verify_all(store).iter().all(PackReport::is_sound), "{damage:?} of {pack} was undone");
    damaged
}

/// What can happen to a pack.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit of this byte is another.
    Flip(usize),
    /// Nothing is left from here on.
    Cut(usize),
    /// A block is zeros, from the first byte that was not to the end of the block.
    Zero(usize, usize),
}

impl Damage {
    /// One of each kind somewhere in a pack of these bytes.
    fn at(bytes: &[u8], offset: usize) -> impl Iterator<Item = Self> {
        let zeroed = Self::zero(bytes, offset, BLOCK_LEN);
        [Self::Flip(offset), Self::Cut(offset)].into_iter().chain(zeroed)
    }

    /// `None` when the block is zeros already.
    fn zero(bytes: &[u8], start: usize, len: usize) -> Option<Self> {
        let end = bytes.len().min(start + len);
        let first = (start..end).find(|at| bytes[*at] != 0)?;
        Some(Self::Zero(first, end))
    }

    fn offset(self) -> usize {
        match self {
            Self::Flip(at) | Self::Cut(at) | Self::Zero(at, _) => at,
        }
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(at) => bytes[at] ^= 0x20,
            Self::Cut(len) => bytes.truncate(len),
            Self::Zero(start, end) => bytes[start..end].fill(0),
        }
    }
}

/// A pack that nobody has read yet is due sooner than one that was; what carries a moment that has not come is due, and those
/// that waited longest come first.
#[test]
fn packs_are_due_a_day_after_they_were_written_and_a_month_after_they_were_read() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let world = world();
    let store = world.open();
    let at = |days: i64| UnixMs(NOW.0 + days * DAY_MS);
    let due = |days: i64| {
        let due = Due { verified_before: at(days - 30), sealed_before: at(days - 1), now: at(days) };
        let chosen = store.packs_to_verify(PackChoice::Due(due), 1000).unwrap();
        chosen.into_iter().map(|(pack, _)| pack).collect::<Vec<_>>()
    };
    let verify =
        |pack: PackId, days: i64| assert!(store.verify_pack(pack, None, at(days), &mut |_| {}).unwrap().is_some());
    assert!(due(0).is_empty() && due(1).is_empty(), "a day is not over");
    let all = due(2);
    assert_eq!(all.len(), world.packs().len());
    // What was read is out of the way for a month: nothing is read again and again.
    verify(all[1], 2);
    assert!(!due(2).contains(&all[1]) && due(2).len() == all.len() - 1);
    for (pack, days) in all.iter().zip([3, 2, 5, 4]) {
        verify(*pack, days);
    }
    assert!(due(5).is_empty() && due(32).is_empty());
    assert_eq!(due(34), [all[1], all[0]], "the one that waited longest first");
    // A clock that was ahead when something was read: it is due, and once it was read it is not.
    assert_eq!(due(4), [all[2]]);
    verify(all[2], 4);
    assert!(due(4).is_empty());
    // And when something was written.
    assert_eq!(due(-1).len(), all.len());
}

/// How far each snapshot was verified, the first one first.
fn verifications(store: &Store) -> Vec<Verification> {
    let query = SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 10, in_trash: false };
    let mut snapshots = store.snapshots(&query).unwrap();
    snapshots.reverse();
    store.verifications(VAULT, &snapshots).unwrap()
}

/// A snapshot is as well verified as the pack that was read longest ago, of those that stood when it was committed.
#[test]
fn a_snapshot_was_verified_when_all_it_can_stand_on_was_read() {
    use Verification::{Done, Pending};
    let world = world();
    let store = world.open();
    let packs: Vec<PackId> =
        store.packs_to_verify(PackChoice::All, 1000).unwrap().into_iter().map(|(pack, _)| pack).collect();
    let at = |hours: i64| UnixMs(NOW.0 + hours * 3_600_000);
    let steps = [
        (0, 1, [Pending, Pending]),
        (1, 5, [Done(at(1)), Pending]),
        (2, 3, [Done(at(1)), Pending]),
        (3, 4, [Done(at(1)), Done(at(1))]),
        (0, 9, [Done(at(5)), Done(at(3))]),
        (2, 10, [Done(at(5)), Done(at(4))]),
    ];
    assert_eq!(verifications(&store), [Pending, Pending]);
    for (pack, hours, expected) in steps {
        assert!(store.verify_pack(packs[pack], None, at(hours), &mut |_| {}).unwrap().is_some());
        assert_eq!(verifications(&store), expected, "pack {pack} was read after {hours} hours");
    }
}

/// Stands for a block of the disk: packs of these tests are as much shorter than real ones.
const BLOCK_LEN: usize = 64;

/// Flips every byte of every pack in turn, in one open store: found, named, local; and forgotten once it is mended.
#[test]
fn every_flipped_byte_is_found_and_costs_what_it_hits() {
    let world = world();
    let store = world.open();
    let (mut harmless, mut costly) = (0, 0);
    for path in world.packs() {
        for at in 0..world.disk.contents(&path).len() {
            let damaged = check_damage(&world, &store, &path, &Damage::Flip(at));
            assert!(damaged.len() <= 1, "a byte costs one record: {damaged:?}");
            *(if damaged.is_empty() { &mut harmless } else { &mut costly }) += 1;
        }
    }
    assert!(harmless > 400 && costly > 800, "{harmless} harmless, {costly} costly");
}

/// Cuts every pack off at every length, and so at the boundary of every record: what stands before the cut is still there.
#[test]
fn every_truncation_is_found_and_costs_what_is_cut_off() {
    let world = world();
    let store = world.open();
    for path in world.packs() {
        let mut before = BTreeSet::from(NAMES);
        for len in 0..world.disk.contents(&path).len() {
            let damaged = check_damage(&world, &store, &path, &Damage::Cut(len));
            assert!(damaged.is_subset(&before), "more bytes save more: {damaged:?} of {before:?}");
            before = damaged;
        }
        assert!(before.is_empty(), "the trailer's last byte holds nothing: {before:?}");
    }
}

/// Fills blocks with zeros, every one of one byte or more that starts at a multiple of 16.
#[test]
fn every_zeroed_block_is_found_and_costs_what_it_hits() {
    let world = world();
    let store = world.open();
    for path in world.packs() {
        let bytes = world.disk.contents(&path);
        for start in (0..bytes.len()).step_by(16) {
            for len in [1, 16, BLOCK_LEN, bytes.len()] {
                if let Some(damage) = Damage::zero(&bytes, start, len) {
                    check_damage(&world, &store, &path, &damage);
                }
            }
        }
    }
}

/// Damages every part of every record in every way, then backs up again, with and without a repair in between.
#[test]
fn the_next_backup_brings_back_what_was_lost() {
    let template = world();
    for path in template.packs() {
        let bytes = template.disk.contents(&path);
        let everywhere = (0..bytes.len()).step_by(23);
        for damage in everywhere.flat_map(|at| Damage::at(&bytes, at)) {
            for is_repaired in [false, true] {
                let world = template.fork();
                let path = world.root.join(path.strip_prefix(&template.root).unwrap());
                world.disk.damage(&path, |bytes| damage.apply(bytes));
                let store = world.open();
                let damaged = damaged_names(&verify_all(&store));
                let broken = broken_by(&damaged);
                let verified =
                    |name| if broken.contains(name) { Verification::Damaged } else { Verification::Done(NOW) };
                assert_eq!(verifications(&store), ["snap1", "snap2"].map(verified), "{damage:?}");
                if is_repaired {
                    repair_all(&store);
                }
                let (mut session, parent) = world.begin_chain(&store, "home");
                let is_broken = broken.contains("snap2");
                assert_eq!(parent.is_none(), is_broken, "{damaged:?}: a broken snapshot is no parent");
                for name in NAMES {
                    let is_held = session.held(&[id(name)]).unwrap()[0];
                    assert!(is_held || !damaged.is_empty());
                    if !is_held {
                        session.put(&record_of(name), NOW).unwrap();
                    }
                }
                put_all(&mut session, &[snapshot("snap3", "root2")]);
                session.commit_snapshot(key(3), id("snap3"), NOW).unwrap();
                session.close(NOW).unwrap();
                for name in NAMES {
                    assert_eq!(store.read(VAULT, &id(name)).unwrap().record.view().body(), body_of(name));
                    assert_eq!(store.held(VAULT, &[id(name)]).unwrap(), [true], "{name}");
                }
                assert!(store.incomplete_snapshots(VAULT).unwrap().is_empty());
                assert!(world.begin_chain(&store, "home").1.is_some());
                if !damaged.is_empty() {
                    assert_eq!(
                        verifications(&store),
                        [Verification::Pending; 3],
                        "what was sent anew was not read yet"
                    );
                }
                verify_all(&store);
                assert_eq!(verifications(&store), [Verification::Done(NOW); 3], "{damage:?}");
            }
        }
    }
}

/// What is marked as damaged between looking objects up and reading them is not stored, which is no error of the others.
#[test]
fn damage_that_is_found_before_a_batch_is_read_costs_what_it_hits() {
    let template = world();
    let ids = NAMES.map(id);
    for path in template.packs() {
        for at in (0..template.disk.contents(&path).len()).step_by(23) {
            let world = template.fork();
            let path = world.root.join(path.strip_prefix(&template.root).unwrap());
            let store = world.open();
            let mut records = store.read_records(VAULT, &ids).unwrap();
            assert!(records.missing().is_empty());
            world.disk.damage(&path, |bytes| bytes[at] ^= 0x20);
            let damaged = damaged_names(&verify_all(&store));
            let mut read = BTreeSet::new();
            for record in &mut records {
                read.extend(record.unwrap().wanted.iter().map(|wanted| NAMES[wanted.request_index]));
            }
            let missing: BTreeSet<&str> = records.missing().iter().map(|index| NAMES[*index]).collect();
            assert_eq!(missing, damaged);
            assert!(read.is_disjoint(&missing) && read.len() + missing.len() == NAMES.len(), "{read:?}, {missing:?}");
        }
    }
}

/// A parent that was sound when the session began vouches for nothing once it has lost something: the commit names it.
#[test]
fn damage_that_is_found_during_a_session_is_noticed_by_its_commit() {
    let template = world();
    let (mut whole, mut incomplete) = (0, 0);
    for path in template.packs() {
        for at in (0..template.disk.contents(&path).len()).step_by(23) {
            for asks in [false, true] {
                let world = template.fork();
                let path = world.root.join(path.strip_prefix(&template.root).unwrap());
                let store = world.open();
                let (mut session, parent) = world.begin_chain(&store, "home");
                assert_eq!(parent.unwrap().id, id("snap2"));
                if asks {
                    assert_eq!(session.held(&[id("root2")]).unwrap(), [true]);
                }
                // The very tree of the parent, under another snapshot.
                put_all(&mut session, &[snapshot("snap3", "root2")]);
                world.disk.damage(&path, |bytes| bytes[at] ^= 0x20);
                let damaged = damaged_names(&verify_all(&store));
                let committed = session.commit_snapshot(key(3), id("snap3"), NOW);
                if !broken_by(&damaged).contains("root2") {
                    committed.unwrap();
                    whole += 1;
                    continue;
                }
                let Err(store::StoreError::Missing { mut ids }) = committed else {
                    panic!("{damaged:?}: {committed:?}")
                };
                incomplete += 1;
                // What is named is sent, until nothing is.
                while !ids.is_empty() {
                    for name in NAMES.into_iter().filter(|name| ids.contains(&id(name))) {
                        session.put(&record_of(name), NOW).unwrap();
                    }
                    ids = match session.commit_snapshot(key(3), id("snap3"), NOW) {
                        Ok(_) => Vec::new(),
                        Err(store::StoreError::Missing { ids }) => ids,
                        Err(error) => panic!("{error}"),
                    };
                }
                assert_eq!(store.held(VAULT, &[id("snap3")]).unwrap(), [true]);
            }
        }
    }
    assert!(whole > 20 && incomplete > 20, "{whole} whole, {incomplete} incomplete");
}

fn record_of(name: &'static str) -> object::SealedRecord {
    match name {
        "small" => delta("small", &["a1"]),
        "root1" => tree("root1", &["a1", "b1", "c1"]),
        "root2" => tree("root2", &["a1", "d1", "small"]),
        "snap1" => snapshot("snap1", "root1"),
        "snap2" => snapshot("snap2", "root2"),
        name => chunk(name),
    }
}

fn repair_all(store: &Store) {
    let counts = store.index_counts().unwrap();
    for (pack, _) in store.packs_to_verify(PackChoice::All, 1000).unwrap() {
        store.repair_pack(pack, Some(&counts), NOW, &mut |_| {}).unwrap();
    }
}

/// All bytes that ever stood in packs, wherever they are now.
fn bytes_of_packs(world: &World) -> BTreeSet<Vec<u8>> {
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
    world.disk.files().iter().filter(|path| is_pack(path)).map(|path| world.disk.contents(path)).collect()
}

#[test]
fn a_repair_saves_what_is_sound_and_removes_nothing() {
    let world = world();
    let pack = world.packs().into_iter().find(|path| world.disk.contents(path).windows(10).any(|w| w == b"body of b1"));
    let pack = pack.unwrap();
    let at = world.disk.contents(&pack).windows(10).position(|window| window == b"body of b1").unwrap();
    world.disk.damage(&pack, |bytes| bytes[at] ^= 1);
    let before = bytes_of_packs(&world);
    let store = world.open();
    let inspected = store.inspect_pack(pack_of(&pack), None, &mut |_| {}).unwrap().unwrap();
    assert_eq!(damaged_names(std::slice::from_ref(&inspected)), BTreeSet::from(["b1"]));
    assert!(inspected.damaged[0].is_lost);
    assert_eq!(store.held(VAULT, &ids(&["a1", "root1"])).unwrap(), [true, true], "looking marks nothing");
    let repair = store.repair_pack(pack_of(&pack), None, NOW, &mut |_| {}).unwrap().unwrap();
    assert!(repair.is_set_aside && repair.moved_to.is_some());
    assert_eq!((repair.records, repair.marked), (2, 1));
    assert!(before.is_subset(&bytes_of_packs(&world)), "nothing is removed");
    assert!(!world.packs().contains(&pack));
    assert_eq!(
        store.held(VAULT, &ids(&["a1", "b1", "c1", "root1", "root2"])).unwrap(),
        [true, false, true, false, true]
    );
    assert!(verify_all(&store).iter().all(PackReport::is_sound), "the rest is sound");
    assert_eq!(store.repair_pack(repair.moved_to.unwrap(), None, NOW, &mut |_| {}).unwrap(), None);
    drop(store);
    let store = world.open();
    assert_eq!((store.recovery().quarantined.len(), store.deletion_latch()), (0, None));
    assert_eq!(store.incomplete_snapshots(VAULT).unwrap().len(), 1);
}

#[test]
fn index_rows_that_are_missing_or_lead_nowhere_are_found_and_mended() {
    let world = world();
    let half = |name: &str| format!("x'{}'", &id(name).to_string()[..32]);
    world.sql(&format!(
        "DELETE FROM object WHERE half_id = {}; UPDATE object SET offset = offset + 1 WHERE half_id = {};
         INSERT INTO object SELECT vault, x'{}', pack, offset, len, form FROM object WHERE half_id = {};",
        half("a1"),
        half("b1"),
        "77".repeat(16),
        half("c1"),
    ));
    let store = world.open();
    let counts = store.index_counts().unwrap();
    let mut found = (0, 0);
    for (pack, _) in store.packs_to_verify(PackChoice::All, 10).unwrap() {
        let report = store.inspect_pack(pack, Some(&counts), &mut |_| {}).unwrap().unwrap();
        assert!(report.flaws.is_empty());
        found = (found.0 + report.unindexed, found.1 + report.damaged.len());
    }
    assert_eq!(found, (2, 2), "two rows to add; one leads beside its record, one to an object that is not there");
    repair_all(&store);
    assert!(store.held(VAULT, &NAMES.map(id)).unwrap().into_iter().all(|held| held));
}

#[test]
fn a_missing_pack_is_set_aside_and_taken_back_when_it_returns() {
    let world = world();
    let pack = world.packs().into_iter().find(|path| world.disk.contents(path).windows(10).any(|w| w == b"body of b1"));
    let pack = pack.unwrap();
    let bytes = world.disk.contents(&pack);
    world.disk.lose_file(&pack);
    let store = world.open();
    assert!(store.deletion_latch().is_some());
    repair_all(&store);
    assert_eq!(store.held(VAULT, &ids(&["a1", "d1"])).unwrap(), [false, true]);
    drop(store);
    let store = world.open();
    assert!(store.recovery().missing.is_empty(), "it is known to be gone");
    assert!(store.deletion_latch().is_some(), "that alone lifts no latch");
    assert_eq!(store.incomplete_snapshots(VAULT).unwrap().len(), 2);
    drop(store);
    drop(Disk::create_new(&world.disk, &pack).unwrap());
    world.disk.damage(&pack, |place| *place = bytes.clone());
    let store = world.open();
    assert_eq!(store.recovery().adopted, [pack_of(&pack)]);
    assert!(store.held(VAULT, &NAMES.map(id)).unwrap().into_iter().all(|held| held));
    assert!(verify_all(&store).iter().all(PackReport::is_sound));
}

#[test]
fn a_pack_under_another_name_and_a_pack_twice() {
    let world = world();
    let packs = world.packs();
    let find = |word: &[u8]| packs.iter().find(|path| world.disk.contents(path).windows(word.len()).any(|w| w == word));
    let (one, two) = (find(b"body of b1").unwrap().clone(), find(b"body of d1").unwrap().clone());
    let (first, second) = (world.disk.contents(&one), world.disk.contents(&two));
    world.disk.damage(&one, |bytes| *bytes = second);
    world.disk.damage(&two, |bytes| *bytes = first);
    let store = world.open();
    let reports = verify_all(&store);
    assert_eq!(reports.iter().filter(|report| report.is_missing).count(), 2);
    assert_eq!(damaged_names(&reports), BTreeSet::from(["a1", "b1", "c1", "d1", "small"]));
    repair_all(&store);
    for name in NAMES {
        assert_eq!(store.read(VAULT, &id(name)).unwrap().record.view().body(), body_of(name), "nothing is lost");
    }
    assert!(store.held(VAULT, &NAMES.map(id)).unwrap().into_iter().all(|held| held));
}

/// A copy of a pack under the name of another is none of ours: it is told of, nothing is removed, and nothing is read from it
/// but after somebody put it where it belongs.
#[test]
fn a_pack_twice_is_told_of_and_nothing_goes() {
    let world = world();
    let original = world.packs().remove(0);
    let bytes = world.disk.contents(&original);
    let copy = world.root.join(format!("packs/ab/{}.pack", "ab".repeat(16)));
    let mut writer = world.disk.create_new(&copy).unwrap();
    writer.append(&bytes).unwrap();
    writer.sync_data().unwrap();
    drop(writer);
    world.disk.sync_dir(copy.parent().unwrap()).unwrap();
    let packs = world.packs();
    let store = world.open();
    assert_eq!(store.recovery().strangers, std::slice::from_ref(&copy));
    assert_eq!(store.deletion_latch(), None);
    assert!(verify_all(&store).iter().all(PackReport::is_sound));
    repair_all(&store);
    let orphans = store.adopt_orphans(NOW).unwrap();
    assert_eq!(orphans.strangers, std::slice::from_ref(&copy));
    assert_eq!(world.packs(), packs, "nothing is removed");
    for name in NAMES {
        assert_eq!(store.read(VAULT, &id(name)).unwrap().record.view().body(), body_of(name), "{name}");
    }
    drop(store);

    // The original goes: what is in it is lost, and the copy is still there to put it right.
    world.disk.lose_file(&original);
    let store = world.open();
    let damaged = damaged_names(&verify_all(&store));
    assert!(!damaged.is_empty());
    repair_all(&store);
    assert_eq!(world.disk.contents(&copy), bytes);
    for name in NAMES {
        assert_eq!(store.read(VAULT, &id(name)).is_ok(), !damaged.contains(name), "{name}");
    }
    drop(store);
    world.disk.rename_noreplace(&copy, &original).unwrap();
    let store = world.open();
    verify_all(&store);
    assert!(store.held(VAULT, &NAMES.map(id)).unwrap().into_iter().all(|held| held));
}

#[test]
fn a_snapshot_is_read_to_its_last_byte() {
    let world = world();
    let store = world.open();
    let mut heard = 0;
    let report = store.verify_snapshot(VAULT, id("snap2"), &mut |bytes| heard += bytes).unwrap();
    assert_eq!((report.objects, report.unreadable.len()), (5, 0));
    assert_eq!(report.bytes, heard);
    let pack = world.packs().into_iter().find(|path| world.disk.contents(path).windows(10).any(|w| w == b"body of a1"));
    let pack = pack.unwrap();
    let at = world.disk.contents(&pack).windows(10).position(|window| window == b"body of a1").unwrap();
    world.disk.damage(&pack, |bytes| bytes[at] ^= 1);
    let report = store.verify_snapshot(VAULT, id("snap2"), &mut |_| {}).unwrap();
    assert_eq!(report.unreadable, [id("a1")]);
}

/// The process dies, or power is lost, before and after every effect of a repair: done again, the result is the same.
#[test]
fn a_repair_cut_off_anywhere_can_be_done_again() {
    let template = world();
    let damage = |world: &World| {
        let packs = world.packs();
        let pack = packs.iter().find(|path| world.disk.contents(path).windows(10).any(|w| w == b"body of b1")).unwrap();
        let at = world.disk.contents(pack).windows(10).position(|window| window == b"body of b1").unwrap();
        world.disk.damage(pack, |bytes| bytes[at] ^= 1);
        let footer = packs.iter().find(|path| *path != pack).unwrap();
        world.disk.damage(footer, |bytes| *bytes.last_mut().unwrap() ^= 1);
    };
    damage(&template);
    let before = bytes_of_packs(&template);
    for fault in [Fault::DieBefore, Fault::DieAfter, Fault::Refuse(std::io::ErrorKind::Other)] {
        for loses_power in [false, true] {
            for effects in 0.. {
                let world = template.fork();
                let when = format!("{fault:?} after {effects} effects, power lost: {loses_power}");
                let is_done = until_death(|| {
                    let store = world.open();
                    world.disk.plan(effects, fault);
                    let counts = store.index_counts().unwrap();
                    for (pack, _) in store.packs_to_verify(PackChoice::All, 1000).unwrap() {
                        drop(store.repair_pack(pack, Some(&counts), NOW, &mut |_| {}));
                    }
                    world.disk.take_plan()
                });
                if loses_power {
                    world.disk.lose_power(Some(effects));
                } else {
                    world.disk.reboot();
                }
                let store = world.open();
                repair_all(&store);
                assert!(verify_all(&store).iter().all(PackReport::is_sound), "{when}");
                for name in NAMES {
                    let is_read =
                        store.read(VAULT, &id(name)).is_ok_and(|read| read.record.view().body() == body_of(name));
                    assert_eq!(is_read, name != "b1", "{when}: {name}");
                }
                assert_eq!(store.deletion_latch(), None, "{when}");
                assert!(before.is_subset(&bytes_of_packs(&world)), "{when}: something was removed");
                if is_done == Some(true) {
                    assert!(effects > 12, "a repair has {effects} effects only");
                    break;
                }
            }
        }
    }
}
