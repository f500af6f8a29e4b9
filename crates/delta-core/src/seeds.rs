//! Where short strings of the bases stand: the two small tables behind exact matching.
//!
//! [`NearSeeds`] knows every 8-byte string around one place of one basis and moves along with the target, so that
//! what was shifted by an insertion or a deletion is found at once. [`FarSeeds`] knows some 16-byte strings of all
//! bases. Both keep one position per slot and are only hints: whoever asks compares the bytes.

/// Bytes of a string in [`NearSeeds`].
pub(crate) const WORD_LEN: usize = 8;
/// Bytes of a string in [`FarSeeds`].
const FAR_SEED_LEN: usize = 16;

const NEAR_SLOT_LOG2: u32 = 14;
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const SPREAD_AGAIN: u64 = 0xd6e8_feb8_6659_fd93;

/// The 8 bytes at `at`.
#[inline(always)]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + WORD_LEN].try_into().expect("cut to this length"))
}

/// Strings around one place of one basis. Positions are counted from the start of the first basis.
pub(crate) struct NearSeeds {
    /// Position plus 1; 0 where there is none.
    slots: Box<[u32; 1 << NEAR_SLOT_LOG2]>,
    /// The next position to add.
    next: usize,
}

impl NearSeeds {
    pub(crate) fn new() -> Self {
        let slots = vec![0; 1 << NEAR_SLOT_LOG2].into_boxed_slice();
        Self { slots: slots.try_into().expect("made with this length"), next: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.next = 0;
    }

    /// Makes sure that the strings of `basis` that start from `from` to before `until` were added, or were when the
    /// target last passed here. The basis starts at position `basis_start`.
    #[inline]
    pub(crate) fn cover(&mut self, basis: &[u8], basis_start: usize, from: usize, until: usize, slack: usize) {
        let until = until.min((basis.len() + 1).saturating_sub(WORD_LEN));
        let (from, until) = (basis_start + from, basis_start + until);
        if self.next < from || self.next > until + slack {
            self.next = from;
        }
        while self.next < until {
            self.slots[near_slot(word_at(basis, self.next - basis_start))] = position_entry(self.next);
            self.next += 1;
        }
    }

    /// A position where `word` may stand.
    #[inline]
    pub(crate) fn find(&self, word: u64) -> Option<usize> {
        (self.slots[near_slot(word)] as usize).checked_sub(1)
    }
}

#[inline]
fn near_slot(word: u64) -> usize {
    (word.wrapping_mul(SPREAD) >> (64 - NEAR_SLOT_LOG2)) as usize
}

fn position_entry(position: usize) -> u32 {
    u32::try_from(position + 1).expect("bases are at most LEN_MAX together")
}

/// Strings of all bases, at every so many bytes. Positions are counted from the start of the first basis.
pub(crate) struct FarSeeds {
    /// Position plus 1; 0 where there is none.
    slots: Vec<u32>,
    shift: u32,
}

impl FarSeeds {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), shift: 0 }
    }

    /// Forgets all strings and adds one in every `step` bytes; of equal ones, the first stays.
    pub(crate) fn rebuild(&mut self, bases: &[&[u8]], step: usize) {
        let seed_count: usize = bases.iter().map(|basis| basis.len().div_ceil(step)).sum();
        let slot_count = (seed_count * 2).next_power_of_two().max(2);
        self.slots.clear();
        // Bounded: by the bases, which are there.
        self.slots.resize(slot_count, 0);
        self.shift = 64 - slot_count.trailing_zeros();
        let mut basis_start = 0;
        for basis in bases {
            for (index, seed) in basis.windows(FAR_SEED_LEN).step_by(step).enumerate() {
                let slot = self.slot(seed);
                if self.slots[slot] == 0 {
                    self.slots[slot] = position_entry(basis_start + index * step);
                }
            }
            basis_start += basis.len();
        }
    }

    /// A position where the first 16 bytes of `rest` may stand.
    #[inline]
    pub(crate) fn find(&self, rest: &[u8]) -> Option<usize> {
        let seed = rest.get(..FAR_SEED_LEN)?;
        (self.slots[self.slot(seed)] as usize).checked_sub(1)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves an index into the slots")]
    fn slot(&self, seed: &[u8]) -> usize {
        let hash = (word_at(seed, 0).wrapping_mul(SPREAD) ^ word_at(seed, WORD_LEN)).wrapping_mul(SPREAD_AGAIN);
        (hash >> self.shift) as usize
    }
}

