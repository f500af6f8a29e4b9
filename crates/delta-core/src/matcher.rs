//! [`Matcher`]: finds the blocks of several bases in a target, knowing only their signatures.
//!
//! [`Matcher::diff`] looks at a whole target, [`Matcher::refine`] only at the literals that are left, with finer
//! signatures. After a match the block that follows in the basis is tried first, without rolling; only where that
//! fails does the window roll. Invariants: work is linear in the target whatever the signatures say; the ops cover
//! the target once; refining never touches a copy. A match rests on hashes, so unless they are cryptographic the
//! rebuilt target must be compared by its content id.

use std::fmt;
use std::ops::Range;

use crate::index::{Block, BlockIndex};
use crate::limits::{BASIS_COUNT_MAX, BLOCK_COUNT_MAX, LONE_COPY_LEN_MIN, LOOK_UP_COST, miss_bytes_max};
use crate::rolling::Hit;
use crate::{HashKey, LEN_MAX, Op, OpList, Signature, SignatureParams};

/// Signatures of the bases to match against, the preferred ones first.
#[derive(Clone, Debug, Default)]
pub struct BasisSet<'a> {
    members: Vec<Member<'a>>,
    block_count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Member<'a> {
    slot: u8,
    signature: &'a Signature,
}

/// Why a signature cannot join a [`BasisSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BasisSetError {
    /// The set is full.
    #[error("a set holds at most {BASIS_COUNT_MAX} signatures")]
    TooManyBases,
    /// The set would hold more blocks than the index is bounded for.
    #[error("{block_count} blocks exceed the limit of {BLOCK_COUNT_MAX}")]
    TooManyBlocks {
        /// Blocks there would be.
        block_count: u32,
    },
    /// The slot has a signature already.
    #[error("slot {slot} has a signature already")]
    SlotTaken {
        /// The slot.
        slot: u8,
    },
    /// Block length or strong hash differ from those of the other signatures.
    #[error("the signature for slot {slot} has another block length or strong hash than the others")]
    OtherParams {
        /// The slot.
        slot: u8,
    },
}

impl<'a> BasisSet<'a> {
    /// A set without signatures, against which everything is literal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a signature, after the others in preference. `slot` is the number that copies from this basis get. The
    /// signatures of a set share block length and strong hash; their phases may differ.
    ///
    /// # Errors
    /// [`BasisSetError`]; the set is unchanged then.
    pub fn push(&mut self, slot: u8, signature: &'a Signature) -> Result<(), BasisSetError> {
        if self.members.len() == usize::from(BASIS_COUNT_MAX) {
            return Err(BasisSetError::TooManyBases);
        }
        if self.members.iter().any(|member| member.slot == slot) {
            return Err(BasisSetError::SlotTaken { slot });
        }
        let shared = |params: SignatureParams| (params.block_len(), params.strong());
        if self.params().is_some_and(|params| shared(params) != shared(signature.params())) {
            return Err(BasisSetError::OtherParams { slot });
        }
        let block_count = self.block_count.saturating_add(signature.block_count());
        if block_count > BLOCK_COUNT_MAX {
            return Err(BasisSetError::TooManyBlocks { block_count });
        }
        self.block_count = block_count;
        self.members.push(Member { slot, signature });
        Ok(())
    }

    /// Blocks of all signatures together.
    pub fn block_count(&self) -> u32 {
        self.block_count
    }

    pub(crate) fn signatures(&self) -> impl Iterator<Item = &'a Signature> {
        self.members.iter().map(|member| member.signature)
    }

    pub(crate) fn strong_of(&self, block: Block) -> &'a [u8] {
        self.members[block.member as usize].signature.strong_at(block.entry)
    }

    fn weak_of(&self, block: Block) -> u32 {
        self.members[block.member as usize].signature.weak()[block.entry as usize]
    }

    fn range_of(&self, block: Block) -> Range<usize> {
        let range = self.members[block.member as usize].signature.range_of(block.entry);
        range.start as usize..range.end as usize
    }

    /// The block at the end of a basis, when its signature has that.
    fn last_block(&self, member: u32) -> Option<Block> {
        let signature = self.members[member as usize].signature;
        let block = Block { member, entry: signature.block_count().checked_sub(1)? };
        (self.range_of(block).end == signature.basis_len() as usize).then_some(block)
    }

    fn member_count(&self) -> u32 {
        u32::try_from(self.members.len()).expect("at most BASIS_COUNT_MAX")
    }

    /// The parameters of the first signature.
    fn params(&self) -> Option<SignatureParams> {
        self.members.first().map(|member| member.signature.params())
    }
}

