//! Content-defined cuts: where a file is divided into chunks, so that an insertion moves no cut but those near it.
//!
//! [`Cutter`] is FastCDC-2020 with a gear table of its own for every vault; [`CutParams`] set the chunk lengths. The
//! cuts depend on table, parameters and bytes alone. They are a storage format: a cut that moved would store every
//! file again, so golden vectors pin them. Source: Xia et al., "The Design of Fast Content-Defined Chunking for
//! Data Deduplication Based Storage Systems", IEEE TPDS 31 (2020); the loop is that of the `fastcdc` crate.

use std::fmt;

use fastcdc::v2020::{self, Normalization};

const GEAR_CONTEXT: &str = "Delta Backup 2026-01-15 delta-core gear table";

/// Shortest, intended and longest chunk, in bytes.
///
/// The mean length of real chunks is 1.25 to 1.35 times [`avg_len`](Self::avg_len).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CutParams {
    min_len: u32,
    avg_len: u32,
    max_len: u32,
}

/// Why three lengths are no [`CutParams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CutParamsError {
    /// A length is odd; the scan steps by two bytes.
    #[error("chunk lengths {min_len}, {avg_len}, {max_len} are not all even")]
    Odd {
        /// Shortest chunk in bytes.
        min_len: u32,
        /// Intended mean in bytes.
        avg_len: u32,
        /// Longest chunk in bytes.
        max_len: u32,
    },
    /// The lengths do not rise.
    #[error("chunk lengths {min_len}, {avg_len}, {max_len} do not rise")]
    NotRising {
        /// Shortest chunk in bytes.
        min_len: u32,
        /// Intended mean in bytes.
        avg_len: u32,
        /// Longest chunk in bytes.
        max_len: u32,
    },
    /// A length is out of the range in which the scan is defined.
    #[error("a chunk length of {len} bytes is not within {len_min} to {len_max}")]
    OutOfRange {
        /// The length in bytes.
        len: u32,
        /// Least allowed in its place, in bytes.
        len_min: u32,
        /// Most allowed in its place, in bytes.
        len_max: u32,
    },
}

impl CutParams {
    /// Lengths in bytes, even and rising: `min_len` 64 B to 1 MiB, `avg_len` 256 B to 4 MiB, `max_len` 1 KiB to
    /// 16 MiB.
    ///
    /// # Errors
    /// [`CutParamsError`] says which of these does not hold.
    pub fn new(min_len: u32, avg_len: u32, max_len: u32) -> Result<Self, CutParamsError> {
        if [min_len, avg_len, max_len].iter().any(|len| len % 2 != 0) {
            return Err(CutParamsError::Odd { min_len, avg_len, max_len });
        }
        if min_len >= avg_len || avg_len >= max_len {
            return Err(CutParamsError::NotRising { min_len, avg_len, max_len });
        }
        let ranges = [
            (min_len, v2020::MINIMUM_MIN, v2020::MINIMUM_MAX),
            (avg_len, v2020::AVERAGE_MIN, v2020::AVERAGE_MAX),
            (max_len, v2020::MAXIMUM_MIN, v2020::MAXIMUM_MAX),
        ];
        for (len, len_min, len_max) in ranges {
            let [len_min, len_max] = [len_min, len_max].map(|len| u32::try_from(len).expect("at most 16 MiB"));
            if !(len_min..=len_max).contains(&len) {
                return Err(CutParamsError::OutOfRange { len, len_min, len_max });
            }
        }
        Ok(Self { min_len, avg_len, max_len })
    }

    /// Shortest chunk in bytes; only the last chunk of a file may be shorter.
    pub fn min_len(&self) -> u32 {
        self.min_len
    }

    /// Intended mean in bytes.
    pub fn avg_len(&self) -> u32 {
        self.avg_len
    }

    /// Longest chunk in bytes.
    pub fn max_len(&self) -> u32 {
        self.max_len
    }
}

impl Default for CutParams {
    /// 256 KiB, 1 MiB, 4 MiB: big chunks keep the index small, and deltas inside of them make up for it.
    fn default() -> Self {
        Self { min_len: 256 << 10, avg_len: 1 << 20, max_len: 4 << 20 }
    }
}

/// Cuts files into chunks. `Debug` shows no part of its table.
///
/// A run of one byte value longer than the maximum gives chunks of the maximum length: within 64 bytes the gear hash
/// of such a run settles on a value that depends on the table alone, and with all but one in 2^17 tables per byte
/// value that is not a cut. (With the one, it gives chunks of the minimum length, which are as equal to each other.)
/// Holes of sparse files are better left out than cut.
#[derive(Clone)]
pub struct Cutter {
    params: CutParams,
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
    mask_short: u64,
    mask_long: u64,
}

