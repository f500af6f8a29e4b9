//! [`Signature`]: what one side knows of a basis that only the other side holds, a weak and a strong hash per block.
//!
//! [`SignatureParams`] say how it was cut and hashed; both sides must agree on them. A signature may cover the whole
//! basis, or only the *cells* (blocks) inside some byte ranges: the second, finer look at what a first one left over.
//! A signature depends on the bytes, the parameters and the key alone, never on how the bytes arrived.

use std::fmt;
use std::ops::Range;
use std::slice;

use crate::block::Grid;
use crate::{BlockLen, HashKey, LEN_MAX, Limits, StrongKind, varint};

const VERSION: u8 = 1;

/// How a basis is cut into blocks, and which strong hash stands for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureParams {
    block_len: BlockLen,
    strong: StrongKind,
    phase: u32,
}

impl SignatureParams {
    /// `phase` is the length in bytes of a shortened first block, or 0; `None` unless it is below `block_len`.
    pub fn new(block_len: BlockLen, strong: StrongKind, phase: u32) -> Option<Self> {
        (phase < block_len.bytes()).then_some(Self { block_len, strong, phase })
    }

    /// Parameters whose block edges fall on multiples of `block_len` in the file, for a basis that starts at byte
    /// `file_offset` of it.
    ///
    /// Databases and disk images change by whole pages of the file, wherever the cuts of the file fell; with edges
    /// on the page grid such a change dirties one block instead of two.
    pub fn on_page_grid(block_len: BlockLen, strong: StrongKind, file_offset: u64) -> Self {
        let past_edge = file_offset & u64::from(block_len.bytes() - 1);
        let past_edge = u32::try_from(past_edge).expect("below a block length");
        Self { block_len, strong, phase: past_edge.wrapping_neg() & (block_len.bytes() - 1) }
    }

    /// The same grid at another level: its edges include these ones when `block_len` is smaller.
    pub fn level(self, block_len: BlockLen, strong: StrongKind) -> Self {
        Self { block_len, strong, phase: self.phase & (block_len.bytes() - 1) }
    }

    /// Length of a full block.
    pub fn block_len(&self) -> BlockLen {
        self.block_len
    }

    /// The strong hash.
    pub fn strong(&self) -> StrongKind {
        self.strong
    }

    /// Length in bytes of the shortened first block; 0 when the first block is a full one.
    pub fn phase(&self) -> u32 {
        self.phase
    }

    fn grid(&self, basis_len: u32) -> Grid {
        Grid::new(self.block_len, self.phase, basis_len)
    }
}

/// Why there is no [`Signature`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The basis is longer than the limit, or than [`LEN_MAX`].
    #[error("a basis of {basis_len} bytes exceeds the limit of {basis_len_max}")]
    BasisTooLong {
        /// Length of the basis in bytes.
        basis_len: u64,
        /// The limit in bytes.
        basis_len_max: u32,
    },
    /// More blocks than the limit allows.
    #[error("{block_count} blocks exceed the limit of {block_count_max}")]
    TooManyBlocks {
        /// Blocks there would be.
        block_count: u32,
        /// The limit.
        block_count_max: u32,
    },
    /// A range of cells is empty, starts before the end of the one before it, or ends past the basis.
    #[error("cell range {range_index} is empty, out of order or past the end of a {basis_len}-byte basis")]
    BadRange {
        /// Which of the ranges.
        range_index: usize,
        /// Length of the basis in bytes.
        basis_len: u32,
    },
    /// Written by a version this one does not know.
    #[error("signature version {version} is unknown")]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// The encoded signature is for other parameters or another basis length than those expected.
    #[error("the signature was made with other parameters or of a basis of another length")]
    OtherParams,
    /// The encoded bytes are more or fewer than parameters, basis length and ranges ask for.
    #[error("the signature has {found} bytes instead of {expected}")]
    WrongLen {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
}

/// Weak and strong hashes of the blocks of one basis, or of some of them.
///
/// Memory: 4 bytes and one strong hash per block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    params: SignatureParams,
    grid: Grid,
    runs: Vec<BlockRun>,
    weak: Vec<u32>,
    strong: Vec<u8>,
}

/// Consecutive blocks that a signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockRun {
    /// Index in the basis of the first of them.
    block_start: u32,
    /// Position of its hashes in the signature.
    entry_start: u32,
}

