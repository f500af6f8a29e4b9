//! A new file takes an older one's place only when it is complete.

use std::fs;
use std::os::unix::fs::MetadataExt;

use host_fs::{Name, RestoreOptions, RestoreRoot};
use vault::{Metadata, Timestamp};

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).expect("a name")
}

fn metadata() -> Metadata {
    let mtime = Timestamp { secs: 1_234_567_890, nanos: 123_456_789 };
    Metadata { mode: 0o640, mtime, ..Metadata::default() }
}

#[test]
fn the_old_file_stays_until_the_new_one_is_complete() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("file");
    fs::write(&path, b"old").expect("a file");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");

    let file = root.dir().create_file(name("file"), 6).expect("a file");
    file.write_at(3, b"new").expect("it can be written");
    assert_eq!(fs::read(&path).expect("it is there"), b"old");
    drop(file);
    assert_eq!(fs::read(&path).expect("it is there"), b"old");
    assert_eq!(fs::read_dir(scratch.path()).expect("it opens").count(), 1);

    let file = root.dir().create_file(name("file"), 6).expect("a file");
    file.write_at(3, b"new").expect("it can be written");
    drop(file.finish(&metadata()).expect("it takes the name"));
    assert_eq!(fs::read(&path).expect("it is there"), b"\0\0\0new");
    let stat = fs::metadata(&path).expect("it is there");
    assert_eq!((stat.mode() & 0o7777, stat.mtime(), stat.mtime_nsec()), (0o640, 1_234_567_890, 123_456_789));
    assert_eq!(fs::read_dir(scratch.path()).expect("it opens").count(), 1);
}

#[test]
fn threads_write_one_file() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let file = root.dir().create_file(name("file"), 40_000).expect("a file");
    std::thread::scope(|scope| {
        for part in 0..4_u8 {
            let file = &file;
            scope.spawn(move || file.write_at(u64::from(part) * 10_000, &[part + 1; 10_000]).expect("it fits"));
        }
    });
    drop(file.finish(&metadata()).expect("it takes the name"));
    let content = fs::read(scratch.path().join("file")).expect("it is there");
    let expected: Vec<u8> = (1..=4).flat_map(|part| [part; 10_000]).collect();
    assert!(content == expected);
}

#[test]
fn a_target_is_made_with_what_is_above_it() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("a/b/target");
    let root = RestoreRoot::create(&path, RestoreOptions::default()).expect("it can be made");
    drop(root.dir().write_file(name("file"), b"x", &metadata()).expect("a file"));
    root.sync().expect("it can be synced");
    drop(RestoreRoot::create(&path, RestoreOptions::default()).expect("it is there"));
    assert_eq!(fs::read(path.join("file")).expect("it is there"), b"x");
}