impl Cutter {
    /// Derives the gear table from `secret` by the extended output of BLAKE3, so that chunk lengths tell an onlooker
    /// nothing about content he knows.
    pub fn new(params: CutParams, secret: &[u8; 32]) -> Self {
        let mut output = blake3::Hasher::new_derive_key(GEAR_CONTEXT).update(secret).finalize_xof();
        let mut gear = Box::new([0; 256]);
        for entry in gear.iter_mut() {
            let mut bytes = [0; 8];
            output.fill(&mut bytes);
            *entry = u64::from_le_bytes(bytes);
        }
        Self::with_gear(params, gear)
    }

    fn with_gear(params: CutParams, gear: Box<[u64; 256]>) -> Self {
        let (mask_short, mask_long) = v2020::select_masks(params.avg_len as usize, Normalization::Level1);
        let gear_shifted = Box::new(gear.map(|entry| entry << 1));
        Self { params, gear, gear_shifted, mask_short, mask_long }
    }

    /// The parameters it was made with.
    pub fn params(&self) -> CutParams {
        self.params
    }

    /// Length in bytes of the first chunk of `bytes`: 0 when there are none, and all of them when they are at most
    /// [`min_len`](CutParams::min_len).
    ///
    /// `bytes` should reach [`max_len`](CutParams::max_len) from its start, or to the end of the file; what lies
    /// beyond has no influence. When it reaches less far and the answer is not all of it, more bytes would not change
    /// that. The scan starts afresh after every cut, so where the next chunk of an older version
    /// is known and its bytes stand here unchanged, they are the next chunk, without a scan (unless the old file
    /// ended with it).
    ///
    /// Cost: the first `min_len` bytes are not looked at.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let (_, len) = v2020::cut_gear(
            bytes,
            self.params.min_len as usize,
            self.params.avg_len as usize,
            self.params.max_len as usize,
            self.mask_short,
            self.mask_long,
            self.mask_short << 1,
            self.mask_long << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        len
    }

    /// The chunks of a whole file in memory, in order.
    pub fn chunks<'a>(&'a self, file: &'a [u8]) -> Chunks<'a> {
        Chunks { cutter: self, rest: file }
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutter").field("params", &self.params).finish_non_exhaustive()
    }
}

/// The chunks of a file, in order; together they are the file, and none is empty.
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    cutter: &'a Cutter,
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let chunk = self.rest.split_off(..self.cutter.cut(self.rest))?;
        (!chunk.is_empty()).then_some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::FastCDC;

    /// With the table of the crate in place of ours, the cuts are those of the crate.
    #[test]
    fn cuts_as_fastcdc_does() {
        let (gear, _) = v2020::get_gear_with_seed(0);
        let gear = Box::new(<[u64; 256]>::try_from(&gear[..]).unwrap());
        let mut file = vec![0; 3_000_001];
        blake3::Hasher::new().update(b"cut").finalize_xof().fill(&mut file);
        file[1_000_000..1_300_000].fill(0);
        for (min, avg, max) in
            [(64, 256, 1024), (2048, 8192, 65536), (16384, 65536, 262_144), (262_144, 1 << 20, 4 << 20)]
        {
            let cutter = Cutter::with_gear(CutParams::new(min, avg, max).unwrap(), gear.clone());
            let ours: Vec<usize> = cutter.chunks(&file).map(<[u8]>::len).collect();
            let theirs: Vec<usize> =
                FastCDC::new(&file, min as usize, avg as usize, max as usize).map(|chunk| chunk.length).collect();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_cut_before_the_end_of_what_is_there_is_final() {
        let cutter = Cutter::new(CutParams::new(64, 256, 1024).unwrap(), &[1; 32]);
        let mut file = vec![0; 20_000];
        blake3::Hasher::new().update(b"cut").finalize_xof().fill(&mut file);
        let mut cut_early = 0;
        for start in (0..18_000).step_by(37) {
            let whole = cutter.cut(&file[start..]);
            for len in [1, 63, 64, 65, 100, 255, 256, 257, 400, 401, 700, 1023, 1024, 1025] {
                let cut = cutter.cut(&file[start..start + len]);
                assert!(cut == len.min(1024) || cut == whole, "{len} bytes from {start}: {cut}, of all {whole}");
                cut_early += usize::from(cut < len);
            }
        }
        assert!(cut_early > 1000);
    }

    #[test]
    fn debug_shows_no_table() {
        let shown = format!("{:?}", Cutter::new(CutParams::default(), &[1; 32]));
        assert_eq!(shown, "Cutter { params: CutParams { min_len: 262144, avg_len: 1048576, max_len: 4194304 }, .. }");
    }
}
