//! Clients that remember what the server no longer has: snapshots collected while they were away or stopped, damage that
//! is found while they run. They send what is missing and commit; stamps that prove nothing are not believed.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{
    Client, Home, Pair, Relay, Server, User, assert_same_file, assert_same_tree, copy_folder, damage_packs, number,
    wait_until,
};

const MIB: usize = 1 << 20;
/// What is forgotten is purged within a second, and nothing but what a test does touches the packs.
const OPTIONS: &[&str] =
    &["--trash-delay", "0s", "--retention-interval", "200ms", "--pack-size", "256KiB", "--scrub-interval", "0s"];

/// Files of 300 kB that share nothing.
fn write_files(folder: &Path, random: &mut Random, count: usize) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let write = |index| {
        let path = folder.join(format!("file {index:02}"));
        fs::write(&path, random.bytes(300_000)).unwrap();
        path
    };
    (0..count).map(write).collect()
}

fn id(event: &Value) -> String {
    event["snapshot"].as_str().unwrap().to_owned()
}

/// Takes snapshots away for good, with all that only they had.
fn purge(server: &Server, client: &Client, snapshots: &[&str]) {
    server.admin(&["retention", "set", "--keep-last", "100", "--min-age", "0s"]).expect(0);
    let left = number(&server.status(), "snapshots") - snapshots.len() as u64;
    client.run(&[&["forget"], snapshots].concat()).expect(0);
    wait_until("the trash is emptied", || {
        let status = server.status();
        number(&status, "snapshots") + number(&status, "trashed_snapshots") == left
    });
    for _ in 0..3 {
        server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
    }
}

/// The snapshot is whole on the server, is the newest, and brings `tree` back.
#[track_caller]
fn check_committed(committed: &Value, tree: &Path, server: &Server, client: &Client, home: &Home) {
    server.admin(&["verify", "--snapshot", &id(committed)]).expect(0);
    let target = home.path("restored");
    let _ = fs::remove_dir_all(&target);
    client.restore(format!("latest:{}", tree.display()), &target);
    assert_same_tree(tree, &target, CompareOptions::for_this_user());
}

#[test]
fn a_client_with_caches_of_a_snapshot_that_was_collected_commits_a_complete_one() {
    let Pair { server, client, home } = Pair::with(OPTIONS, User::Same);
    let mut random = Random::new(seed());
    let [tree, then] = ["tree", "then"].map(|name| home.path(name));
    let files = write_files(&tree, &mut random, 12);
    fs::write(tree.join("large"), random.bytes(6 * MIB)).unwrap();
    let first = id(&client.backup(&tree));
    let frozen = home.path("frozen caches");
    copy_folder(&client.cache_dir(), &frozen);
    copy_folder(&tree, &then);

    // Meanwhile most of it became something else, and what it was is gone from the server.
    for file in &files[..8] {
        fs::write(file, random.bytes(200_000)).unwrap();
    }
    fs::write(tree.join("large"), random.bytes(6 * MIB)).unwrap();
    let second = id(&client.backup(&tree));
    purge(&server, &client, &[&first]);
    let stored = number(&server.status(), "bytes_stored");
    assert!(stored < 10 * MIB as u64, "what only the first had is gone: {stored}");

    // The machine as it was: files, times and caches.
    for round in 0..2 {
        client.forget_caches();
        copy_folder(&frozen, &client.cache_dir());
        fs::remove_dir_all(&tree).unwrap();
        copy_folder(&then, &tree);
        let report = client.backup(&tree);
        assert_eq!(number(&report, "files"), 13);
        check_committed(&report, &tree, &server, &client, &home);
        if round == 0 {
            // The same again, when the server has no snapshot of this device at all.
            purge(&server, &client, &[&second, &id(&report)]);
            assert_eq!(number(&server.status(), "snapshots"), 0);
        }
    }
}

