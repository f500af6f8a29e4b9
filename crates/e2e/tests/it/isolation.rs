//! Who sees what: devices of one account, other accounts, and several at once.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::tree::{Random, seed};

use crate::support::{Client, Home, Pair, Relay, Server, User, assert_same_file, number, wait_until};

const MIB: usize = 1 << 20;

fn write(home: &Home, name: &str, content: &[u8]) -> PathBuf {
    let path = home.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

fn id(report: &serde_json::Value) -> String {
    report["snapshot"].as_str().unwrap().to_owned()
}

#[test]
fn two_clients_at_once_both_commit() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let mut random = Random::new(seed());
    let common = random.bytes(8 * MIB);
    let sides: Vec<(Client, Relay, PathBuf)> = ["left", "right"]
        .into_iter()
        .map(|name| {
            let relay = Relay::new(&server);
            let client = Client::new(&home, name, User::Same);
            client.connect(&server.enroll_with(&["--device", name, "--address", &relay.address()]));
            write(&home, &format!("tree-{name}/common"), &common);
            write(&home, &format!("tree-{name}/own"), &random.bytes(2 * MIB));
            (client, relay, home.path(&format!("tree-{name}")))
        })
        .collect();
    let backups: Vec<_> = sides
        .iter()
        .map(|(client, relay, tree)| {
            relay.hold_after(MIB as u64);
            client.start(&["--json".as_ref(), "backup".as_ref(), tree.as_os_str()])
        })
        .collect();
    for (_, relay, _) in &sides {
        relay.wait_until_held();
    }
    wait_until("both write", || server.status()["running"]["sessions"] == 2);
    for (_, relay, _) in &sides {
        relay.open();
    }
    for backup in backups {
        backup.finish().expect(0).last("committed");
    }
    for (client, _, tree) in &sides {
        let target = home.path(&format!("restored-{}", tree.file_name().unwrap().display()));
        client.restore(format!("latest:{}", tree.display()), &target);
        for name in ["common", "own"] {
            assert_same_file(&tree.join(name), &target.join(name));
        }
        assert_eq!(client.run(&["--json", "snapshots"]).expect(0).all("snapshot").len(), 1, "each sees its own");
    }
    // What the two have stored, a third one does not send.
    let third = Client::new(&home, "third", User::Same);
    third.connect(&server.enroll("third"));
    let both = home.folder("tree-third");
    for name in ["left", "right"] {
        fs::copy(home.path(&format!("tree-{name}/own")), both.join(name)).unwrap();
    }
    fs::copy(home.path("tree-left/common"), both.join("common")).unwrap();
    let report = third.backup(&both);
    assert!(number(&report, "bytes_sent") < 16_000 && number(&report, "bytes_stored") < 8_000, "{report}");
    assert_eq!(number(&report, "bytes"), 12 * MIB as u64);
}

#[test]
fn a_device_opens_its_own_chains_only() {
    let Pair { server, client, home } = Pair::new();
    let file = write(&home, "tree/letter", b"of the first device");
    let snapshot = id(&client.backup(&file));

    let other = Client::new(&home, "other", User::Same);
    other.connect(&server.enroll("other"));
    check_sees_nothing(&other, &snapshot);
    // The same chain name is another chain.
    let own = write(&home, "other-tree/letter", b"of the second device");
    let own_snapshot = id(&other.backup(&own));
    let listed = other.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    assert!(listed.len() == 1 && id(&listed[0]) == own_snapshot, "{listed:?}");
    client.run(&["ls", &own_snapshot]).expect(1).says(&[&own_snapshot, "there is no snapshot"]);

    // The drive belongs to the account.
    client.run(&["put".as_ref(), file.as_os_str()]).expect(0);
    let got = other.run(&["get", "letter", "-"]).expect(0);
    assert_eq!(got.stdout, b"of the first device");

    // Nothing of this depends on the name a device has.
    let namesake = Client::new(&home, "namesake", User::Same);
    namesake.connect(&server.enroll("laptop"));
    check_sees_nothing(&namesake, &snapshot);
}

#[test]
fn another_account_sees_nothing() {
    let Pair { server, client, home } = Pair::new();
    let content = Random::new(seed()).bytes(3 * MIB);
    let file = write(&home, "tree/letter", &content);
    let first = client.backup(&file);
    client.run(&["put".as_ref(), file.as_os_str()]).expect(0);

    server.admin(&["account", "add", "neighbour"]).expect(0);
    let neighbour = Client::new(&home, "neighbour", User::Same);
    neighbour.connect(&server.enroll_with(&["--device", "laptop", "--account", "neighbour"]));
    check_sees_nothing(&neighbour, &id(&first));
    assert_eq!(neighbour.run(&["--json", "rlist"]).expect(0).events().len(), 0);
    neighbour.run(&["get", "letter", "-"]).expect(1).says(&["letter", "there is no"]);
    neighbour.run(&["rm", "letter"]).expect(1).says(&["letter", "there is no"]);

    // Nor can it tell by the bytes it sends whether somebody else has a file.
    let second = neighbour.backup(&file);
    for field in ["bytes_sent", "bytes_stored"] {
        let (first, second) = (number(&first, field), number(&second, field));
        assert!(second + second / 50 >= first, "{field}: {second} where the first needed {first}");
    }
    assert_ne!(id(&first), id(&second));
    let restored = home.path("restored");
    neighbour.restore(format!("latest:{}", file.display()), &restored);
    assert_same_file(&file, &restored.join("letter"));
    assert_eq!(client.run(&["--json", "snapshots"]).expect(0).events().len(), 1);
}

/// For this client there is no snapshot, also not the one of that id.
#[track_caller]
fn check_sees_nothing(client: &Client, snapshot: &str) {
    assert_eq!(client.run(&["--json", "snapshots"]).expect(0).events().len(), 0);
    let target = Path::new("nothing-comes-here");
    for name in [snapshot, &snapshot[..8]] {
        let refused = client.run(&["restore".as_ref(), name.as_ref(), target.as_os_str()]);
        refused.expect(1).says(&[name, "there is no snapshot"]);
        client.run(&["ls", name]).expect(1).says(&[name, "there is no snapshot"]);
        client.run(&["verify", name]).expect(1).says(&[name, "there is no snapshot"]);
    }
    client.run(&["ls", "latest"]).expect(1).says(&["there is no snapshot"]);
    client.run(&["ls", "latest", "--chain", "default"]).expect(1).says(&["there is no snapshot"]);
}
