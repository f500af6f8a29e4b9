//! Any bytes as a delta, under any limits: refused, or the one encoding of ops that fit target, bases and limits.

#![no_main]

use delta_core::{BasisRange, Delta, Limits, Piece, copy_count_max};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    basis_lens: Vec<u32>,
    target_len_max: u16,
    basis_len_max: u32,
    basis_count_max: u8,
    bytes: Vec<u8>,
}

fuzz_target!(|job: Job| {
    let Job { basis_lens, target_len_max, basis_len_max, basis_count_max, bytes } = job;
    let target_len_max = u32::from(target_len_max);
    let limits = Limits { target_len_max, basis_len_max, basis_count_max, ..Limits::default() };
    let Ok(delta) = Delta::decode(&bytes, &basis_lens, &limits) else { return };

    assert!(delta.target_len() <= target_len_max);
    assert!(basis_lens.len() <= usize::from(basis_count_max) && basis_lens.iter().all(|&len| len <= basis_len_max));
    let mut target = Vec::new();
    let mut copy_count = 0;
    for piece in delta.pieces() {
        match piece {
            Piece::Literal(bytes) => {
                assert!(!bytes.is_empty());
                target.extend_from_slice(bytes);
            }
            Piece::Copy(BasisRange { slot, range }) => {
                assert!(!range.is_empty() && range.end <= basis_lens[usize::from(slot)]);
                target.resize(target.len() + range.len(), 0);
                copy_count += 1;
            }
        }
        assert!(target.len() <= delta.target_len() as usize);
    }
    assert_eq!(target.len(), delta.target_len() as usize);
    assert!(copy_count <= copy_count_max(delta.target_len()));

    let ops = delta.op_list();
    assert_eq!((ops.target_len(), ops.literal_len()), (delta.target_len(), delta.literal_len()));
    let mut again = Vec::new();
    ops.encode(&basis_lens, &target, &mut again).expect("they fit");
    assert_eq!(again, bytes);
});
