//! Hostile bytes: packs made of anything. Nothing panics, nothing hangs, and what is called sound is sound.

use std::path::Path;

use proptest::prelude::*;
use store::{PackFinding, PackScan};
use testkit::disk::SimDisk;

use crate::props::*;

/// A pack of two records, and where its parts are.
fn sample() -> Vec<u8> {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a"), chunk_of("b", 600)]);
    session.close(NOW).unwrap();
    world.disk.contents(&world.packs()[0])
}

/// Scans a file of these bytes: the lengths of what was found add up to the file.
fn check_scan(bytes: &[u8]) -> Option<usize> {
    let path = Path::new("/d/pack");
    let disk = SimDisk::new(Path::new("/d"));
    drop(store::disk::Disk::create_new(&disk, path).unwrap());
    disk.damage(path, |file| bytes.clone_into(file));
    let scan = PackScan::open(&disk, path).ok()?;
    let mut end = 64;
    let mut records = 0;
    for finding in scan {
        let (offset, len) = match finding.unwrap() {
            PackFinding::Record { offset, record } => {
                record.view().check_body().unwrap();
                records += 1;
                (u64::from(offset), 8 + record.bytes().len() as u64)
            }
            PackFinding::Other { offset, len } => (offset, len),
        };
        assert_eq!(offset, end, "findings follow each other");
        assert!(len > 0);
        end += len;
    }
    assert_eq!(end, bytes.len() as u64, "and cover the file");
    Some(records)
}

#[test]
fn the_sample_has_two_records() {
    assert_eq!(check_scan(&sample()), Some(2));
}

proptest! {
    #[test]
    fn any_bytes_behind_a_header(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut pack = sample()[..64].to_vec();
        pack.extend_from_slice(&bytes);
        prop_assert_eq!(check_scan(&pack), Some(0));
    }

    /// Pieces of a real pack in any order, with anything in between: markers and lengths appear where they should not.
    #[test]
    fn shuffled_pieces_of_a_pack(
        pieces in prop::collection::vec((any::<prop::sample::Index>(), 0..300usize, prop::collection::vec(any::<u8>(), 0..9)), 0..20),
    ) {
        let sample = sample();
        let mut pack = sample[..64].to_vec();
        for (from, len, noise) in &pieces {
            let from = from.index(sample.len());
            pack.extend_from_slice(&sample[from..(from + len).min(sample.len())]);
            pack.extend_from_slice(noise);
        }
        prop_assert!(check_scan(&pack).is_some());
    }

    /// A pack with anything done to it never keeps the store from opening, and its unharmed objects can be read.
    #[test]
    fn a_store_with_a_ruined_pack_opens(
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..100),
        truncated in any::<bool>(),
    ) {
        let world = World::new();
        let store = world.open();
        let mut session = world.begin(&store);
        back_up(&mut session, "1", 1);
        back_up(&mut session, "2", 2);
        session.close(NOW).unwrap();
        drop(store);
        let pack = world.packs()[0].clone();
        let at = at.index(world.disk.contents(&pack).len());
        world.disk.damage(&pack, |bytes| {
            if truncated {
                bytes.truncate(at);
            } else {
                let end = (at + noise.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&noise[..end - at]);
            }
        });
        let store = world.open();
        let read = ["a1", "b1", "root1", "snap1", "a2", "b2", "root2", "snap2"].map(|name| match store.read(VAULT, &id(name)) {
            Ok(object) => {
                assert_eq!(object.record.view().body(), body_of(name));
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), store::ErrorKind::Damaged);
                false
            }
        });
        // Four packs, two objects each.
        prop_assert!(read.iter().filter(|read| **read).count() >= 6);
    }
}
