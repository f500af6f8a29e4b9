//! Bytes of every kind, edits of them, and the short ways through the API.

use delta_core::{
    BasisSet, BlockLen, Delta, ExactMatcher, HashKey, Limits, MatchStats, Matcher, Op, OpList, Signature,
    SignatureParams, StrongKind, apply,
};
use proptest::prelude::*;
use proptest::sample::Index;

pub(crate) fn key() -> HashKey {
    HashKey::from_secret(&[0x5a; 32])
}

pub(crate) fn u32_of(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

pub(crate) fn block_len(bytes: u32) -> BlockLen {
    BlockLen::new(bytes).unwrap()
}

pub(crate) fn params(block_bytes: u32, strong: StrongKind) -> SignatureParams {
    SignatureParams::new(block_len(block_bytes), strong, 0).unwrap()
}

/// Bytes that have no structure, the same for the same seed.
pub(crate) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Lines of words that repeat, as in sources and logs.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let choices = random_bytes(seed, len);
    let mut bytes = Vec::with_capacity(len + 16);
    for choice in choices.chunks(2) {
        let word = u32::from(choice[0]) * 2_654_435 + 17;
        bytes.extend_from_slice(format!("{word:x}").as_bytes());
        bytes.push(if choice.last() == Some(&0) { b'\n' } else { b' ' });
        if bytes.len() >= len {
            break;
        }
    }
    bytes.truncate(len);
    bytes
}

/// The Thue-Morse word over `a` and `b`: its pieces collide in every polynomial hash modulo a power of two.
pub(crate) fn thue_morse(len: usize) -> Vec<u8> {
    (0..len).map(|i| if i.count_ones() % 2 == 0 { b'a' } else { b'b' }).collect()
}

/// Bytes of one of the kinds that behave differently: random, text, runs of zeros between random bytes, periodic.
pub(crate) fn bytes(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..5u8, any::<u64>(), 0..=len_max).prop_map(|(kind, seed, len)| match kind {
        0 => random_bytes(seed, len),
        1 => text(seed, len),
        2 => vec![0; len],
        3 => {
            let mut bytes = random_bytes(seed, len);
            let run_len = 1 + usize::try_from(seed % 700).unwrap();
            bytes.chunks_mut(run_len).step_by(2).for_each(|run| run.fill(0));
            bytes
        }
        _ => {
            let period = random_bytes(seed, 1 + usize::try_from(seed % 200).unwrap());
            period.into_iter().cycle().take(len).collect()
        }
    })
}

/// One change of a file.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Move(Index, usize, Index),
    Duplicate(Index, usize, Index),
    Swap(Index, Index, usize),
    Truncate(Index),
}

pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = any::<Index>;
    let new_bytes = || (any::<u64>(), 1..300usize).prop_map(|(seed, len)| random_bytes(seed, len));
    let edit = prop_oneof![
        3 => (place(), new_bytes()).prop_map(|(at, new)| Edit::Overwrite(at, new)),
        3 => (place(), new_bytes()).prop_map(|(at, new)| Edit::Insert(at, new)),
        2 => (place(), 1..500usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        1 => (place(), 1..3000usize, place()).prop_map(|(at, len, to)| Edit::Move(at, len, to)),
        1 => (place(), 1..3000usize, place()).prop_map(|(at, len, to)| Edit::Duplicate(at, len, to)),
        1 => (place(), place(), 1..3000usize).prop_map(|(a, b, len)| Edit::Swap(a, b, len)),
        1 => place().prop_map(Edit::Truncate),
    ];
    proptest::collection::vec(edit, 0..6)
}

pub(crate) fn edited(basis: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut target = basis.to_vec();
    for edit in edits {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let cut = |at: usize, len: usize, bytes: &[u8]| at..(at + len).min(bytes.len());
        match edit {
            Edit::Overwrite(at, new) => {
                let at = place(at, &target);
                let range = cut(at, new.len(), &target);
                target.splice(range, new.iter().copied());
            }
            Edit::Insert(at, new) => {
                let at = place(at, &target);
                target.splice(at..at, new.iter().copied());
            }
            Edit::Delete(at, len) => {
                let range = cut(place(at, &target), *len, &target);
                target.drain(range);
            }
            Edit::Move(at, len, to) => {
                let range = cut(place(at, &target), *len, &target);
                let moved: Vec<u8> = target.drain(range).collect();
                let to = place(to, &target);
                target.splice(to..to, moved);
            }
            Edit::Duplicate(at, len, to) => {
                let range = cut(place(at, &target), *len, &target);
                let copied = target[range].to_vec();
                let to = place(to, &target);
                target.splice(to..to, copied);
            }
            Edit::Swap(a, b, len) => {
                let (a, b) = (place(a, &target), place(b, &target));
                let len = (*len).min(a.abs_diff(b)).min(target.len() - a.max(b));
                (0..len).for_each(|i| target.swap(a + i, b + i));
            }
            Edit::Truncate(at) => target.truncate(place(at, &target).max(target.len() / 2)),
        }
    }
    target
}

