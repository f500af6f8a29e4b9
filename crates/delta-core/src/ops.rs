//! [`OpList`]: how a target is made of copies from its bases and of literals, in order.
//!
//! Invariant: the ops cover the target once, from its first byte to its last; no op is empty, no literal follows a
//! literal, and no copy continues the copy before it in the same basis. So one way to build a target has one list.

use std::ops::Range;

/// Bytes of one basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasisRange {
    /// Which basis.
    pub slot: u8,
    /// Which bytes of it.
    pub range: Range<u32>,
}

/// One step of building a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `len` bytes that stand at `offset` of the basis in `slot`.
    Copy {
        /// Which basis.
        slot: u8,
        /// First byte of it, counted from its start.
        offset: u32,
        /// Bytes to copy.
        len: u32,
    },
    /// `len` bytes that no basis is known to hold; they stand in the target at the position of the op.
    Literal {
        /// Bytes of target.
        len: u32,
    },
}

impl Op {
    /// Bytes of target it makes.
    pub fn len(&self) -> u32 {
        match *self {
            Self::Copy { len, .. } | Self::Literal { len } => len,
        }
    }

    /// Whether it makes no bytes; such an op is never in an [`OpList`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The ops of one target: they cover it once and in order, none is empty, and none continues the one before it.
///
/// Memory: 16 bytes per op.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpList {
    ops: Vec<Op>,
    target_len: u32,
}

impl OpList {
    /// The list of an empty target.
    pub fn new() -> Self {
        Self::default()
    }

    /// One literal of `target_len` bytes: what is known before any look at a basis.
    pub fn all_literal(target_len: u32) -> Self {
        let mut list = Self::new();
        list.push(Op::Literal { len: target_len });
        list
    }

    /// Appends `op`; joins it to the last one where it continues that, and drops it when it is empty.
    ///
    /// # Panics
    /// When the target would grow past `u32::MAX` bytes, or a copy end past that in its basis.
    pub fn push(&mut self, op: Op) {
        if op.is_empty() {
            return;
        }
        self.target_len = self.target_len.checked_add(op.len()).expect("targets are below 4 GiB");
        match (self.ops.last_mut(), op) {
            (Some(Op::Literal { len }), Op::Literal { len: more }) => *len += more,
            (
                Some(Op::Copy { slot: last_slot, offset: last_offset, len: last_len }),
                Op::Copy { slot, offset, len },
            ) if *last_slot == slot && *last_offset + *last_len == offset => {
                *last_len = last_len.checked_add(len).expect("at most target_len");
            }
            _ => self.ops.push(op),
        }
        if let Some(Op::Copy { offset, len, .. }) = self.ops.last() {
            assert!(offset.checked_add(*len).is_some(), "bases are below 4 GiB");
        }
    }

