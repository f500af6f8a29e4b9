//! The plain mirror, with the real binaries: a folder of ordinary files that follows a drive or a chain, keeps what somebody
//! changed by hand, and survives whatever ends it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{
    Home, Output, Pair, Server, User, assert_same_file, assert_same_tree, damage_packs, files_below, number, wait_until,
};

const OWN_FOLDER: &str = ".delta-backup-mirror";
const CHAIN: &[&str] = &["--chain", "laptop/home"];

/// Runs a mirror; the exit code is looked at by the caller.
fn mirror(server: &Server, source: &[&str], target: &Path) -> Output {
    let target = target.to_str().unwrap();
    server.admin(&[&["mirror", target, "--json"], source].concat())
}

/// The report of a mirror that is in step now.
#[track_caller]
fn in_step(server: &Server, source: &[&str], target: &Path) -> Value {
    mirror(server, source, target).expect(0).last("mirrored")
}

/// Figures of a report, in this order: written, linked, reflinked or copied, unchanged, removed, kept, foreign.
fn figures(report: &Value) -> [u64; 7] {
    let count = |name| number(report, name);
    let placed = count("reflinked") + count("copied");
    let [written, linked, unchanged] = ["written", "linked", "unchanged"].map(count);
    let [removed, kept, foreign] = ["removed", "kept", "foreign"].map(count);
    [written, linked, placed, unchanged, removed, kept, foreign]
}

/// What a path is called in a mirror of a chain.
fn below(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Files of a mirror that are not its own records.
fn plain_files(target: &Path) -> Vec<PathBuf> {
    let mut files = files_below(target);
    files.retain(|path| !path.starts_with(target.join(OWN_FOLDER)));
    files
}

/// A folder with large and small files, two of them equal, a link, names of all sorts, and an empty folder.
fn write_tree(home: &Home) -> PathBuf {
    let tree = home.folder("tree");
    let mut random = Random::new(seed());
    fs::create_dir_all(tree.join("sub/deeper")).unwrap();
    fs::create_dir_all(tree.join("empty")).unwrap();
    let large = random.bytes(3_000_000);
    fs::write(tree.join("large"), &large).unwrap();
    fs::write(tree.join("sub/the same"), &large).unwrap();
    fs::write(tree.join("sub/deeper/small"), b"small").unwrap();
    fs::write(tree.join("no bytes"), b"").unwrap();
    fs::write(tree.join("line\nbreak\\"), b"a name").unwrap();
    symlink("sub/deeper", tree.join("link")).unwrap();
    tree
}

#[test]
fn a_chain_is_followed_and_only_what_differs_is_touched() {
    let Pair { mut server, client, home } = Pair::new();
    let (tree, target) = (write_tree(&home), home.path("mirror"));
    client.backup_to("home", &tree);
    // Nothing is there, and nothing is made of a look.
    let would = in_step(&server, &["--chain", "laptop/home", "--dry-run"], &target);
    assert_eq!((figures(&would), target.exists()), ([6, 0, 0, 0, 0, 0, 0], false));
    let first = in_step(&server, CHAIN, &target);
    assert_eq!(figures(&first), [5, 0, 1, 0, 0, 0, 0], "{first}");
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o700, "plain files of backups");
    let large = inode(&below(&target, &tree.join("large")));

    let again = in_step(&server, CHAIN, &target);
    assert_eq!(figures(&again), [0, 0, 0, 6, 0, 0, 0], "{again}");
    assert_eq!(number(&again, "bytes_written"), 0);

    fs::write(tree.join("sub/deeper/small"), b"other").unwrap();
    fs::write(tree.join("new"), b"new").unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    // A file where a folder was, and a folder where a file was.
    fs::remove_dir(tree.join("empty")).unwrap();
    fs::write(tree.join("empty"), b"not any more").unwrap();
    fs::remove_file(tree.join("no bytes")).unwrap();
    fs::create_dir(tree.join("no bytes")).unwrap();
    fs::write(tree.join("no bytes/one"), b"1").unwrap();
    client.backup_to("home", &tree);
    let would = in_step(&server, &["--chain", "laptop/home", "--dry-run"], &target);
    assert_eq!(figures(&would), [4, 0, 0, 3, 2, 0, 0], "{would}");
    assert!(below(&target, &tree.join("link")).is_symlink());
    let second = in_step(&server, CHAIN, &target);
    assert_eq!(figures(&second), [4, 0, 0, 3, 2, 0, 0], "{second}");
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());
    assert_eq!(inode(&below(&target, &tree.join("large"))), large, "it was left alone");

    // Without a server the command does it itself; what is missing comes back, and an empty chain of folders goes.
    server.stop();
    fs::remove_file(below(&target, &tree.join("large"))).unwrap();
    let third = in_step(&server, CHAIN, &target);
    assert_eq!(figures(&third), [1, 0, 0, 6, 0, 0, 0], "{third}");
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());
}

