//! [`ExactMatcher`]: finds what a target has in common with its bases, to the byte, where all of them are at hand.
//!
//! Blocks find most of it; this finds the rest, so that a database page in which one row changed costs a few bytes.
//! It walks along the target. As long as the bytes equal those of the last copy's basis it only compares; where they
//! differ it looks for the cheapest way on: the same diagonal after a few bytes, the diagonals of known copies, a
//! string nearby in the basis, a string anywhere in the bases. A copy is taken when its bytes would cost more as
//! (compressed) literals than the copy does. The result makes the target whatever was known before, because every
//! byte of every copy is compared. Work is linear in target and bases.

use std::fmt;
use std::ops::Range;

use crate::limits::exact::{
    AHEAD_LEN_MAX, AHEAD_LEN_MIN, AHEAD_PER_LITERAL, ANCHOR_LEN_MIN, FAR_LITERAL_LEN_MIN, FAR_SEED_COUNT_MAX,
    FAR_SEED_COUNT_MIN, FAR_SEEDS_PER_LITERAL, NEAR_LITERAL_LEN_MAX, PRICE_MOVED, PRICE_RESUMED, RESUME_LEN_MAX,
    RESUMED_LEN_MIN, STEP_GROWTH, STEP_MAX,
};
use crate::seeds::{FarSeeds, NearSeeds, WORD_LEN, common_prefix_len, common_suffix_len, word_at};
use crate::{
    BASIS_COUNT_MAX, BLOCK_COUNT_MAX, BasisSet, BlockLen, HashKey, LEN_MAX, MatchError, Matcher, Op, OpList, Signature,
    SignatureParams, StrongKind,
};

/// Finds what a target has in common with its bases, to the byte.
///
/// Holds its tables (at most 8 MiB) from one call to the next; results do not depend on what it did before.
pub struct ExactMatcher {
    near: NearSeeds,
    far: FarSeeds,
    anchors: Matcher,
    anchor_key: HashKey,
}

impl fmt::Debug for ExactMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactMatcher").finish_non_exhaustive()
    }
}

impl Default for ExactMatcher {
    fn default() -> Self {
        Self::new()
    }
}

impl ExactMatcher {
    /// A matcher with empty tables.
    pub fn new() -> Self {
        // No secret: a collision made on purpose costs a comparison, since every copy is compared.
        let anchor_key = HashKey::from_secret(&[0; 32]);
        let anchors = Matcher::new(&anchor_key);
        Self { near: NearSeeds::new(), far: FarSeeds::new(), anchors, anchor_key }
    }

    /// Replaces `ops` by copies from `bases`, whose numbers are their slots, and literals.
    ///
    /// # Errors
    /// [`MatchError`] when there are more than [`BASIS_COUNT_MAX`] bases, or target or bases (together) are longer
    /// than [`LEN_MAX`]; `ops` are unchanged.
    pub fn diff(&mut self, bases: &[&[u8]], target: &[u8], ops: &mut OpList) -> Result<(), MatchError> {
        let bases_len = check_lens(bases, target)?;
        let mut anchor_len = ANCHOR_LEN_MIN;
        while bases_len / anchor_len + u32::from(BASIS_COUNT_MAX) > BLOCK_COUNT_MAX {
            anchor_len *= 2;
        }
        let block_len = BlockLen::new(anchor_len).expect("LEN_MAX needs blocks of 16 KiB");
        let params = SignatureParams::new(block_len, StrongKind::COARSE, 0).expect("phase 0 is always right");
        let signatures: Vec<Signature> = bases
            .iter()
            .map(|basis| Signature::compute(basis, params, &self.anchor_key).expect("at most LEN_MAX"))
            .collect();
        let mut set = BasisSet::new();
        for (slot, signature) in (0..).zip(&signatures) {
            set.push(slot, signature).expect("few enough, of equal parameters, each with its own slot");
        }
        self.anchors.diff(&set, target, ops)?;
        self.refine(bases, target, ops)
    }

