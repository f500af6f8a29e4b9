//! Exact matching, alone and with any ops as a guide: the target, byte for byte, and the same whatever came before.

#![no_main]

use delta_core::{ExactMatcher, Op, OpList};
use fuzz::{Content, Edit, edited, rebuilt};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    bases: Vec<Content>,
    edits: Vec<Edit>,
    /// Slot, offset and length; literals where the slot is 5. May be wrong in every respect.
    guide: Vec<(u8, u32, u16)>,
}

fuzz_target!(|job: Job| {
    let bases: Vec<Vec<u8>> = job.bases.iter().take(4).map(Content::bytes).collect();
    let target = edited(bases.concat(), &job.edits);
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();

    let mut matcher = ExactMatcher::new();
    let mut ops = OpList::new();
    matcher.diff(&bases, &target, &mut ops).expect("short enough");
    assert!(rebuilt(&bases, &target, &ops) == target);
    let mut again = OpList::all_literal(7);
    matcher.diff(&bases, &target, &mut again).expect("short enough");
    assert_eq!(again, ops);

    let mut guided = guide(&job.guide, u32::try_from(target.len()).expect("short enough"));
    matcher.refine(&bases, &target, &mut guided).expect("the guide is of the same length");
    assert!(rebuilt(&bases, &target, &guided) == target);
});

/// As many of the ops as `target_len` has room for, and a literal.
fn guide(ops: &[(u8, u32, u16)], target_len: u32) -> OpList {
    let mut list = OpList::new();
    for &(slot, offset, len) in ops {
        let len = u32::from(len).min(target_len - list.target_len());
        list.push(match slot {
            5 => Op::Literal { len },
            slot => Op::Copy { slot, offset: offset.min(u32::MAX - (1 << 20)), len },
        });
    }
    list.push(Op::Literal { len: target_len - list.target_len() });
    list
}
