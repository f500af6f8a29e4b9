//! [`RangeReader`]: any range of a file's bytes, chunk by chunk, rebuilt and checked against their ids.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object::{ObjectId, VaultId};
use proto::DriveContent;
use store::{Store, StoreError};
use vault::{Content, Keys, ListPage, PageError, Piece, PlainObject, ReadError, Reader};

use crate::drive::content::{VaultSource, content_of};

/// Opened objects kept: neighbours in one record, and what deltas are made from.
const RECENT_BYTES: usize = 4 << 20;
/// Holes are given out in slices of this size.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Why a file's bytes cannot be had.
pub(crate) type RangeError = ReadError<StoreError>;

/// Reads a range of a file. Memory: some 12 MiB, whatever the file's size.
pub(crate) struct RangeReader {
    reader: Reader<VaultSource>,
    /// What lies ahead, the next last.
    pending: Vec<Step>,
    /// Bytes left to give out, by their place in the file.
    range: Range<u64>,
}

/// A stretch of the file, from `start`.
enum Step {
    /// Covered by a page of the list; `above` is the level of the page that named it.
    Page { id: ObjectId, above: Option<u8>, start: u64, len: u64 },
    /// Covered by a piece.
    Piece { start: u64, piece: Piece },
}

impl Step {
    fn span(&self) -> Range<u64> {
        let (start, len) = match self {
            Self::Page { start, len, .. } => (*start, *len),
            Self::Piece { start, piece } => (*start, piece.span_len()),
        };
        start..start.saturating_add(len)
    }
}

impl RangeReader {
    /// Reads `range` of a file with this content and size; the part of it beyond the end does not exist.
    pub(crate) fn new(
        store: &Store,
        vault: VaultId,
        keys: &Arc<Keys>,
        (content, size): (DriveContent, u64),
        range: Range<u64>,
    ) -> Self {
        let pending = match content_of(content) {
            Content::Empty => Vec::new(),
            Content::Chunk(id) => vec![Step::Piece { start: 0, piece: Piece::Chunk { len: size, id } }],
            Content::List(id) => vec![Step::Page { id, above: None, start: 0, len: size }],
        };
        let source = VaultSource { store: store.clone(), vault };
        let range = range.start.min(size)..range.end.min(size);
        Self { reader: Reader::new(source, Arc::clone(keys), RECENT_BYTES), pending, range }
    }

    /// The next bytes, at most 4 MiB; `None` after the last.
    ///
    /// # Errors
    /// [`RangeError`]: what could not be read is damaged or missing; bytes given out before are right.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, RangeError> {
        while !self.range.is_empty() {
            let Some(step) = self.pending.pop() else { break };
            if step.span().end <= self.range.start {
                continue;
            }
            match step {
                Step::Page { id, above, start, len } => self.descend(id, above, start, len)?,
                Step::Piece { start, piece } => return self.give(start, piece).map(Some),
            }
        }
        Ok(None)
    }

    /// Replaces a page by what it names.
    fn descend(&mut self, id: ObjectId, above: Option<u8>, start: u64, len: u64) -> Result<(), RangeError> {
        let malformed = |what| ReadError::Page { id, source: PageError::Malformed { what } };
        let object = self.reader.object(id)?;
        let page = ListPage::decode(&object).map_err(|source| ReadError::Page { id, source })?;
        let level = match &page {
            ListPage::Leaf(_) => 0,
            ListPage::Inner { level, .. } => *level,
        };
        if above.is_some_and(|above| above != level + 1) {
            return Err(malformed("a page is on the wrong level"));
        }
        let mut end = start;
        let first = self.pending.len();
        let mut advance = |len: u64| {
            let start = end;
            end = end.checked_add(len).ok_or(malformed("lengths overflow"))?;
            Ok(start)
        };
        match page {
            ListPage::Leaf(pieces) => {
                for piece in pieces {
                    let start = advance(piece.span_len())?;
                    self.pending.push(Step::Piece { start, piece });
                }
            }
            ListPage::Inner { level, children } => {
                for (len, id) in children {
                    let start = advance(len)?;
                    self.pending.push(Step::Page { id, above: Some(level), start, len });
                }
            }
        }
        if end - start != len {
            return Err(malformed("a page covers another length than it should"));
        }
        self.pending[first..].reverse();
        Ok(())
    }

    /// The part of a piece that is asked for; of a long hole the first part.
    fn give(&mut self, start: u64, piece: Piece) -> Result<Bytes, RangeError> {
        let from = self.range.start.saturating_sub(start);
        let until = piece.span_len().min(self.range.end - start);
        let bytes = match piece {
            Piece::Chunk { len, id } => {
                let body = self.reader.object(id).and_then(PlainObject::into_chunk)?;
                if body.len() as u64 != len {
                    let what = "a chunk is not as long as its list says";
                    return Err(ReadError::Page { id, source: PageError::Malformed { what } });
                }
                let index = |at: u64| usize::try_from(at).expect("a chunk is at most 4 MiB");
                body.slice(index(from)..index(until))
            }
            Piece::Hole { .. } => {
                let len = (until - from).min(ZEROS.len() as u64);
                if from + len < piece.span_len() {
                    self.pending.push(Step::Piece { start, piece });
                }
                Bytes::from_static(&ZEROS[..usize::try_from(len).expect("at most 64 KiB")])
            }
        };
        self.range.start += bytes.len() as u64;
        Ok(bytes)
    }
}
