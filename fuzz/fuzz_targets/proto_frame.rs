//! Frames in any bytes: cut into any pieces, the same frames or the same refusal; and what is a frame is one again.
//!
//! The first byte is the phase, the second the length of the pieces.

#![no_main]

use bytes::{Buf, BufMut, BytesMut};
use libfuzzer_sys::fuzz_target;
use proto::limits::READ_AHEAD_LEN;
use proto::{EncodedFrame, Frame, FrameCodec, FramePhase};
use tokio_util::codec::Decoder;

fuzz_target!(|input: &[u8]| {
    let [phase, piece_len, bytes @ ..] = input else { return };
    let phase = if phase % 2 == 0 { FramePhase::BeforeAuth } else { FramePhase::AfterAuth };
    let (at_once, is_refused) = decode(bytes, bytes.len().max(1), phase);
    assert_eq!((at_once.clone(), is_refused), decode(bytes, usize::from(*piece_len).max(1), phase));
    let mut rest = bytes;
    for frame in at_once {
        let again = EncodedFrame::new(frame.stream, frame.message_type, &frame.head, vec![frame.body]);
        let mut again = again.expect("what was received can be sent");
        let again = again.copy_to_bytes(again.remaining());
        assert_eq!(rest[..again.len()], again);
        rest = &rest[again.len()..];
    }
});

/// The frames of `bytes`, and whether something that is no frame follows them.
fn decode(bytes: &[u8], piece_len: usize, phase: FramePhase) -> (Vec<Frame>, bool) {
    let mut codec = FrameCodec::new();
    codec.set_phase(phase);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece_len) {
        buffer.put_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
        assert!(buffer.capacity() <= 2 * (bytes.len() + READ_AHEAD_LEN));
    }
    (frames, false)
}
