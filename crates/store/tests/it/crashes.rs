//! Whatever fails, wherever the process dies, whenever power is lost: what was acknowledged is there afterwards, and
//! nothing is there by halves.
//!
//! One small history of backups is run again and again, each time with something going wrong one operation later, until
//! it gets through. The catalog's transactions count as atomic and durable here; the last test copies its files too.

use std::collections::HashSet;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object::ObjectId;
use store::disk::OsDisk;
use store::{
    DriveChange, DriveContent, DriveName, ErrorKind, NameKey, NewUpload, Purpose, SnapshotQuery, Store, StoreError,
    StoreOptions, UploadId, UploadProgress,
};
use testkit::disk::{Fault, HookDisk, SimDisk, until_death};

use crate::props::*;

/// What a client was told.
#[derive(Default, Clone)]
struct Acknowledged {
    durable: Vec<String>,
    snapshots: Vec<String>,
    drive: bool,
    /// Bytes of an upload.
    upload: u64,
}

const UPLOAD: UploadId = UploadId::from_bytes([5; 16]);

/// The history: two backups, a drive change, and an upload of which two parts come. Doing it twice is doing it once.
fn history(store: &Store, device: store::DeviceId, heard: &Mutex<Acknowledged>) -> Result<(), StoreError> {
    let purpose = Purpose::Backup { device, chain: "home", parent_hint: None };
    let (mut session, _) = store.begin(VAULT, &purpose, NOW)?;
    let mut put = Vec::new();
    for index in 0..6 {
        let name = format!("big {index}");
        session.put(&chunk_of(&name, 1500), NOW)?;
        put.push(name);
        let durable_count = usize::try_from(session.durable_count()).unwrap();
        heard.lock().unwrap().durable = put[..durable_count].to_vec();
    }
    session.flush(NOW)?;
    heard.lock().unwrap().durable.clone_from(&put);
    put_each(&mut session, &[tree("root1", &["big 0", "big 1", "big 2"]), snapshot("snap1", "root1")])?;
    session.commit_snapshot(key(1), id("snap1"), NOW)?;
    heard.lock().unwrap().snapshots.push("snap1".to_owned());
    session.close(NOW)?;

    let (mut session, _) = store.begin(VAULT, &purpose, NOW)?;
    put_each(
        &mut session,
        &[delta("small", &["big 3"]), tree("root2", &["big 0", "big 4", "small"]), snapshot("snap2", "root2")],
    )?;
    session.commit_snapshot(key(2), id("snap2"), NOW)?;
    heard.lock().unwrap().snapshots.push("snap2".to_owned());
    drop(session);

    let (mut session, _) = store.begin(VAULT, &Purpose::Drive { device: Some(device) }, NOW)?;
    put_each(&mut session, &[chunk("note")])?;
    let change = DriveChange::Put {
        path: &[DriveName { key: NameKey::from_bytes([1; 16]), sealed: b"name" }],
        expected_version: None,
        content: DriveContent::Chunk(id("note")),
        size: 4,
        sealed_metadata: b"metadata",
    };
    session.commit_drive(key(3), &[change], NOW)?;
    heard.lock().unwrap().drive = true;
    session.close(NOW)?;

    store.create_upload(VAULT, &NewUpload { id: UPLOAD, len: 30, sealed_request: b"request" }, 4, NOW)?;
    let (mut session, _) = store.begin(VAULT, &Purpose::Drive { device: None }, NOW)?;
    put_each(&mut session, &[chunk("part 1")])?;
    for (offset, content) in [(10, DriveContent::Chunk(id("part 1"))), (20, DriveContent::List(id("parts")))] {
        if offset == 20 {
            put_each(&mut session, &[chunk("part 2"), list("parts", &["part 1", "part 2"])])?;
        }
        if store.upload(VAULT, UPLOAD)?.is_some_and(|upload| upload.offset < offset) {
            let progress = UploadProgress { offset, content, content_len: offset - 4, sealed_rest: b"rest" };
            session.save_upload(UPLOAD, &progress, NOW)?;
        }
        heard.lock().unwrap().upload = offset;
    }
    session.finish(NOW)?;
    Ok(())
}

