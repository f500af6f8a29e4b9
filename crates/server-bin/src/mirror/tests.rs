//! What a mirror has for a record: any of it comes back, and bytes of any kind do no harm.
#![expect(clippy::disallowed_methods, reason = "tests make folders and records themselves")]

use std::fs;
use std::path::Path;

use host_fs::{FileKind, Name, RestoreDir, RestoreOptions, RestoreRoot};
use object::ObjectId;
use proptest::prelude::*;
use store::{RetainedSnapshot, UnixMs};
use vault::{Entry, EntryKind, HardLink, Metadata, Timestamp};

use crate::mirror::record::{Mark, Record, RecordReader, Recorded, walk_order};
use crate::mirror::{MirrorSource, check_apart, folder_name};

fn folder(path: &Path) -> RestoreDir {
    let options = RestoreOptions { privileged: false, trust_target: true };
    RestoreRoot::open(path, options).unwrap().dir().clone()
}

fn mark(number: u8) -> Mark {
    Mark {
        kind: FileKind::File,
        size: number.into(),
        mtime: Timestamp { secs: -1, nanos: 999_999_999 },
        content: [number; 32],
        metadata: [number; 16],
    }
}

fn all(mut reader: RecordReader) -> Vec<Recorded> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn recorded(path: &str, marks: &[u8]) -> Recorded {
    Recorded { path: path.as_bytes().to_vec(), marks: marks.iter().map(|number| mark(*number)).collect() }
}

/// Names of any bytes but those that no name has.
fn paths() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name =
        prop::collection::vec(any::<u8>().prop_filter("a byte of a name", |byte| !matches!(byte, 0 | b'/')), 1..6)
            .prop_filter("a name", |name| Entry::is_name(name));
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'));
    prop::collection::vec(path, 0..12).prop_map(|mut paths| {
        paths.sort_by(|a, b| walk_order(a, b));
        paths
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(paths in paths(), kinds in prop::collection::vec(0usize..7, 12)) {
        let scratch = tempfile::tempdir().unwrap();
        let record = Record::new(&folder(scratch.path()), "r");
        let kinds: Vec<FileKind> = kinds.into_iter().map(|kind| {
            [FileKind::File, FileKind::Directory, FileKind::Symlink, FileKind::Fifo, FileKind::Socket,
             FileKind::CharDevice, FileKind::BlockDevice][kind]
        }).collect();
        let written: Vec<(&Vec<u8>, Mark)> =
            paths.iter().zip(&kinds).map(|(path, kind)| (path, Mark { kind: *kind, ..mark(3) })).collect();
        let mut writer = record.write().unwrap();
        written.iter().for_each(|(path, mark)| writer.put(path, mark).unwrap());
        writer.finish(true).unwrap();
        prop_assert!(record.is_complete().unwrap());
        let read: Vec<(Vec<u8>, Vec<Mark>)> =
            all(record.read().unwrap()).into_iter().map(|recorded| (recorded.path, recorded.marks)).collect();
        for (path, mark) in written {
            prop_assert!(read.iter().any(|(known, marks)| known == path && marks.contains(&mark)));
        }
        prop_assert!(read.iter().all(|(path, _)| paths.contains(path)));
    }

    /// Whatever stands in a record's file: nothing panics, and what is read is in order and has names only.
    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300, flip: u8) {
        let scratch = tempfile::tempdir().unwrap();
        let record = Record::new(&folder(scratch.path()), "r");
        let mut writer = record.write().unwrap();
        ["a", "a/b", "a.b"].iter().for_each(|path| writer.put(path.as_bytes(), &mark(1)).unwrap());
        writer.finish(false).unwrap();
        let path = scratch.path().join("r.txt");
        let mut damaged = fs::read(&path).unwrap();
        let at = cut.min(damaged.len() - 1);
        damaged[at] ^= flip;
        damaged.splice(at..at, bytes);
        fs::write(&path, damaged).unwrap();
        let read = all(record.read().unwrap());
        prop_assert!(read.is_sorted_by(|a, b| walk_order(&a.path, &b.path).is_lt()));
        prop_assert!(read.iter().all(|found| found.path.split(|byte| *byte == b'/').all(|name| Name::new(name).is_some())));
    }
}

