//! [`at_seams`]: where the bytes at the edges of a chunk most likely come from, when a region that moved begins or ends
//! within it: what the chunks beside it came from goes on there.

use std::ops::Range;
use std::sync::Arc;

use delta_core::Op;

use super::matching::{CELLS, Job, LONG_LITERAL_LEN};
use super::window::distinct;
use crate::signature_cache::BasisChunk;

/// Literals at a chunk's edge up to this length are looked for where its neighbours came from; longer ones have coarse
/// blocks that tell more for less.
const SEAM_LITERAL_LEN_MAX: u32 = 2 * LONG_LITERAL_LEN;

/// One of the two ends of a chunk.
#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

/// Ranges of chunks of the last version in which the literals at the edges of the chunk of job `index` are worth looking for.
pub(super) fn at_seams(jobs: &[Job<'_>], index: usize) -> Vec<(BasisChunk, Range<u32>)> {
    let job = &jobs[index];
    let before = index.checked_sub(1).map(|index| &jobs[index]).filter(|before| precedes(before, job));
    let after = jobs.get(index + 1).filter(|after| precedes(job, after));
    let seams = [job.chunk.seams.left, job.chunk.seams.right].into_iter().flatten();
    let beside = before.into_iter().chain(after).flat_map(|job| job.bases.iter().copied());
    let around = job.chunk.bases.iter().chain(&job.chunk.far_bases).copied();
    let known = distinct(seams.chain(beside).chain(around));
    // Stretches of the last version, in bytes from its start.
    let mut stretches: Vec<Range<u64>> = Vec::new();
    for edge in [Edge::Start, Edge::End] {
        let Some(window) = edge.ops(job).0.and_then(seam_window) else {
            continue;
        };
        let (seam, beside) = match edge {
            Edge::Start => {
                (job.chunk.seams.left.map(|old| old.offset), before.and_then(|job| old_place(job, Edge::End)))
            }
            Edge::End => {
                let seam = job.chunk.seams.right.map(|old| old.offset + u64::from(old.len));
                (seam, after.and_then(|job| old_place(job, Edge::Start)))
            }
        };
        stretches.extend(seam.into_iter().chain(beside).map(|place| edge.stretch(place, window)));
    }
    let within = |old: BasisChunk, stretch: &Range<u64>| {
        let clamped =
            |place: u64| u32::try_from(place.saturating_sub(old.offset)).map_or(old.len, |at| at.min(old.len));
        (old, clamped(stretch.start)..clamped(stretch.end))
    };
    let mut ranges: Vec<(BasisChunk, Range<u32>)> = Vec::new();
    for old in known {
        ranges.extend(stretches.iter().map(|stretch| within(old, stretch)).filter(|(_, range)| !range.is_empty()));
    }
    ranges
}

impl Edge {
    /// The operation at this edge of a chunk, and the one next to it.
    fn ops<'j>(self, job: &'j Job<'_>) -> (Option<&'j Op>, Option<&'j Op>) {
        let mut ops = job.ops.ops().iter();
        match self {
            Self::Start => (ops.next(), ops.next()),
            Self::End => (ops.next_back(), ops.next_back()),
        }
    }

    /// `window` bytes inwards from a place that this edge came from.
    fn stretch(self, place: u64, window: u64) -> Range<u64> {
        match self {
            Self::Start => place..place + window,
            Self::End => place.saturating_sub(window)..place,
        }
    }
}

/// Whether `other` is the chunk after that of `job` in the same file.
fn precedes(job: &Job<'_>, other: &Job<'_>) -> bool {
    Arc::ptr_eq(&job.chunk.file, &other.chunk.file)
        && job.chunk.offset + job.chunk.bytes.len() as u64 == other.chunk.offset
}

/// Where in the last version the bytes at an edge of a chunk were, by the copy nearest to it.
fn old_place(job: &Job<'_>, edge: Edge) -> Option<u64> {
    let (literal_len, copy) = match edge.ops(job) {
        (Some(Op::Literal { len }), Some(copy)) => (*len, copy),
        (copy, _) => (0, copy?),
    };
    let Op::Copy { slot, offset, len } = copy else {
        return None;
    };
    let start = job.bases[usize::from(*slot)].offset + u64::from(*offset);
    match edge {
        Edge::Start => start.checked_sub(u64::from(literal_len)),
        Edge::End => Some(start + u64::from(*len) + u64::from(literal_len)),
    }
}

/// Bytes of the last version to look at for a literal at the edge of a chunk.
fn seam_window(op: &Op) -> Option<u64> {
    let is_fitting = (*CELLS.literal_lens.start()..=SEAM_LITERAL_LEN_MAX).contains(&op.len());
    (is_fitting && matches!(op, Op::Literal { .. })).then(|| u64::from(op.len()) + u64::from(CELLS.reach))
}
