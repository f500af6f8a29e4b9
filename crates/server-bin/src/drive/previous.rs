//! [`PreviousChunks`]: the chunks of a file's last version around the place where the new one is being cut.
//!
//! Chunks that stand in both versions tell how far the content has shifted; a new chunk most likely comes from what stood
//! at its place before, less that shift. Only a window of the old version is in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use object::{ObjectId, VaultId};
use proto::DriveContent;
use store::Store;
use vault::{Keys, Piece, PieceCursor, Reader};

use crate::drive::content::{VaultSource, content_of};

/// Chunks known behind and ahead of the place, some 4 GiB of the file each; 200 kB of memory.
const WINDOW_MAX: usize = 4096;
/// Old chunks that one new chunk is compared with.
const NEAR_MAX: usize = 4;
/// How far an old chunk may be from where the new one is expected, in bytes.
const NEAR_DISTANCE: u64 = 256 << 10;
/// Pages of the old version's list that are kept.
const RECENT_BYTES: usize = 1 << 20;

/// The chunks of a file's last version.
pub(super) struct PreviousChunks {
    window: Window,
    ahead: Option<(PieceCursor, Reader<VaultSource>)>,
}

#[derive(Clone, Copy, Debug)]
struct OldChunk {
    id: ObjectId,
    offset: u64,
    len: u64,
}

impl OldChunk {
    /// Bytes between it and a stretch of `len` bytes at `place`; 0 when they overlap.
    fn gap(&self, place: u64, len: u64) -> u64 {
        place.saturating_sub(self.offset + self.len).max(self.offset.saturating_sub(place + len))
    }
}

impl PreviousChunks {
    /// The chunks of a file with this content and size.
    pub(super) fn new(store: &Store, vault: VaultId, keys: &Arc<Keys>, (content, size): (DriveContent, u64)) -> Self {
        let source = VaultSource { store: store.clone(), vault };
        let reader = Reader::new(source, Arc::clone(keys), RECENT_BYTES);
        Self { window: Window::default(), ahead: Some((PieceCursor::new(content_of(content), size), reader)) }
    }

    /// Whether the chunk `id`, which is at `offset` of the new version, stands in the old one nearby.
    pub(super) fn anchor(&mut self, id: &ObjectId, offset: u64) -> bool {
        self.fill(offset);
        self.window.anchor(id, offset)
    }

    /// What a new chunk most likely comes from, the nearest first.
    pub(super) fn near(&mut self, offset: u64, len: u64) -> Vec<ObjectId> {
        self.fill(offset);
        self.window.near(offset, len)
    }

    fn fill(&mut self, offset: u64) {
        while let Some((cursor, reader)) = &mut self.ahead
            && self.window.wants_more(offset)
        {
            match cursor.next(reader) {
                Ok(Some(piece)) => self.window.push(piece),
                Ok(None) => self.ahead = None,
                Err(error) => {
                    // The new version can do without the old one.
                    tracing::warn!(%error, "the previous version of a file cannot be read");
                    self.ahead = None;
                }
            }
        }
    }
}

/// Part of the old version.
#[derive(Debug, Default)]
struct Window {
    chunks: VecDeque<OldChunk>,
    read_len: u64,
    /// Old offset minus new offset, where both versions last stood together.
    shift: i64,
}

impl Window {
    fn place(&self, offset: u64) -> u64 {
        offset.saturating_add_signed(self.shift)
    }

    fn wants_more(&mut self, offset: u64) -> bool {
        let place = self.place(offset);
        let ahead = self.chunks.len() - self.chunks.partition_point(|old| old.offset <= place);
        while self.chunks.len() - ahead > WINDOW_MAX {
            self.chunks.pop_front();
        }
        ahead < WINDOW_MAX
    }

    fn push(&mut self, piece: Piece) {
        let (offset, len) = (self.read_len, piece.span_len());
        self.read_len = offset.saturating_add(len);
        if let Piece::Chunk { id, .. } = piece {
            self.chunks.push_back(OldChunk { id, offset, len });
        }
    }

    fn anchor(&mut self, id: &ObjectId, offset: u64) -> bool {
        let place = self.place(offset);
        // Equal chunks may stand in several places; the nearest is the likeliest.
        let found = self.chunks.iter().filter(|old| old.id == *id).min_by_key(|old| old.offset.abs_diff(place));
        let shift = found.map(|old| old.offset.cast_signed() - offset.cast_signed());
        self.shift = shift.unwrap_or(self.shift);
        shift.is_some()
    }

    fn near(&self, offset: u64, len: u64) -> Vec<ObjectId> {
        let place = self.place(offset);
        let first = self.chunks.partition_point(|old| old.offset + old.len + NEAR_DISTANCE < place);
        let around = self.chunks.range(first..).take_while(|old| old.offset <= place + len + NEAR_DISTANCE);
        let mut near: Vec<&OldChunk> = around.collect();
        if near.is_empty() {
            near.extend(self.chunks.back());
        }
        near.sort_by_key(|old| (old.gap(place, len), old.offset.abs_diff(place)));
        let mut ids = Vec::with_capacity(NEAR_MAX);
        for old in near {
            if ids.len() < NEAR_MAX && !ids.contains(&old.id) {
                ids.push(old.id);
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn id(name: u8) -> ObjectId {
        ObjectId::from_bytes([name; 32])
    }

    /// Chunks of 1 MiB each, named by letters; `.` is a hole.
    fn window(letters: &str) -> Window {
        let mut window = Window::default();
        for letter in letters.bytes() {
            window.push(match letter {
                b'.' => Piece::Hole { len: MIB },
                _ => Piece::Chunk { len: MIB, id: id(letter) },
            });
        }
        window
    }

    /// Cuts a new version; capital letters are new chunks. What each of them is compared with first.
    #[track_caller]
    fn check(before: &str, now: &str, expected: &str) {
        let mut window = window(before);
        let mut found = Vec::new();
        for (index, letter) in (0..).zip(now.bytes()) {
            if !window.anchor(&id(letter), index * MIB) {
                let near = window.near(index * MIB, MIB);
                found.push(near.first().map_or('-', |id| char::from(id.as_bytes()[0])));
            }
        }
        assert_eq!(found.into_iter().collect::<String>(), expected);
    }

    #[test]
    fn a_new_chunk_is_compared_with_what_stood_there_before() {
        check("abcdef", "abXdef", "c");
        check("abcdef", "cdXf", "e");
        check("abcdef", "NabXdef", "ac");
        check("abc", "abcXY", "cc");
        check("ab.d", "abXY", "bd");
        check("", "X", "-");
    }

    #[test]
    fn only_a_part_is_kept() {
        let mut window = Window::default();
        let mut pushed = 0;
        for place in 0..3 * WINDOW_MAX as u64 {
            while window.wants_more(place * MIB) {
                window.push(Piece::Chunk { len: MIB, id: id(0) });
                pushed += 1;
            }
        }
        assert_eq!(pushed, 4 * WINDOW_MAX);
        assert!(window.chunks.len() <= 2 * WINDOW_MAX);
    }
}
