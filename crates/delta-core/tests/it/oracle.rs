//! The matcher against the plainest matcher there is.

use delta_core::StrongKind;
use proptest::prelude::*;

use crate::support::{bytes, diff, edited, edits, params, sources};

const BLOCK_LEN: usize = 64;

/// Which bytes of `target` a matcher must copy: from left to right, wherever some block of some basis stands.
/// Compares every window with every block, byte by byte.
fn copied_by_definition(bases: &[Vec<u8>], target: &[u8]) -> Vec<bool> {
    let mut copied = vec![false; target.len()];
    let mut at = 0;
    while at + BLOCK_LEN <= target.len() {
        let window = &target[at..at + BLOCK_LEN];
        if bases.iter().any(|basis| basis.chunks_exact(BLOCK_LEN).any(|block| block == window)) {
            copied[at..at + BLOCK_LEN].fill(true);
            at += BLOCK_LEN;
        } else {
            at += 1;
        }
    }
    copied
}

proptest! {
    #[test]
    fn finds_what_comparing_everything_finds(
        bases in proptest::collection::vec(bytes(3_000), 1..4),
        edits in edits(),
        strong in prop_oneof![Just(StrongKind::COARSE), Just(StrongKind::SEALED)],
    ) {
        // Without short blocks, whose places are tried by rules of their own.
        let bases: Vec<Vec<u8>> = bases.into_iter().map(|mut basis| {
            basis.truncate(basis.len() / BLOCK_LEN * BLOCK_LEN);
            basis
        }).collect();
        let target = edited(&bases.concat(), &edits);
        let slices: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let ops = diff(&slices, params(64, strong), &target);
        let copied: Vec<bool> = sources(&ops).iter().map(Option::is_some).collect();
        prop_assert_eq!(copied, copied_by_definition(&bases, &target));
    }
}