    /// Removes all ops but keeps their memory.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.target_len = 0;
    }

    /// The ops, in order of the target.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The ops, each with the bytes of target it makes.
    pub fn placed(&self) -> impl Iterator<Item = (Range<u32>, Op)> + '_ {
        self.ops.iter().scan(0, |end, &op| {
            let start = *end;
            *end += op.len();
            Some((start..*end, op))
        })
    }

    /// Length of the target in bytes.
    pub fn target_len(&self) -> u32 {
        self.target_len
    }

    /// Bytes of target in literals.
    pub fn literal_len(&self) -> u32 {
        self.ops.iter().map(|op| if let Op::Literal { len } = op { *len } else { 0 }).sum()
    }

    /// Bytes of target copied from each slot: as many numbers as there are slots up to the highest one used.
    pub fn copied_lens(&self) -> Vec<u32> {
        let mut copied_lens = Vec::new();
        for op in &self.ops {
            if let Op::Copy { slot, len, .. } = *op {
                let slot = usize::from(slot);
                // Bounded: slots are numbered by a byte.
                copied_lens.resize(copied_lens.len().max(slot + 1), 0);
                copied_lens[slot] += len;
            }
        }
        copied_lens
    }

    /// The same target with the bases renumbered: slot `kept[i]` becomes slot `i`, and copies from slots that are
    /// not in `kept` become literals.
    ///
    /// For matching against many bases and then keeping the few that give most, in the order in which their ids are
    /// recorded.
    pub fn keep_slots(&self, kept: &[u8]) -> Self {
        let mut list = Self::new();
        for &op in &self.ops {
            list.push(match op {
                Op::Copy { slot, offset, len } => match (0..).zip(kept).find(|&(_, &old)| old == slot) {
                    Some((slot, _)) => Op::Copy { slot, offset, len },
                    None => Op::Literal { len },
                },
                literal => literal,
            });
        }
        list
    }

    /// For each literal of at least `rules.literal_len_min` bytes, where in the bases its bytes most likely come
    /// from: between the places that the copies before and after it come from. `basis_lens` are the lengths of all
    /// slots, in bytes.
    ///
    /// A list without any copy points at the bytes of slot 0 at the same distance from the start.
    pub fn gaps<'a>(&'a self, basis_lens: &'a [u32], rules: GapRules) -> impl Iterator<Item = Gap> + 'a {
        let copy_at = |index: Option<usize>| match self.ops.get(index?) {
            Some(&Op::Copy { slot, offset, len }) => Some(BasisRange { slot, range: offset..offset + len }),
            _ => None,
        };
        self.placed().enumerate().filter_map(move |(index, (target, op))| {
            if !matches!(op, Op::Literal { .. }) || op.len() < rules.literal_len_min {
                return None;
            }
            let (before, after) = (copy_at(index.checked_sub(1)), copy_at(index.checked_add(1)));
            Some(Gap { wanted: wanted(&target, before, after, basis_lens, rules.reach), target })
        })
    }

    /// The basis ranges of all [`gaps`](Self::gaps), joined per slot: what to ask finer cells for. Slots in rising
    /// order; the ranges of each in order, with gaps between them.
    pub fn wanted_cells(&self, basis_lens: &[u32], rules: GapRules) -> Vec<(u8, Vec<Range<u32>>)> {
        let mut all: Vec<BasisRange> =
            self.gaps(basis_lens, rules).flat_map(|gap| gap.wanted.into_iter().flatten()).collect();
        all.sort_unstable_by_key(|wanted| (wanted.slot, wanted.range.start));
        let mut per_slot: Vec<(u8, Vec<Range<u32>>)> = Vec::new();
        for BasisRange { slot, range } in all {
            if per_slot.last().is_none_or(|(last, _)| *last != slot) {
                per_slot.push((slot, Vec::new()));
            }
            let ranges = &mut per_slot.last_mut().expect("just pushed").1;
            match ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => ranges.push(range),
            }
        }
        per_slot
    }
}

/// Which literals are worth a finer look, and how far around them to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRules {
    /// Shortest literal in bytes that counts; at least the finer block length makes sense.
    pub literal_len_min: u32,
    /// Bytes of basis to look at beyond as many as the literal has, next to each neighbouring copy.
    pub reach: u32,
}

/// One literal, and the bytes of basis it may have come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The literal: bytes of target.
    pub target: Range<u32>,
    /// Where to look: after the copy before it, before the copy after it; one range when the two meet.
    pub wanted: [Option<BasisRange>; 2],
}

fn wanted(
    target: &Range<u32>,
    before: Option<BasisRange>,
    after: Option<BasisRange>,
    basis_lens: &[u32],
    reach: u32,
) -> [Option<BasisRange>; 2] {
    let window = (target.end - target.start).saturating_add(reach);
    let basis_len = |slot: u8| basis_lens.get(usize::from(slot)).copied().unwrap_or(0);
    let some = |slot, range: Range<u32>| (!range.is_empty()).then_some(BasisRange { slot, range });

    let (Some(before), Some(after)) = (&before, &after) else {
        let right_of = before.map(|BasisRange { slot, range }| {
            some(slot, range.end..range.end.saturating_add(window).min(basis_len(slot)))
        });
        let left_of =
            after.map(|BasisRange { slot, range }| some(slot, range.start.saturating_sub(window)..range.start));
        let aligned =
            || some(0, target.start.saturating_sub(reach)..target.end.saturating_add(reach).min(basis_len(0)));
        return [right_of.or(left_of).unwrap_or_else(aligned), None];
    };
    let (right_of, left_of) = (before.range.end, after.range.start);
    if before.slot == after.slot && right_of <= left_of {
        if left_of - right_of <= window.saturating_mul(2) {
            return [some(before.slot, right_of..left_of), None];
        }
        return [some(before.slot, right_of..right_of + window), some(after.slot, left_of - window..left_of)];
    }
    [
        some(before.slot, right_of..right_of.saturating_add(window).min(basis_len(before.slot))),
        some(after.slot, left_of.saturating_sub(window)..left_of),
    ]
}
