//! What happens in memory on the way from plaintext to record, and compressors with bugs: whoever opens the record finds out.
//! The server of a managed vault opens every record before it acknowledges one, and the client of a sealed vault each of its
//! own.

use bytes::Bytes;
use object::Kind;
use vault::{Compress, CompressionLevel, Opened, Opener, PlainObject, Sealer};

use crate::store::{keys, sealer};

/// What is wrong with a compressor.
#[derive(Clone, Copy, Debug)]
enum Bug {
    None,
    /// A bit of the frame flips after it was made.
    Flip {
        bit: usize,
    },
    /// The end is missing.
    Short,
    /// It compresses something else of the same length.
    OtherBytes,
    /// It gives the frame of the time before.
    Stale,
    /// It says that it compressed, and did not.
    Raw,
    /// It appends another frame.
    Twice,
}

struct Buggy {
    bug: Bug,
    before: Vec<u8>,
}

impl Compress for Buggy {
    fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool {
        let sound = zstd::bulk::compress(plain, 3).unwrap();
        *frame = match self.bug {
            Bug::OtherBytes => zstd::bulk::compress(&vec![7; plain.len()], 3).unwrap(),
            Bug::Stale => self.before.clone(),
            Bug::Raw => plain.to_vec(),
            Bug::Twice => [&sound[..], &sound].concat(),
            Bug::None | Bug::Flip { .. } | Bug::Short => sound.clone(),
        };
        match self.bug {
            Bug::Flip { bit } => frame[bit / 8] ^= 1 << (bit % 8),
            Bug::Short => frame.truncate(frame.len() - 1),
            _ => {}
        }
        self.before = sound;
        true
    }
}

/// Text that compresses to a third.
fn objects() -> [PlainObject; 2] {
    let keys = keys();
    let text = |from: u32| (from..from + 300).map(|number| format!("line {number}\n")).collect::<String>();
    [1, 1000].map(|from| PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(text(from))))
}

/// Seals `objects` with a bug; whether opening finds it. What opens all the same is what was sealed.
fn is_found(bug: Bug, objects: &[PlainObject]) -> bool {
    let mut sealer = Sealer::with_compressor(&keys(), [9; 16], Box::new(Buggy { bug, before: Vec::new() }));
    if let Bug::Stale = bug {
        drop(sealer.seal(&objects[..1]));
    }
    let record = sealer.seal(objects).unwrap();
    let mut opener = Opener::new(keys());
    let is_checked = opener.check(record.view()).is_ok();
    match opener.open(record.view()) {
        Ok(Opened::Objects(found)) => {
            assert!(is_checked && found == objects, "{bug:?}: something else came out");
            false
        }
        Ok(Opened::Delta(_)) => panic!("nobody sealed a delta"),
        Err(_) => {
            assert!(!is_checked, "{bug:?}: opened and checked differ");
            true
        }
    }
}

#[test]
fn compressors_with_bugs_are_found_out() {
    let objects = objects();
    assert!(!is_found(Bug::None, &objects));
    for bug in [Bug::Short, Bug::OtherBytes, Bug::Stale, Bug::Raw, Bug::Twice] {
        assert!(is_found(bug, &objects), "{bug:?}");
    }
}

/// Each bit in turn. Few mean nothing to zstd: with these, the very same comes out.
#[test]
fn every_bit_that_flips_between_compressing_and_sealing_is_found() {
    let objects = objects();
    let plain: Vec<u8> = objects.iter().flat_map(|object| object.body.to_vec()).collect();
    let bit_count = zstd::bulk::compress(&plain, 3).unwrap().len() * 8;
    let found = (0..bit_count).filter(|bit| is_found(Bug::Flip { bit: *bit }, &objects)).count();
    assert!(found * 10 >= bit_count * 9, "{found} of {bit_count}");
}

#[test]
fn every_bit_that_flips_between_naming_and_sealing_is_found() {
    let keys = keys();
    let object = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from_static(b"what was read and named"));
    for bit in 0..object.body.len() * 8 {
        let mut body = object.body.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        let record = sealer(&keys).seal(&[PlainObject { body: body.into(), ..object.clone() }]).unwrap();
        assert!(Opener::new(keys.clone()).check(record.view()).is_err(), "bit {bit}");
    }
    for bit in 0..256 {
        let mut id = *object.id.as_bytes();
        id[bit / 8] ^= 1 << (bit % 8);
        let id = object::ObjectId::from_bytes(id);
        let record = sealer(&keys).seal(&[PlainObject { id, ..object.clone() }]).unwrap();
        assert!(Opener::new(keys.clone()).check(record.view()).is_err(), "bit {bit} of the id");
    }
    let sound = Sealer::new(&keys, [3; 16], CompressionLevel::DEFAULT).seal(&[object]).unwrap();
    Opener::new(keys).check(sound.view()).unwrap();
}
