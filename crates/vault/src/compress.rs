//! One zstd frame in, exactly the declared bytes out: [`Compressor`], a [`Compress`], and [`Decompressor`] keep their tables between
//! calls, and nothing a frame says is believed before it is within the limit given.
//!
//! How hard to compress is decided for every frame by a sample: see `docs/decisions/0012`.

use zstd::zstd_safe::{self, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// Largest window a frame may ask for: 2^23 = 8 MiB, which is also the most plaintext a record holds.
const WINDOW_LOG_MAX: u32 = 23;
/// The level that logs and the like are as small with as with any affordable one, in two thirds of the time.
const QUICK_LEVEL: i32 = 1;
/// Smaller tables than those of level 3, which the processor's cache holds, and matches from four bytes on: less time,
/// and on databases fewer bytes.
const THOROUGH: [CParameter; 3] = [CParameter::HashLog(17), CParameter::ChainLog(14), CParameter::MinMatch(4)];
/// The sample: so many parts of so many bytes, evenly spread. Many short ones: they find text in a 32nd of a chunk.
const SAMPLE_PARTS: usize = 32;
const SAMPLE_PART_LEN: usize = 512;
/// So many different values are in a part of noise, at least: 221 on average, with a deviation of 5.
const NOISE_VALUES_MIN: u32 = 192;
/// Shorter plaintexts are compressed without looking at a sample, which would take longer than it saves.
const SAMPLED_LEN_MIN: usize = 256 * 1024;

/// How hard to compress at most: a level of zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionLevel(i32);

impl CompressionLevel {
    /// About zstd 3, the level other backup tools settled on; 1 where that gives nothing.
    pub const DEFAULT: Self = Self(3);
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

/// Compresses what is sealed. Nothing it makes is believed: whoever stores a record has opened it.
pub trait Compress: Send {
    /// Replaces `frame` by the compressed `plain`; false when that is not worth it, and the frame is of no use then.
    fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool;
}

pub(crate) struct Compressor {
    quick: zstd::bulk::Compressor<'static>,
    thorough: zstd::bulk::Compressor<'static>,
    sample: Vec<u8>,
}

/// What a sample says of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// It will hardly get smaller.
    Nothing,
    /// It will not get smaller by trying hard.
    Quick,
    Thorough,
}

impl Compressor {
    pub(crate) fn new(level: CompressionLevel) -> Self {
        let (quick, mut thorough) = (new_compressor(QUICK_LEVEL), new_compressor(level.0));
        for parameter in THOROUGH {
            thorough.set_parameter(parameter).expect("a plain parameter");
        }
        Self { quick, thorough, sample: Vec::new() }
    }

    /// Compresses a sample of `plain`, into `frame`.
    fn promise(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> Promise {
        if plain.len() < SAMPLED_LEN_MIN {
            return Promise::Thorough;
        }
        self.sample.clear();
        let stride = plain.len() / SAMPLE_PARTS;
        for part in plain.chunks_exact(stride) {
            // The middle of each: the ends of files are often unlike the rest.
            let start = (stride - SAMPLE_PART_LEN) / 2;
            self.sample.extend_from_slice(&part[start..start + SAMPLE_PART_LEN]);
        }
        let quick_len = compress(&mut self.quick, &self.sample, frame);
        // Parts between noise share a frame with it, and do not get smaller there: they are told by their few values.
        if !is_smaller(quick_len, self.sample.len()) && self.sample.chunks_exact(SAMPLE_PART_LEN).all(is_noise) {
            return Promise::Nothing;
        }
        // Where much of it is noise, which both pass over, trying hard costs next to nothing.
        if quick_len > self.sample.len() / 2 {
            return Promise::Thorough;
        }
        let thorough_len = compress(&mut self.thorough, &self.sample, frame);
        if thorough_len < quick_len - quick_len / 100 { Promise::Thorough } else { Promise::Quick }
    }
}

/// Whether a part of the sample has as many different values as noise has.
fn is_noise(part: &[u8]) -> bool {
    let mut values = [0_u64; 4];
    for byte in part {
        values[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
    values.iter().map(|word| word.count_ones()).sum::<u32>() >= NOISE_VALUES_MIN
}

impl Compress for Compressor {
    /// False when that would not save at least 1/64.
    fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool {
        let compressor = match self.promise(plain, frame) {
            Promise::Nothing => return false,
            Promise::Quick => &mut self.quick,
            Promise::Thorough => &mut self.thorough,
        };
        is_smaller(compress(compressor, plain, frame), plain.len())
    }
}

fn new_compressor(level: i32) -> zstd::bulk::Compressor<'static> {
    let mut compressor = zstd::bulk::Compressor::new(level).expect("levels 1 to 19 exist");
    compressor.set_parameter(CParameter::ChecksumFlag(false)).expect("a plain parameter");
    compressor
}

/// Replaces `frame` by the compressed `plain`; its length.
fn compress(compressor: &mut zstd::bulk::Compressor<'static>, plain: &[u8], frame: &mut Vec<u8>) -> usize {
    frame.clear();
    // Bounded: by the plaintext, which is there.
    frame.reserve(zstd_safe::compress_bound(plain.len()));
    compressor.compress_to_buffer(plain, frame).expect("the buffer has room for the worst case")
}

/// Whether compression saves at least 1/64.
fn is_smaller(frame_len: usize, plain_len: usize) -> bool {
    frame_len < plain_len - plain_len / 64
}

/// Has its tables, some 100 KiB, from the first frame on: most sessions wait.
pub(crate) struct Decompressor {
    whole: Option<zstd::bulk::Decompressor<'static>>,
    /// For beginnings; its window is as long as what it unpacks from.
    beginning: Option<DCtx<'static>>,
}

impl Decompressor {
    pub(crate) fn new() -> Self {
        Self { whole: None, beginning: None }
    }

    /// Replaces `plain` by what a frame holds, at most `limit` bytes.
    pub(crate) fn decompress(
        &mut self,
        frame: &[u8],
        limit: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        let content_len = content_len(frame, limit)?;
        plain.clear();
        // Bounded: by `limit`, as checked above.
        plain.reserve_exact(content_len);
        self.whole
            .get_or_insert_with(new_decompressor)
            .decompress_to_buffer(frame, plain)
            .map_err(|_| DecompressError::Damaged)?;
        if plain.len() == content_len { Ok(()) } else { Err(DecompressError::Damaged) }
    }

    /// Replaces `plain` by the first `len` bytes of what a frame holds, which is at most `limit`; the time goes with `len`.
    pub(crate) fn decompress_beginning(
        &mut self,
        frame: &[u8],
        limit: usize,
        len: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        if content_len(frame, limit)? < len {
            return Err(DecompressError::Damaged);
        }
        let context = self.beginning.get_or_insert_with(DCtx::create);
        context.reset(ResetDirective::SessionAndParameters).expect("a context of its own");
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).expect("a plain parameter");
        plain.clear();
        // Bounded: by what the frame says it holds, which is at most `limit`, as checked above.
        plain.resize(len, 0);
        let mut input = InBuffer::around(frame);
        let mut output = OutBuffer::around(&mut plain[..]);
        while output.pos() < len {
            let before = (input.pos(), output.pos());
            context.decompress_stream(&mut output, &mut input).map_err(|_| DecompressError::Damaged)?;
            if (input.pos(), output.pos()) == before {
                return Err(DecompressError::Damaged);
            }
        }
        Ok(())
    }
}

fn new_decompressor() -> zstd::bulk::Decompressor<'static> {
    let mut decompressor = zstd::bulk::Decompressor::new().expect("a context of fixed size");
    decompressor.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).expect("a plain parameter");
    decompressor
}

