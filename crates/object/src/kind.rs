//! [`Kind`] says what an object is for, [`Codec`] how a record's body is packed.

/// What an object is for. Part of what its id is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of one chunk. Stored whole it has no edges; stored as a delta its edges are the 1 to 8 basis objects.
    Data = 1,
    /// Lengths of the pieces of one file; edges are the chunks, or lower `List` pages.
    List = 2,
    /// Entries of one directory; edges are each entry's content (chunk, `List` or `Tree`), or lower `Tree` pages.
    Tree = 3,
    /// What was backed up, from where, with which options and counts; the edge is the root `Tree`.
    Snapshot = 4,
}

impl Kind {
    /// Whether this kind describes other objects. Such objects rest in packs of their own, so that walks read little.
    #[must_use]
    pub fn is_metadata(self) -> bool {
        self != Self::Data
    }
}

/// How the plaintexts of a record's members became the bytes that were encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// The members' plaintexts, one after the other.
    Raw = 0,
    /// One zstd frame of the members' plaintexts, one after the other.
    Zstd = 1,
    /// An encoded delta that rebuilds the single member from the objects its edges name.
    Delta = 2,
    /// One zstd frame of an encoded delta.
    DeltaZstd = 3,
}

impl Codec {
    /// Whether the single member's edges are basis objects instead of references.
    #[must_use]
    pub fn is_delta(self) -> bool {
        matches!(self, Self::Delta | Self::DeltaZstd)
    }

    /// Whether the bytes that were encrypted are a zstd frame.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        matches!(self, Self::Zstd | Self::DeltaZstd)
    }
}

/// A tag byte that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {tag}")]
pub struct UnknownTag {
    /// What the byte stands for.
    pub what: &'static str,
    /// The byte found.
    pub tag: u8,
}

impl TryFrom<u8> for Kind {
    type Error = UnknownTag;

    fn try_from(tag: u8) -> Result<Self, UnknownTag> {
        match tag {
            1 => Ok(Self::Data),
            2 => Ok(Self::List),
            3 => Ok(Self::Tree),
            4 => Ok(Self::Snapshot),
            _ => Err(UnknownTag { what: "kind", tag }),
        }
    }
}

impl TryFrom<u8> for Codec {
    type Error = UnknownTag;

    fn try_from(tag: u8) -> Result<Self, UnknownTag> {
        match tag {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Delta),
            3 => Ok(Self::DeltaZstd),
            _ => Err(UnknownTag { what: "codec", tag }),
        }
    }
}
