//! Op lists: their canonical form, the gaps in them, and what bases they keep.

use delta_core::{BasisRange, EncodeError, Gap, GapRules, Op, OpList};

fn list(ops: &[Op]) -> OpList {
    let mut list = OpList::new();
    ops.iter().for_each(|&op| list.push(op));
    list
}

fn copy(slot: u8, offset: u32, len: u32) -> Op {
    Op::Copy { slot, offset, len }
}

fn literal(len: u32) -> Op {
    Op::Literal { len }
}

const RULES: GapRules = GapRules { literal_len_min: 10, reach: 5 };

#[test]
fn push_joins_what_continues() {
    let joined =
        list(&[literal(0), literal(3), literal(4), copy(0, 5, 5), copy(0, 10, 2), copy(1, 12, 0), copy(1, 12, 3)]);
    assert_eq!(joined.ops(), [literal(7), copy(0, 5, 7), copy(1, 12, 3)]);
    assert_eq!((joined.target_len(), joined.literal_len()), (17, 7));
    assert_eq!(joined.copied_lens(), [7, 3]);
}

#[test]
fn gap_between_copies_in_order_is_what_lies_between_them() {
    let ops = list(&[copy(0, 0, 100), literal(20), copy(0, 125, 100)]);
    let gap = Gap { target: 100..120, wanted: [Some(BasisRange { slot: 0, range: 100..125 }), None] };
    assert_eq!(ops.gaps(&[1000], RULES).collect::<Vec<_>>(), [gap]);
}

#[test]
fn gap_after_a_deletion_is_both_its_edges() {
    let ops = list(&[copy(0, 0, 100), literal(20), copy(0, 800, 100)]);
    assert_eq!(ops.wanted_cells(&[1000], RULES), [(0, vec![100..125, 775..800])]);
}

#[test]
fn gap_between_strangers_is_clipped_to_each() {
    let ops = list(&[copy(2, 980, 10), literal(20), copy(1, 7, 100)]);
    assert_eq!(ops.wanted_cells(&[50, 500, 1000], RULES), [(1, vec![0..7]), (2, vec![990..1000])]);
}

#[test]
fn gap_at_either_end_has_one_neighbour() {
    let ops = list(&[literal(20), copy(0, 30, 100), literal(50)]);
    assert_eq!(ops.wanted_cells(&[1000], RULES), [(0, vec![5..30, 130..185])]);
}

#[test]
fn list_without_copies_points_at_the_first_basis() {
    assert_eq!(OpList::all_literal(700).wanted_cells(&[500, 900], RULES), [(0, vec![0..500])]);
    assert_eq!(OpList::all_literal(100).wanted_cells(&[500, 900], RULES), [(0, vec![0..105])]);
    assert_eq!(OpList::all_literal(100).wanted_cells(&[], RULES), []);
}

#[test]
fn short_literals_are_no_gaps() {
    let ops = list(&[copy(0, 0, 100), literal(9), copy(0, 125, 100)]);
    assert_eq!(ops.gaps(&[1000], RULES).count(), 0);
}

#[test]
fn wanted_ranges_that_overlap_are_joined() {
    let ops = list(&[copy(0, 0, 100), literal(20), copy(1, 0, 10), literal(20), copy(0, 130, 10)]);
    assert_eq!(ops.wanted_cells(&[1000, 1000], RULES), [(0, vec![100..130]), (1, vec![10..35])]);
}

#[test]
fn kept_slots_are_renumbered_and_the_others_become_literal() {
    let ops = list(&[copy(3, 5, 10), literal(1), copy(7, 0, 10), copy(5, 40, 10), copy(3, 15, 4)]);
    let kept = ops.keep_slots(&[5, 3]);
    assert_eq!(kept.ops(), [copy(1, 5, 10), literal(11), copy(0, 40, 10), copy(1, 15, 4)]);
    assert_eq!(kept.target_len(), ops.target_len());
}

#[test]
fn encoding_refuses_what_does_not_fit() {
    let ops = list(&[copy(1, 90, 20)]);
    let mut out = b"kept".to_vec();
    let encode = |lens: &[u32], target: &[u8], out: &mut Vec<u8>| ops.encode(lens, target, out);
    let past_basis = Err(EncodeError::CopyPastBasis { op_index: 0, slot: 1 });
    assert_eq!(encode(&[1000, 109], &[0; 20], &mut out), past_basis);
    assert_eq!(encode(&[1000], &[0; 20], &mut out), past_basis);
    let other_target = Err(EncodeError::OtherTarget { list_target_len: 20, target_len: 21 });
    assert_eq!(encode(&[1000, 110], &[0; 21], &mut out), other_target);
    assert_eq!(out, b"kept");
    assert_eq!(encode(&[1000, 110], &[0; 20], &mut out), Ok(()));
}

#[test]
fn encoding_refuses_too_many_copies() {
    let mut ops = OpList::new();
    (0..500).for_each(|i| ops.push(copy(0, 2 * (i % 2), 1)));
    let copy_count_max = delta_core::copy_count_max(500);
    assert_eq!(
        ops.encode(&[10], &[0; 500], &mut Vec::new()),
        Err(EncodeError::TooManyCopies { copy_count: 500, copy_count_max })
    );
}