#[test]
fn what_was_changed_by_hand_stays() {
    let Pair { server, client, home } = Pair::new();
    let (tree, target) = (write_tree(&home), home.path("mirror"));
    client.backup_to("home", &tree);
    in_step(&server, CHAIN, &target);
    let mirrored = |name: &str| below(&target, &tree.join(name));
    let outside = home.folder("outside");
    fs::write(outside.join("small"), b"somebody's").unwrap();

    fs::write(mirrored("large"), b"my own words").unwrap();
    fs::write(mirrored("mine"), b"mine").unwrap();
    fs::write(mirrored("no bytes"), b"some").unwrap();
    // A link to another place where a folder was.
    fs::remove_dir_all(mirrored("sub/deeper")).unwrap();
    symlink(&outside, mirrored("sub/deeper")).unwrap();
    // In the source one of them changes, one goes, and something changes below the link.
    fs::write(tree.join("large"), b"other words").unwrap();
    fs::remove_file(tree.join("no bytes")).unwrap();
    fs::write(tree.join("sub/deeper/small"), b"changed").unwrap();
    client.backup_to("home", &tree);
    let output = mirror(&server, CHAIN, &target).expect(3).says(&["is not in step everywhere", "changed by hand"]);
    let report = output.last("mirrored");
    assert_eq!(figures(&report), [0, 0, 0, 3, 0, 3, 1], "{report}");
    let problems: Vec<(String, String)> = output
        .all("mirror-problem")
        .iter()
        .map(|problem| {
            let path = problem["path"].as_str().unwrap();
            (problem["kind"].as_str().unwrap().to_owned(), path.rsplit('/').next().unwrap().to_owned())
        })
        .collect();
    let expected = [("kept", "large"), ("foreign", "mine"), ("kept", "no bytes"), ("kept", "deeper")];
    assert_eq!(problems, expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    assert_eq!(fs::read(mirrored("large")).unwrap(), b"my own words");
    assert_eq!(fs::read(mirrored("mine")).unwrap(), b"mine");
    assert_eq!(fs::read(mirrored("no bytes")).unwrap(), b"some");
    assert_eq!(files_below(&outside).len(), 1);
    assert_eq!(fs::read(outside.join("small")).unwrap(), b"somebody's");

    // Moved away, it is in step again; what is in nobody's way stays and is told of.
    ["large", "no bytes", "sub/deeper"].iter().for_each(|name| fs::remove_file(mirrored(name)).unwrap());
    let report = in_step(&server, CHAIN, &target);
    assert_eq!(figures(&report), [2, 0, 0, 3, 0, 0, 1], "{report}");
    fs::remove_file(mirrored("mine")).unwrap();
    assert_eq!(figures(&in_step(&server, CHAIN, &target)), [0, 0, 0, 5, 0, 0, 0]);
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());
}

#[test]
fn every_snapshot_has_a_folder_and_what_is_the_same_stands_once() {
    let Pair { server, client, home } = Pair::new();
    let (tree, target) = (write_tree(&home), home.path("mirror"));
    let source = ["--chain", "laptop/home", "--every-snapshot"];
    let mut ids = Vec::new();
    let mut originals = Vec::new();
    for number in 0..3 {
        fs::write(tree.join("changing"), format!("content {number}")).unwrap();
        ids.push(client.backup_to("home", &tree)["snapshot"].as_str().unwrap().to_owned());
        let original = home.path(&format!("original {number}"));
        crate::support::copy_folder(&tree, &original);
        originals.push(original);
    }
    let report = in_step(&server, &source, &target);
    let [written, linked, placed, unchanged, removed, kept, foreign] = figures(&report);
    assert_eq!((unchanged, removed, kept, foreign), (0, 0, 0, 0), "{report}");
    assert_eq!(written + linked + placed, 3 * 7, "{report}");
    let folder = |id: &str| -> Option<PathBuf> {
        let mut folders: Vec<PathBuf> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| path.to_str().unwrap().ends_with(&format!("_{}", &id[..8])));
        folders.pop()
    };
    for (id, original) in ids.iter().zip(&originals) {
        let mirrored = below(&folder(id).unwrap(), &tree);
        assert_same_tree(original, &mirrored, CompareOptions::for_this_user());
    }
    // Where the file system has no reflinks, an equal file is one file.
    if number(&report, "reflinked") == 0 {
        let large = |id| inode(&below(&folder(id).unwrap(), &tree.join("large")));
        assert_eq!((large(&ids[0]), large(&ids[1])), (large(&ids[1]), large(&ids[2])));
        assert!(linked >= 6, "{report}");
    }

    // What is complete is not gone through again.
    let again = in_step(&server, &source, &target);
    assert_eq!((figures(&again), number(&again, "snapshots")), ([0; 7], 0));

    // A snapshot that goes takes its folder along, but not what somebody put there.
    let mine = below(&folder(&ids[1]).unwrap(), &tree.join("sub/mine"));
    fs::write(&mine, b"mine").unwrap();
    server.admin(&["retention", "set", "--keep-last", "1", "--min-age", "0s"]).expect(0);
    client.report("forgotten", &["forget", &ids[0][..8], &ids[1][..8]]);
    let report = in_step(&server, &source, &target);
    assert_eq!(figures(&report), [0, 0, 0, 0, 14, 0, 1], "{report}");
    assert_eq!(folder(&ids[0]), None);
    assert_eq!(plain_files(&folder(&ids[1]).unwrap()), [mine]);
    assert_same_tree(&originals[2], &below(&folder(&ids[2]).unwrap(), &tree), CompareOptions::for_this_user());
}

