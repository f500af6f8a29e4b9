//! Accounts, devices, enrolments, vaults: who may be here.

use object::VaultId;
use store::{DeviceId, ErrorKind, NewEnrolment, NewVault, Purpose, Role, Scope, SnapshotQuery, UnixMs, VaultMode};

use crate::props::*;

#[test]
fn accounts_have_unique_names() {
    let world = World::new();
    let store = world.open();
    let bob = store.create_account("bob", Role::ReadOnly, NOW).unwrap();
    assert_eq!(store.create_account("bob", Role::Admin, NOW).unwrap_err().kind(), ErrorKind::Conflict);
    let found = store.account_by_name("bob").unwrap().unwrap();
    assert_eq!((found.id, found.role, found.created), (bob, Role::ReadOnly, NOW));
    assert_eq!(store.account_by_name("eve").unwrap(), None);
    let names: Vec<_> = store.accounts().unwrap().into_iter().map(|account| account.name).collect();
    assert_eq!(names, ["ada", "bob"]);
}

#[test]
fn an_enrolment_works_once_and_in_time() {
    let world = World::new();
    let store = world.open();
    let invite = |secret: u8, expires: i64| NewEnrolment {
        secret_hash: [secret; 32],
        account: world.account,
        device_name: "phone",
        scope: Scope::Restore,
        expires: UnixMs(expires),
    };
    store.create_enrolment(&invite(1, NOW.0 + 10), NOW).unwrap();
    store.create_enrolment(&invite(2, NOW.0 + 10), NOW).unwrap();
    assert_eq!(store.create_enrolment(&invite(2, NOW.0), NOW).unwrap_err().kind(), ErrorKind::Conflict);
    let nobody = NewEnrolment { account: store::AccountId(99), ..invite(3, 0) };
    assert_eq!(store.create_enrolment(&nobody, NOW).unwrap_err().kind(), ErrorKind::NotFound);

    let device = store.redeem_enrolment(&[1; 32], &[7; 32], NOW).unwrap();
    assert_eq!((device.account, device.name.as_str(), device.token_hash), (world.account, "phone", [7; 32]));
    assert_eq!(device.scope, Scope::Restore);
    assert_eq!(store.device(device.id).unwrap(), Some(device.clone()));
    let late = UnixMs(NOW.0 + 11);
    for (secret, when) in [(1, NOW), (2, late), (9, NOW)] {
        let refused = store.redeem_enrolment(&[secret; 32], &[7; 32], when).unwrap_err();
        assert_eq!((refused.kind(), refused.to_string()), (ErrorKind::NotFound, "enrolment not found".to_owned()));
    }
    assert_eq!(store.redeem_enrolment(&[2; 32], &[8; 32], NOW).unwrap().token_hash, [8; 32]);
    assert_eq!(store.devices(world.account).unwrap().len(), 3);
}

