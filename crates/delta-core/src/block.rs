//! [`BlockLen`], and the grid that cuts a basis into blocks.
//!
//! Every block but the first and the last has the full length. The first is `phase` bytes long (when that is not 0),
//! so that the edges of the others lie where the file's pages lie.

use std::ops::Range;

/// Bytes in every block of a signature but the first and the last: a power of two, 64 B to 128 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockLen(u32);

impl BlockLen {
    /// 8 KiB, for the first look at a changed chunk.
    pub const COARSE: Self = Self(8 << 10);
    /// 4 KiB, for signatures kept in a client's cache and for files that change densely.
    pub const CACHED: Self = Self(4 << 10);
    /// 2 KiB, for hot files of a sealed vault, which has one level only.
    pub const SEALED: Self = Self(2 << 10);
    /// 512 B, for the second look, at what the first left over.
    pub const FINE: Self = Self(512);
    /// 64 B, for a third look.
    pub const FINEST: Self = Self(64);

    /// `None` unless `bytes` is a power of two from 64 to 131 072.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (64..=128 << 10).contains(&bytes)).then_some(Self(bytes))
    }

    /// The length in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }

    pub(crate) fn log2(self) -> u32 {
        self.0.trailing_zeros()
    }

    pub(crate) fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Where the blocks of one basis lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    block_len: BlockLen,
    /// Length of the short first block; 0 when the first block is a full one.
    head_len: u32,
    basis_len: u32,
}

impl Grid {
    /// `basis_len` is at most [`LEN_MAX`](crate::LEN_MAX), so no sum in here overflows.
    pub(crate) fn new(block_len: BlockLen, phase: u32, basis_len: u32) -> Self {
        Self { block_len, head_len: phase.min(basis_len), basis_len }
    }

    pub(crate) fn basis_len(&self) -> u32 {
        self.basis_len
    }

    fn head_count(&self) -> u32 {
        u32::from(self.head_len > 0)
    }

    pub(crate) fn block_count(&self) -> u32 {
        self.head_count() + (self.basis_len - self.head_len).div_ceil(self.block_len.0)
    }

    /// Bytes of the basis that block `index` covers; `index` is below [`block_count`](Self::block_count).
    pub(crate) fn block_range(&self, index: u32) -> Range<u32> {
        if index < self.head_count() {
            return 0..self.head_len;
        }
        let start = self.head_len + ((index - self.head_count()) << self.block_len.log2());
        start..(start + self.block_len.0).min(self.basis_len)
    }

    /// The block that starts at `offset`, if one does.
    pub(crate) fn block_at(&self, offset: u32) -> Option<u32> {
        if offset >= self.basis_len {
            return None;
        }
        let first = self.first_block_from(offset);
        (self.block_range(first).start == offset).then_some(first)
    }

    /// Indexes of the blocks that lie wholly inside `range`.
    pub(crate) fn blocks_within(&self, range: Range<u32>) -> Range<u32> {
        let end = if range.end >= self.basis_len {
            self.block_count()
        } else if range.end < self.head_len {
            0
        } else {
            self.head_count() + ((range.end - self.head_len) >> self.block_len.log2())
        };
        let start = self.first_block_from(range.start).min(end);
        start..end
    }

    /// Index of the first block that starts at or after `offset`; past the last block when there is none.
    fn first_block_from(&self, offset: u32) -> u32 {
        if offset == 0 {
            return 0;
        }
        self.head_count() + offset.saturating_sub(self.head_len).div_ceil(self.block_len.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_in_range() {
        assert_eq!(
            (0..=300_000).filter_map(BlockLen::new).map(BlockLen::bytes).collect::<Vec<_>>(),
            [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072]
        );
    }

    /// Against a list of edges made byte by byte.
    #[test]
    fn grid_equals_its_definition() {
        let block_len = BlockLen::new(64).unwrap();
        for (phase, basis_len) in
            [(0, 0), (0, 1), (0, 64), (0, 200), (1, 0), (1, 1), (1, 65), (63, 40), (63, 63), (63, 300)]
        {
            let grid = Grid::new(block_len, phase, basis_len);
            let edges: Vec<u32> = (0..=basis_len)
                .filter(|&p| p == 0 || p == basis_len || (p >= phase && (p - phase) % 64 == 0))
                .collect();
            let blocks: Vec<Range<u32>> = edges.windows(2).map(|edge| edge[0]..edge[1]).collect();
            assert_eq!((0..grid.block_count()).map(|i| grid.block_range(i)).collect::<Vec<_>>(), blocks);
            for start in 0..=basis_len {
                assert_eq!(
                    grid.block_at(start),
                    blocks.iter().position(|b| b.start == start).map(|i| u32::try_from(i).unwrap())
                );
                for end in start..=basis_len {
                    let within = grid.blocks_within(start..end).map(|i| grid.block_range(i)).collect::<Vec<_>>();
                    let expected =
                        blocks.iter().filter(|b| b.start >= start && b.end <= end).cloned().collect::<Vec<_>>();
                    assert_eq!(within, expected, "phase {phase} basis {basis_len} range {start}..{end}");
                }
            }
        }
    }
}
