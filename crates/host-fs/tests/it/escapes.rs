//! Nothing outside the target changes, whatever is planted in it and whenever (P-18).

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use host_fs::{HostErrorKind, Leaf, Name, RestoreOptions, RestoreRoot};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, symlinkat, unlinkat};
use rustix::process::geteuid;
use tempfile::TempDir;
use testkit::tree::{CompareOptions, Random, TreeImage, seed};
use vault::{HardLink, Metadata};

/// A target and everything around it, which must stay as it is.
struct Scene {
    place: TempDir,
    before: TreeImage,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let outside = place.path().join("outside");
        fs::create_dir_all(outside.join("dir/inner")).expect("directories");
        fs::create_dir(place.path().join("target")).expect("a directory");
        fs::write(outside.join("secret"), b"precious").expect("a file");
        fs::write(outside.join("dir/inner/file"), b"precious too").expect("a file");
        fs::set_permissions(outside.join("secret"), Permissions::from_mode(0o600)).expect("it is ours");
        let before = TreeImage::read(place.path()).expect("it can be read").without("target");
        Self { place, before }
    }

    fn outside(&self) -> PathBuf {
        self.place.path().join("outside")
    }

    fn target(&self) -> PathBuf {
        self.place.path().join("target")
    }

    fn root(&self) -> RestoreRoot {
        RestoreRoot::open(&self.target(), RestoreOptions::for_this_process()).expect("the target opens")
    }

    #[track_caller]
    fn check_surroundings(&self) {
        let after = TreeImage::read(self.place.path()).expect("it can be read").without("target");
        let differences = self.before.differences(&after, CompareOptions::untouched());
        assert!(differences.is_empty(), "outside of the target: {differences:?}");
    }
}

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).expect("a name")
}

fn metadata() -> Metadata {
    Metadata { mode: 0o4777, uid: 12_345, gid: 12_345, ..Metadata::default() }
}

fn linked() -> Metadata {
    Metadata { mode: 0o644, hard_link: Some(HardLink { device: 1, inode: 1 }), ..Metadata::default() }
}

#[test]
fn links_planted_at_names_are_replaced() {
    let scene = Scene::new();
    let to_file = ["whole", "pieces", "empty", "pipe", "link"];
    for planted in to_file {
        symlink(scene.outside().join("secret"), scene.target().join(planted)).expect("a link");
    }
    symlink(scene.outside().join("dir"), scene.target().join("dir")).expect("a link");
    let root = scene.root();
    let dir = root.dir();

    drop(dir.write_file(name("whole"), b"new", &metadata()).expect("a file"));
    let file = dir.create_file(name("pieces"), 3).expect("a file");
    file.write_at(0, b"new").expect("it can be written");
    drop(file.finish(&metadata()).expect("a file"));
    drop(dir.create_file(name("empty"), 0).expect("a file").finish(&metadata()).expect("a file"));
    drop(dir.leaf(name("pipe"), Leaf::Fifo, &metadata()).expect("a pipe"));
    drop(dir.leaf(name("link"), Leaf::Symlink { target: b"elsewhere" }, &metadata()).expect("a link"));
    let child = dir.child_dir(name("dir")).expect("a directory");
    drop(child.write_file(name("file"), b"new", &metadata()).expect("a file"));
    drop(child.finish(&metadata()));

    for made in to_file {
        let made = scene.target().join(made);
        let target = fs::read_link(&made).ok();
        assert_ne!(target, Some(scene.outside().join("secret")), "{}", made.display());
    }
    assert!(fs::symlink_metadata(scene.target().join("dir")).expect("it is there").is_dir());
    scene.check_surroundings();
}