#[test]
fn a_client_stopped_while_everything_it_builds_upon_is_collected_commits() {
    let home = Home::new();
    let mut random = Random::new(seed());
    let server = Server::start(&home, OPTIONS);
    let relay = Relay::new(&server);
    let client = Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll_with(&["--device", "laptop", "--address", &relay.address()]));
    // The same device, not by way of the relay.
    let other = Client::new(&home, "other", User::Same);
    copy_folder(&client.config_dir(), &other.config_dir());
    other.set_connection("port", &server.port().to_string());
    let tree = home.path("tree");
    write_files(&tree.join("a"), &mut random, 10);
    for attempt in 0..2 {
        let earlier: Vec<String> =
            client.run(&["--json", "snapshots"]).expect(0).all("snapshot").iter().map(id).collect();
        let parent = id(&client.backup(&tree));
        fs::rename(tree.join("a"), tree.join("b")).unwrap();
        fs::write(tree.join("c"), random.bytes(24 * MIB)).unwrap();
        relay.hold_after(12 * MIB as u64);
        let backup = client.start(&["--json".as_ref(), "backup".as_ref(), tree.as_os_str()]);
        relay.wait_until_held();
        let mut gone: Vec<&str> = earlier.iter().map(String::as_str).collect();
        gone.push(&parent);
        let report = if attempt == 0 {
            // Stopped with the session open, as a machine that sleeps.
            backup.suspend();
            purge(&server, &other, &gone);
            backup.resume();
            relay.open();
            backup.finish().expect(0).last("committed")
        } else {
            // Killed, and started again when all of it is over.
            backup.kill();
            relay.open();
            server.wait_until_quiet();
            purge(&server, &other, &gone);
            client.backup(&tree)
        };
        check_committed(&report, &tree, &server, &client, &home);
        fs::rename(tree.join("b"), tree.join("a")).unwrap();
        fs::remove_file(tree.join("c")).unwrap();
    }
}

/// The server says that it holds something, and damage to that is found before the commit.
#[test]
fn what_is_lost_while_a_backup_runs_is_sent_before_it_commits() {
    let home = Home::new();
    let mut random = Random::new(seed());
    let server = Server::start(&home, OPTIONS);
    let relay = Relay::new(&server);
    let client = Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll_with(&["--device", "laptop", "--address", &relay.address()]));
    let tree = home.path("tree");
    write_files(&tree.join("a"), &mut random, 10);
    client.backup(&tree);
    // Under other names the same content is asked about, and held.
    fs::rename(tree.join("a"), tree.join("b")).unwrap();
    fs::write(tree.join("c"), random.bytes(32 * MIB)).unwrap();
    let old_packs = server.data_packs();
    relay.hold_after(20 * MIB as u64);
    let backup = client.start(&["--json".as_ref(), "backup".as_ref(), tree.as_os_str()]);
    relay.wait_until_held();
    damage_packs(&old_packs);
    server.admin(&["verify", "--full"]).expect(6);
    relay.open();
    let output = backup.finish().expect(0).says(&["reading the files again to send what is missing"]);
    let report = output.last("committed");
    assert!(number(&report, "objects_stored") >= 10 && number(&report, "files") == 11, "{report}");
    assert!(number(&report, "bytes_sent") < (32 + 5) * MIB as u64, "nothing but what was lost comes twice: {report}");
    check_committed(&report, &tree, &server, &client, &home);
}

/// Without a cache the parent's trees are walked; where they cannot be read, the files are.
#[test]
fn a_parent_that_cannot_be_read_is_done_without() {
    let Pair { server, client, home } = Pair::with(OPTIONS, User::Same);
    let tree = home.path("tree");
    write_files(&tree, &mut Random::new(seed()), 5);
    client.backup(&tree);
    client.forget_caches();
    // Nobody has noticed yet.
    damage_packs(&server.metadata_packs());
    let output = client.run(&["--json".as_ref(), "backup".as_ref(), tree.as_os_str()]).expect(0);
    let report = output.says(&["reading the files again to send what is missing"]).last("committed");
    assert!(number(&report, "bytes_stored") < 100_000, "the content is all there: {report}");
    check_committed(&report, &tree, &server, &client, &home);
}

