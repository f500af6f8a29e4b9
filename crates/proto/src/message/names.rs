//! Names of things that exist only between a client and a server: [`DeviceId`], [`SessionId`], [`IdempotencyKey`].

use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; Self::LEN]);

        impl $name {
            /// Bytes in one.
            pub const LEN: usize = $len;

            /// Takes the bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// Lower-case hex digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

name!(
    /// A client machine as the server knows it; the public half of its token.
    DeviceId,
    8
);
name!(
    /// One session of writing, opened by `Begin`. The server makes it.
    SessionId,
    16
);
name!(
    /// Names one change for good: the same key always gets the same answer, so a change whose answer was lost can be
    /// asked for again. The client makes it, of random bytes, anew for each change.
    IdempotencyKey,
    16
);