#[test]
fn links_planted_on_the_way_to_a_hard_link_lead_nowhere() {
    let scene = Scene::new();
    let root = scene.root();
    let dir = root.dir().child_dir(name("dir")).expect("a directory");
    let inner = dir.child_dir(name("inner")).expect("a directory");
    let link = inner.write_file(name("file"), b"ours", &linked()).expect("a file").link.expect("it was asked for");

    // The directory is exchanged for a link to one outside that holds a file of the same name.
    fs::rename(scene.target().join("dir"), scene.target().join("moved")).expect("it can be moved");
    symlink(scene.outside().join("dir"), scene.target().join("dir")).expect("a link");
    let error = root.dir().hard_link(name("second"), &link).expect_err("there is a link on the way");
    assert_eq!(error.kind(), HostErrorKind::Changed);

    // The file itself is exchanged for a second name of one outside.
    fs::remove_file(scene.target().join("dir")).expect("it is there");
    fs::rename(scene.target().join("moved"), scene.target().join("dir")).expect("it can be moved");
    fs::remove_file(scene.target().join("dir/inner/file")).expect("it is there");
    let before = scene.before.clone();
    fs::hard_link(scene.outside().join("secret"), scene.target().join("dir/inner/file")).expect("a second name");
    let error = root.dir().hard_link(name("second"), &link).expect_err("it is another file");
    assert_eq!(error.kind(), HostErrorKind::Changed);
    assert!(fs::symlink_metadata(scene.target().join("second")).is_err());

    // Content and rights of that file are as before; its change time is not, because it got a second name.
    let after = TreeImage::read(scene.place.path()).expect("it can be read").without("target");
    let options = CompareOptions { untouched: false, ..CompareOptions::exact() };
    assert_eq!(before.differences(&after, options), []);
}

#[test]
fn hard_links_are_made_to_files_of_this_restore_only() {
    let scene = Scene::new();
    let (first, second) = (scene.root(), scene.root());
    let link = first.dir().write_file(name("file"), b"ours", &linked()).expect("a file").link.expect("asked for");
    first.dir().hard_link(name("second"), &link).expect("a second name");
    assert_eq!(second.dir().hard_link(name("third"), &link).unwrap_err().kind(), HostErrorKind::Changed);
    // To a name that the file has already, and over another file.
    first.dir().hard_link(name("second"), &link).expect("it is there already");
    drop(first.dir().write_file(name("other"), b"other", &metadata()).expect("a file"));
    first.dir().hard_link(name("other"), &link).expect("it takes the name");
    assert_eq!(fs::read(scene.target().join("other")).expect("it is there"), b"ours");
    assert_eq!(fs::read_dir(scene.target()).expect("it opens").count(), 3);
    scene.check_surroundings();
}

#[test]
fn a_file_reused_is_never_behind_a_link() {
    let scene = Scene::new();
    symlink(scene.outside().join("secret"), scene.target().join("link")).expect("a link");
    fs::create_dir(scene.target().join("dir")).expect("a directory");
    fs::write(scene.target().join("file"), b"old").expect("a file");
    let root = scene.root();
    for absent in ["link", "dir", "gone"] {
        assert!(root.dir().existing_file(name(absent)).expect("it can be looked for").is_none());
    }
    let old = root.dir().existing_file(name("file")).expect("it can be looked for").expect("it is there");
    drop(root.dir().write_file(name("file"), b"new", &metadata()).expect("a file"));
    let mut content = [0; 8];
    assert_eq!(old.read_at(0, &mut content).expect("it can still be read"), 3);
    assert_eq!(&content[..3], b"old");
}

#[test]
fn a_file_takes_no_more_than_it_declared() {
    let scene = Scene::new();
    let root = scene.root();
    let file = root.dir().create_file(name("file"), 10).expect("a file");
    file.write_at(0, b"12345").expect("it fits");
    for offset in [6, 10, u64::MAX, u64::MAX - 2] {
        assert_eq!(file.write_at(offset, b"12345").unwrap_err().kind(), HostErrorKind::Misuse);
    }
    drop(file);
    assert_eq!(fs::read_dir(scene.target()).expect("it opens").count(), 0, "an unfinished file has no name");
}

#[test]
fn a_directory_with_entries_gives_way_to_nothing() {
    let scene = Scene::new();
    for dir in ["full", "empty-1", "empty-2", "empty-3"] {
        fs::create_dir(scene.target().join(dir)).expect("a directory");
    }
    fs::write(scene.target().join("full/file"), b"somebody's").expect("a file");
    let root = scene.root();
    let dir = root.dir();
    let occupied = |error: host_fs::HostError| assert_eq!(error.kind(), HostErrorKind::Occupied, "{error:?}");
    occupied(dir.write_file(name("full"), b"new", &metadata()).unwrap_err());
    occupied(dir.leaf(name("full"), Leaf::Fifo, &metadata()).unwrap_err());
    occupied(dir.create_file(name("full"), 0).expect("a file").finish(&metadata()).unwrap_err());
    drop(dir.write_file(name("empty-1"), b"new", &metadata()).expect("a file"));
    drop(dir.leaf(name("empty-2"), Leaf::Symlink { target: b"x" }, &metadata()).expect("a link"));
    let link = dir.write_file(name("linked"), b"x", &linked()).expect("a file").link.expect("asked for");
    dir.hard_link(name("empty-3"), &link).expect("it takes the name");
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(scene.target()).expect("it opens").count(), 5);
    assert_eq!(fs::read(scene.target().join("full/file")).expect("it is there"), b"somebody's");
    scene.check_surroundings();
}

