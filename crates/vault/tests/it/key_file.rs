//! The key file: what is written is read, and every change is found.

use object::VaultId;
use proptest::prelude::*;
use vault::{KeyFile, KeyFileVault, KeySlot, Mode, SlotError, Unlock, VaultKey};

fn sample() -> KeyFile {
    let id = VaultId::from_bytes([7; 16]);
    let key = VaultKey::from_bytes([9; 32]);
    let slot = KeySlot::wrap(&key, id, &[3; 32], [5; 32]);
    KeyFile {
        vaults: vec![
            KeyFileVault {
                id,
                mode: Mode::Managed,
                account: "admin".into(),
                name: "my vault / ü%".into(),
                slots: vec![slot],
                key: None,
            },
            KeyFileVault {
                id: VaultId::from_bytes([8; 16]),
                mode: Mode::Sealed,
                account: "ada".into(),
                name: String::new(),
                slots: Vec::new(),
                key: Some(VaultKey::from_bytes([4; 32])),
            },
        ],
    }
}

#[test]
fn what_is_written_is_read() {
    let text = sample().to_text();
    let read = KeyFile::parse(&text).unwrap();
    assert_eq!(*read.to_text(), *text);
    assert_eq!(read.vaults[0].name, "my vault / ü%");
    assert_eq!(read.vaults[0].open(Some(Unlock::WrappingKey(&[3; 32]))).unwrap().expose(), &[9; 32]);
    assert_eq!(read.vaults[0].open(Some(Unlock::WrappingKey(&[2; 32]))).unwrap_err(), SlotError::WrongKey);
    assert_eq!(read.vaults[0].open(None).unwrap_err(), SlotError::OtherHolder);
    assert_eq!(read.vaults[1].open(None).unwrap().expose(), &[4; 32]);
    // An editor that ends lines its own way does no harm to the last one.
    assert!(KeyFile::parse(text.trim_end()).is_ok());
}

#[test]
fn every_changed_byte_and_every_cut_is_found() {
    let text = sample().to_text();
    let bytes = text.trim_end().as_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let Ok(changed) = String::from_utf8(changed) else { continue };
        assert!(KeyFile::parse(&changed).is_err(), "byte {at}");
        assert!(KeyFile::parse(&text[..at]).is_err(), "cut at {at}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(lines in prop::collection::vec("(vault|slot|key|end)? ?[0-9a-f% ü]{0,80}", 0..8)) {
        let text = format!("delta-backup key file 1\n{}", lines.join("\n"));
        let _ = KeyFile::parse(&text);
    }
}
