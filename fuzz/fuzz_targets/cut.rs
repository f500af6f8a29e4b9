//! Cuts of any file with any lengths: chunks within them that make the file, the same however its bytes arrive.

#![no_main]

use delta_core::{CutParams, Cutter};
use fuzz::{Content, Edit, edited};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    /// Shortest, and how much longer the intended and the longest are.
    lens: (u16, u16, u16),
    secret: u8,
    file: Content,
    edits: Vec<Edit>,
    piece_len: u16,
}

fuzz_target!(|job: Job| {
    let (min, to_avg, to_max) = job.lens;
    let [min, to_avg, to_max] = [min % 1024, to_avg % 2048, to_max % 8192].map(u32::from);
    let Ok(params) = CutParams::new(min, min + to_avg, min + to_avg + to_max) else { return };
    let cutter = Cutter::new(params, &[job.secret; 32]);
    let file = edited(job.file.bytes(), &job.edits);
    let chunks: Vec<&[u8]> = cutter.chunks(&file).collect();

    assert!(chunks.concat() == file);
    if let Some((last, others)) = chunks.split_last() {
        assert!(!last.is_empty() && last.len() <= params.max_len() as usize);
        assert!(others.iter().all(|chunk| (params.min_len()..=params.max_len()).contains(&(chunk.len() as u32))));
    }

    let max_len = params.max_len() as usize;
    let mut buffer: Vec<u8> = Vec::new();
    let mut expected = chunks.iter();
    for piece in file.chunks(usize::from(job.piece_len).max(1)) {
        buffer.extend_from_slice(piece);
        while buffer.len() >= max_len {
            let rest = buffer.split_off(cutter.cut(&buffer));
            assert!(Some(&&std::mem::replace(&mut buffer, rest)[..]) == expected.next());
        }
    }
    assert!(cutter.chunks(&buffer).eq(expected.copied()));
});
