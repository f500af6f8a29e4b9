//! Key slots and sealed names.

use object::VaultId;
use vault::{KeySlot, NameKey, PassphraseCost, SealedName, SlotError, Unlock, VaultKey};

use crate::store::keys;

const VAULT: VaultId = VaultId::from_bytes([3; 16]);

pub(crate) fn cheapest() -> PassphraseCost {
    PassphraseCost::new(64 * 1024, 3, 1).unwrap()
}

#[test]
fn a_slot_opens_for_its_holder_only() {
    let key = VaultKey::from_bytes([5; 32]);
    let slot = KeySlot::wrap(&key, VAULT, &[1; 32], [2; 32]);
    assert_eq!(slot.open(VAULT, Unlock::WrappingKey(&[1; 32])).unwrap().expose(), key.expose());
    assert_eq!(slot.open(VAULT, Unlock::WrappingKey(&[9; 32])).unwrap_err(), SlotError::WrongKey);
    let elsewhere = VaultId::from_bytes([4; 16]);
    assert_eq!(slot.open(elsewhere, Unlock::WrappingKey(&[1; 32])).unwrap_err(), SlotError::Altered);
    assert_eq!(slot.open(VAULT, Unlock::Passphrase(b"x")).unwrap_err(), SlotError::OtherHolder);
}

#[test]
fn a_passphrase_slot_opens_for_the_passphrase_only() {
    let key = VaultKey::from_bytes([5; 32]);
    let slot = KeySlot::wrap_passphrase(&key, VAULT, b"correct horse", cheapest(), [2; 32]).unwrap();
    assert_eq!(slot.open(VAULT, Unlock::Passphrase(b"correct horse")).unwrap().expose(), key.expose());
    assert_eq!(slot.open(VAULT, Unlock::Passphrase(b"correct hors")).unwrap_err(), SlotError::WrongKey);
    assert_eq!(slot.open(VAULT, Unlock::WrappingKey(&[1; 32])).unwrap_err(), SlotError::OtherHolder);
}

#[test]
fn every_changed_byte_of_a_slot_is_refused() {
    let slot = KeySlot::wrap(&VaultKey::from_bytes([5; 32]), VAULT, &[1; 32], [2; 32]);
    for at in 0..slot.as_bytes().len() {
        let mut bytes = slot.as_bytes().to_vec();
        bytes[at] ^= 1;
        assert!(KeySlot::from_bytes(bytes).open(VAULT, Unlock::WrappingKey(&[1; 32])).is_err(), "byte {at}");
    }
    for len in 0..slot.as_bytes().len() {
        let short = KeySlot::from_bytes(slot.as_bytes()[..len].to_vec());
        assert_eq!(short.open(VAULT, Unlock::WrappingKey(&[1; 32])).unwrap_err(), SlotError::Malformed);
    }
}

/// Each field damaged once, for a look at every byte would take the passphrase's work 126 times.
#[test]
fn damage_of_a_passphrase_slot_is_never_a_key() {
    let slot = KeySlot::wrap_passphrase(&VaultKey::from_bytes([5; 32]), VAULT, b"x", cheapest(), [2; 32]).unwrap();
    let check = |what: &str, at: usize, bits: u8, expected: SlotError| {
        let mut bytes = slot.as_bytes().to_vec();
        bytes[at] ^= bits;
        let opened = KeySlot::from_bytes(bytes).open(VAULT, Unlock::Passphrase(b"x"));
        assert_eq!(opened.unwrap_err(), expected, "{what}");
    };
    check("format", 0, 2, SlotError::Malformed);
    check("holder", 1, 3, SlotError::OtherHolder);
    check("holder", 1, 4, SlotError::Malformed);
    check("memory", 4, 0x01, SlotError::Cost);
    check("passes", 6, 0x07, SlotError::WrongKey);
    check("lanes", 10, 0x03, SlotError::WrongKey);
    check("salt", 14, 1, SlotError::WrongKey);
    check("commitment", 46, 1, SlotError::WrongKey);
    check("key", 78, 1, SlotError::Altered);
    check("tag", 125, 0x80, SlotError::Altered);
    let elsewhere = slot.open(VaultId::from_bytes([4; 16]), Unlock::Passphrase(b"x"));
    assert_eq!(elsewhere.unwrap_err(), SlotError::Altered, "another vault's slot");
}

#[test]
fn several_slots_open_the_same_key() {
    let key = VaultKey::from_bytes([5; 32]);
    let slot = |passphrase: &[u8], salt| KeySlot::wrap_passphrase(&key, VAULT, passphrase, cheapest(), salt).unwrap();
    let slots = [KeySlot::wrap(&key, VAULT, &[1; 32], [3; 32]), slot(b"old", [4; 32]), slot(b"new", [5; 32])];
    let open = |slots: &[KeySlot], passphrase| KeySlot::open_any(slots, VAULT, Unlock::Passphrase(passphrase));
    assert_eq!(open(&slots, b"old").unwrap().expose(), key.expose());
    assert_eq!(open(&slots, b"new").unwrap().expose(), key.expose());
    assert_eq!(KeySlot::open_any(&slots, VAULT, Unlock::WrappingKey(&[1; 32])).unwrap().expose(), key.expose());
    assert_eq!(open(&slots, b"other").unwrap_err(), SlotError::WrongKey);
    // The old passphrase is taken away by leaving its slot out.
    let changed = [slots[2].clone()];
    assert_eq!(open(&changed, b"old").unwrap_err(), SlotError::WrongKey);
    assert_eq!(open(&changed, b"new").unwrap().expose(), key.expose());
}

