//! Records: round trips, golden bytes, hostile bytes, and damage at every byte.

use bytes::Bytes;
use object::{Codec, Kind, ObjectId, Record, RecordError, RecordHeadWriter, RecordLen, Records, SealedRecord};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Draft {
    codec: Codec,
    key_epoch: u32,
    nonce: [u8; 24],
    members: Vec<(Kind, ObjectId, usize, Vec<ObjectId>)>,
    body: Vec<u8>,
}

impl Draft {
    fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut writer = RecordHeadWriter::new(self.codec, self.key_epoch, &self.nonce);
        for (kind, id, plain_len, edges) in &self.members {
            writer.member(*kind, id, *plain_len, edges)?;
        }
        let mut bytes = writer.finish(self.body.len())?;
        RecordHeadWriter::append_body(&mut bytes, |_head, body| body.copy_from_slice(&self.body));
        Ok(bytes)
    }
}

fn id(seed: u8) -> ObjectId {
    ObjectId::from_bytes([seed; 32])
}

fn tree_draft() -> Draft {
    Draft {
        codec: Codec::Zstd,
        key_epoch: 3,
        nonce: std::array::from_fn(|i| u8::try_from(i).unwrap()),
        members: vec![(Kind::Tree, id(0xaa), 100, vec![id(1), id(2)]), (Kind::Snapshot, id(0xbb), 7, vec![id(0xaa)])],
        body: b"sealed bytes".to_vec(),
    }
}

fn any_id() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId::from_bytes)
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let edges = || prop::collection::vec(any_id(), 0..5);
    let data = prop::collection::vec((Just(Kind::Data), any_id(), 0..1000usize, Just(vec![])), 1..6);
    let kind = prop_oneof![Just(Kind::List), Just(Kind::Tree), Just(Kind::Snapshot)];
    let metadata = prop::collection::vec((kind, any_id(), 0..1000usize, edges()), 1..6);
    let delta = (any_id(), 0..1000usize, prop::collection::vec(any_id(), 1..5))
        .prop_map(|(id, len, edges)| vec![(Kind::Data, id, len, edges)]);
    let shape = prop_oneof![
        (prop_oneof![Just(Codec::Raw), Just(Codec::Zstd)], prop_oneof![data, metadata]),
        (prop_oneof![Just(Codec::Delta), Just(Codec::DeltaZstd)], delta),
    ];
    (shape, any::<u32>(), any::<[u8; 24]>(), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|((codec, members), key_epoch, nonce, body)| Draft { codec, key_epoch, nonce, members, body })
}

