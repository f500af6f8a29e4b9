//! Creating, opening, putting, reading, holding, committing: when nothing goes wrong.

use object::{Codec, Kind};
use store::disk::OsDisk;
use store::{ErrorKind, SnapshotQuery, Store, StoreError, StoreOptions};

use crate::props::*;

#[test]
fn the_operating_systems_disk_is_a_disk() {
    let scratch = tempfile::tempdir().unwrap();
    testkit::disk::check_disk(&OsDisk, scratch.path());
}

#[test]
fn a_real_directory_works_from_creation_to_restore() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("data");
    let options = StoreOptions::default();
    assert_eq!(Store::open(&root, &options, NOW).unwrap_err().kind(), ErrorKind::NotFound);
    let store = Store::create(&root, &options, NOW).unwrap();
    let (_, device) = populate(&store);
    let purpose = store::Purpose::Backup { device, chain: "home", parent_hint: None };
    let (mut session, parent) = store.begin(VAULT, &purpose, NOW).unwrap();
    assert_eq!(parent, None);
    back_up(&mut session, "1", 1);
    check_restores(&store, "1");
    assert_eq!(session.close(NOW).unwrap(), 4);
    drop(store);
    assert!(!root.join("catalog.sqlite3-wal").exists(), "closing completes the log");
    let store = Store::open(&root, &options, NOW).unwrap();
    assert!(store.recovery().was_closed);
    assert_eq!(store.deletion_latch(), None);
    check_restores(&store, "1");
    assert_eq!(Store::create(&root, &options, NOW).unwrap_err().kind(), ErrorKind::Locked);
    drop(store);
    assert_eq!(Store::create(&root, &options, NOW).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let world = World::new();
    let store = world.open();
    assert!(matches!(world.try_open().unwrap_err(), StoreError::Locked { path } if path == world.root));
    let clone = store.clone();
    drop(store);
    assert_eq!(world.try_open().unwrap_err().kind(), ErrorKind::Locked);
    drop(clone);
    world.open();
}

#[test]
fn a_session_reads_and_holds_what_it_put_and_others_what_it_sealed() {
    let world = World::new();
    let store = world.open();
    let mut writer = world.begin(&store);
    let mut other = world.begin(&store);
    writer.put(&chunk("a"), NOW).unwrap();
    assert_eq!((writer.put_count(), writer.durable_count()), (1, 0));
    assert_eq!(writer.held(&ids(&["a", "b"])).unwrap(), [true, false]);
    assert_eq!(other.held(&ids(&["a", "b"])).unwrap(), [false, false]);
    assert_eq!(writer.read(&id("a")).unwrap().record.view().body(), body_of("a"));
    assert_eq!(other.read(&id("a")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(writer.flush(NOW).unwrap(), 1);
    assert_eq!(other.held(&ids(&["a", "b"])).unwrap(), [true, false]);
    assert_eq!(other.read(&id("a")).unwrap().record.view().body(), body_of("a"));
}

#[test]
fn packs_are_sealed_at_their_target() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    for number in 0..9 {
        session.put(&chunk_of(&format!("chunk {number}"), 1000), NOW).unwrap();
        session.put(&list(&format!("list {number}"), &[&format!("chunk {number}")]), NOW).unwrap();
    }
    // Four chunks make a pack; whatever metadata is open then is sealed with it, so that the count has no gaps.
    assert_eq!(session.durable_count(), 2 * 8 - 1);
    assert_eq!(world.packs().len(), 4);
    assert_eq!(session.close(NOW).unwrap(), 18);
    assert_eq!(world.packs().len(), 6);
}

#[test]
fn records_with_many_members_are_read_by_each() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    let group = [(Kind::Data, "x", &[][..]), (Kind::Data, "y", &[]), (Kind::Data, "z", &[])];
    let shared = record_with(Codec::Raw, &group, b"x, y and z together");
    put_all(&mut session, &[chunk("a"), shared.clone(), chunk("b")]);
    session.flush(NOW).unwrap();
    for (member_index, name) in ["x", "y", "z"].into_iter().enumerate() {
        let object = store.read(VAULT, &id(name)).unwrap();
        assert_eq!((object.member_index, object.record.bytes()), (member_index, shared.bytes()));
    }
    let asked = ids(&["z", "nothing", "b", "x", "z"]);
    let reader = store.read_records(VAULT, &asked).unwrap();
    assert_eq!(reader.missing(), [1]);
    let records: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(records.len(), 2, "each record is read once");
    let wanted: Vec<Vec<_>> = records
        .iter()
        .map(|record| record.wanted.iter().map(|wanted| (wanted.request_index, wanted.member_index)).collect())
        .collect();
    assert_eq!(wanted, [vec![(0, 2), (3, 0), (4, 2)], vec![(2, 0)]]);
    let edges = store.edges(VAULT, &asked).unwrap();
    assert_eq!(edges.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, true, true]);
}

