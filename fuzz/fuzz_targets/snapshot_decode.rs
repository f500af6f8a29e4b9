//! Any bytes as a snapshot: refused, or one that is read as written.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use object::{Kind, ObjectId};
use vault::{Keys, PlainObject, Snapshot, VaultKey};

fuzz_target!(|input: &[u8]| {
    let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
    let tree = ObjectId::from_bytes([2; 32]);
    let object = PlainObject::new(&keys, Kind::Snapshot, vec![tree], Bytes::copy_from_slice(input));
    let Ok(snapshot) = Snapshot::decode(&object) else { return };
    assert_eq!(snapshot.tree, tree);
    assert_eq!(Snapshot::decode(&snapshot.encode(&keys)), Ok(snapshot));
});
