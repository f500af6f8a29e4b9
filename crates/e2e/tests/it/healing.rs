//! Damage and loss on the server, with the real binaries: found, named, repaired, healed by the next backup; catalogs lost
//! and rebuilt; restores without any server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::tree::{CompareOptions, Random, TreeSpec, compare, mutate, seed};

use crate::support::{
    Client, Pair, User, assert_same_file, assert_same_tree, damage_packs, files_below, number, server,
};

const SMALL_PACKS: &[&str] = &["--pack-size", "256KiB", "--scrub-interval", "0s"];

/// A folder of files that share nothing, each in a pack of its own or nearly so.
fn write_files(folder: &Path, count: usize) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let mut random = Random::new(seed());
    (0..count)
        .map(|index| {
            let path = folder.join(format!("file {index:02}"));
            fs::write(&path, random.bytes(200_000)).unwrap();
            path
        })
        .collect()
}

/// Changes a byte in the middle of a file.
fn damage(path: &Path) {
    damage_packs(&[path.to_owned()]);
}

fn below(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

fn paths_in(event: &Value) -> BTreeSet<String> {
    event["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect()
}

#[test]
fn damage_is_found_named_and_healed_by_the_next_backup() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    let files = write_files(&folder, 8);
    pair.client.backup(&folder);
    pair.server.admin(&["verify", "--json"]).expect(0).last("verified");
    damage(&pair.server.data_packs()[0]);

    // The running server finds it.
    let output = pair.server.admin(&["verify", "--full", "--json"]).expect(6).says(&["hint: ", "next backup"]);
    assert_eq!(number(&output.last("verified"), "damaged_packs"), 1);
    let pack = output.all("damaged-pack").remove(0);
    assert!(number(&pack["flaws"][0], "offset") > 0 && pack["damaged"][0]["is_lost"] == true, "{pack}");
    let lost = paths_in(&output.all("incomplete-snapshot")[0]);
    assert!(!lost.is_empty() && lost.len() < files.len(), "{lost:?}");

    // Every other file still restores, and the loss is told.
    let target = pair.home.path("with losses");
    pair.client.run(&["restore", "latest", target.to_str().unwrap()]).expect(6);
    for file in &files {
        let restored = below(&target, file);
        assert_eq!(restored.exists(), !lost.contains(file.to_str().unwrap()), "{}", file.display());
        if restored.exists() {
            assert_same_file(file, &restored);
        }
    }
    // So does the snapshot on its own, and one that is of recent packs.
    let id =
        pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot")[0]["snapshot"].as_str().unwrap().to_owned();
    pair.server.admin(&["verify", "--snapshot", &id[..12], "--json"]).expect(6);
    pair.server.admin(&["verify", "--recent", "--json"]).expect(6);

    // Nothing changed here, and yet what is lost is sent again; the old snapshot is whole again, too.
    let healed = pair.client.backup(&folder);
    assert!(number(&healed, "objects_stored") >= lost.len() as u64, "{healed}");
    assert!(number(&healed, "bytes_stored") < 8 * 200_000 / 2 + 200_000, "only what was lost: {healed}");
    let repaired = pair.server.admin(&["repair", "--json"]).expect(0);
    assert_eq!(repaired.all("repaired-pack").len(), 1);
    assert_eq!(number(&repaired.last("repaired"), "incomplete_snapshots"), 0);
    assert_eq!(files_below(&pair.server.data_dir().join("quarantine")).len(), 1);
    pair.server.admin(&["verify", "--json"]).expect(0);
    let target = pair.home.path("healed");
    pair.client.restore(&id, &target);
    assert_same_tree(&folder, &below(&target, &folder), CompareOptions::for_this_user());

    // Stopped, the commands do it themselves.
    pair.server.stop();
    pair.server.admin(&["repair", "--dry-run", "--json"]).expect(0).last("repaired");
    damage(&pair.server.data_packs()[0]);
    pair.server.admin(&["repair", "--dry-run"]).expect(6).says(&["without --dry-run"]);
    pair.server.admin(&["repair"]).expect(6).says(&["back up again"]);
}

/// Snapshots in the trash come back, and so do older versions and what was removed from the drive: what they lost is named as
/// well.
#[test]
fn damage_names_what_is_lost_in_the_trash_and_on_the_drive() {
    // Every file is in a pack of its own.
    let pair = Pair::with(&["--pack-size", "64KiB", "--scrub-interval", "0s"], User::Same);
    let Pair { server, client, home } = &pair;
    server.admin(&["retention", "set", "--keep-last", "9", "--min-age", "0s"]).expect(0);
    let folder = home.path("files");
    let files = write_files(&folder, 2);
    let trashed = client.backup(&folder);
    let trashed = trashed["snapshot"].as_str().unwrap();
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[1], "small").unwrap();
    client.backup(&folder);
    client.run(&["forget", trashed]).expect(0);

    let [letter, gone] = ["letter", "gone"].map(|name| home.path(name));
    let mut random = Random::new(seed());
    for file in [&letter, &gone, &letter] {
        fs::write(file, random.bytes(200_000)).unwrap();
        client.run(&["put".as_ref(), file.as_os_str()]).expect(0);
    }
    client.run(&["rm", "gone"]).expect(0);
    damage_packs(&server.data_packs());

    let output = server.admin(&["verify", "--full", "--json"]).expect(6);
    let snapshots = output.all("incomplete-snapshot");
    let in_trash: Vec<&Value> = snapshots.iter().filter(|snapshot| snapshot["in_trash"] == true).collect();
    assert_eq!(in_trash.len(), 1, "{snapshots:?}");
    let lost: BTreeSet<String> = files.iter().map(|file| file.to_str().unwrap().to_owned()).collect();
    assert_eq!(paths_in(in_trash[0]), lost);
    let versions: BTreeSet<String> = output
        .all("incomplete-version")
        .iter()
        .map(|version| {
            format!("{} {} {} {}", version["path"], version["version"], version["is_newest"], version["in_trash"])
        })
        .collect();
    let expected = [r#""gone" 2 true true"#, r#""letter" 1 false false"#, r#""letter" 3 true false"#];
    assert_eq!(versions, expected.map(str::to_owned).into());
    assert_eq!(number(&output.last("verified"), "incomplete_versions"), 3);
    assert_eq!(number(&output.last("verified"), "incomplete_snapshots"), snapshots.len() as u64);
    let words = String::from_utf8(server.admin(&["verify", "--full"]).expect(6).stdout).unwrap();
    for line in ["letter, version 1, not the newest: cannot be read", "gone, version 2, in the trash: cannot be read"] {
        assert!(words.contains(line), "{words}");
    }
}

#[test]
fn a_scrub_finds_damage_by_itself() {
    let options = ["--scrub-interval", "200ms", "--scrub-rate", "64MiB"];
    let pair = Pair::with(&options, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    pair.server.wait_until_quiet();
    damage(&pair.server.data_packs()[0]);
    crate::support::wait_until("the scrub comes by", || pair.server.log().contains("a pack is damaged"));
    assert!(!pair.server.log().contains("file 00"), "no names in logs");
    // It was marked: the next backup heals.
    assert!(number(&pair.client.backup(&folder), "bytes_stored") > 150_000);
    pair.server.admin(&["repair"]).expect(0);
    pair.server.admin(&["verify"]).expect(0);
}

#[test]
fn a_lost_catalog_comes_back_from_its_backup_and_the_packs() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 3);
    pair.client.backup(&folder);
    let made = pair.server.admin(&["catalog", "backup", "--json"]).expect(0).last("catalog-backup");
    fs::write(folder.join("later"), "after the catalog's backup").unwrap();
    pair.client.backup(&folder);
    pair.server.admin(&["reindex"]).expect(4).says(&["another process"]);
    pair.server.stop();
    let listed = pair.server.admin(&["catalog", "list", "--json"]).expect(0).all("catalog-backup");
    assert!(listed.contains(&made), "{listed:?}");

    for file in ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
        let _ = fs::remove_file(pair.server.data_dir().join(file));
    }
    let output = pair.server.admin(&["reindex", "--json"]).expect(0);
    assert_eq!(output.all("catalog-restored").len(), 1);
    let adopted = output.all("adopted-snapshot");
    assert_eq!(adopted.len(), 1, "{output}");
    assert_eq!(adopted[0]["chain"], "default");
    assert_eq!(output.last("reindexed")["deletion_latch"], Value::Null);
    pair.server.restart();
    assert_eq!(pair.server.status()["deletion_latch"], Value::Null);
    check_suspended_until_confirmed(&pair);
    check_continues(&mut pair, &folder, 2);
}