#[test]
fn commits_are_listed_in_receive_order_and_survive_reopening() {
    let world = World::new();
    let store = world.open();
    let (mut session, parent) = world.begin_chain(&store, "home");
    assert_eq!(parent, None);
    back_up(&mut session, "1", 1);
    back_up(&mut session, "2", 2);
    session.close(NOW).unwrap();
    let (mut session, _) = world.begin_chain(&store, "work");
    back_up(&mut session, "3", 3);
    drop(session);
    drop(store);
    let store = world.open();
    let query = SnapshotQuery { vault: VAULT, device: None, chain: None, before: None, limit: 10, in_trash: false };
    let listed = |query: &SnapshotQuery<'_>| -> Vec<_> {
        let snapshots = store.snapshots(query).unwrap();
        snapshots.into_iter().map(|snapshot| (snapshot.id, snapshot.chain, snapshot.seq)).collect()
    };
    let home = |number: u64| (id(&format!("snap{number}")), "home".to_owned(), number);
    let work = (id("snap3"), "work".to_owned(), 1);
    assert_eq!(listed(&query), [work.clone(), home(2), home(1)]);
    assert_eq!(listed(&SnapshotQuery { chain: Some("home"), limit: 1, ..query }), [home(2)]);
    let newest = store.snapshots(&query).unwrap()[0].number;
    assert_eq!(listed(&SnapshotQuery { before: Some(newest), ..query }), [home(2), home(1)]);
    for suffix in ["1", "2", "3"] {
        check_restores(&store, suffix);
    }
    let chains = store.chains(VAULT, Some(world.device)).unwrap();
    let chains: Vec<_> = chains.into_iter().map(|chain| (chain.name, chain.snapshots)).collect();
    assert_eq!(chains, [("home".to_owned(), 2), ("work".to_owned(), 1)]);

    let prefix = id("snap1").to_string();
    for len in [8, 9, 64] {
        let found = store.snapshots_by_prefix(VAULT, None, &prefix[..len]).unwrap();
        assert_eq!(found.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [id("snap1")], "{len} digits");
    }
    assert_eq!(store.snapshots_by_prefix(VAULT, None, "g").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.snapshots_by_prefix(VAULT, None, "").unwrap_err().kind(), ErrorKind::Invalid);

    let status = store.status().unwrap();
    assert_eq!((status.snapshots, status.vaults, status.accounts, status.devices), (3, 1, 1, 1));
    assert_eq!(status.packs.iter().map(|totals| totals.objects).sum::<u64>(), 12);
    assert_eq!(store.vault_usage(VAULT).unwrap().snapshots, 3);
}

#[test]
fn the_parent_is_the_hint_or_the_newest_of_the_chain() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    back_up(&mut session, "2", 2);
    let parent = |hint| {
        let purpose = store::Purpose::Backup { device: world.device, chain: "home", parent_hint: hint };
        store.begin(VAULT, &purpose, NOW).unwrap().1.map(|parent| parent.id)
    };
    assert_eq!(parent(None), Some(id("snap2")));
    assert_eq!(parent(Some(id("snap1"))), Some(id("snap1")));
    assert_eq!(parent(Some(id("unknown"))), Some(id("snap2")));
    let other = enroll(&store, world.account, "other");
    let purpose = store::Purpose::Backup { device: other, chain: "home", parent_hint: Some(id("snap1")) };
    assert_eq!(store.begin(VAULT, &purpose, NOW).unwrap().1, None, "another device's snapshots are no parents");
}

#[test]
fn a_network_file_system_or_memory_is_refused_unless_somebody_vouches_for_it() {
    let world = World::new();
    let copy = world.root.join("copy");
    world.open().copy_catalog(&copy).unwrap();
    let refused = [
        (0x6969, "NFS"),
        (0xff53_4d42, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9p"),
        (0x0102_1994, "memory (tmpfs)"),
        (0x8584_58f6, "memory (ramfs)"),
        (0x77, "0x77"),
    ];
    for (number, name) in refused {
        world.disk.set_file_system(number);
        let before = std::fs::read(world.root.join("catalog.sqlite3")).unwrap();
        let refused = [
            Store::open(&world.root, &world.options, NOW).unwrap_err(),
            Store::create(&world.root, &world.options, NOW).unwrap_err(),
            Store::create_again(&world.root, &world.options, NOW).unwrap_err(),
            Store::put_catalog_back(&world.root, &world.options, &copy).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, StoreError::Carrier { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(std::fs::read(world.root.join("catalog.sqlite3")).unwrap(), before, "nothing was touched");
        let mut vouched = world.options.clone();
        vouched.allow_any_file_system = true;
        Store::open(&world.root, &vouched, NOW).unwrap();
    }
    for number in [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0x794c_7630] {
        world.disk.set_file_system(number);
        world.open();
    }
}
