//! Frames in a stream of bytes: any cut of the stream, limits, damage.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proto::limits::{
    FRAME_HEADER_LEN, HEAD_LEN_MAX, PAYLOAD_LEN_MAX, PAYLOAD_LEN_MAX_BEFORE_AUTH, READ_AHEAD_LEN,
    READ_AHEAD_LEN_BEFORE_AUTH,
};
use proto::{
    ClientMessage, EncodeError, EncodedFrame, Frame, FrameCodec, FrameError, FramePhase, MessageType, StreamId,
};
use tokio_util::codec::{Decoder, Encoder};

use crate::samples::{client_messages, server_messages};
use crate::strategies::{client_message, server_message};
use crate::{bytes_of, decode};

fn frames() -> impl Strategy<Value = Vec<EncodedFrame>> {
    let client = client_message().prop_map(|message| message.encode(StreamId::new(7)).unwrap());
    let server = server_message().prop_map(|message| message.encode(StreamId::new(u32::MAX)).unwrap());
    vec(prop_oneof![client, server], 0..6)
}

/// All frames of `bytes`, which arrive in pieces of these lengths, over and over.
fn decode_in_pieces(bytes: &[u8], piece_lens: &[usize]) -> Vec<Frame> {
    let mut codec = FrameCodec::new();
    codec.set_phase(FramePhase::AfterAuth);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    for piece_len in piece_lens.iter().cycle() {
        while let Some(frame) = codec.decode(&mut buffer).unwrap() {
            frames.push(frame);
        }
        if rest.is_empty() {
            assert!(codec.decode_eof(&mut buffer).unwrap().is_none());
            return frames;
        }
        let (piece, later) = rest.split_at(rest.len().min(*piece_len));
        buffer.put_slice(piece);
        rest = later;
    }
    unreachable!("the pieces never end")
}

proptest! {
    /// However the stream is cut, the same frames come out; and they are the ones that went in.
    #[test]
    fn frames_do_not_depend_on_the_cuts(frames in frames(), piece_lens in vec(1..600usize, 1..5)) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| bytes_of(frame.clone())).collect();
        let whole = decode_in_pieces(&bytes, &[bytes.len().max(1)]);
        prop_assert_eq!(whole.len(), frames.len());
        prop_assert_eq!(&whole, &decode_in_pieces(&bytes, &[1]));
        prop_assert_eq!(&whole, &decode_in_pieces(&bytes, &piece_lens));
        for (sent, found) in frames.into_iter().zip(whole) {
            prop_assert_eq!(sent.message_type(), found.message_type);
            let again = EncodedFrame::new(found.stream, found.message_type, &found.head, vec![found.body]).unwrap();
            prop_assert_eq!(bytes_of(sent), bytes_of(again));
        }
    }

    /// Writing a frame in any steps, vectored or not, writes the same bytes.
    #[test]
    fn a_frame_is_the_sum_of_its_pieces(pieces in vec(vec(any::<u8>(), 0..50), 0..6), step in 1..40usize) {
        let body: Vec<Bytes> = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let frame = EncodedFrame::new(StreamId::new(3), MessageType::Held, &[9; 5], body).unwrap();
        let mut stepwise = frame.clone();
        let mut written = Vec::new();
        while stepwise.has_remaining() {
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let count = stepwise.chunks_vectored(&mut slices);
            prop_assert!(slices[..count].iter().all(|slice| !slice.is_empty()));
            let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            prop_assert_eq!(stepwise.chunk(), &slices[0][..]);
            let step = step.min(seen.len());
            written.extend_from_slice(&seen[..step]);
            stepwise.advance(step);
        }
        prop_assert_eq!(&written[21..], &pieces.concat()[..]);
        let mut encoded = BytesMut::from(&b"before"[..]);
        let mut codec = FrameCodec::new();
        codec.set_phase(FramePhase::AfterAuth);
        codec.encode(frame, &mut encoded).unwrap();
        prop_assert_eq!(&encoded[6..], &written[..]);
    }

    #[test]
    fn any_bytes_are_refused_or_wait(bytes in vec(any::<u8>(), 0..200), lens in any::<[u8; 2]>()) {
        let mut bytes = bytes;
        // Small lengths, or hardly any would get past the first check.
        if let Some(header) = bytes.first_chunk_mut::<FRAME_HEADER_LEN>() {
            header[..6].copy_from_slice(&[lens[0], 0, 0, 0, lens[1], 0]);
        }
        prop_assert!(!matches!(decode(&bytes), Ok(Some(_))));
    }
}