/// The disk of the data directory is lost but for packs and keys; the copies of catalog backups are elsewhere.
#[test]
fn a_lost_catalog_comes_back_from_the_second_place() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    pair.server.stop();
    let second = pair.home.path("second");
    let settings = pair.server.data_dir().join("server.toml");
    fs::write(&settings, format!("catalog-backup-copy = {:?}\n", second.to_str().unwrap())).unwrap();
    pair.server.restart();
    let made = pair.server.admin(&["catalog", "backup", "--json"]).expect(0).last("catalog-backup");
    let listed = pair.server.admin(&["catalog", "list", "--json"]).expect(0).all("catalog-backup");
    let same = listed.iter().filter(|backup| backup["name"] == made["name"]);
    let folders: Vec<&Value> = same.map(|backup| &backup["folder"]).collect();
    assert_eq!(folders.len(), 2, "{listed:?}");
    assert!(folders.contains(&&Value::from(second.to_str().unwrap())), "{listed:?}");

    // A place that cannot be written is told of, and stops no backup.
    fs::rename(&second, pair.home.path("away")).unwrap();
    fs::write(&second, b"in the way").unwrap();
    pair.server.admin(&["catalog", "backup"]).expect(0);
    assert!(pair.server.log().contains("not copied to the second place"), "{}", pair.server.log());
    fs::remove_file(&second).unwrap();
    fs::rename(pair.home.path("away"), &second).unwrap();
    pair.server.stop();

    let data = pair.server.data_dir();
    fs::remove_dir_all(data.join("catalog-backups")).unwrap();
    for file in ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    let output = pair.server.admin(&["reindex", "--json"]).expect(0);
    let restored = &output.all("catalog-restored")[0]["backup"];
    assert!(restored.as_str().unwrap().starts_with(second.to_str().unwrap()), "{restored}");
    pair.server.restart();
    check_continues(&mut pair, &folder, 1);
}

