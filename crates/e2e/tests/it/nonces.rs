//! A key and a nonce seal one thing: over the life of a server with restarts, kills, collections, a drive and backups of its
//! catalog, whatever stands under a nonce is always the same.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use object::Record;
use rusqlite::{Connection, OpenFlags};
use testkit::tree::{Random, seed};

use crate::support::{Pair, User, files_below};

const SYNC_MARKER: [u8; 8] = [0xf3, 0x44, 0x42, 0x52, 0x9e, 0x0d, 0x0a, 0x1a];

/// What was seen so far: by salt and counter of a record, or the nonce of a name, the hash of what is sealed.
#[derive(Default)]
struct Seen {
    records: HashMap<Vec<u8>, blake3::Hash>,
    salts: HashSet<Vec<u8>>,
    catalog_salts: HashMap<Vec<u8>, String>,
    names: HashMap<Vec<u8>, Vec<u8>>,
}

impl Seen {
    /// Looks at every record in packs, finished or not, and at every backup of the catalog.
    fn look(&mut self, data_dir: &Path) {
        for folder in ["packs", "staging", "quarantine"] {
            for path in files_below(&data_dir.join(folder)) {
                // Something may be removed meanwhile.
                self.look_at_pack(&fs::read(&path).unwrap_or_default());
            }
        }
        for path in files_below(&data_dir.join("catalog-backups")) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let salt = fs::read(&path).unwrap()[48..80].to_vec();
            let other = self.catalog_salts.insert(salt, name.clone());
            assert!(other.is_none_or(|other| other == name), "two catalog backups have one key");
        }
    }

    fn look_at_pack(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = rest.windows(8).position(|window| window == SYNC_MARKER) {
            rest = &rest[at + 8..];
            let Ok(record) = Record::parse(rest) else { continue };
            let nonce = record.head().nonce().to_vec();
            self.salts.insert(nonce[..16].to_vec());
            // A collection moves records as they are: the same bytes may stand in two packs.
            let hash = blake3::hash(record.bytes());
            let other = self.records.insert(nonce.clone(), hash);
            assert!(other.is_none_or(|other| other == hash), "two records are sealed under {nonce:?}");
        }
    }

    fn look_at_names(&mut self, catalog: &Path) {
        let catalog = Connection::open_with_flags(catalog, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        for sql in ["SELECT sealed_name FROM drive_node", "SELECT sealed_metadata FROM drive_version"] {
            let mut statement = catalog.prepare(sql).unwrap();
            let sealed = statement.query_map((), |row| row.get::<_, Vec<u8>>(0)).unwrap();
            for sealed in sealed.map(Result::unwrap).filter(|sealed| !sealed.is_empty()) {
                let other = self.names.insert(sealed[..12].to_vec(), sealed.clone());
                assert!(other.is_none_or(|other| other == sealed), "two names are sealed under one nonce");
            }
        }
    }
}

#[test]
fn no_nonce_seals_two_things_in_the_whole_life_of_a_server() {
    let mut pair =
        Pair::with(&["--pack-size", "256KiB", "--seal-interval", "200ms", "--gc-interval", "0s"], User::Same);
    let mut random = Random::new(seed());
    let tree = pair.home.folder("tree");
    let mut large = random.bytes(3 << 20);
    let mut seen = Seen::default();
    pair.server.admin(&["retention", "set", "--keep-last", "2", "--min-age", "0s"]).expect(0);
    for round in 0..4usize {
        for number in 0..10 {
            fs::write(tree.join(format!("file-{}", number * (round + 1))), random.bytes(20_000)).unwrap();
        }
        // Deltas, made by the client and made anew by the server.
        large[round << 19..][..50_000].copy_from_slice(&random.bytes(50_000));
        fs::write(tree.join("large"), &large).unwrap();
        pair.client.backup(&tree);
        seen.look(pair.server.data_dir());
        for name in ["letter", "report"] {
            let path = pair.home.path(name);
            fs::write(&path, random.bytes(100_000)).unwrap();
            pair.client.run(&["put".as_ref(), path.as_os_str(), "--to".as_ref(), "docs".as_ref()]).expect(0);
        }
        pair.server.admin(&["catalog", "backup"]).expect(0);

        // Killed while a backup runs: the server at first, the client at last; what they had sealed is sealed anew.
        fs::write(tree.join("new"), random.bytes(24 << 20)).unwrap();
        let packs = pair.server.packs().len();
        let running = pair.client.start(&["--max-wait".as_ref(), "60".as_ref(), "backup".as_ref(), tree.as_os_str()]);
        crate::support::wait_until("a pack is sealed", || pair.server.packs().len() > packs);
        if round % 2 == 0 {
            pair.server.kill();
            seen.look(pair.server.data_dir());
            pair.server.restart();
            pair.client.set_connection("port", &pair.server.port().to_string());
        }
        // It may have ended by itself, or wait for a server that listens elsewhere now.
        drop(running);
        pair.client.backup(&tree);
        seen.look(pair.server.data_dir());
        pair.server.admin(&["retention", "confirm-change", "--all"]).expect(0);
        pair.server.admin(&["retention", "run", "--confirm-large"]).expect(0);
        pair.server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
        seen.look(pair.server.data_dir());
    }
    pair.server.admin(&["verify", "--full"]).expect(0);
    pair.server.stop();
    seen.look_at_names(&pair.server.data_dir().join("catalog.sqlite3"));
    // Enough was looked at: each run of a client seals with salts of its own, and so does each session of the server.
    let Seen { records, salts, catalog_salts, names } = &seen;
    assert!(records.len() > 100 && salts.len() > 20, "{} records under {} salts", records.len(), salts.len());
    assert!(catalog_salts.len() >= 4 && names.len() >= 10, "{catalog_salts:?}, {} names", names.len());
}
