//! Names of things the store keeps, and points in time. Object and vault ids come from crate `object`.

use std::fmt;
use std::str::FromStr;

use object::ObjectId;

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Bytes in an id.
            pub const LEN: usize = $len;

            /// Takes the bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = object::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = object::ParseIdError { expected_len: $len * 2 };
                let digits = text.as_bytes();
                if digits.len() != $len * 2 || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(error);
                }
                let mut bytes = [0; $len];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| error.clone())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

byte_id!(
    /// Name of a pack: 16 random bytes, never used twice. It is the pack's file name.
    PackId,
    16
);
byte_id!(
    /// Name of a store, given when it is created; its ANCHOR carries it too.
    StoreId,
    16
);
byte_id!(
    /// Name of a client machine.
    DeviceId,
    8
);
byte_id!(
    /// Name of a token that scripts log in with.
    TokenId,
    8
);
byte_id!(
    /// Name of a browser's session in lists; nobody gets in by it.
    WebSessionId,
    8
);
byte_id!(
    /// Name of a share in lists; nobody gets in by it.
    ShareId,
    8
);
byte_id!(
    /// Name of one client's writing session.
    SessionId,
    16
);
byte_id!(
    /// Name of a file on its way in: 16 bytes that nobody can guess.
    UploadId,
    16
);
byte_id!(
    /// Name of a change, chosen by the one who asks for it: asking again with the same key changes nothing more.
    IdempotencyKey,
    16
);
byte_id!(
    /// Keyed hash of a file name in a drive, so that the catalog holds no clear name.
    NameKey,
    16
);

/// An account's number in this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

/// A file's or directory's number in the drives of this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i64);

/// Milliseconds since the start of 1970 (UTC). The caller's clock: the store has none, and orders nothing by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

/// First half of an object's id: ids are keyed hashes, so 128 bits tell them apart, and tables of them are half as large.
/// Whoever reads a record by it compares the whole id.
pub(crate) type HalfId = [u8; 16];

/// The first half of an id.
pub(crate) fn half(id: &ObjectId) -> HalfId {
    *id.as_bytes().first_chunk().expect("ids have 32 bytes")
}

/// A pack's number in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackKey(pub(crate) i64);

/// A vault's number in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VaultKey(pub(crate) i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse() {
        let id: DeviceId = "00ff10a0b1c2d3e4".parse().unwrap();
        assert_eq!(id.as_bytes(), &[0, 0xff, 0x10, 0xa0, 0xb1, 0xc2, 0xd3, 0xe4]);
        assert_eq!(id.to_string(), "00ff10a0b1c2d3e4");
        for wrong in ["", "00", "00ff10a0b1c2d3e", "00FF10A0B1C2D3E4", "+0ff10a0b1c2d3e4", "00ff10a0b1c2d3é"] {
            assert_eq!(wrong.parse::<DeviceId>().unwrap_err().expected_len, 16, "{wrong}");
        }
    }
}