#[test]
fn a_walk_goes_into_a_folder_where_it_stands() {
    let mut paths = ["a.b", "a", "b", "a/z/x", "a/z", "a/b", "a\u{1}"];
    paths.sort_by(|a, b| walk_order(a.as_bytes(), b.as_bytes()));
    assert_eq!(paths, ["a", "a/b", "a/z", "a/z/x", "a\u{1}", "a.b", "b"]);
}

/// A run that is cut off leaves two records; what either says is the mirror's.
#[test]
fn a_run_that_was_cut_off_is_brought_together_with_the_one_before() {
    let scratch = tempfile::tempdir().unwrap();
    let record = Record::new(&folder(scratch.path()), "r");
    assert!(!record.settle().unwrap() && !record.is_complete().unwrap());
    let write = |paths: &[(&str, u8)]| {
        let mut writer = record.write().unwrap();
        paths.iter().for_each(|(path, number)| writer.put(path.as_bytes(), &mark(*number)).unwrap());
        writer
    };
    write(&[("a", 1), ("b", 1), ("d", 1)]).finish(true).unwrap();
    assert!(record.is_complete().unwrap());
    let mut cut_off = write(&[("a", 2), ("b", 1), ("c", 2), ("c", 3)]);
    cut_off.flush().unwrap();
    drop(cut_off);
    assert!(!record.is_complete().unwrap(), "a run was begun since");
    // The last line is torn.
    let path = scratch.path().join("r.new");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 1]).unwrap();
    assert!(record.settle().unwrap());
    let expected = [recorded("a", &[1, 2]), recorded("b", &[1]), recorded("c", &[2]), recorded("d", &[1])];
    assert_eq!(all(record.read().unwrap()), expected);
    assert!(!record.settle().unwrap() && !record.is_complete().unwrap());
    let mut reader = record.read().unwrap();
    assert_eq!(reader.at(b"aa").unwrap(), None);
    assert_eq!(reader.at(b"c").unwrap(), Some(recorded("c", &[2])));
    assert_eq!(reader.at(b"b").unwrap(), None, "it was passed");
    record.remove().unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn marks_tell_what_matters() {
    let entry = |metadata: Metadata| Entry { name: b"n".to_vec(), kind: EntryKind::Fifo, metadata };
    let plain = Metadata { mode: 0o644, ..Metadata::default() };
    let same =
        |metadata: Metadata| super::walk::mark_of(&entry(metadata)) == super::walk::mark_of(&entry(plain.clone()));
    // Numbers and names of another machine, which change without anything being different.
    let number = HardLink { device: 1, inode: 2 };
    assert!(same(Metadata { hard_link: Some(number), user: b"ada".to_vec(), ..plain.clone() }));
    assert!(!same(Metadata { mode: 0o600, ..plain.clone() }));
    assert!(!same(Metadata { uid: 1, ..plain.clone() }));
    assert!(!same(Metadata { xattrs: vec![(b"user.a".to_vec(), Vec::new())], ..plain.clone() }));
    assert!(!same(Metadata { mtime: Timestamp { secs: 1, nanos: 0 }, ..plain.clone() }));
}

#[test]
fn folders_of_snapshots_are_named_by_when_they_came() {
    let snapshot = |ms| RetainedSnapshot {
        number: 1,
        id: ObjectId::from_bytes([0xab; ObjectId::LEN]),
        received: UnixMs(ms),
        is_held: false,
        is_frozen: false,
    };
    assert_eq!(folder_name(&snapshot(1_795_000_000_999)), "2026-11-18_11-06-40_abababab");
    assert_eq!(folder_name(&snapshot(-1)), "1969-12-31_23-59-59_abababab");
    assert_eq!(folder_name(&snapshot(i64::MAX)), "1970-01-01_00-00-00_abababab", "a clock that was mad");
}

#[test]
fn neither_is_in_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let [data, inner, other] = ["data", "data/inner", "data 2"].map(|name| scratch.path().join(name));
    [&inner, &other].iter().for_each(|path| fs::create_dir_all(path).unwrap());
    std::os::unix::fs::symlink(&inner, scratch.path().join("link")).unwrap();
    check_apart(&data, &other).unwrap();
    for wrong in [&data, &inner, &scratch.path().to_owned(), &scratch.path().join("link")] {
        check_apart(&data, wrong).unwrap_err();
    }
    assert_eq!(MirrorSource::Latest("laptop/home".to_owned()).to_string(), "chain:laptop/home");
}