#[test]
fn a_put_heals_what_was_lost_on_the_drive() {
    let Pair { server, client, home } = Pair::with(OPTIONS, User::Same);
    let mut random = Random::new(seed());
    let [same, changed] = ["same", "changed"].map(|name| home.path(name));
    let mut content = random.bytes(3 * MIB);
    fs::write(&same, random.bytes(3 * MIB)).unwrap();
    fs::write(&changed, &content).unwrap();
    let put = || client.run(&["--json".as_ref(), "put".as_ref(), same.as_os_str(), changed.as_os_str()]).expect(0);
    put();
    damage_packs(&server.data_packs());
    server.admin(&["verify", "--full"]).expect(6);
    content[..100].fill(1);
    fs::write(&changed, &content).unwrap();
    put();
    for file in [&same, &changed] {
        let got = home.path("got");
        let name = file.file_name().unwrap();
        client.run(&["get".as_ref(), name, got.as_os_str()]).expect(0);
        assert_same_file(file, &got);
        fs::remove_file(&got).unwrap();
    }
}

/// More than are read and sent at once.
#[test]
fn many_files_are_put_over_one_connection() {
    let Pair { server, client, home } = Pair::new();
    let folder = home.folder("many");
    for number in 0..600 {
        fs::write(folder.join(number.to_string()), number.to_string()).unwrap();
    }
    let logins = || server.log().matches("client connected").count();
    let before = logins();
    let output = client.run(&["put".as_ref(), folder.as_os_str()]).expect(0);
    assert_eq!(output.stderr, "", "nothing broke on the way");
    assert_eq!(logins() - before, 1);
    assert_eq!(client.run(&["get", "many/599", "-"]).expect(0).stdout, b"599");
}

/// Waits until the files' times are so old that a backup which begins now may believe them.
fn wait_until_settled(folder: &Path) {
    wait_until("the files are three seconds old", || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        crate::support::files_below(folder).iter().all(|file| {
            let changed = fs::metadata(file).unwrap().ctime();
            u64::try_from(changed).unwrap() + 4 < now
        })
    });
}

#[test]
fn a_change_that_size_and_time_do_not_show_is_found() {
    let Pair { server, client, home } = Pair::new();
    let tree = home.path("tree");
    let files = write_files(&tree, &mut Random::new(seed()), 4);
    let set_modified = |path: &Path, time| {
        File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    };
    // What seems to be of the future is never believed.
    set_modified(&files[0], SystemTime::now() + Duration::from_secs(3600));
    wait_until_settled(&tree);
    client.backup(&tree);
    let second = client.backup(&tree);
    assert_eq!((number(&second, "bytes_read"), &second["full_read"]), (300_000, &false.into()), "{second}");

    // Same size and time: the change time tells. Another file with the same size and time: so does the inode.
    let old = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let (time, moved_time) = (old(&files[1]), old(&files[2]));
    fs::write(&files[1], [1; 300_000]).unwrap();
    set_modified(&files[1], time);
    let other = home.path("other");
    fs::write(&other, [2; 300_000]).unwrap();
    set_modified(&other, moved_time);
    fs::rename(&other, &files[2]).unwrap();
    let third = client.backup(&tree);
    assert_eq!(number(&third, "bytes_read"), 3 * 300_000, "{third}");
    check_committed(&third, &tree, &server, &client, &home);
}

#[test]
fn every_nth_backup_reads_everything_and_sends_nothing() {
    let Pair { server, client, home } = Pair::new();
    let tree = home.path("tree");
    write_files(&tree, &mut Random::new(seed()), 4);
    fs::write(tree.join("large"), Random::new(seed() + 1).bytes(9 * MIB)).unwrap();
    let bytes = 4 * 300_000 + 9 * MIB as u64;
    wait_until_settled(&tree);
    let backup = |every: &str| {
        let arguments = ["--json".as_ref(), "backup".as_ref(), "--reread-every".as_ref(), every.as_ref()];
        client.run(&[&arguments[..], &[tree.as_os_str()]].concat()).expect(0).last("committed")
    };
    let first = backup("3");
    assert_eq!((&first["full_read"], number(&first, "bytes_read")), (&true.into(), bytes));
    for is_full in [false, false, true, false, false, true, false] {
        let report = backup("3");
        let expected = if is_full { bytes } else { 0 };
        assert_eq!((&report["full_read"], number(&report, "bytes_read")), (&is_full.into(), expected), "{report}");
        assert_eq!(number(&report, "objects_stored"), 1, "a snapshot and nothing else: {report}");
    }
    // This once, and never.
    assert_eq!(backup("1")["full_read"], true);
    let last = backup("0");
    assert_eq!(last["full_read"], false);
    check_committed(&last, &tree, &server, &client, &home);
}
