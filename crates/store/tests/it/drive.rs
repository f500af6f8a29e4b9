//! Drives: directories, versions, trash, and who changed what first.

use object::{Kind, ObjectId};
use store::{
    DriveChange, DriveContent, DriveName, DriveNode, ErrorKind, NameKey, Purpose, Store, StoreError, WriteSession,
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
    let mut expected: Vec<NameKey> = (0..50).map(|number| name_key(&format!("file {number}"))).collect();
    for number in 0..50 {
        drive.put(&format!("file {number}"), DriveContent::Empty, None).unwrap();
    }
    expected.sort_unstable();
    let root = drive.find("").unwrap().id;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = drive.store.drive_list(VAULT, root, after, 7).unwrap();
        after = page.last().map(|node| node.name_key);
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
