//! Any delta on any bases: an error that leaves the output alone, or exactly the bytes its ops say, within the limit.

#![no_main]

use delta_core::{BasisRange, Delta, EncodeError, Limits, Op, OpList, Piece, apply};
use fuzz::{Content, lens};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    bases: Vec<Content>,
    other_bases: Vec<Content>,
    target_len_max: u16,
    source: Source,
}

#[derive(Arbitrary, Debug)]
enum Source {
    Bytes(Vec<u8>),
    /// Slot, offset and length of copies; literals where the slot is 5.
    Ops(Vec<(u8, u16, u16)>),
}

fuzz_target!(|job: Job| {
    let bases: Vec<Vec<u8>> = job.bases.iter().take(5).map(Content::bytes).collect();
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let bytes = match job.source {
        Source::Bytes(bytes) => bytes,
        Source::Ops(ops) => match encoded(&bases, &ops) {
            Some(bytes) => bytes,
            None => return,
        },
    };
    let basis_lens = lens(&bases);
    let limits = Limits { target_len_max: 1 << 20, ..Limits::default() };
    let Ok(delta) = Delta::decode(&bytes, &basis_lens, &limits) else { return };

    let mut expected = b"kept".to_vec();
    for piece in delta.pieces() {
        expected.extend_from_slice(match piece {
            Piece::Copy(BasisRange { slot, range }) => {
                &bases[usize::from(slot)][range.start as usize..range.end as usize]
            }
            Piece::Literal(bytes) => bytes,
        });
    }
    let target_len_max = usize::from(job.target_len_max);
    let mut out = b"kept".to_vec();
    match apply(&bases, &delta, target_len_max, &mut out) {
        Ok(()) => assert!(out == expected && delta.target_len() as usize <= target_len_max),
        Err(_) => assert!(out == b"kept" && delta.target_len() as usize > target_len_max),
    }

    let others: Vec<Vec<u8>> = job.other_bases.iter().take(5).map(Content::bytes).collect();
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let mut out = Vec::new();
    let is_applied = apply(&others, &delta, 1 << 20, &mut out).is_ok();
    assert_eq!(is_applied, lens(&others) == basis_lens);
    assert_eq!(out.len(), if is_applied { delta.target_len() as usize } else { 0 });
});

/// A delta of these ops, when they fit the bases; what it gives again are the ops.
fn encoded(bases: &[&[u8]], ops: &[(u8, u16, u16)]) -> Option<Vec<u8>> {
    let mut list = OpList::new();
    for &(slot, offset, len) in ops.iter().take(64) {
        list.push(match slot {
            5 => Op::Literal { len: u32::from(len) },
            slot => Op::Copy { slot, offset: u32::from(offset), len: u32::from(len) },
        });
    }
    let target = vec![b'.'; list.target_len() as usize];
    let mut bytes = Vec::new();
    match list.encode(&lens(bases), &target, &mut bytes) {
        Ok(()) => {}
        Err(EncodeError::CopyPastBasis { .. }) => return None,
        Err(error) => panic!("{error}"),
    }
    let limits = Limits { target_len_max: u32::MAX, ..Limits::default() };
    assert_eq!(Delta::decode(&bytes, &lens(bases), &limits).expect("just encoded").op_list(), list);
    Some(bytes)
}
