//! Bytes from anyone: refused with the right word, never a panic, and accepted in one form only.

use delta_core::{
    ApplyError, BasisSet, BasisSetError, BlockLen, Delta, DeltaError, LEN_MAX, Limits, Matcher, OpList, Signature,
    SignatureError, SignatureParams, StrongKind, apply,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{
    any_params, bytes, diff, edited, edits, encoded, key, lens, params, random_bytes, signature, u32_of,
};

/// What happens to a message on its way.
#[derive(Clone, Debug)]
enum Damage {
    Change(Index, u8),
    Remove(Index, usize),
    Add(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), 1..=255u8).prop_map(|(at, bits)| Damage::Change(at, bits)),
        (any::<Index>(), 1..4usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, new)| Damage::Add(at, new)),
    ]
}

fn damaged(bytes: &[u8], damage: &Damage) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    match damage {
        Damage::Change(at, bits) => damaged[at.index(bytes.len())] ^= bits,
        Damage::Remove(at, count) => {
            let at = at.index(bytes.len());
            damaged.drain(at..(at + count).min(bytes.len()));
        }
        Damage::Add(at, new) => {
            let at = at.index(bytes.len());
            damaged.splice(at..at, new.iter().copied());
        }
    }
    damaged
}

/// What is accepted is what would be written: re-encoding gives the same bytes, and applying gives the length.
fn check_delta(bytes: &[u8], bases: &[&[u8]]) {
    let Ok(delta) = Delta::decode(bytes, &lens(bases), &Limits::default()) else {
        return;
    };
    let mut target = Vec::new();
    apply(bases, &delta, 4 << 20, &mut target).unwrap();
    assert_eq!(target.len(), delta.target_len() as usize);
    assert_eq!(encoded(bases, &target, &delta.op_list()), bytes);
}

proptest! {
    #[test]
    fn any_bytes_as_a_delta(bytes in proptest::collection::vec(any::<u8>(), 0..200), basis_lens in proptest::collection::vec(0..300usize, 0..5)) {
        let bases: Vec<Vec<u8>> = basis_lens.into_iter().map(|len| random_bytes(1, len)).collect();
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        check_delta(&bytes, &bases);
        let mut with_version = vec![1];
        with_version.extend_from_slice(&bytes);
        check_delta(&with_version, &bases);
    }

    #[test]
    fn damaged_delta(basis in bytes(5_000), edits in edits(), damage in damage()) {
        let target = edited(&basis, &edits);
        let bases = [&basis[..], b"another basis", b""];
        let ops = diff(&bases, params(64, StrongKind::COARSE), &target);
        let bytes = encoded(&bases, &target, &ops);
        check_delta(&bytes, &bases);
        check_delta(&damaged(&bytes, &damage), &bases);
    }

    #[test]
    fn damaged_signature(basis in bytes(5_000), params in any_params(), damage in damage()) {
        let mut bytes = Vec::new();
        signature(&basis, params).encode(&mut bytes);
        let bytes = damaged(&bytes, &damage);
        if let Ok(decoded) = Signature::decode(&bytes, params, u32_of(basis.len()), &Limits::default()) {
            let mut encoded = Vec::new();
            decoded.encode(&mut encoded);
            prop_assert_eq!(encoded, bytes);
        }
    }

    /// A peer that answers with hashes of its own choice gets a target that is wrong, but of the right length.
    #[test]
    fn any_hashes_as_a_signature(
        basis_len in 0..5_000u32,
        seed in any::<u64>(),
        spread in 1..5u32,
        target in bytes(5_000),
        params in any_params(),
    ) {
        let honest = signature(&vec![0; basis_len as usize], params);
        let mut bytes = Vec::new();
        honest.encode(&mut bytes);
        let hashes_start = bytes.len() - honest.block_count() as usize * (4 + params.strong().hash_len());
        let noise = random_bytes(seed, bytes.len());
        for (byte, noise) in bytes[hashes_start..].iter_mut().zip(noise) {
            *byte = if noise % 4 < u8::try_from(spread).unwrap() { noise % 2 } else { *byte };
        }
        let hostile = Signature::decode(&bytes, params, basis_len, &Limits::default()).unwrap();
        let mut set = BasisSet::new();
        set.push(0, &hostile).unwrap();
        let mut ops = OpList::new();
        Matcher::new(&key()).diff(&set, &target, &mut ops).unwrap();
        let basis = vec![1; basis_len as usize];
        prop_assert_eq!(crate::support::rebuilt(&[&basis], &target, &ops).len(), target.len());
    }
}

