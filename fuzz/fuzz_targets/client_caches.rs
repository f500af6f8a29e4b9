//! Any bytes as the client's caches, which anything may have damaged: read as far as they are sound, and nothing is asked of
//! the machine that the bytes are not there for.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use client::fuzzing;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Job {
    /// The root of a stat cache, with or without its magic and checksum.
    Root {
        bytes: [u8; 104],
        is_right: bool,
    },
    Directory(Vec<u8>),
    Entries(Vec<u8>),
    /// A whole stat cache: its records, and which is the directory `/`.
    Cache {
        records: Vec<Vec<u8>>,
        root: u8,
    },
    /// A file of the signature cache, behind its magic where this says so.
    Signatures {
        bytes: Vec<u8>,
        is_right: bool,
    },
}

/// Entries that are read of a cache whose directories are in each other.
const ENTRIES_MAX: usize = 10_000;

static PATH: LazyLock<PathBuf> = LazyLock::new(|| in_memory("signatures"));
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| in_memory("stat"));

/// A path of this process's own, in memory where there is such a thing.
fn in_memory(name: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("delta-backup-fuzz-{}-{name}", std::process::id()))
}

fuzz_target!(|job: Job| {
    match job {
        Job::Root { mut bytes, is_right } => {
            if is_right {
                bytes[..8].copy_from_slice(b"DBSTAT\0\x01");
                let crc = crc32c::crc32c(&bytes[..100]);
                bytes[100..].copy_from_slice(&crc.to_le_bytes());
            }
            assert!(fuzzing::root(&bytes) || !is_right);
        }
        Job::Directory(bytes) => drop(fuzzing::directory(&bytes)),
        Job::Entries(bytes) => {
            let count = fuzzing::entries(&bytes);
            assert!(count <= bytes.len());
        }
        Job::Cache { records, root } => {
            std::fs::create_dir_all(&*FOLDER).expect("there is room");
            let count = fuzzing::cache(&FOLDER, &records, root.into(), ENTRIES_MAX);
            assert!(count <= ENTRIES_MAX);
        }
        Job::Signatures { mut bytes, is_right } => {
            if is_right {
                bytes.splice(0..0, *b"DBSIGS\0\x02");
            }
            std::fs::write(&*PATH, &bytes).expect("there is room");
            let _ = fuzzing::signatures(&PATH);
        }
    }
});
