//! Any content in the frame of a server's message: refused, or a message that can be sent and means the same again.
//!
//! The first byte chooses the type, the next two are the length of the head.

#![no_main]

use bytes::{Buf, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use proto::{Frame, FrameCodec, FramePhase, MessageType, ServerMessage, StreamId};
use tokio_util::codec::Decoder;

fuzz_target!(|input: &[u8]| {
    let [tag, low, high, payload @ ..] = input else { return };
    let message_type = MessageType::ALL[usize::from(*tag) % MessageType::ALL.len()];
    let (head, body) = payload.split_at(payload.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
    let (head, body) = (Bytes::copy_from_slice(head), Bytes::copy_from_slice(body));
    let Ok(message) = ServerMessage::decode(Frame { stream: StreamId::new(1), message_type, head, body }) else {
        return;
    };
    let mut encoded = message.encode(StreamId::new(1)).expect("what was received can be sent");
    let mut codec = FrameCodec::new();
    codec.set_phase(FramePhase::AfterAuth);
    let mut bytes = BytesMut::from(&encoded.copy_to_bytes(encoded.remaining())[..]);
    let frame = codec.decode(&mut bytes).expect("it is sound").expect("it is whole");
    assert!(ServerMessage::decode(frame).expect("it was received before") == message);
});
