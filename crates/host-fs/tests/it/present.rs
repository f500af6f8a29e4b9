//! What is below a target already: looked at, removed, and placed a second time, and nothing else than that.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use host_fs::{FileKind, HostErrorKind, Listing, Name, Placement, Policy, RestoreOptions, RestoreRoot, is_temporary};
use vault::{HardLink, Metadata, Timestamp};

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).expect("a name")
}

fn metadata() -> Metadata {
    let mtime = Timestamp { secs: 1_234_567_890, nanos: 123_456_789 };
    Metadata { mode: 0o640, mtime, ..Metadata::default() }
}

fn names_in(path: &Path) -> usize {
    fs::read_dir(path).expect("it opens").count()
}

#[test]
fn content_is_placed_with_metadata_of_its_own_or_as_a_second_name() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("sub")).expect("a directory");
    fs::write(at("sub/first"), b"content").expect("a file");
    fs::write(at("second"), b"what had the name").expect("a file");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let (dir, sub) = (root.dir(), root.dir().open_child(name("sub")).expect("it is there"));
    let stat = sub.stat(name("first")).expect("it is there");
    let file = sub.present_file(name("first"), stat).expect("it is a file");
    let ino = |path: &str| fs::metadata(at(path)).expect("it is there").ino();

    let (placement, _) = dir.place_file(name("second"), &file, Policy::OWN_FILE, &metadata()).expect("it is placed");
    assert!(matches!(placement, Placement::Reflink | Placement::Copy(_)));
    assert_eq!(fs::read(at("second")).expect("it is there"), b"content");
    let placed = fs::metadata(at("second")).expect("it is there");
    assert_eq!((placed.mode() & 0o7777, placed.mtime()), (0o640, 1_234_567_890));
    assert_ne!(ino("second"), ino("sub/first"));

    let linked = Policy { reflinks: false, hard_links: true };
    for _ in 0..2 {
        // The second time over the very same file.
        let (placement, _) = dir.place_file(name("second"), &file, linked, &metadata()).expect("it is placed");
        assert_eq!((placement, ino("second")), (Placement::HardLink, ino("sub/first")));
        assert_eq!(names_in(scratch.path()), 2, "no temporary name is left");
    }
    // In one step with the restore's own links.
    let number = HardLink { device: 1, inode: 2 };
    let with_link = Metadata { hard_link: Some(number), ..metadata() };
    let (_, restored) = dir.place_file(name("third"), &file, Policy::OWN_FILE, &with_link).expect("it is placed");
    dir.hard_link(name("fourth"), &restored.link.expect("it has more names")).expect("it is linked");
    assert_eq!(ino("third"), ino("fourth"));
}

#[test]
fn what_is_not_as_it_was_looked_at_is_not_placed() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let outside = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| scratch.path().join(name);
    fs::write(outside.path().join("first"), b"secret").expect("a file");
    fs::create_dir(at("sub")).expect("a directory");
    fs::write(at("sub/first"), b"content").expect("a file");
    fs::write(at("second"), b"stays").expect("a file");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let (dir, sub) = (root.dir(), root.dir().open_child(name("sub")).expect("it is there"));
    let stat = sub.stat(name("first")).expect("it is there");
    let file = sub.present_file(name("first"), stat).expect("it is a file");
    let refused = || {
        let error = dir.place_file(name("second"), &file, Policy::ANY, &metadata()).expect_err("it is another file");
        assert_eq!(fs::read(at("second")).expect("it is there"), b"stays");
        error.kind()
    };
    fs::write(at("sub/first"), b"changed").expect("a file");
    fs::File::options().append(true).open(at("sub/first")).expect("it opens").set_len(3).expect("it is cut");
    assert_eq!(refused(), HostErrorKind::Changed);
    fs::remove_file(at("sub/first")).expect("it is there");
    assert_eq!(refused(), HostErrorKind::NotFound);
    symlink(outside.path().join("first"), at("sub/first")).expect("a link");
    assert_eq!(refused(), HostErrorKind::Changed);
    // A link where the directory was.
    fs::rename(at("sub"), at("elsewhere")).expect("it is moved");
    symlink(outside.path(), at("sub")).expect("a link");
    assert_eq!(refused(), HostErrorKind::Changed);
    assert!(dir.present_file(name("sub"), dir.stat(name("sub")).expect("it is there")).is_none());
}

#[test]
fn looking_changes_nothing_and_removing_takes_one_name() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("sub")).expect("a directory");
    fs::write(at("sub/file"), b"content").expect("a file");
    symlink("sub", at("link")).expect("a link");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let dir = root.dir();
    assert_eq!(dir.own_stat().expect("it is there").kind, FileKind::Directory);
    let mut listing = Listing::new();
    for _ in 0..2 {
        dir.list(&mut listing).expect("it is listed");
        assert_eq!(listing.iter().map(|listed| listed.name).collect::<Vec<_>>(), [name("link"), name("sub")]);
    }
    let kind = |error: host_fs::HostError| error.kind();
    assert_eq!(dir.open_child(name("link")).map(drop).map_err(kind), Err(HostErrorKind::Changed));
    assert_eq!(dir.open_child(name("missing")).map(drop).map_err(kind), Err(HostErrorKind::NotFound));
    assert_eq!(dir.remove_dir(name("sub")).map_err(kind), Err(HostErrorKind::Occupied));
    assert_eq!(dir.remove(name("sub")).map_err(kind), Err(HostErrorKind::Occupied));
    assert_eq!(dir.remove_dir(name("link")).map_err(kind), Err(HostErrorKind::Changed));
    dir.remove(name("link")).expect("it is removed");
    dir.remove(name("link")).expect("it is gone already");
    assert_eq!(fs::read(at("sub/file")).expect("it is there"), b"content");
    dir.open_child(name("sub")).expect("it opens").remove(name("file")).expect("it is removed");
    dir.remove_dir(name("sub")).expect("it is empty");
    assert_eq!(names_in(scratch.path()), 0);
    assert!(root.free_bytes().expect("it is told") > 0);
}

#[test]
fn names_of_the_unfinished_are_known() {
    for (text, expected) in [
        ("file.bk-tmp-0123456789abcdef", true),
        (".bk-tmp-0123456789abcdef", true),
        ("file.bk-tmp-0123456789abcde", false),
        ("file.bk-tmp-0123456789ABCDEF", false),
        ("file.bk-tmp-0123456789abcdef.txt", false),
        ("é", false),
    ] {
        assert_eq!(is_temporary(name(text)), expected, "{text}");
    }
}
