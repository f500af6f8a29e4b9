//! How the blocks of a vault's chunks are hashed, which is a property of the vault's [`Mode`].
//!
//! In a managed vault the server rebuilds every chunk and checks its id before it acknowledges it, so a false match
//! costs a resend and short hashes are enough. In a sealed vault nobody can check at upload: there the block hash
//! itself must carry the integrity, so it is keyed BLAKE3. [`SignatureLevel`] cannot be turned into parameters
//! without a mode, which keeps the two apart.

use delta_core::{BlockLen, SignatureParams, StrongKind};

/// Supplements up to this length have the shortest blocks.
const SHORT_SUPPLEMENT_LEN: usize = 64 * 1024;

/// Who holds a vault's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// The server, too: it can show files, compute signatures, rebuild and re-encode deltas.
    Managed = 1,
    /// Only clients: the server looks after what it cannot read.
    Sealed = 2,
}

/// One level of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureLevel {
    /// Blocks of a whole basis.
    Coarse(BlockLen),
    /// Cells of those stretches of a basis that the level above did not match.
    Cells(BlockLen),
}

impl SignatureLevel {
    /// Length of its blocks.
    #[must_use]
    pub fn block_len(self) -> BlockLen {
        match self {
            Self::Coarse(block_len) | Self::Cells(block_len) => block_len,
        }
    }
}

impl Mode {
    /// The mode with this number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Managed),
            2 => Some(Self::Sealed),
            _ => None,
        }
    }

    /// Block length of the signatures that a client keeps for itself.
    #[must_use]
    pub fn cached_level(self) -> SignatureLevel {
        match self {
            Self::Managed => SignatureLevel::Coarse(BlockLen::CACHED),
            Self::Sealed => SignatureLevel::Coarse(BlockLen::SEALED),
        }
    }

    /// Block length of the signature that a client keeps of a supplement of `len` bytes.
    ///
    /// A supplement is made of pieces of any length, back to back, and a block that holds parts of two pieces stands
    /// nowhere else: so blocks are short, and only as many as one match can look at.
    #[must_use]
    pub fn supplement_level(self, len: usize) -> SignatureLevel {
        let is_short = len <= SHORT_SUPPLEMENT_LEN;
        SignatureLevel::Cells(if is_short { BlockLen::FINEST } else { BlockLen::FINE })
    }

    /// Parameters for one chunk that starts at `file_offset`, so that block edges stand on the file's page grid.
    #[must_use]
    pub fn params(self, level: SignatureLevel, file_offset: u64) -> SignatureParams {
        let (block_len, strong) = match (self, level) {
            (Self::Managed, SignatureLevel::Coarse(block_len)) => (block_len, StrongKind::COARSE),
            (Self::Managed, SignatureLevel::Cells(block_len)) => (block_len, StrongKind::FINE),
            (Self::Sealed, SignatureLevel::Coarse(block_len) | SignatureLevel::Cells(block_len)) => {
                (block_len, StrongKind::SEALED)
            }
        };
        SignatureParams::on_page_grid(block_len, strong, file_offset)
    }
}