/// An older catalog may know devices that were revoked since: nobody gets in before an administrator says so.
#[track_caller]
fn check_suspended_until_confirmed(pair: &Pair) {
    pair.client.set_connection("port", &pair.server.port().to_string());
    pair.client.run(&["snapshots"]).expect(5).says(&["is suspended", "backup-server device confirm"]);
    assert_eq!(number(&pair.server.status(), "suspended_devices"), 1);
    let devices = pair.server.admin(&["device", "confirm", "--all", "--json"]).expect(0).all("device");
    assert!(devices.iter().all(|device| device["suspended"] == false), "{devices:?}");
    assert_eq!(number(&pair.server.status(), "suspended_devices"), 0);
}

/// The client that was there before goes on as if nothing had happened: its token, its chain, its snapshots.
#[track_caller]
fn check_continues(pair: &mut Pair, folder: &Path, snapshots: usize) {
    pair.client.set_connection("port", &pair.server.port().to_string());
    assert_eq!(pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot").len(), snapshots);
    let target = pair.home.path("after");
    pair.client.restore("latest", &target);
    assert_same_tree(folder, &below(&target, folder), CompareOptions::for_this_user());
    fs::write(folder.join("new"), "goes on").unwrap();
    assert_eq!(number(&pair.client.backup(folder), "seq"), snapshots as u64 + 1);
    pair.server.admin(&["verify"]).expect(0);
}

#[test]
fn a_damaged_catalog_is_set_aside() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    pair.server.admin(&["catalog", "backup"]).expect(0);
    pair.server.stop();
    let catalog = pair.server.data_dir().join("catalog.sqlite3");
    let len = fs::metadata(&catalog).unwrap().len();
    fs::write(&catalog, vec![0x5a; usize::try_from(len).unwrap()]).unwrap();
    pair.server.admin(&["status"]).expect(6).says(&["backup-server reindex"]);
    pair.server.admin(&["reindex"]).expect(0);
    assert!(pair.server.data_dir().join("catalog-aside-0.sqlite3").exists());
    pair.server.restart();
    check_continues(&mut pair, &folder, 1);
}

