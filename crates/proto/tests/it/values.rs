//! The small types: what they take and what they refuse.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proto::limits::*;
use proto::*;

use crate::samples::{authenticate, enrolled, id, ids, vault_opened};
use crate::strategies::{client_message, failure, server_message};
use crate::{client_frame, server_frame};

proptest! {
    #[test]
    fn client_messages_round_trip(message in client_message(), stream in any::<u32>()) {
        let frame = client_frame(&message, stream);
        prop_assert_eq!((frame.stream.number(), frame.message_type), (stream, message.message_type()));
        prop_assert_eq!(message.message_type().sender(), Side::Client);
        prop_assert_eq!(ClientMessage::decode(frame).unwrap(), message);
    }

    #[test]
    fn server_messages_round_trip(message in server_message(), stream in any::<u32>()) {
        let frame = server_frame(&message, stream);
        prop_assert_eq!((frame.stream.number(), frame.message_type), (stream, message.message_type()));
        prop_assert_eq!(message.message_type().sender(), Side::Server);
        prop_assert_eq!(ServerMessage::decode(frame).unwrap(), message);
    }

    #[test]
    fn failures_round_trip(failure in failure()) {
        let message = ServerMessage::Failed(failure);
        prop_assert_eq!(ServerMessage::decode(server_frame(&message, 0)).unwrap(), message);
    }

    #[test]
    fn lossy_texts_fit(text in any::<String>()) {
        let fitting = SoftwareName::lossy(&text);
        prop_assert_eq!(SoftwareName::new(fitting.as_str()).unwrap(), fitting.clone());
        if let Ok(exact) = SoftwareName::new(&text) {
            prop_assert_eq!(exact, fitting);
        }
    }

    #[test]
    fn held_answers_are_their_bits(held in vec(any::<bool>(), 0..70)) {
        let answer: HeldAnswer = held.iter().copied().collect();
        prop_assert_eq!(answer.iter().collect::<Vec<_>>(), held.clone());
        prop_assert_eq!((0..held.len()).map(|i| answer.is_held(i).unwrap()).collect::<Vec<_>>(), held.clone());
        prop_assert_eq!((answer.len(), answer.is_held(held.len())), (held.len(), None));
        let count = u32::try_from(held.len()).unwrap();
        prop_assert_eq!(HeldAnswer::new(count, answer.as_bytes().clone()), Some(answer));
    }
}

/// Groups keep the order, lose nothing, and each fits into a message, whichever limit is the tightest.
#[test]
fn signature_groups_fit() {
    for (range_count, log2, strong_len, group_count) in [
        (0, 17, 2, 3),
        (0, 13, 4, 3),
        (0, 9, 2, 18),
        (0, 6, 8, 300),
        (4, 9, 2, 3),
        (400, 9, 2, 188),
        (4096, 6, 8, 3000),
    ] {
        let range = |i: u32| SignatureRange::new(i * 1000, 999).unwrap();
        let ranges: Vec<_> = (0..range_count).map(range).collect();
        let request = |basis: u16| {
            let basis = id(basis.to_le_bytes()[0]);
            SignatureRequest::new(basis, log2, strong_len, 0, ranges.clone()).unwrap()
        };
        let requests: Vec<_> = (0..3000).map(request).collect();
        let groups = SignatureRequest::groups(requests.clone());
        for group in &groups {
            assert!(!group.is_empty());
            ClientRequest::Signatures(group.clone()).encode(StreamId::new(1)).unwrap();
        }
        assert_eq!(groups.len(), group_count, "{range_count} ranges of 2^{log2}");
        assert!(groups.concat() == requests);
    }
}

