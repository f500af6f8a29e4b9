//! How many bytes a change costs, on the wire and in the store. The bounds are promises of the README: bytes of both
//! directions of the connection, everything but TLS and TCP themselves.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rusqlite::{Connection, params};
use serde_json::Value;
use testkit::tree::{Random, seed};

use crate::support::{Pair, assert_same_file, number};

const MIB: usize = 1 << 20;
const FILE_LEN: usize = 10 * MIB;

/// What a change may cost.
#[derive(Clone, Copy)]
struct Bound {
    sent_and_received: u64,
    stored: u64,
}

impl Bound {
    #[track_caller]
    fn check(self, what: &str, report: &Value) {
        let wire = number(report, "bytes_sent") + number(report, "bytes_received");
        let stored = number(report, "bytes_stored");
        eprintln!("{what}: {wire} bytes sent and received, {stored} stored");
        assert!(wire <= self.sent_and_received, "{what}: more than {} on the wire: {report}", self.sent_and_received);
        assert!(stored <= self.stored, "{what}: more than {} stored: {report}", self.stored);
    }
}

/// Backs up 10 MiB of random bytes, changes them, and looks at what the second backup cost; then the same with a client
/// that lost its caches meanwhile.
#[track_caller]
fn check_change(bytes_max: u64, change: impl Fn(&mut Random, &mut Vec<u8>)) {
    let pair = Pair::new();
    let mut random = Random::new(seed());
    for (caches, factor) in [(Caches::Kept, 1), (Caches::Lost, 3)] {
        let report = cost_of(&pair, &mut random, caches, "file", &change);
        let bound = Bound { sent_and_received: factor * bytes_max, stored: factor * bytes_max };
        bound.check(&format!("caches {caches:?}"), &report);
    }
}

/// What happens to the client's caches between two backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caches {
    Kept,
    Lost,
}

/// The report of the second backup of a file of 10 MiB, which must come back as it is.
#[track_caller]
fn cost_of(
    pair: &Pair,
    random: &mut Random,
    caches: Caches,
    name: &str,
    change: &impl Fn(&mut Random, &mut Vec<u8>),
) -> Value {
    let chain = format!("{name} {caches:?}");
    let file = pair.home.folder(&chain).join(name);
    let mut content = random.bytes(FILE_LEN);
    fs::write(&file, &content).unwrap();
    let first = pair.client.backup_to(&chain, &file);
    assert!(number(&first, "bytes_stored") >= FILE_LEN as u64, "{first}");
    change(random, &mut content);
    fs::write(&file, &content).unwrap();
    if caches == Caches::Lost {
        pair.client.forget_caches();
    }
    let second = pair.client.backup_to(&chain, &file);
    let restored = pair.home.path("restored");
    pair.client.restore(format!("latest:{}", file.display()), &restored);
    assert_same_file(&file, &restored.join(name));
    second
}

fn overwrite(random: &mut Random, content: &mut [u8], offset: usize, len: usize) {
    content[offset..offset + len].copy_from_slice(&random.bytes(len));
}

#[test]
fn an_aligned_block_changed() {
    check_change(12_000, |random, content| {
        let block = random.index(FILE_LEN / 4096);
        overwrite(random, content, block * 4096, 4096);
    });
}

#[test]
fn a_byte_inserted_at_the_front() {
    check_change(6_000, |_, content| content.insert(0, b'!'));
}

#[test]
fn a_kibibyte_appended() {
    check_change(6_000, |random, content| content.extend(random.bytes(1024)));
}

#[test]
fn two_regions_swapped() {
    check_change(20_000, |random, content| {
        // Regions that do not overlap, anywhere: chunks are cut elsewhere around each of their four edges every time.
        let first = random.index(FILE_LEN / 2 - MIB);
        let second = FILE_LEN / 2 + random.index(FILE_LEN / 2 - MIB);
        let (left, right) = content.split_at_mut(second);
        left[first..first + MIB].swap_with_slice(&mut right[..MIB]);
    });
}

#[test]
fn twenty_scattered_edits() {
    check_change(30_000, |random, content| {
        for _ in 0..20 {
            let offset = random.index(FILE_LEN - 100);
            overwrite(random, content, offset, 100);
        }
    });
}

