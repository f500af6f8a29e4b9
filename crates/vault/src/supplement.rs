//! Supplements: long literals of a delta in a chunk of their own, which later deltas can name as a basis.
//!
//! The basis of a delta is whole, so each generation of a chunk is a delta against the same basis; it would hold again
//! what all generations since then have changed. With the new bytes of each generation in a chunk of their own, the
//! next delta copies them from there. When a delta has no room for one more basis, the weakest are folded: what it took
//! from them becomes part of its new supplement, together with what is new.

use delta_core::{Op, OpList};

/// Shorter literals stay in the delta: to name their place would cost nearly as much.
const PIECE_LEN_MIN: u32 = 64;
/// Fewer bytes in all stay in the delta: a record of their own would cost more than to store them again a few times.
const SUPPLEMENT_LEN_MIN: u32 = 1024;

/// A delta whose long literals were taken out.
pub(crate) struct Supplemented {
    /// The bases that were kept, by their slots in the ops that were given; slot `i` of `ops` is `kept[i]`.
    pub(crate) kept: Vec<u8>,
    /// The ops; with a supplement, the slot after the kept ones stands for it.
    pub(crate) ops: OpList,
    /// The literals taken out, back to back; empty when it is not worth a record.
    pub(crate) supplement: Vec<u8>,
}

/// Takes the long literals out of `found`, which makes `target`. Its bases are `kept`, the strongest first, at most
/// `bases_max`; of these the weakest may be folded.
pub(crate) fn take_out(found: &OpList, mut kept: Vec<u8>, bases_max: usize, target: &[u8]) -> Supplemented {
    let copied = found.copied_lens();
    let mut ops = found.keep_slots(&kept);
    if pieces_len(&ops) >= SUPPLEMENT_LEN_MIN && kept.len() >= bases_max {
        while let [_, .., weakest] = kept[..] {
            let is_worth_keeping = copied[usize::from(weakest)] > pieces_len(&ops);
            if kept.len() < bases_max && is_worth_keeping {
                break;
            }
            kept.pop();
            ops = found.keep_slots(&kept);
        }
    }
    if pieces_len(&ops) < SUPPLEMENT_LEN_MIN {
        return Supplemented { kept, ops, supplement: Vec::new() };
    }
    let slot = u8::try_from(kept.len()).expect("slots are numbered by u8");
    // Bounded: parts of the target, which is there.
    let mut supplement = Vec::with_capacity(pieces_len(&ops) as usize);
    let mut rest = OpList::new();
    for (range, op) in ops.placed() {
        if is_piece(&op) {
            let offset = u32::try_from(supplement.len()).expect("it is part of the target");
            rest.push(Op::Copy { slot, offset, len: op.len() });
            supplement.extend_from_slice(&target[range.start as usize..range.end as usize]);
        } else {
            rest.push(op);
        }
    }
    Supplemented { kept, ops: rest, supplement }
}

fn is_piece(op: &Op) -> bool {
    matches!(op, Op::Literal { len } if *len >= PIECE_LEN_MIN)
}

fn pieces_len(ops: &OpList) -> u32 {
    ops.ops().iter().filter(|op| is_piece(op)).map(Op::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ops: &[Op]) -> OpList {
        let mut list = OpList::new();
        ops.iter().for_each(|op| list.push(*op));
        list
    }

    fn copy(slot: u8, offset: u32, len: u32) -> Op {
        Op::Copy { slot, offset, len }
    }

    fn literal(len: u32) -> Op {
        Op::Literal { len }
    }

    fn target(len: u32) -> Vec<u8> {
        (0..len).map(|at| (at / 7 % 251) as u8).collect()
    }

    #[test]
    fn long_literals_move_and_short_ones_stay() {
        let found = list(&[literal(1000), copy(0, 0, 5000), literal(10), copy(0, 6000, 100), literal(500)]);
        let target = target(found.target_len());
        let made = take_out(&found, vec![0], 8, &target);
        assert_eq!(
            made.ops,
            list(&[copy(1, 0, 1000), copy(0, 0, 5000), literal(10), copy(0, 6000, 100), copy(1, 1000, 500)])
        );
        assert_eq!(made.supplement, [&target[..1000], &target[6110..]].concat());
        assert_eq!(made.kept, [0]);
    }

    #[test]
    fn little_is_left_where_it_is() {
        let found = list(&[literal(1023), copy(0, 0, 5000), literal(63)]);
        let made = take_out(&found, vec![0], 8, &target(found.target_len()));
        assert_eq!((made.ops, made.supplement), (found, vec![]));
    }

    #[test]
    fn without_room_the_weakest_bases_are_folded() {
        let found = list(&[copy(2, 0, 9000), literal(2000), copy(0, 0, 3000), copy(1, 0, 100), copy(3, 0, 6000)]);
        let target = target(found.target_len());
        // Slot 1 makes room; slot 0 gives more than the 2100 bytes that the supplement holds then.
        let made = take_out(&found, vec![2, 3, 0, 1], 4, &target);
        assert_eq!(made.kept, [2, 3, 0]);
        assert_eq!(
            made.ops,
            list(&[copy(0, 0, 9000), copy(3, 0, 2000), copy(2, 0, 3000), copy(3, 2000, 100), copy(1, 0, 6000)])
        );
        let made = take_out(&found, vec![2, 3, 0, 1], 3, &target);
        assert_eq!(made.kept, [2, 3]);
        assert_eq!(made.supplement.len(), 2000 + 3000 + 100);
        // With nothing new to hold, nothing is folded.
        let old = list(&[copy(0, 0, 9000), copy(1, 0, 3000), literal(20)]);
        assert_eq!(take_out(&old, vec![0, 1], 2, &target).kept, [0, 1]);
    }
}
