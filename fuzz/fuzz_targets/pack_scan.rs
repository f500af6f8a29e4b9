//! Any bytes, and any change of a real pack, as a pack's file: every byte is accounted for, and what is listed can be told
//! from what cannot be read.

#![no_main]

use std::path::Path;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use store::disk::Disk;
use store::{PackContents, PackFinding, PackScan};
use testkit::disk::SimDisk;

const REAL: &[u8] =
    include_bytes!("../../crates/e2e/tests/golden/repository-v1/packs/b0/b06d7824d8811c1bc5b154e2bc6f2292.pack");
const HEADER_LEN: usize = 64;
const TRAILER_LEN: usize = 52;

#[derive(Arbitrary, Debug)]
struct Job {
    bytes: Vec<u8>,
    /// Places in a real pack, and what to change there.
    changes: Vec<(u16, u8)>,
    /// Bytes put in somewhere.
    inserted: (u16, Vec<u8>),
    /// Where it ends, if not where it did.
    cut: Option<u16>,
    /// The checksums of header and trailer are right again.
    with_checksums: bool,
}

fuzz_target!(|job: Job| {
    check(&job.bytes);
    let mut bytes = REAL.to_vec();
    for (at, change) in job.changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= change;
    }
    let (at, inserted) = job.inserted;
    let at = usize::from(at) % bytes.len();
    bytes.splice(at..at, inserted);
    bytes.truncate(job.cut.map_or(usize::MAX, usize::from));
    if job.with_checksums && bytes.len() >= HEADER_LEN + TRAILER_LEN {
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        let trailer = bytes.len() - TRAILER_LEN;
        let hash = blake3::hash(&bytes[..trailer + 8]);
        bytes[trailer + 8..trailer + 40].copy_from_slice(hash.as_bytes());
        let crc = crc32c::crc32c(&bytes[trailer..trailer + 40]);
        bytes[trailer + 40..trailer + 44].copy_from_slice(&crc.to_le_bytes());
    }
    check(&bytes);
});

fn check(bytes: &[u8]) {
    let path = Path::new("/pack");
    let disk = SimDisk::new(Path::new("/"));
    disk.create_new(path).expect("the disk is empty").append(bytes).expect("the disk has room");
    if let Ok(scan) = PackScan::open(&disk, path) {
        let mut at = HEADER_LEN as u64;
        for finding in scan {
            match finding.expect("the disk can read") {
                PackFinding::Record { offset, record } => {
                    assert_eq!(u64::from(offset), at);
                    at += 8 + record.bytes().len() as u64;
                }
                PackFinding::Other { offset, len } => {
                    assert!(offset == at && len > 0);
                    at += len;
                }
            }
        }
        assert_eq!(at, bytes.len() as u64);
    }
    let Ok(contents) = PackContents::open(&disk, path) else { return };
    let again = PackContents::open(&disk, path).expect("it was opened before");
    for object in contents.objects() {
        let Ok(record) = again.record(object.offset, object.len) else { continue };
        let record = record.view();
        let member = record.head().members().find(|member| member.id == object.id).expect("it is listed there");
        assert_eq!((member.kind, record.head().codec().is_delta()), (object.kind, object.is_delta));
    }
}