/// Why a target was not matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// The target is longer than [`LEN_MAX`].
    #[error("a target of {target_len} bytes exceeds the limit of {LEN_MAX}")]
    TargetTooLong {
        /// Its length in bytes.
        target_len: usize,
    },
    /// There are more bases than exact matching takes.
    #[error("{basis_count} bases exceed the limit of {BASIS_COUNT_MAX}")]
    TooManyBases {
        /// Bases given.
        basis_count: usize,
    },
    /// The bases of exact matching are longer than [`LEN_MAX`] together.
    #[error("bases of {bases_len} bytes exceed the limit of {LEN_MAX}")]
    BasesTooLong {
        /// Length of all bases in bytes.
        bases_len: u64,
    },
    /// The ops to refine are for a target of another length.
    #[error("ops for {list_target_len} bytes do not fit a target of {target_len}")]
    OtherTarget {
        /// Bytes the ops make.
        list_target_len: u32,
        /// Length of the target in bytes.
        target_len: usize,
    },
}

/// What one call found and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchStats {
    /// Bytes of target that became copies in this call.
    pub copied_len: u32,
    /// Windows whose weak hash was that of a block, but whose strong hash was not.
    pub miss_count: u32,
    /// Whether the budget for such windows ran out, and the rest of the target was not searched fully. Real data
    /// does not do that.
    pub gave_up: bool,
}

/// Finds blocks of bases in targets.
///
/// Holds the memory of its index from one call to the next (at most 4 MiB), so one per thread serves any number of
/// targets. Results do not depend on what it did before.
pub struct Matcher {
    key: HashKey,
    index: BlockIndex,
    hits: Vec<Hit>,
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").finish_non_exhaustive()
    }
}

impl Matcher {
    /// A matcher for signatures made with `key`.
    pub fn new(key: &HashKey) -> Self {
        Self { key: key.clone(), index: BlockIndex::new(), hits: Vec::new() }
    }

    /// Replaces `ops` by copies of blocks of `bases`, as many as were found in `target`, and literals.
    ///
    /// Cost: where blocks follow each other as in their basis, one strong hash over the target; elsewhere one step
    /// of the rolling hash and one word of a filter per byte. Linear for any data; [`MatchStats::gave_up`] says when
    /// that cost matches.
    ///
    /// # Errors
    /// [`MatchError::TargetTooLong`] past [`LEN_MAX`].
    pub fn diff(&mut self, bases: &BasisSet<'_>, target: &[u8], ops: &mut OpList) -> Result<MatchStats, MatchError> {
        let target_len = target_len(target)?;
        *ops = OpList::all_literal(target_len);
        self.refine(bases, target, ops)
    }

    /// Replaces parts of the literals in `ops` by copies of blocks of `bases`, which are usually
    /// [cells](Signature::compute_cells) of finer parameters for the ranges that [`OpList::wanted_cells`] named.
    /// Copies stay as they are, so the literals can only shrink.
    ///
    /// # Errors
    /// [`MatchError`] when the target is longer than [`LEN_MAX`] or not the one `ops` are for; `ops` are unchanged.
    pub fn refine(&mut self, bases: &BasisSet<'_>, target: &[u8], ops: &mut OpList) -> Result<MatchStats, MatchError> {
        if target_len(target)? != ops.target_len() {
            let list_target_len = ops.target_len();
            return Err(MatchError::OtherTarget { list_target_len, target_len: target.len() });
        }
        let Some(params) = bases.params() else {
            return Ok(MatchStats::default());
        };
        self.index.rebuild(bases);
        let mut job = Job {
            key: &self.key,
            index: &mut self.index,
            bases,
            params,
            target,
            found: OpList::new(),
            diagonal: None,
            hits: std::mem::take(&mut self.hits),
            miss_bytes_left: miss_bytes_max(target.len()),
            stats: MatchStats::default(),
        };
        let literal_len = ops.literal_len();
        for (range, op) in ops.placed() {
            match op {
                Op::Literal { .. } => job.match_literal(range),
                Op::Copy { slot, offset, .. } => job.pass_copy(range, slot, offset),
            }
        }
        let Job { found, mut stats, hits, .. } = job;
        self.hits = hits;
        stats.copied_len = literal_len - found.literal_len();
        *ops = found;
        Ok(stats)
    }
}

/// Steps of the window between looks at what was found; short at first, because most searches end soon.
const SEARCH_STEPS_MIN: usize = 128;
const SEARCH_STEPS_MAX: usize = 4096;

