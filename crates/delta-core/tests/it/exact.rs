//! Exact matching: always the target, never larger than without, and small where little changed.

use delta_core::{ExactMatcher, LEN_MAX, MatchError, Op, OpList, StrongKind};
use proptest::prelude::*;

use crate::support::{bytes, diff, edited, edits, encoded, exact, params, random_bytes, rebuilt, text, u32_of};

/// Copies from anywhere, right or wrong, even past the end of a basis or from a basis that is not there.
fn any_ops(target_len: usize) -> impl Strategy<Value = OpList> {
    let op = (any::<bool>(), 0..6u8, 0..6_000u32, 1..2_000u32);
    proptest::collection::vec(op, 0..12).prop_map(move |ops| {
        let mut list = OpList::new();
        for (is_copy, slot, offset, len) in ops {
            let len = len.min(u32_of(target_len) - list.target_len());
            list.push(if is_copy { Op::Copy { slot, offset, len } } else { Op::Literal { len } });
        }
        let rest = u32_of(target_len) - list.target_len();
        list.push(Op::Literal { len: rest });
        list
    })
}

proptest! {
    #[test]
    fn makes_the_target(bases in proptest::collection::vec(bytes(6_000), 0..5), edits in edits()) {
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let target = edited(&bases.iter().rev().copied().collect::<Vec<_>>().concat(), &edits);
        prop_assert_eq!(rebuilt(&bases, &target, &exact(&bases, &target)), target);
    }

    #[test]
    fn makes_the_target_whatever_was_known(
        (bases, target, known) in (proptest::collection::vec(bytes(5_000), 0..4), edits()).prop_flat_map(|(bases, edits)| {
            let target = edited(&bases.concat(), &edits);
            let known = any_ops(target.len());
            (Just(bases), Just(target), known)
        }),
    ) {
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let mut ops = known;
        ExactMatcher::new().refine(&bases, &target, &mut ops).unwrap();
        prop_assert_eq!(rebuilt(&bases, &target, &ops), target);
    }

    #[test]
    fn keeps_nothing_from_one_target_to_the_next(basis in bytes(6_000), other in bytes(6_000), edits in edits()) {
        let target = edited(&basis, &edits);
        let mut matcher = ExactMatcher::new();
        let (mut first, mut second) = (OpList::new(), OpList::new());
        matcher.diff(&[&basis, &other], &target, &mut first).unwrap();
        matcher.diff(&[&other], &basis, &mut second).unwrap();
        matcher.diff(&[&basis, &other], &target, &mut second).unwrap();
        prop_assert_eq!(first, second);
    }

    #[test]
    fn refining_makes_blocks_no_worse(seed in any::<u64>(), edits in edits()) {
        let basis = random_bytes(seed, 20_000);
        let target = edited(&basis, &edits);
        let blocks = diff(&[&basis], params(64, StrongKind::COARSE), &target);
        let mut exact = blocks.clone();
        ExactMatcher::new().refine(&[&basis], &target, &mut exact).unwrap();
        prop_assert!(encoded(&[&basis], &target, &exact).len() <= encoded(&[&basis], &target, &blocks).len());
    }
}

/// Encoded bytes, cold and after a block match; both must be within `encoded_max`.
#[track_caller]
fn check_size(basis: &[u8], target: &[u8], encoded_max: usize) {
    let bases = [basis];
    let mut refined = diff(&bases, params(512, StrongKind::COARSE), target);
    ExactMatcher::new().refine(&bases, target, &mut refined).unwrap();
    for ops in [exact(&bases, target), refined] {
        assert_eq!(rebuilt(&bases, target, &ops), target);
        let encoded_len = encoded(&bases, target, &ops).len();
        assert!(encoded_len <= encoded_max, "{encoded_len} bytes encoded instead of {encoded_max}");
    }
}

#[test]
fn row_changed_in_place_costs_its_bytes() {
    let basis = random_bytes(1, 1 << 20);
    let mut target = basis.clone();
    for page in 1..=40 {
        let row = page * 20_000..page * 20_000 + 20;
        target[row].copy_from_slice(&random_bytes(1000 + page as u64, 20));
    }
    check_size(&basis, &target, 10 + 40 * (20 + 5));
}

#[test]
fn numbers_changed_within_one_row_cost_their_bytes() {
    let basis = random_bytes(1, 100_000);
    let mut target = basis.clone();
    for at in (50_000..50_200).step_by(20) {
        target[at..at + 4].copy_from_slice(&random_bytes(at as u64, 4));
    }
    check_size(&basis, &target, 10 + 10 * (4 + 3) + 8);
}

#[test]
fn row_inserted_into_a_page_shifts_the_rest() {
    let basis = random_bytes(1, 200_000);
    let mut target = basis.clone();
    for page in 0..20 {
        target.splice(page * 8000 + 100..page * 8000 + 100, random_bytes(page as u64 + 50, 30));
        target.drain(page * 8000 + 4000..page * 8000 + 4030);
    }
    check_size(&basis, &target, 10 + 20 * (30 + 12));
}

#[test]
fn lines_inserted_into_a_source_cost_their_bytes() {
    let basis = text(1, 300_000);
    let mut target = basis.clone();
    for at in (10_000..290_000).step_by(20_000) {
        target.splice(at..at, b"    let inserted = line(of, text);\n".iter().copied());
    }
    check_size(&basis, &target, 10 + 14 * (35 + 8));
}

#[test]
fn pieces_moved_far_are_found() {
    let basis = random_bytes(1, 400_000);
    let mut target = Vec::new();
    for piece in basis.chunks(1000).rev() {
        target.extend_from_slice(piece);
    }
    check_size(&basis, &target, 400 * 12);
}

#[test]
fn second_version_of_a_basis_among_four_is_found() {
    let bases: Vec<Vec<u8>> = (0..4).map(|seed| random_bytes(seed, 100_000)).collect();
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let target = [&bases[3][777..], &bases[1][..50_000], &bases[0][99_000..]].concat();
    let ops = exact(&bases, &target);
    assert_eq!(ops.copied_lens(), [1000, 50_000, 0, 99_223]);
}

#[test]
fn equal_is_one_copy_and_unrelated_is_one_literal() {
    let (basis, other) = (random_bytes(1, 50_000), random_bytes(2, 50_000));
    assert_eq!(exact(&[&basis], &basis).ops(), [Op::Copy { slot: 0, offset: 0, len: 50_000 }]);
    assert_eq!(exact(&[&basis], &other), OpList::all_literal(50_000));
    assert_eq!(exact(&[], &other), OpList::all_literal(50_000));
    assert_eq!(exact(&[b""], &other), OpList::all_literal(50_000));
    assert_eq!(exact(&[&basis], &[]), OpList::new());
}

#[test]
fn refuses_what_it_cannot_count() {
    let mut ops = OpList::all_literal(5);
    let mut matcher = ExactMatcher::new();
    let other_target = MatchError::OtherTarget { list_target_len: 5, target_len: 4 };
    assert_eq!(matcher.refine(&[b"basis"], b"four", &mut ops), Err(other_target));
    let bases = [&b"basis"[..]; 37];
    assert_eq!(matcher.diff(&bases, b"five!", &mut ops), Err(MatchError::TooManyBases { basis_count: 37 }));
    let basis = vec![0; LEN_MAX as usize / 32];
    let bases_len = basis.len() as u64 * 33;
    assert_eq!(matcher.diff(&[&basis[..]; 33], b"five!", &mut ops), Err(MatchError::BasesTooLong { bases_len }));
    assert_eq!(ops, OpList::all_literal(5));
}
