//! [`SignatureRequest`]: which signature of which basis is wanted.

use object::ObjectId;

use super::LimitError;
use crate::limits::{
    HEAD_LEN_MAX, SIGNATURE_ANSWER_LEN_MAX, SIGNATURE_BASIS_LEN_MAX, SIGNATURE_RANGE_COUNT_MAX,
    SIGNATURE_REQUEST_COUNT_MAX,
};

/// Bytes of weak hash per block, and the most an encoded signature has before its hashes.
const WEAK_LEN: usize = 4;
const SIGNATURE_HEADER_LEN_MAX: usize = 16;
/// Most bytes on the wire of a request's fixed fields, of the length of a list, and of one range.
const FIXED_LEN_MAX: usize = 1 + 1 + 5;
const LIST_LEN_LEN_MAX: usize = 9;
const RANGE_LEN_MAX: usize = 5 + 5;

/// Some bytes of a basis: `len` of them from `start` on. Not empty, and within [`SIGNATURE_BASIS_LEN_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureRange {
    start: u32,
    len: u32,
}

impl SignatureRange {
    /// `None` when the range is empty or ends past the longest basis.
    #[must_use]
    pub fn new(start: u32, len: u32) -> Option<Self> {
        let end = start.checked_add(len)?;
        (len > 0 && end <= SIGNATURE_BASIS_LEN_MAX).then_some(Self { start, len })
    }

    /// Offset in the basis of its first byte.
    #[must_use]
    pub fn start(self) -> u32 {
        self.start
    }

    /// Number of bytes, at least one.
    #[must_use]
    pub fn len(self) -> u32 {
        self.len
    }

    /// Never: a range that exists has bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }

    /// Offset in the basis of the byte after its last.
    #[must_use]
    pub fn end(self) -> u32 {
        self.start + self.len
    }
}

/// Which signature of which basis is wanted: the parameters of the signature library, and the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRequest {
    basis: ObjectId,
    block_len_log2: u8,
    strong_len: u8,
    phase: u32,
    ranges: Vec<SignatureRange>,
}

/// Why there is no [`SignatureRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureRequestError {
    /// A parameter or the number of ranges is outside its bounds.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A range starts before the one before it ends.
    #[error("signature range {range_index} starts before the end of the one before it")]
    Order {
        /// Which of the ranges.
        range_index: usize,
    },
}

impl SignatureRequest {
    /// Asks for the blocks that lie wholly inside one of `ranges`, or for all blocks when there are none.
    ///
    /// Blocks have `1 << block_len_log2` bytes (64 B to 128 KiB), but the first has `phase` when that is not 0. Their
    /// strong hash is XXH3, of which `strong_len` bytes (2 to 8) are kept.
    ///
    /// # Errors
    /// [`SignatureRequestError`] for a parameter outside these bounds, `phase` not below the block length, ranges out
    /// of order, or more than [`SIGNATURE_RANGE_COUNT_MAX`] of them.
    pub fn new(
        basis: ObjectId,
        block_len_log2: u8,
        strong_len: u8,
        phase: u32,
        ranges: Vec<SignatureRange>,
    ) -> Result<Self, SignatureRequestError> {
        LimitError::check("block_len_log2", usize::from(block_len_log2), 6, 17)?;
        LimitError::check("strong_len", usize::from(strong_len), 2, 8)?;
        LimitError::check("phase", phase as usize, 0, (1 << block_len_log2) - 1)?;
        LimitError::check("range count", ranges.len(), 0, SIGNATURE_RANGE_COUNT_MAX)?;
        let overlap = ranges.windows(2).position(|pair| pair[1].start < pair[0].end());
        if let Some(before) = overlap {
            return Err(SignatureRequestError::Order { range_index: before + 1 });
        }
        Ok(Self { basis, block_len_log2, strong_len, phase, ranges })
    }

    /// The object whose plaintext the signature is of.
    #[must_use]
    pub fn basis(&self) -> ObjectId {
        self.basis
    }

    /// Length in bytes of a full block.
    #[must_use]
    pub fn block_len(&self) -> u32 {
        1 << self.block_len_log2
    }

    /// The same as a power of two, as it is sent.
    #[must_use]
    pub fn block_len_log2(&self) -> u8 {
        self.block_len_log2
    }

    /// Bytes kept of each strong hash.
    #[must_use]
    pub fn strong_len(&self) -> u8 {
        self.strong_len
    }

    /// Length in bytes of the shortened first block; 0 when it is a full one.
    #[must_use]
    pub fn phase(&self) -> u32 {
        self.phase
    }

    /// The bytes of the basis whose blocks are wanted, in order; none stands for all.
    #[must_use]
    pub fn ranges(&self) -> &[SignatureRange] {
        &self.ranges
    }

    /// Most bytes that the encoded signature can have, whatever the basis is.
    ///
    /// All requests of one message together stay within [`SIGNATURE_ANSWER_LEN_MAX`].
    #[must_use]
    pub fn answer_len_max(&self) -> usize {
        let block_count: usize = if self.ranges.is_empty() {
            self.block_count_max(SIGNATURE_BASIS_LEN_MAX)
        } else {
            self.ranges.iter().map(|range| self.block_count_max(range.len)).sum()
        };
        SIGNATURE_HEADER_LEN_MAX + block_count * (WEAK_LEN + usize::from(self.strong_len))
    }

    /// Divides requests, in their order, into groups that fit into one message each.
    #[must_use]
    pub fn groups(requests: Vec<Self>) -> Vec<Vec<Self>> {
        let mut groups: Vec<Vec<Self>> = Vec::new();
        let (mut head_len, mut answer_len) = (0, 0);
        for request in requests {
            head_len += request.head_len_max();
            answer_len += request.answer_len_max();
            match groups.last_mut() {
                Some(group)
                    if group.len() < SIGNATURE_REQUEST_COUNT_MAX
                        && head_len <= HEAD_LEN_MAX - LIST_LEN_LEN_MAX
                        && answer_len <= SIGNATURE_ANSWER_LEN_MAX =>
                {
                    group.push(request);
                }
                _ => {
                    (head_len, answer_len) = (request.head_len_max(), request.answer_len_max());
                    groups.push(vec![request]);
                }
            }
        }
        groups
    }

    /// Most bytes it takes in the head of a message.
    fn head_len_max(&self) -> usize {
        FIXED_LEN_MAX + LIST_LEN_LEN_MAX + RANGE_LEN_MAX * self.ranges.len()
    }

    /// Most blocks within `len` bytes: the first and the last may be short.
    fn block_count_max(&self, len: u32) -> usize {
        (len >> self.block_len_log2) as usize + 2
    }
}
