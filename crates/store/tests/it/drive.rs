//! Drives: directories, versions, trash, and who changed what first.

use object::{Kind, ObjectId};
use store::{
    AccountId, DriveChange, DriveContent, DriveName, DriveNode, ErrorKind, NameKey, NewShare, Purpose, ShareId,
    ShareKind, Store, StoreError, UnixMs, WriteSession,
};

use crate::props::*;

fn name_key(name: &str) -> NameKey {
    NameKey::from_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().unwrap())
}

fn names(path: &str) -> Vec<DriveName<'_>> {
    path.split('/').map(|name| DriveName { key: name_key(name), sealed: name.as_bytes() }).collect()
}

fn keys(path: &str) -> Vec<NameKey> {
    path.split('/').filter(|name| !name.is_empty()).map(name_key).collect()
}

struct Drive {
    store: Store,
    session: WriteSession,
    commits: u8,
    _world: World,
}

impl Drive {
    fn new() -> Self {
        let world = World::new();
        let store = world.open();
        let (session, parent) = store.begin(VAULT, &Purpose::Drive { device: Some(world.device) }, NOW).unwrap();
        assert_eq!(parent, None);
        Self { store, session, commits: 0, _world: world }
    }

    fn commit(&mut self, change: DriveChange<'_>) -> Result<u64, StoreError> {
        self.commits += 1;
        let committed = self.session.commit_drive(key(self.commits), &[change], NOW)?;
        assert_eq!(committed.versions.len(), 1);
        Ok(committed.versions[0])
    }

    fn put(&mut self, path: &str, content: DriveContent, expected_version: Option<u64>) -> Result<u64, StoreError> {
        let sealed_metadata = path.as_bytes();
        self.commit(DriveChange::Put { path: &names(path), expected_version, content, size: 5, sealed_metadata })
    }

    fn put_chunk(&mut self, path: &str, name: &str) -> u64 {
        self.session.put(&chunk(name), NOW).unwrap();
        self.put(path, DriveContent::Chunk(id(name)), None).unwrap()
    }

    fn remove(&mut self, path: &str, expected_version: Option<u64>) -> Result<u64, StoreError> {
        self.commit(DriveChange::Remove { path: &keys(path), expected_version })
    }

    fn find(&self, path: &str) -> Option<DriveNode> {
        self.store.drive_find(VAULT, &keys(path)).unwrap()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let directory = self.find(path).unwrap();
        let nodes = self.store.drive_list(VAULT, directory.id, None, 100).unwrap();
        assert!(nodes.is_sorted_by_key(|node| node.name_key));
        let mut names: Vec<_> = nodes.into_iter().map(|node| String::from_utf8(node.sealed_name).unwrap()).collect();
        names.sort();
        names
    }

    fn content(&self, path: &str) -> Option<ObjectId> {
        match self.find(path)?.file?.content {
            DriveContent::Chunk(id) | DriveContent::List(id) => Some(id),
            DriveContent::Empty => None,
        }
    }
}

#[test]
fn files_have_versions_and_directories_come_by_themselves() {
    let mut drive = Drive::new();
    assert_eq!(drive.list(""), [""; 0]);
    let first = drive.put_chunk("docs/letters/ada", "text 1");
    let second = drive.put_chunk("docs/letters/ada", "text 2");
    assert!(second > first);
    assert_eq!(drive.list(""), ["docs"]);
    assert_eq!(drive.list("docs/letters"), ["ada"]);
    let node = drive.find("docs/letters/ada").unwrap();
    let file = node.file.unwrap();
    assert_eq!((node.version, file.version), (second, second));
    assert_eq!((file.content, file.size), (DriveContent::Chunk(id("text 2")), 5));
    assert_eq!(file.sealed_metadata, b"docs/letters/ada");
    let versions = drive.store.drive_versions(VAULT, node.id).unwrap();
    assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [second, first]);
    assert!(drive.find("docs").unwrap().file.is_none());
    assert_eq!(drive.find("docs/nothing"), None);
    assert_eq!(drive.find("docs/letters/ada/below"), None);
}

