//! The stale-catalog guard: a catalog that is older than what was acknowledged stops deletion, for good.

use std::path::Path;

use store::ErrorKind;

use crate::props::*;

fn copy_catalog(world: &World) -> Vec<u8> {
    // Nobody has it open, so the file is all of it.
    std::fs::read(world.root.join("catalog.sqlite3")).unwrap()
}

fn put_back(world: &World, catalog: &[u8]) {
    std::fs::write(world.root.join("catalog.sqlite3"), catalog).unwrap();
}

/// Copies of the catalog after every step of a history; whichever is put back, only the last one is believed.
#[test]
fn every_older_catalog_is_noticed() {
    let world = World::new();
    let mut copies = vec![copy_catalog(&world)];
    let steps: [&dyn Fn(&store::Store); 6] = [
        &|store| {
            let mut session = world.begin(store);
            session.put(&chunk("x"), NOW).unwrap();
            session.close(NOW).unwrap();
        },
        &|store| {
            back_up(&mut world.begin(store), "1", 1);
        },
        &|store| {
            back_up(&mut world.begin(store), "2", 2);
        },
        &|store| {
            enroll(store, world.account, "other");
        },
        &|store| store.revoke_device(world.device, NOW).unwrap(),
        &|store| store.set_vault_slots(VAULT, &[b"rewrapped".to_vec()]).unwrap(),
    ];
    for step in steps {
        let store = world.open();
        assert_eq!(store.deletion_latch(), None);
        step(&store);
        drop(store);
        copies.push(copy_catalog(&world));
    }
    let newest = copies.len() - 1;
    for (age, copy) in copies.iter().enumerate() {
        let world = world.fork();
        put_back(&world, copy);
        let latch = world.open().deletion_latch().map(str::to_owned);
        assert_eq!(latch.is_none(), age == newest, "copy {age} of {newest}: {latch:?}");
        if latch.is_some() {
            assert!(world.open().deletion_latch().is_some(), "copy {age}: the verdict is kept");
        }
    }
}

#[test]
fn a_stale_catalog_that_catches_up_stays_latched() {
    let world = World::new();
    let old = copy_catalog(&world);
    let store = world.open();
    back_up(&mut world.begin(&store), "1", 1);
    drop(store);
    put_back(&world, &old);
    for number in 2..6 {
        let store = world.open();
        assert!(store.deletion_latch().is_some());
        back_up(&mut world.begin(&store), &number.to_string(), number);
    }
    let store = world.open();
    let generation = store.status().unwrap().generation;
    assert!(store.deletion_latch().is_some(), "at generation {generation}");
    assert_eq!(store.recovery().adopted.len(), 0);
    // Nothing of the first history was removed: its packs were adopted when the old catalog was first opened.
    check_restores(&store, "1");
}

/// The copy was taken between the seal of the packs and the commit: no pack bears witness, only the ANCHOR does.
#[test]
fn a_catalog_from_just_before_the_commit_is_noticed() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a"), tree("root", &["a"]), snapshot("snap", "root")]);
    session.close(NOW).unwrap();
    drop(store);
    let old = copy_catalog(&world);
    let store = world.open();
    world.begin(&store).commit_snapshot(key(1), id("snap"), NOW).unwrap();
    drop(store);
    put_back(&world, &old);
    assert!(world.open().deletion_latch().unwrap().contains("acknowledged"));
}

/// Power was lost before the ANCHOR: nothing was acknowledged, so the older catalog is as good.
#[test]
fn an_unacknowledged_commit_leaves_no_trace_in_the_anchor() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a"), tree("root", &["a"]), snapshot("snap", "root")]);
    session.flush(NOW).unwrap();
    world.disk.plan(0, testkit::disk::Fault::Refuse(std::io::ErrorKind::StorageFull));
    assert_eq!(session.commit_snapshot(key(1), id("snap"), NOW).unwrap_err().kind(), ErrorKind::Full);
    // The commit took place but was not acknowledged; asking again completes it.
    assert!(session.commit_snapshot(key(1), id("snap"), NOW).unwrap().repeated);
    drop((session, store));
    let store = world.open();
    assert_eq!(store.deletion_latch(), None);
    assert_eq!(restore(&store, id("snap")).len(), 3);
}

#[track_caller]
fn check_latched(world: &World, reason: &str) {
    let latch = world.open().deletion_latch().map(str::to_owned);
    assert!(latch.as_ref().is_some_and(|latch| latch.contains(reason)), "{latch:?}");
    let store = world.open();
    back_up(&mut world.begin(&store), "9", 9);
    drop(store);
    assert!(world.open().deletion_latch().is_some(), "a new anchor does not lift the latch");
}

#[test]
fn a_missing_anchor_latches() {
    let world = World::new();
    world.disk.lose_file(&world.root.join("packs/ANCHOR"));
    check_latched(&world, "missing");
}

#[test]
fn a_damaged_anchor_latches() {
    let anchor = Path::new("packs/ANCHOR");
    let world = World::new();
    world.disk.damage(&world.root.join(anchor), |bytes| bytes[40] ^= 1);
    check_latched(&world, "not sound");
    for len in [0, 63, 65, 1000] {
        let world = World::new();
        world.disk.damage(&world.root.join(anchor), |bytes| bytes.resize(len, 0));
        check_latched(&world, "bytes long");
    }
}

