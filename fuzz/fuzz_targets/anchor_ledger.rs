//! Any bytes as the files beside the packs: refused, or the same after they are written again; a LEDGER in which anything is
//! wrong says so.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use store::disk::Disk;
use store::fuzzing;
use testkit::disk::SimDisk;

const HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 96;
const STORE: [u8; 16] = [0xab; 16];

#[derive(Arbitrary, Debug)]
struct Job {
    anchor: [u8; 64],
    /// Entries; the checksum of each is right where this says so.
    entries: Vec<([u8; 16], [u8; 32], u64, [u8; 16], u8, bool)>,
    /// What follows them.
    rest: Vec<u8>,
    /// Places in the whole, and what to change there.
    changes: Vec<(u16, u8)>,
}

fuzz_target!(|job: Job| {
    let mut anchor = job.anchor;
    fuzzing::anchor(&anchor);
    anchor[..12].copy_from_slice(b"DBANCHOR\x01\0\0\0");
    set_crc(&mut anchor);
    assert!(fuzzing::anchor(&anchor));

    let mut bytes = vec![0; HEADER_LEN];
    bytes[..12].copy_from_slice(b"DBLEDGER\x01\0\0\0");
    bytes[16..32].copy_from_slice(&STORE);
    set_crc(&mut bytes);
    let mut is_sound = job.rest.is_empty();
    for (vault, snapshot, generation, times, state, is_right) in &job.entries {
        let mut entry = [0; ENTRY_LEN];
        entry[..16].copy_from_slice(vault);
        entry[16..48].copy_from_slice(snapshot);
        entry[48..56].copy_from_slice(&generation.to_le_bytes());
        entry[56..72].copy_from_slice(times);
        entry[72] = *state;
        if *is_right {
            set_crc(&mut entry);
        }
        is_sound &= fuzzing::ledger_entry(&entry);
        bytes.extend_from_slice(&entry);
    }
    bytes.extend_from_slice(&job.rest);
    let (known, is_damaged) = read(&bytes);
    assert!(known <= job.entries.len() + job.rest.len() / ENTRY_LEN);
    assert!(is_damaged != is_sound || !job.rest.is_empty());
    for (at, change) in job.changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= change;
    }
    read(&bytes);
});

fn set_crc(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}

fn read(bytes: &[u8]) -> (usize, bool) {
    let root = Path::new("/");
    let disk = SimDisk::new(root);
    disk.create_dir(Path::new("/packs")).expect("the disk is empty");
    disk.create_new(Path::new("/packs/LEDGER")).expect("it is not there").append(bytes).expect("the disk has room");
    fuzzing::ledger(Arc::new(disk), root, STORE)
}
