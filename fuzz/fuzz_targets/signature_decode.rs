//! Any bytes as a signature: refused, or the one encoding of what was read; and any hashes keep the matcher in bounds.

#![no_main]

use std::ops::Range;

use delta_core::{BasisSet, Limits, Matcher, OpList, Signature};
use fuzz::{Content, Params, key, rebuilt};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    params: Params,
    basis_len: u32,
    /// Distances between the edges of ranges, when the signature is of cells.
    steps: Option<Vec<u16>>,
    basis_len_max: u32,
    block_count_max: u16,
    target: Content,
    /// Before these stands the right header, or not.
    with_header: bool,
    bytes: Vec<u8>,
}

impl Job {
    fn ranges(&self) -> Option<Vec<Range<u32>>> {
        let steps = self.steps.as_ref()?;
        let edges = steps.iter().scan(0u32, |at, step| {
            *at += u32::from(*step);
            Some(*at)
        });
        let edges: Vec<u32> = edges.collect();
        Some(edges.chunks_exact(2).map(|edge| edge[0]..edge[1]).collect())
    }

    fn decode(&self, bytes: &[u8], limits: &Limits) -> Option<Signature> {
        let params = self.params.signature_params();
        match self.ranges() {
            None => Signature::decode(bytes, params, self.basis_len, limits).ok(),
            Some(ranges) => Signature::decode_cells(bytes, &ranges, params, self.basis_len, limits).ok(),
        }
    }
}

fuzz_target!(|job: Job| {
    let params = job.params.signature_params();
    let limits = Limits {
        basis_len_max: job.basis_len_max,
        block_count_max: u32::from(job.block_count_max),
        ..Limits::default()
    };
    let mut bytes = Vec::new();
    if job.with_header && job.basis_len <= 1 << 20 {
        // Without a range there are no hashes, so this is the header.
        let nothing = Signature::compute_cells(&vec![0; job.basis_len as usize], &[], params, &key());
        nothing.expect("no range is wrong").encode(&mut bytes);
    }
    bytes.extend_from_slice(&job.bytes);
    let Some(signature) = job.decode(&bytes, &limits) else { return };

    assert_eq!(signature.params(), params);
    assert_eq!(signature.basis_len(), job.basis_len);
    assert!(signature.basis_len() <= limits.basis_len_max && signature.block_count() <= limits.block_count_max);
    let mut again = Vec::new();
    signature.encode(&mut again);
    assert_eq!(again, bytes);
    assert_eq!(signature.encoded_len(), bytes.len());
    if signature.is_whole() && job.basis_len > 0 {
        assert_eq!(signature.cells(&[0..job.basis_len]).as_ref(), Ok(&signature));
    }

    let target = job.target.bytes();
    let mut set = BasisSet::new();
    set.push(0, &signature).expect("within limits");
    let mut ops = OpList::new();
    Matcher::new(&key()).diff(&set, &target, &mut ops).expect("short enough");
    if job.basis_len <= 1 << 20 {
        rebuilt(&[&vec![0; job.basis_len as usize]], &target, &ops);
    }
});
