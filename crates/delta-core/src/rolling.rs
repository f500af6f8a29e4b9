//! The weak hash of a block: Rabin-Karp modulo 2^32 with a keyed multiplier, for one block and for every window.
//!
//! `hash(x) = x[0]*m^(n-1) + x[1]*m^(n-2) + … + x[n-1]`. The multiplier `m` is 5 modulo 8, which gives its powers the
//! longest period there is. Measured on logs, databases and sources, false hits are as rare as for an ideal 32-bit
//! hash; the Adler-like sum of rsync has up to 70 times more. Source: Karp and Rabin, "Efficient randomized
//! pattern-matching algorithms", IBM J. Res. Dev. 31 (1987); modulo 2^32 as in librsync 2.2.
//!
//! Both loops are written for vector registers and compiled for several instruction sets, chosen at run time; the
//! result is the same on every CPU. Without that, signatures and searches take three times as long.

use fearless_simd::{Level, SimdMask, dispatch, i32x16, prelude::*, u32x16};

use crate::filter::{Filter, SPREAD, UNSPREAD, inverse};

/// Bytes of a block that are hashed side by side: as many as it takes for multiplications not to wait for each other. One takes
/// ten cycles on some processors; with 32 bytes they hashed at half the speed.
const ROW_LEN: usize = 128;
/// Windows that are hashed side by side.
const BATCH_LEN: usize = 64;
/// Steps in one vector.
const LANE_COUNT: usize = 16;
/// Steps that follow each other in one lane: the bytes of its word.
const LANE_STEPS: usize = BATCH_LEN / LANE_COUNT;
/// Batches that are hashed before their windows are looked up. A batch by itself takes some hundred cycles from its first step
/// to its last, and the processor sees too little of the next one meanwhile; 2 to 8 are equally good.
const GROUP_LEN: usize = 4;

/// A number for each window of a batch, as [`lanes`] has them.
type Spreads = [[u32; LANE_COUNT]; LANE_STEPS];

