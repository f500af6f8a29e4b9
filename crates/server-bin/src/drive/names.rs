//! How the catalog holds names: sealed, and found by a keyed hash that covers the folder too.
//!
//! What stands for a folder in both is its *salt*: eight bytes of the nonce its own name was sealed with, known before the
//! folder has a number, different for every folder, the same for as long as it exists. Nonces are not drawn but derived
//! from the change's idempotency key, so that a change that is asked for twice looks the same twice; the seal
//! (AES-GCM-SIV) bears a nonce that comes again.

use proto::{DriveName, IdempotencyKey};
use vault::Keys;

/// The root has no name and no nonce.
pub(super) const ROOT_SALT: i64 = 0;
pub(super) const NONCE_LEN: usize = 12;

/// What stands for a folder in the hashes and seals of the names in it.
pub(crate) fn salt(sealed_name: &[u8]) -> i64 {
    sealed_name.first_chunk().map_or(ROOT_SALT, |bytes| i64::from_le_bytes(*bytes))
}

pub(super) fn name_key(keys: &Keys, folder_salt: i64, name: &DriveName) -> store::NameKey {
    let key = vault::NameKey::new(keys, folder_salt, name.as_bytes());
    store::NameKey::from_bytes(*key.as_bytes().first_chunk().expect("the hash is longer"))
}

/// A nonce that is the same whenever the same change is asked for; nobody without the vault's key can tell what it is of.
pub(super) fn nonce(keys: &Keys, salt: i64, purpose: &[u8], change: IdempotencyKey, of: &[u8]) -> [u8; NONCE_LEN] {
    let hash = vault::NameKey::new(keys, salt, &[purpose, change.as_bytes(), of].concat());
    *hash.as_bytes().first_chunk().expect("the hash is longer")
}
