//! Sound frames with content that is not what their type says: refused, never obeyed, never a panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proto::*;

use crate::received;
use crate::samples::{client_messages, sealed_vault_opened, server_messages};

/// 2^63 - 1 as the codec writes it: as a length it would be all memory, many times over.
const GIANT: [u8; 9] = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];

/// One sound frame of every type.
fn frames() -> Vec<Frame> {
    let stream = StreamId::new(7);
    let client = client_messages().into_iter().map(|message| message.encode(stream));
    let mut server = server_messages();
    server.push(ServerMessage::Reply(sealed_vault_opened()));
    let server = server.into_iter().map(|message| message.encode(stream));
    client.chain(server).map(|frame| received(frame.unwrap())).collect()
}

/// Whether either side takes the frame. What one takes, it could have sent: it encodes, and means the same again.
#[track_caller]
fn is_taken(frame: Frame) -> bool {
    let stream = frame.stream;
    let as_client = ClientMessage::decode(frame.clone());
    let as_server = ServerMessage::decode(frame);
    assert!(as_client.is_err() || as_server.is_err());
    if let Ok(message) = &as_client {
        let again = received(message.encode(stream).expect("what was taken can be sent"));
        assert!(ClientMessage::decode(again).expect("and taken again") == *message);
    }
    if let Ok(message) = &as_server {
        let again = received(message.encode(stream).expect("what was taken can be sent"));
        assert!(ServerMessage::decode(again).expect("and taken again") == *message);
    }
    as_client.is_ok() || as_server.is_ok()
}

fn with_head(frame: &Frame, head: Vec<u8>) -> Frame {
    Frame { head: head.into(), ..frame.clone() }
}

fn with_body(frame: &Frame, body: Vec<u8>) -> Frame {
    Frame { body: body.into(), ..frame.clone() }
}

/// A path that is cut or goes on may be another path.
fn ends_in_a_path(message_type: MessageType) -> bool {
    use MessageType::{DriveList, DrivePut, DriveRemove, DriveStat, DriveUndelete};
    matches!(message_type, DriveList | DriveStat | DrivePut | DriveRemove | DriveUndelete)
}

#[test]
fn heads_are_taken_whole_or_not_at_all() {
    for frame in frames() {
        assert!(is_taken(frame.clone()), "{}", frame.message_type);
        for len in 0..frame.head.len() {
            assert!(!is_taken(with_head(&frame, frame.head[..len].to_vec())), "{} cut at {len}", frame.message_type);
        }
        for extra in [0, 1, 0xff] {
            let longer = [&frame.head[..], &[extra]].concat();
            assert!(!is_taken(with_head(&frame, longer)), "{} and a byte", frame.message_type);
        }
    }
}

#[test]
fn bodies_are_taken_whole_or_not_at_all() {
    for frame in frames() {
        if ends_in_a_path(frame.message_type) {
            continue;
        }
        for len in 0..frame.body.len() {
            let is_just_less = match frame.message_type {
                MessageType::Held | MessageType::Fetch | MessageType::Failed => len % 32 == 0,
                MessageType::SnapshotChange => len == 32,
                MessageType::Objects => len == 0,
                _ => false,
            };
            let taken = is_taken(with_body(&frame, frame.body[..len].to_vec()));
            assert_eq!(taken, is_just_less, "{} cut at {len}", frame.message_type);
        }
        for extra in [0, 1, 0xff] {
            let longer = [&frame.body[..], &[extra]].concat();
            assert!(!is_taken(with_body(&frame, longer)), "{} and a byte", frame.message_type);
        }
    }
}

