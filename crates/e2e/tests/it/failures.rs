//! Things go wrong: exit codes, messages that name the thing and the way out, and what works all the same.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, mkfifoat};
use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{
    Client, Home, NOBODY, Output, Pair, Relay, Server, User, assert_same_file, assert_same_tree, files_below, is_root,
    number, server,
};

const MIB: usize = 1 << 20;
/// The same words for an unknown device and for a wrong token, so that nobody learns which it was.
const UNKNOWN_DEVICE: &str = "the device is not known here, or its secret is not right";

/// Every command that needs the server fails like this.
#[track_caller]
fn check_refused(client: &Client, code: i32, says: &[&str]) {
    let commands: [&[&str]; 7] = [
        &["backup", "/etc/hostname"],
        &["snapshots"],
        &["ls", "latest"],
        &["restore", "latest", "nothing-comes-here"],
        &["put", "/etc/hostname"],
        &["get", "anything", "-"],
        &["rlist"],
    ];
    for command in commands {
        let output = client.run(&[&["--max-wait", "0"], command].concat()).expect(code).says(says);
        assert!(output.stdout.is_empty(), "{output}");
        assert!(output.stderr.starts_with("error: cannot ") && output.stderr.contains("\nhint: "), "{output}");
    }
}

#[test]
fn a_wrong_token_is_refused() {
    let pair = Pair::new();
    pair.client.set_connection("secret", &format!("\"{}\"", "5a".repeat(32)));
    check_refused(&pair.client, 5, &[UNKNOWN_DEVICE, "backup-server enroll"]);
}

#[test]
fn an_unknown_device_is_refused_in_the_same_words() {
    let pair = Pair::new();
    pair.client.set_connection("device", "\"0123456789abcdef\"");
    check_refused(&pair.client, 5, &[UNKNOWN_DEVICE, "backup-server enroll"]);
}

#[test]
fn a_revoked_device_is_refused() {
    let pair = Pair::new();
    pair.client.run(&["snapshots"]).expect(0);
    pair.server.admin(&["device", "revoke", &pair.server.device_id("laptop")]).expect(0);
    check_refused(&pair.client, 5, &["access was taken away", "backup-server enroll"]);
    // Enrolled again, it is another device.
    pair.client.connect(&pair.server.enroll("laptop"));
    pair.client.run(&["snapshots"]).expect(0);
}

#[test]
fn a_device_that_is_revoked_while_it_sends_is_stopped() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let relay = Relay::new(&server);
    let client = Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll_with(&["--device", "laptop", "--address", &relay.address()]));
    let file = home.path("file");
    fs::write(&file, Random::new(seed()).bytes(30 * MIB)).unwrap();
    relay.hold_after(MIB as u64);
    let backup = client.start(&["backup".as_ref(), file.as_os_str()]);
    relay.wait_until_held();
    server.admin(&["device", "revoke", &server.device_id("laptop")]).expect(0);
    relay.open();
    backup.finish().expect(5).says(&["hint: "]);
    assert_eq!(number(&server.status(), "snapshots"), 0);
}

#[test]
fn an_enrolment_string_works_once() {
    let pair = Pair::new();
    let enrolment = pair.server.enroll("tablet");
    let tablet = Client::new(&pair.home, "tablet", User::Same);
    tablet.connect(&enrolment);
    let thief = Client::new(&pair.home, "thief", User::Same);
    thief.run(&["connect", &enrolment]).expect(5).says(&["was used", "backup-server enroll"]);
    assert!(!thief.connection_file().exists());
    thief.run(&["snapshots"]).expect(1).says(&["not connected to a server", "backup-client connect"]);
    pair.server.admin(&["enroll", "--device", "x", "--account", "nobody"]).expect(1).says(&["no account `nobody`"]);
}