#[test]
fn one_of_many_wins_an_enrolment() {
    let world = World::new();
    let store = world.open();
    let invite = NewEnrolment {
        secret_hash: [1; 32],
        account: world.account,
        device_name: "phone",
        scope: Scope::Restore,
        expires: UnixMs(NOW.0 + 10),
    };
    store.create_enrolment(&invite, NOW).unwrap();
    let won = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8u8)
            .map(|number| {
                let store = store.clone();
                scope.spawn(move || store.redeem_enrolment(&[1; 32], &[number; 32], NOW).is_ok())
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.join().unwrap().then_some(())).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn revoked_devices_begin_nothing() {
    let world = World::new();
    let store = world.open();
    store.touch_device(world.device, UnixMs(5)).unwrap();
    assert_eq!(store.device(world.device).unwrap().unwrap().last_seen, Some(UnixMs(5)));
    store.revoke_device(world.device, UnixMs(6)).unwrap();
    store.revoke_device(world.device, UnixMs(7)).unwrap();
    assert_eq!(store.device(world.device).unwrap().unwrap().revoked, Some(UnixMs(6)));
    let nobody = DeviceId::from_bytes([0; 8]);
    assert_eq!(store.revoke_device(nobody, NOW).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.device(nobody).unwrap(), None);
    for device in [world.device, nobody] {
        let backup = Purpose::Backup { device, chain: "home", parent_hint: None };
        assert_eq!(store.begin(VAULT, &backup, NOW).unwrap_err().kind(), ErrorKind::NotFound);
        let drive = Purpose::Drive { device: Some(device) };
        assert_eq!(store.begin(VAULT, &drive, NOW).unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(store.status().unwrap().sessions, 0);
}

#[test]
fn accounts_see_nothing_of_each_other() {
    let world = World::new();
    let store = world.open();
    back_up(&mut world.begin(&store), "1", 1);
    let bob = store.create_account("bob", Role::Member, NOW).unwrap();
    let bobs_device = enroll(&store, bob, "bob's laptop");
    let bobs_vault = VaultId::from_bytes([0x33; 16]);
    let slots = [b"one".to_vec(), b"two".to_vec()];
    let vault = NewVault { id: bobs_vault, account: bob, name: "main", mode: VaultMode::Sealed, slots: &slots };
    store.create_vault(&vault, NOW).unwrap();
    let foreign = Purpose::Backup { device: bobs_device, chain: "home", parent_hint: None };
    assert_eq!(store.begin(VAULT, &foreign, NOW).unwrap_err().kind(), ErrorKind::NotFound);
    let (mut session, parent) = store.begin(bobs_vault, &foreign, NOW).unwrap();
    assert_eq!(parent, None);
    assert_eq!(session.held(&ids(&["a1", "snap1"])).unwrap(), [false, false], "no dedup across vaults");
    assert_eq!(session.read(&id("a1")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.read(bobs_vault, &id("a1")).unwrap_err().kind(), ErrorKind::NotFound);
    session.put(&snapshot("snap1", "root1"), NOW).unwrap();
    let missing = session.commit_snapshot(key(1), id("snap1"), NOW).unwrap_err();
    assert!(matches!(missing, store::StoreError::Missing { ids: missing } if missing == ids(&["root1"])));
    let query = SnapshotQuery { vault: bobs_vault, device: None, chain: None, before: None, limit: 9, in_trash: false };
    assert!(store.snapshots(&query).unwrap().is_empty());
    assert_eq!(store.snapshots_by_prefix(bobs_vault, None, "0").unwrap(), []);
}

#[test]
fn vaults_keep_their_slots() {
    let world = World::new();
    let store = world.open();
    let vault = store.vault(VAULT).unwrap().unwrap();
    assert_eq!((vault.account, vault.name.as_str(), vault.mode), (world.account, "main", VaultMode::Managed));
    assert_eq!(vault.slots, [b"wrapped".to_vec()]);
    let slots = vec![b"new".to_vec(), b"recovery".to_vec()];
    store.set_vault_slots(VAULT, &slots).unwrap();
    assert_eq!(store.vaults(world.account).unwrap()[0].slots, slots);
    let unknown = VaultId::from_bytes([0; 16]);
    assert_eq!(store.vault(unknown).unwrap(), None);
    assert_eq!(store.set_vault_slots(unknown, &slots).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.read(unknown, &id("a")).unwrap_err().kind(), ErrorKind::NotFound);
    let twin = NewVault { id: VAULT, account: world.account, name: "other", mode: VaultMode::Sealed, slots: &[] };
    assert_eq!(store.create_vault(&twin, NOW).unwrap_err().kind(), ErrorKind::Conflict);
    let namesake = NewVault { id: unknown, name: "main", ..twin };
    assert_eq!(store.create_vault(&namesake, NOW).unwrap_err().kind(), ErrorKind::Conflict);
    let orphan = NewVault { id: unknown, account: store::AccountId(77), ..twin };
    assert_eq!(store.create_vault(&orphan, NOW).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn chains_need_a_name_of_reasonable_length() {
    let world = World::new();
    let store = world.open();
    for (chain, fits) in [("", false), ("x", true), (&*"x".repeat(128), true), (&*"x".repeat(129), false)] {
        let purpose = Purpose::Backup { device: world.device, chain, parent_hint: None };
        assert_eq!(store.begin(VAULT, &purpose, NOW).is_ok(), fits, "{} bytes", chain.len());
    }
}
