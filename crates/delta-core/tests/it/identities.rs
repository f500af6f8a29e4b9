//! Laws that hold for all bytes.

use delta_core::{
    BasisSet, BlockLen, GapRules, HashKey, Limits, Matcher, OpList, Signature, SignatureBuilder, StrongKind,
};
use proptest::prelude::*;

use crate::support::{
    any_params, bytes, diff, diff_with_stats, edited, edits, key, lens, params, random_bytes, rebuilt, signature,
    sources, u32_of,
};

proptest! {
    #[test]
    fn what_was_matched_makes_the_target(basis in bytes(20_000), edits in edits(), params in any_params()) {
        let target = edited(&basis, &edits);
        let ops = diff(&[&basis], params, &target);
        prop_assert_eq!(rebuilt(&[&basis], &target, &ops), target);
    }

    #[test]
    fn several_bases_make_the_target(
        bases in proptest::collection::vec(bytes(6_000), 0..6),
        edits in edits(),
        params in any_params(),
    ) {
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let target = edited(&bases.iter().rev().copied().collect::<Vec<_>>().concat(), &edits);
        let ops = diff(&bases, params, &target);
        prop_assert_eq!(rebuilt(&bases, &target, &ops), target);
    }

    #[test]
    fn refining_only_turns_literals_into_copies(basis in bytes(20_000), edits in edits(), offset in any::<u64>()) {
        let target = edited(&basis, &edits);
        let bases = [&basis[..]];
        let coarse = delta_core::SignatureParams::on_page_grid(BlockLen::new(2048).unwrap(), StrongKind::COARSE, offset);
        let mut ops = diff(&bases, coarse, &target);
        let mut matcher = Matcher::new(&key());
        for block_len in [BlockLen::FINE, BlockLen::FINEST] {
            let before = ops.clone();
            let fine = coarse.level(block_len, StrongKind::SEALED);
            let rules = GapRules { literal_len_min: block_len.bytes(), reach: block_len.bytes() };
            let wanted = ops.wanted_cells(&lens(&bases), rules);
            let cells: Vec<(u8, Signature)> = wanted
                .iter()
                .map(|(slot, ranges)| (*slot, Signature::compute_cells(&basis, ranges, fine, &key()).unwrap()))
                .collect();
            let mut set = BasisSet::new();
            for (slot, cells) in &cells {
                set.push(*slot, cells).unwrap();
            }
            let stats = matcher.refine(&set, &target, &mut ops).unwrap();
            prop_assert_eq!(stats.copied_len, before.literal_len() - ops.literal_len());
            for (before, after) in sources(&before).into_iter().zip(sources(&ops)) {
                prop_assert!(before.is_none() || before == after);
            }
            prop_assert_eq!(&rebuilt(&bases, &target, &ops), &target);
        }
    }

    #[test]
    fn signature_does_not_depend_on_the_pieces(
        basis in bytes(10_000),
        params in any_params(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(basis.len() + 1)).collect();
        cuts.extend([0, basis.len()]);
        cuts.sort_unstable();
        let mut builder = SignatureBuilder::new(params, &key());
        for piece in cuts.windows(2) {
            builder.update(&basis[piece[0]..piece[1]]);
        }
        prop_assert_eq!(builder.finish().unwrap(), signature(&basis, params));
    }

    #[test]
    fn signature_returns_from_its_encoding(
        basis in bytes(10_000),
        params in any_params(),
        edges in proptest::collection::btree_set(0..10_000u32, 0..12),
    ) {
        let whole = signature(&basis, params);
        let basis_len = u32_of(basis.len());
        let mut encoded = Vec::new();
        whole.encode(&mut encoded);
        prop_assert_eq!(encoded.len(), whole.encoded_len());
        prop_assert!(whole.is_whole());
        prop_assert_eq!(&Signature::decode(&encoded, params, basis_len, &Limits::default()).unwrap(), &whole);

        let edges: Vec<u32> = edges.into_iter().filter(|&edge| edge <= basis_len).collect();
        let ranges: Vec<_> = edges.chunks_exact(2).map(|edge| edge[0]..edge[1]).collect();
        let cells = whole.cells(&ranges).unwrap();
        prop_assert_eq!(&Signature::compute_cells(&basis, &ranges, params, &key()).unwrap(), &cells);
        encoded.clear();
        cells.encode(&mut encoded);
        let decoded = Signature::decode_cells(&encoded, &ranges, params, basis_len, &Limits::default());
        prop_assert_eq!(decoded.unwrap(), cells);
    }

    #[test]
    fn matcher_keeps_nothing_from_one_target_to_the_next(
        basis in bytes(10_000),
        other in bytes(10_000),
        edits in edits(),
        params in any_params(),
    ) {
        let target = edited(&basis, &edits);
        let (basis_signature, other_signature) = (signature(&basis, params), signature(&other, params));
        let (mut basis_set, mut other_set) = (BasisSet::new(), BasisSet::new());
        basis_set.push(0, &basis_signature).unwrap();
        other_set.push(0, &other_signature).unwrap();
        let mut matcher = Matcher::new(&key());
        let (mut first, mut second) = (OpList::new(), OpList::new());
        matcher.diff(&basis_set, &target, &mut first).unwrap();
        matcher.diff(&other_set, &target, &mut second).unwrap();
        matcher.diff(&basis_set, &target, &mut second).unwrap();
        prop_assert_eq!(first, second);
    }

    #[test]
    fn an_edit_costs_itself_and_two_blocks(
        seed in any::<u64>(),
        at in 0..19_000usize,
        removed in 0..600usize,
        added in 0..600usize,
        params in any_params(),
    ) {
        let basis = random_bytes(seed, 20_000);
        let mut target = basis.clone();
        target.splice(at..at + removed, random_bytes(!seed, added));
        let literal_len = diff(&[&basis], params, &target).literal_len() as usize;
        prop_assert!(literal_len <= added + 2 * params.block_len().bytes() as usize, "{literal_len} bytes literal");
    }

    #[test]
    fn equal_bytes_are_one_copy(seed in any::<u64>(), len in 4096..20_000usize, params in any_params()) {
        let basis = random_bytes(seed, len);
        prop_assert_eq!(diff(&[&basis], params, &basis).ops().len(), 1);
    }

    #[test]
    fn unrelated_bytes_are_one_literal(len in 0..20_000usize, other_len in 0..20_000usize, params in any_params()) {
        let (basis, target) = (random_bytes(1, len), random_bytes(2, other_len));
        let (ops, stats) = diff_with_stats(&[&basis], params, &target);
        prop_assert_eq!(ops, OpList::all_literal(u32_of(other_len)));
        prop_assert!(!stats.gave_up);
    }

    /// For bases without short blocks, whose edges are blocks' edges also when they are one.
    #[test]
    fn bases_apart_are_as_good_as_in_one(seed in any::<u64>(), block_counts in (1..30usize, 1..30usize), edits in edits()) {
        let params = params(256, StrongKind::COARSE);
        let (first, second) = (random_bytes(seed, block_counts.0 * 256), random_bytes(!seed, block_counts.1 * 256));
        let joined = [first.clone(), second.clone()].concat();
        let target = edited(&joined, &edits);
        let apart = diff(&[&first, &second], params, &target);
        let starts = [0, u32_of(first.len())];
        let apart: Vec<_> = sources(&apart)
            .into_iter()
            .map(|source| source.map(|(slot, offset)| (0, offset + starts[usize::from(slot)])))
            .collect();
        prop_assert_eq!(apart, sources(&diff(&[&joined], params, &target)));
    }
}

