//! [`Random`]: numbers that a seed decides.

use std::env;
use std::hash::{BuildHasher, RandomState};

/// The seed of a random test: `TEST_SEED` when that is set, otherwise a new one. Printed, so that a failure can be
/// repeated.
///
/// # Panics
/// When `TEST_SEED` is no number.
#[must_use]
#[expect(clippy::print_stderr, reason = "the test's runner shows it when the test fails")]
pub fn seed() -> u64 {
    let seed = match env::var("TEST_SEED") {
        Ok(seed) => seed.parse().expect("TEST_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0),
    };
    eprintln!("TEST_SEED={seed}");
    seed
}

/// A stream of numbers: SplitMix64, fast and good enough for tests.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub fn below(&mut self, end: u64) -> u64 {
        // The highest half of a product is as even as the factors allow, and needs no division.
        u64::try_from((u128::from(self.next_u64()) * u128::from(end)) >> 64).expect("the half of 128 bits")
    }

    /// An index into something of `len` elements.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("it is below a length")
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.index(choices.len())]
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Bytes that nothing compresses.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 7);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Bytes that look like the lines of a program or a log.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "let", "value", "=", "return", "error", "42", "(", ");", "static", "struct", "0x1f", "name", "->", "if",
            "//", "TODO",
        ];
        let mut text = Vec::with_capacity(len + 64);
        while text.len() < len {
            for _ in 0..=self.below(9) {
                text.extend_from_slice(self.pick(&WORDS).as_bytes());
                text.push(b' ');
            }
            text.push(b'\n');
        }
        text.truncate(len);
        text
    }

    /// Mostly zeros, with islands of other bytes.
    pub fn zero_heavy(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for _ in 0..len / 16_384 {
            let at = self.index(len);
            let island = self.bytes(64.min(len - at));
            bytes[at..at + island.len()].copy_from_slice(&island);
        }
        bytes
    }
}
