//! What was decided about snapshots (forgotten, held, purged) outlives the catalog: `reindex` has it again, and garbage
//! collection goes by it.

use std::fs;

use serde_json::Value;
use testkit::tree::{Random, seed};

use crate::support::{Client, Pair, Server, User, number, wait_until};

/// Bytes of the file that each snapshot has for itself.
const OWN_LEN: usize = 300_000;
const SMALL_PACKS: [&str; 2] = ["--pack-size", "256KiB"];

/// A server, its catalog lost, and its snapshots: one that was purged, one in the trash, one that is held, a live one. The
/// newest backup of the catalog knows none of that.
fn decided() -> (Pair, Vec<String>) {
    let options = [&SMALL_PACKS[..], &["--trash-delay", "0s", "--retention-interval", "100ms"]].concat();
    let mut pair = Pair::with(&options, User::Same);
    let folder = pair.home.folder("files");
    let mut snapshots = Vec::new();
    for round in 0..4 {
        fs::write(folder.join("file"), Random::new(seed() + round).bytes(OWN_LEN)).unwrap();
        snapshots.push(pair.client.backup(&folder)["snapshot"].as_str().unwrap().to_owned());
    }
    pair.server.admin(&["retention", "set", "--keep-last", "9", "--min-age", "0s"]).expect(0);
    pair.server.admin(&["catalog", "backup"]).expect(0);
    pair.client.run(&["forget", &snapshots[0]]).expect(0);
    wait_until("it is purged", || pair.server.status()["trashed_snapshots"] == 0);
    // From here on the trash is kept.
    pair.server.stop();
    pair.server = Server::start(&pair.home, &SMALL_PACKS);
    pair.client.set_connection("port", &pair.server.port().to_string());
    pair.client.run(&["forget", &snapshots[1]]).expect(0);
    pair.client.run(&["hold", &snapshots[2]]).expect(0);
    pair.server.stop();
    for file in ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
        let _ = fs::remove_file(pair.server.data_dir().join(file));
    }
    (pair, snapshots)
}

/// Everything is as it was decided, and the space of what was purged, and of nothing else, comes back.
#[track_caller]
fn check_decisions(pair: &Pair, client: &Client, snapshots: &[String]) {
    let listed = |arguments: &[&str]| -> Vec<(String, bool)> {
        let listed = client.run(&[&["--json", "snapshots"], arguments].concat()).expect(0).all("snapshot");
        let facts = |snapshot: &Value| (snapshot["snapshot"].as_str().unwrap().to_owned(), snapshot["held"] == true);
        listed.iter().map(facts).collect()
    };
    let check = |when: &str| {
        assert_eq!(listed(&[]), [(snapshots[2].clone(), true), (snapshots[3].clone(), false)], "{when}");
        assert_eq!(listed(&["--trash"]), [(snapshots[1].clone(), false)], "{when}");
    };
    check("rebuilt");
    let before = number(&pair.server.status(), "bytes_stored");
    for _ in 0..2 {
        pair.server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
    }
    let freed = before - number(&pair.server.status(), "bytes_stored");
    assert!((OWN_LEN..OWN_LEN * 3 / 2).contains(&usize::try_from(freed).unwrap()), "{freed} bytes came back");
    check("collected");
    client.run(&["undelete", &snapshots[1]]).expect(0);
    for snapshot in &snapshots[1..] {
        client.restore(snapshot, &pair.home.path(&snapshot[..8]));
    }
    client.run(&["restore", &snapshots[0], "nowhere"]).expect(1);
}

#[test]
fn decisions_made_after_the_last_backup_of_the_catalog_are_known_again() {
    let (mut pair, snapshots) = decided();
    let output = pair.server.admin(&["reindex", "--json"]).expect(0).last("reindexed");
    assert_eq!(output["deletion_latch"], Value::Null);
    pair.server.restart();
    pair.server.admin(&["device", "confirm", "--all"]).expect(0);
    pair.client.set_connection("port", &pair.server.port().to_string());
    check_decisions(&pair, &pair.client, &snapshots);
}

/// Only `packs/` and `keys/` are left.
#[test]
fn decisions_are_known_again_from_the_packs_alone() {
    let (mut pair, snapshots) = decided();
    for entry in fs::read_dir(pair.server.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("packs") && !path.ends_with("keys") {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    let output = pair.server.admin(&["reindex", "--accept-loss", "--json"]).expect(0).last("reindexed");
    assert_eq!((number(&output, "adopted_snapshots"), number(&output, "purged_snapshots")), (3, 1), "{output}");
    pair.server.restart();
    let devices = pair.server.admin(&["device", "list", "--json"]).expect(0).all("device");
    let client = Client::new(&pair.home, "again", User::Same);
    client.connect(&pair.server.enroll(devices[0]["name"].as_str().unwrap()));
    check_decisions(&pair, &client, &snapshots);
}
