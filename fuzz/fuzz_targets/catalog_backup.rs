//! Any bytes as a backup of the catalog: refused; and backups that were changed, cut off or continued: refused, or what was
//! backed up when nothing was changed after all.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use server_bin::fuzzing;

const FRAME_LEN: usize = 1 << 20;

#[derive(Arbitrary, Debug)]
struct Job {
    bytes: Vec<u8>,
    created_ms: u64,
    generation: u64,
    /// How much more than this the catalog has, in whole frames and bytes.
    frames: u8,
    plain: Vec<u8>,
    /// Places in the backup, and what to change there.
    changes: Vec<(u32, u8)>,
    kept_len: Option<u32>,
    rest: Vec<u8>,
}

fuzz_target!(|job: Job| {
    assert!(fuzzing::opened(&job.bytes).is_err());

    let mut plain = vec![7; usize::from(job.frames % 3) * FRAME_LEN];
    plain.extend_from_slice(&job.plain);
    let sealed = fuzzing::sealed(job.created_ms, job.generation, &plain);
    let mut changed = sealed.clone();
    for (at, change) in job.changes {
        let at = at as usize % changed.len();
        changed[at] ^= change;
    }
    if let Some(len) = job.kept_len {
        changed.truncate(len as usize % (sealed.len() + 1));
    }
    changed.extend_from_slice(&job.rest);
    match fuzzing::opened(&changed) {
        Ok(opened) => assert!(changed == sealed && opened == plain),
        Err(_) => assert!(changed != sealed),
    }
});
