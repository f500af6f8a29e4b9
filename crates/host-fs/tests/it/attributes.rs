//! Permissions, ACLs and attributes are the snapshot's, not those of the place it is restored to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use host_fs::{Aspect, Name, Reason, RestoreOptions, RestoreRoot};
use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use rustix::io::Errno;
use rustix::process::geteuid;
use vault::{Metadata, Timestamp};

const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).expect("a name")
}

/// `u::rwx,u:12345:rwx,g::r-x,m::rwx,o::r-x`.
fn acl() -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1_u8, 7_u8, u32::MAX), (2, 7, 12_345), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
    {
        acl.extend_from_slice(&[tag, 0, permissions, 0]);
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1000];
    match lgetxattr(path, name, &mut value) {
        Ok(len) => Some(value[..len].to_vec()),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
        Err(errno) => panic!("{errno}"),
    }
}

#[test]
fn a_default_acl_of_the_target_is_not_inherited() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    if lsetxattr(scratch.path(), ACL_DEFAULT, &acl(), XattrFlags::empty()).is_err() {
        return;
    }
    fs::write(scratch.path().join("control"), b"").expect("a file");
    assert!(xattr(&scratch.path().join("control"), ACL_ACCESS).is_some(), "it would be inherited");

    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let own = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let metadata = |mode| Metadata { mode, uid: own.0, gid: own.1, ..Metadata::default() };
    let whole = root.dir().write_file(name("whole"), b"x", &metadata(0o640)).expect("a file");
    let pieces = root.dir().create_file(name("pieces"), 0).expect("a file").finish(&metadata(0o664)).expect("a file");
    let dir = root.dir().child_dir(name("dir")).expect("a directory");
    let inner = dir.write_file(name("inner"), b"x", &metadata(0o666)).expect("a file");
    assert_eq!([whole.not_applied, pieces.not_applied, inner.not_applied, dir.finish(&metadata(0o775))].concat(), []);

    for (path, mode) in [("whole", 0o640), ("pieces", 0o664), ("dir", 0o775), ("dir/inner", 0o666)] {
        let path = scratch.path().join(path);
        assert_eq!(xattr(&path, ACL_ACCESS), None, "{}", path.display());
        assert_eq!(xattr(&path, ACL_DEFAULT), None, "{}", path.display());
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o7777, mode, "{}", path.display());
    }
}

#[test]
fn a_directory_that_was_there_becomes_the_snapshots() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("dir");
    fs::create_dir(&path).expect("a directory");
    if lsetxattr(&path, "user.old", b"old", XattrFlags::empty()).is_err() {
        return;
    }
    lsetxattr(&path, "user.both", b"old", XattrFlags::empty()).expect("it took the other one");
    fs::set_permissions(&path, Permissions::from_mode(0o500)).expect("it is ours");

    let root = RestoreRoot::open(scratch.path(), RestoreOptions::for_this_process()).expect("the target opens");
    let dir = root.dir().child_dir(name("dir")).expect("it opens");
    let own = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let metadata = Metadata {
        mode: 0o550,
        uid: own.0,
        gid: own.1,
        mtime: Timestamp { secs: 1000, nanos: 1 },
        xattrs: vec![(b"user.both".to_vec(), b"new".to_vec()), (b"user.new".to_vec(), b"new".to_vec())],
        ..Metadata::default()
    };
    drop(dir.write_file(name("file"), b"x", &metadata).expect("a file in a directory that was closed"));
    assert_eq!(dir.finish(&metadata), []);
    assert_eq!(xattr(&path, "user.old"), None);
    assert_eq!(xattr(&path, "user.both"), Some(b"new".to_vec()));
    assert_eq!(xattr(&path, "user.new"), Some(b"new".to_vec()));
    let stat = fs::metadata(&path).expect("it is there");
    assert_eq!((stat.mode() & 0o7777, stat.mtime(), stat.mtime_nsec()), (0o550, 1000, 1));
}

/// A program must never run as somebody that the snapshot did not mean.
#[test]
fn set_id_bits_need_privilege_and_the_owner() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let restore = |file: &str, privileged: bool, uid: u32| {
        let options = RestoreOptions { privileged, trust_target: true };
        let root = RestoreRoot::open(scratch.path(), options).expect("the target opens");
        let gid = rustix::process::getegid().as_raw();
        let metadata = Metadata { mode: 0o6755, uid, gid, ..Metadata::default() };
        let restored = root.dir().write_file(name(file), b"#!", &metadata).expect("a file");
        let mode = fs::metadata(scratch.path().join(file)).expect("it is there").mode() & 0o7777;
        let missing: Vec<_> =
            restored.not_applied.into_iter().map(|missing| (missing.aspect, missing.reason)).collect();
        (mode, missing)
    };
    let own = geteuid().as_raw();
    assert_eq!(restore("own", false, own), (0o755, vec![(Aspect::SetId, Reason::Unprivileged)]));
    let (mode, missing) = restore("other", false, own + 1);
    assert_eq!(mode, 0o755);
    assert_eq!(missing, [(Aspect::Owner, Reason::Unprivileged), (Aspect::SetId, Reason::OwnerMissing)]);
    if geteuid().is_root() {
        assert_eq!(restore("privileged", true, 12_345), (0o6755, vec![]));
        // An owner that the system refuses: all bits set means nobody.
        let (mode, missing) = restore("refused", true, u32::MAX);
        assert_eq!(mode, 0o755);
        assert_eq!(missing.last(), Some(&(Aspect::SetId, Reason::OwnerMissing)));
    }
}

/// A time that the file system cannot hold is told, not silently moved.
#[test]
fn a_time_out_of_range_is_reported() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
    let own = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mtime = Timestamp { secs: 1 << 40, nanos: 5 };
    let metadata = Metadata { mode: 0o600, uid: own.0, gid: own.1, mtime, ..Metadata::default() };
    let missing = root.dir().write_file(name("file"), b"", &metadata).expect("a file").not_applied;
    let kept = fs::metadata(scratch.path().join("file")).expect("it is there").mtime();
    let expected = if kept == 1 << 40 { vec![] } else { vec![(Aspect::Mtime, Reason::Rounded)] };
    assert_eq!(missing.into_iter().map(|missing| (missing.aspect, missing.reason)).collect::<Vec<_>>(), expected);
}