#[test]
fn every_fail_code_round_trips_and_no_other() {
    for tag in 0..=u8::MAX {
        assert_eq!(FailCode::from_tag(tag).is_some(), (1..=13).contains(&tag));
    }
    let transient: Vec<_> = FailCode::ALL.into_iter().filter(|code| code.is_transient()).collect();
    assert_eq!(transient, [FailCode::Full, FailCode::Busy, FailCode::ShuttingDown, FailCode::Timeout]);
    for (index, code) in FailCode::ALL.into_iter().enumerate() {
        assert_eq!(code as usize, index + 1);
        let failure = Failure::new(code, "why");
        assert_eq!(failure.is_transient(), code.is_transient());
        let message = ServerMessage::Failed(failure);
        assert_eq!(ServerMessage::decode(server_frame(&message, 9)).unwrap(), message);
    }
    assert_eq!(
        Failure::new(FailCode::Full, "the disk is full").to_string(),
        "server says: no room left: the disk is full"
    );
}

#[test]
fn secrets_are_not_shown() {
    let shown = [
        format!("{:?}", authenticate()),
        format!("{:?}", enrolled()),
        format!("{:?}", vault_opened()),
        format!("{:?}", client_frame(&ClientMessage::Request(authenticate()), 2)),
        format!("{:?}", ClientMessage::Request(authenticate()).encode(StreamId::new(2))),
    ];
    for shown in shown {
        for form in ["94", "5e", "5E", "^", "78", "4e", "4E", "N"] {
            let shown = shown.replace("None", "").replace("device_name", "");
            assert!(!shown.contains(&format!("{form}, {form}")) && !shown.contains(&form.repeat(2)), "{shown}");
        }
    }
    assert_eq!(Secret::new([1; 16]), Secret::new([1; 16]));
    let mut other = [1; 16];
    other[15] = 2;
    assert_ne!(Secret::new([1; 16]), Secret::new(other));
}

#[test]
fn paths_never_lead_out() {
    let path = |text: &[u8]| DrivePath::new(Bytes::copy_from_slice(text));
    for allowed in [&b""[..], b"a", b"a/b", b"...", b"a/.b", b"\xff\n", &[b'x'; 255]] {
        assert!(path(allowed).is_some(), "{}", allowed.escape_ascii());
    }
    let long_name = [b'x'; 256];
    let long_path = [&[b'x'; 99][..], b"/"].concat().repeat(41);
    for refused in
        [&b"/"[..], b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"a\0b", &long_name, &long_path[..4099]]
    {
        assert!(path(refused).is_none(), "{}", refused.escape_ascii());
    }
    let deep = path(b"a/bc/d").unwrap();
    let names: Vec<_> = deep.names().map(|name| name.as_bytes().clone()).collect();
    assert_eq!(names, [&b"a"[..], b"bc", b"d"]);
    assert_eq!(deep.parent(), path(b"a/bc"));
    assert_eq!(path(b"a").unwrap().parent(), Some(DrivePath::ROOT));
    assert_eq!((DrivePath::ROOT.parent(), DrivePath::ROOT.name(), DrivePath::ROOT.names().count()), (None, None, 0));
}

