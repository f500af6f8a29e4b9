//! The index over the blocks of a [`BasisSet`]: from a weak hash to the few blocks that may have it.
//!
//! An open-addressed table, and a [`Filter`] in front of it that turns away most positions of unrelated data. Work
//! per look-up and per insertion is bounded whatever the hashes are: blocks that do not fit within the bounds are
//! left out, which costs bytes and never correctness.

use crate::BasisSet;
use crate::filter::{Filter, SPREAD};
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
    /// Position of the block's hashes in its signature.
    entry: u32,
    /// Position of the signature in the set; [`EMPTY`] when there is no block.
    member: u8,
    /// Windows with this weak hash that matched nothing.
    miss_count: u8,
}

const EMPTY: u8 = u8::MAX;

/// See the [module](self). Reusable: [`rebuild`](Self::rebuild) keeps the memory.
pub(crate) struct BlockIndex {
    slots: Vec<Slot>,
    slot_shift: u32,
    filter: Filter,
}

impl BlockIndex {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), slot_shift: 0, filter: Filter::new() }
    }

    /// Fills the index with all blocks of full length, in order of preference.
    pub(crate) fn rebuild(&mut self, bases: &BasisSet<'_>) {
        let block_count = bases.block_count() as usize;
        let slot_count = (block_count * 2).next_power_of_two().max(64);
        self.slots.clear();
        // Bounded: twice the blocks, which are there, and at most `BLOCK_COUNT_MAX`.
        self.slots.resize(slot_count, Slot { weak: 0, entry: 0, member: EMPTY, miss_count: 0 });
        self.slot_shift = 32 - slot_count.trailing_zeros();
        self.filter.reset(block_count);
        for (member, signature) in (0..).zip(bases.signatures()) {
            for entry in signature.full_entries() {
                self.insert(signature.weak()[entry as usize], Block { member, entry }, bases);
            }
        }
    }

    fn insert(&mut self, weak: u32, block: Block, bases: &BasisSet<'_>) {
        let mut same_weak_count = 0;
        for slot_index in self.probes(weak) {
            let slot = self.slots[slot_index];
            if slot.member == EMPTY {
                let member = u8::try_from(block.member).expect("at most BASIS_COUNT_MAX");
                self.slots[slot_index] = Slot { weak, entry: block.entry, member, miss_count: 0 };
                self.filter.insert(weak);
                return;
            }
            if slot.weak == weak {
                same_weak_count += 1;
                if same_weak_count == CANDIDATE_COUNT_MAX || bases.strong_of(slot.block()) == bases.strong_of(block) {
                    return;
                }
            }
        }
    }

    /// The weak hashes in the index, and few others.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Blocks with this weak hash, the preferred ones first; none when too many windows with it matched nothing.
    pub(crate) fn candidates(&self, weak: u32) -> impl Iterator<Item = Block> + '_ {
        self.probes(weak)
            .map(|slot_index| self.slots[slot_index])
            .take_while(|slot| slot.member != EMPTY)
            .filter(move |slot| slot.weak == weak && slot.miss_count < MISS_COUNT_MAX)
            .map(Slot::block)
    }

    /// Notes that a window with this weak hash matched no candidate.
    pub(crate) fn note_miss(&mut self, weak: u32) {
        for slot_index in self.probes(weak) {
            let slot = &mut self.slots[slot_index];
            if slot.member == EMPTY {
                return;
            }
            if slot.weak == weak {
                slot.miss_count = slot.miss_count.saturating_add(1);
            }
        }
    }

    fn probes(&self, weak: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        let first = (weak.wrapping_mul(SPREAD) >> self.slot_shift) as usize;
        (first..first + PROBE_COUNT_MAX).map(move |slot_index| slot_index & mask)
    }
}

impl Slot {
    fn block(self) -> Block {
        Block { member: u32::from(self.member), entry: self.entry }
    }
}
