//! Frames of version 1, byte for byte, in `tests/golden/frames-v1.txt`. A change of any of them is a new version of the
//! protocol: raise `PROTOCOL_VERSION`, keep this file, and add one for the new version.

use std::fmt::Debug;

use bytes::Bytes;
use proto::{ClientMessage, ClientRequest, Frame, MessageType, PROTOCOL_VERSION, ServerMessage, Side, StreamId};

use wincode::config::{Configuration, DEFAULT_PREALLOCATION_SIZE_LIMIT};
use wincode::int_encoding::{LittleEndian, VarInt};
use wincode::len::BincodeLen;
use wincode::{SchemaRead, SchemaWrite};

use crate::samples::{begin_drive, client_messages, sealed_vault_opened, server_messages};
use crate::{bytes_of, decode};

type WincodeConfig = Configuration<true, DEFAULT_PREALLOCATION_SIZE_LIMIT, BincodeLen, LittleEndian, VarInt, u32>;

const WINCODE: WincodeConfig = Configuration::default().with_varint_encoding();

/// The stream of every golden frame: two different bytes, to show their order.
const STREAM: StreamId = StreamId::new(0x0102);

/// One frame of every type, and of every variant that is not just another value.
fn frames() -> Vec<(MessageType, Bytes)> {
    let mut client = client_messages();
    client.extend([ClientMessage::Request(ClientRequest::OpenVault(None)), ClientMessage::Request(begin_drive())]);
    let mut server = server_messages();
    server.push(ServerMessage::Reply(sealed_vault_opened()));
    let client = client.iter().map(|message| message.encode(STREAM).unwrap());
    let server = server.iter().map(|message| message.encode(STREAM).unwrap());
    client.chain(server).map(|frame| (frame.message_type(), bytes_of(frame))).collect()
}

#[test]
fn frames_are_those_of_version_1() {
    assert_eq!(PROTOCOL_VERSION, 1);
    let lines: Vec<String> =
        frames().iter().map(|(message_type, bytes)| format!("{message_type} {}", hex(bytes))).collect();
    let golden = include_str!("../golden/frames-v1.txt");
    for (found, expected) in lines.iter().zip(golden.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(lines.len(), golden.lines().count());
    for message_type in MessageType::ALL {
        assert!(frames().iter().any(|(found, _)| *found == message_type), "{message_type} has no golden frame");
    }
}

#[test]
fn golden_frames_mean_what_they_did() {
    let mut found = Vec::new();
    for (message_type, bytes) in frames() {
        let frame = decode(&bytes).unwrap().unwrap();
        assert_eq!(frame.stream, STREAM);
        let again = match message_type.sender() {
            Side::Client => ClientMessage::decode(frame).unwrap().encode(STREAM),
            Side::Server => ServerMessage::decode(frame).unwrap().encode(STREAM),
        };
        assert_eq!(bytes_of(again.unwrap()), bytes);
        found.push(message_type);
    }
    assert_eq!(found.len(), 45);
}

/// The golden frame of this type; the first, where there are two.
#[track_caller]
fn golden(message_type: MessageType) -> Frame {
    let (_, bytes) = frames().into_iter().find(|(found, _)| *found == message_type).unwrap();
    decode(&bytes).unwrap().unwrap()
}

/// Another codec reads these bytes as a `T`, and writes the same again.
#[track_caller]
fn check_codec<T>(bytes: &[u8])
where
    T: Debug + SchemaWrite<WincodeConfig, Src = T> + for<'a> SchemaRead<'a, WincodeConfig, Dst = T>,
{
    let value: T = wincode::config::deserialize(bytes, WINCODE).unwrap();
    assert_eq!(hex(&wincode::config::serialize(&value, WINCODE).unwrap()), hex(bytes), "{value:?}");
}

/// bincode is unmaintained; these bytes do not depend on it. The types repeat the table in `docs/formats.md`.
#[test]
fn another_codec_reads_and_writes_the_same() {
    type Id = [u8; 32];
    let head = |message_type| golden(message_type).head;
    check_codec::<(u16, u16, u64, String)>(&head(MessageType::Hello));
    check_codec::<([u8; 8], Id)>(&head(MessageType::Authenticate));
    check_codec::<([u8; 16], String)>(&head(MessageType::Enroll));
    check_codec::<Option<[u8; 16]>>(&head(MessageType::OpenVault));
    check_codec::<(u32, String, Option<Id>)>(&head(MessageType::Begin));
    check_codec::<Vec<(u8, u8, u32, Vec<(u32, u32)>)>>(&head(MessageType::Signatures));
    check_codec::<u32>(&head(MessageType::Put));
    check_codec::<[u8; 16]>(&head(MessageType::Commit));
    check_codec::<(Option<String>, Option<u64>, u32, bool)>(&head(MessageType::Snapshots));
    check_codec::<bool>(&head(MessageType::Fetch));
    check_codec::<(Option<Vec<u8>>, u32)>(&head(MessageType::DriveList));
    check_codec::<([u8; 16], (i64, u32), u32, u64, u8, Option<u64>)>(&head(MessageType::DrivePut));
    check_codec::<([u8; 16], Option<u64>)>(&head(MessageType::DriveRemove));
    check_codec::<(u16, u64, String, u64)>(&head(MessageType::Welcome));
    check_codec::<(String, String)>(&head(MessageType::Authenticated));
    check_codec::<([u8; 8], Id, String, String)>(&head(MessageType::Enrolled));
    check_codec::<([u8; 16], u32, Id)>(&head(MessageType::VaultOpened));
    check_codec::<([u8; 16], Option<(Id, u64, u64)>)>(&head(MessageType::Begun));
    check_codec::<u32>(&head(MessageType::HeldAnswer));
    check_codec::<Vec<u32>>(&head(MessageType::SignaturesAnswer));
    check_codec::<u64>(&head(MessageType::Durable));
    check_codec::<u64>(&head(MessageType::Flushed));
    check_codec::<(u64, u64, u64, u64, u64, bool)>(&head(MessageType::Committed));
    check_codec::<Option<u64>>(&head(MessageType::SnapshotsAnswer));
    type Item = (Id, String, u64, u64, u64, String, bool, Option<u64>, Option<u64>, Option<u64>, Option<u64>, bool);
    check_codec::<Vec<Item>>(&golden(MessageType::SnapshotsAnswer).body);
    check_codec::<(bool, Vec<u32>)>(&head(MessageType::Objects));
    check_codec::<bool>(&head(MessageType::DriveEntries));
    type Entry = (Vec<u8>, bool, u64, (i64, u32), u32, u64, u8, Id);
    check_codec::<Vec<Entry>>(&golden(MessageType::DriveEntries).body);
    check_codec::<(u64, u64, u64, u64, u64)>(&head(MessageType::DriveCommitted));
    check_codec::<(u8, String)>(&head(MessageType::Failed));
    check_codec::<([u8; 16], u8)>(&head(MessageType::SnapshotChange));
    check_codec::<(Option<u64>, u32)>(&head(MessageType::DriveTrash));
    check_codec::<[u8; 16]>(&head(MessageType::DriveUndelete));
    check_codec::<([u8; 16], u64, u64, u64, u64)>(&head(MessageType::DrillReport));
    check_codec::<((u64, u64), Option<(u64, u64)>)>(&head(MessageType::Progress));
    check_codec::<(u64, u64)>(&head(MessageType::Changed));
    check_codec::<Option<u64>>(&head(MessageType::DriveTrashed));
    check_codec::<Vec<(u64, Vec<u8>, Option<u64>, u64, u64)>>(&golden(MessageType::DriveTrashed).body);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