#[test]
fn a_day_old_catalog_is_noticed_and_catches_up() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    pair.server.stop();
    let catalog = pair.server.data_dir().join("catalog.sqlite3");
    let old = fs::read(&catalog).unwrap();
    pair.server.restart();
    pair.client.set_connection("port", &pair.server.port().to_string());
    fs::write(folder.join("today"), "new").unwrap();
    pair.client.backup(&folder);
    pair.server.stop();
    fs::write(&catalog, old).unwrap();
    pair.server.restart();
    assert!(pair.server.status()["deletion_latch"].as_str().unwrap().contains("acknowledged"));
    pair.server.stop();
    let output = pair.server.admin(&["reindex", "--json"]).expect(0);
    assert_eq!(number(&output.last("reindexed"), "adopted_snapshots"), 1);
    pair.server.restart();
    assert_eq!(pair.server.status()["deletion_latch"], Value::Null);
    check_suspended_until_confirmed(&pair);
    check_continues(&mut pair, &folder, 2);
}

/// Revoked on Monday, in Sunday's catalog: that it is put back lets nobody in, the thief included.
#[test]
fn a_revoked_device_does_not_come_back_with_an_older_catalog() {
    let mut pair = Pair::new();
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    let thief = Client::new(&pair.home, "thief", User::Same);
    thief.connect(&pair.server.enroll("stolen"));
    thief.run(&["snapshots"]).expect(0);
    pair.server.stop();
    let catalog = pair.server.data_dir().join("catalog.sqlite3");
    let old = fs::read(&catalog).unwrap();
    pair.server.restart();
    let stolen = pair.server.device_id("stolen");
    pair.server.admin(&["device", "revoke", &stolen]).expect(0);
    pair.server.stop();
    fs::write(&catalog, old).unwrap();
    pair.server.restart();
    let meet = |pair: &Pair| {
        let port = pair.server.port().to_string();
        [&pair.client, &thief].iter().for_each(|client| client.set_connection("port", &port));
    };
    meet(&pair);
    thief.run(&["snapshots"]).expect(5).says(&["is suspended", "backup-server device confirm"]);
    pair.client.run(&["backup", folder.to_str().unwrap()]).expect(5).says(&["is suspended"]);
    assert!(pair.server.log().contains("no device and no token gets in"), "the log says so");
    let shown = |arguments: &[&str]| String::from_utf8(pair.server.admin(arguments).expect(0).stdout).unwrap();
    assert!(shown(&["status"]).contains("SUSPENDED       2 devices"));
    assert!(shown(&["device", "list"]).contains(", suspended"));

    // Neither another start nor a rebuild lets anybody in.
    pair.server.stop();
    assert_eq!(number(&pair.server.admin(&["reindex", "--json"]).expect(0).last("reindexed"), "suspended_devices"), 2);
    pair.server.restart();
    meet(&pair);
    assert_eq!(pair.server.status()["deletion_latch"], Value::Null);
    for client in [&pair.client, &thief] {
        client.run(&["snapshots"]).expect(5);
    }
    // A machine that is invited now gets in.
    let new = Client::new(&pair.home, "new", User::Same);
    new.connect(&pair.server.enroll("new"));
    new.run(&["snapshots"]).expect(0);

    pair.server.admin(&["device", "revoke", &stolen]).expect(0);
    pair.server.admin(&["device", "confirm"]).expect(1);
    let devices = pair.server.admin(&["device", "confirm", "--all", "--json"]).expect(0).all("device");
    assert!(devices.iter().all(|device| device["suspended"] == false), "{devices:?}");
    thief.run(&["snapshots"]).expect(5).says(&["was taken away"]);
    assert_eq!(number(&pair.client.backup(&folder), "seq"), 2);
}

