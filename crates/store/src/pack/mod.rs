//! Packs: [`PackWriter`] makes one, [`PackReader`] reads one, [`scan::PackScan`] saves what it can from a
//! damaged one.

pub(crate) mod contents;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod writer;

pub(crate) use reader::{PackFault, PackReader};
pub(crate) use writer::PackWriter;

use object::{BODY_LEN_MAX, HEAD_LEN_MAX};

use crate::layout::pack::SYNC_MARKER;

/// Longest sync marker and record.
pub(crate) const SPAN_LEN_MAX: usize = SYNC_MARKER.len() + HEAD_LEN_MAX + BODY_LEN_MAX + 8;

/// Where a sync marker and its record stand in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// A complete pack's file, as the catalog remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackFile {
    pub(crate) len: u64,
    pub(crate) record_count: u32,
    /// What the trailer says, if the file bears it out.
    pub(crate) hash: Option<[u8; 32]>,
}

impl Span {
    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

#[cfg(test)]
mod tests;
