//! What a peer may ask for, and how much work one job may cost: every bound of the crate in one place.

/// Longest basis or target this crate handles at all: 1 GiB, so that positions fit `u32` with room for sums.
pub const LEN_MAX: u32 = 1 << 30;

/// Bounds on what the decoders accept; nothing is allocated before it was held against these.
///
/// The default is what one chunk needs: 4 MiB targets and bases, 36 bases, 131 072 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest target in bytes; [`LEN_MAX`] caps it.
    pub target_len_max: u32,
    /// Longest basis in bytes; [`LEN_MAX`] caps it.
    pub basis_len_max: u32,
    /// Most bases a delta may refer to.
    pub basis_count_max: u8,
    /// Most blocks in one signature.
    pub block_count_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_len_max: 4 << 20,
            basis_len_max: 4 << 20,
            basis_count_max: BASIS_COUNT_MAX,
            block_count_max: BLOCK_COUNT_MAX,
        }
    }
}

/// Most signatures in one [`BasisSet`](crate::BasisSet).
pub const BASIS_COUNT_MAX: u8 = 36;

/// Most blocks in one [`BasisSet`](crate::BasisSet), all its signatures together; bounds the index at 4 MiB.
pub const BLOCK_COUNT_MAX: u32 = 131_072;

/// Most copies in the delta of a target of this many bytes. Op bombs end here; what the matchers make never comes
/// near, since their shortest copies have six bytes.
pub fn copy_count_max(target_len: u32) -> u32 {
    target_len / 4 + 64
}

/// Different blocks kept per weak hash; further ones become literals.
pub(crate) const CANDIDATE_COUNT_MAX: u32 = 16;

/// Slots looked at for one weak hash, so that a hostile signature cannot make long clusters.
pub(crate) const PROBE_COUNT_MAX: usize = 32;

/// Failed strong checks after which a weak hash is not looked up again in this job.
pub(crate) const MISS_COUNT_MAX: u8 = 32;

/// Bytes of target that one job may feed to strong hashes that then match nothing; a look-up in vain counts as
/// [`LOOK_UP_COST`] bytes.
///
/// Afterwards only blocks that continue a match are tried. Real data stays far below: 2^-32 per pair of position
/// and block. Made for windows that collide in the weak hash by construction (Thue-Morse words), and for signatures
/// made to fill the index with them.
pub(crate) fn miss_bytes_max(target_len: usize) -> usize {
    4 * target_len + (256 << 10)
}

pub(crate) const LOOK_UP_COST: usize = 32;

/// Shortest head or tail block that may become a copy of its own: below, the op can cost more than the bytes.
pub(crate) const LONE_COPY_LEN_MIN: usize = 16;

/// What exact matching may cost and what it asks of a copy. Prices are in tenths of a compressed literal byte.
pub(crate) mod exact {
    /// Blocks with which exact matching finds its first anchors: or longer, where there would be too many.
    pub(crate) const ANCHOR_LEN_MIN: u32 = 256;

    /// Price of a copy on the diagonal of the copy before it: three small numbers.
    pub(crate) const PRICE_RESUMED: u32 = 30;
    /// Bytes it must have, so that it never costs more than it saves even without compression.
    pub(crate) const RESUMED_LEN_MIN: u32 = 6;
    /// Price of a copy on another diagonal: numbers that compress badly. Has 10 bytes at least, so that it never
    /// costs more than it saves even without compression.
    pub(crate) const PRICE_MOVED: u32 = 100;
    /// Literals shorter than this are skipped over when the diagonal before them continues after them.
    pub(crate) const RESUME_LEN_MAX: usize = 16;

    /// Positions of basis that are seeded ahead of the target: so many, and so many per byte of literal, at most.
    pub(crate) const AHEAD_LEN_MIN: usize = 64;
    pub(crate) const AHEAD_PER_LITERAL: usize = 4;
    pub(crate) const AHEAD_LEN_MAX: usize = 4096;
    /// Literals longer than this are not searched nearby any more.
    pub(crate) const NEAR_LITERAL_LEN_MAX: usize = 256 << 10;

    /// Literals shorter than this are not searched in all of the bases.
    pub(crate) const FAR_LITERAL_LEN_MIN: u32 = 32;
    /// Positions of all bases that are seeded: so many per byte of such literals, at most.
    pub(crate) const FAR_SEEDS_PER_LITERAL: usize = 16;
    pub(crate) const FAR_SEED_COUNT_MIN: usize = 1 << 10;
    pub(crate) const FAR_SEED_COUNT_MAX: usize = 1 << 18;

    /// After so many positions without a match the search steps by one byte more.
    pub(crate) const STEP_GROWTH: usize = 256;
    pub(crate) const STEP_MAX: usize = 16;
}