/// Every byte of a frame is covered: by its length, its checksum, or the checksums of its records. The frame before it
/// makes no difference.
#[test]
fn every_changed_byte_is_found() {
    let client = client_messages().into_iter().map(|message| message.encode(StreamId::new(7)).unwrap());
    let server = server_messages().into_iter().map(|message| message.encode(StreamId::new(7)).unwrap());
    for frame in client.chain(server) {
        let message_type = frame.message_type();
        let bytes = bytes_of(frame);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut twice = BytesMut::from(&[&bytes[..], &bytes[..]].concat()[..]);
                twice[bytes.len() + at] ^= flip;
                let mut codec = FrameCodec::new();
                codec.set_phase(FramePhase::AfterAuth);
                assert!(codec.decode(&mut twice).unwrap().is_some());
                if let Ok(Some(frame)) = codec.decode(&mut twice) {
                    assert!(message_type.has_records(), "{message_type}: byte {at} xor {flip:#x} went unnoticed");
                    let found = object::Records::new(frame.body).any(|record| match record {
                        Ok(record) => record.view().check_body().is_err(),
                        Err(_) => true,
                    });
                    assert!(found, "{message_type}: byte {at} xor {flip:#x} went unnoticed");
                }
            }
        }
    }
}

#[test]
fn a_truncated_frame_waits_and_then_fails() {
    for message in client_messages() {
        let bytes = bytes_of(message.encode(StreamId::new(7)).unwrap());
        for len in 0..bytes.len() {
            let mut codec = FrameCodec::new();
            let mut buffer = BytesMut::from(&bytes[..len]);
            assert!(codec.decode(&mut buffer).unwrap().is_none());
            match codec.decode_eof(&mut buffer) {
                Ok(None) => assert_eq!(len, 0),
                Err(FrameError::Truncated) => assert_ne!(len, 0),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn header(payload_len: u32, head_len: u16) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(payload_len);
    bytes.put_u16_le(head_len);
    bytes.put_u8(MessageType::Put as u8);
    bytes.put_slice(&[0; 9]);
    bytes
}

#[test]
fn lengths_are_limited_by_phase() {
    for (phase, limit) in
        [(FramePhase::BeforeAuth, PAYLOAD_LEN_MAX_BEFORE_AUTH), (FramePhase::AfterAuth, PAYLOAD_LEN_MAX)]
    {
        let mut codec = FrameCodec::new();
        codec.set_phase(phase);
        let longest = u32::try_from(limit).unwrap();
        assert!(codec.decode(&mut header(longest, 4096)).unwrap().is_none());
        for payload_len in [longest + 1, u32::MAX] {
            let refused = codec.decode(&mut header(payload_len, 0));
            assert!(matches!(refused, Err(FrameError::TooLong { .. })), "{refused:?}");
        }
        let body = vec![Bytes::from(vec![0; limit]), Bytes::from_static(b"x")];
        if phase == FramePhase::BeforeAuth {
            let frame = EncodedFrame::new(StreamId::CONNECTION, MessageType::Put, &[], body).unwrap();
            let refused = codec.encode(frame, &mut BytesMut::new());
            assert!(matches!(refused, Err(FrameError::TooLong { .. })), "{refused:?}");
        } else {
            let refused = EncodedFrame::new(StreamId::CONNECTION, MessageType::Put, &[], body);
            assert!(matches!(refused, Err(EncodeError::PayloadTooLong { .. })), "{refused:?}");
        }
    }
    let refused = FrameCodec::new().decode(&mut header(10, 11));
    assert!(matches!(refused, Err(FrameError::HeadLen { head_len: 11, payload_len: 10 })), "{refused:?}");
    let refused = EncodedFrame::new(StreamId::CONNECTION, MessageType::Put, &vec![0; HEAD_LEN_MAX + 1], vec![]);
    assert!(matches!(refused, Err(EncodeError::HeadTooLong { .. })), "{refused:?}");
}

/// With a checksum that fits, every tag but ours and every flag is refused by name.
#[test]
fn unknown_types_and_flags_are_refused() {
    for tag in 0..=u8::MAX {
        for flags in [0, 1, 0x80] {
            let mut bytes = vec![0, 0, 0, 0, 0, 0, tag, flags, 7, 0, 0, 0];
            let crc = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            match (decode(&bytes), MessageType::from_tag(tag)) {
                (Ok(Some(frame)), Some(message_type)) if flags == 0 => {
                    assert_eq!((frame.message_type, frame.stream.number()), (message_type, 7));
                }
                (Err(FrameError::Flags { flags: found }), _) if flags != 0 => assert_eq!(found, flags),
                (Err(FrameError::UnknownType { tag: found }), None) => assert_eq!(found, tag),
                (other, _) => panic!("tag {tag:#x}, flags {flags:#x}: {other:?}"),
            }
        }
    }
    for (index, message_type) in MessageType::ALL.into_iter().enumerate() {
        let (first, offset) = if index < 23 { (0x01, index) } else { (0x41, index - 23) };
        assert_eq!(message_type as usize, first + offset);
    }
}

/// Room is made for data that is there, doubled by the buffer's own growth, and a little ahead; not for promises.
#[test]
fn memory_follows_the_data() {
    let mut codec = FrameCodec::new();
    codec.set_phase(FramePhase::AfterAuth);
    let mut promised = header(u32::try_from(PAYLOAD_LEN_MAX).unwrap(), 0);
    let crc = crc32c::crc32c(&promised[..12]);
    promised[12..].copy_from_slice(&crc.to_le_bytes());
    let mut buffer = BytesMut::new();
    assert!(codec.decode(&mut buffer).unwrap().is_none());
    assert!(buffer.capacity() <= READ_AHEAD_LEN_BEFORE_AUTH);
    buffer.put_slice(&promised);
    for _ in 0..100 {
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        assert!(buffer.capacity() <= 2 * (buffer.len() + READ_AHEAD_LEN), "{} for {}", buffer.capacity(), buffer.len());
        let room = buffer.capacity() - buffer.len();
        buffer.put_slice(&vec![0; room.min(10_000)]);
    }
}

/// The buffer of a long frame goes with the frame, even when the next one has already begun.
#[test]
fn an_idle_connection_holds_no_long_buffer() {
    let body = Bytes::from(vec![7; 4 << 20]);
    let long = bytes_of(EncodedFrame::new(StreamId::CONNECTION, MessageType::Put, &[], vec![body.clone()]).unwrap());
    for rest in [&b""[..], b"next"] {
        let mut codec = FrameCodec::new();
        codec.set_phase(FramePhase::AfterAuth);
        let mut buffer = BytesMut::from(&long[..]);
        buffer.put_slice(rest);
        let frame = codec.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(frame.body, body);
        assert_eq!(&buffer[..], rest);
        drop(frame);
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        assert!(buffer.capacity() <= READ_AHEAD_LEN_BEFORE_AUTH, "{}", buffer.capacity());
    }
}

/// No body is copied: what a message holds are the bytes of the buffer it was received in.
#[test]
fn bodies_are_slices_of_the_receive_buffer() {
    let message = client_messages().into_iter().find(|message| message.message_type() == MessageType::Put).unwrap();
    let mut buffer = BytesMut::from(&bytes_of(message.encode(StreamId::CONNECTION).unwrap())[..]);
    let range = buffer.as_ptr_range();
    let frame = FrameCodec::new().decode(&mut buffer).unwrap().unwrap();
    let Ok(ClientMessage::Put(records)) = ClientMessage::decode(frame) else { panic!("it is a Put") };
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| range.contains(&record.bytes().as_ptr())));
    let encoded = ClientMessage::Put(records.clone()).encode(StreamId::CONNECTION).unwrap();
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(encoded.chunks_vectored(&mut slices), 3);
    assert!(records.iter().zip(&slices[1..]).all(|(record, slice)| record.bytes().as_ptr() == slice.as_ptr()));
}
