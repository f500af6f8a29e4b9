//! Signature, diff, refinement, encoding and back: the target, whatever the bases; finer looks only take from literals.

#![no_main]

use delta_core::{BasisSet, BlockLen, GapRules, Matcher, OpList, Signature, SignatureBuilder};
use fuzz::{Content, Edit, Params, edited, key, lens, rebuilt};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    bases: Vec<(Content, u32)>,
    params: Params,
    edits: Vec<Edit>,
    fine_log2: u8,
    rules: (u16, u16),
    piece_len: u16,
}

fuzz_target!(|job: Job| {
    let key = key();
    let bases: Vec<Vec<u8>> = job.bases.iter().take(4).map(|(content, _)| content.bytes()).collect();
    let target = edited(bases.concat(), &job.edits);
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();

    // The blocks of every basis lie on a grid of its own.
    let params = job.bases.iter().map(|&(_, file_offset)| Params { file_offset, ..job.params }.signature_params());
    let params: Vec<_> = params.take(bases.len()).collect();
    let signatures = bases.iter().zip(&params).map(|(basis, &params)| {
        let signature = Signature::compute(basis, params, &key).expect("short enough");
        let mut builder = SignatureBuilder::new(params, &key);
        basis.chunks(usize::from(job.piece_len).max(1)).for_each(|piece| builder.update(piece));
        assert_eq!(builder.finish().as_ref(), Ok(&signature));
        signature
    });
    let signatures: Vec<Signature> = signatures.collect();
    let mut set = BasisSet::new();
    for (slot, signature) in (0..).zip(&signatures) {
        set.push(slot, signature).expect("few, and alike");
    }
    let mut matcher = Matcher::new(&key);
    let mut ops = OpList::new();
    let stats = matcher.diff(&set, &target, &mut ops).expect("short enough");
    assert_eq!(stats.copied_len, ops.target_len() - ops.literal_len());
    check(&bases, &target, &ops, &params);

    let finer = BlockLen::new(64 << (job.fine_log2 % 4)).expect("64 B to 512 B");
    let rules = GapRules { literal_len_min: u32::from(job.rules.0), reach: u32::from(job.rules.1) };
    let wanted = ops.wanted_cells(&lens(&bases), rules);
    let cells = wanted.iter().map(|(slot, ranges)| {
        let slot_index = usize::from(*slot);
        let level = params[slot_index].level(finer, params[slot_index].strong());
        let cells = Signature::compute_cells(bases[slot_index], ranges, level, &key).expect("ranges are in order");
        let whole = Signature::compute(bases[slot_index], level, &key).expect("short enough");
        assert_eq!(whole.cells(ranges).as_ref(), Ok(&cells));
        (*slot, cells)
    });
    let cells: Vec<(u8, Signature)> = cells.collect();
    let mut set = BasisSet::new();
    for (slot, cells) in &cells {
        set.push(*slot, cells).expect("each slot once");
    }
    let coarse = ops.clone();
    matcher.refine(&set, &target, &mut ops).expect("the same target");
    assert!(ops.literal_len() <= coarse.literal_len());
    for (before, after) in sources(&coarse).into_iter().zip(sources(&ops)) {
        assert!(before.is_none() || before == after);
    }
    check(&bases, &target, &ops, &params);

    let mut again = coarse;
    Matcher::new(&key).refine(&set, &target, &mut again).expect("the same target");
    assert_eq!(again, ops);
});

/// With 8 bytes of strong hash nothing matches by accident; with fewer, the length is right all the same.
fn check(bases: &[&[u8]], target: &[u8], ops: &OpList, params: &[delta_core::SignatureParams]) {
    let rebuilt = rebuilt(bases, target, ops);
    assert!(params.first().is_some_and(|params| params.strong().hash_len() < 8) || rebuilt == target);
}

/// For every byte of the target: where it is copied from.
fn sources(ops: &OpList) -> Vec<Option<(u8, u32)>> {
    let of_op = |op: &delta_core::Op| match *op {
        delta_core::Op::Copy { slot, offset, len } => (offset..offset + len).map(|at| Some((slot, at))).collect(),
        delta_core::Op::Literal { len } => vec![None; len as usize],
    };
    ops.ops().iter().flat_map(of_op).collect()
}