fn put_each(session: &mut store::WriteSession, records: &[object::SealedRecord]) -> Result<(), StoreError> {
    records.iter().try_for_each(|record| session.put(record, NOW))
}

fn query() -> SnapshotQuery<'static> {
    SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 100, in_trash: false }
}

/// Whether everything acknowledged is there, and everything that is there is whole.
#[track_caller]
fn check(store: &Store, device: store::DeviceId, heard: &Acknowledged, when: &str) {
    assert_eq!(store.deletion_latch(), None, "{when}");
    let purpose = Purpose::Backup { device, chain: "check", parent_hint: None };
    let (mut session, _) = store.begin(VAULT, &purpose, NOW).unwrap();
    let durable: Vec<ObjectId> = heard.durable.iter().map(|name| id(name)).collect();
    let held = session.held(&durable).unwrap();
    assert!(held.iter().all(|held| *held), "{when}: durable objects are gone: {held:?}");
    for id in &durable {
        store.read(VAULT, id).unwrap_or_else(|error| panic!("{when}: {error}"));
    }
    session.close(NOW).unwrap();
    let listed = store.snapshots(&query()).unwrap();
    let listed: HashSet<ObjectId> = listed.into_iter().map(|snapshot| snapshot.id).collect();
    for name in &heard.snapshots {
        assert!(listed.contains(&id(name)), "{when}: {name} was committed and is gone");
    }
    for snapshot in listed {
        restore(store, snapshot);
    }
    let root = store.drive_find(VAULT, &[]).unwrap().unwrap();
    let files = store.drive_list(VAULT, root.id, None, 10).unwrap();
    assert!(!files.is_empty() || !heard.drive, "{when}: the drive's file is gone");
    for file in files {
        let content = file.file.unwrap().content;
        assert_eq!(content, DriveContent::Chunk(id("note")));
        store.read(VAULT, &id("note")).unwrap();
    }
    let upload = store.upload(VAULT, UPLOAD).unwrap();
    let offset = upload.as_ref().map_or(0, |upload| upload.offset);
    assert!(offset >= heard.upload, "{when}: {offset} bytes are left of {}", heard.upload);
    if let Some(DriveContent::Chunk(content) | DriveContent::List(content)) = upload.map(|upload| upload.content) {
        restore(store, content);
        assert_eq!(store.upload_rest(VAULT, UPLOAD).unwrap(), b"rest", "{when}");
    }
}

/// Whether nothing is left over after recovery: rows and files agree.
#[track_caller]
fn check_tidy(world: &World, when: &str) {
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE state <> 2"), 0, "{when}");
    let rows: i64 = world.ask("SELECT count(*) FROM pack");
    let files = world.packs();
    assert_eq!(files.len(), usize::try_from(rows).unwrap(), "{when}: {files:?}");
    let others: Vec<PathBuf> =
        world.disk.files().into_iter().filter(|path| !files.contains(path) && !path.ends_with("ANCHOR")).collect();
    assert!(others.is_empty(), "{when}: {others:?}");
}

/// Runs the history once more, to its end, and looks at the result of both runs together.
#[track_caller]
fn complete(world: &World, store: &Store, when: &str) {
    let heard = Mutex::default();
    history(store, world.device, &heard).unwrap_or_else(|error| panic!("{when}: cannot be completed: {error}"));
    check(store, world.device, &heard.lock().unwrap(), when);
    assert_eq!(store.snapshots(&query()).unwrap().len(), 2, "{when}: committed once each");
}

