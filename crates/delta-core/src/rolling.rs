//! The weak hash of a block: Rabin-Karp modulo 2^32 with a keyed multiplier, for one block and for every window.
//!
//! `hash(x) = x[0]*m^(n-1) + x[1]*m^(n-2) + … + x[n-1]`. The multiplier `m` is 5 modulo 8, which gives its powers the
//! longest period there is. Measured on logs, databases and sources, false hits are as rare as for an ideal 32-bit
//! hash; the Adler-like sum of rsync has up to 70 times more. Source: Karp and Rabin, "Efficient randomized
//! pattern-matching algorithms", IBM J. Res. Dev. 31 (1987); modulo 2^32 as in librsync 2.2.
//!
//! Both loops are written for vector registers and compiled for several instruction sets, chosen at run time; the
//! result is the same on every CPU. Without that, signatures and searches take three times as long.

use fearless_simd::{Level, SimdMask, dispatch, prelude::*, u32x16};

use crate::filter::{Filter, SPREAD, UNSPREAD, inverse};

/// Bytes of a block that are hashed side by side.
const ROW_LEN: usize = 32;
/// Windows that are hashed side by side.
const BATCH_LEN: usize = 64;
/// Windows in one vector.
const LANE_COUNT: usize = 16;

/// A multiplier `m` and what is computed from it once.
pub(crate) struct RollingKey {
    multiplier: u32,
    /// `m^31, m^30 … m^0`, then `m^32`.
    row_weights: [u32; ROW_LEN],
    row_power: u32,
    /// `m^-1, m^-2 …`
    inverse_powers: [u32; BATCH_LEN],
    /// `m^1, m^2 …`, each times [`SPREAD`].
    spread_powers: [u32; BATCH_LEN],
    batch_power: u32,
    level: Level,
}

/// A window that the filter let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Bytes from the first window to this.
    pub(crate) at: u32,
    pub(crate) weak: u32,
}

impl RollingKey {
    /// Takes the multiplier from the high 29 bits of `seed`; the low three become 5.
    pub(crate) fn new(seed: u32) -> Self {
        Self::with_level(seed, best_level())
    }

    fn with_level(seed: u32, level: Level) -> Self {
        let multiplier = seed & !7 | 5;
        let power = |exponent: u32| multiplier.wrapping_pow(exponent);
        let mut row_weights = [0; ROW_LEN];
        for (exponent, weight) in (0..).zip(row_weights.iter_mut().rev()) {
            *weight = power(exponent);
        }
        let (mut inverse_powers, mut spread_powers) = ([0; BATCH_LEN], [0; BATCH_LEN]);
        for (exponent, (inverse_power, spread_power)) in (1..).zip(inverse_powers.iter_mut().zip(&mut spread_powers)) {
            *inverse_power = inverse(multiplier).wrapping_pow(exponent);
            *spread_power = power(exponent).wrapping_mul(SPREAD);
        }
        let (row_power, batch_power) = (power(32), power(64));
        Self { multiplier, row_weights, row_power, inverse_powers, spread_powers, batch_power, level }
    }

    #[cfg(test)]
    pub(crate) fn multiplier(&self) -> u32 {
        self.multiplier
    }

    /// The hash of `block`; 0 when it is empty.
    pub(crate) fn hash(&self, block: &[u8]) -> u32 {
        dispatch!(self.level, simd => simd.vectorize(
            #[inline(always)]
            || self.hash_rows(block)
        ))
    }

    /// 32 sums side by side, each over every 32nd byte; plain code that compilers turn into vector instructions.
    #[inline(always)]
    fn hash_rows(&self, block: &[u8]) -> u32 {
        let (head, rows) = block.as_rchunks::<ROW_LEN>();
        let mut sums = [0u32; ROW_LEN];
        sums[ROW_LEN - 1] = head.iter().fold(0, |sum, &byte| self.push(sum, byte));
        for row in rows {
            for (sum, &byte) in sums.iter_mut().zip(row) {
                *sum = sum.wrapping_mul(self.row_power).wrapping_add(u32::from(byte));
            }
        }
        sums.iter().zip(&self.row_weights).fold(0, |hash, (sum, weight)| hash.wrapping_add(sum.wrapping_mul(*weight)))
    }