/// Parameters of all block lengths that suit small tests, all strong hashes, all phases.
pub(crate) fn any_params() -> impl Strategy<Value = SignatureParams> {
    let kinds = prop_oneof![Just(StrongKind::COARSE), Just(StrongKind::FINE), Just(StrongKind::SEALED)];
    (6..12u32, kinds, any::<u64>())
        .prop_map(|(log2, strong, offset)| SignatureParams::on_page_grid(block_len(1 << log2), strong, offset))
}

pub(crate) fn signature(basis: &[u8], params: SignatureParams) -> Signature {
    Signature::compute(basis, params, &key()).unwrap()
}

/// Matches `target` against the whole of `bases`, whose numbers are their slots.
pub(crate) fn diff_with_stats(bases: &[&[u8]], params: SignatureParams, target: &[u8]) -> (OpList, MatchStats) {
    let signatures: Vec<Signature> = bases.iter().map(|basis| signature(basis, params)).collect();
    let mut set = BasisSet::new();
    for (slot, signature) in (0..).zip(&signatures) {
        set.push(slot, signature).unwrap();
    }
    let mut ops = OpList::new();
    let stats = Matcher::new(&key()).diff(&set, target, &mut ops).unwrap();
    (ops, stats)
}

pub(crate) fn diff(bases: &[&[u8]], params: SignatureParams, target: &[u8]) -> OpList {
    diff_with_stats(bases, params, target).0
}

pub(crate) fn exact(bases: &[&[u8]], target: &[u8]) -> OpList {
    let mut ops = OpList::new();
    ExactMatcher::new().diff(bases, target, &mut ops).unwrap();
    ops
}

pub(crate) fn lens(bases: &[&[u8]]) -> Vec<u32> {
    bases.iter().map(|basis| u32_of(basis.len())).collect()
}

pub(crate) fn encoded(bases: &[&[u8]], target: &[u8], ops: &OpList) -> Vec<u8> {
    let mut bytes = Vec::new();
    ops.encode(&lens(bases), target, &mut bytes).unwrap();
    bytes
}

/// What the ops make of the bases, through the encoded form and back; checks on the way that the op list is as an
/// op list must be, that the encoding returns it, and that it is no longer than the target and a few bytes.
#[track_caller]
pub(crate) fn rebuilt(bases: &[&[u8]], target: &[u8], ops: &OpList) -> Vec<u8> {
    check_op_list(ops, target.len());
    let bytes = encoded(bases, target, ops);
    assert!(bytes.len() <= target.len() + 16, "{} bytes for {} of target", bytes.len(), target.len());
    let delta = Delta::decode(&bytes, &lens(bases), &Limits::default()).unwrap();
    assert_eq!(delta.op_list(), *ops);
    assert_eq!(delta.literal_len(), ops.literal_len());
    let mut out = b"before".to_vec();
    apply(bases, &delta, target.len(), &mut out).unwrap();
    out.split_off(6)
}

/// Every byte once, in order, nothing empty, nothing that one op could say.
#[track_caller]
pub(crate) fn check_op_list(ops: &OpList, target_len: usize) {
    assert_eq!(ops.ops().iter().map(|op| op.len() as usize).sum::<usize>(), target_len);
    assert!(ops.ops().iter().all(|op| !op.is_empty()));
    for pair in ops.ops().windows(2) {
        match (pair[0], pair[1]) {
            (Op::Literal { .. }, Op::Literal { .. }) => panic!("two literals in a row"),
            (Op::Copy { slot, offset, len }, Op::Copy { slot: next_slot, offset: next_offset, .. }) => {
                assert!(slot != next_slot || offset + len != next_offset, "a copy continues the one before it");
            }
            _ => {}
        }
    }
}

/// For every byte of the target: the slot and the offset it is copied from.
pub(crate) fn sources(ops: &OpList) -> Vec<Option<(u8, u32)>> {
    let mut sources = Vec::new();
    for &op in ops.ops() {
        match op {
            Op::Copy { slot, offset, len } => sources.extend((offset..offset + len).map(|offset| Some((slot, offset)))),
            Op::Literal { len } => sources.resize(sources.len() + len as usize, None),
        }
    }
    sources
}
