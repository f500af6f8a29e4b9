//! Space comes back: what was purged and what is kept for the sake of a delta alone.

use std::fs;
use std::time::{Duration, Instant};

use testkit::tree::{Random, seed};

use crate::support::{Pair, User, assert_same_file, number, wait_until};

const MIB: usize = 1 << 20;

#[test]
fn bases_that_only_a_delta_needs_are_let_go() {
    let Pair { server, client, home } = Pair::with(&["--trash-delay", "0s", "--retention-interval", "1s"], User::Same);
    let mut random = Random::new(seed());
    let file = home.folder("files").join("file");
    let content = random.bytes(24 * MIB);
    fs::write(&file, &content).unwrap();
    client.backup(&file);
    // What is left of it comes from many chunks, a little from each: less than a delta's bases take.
    let kept: Vec<u8> = content.chunks(4 * MIB).flat_map(|part| &part[..128 * 1024]).copied().collect();
    fs::write(&file, &kept).unwrap();
    let second = client.backup(&file);
    assert!(number(&second, "bytes_stored") < kept.len() as u64 / 2, "it rests as a delta: {second}");
    server.admin(&["retention", "set", "--keep-last", "1", "--min-age", "0s"]).expect(0);
    server.admin(&["retention", "confirm-change", "--all"]).expect(0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while number(&server.status(), "snapshots") + number(&server.status(), "trashed_snapshots") > 1 {
        assert!(Instant::now() < deadline, "nothing was purged: {}", server.status());
        std::thread::sleep(Duration::from_millis(100));
    }
    // What a session may still count on waits for a later collection, so a few are needed. A delta stays whose bases take up
    // to a quarter more than its object would.
    let needed = kept.len() as u64;
    wait_until("what only a delta needed is gone", || {
        server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
        number(&server.status(), "bytes_stored") < needed * 13 / 10
    });
    client.restore(format!("latest:{}", file.display()), &home.path("restored"));
    assert_same_file(&file, &home.path("restored/file"));
}