#[track_caller]
fn check_refused(bytes: &[u8], expected: DeltaError) {
    assert_eq!(Delta::decode(bytes, &[100, 50], &Limits::default()).map(|delta| delta.op_list()), Err(expected));
}

#[test]
fn delta_refusals() {
    // version, target_len, copy_count, literal lens, copy lens, jumps, literals
    let good = [1, 30, 2, 3, 0, 10, 10, 0, 2, b'a', b'b', b'c', b'd', b'e', b'f', b'g', b'h', b'i', b'j'];
    assert!(Delta::decode(&good, &[100, 50], &Limits::default()).is_ok());

    check_refused(&[], DeltaError::BadNumber { at: 0 });
    check_refused(&[2, 0, 0], DeltaError::UnknownVersion { version: 2 });
    check_refused(&[1, 0x80, 0, 0], DeltaError::BadNumber { at: 1 });
    check_refused(&[1, 30, 2, 3, 0, 10, 10, 0], DeltaError::BadNumber { at: 8 });
    let too_long = [1, 0x81, 0x80, 0x80, 2, 0];
    check_refused(&too_long, DeltaError::TargetTooLong { target_len: (4 << 20) + 1, target_len_max: 4 << 20 });
    let bomb = [1, 4, 0xff, 0xff, 0xff, 0xff, 0x0f];
    check_refused(&bomb, DeltaError::TooManyCopies { copy_count: u32::MAX.into(), copy_count_max: 65 });
    check_refused(&[1, 9, 1, 0, 10, 0], DeltaError::PastTarget { copy_index: 0, target_len: 9 });
    check_refused(&[1, 9, 1, 10, 1, 0], DeltaError::PastTarget { copy_index: 0, target_len: 9 });
    check_refused(&[1, 9, 1, 0, 0, 0], DeltaError::NotCanonical { copy_index: 0 });
    check_refused(&[1, 9, 2, 0, 0, 4, 5, 0, 0], DeltaError::NotCanonical { copy_index: 1 });
    check_refused(&[1, 9, 1, 0, 9, 1], DeltaError::CopyPastBasis { copy_index: 0 });
    // From byte 95 of basis 0 into basis 1, and past the end of basis 1.
    check_refused(&[1, 10, 1, 0, 10, 0xbe, 1], DeltaError::CopyPastBasis { copy_index: 0 });
    check_refused(&[1, 10, 1, 0, 10, 0xac, 2], DeltaError::CopyPastBasis { copy_index: 0 });
    let jump_max = [1, 10, 1, 0, 10, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    check_refused(&jump_max, DeltaError::CopyPastBasis { copy_index: 0 });
    check_refused(&[1, 10, 1, 2, 5, 0, 7, 7, 7, 7], DeltaError::LiteralLen { found: 4, expected: 5 });
    check_refused(&[1, 10, 1, 2, 5, 0, 7, 7, 7, 7, 7, 7], DeltaError::LiteralLen { found: 6, expected: 5 });
}

#[test]
fn copies_that_meet_at_the_edge_of_two_bases_stay_apart() {
    let bytes = [1, 10, 2, 0, 0, 5, 5, 0xbe, 1, 0];
    let delta = Delta::decode(&bytes, &[100, 50], &Limits::default()).unwrap();
    assert_eq!(delta.op_list().copied_lens(), [5, 5]);
}

#[test]
fn delta_against_bases_beyond_the_limits() {
    let limits = Limits { basis_count_max: 2, basis_len_max: 100, ..Limits::default() };
    let decode = |basis_lens: &[u32]| Delta::decode(&[1, 0, 0], basis_lens, &limits).map(|delta| delta.target_len());
    assert_eq!(decode(&[100, 100]), Ok(0));
    assert_eq!(decode(&[1, 1, 1]), Err(DeltaError::TooManyBases { basis_count: 3, basis_count_max: 2 }));
    assert_eq!(decode(&[1, 101]), Err(DeltaError::BasisTooLong { slot: 1, basis_len: 101, basis_len_max: 100 }));
    let limits = Limits { basis_len_max: u32::MAX, target_len_max: u32::MAX, ..Limits::default() };
    let too_long = DeltaError::BasisTooLong { slot: 0, basis_len: u32::MAX, basis_len_max: LEN_MAX };
    assert_eq!(Delta::decode(&[1, 0, 0], &[u32::MAX], &limits).map(|delta| delta.target_len()), Err(too_long));
}

#[test]
fn apply_refuses_other_bases() {
    let delta = Delta::decode(&[1, 10, 1, 0, 10, 0], &[100], &Limits::default()).unwrap();
    let mut out = b"kept".to_vec();
    let mut apply = |bases: &[&[u8]], target_len_max| apply(bases, &delta, target_len_max, &mut out);
    assert_eq!(apply(&[], 100), Err(ApplyError::BasisCount { found: 0, expected: 1 }));
    assert_eq!(apply(&[&[0; 99]], 100), Err(ApplyError::BasisLen { slot: 0, found: 99, expected: 100 }));
    assert_eq!(apply(&[&[0; 100]], 9), Err(ApplyError::TargetTooLong { target_len: 10, target_len_max: 9 }));
    assert_eq!(out, b"kept");
}

#[test]
fn signature_refusals() {
    let params = params(512, StrongKind::COARSE);
    let mut bytes = Vec::new();
    signature(&[7; 1000], params).encode(&mut bytes);
    let limits = Limits::default();
    let decode = |bytes: &[u8], params, basis_len, limits: &Limits| {
        Signature::decode(bytes, params, basis_len, limits).map(|signature| signature.block_count())
    };
    assert_eq!(decode(&bytes, params, 1000, &limits), Ok(2));
    assert_eq!(decode(&[2], params, 1000, &limits), Err(SignatureError::UnknownVersion { version: 2 }));
    assert_eq!(decode(&[], params, 1000, &limits), Err(SignatureError::OtherParams));
    assert_eq!(decode(&bytes, params, 1001, &limits), Err(SignatureError::OtherParams));
    assert_eq!(
        decode(&bytes, params.level(BlockLen::FINE, StrongKind::FINE), 1000, &limits),
        Err(SignatureError::OtherParams)
    );
    let shifted = SignatureParams::new(BlockLen::FINE, StrongKind::COARSE, 1).unwrap();
    assert_eq!(decode(&bytes, shifted, 1000, &limits), Err(SignatureError::OtherParams));
    let wrong_len = Err(SignatureError::WrongLen { found: bytes.len() - 1, expected: bytes.len() });
    assert_eq!(decode(&bytes[..bytes.len() - 1], params, 1000, &limits), wrong_len);
    let few_blocks = Limits { block_count_max: 1, ..limits };
    let too_many = Err(SignatureError::TooManyBlocks { block_count: 2, block_count_max: 1 });
    assert_eq!(decode(&bytes, params, 1000, &few_blocks), too_many);
    let short_bases = Limits { basis_len_max: 999, ..limits };
    let too_long = Err(SignatureError::BasisTooLong { basis_len: 1000, basis_len_max: 999 });
    assert_eq!(decode(&bytes, params, 1000, &short_bases), too_long);
}

#[test]
fn cell_ranges_must_be_in_order_and_in_the_basis() {
    let params = params(64, StrongKind::FINE);
    let whole = signature(&[7; 1000], params);
    let bad = |range_index| Err(SignatureError::BadRange { range_index, basis_len: 1000 });
    for (ranges, refused) in [(vec![0..1001], 0), (vec![5..5], 0), (vec![0..10, 9..20], 1), (vec![50..60, 0..10], 1)] {
        assert_eq!(whole.cells(&ranges), bad(refused));
        assert_eq!(Signature::compute_cells(&[7; 1000], &ranges, params, &key()), bad(refused));
        assert_eq!(Signature::decode_cells(&[], &ranges, params, 1000, &Limits::default()), bad(refused));
    }
}

#[test]
fn basis_set_refusals() {
    let coarse = signature(&[1; 100], params(512, StrongKind::COARSE));
    let fine = signature(&[1; 100], params(512, StrongKind::FINE));
    let big = signature(&vec![0; 64 * 100_000], params(64, StrongKind::COARSE));
    let mut set = BasisSet::new();
    assert_eq!(set.push(1, &coarse), Ok(()));
    assert_eq!(set.push(1, &coarse), Err(BasisSetError::SlotTaken { slot: 1 }));
    assert_eq!(set.push(2, &fine), Err(BasisSetError::OtherParams { slot: 2 }));
    for slot in 2..=36 {
        assert_eq!(set.push(slot, &coarse), Ok(()));
    }
    assert_eq!(set.push(37, &coarse), Err(BasisSetError::TooManyBases));
    let mut set = BasisSet::new();
    assert_eq!(set.push(0, &big), Ok(()));
    assert_eq!(set.push(1, &big), Err(BasisSetError::TooManyBlocks { block_count: 200_000 }));
    assert_eq!(set.block_count(), 100_000);
}