/// A multiplier `m` and what is computed from it once.
pub(crate) struct RollingKey {
    multiplier: u32,
    /// `m^127, m^126 … m^0`, then `m^128`.
    row_weights: [u32; ROW_LEN],
    row_power: u32,
    /// `m^-1, m^-2 …`, as [`lanes`] has them.
    inverse_powers: [[u32; LANE_COUNT]; LANE_STEPS],
    /// `m^1, m^2 …`, each times [`SPREAD`], as [`lanes`] has them.
    spread_powers: [[u32; LANE_COUNT]; LANE_STEPS],
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
        Self::with_level(seed, Level::new())
    }

    fn with_level(seed: u32, level: Level) -> Self {
        let multiplier = seed & !7 | 5;
        let power = |exponent: u32| multiplier.wrapping_pow(exponent);
        let mut row_weights = [0; ROW_LEN];
        for (exponent, weight) in (0..).zip(row_weights.iter_mut().rev()) {
            *weight = power(exponent);
        }
        let inverse_powers = lanes(|exponent| inverse(multiplier).wrapping_pow(exponent));
        let spread_powers = lanes(|exponent| power(exponent).wrapping_mul(SPREAD));
        let (row_power, batch_power) = (power(128), power(64));
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

    /// 128 sums side by side, each over every 128th byte; plain code that compilers turn into vector instructions.
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
            || {
                let mut spreads = [[[0; LANE_COUNT]; LANE_STEPS]; GROUP_LEN];
                let mut batch_indexes = 0..;
                for (entering, leaving) in entering.chunks(GROUP_LEN).zip(leaving.chunks(GROUP_LEN)) {
                    for ((entering, leaving), spreads) in entering.iter().zip(leaving).zip(&mut spreads) {
                        let batch = Batch { entering, leaving, leaving_power };
                        weak = self.slide_batch(simd, weak, batch, spreads);
                    }
                    for (spreads, batch_index) in spreads[..entering.len()].iter().zip(&mut batch_indexes) {
                        look_up(simd, spreads, filter, batch_index, hits);
                    }
                }
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

    /// Slides over one batch; `spreads` become the hashes of its windows, times [`SPREAD`], as [`lanes`] has them. Returns
    /// the hash of the last.
    ///
    /// With `d[i] = entering[i] - leaving[i] * m^n`, the hash after `k` steps is `m^k * (hash + d[1]*m^-1 + … +
    /// d[k]*m^-k)`: running sums, which vectors add up without waiting for one step to end before the next. Each lane adds
    /// up the four bytes of a word; then what the lanes before it came to is added to all of its sums.
    #[inline(always)]
    fn slide_batch<S: Simd>(&self, simd: S, weak: u32, batch: Batch<'_>, spreads: &mut Spreads) -> u32 {
        let zero = u32x16::splat(simd, 0);
        let (entering, leaving) = (words(simd, batch.entering), words(simd, batch.leaving));
        let mut sums = [zero; LANE_STEPS];
        let mut sum = zero;
        for (shift, (running, inverse_powers)) in (0u32..).step_by(8).zip(sums.iter_mut().zip(&self.inverse_powers)) {
            let d = ((entering >> shift) & 0xff) - ((leaving >> shift) & 0xff) * batch.leaving_power;
            sum += d * u32x16::simd_from(simd, *inverse_powers);
            *running = sum;
        }
        let mut through = sum;
        through += zero.slide::<15>(through);
        through += zero.slide::<14>(through);
        through += zero.slide::<12>(through);
        through += zero.slide::<8>(through);
        let before = through - sum + weak;
        for (step, sum) in sums.into_iter().enumerate() {
            let spread = (before + sum) * u32x16::simd_from(simd, self.spread_powers[step]);
            spread.store_slice(&mut spreads[step]);
        }
        weak.wrapping_add(through[LANE_COUNT - 1]).wrapping_mul(self.batch_power)
    }
}

/// Appends the windows of a batch that the filter lets pass.
#[inline(always)]
fn look_up<S: Simd>(simd: S, spreads: &Spreads, filter: &Filter, batch_index: u32, hits: &mut Vec<Hit>) {
    let mut passed = 0u64;
    for (step, spreads) in spreads.iter().enumerate() {
        let words: [u32; LANE_COUNT] = std::array::from_fn(|lane| filter.word(spreads[lane] >> filter.shift()));
        let (words, spreads) = (u32x16::simd_from(simd, words), u32x16::simd_from(simd, *spreads));
        let top_bits: i32x16<S> = ((words << (spreads & 31)) & (words << ((spreads >> 5) & 31))).bitcast();
        passed |= top_bits.simd_lt(i32x16::splat(simd, 0)).to_bitmask() << (step * LANE_COUNT);
    }
    // By lane and then by step is the order of the windows.
    let mut lanes = (passed | passed >> 16 | passed >> 32 | passed >> 48) & 0xffff;
    while lanes != 0 {
        let lane = lanes.trailing_zeros();
        lanes &= lanes - 1;
        for (step, spreads) in (0..).zip(spreads) {
            if passed >> (step * 16 + lane) & 1 == 1 {
                let at = batch_index * 64 + lane * 4 + step + 1;
                hits.push(Hit { at, weak: spreads[lane as usize].wrapping_mul(UNSPREAD) });
            }
        }
    }
}

/// A value for each step of a batch, of its number from 1 on: those of all lanes' first bytes, then of their second ones, and
/// so on.
fn lanes(value: impl Fn(u32) -> u32) -> [[u32; LANE_COUNT]; LANE_STEPS] {
    std::array::from_fn(|step| {
        std::array::from_fn(|lane| {
            let number = lane * LANE_STEPS + step + 1;
            value(u32::try_from(number).expect("at most the length of a batch"))
        })
    })
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
fn words<S: Simd>(simd: S, bytes: &[u8; BATCH_LEN]) -> u32x16<S> {
    let (words, _) = bytes.as_chunks::<LANE_STEPS>();
    u32x16::simd_from(simd, std::array::from_fn::<u32, LANE_COUNT, _>(|lane| u32::from_le_bytes(words[lane])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Vec<Level> {
        let mut levels = vec![Level::baseline(), Level::new()];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Level::new().as_sse4_2().map(Simd::level));
            levels.extend(Level::new().as_avx2().map(Simd::level));
        }
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