#[test]
fn a_drive_is_followed() {
    let Pair { server, client, home } = Pair::new();
    let target = home.path("mirror");
    let source = ["--drive", "admin"];
    let put = |name: &str, content: &[u8], folder: &str| {
        let path = home.folder("files").join(name);
        fs::write(&path, content).unwrap();
        client.report("committed", &["put".as_ref(), path.as_os_str(), "--to".as_ref(), folder.as_ref()]);
        path
    };
    assert_eq!(figures(&in_step(&server, &source, &target)), [0; 7], "an empty drive");
    let large = Random::new(seed()).bytes(2_000_000);
    let first = put("first", &large, "docs");
    put("second", b"second", "docs/old");
    let report = in_step(&server, &source, &target);
    assert_eq!(figures(&report), [2, 0, 0, 0, 0, 0, 0], "{report}");
    assert_same_file(&first, &target.join("docs/first"));
    let original = fs::metadata(&first).unwrap();
    let mirrored = fs::metadata(target.join("docs/first")).unwrap();
    assert_eq!((original.mtime(), original.mtime_nsec()), (mirrored.mtime(), mirrored.mtime_nsec()));

    // Equal content is not read twice; what is removed goes, with its folder.
    put("third", &large, "later");
    put("second", b"changed", "docs/old");
    let report = in_step(&server, &source, &target);
    assert_eq!(figures(&report), [1, 0, 1, 1, 0, 0, 0], "{report}");
    client.report("removed", &["rm", "docs"]);
    let report = in_step(&server, &source, &target);
    assert_eq!(figures(&report), [0, 0, 0, 1, 2, 0, 0], "{report}");
    assert_eq!(plain_files(&target), [target.join("later/third")]);

    // The mirror's own name is taken by nobody's file.
    put(OWN_FOLDER, b"a file of this name", "");
    let output = mirror(&server, &source, &target).expect(3);
    assert_eq!(number(&output.last("mirrored"), "refused"), 1);
    assert!(target.join(OWN_FOLDER).is_dir());
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    let mut pair = Pair::new();
    let (tree, target) = (pair.home.folder("tree"), pair.home.path("mirror"));
    let mut random = Random::new(seed());
    for folder in 0..20 {
        fs::create_dir(tree.join(format!("folder {folder}"))).unwrap();
        for file in 0..60 {
            fs::write(tree.join(format!("folder {folder}/file {file}")), random.bytes(3000)).unwrap();
        }
    }
    pair.client.backup_to("home", &tree);
    for files in [1, 100, 700] {
        std::thread::scope(|threads| {
            let (target, data_dir) = (&target, pair.server.data_dir().to_owned());
            threads.spawn(move || {
                // Whatever becomes of the command: the server it asked is killed, unless it was done before.
                let target = target.to_str().unwrap();
                crate::support::server::run(
                    crate::support::server::command()
                        .args(["mirror", target, "--chain", "laptop/home", "--data-dir"])
                        .arg(&data_dir),
                )
            });
            wait_until("files appear", || target.is_dir() && plain_files(target).len() >= files);
            pair.server.kill();
            // The command finds no server, and may have gone on by itself: then it comes to its end.
        });
        pair.server.restart();
    }
    let port = pair.server.port().to_string();
    pair.client.set_connection("port", &port);
    let report = in_step(&pair.server, CHAIN, &target);
    let [.., removed, kept, foreign] = figures(&report);
    assert_eq!((removed, kept, foreign), (0, 0, 0), "{report}");
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());
    assert!(plain_files(&target).iter().all(|path| !path.to_str().unwrap().contains(".bk-tmp-")));

    // What the runs that were cut off wrote is known to be the mirror's: it goes when the source does.
    fs::remove_dir_all(tree.join("folder 3")).unwrap();
    pair.client.backup_to("home", &tree);
    let report = in_step(&pair.server, CHAIN, &target);
    assert_eq!(figures(&report), [0, 0, 0, 19 * 60, 60, 0, 0], "{report}");
}