    /// Replaces `ops` by more and longer copies, using theirs as a guide. Copies that are wrong (after a false match
    /// of hashes) do no harm.
    ///
    /// # Errors
    /// [`MatchError`] when `ops` are for a target of another length, there are more than [`BASIS_COUNT_MAX`] bases,
    /// or target or bases (together) are longer than [`LEN_MAX`]; `ops` are unchanged.
    pub fn refine(&mut self, bases: &[&[u8]], target: &[u8], ops: &mut OpList) -> Result<(), MatchError> {
        let bases_len = check_lens(bases, target)? as usize;
        if target.len() != ops.target_len() as usize {
            return Err(MatchError::OtherTarget { list_target_len: ops.target_len(), target_len: target.len() });
        }
        if bases_len == 0 {
            *ops = OpList::all_literal(ops.target_len());
            return Ok(());
        }
        let guides: Vec<Guide> = ops.placed().filter_map(|(range, op)| Guide::new(range.start, op, bases)).collect();
        self.near.clear();
        let mut walk = Walk {
            bases,
            basis_starts: basis_starts(bases),
            target,
            guides: &guides,
            near: &mut self.near,
            far: None,
            diagonal: Diagonal { slot: 0, shift: 0 },
            found: OpList::new(),
        };
        walk.match_run(0..target.len());

        let is_far = |op: &&Op| matches!(op, Op::Literal { len } if *len >= FAR_LITERAL_LEN_MIN);
        let far_len: usize = walk.found.ops().iter().filter(is_far).map(|op| op.len() as usize).sum();
        if far_len > 0 {
            let seed_count = (far_len * FAR_SEEDS_PER_LITERAL).clamp(FAR_SEED_COUNT_MIN, FAR_SEED_COUNT_MAX);
            self.far.rebuild(bases, bases_len.div_ceil(seed_count).next_power_of_two());
            walk.far = Some(&self.far);
            let near_only = std::mem::take(&mut walk.found);
            for (range, op) in near_only.placed() {
                if is_far(&&op) {
                    walk.match_run(range.start as usize..range.end as usize);
                } else {
                    walk.pass(range.start, op);
                }
            }
        }
        *ops = walk.found;
        Ok(())
    }
}

/// Where the target runs along a basis: byte `t` of the target stands at `t + shift` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Diagonal {
    slot: usize,
    shift: isize,
}

impl Diagonal {
    fn of_copy(at: usize, slot: usize, offset: usize) -> Self {
        Self { slot, shift: offset.cast_signed() - at.cast_signed() }
    }

    /// Where byte `at` of the target stands in the basis.
    #[inline]
    fn offset(self, at: usize) -> Option<usize> {
        at.checked_add_signed(self.shift)
    }
}

/// A copy that was found before: from byte `at` of the target on, its diagonal is a good guess.
#[derive(Clone, Copy)]
struct Guide {
    at: usize,
    diagonal: Diagonal,
}

impl Guide {
    fn new(at: u32, op: Op, bases: &[&[u8]]) -> Option<Self> {
        let Op::Copy { slot, offset, .. } = op else {
            return None;
        };
        let (at, slot) = (at as usize, usize::from(slot));
        (slot < bases.len()).then_some(Self { at, diagonal: Diagonal::of_copy(at, slot, offset as usize) })
    }
}

/// Bytes of the target that stand in a basis.
#[derive(Clone, Copy)]
struct Match {
    diagonal: Diagonal,
    at: usize,
    len: usize,
}

impl Match {
    fn end(&self) -> usize {
        self.at + self.len
    }
}

/// A place in the target at which a way on is looked for.
#[derive(Clone, Copy)]
struct Place {
    /// Where the last copy ended; matches found here may reach back to there.
    literal_start: usize,
    at: usize,
    /// End of the run, which matches do not pass.
    end: usize,
    /// The 8 bytes at `at`.
    word: u64,
}

