//! [`HashKey`]: the secret behind rolling hash and strong hashes of one vault.
//!
//! Keyed, so that nobody without the key can prepare blocks that collide. The same secret gives the same key on
//! every machine and in every version; the derivation is part of the signature format.

use std::fmt;
use std::sync::Arc;

use crate::rolling::RollingKey;

const ROLLING_CONTEXT: &str = "Delta Backup 2026-01-15 delta-core rolling hash multiplier";
const XXH3_CONTEXT: &str = "Delta Backup 2026-01-15 delta-core XXH3 secret";
const BLAKE3_CONTEXT: &str = "Delta Backup 2026-01-15 delta-core BLAKE3 key";

/// Keys of the hashes that stand for blocks, derived from one 32-byte secret.
///
/// Both sides of an exchange must use the same. Cheap to clone: clones share one allocation. `Debug` shows no part
/// of it. The memory is not wiped on drop.
#[derive(Clone)]
pub struct HashKey(Arc<KeyMaterial>);

struct KeyMaterial {
    rolling: RollingKey,
    xxh3_secret: [u8; 192],
    blake3_key: [u8; 32],
}

impl HashKey {
    /// Derives the three keys from `secret` by BLAKE3 in key-derivation mode, one context each.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let mut xxh3_secret = [0; 192];
        blake3::Hasher::new_derive_key(XXH3_CONTEXT).update(secret).finalize_xof().fill(&mut xxh3_secret);
        let rolling_bytes = blake3::derive_key(ROLLING_CONTEXT, secret);
        let multiplier = u32::from_le_bytes([rolling_bytes[0], rolling_bytes[1], rolling_bytes[2], rolling_bytes[3]]);
        Self(Arc::new(KeyMaterial {
            rolling: RollingKey::new(multiplier),
            xxh3_secret,
            blake3_key: blake3::derive_key(BLAKE3_CONTEXT, secret),
        }))
    }

    pub(crate) fn rolling(&self) -> &RollingKey {
        &self.0.rolling
    }

    pub(crate) fn xxh3_secret(&self) -> &[u8; 192] {
        &self.0.xxh3_secret
    }

    pub(crate) fn blake3_key(&self) -> &[u8; 32] {
        &self.0.blake3_key
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", HashKey::from_secret(&[7; 32])), "HashKey(..)");
    }

    #[test]
    fn other_secret_other_keys() {
        let (a, b) = (HashKey::from_secret(&[1; 32]), HashKey::from_secret(&[2; 32]));
        assert_ne!(a.xxh3_secret(), b.xxh3_secret());
        assert_ne!(a.blake3_key(), b.blake3_key());
        assert_ne!(a.rolling().multiplier(), b.rolling().multiplier());
    }
}
