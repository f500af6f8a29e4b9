//! [`Metadata`]: what the catalog knows of a file beside its content, sealed.

use bytes::{Buf, BufMut};
use proto::{DriveContent, IdempotencyKey, Timestamp};
use vault::{Keys, SealedName};

use crate::drive::names::{ROOT_SALT, nonce, salt};

const METADATA_NONCE: &[u8] = b"/metadata nonce";
/// First byte of sealed metadata, which no name holds: neither is ever taken for the other.
const METADATA_MARK: u8 = b'/';
const METADATA_FORMAT: u8 = 1;
const METADATA_LEN: usize = 18;
const SHA256_LEN: usize = 32;
/// Stands for the nanoseconds of a time that nobody said.
const NOT_SAID: u32 = u32::MAX;

/// What a catalog knows of a file beside its content; sealed, and bound to that content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// When the content was changed last; `None`: nobody said, so when it was put.
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) mode: u32,
    /// Of the whole content, where the server has seen it whole.
    pub(crate) sha256: Option<[u8; SHA256_LEN]>,
}

impl Metadata {
    pub(crate) fn seal(self, keys: &Keys, content: DriveContent, key: IdempotencyKey) -> Vec<u8> {
        let mut plain = Vec::with_capacity(METADATA_LEN + SHA256_LEN);
        plain.put_u8(METADATA_MARK);
        plain.put_u8(METADATA_FORMAT);
        let (secs, nanos) = self.mtime.map_or((0, NOT_SAID), |mtime| (mtime.secs(), mtime.nanos()));
        plain.put_i64_le(secs);
        plain.put_u32_le(nanos);
        plain.put_u32_le(self.mode);
        plain.put_slice(self.sha256.as_ref().map_or(&[], |sha256| &sha256[..]));
        let salt = content_salt(content);
        let nonce = nonce(keys, salt, METADATA_NONCE, key, &plain);
        SealedName::seal(keys, salt, &plain, nonce).as_bytes().to_vec()
    }

    pub(crate) fn open(sealed: Vec<u8>, keys: &Keys, content: DriveContent) -> Option<Self> {
        let plain = SealedName::from_bytes(sealed).open(keys, content_salt(content)).ok()?;
        let mut plain = &plain[..];
        if plain.len() < METADATA_LEN || plain.get_u8() != METADATA_MARK || plain.get_u8() != METADATA_FORMAT {
            return None;
        }
        let (secs, nanos, mode) = (plain.get_i64_le(), plain.get_u32_le(), plain.get_u32_le());
        let sha256 = if plain.is_empty() { None } else { Some(plain.try_into().ok()?) };
        let mtime = if nanos == NOT_SAID { None } else { Some(Timestamp::new(secs, nanos)?) };
        Some(Self { mtime, mode, sha256 })
    }
}

fn content_salt(content: DriveContent) -> i64 {
    match content {
        DriveContent::Empty => ROOT_SALT,
        DriveContent::Chunk(id) | DriveContent::List(id) => salt(id.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use object::ObjectId;
    use vault::VaultKey;

    use super::*;

    #[test]
    fn metadata_opens_only_beside_its_content() {
        for sha256 in [None, Some([9; 32])] {
            for mtime in [None, Timestamp::new(-5, 999)] {
                check(Metadata { mtime, mode: 0o4755, sha256 });
            }
        }
    }

    #[track_caller]
    fn check(metadata: Metadata) {
        let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
        let content = DriveContent::Chunk(ObjectId::from_bytes([2; 32]));
        let key = IdempotencyKey::from_bytes([3; 16]);
        let sealed = metadata.seal(&keys, content, key);
        assert_eq!(sealed, metadata.seal(&keys, content, key), "a repeated change looks the same");
        assert_eq!(Metadata::open(sealed.clone(), &keys, content), Some(metadata));
        assert_eq!(Metadata::open(sealed.clone(), &keys, DriveContent::Empty), None);
        let other = Keys::new(&VaultKey::from_bytes([2; 32]));
        assert_eq!(Metadata::open(sealed, &other, content), None);
    }
}