    #[inline(always)]
    fn push(&self, hash: u32, byte: u8) -> u32 {
        hash.wrapping_mul(self.multiplier).wrapping_add(u32::from(byte))
    }

    /// Slides a window of `window_len` bytes over `bytes` from its start to its end. `weak` is the hash of the first
    /// window; every later one that passes `filter` is appended to `hits`. Returns the hash of the last.
    pub(crate) fn slide(
        &self,
        mut weak: u32,
        window_len: usize,
        bytes: &[u8],
        filter: &Filter,
        hits: &mut Vec<Hit>,
    ) -> u32 {
        let leaving_power = self.multiplier.wrapping_pow(u32::try_from(window_len).expect("a block length"));
        let (entering, rest_entering) = bytes[window_len..].as_chunks::<BATCH_LEN>();
        let (leaving, rest_leaving) = bytes[..bytes.len() - window_len].as_chunks::<BATCH_LEN>();
        dispatch!(self.level, simd => simd.vectorize(
            #[inline(always)]
            || for (batch_index, (entering, leaving)) in (0..).zip(entering.iter().zip(leaving)) {
                let batch = Batch { entering, leaving, leaving_power };
                weak = self.slide_batch(simd, weak, batch, filter, batch_index, hits);
            }
        ));
        let batched = u32::try_from(entering.len() * BATCH_LEN).expect("a target is at most LEN_MAX");
        for (at, (&entering, &leaving)) in (batched + 1..).zip(rest_entering.iter().zip(rest_leaving)) {
            weak = self.push(weak, entering).wrapping_sub(u32::from(leaving).wrapping_mul(leaving_power));
            if filter.may_hold(weak) {
                hits.push(Hit { at, weak });
            }
        }
        weak
    }

    /// Slides over one batch.
    ///
    /// With `d[i] = entering[i] - leaving[i] * m^n`, the hash after `k` steps is `m^k * (hash + d[1]*m^-1 + … +
    /// d[k]*m^-k)`: running sums, which vectors add up without waiting for one step to end before the next.
    #[inline(always)]
    fn slide_batch<S: Simd>(
        &self,
        simd: S,
        weak: u32,
        batch: Batch<'_>,
        filter: &Filter,
        batch_index: u32,
        hits: &mut Vec<Hit>,
    ) -> u32 {
        let zero = u32x16::splat(simd, 0);
        let one = u32x16::splat(simd, 1);
        let mut sums = [zero; BATCH_LEN / LANE_COUNT];
        for (i, sum) in sums.iter_mut().enumerate() {
            let lanes = i * LANE_COUNT..(i + 1) * LANE_COUNT;
            let entering = widen(simd, &batch.entering[lanes.clone()]);
            let leaving = widen(simd, &batch.leaving[lanes.clone()]);
            let d = entering - leaving * batch.leaving_power;
            *sum = d * u32x16::from_slice(simd, &self.inverse_powers[lanes]);
            *sum += zero.slide::<15>(*sum);
            *sum += zero.slide::<14>(*sum);
            *sum += zero.slide::<12>(*sum);
            *sum += zero.slide::<8>(*sum);
        }
        let mut spreads = [0; BATCH_LEN];
        let mut word_indexes = [0; BATCH_LEN];
        let mut bits = [zero; BATCH_LEN / LANE_COUNT];
        let mut before = weak;
        for (i, sum) in sums.iter().enumerate() {
            let lanes = i * LANE_COUNT..(i + 1) * LANE_COUNT;
            let spread = (*sum + before) * u32x16::from_slice(simd, &self.spread_powers[lanes.clone()]);
            spread.store_slice(&mut spreads[lanes.clone()]);
            (spread >> filter.shift()).store_slice(&mut word_indexes[lanes]);
            bits[i] = (one << (spread & 31)) | (one << ((spread >> 5) & 31));
            before = before.wrapping_add(sum[LANE_COUNT - 1]);
        }
        let words: [u32; BATCH_LEN] = std::array::from_fn(|i| filter.word(word_indexes[i]));
        let mut passed = 0u64;
        for (i, bits) in bits.into_iter().enumerate() {
            let words = u32x16::from_slice(simd, &words[i * LANE_COUNT..(i + 1) * LANE_COUNT]);
            passed |= (words & bits).simd_eq(bits).to_bitmask() << (i * LANE_COUNT);
        }
        while passed != 0 {
            let i = passed.trailing_zeros();
            passed &= passed - 1;
            let weak = spreads[i as usize].wrapping_mul(UNSPREAD);
            hits.push(Hit { at: batch_index * 64 + i + 1, weak });
        }
        before.wrapping_mul(self.batch_power)
    }
}

