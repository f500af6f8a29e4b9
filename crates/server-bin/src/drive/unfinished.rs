//! [`Unfinished`]: what a file on its way in needs beside its chunks to be gone on with: the bytes that are not cut yet, and
//! how far its SHA-256 is. The catalog keeps it sealed.

use bytes::{Buf, BufMut};
use sha2::Sha256;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use store::UploadId;
use vault::{Keys, SealedName};

use crate::drive::names::salt;
use crate::failure::Failure;
use crate::keys::random;

/// First byte, which no name holds, and second, which metadata has another of: none is ever taken for another.
const MARK: u8 = b'/';
const FORMAT: u8 = 0x81;
const HASH_LEN: usize = size_of::<SerializedState<Sha256>>();

/// What a file on its way in needs to be gone on with.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Of everything that has come.
    pub(super) hash: Sha256,
    /// What is not cut yet.
    pub(super) uncut: Vec<u8>,
}

impl Unfinished {
    /// Seals it, for one upload.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness.
    pub(super) fn seal((hash, uncut): (&Sha256, &[u8]), keys: &Keys, upload: UploadId) -> Result<Vec<u8>, Failure> {
        let mut plain = Vec::with_capacity(2 + HASH_LEN + uncut.len());
        plain.put_u8(MARK);
        plain.put_u8(FORMAT);
        plain.put_slice(&hash.serialize());
        plain.put_slice(uncut);
        Ok(SealedName::seal(keys, salt(upload.as_bytes()), &plain, random()?).as_bytes().to_vec())
    }

    /// Opens what was sealed for this upload; nothing was, at its beginning.
    pub(crate) fn open(sealed: Vec<u8>, keys: &Keys, upload: UploadId) -> Option<Self> {
        if sealed.is_empty() {
            return Some(Self::default());
        }
        let plain = SealedName::from_bytes(sealed).open(keys, salt(upload.as_bytes())).ok()?;
        let mut plain = &plain[..];
        if plain.len() < 2 + HASH_LEN || plain.get_u8() != MARK || plain.get_u8() != FORMAT {
            return None;
        }
        let (hash, uncut) = plain.split_at(HASH_LEN);
        let hash = Sha256::deserialize(&SerializedState::<Sha256>::try_from(hash).ok()?).ok()?;
        Some(Self { hash, uncut: uncut.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;
    use vault::VaultKey;

    use super::*;

    #[test]
    fn it_opens_for_its_own_upload_only() {
        let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
        let (upload, other) = (UploadId::from_bytes([2; 16]), UploadId::from_bytes([3; 16]));
        let hash = Sha256::new().chain_update(b"what came before, ").chain_update(b"and the rest");
        let sealed = Unfinished::seal((&hash, b"the rest"), &keys, upload).unwrap();
        assert!(Unfinished::open(sealed.clone(), &keys, other).is_none());
        assert!(Unfinished::open(sealed[..sealed.len() - 1].to_vec(), &keys, upload).is_none());
        let opened = Unfinished::open(sealed, &keys, upload).unwrap();
        assert_eq!(opened.uncut, b"the rest");
        assert_eq!(opened.hash.finalize(), Sha256::digest(b"what came before, and the rest"));
        assert!(Unfinished::open(Vec::new(), &keys, upload).unwrap().uncut.is_empty());
    }

    /// Uploads outlive a newer server: what the library writes of a hash must stay what it was.
    #[test]
    fn hashes_begun_by_an_older_server_are_gone_on_with() {
        let mut state = [0; HASH_LEN];
        let words: [u32; 8] =
            [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
        for (bytes, word) in state.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        // No block so far, and three bytes of the next.
        state[40] = 3;
        state[41..44].copy_from_slice(b"abc");
        assert_eq!(Sha256::new().chain_update(b"abc").serialize()[..], state);
        let hash = Sha256::deserialize(&state.into()).unwrap();
        assert_eq!(hash.finalize(), Sha256::digest(b"abc"));
    }
}
