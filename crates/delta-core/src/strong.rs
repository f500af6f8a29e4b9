//! The strong hash of a block: which function, and how many of its bytes a signature keeps.
//!
//! The two kinds are two promises. XXH3 is fast but not cryptographic: whoever uses it must compare the content id
//! of the rebuilt target. Keyed BLAKE3 with at least 64 bits carries the integrity by itself, for vaults whose
//! server cannot rebuild anything.

use twox_hash::XxHash3_64;

use crate::HashKey;

/// Bytes kept of an XXH3 hash: 2 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xxh3Len(u8);

impl Xxh3Len {
    /// `None` unless `bytes` is 2 to 8.
    pub const fn new(bytes: u8) -> Option<Self> {
        if bytes >= 2 && bytes <= 8 { Some(Self(bytes)) } else { None }
    }
}

/// Bytes kept of a keyed BLAKE3 hash: 8 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blake3Len(u8);

impl Blake3Len {
    /// `None` unless `bytes` is 8 to 32.
    pub const fn new(bytes: u8) -> Option<Self> {
        if bytes >= 8 && bytes <= 32 { Some(Self(bytes)) } else { None }
    }
}

/// Function and kept length of the strong hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StrongKind {
    /// XXH3-64 with a secret of its own. A false match is possible and must cost no more than a resend.
    Xxh3(Xxh3Len),
    /// BLAKE3 keyed. Fit for targets that nobody checks before they are relied on.
    Blake3Keyed(Blake3Len),
}

impl StrongKind {
    /// 32 bits of XXH3: with the weak 32, about 2^-35 false matches per chunk.
    pub const COARSE: Self = Self::Xxh3(Xxh3Len(4));
    /// 16 bits of XXH3: enough for the few cells of a gap.
    pub const FINE: Self = Self::Xxh3(Xxh3Len(2));
    /// 64 bits of keyed BLAKE3: with the weak 32, 2^-65 false matches per chunk.
    pub const SEALED: Self = Self::Blake3Keyed(Blake3Len(8));

    /// Bytes of one hash in a signature.
    pub fn hash_len(self) -> usize {
        match self {
            Self::Xxh3(Xxh3Len(len)) | Self::Blake3Keyed(Blake3Len(len)) => usize::from(len),
        }
    }

    /// The byte that names kind and length in an encoded signature: the length, plus 0x80 for BLAKE3.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Xxh3(Xxh3Len(len)) => len,
            Self::Blake3Keyed(Blake3Len(len)) => len | 0x80,
        }
    }

    /// The hash of `block`; only the first [`hash_len`](Self::hash_len) bytes are part of a signature.
    #[inline]
    pub(crate) fn hash(self, key: &HashKey, block: &[u8]) -> [u8; 32] {
        match self {
            Self::Xxh3(_) => {
                let hash = XxHash3_64::oneshot_with_secret(key.xxh3_secret(), block).expect("192 bytes, at least 136");
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&hash.to_le_bytes());
                bytes
            }
            Self::Blake3Keyed(_) => *blake3::keyed_hash(key.blake3_key(), block).as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_in_range() {
        assert_eq!((0..=255).filter_map(Xxh3Len::new).map(|l| l.0).collect::<Vec<_>>(), (2..=8).collect::<Vec<_>>());
        assert_eq!((0..=255).filter_map(Blake3Len::new).map(|l| l.0).collect::<Vec<_>>(), (8..=32).collect::<Vec<_>>());
    }

    #[test]
    fn tags_differ() {
        let xxh3 = (2..=8).filter_map(Xxh3Len::new).map(StrongKind::Xxh3);
        let blake3 = (8..=32).filter_map(Blake3Len::new).map(StrongKind::Blake3Keyed);
        let mut tags: Vec<u8> = xxh3.chain(blake3).map(StrongKind::tag).collect();
        tags.dedup();
        assert_eq!(tags.len(), 7 + 25);
    }
}