/// Where the target runs along a basis: byte `t` of the target stands at `t + shift` of it.
#[derive(Clone, Copy)]
struct Diagonal {
    member: u32,
    shift: isize,
}

/// One call of the matcher.
struct Job<'j, 'a> {
    key: &'j HashKey,
    index: &'j mut BlockIndex,
    bases: &'j BasisSet<'a>,
    params: SignatureParams,
    target: &'j [u8],
    found: OpList,
    /// That of the last copy.
    diagonal: Option<Diagonal>,
    hits: Vec<Hit>,
    miss_bytes_left: usize,
    stats: MatchStats,
}

impl Job<'_, '_> {
    fn pass_copy(&mut self, target: Range<u32>, slot: u8, offset: u32) {
        let member = (0..).zip(&self.bases.members).find(|(_, member)| member.slot == slot).map(|(index, _)| index);
        let shift = (offset as usize).cast_signed() - (target.start as usize).cast_signed();
        self.diagonal = member.map(|member| Diagonal { member, shift });
        self.found.push(Op::Copy { slot, offset, len: target.end - target.start });
    }

    fn match_literal(&mut self, run: Range<u32>) {
        let (mut at, end) = (run.start as usize, run.end as usize);
        loop {
            at = self.follow(at, end);
            let Some((found_at, block)) = self.search(at, end) else {
                break;
            };
            let (found_at, block) = self.head_before(block, at, found_at);
            self.push_literal(at..found_at);
            at = self.take(block, found_at);
        }
        if let Some((found_at, block)) = self.find_short_tail(at, end) {
            self.push_literal(at..found_at);
            at = self.take(block, found_at);
        }
        self.push_literal(at..end);
    }

    /// Takes the blocks at `at` that continue the last copy, as long as they match; where a basis is at its end, or
    /// nothing was copied yet, the short first block of another may stand there. Returns the end of the last one.
    fn follow(&mut self, mut at: usize, end: usize) -> usize {
        loop {
            let next = match self.diagonal_offset(at) {
                Some((member, offset)) if offset < self.bases.members[member as usize].signature.basis_len() => {
                    self.block_at(member, offset).filter(|&block| self.matches(block, at, end))
                }
                _ => self.find_short_head(at, end),
            };
            let Some(block) = next else {
                return at;
            };
            at = self.take(block, at);
        }
    }

    /// Rolls over the target until a block matches.
    fn search(&mut self, at: usize, end: usize) -> Option<(usize, Block)> {
        let block_len = self.params.block_len().as_usize();
        if end - at < block_len || self.stats.gave_up {
            return None;
        }
        let rolling = self.key.rolling();
        let mut weak = rolling.hash(&self.target[at..at + block_len]);
        if self.index.filter().may_hold(weak)
            && let Some(block) = self.check_window(at, weak)
        {
            return Some((at, block));
        }
        let mut at = at;
        let mut hits = std::mem::take(&mut self.hits);
        let mut step_count = SEARCH_STEPS_MIN;
        let found = loop {
            step_count = step_count.min(end - at - block_len);
            if step_count == 0 || self.stats.gave_up {
                break None;
            }
            hits.clear();
            let stretch = &self.target[at..at + block_len + step_count];
            weak = rolling.slide(weak, block_len, stretch, self.index.filter(), &mut hits);
            let found = hits.iter().find_map(|hit| {
                let hit_at = at + hit.at as usize;
                self.check_window(hit_at, hit.weak).map(|block| (hit_at, block))
            });
            if found.is_some() {
                break found;
            }
            at += step_count;
            step_count = (step_count * 2).min(SEARCH_STEPS_MAX);
        };
        self.hits = hits;
        found
    }

    /// The block that equals the full-length window at `at`, by weak and strong hash: the one on the diagonal of the
    /// last copy, else the preferred one.
    fn check_window(&mut self, at: usize, weak: u32) -> Option<Block> {
        let block_len = self.params.block_len().as_usize();
        let on_diagonal = self
            .diagonal_offset(at)
            .and_then(|(member, offset)| self.block_at(member, offset))
            .filter(|&block| self.bases.weak_of(block) == weak && self.bases.range_of(block).len() == block_len);
        let mut candidates = on_diagonal.into_iter().chain(self.index.candidates(weak)).peekable();
        let any = candidates.peek().is_some();
        let cost = LOOK_UP_COST + if any { block_len } else { 0 };
        if self.miss_bytes_left < cost {
            self.stats.gave_up = true;
            return None;
        }
        if any {
            let kind = self.params.strong();
            let strong = &kind.hash(self.key, &self.target[at..at + block_len])[..kind.hash_len()];
            if let Some(found) = candidates.find(|&block| self.bases.strong_of(block) == strong) {
                return Some(found);
            }
            drop(candidates);
            self.stats.miss_count += 1;
            self.index.note_miss(weak);
        }
        self.miss_bytes_left -= cost;
        None
    }