#[test]
fn the_most_telling_reason_is_given() {
    let key = VaultKey::from_bytes([5; 32]);
    let sound = KeySlot::wrap(&key, VAULT, &[1; 32], [2; 32]);
    let cut = KeySlot::from_bytes(sound.as_bytes()[1..].to_vec());
    let mut altered = sound.as_bytes().to_vec();
    altered[100] ^= 1;
    let altered = KeySlot::from_bytes(altered);
    let open = |slots: &[KeySlot], key| KeySlot::open_any(slots, VAULT, Unlock::WrappingKey(key)).unwrap_err();
    assert_eq!(open(&[], &[1; 32]), SlotError::NoSlot);
    assert_eq!(open(std::slice::from_ref(&cut), &[1; 32]), SlotError::Malformed);
    assert_eq!(open(&[sound.clone(), cut.clone()], &[9; 32]), SlotError::WrongKey);
    assert_eq!(open(&[altered.clone(), cut.clone()], &[1; 32]), SlotError::Altered);
    let opened = KeySlot::open_any(&[cut, altered, sound], VAULT, Unlock::WrappingKey(&[1; 32]));
    assert_eq!(opened.unwrap().expose(), key.expose(), "damage of one slot is not the loss of the others");
}

/// Changing these bytes is a new format of slots.
#[test]
fn golden_slots() {
    let key = VaultKey::from_bytes([5; 32]);
    let wrapped = KeySlot::wrap(&key, VAULT, &[1; 32], [2; 32]);
    let passphrase = KeySlot::wrap_passphrase(&key, VAULT, b"correct horse", cheapest(), [2; 32]).unwrap();
    assert_eq!(
        object::hex::encode(wrapped.as_bytes()),
        concat!(
            "01010000000000000000000000000202020202020202020202020202020202020202020202020202020202020202896799fd9344",
            "416867f4690d293c6227ceb8429ea1df8d6e30690586e203baa6e59ac341d05085694e1b07db67685c9d3604ef682aaca5a727b2",
            "7f444b05d43d841b8a042de119197d87359a28a4306b",
        )
    );
    assert_eq!(
        object::hex::encode(passphrase.as_bytes()),
        concat!(
            "010200000100030000000100000002020202020202020202020202020202020202020202020202020202020202023bb02ee9dc7b75",
            "c92bb1bb4072bca729f983598c24b577851057be4567a127f76a478fb7bf6d8dfc8582691377bcd8c4e73b5c9c7575c8a534290983",
            "d7338c7365851d53e2addbd2da8d35bc3687f584",
        )
    );
}

#[test]
fn a_remembered_signature_is_proved_by_its_vault_and_for_its_chunk() {
    let (ours, others) = (keys(), vault::Keys::new(&VaultKey::from_bytes([8; 32])));
    let (one, two) = (ours.chunk_id(b"one"), ours.chunk_id(b"two"));
    let tag = ours.signature_tag(&one, b"signature");
    assert_eq!(tag, ours.signature_tag(&one, b"signature"));
    assert_ne!(tag, ours.signature_tag(&two, b"signature"));
    assert_ne!(tag, ours.signature_tag(&one, b"signaturE"));
    assert_ne!(tag, others.signature_tag(&one, b"signature"));
}

#[test]
fn a_slot_that_asks_for_the_machine_is_refused() {
    let slot = KeySlot::wrap_passphrase(&VaultKey::from_bytes([5; 32]), VAULT, b"x", cheapest(), [2; 32]).unwrap();
    let mut bytes = slot.as_bytes().to_vec();
    bytes[2..6].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(KeySlot::from_bytes(bytes).open(VAULT, Unlock::Passphrase(b"x")).unwrap_err(), SlotError::Cost);
    assert_eq!(PassphraseCost::new(1024, 3, 1), None);
    assert_eq!(PassphraseCost::new(64 * 1024, 17, 1), None);
}

#[test]
fn names_are_found_and_read_in_their_folder_only() {
    let keys = keys();
    let name = b"r\xc3\xa9sum\xc3\xa9.pdf";
    assert_eq!(NameKey::new(&keys, 1, name), NameKey::new(&keys, 1, name));
    assert_ne!(NameKey::new(&keys, 1, name), NameKey::new(&keys, 2, name));
    let sealed = SealedName::seal(&keys, 1, name, [0; 12]);
    assert_eq!(sealed.open(&keys, 1).unwrap(), name);
    assert!(sealed.open(&keys, 2).is_err());
    assert!(!sealed.as_bytes().windows(4).any(|window| window == b"sum\xc3"));
    for at in 0..sealed.as_bytes().len() {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[at] ^= 0x10;
        assert!(SealedName::from_bytes(bytes).open(&keys, 1).is_err());
    }
}
