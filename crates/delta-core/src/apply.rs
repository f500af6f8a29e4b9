//! [`apply`]: rebuilds a target from the bases and a [`Delta`].

use crate::{BasisRange, Delta, Piece};

/// Why a target was not rebuilt; nothing was appended then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The delta was read against another number of bases.
    #[error("{found} bases instead of {expected}")]
    BasisCount {
        /// Bases given.
        found: usize,
        /// Bases the delta was read against.
        expected: usize,
    },
    /// A basis has another length than the delta was read against.
    #[error("basis {slot} has {found} bytes instead of {expected}")]
    BasisLen {
        /// Which basis.
        slot: usize,
        /// Its length in bytes.
        found: usize,
        /// The length the delta was read against, in bytes.
        expected: u32,
    },
    /// The target is longer than the caller allows.
    #[error("a target of {target_len} bytes exceeds the limit of {target_len_max}")]
    TargetTooLong {
        /// Its length in bytes.
        target_len: u32,
        /// The limit in bytes.
        target_len_max: usize,
    },
}

/// Rebuilds the target of `delta` and appends it to `out`: exactly [`target_len`](Delta::target_len) bytes.
///
/// The result is only as right as bases and delta, so callers compare the content id afterwards. For bases that are
/// not in memory, walk [`Delta::pieces`] instead.
///
/// Cost: one copy of the target. Allocates at most `target_len_max` bytes, in `out`.
///
/// # Errors
/// [`ApplyError`] when the bases are not those the delta was read against, by count and length, or the target is
/// longer than `target_len_max` bytes.
pub fn apply(bases: &[&[u8]], delta: &Delta<'_>, target_len_max: usize, out: &mut Vec<u8>) -> Result<(), ApplyError> {
    if bases.len() != delta.basis_lens().len() {
        return Err(ApplyError::BasisCount { found: bases.len(), expected: delta.basis_lens().len() });
    }
    for (slot, (basis, &expected)) in bases.iter().zip(delta.basis_lens()).enumerate() {
        if basis.len() != expected as usize {
            return Err(ApplyError::BasisLen { slot, found: basis.len(), expected });
        }
    }
    let target_len = delta.target_len();
    if target_len as usize > target_len_max {
        return Err(ApplyError::TargetTooLong { target_len, target_len_max });
    }

    // Bounded: by `target_len_max`, as checked above.
    out.reserve(target_len as usize);
    for piece in delta.pieces() {
        out.extend_from_slice(match piece {
            Piece::Copy(BasisRange { slot, range }) => {
                &bases[usize::from(slot)][range.start as usize..range.end as usize]
            }
            Piece::Literal(bytes) => bytes,
        });
    }
    Ok(())
}