#[test]
fn another_server_is_not_trusted() {
    let pair = Pair::new();
    let impostor = Server::start_on(&pair.home, "impostor", &pair.home.path("impostor-data"), &[]);
    let port = impostor.port().to_string();
    pair.client.set_connection("port", &port);
    let address = format!("127.0.0.1:{port}");
    check_refused(&pair.client, 7, &["is not the one this device was connected to", &address]);
    let tablet = Client::new(&pair.home, "tablet", User::Same);
    let own_port = format!("127.0.0.1:{}:", pair.server.port());
    let enrolment = pair.server.enroll("tablet").replace(&own_port, &format!("{address}:"));
    tablet.run(&["connect", &enrolment]).expect(7).says(&["is not the one", &address]);
    // A token was not shown to it either.
    assert!(!impostor.log().contains(&pair.server.device_id("laptop")), "{}", impostor.log());
}

#[test]
fn a_server_that_does_not_run_is_named() {
    let mut pair = Pair::new();
    pair.server.stop();
    let address = format!("127.0.0.1:{}", pair.server.port());
    check_refused(&pair.client, 4, &["cannot reach the server at", &address, "is the server running"]);
    // Without a wait of 0 the client says that it tries again.
    let output = pair.client.run(&["--max-wait", "1", "snapshots"]).expect(4);
    output.says(&["warning: cannot reach the server at", "trying again in"]);
}

#[test]
fn a_connection_file_that_others_can_read_is_refused() {
    let pair = Pair::new();
    fs::set_permissions(pair.client.connection_file(), fs::Permissions::from_mode(0o644)).unwrap();
    pair.client.run(&["snapshots"]).expect(1).says(&["connection.toml", "chmod 600"]);
}

#[test]
fn a_data_directory_has_one_server() {
    let pair = Pair::new();
    let second = pair.server.admin(&["serve", "--listen", "127.0.0.1:0"]).expect(4);
    second.says(&["another process is using", &pair.server.data_dir().display().to_string(), "hint: "]);
    let missing = pair.home.path("missing");
    let status = server::run(server::command().args(["status", "--data-dir"]).arg(&missing));
    status.expect(4).says(&["there is no store in", &missing.display().to_string()]);
    assert!(!missing.exists());
}

