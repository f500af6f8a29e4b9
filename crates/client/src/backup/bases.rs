//! [`Bases`]: the chunks of a file's last version, and which of them a new chunk most likely comes from.
//!
//! While a file is cut, chunks that stood in the last version too are anchors: what is new between two anchors most
//! likely comes from what stood between them before, shifted as the anchors are.

use std::collections::HashMap;

use object::ObjectId;
use vault::Piece;

use super::window::WindowChunk;
use crate::outward::outward;
use crate::signature_cache::BasisChunk;

/// Bases tried first for one chunk.
const NEAR_MAX: usize = 6;
/// Further ones, for long runs that the first do not explain.
pub(super) const FAR_MAX: usize = 24;
/// How far an old chunk may be from where it is expected, in bytes, to be tried first.
const NEAR_DISTANCE: u64 = 256 * 1024;

/// The last version's chunks, and how far the new version has been compared with them.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    chunks: Vec<OldChunk>,
    index: HashMap<ObjectId, usize>,
    /// The last chunk that stood in both versions.
    anchor: Option<usize>,
    /// Old offset minus new offset at that anchor.
    shift: i64,
    /// The old chunk that follows, while chunks follow each other as before.
    next: usize,
    follows: bool,
}

#[derive(Debug)]
struct OldChunk {
    chunk: BasisChunk,
    /// It ends where the file or its data ended, not where the cutter wanted.
    ends_data: bool,
    is_matched: bool,
}

impl Bases {
    /// Takes the pieces of the last version with their offsets, in order.
    pub(crate) fn new(pieces: &[(u64, Piece)]) -> Self {
        let mut chunks: Vec<OldChunk> = Vec::with_capacity(pieces.len());
        for (offset, piece) in pieces {
            match piece {
                Piece::Hole { .. } => {
                    if let Some(last) = chunks.last_mut() {
                        last.ends_data = true;
                    }
                }
                Piece::Chunk { len, id } => {
                    let len = u32::try_from(*len).expect("chunks are at most 4 MiB");
                    let chunk = BasisChunk { id: *id, len, offset: *offset };
                    chunks.push(OldChunk { chunk, ends_data: false, is_matched: false });
                }
            }
        }
        if let Some(last) = chunks.last_mut() {
            last.ends_data = true;
        }
        let index = chunks.iter().enumerate().map(|(index, old)| (old.chunk.id, index)).collect();
        Self { chunks, index, follows: true, ..Self::default() }
    }

    /// The length and id of the chunk that comes next if the file goes on as before; `available` bytes are at hand, and
    /// `is_at_end` says whether the data ends with them.
    pub(crate) fn expected(&self, available: usize, is_at_end: bool) -> Option<(usize, ObjectId)> {
        let old = self.chunks.get(self.next).filter(|_| self.follows)?;
        let len = old.chunk.len as usize;
        let fits = if old.ends_data { is_at_end && available == len } else { len <= available };
        fits.then_some((len, old.chunk.id))
    }

    /// Notes the chunk `id` at `offset` of the new version; whether it stood in the last one. `run` are the new chunks
    /// since the anchor before: they get their bases now.
    pub(crate) fn anchor(&mut self, id: &ObjectId, offset: u64, run: &mut [WindowChunk]) -> bool {
        let Some(&first) = self.index.get(id) else {
            self.follows = false;
            return false;
        };
        // Equal chunks may stand in several places; the one that follows is the likelier.
        let follows = self.chunks.get(self.next).is_some_and(|old| old.chunk.id == *id);
        let index = if follows { self.next } else { first };
        self.explain(run, Some((index, offset)));
        let old = &mut self.chunks[index];
        old.is_matched = true;
        self.shift = old.chunk.offset.cast_signed() - offset.cast_signed();
        self.anchor = Some(index);
        self.next = index + 1;
        self.follows = true;
        true
    }

    /// Gives bases to the new chunks of `run`, which lie between the last anchor and `right`: the index of an old chunk
    /// and where it is now.
    pub(crate) fn explain(&self, run: &mut [WindowChunk], right: Option<(usize, u64)>) {
        if self.chunks.is_empty() {
            return;
        }
        let after_left = self.anchor.map_or(0, |anchor| anchor + 1);
        let before_right = right.map_or(self.chunks.len(), |(index, _)| index);
        let right_shift =
            right.map(|(index, offset)| self.chunks[index].chunk.offset.cast_signed() - offset.cast_signed());
        let seams = (self.chunks.get(after_left), before_right.checked_sub(1).map(|index| &self.chunks[index]));
        if let Some(first) = run.first_mut() {
            first.seams.left = seams.0.map(|old| old.chunk);
            first.is_beside_kept |= self.anchor.is_some();
        }
        if let Some(last) = run.last_mut() {
            last.seams.right = seams.1.map(|old| old.chunk);
            last.is_beside_kept |= right.is_some();
        }
        for chunk in run {
            let left_place = chunk.offset.saturating_add_signed(self.shift);
            let right_place = right_shift.map(|shift| chunk.offset.saturating_add_signed(shift));
            let len = chunk.bytes.len() as u64;
            let distance = |old: &BasisChunk| {
                let from_left = gap(old, left_place, len);
                right_place.map_or(from_left, |place| from_left.min(gap(old, place, len)))
            };
            let is_between = |index: usize| after_left <= index && index < before_right;
            let center = self.chunks.partition_point(|old| old.chunk.offset <= left_place).saturating_sub(1);
            let mut near: Vec<(u64, BasisChunk)> = Vec::new();
            let mut far: Vec<(u64, BasisChunk)> = Vec::new();
            for index in outward(center, self.chunks.len()).take(NEAR_MAX + FAR_MAX) {
                let old = &self.chunks[index];
                let distance = distance(&old.chunk);
                if is_between(index) && distance <= NEAR_DISTANCE {
                    near.push((distance, old.chunk));
                } else if !old.is_matched {
                    far.push((distance, old.chunk));
                }
            }
            near.sort_by_key(|(distance, _)| *distance);
            far.sort_by_key(|(distance, _)| *distance);
            let surplus = near.split_off(near.len().min(NEAR_MAX));
            chunk.bases = near.into_iter().map(|(_, old)| old).collect();
            chunk.far_bases = surplus.into_iter().chain(far).map(|(_, old)| old).take(FAR_MAX).collect();
            if chunk.bases.is_empty() {
                std::mem::swap(&mut chunk.bases, &mut chunk.far_bases);
                chunk.far_bases = chunk.bases.split_off(chunk.bases.len().min(NEAR_MAX));
            }
        }
    }
}