/// Exchanges a directory or a file in the target for a link to `goal`; the way there leads through no link itself.
fn exchange_for_link(target: &Path, goal: &Path, random: &mut Random) -> io::Result<()> {
    let open = |dir: BorrowedFd<'_>, name: &str| {
        openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    let top = openat(CWD, target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let dir = format!("dir-{}", random.below(4));
    let (parent, victim) = match random.below(3) {
        0 => (top.try_clone()?, dir.as_str()),
        1 => (open(top.as_fd(), &dir)?, "inner"),
        _ => (open(open(top.as_fd(), &dir)?.as_fd(), "inner")?, "file"),
    };
    let aside = format!("aside-{}", random.next_u64());
    renameat(&parent, victim, &top, &aside)?;
    symlinkat(goal, &parent, victim)?;
    if random.chance(50) {
        unlinkat(&parent, victim, AtFlags::empty())?;
    }
    let aside = target.join(aside);
    fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside))
}

/// While a restore runs, another thread keeps exchanging its directories and files for links to outside.
#[test]
fn a_race_against_links_is_never_lost() {
    let scene = Scene::new();
    let seed = seed();
    let is_over = AtomicBool::new(false);
    let (target, outside) = (scene.target(), scene.outside());
    let mut made = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(seed);
            while !is_over.load(Ordering::Relaxed) {
                let goal = match random.below(3) {
                    0 => outside.join("dir"),
                    1 => outside.join("dir/inner"),
                    _ => outside.join("secret"),
                };
                // Each of these may fail: that is what a race is.
                let _ = exchange_for_link(&target, &goal, &mut random);
            }
        });
        let root = scene.root();
        let mut random = Random::new(!seed);
        for _ in 0..1500 {
            let outcome = (|| {
                let dir = root.dir().child_dir(name(&format!("dir-{}", random.below(4))))?;
                let inner = dir.child_dir(name("inner"))?;
                let file = match random.below(4) {
                    0 => inner.write_file(name("file"), b"new", &linked())?,
                    1 => inner.leaf(name("file"), Leaf::Symlink { target: b"there" }, &linked())?,
                    2 => inner.leaf(name("file"), Leaf::Fifo, &linked())?,
                    _ => {
                        let file = inner.create_file(name("file"), 3)?;
                        file.write_at(0, b"new")?;
                        file.finish(&linked())?
                    }
                };
                if let Some(link) = file.link {
                    root.dir().hard_link(name("second"), &link)?;
                }
                drop(inner.finish(&Metadata { mode: 0o755, ..Metadata::default() }));
                drop(dir.finish(&Metadata { mode: 0o755, ..Metadata::default() }));
                Ok::<_, host_fs::HostError>(())
            })();
            made += usize::from(outcome.is_ok());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(made > 0, "some of it succeeds");
    scene.check_surroundings();
}

#[test]
fn root_does_not_restore_where_others_can_meddle() {
    if !geteuid().is_root() {
        return;
    }
    let scene = Scene::new();
    let options = RestoreOptions::for_this_process();
    let open = |options| RestoreRoot::open(&scene.target(), options).map(drop).map_err(|error| error.kind());
    assert_eq!(open(options), Ok(()));
    for mode in [0o777, 0o1777, 0o775, 0o757] {
        fs::set_permissions(scene.target(), Permissions::from_mode(mode)).expect("it is ours");
        assert_eq!(open(options), Err(HostErrorKind::Untrusted), "{mode:o}");
        assert_eq!(open(RestoreOptions { trust_target: true, ..options }), Ok(()));
    }
    fs::set_permissions(scene.target(), Permissions::from_mode(0o755)).expect("it is ours");
    std::os::unix::fs::chown(scene.target(), Some(12_345), None).expect("root may");
    assert_eq!(open(options), Err(HostErrorKind::Untrusted));
}
