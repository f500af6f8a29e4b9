//! What a restore may count on while others take away: its snapshot is kept until it ends, also when it is purged and
//! garbage is collected meanwhile, and when the server dies in between.

use std::fs;
use std::path::PathBuf;

use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{Client, Home, Relay, Running, Server, User, assert_same_tree, number, wait_until};

/// What is in the trash goes at once.
const OPTIONS: [&str; 6] = ["--pack-size", "256KiB", "--trash-delay", "0s", "--retention-interval", "100ms"];
/// Each is asked for by its id, so that the way to the end of a restore is so many bytes to the server.
const FILES: usize = 3000;
const FILE_LEN: usize = 3000;
/// Bytes to the server by which a restore has its snapshot and some of its files.
const MIDDLE: u64 = 24 << 10;

/// A server with two snapshots that share nothing, and a client whose restores lead over a relay.
struct Scene {
    relay: Relay,
    server: Server,
    client: Client,
    /// What the first snapshot is of.
    tree: PathBuf,
    first: String,
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
        for index in 0..FILES {
            let folder = home.folder(&format!("tree/{}", index % 5));
            fs::write(folder.join(format!("{index}")), random.bytes(FILE_LEN)).unwrap();
        }
        let first = client.backup(&tree)["snapshot"].as_str().unwrap().to_owned();
        let other = home.folder("other");
        fs::write(other.join("file"), random.bytes(2 * FILE_LEN)).unwrap();
        client.backup(&other);
        server.admin(&["retention", "set", "--keep-last", "9", "--min-age", "0s"]).expect(0);
        Self { relay, server, client, tree, first, home }
    }

    /// A command that reads the first snapshot, held back in the middle of it.
    fn start(&self, arguments: &[&str]) -> Running {
        let relayed = self.relay.address().rsplit_once(':').unwrap().1.to_owned();
        self.client.set_connection("port", &relayed);
        self.relay.hold_after(MIDDLE);
        let running = self.client.start(&[&["--max-wait", "300"], arguments].concat());
        self.relay.wait_until_held();
        running
    }

    /// Forgets and purges the first snapshot, and collects until nothing is left to collect.
    fn take_away(&self) {
        self.client.set_connection("port", &self.server.port().to_string());
        self.client.run(&["forget", &self.first]).expect(0);
        wait_until("it is purged", || self.server.status()["trashed_snapshots"] == 0);
        self.client.run(&["restore", &self.first, "nowhere"]).expect(1);
        self.collect();
    }

    fn collect(&self) {
        for _ in 0..2 {
            self.server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
        }
    }

    fn bytes_stored(&self) -> u64 {
        number(&self.server.status(), "bytes_stored")
    }
}

#[test]
fn a_restore_ends_well_though_its_snapshot_is_purged_meanwhile() {
    let scene = Scene::new();
    let stored = scene.bytes_stored();
    let target = scene.home.path("restored");
    let from = format!("{}:{}", scene.first, scene.tree.display());
    let restore = scene.start(&["restore", &from, target.to_str().unwrap()]);
    scene.take_away();
    assert_eq!(number(&scene.server.status(), "pinned_snapshots"), 1);
    assert!(scene.bytes_stored() > stored / 2, "what it needs is kept");
    scene.relay.open();
    restore.finish().expect(0);
    assert_same_tree(&scene.tree, &target, CompareOptions::for_this_user());
    // It said good-bye: nobody needs it any longer.
    wait_until("the pin has gone", || scene.server.status()["pinned_snapshots"] == 0);
    scene.collect();
    assert!(scene.bytes_stored() < stored / 10, "{} of {stored}", scene.bytes_stored());
}

#[test]
fn a_restore_that_is_cut_off_comes_back_to_what_was_purged() {
    let mut scene = Scene::new();
    let target = scene.home.path("restored");
    let from = format!("{}:{}", scene.first, scene.tree.display());
    let restore = scene.start(&["restore", &from, target.to_str().unwrap()]);
    scene.take_away();
    scene.server.kill();
    scene.server.restart();
    scene.collect();
    scene.relay.lead_to(&scene.server);
    scene.relay.open();
    restore.finish().expect(0);
    assert_same_tree(&scene.tree, &target, CompareOptions::for_this_user());
}

#[test]
fn a_verification_ends_well_though_its_snapshot_is_purged_meanwhile() {
    let scene = Scene::new();
    let verify = scene.start(&["verify", &scene.first]);
    scene.take_away();
    scene.relay.open();
    verify.finish().expect(0);
}