#[test]
fn pages_written_into_holes_do_not_hide_other_changes() {
    const HOLE_LEN: usize = 4 * MIB;
    let pair = Pair::new();
    let mut random = Random::new(seed());
    let path = pair.home.folder("images").join("image");
    let file = File::create(&path).unwrap();
    file.write_all_at(&random.bytes(8 * MIB), HOLE_LEN as u64).unwrap();
    pair.client.backup(&path);
    let mut page = |at: usize| file.write_all_at(&random.bytes(4096), at as u64).unwrap();
    (0..8).for_each(|index| page(index * HOLE_LEN / 8 + 4096));
    (0..4).for_each(|index| page(HOLE_LEN + index * 2 * MIB + 40_960));
    let report = pair.client.backup(&path);
    let bytes_max = 12 * 4096 + 20_000;
    Bound { sent_and_received: bytes_max, stored: bytes_max }.check("pages in holes and elsewhere", &report);
    let restored = pair.home.path("restored");
    pair.client.restore(format!("latest:{}", path.display()), &restored);
    assert_same_file(&path, &restored.join("image"));
}

#[test]
fn an_unchanged_tree_costs_a_snapshot() {
    let pair = Pair::new();
    let tree = pair.home.folder("tree");
    let mut random = Random::new(seed());
    for index in 0..40 {
        fs::write(tree.join(format!("file-{index}")), random.bytes(50_000)).unwrap();
    }
    pair.client.backup(&tree);
    // Whoever lost the caches reads everything, and sends as little.
    for (run, sent_max) in [("again", 4_000), ("without caches", 12_000)] {
        if run == "without caches" {
            pair.client.forget_caches();
        }
        let report = pair.client.backup(&tree);
        Bound { sent_and_received: sent_max, stored: 4_000 }.check(run, &report);
        assert_eq!(report["delta_objects"], 0, "{report}");
        // The snapshot, and the directories on the way to the tree, whose times the other tests change.
        assert!(number(&report, "objects_stored") <= 4, "{report}");
    }
}

#[test]
fn the_same_content_is_stored_once() {
    let pair = Pair::new();
    let content = Random::new(seed()).bytes(2 * MIB);
    let tree = pair.home.folder("tree");
    fs::write(tree.join("one"), &content).unwrap();
    fs::write(tree.join("two"), &content).unwrap();
    fs::create_dir(tree.join("folder")).unwrap();
    fs::write(tree.join("folder/three"), &content).unwrap();
    let first = pair.client.backup_to("first", &tree);
    let once = content.len() as u64;
    assert!((once..once + 20_000).contains(&number(&first, "bytes_stored")), "{first}");
    assert!(number(&first, "bytes_sent") < once + 20_000, "{first}");

    let elsewhere = pair.home.folder("elsewhere");
    fs::write(elsewhere.join("four"), &content).unwrap();
    let second = pair.client.backup_to("another", &elsewhere);
    Bound { sent_and_received: 8_000, stored: 4_000 }.check("in another tree and chain", &second);

    let put = pair.client.report("committed", &["put".as_ref(), elsewhere.join("four").as_os_str()]);
    Bound { sent_and_received: 8_000, stored: 4_000 }.check("on the drive", &put);

    let restored = pair.home.path("restored");
    pair.client.restore(format!("{}:{}", first["snapshot"].as_str().unwrap(), tree.display()), &restored);
    for name in ["one", "two", "folder/three"] {
        assert_same_file(&tree.join(name), &restored.join(name));
    }
}