#[test]
fn an_unreadable_file_is_named_and_the_others_are_kept() {
    let pair = Pair::with(&[], User::Unprivileged);
    let tree = pair.home.folder("tree");
    for name in ["before", "closed", "zebra"] {
        fs::write(tree.join(name), format!("content of {name}")).unwrap();
    }
    fs::create_dir(tree.join("locked")).unwrap();
    fs::write(tree.join("locked/inside"), "out of reach").unwrap();
    if is_root() {
        for name in ["", "before", "closed", "zebra", "locked"] {
            chown(tree.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    for name in ["closed", "locked"] {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = pair.client.run(&["--json".as_ref(), "backup".as_ref(), tree.as_os_str()]).expect(3);
    let [closed, locked] = ["closed", "locked"].map(|name| tree.join(name).display().to_string());
    let output = output.says(&[&closed, &locked, "run as a user who may read it, or exclude it"]);
    let named: Vec<_> = output.all("problem").iter().map(|problem| problem["path"].clone()).collect();
    assert!(named.len() == 2 && named.contains(&closed.into()) && named.contains(&locked.into()), "{named:?}");
    let committed = output.last("committed");
    assert_eq!((number(&committed, "problems"), number(&committed, "files")), (2, 2));

    let target = pair.home.folder("restored");
    if is_root() {
        chown(&target, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    pair.client.restore(format!("latest:{}", tree.display()), &target);
    for name in ["before", "zebra"] {
        assert_same_file(&tree.join(name), &target.join(name));
    }
    // Mended, it is all there; what was left out is not taken for unchanged.
    for name in ["closed", "locked"] {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(tree.join("locked/inside"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(number(&pair.client.backup(&tree), "files"), 4);
}

/// As `/home` on many machines: it may be passed and not be listed.
#[test]
fn a_folder_above_that_can_only_be_passed_is_passed() {
    let pair = Pair::with(&[], User::Unprivileged);
    let tree = pair.home.folder("passage/tree");
    fs::write(tree.join("file"), "content").unwrap();
    fs::set_permissions(pair.home.path("passage"), fs::Permissions::from_mode(0o311)).unwrap();
    let report = pair.client.backup(&tree);
    assert_eq!((number(&report, "files"), number(&report, "problems")), (1, 0));
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o311)).unwrap();
    pair.client.run(&["put".as_ref(), tree.join("file").as_os_str()]).expect(0);
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(pair.home.path("passage"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// A backup that has looked at a folder and cannot go on: so many bytes in it come before what is to change that the
/// client must send some of them before it reads on, and the relay lets nothing through.
struct Stuck {
    relay: Relay,
    client: Client,
    tree: PathBuf,
    home: Home,
    _server: Server,
}

impl Stuck {
    /// More than a client reads ahead.
    const LEADING_FILES: usize = 10;
    const LEADING_LEN: usize = 8 * MIB;

    fn new() -> Self {
        let home = Home::new();
        let server = Server::start(&home, &[]);
        let relay = Relay::new(&server);
        let client = Client::new(&home, "laptop", User::Same);
        client.connect(&server.enroll_with(&["--device", "laptop", "--address", &relay.address()]));
        let tree = home.folder("tree");
        let mut random = Random::new(seed());
        for index in 0..Self::LEADING_FILES {
            fs::write(tree.join(format!("a-{index}")), random.bytes(Self::LEADING_LEN)).unwrap();
        }
        fs::write(tree.join("y-stays"), "it stays").unwrap();
        fs::write(tree.join("z-goes"), "it goes").unwrap();
        Self { relay, client, tree, home, _server: server }
    }

    /// Does something to the tree in the middle of the backup.
    fn backup_while(&self, act: impl FnOnce()) -> Output {
        // Once a file's bytes are on their way, the folder has been listed.
        self.relay.hold_after(2 * MIB as u64);
        let backup = self.client.start(&["--json".as_ref(), "backup".as_ref(), self.tree.as_os_str()]);
        self.relay.wait_until_held();
        act();
        self.relay.open();
        backup.finish()
    }
}

#[test]
fn a_file_that_vanishes_is_named_and_the_others_are_kept() {
    let stuck = Stuck::new();
    let gone = stuck.tree.join("z-goes");
    let output = stuck.backup_while(|| fs::remove_file(&gone).unwrap()).expect(3);
    let output = output.says(&[&gone.display().to_string(), "it vanished while the backup ran"]);
    assert_eq!(output.all("problem").len(), 1, "{output}");
    assert_eq!(number(&output.last("committed"), "files"), Stuck::LEADING_FILES as u64 + 1);
    let target = stuck.home.path("restored");
    stuck.client.restore(format!("latest:{}", stuck.tree.display()), &target);
    assert_same_tree(&stuck.tree, &target, CompareOptions { mtimes: false, ..CompareOptions::unprivileged() });
}

/// What is not a file any more when it is read must not be waited for.
#[test]
fn a_file_that_becomes_a_pipe_does_not_hang_the_backup() {
    let stuck = Stuck::new();
    let turned = stuck.tree.join("z-goes");
    let output = stuck.backup_while(|| {
        fs::remove_file(&turned).unwrap();
        mkfifoat(rustix::fs::CWD, &turned, Mode::from_raw_mode(0o600)).unwrap();
    });
    // Whether it had been looked at before: then it was replaced, else it is simply a pipe.
    assert!(matches!(output.code, Some(0 | 3)), "{output}");
    if output.code == Some(3) {
        let output = output.says(&[&turned.display().to_string()]);
        assert_eq!(number(&output.last("committed"), "files"), Stuck::LEADING_FILES as u64 + 1);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let pair = Pair::new();
    let tree = pair.home.folder("tree");
    let [busy, quiet] = ["busy", "quiet"].map(|name| tree.join(name));
    fs::write(&busy, Random::new(seed()).bytes(32 * MIB)).unwrap();
    fs::write(&quiet, "nobody touches it").unwrap();
    let is_over = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&busy).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                file.write_all(b"!").unwrap();
            }
        });
        // The file grows all the time; that all three attempts at reading it fall into pauses of the writer happens to
        // a very busy machine at most, and then not again and again.
        let mut runs = (0..5).map(|run| {
            let chain = format!("run-{run}");
            let arguments = ["--json", "backup", "--chain", &chain];
            pair.client.run(&[&arguments.map(AsRef::as_ref)[..], &[tree.as_os_str()]].concat())
        });
        let output = runs.find(|output| output.code != Some(0));
        is_over.store(true, Ordering::Relaxed);
        output.expect("a file that grows all the time is reported")
    });
    let output = output.expect(3).says(&[&busy.display().to_string(), "changed while it was read"]);
    assert_eq!(number(&output.last("committed"), "files"), 2);
    // Its copy is marked, and the next backup does not take it for unchanged.
    let at = format!("latest:{}", busy.display());
    let listed = pair.client.report("entry", &["ls", &at]);
    let committed = pair.client.backup(&tree);
    assert_eq!(number(&committed, "problems"), 0);
    assert_eq!(listed["changed_while_read"], true, "{listed}");
    let target = pair.home.path("restored");
    pair.client.restore(format!("latest:{}", tree.display()), &target);
    assert_same_file(&busy, &target.join("busy"));
    assert_same_file(&quiet, &target.join("quiet"));
}

#[test]
fn a_restore_to_a_place_it_cannot_write_says_so() {
    let pair = Pair::with(&[], User::Unprivileged);
    let tree = pair.home.folder("tree");
    fs::write(tree.join("file"), "content").unwrap();
    pair.client.backup(&tree);
    // An owner could open up a folder of his own; here only root may write.
    let target = "/delta-backup-e2e-is-not-restored-here";
    let from = format!("latest:{}", tree.display());
    pair.client.run(&["restore", &from, target]).expect(1).says(&[target, "Permission denied"]);
}

#[test]
fn damage_in_the_store_is_told() {
    let mut pair = Pair::with(&["--pack-size", "64KiB"], User::Same);
    let tree = pair.home.folder("tree");
    let mut random = Random::new(seed());
    for name in ["one", "two", "three"] {
        fs::write(tree.join(name), random.bytes(200_000)).unwrap();
    }
    pair.client.backup(&tree);
    pair.server.stop();
    // The content of one file: the largest packs are those of files.
    let mut packs = files_below(&pair.server.data_dir().join("packs"));
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = packs.last().unwrap();
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(pack, bytes).unwrap();
    pair.server.restart();
    pair.client.set_connection("port", &pair.server.port().to_string());

    let verified = pair.client.run(&["--json", "verify"]).expect(6);
    assert_eq!(verified.last("verified")["is_sound"], false);
    let target = pair.home.path("restored");
    let from = format!("latest:{}", tree.display());
    let restored = pair.client.run(&["restore".as_ref(), from.as_ref(), target.as_os_str()]).expect(6);
    let named: Vec<&str> = ["one", "two", "three"]
        .into_iter()
        .filter(|name| restored.stderr.contains(&target.join(name).display().to_string()))
        .collect();
    assert_eq!(named.len(), 1, "the file that is lost is named, and no other: {restored}");
    for name in ["one", "two", "three"] {
        if named.contains(&name) {
            assert!(!target.join(name).exists(), "half a file is none");
        } else {
            assert_same_file(&tree.join(name), &target.join(name));
        }
    }
}

#[test]
fn a_data_directory_in_memory_is_refused_unless_somebody_means_it() {
    const TMPFS: u64 = 0x0102_1994;
    let memory = std::path::Path::new("/dev/shm");
    if !rustix::fs::statfs(memory).is_ok_and(|found| found.f_type.cast_unsigned() == TMPFS) {
        eprintln!("SKIPPED: there is no memory at /dev/shm");
        return;
    }
    let folder = tempfile::tempdir_in(memory).unwrap();
    let data_dir = folder.path().join("data");
    let serve = |command: &mut std::process::Command| {
        server::run(command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir))
    };
    let refused = serve(server::command().env_remove("BACKUP_SERVER_ANY_FILE_SYSTEM")).expect(4);
    refused.says(&["memory (tmpfs)", "put the data directory on a disk", "any-file-system"]);
    assert!(!data_dir.join("catalog.sqlite3").exists());
    let home = Home::new();
    let server = Server::start_on(&home, "server", &data_dir, &["--any-file-system"]);
    assert_eq!(server.status()["is_full"], false);
}