/// The walk along one target.
struct Walk<'w> {
    bases: &'w [&'w [u8]],
    /// Where each basis starts when all are laid end to end.
    basis_starts: Vec<usize>,
    target: &'w [u8],
    guides: &'w [Guide],
    near: &'w mut NearSeeds,
    far: Option<&'w FarSeeds>,
    /// That of the last copy.
    diagonal: Diagonal,
    found: OpList,
}

impl Walk<'_> {
    /// Takes over an op as it is.
    fn pass(&mut self, at: u32, op: Op) {
        if let Op::Copy { slot, offset, .. } = op {
            self.diagonal = Diagonal::of_copy(at as usize, usize::from(slot), offset as usize);
        }
        self.found.push(op);
    }

    /// Finds the ops of one run of the target.
    fn match_run(&mut self, run: Range<usize>) {
        let mut at = run.start;
        let mut literal_start = at;
        let mut miss_count = 0;
        let mut guide_index = self.guides.partition_point(|guide| guide.at <= at);
        while at + WORD_LEN <= run.end {
            while self.guides.get(guide_index).is_some_and(|guide| guide.at <= at) {
                guide_index += 1;
            }
            let place = Place { literal_start, at, end: run.end, word: word_at(self.target, at) };
            let found = self.on_last_diagonal(&place).or_else(|| {
                let by_guides = self.on_guides(&place, guide_index);
                let moved =
                    by_guides.or_else(|| self.by_near_seeds(&place)).into_iter().chain(self.by_far_seeds(&place));
                moved.max_by_key(|found| found.len).map(|found| self.resume_instead(&place, found))
            });
            if let Some(found) = found {
                self.take(literal_start, found);
                at = found.end();
                literal_start = at;
                miss_count = 0;
            } else {
                miss_count += 1;
                at += (1 + miss_count / STEP_GROWTH).min(STEP_MAX);
            }
        }
        self.found.push(Op::Literal { len: to_u32(run.end - literal_start) });
    }

    fn take(&mut self, literal_start: usize, found: Match) {
        let offset = found.diagonal.offset(found.at).expect("its bytes were compared");
        let slot = u8::try_from(found.diagonal.slot).expect("at most BASIS_COUNT_MAX");
        self.found.push(Op::Literal { len: to_u32(found.at - literal_start) });
        self.found.push(Op::Copy { slot, offset: to_u32(offset), len: to_u32(found.len) });
        self.diagonal = found.diagonal;
    }

    /// The match on the diagonal of the last copy, when one starts right here.
    #[inline]
    fn on_last_diagonal(&self, place: &Place) -> Option<Match> {
        let equal_bits = (self.word_on(self.diagonal, place.at)? ^ place.word).trailing_zeros();
        if equal_bits < 8 * RESUMED_LEN_MIN { None } else { self.grow(place, self.diagonal, PRICE_RESUMED) }
    }

    /// The match on the diagonal of the guide before this place, or of the one after it.
    #[inline]
    fn on_guides(&self, place: &Place, next_guide_index: usize) -> Option<Match> {
        let before = next_guide_index.checked_sub(1).map(|index| self.guides[index]);
        let after = self.guides.get(next_guide_index).copied();
        [before, after].into_iter().flatten().find_map(|guide| {
            let equal = guide.diagonal != self.diagonal && self.word_on(guide.diagonal, place.at)? == place.word;
            if equal { self.grow(place, guide.diagonal, PRICE_MOVED) } else { None }
        })
    }

    #[inline]
    fn by_near_seeds(&mut self, place: &Place) -> Option<Match> {
        let literal_len = place.at - place.literal_start;
        if literal_len > NEAR_LITERAL_LEN_MAX {
            return None;
        }
        let Diagonal { slot, shift } = self.diagonal;
        let here = place.at.saturating_add_signed(shift);
        let until = here + (AHEAD_LEN_MIN + AHEAD_PER_LITERAL * literal_len).min(AHEAD_LEN_MAX);
        let from = here.saturating_sub(literal_len);
        self.near.cover(self.bases[slot], self.basis_starts[slot], from, until, AHEAD_LEN_MAX);
        let position = self.near.find(place.word)?;
        self.grow_at(place, position)
    }

    #[inline]
    fn by_far_seeds(&self, place: &Place) -> Option<Match> {
        let position = self.far?.find(&self.target[place.at..place.end])?;
        self.grow_at(place, position)
    }

    /// The match through `place` and a position of the bases laid end to end.
    fn grow_at(&self, place: &Place, position: usize) -> Option<Match> {
        let slot = self.basis_starts.partition_point(|&start| start <= position) - 1;
        let diagonal = Diagonal::of_copy(place.at, slot, position - self.basis_starts[slot]);
        if self.word_on(diagonal, place.at)? == place.word { self.grow(place, diagonal, PRICE_MOVED) } else { None }
    }

    /// The longest match on `diagonal` through `place`, when it is worth its price.
    fn grow(&self, place: &Place, diagonal: Diagonal, price: u32) -> Option<Match> {
        let basis = self.bases[diagonal.slot];
        let offset = diagonal.offset(place.at)?;
        let after = common_prefix_len(&self.target[place.at..place.end], &basis[offset..]);
        let before = common_suffix_len(&self.target[place.literal_start..place.at], &basis[..offset]);
        let found = Match { diagonal, at: place.at - before, len: before + after };
        costs_at_least(price, &self.target[found.at..found.end()]).then_some(found)
    }

    /// Where the diagonal of the last copy goes on after a few bytes, and as far as `found`, staying on it is better.
    fn resume_instead(&self, place: &Place, found: Match) -> Match {
        let diagonal = self.diagonal;
        let resumed = (place.at + 1..=place.at + RESUME_LEN_MAX)
            .find(|&at| at + WORD_LEN <= place.end && self.word_on(diagonal, at) == Some(word_at(self.target, at)));
        let Some((at, offset)) = resumed.and_then(|at| Some((at, diagonal.offset(at)?))) else {
            return found;
        };
        let len = common_prefix_len(&self.target[at..place.end], &self.bases[diagonal.slot][offset..]);
        if at + len < found.end() { found } else { Match { diagonal, at, len } }
    }

    /// The 8 bytes of basis that stand on `diagonal` against byte `at` of the target.
    #[inline]
    fn word_on(&self, diagonal: Diagonal, at: usize) -> Option<u64> {
        let offset = diagonal.offset(at)?;
        let word = self.bases[diagonal.slot].get(offset..)?.first_chunk::<WORD_LEN>()?;
        Some(u64::from_le_bytes(*word))
    }
}