#[test]
fn what_a_file_holds_must_be_there_and_be_a_file() {
    let mut drive = Drive::new();
    let error = drive.put("a", DriveContent::Chunk(id("x")), None).unwrap_err();
    assert!(matches!(error, StoreError::Missing { ids: missing } if missing == ids(&["x"])));
    assert_eq!(drive.find("a"), None);
    put_all(&mut drive.session, &[list("l", &["x", "y"]), chunk("x"), tree("t", &["x"])]);
    let error = drive.put("a", DriveContent::List(id("l")), None).unwrap_err();
    assert!(matches!(error, StoreError::Missing { ids: missing } if missing == ids(&["y"])));
    drive.session.put(&chunk("y"), NOW).unwrap();
    drive.put("a", DriveContent::List(id("l")), None).unwrap();
    for wrong in [DriveContent::Chunk(id("l")), DriveContent::List(id("x")), DriveContent::List(id("t"))] {
        assert_eq!(drive.put("b", wrong, None).unwrap_err().kind(), ErrorKind::Invalid, "{wrong:?}");
    }
    drive.put("b", DriveContent::Empty, None).unwrap();
    assert_eq!(drive.find("b").unwrap().file.unwrap().content, DriveContent::Empty);
}

#[test]
fn concurrent_writers_lose_no_update() {
    let mut drive = Drive::new();
    let conflict = |result: Result<u64, StoreError>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Conflict);
    let first = drive.put("a", DriveContent::Empty, Some(0)).unwrap();
    conflict(drive.put("a", DriveContent::Empty, Some(0)));
    let second = drive.put("a", DriveContent::Empty, Some(first)).unwrap();
    conflict(drive.put("a", DriveContent::Empty, Some(first)));
    conflict(drive.remove("a", Some(first)));
    drive.remove("a", Some(second)).unwrap();
    conflict(drive.put("a", DriveContent::Empty, Some(second)));
    drive.put("a", DriveContent::Empty, Some(0)).unwrap();
    conflict(drive.put("a/b", DriveContent::Empty, None));
    drive.put("d/e", DriveContent::Empty, None).unwrap();
    conflict(drive.put("d", DriveContent::Empty, None));
}

