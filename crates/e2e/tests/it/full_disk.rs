//! Full disks: a file system of its own that is filled, by the server or by others, while everything goes on.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::mount::{FileSystem, LoopMount};
use testkit::tree::{Random, seed};

use crate::support::{Client, Home, Server, User, assert_same_file, number, wait_until};

const MIB: usize = 1 << 20;

/// A file system of `mib` MiB; `None`, and the reason on standard error, where none can be mounted.
fn disk(home: &Home, mib: u64) -> Option<LoopMount> {
    LoopMount::new(&home.folder("disk"), FileSystem::Ext4, mib << 20)
        .inspect_err(|reason| eprintln!("SKIPPED, as no file system can be mounted: {reason}"))
        .ok()
}

/// Fills the file system until not a byte more fits.
fn fill(ballast: &Path) {
    let mut file = File::options().append(true).create(true).open(ballast).unwrap();
    for piece in [MIB, 4096, 1] {
        let bytes = vec![0xa5; piece];
        loop {
            match file.write_all(&bytes).and_then(|()| file.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_full_disk_stops_the_backup_and_harms_nothing() {
    let home = Home::new();
    let Some(mount) = disk(&home, 128) else { return };
    let data_dir = mount.path().join("data");
    let mut random = Random::new(seed());
    let [small, large] = ["small", "large"].map(|name| home.path(name));
    fs::write(&small, random.bytes(100_000)).unwrap();
    fs::write(&large, random.bytes(64 * MIB)).unwrap();
    let ballast = mount.path().join("ballast");
    fs::write(&ballast, random.bytes(64 * MIB)).unwrap();
    {
        let server = Server::start_on(&home, "server", &data_dir, &["--min-free", "8MiB", "--pack-size", "4MiB"]);
        let client = Client::new(&home, "laptop", User::Same);
        client.connect(&server.enroll("laptop"));
        client.backup_to("small", &small);
        let stored = number(&server.status(), "bytes_stored");

        let full = client.run(&["--max-wait".as_ref(), "0".as_ref(), "backup".as_ref(), large.as_os_str()]);
        full.expect(4).says(&["the server's disk is full", "free space on the server's disk"]);
        let status = server.status();
        assert!(status["is_full"] == true && status["halted"].is_null(), "{status}");
        // What there was can be had.
        let target = home.path("restored-small");
        client.restore(format!("latest:{}", small.display()), &target);
        assert_same_file(&small, &target.join("small"));

        // With room again, the rest is sent, and only the rest; nobody has to restart anything.
        fs::remove_file(&ballast).unwrap();
        let held = number(&server.status(), "bytes_stored") - stored;
        assert!(held > 8 * MIB as u64, "only {held} bytes of what was sent were kept");
        let report = client.backup(&large);
        let sent = number(&report, "bytes_sent");
        assert!(sent + held < 66 * MIB as u64, "{sent} bytes were sent, {held} were there: {report}");
        let target = home.path("restored-large");
        client.restore(format!("latest:{}", large.display()), &target);
        assert_same_file(&large, &target.join("large"));
    }
    drop(mount);
}

/// With nothing kept free the file system itself says no, in the middle of a pack or of the catalog.
#[test]
fn a_disk_that_is_full_to_the_last_byte_loses_no_snapshot() {
    let home = Home::new();
    let Some(mount) = disk(&home, 64) else { return };
    let mut random = Random::new(seed());
    let [small, large] = ["small", "large"].map(|name| home.path(name));
    fs::write(&small, random.bytes(100_000)).unwrap();
    fs::write(&large, random.bytes(64 * MIB)).unwrap();
    {
        let options = ["--min-free", "0B", "--reserve", "8MiB", "--pack-size", "4MiB"];
        let mut server = Server::start_on(&home, "server", &mount.path().join("data"), &options);
        let client = Client::new(&home, "laptop", User::Same);
        client.connect(&server.enroll("laptop"));
        client.backup(&small);
        let full = client.run(&["--max-wait".as_ref(), "0".as_ref(), "backup".as_ref(), large.as_os_str()]);
        full.expect(4).says(&["full"]);
        for round in ["as it is", "after a restart"] {
            let target = home.path(round);
            client.restore(format!("latest:{}", small.display()), &target);
            assert_same_file(&small, &target.join("small"));
            server.kill();
            server.restart();
            client.set_connection("port", &server.port().to_string());
        }
    }
    drop(mount);
}

/// Others fill the disk to the brim at every stage: a backup, a restart, retention, collection. What was committed stays,
/// what makes room works on the reserve, and with room again everything goes on by itself.
#[test]
fn a_disk_filled_to_the_brim_at_every_stage_loses_nothing_and_recovers_alone() {
    let home = Home::new();
    let Some(mount) = disk(&home, 300) else { return };
    let ballast = mount.path().join("ballast");
    let mut random = Random::new(seed());
    let [changing, other] = ["changing", "other"].map(|name| home.path(name));
    fs::write(&other, random.bytes(30 * MIB)).unwrap();
    {
        let options = [
            "--min-free",
            "8MiB",
            "--reserve",
            "32MiB",
            "--pack-size",
            "4MiB",
            "--gc-interval",
            "0s",
            "--trash-delay",
            "0s",
            "--retention-interval",
            "1s",
        ];
        let mut server = Server::start_on(&home, "server", &mount.path().join("data"), &options);
        let client = Client::new(&home, "laptop", User::Same);
        client.connect(&server.enroll("laptop"));
        let mut snapshot = String::new();
        for _ in 0..2 {
            fs::write(&changing, random.bytes(40 * MIB)).unwrap();
            snapshot = client.backup(&changing)["snapshot"].as_str().unwrap().to_owned();
        }
        let letter = home.path("letter");
        fs::write(&letter, b"dear all").unwrap();
        client.run(&["put".as_ref(), letter.as_os_str()]).expect(0);
        assert_eq!(server.status()["reserve"]["is_held"], true);
        let check = |what: &str| {
            let target = home.path(what);
            client.restore(format!("{snapshot}:{}", changing.display()), &target);
            assert_same_file(&changing, &target.join("changing"));
        };

        // During a backup: it waits, and goes on when there is room.
        fill(&ballast);
        let mut waiting = client.start(&["backup".as_ref(), "--chain".as_ref(), "other".as_ref(), other.as_os_str()]);
        waiting.wait_until_says("trying again in");
        check("while a backup waits");
        fs::remove_file(&ballast).unwrap();
        waiting.finish().expect(0);

        // With the process killed: it starts again, on the reserve.
        fill(&ballast);
        server.kill();
        server.restart();
        client.set_connection("port", &server.port().to_string());
        check("after a restart");
        let full = client.run(&["--max-wait".as_ref(), "0".as_ref(), "backup".as_ref(), other.as_os_str()]);
        full.expect(4).says(&["the server's disk is full"]);

        // What makes room works: on the drive, where nothing is taken in,
        let fresh = home.path("fresh");
        fs::write(&fresh, random.bytes(3 * MIB)).unwrap();
        let full = client.run(&["--max-wait".as_ref(), "0".as_ref(), "put".as_ref(), fresh.as_os_str()]);
        full.expect(4).says(&["the server's disk is full"]);
        client.run(&["rm", "letter"]).expect(0);
        // and in chains of snapshots.
        server.admin(&["retention", "set", "--keep-last", "1", "--min-age", "0s"]).expect(0);
        // The second snapshot has nothing of the first.
        server.admin(&["retention", "confirm-change", "--all"]).expect(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        while number(&server.status(), "snapshots") + number(&server.status(), "trashed_snapshots") > 2 {
            assert!(Instant::now() < deadline, "nothing was purged: {}", server.status());
            std::thread::sleep(Duration::from_millis(100));
        }
        let before = number(&server.status(), "bytes_stored");
        for _ in 0..2 {
            server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
        }
        let freed = before - number(&server.status(), "bytes_stored");
        assert!(freed > 38 * MIB as u64, "{freed} bytes were freed: {}", server.log());
        check("after a collection");

        // The room that came back is enough to go on.
        wait_until("the server takes backups", || server.status()["is_full"] == false);
        client.backup_to("other", &other);
        fs::remove_file(&ballast).unwrap();
        server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
        assert_eq!(server.status()["reserve"]["is_held"], true, "{}", server.status());
        server.admin(&["verify", "--full"]).expect(0);
        check("at the end");
    }
    drop(mount);
}
