//! A sealed vault of format 1, kept in `tests/golden/sealed-v1.txt`: a key slot for a passphrase and some records. Whatever is
//! changed later, the passphrase opens it and everything in it is what it was.
//!
//! A new version of a format gets a file of its own beside it, made by `write_a_golden_sealed_vault`.

use std::sync::Arc;

use bytes::Bytes;
use object::{Kind, ObjectId, SealedRecord, VaultId, hex};
use vault::{
    CompressionLevel, Content, Entry, EntryKind, KeySlot, Keys, ListBuilder, Metadata, Piece, PieceCursor, PlainObject,
    Sealer, Snapshot, Timestamp, TreeBuilder, TreeCursor, Unlock, VaultKey,
};

use crate::keys::cheapest;
use crate::sealed::{noise, seal_against, signature};
use crate::store::MemoryStore;

const GOLDEN: &str = include_str!("../golden/sealed-v1.txt");
const PASSPHRASE: &[u8] = "correct horse \u{2014} battery staple".as_bytes();

/// Bytes of a file, or the length of a hole.
type Part = Result<Vec<u8>, u64>;

/// The files, by name.
fn files() -> Vec<(Vec<u8>, Vec<Part>)> {
    let first = noise(1, 8000);
    let mut second = first.clone();
    second[4000..4010].copy_from_slice(b"ten bytes!");
    vec![
        (b"empty".to_vec(), vec![]),
        (b"first".to_vec(), vec![Ok(first)]),
        (b"no text \xff".to_vec(), vec![Ok(b"the same line again\n".repeat(200))]),
        (b"second".to_vec(), vec![Ok(second), Err(1 << 20), Ok(b"after the hole".to_vec())]),
    ]
}

/// The values of all lines that begin like this.
fn lines(name: &str) -> Vec<&'static str> {
    GOLDEN.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

fn bytes_of(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn a_sealed_vault_of_format_1_is_opened_and_read() {
    let vault = VaultId::from_bytes(hex::decode(lines("vault")[0]).unwrap());
    let slot = KeySlot::from_bytes(bytes_of(lines("slot")[0]));
    assert!(slot.open(vault, Unlock::Passphrase(b"another")).is_err());
    let keys = Arc::new(Keys::new(&slot.open(vault, Unlock::Passphrase(PASSPHRASE)).unwrap()));
    let mut store = MemoryStore::default();
    let mut deltas = 0;
    for record in lines("record") {
        let record = SealedRecord::new(bytes_of(record).into()).unwrap();
        record.view().check_body().unwrap();
        deltas += usize::from(record.view().head().codec().is_delta());
        store.put(record);
    }
    assert_eq!(deltas, 1, "a delta is among them");
    let mut reader = store.reader(&keys);
    let snapshot = Snapshot::decode(&reader.object(lines("snapshot")[0].parse().unwrap()).unwrap()).unwrap();
    assert_eq!((snapshot.host.as_str(), snapshot.files, snapshot.chain.as_str()), ("golden", 4, "home"));
    let mut tree = TreeCursor::new(snapshot.tree);
    for (name, pieces) in files() {
        let entry = tree.next(&mut reader).unwrap().unwrap();
        assert_eq!(entry.name, name);
        assert_eq!(entry.metadata.mode, 0o640);
        let EntryKind::File { size, content } = entry.kind else { panic!("they are all files") };
        let mut cursor = PieceCursor::new(content, size);
        for expected in pieces {
            match (cursor.next(&mut reader).unwrap().unwrap(), expected) {
                (Piece::Chunk { id, .. }, Ok(bytes)) => assert!(reader.object(id).unwrap().body == bytes),
                (Piece::Hole { len }, Err(expected)) => assert_eq!(len, expected),
                (piece, _) => panic!("{piece:?}"),
            }
        }
        assert_eq!(cursor.next(&mut reader).unwrap(), None);
    }
    assert!(tree.next(&mut reader).unwrap().is_none());
}

/// Writes the vault of today's format into the file that the environment variable `GOLDEN_SEALED_VAULT` names.
#[test]
#[ignore = "makes what the other test reads, once per version of a format"]
#[expect(clippy::disallowed_methods, reason = "it makes a file of the source tree")]
fn write_a_golden_sealed_vault() {
    let target = std::env::var_os("GOLDEN_SEALED_VAULT").expect("GOLDEN_SEALED_VAULT names a new file");
    let (vault, key) = (VaultId::from_bytes([0x5e; 16]), VaultKey::from_bytes([0xa5; 32]));
    let slot = KeySlot::wrap_passphrase(&key, vault, PASSPHRASE, cheapest(), [7; 32]).unwrap();
    let keys = Keys::new(&key);
    let mut sealer = Sealer::new(&keys, [9; 16], CompressionLevel::DEFAULT);
    let mut records: Vec<SealedRecord> = Vec::new();
    let mut pages = Vec::new();
    let mut tree = TreeBuilder::new();
    let mut basis: Option<PlainObject> = None;
    for (name, pieces) in files() {
        let mut list = ListBuilder::new();
        for piece in pieces {
            let piece = match piece {
                Err(len) => Piece::Hole { len },
                Ok(bytes) => {
                    let chunk = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(bytes));
                    let old = basis.as_ref().filter(|old| old.body.len() == chunk.body.len());
                    let as_delta = old.map(|old| {
                        seal_against(&keys, &[(old.id, signature(&keys, &old.body, 0))], &chunk.body).unwrap()
                    });
                    match as_delta {
                        Some((record, made)) => {
                            records.extend(made.supplement.map(|object| sealer.seal(&[object]).unwrap()));
                            records.push(record);
                        }
                        None => records.push(sealer.seal(std::slice::from_ref(&chunk)).unwrap()),
                    }
                    basis.get_or_insert_with(|| chunk.clone());
                    Piece::Chunk { len: chunk.body.len() as u64, id: chunk.id }
                }
            };
            list.push(&keys, piece, &mut |page| pages.push(page));
        }
        let size = list.file_len();
        let content: Content = list.finish(&keys, &mut |page| pages.push(page));
        let metadata = Metadata { mode: 0o640, ..Metadata::default() };
        let entry = Entry { name, kind: EntryKind::File { size, content }, metadata };
        tree.push(&keys, entry, &mut |page| pages.push(page));
    }
    let tree: ObjectId = tree.finish(&keys, &mut |page| pages.push(page));
    let snapshot = Snapshot {
        tree,
        started: Timestamp { secs: 1_700_000_000, nanos: 1 },
        finished: Timestamp { secs: 1_700_000_001, nanos: 2 },
        host: "golden".into(),
        user: "user".into(),
        software: "test".into(),
        roots: vec![b"/home".to_vec()],
        excludes: Vec::new(),
        files: 4,
        directories: 1,
        others: 0,
        bytes: 0,
        problems: 0,
        parent: None,
        device: vec![1; 8],
        chain: "home".into(),
        unknown: Vec::new(),
    }
    .encode(&keys);
    records.push(sealer.seal(&[&pages[..], std::slice::from_ref(&snapshot)].concat()).unwrap());
    let mut text = format!("vault {}\nslot {}\n", hex::encode(vault.as_bytes()), hex::encode(slot.as_bytes()));
    text.push_str(&format!("snapshot {}\n", hex::encode(snapshot.id.as_bytes())));
    for record in records {
        text.push_str(&format!("record {}\n", hex::encode(record.bytes())));
    }
    std::fs::write(target, text).unwrap();
}