    /// The short first block of some basis that equals the target at `at`.
    fn find_short_head(&mut self, at: usize, end: usize) -> Option<Block> {
        (0..self.bases.member_count()).find_map(|member| {
            let block = self.block_at(member, 0)?;
            self.lone_block_matches(block, at, end).then_some(block)
        })
    }

    /// Where the found block is the second of its basis and the short first one stands before it in the target,
    /// takes that too. Returns where the literal ends and the copies begin.
    fn head_before(&self, block: Block, at: usize, found_at: usize) -> (usize, Block) {
        let head_len = self.bases.range_of(block).start;
        let head = self.block_at(block.member, 0).filter(|&head| self.bases.range_of(head).len() == head_len);
        match head {
            Some(head) if found_at - at >= head_len && self.matches(head, found_at - head_len, found_at) => {
                (found_at - head_len, head)
            }
            _ => (found_at, block),
        }
    }

    /// The short last block of some basis that equals the end of the target, and where it starts there.
    fn find_short_tail(&mut self, at: usize, end: usize) -> Option<(usize, Block)> {
        if end < self.target.len() {
            return None;
        }
        (0..self.bases.member_count()).find_map(|member| {
            let block = self.bases.last_block(member)?;
            let start = end.checked_sub(self.bases.range_of(block).len()).filter(|&start| start >= at)?;
            self.lone_block_matches(block, start, end).then_some((start, block))
        })
    }

    /// Whether a short block, found by no search but tried for its place, equals the target at `at`.
    fn lone_block_matches(&mut self, block: Block, at: usize, end: usize) -> bool {
        let len = self.bases.range_of(block).len();
        if len < LONE_COPY_LEN_MIN || len >= self.params.block_len().as_usize() || len > self.miss_bytes_left {
            return false;
        }
        let matches = self.matches(block, at, end);
        if !matches {
            self.miss_bytes_left -= len;
        }
        matches
    }

    /// Whether the target has the block's bytes at `at`, going by the hashes.
    fn matches(&self, block: Block, at: usize, end: usize) -> bool {
        let Some(window) = self.target[..end].get(at..at + self.bases.range_of(block).len()) else {
            return false;
        };
        // A window tried for its place is one against one, so 32 bits of strong hash do; 16 do not.
        let kind = self.params.strong();
        (kind.hash_len() >= 4 || self.key.rolling().hash(window) == self.bases.weak_of(block))
            && kind.hash(self.key, window)[..kind.hash_len()] == *self.bases.strong_of(block)
    }

    /// Copies `block` to the target at `at`, and returns where it ends there.
    fn take(&mut self, block: Block, at: usize) -> usize {
        let range = self.bases.range_of(block);
        let slot = self.bases.members[block.member as usize].slot;
        self.found.push(Op::Copy { slot, offset: to_u32(range.start), len: to_u32(range.len()) });
        let shift = range.start.cast_signed() - at.cast_signed();
        self.diagonal = Some(Diagonal { member: block.member, shift });
        at + range.len()
    }

    fn push_literal(&mut self, range: Range<usize>) {
        self.found.push(Op::Literal { len: to_u32(range.len()) });
    }

    /// Where the diagonal of the last copy meets the basis when the target is at `at`; at most its length.
    fn diagonal_offset(&self, at: usize) -> Option<(u32, u32)> {
        let Diagonal { member, shift } = self.diagonal?;
        let offset = u32::try_from(at.checked_add_signed(shift)?).ok()?;
        let basis_len = self.bases.members[member as usize].signature.basis_len();
        (offset <= basis_len).then_some((member, offset))
    }

    fn block_at(&self, member: u32, offset: u32) -> Option<Block> {
        let entry = self.bases.members[member as usize].signature.entry_at(offset)?;
        Some(Block { member, entry })
    }
}

fn target_len(target: &[u8]) -> Result<u32, MatchError> {
    let target_len = u32::try_from(target.len()).ok().filter(|&len| len <= LEN_MAX);
    target_len.ok_or(MatchError::TargetTooLong { target_len: target.len() })
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).expect("bases and targets are at most LEN_MAX")
}
