//! What leaves a server, what comes back, and what does not let itself be taken away: by the commands of both programs.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{Client, Home, Pair, Server, User, assert_same_file, assert_same_tree, number};

fn write(home: &Home, name: &str, content: &[u8]) -> PathBuf {
    let path = home.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// Ids of the client's snapshots, or of those in the trash, oldest first.
fn snapshots(client: &Client, arguments: &[&str]) -> Vec<String> {
    let output = client.run(&[&["--json", "snapshots"], arguments].concat()).expect(0);
    output.all("snapshot").iter().map(|snapshot| snapshot["snapshot"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn snapshots_are_forgotten_held_and_brought_back() {
    let Pair { server, client, home } = Pair::new();
    let tree = home.folder("tree");
    for number in 0..3 {
        write(&home, "tree/file", format!("content {number}").as_bytes());
        client.backup(&tree);
    }
    let all = snapshots(&client, &[]);
    let short = &all[0][..8];
    client.run(&["forget", short]).expect(5).says(&["is too young to be taken away"]);
    server.admin(&["retention", "set", "--keep-last", "2", "--min-age", "0s"]).expect(0);

    client.report("held", &["hold", short]);
    client.run(&["forget", short]).expect(5).says(&["is held"]);
    let held = client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    assert_eq!((&held[0]["held"], &held[1]["held"]), (&true.into(), &false.into()));
    client.report("unheld", &["unhold", short]);
    let forgotten = client.report("forgotten", &["forget", short, &all[1]]);
    assert_eq!(number(&forgotten, "changed"), 2);
    assert_eq!(snapshots(&client, &[]), all[2..]);
    assert_eq!(snapshots(&client, &["--trash"]), all[..2]);
    client.run(&["restore", short, "nowhere"]).expect(1);

    let back = client.report("undeleted", &["undelete", &all[1]]);
    assert_eq!(number(&back, "changed"), 1);
    let target = home.path("restored");
    client.restore(format!("{}:{}", all[1], tree.display()), &target);
    assert_eq!(fs::read(target.join("file")).unwrap(), b"content 1");
    client.run(&["undelete", "0000"]).expect(1);
    // The newest two stay by the policy; the other is in the trash already.
    let run = server.admin(&["retention", "run", "--json"]).expect(0).last("retention-run");
    assert_eq!((number(&run, "goes"), number(&run, "stays")), (0, 2));
    let words = String::from_utf8(client.run(&["snapshots", "--trash"]).expect(0).stdout).unwrap();
    assert!(words.contains("in the trash until "), "{words}");
}

#[test]
fn the_drive_gives_back_what_was_removed() {
    let Pair { server: _server, client, home } = Pair::new();
    let letter = write(&home, "letter", b"dear all");
    for folder in ["docs", "docs/old"] {
        client.report("committed", &["put".as_ref(), letter.as_os_str(), "--to".as_ref(), folder.as_ref()]);
    }
    client.report("removed", &["rm", "docs/old"]);
    client.report("removed", &["rm", "/docs/letter"]);
    let trash = client.run(&["--json", "rlist", "--trash"]).expect(0).all("trashed");
    let shown: Vec<(&str, &str)> =
        trash.iter().map(|file| (file["path"].as_str().unwrap(), file["type"].as_str().unwrap())).collect();
    assert_eq!(shown, [("docs/old", "directory"), ("docs/letter", "file")]);
    assert_eq!(trash[1]["size"], 8);
    client.run(&["get", "docs/letter", "-"]).expect(1);
    client.run(&["undelete", "--drive", "docs/letter", "/docs/old/"]).expect(0);
    assert_eq!(client.run(&["get", "docs/old/letter", "-"]).expect(0).stdout, b"dear all");
    assert_eq!(client.run(&["get", "docs/letter", "-"]).expect(0).stdout, b"dear all");
    client.run(&["undelete", "--drive", "docs/letter"]).expect(1).says(&["something else has this name now"]);
    client.run(&["undelete", "--drive", "nothing"]).expect(1).says(&["there is no nothing in the drive's trash"]);
    assert!(client.run(&["--json", "rlist", "--trash"]).expect(0).all("trashed").is_empty());
}

/// A device that may only add backs up as any other does, again and again; what it wrote is there for those who may read.
#[test]
fn a_put_only_token_adds_and_nothing_else() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let client = Client::new(&home, "camera", User::Same);
    client.connect(&server.enroll_with(&["--device", "camera", "--scope", "put-only"]));
    let mut random = Random::new(seed());
    let mut content = random.bytes(6 << 20);
    let file = write(&home, "tree/large", &content);
    write(&home, "tree/small", b"small");
    let tree = home.path("tree");
    client.backup(&tree);
    content[3_000_000..3_000_100].fill(7);
    fs::write(&file, &content).unwrap();
    let second = client.backup(&tree);
    // A chunk or two is new; without a basis it comes whole.
    assert!(number(&second, "bytes_sent") < 5 << 20 && number(&second, "bytes_stored") < 5 << 20, "{second}");
    let refused = [
        &["snapshots"][..],
        &["ls", "latest"],
        &["restore", "latest", "nowhere"],
        &["verify"],
        &["drill"],
        &["forget", "latest"],
        &["hold", "latest"],
        &["rlist"],
        &["rm", "large"],
        &["get", "large", "-"],
    ];
    for arguments in refused {
        client.run(arguments).expect(5).says(&["not allowed"]);
    }
    let put = client.run(&["put".as_ref(), file.as_os_str()]);
    put.expect(5).says(&["not allowed"]);

    // Its connection, with a token that may read: an administrator gave the device another scope.
    server.admin(&["status"]).expect(0);
    let mut server = server;
    server.stop();
    let catalog = rusqlite::Connection::open(server.data_dir().join("catalog.sqlite3")).unwrap();
    catalog.execute("UPDATE device SET scope = 2", ()).unwrap();
    drop(catalog);
    server.restart();
    client.set_connection("port", &server.port().to_string());
    let target = home.path("restored");
    client.restore(format!("latest:{}", tree.display()), &target);
    assert_same_tree(&tree, &target, CompareOptions::for_this_user());
    assert_same_file(&file, &target.join("large"));
    client.run(&["backup".as_ref(), tree.as_os_str()]).expect(5).says(&["not allowed"]);
}

#[test]
fn a_snapshot_that_keeps_unusually_little_is_told_and_keeps_what_came_before() {
    let Pair { server, client, home } = Pair::new();
    let mut random = Random::new(seed());
    for number in 0..20 {
        write(&home, &format!("tree/{number}"), &random.bytes(1 << 20));
    }
    let tree = home.path("tree");
    let unusual = || number(&server.status()["running"], "unusual_snapshots");
    client.backup(&tree);
    for number in 0..5 {
        write(&home, &format!("tree/{number}"), &random.bytes(1 << 20));
    }
    client.backup(&tree);
    assert_eq!(unusual(), 0, "a first snapshot and an ordinary one");
    // As ransomware would: everything is something else, under other names.
    for number in 0..20 {
        fs::remove_file(tree.join(number.to_string())).unwrap();
        write(&home, &format!("tree/{number}.locked"), &random.bytes(1 << 20));
    }
    client.backup(&tree);
    assert_eq!(unusual(), 1);
    assert!(server.log().contains("a snapshot keeps unusually little of the one before"));
    let status = String::from_utf8(server.admin(&["status"]).expect(0).stdout).unwrap();
    assert!(status.contains("keep unusually little of the one before: 1"), "{status}");

    // By the policy only the newest would stay. What came before it does, too, until an administrator has looked.
    server.admin(&["retention", "set", "--keep-last", "1", "--min-age", "0s"]).expect(0);
    let run = || server.admin(&["retention", "run", "--json"]).expect(0).last("retention-run");
    assert_eq!((number(&run(), "goes"), number(&run(), "stays")), (0, 3));
    let told = String::from_utf8(server.admin(&["retention", "simulate"]).expect(0).stdout).unwrap();
    assert_eq!(told.matches("from before an unusual change that nobody has confirmed").count(), 2, "{told}");
    let target = home.path("restored");
    let [_, second, _] = &snapshots(&client, &[])[..] else { panic!("three snapshots") };
    client.restore(format!("{second}:{}", tree.display()), &target);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 20);
    let confirmed =
        server.admin(&["retention", "confirm-change", "--all", "--json"]).expect(0).last("change-confirmed");
    assert_eq!(confirmed["what"], "more than 60 % of its bytes are gone or others");
    assert_eq!((number(&run(), "goes"), number(&run(), "stays")), (2, 1));
}

#[test]
fn a_drill_restores_a_sample_and_the_server_remembers() {
    let mut pair = Pair::with(&["--pack-size", "64KiB"], User::Same);
    let mut random = Random::new(seed());
    for number in 0..30 {
        write(&pair.home, &format!("tree/dir-{}/file-{number}", number % 3), &random.bytes(10_000 * number));
    }
    let tree = pair.home.path("tree");
    let backup = pair.client.backup(&tree);
    let drilled = pair.client.report("drilled", &["drill", "--sample", "12"]);
    assert_eq!((&drilled["is_sound"], number(&drilled, "files")), (&true.into(), 12));
    assert_eq!(drilled["snapshot"], backup["snapshot"]);
    let listed = pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    assert_eq!(
        (&listed[0]["drilled"], &listed[0]["verified"]),
        (&drilled["server_time"], &Value::Null),
        "a sample is not all"
    );
    let caches: Vec<_> =
        fs::read_dir(pair.client.cache_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!caches.iter().any(|name| name.to_string_lossy().starts_with("drill")), "scratch is gone: {caches:?}");

    pair.server.admin(&["verify"]).expect(0);
    let verified = pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    assert!(verified[0]["verified"].is_string() && verified[0]["damaged"] == false, "{verified:?}");

    // A flipped byte in each pack of content: every file is damaged, and the drill says so.
    pair.server.stop();
    let mut packs = Vec::new();
    let mut folders = vec![pair.server.data_dir().join("packs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { folders.push(entry) } else { packs.push(entry) }
        }
    }
    let mut flipped = 0;
    for pack in packs.iter().filter(|pack| fs::metadata(pack).unwrap().len() > 60_000) {
        let mut bytes = fs::read(pack).unwrap();
        for at in (4_000..bytes.len() - 20_000).step_by(4_000) {
            bytes[at] ^= 1;
            flipped += 1;
        }
        fs::remove_file(pack).unwrap();
        fs::write(pack, bytes).unwrap();
    }
    assert!(flipped > 10);
    pair.server.restart();
    pair.client.set_connection("port", &pair.server.port().to_string());
    let output = pair.client.run(&["--json", "drill", "--sample", "30"]).expect(6);
    let drilled = output.last("drilled");
    assert!(number(&drilled, "problems") > 10, "{drilled}");
    pair.server.admin(&["verify"]).expect(6);
    let again = pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    assert_eq!(again[0]["drilled"], listed[0]["drilled"], "a drill that failed verifies nothing");
    assert_eq!((&again[0]["damaged"], &again[0]["verified"]), (&true.into(), &Value::Null));
}