#[test]
fn every_changed_byte_of_a_head_is_harmless() {
    for frame in frames() {
        for at in 0..frame.head.len() {
            for byte in 0..=u8::MAX {
                let mut head = frame.head.to_vec();
                head[at] = byte;
                is_taken(with_head(&frame, head));
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_body_is_harmless() {
    for frame in frames() {
        for at in 0..frame.body.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut body = frame.body.to_vec();
                body[at] ^= flip;
                is_taken(with_body(&frame, body));
            }
        }
    }
}

/// A giant number in the place of every byte, so of every length of every list and text. Only where a message has a
/// number that may be giant can it be taken.
#[test]
fn giant_lengths_are_refused() {
    use MessageType::{
        Authenticated, Begin, Enroll, Enrolled, Failed, Objects, Signatures, SignaturesAnswer, VaultOpened,
    };
    let has_no_number =
        [Authenticated, Begin, Enroll, Enrolled, Failed, Objects, Signatures, SignaturesAnswer, VaultOpened];
    for frame in frames() {
        for at in 0..=frame.head.len() {
            for skipped in 0..=(frame.head.len() - at).min(1) {
                let head = [&frame.head[..at], &GIANT[..], &frame.head[at + skipped..]].concat();
                let taken = is_taken(with_head(&frame, head));
                assert!(!taken || !has_no_number.contains(&frame.message_type), "{} at {at}", frame.message_type);
            }
        }
        for at in 0..frame.body.len() {
            is_taken(with_body(&frame, [&frame.body[..at], &GIANT[..], &frame.body[at + 1..]].concat()));
        }
    }
    for message_type in [MessageType::SnapshotsAnswer, MessageType::DriveEntries, MessageType::DriveTrashed] {
        let head = Bytes::from_static(&[0]);
        let frame = Frame { stream: StreamId::new(7), message_type, head, body: Bytes::from_static(&GIANT) };
        assert!(!is_taken(frame));
    }
}

/// By name: what is too long, too many, or does not fit together. Lists are refused by their announced length, before
/// their elements are looked at.
#[test]
fn content_beyond_its_limits_is_refused() {
    let frame = |message_type, head: &[u8], body: Vec<u8>| Frame {
        stream: StreamId::new(7),
        message_type,
        head: Bytes::copy_from_slice(head),
        body: body.into(),
    };
    let fault = |frame: Frame| match frame.message_type.sender() {
        Side::Client => ClientMessage::decode(frame).unwrap_err().fault,
        Side::Server => ServerMessage::decode(frame).unwrap_err().fault,
    };
    // 251 announces a u16: 1025 requests, 4097 ranges, 33 slots, 1025 lengths, 4097 indexes, 1001 snapshots, 10 001 entries, 1001
    // entries of the trash.
    let requests = frame(MessageType::Signatures, &[251, 0x01, 0x04], vec![]);
    let ranges = frame(MessageType::Signatures, &[1, 9, 2, 0, 251, 0x01, 0x10], vec![0; 32]);
    let slots = frame(MessageType::VaultOpened, &[&[0; 16][..], &[1, 33]].concat(), vec![]);
    let lens = frame(MessageType::SignaturesAnswer, &[251, 0x01, 0x04], vec![]);
    let missing = frame(MessageType::Objects, &[1, 251, 0x01, 0x10], vec![]);
    let snapshots = frame(MessageType::SnapshotsAnswer, &[0], vec![251, 0xe9, 0x03]);
    let entries = frame(MessageType::DriveEntries, &[0], vec![251, 0x11, 0x27]);
    let trashed = frame(MessageType::DriveTrashed, &[0], vec![251, 0xe9, 0x03]);
    for frame in [requests, ranges, slots, lens, missing, snapshots, entries, trashed] {
        let message_type = frame.message_type;
        let DecodeFault::Codec(error) = fault(frame) else { panic!("{message_type} is refused by its encoding") };
        assert!(error.to_string().contains("invalid length"), "{message_type}: {error}");
    }
    let long = |count: usize| vec![0; 32 * count];
    let limited = [
        frame(MessageType::Held, &[], long(limits::HELD_ID_COUNT_MAX + 1)),
        frame(MessageType::Fetch, &[0], long(limits::FETCH_ID_COUNT_MAX + 1)),
        frame(MessageType::Refused, &[], long(limits::REFUSED_ID_COUNT_MAX + 1)),
        frame(MessageType::Refused, &[], vec![]),
        frame(MessageType::Failed, &[8, 0], long(limits::MISSING_ID_COUNT_MAX + 1)),
        frame(MessageType::Snapshots, &[0, 0, 0, 0], vec![]),
        frame(MessageType::Snapshots, &[0, 0, 251, 0xe9, 0x03, 0], vec![]),
        frame(MessageType::SnapshotChange, &[&[0; 16][..], &[1]].concat(), vec![]),
        frame(MessageType::SnapshotChange, &[&[0; 16][..], &[1]].concat(), long(limits::CHANGE_COUNT_MAX + 1)),
        frame(MessageType::DriveTrash, &[0, 0], vec![]),
        frame(MessageType::DriveTrash, &[0, 251, 0xe9, 0x03], vec![]),
        frame(MessageType::DriveUndelete, &[0; 16], vec![]),
        frame(MessageType::DriveList, &[0, 251, 0x11, 0x27], vec![]),
        frame(MessageType::DriveRemove, &[&[0; 16][..], &[0]].concat(), vec![]),
    ];
    let slot = [&[0; 16][..], &[1, 1, 251, 0x01, 0x04], &[0; 1025]].concat();
    let entry = |is_dir, size, kind, id| {
        let body = [&[1, 1, b'x', is_dir, size, 0, 0, 0, 1, kind][..], &[id; 32]].concat();
        frame(MessageType::DriveEntries, &[0], body)
    };
    let drive_put = |size, kind, id| {
        let head = [&[0; 16][..], &[0, 0, 0, size, kind, 0]].concat();
        frame(MessageType::DrivePut, &head, [&[id; 32][..], b"x"].concat())
    };
    for (size, kind, id) in [(0, 0, 0), (1, 1, 7), (1, 2, 0)] {
        assert!(is_taken(entry(0, size, kind, id)) && is_taken(drive_put(size, kind, id)));
    }
    assert!(is_taken(entry(1, 0, 0, 0)));
    let limited = limited.into_iter().chain([
        frame(MessageType::VaultOpened, &slot, vec![]),
        entry(0, 1, 0, 0),
        entry(0, 0, 1, 7),
        drive_put(1, 0, 0),
        drive_put(0, 1, 7),
    ]);
    for frame in limited {
        let message_type = frame.message_type;
        let fault = fault(frame);
        assert!(matches!(fault, DecodeFault::Limit(_)), "{message_type}: {fault}");
    }
    let ruled = [
        frame(MessageType::Failed, &[11, 0], long(1)),
        frame(MessageType::Failed, &[0, 0], vec![]),
        frame(MessageType::Failed, &[14, 0], vec![]),
        frame(MessageType::Hello, &[2, 1, 0, 0], vec![]),
        frame(MessageType::DriveStat, &[], b"a/../b".to_vec()),
        frame(MessageType::DriveList, &[1, 1, b'/', 1], vec![]),
        frame(MessageType::HeldAnswer, &[9], vec![0xff, 0x02]),
        frame(MessageType::SignaturesAnswer, &[1, 2], vec![0]),
        frame(MessageType::Put, &[1], vec![]),
        frame(MessageType::SnapshotChange, &[&[0; 16][..], &[0]].concat(), long(1)),
        frame(MessageType::SnapshotChange, &[&[0; 16][..], &[5]].concat(), long(1)),
        frame(MessageType::DrillReport, &[0; 20], long(2)),
        frame(MessageType::DriveTrashed, &[0], vec![1, 0, 0, 0, 0, 0]),
        frame(MessageType::DriveTrashed, &[0], vec![1, 0, 1, b'/', 0, 0, 0]),
        frame(MessageType::Held, &[], vec![0; 31]),
        frame(MessageType::Signatures, &[1, 9, 2, 0, 0], vec![]),
        frame(MessageType::Signatures, &[1, 9, 2, 0, 1, 0, 0], vec![0; 32]),
    ];
    let ruled = ruled.into_iter().chain([
        entry(0, 0, 0, 7),
        entry(0, 1, 3, 7),
        entry(1, 1, 0, 0),
        entry(1, 0, 1, 7),
        drive_put(0, 0, 7),
        drive_put(1, 3, 7),
    ]);
    for frame in ruled {
        let message_type = frame.message_type;
        let fault = fault(frame);
        assert!(matches!(fault, DecodeFault::Rule { .. }), "{message_type}: {fault}");
    }
    let text = frame(MessageType::Hello, &[&[1, 1, 0, 65][..], &[b'x'; 65]].concat(), vec![]);
    assert!(matches!(fault(text), DecodeFault::Text(TextError::Len(_))));
    let text = frame(MessageType::Hello, &[1, 1, 0, 1, 0x1b], vec![]);
    assert!(matches!(fault(text), DecodeFault::Text(TextError::Control { .. })));
    let text = frame(MessageType::Hello, &[1, 1, 0, 1, 0xff], vec![]);
    assert!(matches!(fault(text), DecodeFault::Codec(_)), "not UTF-8");
}

proptest! {
    #[test]
    fn any_content_is_refused_or_sound(
        message_type in prop::sample::select(&MessageType::ALL[..]),
        head in vec(prop_oneof![any::<u8>(), 0..4u8], 0..80),
        body in vec(any::<u8>(), 0..120),
    ) {
        is_taken(Frame { stream: StreamId::new(7), message_type, head: head.into(), body: body.into() });
    }

    #[test]
    fn any_two_changes_are_harmless(
        index in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 2..4),
    ) {
        let mut frame = index.get(&frames()).clone();
        let mut payload = [&frame.head[..], &frame.body[..]].concat();
        for (at, byte) in changes {
            if !payload.is_empty() {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
        }
        frame.body = payload.split_off(frame.head.len()).into();
        frame.head = payload.into();
        is_taken(frame);
    }
}
