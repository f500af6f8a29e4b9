//! What is restored is what was there (I-34, P-19).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use host_fs::{Aspect, RestoreOptions};
use rustix::process::geteuid;
use testkit::mount::{FileSystem, LoopMount};
use testkit::tree::{CompareOptions, TreeSpec, compare, mutate, seed};

use crate::child::{Process, is_inside};
use crate::copy::{Copied, copy_tree};

const HELD_MAX: usize = 8;

fn options() -> RestoreOptions {
    RestoreOptions { trust_target: true, ..RestoreOptions::for_this_process() }
}

#[track_caller]
fn copy(from: &Path, to: &Path) -> Copied {
    copy_tree(from, to, options(), HELD_MAX).expect("the tree can be copied")
}

#[track_caller]
fn check_equal(original: &Path, restored: &Path, options: CompareOptions) {
    let differences = compare(original, restored, options).expect("both trees can be read");
    let shown: Vec<String> = differences.iter().take(20).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n"));
}

#[expect(clippy::print_stderr, reason = "what a tree lacks on this machine should be seen")]
fn write(spec: &TreeSpec, to: &Path) -> usize {
    let written = spec.write(to).expect("the tree can be written");
    if !written.left_out.is_empty() {
        eprintln!("left out: {}", written.left_out.join("; "));
    }
    written.entries
}

/// Everything there and back, then the same again over what is already there, then the changed tree.
fn check_round_trip(scratch: &Path) {
    let seed = seed();
    let (original, restored) = (scratch.join("original"), scratch.join("restored"));
    let entries = write(&TreeSpec::everything(seed), &original);
    let copied = copy(&original, &restored);
    assert_eq!(copied.entries, entries);
    assert!(copied.separate.is_empty(), "{:?}", copied.separate);
    check_equal(&original, &restored, CompareOptions::for_this_user());
    let is_expected = |aspect: &Aspect| *aspect == Aspect::SetId && !geteuid().is_root();
    let unexpected: Vec<_> = copied.not_applied.iter().filter(|(_, missing)| !is_expected(&missing.aspect)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");

    copy(&original, &restored);
    check_equal(&original, &restored, CompareOptions::for_this_user());

    let mutations = mutate(&original, seed, 60).expect("the tree can be changed");
    assert!(mutations.len() > 40);
    let changed = scratch.join("changed");
    copy(&original, &changed);
    check_equal(&original, &changed, CompareOptions::for_this_user());
    let differences = compare(&restored, &changed, CompareOptions::for_this_user()).expect("both trees can be read");
    assert!(differences.len() > 10, "the oracle sees the changes");
}

#[test]
fn everything_comes_back() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    check_round_trip(scratch.path());
}

#[test]
fn everything_comes_back_for_an_ordinary_user() {
    if is_inside(&Process::Nobody, "round_trip::everything_comes_back_for_an_ordinary_user") {
        assert!(!geteuid().is_root());
        let scratch = tempfile::tempdir().expect("a temporary directory");
        check_round_trip(scratch.path());
    }
}

/// Without `/proc` files have temporary names while they are written, and what is reached by way of it is reported.
#[test]
fn files_come_back_without_proc() {
    if is_inside(&Process::NoProc, "round_trip::files_come_back_without_proc") {
        assert!(!Path::new("/proc/self").exists());
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let (original, restored) = (scratch.path().join("original"), scratch.path().join("restored"));
        write(&TreeSpec { file_count: 100, dir_count: 20, ..TreeSpec::source_like(seed(), 100) }, &original);
        let sparse = fs::File::create(original.join("sparse")).expect("a file");
        sparse.set_len(1 << 20).expect("a hole");
        fs::hard_link(original.join("sparse"), original.join("second")).expect("a second name");
        let copied = copy(&original, &restored);
        assert_eq!(copied.not_applied, []);
        assert!(copied.separate.is_empty(), "{:?}", copied.separate);
        let names = |dir: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(dir).expect("it opens").map(|e| e.expect("a name").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&original), names(&restored));
        assert_eq!(fs::metadata(restored.join("sparse")).expect("it is there").len(), 1 << 20);
    }
}

#[test]
fn everything_comes_back_on_a_memory_file_system() {
    let Ok(scratch) = tempfile::tempdir_in("/dev/shm") else { return };
    check_round_trip(scratch.path());
}

#[test]
fn everything_comes_back_on_xfs() {
    check_on(FileSystem::Xfs);
}

#[test]
fn everything_comes_back_on_btrfs() {
    check_on(FileSystem::Btrfs);
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn check_on(file_system: FileSystem) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    match LoopMount::new(scratch.path(), file_system, 512 << 20) {
        Ok(mount) => check_round_trip(mount.path()),
        Err(missing) => eprintln!("left out: {missing}"),
    }
}

/// An ordinary restore of what root backed up: everything but what is root's to give, and all of that is reported.
#[test]
fn what_an_ordinary_restore_lacks_is_reported() {
    if !geteuid().is_root() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (original, restored) = (scratch.path().join("original"), scratch.path().join("restored"));
    write(&TreeSpec { crowd: 0, depth: 0, ..TreeSpec::everything(seed()) }, &original);
    let options = RestoreOptions { privileged: false, trust_target: true };
    let copied = copy_tree(&original, &restored, options, HELD_MAX).expect("the tree can be copied");
    check_equal(&original, &restored, CompareOptions::unprivileged());

    let mut counts: HashMap<Aspect, usize> = HashMap::new();
    for (_, not_applied) in copied.not_applied {
        *counts.entry(not_applied.aspect).or_default() += 1;
    }
    // 4 owners of 4 entries each; groups are root's to give even here.
    assert_eq!(counts.get(&Aspect::Owner), Some(&20), "{counts:?}");
    assert_eq!(counts.get(&Aspect::Device), Some(&3));
    assert_eq!(counts.get(&Aspect::Xattr(b"trusted.test".to_vec())), Some(&4));
    assert_eq!(counts.get(&Aspect::Xattr(b"security.capability".to_vec())), Some(&1));
    // 4 modes with set-id bits on files, and one file of each owner.
    assert_eq!(counts.get(&Aspect::SetId), Some(&10));
    assert_eq!(counts.get(&Aspect::Mtime), None);
    assert_eq!(counts.len(), 5, "{counts:?}");
}