#[test]
fn without_any_catalog_the_keys_and_packs_are_enough() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    fs::write(folder.join("second"), "generation").unwrap();
    pair.client.backup(&folder);
    pair.server.stop();
    for file in ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
        let _ = fs::remove_file(pair.server.data_dir().join(file));
    }
    fs::remove_dir_all(pair.server.data_dir().join("catalog-backups")).unwrap();
    pair.server.admin(&["reindex", "--json"]).expect(6).says(&["--accept-loss"]);
    assert!(pair.server.admin(&["status", "--json"]).expect(0).last("status")["deletion_latch"].is_string());
    let output = pair.server.admin(&["reindex", "--accept-loss", "--json"]).expect(0);
    assert_eq!(output.last("reindexed")["deletion_latch"], Value::Null);
    pair.server.restart();
    // The device came back under the name of its machine; whoever is enrolled under that name is it again.
    let devices = pair.server.admin(&["device", "list", "--json"]).expect(0).all("device");
    assert_eq!(devices.len(), 1, "{devices:?}");
    let client = Client::new(&pair.home, "again", User::Same);
    client.connect(&pair.server.enroll(devices[0]["name"].as_str().unwrap()));
    assert_eq!(client.run(&["--json", "snapshots"]).expect(0).all("snapshot").len(), 2);
    let target = pair.home.path("after");
    client.restore("latest", &target);
    assert_same_tree(&folder, &below(&target, &folder), CompareOptions::for_this_user());
    assert_eq!(number(&client.backup(&folder), "seq"), 3);
}

/// `backup-server rescue`, which knows no data directory.
fn rescue(arguments: &[&str]) -> crate::support::Output {
    server::run(server::command().arg("rescue").args(arguments))
}

#[test]
fn a_rescue_needs_packs_and_a_key_file_and_nothing_else() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let tree = pair.home.path("tree");
    TreeSpec::everything(seed()).write(&tree).unwrap();
    let first = pair.client.backup(&tree)["snapshot"].as_str().unwrap().to_owned();
    let changed = pair.home.path("changed");
    TreeSpec::everything(seed()).write(&changed).unwrap();
    mutate(&changed, seed() + 1, 20).unwrap();
    pair.client.backup(&changed);
    let [keys, guarded, words] = ["keys", "guarded", "words"].map(|name| pair.home.path(name));
    fs::write(&words, "correct horse\n").unwrap();
    pair.server.admin(&["key", "export", keys.to_str().unwrap()]).expect(0);
    pair.server.admin(&["key", "export", keys.to_str().unwrap()]).expect(4).says(&["cannot write"]);
    let with_words = ["key", "export", guarded.to_str().unwrap(), "--passphrase-file", words.to_str().unwrap()];
    pair.server.admin(&with_words).expect(0);
    pair.server.stop();
    // Only packs, and not where they were.
    let packs = pair.home.folder("packs only");
    for pack in pair.server.packs() {
        fs::copy(&pack, packs.join(pack.file_name().unwrap())).unwrap();
    }
    fs::remove_dir_all(pair.server.data_dir()).unwrap();
    let [packs_text, keys_text] = [&packs, &keys].map(|path| path.to_str().unwrap());

    let listed = rescue(&[packs_text, "--key-file", keys_text, "--list", "--json"]).expect(0).all("snapshot");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["snapshot"], first.as_str(), "the older one comes first");
    let target = pair.home.path("rescued");
    let restore = [packs_text, &first[..16], target.to_str().unwrap(), "--key-file", keys_text, "--json"];
    let output = rescue(&restore).expect(0);
    assert_eq!(number(&output.last("restored"), "problems"), 0);
    assert_same_tree(&tree, &below(&target, &tree), CompareOptions::for_this_user());

    // The guarded keys need the passphrase, and a changed key file is refused.
    let guarded = guarded.to_str().unwrap();
    rescue(&[packs_text, "--key-file", guarded, "--list"]).expect(5).says(&["--passphrase-file"]);
    let listed = [packs_text, "--key-file", guarded, "--list", "--json", "--passphrase-file", words.to_str().unwrap()];
    assert_eq!(rescue(&listed).expect(0).all("snapshot").len(), 2);
    let text = fs::read_to_string(&keys).unwrap();
    let wrong = pair.home.path("wrong");
    fs::write(&wrong, text.replacen("key ", "key 0", 1)).unwrap();
    rescue(&[packs_text, "--key-file", wrong.to_str().unwrap(), "--list"]).expect(6).says(&["key file"]);
    rescue(&[packs_text, "00ff00", "nowhere", "--key-file", keys_text]).expect(1).says(&["no snapshot"]);
}