/// How much a frame says it holds, which is at most `limit` and all there is.
fn content_len(frame: &[u8], limit: usize) -> Result<usize, DecompressError> {
    let Ok(Some(content_len)) = zstd_safe::get_frame_content_size(frame) else {
        return Err(DecompressError::NotOneFrame);
    };
    if content_len > limit as u64 {
        return Err(DecompressError::TooLong { content_len, limit });
    }
    if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err(DecompressError::NotOneFrame);
    }
    Ok(usize::try_from(content_len).expect("not more than limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Lines that share a form and differ in numbers.
    fn log(len: usize) -> Vec<u8> {
        let numbers = noise(len);
        let line = |number: &[u8]| format!("10.0.0.{} GET /items {:02x?} curl/8.5\n", number[0] & 7, &number[1..8]);
        numbers.chunks_exact(8).flat_map(|number| line(number).into_bytes()).take(len).collect()
    }

    /// Words of a language with a hundred of them.
    fn prose(len: usize) -> Vec<u8> {
        let words = noise(800);
        let word = |choice: &u8| {
            let word = &words[usize::from(*choice) % 100 * 8..][..8];
            let len = 3 + usize::from(word[0] & 5);
            word[..len].iter().map(|byte| b'a' + byte % 26).chain([b' ']).collect::<Vec<u8>>()
        };
        noise(len).iter().flat_map(word).take(len).collect()
    }

    #[track_caller]
    fn check(plain: &[u8], promise: Promise) {
        let mut compressor = Compressor::new(CompressionLevel::DEFAULT);
        let mut frame = Vec::new();
        assert_eq!(compressor.promise(plain, &mut frame), promise);
        let is_compressed = compressor.compress(plain, &mut frame);
        assert_eq!(is_compressed, promise != Promise::Nothing);
        if is_compressed {
            let mut unpacked = Vec::new();
            Decompressor::new().decompress(&frame, plain.len(), &mut unpacked).unwrap();
            assert_eq!(unpacked, plain);
        }
    }

    #[test]
    fn a_sample_tells_what_is_worth_trying() {
        check(&noise(1 << 20), Promise::Nothing);
        check(&log(1 << 20), Promise::Quick);
        check(&prose(1 << 20), Promise::Thorough);
        check(&vec![7; SAMPLED_LEN_MIN - 1], Promise::Thorough);
        check(&vec![7; SAMPLED_LEN_MIN + 1], Promise::Quick);
    }

    #[test]
    fn compressible_stretches_between_noise_are_noticed() {
        let mut mixed = noise(1 << 20);
        mixed[300_000..600_000].fill(0);
        check(&mixed, Promise::Thorough);
    }

    #[test]
    fn a_16th_of_text_is_found_anywhere_in_noise() {
        let mut compressor = Compressor::new(CompressionLevel::DEFAULT);
        let (text, mut frame) = (prose(64 << 10), Vec::new());
        for start in (0..960 << 10).step_by(50_000) {
            let mut mixed = noise(1 << 20);
            mixed[start..start + text.len()].copy_from_slice(&text);
            assert!(compressor.compress(&mixed, &mut frame), "text at {start}");
            assert!(frame.len() < mixed.len() - text.len() / 3, "text at {start}: {} bytes", frame.len());
        }
    }

    #[test]
    fn short_noise_stays_as_it_is() {
        let mut frame = Vec::new();
        let mut compressor = Compressor::new(CompressionLevel::DEFAULT);
        for len in [0, 1, 100, SAMPLED_LEN_MIN - 1] {
            assert!(!compressor.compress(&noise(len), &mut frame), "{len} bytes");
        }
    }
}