impl Signature {
    /// The signature of the whole of `basis`.
    ///
    /// Cost: one pass for each of the two hashes, over blocks that stay in the CPU's first cache.
    ///
    /// # Errors
    /// [`SignatureError::BasisTooLong`] past [`LEN_MAX`].
    pub fn compute(basis: &[u8], params: SignatureParams, key: &HashKey) -> Result<Self, SignatureError> {
        let grid = params.grid(checked_basis_len(basis.len(), LEN_MAX)?);
        Ok(Self::compute_blocks(basis, params, grid, slice::from_ref(&(0..grid.block_count())), key))
    }

    /// The signature of the blocks of `basis` that lie wholly inside one of `ranges` (bytes of the basis, in order).
    /// Ranges that touch count as one.
    ///
    /// # Errors
    /// [`SignatureError::BadRange`] for ranges that are empty, out of order, overlapping or past the end;
    /// [`SignatureError::BasisTooLong`] past [`LEN_MAX`].
    pub fn compute_cells(
        basis: &[u8],
        ranges: &[Range<u32>],
        params: SignatureParams,
        key: &HashKey,
    ) -> Result<Self, SignatureError> {
        let grid = params.grid(checked_basis_len(basis.len(), LEN_MAX)?);
        Ok(Self::compute_blocks(basis, params, grid, &block_runs(grid, ranges)?, key))
    }

    fn compute_blocks(basis: &[u8], params: SignatureParams, grid: Grid, runs: &[Range<u32>], key: &HashKey) -> Self {
        let mut signature = Self::with_room_for(params, grid, runs);
        for run in runs {
            for block_index in run.clone() {
                let range = grid.block_range(block_index);
                signature.push(&basis[range.start as usize..range.end as usize], key);
            }
        }
        signature
    }

    /// An empty signature that is to get the hashes of the blocks in `runs`.
    fn with_room_for(params: SignatureParams, grid: Grid, runs: &[Range<u32>]) -> Self {
        let mut entry_start = 0;
        let block_runs = runs
            .iter()
            .map(|run| {
                let start = entry_start;
                entry_start += run.end - run.start;
                BlockRun { block_start: run.start, entry_start: start }
            })
            .collect();
        Self {
            params,
            grid,
            runs: block_runs,
            // Bounded: by the basis, or by the hashes to be decoded; either is there.
            weak: Vec::with_capacity(entry_start as usize),
            // Bounded: as above.
            strong: Vec::with_capacity(entry_start as usize * params.strong.hash_len()),
        }
    }

    fn push(&mut self, block: &[u8], key: &HashKey) {
        self.weak.push(key.rolling().hash(block));
        self.strong.extend_from_slice(&self.params.strong.hash(key, block)[..self.params.strong.hash_len()]);
    }

