//! Lists: the pieces of one file, in order. [`ListBuilder`] writes the pages, [`ListPage`] reads one.
//!
//! A piece is a chunk or a hole; the pieces' lengths add up to the file's size.

use delta_core::varint;
use object::{Kind, ObjectId};

use crate::content::Content;
use crate::cut::CHUNK_LEN_MAX;
use crate::keys::Keys;
use crate::paged::{Layout, PageError, PagedBuilder, RawPage, id_hash, is_boundary_hash, take_edge};
use crate::seal::PlainObject;

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// `len` bytes, 1 to 4 MiB, that are the chunk `id`.
    Chunk {
        /// Bytes in the chunk.
        len: u64,
        /// The chunk.
        id: ObjectId,
    },
    /// `len` zero bytes, at least one, that take no space.
    Hole {
        /// Bytes in the hole.
        len: u64,
    },
}

impl Piece {
    /// Bytes of the file that this piece covers.
    #[must_use]
    pub fn span_len(&self) -> u64 {
        match self {
            Self::Chunk { len, .. } | Self::Hole { len } => *len,
        }
    }
}

#[derive(Clone)]
struct ListLayout;

impl Layout for ListLayout {
    type Item = Piece;
    type Summary = u64;
    const KIND: Kind = Kind::List;

    fn is_boundary(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Chunk { id, .. } => is_boundary_hash(id_hash(id)),
            Piece::Hole { .. } => false,
        }
    }

    fn summary(&self, piece: &Piece) -> u64 {
        piece.span_len()
    }

    fn merge(&self, summary: &mut u64, next: u64) {
        *summary += next;
    }

    fn write_item(&self, piece: &Piece, body: &mut Vec<u8>, edges: &mut Vec<ObjectId>) {
        match piece {
            Piece::Chunk { len, id } => {
                varint::put(len << 1, body);
                edges.push(*id);
            }
            Piece::Hole { len } => varint::put(len << 1 | 1, body),
        }
    }

    fn write_summary(&self, summary: &u64, body: &mut Vec<u8>) {
        varint::put(*summary, body);
    }
}

/// Builds one file's content from its pieces; memory is one open page per level. A clone that is finished is the content so
/// far.
#[derive(Clone)]
pub struct ListBuilder {
    pages: PagedBuilder<ListLayout>,
    /// Held back: a file of a single chunk needs no list.
    first: Option<Piece>,
    piece_count: u64,
    file_len: u64,
}

impl ListBuilder {
    /// A file with no bytes yet.
    #[must_use]
    pub fn new() -> Self {
        Self { pages: PagedBuilder::new(ListLayout), first: None, piece_count: 0, file_len: 0 }
    }

    /// Appends a piece; pages that this completes go to `emit`.
    ///
    /// # Panics
    /// If the piece is empty, or a chunk is longer than 4 MiB.
    pub fn push(&mut self, keys: &Keys, piece: Piece, emit: &mut dyn FnMut(PlainObject)) {
        let is_chunk = matches!(piece, Piece::Chunk { .. });
        assert!(
            piece.span_len() > 0 && (!is_chunk || piece.span_len() <= CHUNK_LEN_MAX as u64),
            "pieces have lengths in range"
        );
        self.file_len += piece.span_len();
        self.piece_count += 1;
        if self.piece_count == 1 {
            self.first = Some(piece);
            return;
        }
        if let Some(first) = self.first.take() {
            self.pages.push(keys, &first, emit);
        }
        self.pages.push(keys, &piece, emit);
    }

    /// Bytes of all pieces so far.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Completes the file's content.
    pub fn finish(mut self, keys: &Keys, emit: &mut dyn FnMut(PlainObject)) -> Content {
        match self.first.take() {
            Some(Piece::Chunk { id, .. }) => return Content::Chunk(id),
            Some(hole) => self.pages.push(keys, &hole, emit),
            None if self.piece_count == 0 => return Content::Empty,
            None => {}
        }
        Content::List(self.pages.finish(keys, emit))
    }
}

impl Default for ListBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListPage {
    /// Pieces of the file, in order.
    Leaf(Vec<Piece>),
    /// Lower pages of level `level - 1`, in order: bytes of the file that each covers, and its id.
    Inner {
        /// Levels below this page, at least 1.
        level: u8,
        /// The pages.
        children: Vec<(u64, ObjectId)>,
    },
}

impl ListPage {
    /// Reads a page.
    ///
    /// # Errors
    /// [`PageError`] for anything but the one encoding of a page.
    pub fn decode(object: &PlainObject) -> Result<Self, PageError> {
        let page = RawPage::parse(object, Kind::List)?;
        if page.level > 0 {
            return Ok(Self::Inner { level: page.level, children: page.items(read_child)? });
        }
        Ok(Self::Leaf(page.items(read_piece)?))
    }
}

fn read_child(bytes: &mut &[u8], edges: &mut &[ObjectId]) -> Result<(u64, ObjectId), PageError> {
    let len = varint::take(bytes).ok_or(PageError::Malformed { what: "a length is cut short" })?;
    Ok((len, take_edge(edges)?))
}

fn read_piece(bytes: &mut &[u8], edges: &mut &[ObjectId]) -> Result<Piece, PageError> {
    let tagged = varint::take(bytes).ok_or(PageError::Malformed { what: "a length is cut short" })?;
    let len = tagged >> 1;
    if len == 0 {
        return Err(PageError::Malformed { what: "a piece is empty" });
    }
    if tagged & 1 == 1 {
        return Ok(Piece::Hole { len });
    }
    if len > CHUNK_LEN_MAX as u64 {
        return Err(PageError::Malformed { what: "a chunk is too long" });
    }
    Ok(Piece::Chunk { len, id: take_edge(edges)? })
}