#[test]
fn a_foreign_anchor_latches() {
    let world = World::new();
    let mut anchor = world.disk.contents(&world.root.join("packs/ANCHOR"));
    anchor[20] ^= 1;
    let crc = crc32c::crc32c(&anchor[..60]);
    anchor[60..].copy_from_slice(&crc.to_le_bytes());
    world.disk.damage(&world.root.join("packs/ANCHOR"), |bytes| *bytes = anchor);
    check_latched(&world, "another store");
}

/// What a latched store may not do: complete a deletion that an old catalog remembers.
#[test]
fn a_latched_store_deletes_nothing() {
    let world = World::new();
    let store = world.open();
    back_up(&mut world.begin(&store), "1", 1);
    drop(store);
    let before = world.packs();
    world.sql("UPDATE pack SET state = 4 WHERE pack = 1; UPDATE meta SET latch = 'for a reason'");
    let store = world.open();
    assert_eq!(store.deletion_latch(), Some("for a reason"));
    assert_eq!(world.packs(), before);
}

#[test]
fn whoever_opened_last_is_the_only_one_that_writes() {
    let world = World::new();
    let zombie = world.open();
    let mut session = world.begin(&zombie);
    session.put(&chunk("a"), NOW).unwrap();
    // The lock was lost, as on a file system that forgets them, and another server took over.
    world.disk.reboot();
    let store = world.open();
    assert_eq!(session.flush(NOW).unwrap_err().kind(), ErrorKind::Io, "its staging file is gone");
    assert_eq!(zombie.create_account("x", store::Role::Member, NOW).unwrap_err().kind(), ErrorKind::Halted);
    drop(session);
    drop(zombie);
    back_up(&mut world.begin(&store), "1", 1);
    check_restores(&store, "1");
    drop(store);
    assert!(world.open().recovery().was_closed, "the zombie's end changed nothing");
}

