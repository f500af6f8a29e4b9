//! Placement on real file systems: with reflinks, without, and across two of them.
#![allow(clippy::disallowed_methods, reason = "tests make and look at files themselves")]

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use placement::{CopyReason, Placement, Policy, place};
use testkit::mount::{FileSystem, LoopMount};

const NO_LINKS: Policy = Policy { reflinks: false, hard_links: false };
const HARD_LINKS: Policy = Policy { reflinks: false, hard_links: true };

/// Places a file of these bytes and looks at what became of it.
#[track_caller]
fn check(directory: &Path, target_directory: &Path, policy: Policy, expected: Placement) {
    let (source, target) = (directory.join("source"), target_directory.join("target"));
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&source, &content).unwrap();
    let placement = place(&source, &target, policy).unwrap();
    assert_eq!(placement, expected, "{}", target.display());
    assert!(fs::read(&target).unwrap() == content);
    let (from, to) = (fs::metadata(&source).unwrap(), fs::metadata(&target).unwrap());
    let is_same = (from.dev(), from.ino()) == (to.dev(), to.ino());
    assert_eq!(is_same, placement == Placement::HardLink);
    if !is_same {
        assert_eq!(to.permissions().mode() & 0o777, 0o600);
        File::options().write(true).open(&target).unwrap().write_all_at(b"changed", 5000).unwrap();
        assert!(fs::read(&source).unwrap() == content, "a file of its own");
    }
    let again = place(&source, &target, policy).unwrap_err();
    assert_eq!(again.source.kind(), ErrorKind::AlreadyExists, "{again}");
    fs::remove_file(&source).unwrap();
    fs::remove_file(&target).unwrap();
}

/// What the mount needs is said loudly, and the test then ends.
fn mounted(scratch: &Path, file_system: FileSystem) -> Option<LoopMount> {
    match LoopMount::new(scratch, file_system, 320 << 20) {
        Ok(mount) => Some(mount),
        Err(missing) => {
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("SKIPPED: {missing}");
            }
            None
        }
    }
}

#[test]
fn file_systems_with_reflinks() {
    for file_system in [FileSystem::Xfs, FileSystem::Btrfs] {
        let scratch = tempfile::tempdir().unwrap();
        let Some(mount) = mounted(scratch.path(), file_system) else { continue };
        check(mount.path(), mount.path(), Policy::ANY, Placement::Reflink);
        check(mount.path(), mount.path(), Policy::OWN_FILE, Placement::Reflink);
        check(mount.path(), mount.path(), HARD_LINKS, Placement::HardLink);
        check(mount.path(), mount.path(), NO_LINKS, Placement::Copy(CopyReason::LinksForbidden));
        check_holes(mount.path(), mount.path(), NO_LINKS);
        let other = tempfile::tempdir().unwrap();
        check(mount.path(), other.path(), Policy::ANY, Placement::Copy(CopyReason::CrossDevice));
        check(other.path(), mount.path(), Policy::OWN_FILE, Placement::Copy(CopyReason::CrossDevice));
        check_holes(other.path(), mount.path(), Policy::ANY);
    }
}

#[test]
fn a_file_system_without_reflinks() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(mount) = mounted(scratch.path(), FileSystem::Ext4) else { return };
    check(mount.path(), mount.path(), Policy::ANY, Placement::HardLink);
    check(mount.path(), mount.path(), Policy::OWN_FILE, Placement::Copy(CopyReason::HardLinksForbidden));
    check_holes(mount.path(), mount.path(), Policy::OWN_FILE);
    let source = mount.path().join("much linked");
    fs::write(&source, b"x").unwrap();
    // 65 000 names are all that ext4 gives a file.
    let mut names = 1;
    while fs::hard_link(&source, mount.path().join(names.to_string())).is_ok() {
        names += 1;
    }
    assert_eq!(names, 65_000);
    let placed = place(&source, &mount.path().join("one more"), Policy::ANY).unwrap();
    assert_eq!(placed, Placement::Copy(CopyReason::TooManyLinks));
}

#[test]
fn across_file_systems() {
    let memory = Path::new("/dev/shm");
    let other = tempfile::tempdir().unwrap();
    if fs::metadata(memory).map(|memory| memory.dev()).ok() == Some(fs::metadata(other.path()).unwrap().dev()) {
        return;
    }
    let memory = tempfile::tempdir_in(memory).unwrap();
    for policy in [Policy::ANY, Policy::OWN_FILE, HARD_LINKS] {
        check(memory.path(), other.path(), policy, Placement::Copy(CopyReason::CrossDevice));
        check(other.path(), memory.path(), policy, Placement::Copy(CopyReason::CrossDevice));
    }
    check_holes(other.path(), memory.path(), Policy::ANY);
    check_holes(memory.path(), other.path(), Policy::ANY);
}

/// 64 MiB of nothing with two islands, and an end that is a hole.
#[track_caller]
fn check_holes(directory: &Path, target_directory: &Path, policy: Policy) {
    let (source, target) = (directory.join("holes"), target_directory.join("holes copied"));
    let file = File::create_new(&source).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&[1; 5000], 3 << 20).unwrap();
    file.write_all_at(&[2; 70_000], 40 << 20).unwrap();
    file.sync_all().unwrap();
    place(&source, &target, policy).unwrap();
    assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap());
    let target_file = File::open(&target).unwrap();
    target_file.sync_all().unwrap();
    let blocks = target_file.metadata().unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks of {}", target.display());
    fs::remove_file(source).unwrap();
    fs::remove_file(target).unwrap();
}

#[test]
fn empty_files_are_placed_too() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, target) = (scratch.path().join("source"), scratch.path().join("target"));
    fs::write(&source, b"").unwrap();
    place(&source, &target, NO_LINKS).unwrap();
    assert_eq!(fs::metadata(target).unwrap().len(), 0);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    let refuse = |source: &Path| place(source, &target, Policy::ANY).unwrap_err().source.kind();
    let file = scratch.path().join("file");
    fs::write(&file, b"secret").unwrap();
    let link = scratch.path().join("link");
    symlink(&file, &link).unwrap();
    let refused = place(&link, &target, Policy::ANY).unwrap_err();
    assert_eq!((refused.verb, refused.source.raw_os_error()), ("open", Some(rustix::io::Errno::LOOP.raw_os_error())));
    assert_eq!(refuse(scratch.path()), ErrorKind::InvalidInput);
    assert_eq!(refuse(&scratch.path().join("missing")), ErrorKind::NotFound);
    let pipe = scratch.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(refuse(&pipe), ErrorKind::InvalidInput);
    assert!(!target.exists());
}

#[test]
fn a_link_at_the_target_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let [source, elsewhere, target] = ["source", "elsewhere", "target"].map(|name| scratch.path().join(name));
    fs::write(&source, b"content").unwrap();
    symlink(&elsewhere, &target).unwrap();
    for policy in [Policy::ANY, Policy::OWN_FILE, HARD_LINKS, NO_LINKS] {
        let refused = place(&source, &target, policy).unwrap_err();
        assert_eq!(refused.source.kind(), ErrorKind::AlreadyExists);
    }
    assert!(!elsewhere.exists());
}

/// A directory that cannot hold the target: nothing is placed and nothing is left.
#[test]
fn a_missing_directory_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    fs::write(&source, b"content").unwrap();
    let refused = place(&source, &scratch.path().join("missing/target"), Policy::ANY).unwrap_err();
    assert_eq!((refused.verb, refused.source.kind()), ("create", ErrorKind::NotFound));
}