/// Bytes that `a` and `b` have in common from their start.
#[inline]
pub(crate) fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a_words, a_rest) = a[..len].as_chunks::<WORD_LEN>();
    let (b_words, b_rest) = b[..len].as_chunks::<WORD_LEN>();
    for (index, (a_word, b_word)) in a_words.iter().zip(b_words).enumerate() {
        let differing = u64::from_le_bytes(*a_word) ^ u64::from_le_bytes(*b_word);
        if differing != 0 {
            return index * WORD_LEN + differing.trailing_zeros() as usize / 8;
        }
    }
    len - a_rest.len() + a_rest.iter().zip(b_rest).take_while(|(a, b)| a == b).count()
}

/// Bytes that `a` and `b` have in common up to their end.
#[inline]
pub(crate) fn common_suffix_len(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a_rest, a_words) = a[a.len() - len..].as_rchunks::<WORD_LEN>();
    let (b_rest, b_words) = b[b.len() - len..].as_rchunks::<WORD_LEN>();
    for (index, (a_word, b_word)) in a_words.iter().zip(b_words).rev().enumerate() {
        let differing = u64::from_le_bytes(*a_word) ^ u64::from_le_bytes(*b_word);
        if differing != 0 {
            return index * WORD_LEN + differing.leading_zeros() as usize / 8;
        }
    }
    len - a_rest.len() + a_rest.iter().rev().zip(b_rest.iter().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_lens_are_as_counted_byte_by_byte() {
        let a: Vec<u8> = (0..100).collect();
        for len in [0, 1, 7, 8, 9, 40, 100] {
            for differing in (0..len).map(Some).chain([None]) {
                let mut b = a[..len].to_vec();
                if let Some(at) = differing {
                    b[at] ^= 0x80;
                }
                assert_eq!(common_prefix_len(&a, &b), differing.unwrap_or(len));
                assert_eq!(common_suffix_len(&a[..len], &b), differing.map_or(len, |at| len - 1 - at));
            }
        }
        assert_eq!(common_suffix_len(b"xx12345678901", b"12345678901"), 11);
    }

    #[test]
    fn near_seeds_are_found_where_they_were_covered() {
        let basis: Vec<u8> = (0..2000u32).flat_map(|i| (i * 7919).to_be_bytes()).collect();
        let mut near = NearSeeds::new();
        near.cover(&basis, 500, 100, 300, 0);
        assert_eq!(near.find(word_at(&basis, 100)), Some(600));
        assert_eq!(near.find(word_at(&basis, 299)), Some(799));
        near.cover(&basis, 500, 200, usize::MAX / 2, 0);
        assert_eq!(near.find(word_at(&basis, basis.len() - 8)), Some(500 + basis.len() - 8));
        near.clear();
        assert_eq!(near.find(word_at(&basis, 100)), None);
        near.cover(b"short", 0, 0, 5, 0);
    }

    #[test]
    fn far_seeds_are_found_at_every_step() {
        let basis: Vec<u8> = (0..1000u32).flat_map(|i| (i * 7919).to_be_bytes()).collect();
        let mut far = FarSeeds::new();
        far.rebuild(&[b"ten bytes!", &basis, b""], 8);
        let found = (0..basis.len() - 16).step_by(8).filter(|&at| far.find(&basis[at..]) == Some(10 + at)).count();
        assert!(found > 300, "{found} of 498: a slot holds one of those that share it");
        assert_eq!(far.find(&basis[..15]), None);
    }
}
