//! Sealing: identity, every changed byte refused, groups, compression, nonces.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use object::{Codec, Kind, ObjectId, Record, SealedRecord};
use proptest::prelude::*;
use vault::{CompressionLevel, Keys, OpenError, Opened, Opener, PlainObject, SealError, Sealer, VaultKey};

use crate::store::{keys, sealer};

fn data(keys: &Keys, body: impl Into<Vec<u8>>) -> PlainObject {
    PlainObject::new(keys, Kind::Data, vec![], Bytes::from(body.into()))
}

#[track_caller]
fn open(record: &SealedRecord) -> Vec<PlainObject> {
    match Opener::new(keys()).open(record.view()).unwrap() {
        Opened::Objects(objects) => objects,
        Opened::Delta(_) => panic!("a delta came out"),
    }
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        (any::<u8>(), 0..100_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

proptest! {
    #[test]
    fn what_is_sealed_opens(bodies in prop::collection::vec(any_body(), 1..20), kind in 0..3usize) {
        let keys = keys();
        let objects: Vec<PlainObject> = bodies
            .into_iter()
            .map(|body| match kind {
                0 => data(&keys, body),
                1 => PlainObject::new(&keys, Kind::Tree, vec![ObjectId::from_bytes([1; 32]); body.len() % 5], body.into()),
                _ => PlainObject::new(&keys, Kind::List, vec![], body.into()),
            })
            .collect();
        let record = sealer(&keys).seal(&objects).unwrap();
        record.view().check_body().unwrap();
        let mut opener = Opener::new(keys);
        opener.check(record.view()).unwrap();
        for (index, object) in objects.iter().enumerate() {
            prop_assert_eq!(&opener.open_member(record.view(), index).unwrap(), object);
        }
        prop_assert_eq!(open(&record), objects);
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let keys = keys();
    let record = sealer(&keys).seal(&[data(&keys, *b"one"), data(&keys, *b"two")]).unwrap();
    let len = record.view().len();
    let mut opener = Opener::new(keys);
    for at in 0..len.total() {
        let in_head = at < len.head_len;
        let in_body = (len.body_offset()..len.body_offset() + len.body_len).contains(&at);
        if !in_head && !in_body {
            continue;
        }
        for bit in 0..8 {
            let mut bytes = record.bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let crc = crc32c::crc32c(&bytes[..len.head_len]).to_le_bytes();
            bytes[len.head_len..len.head_len + 4].copy_from_slice(&crc);
            if let Ok(changed) = Record::parse(&bytes) {
                let error = opener.open(changed).expect_err("an altered record opened");
                assert!(matches!(error, OpenError::Altered | OpenError::KeyEpoch { .. }), "byte {at}: {error}");
                if !changed.head().codec().is_delta() {
                    assert_eq!(opener.check(changed).unwrap_err(), error);
                    assert_eq!(opener.open_member(changed, 0).unwrap_err(), error);
                }
            }
        }
    }
}

/// Heads, bodies and nonces of two sound records of one vault, put together otherwise, with right checksums: within one
/// sealing session and between two.
#[test]
fn parts_of_two_records_do_not_open_together() {
    let keys = keys();
    let mut one = Sealer::new(&keys, [1; 16], CompressionLevel::DEFAULT);
    let mut two = Sealer::new(&keys, [2; 16], CompressionLevel::DEFAULT);
    let first = one.seal(&[data(&keys, *b"first")]).unwrap();
    let others = [one.seal(&[data(&keys, *b"other")]).unwrap(), two.seal(&[data(&keys, *b"other")]).unwrap()];
    let mut opener = Opener::new(Arc::clone(&keys));
    for other in &others {
        let len = first.view().len();
        assert_eq!(len.total(), other.view().len().total());
        let nonce = first.view().head().nonce();
        let nonce_at = first.bytes().windows(nonce.len()).position(|window| window == nonce).unwrap();
        let member_at = first.bytes().windows(32).position(|window| window == open(&first)[0].id.as_bytes()).unwrap();
        let body = len.body_offset()..len.total();
        for part in [nonce_at..nonce_at + nonce.len(), member_at..member_at + 32, 0..len.head_len, body] {
            let mut bytes = first.bytes().to_vec();
            bytes[part.clone()].copy_from_slice(&other.bytes()[part.clone()]);
            let crc = crc32c::crc32c(&bytes[..len.head_len]).to_le_bytes();
            bytes[len.head_len..len.head_len + 4].copy_from_slice(&crc);
            let mixed = Record::parse(&bytes).unwrap();
            mixed.check_body().unwrap();
            assert_eq!(opener.open(mixed).unwrap_err(), OpenError::Altered, "bytes {part:?}");
        }
    }
}

#[test]
fn another_vault_opens_nothing() {
    let record = sealer(&keys()).seal(&[data(&keys(), *b"secret")]).unwrap();
    let other = Arc::new(Keys::new(&VaultKey::from_bytes([8; 32])));
    assert_eq!(Opener::new(other).open(record.view()).unwrap_err(), OpenError::Altered);
}

/// A correct seal around content that is not what its id names: a producer with bad memory, or a liar with the key.
#[test]
fn content_that_does_not_match_its_id_is_refused() {
    let keys = keys();
    let mut object = data(&keys, *b"content");
    object.id = data(&keys, *b"something else").id;
    let record = sealer(&keys).seal(&[object.clone()]).unwrap();
    let mut opener = Opener::new(keys);
    assert_eq!(opener.open(record.view()).unwrap_err(), OpenError::WrongId { id: object.id });
    assert_eq!(opener.check(record.view()).unwrap_err(), OpenError::WrongId { id: object.id });
}

#[test]
fn compressed_only_when_it_helps() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let zeros = sealer.seal(&[data(&keys, vec![0; 1 << 20])]).unwrap();
    assert_eq!(zeros.view().head().codec(), Codec::Zstd);
    assert!(zeros.bytes().len() < 400);
    let noise: Vec<u8> = blake3::Hasher::new().update(b"noise").finalize_xof().fill_vec(100_000);
    let noise = sealer.seal(&[data(&keys, noise)]).unwrap();
    assert_eq!(noise.view().head().codec(), Codec::Raw);
    assert_eq!(noise.bytes().len(), 100_000 + 40 + 40 + 4 + 16 + 4);
}

#[test]
fn alike_objects_compress_together() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let files: Vec<PlainObject> = (0..50)
        .map(|i| {
            let noise: Vec<u8> = blake3::Hasher::new().update(b"shared header").finalize_xof().fill_vec(600);
            data(&keys, [noise, format!("file {i}").into_bytes()].concat())
        })
        .collect();
    let alone: usize = files.iter().map(|file| sealer.seal(std::slice::from_ref(file)).unwrap().bytes().len()).sum();
    let together = sealer.seal(&files).unwrap().bytes().len();
    assert!(together < alone / 8, "together {together}, alone {alone}");
}

#[test]
fn no_nonce_is_used_twice() {
    let keys = keys();
    let mut seen = HashSet::new();
    for salt in 0..4 {
        let mut sealer = Sealer::new(&keys, [salt; 16], CompressionLevel::DEFAULT);
        for _ in 0..100 {
            let record = sealer.seal(&[data(&keys, *b"same")]).unwrap();
            assert!(seen.insert(*record.view().head().nonce()));
        }
    }
}

#[test]
fn limits_hold() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    assert!(matches!(sealer.seal(&[]), Err(SealError::Record(_))));
    let tree = PlainObject::new(&keys, Kind::Tree, vec![], Bytes::new());
    assert!(matches!(sealer.seal(&[data(&keys, *b"x"), tree]), Err(SealError::Record(_))));
    let big = data(&keys, vec![0; 5 << 20]);
    assert!(matches!(sealer.seal(&[big.clone(), big]), Err(SealError::Record(_))));
}

/// Changing these bytes is a new record format, or a new derivation of keys.
#[test]
fn golden_record() {
    let keys = keys();
    let tree = PlainObject::new(&keys, Kind::Tree, vec![ObjectId::from_bytes([1; 32])], Bytes::from_static(b"body"));
    assert_eq!(tree.id.to_string(), "0e9ccd4904bbfb1b6b14c57864065eb8669087a2a9993195bec73571fe158308");
    assert_eq!(
        data(&keys, *b"body").id.to_string(),
        "24b649da7b8ee7a155e55378afd3bc75c94e9b06c37a2c04870f34854360e385"
    );
    let record = sealer(&keys).seal(&[tree]).unwrap();
    assert_eq!(
        blake3::hash(record.bytes()).to_hex().as_str(),
        "c42de6496190a6753afba746797d4f9fb9b74dbac66d9816a9634979c5897878"
    );
}

trait FillVec {
    fn fill_vec(self, len: usize) -> Vec<u8>;
}

impl FillVec for blake3::OutputReader {
    fn fill_vec(mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}