proptest! {
    #[test]
    fn what_is_written_is_read(draft in any_draft(), trailing in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut bytes = draft.encode().unwrap();
        let record_len = bytes.len();
        bytes.extend_from_slice(&trailing);
        let record = Record::parse(&bytes).unwrap();
        record.check_body().unwrap();
        let head = record.head();
        prop_assert_eq!(record.bytes().len(), record_len);
        prop_assert_eq!(head.codec(), draft.codec);
        prop_assert_eq!(head.key_epoch(), draft.key_epoch);
        prop_assert_eq!(head.nonce(), &draft.nonce);
        prop_assert_eq!(head.member_count(), draft.members.len());
        prop_assert_eq!(record.body(), &draft.body[..]);
        let members: Vec<_> =
            head.members().map(|m| (m.kind, m.id, m.plain_len, m.edges.iter().collect::<Vec<_>>())).collect();
        prop_assert_eq!(members, draft.members);
        let head_only = Record::parse_head(&bytes[..record.len().body_offset()]).unwrap();
        prop_assert_eq!(head_only.len(), record.len());
    }

    #[test]
    fn any_bytes_are_refused_or_sound(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = Record::parse(&bytes) {
            prop_assert!(record.head().members().count() >= 1);
        }
    }

    /// With the head's checksum made right again, every field is at the mercy of the other checks.
    #[test]
    fn hostile_heads_never_panic(draft in any_draft(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = draft.encode().unwrap();
        let head_len = Record::parse(&bytes).unwrap().len().head_len;
        let at = at.index(head_len);
        bytes[at] = byte;
        let crc = crc32c::crc32c(&bytes[..head_len]);
        bytes[head_len..head_len + 4].copy_from_slice(&crc.to_le_bytes());
        if let Ok(record) = Record::parse(&bytes) {
            let head = record.head();
            prop_assert_eq!(head.members().count(), head.member_count());
            prop_assert!(head.plain_len() <= object::PLAIN_LEN_MAX);
        }
    }

    #[test]
    fn records_split_back_to_back(drafts in prop::collection::vec(any_draft(), 0..5)) {
        let each: Vec<Vec<u8>> = drafts.iter().map(|draft| draft.encode().unwrap()).collect();
        let split: Vec<_> = Records::new(Bytes::from(each.concat())).map(|record| record.unwrap().bytes().to_vec()).collect();
        prop_assert_eq!(split, each);
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let bytes = tree_draft().encode().unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let found = match Record::parse(&damaged) {
                Ok(record) => record.check_body().is_err(),
                Err(_) => true,
            };
            assert!(found, "byte {at} xor {flip:#x} went unnoticed");
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let bytes = tree_draft().encode().unwrap();
    for len in 0..bytes.len() {
        assert!(matches!(Record::parse(&bytes[..len]), Err(RecordError::Truncated { .. })), "length {len}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(SealedRecord::new(longer.into()).unwrap_err(), RecordError::Trailing { extra: 1 });
    SealedRecord::new(bytes.into()).unwrap();
}

/// Changing these bytes is a new record format.
#[test]
fn golden_record() {
    let hex: String = tree_draft().encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let aa = "aa".repeat(32);
    let expected = [
        "01010200".to_owned() + "03000000" + "d8000000" + "0c000000",
        "000102030405060708090a0b0c0d0e0f1011121314151617".to_owned(),
        "03000200".to_owned() + "64000000" + &aa + &"01".repeat(32) + &"02".repeat(32),
        "04000100".to_owned() + "07000000" + &"bb".repeat(32) + &aa,
        "417f98e2".to_owned() + "7365616c6564206279746573" + "602bbc06",
    ]
    .concat();
    assert_eq!(hex, expected);
}

#[test]
fn lengths_are_limited_before_anything_is_read() {
    let mut prefix = tree_draft().encode().unwrap()[..40].to_vec();
    prefix[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(RecordLen::read(&prefix), Err(RecordError::Limit { field: "head_len", .. })));
    prefix[8..12].copy_from_slice(&200u32.to_le_bytes());
    prefix[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(RecordLen::read(&prefix), Err(RecordError::Limit { field: "body_len", .. })));
    prefix[0] = 2;
    assert_eq!(RecordLen::read(&prefix), Err(RecordError::Format { format: 2 }));
}

#[track_caller]
fn refuses(change: impl FnOnce(&mut Draft), rule: &str) {
    let mut draft = tree_draft();
    change(&mut draft);
    assert_eq!(draft.encode().unwrap_err().to_string(), format!("record head is malformed: {rule}"));
}

#[test]
fn kinds_and_edges_that_do_not_belong_together() {
    refuses(|d| d.members.clear(), "a record has at least one member");
    refuses(|d| d.members[0].0 = Kind::Data, "whole data has no edges");
    refuses(
        |d| d.members = vec![(Kind::Data, id(1), 1, vec![]), (Kind::Tree, id(2), 1, vec![])],
        "data and metadata do not share a record",
    );
    refuses(|d| d.codec = Codec::Delta, "only data is stored as a delta");
    let delta = |edges: Vec<ObjectId>| {
        move |d: &mut Draft| {
            d.codec = Codec::DeltaZstd;
            d.members = vec![(Kind::Data, id(9), 1, edges)];
        }
    };
    refuses(delta(vec![]), "a delta has one to eight basis objects");
    refuses(delta((1..=9).map(id).collect()), "a delta has one to eight basis objects");
    refuses(delta(vec![id(9)]), "a delta is not its own basis");
    refuses(
        |d| {
            d.codec = Codec::Delta;
            d.members = vec![(Kind::Data, id(1), 1, vec![id(3)]), (Kind::Data, id(2), 1, vec![id(3)])];
        },
        "a delta is alone in its record",
    );
}

#[test]
fn ids_print_and_parse() {
    let id: ObjectId = std::iter::repeat_n("0f", 32).collect::<String>().parse().unwrap();
    assert_eq!(id, ObjectId::from_bytes([0x0f; 32]));
    assert_eq!(id.short(), "0f0f0f0f");
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!("0f0f".parse::<ObjectId>().unwrap_err().expected_len, 64);
    assert!(std::iter::repeat_n("0g", 32).collect::<String>().parse::<ObjectId>().is_err());
}
