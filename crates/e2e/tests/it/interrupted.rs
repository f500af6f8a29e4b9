//! Clients and servers killed in the middle of a backup. Where the middle is, the seed decides: a [`Relay`] lets so many
//! bytes through and no more, then something is killed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{Client, Home, Relay, Running, Server, User, assert_same_file, assert_same_tree, number};

/// Nothing compresses or repeats, so bytes of files are bytes to send.
const TREE_LEN: u64 = 100 << 20;
const LARGE_LEN: usize = 40 << 20;
const SMALL_LEN_MAX: usize = 1 << 20;
/// Small packs: at every moment much is safe, and much is not.
const OPTIONS: [&str; 4] = ["--pack-size", "3MiB", "--seal-interval", "1s"];
/// By then a session of writing is open.
const HOLD_MIN: u64 = 256 << 10;
/// At most a quarter at a time, so that three interruptions leave something to do.
const HOLD_MAX: u64 = TREE_LEN / 4;
/// What may be sent beyond the bytes that are missing: questions, lists, trees, headers, and the record at which the
/// connection ended.
const SLACK: u64 = 6 << 20;

/// A server, a client whose way to it leads over a relay, and a tree of [`TREE_LEN`] bytes.
struct Scene {
    relay: Relay,
    server: Server,
    client: Client,
    tree: PathBuf,
    random: Random,
    home: Home,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let mut random = Random::new(seed());
        let server = Server::start(&home, &OPTIONS);
        let relay = Relay::new(&server);
        let client = Client::new(&home, "laptop", User::Same);
        client.connect(&server.enroll_with(&["--device", "laptop", "--address", &relay.address()]));
        let tree = home.folder("tree");
        let (mut left, mut index) = (usize::try_from(TREE_LEN).unwrap(), 0);
        while left > 0 {
            let len = if index == 5 { LARGE_LEN } else { random.index(SMALL_LEN_MAX) }.min(left);
            let dir = home.folder(&format!("tree/folder-{}", index % 7));
            fs::write(dir.join(format!("file-{index}")), random.bytes(len)).unwrap();
            left -= len;
            index += 1;
        }
        Self { relay, server, client, tree, random, home }
    }

    fn start_backup(&self, max_wait: &str) -> Running {
        let arguments = ["--json".as_ref(), "--max-wait".as_ref(), max_wait.as_ref(), "backup".as_ref()];
        self.client.start(&[&arguments[..], &[self.tree.as_os_str()]].concat())
    }

    /// So many more bytes go to the server, and nothing more then.
    fn hold_somewhere(&mut self) {
        let bytes = HOLD_MIN + self.random.below(HOLD_MAX - HOLD_MIN);
        eprintln!("{bytes} more bytes go to the server");
        self.relay.hold_after(bytes);
    }

    /// Bytes that are safe.
    fn stored(&self) -> u64 {
        number(&self.server.status(), "bytes_stored")
    }

    /// The newest snapshot brings the tree back.
    #[track_caller]
    fn check_restore(&self) {
        let target = self.home.path("restored");
        self.client.restore(format!("latest:{}", self.tree.display()), &target);
        assert_same_tree(&self.tree, &target, CompareOptions::unprivileged());
    }
}

#[test]
fn what_a_killed_client_sent_is_not_sent_again() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        let (sent_before, stored_before) = (scene.relay.forwarded(), scene.stored());
        scene.hold_somewhere();
        let backup = scene.start_backup("60");
        scene.relay.wait_until_held();
        backup.kill();
        scene.relay.open();
        // What has arrived is made safe before the session ends.
        scene.server.wait_until_quiet();
        let sent = scene.relay.forwarded() - sent_before;
        let stored = scene.stored() - stored_before;
        eprintln!("{stored} bytes are safe of {sent} that were sent");
        assert!(stored + SLACK > sent, "{stored} bytes are safe of {sent} that were sent");
        let snapshots = scene.client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
        assert!(snapshots.is_empty(), "half a snapshot is none: {snapshots:?}");
    }
    let stored = scene.stored();
    let report = scene.start_backup("60").finish().expect(0).last("committed");
    assert!(number(&report, "bytes_sent") + stored < TREE_LEN + SLACK, "{stored} bytes were safe: {report}");
    assert_eq!(number(&report, "bytes"), TREE_LEN);
    scene.check_restore();
}

