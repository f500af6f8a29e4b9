//! Files on their way in: what is stored of them is kept, and what ends them.

use store::{
    DriveChange, DriveContent, DriveName, ErrorKind, GcOptions, NameKey, NewUpload, Purpose, Store, StoreError, Sweep,
    UnixMs, UploadId, UploadProgress, WriteSession,
};

use crate::props::*;

const UPLOAD: UploadId = UploadId::from_bytes([1; 16]);

fn announce(store: &Store, upload: UploadId) -> bool {
    store.create_upload(VAULT, &NewUpload { id: upload, len: 100, sealed_request: b"request" }, 2, NOW).unwrap()
}

fn begin(store: &Store) -> WriteSession {
    store.begin(VAULT, &Purpose::Drive { device: None }, NOW).unwrap().0
}

fn save(session: &mut WriteSession, offset: u64, content: DriveContent) -> Result<(), StoreError> {
    let progress = UploadProgress { offset, content, content_len: offset.min(90), sealed_rest: b"rest" };
    session.save_upload(UPLOAD, &progress, NOW)
}

/// The store with one upload, of which a chunk is stored.
fn scene() -> (World, Store) {
    let world = World::new();
    let store = world.open();
    assert!(announce(&store, UPLOAD));
    let mut session = begin(&store);
    session.put(&chunk("part"), NOW).unwrap();
    save(&mut session, 50, DriveContent::Chunk(id("part"))).unwrap();
    session.finish(NOW).unwrap();
    (world, store)
}

fn collect(store: &Store) {
    let mut options = GcOptions::default();
    options.grace_ms = 0;
    options.waste_percent_max = 0;
    options.allow_unusual = true;
    store.collect_garbage(&options, &(), NOW).unwrap();
}

fn put_change<'a>(path: &'a [DriveName<'a>]) -> DriveChange<'a> {
    let content = DriveContent::Chunk(id("part"));
    DriveChange::Put { path, expected_version: None, content, size: 100, sealed_metadata: b"metadata" }
}

#[test]
fn an_offset_never_shrinks_and_never_passes_the_end() {
    let (_world, store) = scene();
    let mut session = begin(&store);
    let content = DriveContent::Chunk(id("part"));
    for offset in [49, 101] {
        assert_eq!(save(&mut session, offset, content).unwrap_err().kind(), ErrorKind::NotFound);
    }
    save(&mut session, 100, content).unwrap();
    assert!(matches!(
        save(&mut session, 100, DriveContent::Chunk(id("nothing"))).unwrap_err(),
        StoreError::Missing { ids } if ids == [id("nothing")]
    ));
    let upload = store.upload(VAULT, UPLOAD).unwrap().unwrap();
    assert_eq!((upload.offset, upload.content, upload.is_done), (100, content, false));
    assert_eq!(upload.sealed_request, b"request");
    assert!(upload.bytes_stored > 0);
    let other = object::VaultId::from_bytes([9; 16]);
    assert_eq!(store.upload(other, UPLOAD).unwrap_err().kind(), ErrorKind::NotFound);
    session.finish(NOW).unwrap();
}

/// What is stored of a file stays, whoever collects garbage and whatever else is committed, until the file is given up.
#[test]
fn what_is_stored_of_an_upload_is_kept_until_it_is_given_up() {
    let (world, store) = scene();
    // A commit forgets the sessions that were cut off: the upload does not need its own.
    let mut session = begin(&store);
    session.put(&chunk("note"), NOW).unwrap();
    let path = [DriveName { key: NameKey::from_bytes([1; 16]), sealed: b"name" }];
    let note = DriveChange::Put {
        path: &path,
        expected_version: None,
        content: DriveContent::Chunk(id("note")),
        size: 4,
        sealed_metadata: b"metadata",
    };
    session.commit_drive(key(1), &[note], NOW).unwrap();
    session.finish(NOW).unwrap();
    collect(&store);
    collect(&store);
    store.read(VAULT, &id("part")).unwrap();
    drop(store);
    let store = world.open();
    store.read(VAULT, &id("part")).unwrap();
    assert!(store.remove_upload(VAULT, UPLOAD).unwrap());
    assert!(!store.remove_upload(VAULT, UPLOAD).unwrap());
    collect(&store);
    collect(&store);
    assert_eq!(store.read(VAULT, &id("part")).unwrap_err().kind(), ErrorKind::NotFound);
    store.read(VAULT, &id("note")).unwrap();
}

#[test]
fn a_file_gets_its_name_and_the_upload_ends_at_once() {
    let (_world, store) = scene();
    let part = UploadId::from_bytes([2; 16]);
    assert!(announce(&store, part));
    assert!(!announce(&store, UploadId::from_bytes([3; 16])), "two are on their way");
    assert!(announce(&store, part), "announced before");
    assert_eq!(store.uploads(VAULT).unwrap().len(), 2);
    let mut session = begin(&store);
    let path = [DriveName { key: NameKey::from_bytes([1; 16]), sealed: b"name" }];
    let end = DriveChange::EndUpload { upload: UPLOAD, parts: &[part] };
    let done = session.commit_drive(key(1), &[end, put_change(&path)], NOW).unwrap();
    assert_eq!(done.versions.len(), 2);
    let upload = store.upload(VAULT, UPLOAD).unwrap().unwrap();
    assert_eq!((upload.is_done, upload.offset, upload.content), (true, 100, DriveContent::Empty));
    assert_eq!(store.upload(VAULT, part).unwrap(), None);
    assert_eq!(store.uploads(VAULT).unwrap(), []);
    // It ends once: whatever else was to be done with it is not.
    let refused = session.commit_drive(key(2), &[end, put_change(&path)], NOW).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(save(&mut session, 100, DriveContent::Empty).unwrap_err().kind(), ErrorKind::NotFound);
    let root = store.drive_find(VAULT, &[]).unwrap().unwrap();
    let files = store.drive_list(VAULT, root.id, None, 10).unwrap();
    assert_eq!(store.drive_versions(VAULT, files[0].id).unwrap().len(), 1);
    session.finish(NOW).unwrap();
}

#[test]
fn what_nobody_goes_on_with_is_swept() {
    let (_world, store) = scene();
    let sweep = |since: i64| {
        let never = UnixMs(0);
        let sweep = Sweep {
            sessions_idle_since: UnixMs(since),
            pins_before: never,
            answers_before: never,
            enrolments_before: never,
            web_sessions_before: (never, never),
        };
        store.sweep(&sweep).unwrap()
    };
    assert_eq!(sweep(NOW.0), 0);
    assert!(store.upload(VAULT, UPLOAD).unwrap().is_some());
    assert_eq!(sweep(NOW.0 + 1), 1);
    assert_eq!(store.upload(VAULT, UPLOAD).unwrap(), None);
}
