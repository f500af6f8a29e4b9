//! Records that hold what a device with the vault's key may have put there: any frame under any head. Refused, or exactly what
//! the ids promise, whether the whole record is opened or one of its members.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use fuzz::Content;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use object::{Kind, ObjectId};
use vault::{Compress, Keys, Opened, Opener, PlainObject, Sealer, VaultKey};

#[derive(Arbitrary, Debug)]
struct Job {
    members: Vec<Member>,
    frame: Frame,
    /// One delta instead of these members, of so many bytes and with so many bases.
    delta: Option<(u16, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Member {
    is_tree: bool,
    content: Content,
    /// Not the name of its content.
    is_misnamed: bool,
}

#[derive(Arbitrary, Debug)]
enum Frame {
    /// The content itself, not compressed.
    None,
    Bytes(Vec<u8>),
    /// A frame of what the members hold, changed and cut.
    Own {
        changes: Vec<(u16, u8)>,
        cut: Option<u16>,
    },
    /// A frame of something else.
    Other(Content),
}

/// Gives the frame that it was given.
struct Given(Frame);

impl Compress for Given {
    fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool {
        let compressed = |plain: &[u8]| zstd::bulk::compress(plain, 1).expect("there is memory");
        *frame = match &self.0 {
            Frame::None => return false,
            Frame::Bytes(bytes) => bytes.clone(),
            Frame::Own { changes, cut } => {
                let mut frame = compressed(plain);
                for (at, change) in changes {
                    let at = usize::from(*at) % frame.len();
                    frame[at] ^= change;
                }
                frame.truncate(cut.map_or(usize::MAX, usize::from));
                frame
            }
            Frame::Other(content) => compressed(&content.bytes()),
        };
        true
    }
}

fuzz_target!(|job: Job| {
    let Job { members, frame, delta } = job;
    let keys = Arc::new(Keys::new(&VaultKey::from_bytes([1; 32])));
    let mut sealer = Sealer::with_compressor(&keys, [7; 16], Box::new(Given(frame)));
    let name = |number: u8| ObjectId::from_bytes([number; 32]);
    let is_meta = members.first().is_some_and(|member| member.is_tree);
    let objects: Vec<PlainObject> = members
        .iter()
        .take(6)
        .map(|member| {
            let (kind, edges) = if is_meta { (Kind::Tree, vec![name(1)]) } else { (Kind::Data, Vec::new()) };
            let mut object = PlainObject::new(&keys, kind, edges, Bytes::from(member.content.bytes()));
            object.id = if member.is_misnamed { name(9) } else { object.id };
            object
        })
        .collect();
    let sealed = match delta {
        Some((target_len, bases)) => {
            let bases: Vec<ObjectId> = (0..bases % 10).map(name).collect();
            let encoded = members.first().map(|member| member.content.bytes()).unwrap_or_default();
            sealer.seal_delta(&name(99), usize::from(target_len), &bases, &encoded)
        }
        None => sealer.seal(&objects),
    };
    let Ok(record) = sealed else { return };
    let mut opener = Opener::new(Arc::clone(&keys));
    let opened = opener.open(record.view());
    if delta.is_some() {
        let Ok(Opened::Delta(opened)) = opened else { return };
        assert!(opened.id == name(99) && opened.encoded.len() <= opened.target_len + 4096);
        return;
    }
    assert_eq!(opener.check(record.view()).is_ok(), opened.is_ok());
    let whole = match opened {
        Ok(Opened::Objects(whole)) => Some(whole),
        Ok(Opened::Delta(_)) => panic!("nobody made a delta"),
        Err(_) => None,
    };
    for (index, object) in objects.iter().enumerate() {
        let member = opener.open_member(record.view(), index);
        if let Some(whole) = &whole {
            assert_eq!((&whole[index], member.as_ref().ok()), (object, Some(object)));
        } else if let Ok(member) = member {
            assert_eq!(member.id, keys.object_id(member.kind, &member.edges, &member.body));
        }
    }
});