/// The bytes of [`BATCH_LEN`] steps of a window.
#[derive(Clone, Copy)]
struct Batch<'b> {
    entering: &'b [u8; BATCH_LEN],
    leaving: &'b [u8; BATCH_LEN],
    /// `m^n` for windows of `n` bytes.
    leaving_power: u32,
}

#[inline(always)]
fn widen<S: Simd>(simd: S, bytes: &[u8]) -> u32x16<S> {
    u32x16::simd_from(simd, std::array::from_fn::<u32, LANE_COUNT, _>(|lane| u32::from(bytes[lane])))
}

/// The widest instructions that pay: 512-bit ones were no faster than 256-bit ones where measured (Zen 4).
fn best_level() -> Level {
    let level = Level::new();
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = level.as_avx2() {
        return avx2.level();
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Vec<Level> {
        let mut levels = vec![Level::baseline(), best_level(), Level::new()];
        #[cfg(target_arch = "x86_64")]
        levels.extend(Level::new().as_sse4_2().map(Simd::level));
        levels
    }

    fn random_bytes(seed: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn by_definition(multiplier: u32, block: &[u8]) -> u32 {
        block.iter().fold(0, |hash: u32, &byte| hash.wrapping_mul(multiplier).wrapping_add(u32::from(byte)))
    }

    #[test]
    fn block_hash_is_as_defined_at_every_level() {
        for level in levels() {
            let key = RollingKey::with_level(0x1234_5678, level);
            for len in (0..200).chain([4095, 4096, 8192]) {
                for bytes in [random_bytes(1, len), vec![0xff; len]] {
                    assert_eq!(key.hash(&bytes), by_definition(key.multiplier, &bytes), "{level:?} {len}");
                }
            }
        }
    }

    #[test]
    fn every_window_is_hashed_as_defined_at_every_level() {
        let bytes = random_bytes(2, 1500);
        for level in levels() {
            let key = RollingKey::with_level(0x9999_9999, level);
            for (window_len, bytes_len) in
                [(64, 64), (64, 65), (64, 128), (64, 1500), (128, 1000), (512, 1300), (1024, 1500)]
            {
                let bytes = &bytes[..bytes_len];
                let hashes: Vec<u32> = bytes.windows(window_len).map(|w| by_definition(key.multiplier, w)).collect();
                let mut filter = Filter::new();
                filter.reset(hashes.len());
                hashes.iter().step_by(3).for_each(|&weak| filter.insert(weak));
                let mut hits = Vec::new();
                let last = key.slide(hashes[0], window_len, bytes, &filter, &mut hits);
                assert_eq!(last, *hashes.last().unwrap());
                let expected: Vec<Hit> = (0..).zip(&hashes).skip(1).map(|(at, &weak)| Hit { at, weak }).collect();
                let expected: Vec<Hit> = expected.into_iter().filter(|hit| filter.may_hold(hit.weak)).collect();
                assert_eq!(hits, expected, "{level:?} {window_len} {bytes_len}");
            }
        }
    }
}
