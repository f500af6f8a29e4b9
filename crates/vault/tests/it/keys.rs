//! Key slots and sealed names.

use object::VaultId;
use vault::{KeySlot, NameKey, PassphraseCost, SealedName, SlotError, Unlock, VaultKey};

use crate::store::keys;

const VAULT: VaultId = VaultId::from_bytes([3; 16]);

fn cheapest() -> PassphraseCost {
    PassphraseCost::new(64 * 1024, 3, 1).unwrap()
}

#[test]
fn a_slot_opens_for_its_holder_only() {
    let key = VaultKey::from_bytes([5; 32]);
    let slot = KeySlot::wrap(&key, VAULT, &[1; 32], [2; 32]);
    assert_eq!(slot.open(VAULT, Unlock::WrappingKey(&[1; 32])).unwrap().expose(), key.expose());
    assert_eq!(slot.open(VAULT, Unlock::WrappingKey(&[9; 32])).unwrap_err(), SlotError::WrongKey);
    let elsewhere = VaultId::from_bytes([4; 16]);
    assert_eq!(slot.open(elsewhere, Unlock::WrappingKey(&[1; 32])).unwrap_err(), SlotError::WrongKey);
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
