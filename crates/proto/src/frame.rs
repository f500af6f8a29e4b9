//! [`Frame`]: one message on the wire, as a header, a small encoded head and a raw body. [`FrameCodec`] finds frames in
//! a stream of bytes; [`EncodedFrame`] is a frame ready to be written, its body still in the pieces it was given in.
//!
//! ```text
//! payload_len u32 | head_len u16 | type u8 | flags u8 | stream u32 | crc32c u32 | head | body
//! ```
//! The checksum covers the header before it, the head, and every body but one of records, which carry their own. A
//! frame that exists has the length its header told and a checksum that fits; what head and body mean is not checked
//! here. No body is copied, in either direction.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::{
    FRAME_HEADER_LEN, HEAD_LEN_MAX, PAYLOAD_LEN_MAX, PAYLOAD_LEN_MAX_BEFORE_AUTH, READ_AHEAD_LEN,
    READ_AHEAD_LEN_BEFORE_AUTH,
};
use crate::{LimitError, MessageType};

/// Bytes of a header before its checksum.
const CHECKED_HEADER_LEN: usize = 12;
/// Room made for what follows when not even a header is there.
const SMALL_READ_LEN: usize = 4 << 10;
/// A buffer this long may stay with a connection that is idle.
const IDLE_LEN_MAX: usize = 64 << 10;

/// The request a frame belongs to. A reply carries its request's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// Frames that belong to the connection as a whole.
    pub const CONNECTION: Self = Self(0);

    /// Takes the number as it is.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a connection has come, which decides how long a payload may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePhase {
    /// Anybody may be talking: payloads up to [`PAYLOAD_LEN_MAX_BEFORE_AUTH`].
    BeforeAuth,
    /// The client is known: payloads up to [`PAYLOAD_LEN_MAX`].
    AfterAuth,
}

impl FramePhase {
    /// Longest payload in bytes.
    #[must_use]
    pub fn payload_len_max(self) -> usize {
        match self {
            Self::BeforeAuth => PAYLOAD_LEN_MAX_BEFORE_AUTH,
            Self::AfterAuth => PAYLOAD_LEN_MAX,
        }
    }

    /// Most bytes that a decoder makes room for ahead of the data.
    #[must_use]
    pub fn read_ahead_len(self) -> usize {
        match self {
            Self::BeforeAuth => READ_AHEAD_LEN_BEFORE_AUTH,
            Self::AfterAuth => READ_AHEAD_LEN,
        }
    }
}

/// Why bytes are not a frame. All but `Io` and `Truncated` mean that the peer does not speak this protocol, or that
/// bytes were damaged on the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The payload is longer than this phase of the connection allows.
    #[error("frame announces {payload_len} bytes of payload, the limit is {limit}")]
    TooLong {
        /// Bytes announced.
        payload_len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The head would end past the payload.
    #[error("frame announces a head of {head_len} bytes in a payload of {payload_len}")]
    HeadLen {
        /// Bytes of head announced.
        head_len: usize,
        /// Bytes of payload announced.
        payload_len: usize,
    },
    /// The frame was damaged, or these bytes never were one.
    #[error("frame checksum does not match")]
    Checksum,
    /// A flag this version does not know; none is defined.
    #[error("frame has unknown flags {flags:#04x}")]
    Flags {
        /// The flags found.
        flags: u8,
    },
    /// A message type this version does not know.
    #[error("frame has unknown type {tag:#04x}")]
    UnknownType {
        /// The type found.
        tag: u8,
    },
    /// The stream ended within a frame.
    #[error("connection ended within a frame")]
    Truncated,
    /// The stream itself failed; only a driver's own reader or writer makes this one.
    #[error("connection failed")]
    Io(#[from] io::Error),
}

/// Why a message cannot become a frame: it is longer than any peer would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The head does not fit. Ask for less in one message.
    #[error("head of {message_type} has {head_len} bytes, the limit is {HEAD_LEN_MAX}")]
    HeadTooLong {
        /// The message at fault.
        message_type: MessageType,
        /// Its head's length in bytes.
        head_len: usize,
    },
    /// Head and body do not fit. Send less in one message.
    #[error("payload of {message_type} has {payload_len} bytes, the limit is {PAYLOAD_LEN_MAX}")]
    PayloadTooLong {
        /// The message at fault.
        message_type: MessageType,
        /// Its payload's length in bytes.
        payload_len: usize,
    },
    /// A count or value is outside its bounds.
    #[error("{message_type} is outside its limits")]
    Limit {
        /// The message at fault.
        message_type: MessageType,
        /// Which field, and which bound.
        source: LimitError,
    },
}

