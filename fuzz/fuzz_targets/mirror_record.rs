//! Any bytes as the record of a mirror, which anybody can write to: what is understood comes in the order of a walk, and is the
//! same after it is written again.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use server_bin::fuzzing;

#[derive(Arbitrary, Debug)]
struct Job {
    /// Lines that are right but for their paths.
    lines: Vec<Line>,
    /// What follows them.
    rest: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Line {
    kind: u8,
    size: u64,
    mtime: (i64, u32),
    content: u8,
    path: Vec<u8>,
}

/// In memory where there is such a thing.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = folder.join(format!("delta-backup-fuzz-{}-record", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    folder
});

fuzz_target!(|job: Job| {
    let mut bytes = b"delta-backup mirror 1\n".to_vec();
    for Line { kind, size, mtime: (secs, nanos), content, path } in job.lines {
        let letter = char::from(b"fdlpscb"[usize::from(kind % 7)]);
        let (content, metadata) = (format!("{content:02x}").repeat(32), "00".repeat(16));
        bytes.extend_from_slice(format!("{letter} {size} {secs} {nanos} {content} {metadata} ").as_bytes());
        bytes.extend_from_slice(&path);
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(&job.rest);
    fuzzing::record(&FOLDER, &bytes);
    fuzzing::record(&FOLDER, &job.rest);
});