/// Runs the history with a fault after 0, 1, 2 … effects, until one comes too late; then `afterwards` looks at it.
fn with_fault_after_every_effect(fault: Fault, afterwards: impl Fn(&World, &Acknowledged, &str)) {
    let template = World::new();
    let mut effects = 0;
    loop {
        let world = template.fork();
        let when = format!("{fault:?} after {effects} effects");
        let heard = Mutex::default();
        let ran = until_death(|| {
            let store = world.open();
            world.disk.plan(effects, fault);
            let result = history(&store, world.device, &heard);
            let too_late = world.disk.take_plan();
            if let Err(error) = &result {
                check_survivor(&world, &store, error, &heard.lock().unwrap(), &when);
            }
            too_late
        });
        if ran == Some(true) {
            assert!(effects > 45, "the history has {effects} effects only");
            return;
        }
        afterwards(&world, &heard.lock().unwrap(), &when);
        effects += 1;
    }
}

/// The process saw an error and lives: it goes on, unless the store says it must end.
#[track_caller]
fn check_survivor(world: &World, store: &Store, error: &StoreError, heard: &Acknowledged, when: &str) {
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Full), "{when}: {error}");
    if store.halted().is_none() {
        check(store, world.device, heard, when);
        complete(world, store, when);
    } else {
        let refused = history(store, world.device, &Mutex::default()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Halted, "{when}");
    }
}

fn check_after_restart(world: &World, heard: &Acknowledged, when: &str) {
    let store = world.open();
    check_tidy(world, when);
    check(&store, world.device, heard, when);
    complete(world, &store, when);
    drop(store);
    let store = world.open();
    assert!(store.recovery().sealed.is_empty() && store.recovery().dropped.is_empty(), "{when}");
    check_tidy(world, when);
}

fn check_after_reboot(world: &World, heard: &Acknowledged, when: &str) {
    world.disk.reboot();
    check_after_restart(world, heard, when);
}

#[test]
fn killed_before_every_effect() {
    with_fault_after_every_effect(Fault::DieBefore, check_after_reboot);
}

#[test]
fn killed_after_every_effect() {
    with_fault_after_every_effect(Fault::DieAfter, check_after_reboot);
}

#[test]
fn power_lost_before_every_effect() {
    with_fault_after_every_effect(Fault::DieBefore, |world, heard, when| {
        world.disk.lose_power(None);
        check_after_restart(world, heard, when);
    });
}

#[test]
fn power_lost_after_every_effect_with_some_of_what_was_not_synced() {
    for seed in 0..3 {
        with_fault_after_every_effect(Fault::DieAfter, |world, heard, when| {
            world.disk.lose_power(Some(world.disk.effects() + seed * 1000));
            check_after_restart(world, heard, &format!("{when}, seed {seed}"));
        });
    }
}

#[test]
fn every_operation_refused_with_an_io_error() {
    with_fault_after_every_effect(Fault::Refuse(Io::Other), check_after_reboot);
}

#[test]
fn every_operation_refused_for_want_of_space_then_power_lost() {
    with_fault_after_every_effect(Fault::Refuse(Io::StorageFull), |world, heard, when| {
        world.disk.lose_power(None);
        check_after_restart(world, heard, when);
    });
}

#[test]
fn every_operation_torn() {
    with_fault_after_every_effect(Fault::Tear(Io::StorageFull), check_after_reboot);
}

/// Dying in the middle of recovery, too.
#[test]
fn killed_after_every_effect_and_again_in_every_recovery() {
    with_fault_after_every_effect(Fault::DieAfter, |world, heard, when| {
        world.disk.lose_power(Some(7));
        for effects in 0.. {
            world.disk.plan(effects, Fault::DieBefore);
            if until_death(|| drop(world.open())).is_some() {
                break;
            }
            world.disk.lose_power(None);
        }
        assert!(world.disk.take_plan(), "{when}");
        check_after_restart(world, heard, when);
    });
}