/// One message as it arrived; head and body are slices of the buffer it was received in, and keep that alive.
///
/// Its `Debug` form shows lengths only: heads carry secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The request it belongs to.
    pub stream: StreamId,
    /// What it carries.
    pub message_type: MessageType,
    /// The encoded fields.
    pub head: Bytes,
    /// The raw bytes that follow them.
    pub body: Bytes,
}

impl Frame {
    /// Bytes of head and body.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("stream", &self.stream.0)
            .field("message_type", &self.message_type)
            .field("head_len", &self.head.len())
            .field("body_len", &self.body.len())
            .finish()
    }
}

/// A frame ready to be written: the header and head in one piece, then the body in the pieces it was given in.
///
/// It is a [`Buf`] over those pieces, so that `AsyncWriteExt::write_all_buf` sends them without copying, by vectored
/// writes where the socket has them. Its `Debug` form shows lengths only: heads carry secrets.
///
/// ```
/// use bytes::{Buf, Bytes};
/// use proto::{EncodedFrame, MessageType, StreamId};
///
/// let body = vec![Bytes::from_static(b"one record"), Bytes::from_static(b"another")];
/// let mut frame = EncodedFrame::new(StreamId::CONNECTION, MessageType::Put, &[2], body)?;
/// assert_eq!(frame.payload_len(), 1 + 10 + 7);
/// assert_eq!(frame.remaining(), 16 + 1 + 10 + 7);
/// # Ok::<(), proto::EncodeError>(())
/// ```
#[derive(Clone)]
pub struct EncodedFrame {
    message_type: MessageType,
    payload_len: usize,
    remaining: usize,
    pieces: VecDeque<Bytes>,
}

impl EncodedFrame {
    /// Puts a header before `head` and the pieces of `body`.
    ///
    /// # Errors
    /// [`EncodeError`] when head or payload are longer than a frame's may be.
    pub fn new(
        stream: StreamId,
        message_type: MessageType,
        head: &[u8],
        body: Vec<Bytes>,
    ) -> Result<Self, EncodeError> {
        let payload_len = head.len() + body.iter().map(Bytes::len).sum::<usize>();
        let head_len =
            u16::try_from(head.len()).map_err(|_| EncodeError::HeadTooLong { message_type, head_len: head.len() })?;
        let payload_len_field = u32::try_from(payload_len)
            .ok()
            .filter(|_| payload_len <= PAYLOAD_LEN_MAX)
            .ok_or(EncodeError::PayloadTooLong { message_type, payload_len })?;
        let mut prefix = BytesMut::with_capacity(FRAME_HEADER_LEN + head.len());
        prefix.put_u32_le(payload_len_field);
        prefix.put_u16_le(head_len);
        prefix.put_u8(message_type as u8);
        prefix.put_u8(0);
        prefix.put_u32_le(stream.0);
        let mut crc = crc32c::crc32c_append(crc32c::crc32c(&prefix), head);
        if !message_type.has_records() {
            crc = body.iter().fold(crc, |crc, piece| crc32c::crc32c_append(crc, piece));
        }
        prefix.put_u32_le(crc);
        prefix.put_slice(head);
        let pieces = std::iter::once(prefix.freeze()).chain(body).filter(|piece| !piece.is_empty()).collect();
        Ok(Self { message_type, payload_len, remaining: FRAME_HEADER_LEN + payload_len, pieces })
    }

    /// What it carries.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// Bytes of head and body, however much of the frame was already written.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }
}

impl Buf for EncodedFrame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "a frame cannot be advanced past its end");
        self.remaining -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

impl fmt::Debug for EncodedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedFrame")
            .field("message_type", &self.message_type)
            .field("payload_len", &self.payload_len)
            .field("remaining", &self.remaining)
            .finish()
    }
}