#[test]
fn every_block_len_matches() {
    let basis = random_bytes(1, 600_000);
    let mut target = basis.clone();
    target.insert(200_000, 1);
    for log2 in 6..=17 {
        for strong in [StrongKind::COARSE, StrongKind::SEALED] {
            let params = params(1 << log2, strong);
            let ops = diff(&[&basis], params, &target);
            assert!(ops.literal_len() <= 1 + (2 << log2), "block 2^{log2}: {} bytes literal", ops.literal_len());
            assert_eq!(rebuilt(&[&basis], &target, &ops), target);
        }
    }
}

#[test]
fn another_key_matches_nothing() {
    let basis = random_bytes(1, 100_000);
    let params = params(512, StrongKind::COARSE);
    let signature = Signature::compute(&basis, params, &HashKey::from_secret(&[1; 32])).unwrap();
    let mut set = BasisSet::new();
    set.push(0, &signature).unwrap();
    let mut ops = OpList::new();
    Matcher::new(&HashKey::from_secret(&[2; 32])).diff(&set, &basis, &mut ops).unwrap();
    assert_eq!(ops.literal_len(), 100_000);
}

/// A page of the file overwritten in place, in a chunk that starts anywhere, dirties one block and no more.
#[test]
fn page_grid_keeps_a_page_to_one_block() {
    let file = random_bytes(1, 300_000);
    let mut changed = file.clone();
    changed[40_960..45_056].copy_from_slice(&random_bytes(2, 4096));
    for chunk_start in [0, 1, 777, 4095, 4096, 12_345] {
        let params =
            delta_core::SignatureParams::on_page_grid(BlockLen::CACHED, StrongKind::COARSE, chunk_start as u64);
        let ops = diff(&[&file[chunk_start..]], params, &changed[chunk_start..]);
        assert_eq!(ops.literal_len(), 4096, "chunk from byte {chunk_start}");
    }
}

/// Two chunks whose common edge moved: the short last block of one and the short first block of the next are found.
#[test]
fn short_blocks_at_the_edge_of_two_bases_match() {
    let file = random_bytes(1, 100_000);
    let (first, second) = file.split_at(43_210);
    let (first_params, second_params) = (
        delta_core::SignatureParams::on_page_grid(BlockLen::COARSE, StrongKind::COARSE, 0),
        delta_core::SignatureParams::on_page_grid(BlockLen::COARSE, StrongKind::COARSE, 43_210),
    );
    let (first, second) = (signature(first, first_params), signature(second, second_params));
    let mut set = BasisSet::new();
    set.push(4, &second).unwrap();
    set.push(9, &first).unwrap();
    let mut ops = OpList::new();
    Matcher::new(&key()).diff(&set, &file, &mut ops).unwrap();
    assert_eq!(ops.literal_len(), 0);
    assert_eq!(ops.copied_lens(), [0, 0, 0, 0, 56_790, 0, 0, 0, 0, 43_210]);
}