#[test]
fn damage_costs_what_it_hits() {
    let pair = Pair::with(&["--pack-size", "256KiB", "--scrub-interval", "0s"], User::Same);
    let (tree, target) = (pair.home.folder("tree"), pair.home.path("mirror"));
    let mut random = Random::new(seed());
    for file in 0..8 {
        fs::write(tree.join(format!("file {file}")), random.bytes(200_000)).unwrap();
    }
    pair.client.backup_to("home", &tree);
    in_step(&pair.server, CHAIN, &target);
    // All files change, and then some of that is damaged: their older versions stay.
    let old = pair.home.path("old");
    crate::support::copy_folder(&tree, &old);
    let before = pair.server.data_packs();
    for file in 0..8 {
        fs::write(tree.join(format!("file {file}")), random.bytes(200_000)).unwrap();
    }
    pair.client.backup_to("home", &tree);
    let new: Vec<PathBuf> = pair.server.data_packs().into_iter().filter(|pack| !before.contains(pack)).collect();
    damage_packs(&new[..1]);
    let output = mirror(&pair.server, CHAIN, &target).expect(6).says(&["something cannot be read", "verify"]);
    let report = output.last("mirrored");
    let damaged = number(&report, "damaged");
    assert!((1..8).contains(&damaged), "{report}");
    assert_eq!(figures(&report), [8 - damaged, 0, 0, 0, 0, 0, 0], "{report}");
    let lost: Vec<String> = output
        .all("mirror-problem")
        .iter()
        .map(|problem| problem["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    for file in (0..8).map(|file| format!("file {file}")) {
        let original = if lost.contains(&file) { &old } else { &tree };
        assert_same_file(&original.join(&file), &below(&target, &tree.join(&file)));
    }

    // The next backup brings back what was lost, and the next run takes it.
    pair.server.admin(&["verify"]).expect(6);
    pair.client.backup_to("home", &tree);
    let report = in_step(&pair.server, CHAIN, &target);
    assert_eq!(figures(&report), [damaged, 0, 0, 8 - damaged, 0, 0, 0], "{report}");
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());
}

#[test]
fn a_target_is_taken_only_where_it_does_no_harm() {
    let Pair { server, client, home } = Pair::new();
    let tree = write_tree(&home);
    client.backup_to("home", &tree);
    mirror(&server, CHAIN, &home.folder("tree")).expect(1).says(&["is not empty, and no mirror"]);
    mirror(&server, CHAIN, &server.data_dir().join("mirror")).expect(1).says(&["in one another"]);
    mirror(&server, &["--chain", "nothing"], &home.path("mirror")).expect(1).says(&["there is no chain"]);
    mirror(&server, &["--drive", "nobody"], &home.path("mirror")).expect(1).says(&["there is no account"]);
    mirror(&server, &[], &home.path("mirror")).expect(1);
    assert!(!home.path("mirror").exists());
    in_step(&server, CHAIN, &home.path("mirror"));
    for other in [&["--drive", "admin"][..], &["--chain", "laptop/home", "--every-snapshot"]] {
        mirror(&server, other, &home.path("mirror")).expect(1).says(&["is the mirror of something else"]);
    }
    // That what is stored lies in plain files somewhere is written down.
    let log = server.admin(&["audit", "--event", "mirror-made", "--json"]).expect(0).all("audit");
    assert!(log.iter().any(|line| line["subject"] == "chain:laptop/home"), "{log:?}");
}

#[test]
fn a_server_keeps_its_mirrors_in_step() {
    let home = Home::new();
    let (drive, chain) = (home.path("drive"), home.path("chain"));
    let mirrors = format!("drive:admin={},chain:laptop/home={}", drive.display(), chain.display());
    let server = Server::start(&home, &["--mirrors", &mirrors, "--mirror-interval", "100ms"]);
    let client = crate::support::Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll("laptop"));
    let tree = home.folder("tree");
    for content in [b"one", b"two"] {
        fs::write(tree.join("file"), content).unwrap();
        client.backup_to("home", &tree);
        let path = tree.join("file");
        client.report("committed", &["put".as_ref(), path.as_os_str(), "--to".as_ref(), "docs".as_ref()]);
        let reads = |path: PathBuf| fs::read(path).is_ok_and(|found| found == content);
        wait_until("the chain is followed", || reads(below(&chain, &tree.join("file"))));
        wait_until("the drive is followed", || reads(drive.join("docs/file")));
    }
    client.report("removed", &["rm", "docs/file"]);
    wait_until("what is removed goes", || !drive.join("docs/file").exists());
}