/// Finds frames in the bytes received, and appends frames to bytes to be sent.
///
/// Room is only ever made for what the announced frame still lacks, at most
/// [`FramePhase::read_ahead_len`] ahead of the data (the buffer's own growth may double that). Set the phase from the exchange before each call:
/// `codec.set_phase(exchange.frame_phase())`.
#[derive(Debug)]
pub struct FrameCodec {
    phase: FramePhase,
    /// The checksum of the frame at the start of the buffer has been found right, though its body is not all there.
    checked: bool,
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameCodec {
    /// A codec for a connection on which nobody is authenticated yet.
    #[must_use]
    pub fn new() -> Self {
        Self { phase: FramePhase::BeforeAuth, checked: false }
    }

    /// Sets the limit for the frames that follow.
    pub fn set_phase(&mut self, phase: FramePhase) {
        self.phase = phase;
    }

    /// Makes room for `src` to grow towards `len` bytes.
    fn make_room(&self, src: &mut BytesMut, len: usize) {
        // Bounded: the read-ahead of the phase, whatever a frame announces.
        src.reserve((len - src.len()).min(self.phase.read_ahead_len()));
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    /// Takes the next frame off `src`, or makes room for more of it and returns `None`.
    ///
    /// # Errors
    /// [`FrameError`]; the connection cannot go on, since nobody knows where the next frame would start.
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(header) = src.first_chunk().map(Header::parse) else {
            src.reserve(SMALL_READ_LEN);
            return Ok(None);
        };
        header.check_lengths(self.phase)?;
        if !self.checked {
            let checked_len = header.checked_len();
            if src.len() < checked_len {
                self.make_room(src, checked_len);
                return Ok(None);
            }
            header.check(&src[..checked_len])?;
            self.checked = true;
        }
        let frame_len = FRAME_HEADER_LEN + header.payload_len;
        if src.len() < frame_len {
            self.make_room(src, frame_len);
            return Ok(None);
        }
        let message_type = header.message_type()?;
        self.checked = false;
        let frame = src.split_to(frame_len).freeze();
        if frame_len > IDLE_LEN_MAX && src.len() <= IDLE_LEN_MAX {
            // Otherwise an idle connection would keep the buffer of its longest frame.
            *src = BytesMut::from(&src[..]);
        }
        let body_offset = FRAME_HEADER_LEN + header.head_len;
        Ok(Some(Frame {
            stream: StreamId(header.stream),
            message_type,
            head: frame.slice(FRAME_HEADER_LEN..body_offset),
            body: frame.slice(body_offset..),
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(FrameError::Truncated),
            frame => Ok(frame),
        }
    }
}

impl Encoder<EncodedFrame> for FrameCodec {
    type Error = FrameError;

    /// Copies the frame to the end of `dst`. Drivers that can write vectored use the frame's [`Buf`] instead.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] for a frame the other side would refuse in this phase.
    fn encode(&mut self, frame: EncodedFrame, dst: &mut BytesMut) -> Result<(), FrameError> {
        check_payload_len(frame.payload_len, self.phase)?;
        // Bounded: a frame of our own, whose length was just checked.
        dst.reserve(frame.remaining);
        dst.put(frame);
        Ok(())
    }
}

/// The 16 bytes before head and body, nothing checked.
struct Header {
    payload_len: usize,
    head_len: usize,
    tag: u8,
    flags: u8,
    stream: u32,
    crc: u32,
}

impl Header {
    fn parse(bytes: &[u8; FRAME_HEADER_LEN]) -> Self {
        let mut bytes = &bytes[..];
        Self {
            payload_len: bytes.get_u32_le() as usize,
            head_len: usize::from(bytes.get_u16_le()),
            tag: bytes.get_u8(),
            flags: bytes.get_u8(),
            stream: bytes.get_u32_le(),
            crc: bytes.get_u32_le(),
        }
    }

    fn check_lengths(&self, phase: FramePhase) -> Result<(), FrameError> {
        check_payload_len(self.payload_len, phase)?;
        if self.head_len > self.payload_len {
            return Err(FrameError::HeadLen { head_len: self.head_len, payload_len: self.payload_len });
        }
        Ok(())
    }

    /// Bytes of the frame that must be there before its checksum can be computed.
    fn checked_len(&self) -> usize {
        let has_records = MessageType::from_tag(self.tag).is_some_and(MessageType::has_records);
        FRAME_HEADER_LEN + if has_records { self.head_len } else { self.payload_len }
    }

    /// Checks all that is left to check; `checked` is the first [`checked_len`](Self::checked_len) bytes.
    fn check(&self, checked: &[u8]) -> Result<(), FrameError> {
        let crc = crc32c::crc32c(&checked[..CHECKED_HEADER_LEN]);
        if crc32c::crc32c_append(crc, &checked[FRAME_HEADER_LEN..]) != self.crc {
            return Err(FrameError::Checksum);
        }
        if self.flags != 0 {
            return Err(FrameError::Flags { flags: self.flags });
        }
        self.message_type().map(|_| ())
    }

    fn message_type(&self) -> Result<MessageType, FrameError> {
        MessageType::from_tag(self.tag).ok_or(FrameError::UnknownType { tag: self.tag })
    }
}

fn check_payload_len(payload_len: usize, phase: FramePhase) -> Result<(), FrameError> {
    let limit = phase.payload_len_max();
    if payload_len > limit {
        return Err(FrameError::TooLong { payload_len, limit });
    }
    Ok(())
}
