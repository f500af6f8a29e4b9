//! The index over the blocks of a [`BasisSet`]: from a weak hash to the few blocks that may have it.
//!
//! An open-addressed table and, in front of it, a bitmap small enough for the CPU's first cache, which turns away
//! most positions of unrelated data. Work per look-up and per insertion is bounded whatever the hashes are: blocks
//! that do not fit within the bounds are left out, which costs bytes and never correctness.

use crate::BasisSet;
use crate::limits::{CANDIDATE_COUNT_MAX, MISS_COUNT_MAX, PROBE_COUNT_MAX};

/// One block of one basis of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Position of its signature in the set.
    pub(crate) member: u32,
    /// Position of its hashes in that signature.
    pub(crate) entry: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    weak: u32,
    block: Block,
    state: SlotState,
    /// Strong checks of windows with this weak hash that matched nothing.
    miss_count: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Empty,
    Taken,
}

const EMPTY: Slot = Slot {
    weak: 0,
    block: Block { member: 0, entry: 0 },
    state: SlotState::Empty,
    miss_count: 0,
};

/// See the [module](self). Reusable: [`rebuild`](Self::rebuild) keeps the memory.
#[derive(Default)]
pub(crate) struct BlockIndex {
    slots: Vec<Slot>,
    slot_shift: u32,
    bitmap: Vec<u64>,
    bitmap_shift: u32,
}

impl BlockIndex {
    /// Fills the index with all blocks of full length, in order of preference.
    pub(crate) fn rebuild(&mut self, bases: &BasisSet<'_>) {
        let block_count = bases.block_count() as usize;
        let slot_count = (block_count * 2).next_power_of_two().max(64);
        self.slots.clear();
        self.slots.resize(slot_count, EMPTY);
        self.slot_shift = 32 - slot_count.trailing_zeros();
        let bit_count = (block_count * 64).next_power_of_two().clamp(1 << 12, 1 << 18);
        self.bitmap.clear();
        self.bitmap.resize(bit_count / 64, 0);
        self.bitmap_shift = 32 - bit_count.trailing_zeros();

        for (member, signature) in (0..).zip(bases.signatures()) {
            let block_len = signature.params().block_len().bytes();
            for (entry, &weak) in (0..).zip(signature.weak()) {
                if signature.range_of(entry).len() == block_len as usize {
                    self.insert(weak, Block { member, entry }, bases);
                }
            }
        }
    }

    fn insert(&mut self, weak: u32, block: Block, bases: &BasisSet<'_>) {
        let mut same_weak_count = 0;
        for slot_index in self.probes(weak) {
            let slot = &mut self.slots[slot_index];
            if slot.state == SlotState::Empty {
                *slot = Slot {
                    weak,
                    block,
                    state: SlotState::Taken,
                    miss_count: 0,
                };
                let bit = spread(weak) >> self.bitmap_shift;
                self.bitmap[bit as usize / 64] |= 1 << (bit % 64);
                return;
            }
            if slot.weak == weak {
                same_weak_count += 1;
                if same_weak_count == CANDIDATE_COUNT_MAX || bases.strong_of(slot.block) == bases.strong_of(block) {
                    return;
                }
            }
        }
    }

    /// Whether some block may have this weak hash; wrong for few others.
    #[inline]
    pub(crate) fn may_hold(&self, weak: u32) -> bool {
        let bit = spread(weak) >> self.bitmap_shift;
        self.bitmap[bit as usize / 64] >> (bit % 64) & 1 == 1
    }

    /// Blocks with this weak hash, the preferred ones first; none when too many windows with it matched nothing.
    pub(crate) fn candidates(&self, weak: u32) -> impl Iterator<Item = Block> + '_ {
        self.probes(weak)
            .map(|slot_index| self.slots[slot_index])
            .take_while(|slot| slot.state == SlotState::Taken)
            .filter(move |slot| slot.weak == weak && slot.miss_count < MISS_COUNT_MAX)
            .map(|slot| slot.block)
    }

    /// Notes that a window with this weak hash matched no candidate.
    pub(crate) fn note_miss(&mut self, weak: u32) {
        for slot_index in self.probes(weak) {
            let slot = &mut self.slots[slot_index];
            if slot.state == SlotState::Empty {
                return;
            }
            if slot.weak == weak {
                slot.miss_count = slot.miss_count.saturating_add(1);
            }
        }
    }

    fn probes(&self, weak: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        let first = (spread(weak) >> self.slot_shift) as usize;
        (first..first + PROBE_COUNT_MAX).map(move |slot_index| slot_index & mask)
    }
}

/// Spreads the entropy of the whole hash over the high bits; its low bits alone are poor.
#[inline]
fn spread(weak: u32) -> u32 {
    weak.wrapping_mul(0x9e37_79b1)
}
