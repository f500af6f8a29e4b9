//! Names in a drive: the catalog holds them sealed ([`SealedName`]) and finds them by a keyed hash ([`NameKey`]).
//!
//! Whoever steals the catalog without the vault's key learns how many names a folder has and how long they are, and not
//! which names stand in two folders: the hash covers the folder too.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};

use crate::keys::Keys;

const NONCE_LEN: usize = 12;

/// Stands for a name in one folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey([u8; 32]);

/// A name only the vault's key can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedName(Vec<u8>);

/// The name was altered, moved to another folder, or belongs to another vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed name was altered or belongs elsewhere")]
pub struct NameError;

impl NameKey {
    /// The key of `name` in the folder with number `folder`.
    #[must_use]
    pub fn new(keys: &Keys, folder: i64, name: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(keys.name_key());
        hasher.update(&folder.to_le_bytes());
        hasher.update(name);
        Self(*hasher.finalize().as_bytes())
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SealedName {
    /// Seals `name` for its place. A `nonce` that comes again shows whether two names are equal, and no more
    /// (AES-GCM-SIV, RFC 8452).
    #[must_use]
    pub fn seal(keys: &Keys, folder: i64, name: &[u8], nonce: [u8; NONCE_LEN]) -> Self {
        let mut sealed = Vec::with_capacity(NONCE_LEN + name.len() + MAX_TAG_LEN);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(name);
        let tag = cipher(keys)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(folder.to_le_bytes()),
                &mut sealed[NONCE_LEN..],
            )
            .expect("names are far below the limit of AES-GCM-SIV");
        sealed.extend_from_slice(tag.as_ref());
        Self(sealed)
    }

    /// Takes a name as it was stored.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store: nonce, encrypted name, tag.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the name of an entry in `folder`.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn open(&self, keys: &Keys, folder: i64) -> Result<Vec<u8>, NameError> {
        let (nonce, sealed) = self.0.split_first_chunk::<NONCE_LEN>().ok_or(NameError)?;
        let (ciphertext, tag) = sealed.split_last_chunk::<MAX_TAG_LEN>().ok_or(NameError)?;
        let mut name = vec![0; ciphertext.len()];
        cipher(keys)
            .open_separate_gather(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(folder.to_le_bytes()),
                ciphertext,
                tag,
                &mut name,
            )
            .map_err(|_| NameError)?;
        Ok(name)
    }
}

fn cipher(keys: &Keys) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, keys.name_seal_key()).expect("the key has 32 bytes"))
}
