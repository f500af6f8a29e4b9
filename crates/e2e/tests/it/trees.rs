//! Trees of every kind of file, there and back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use testkit::tree::{CompareOptions, TreeImage, TreeSpec, mutate, seed};

use crate::support::{NOBODY, Pair, User, assert_same_file, assert_same_tree, is_root, number};

/// What `write` does is done by somebody who may do nothing special.
fn as_nobody<T: Send>(write: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if is_root() {
                let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                // Of this thread only; it ends here.
                set_thread_groups(&[]).unwrap();
                set_thread_res_gid(gid, gid, gid).unwrap();
                set_thread_res_uid(uid, uid, uid).unwrap();
            }
            write()
        });
        thread.join().unwrap()
    })
}

/// Two generations of a tree of every kind of file come back, each as it was.
#[track_caller]
fn check_generations(user: User, crowd: usize, options: CompareOptions) {
    let pair = Pair::with(&[], user);
    let seed = seed();
    let parent = pair.home.folder("trees");
    if user == User::Unprivileged && is_root() {
        chown(&parent, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let tree = parent.join("tree");
    let on_tree = |act: &mut (dyn FnMut() + Send)| match user {
        User::Same => act(),
        User::Unprivileged => as_nobody(act),
    };
    on_tree(&mut || {
        let written = TreeSpec { crowd, ..TreeSpec::everything(seed) }.write(&tree).unwrap();
        eprintln!("{} entries, {} bytes; left out: {:?}", written.entries, written.bytes, written.left_out);
    });
    let first_image = image_of(&tree);
    let first = pair.client.backup(&tree);
    assert_eq!(first["problems"], 0, "{first}");
    assert!(number(&first, "files") > 600 + crowd as u64 && number(&first, "others") > 10, "{first}");
    assert_eq!(
        differences(&first_image, &image_of(&tree), CompareOptions::untouched()),
        "",
        "a backup touches nothing"
    );

    on_tree(&mut || assert!(mutate(&tree, seed + 1, 30).unwrap().len() > 15));
    let second_image = image_of(&tree);
    let second = pair.client.backup(&tree);
    assert!(number(&second, "bytes_sent") < number(&first, "bytes_sent") / 2, "{first} {second}");

    let restored = |name: &str| parent.join(name);
    let generations = [("first", &first, &first_image), ("second", &second, &second_image)];
    for (name, report, image) in generations {
        let from = format!("{}:{}", report["snapshot"].as_str().unwrap(), tree.display());
        pair.client.restore(&from, &restored(name));
        assert_eq!(differences(image, &image_of(&restored(name)), options), "", "the {name} generation");
    }
    // Once more, over the tree that is there already. The target itself keeps what it was given before.
    pair.client.restore(format!("latest:{}", tree.display()), &restored("second"));
    let again = image_of(&restored("second")).without("");
    assert_eq!(differences(&second_image.without(""), &again, options), "", "restored again");
}

fn image_of(tree: &Path) -> TreeImage {
    // Reading is enough to change what file systems tell of reserved space; other tests look at it.
    TreeImage::read(tree).unwrap().without("holes/reserved")
}

fn differences(image: &TreeImage, other: &TreeImage, options: CompareOptions) -> String {
    let differences = image.differences(other, options);
    let shown: Vec<String> = differences.iter().take(10).map(ToString::to_string).collect();
    shown.join("\n")
}

#[test]
fn every_kind_of_file_comes_back() {
    let options = if is_root() { CompareOptions::exact() } else { CompareOptions::unprivileged() };
    check_generations(User::Same, 4000, options);
}

#[test]
fn every_kind_of_file_comes_back_to_an_unprivileged_user() {
    check_generations(User::Unprivileged, 200, CompareOptions::unprivileged());
}

/// A small tree of known names.
fn small_tree(pair: &Pair) -> PathBuf {
    let tree = pair.home.folder("tree");
    fs::create_dir_all(tree.join("photos/2019")).unwrap();
    fs::write(tree.join("notes"), "first version").unwrap();
    fs::write(tree.join("photos/cat.jpg"), vec![7; 300_000]).unwrap();
    fs::write(tree.join("photos/2019/dog.jpg"), vec![9; 3_000]).unwrap();
    fs::write(tree.join("photos/a:b"), "a name with a colon").unwrap();
    std::os::unix::fs::symlink("photos/cat.jpg", tree.join("favourite")).unwrap();
    tree
}

#[test]
fn a_restore_takes_what_was_named() {
    let pair = Pair::new();
    let tree = small_tree(&pair);
    let first = pair.client.backup(&tree);
    let first = first["snapshot"].as_str().unwrap();
    fs::write(tree.join("notes"), "second version, longer").unwrap();
    pair.client.backup(&tree);

    // All of it, with full paths; a short id is enough.
    let target = pair.home.path("all");
    pair.client.restore(&first[..8], &target);
    let below = target.join(tree.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(below.join("notes")).unwrap(), "first version");
    assert_same_tree(&tree.join("photos"), &below.join("photos"), CompareOptions::unprivileged());

    // The contents of a directory, straight into the target.
    let target = pair.home.path("photos");
    pair.client.restore(format!("{first}:{}", tree.join("photos").display()), &target);
    assert_same_tree(&tree.join("photos"), &target, CompareOptions::unprivileged());

    // One file, whose name has a colon.
    let target = pair.home.path("one");
    pair.client.restore(format!("latest:{}", tree.join("photos/a:b").display()), &target);
    assert_same_file(&tree.join("photos/a:b"), &target.join("a:b"));

    // The newest, over the older one: what is there and not in the snapshot stays.
    let target = pair.home.path("photos");
    fs::write(target.join("mine"), "not in the snapshot").unwrap();
    pair.client.restore(format!("latest:{}", tree.display()), &target);
    assert_eq!(fs::read_to_string(target.join("notes")).unwrap(), "second version, longer");
    assert_eq!(fs::read_to_string(target.join("mine")).unwrap(), "not in the snapshot");

    let missing = pair.client.run(&["restore", "latest:/no/such/path", "nowhere"]);
    missing.expect(1).says(&["/no/such/path", "there is no"]);
    let missing = pair.client.run(&["restore", "0000000000", "nowhere"]);
    missing.expect(1).says(&["snapshot 0000000000"]);
}

#[test]
fn listings_show_what_is_in_a_snapshot() {
    let pair = Pair::new();
    let tree = small_tree(&pair);
    pair.client.backup(&tree);
    let below = |name: &str| tree.join(name).display().to_string();
    let paths = |arguments: &[&str]| -> BTreeSet<String> {
        let output = pair.client.run(&[&["--json", "ls"], arguments].concat()).expect(0);
        output.all("entry").iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["favourite", "notes", "photos", "photos/2019", "photos/2019/dog.jpg", "photos/a:b", "photos/cat.jpg"];
    let everything = paths(&["latest"]);
    let mut expected: BTreeSet<String> = all.iter().map(|name| below(name)).collect();
    expected.extend(tree.ancestors().filter(|path| *path != Path::new("/")).map(|path| path.display().to_string()));
    assert_eq!(everything, expected);

    let photos = format!("latest:{}", below("photos"));
    let direct: BTreeSet<String> = ["photos/2019", "photos/a:b", "photos/cat.jpg"].map(below).into();
    assert_eq!(paths(&[&photos]), direct);
    let deep: BTreeSet<String> = direct.iter().cloned().chain([below("photos/2019/dog.jpg")]).collect();
    assert_eq!(paths(&["--recursive", &photos]), deep);

    let cat = pair.client.report("entry", &["ls", &format!("latest:{}", below("photos/cat.jpg"))]);
    assert_eq!((cat["type"].as_str(), cat["size"].as_u64()), (Some("file"), Some(300_000)));
    let uid = u64::from(fs::metadata(tree.join("notes")).unwrap().uid());
    assert_eq!(number(&cat, "uid"), uid);
    let words = pair.client.run(&["ls", "latest"]).expect(0);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains(&format!("{} -> photos/cat.jpg", below("favourite"))), "{words}");
}

#[test]
fn what_is_excluded_is_left_out() {
    let pair = Pair::new();
    let tree = small_tree(&pair);
    let report = pair.client.report(
        "committed",
        &[
            "backup".as_ref(),
            "--exclude".as_ref(),
            "*.jpg".as_ref(),
            "--exclude".as_ref(),
            "2019/".as_ref(),
            tree.as_os_str(),
        ],
    );
    assert_eq!(number(&report, "files"), 2, "{report}");
    let target = pair.home.path("restored");
    pair.client.restore(format!("latest:{}", tree.display()), &target);
    assert!(target.join("photos/a:b").exists() && target.join("notes").exists());
    assert!(!target.join("photos/cat.jpg").exists() && !target.join("photos/2019").exists());
}

#[test]
fn chains_are_apart() {
    let pair = Pair::new();
    let tree = small_tree(&pair);
    let home = pair.client.backup_to("home", &tree.join("photos"));
    let etc = pair.client.backup_to("etc", &tree.join("notes"));
    let ids = |arguments: &[&str]| -> Vec<String> {
        let output = pair.client.run(&[&["--json", "snapshots"], arguments].concat()).expect(0);
        output.all("snapshot").iter().map(|snapshot| snapshot["snapshot"].as_str().unwrap().to_owned()).collect()
    };
    let id = |report: &serde_json::Value| report["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(ids(&[]), [id(&home), id(&etc)]);
    assert_eq!(ids(&["--chain", "home"]), [id(&home)]);
    let latest = pair.client.run(&["--json", "ls", "--chain", "home", "latest"]).expect(0);
    assert!(latest.events().iter().any(|entry| entry["path"].as_str().unwrap().ends_with("cat.jpg")), "{latest}");
    let verified = pair.client.report("verified", &["verify", &id(&home)]);
    assert_eq!((verified["is_sound"].as_bool(), number(&verified, "files")), (Some(true), 3));
}

#[test]
fn the_drive_gives_back_what_was_put() {
    let pair = Pair::new();
    let tree = small_tree(&pair);
    let output =
        pair.client.run(&["--json".as_ref(), "put".as_ref(), "--to".as_ref(), "work".as_ref(), tree.as_os_str()]);
    assert_eq!(output.expect(0).all("put").len(), 4);
    let names = |dir: &str| -> Vec<String> {
        let output = pair.client.run(&["--json", "rlist", dir]).expect(0);
        output.all("entry").iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(""), ["work"]);
    assert_eq!(names("work/tree/photos"), ["2019", "a:b", "cat.jpg"]);
    let got = pair.home.folder("got");
    pair.client.run(&["get".as_ref(), "work/tree/photos/cat.jpg".as_ref(), got.as_os_str()]).expect(0);
    assert_same_file(&tree.join("photos/cat.jpg"), &got.join("cat.jpg"));
    let [original, came_back] = [tree.join("photos"), got].map(|dir| fs::metadata(dir.join("cat.jpg")).unwrap());
    assert_eq!(original.modified().unwrap(), came_back.modified().unwrap());

    pair.client.run(&["rm", "work/tree/photos"]).expect(0);
    assert_eq!(names("work/tree"), ["notes"]);
    pair.client
        .run(&["get", "work/tree/photos/cat.jpg", "-"])
        .expect(1)
        .says(&["work/tree/photos/cat.jpg", "there is no"]);
    pair.client.run(&["rlist", "work/tree/photos"]).expect(1).says(&["work/tree/photos"]);
    pair.client.run(&["rm", "work/tree/photos"]).expect(1).says(&["work/tree/photos"]);
}
