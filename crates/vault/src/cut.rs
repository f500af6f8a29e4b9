//! Chunk sizes: the [`CutProfile`] a file was cut with is recorded in its entry, so sizes can change without a new vault.

/// Which rule cut a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CutProfile {
    /// FastCDC-2020, min 256 KiB, average 1 MiB, max 4 MiB; files up to 256 KiB are one chunk.
    Large = 1,
}

impl CutProfile {
    /// The profile with this number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        (number == Self::Large as u64).then_some(Self::Large)
    }
}

/// Longest chunk of any profile, in bytes.
pub const CHUNK_LEN_MAX: usize = 4 << 20;