#[test]
fn a_backup_outlives_its_servers() {
    let mut scene = Scene::new();
    let witness = Client::new(&scene.home, "witness", User::Same);
    witness.connect(&scene.server.enroll("witness"));
    let file = scene.home.path("file of the witness");
    fs::write(&file, scene.random.bytes(100_000)).unwrap();
    witness.backup(&file);

    let stored_at_first = scene.stored();
    scene.hold_somewhere();
    let backup = scene.start_backup("60");
    let (mut forwarded, mut stored) = (0, 0);
    for is_killed in [true, false, true] {
        scene.relay.wait_until_held();
        forwarded = scene.relay.forwarded();
        let stored_before = scene.stored();
        if is_killed {
            scene.server.kill();
        } else {
            scene.server.stop();
        }
        scene.server.restart();
        stored = scene.stored();
        eprintln!("{stored} bytes are safe, {stored_before} were before");
        assert!(stored >= stored_before, "{stored_before} bytes were safe, now {stored} are");
        witness.set_connection("port", &scene.server.port().to_string());
        let target = scene.home.path("restored for the witness");
        witness.restore(format!("latest:{}", file.display()), &target);
        assert_same_file(&file, &target.join("file of the witness"));
        scene.relay.lead_to(&scene.server);
        scene.hold_somewhere();
    }
    scene.relay.open();
    let output = backup.finish().expect(0).says(&["trying again"]);
    let report = output.last("committed");
    assert_eq!(number(&report, "bytes"), TREE_LEN);
    // The last connection brought what was missing, and nothing else.
    let (sent, missing) = (scene.relay.forwarded() - forwarded, TREE_LEN - (stored - stored_at_first));
    assert!(sent < missing + SLACK, "{sent} bytes were sent when {missing} were missing: {report}");
    scene.check_restore();
}

#[test]
fn a_put_goes_on_over_the_next_connection() {
    let mut scene = Scene::new();
    let arguments = ["--json".as_ref(), "--max-wait".as_ref(), "60".as_ref(), "put".as_ref()];
    scene.hold_somewhere();
    let put = scene.client.start(&[&arguments[..], &[scene.tree.as_os_str()]].concat());
    scene.relay.wait_until_held();
    let forwarded = scene.relay.forwarded();
    scene.server.stop();
    scene.server.restart();
    let stored = scene.stored();
    scene.relay.lead_to(&scene.server);
    scene.relay.open();
    let output = put.finish().expect(0).says(&["trying again"]);
    // Nothing was there before: every file counts as put, though the answer may have come over the second connection.
    for file in output.all("put") {
        assert_eq!(file["identical"], false, "{file}");
    }
    let (sent, missing) = (scene.relay.forwarded() - forwarded, TREE_LEN - stored);
    assert!(sent < missing + SLACK, "{sent} bytes were sent when {missing} were missing");
    let paths = output.all("put");
    assert_eq!(number(&output.last("committed"), "files"), paths.len() as u64);
    for name in ["tree/folder-5/file-5", "tree/folder-0/file-0"] {
        let target = scene.home.path("fetched");
        scene.client.run(&["get".as_ref(), name.as_ref(), target.as_os_str()]).expect(0);
        assert_same_file(&scene.home.path(name), &target);
    }
}

#[test]
fn commands_wait_for_a_server_that_comes_back() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    let relay = Relay::new(&server);
    let client = Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll_with(&["--device", "laptop", "--address", &relay.address()]));
    let file = home.path("file");
    fs::write(&file, "content").unwrap();
    let target = home.path("restored");
    let [file, target] = [&file, &target].map(|path| path.to_str().unwrap());
    let commands: [&[&str]; 6] = [
        &["backup", file],
        &["snapshots"],
        &["restore", "latest", target],
        &["put", file],
        &["get", "file", "-"],
        &["rm", "file"],
    ];
    for command in commands {
        server.stop();
        let mut waiting = client.start(&[&["--max-wait", "100"], command].concat());
        waiting.wait_until_says("trying again in");
        server.restart();
        relay.lead_to(&server);
        waiting.finish().expect(0);
    }
}

/// The time that a client waits for a server is the time without one, not the time since it began.
#[test]
fn a_long_backup_is_as_patient_as_a_short_one() {
    let scene = Scene::new();
    let mut server = scene.server;
    scene.relay.hold_after(HOLD_MAX);
    let arguments = ["--json".as_ref(), "--max-wait".as_ref(), "3".as_ref(), "backup".as_ref()];
    let backup = scene.client.start(&[&arguments[..], &[scene.tree.as_os_str()]].concat());
    scene.relay.wait_until_held();
    backup.suspend();
    std::thread::sleep(Duration::from_secs(3));
    server.kill();
    server.restart();
    scene.relay.lead_to(&server);
    scene.relay.open();
    backup.resume();
    let output = backup.finish().expect(0).says(&["trying again"]);
    assert_eq!(number(&output.last("committed"), "bytes"), TREE_LEN);
}