/// Bytes between an old chunk and a stretch of `len` bytes at `place`; 0 when they overlap.
fn gap(old: &BasisChunk, place: u64, len: u64) -> u64 {
    let old_end = old.offset + u64::from(old.len);
    place.saturating_sub(old_end).max(old.offset.saturating_sub(place + len))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::window::FileContext;
    use super::*;

    fn id(name: u8) -> ObjectId {
        ObjectId::from_bytes([name; 32])
    }

    /// Chunks of 1 MiB each, named by letters; `.` is a hole of 1 MiB.
    fn old(letters: &str) -> Bases {
        let pieces: Vec<(u64, Piece)> = (0u64..)
            .zip(letters.bytes())
            .map(|(index, letter)| {
                let piece = match letter {
                    b'.' => Piece::Hole { len: 1 << 20 },
                    _ => Piece::Chunk { len: 1 << 20, id: id(letter) },
                };
                (index << 20, piece)
            })
            .collect();
        Bases::new(&pieces)
    }

    /// Cuts a new version: capital letters are new chunks. What each of them is tried against first.
    #[track_caller]
    fn check(before: &str, now: &str, expected: &str) {
        let mut bases = old(before);
        let mut chunks: Vec<WindowChunk> = Vec::new();
        let mut run = 0;
        for (index, letter) in (0u64..).zip(now.bytes()) {
            let offset = index << 20;
            if bases.anchor(&id(letter), offset, &mut chunks[run..]) {
                run = chunks.len();
                continue;
            }
            let file = Arc::new(FileContext::new(PathBuf::new(), None, None));
            let bytes = Bytes::from_static(&[0; 1 << 20]);
            chunks.push(WindowChunk::new(id(letter), bytes, offset, file));
        }
        bases.explain(&mut chunks[run..], None);
        let tried: Vec<String> = chunks
            .iter()
            .map(|chunk| {
                let first = chunk.bases.first().map_or('-', |basis| char::from(basis.id.as_bytes()[0]));
                format!("{}<{first}", char::from(chunk.id.as_bytes()[0]))
            })
            .collect();
        assert_eq!(tried.join(" "), expected);
    }

    #[test]
    fn a_chunk_between_anchors_comes_from_between_them() {
        check("abcdef", "abXdef", "X<c");
        check("abcdef", "XYcdef", "X<a Y<b");
        check("abcdef", "abcdeX", "X<f");
    }

    #[test]
    fn what_stands_beside_a_kept_chunk_is_marked() {
        let mut bases = old("abcdef");
        let file = Arc::new(FileContext::new(PathBuf::new(), None, None));
        let chunk = |letter: u8, index: u64| {
            WindowChunk::new(id(letter), Bytes::from_static(&[0; 1 << 20]), index << 20, Arc::clone(&file))
        };
        let mut run = [chunk(b'X', 0), chunk(b'Y', 1), chunk(b'Z', 2)];
        assert!(bases.anchor(&id(b'd'), 3 << 20, &mut run));
        assert_eq!(run.each_ref().map(|chunk| chunk.is_beside_kept), [false, false, true]);
        let mut run = [chunk(b'U', 4), chunk(b'V', 5)];
        bases.explain(&mut run, None);
        assert_eq!(run.each_ref().map(|chunk| chunk.is_beside_kept), [true, false]);
    }

    #[test]
    fn shifted_chunks_are_found_by_the_shift() {
        check("abcdef", "NabXdef", "N<a X<c");
        check("abcdef", "cdXf", "X<e");
    }

    #[test]
    fn a_file_without_anything_in_common_is_compared_by_place() {
        check("abc", "XYZ", "X<a Y<b Z<c");
        check("", "XY", "X<- Y<-");
    }

    #[test]
    fn what_follows_is_expected_until_it_does_not() {
        let mut bases = old("ab.c");
        assert_eq!(bases.expected(2 << 20, false), Some((1 << 20, id(b'a'))));
        assert!(bases.anchor(&id(b'a'), 0, &mut []));
        assert_eq!(bases.expected(2 << 20, false), None, "b ended before a hole");
        assert_eq!(bases.expected(1 << 20, true), Some((1 << 20, id(b'b'))));
        assert!(!bases.anchor(&id(b'X'), 1 << 20, &mut []));
        assert_eq!(bases.expected(1 << 20, true), None);
        assert!(bases.anchor(&id(b'b'), 2 << 20, &mut []));
        assert_eq!(bases.expected(1 << 20, true), Some((1 << 20, id(b'c'))));
    }
}
