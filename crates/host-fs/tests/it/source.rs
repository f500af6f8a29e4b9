//! What is read is what is there, and what happens meanwhile is noticed.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::IoSliceMut;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use host_fs::{Describer, HostDir, HostErrorKind, Name, OwnerNames, Segment, SegmentKind, SourceFile};
use rustix::fs::{Advice, CWD, FileType, Mode, fadvise, mknodat};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::process::geteuid;
use testkit::tree::{Random, seed};
use vault::EntryKind;

use crate::child::{Process, is_inside};

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).expect("a name")
}

fn open(dir: &Path, file: &str) -> Result<SourceFile, HostErrorKind> {
    let dir = HostDir::open_root(dir).expect("it opens");
    SourceFile::open(&dir, name(file)).map_err(|error| error.kind())
}

#[test]
fn a_file_that_changes_is_noticed() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("file");
    fs::write(&path, vec![1; 100_000]).expect("a file");
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = FileTimes::new().set_modified(past);
    File::options().write(true).open(&path).expect("it opens").set_times(times).expect("it is ours");

    let file = open(scratch.path(), "file").expect("it opens");
    let dir = HostDir::open_root(scratch.path()).expect("it opens");
    assert!(file.restat().expect("a stat").same_as(file.stat()));
    assert!(dir.stat(name("file")).expect("a stat").same_as(file.stat()));

    // A write of the same length whose time is put back: the change time tells.
    let writer = File::options().write(true).open(&path).expect("it opens");
    writer.write_all_at(&[2], 50_000).expect("it can be written");
    writer.set_times(times).expect("it is ours");
    let changed = file.restat().expect("a stat");
    assert_eq!((changed.size, changed.mtime), (file.stat().size, file.stat().mtime));
    assert!(!changed.same_as(file.stat()));

    // Cut short: reading ends early. Grown: reading ends where the file ended.
    let mut content = vec![0; 200_000];
    writer.set_len(60_000).expect("it can be cut");
    assert_eq!(file.read_at(0, &mut content).expect("it can be read"), 60_000);
    assert_eq!(file.read_at(70_000, &mut content).expect("it can be read"), 0);
    writer.set_len(150_000).expect("it can grow");
    assert_eq!(file.read_at(0, &mut content).expect("it can be read"), 100_000);
    assert_eq!(file.read_at(200_000, &mut content).expect("it can be read"), 0);

    // Replaced: what is open stays, what has the name is another file.
    fs::write(scratch.path().join("new"), vec![3; 100_000]).expect("a file");
    fs::rename(scratch.path().join("new"), &path).expect("it takes the name");
    assert!(!dir.stat(name("file")).expect("a stat").same_as(file.stat()));
}

#[test]
fn what_is_no_file_is_not_opened() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let make = |name: &str, file_type| {
        mknodat(CWD, scratch.path().join(name), file_type, Mode::from_raw_mode(0o600), 0).expect("a node");
    };
    make("pipe", FileType::Fifo);
    make("socket", FileType::Socket);
    fs::create_dir(scratch.path().join("dir")).expect("a directory");
    fs::write(scratch.path().join("file"), b"").expect("a file");
    symlink("file", scratch.path().join("link")).expect("a link");
    for other in ["pipe", "socket", "dir", "link"] {
        assert_eq!(open(scratch.path(), other).map(drop), Err(HostErrorKind::Changed), "{other}");
    }
    assert_eq!(open(scratch.path(), "gone").map(drop), Err(HostErrorKind::NotFound));
}

#[test]
fn what_may_not_be_read_is_told() {
    if is_inside(&Process::Nobody, "source::what_may_not_be_read_is_told") {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        fs::write(scratch.path().join("file"), b"").expect("a file");
        fs::create_dir(scratch.path().join("dir")).expect("a directory");
        for closed in ["file", "dir"] {
            fs::set_permissions(scratch.path().join(closed), Permissions::from_mode(0o0)).expect("it is ours");
        }
        let dir = HostDir::open_root(scratch.path()).expect("it opens");
        let error = SourceFile::open(&dir, name("file")).unwrap_err();
        assert_eq!(error.kind(), HostErrorKind::NotAllowed);
        assert_eq!(error.to_string(), format!("cannot open {}", scratch.path().join("file").display()));
        assert_eq!(dir.open_child(name("dir")).unwrap_err().kind(), HostErrorKind::NotAllowed);
        // Files of others are read too, though their access times cannot be kept.
        let etc = HostDir::open_root(Path::new("/etc")).expect("it opens");
        assert!(SourceFile::open(&etc, name("passwd")).expect("it opens").stat().size > 0);
    }
}

#[test]
fn reading_leaves_access_times() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(scratch.path().join("dir")).expect("a directory");
    let path = scratch.path().join("dir/file");
    fs::write(&path, b"content").expect("a file");
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::open(&path).expect("it opens").set_times(FileTimes::new().set_accessed(past)).expect("it is ours");
    let file = open(&scratch.path().join("dir"), "file").expect("it opens");
    assert_eq!(file.read_at(0, &mut [0; 7]).expect("it can be read"), 7);
    assert_eq!(fs::metadata(&path).expect("it is there").atime(), 1_000_000_000);
}