/// Whether `bytes` as literals cost at least `price`, in tenths of a byte after compression.
///
/// Rough on purpose: text compresses to a third, zeros to nothing, and other bytes not at all. Measured on databases,
/// sources, logs and programs, all numbers nearby give the same sizes within a few percent.
fn costs_at_least(price: u32, bytes: &[u8]) -> bool {
    let mut cost = 0;
    bytes.iter().any(|&byte| {
        cost += match byte {
            0 => 1,
            b'\t' | b'\n' | b'\r' | b' '..=b'~' => 3,
            _ => 10,
        };
        cost >= price
    })
}

fn check_lens(bases: &[&[u8]], target: &[u8]) -> Result<u32, MatchError> {
    if target.len() > LEN_MAX as usize {
        return Err(MatchError::TargetTooLong { target_len: target.len() });
    }
    if bases.len() > usize::from(BASIS_COUNT_MAX) {
        return Err(MatchError::TooManyBases { basis_count: bases.len() });
    }
    let bases_len: u64 = bases.iter().map(|basis| basis.len() as u64).sum();
    match u32::try_from(bases_len) {
        Ok(len) if len <= LEN_MAX => Ok(len),
        _ => Err(MatchError::BasesTooLong { bases_len }),
    }
}

fn basis_starts(bases: &[&[u8]]) -> Vec<usize> {
    let starts = bases.iter().scan(0, |end, basis| {
        let start = *end;
        *end += basis.len();
        Some(start)
    });
    starts.collect()
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).expect("bases and targets are at most LEN_MAX")
}