#[test]
fn a_rescue_with_a_pack_missing_and_one_damaged_brings_all_other_files() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    let files = write_files(&folder, 10);
    let snapshot = pair.client.backup(&folder)["snapshot"].as_str().unwrap().to_owned();
    let keys = pair.home.path("keys");
    pair.server.admin(&["key", "export", keys.to_str().unwrap()]).expect(0);
    pair.server.stop();
    let packs = pair.server.data_packs();
    assert!(packs.len() > 4, "{packs:?}");
    fs::remove_file(&packs[0]).unwrap();
    // A damaged header and a damaged footer cost nothing, a damaged record one record.
    for (pack, at_end) in [(&packs[1], false), (&packs[2], true)] {
        let mut bytes = fs::read(pack).unwrap();
        let at = if at_end { bytes.len() - 1 } else { 20 };
        bytes[at] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    damage(&packs[3]);
    let target = pair.home.path("rescued");
    let data_dir = pair.server.data_dir().to_str().unwrap();
    let restore = [data_dir, &snapshot, target.to_str().unwrap(), "--key-file", keys.to_str().unwrap(), "--json"];
    let output = rescue(&restore).expect(6).says(&["could not be had"]);
    let problems = output.all("problem").len();
    assert!((1..=6).contains(&problems), "{output}");
    let mut restored = 0;
    for file in &files {
        let copy = below(&target, file);
        if copy.exists() {
            assert_same_file(file, &copy);
            restored += 1;
        }
    }
    assert_eq!(restored + problems, files.len());
    let left: Vec<_> = compare(&folder, &below(&target, &folder), CompareOptions::for_this_user())
        .unwrap()
        .into_iter()
        .filter(|difference| !difference.what.contains("missing"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Flips a bit of one byte of a file, in place.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

/// Files beside the packs, a byte of which is another: `verify` names the file and ends with 6, and is content again once the
/// byte is what it was.
#[test]
fn a_flipped_byte_beside_the_packs_is_found_and_its_file_named() {
    const PER_FILE: usize = 5;
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    pair.server.admin(&["catalog", "backup"]).expect(0);
    pair.server.wait_until_quiet();
    let data = pair.server.data_dir().to_owned();
    let mut files = files_below(&data.join("catalog-backups"));
    assert!(!files.is_empty());
    files.extend(["packs/ANCHOR", "keys/master.key", "keys/vaults.keys"].map(|name| data.join(name)));
    assert_eq!(number(&pair.server.admin(&["verify", "--json"]).expect(0).last("verified"), "damaged_files"), 0);
    for path in &files {
        let len = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
        for at in (0..PER_FILE).map(|part| part * (len - 1) / (PER_FILE - 1)) {
            flip(path, at);
            let output = pair.server.admin(&["verify", "--json"]).expect(6);
            let named: Vec<Value> = output.all("damaged-file").iter().map(|file| file["path"].clone()).collect();
            assert_eq!(named, [Value::from(path.to_str().unwrap())], "byte {at} of {}: {output}", path.display());
            assert_eq!(number(&output.last("verified"), "damaged_files"), 1);
            flip(path, at);
        }
    }
    let path = data.join("keys/tls.crt");
    let kept = fs::read(&path).unwrap();
    fs::write(&path, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let output = pair.server.admin(&["verify", "--json"]).expect(6).says(&["docs/recovery.md"]);
    assert_eq!(output.all("damaged-file")[0]["path"], path.to_str().unwrap());
    fs::write(&path, kept).unwrap();
    pair.server.admin(&["verify"]).expect(0);

    // SQLite's file: a page of which is no page any more.
    pair.server.stop();
    let catalog = data.join("catalog.sqlite3");
    let whole = fs::read(&catalog).unwrap();
    let page_len = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    let is_tree = |at: &usize| matches!(whole[*at], 2 | 5 | 10 | 13);
    let pages: Vec<usize> =
        (0..whole.len() / page_len).map(|page| if page == 0 { 100 } else { page * page_len }).filter(is_tree).collect();
    assert!(pages.len() > 20, "{} pages", pages.len());
    for at in pages.iter().step_by(pages.len() / 10) {
        flip(&catalog, *at);
        let output = pair.server.admin(&["verify", "--json"]);
        let said = output.to_string();
        assert!(said.contains("catalog") && said.contains(data.to_str().unwrap()), "byte {at}: {said}");
        output.expect(6);
        fs::write(&catalog, &whole).unwrap();
        for companion in ["catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
            let _ = fs::remove_file(data.join(companion));
        }
    }
    pair.server.admin(&["verify"]).expect(0);
}

/// What `docs/recovery.md` says to do about each file beside the packs does what it says: `verify` is content, the client is
/// served, and what was backed up restores.
#[test]
fn a_damaged_file_beside_the_packs_is_mended_as_the_guide_says() {
    let mut pair = Pair::with(SMALL_PACKS, User::Same);
    let folder = pair.home.path("files");
    write_files(&folder, 2);
    pair.client.backup(&folder);
    // The ledger begins with the first thing that it has to remember.
    pair.server.admin(&["retention", "set", "--keep-last", "9", "--min-age", "0s"]).expect(0);
    let listed = pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    pair.client.run(&["hold", listed[0]["snapshot"].as_str().unwrap()]).expect(0);
    let data = pair.server.data_dir().to_owned();
    let certificate = fs::read(data.join("keys/tls.crt")).unwrap();

    let damaged = |pair: &Pair, name: &str| {
        pair.server.wait_until_quiet();
        let path = data.join(name);
        let len = fs::metadata(&path).unwrap().len();
        flip(&path, usize::try_from(len / 2).unwrap());
        let output = pair.server.admin(&["verify", "--json"]).expect(6);
        assert_eq!(output.all("damaged-file")[0]["path"], path.to_str().unwrap(), "{name}");
        path
    };
    let mended = |pair: &Pair, name: &str| {
        pair.server.wait_until_quiet();
        let output = pair.server.admin(&["verify", "--json"]);
        let named = output.all("damaged-file");
        assert!(named.is_empty(), "{name}: {named:?}");
        output.expect(0);
        let target = pair.home.path(&format!("after {}", name.replace('/', " ")));
        pair.client.restore("latest", &target);
        assert_same_tree(&folder, &below(&target, &folder), CompareOptions::for_this_user());
        assert!(pair.server.status()["deletion_latch"].is_null(), "{name}");
    };

    let restart = |pair: &mut Pair| {
        pair.server.stop();
        pair.server.restart();
        pair.client.set_connection("port", &pair.server.port().to_string());
    };

    damaged(&pair, "packs/ANCHOR");
    fs::write(folder.join("new"), "anything").unwrap();
    pair.client.backup(&folder);
    mended(&pair, "packs/ANCHOR");

    damaged(&pair, "packs/LEDGER");
    restart(&mut pair);
    mended(&pair, "packs/LEDGER");

    let master = data.join("keys/master.key");
    let copy = fs::read(&master).unwrap();
    damaged(&pair, "keys/master.key");
    fs::write(&master, copy).unwrap();
    mended(&pair, "keys/master.key");

    let vaults = damaged(&pair, "keys/vaults.keys");
    fs::rename(&vaults, pair.home.path("vaults.keys")).unwrap();
    restart(&mut pair);
    assert!(vaults.exists());
    mended(&pair, "keys/vaults.keys");

    let certificate_path = data.join("keys/tls.crt");
    fs::write(&certificate_path, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    pair.server.admin(&["verify"]).expect(6);
    fs::remove_file(&certificate_path).unwrap();
    restart(&mut pair);
    assert_ne!(fs::read(&certificate_path).unwrap(), certificate, "it is another, of the same key");
    mended(&pair, "keys/tls.crt");

    pair.server.admin(&["catalog", "backup"]).expect(0);
    let backup = files_below(&data.join("catalog-backups")).pop().expect("there is one");
    damaged(&pair, backup.strip_prefix(&data).unwrap().to_str().unwrap());
    pair.server.admin(&["catalog", "backup"]).expect(0);
    // Of one day the newest is kept.
    assert!(!backup.exists());
    mended(&pair, "catalog-backups");
}