#[test]
fn values_outside_their_bounds_are_refused() {
    assert!(Ids::new(Bytes::from_static(&[0; 33])).is_none());
    assert_eq!(ids([1, 2]).get(1), Some(id(2)));
    assert_eq!(ids([1, 2]).get(2), None);
    assert!(HeldAnswer::new(3, Bytes::from_static(&[0b1000])).is_none());
    assert!(HeldAnswer::new(8, Bytes::from_static(&[0xff])).is_some());
    assert!(HeldAnswer::new(9, Bytes::from_static(&[0xff])).is_none());
    assert!(HeldAnswer::new(0, Bytes::from_static(&[0])).is_none());
    assert!(Timestamp::new(0, 1_000_000_000).is_none());
    assert!(VersionRange::new(2, 1).is_none());
    assert!(SignatureRange::new(5, 0).is_none());
    assert!(SignatureRange::new(u32::MAX, 2).is_none());
    assert!(SignatureRange::new(0, SIGNATURE_BASIS_LEN_MAX + 1).is_none());
    let request = |log2, strong_len, phase, ranges| SignatureRequest::new(id(1), log2, strong_len, phase, ranges);
    assert!(request(5, 2, 0, vec![]).is_err() && request(18, 2, 0, vec![]).is_err());
    assert!(request(9, 1, 0, vec![]).is_err() && request(9, 9, 0, vec![]).is_err());
    assert!(request(9, 2, 511, vec![]).is_ok() && request(9, 2, 512, vec![]).is_err());
    let range = |start, len| SignatureRange::new(start, len).unwrap();
    assert!(request(9, 2, 0, vec![range(0, 10), range(10, 1)]).is_ok());
    let refused = request(9, 2, 0, vec![range(0, 10), range(9, 1)]);
    assert_eq!(refused, Err(SignatureRequestError::Order { range_index: 1 }));
    assert!(matches!(ChainName::new(""), Err(TextError::Len(_))));
    assert!(matches!(ChainName::new(&"x".repeat(129)), Err(TextError::Len(_))));
    assert!(matches!(ChainName::new("a\u{1b}[2J"), Err(TextError::Control { character: '\u{1b}' })));
    assert_eq!(HostName::lossy("a\nb").as_str(), "a b");
    assert_eq!(SoftwareName::lossy(&"é".repeat(40)).as_str(), "é".repeat(32));
}

/// What no peer would take does not leave this side either.
#[test]
fn messages_beyond_their_limits_do_not_encode() {
    let many = |count: usize| Ids::new(Bytes::from(vec![0; 32 * count])).unwrap();
    let all_blocks = |log2| SignatureRequest::new(id(1), log2, 8, 0, vec![]).unwrap();
    let put = |size, content| {
        let ClientRequest::DrivePut(put) = crate::samples::drive_put() else { unreachable!() };
        ClientRequest::DrivePut(DrivePut { size, content, ..put })
    };
    let cases = [
        (ClientRequest::Held(many(HELD_ID_COUNT_MAX)), true),
        (ClientRequest::Held(many(HELD_ID_COUNT_MAX + 1)), false),
        (ClientRequest::Fetch(Fetch { ids: many(FETCH_ID_COUNT_MAX), with_basis: false }), true),
        (ClientRequest::Fetch(Fetch { ids: many(FETCH_ID_COUNT_MAX + 1), with_basis: false }), false),
        (ClientRequest::Signatures(vec![all_blocks(17); SIGNATURE_REQUEST_COUNT_MAX]), true),
        (ClientRequest::Signatures(vec![all_blocks(17); SIGNATURE_REQUEST_COUNT_MAX + 1]), false),
        (ClientRequest::Signatures(vec![all_blocks(6); 10]), true),
        (ClientRequest::Signatures(vec![all_blocks(6); 11]), false),
        (ClientRequest::Snapshots(Snapshots { chain: None, before: None, limit: 0, in_trash: false }), false),
        (ClientRequest::Snapshots(Snapshots { chain: None, before: None, limit: 1001, in_trash: false }), false),
        (ClientRequest::DriveList(DriveList { path: DrivePath::ROOT, after: None, limit: 0 }), false),
        (ClientRequest::DriveList(DriveList { path: DrivePath::ROOT, after: None, limit: 10_001 }), false),
        (put(0, DriveContent::Empty), true),
        (put(1, DriveContent::Empty), false),
        (put(0, DriveContent::Chunk(id(1))), false),
    ];
    for (request, fits) in cases {
        let encoded = request.encode(StreamId::new(1));
        assert_eq!(encoded.is_ok(), fits, "{encoded:?}");
    }
    assert!(ServerMessage::Refused(Ids::default()).encode(StreamId::CONNECTION).is_err());
    assert!(ServerMessage::Refused(many(REFUSED_ID_COUNT_MAX + 1)).encode(StreamId::CONNECTION).is_err());
    assert!(Failure::missing("", many(MISSING_ID_COUNT_MAX + 1)).is_err());
}