#[test]
fn what_is_removed_is_in_the_trash_with_all_below_it() {
    let mut drive = Drive::new();
    drive.put_chunk("dir/a", "a");
    drive.put_chunk("dir/b", "b");
    let old = drive.find("dir/a").unwrap().id;
    assert_eq!(drive.remove("dir/c", None).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(drive.remove("other/c", None).unwrap_err().kind(), ErrorKind::NotFound);
    drive.remove("dir", None).unwrap();
    assert_eq!(drive.find("dir/a"), None);
    assert_eq!(drive.list(""), [""; 0]);
    drive.put_chunk("dir/a", "another a");
    assert_eq!(drive.list("dir"), ["a"]);
    assert_eq!(drive.content("dir/a"), Some(id("another a")));
    assert_eq!(drive.store.drive_versions(VAULT, old).unwrap().len(), 1, "the old one keeps its versions");
    let root = drive.commit(DriveChange::Remove { path: &[], expected_version: None });
    assert_eq!(root.unwrap_err().kind(), ErrorKind::Invalid);
    let root = drive.commit(DriveChange::Put {
        path: &[],
        expected_version: None,
        content: DriveContent::Empty,
        size: 0,
        sealed_metadata: b"",
    });
    assert_eq!(root.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn changes_are_made_together_or_not_at_all() {
    let mut drive = Drive::new();
    drive.put("a", DriveContent::Empty, None).unwrap();
    let (a, b) = (keys("a"), names("b"));
    let change = |expected_version| {
        [
            DriveChange::Remove { path: &a, expected_version: None },
            DriveChange::Put {
                path: &b,
                expected_version,
                content: DriveContent::Empty,
                size: 0,
                sealed_metadata: b"",
            },
        ]
    };
    let error = drive.session.commit_drive(key(100), &change(Some(7)), NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(drive.list(""), ["a"]);
    let done = drive.session.commit_drive(key(100), &change(None), NOW).unwrap();
    assert_eq!((done.versions.len(), done.repeated), (2, false));
    assert_eq!(drive.list(""), ["b"]);
    let again = drive.session.commit_drive(key(100), &change(None), NOW).unwrap();
    assert_eq!((again.versions, again.repeated), (done.versions, true));
    let other = drive.session.commit_drive(key(100), &change(Some(1)), NOW).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict, "another request under the same key");
}

#[test]
fn listings_come_in_pages() {
    let mut drive = Drive::new();
    let expected: Vec<NameKey> = (0..50).map(|number| name_key(&format!("file {number}"))).collect();
    for number in 0..50 {
        drive.put(&format!("file {number}"), DriveContent::Empty, None).unwrap();
    }
    let root = drive.find("").unwrap().id;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = drive.store.drive_list(VAULT, root, after, 7).unwrap();
        after = page.last().map(|node| node.id);
        found.extend(page.iter().map(|node| node.name_key));
        if page.len() < 7 {
            break;
        }
    }
    assert_eq!(found, expected);
}

/// Every version of every file is a root: the commit of a drive stamps like that of a snapshot.
#[test]
fn drive_changes_stamp_what_they_rely_on() {
    let mut drive = Drive::new();
    drive.put_chunk("a", "x");
    drive._world.sql("UPDATE meta SET epoch = 4, condemn_seq = 1; UPDATE pack SET state = 3, condemn_seq = 1");
    drive.put("b", DriveContent::Chunk(id("x")), None).unwrap();
    assert_eq!(drive._world.ask::<String>("SELECT state || ':' || touched_epoch FROM pack"), "2:4");
    assert_eq!(drive.session.commit_snapshot(key(99), id("x"), NOW).unwrap_err().kind(), ErrorKind::Invalid);
    let object = drive.store.edges(VAULT, &ids(&["x"])).unwrap().remove(0).unwrap();
    assert_eq!((object.kind, object.is_delta), (Kind::Data, false));
}

#[test]
fn a_version_that_was_committed_can_be_put_back_without_sending_it() {
    let mut drive = Drive::new();
    drive.put_chunk("a", "x");
    drive.put_chunk("a", "y");
    drive.put("a", DriveContent::Chunk(id("x")), None).unwrap();
    assert_eq!(drive.content("a"), Some(id("x")));
    let node = drive.find("a").unwrap();
    assert_eq!(drive.store.drive_versions(VAULT, node.id).unwrap().len(), 3);
}

#[test]
fn what_is_removed_can_be_listed_and_brought_back() {
    let mut drive = Drive::new();
    drive.put_chunk("docs/a", "text a");
    drive.put_chunk("docs/b", "text b");
    drive.remove("docs/a", None).unwrap();
    drive.put_chunk("docs/a", "text a again");
    drive.remove("docs", None).unwrap();
    let trash = drive.store.drive_trash(VAULT, None, 10).unwrap();
    let shown: Vec<(String, Option<u64>)> =
        trash.iter().map(|entry| (String::from_utf8(entry.sealed_path.join(&b'/')).unwrap(), entry.size)).collect();
    assert_eq!(shown, [("docs/a".to_owned(), Some(5)), ("docs".to_owned(), None)]);
    assert_eq!(drive.store.drive_trash(VAULT, Some(trash[0].node), 10).unwrap(), trash[1..]);

    let undelete = |drive: &mut Drive, path: &str| drive.commit(DriveChange::Undelete { path: &keys(path) });
    assert_eq!(undelete(&mut drive, "docs/a").unwrap_err().kind(), ErrorKind::NotFound, "its folder is gone");
    undelete(&mut drive, "docs").unwrap();
    assert_eq!(drive.list("docs"), ["a", "b"]);
    assert_eq!(drive.content("docs/a"), Some(id("text a again")));
    assert_eq!(undelete(&mut drive, "docs/a").unwrap_err().kind(), ErrorKind::Conflict, "the name is taken");
    drive.remove("docs/a", None).unwrap();
    // Of the two that were there, the one removed last; in the same millisecond, the one made last.
    undelete(&mut drive, "docs/a").unwrap();
    assert_eq!(drive.content("docs/a"), Some(id("text a again")));
    assert_eq!(undelete(&mut drive, "nothing").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn of_two_removed_from_one_path_each_comes_back_by_its_number() {
    let mut drive = Drive::new();
    drive.put_chunk("docs/a", "older");
    drive.remove("docs/a", None).unwrap();
    drive.put_chunk("docs/a", "newer");
    drive.remove("docs/a", None).unwrap();
    let trash = drive.store.drive_trash(VAULT, None, 10).unwrap();
    let [newer, older] = [trash[0].node, trash[1].node];
    let bring_back = |drive: &mut Drive, node, name: Option<&str>| {
        drive.commit(DriveChange::BringBack { node, name: name.map(|name| names(name)[0]) })
    };
    bring_back(&mut drive, older, None).unwrap();
    assert_eq!(drive.content("docs/a"), Some(id("older")));
    assert_eq!(bring_back(&mut drive, newer, None).unwrap_err().kind(), ErrorKind::Conflict, "the name is taken");
    assert_eq!(bring_back(&mut drive, older, None).unwrap_err().kind(), ErrorKind::NotFound, "not in the trash");
    bring_back(&mut drive, newer, Some("a (1)")).unwrap();
    assert_eq!(drive.content("docs/a (1)"), Some(id("newer")));
    assert_eq!(drive.list("docs"), ["a", "a (1)"]);
    assert!(drive.store.drive_trash(VAULT, None, 10).unwrap().is_empty());

    // What was in a folder that is in the trash itself waits for it.
    drive.remove("docs/a", None).unwrap();
    drive.remove("docs", None).unwrap();
    assert_eq!(bring_back(&mut drive, older, None).unwrap_err().kind(), ErrorKind::NotFound);
    let docs = drive.store.drive_trash(VAULT, None, 10).unwrap().into_iter().find(|entry| entry.size.is_none());
    bring_back(&mut drive, docs.unwrap().node, None).unwrap();
    bring_back(&mut drive, older, None).unwrap();
    assert_eq!(drive.list("docs"), ["a", "a (1)"]);
}

#[test]
fn properties_stay_with_what_they_are_of() {
    let mut drive = Drive::new();
    drive.put_chunk("docs/a", "one");
    let set = |drive: &mut Drive, path: &str, sealed: &[u8]| {
        drive.commit(DriveChange::SetProperties { path: &keys(path), sealed })
    };
    set(&mut drive, "docs/a", b"old").unwrap();
    set(&mut drive, "docs/a", b"of a").unwrap();
    set(&mut drive, "docs", b"of docs").unwrap();
    set(&mut drive, "", b"of the root").unwrap();
    drive.put_chunk("docs/a", "two");
    drive.commit(DriveChange::Move { from: &keys("docs"), to: &names("letters"), expected_version: None }).unwrap();
    let of = |drive: &Drive, path: &str| drive.store.drive_properties(drive.find(path).unwrap().id).unwrap();
    assert_eq!(of(&drive, "letters/a"), b"of a");
    assert_eq!((of(&drive, "letters"), of(&drive, "")), (b"of docs".to_vec(), b"of the root".to_vec()));
    assert!(drive.store.has_drive_properties(VAULT).unwrap());
    let too_long = vec![0; store::DRIVE_PROPERTIES_LEN_MAX + 1];
    assert_eq!(set(&mut drive, "letters/a", &too_long).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(set(&mut drive, "nothing", b"x").unwrap_err().kind(), ErrorKind::NotFound);
    set(&mut drive, "letters/a", b"").unwrap();
    assert!(of(&drive, "letters/a").is_empty());
    drive.remove("letters", None).unwrap();
    drive.store.purge(NOW).unwrap();
    assert_eq!(drive._world.ask::<i64>("SELECT count(*) FROM drive_property"), 1, "the root's are left");
}

#[test]
fn a_purge_takes_folders_with_all_in_them() {
    let mut drive = Drive::new();
    drive.put_chunk("docs/letters/a", "text a");
    drive.put_chunk("docs/letters/a", "text a 2");
    drive.put_chunk("keep", "text b");
    drive.remove("docs", None).unwrap();
    assert_eq!(drive.store.purge(UnixMs(NOW.0 - 1)).unwrap().drive_nodes, 0);
    assert_eq!(drive.store.purge(NOW).unwrap().drive_nodes, 3);
    assert!(drive.store.drive_trash(VAULT, None, 10).unwrap().is_empty());
    assert_eq!(drive._world.ask::<i64>("SELECT count(*) FROM drive_version"), 1);
    assert_eq!(drive.list(""), ["keep"]);
}

#[test]
fn what_is_moved_keeps_its_versions_and_what_is_in_it() {
    let mut drive = Drive::new();
    drive.put_chunk("docs/a", "one");
    let version = drive.put_chunk("docs/a", "two");
    drive.put_chunk("docs/b", "b");
    let node = drive.find("docs/a").unwrap();
    let rename = |drive: &mut Drive, from: &str, to: &str, expected_version| {
        drive.commit(DriveChange::Move { from: &keys(from), to: &names(to), expected_version })
    };
    rename(&mut drive, "docs/a", "letters/old/c", Some(version)).unwrap();
    assert_eq!((drive.list("docs"), drive.list("letters/old")), (vec!["b".to_owned()], vec!["c".to_owned()]));
    let moved = drive.find("letters/old/c").unwrap();
    assert_eq!((moved.id, moved.version, moved.file), (node.id, node.version, node.file));
    assert_eq!(drive.store.drive_versions(VAULT, moved.id).unwrap().len(), 2);
    rename(&mut drive, "letters", "docs/letters", None).unwrap();
    assert_eq!(drive.content("docs/letters/old/c"), Some(id("two")));

    let kind = |result: Result<u64, StoreError>| result.unwrap_err().kind();
    assert_eq!(kind(rename(&mut drive, "docs/b", "docs/letters", None)), ErrorKind::Conflict, "the name is taken");
    assert_eq!(kind(rename(&mut drive, "docs", "docs/letters/docs", None)), ErrorKind::Conflict, "into itself");
    assert_eq!(kind(rename(&mut drive, "docs", "docs/below", None)), ErrorKind::Conflict, "into itself");
    assert_eq!(kind(rename(&mut drive, "docs/b", "docs/c", Some(version))), ErrorKind::Conflict, "has changed");
    assert_eq!(kind(rename(&mut drive, "docs/x", "docs/c", None)), ErrorKind::NotFound);
    assert_eq!(kind(rename(&mut drive, "docs/b", "docs/letters/old/c/d", None)), ErrorKind::Conflict, "a file");
    let root = drive.commit(DriveChange::Move { from: &[], to: &names("x"), expected_version: None });
    assert_eq!(kind(root), ErrorKind::Invalid);
    assert_eq!(drive.list("docs"), ["b", "letters"], "what was refused changed nothing");
    rename(&mut drive, "docs/b", "docs/b", None).unwrap();
}

#[test]
fn a_directory_can_be_empty() {
    let mut drive = Drive::new();
    let make = |drive: &mut Drive, path: &str| drive.commit(DriveChange::MakeDirectory { path: &names(path) });
    make(&mut drive, "a/b").unwrap();
    assert!(drive.find("a/b").unwrap().file.is_none());
    assert_eq!(make(&mut drive, "a/b").unwrap_err().kind(), ErrorKind::Conflict);
    drive.put("a/c", DriveContent::Empty, None).unwrap();
    assert_eq!(make(&mut drive, "a/c").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(make(&mut drive, "a/c/d").unwrap_err().kind(), ErrorKind::Conflict);
}

/// After any version, what changed since is told: once each, as it is now.
#[test]
fn what_changed_its_place_is_told() {
    let mut drive = Drive::new();
    let told = |drive: &Drive, after: u64| -> Vec<(String, String, bool)> {
        let places = drive.store.drive_places(VAULT, after, 100).unwrap();
        assert!(places.is_sorted_by_key(|place| place.changed) && places.iter().all(|place| place.changed > after));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        places
            .into_iter()
            .map(|place| (text(place.parent_sealed_name), text(place.sealed_name), place.is_trashed))
            .collect()
    };
    let row = |parent: &str, name: &str, is_trashed| (parent.to_owned(), name.to_owned(), is_trashed);
    assert_eq!(told(&drive, 0), []);
    drive.put("a/b", DriveContent::Empty, None).unwrap();
    drive.put("c", DriveContent::Empty, None).unwrap();
    assert_eq!(told(&drive, 0), [row("", "a", false), row("a", "b", false), row("", "c", false)]);
    let before = drive.store.drive_version(VAULT).unwrap();
    // So is a new version, and what it is.
    drive.put_chunk("c", "text");
    assert_eq!(told(&drive, before), [row("", "c", false)]);
    let files: Vec<_> = drive.store.drive_places(VAULT, 0, 9).unwrap().into_iter().map(|place| place.file).collect();
    let contents: Vec<_> = files.iter().map(|file| file.as_ref().map(|file| file.content)).collect();
    assert_eq!(contents, [None, Some(DriveContent::Empty), Some(DriveContent::Chunk(id("text")))]);
    let before = drive.store.drive_version(VAULT).unwrap();
    drive.commit(DriveChange::Move { from: &keys("a/b"), to: &names("d"), expected_version: None }).unwrap();
    assert_eq!(told(&drive, before), [row("", "d", false)]);
    let moved = drive.store.drive_version(VAULT).unwrap();
    drive.remove("c", None).unwrap();
    assert_eq!(told(&drive, moved), [row("", "c", true)]);
    let removed = drive.store.drive_version(VAULT).unwrap();
    drive.commit(DriveChange::Undelete { path: &keys("c") }).unwrap();
    assert_eq!(told(&drive, removed), [row("", "c", false)]);
    assert_eq!(told(&drive, 0).len(), 3);
    assert_eq!(drive.store.drive_places(VAULT, 0, 2).unwrap().len(), 2);
}

#[test]
fn contents_of_one_size_are_found_until_they_are_gone_for_good() {
    let mut drive = Drive::new();
    drive.put_chunk("a", "one");
    drive.put_chunk("a", "two");
    drive.put_chunk("b/c", "three");
    let found = |drive: &Drive, size| -> Vec<DriveContent> {
        let states = drive.store.drive_contents(VAULT, size, 9).unwrap();
        states.into_iter().map(|state| state.content).collect()
    };
    let all = ["three", "two", "one"].map(|name| DriveContent::Chunk(id(name)));
    assert_eq!(found(&drive, 5), all);
    assert_eq!(drive.store.drive_contents(VAULT, 5, 2).unwrap().len(), 2);
    assert_eq!(found(&drive, 6), []);
    let (a, c) = (drive.find("a").unwrap().id, drive.find("b/c").unwrap().id);
    drive.remove("b/c", None).unwrap();
    drive.remove("b", None).unwrap();
    assert_eq!(found(&drive, 5), all);
    // What is not in the trash itself stays, whoever asks.
    assert_eq!(drive.store.purge_from_drive(VAULT, &[a, store::NodeId(999)]).unwrap(), 0);
    assert_eq!(found(&drive, 5), all);
    let folder = drive.store.drive_trash(VAULT, None, 9).unwrap().into_iter().find(|entry| entry.size.is_none());
    assert_eq!(drive.store.purge_from_drive(VAULT, &[folder.unwrap().node, c]).unwrap(), 1, "the one was in the other");
    assert_eq!(found(&drive, 5), all[1..]);
    assert_eq!(drive.store.drive_trash(VAULT, None, 9).unwrap(), []);
    assert_eq!(drive.content("a"), Some(id("two")));
}

#[test]
fn the_way_to_something_is_told_until_it_is_in_the_trash() {
    let mut drive = Drive::new();
    drive.put("a/b/c", DriveContent::Empty, None).unwrap();
    let (root, file) = (drive.find("").unwrap().id, drive.find("a/b/c").unwrap().id);
    let path = |drive: &Drive, node| drive.store.drive_path(VAULT, node).unwrap();
    assert_eq!(path(&drive, root), Some(vec![]));
    assert_eq!(path(&drive, file), Some(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
    assert_eq!(path(&drive, store::NodeId(999)), None);
    drive.remove("a", None).unwrap();
    assert_eq!(path(&drive, file), None, "a folder above is in the trash");
    drive.commit(DriveChange::Undelete { path: &keys("a") }).unwrap();
    assert!(path(&drive, file).is_some());
}

fn share_of(account: AccountId, number: u8, node: store::NodeId) -> NewShare<'static> {
    NewShare {
        id: ShareId::from_bytes([number; 8]),
        account,
        vault: VAULT,
        node,
        kind: ShareKind::Download,
        token_hash: [number; 32],
        password: None,
        expires: Some(UnixMs(NOW.0 + 10)),
        uses_max: Some(2),
        file_len_max: None,
    }
}

#[test]
fn shares_are_found_by_their_secret_counted_and_voided() {
    let mut drive = Drive::new();
    drive.put("a", DriveContent::Empty, None).unwrap();
    let (store, node) = (drive.store.clone(), drive.find("a").unwrap().id);
    let account = store.accounts().unwrap()[0].id;
    let new = share_of(account, 1, node);
    store.create_share(&new, NOW).unwrap();
    assert_eq!(store.create_share(&new, NOW).unwrap_err().kind(), ErrorKind::Conflict);
    let other = store.create_account("other", store::Role::Member, NOW).unwrap();
    let stray = NewShare { account: other, ..share_of(account, 2, node) };
    assert_eq!(store.create_share(&stray, NOW).unwrap_err().kind(), ErrorKind::NotFound);
    let gone = share_of(account, 2, store::NodeId(999));
    assert_eq!(store.create_share(&gone, NOW).unwrap_err().kind(), ErrorKind::NotFound);

    let share = store.share_by_token(&[1; 32]).unwrap().unwrap();
    assert_eq!((share.id, share.account.id, share.vault, share.node), (new.id, account, VAULT, node));
    assert_eq!((share.kind, share.created, share.expires), (ShareKind::Download, NOW, new.expires));
    assert_eq!((share.uses, share.uses_max, share.last_used, share.revoked), (0, Some(2), None, None));
    assert!(store.share_by_token(&[2; 32]).unwrap().is_none());

    assert!(store.use_share(new.id, NOW).unwrap());
    assert!(!store.use_share(new.id, UnixMs(NOW.0 + 11)).unwrap(), "it is over");
    assert!(store.use_share(new.id, UnixMs(NOW.0 + 10)).unwrap());
    assert!(!store.use_share(new.id, NOW).unwrap(), "it is used up");
    store.unuse_share(new.id).unwrap();
    assert!(store.use_share(new.id, UnixMs(NOW.0 + 9)).unwrap());
    assert_eq!(store.share(new.id).unwrap().unwrap().last_used, Some(UnixMs(NOW.0 + 9)));
    store.unuse_share(new.id).unwrap();
    store.revoke_share(new.id, UnixMs(NOW.0 + 5)).unwrap();
    store.revoke_share(new.id, UnixMs(NOW.0 + 6)).unwrap();
    assert!(!store.use_share(new.id, NOW).unwrap());
    assert_eq!(store.shares(account).unwrap()[0].revoked, Some(UnixMs(NOW.0 + 5)));
    assert_eq!(store.revoke_share(ShareId::from_bytes([9; 8]), NOW).unwrap_err().kind(), ErrorKind::NotFound);

    // What is over for a month is forgotten when another one is made; what opens something that is purged goes with it.
    let later = UnixMs(NOW.0 + 31 * 24 * 3_600_000);
    store.create_share(&NewShare { expires: None, ..share_of(account, 3, node) }, later).unwrap();
    assert_eq!(
        store.shares(account).unwrap().iter().map(|share| share.id).collect::<Vec<_>>(),
        [ShareId::from_bytes([3; 8])]
    );
    drive.remove("a", None).unwrap();
    assert_eq!(store.shares(account).unwrap().len(), 1, "what is in the trash may come back");
    store.purge(NOW).unwrap();
    assert_eq!(store.shares(account).unwrap(), []);
}
