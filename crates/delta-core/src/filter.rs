//! [`Filter`]: turns away most weak hashes that no block has, from few enough bytes to stay in the CPU's first cache.
//!
//! A blocked Bloom filter: the hash picks a word of 32 bits and two bits in it. About 64 bits per block let one in
//! 300 strange hashes pass. Source: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters",
//! JEA 14 (2009).

/// Spreads the entropy of a weak hash over all bits of the product; the low bits of the hash alone are poor.
pub(crate) const SPREAD: u32 = 0x9e37_79b1;
/// Undoes [`SPREAD`].
pub(crate) const UNSPREAD: u32 = inverse(SPREAD);

const WORD_COUNT_MIN: usize = 1 << 12;
const WORD_COUNT_MAX: usize = 1 << 16;

pub(crate) struct Filter {
    /// Always this many, so that looking one up needs no check; only the first [`word_count`](Self::word_count) are
    /// in use.
    words: Box<[u32; WORD_COUNT_MAX]>,
    word_count: usize,
}

impl Filter {
    pub(crate) fn new() -> Self {
        let words = vec![0; WORD_COUNT_MAX].into_boxed_slice();
        Self { words: words.try_into().expect("made with this length"), word_count: WORD_COUNT_MIN }
    }

    /// Removes all hashes, and makes room for those of `block_count` blocks.
    pub(crate) fn reset(&mut self, block_count: usize) {
        self.words[..self.word_count].fill(0);
        self.word_count = (block_count * 4).next_power_of_two().clamp(WORD_COUNT_MIN, WORD_COUNT_MAX);
    }

    pub(crate) fn insert(&mut self, weak: u32) {
        let spread = weak.wrapping_mul(SPREAD);
        self.words[(spread >> self.shift()) as usize] |= bits(spread);
    }

    /// Whether the hash may have been inserted; wrong for few others.
    #[inline]
    pub(crate) fn may_hold(&self, weak: u32) -> bool {
        let spread = weak.wrapping_mul(SPREAD);
        self.words[(spread >> self.shift()) as usize] & bits(spread) == bits(spread)
    }

    /// How far to shift a spread hash to the right to get the index of its word.
    #[inline]
    pub(crate) fn shift(&self) -> u32 {
        32 - self.word_count.trailing_zeros()
    }

    /// The word at an index that [`shift`](Self::shift) gave.
    #[inline]
    pub(crate) fn word(&self, word_index: u32) -> u32 {
        self.words[word_index as usize % WORD_COUNT_MAX]
    }
}

/// The two bits of a spread hash, which are set in its word when it was inserted: shifting the word to the left by the number
/// of either makes it the top one.
#[inline]
fn bits(spread: u32) -> u32 {
    (1 << 31) >> (spread & 31) | (1 << 31) >> (spread >> 5 & 31)
}

/// The inverse modulo 2^32 of an odd number, by Newton's iteration: each step doubles the number of right bits.
pub(crate) const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut right_bits = 3;
    while right_bits < 32 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        right_bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_inserted_and_little_else() {
        let mut filter = Filter::new();
        for block_count in [1u32, 100, 2000, 8192] {
            filter.reset(block_count as usize);
            let hashes = |seed: u32| (0..block_count).map(move |i| (i ^ seed).wrapping_mul(0x85eb_ca6b) ^ i << 7);
            hashes(0).for_each(|weak| filter.insert(weak));
            assert!(hashes(0).all(|weak| filter.may_hold(weak)));
            let strange =
                (0..100_000).filter(|i| filter.may_hold(0x5bd1_e995u32.wrapping_mul(*i) ^ 0x1234_5678)).count();
            assert!(strange < 1000, "{strange} of 100000 pass with {block_count} blocks");
        }
    }

    #[test]
    fn inverse_undoes() {
        for odd in [1, 3, 5, 0x9e37_79b1, 0xffff_ffff, 0x8000_0001] {
            assert_eq!(inverse(odd).wrapping_mul(odd), 1);
        }
    }
}
