//! Trees deeper than a path is long, with fewer descriptors than levels.

use std::fs;
use std::num::NonZeroUsize;

use host_fs::{DirStack, HostDir, HostErrorKind, Name, RestoreOptions, RestoreRoot};
use testkit::tree::{CompareOptions, TreeSpec, compare};
use vault::Metadata;

use crate::child::{Process, is_inside};
use crate::copy::copy_tree;

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).expect("a name")
}

#[test]
fn a_tree_of_1500_levels_comes_back() {
    if is_inside(&Process::Descriptors(64), "deep::a_tree_of_1500_levels_comes_back") {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let (original, restored) = (scratch.path().join("original"), scratch.path().join("restored"));
        let spec = TreeSpec { depth: 1500, dir_count: 0, ..TreeSpec::source_like(1, 0) };
        spec.write(&original).expect("the tree can be written");
        let options = RestoreOptions::for_this_process();
        let copied = copy_tree(&original, &restored, options, 8).expect("the tree can be copied");
        assert_eq!(copied.entries, 1501 + 16);
        assert_eq!(copied.not_applied, []);
        let differences = compare(&original, &restored, CompareOptions::exact()).expect("both trees can be read");
        assert!(differences.is_empty(), "{differences:?}");
    }
}

#[test]
fn hard_links_reach_across_deep_trees() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let mut dir = root.dir().clone();
    let long = "d".repeat(200);
    for _ in 0..100 {
        dir = dir.child_dir(name(&long)).expect("a directory");
    }
    let metadata =
        Metadata { mode: 0o600, hard_link: Some(vault::HardLink { device: 1, inode: 2 }), ..Metadata::default() };
    let restored = dir.write_file(name("first"), b"content", &metadata).expect("a file");
    let link = restored.link.expect("it was asked for");
    root.dir().hard_link(name("second"), &link).expect("a second name");
    assert_eq!(fs::read(scratch.path().join("second")).expect("it is there"), b"content");
    assert_eq!(dir.stat(name("first")).expect("it is there").nlink, 2);
}

#[test]
fn the_way_back_is_the_way_down() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(scratch.path().join("a/b/c")).expect("directories");
    fs::create_dir_all(scratch.path().join("elsewhere")).expect("a directory");
    let descend = || {
        let mut stack = DirStack::new(NonZeroUsize::MIN);
        stack.push(HostDir::open_root(scratch.path()).expect("it opens")).expect("it can be left open");
        for child in ["a", "b", "c"] {
            let child = stack.top().expect("there is one").open_child(name(child)).expect("it opens");
            stack.push(child).expect("the one above can be closed");
        }
        stack
    };
    let mut stack = descend();
    assert_eq!(stack.depth(), 4);
    for expected in ["a/b/c", "a/b", "a", ""] {
        let path = stack.pop().expect("the way back is there").expect("there is one more").path().to_path_buf();
        assert_eq!(path, scratch.path().join(expected).components().collect::<std::path::PathBuf>());
    }
    assert!(stack.pop().expect("nothing can fail").is_none());

    let mut stack = descend();
    fs::rename(scratch.path().join("a/b/c"), scratch.path().join("elsewhere/c")).expect("it can be moved");
    assert_eq!(stack.pop().map(drop).unwrap_err().kind(), HostErrorKind::Changed);
    assert!(stack.top().is_none(), "there is no way back");
}