#[test]
fn put_of_a_changed_file_sends_the_change() {
    let pair = Pair::new();
    let mut random = Random::new(seed());
    let file = pair.home.path("file");
    let mut content = random.bytes(FILE_LEN);
    fs::write(&file, &content).unwrap();
    let put = || {
        let output = pair.client.run(&["--json".as_ref(), "put".as_ref(), file.as_os_str()]).expect(0);
        (output.all("put").remove(0), output.last("committed"))
    };
    let (first, _) = put();
    overwrite(&mut random, &mut content, 4096 * 17, 4096);
    fs::write(&file, &content).unwrap();
    let (second, report) = put();
    assert_eq!(second["identical"], false);
    assert!(number(&second, "version") > number(&first, "version"), "{first} {second}");
    Bound { sent_and_received: 12_000, stored: 12_000 }.check("a changed file", &report);

    let (third, report) = put();
    assert_eq!(third["identical"], true);
    assert_eq!(third["version"], second["version"]);
    Bound { sent_and_received: 4_000, stored: 0 }.check("an unchanged file", &report);

    pair.client.forget_caches();
    overwrite(&mut random, &mut content, 4096 * 1717, 4096);
    fs::write(&file, &content).unwrap();
    let (_, report) = put();
    Bound { sent_and_received: 36_000, stored: 36_000 }.check("a changed file, without caches", &report);
    let got = pair.client.run(&["get", "file", "-"]).expect(0);
    assert!(got.stdout == content, "what comes back is something else: {} bytes", got.stdout.len());
}

#[test]
fn generations_of_a_database() {
    const ROWS: i64 = 85_000;
    let pair = Pair::new();
    let mut random = Random::new(seed());
    let file = pair.home.folder("database").join("rows.sqlite3");
    let mut database = Connection::open(&file).unwrap();
    database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note TEXT)", []).unwrap();
    let insert = "INSERT INTO item VALUES (?1, ?2, ?3, ?4)";
    let transaction = database.transaction().unwrap();
    for id in 0..ROWS {
        let note = String::from_utf8(random.text(200)).unwrap();
        let amount = random.next_u64().cast_signed() >> 20;
        transaction.prepare_cached(insert).unwrap().execute(params![id, format!("name {id}"), amount, note]).unwrap();
    }
    transaction.commit().unwrap();
    pair.client.backup(&file);
    let len = fs::metadata(&file).unwrap().len();
    assert!(len > 19_000_000, "{len}");
    let mut generations = Vec::new();
    for generation in 1..=4 {
        let update = "UPDATE item SET amount = ?2, note = ?3 WHERE id = ?1";
        let transaction = database.transaction().unwrap();
        for _ in 0..ROWS / 200 {
            let id = random.below(ROWS.cast_unsigned()).cast_signed();
            let amount = random.next_u64().cast_signed() >> 20;
            let note = String::from_utf8(random.text(200)).unwrap();
            transaction.prepare_cached(update).unwrap().execute(params![id, amount, note]).unwrap();
        }
        transaction.commit().unwrap();
        let report = pair.client.backup(&file);
        let bound = Bound { sent_and_received: len * 5 / 100, stored: len * 3 / 100 };
        bound.check(&format!("generation {generation}"), &report);
        let copy = pair.home.path(&format!("generation-{generation}"));
        fs::copy(&file, &copy).unwrap();
        generations.push((report["snapshot"].as_str().unwrap().to_owned(), copy));
    }
    for (snapshot, copy) in generations {
        let restored = pair.home.path(&format!("restored-{snapshot}"));
        pair.client.restore(format!("{snapshot}:{}", file.display()), &restored);
        assert_same_file(&copy, &restored.join("rows.sqlite3"));
    }
}

#[test]
fn generations_of_a_disk_image() {
    const IMAGE_LEN: usize = 64 * MIB;
    let pair = Pair::new();
    let mut random = Random::new(seed());
    let file = pair.home.folder("image").join("disk.img");
    fs::write(&file, random.bytes(IMAGE_LEN)).unwrap();
    pair.client.backup(&file);
    for generation in 1..=2 {
        let image = File::options().write(true).open(&file).unwrap();
        let mut changed = 0;
        for _ in 0..30 {
            let block = random.below(IMAGE_LEN as u64 / 4096);
            image.write_all_at(&random.bytes(4096), block * 4096).unwrap();
            changed += 4096;
        }
        let report = pair.client.backup(&file);
        let bound = Bound { sent_and_received: 3 * changed, stored: 3 * changed };
        bound.check(&format!("generation {generation}"), &report);
        let restored = pair.home.path("restored");
        pair.client.restore(format!("latest:{}", file.display()), &restored);
        assert_same_file(&file, &restored.join("disk.img"));
    }
}
