//! What a changed file costs on the wire, so that it cannot rot unnoticed: the cases of the design study, in bytes of
//! signature (both levels), ops and literals. The server holds the old chunks, the client nothing.

use std::collections::BTreeSet;

use delta_core::{
    BasisSet, BlockLen, CutParams, Cutter, GapRules, Limits, Matcher, OpList, Signature, SignatureParams, StrongKind,
};

use crate::support::{encoded, key, lens, random_bytes, rebuilt, u32_of};

const FILE_LEN: usize = 10 << 20;
const MIB: usize = 1 << 20;

/// Sends `new` to a side that holds `old`; returns the bytes of all signatures and deltas.
fn wire_bytes(old: &[u8], new: &[u8]) -> usize {
    let cutter = Cutter::new(CutParams::default(), &[1; 32]);
    let old_chunks = with_offsets(cutter.chunks(old));
    let new_chunks = with_offsets(cutter.chunks(new));
    let held: BTreeSet<&[u8]> = old_chunks.iter().map(|&(_, chunk)| chunk).collect();
    let wanted: BTreeSet<&[u8]> = new_chunks.iter().map(|&(_, chunk)| chunk).collect();
    let vanished: Vec<(usize, &[u8])> = old_chunks.into_iter().filter(|(_, chunk)| !wanted.contains(chunk)).collect();
    let bases: Vec<&[u8]> = vanished.iter().map(|&(_, chunk)| chunk).collect();
    let limits = Limits::default();
    let mut message = Vec::new();
    let mut sum = 0;

    let mut coarse = Vec::new();
    for &(offset, basis) in &vanished {
        let params = SignatureParams::on_page_grid(BlockLen::COARSE, StrongKind::COARSE, offset as u64);
        message.clear();
        Signature::compute(basis, params, &key()).unwrap().encode(&mut message);
        sum += message.len();
        coarse.push(Signature::decode(&message, params, u32_of(basis.len()), &limits).unwrap());
    }
    let coarse_set = set((0..).zip(&coarse));
    let mut matcher = Matcher::new(&key());
    for (_, target) in new_chunks.into_iter().filter(|(_, chunk)| !held.contains(chunk)) {
        let mut ops = OpList::new();
        matcher.diff(&coarse_set, target, &mut ops).unwrap();
        let mut cells = Vec::new();
        for (slot, ranges) in ops.wanted_cells(&lens(&bases), GapRules { literal_len_min: 512, reach: 512 }) {
            let params = coarse[usize::from(slot)].params().level(BlockLen::FINE, StrongKind::FINE);
            let basis = bases[usize::from(slot)];
            message.clear();
            Signature::compute_cells(basis, &ranges, params, &key()).unwrap().encode(&mut message);
            sum += message.len();
            let decoded = Signature::decode_cells(&message, &ranges, params, u32_of(basis.len()), &limits).unwrap();
            cells.push((slot, decoded));
        }
        matcher.refine(&set(cells.iter().map(|(slot, cells)| (*slot, cells))), target, &mut ops).unwrap();
        assert_eq!(rebuilt(&bases, target, &ops), target);
        sum += encoded(&bases, target, &ops).len();
    }
    sum
}

fn with_offsets<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<(usize, &'a [u8])> {
    let mut offset = 0;
    let with_offset = chunks.map(|chunk| {
        offset += chunk.len();
        (offset - chunk.len(), chunk)
    });
    with_offset.collect()
}

fn set<'a>(signatures: impl IntoIterator<Item = (u8, &'a Signature)>) -> BasisSet<'a> {
    let mut set = BasisSet::new();
    for (slot, signature) in signatures {
        set.push(slot, signature).unwrap();
    }
    set
}

#[track_caller]
fn check(bytes_max: usize, change: impl Fn(&mut Vec<u8>)) {
    let old = random_bytes(1, FILE_LEN);
    let mut new = old.clone();
    change(&mut new);
    let bytes = wire_bytes(&old, &new);
    assert!(bytes <= bytes_max, "{bytes} bytes instead of {bytes_max}");
}

#[test]
fn unchanged_costs_nothing() {
    check(0, |_| {});
}

#[test]
fn a_page_overwritten() {
    check(7_500, |file| file[5 * MIB..5 * MIB + 4096].copy_from_slice(&random_bytes(2, 4096)));
}

#[test]
fn a_byte_inserted_in_front() {
    check(3_000, |file| file.insert(0, 1));
}

#[test]
fn a_kilobyte_appended() {
    check(3_500, |file| file.extend_from_slice(&random_bytes(2, 1024)));
}

#[test]
fn two_regions_swapped() {
    check(18_000, |file| {
        let (front, back) = file.split_at_mut(6 * MIB);
        front[2 * MIB..3 * MIB].swap_with_slice(&mut back[..MIB]);
    });
}

#[test]
fn twenty_small_edits() {
    check(27_000, |file| {
        for i in 0..20 {
            let at = i * FILE_LEN / 20 + 12_345 * (i % 7);
            file[at..at + 100].copy_from_slice(&random_bytes(100 + i as u64, 100));
        }
    });
}

#[test]
fn twenty_small_insertions() {
    check(27_000, |file| {
        for i in 0..20 {
            let at = i * FILE_LEN / 20 + 12_345 * (i % 7);
            file.splice(at..at, random_bytes(100 + i as u64, 37));
        }
    });
}
