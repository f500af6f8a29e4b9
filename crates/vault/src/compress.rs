//! One zstd frame in, exactly the declared bytes out: [`Compressor`] and [`Decompressor`] keep their tables between
//! calls, and nothing a frame says is believed before it is within the limit given.

use zstd::zstd_safe::{self, CParameter, DParameter};

/// Largest window a frame may ask for: 2^23 = 8 MiB, which is also the most plaintext a record holds.
const WINDOW_LOG_MAX: u32 = 23;

/// How hard to compress: zstd levels 1 to 19.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionLevel(i32);

impl CompressionLevel {
    /// zstd 3, the level other backup tools settled on.
    pub const DEFAULT: Self = Self(3);

    /// `level` in 1..=19.
    #[must_use]
    pub fn new(level: i32) -> Option<Self> {
        (1..=19).contains(&level).then_some(Self(level))
    }
}

/// Why a frame does not decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum DecompressError {
    /// The frame does not say how long its content is, or is not alone.
    #[error("not one zstd frame of declared length")]
    NotOneFrame,
    /// The frame would unpack to more than allowed.
    #[error("content is {content_len} bytes, the limit is {limit}")]
    TooLong { content_len: u64, limit: usize },
    /// The frame is damaged or asks for too large a window.
    #[error("zstd frame is damaged")]
    Damaged,
}

pub(crate) struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    pub(crate) fn new(level: CompressionLevel) -> Self {
        let mut inner = zstd::bulk::Compressor::new(level.0).expect("levels 1 to 19 exist");
        inner.set_parameter(CParameter::ChecksumFlag(false)).expect("a plain parameter");
        Self(inner)
    }

    /// Replaces `frame` by the compressed `plain`; false when that would not save at least 1/64.
    pub(crate) fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool {
        frame.clear();
        frame.reserve(zstd_safe::compress_bound(plain.len()));
        let written = self.0.compress_to_buffer(plain, frame).expect("the buffer has room for the worst case");
        written < plain.len() - plain.len() / 64
    }
}

pub(crate) struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    pub(crate) fn new() -> Self {
        let mut inner = zstd::bulk::Decompressor::new().expect("a context of fixed size");
        inner.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).expect("a plain parameter");
        Self(inner)
    }

    /// Unpacks a frame of at most `limit` bytes of content.
    pub(crate) fn decompress(&mut self, frame: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        let Ok(Some(content_len)) = zstd_safe::get_frame_content_size(frame) else {
            return Err(DecompressError::NotOneFrame);
        };
        if content_len > limit as u64 {
            return Err(DecompressError::TooLong { content_len, limit });
        }
        if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
            return Err(DecompressError::NotOneFrame);
        }
        let content_len = usize::try_from(content_len).expect("not more than limit");
        let mut plain = Vec::with_capacity(content_len);
        self.0.decompress_to_buffer(frame, &mut plain).map_err(|_| DecompressError::Damaged)?;
        if plain.len() == content_len { Ok(plain) } else { Err(DecompressError::Damaged) }
    }
}