#[test]
fn creation_cut_off_after_every_effect_can_be_repeated() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        // The 256 directories are all alike.
        for effects in (0..8).chain(250..300) {
            let scratch = scratch();
            let disk = SimDisk::new(scratch.path());
            let mut options = StoreOptions::default();
            options.disk = Arc::new(disk.clone());
            disk.plan(effects, fault);
            let done = until_death(|| Store::create(scratch.path(), &options, NOW).unwrap()).is_some();
            assert_eq!(disk.take_plan(), done);
            if !done {
                disk.lose_power(if effects % 2 == 0 { None } else { Some(effects) });
            }
            let store = match Store::open(scratch.path(), &options, NOW) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Store::create(scratch.path(), &options, NOW).unwrap()
                }
                opened => opened.unwrap(),
            };
            assert_eq!(store.deletion_latch(), None, "{fault:?} after {effects} effects");
            populate(&store);
            if done {
                break;
            }
        }
    }
}

/// A real directory, its catalog included, copied before every effect: what a kill would have left.
#[test]
fn copies_of_the_directory_before_every_effect() {
    let scratch = scratch();
    let root = scratch.path().join("data");
    let heard = Arc::new(Mutex::new(Acknowledged::default()));
    let copies = Arc::new(Mutex::new(Vec::new()));
    let options = {
        let (root, heard, copies) = (root.clone(), heard.clone(), copies.clone());
        let parent = scratch.path().to_owned();
        let mut options = StoreOptions::default();
        options.pack_target_bytes = 4096;
        options.allow_any_file_system = true;
        options.disk = Arc::new(HookDisk::new(
            OsDisk,
            Box::new(move |_call| {
                let mut copies = copies.lock().unwrap();
                // Creation has its own test.
                if root.join("armed").exists() {
                    let copy = parent.join(format!("copy {}", copies.len()));
                    copy_directory(&root, &copy);
                    copies.push((copy, heard.lock().unwrap().clone()));
                }
            }),
        ));
        options
    };
    let store = Store::create(&root, &options, NOW).unwrap();
    let (_, device) = populate(&store);
    std::fs::write(root.join("armed"), b"").unwrap();
    history(&store, device, &heard).unwrap();
    std::fs::remove_file(root.join("armed")).unwrap();
    drop(store);
    let mut plain = StoreOptions::default();
    plain.pack_target_bytes = 4096;
    plain.allow_any_file_system = true;
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    assert!(copies.len() > 45);
    for (index, (copy, heard)) in copies.into_iter().enumerate() {
        let when = format!("copy {index}");
        let store = Store::open(&copy, &plain, NOW).unwrap();
        assert!(!store.recovery().was_closed);
        check(&store, device, &heard, &when);
        history(&store, device, &Mutex::default()).unwrap();
        drop(store);
        std::fs::remove_dir_all(copy).unwrap();
    }
}

/// A rename that fails may have taken place: the pack that nobody knows then is adopted, and may be relied on from then on.
#[test]
fn an_adopted_pack_survives_power_loss() {
    let template = World::new();
    let mut adopted_count = 0;
    for effects in 0..12 {
        let world = template.fork();
        let store = world.open();
        let mut session = world.begin(&store);
        session.put(&chunk("a"), NOW).unwrap();
        world.disk.plan(effects, Fault::Tear(Io::StorageFull));
        drop(session.flush(NOW));
        drop(session);
        let _ = world.disk.take_plan();
        drop(store);
        let store = world.open();
        adopted_count += store.recovery().adopted.len();
        let held = store.held(VAULT, &ids(&["a"])).unwrap();
        drop(store);
        world.disk.lose_power(None);
        let store = world.open();
        assert_eq!(store.deletion_latch(), None, "after {effects} effects");
        assert_eq!(store.held(VAULT, &ids(&["a"])).unwrap(), held, "after {effects} effects");
    }
    assert!(adopted_count > 0);
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