#[test]
fn a_catalog_that_is_not_ours_is_refused() {
    let world = World::new();
    world.sql("PRAGMA application_id = 1");
    assert_eq!(world.try_open().unwrap_err().kind(), ErrorKind::Catalog);
    let world = World::new();
    world.sql("PRAGMA user_version = 2");
    let error = world.try_open().unwrap_err();
    assert!(error.to_string().contains("newer"), "{error}");
    let world = World::new();
    std::fs::write(world.root.join("catalog.sqlite3"), vec![7; 4096]).unwrap();
    assert_eq!(world.try_open().unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_damaged_catalog_is_found_after_an_unclean_end() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    for number in 0..3000 {
        session.put(&chunk(&format!("chunk {number}")), NOW).unwrap();
    }
    session.close(NOW).unwrap();
    drop(store);
    world.sql("UPDATE meta SET is_open = 1");
    let path = world.root.join("catalog.sqlite3");
    let mut bytes = std::fs::read(&path).unwrap();
    // Page headers of the second half of the file: the object index is there.
    let half = bytes.len() / 2 / 4096 * 4096;
    for page in bytes[half..].chunks_mut(4096) {
        page[..8].fill(0x55);
    }
    std::fs::write(&path, bytes).unwrap();
    let error = world.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

/// Devices by name, with what their tokens are good for.
fn devices(store: &store::Store, world: &World) -> Vec<(String, &'static str)> {
    let word = |device: &store::Device| match (device.revoked.is_some(), device.is_suspended) {
        (true, _) => "revoked",
        (false, true) => "suspended",
        (false, false) => "good",
    };
    let devices = store.devices(world.account).unwrap();
    devices.iter().map(|device| (device.name.clone(), word(device))).collect()
}

#[track_caller]
fn expect_devices(store: &store::Store, world: &World, expected: &[(&str, &str)]) {
    let found = devices(store, world);
    let found: Vec<(&str, &str)> = found.iter().map(|(name, word)| (name.as_str(), *word)).collect();
    assert_eq!(found, expected);
}

/// A device was revoked after the copy was taken; the copy calls it valid.
#[test]
fn an_older_catalog_lets_no_device_in_before_somebody_confirms() {
    let world = World::new();
    let store = world.open();
    let stolen = enroll(&store, world.account, "stolen");
    let invitation = store::NewEnrolment {
        secret_hash: [5; 32],
        account: world.account,
        device_name: "invited",
        scope: store::Scope::Admin,
        expires: NOW,
    };
    store.create_enrolment(&invitation, NOW).unwrap();
    drop(store);
    let old = copy_catalog(&world);
    let store = world.open();
    store.revoke_device(stolen, NOW).unwrap();
    store.redeem_enrolment(&[5; 32], &[6; 32], NOW).unwrap();
    drop(store);
    put_back(&world, &old);

    let suspended = [("laptop", "suspended"), ("stolen", "suspended")];
    let store = world.open();
    expect_devices(&store, &world, &suspended);
    assert_eq!(store.status().unwrap().suspended_devices, 2);
    assert_eq!(store.redeem_enrolment(&[5; 32], &[6; 32], NOW).unwrap_err().kind(), ErrorKind::NotFound, "it was used");
    // What is enrolled from now on is not older than anything.
    enroll(&store, world.account, "new");
    drop(store);
    let store = world.open();
    expect_devices(&store, &world, &[suspended[0], suspended[1], ("new", "good")]);
    // Rebuilding allows deletion, and nobody in.
    store.reindex(NOW, &mut |_| {}).unwrap();
    store.lift_latch().unwrap();
    drop(store);
    let store = world.open();
    assert_eq!(store.deletion_latch(), None);
    expect_devices(&store, &world, &[suspended[0], suspended[1], ("new", "good")]);

    store.revoke_device(stolen, NOW).unwrap();
    assert_eq!(store.confirm_devices(Some(world.device)).unwrap(), 1);
    let confirmed = [("laptop", "good"), ("stolen", "revoked"), ("new", "good")];
    expect_devices(&store, &world, &confirmed);
    assert_eq!(store.confirm_devices(None).unwrap(), 0, "a revoked device is none to be confirmed");
    let nobody = store::DeviceId::from_bytes([9; store::DeviceId::LEN]);
    assert_eq!(store.confirm_devices(Some(nobody)).unwrap_err().kind(), ErrorKind::NotFound);
    drop(store);
    expect_devices(&world.open(), &world, &confirmed);
}

/// Confirmed without a rebuild, the catalog is as good as any: only one that is older than that is noticed again.
#[test]
fn a_confirmation_is_not_asked_for_twice_and_does_not_count_for_an_older_catalog() {
    let world = World::new();
    let first = copy_catalog(&world);
    let store = world.open();
    back_up(&mut world.begin(&store), "1", 1);
    drop(store);
    put_back(&world, &first);
    let store = world.open();
    store.confirm_devices(None).unwrap();
    drop(store);
    let store = world.open();
    assert!(store.deletion_latch().is_some());
    expect_devices(&store, &world, &[("laptop", "good")]);
    drop(store);
    // This copy carries the latch; a device is revoked after it was taken.
    let second = copy_catalog(&world);
    let store = world.open();
    store.revoke_device(world.device, NOW).unwrap();
    drop(store);
    put_back(&world, &second);
    expect_devices(&world.open(), &world, &[("laptop", "suspended")]);
}

/// Packs that are lost say nothing about devices: the next backup has to come in to bring them back.
#[test]
fn missing_packs_suspend_nobody_and_a_missing_anchor_does() {
    let world = World::new();
    let store = world.open();
    back_up(&mut world.begin(&store), "1", 1);
    drop(store);
    world.disk.lose_file(&world.packs()[0]);
    let store = world.open();
    assert!(store.deletion_latch().unwrap().contains("missing"));
    expect_devices(&store, &world, &[("laptop", "good")]);
    drop(store);
    world.disk.lose_file(&world.root.join("packs/ANCHOR"));
    expect_devices(&world.open(), &world, &[("laptop", "suspended")]);
}

/// A token was revoked, a session ended and a link used after the copy was taken.
#[test]
fn an_older_catalog_lets_no_script_and_no_browser_in() {
    let world = World::new();
    let store = world.open();
    let ids = [1, 2].map(|number| store::TokenId::from_bytes([number; 8]));
    for id in ids {
        let (account, token_hash) = (world.account, [3; 32]);
        let token =
            store::NewToken { id, account, name: "script", token_hash, scope: store::Scope::Read, expires: None };
        store.create_token(&token, NOW).unwrap();
    }
    let session = store::NewWebSession {
        id: store::WebSessionId::from_bytes([4; 8]),
        secret_hash: [4; 32],
        account: world.account,
        address: "10.0.0.1",
        agent: "a browser",
    };
    store.create_web_session(&session, None, NOW).unwrap();
    drop(store);
    let old = copy_catalog(&world);
    let store = world.open();
    store.revoke_token(ids[0], NOW).unwrap();
    drop(store);
    put_back(&world, &old);

    let store = world.open();
    let suspended = |store: &store::Store| ids.map(|id| store.token(id).unwrap().unwrap().is_suspended);
    assert_eq!(suspended(&store), [true, true]);
    assert_eq!(store.status().unwrap().suspended_tokens, 2);
    assert!(store.web_session(&[4; 32]).unwrap().is_none(), "whoever had it logs in again");
    store.reindex(NOW, &mut |_| {}).unwrap();
    store.lift_latch().unwrap();
    assert_eq!(suspended(&store), [true, true], "rebuilding lets nobody in");
    store.revoke_token(ids[0], NOW).unwrap();
    assert_eq!(store.confirm_tokens(None).unwrap(), 1);
    drop(store);
    let store = world.open();
    assert_eq!(suspended(&store), [true, false]);
    assert!(store.token(ids[0]).unwrap().unwrap().revoked.is_some());
    let nobody = store::TokenId::from_bytes([9; 8]);
    assert_eq!(store.confirm_tokens(Some(nobody)).unwrap_err().kind(), ErrorKind::NotFound);
}
