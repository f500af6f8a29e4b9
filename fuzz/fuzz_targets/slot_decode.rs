//! Any bytes, and any change of a real slot, as a key slot: it never opens, and never asks for work.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use object::VaultId;
use vault::{KeySlot, Unlock, VaultKey};

const WRAPPING_KEY: [u8; 32] = [1; 32];
const VAULT: VaultId = VaultId::from_bytes([2; 16]);

#[derive(Arbitrary, Debug)]
struct Job {
    bytes: Vec<u8>,
    /// Places in a real slot, and what to change there.
    changes: Vec<(u8, u8)>,
    other_vault: bool,
}

fuzz_target!(|job: Job| {
    assert!(KeySlot::from_bytes(job.bytes).open(VAULT, Unlock::WrappingKey(&WRAPPING_KEY)).is_err());

    let real = KeySlot::wrap(&VaultKey::from_bytes([3; 32]), VAULT, &WRAPPING_KEY, [4; 32]);
    let mut bytes = real.as_bytes().to_vec();
    for (at, change) in job.changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= change;
    }
    let is_real = bytes == real.as_bytes() && !job.other_vault;
    let vault = if job.other_vault { VaultId::from_bytes([5; 16]) } else { VAULT };
    let slot = KeySlot::from_bytes(bytes);
    assert!(slot.open(vault, Unlock::Passphrase(b"of another holder")).is_err() || slot.as_bytes()[1] == 2);
    assert_eq!(slot.open(vault, Unlock::WrappingKey(&WRAPPING_KEY)).is_ok(), is_real);
});