    /// The part of this signature about the blocks that lie wholly inside one of `ranges` (bytes of the basis, in
    /// order) and that it covers: equal to [`compute_cells`](Self::compute_cells) over the same ranges when this is
    /// the signature of the whole basis.
    ///
    /// # Errors
    /// [`SignatureError::BadRange`] for ranges that are empty, out of order, overlapping or past the end.
    pub fn cells(&self, ranges: &[Range<u32>]) -> Result<Self, SignatureError> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for block_index in block_runs(self.grid, ranges)?.into_iter().flatten().filter(|&i| self.entry_of(i).is_some())
        {
            match runs.last_mut() {
                Some(last) if last.end == block_index => last.end += 1,
                _ => runs.push(block_index..block_index + 1),
            }
        }
        let mut part = Self::with_room_for(self.params, self.grid, &runs);
        for entry in runs.into_iter().flatten().filter_map(|block_index| self.entry_of(block_index)) {
            part.weak.push(self.weak[entry as usize]);
            part.strong.extend_from_slice(self.strong_at(entry));
        }
        Ok(part)
    }

    /// The parameters it was made with.
    pub fn params(&self) -> SignatureParams {
        self.params
    }

    /// Length of the basis in bytes.
    pub fn basis_len(&self) -> u32 {
        self.grid.basis_len()
    }

    /// Blocks it holds hashes of.
    pub fn block_count(&self) -> u32 {
        u32::try_from(self.weak.len()).expect("block counts of a basis fit u32")
    }

    /// Whether it covers every block of the basis.
    pub fn is_whole(&self) -> bool {
        self.block_count() == self.grid.block_count()
    }

    /// Bytes that [`encode`](Self::encode) appends.
    pub fn encoded_len(&self) -> usize {
        header(&self.params, self.basis_len()).len() + self.weak.len() * entry_len(self.params)
    }

    /// Appends the encoded form: a header of at most 11 bytes, all weak hashes, all strong hashes. Which blocks they
    /// belong to is not in it; the receiver knows what it asked for.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Bounded: hashes that are there.
        out.reserve(self.encoded_len());
        out.extend_from_slice(&header(&self.params, self.basis_len()));
        for weak in &self.weak {
            out.extend_from_slice(&weak.to_le_bytes());
        }
        out.extend_from_slice(&self.strong);
    }

    /// Reads the signature of a whole basis of `basis_len` bytes that was made with `params`.
    ///
    /// The bytes may come from anyone: every size in the result follows from the arguments, which are held against
    /// `limits` before anything is allocated.
    ///
    /// # Errors
    /// [`SignatureError`] says which expectation failed; all of them mean that the peer broke the agreement, or that
    /// a cached signature is of something else.
    pub fn decode(
        bytes: &[u8],
        params: SignatureParams,
        basis_len: u32,
        limits: &Limits,
    ) -> Result<Self, SignatureError> {
        let grid = params.grid(checked_basis_len(basis_len as usize, limits.basis_len_max)?);
        Self::decode_blocks(bytes, params, grid, slice::from_ref(&(0..grid.block_count())), limits)
    }

    /// Reads the signature of the blocks inside `ranges`, as made by [`compute_cells`](Self::compute_cells) over the
    /// same ranges.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and [`SignatureError::BadRange`] when the ranges themselves are wrong.
    pub fn decode_cells(
        bytes: &[u8],
        ranges: &[Range<u32>],
        params: SignatureParams,
        basis_len: u32,
        limits: &Limits,
    ) -> Result<Self, SignatureError> {
        let grid = params.grid(checked_basis_len(basis_len as usize, limits.basis_len_max)?);
        Self::decode_blocks(bytes, params, grid, &block_runs(grid, ranges)?, limits)
    }

    fn decode_blocks(
        bytes: &[u8],
        params: SignatureParams,
        grid: Grid,
        runs: &[Range<u32>],
        limits: &Limits,
    ) -> Result<Self, SignatureError> {
        let block_count = runs.iter().map(|run| run.end - run.start).sum();
        if block_count > limits.block_count_max {
            return Err(SignatureError::TooManyBlocks { block_count, block_count_max: limits.block_count_max });
        }
        match bytes.first() {
            Some(&version) if version != VERSION => return Err(SignatureError::UnknownVersion { version }),
            _ => {}
        }
        let header = header(&params, grid.basis_len());
        let Some(hashes) = bytes.strip_prefix(&header[..]) else {
            return Err(SignatureError::OtherParams);
        };
        if hashes.len() != block_count as usize * entry_len(params) {
            let expected = header.len() + block_count as usize * entry_len(params);
            return Err(SignatureError::WrongLen { found: bytes.len(), expected });
        }
        let (weak, strong) = hashes.split_at(block_count as usize * 4);
        let mut signature = Self::with_room_for(params, grid, runs);
        let (weak, _) = weak.as_chunks::<4>();
        signature.weak.extend(weak.iter().map(|&bytes| u32::from_le_bytes(bytes)));
        signature.strong.extend_from_slice(strong);
        Ok(signature)
    }

    pub(crate) fn weak(&self) -> &[u32] {
        &self.weak
    }

    pub(crate) fn strong_at(&self, entry: u32) -> &[u8] {
        let hash_len = self.params.strong.hash_len();
        &self.strong[entry as usize * hash_len..][..hash_len]
    }

    /// The entries of blocks that have the full length.
    pub(crate) fn full_entries(&self) -> Range<u32> {
        let is_full = |entry: u32| self.range_of(entry).len() == self.params.block_len.as_usize();
        let Some(last) = self.block_count().checked_sub(1) else {
            return 0..0;
        };
        // Only the first and the last block of a basis can be short.
        u32::from(!is_full(0))..if is_full(last) { last + 1 } else { last }
    }

    /// Bytes of the basis that stand behind `entry`, which is below [`block_count`](Self::block_count).
    pub(crate) fn range_of(&self, entry: u32) -> Range<u32> {
        let run = self.runs[self.runs.partition_point(|run| run.entry_start <= entry) - 1];
        self.grid.block_range(run.block_start + (entry - run.entry_start))
    }

    /// The entry of the block that starts at `offset` of the basis, if there is one.
    pub(crate) fn entry_at(&self, offset: u32) -> Option<u32> {
        self.grid.block_at(offset).and_then(|block_index| self.entry_of(block_index))
    }

    fn entry_of(&self, block_index: u32) -> Option<u32> {
        let run_index = self.runs.partition_point(|run| run.block_start <= block_index).checked_sub(1)?;
        let run = self.runs[run_index];
        let entry = run.entry_start + (block_index - run.block_start);
        let entry_end = self.runs.get(run_index + 1).map_or(self.block_count(), |next| next.entry_start);
        (entry < entry_end).then_some(entry)
    }
}

