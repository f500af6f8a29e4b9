//! Any bytes as records: refused, or a head that its writer writes again; views of head, record and list agree.
//!
//! Every input is tried as it is, and with right checksums.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use object::{
    BODY_LEN_MAX, HEAD_LEN_MAX, MEMBER_COUNT_MAX, PLAIN_LEN_MAX, Record, RecordHeadWriter, RecordLen, Records,
    SealedRecord,
};

fuzz_target!(|input: &[u8]| {
    check(input);
    let mut bytes = input.to_vec();
    let mut at = 0;
    while let Ok(len) = RecordLen::read(&bytes[at..]) {
        let Some(record) = bytes[at..].get_mut(..len.total()) else { break };
        let (head, rest) = record.split_at_mut(len.head_len);
        rest[..4].copy_from_slice(&crc32c::crc32c(head).to_le_bytes());
        let (body, crc) = rest[4..].split_at_mut(len.body_len);
        crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        at += len.total();
    }
    check(&bytes);
});

fn check(bytes: &[u8]) {
    let mut rest = bytes;
    for found in Records::new(Bytes::copy_from_slice(bytes)) {
        let parsed = Record::parse(rest);
        let Ok(record) = found else {
            assert!(parsed.is_err());
            return;
        };
        let record = record.view();
        assert_eq!(parsed.expect("it was found").bytes(), record.bytes());
        rest = &rest[record.len().total()..];
        check_record(record);
    }
    assert!(rest.is_empty());
}

fn check_record(record: Record<'_>) {
    let len = record.len();
    assert!(len.head_len <= HEAD_LEN_MAX && len.body_len <= BODY_LEN_MAX);
    assert_eq!(record.bytes().len(), len.total());
    assert_eq!(record.body().len(), len.body_len);
    let head = Record::parse_head(&record.bytes()[..len.body_offset()]).expect("the record has it");
    assert_eq!(head.members().count(), head.member_count());
    assert!(head.member_count() <= MEMBER_COUNT_MAX && head.plain_len() <= PLAIN_LEN_MAX);

    let mut writer = RecordHeadWriter::new(head.codec(), head.key_epoch(), head.nonce());
    for member in head.members() {
        let edges: Vec<_> = member.edges.iter().collect();
        writer.member(member.kind, &member.id, member.plain_len, &edges).expect("it was in a record");
    }
    let mut again = writer.finish(len.body_len).expect("it was a head");
    assert_eq!(again, record.aad());
    RecordHeadWriter::append_body(&mut again, |_, body| body.copy_from_slice(record.body()));
    let again = SealedRecord::new(Bytes::from(again)).expect("it was a record");
    assert!(again.view().check_body().is_ok());
    assert_eq!(record.check_body().is_ok(), again.bytes() == record.bytes());
}
