//! The protocol from outside: round trips, golden bytes, hostile bytes, the order of things, and whole conversations
//! over a simulated link.

mod codec;
mod conversation;
mod exchange;
mod golden;
mod hostile;
mod order;
mod pair;
mod samples;
mod strategies;
mod values;

use bytes::{Buf, Bytes, BytesMut};
use proto::{ClientMessage, EncodedFrame, Frame, FrameCodec, FrameError, FramePhase, ServerMessage, StreamId};
use tokio_util::codec::Decoder;

/// All bytes of a frame.
fn bytes_of(mut frame: EncodedFrame) -> Bytes {
    frame.copy_to_bytes(frame.remaining())
}

/// What one call of the codec makes of these bytes.
fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let mut codec = FrameCodec::new();
    codec.set_phase(FramePhase::AfterAuth);
    codec.decode(&mut BytesMut::from(bytes))
}

/// The frame as the other side gets it.
#[track_caller]
fn received(frame: EncodedFrame) -> Frame {
    decode(&bytes_of(frame)).expect("it is sound").expect("it is whole")
}

#[track_caller]
fn client_frame(message: &ClientMessage, stream: u32) -> Frame {
    received(message.encode(StreamId::new(stream)).expect("it is within its limits"))
}

#[track_caller]
fn server_frame(message: &ServerMessage, stream: u32) -> Frame {
    received(message.encode(StreamId::new(stream)).expect("it is within its limits"))
}
