//! Directories of any size are listed in order and in little memory.

use std::fs;
use std::os::unix::fs::symlink;

use host_fs::{FileKind, HostDir, HostErrorKind, Listing, Name};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn names(listing: &Listing) -> Vec<String> {
    listing.iter().map(|listed| String::from_utf8_lossy(listed.name.as_bytes()).into_owned()).collect()
}

#[test]
fn a_hundred_thousand_names_take_little_memory() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    // Names of one file cost less than files; the last few are left for other links.
    let count = 100_000;
    let mut bytes = 0;
    for index in 0..count {
        let name = format!("name-{:06}-of-many", index * 7919 % count);
        bytes += name.len();
        let original = scratch.path().join(format!("name-{:06}-of-many", index / 50_000 * 50_000 * 7919 % count));
        if index % 50_000 == 0 {
            fs::write(original, b"").expect("a file");
        } else {
            fs::hard_link(original, scratch.path().join(name)).expect("a name");
        }
    }
    let mut dir = HostDir::open_root(scratch.path()).expect("it opens");
    let mut listing = Listing::new();
    dir.list(&mut listing).expect("it can be listed");
    assert_eq!(listing.len(), count);
    assert!(listing.iter().zip(listing.iter().skip(1)).all(|(first, second)| first.name < second.name));
    // A growing vector has room for twice what is in it.
    assert!(listing.memory_len() <= 2 * (bytes + 8 * count) + 64 * 1024, "{}", listing.memory_len());
}

#[test]
fn the_same_listing_serves_again() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (full, empty) = (scratch.path().join("full"), scratch.path().join("empty"));
    fs::create_dir(&full).expect("a directory");
    fs::create_dir(&empty).expect("a directory");
    for name in ["b", "a", "c"] {
        fs::write(full.join(name), b"").expect("a file");
    }
    let mut dir = HostDir::open_root(&full).expect("it opens");
    let mut listing = Listing::new();
    dir.list(&mut listing).expect("it can be listed");
    assert_eq!(names(&listing), ["a", "b", "c"]);
    HostDir::open_root(&empty).expect("it opens").list(&mut listing).expect("it can be listed");
    assert!(listing.is_empty() && listing.get(0).is_none());
    // Listed again, a directory tells what is in it now.
    fs::remove_file(full.join("b")).expect("it is there");
    dir.list(&mut listing).expect("it can be listed");
    assert_eq!(names(&listing), ["a", "c"]);
}

#[test]
fn kinds_are_told() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    fs::write(scratch.path().join("file"), b"").expect("a file");
    fs::create_dir(scratch.path().join("dir")).expect("a directory");
    symlink("dir", scratch.path().join("link")).expect("a link");
    mknodat(CWD, scratch.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
    let mut dir = HostDir::open_root(scratch.path()).expect("it opens");
    let mut listing = Listing::new();
    dir.list(&mut listing).expect("it can be listed");
    let kinds: Vec<FileKind> = listing.iter().map(|listed| dir.stat(listed.name).expect("a stat").kind).collect();
    assert_eq!(kinds, [FileKind::Directory, FileKind::File, FileKind::Symlink, FileKind::Fifo]);
    for (listed, kind) in listing.iter().zip(kinds) {
        assert!(listed.kind.is_none_or(|told| told == kind));
    }
}

#[test]
fn only_directories_are_opened_as_such() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    fs::write(scratch.path().join("file"), b"").expect("a file");
    fs::create_dir(scratch.path().join("dir")).expect("a directory");
    symlink("dir", scratch.path().join("link")).expect("a link");
    let dir = HostDir::open_root(scratch.path()).expect("it opens");
    let kind = |name: &[u8]| dir.open_child(Name::new(name).expect("a name")).map(drop).map_err(|error| error.kind());
    assert_eq!(kind(b"dir"), Ok(()));
    assert_eq!(kind(b"link"), Err(HostErrorKind::Changed));
    assert_eq!(kind(b"file"), Err(HostErrorKind::Changed));
    assert_eq!(kind(b"gone"), Err(HostErrorKind::NotFound));
    assert_eq!(HostDir::open_root(&scratch.path().join("gone")).map(drop).unwrap_err().kind(), HostErrorKind::NotFound);
}