/// Segments are in order, without gaps, and cover exactly what the file system holds.
#[test]
fn segments_are_exact() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut random = Random::new(seed());
    let path = scratch.path().join("file");
    for _ in 0..60 {
        let size = random.below(3 << 20);
        let file = File::create(&path).expect("a file");
        file.set_len(size).expect("it can be set");
        let mut written = Vec::new();
        for _ in 0..random.below(8) {
            let offset = random.below(size.max(1));
            let len = (1 + random.below(100_000)).min(size - offset.min(size));
            file.write_all_at(&vec![7; usize::try_from(len).expect("it is small")], offset).expect("it can be written");
            written.push(offset..offset + len);
        }
        let source = open(scratch.path(), "file").expect("it opens");
        let segments: Vec<Segment> = source.segments().collect::<Result<_, _>>().expect("they can be found");
        let mut end = 0;
        for (index, segment) in segments.iter().enumerate() {
            assert!(segment.range.start == end && segment.range.end > end);
            assert!(index == 0 || segments[index - 1].kind != segment.kind);
            end = segment.range.end;
            for position in [segment.range.start, (segment.range.start + end) / 2, end - 1] {
                let is_written = written.iter().any(|range| range.contains(&position));
                // Blocks are written whole: there may be data around what was written, but no hole in it.
                assert!(segment.kind == SegmentKind::Data || !is_written);
            }
            if segment.kind == SegmentKind::Data {
                let near = |range: &std::ops::Range<u64>| {
                    range.start < segment.range.end + 4096 && segment.range.start < range.end + 4096
                };
                assert!(written.iter().any(near));
            }
        }
        assert_eq!(end, source.stat().size);
    }
}

#[test]
fn leaves_are_described() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    symlink("target of the link", scratch.path().join("link")).expect("a link");
    mknodat(CWD, scratch.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o610), 0).expect("a pipe");
    fs::hard_link(scratch.path().join("pipe"), scratch.path().join("second")).expect("a second name");
    fs::write(scratch.path().join("file"), b"").expect("a file");
    let dir = HostDir::open_root(scratch.path()).expect("it opens");
    let own = geteuid().as_raw();
    let owners = OwnerNames::parse(format!("tester:x:{own}:0::/:/").as_bytes(), b"");
    let mut describer = Describer::new(Arc::new(owners));
    let mut leaf = |file: &str| {
        let stat = dir.stat(name(file)).expect("it is there");
        describer.leaf(&dir, name(file), &stat).map_err(|error| error.kind())
    };
    let (kind, described) = leaf("link").expect("it can be described");
    assert_eq!(kind, EntryKind::Symlink { target: b"target of the link".to_vec() });
    assert_eq!(described.metadata.user, b"tester");
    assert!(described.metadata.hard_link.is_none() && described.unread.is_none());
    let (kind, described) = leaf("pipe").expect("it can be described");
    assert_eq!(kind, EntryKind::Fifo);
    let stat = dir.stat(name("second")).expect("it is there");
    let link = described.metadata.hard_link.expect("it has two names");
    assert_eq!((link.device, link.inode), (stat.dev, stat.ino));
    assert_eq!(leaf("file").map(drop), Err(HostErrorKind::Misuse));

    // A link that became a file after it was looked at.
    let stat = dir.stat(name("link")).expect("it is there");
    fs::rename(scratch.path().join("file"), scratch.path().join("link")).expect("it takes the name");
    assert_eq!(describer.leaf(&dir, name("link"), &stat).unwrap_err().kind(), HostErrorKind::Changed);
}

/// How much of a file is cached, in percent of samples.
fn cached(file: &File, len: u64) -> u64 {
    fadvise(file, 0, None, Advice::Random).expect("it is only advice");
    let samples = 64;
    let is_cached = |sample: &u64| {
        let mut byte = [0];
        let offset = len / samples * sample;
        preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT).is_ok()
    };
    (0..samples).filter(is_cached).count() as u64 * 100 / samples
}

#[test]
fn reading_leaves_the_page_cache_as_it_was() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("file");
    let len = 24 << 20;
    fs::write(&path, Random::new(1).bytes(len)).expect("a file");
    let file = File::open(&path).expect("it opens");
    file.sync_all().expect("it can be synced");
    let read = || {
        let source = open(scratch.path(), "file").expect("it opens");
        let mut buffer = vec![0; 1 << 20];
        let mut position = 0;
        while let read @ 1.. = source.read_at(position, &mut buffer).expect("it can be read") {
            position += read as u64;
        }
        assert_eq!(position, len as u64);
    };
    // Written a moment ago, it is cached, and stays so.
    if cached(&file, len as u64) < 90 {
        return;
    }
    read();
    assert!(cached(&file, len as u64) > 80);

    fadvise(&file, 0, None, Advice::DontNeed).expect("it is only advice");
    if cached(&file, len as u64) > 10 {
        return; // A file system in memory.
    }
    fadvise(&file, 0, None, Advice::DontNeed).expect("it is only advice");
    read();
    assert!(cached(&file, len as u64) < 40);
}