/// Makes the [`Signature`] of a basis that arrives in pieces.
///
/// Keeps at most one block of the basis in memory.
pub struct SignatureBuilder {
    signature: Signature,
    key: HashKey,
    /// Start of a block whose rest has not arrived.
    pending: Vec<u8>,
    /// Full length of that block, unless the basis ends before.
    block_len: usize,
    basis_len: u64,
}

impl fmt::Debug for SignatureBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureBuilder").field("basis_len", &self.basis_len).finish_non_exhaustive()
    }
}

impl SignatureBuilder {
    /// Begins the signature of an empty basis.
    pub fn new(params: SignatureParams, key: &HashKey) -> Self {
        let first_len = if params.phase > 0 { params.phase as usize } else { params.block_len.as_usize() };
        Self {
            signature: Signature::with_room_for(params, params.grid(0), &[]),
            key: key.clone(),
            pending: Vec::new(),
            block_len: first_len,
            basis_len: 0,
        }
    }

    /// Appends `bytes` to the basis.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.basis_len += bytes.len() as u64;
        if !self.pending.is_empty() {
            let missing = (self.block_len - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.pending.len() < self.block_len {
                return;
            }
            self.signature.push(&self.pending, &self.key);
            self.pending.clear();
            self.block_len = self.signature.params.block_len.as_usize();
        }
        while let Some((block, rest)) = bytes.split_at_checked(self.block_len) {
            self.signature.push(block, &self.key);
            self.block_len = self.signature.params.block_len.as_usize();
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The signature of all bytes so far.
    ///
    /// # Errors
    /// [`SignatureError::BasisTooLong`] when they are more than [`LEN_MAX`].
    pub fn finish(mut self) -> Result<Signature, SignatureError> {
        if !self.pending.is_empty() {
            self.signature.push(&self.pending, &self.key);
        }
        if self.basis_len > u64::from(LEN_MAX) {
            return Err(SignatureError::BasisTooLong { basis_len: self.basis_len, basis_len_max: LEN_MAX });
        }
        let basis_len = u32::try_from(self.basis_len).expect("at most LEN_MAX");
        self.signature.grid = self.signature.params.grid(basis_len);
        self.signature.runs = vec![BlockRun { block_start: 0, entry_start: 0 }];
        Ok(self.signature)
    }
}

fn checked_basis_len(basis_len: usize, basis_len_max: u32) -> Result<u32, SignatureError> {
    let basis_len_max = basis_len_max.min(LEN_MAX);
    match u32::try_from(basis_len) {
        Ok(len) if len <= basis_len_max => Ok(len),
        _ => Err(SignatureError::BasisTooLong { basis_len: basis_len as u64, basis_len_max }),
    }
}

/// The blocks inside `ranges`, as runs of block indexes with gaps between them.
fn block_runs(grid: Grid, ranges: &[Range<u32>]) -> Result<Vec<Range<u32>>, SignatureError> {
    let mut joined: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
    for (range_index, range) in ranges.iter().enumerate() {
        let start_min = joined.last().map_or(0, |last| last.end);
        if range.is_empty() || range.start < start_min || range.end > grid.basis_len() {
            return Err(SignatureError::BadRange { range_index, basis_len: grid.basis_len() });
        }
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range.clone()),
        }
    }
    Ok(joined.into_iter().map(|range| grid.blocks_within(range)).filter(|run| !run.is_empty()).collect())
}

fn header(params: &SignatureParams, basis_len: u32) -> Vec<u8> {
    let block_tag = u8::try_from(params.block_len.log2()).expect("at most 17");
    let mut header = vec![VERSION, block_tag, params.strong.tag()];
    varint::put(u64::from(params.phase), &mut header);
    varint::put(u64::from(basis_len), &mut header);
    header
}

fn entry_len(params: SignatureParams) -> usize {
    4 + params.strong.hash_len()
}
