//! Long sequences as pages cut by content: [`PagedBuilder`] writes them bottom up with one open page per level.
//!
//! A page ends after an item whose boundary hash says so (one in [`PAGE_ITEMS_AVG`]), or when it is full. So a changed
//! item costs one page per level, however long the sequence is, and equal runs of items have equal pages.

use bytes::Bytes;
use delta_core::varint;
use object::{Kind, ObjectId};

use crate::fields::FieldError;
use crate::keys::Keys;
use crate::seal::PlainObject;

const FORMAT: u8 = 1;
const PAGE_ITEMS_AVG: u32 = 128;
const PAGE_ITEMS_MAX: usize = 1024;
/// A page with more bytes than this ends, whatever its items are.
const PAGE_BYTES_FULL: usize = 256 * 1024;
/// 128^8 items is more than anybody has.
const LEVEL_MAX: u8 = 8;

/// Why a page of a list or tree cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum PageError {
    /// Another kind of object.
    #[error("object is a {found:?}, not a {expected:?}")]
    Kind { expected: Kind, found: Kind },
    /// Written by a newer version.
    #[error("page format {format} is not supported")]
    Format { format: u8 },
    /// Page, item or field is not in its one encoding.
    #[error("page is malformed: {what}")]
    Malformed { what: &'static str },
    /// An entry's fields are not in their one encoding.
    #[error("page holds a malformed entry")]
    Field(#[from] FieldError),
}

/// What tells a list from a tree.
pub(crate) trait Layout {
    type Item;
    type Summary;
    const KIND: Kind;

    fn is_boundary(&self, item: &Self::Item) -> bool;
    fn summary(&self, item: &Self::Item) -> Self::Summary;
    fn merge(&self, summary: &mut Self::Summary, next: Self::Summary);
    fn write_item(&self, item: &Self::Item, body: &mut Vec<u8>, edges: &mut Vec<ObjectId>);
    fn write_summary(&self, summary: &Self::Summary, body: &mut Vec<u8>);
}

#[derive(Clone)]
struct OpenPage<S> {
    body: Vec<u8>,
    edges: Vec<ObjectId>,
    item_count: usize,
    summary: Option<S>,
}

pub(crate) struct PagedBuilder<L: Layout> {
    layout: L,
    levels: Vec<OpenPage<L::Summary>>,
}

impl<L: Layout<Summary: Clone> + Clone> Clone for PagedBuilder<L> {
    fn clone(&self) -> Self {
        Self { layout: self.layout.clone(), levels: self.levels.clone() }
    }
}

impl<L: Layout> PagedBuilder<L> {
    pub(crate) fn new(layout: L) -> Self {
        Self { layout, levels: vec![OpenPage::new()] }
    }

    /// Appends an item; every page that this completes goes to `emit`.
    pub(crate) fn push(&mut self, keys: &Keys, item: &L::Item, emit: &mut dyn FnMut(PlainObject)) {
        let page = &mut self.levels[0];
        self.layout.write_item(item, &mut page.body, &mut page.edges);
        page.grow(&self.layout, self.layout.summary(item));
        if self.layout.is_boundary(item) || page.is_full() {
            self.close(keys, 0, emit);
        }
    }

    /// Completes all pages; the root's id.
    pub(crate) fn finish(mut self, keys: &Keys, emit: &mut dyn FnMut(PlainObject)) -> ObjectId {
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.levels.len();
            let page = &self.levels[level];
            if is_top && level > 0 && page.item_count == 1 {
                return page.edges[0];
            }
            if is_top {
                let object = self.levels.swap_remove(level).into_object(keys, L::KIND, level);
                let root = object.id;
                emit(object);
                return root;
            }
            if page.item_count > 0 {
                self.close(keys, level, emit);
            }
            level += 1;
        }
    }

    fn close(&mut self, keys: &Keys, level: usize, emit: &mut dyn FnMut(PlainObject)) {
        let mut page = std::mem::replace(&mut self.levels[level], OpenPage::new());
        let summary = page.summary.take().expect("only pages with items are closed");
        let object = page.into_object(keys, L::KIND, level);
        let child = object.id;
        emit(object);
        if level + 1 == self.levels.len() {
            self.levels.push(OpenPage::new());
        }
        let parent = &mut self.levels[level + 1];
        self.layout.write_summary(&summary, &mut parent.body);
        parent.edges.push(child);
        parent.grow(&self.layout, summary);
        if is_boundary_hash(id_hash(&child)) || parent.is_full() {
            self.close(keys, level + 1, emit);
        }
    }
}

impl<S> OpenPage<S> {
    fn new() -> Self {
        Self { body: Vec::new(), edges: Vec::new(), item_count: 0, summary: None }
    }

    fn grow<L: Layout<Summary = S>>(&mut self, layout: &L, next: S) {
        self.item_count += 1;
        match &mut self.summary {
            Some(summary) => layout.merge(summary, next),
            None => self.summary = Some(next),
        }
    }

    fn is_full(&self) -> bool {
        self.item_count >= PAGE_ITEMS_MAX || self.body.len() >= PAGE_BYTES_FULL
    }

    fn into_object(self, keys: &Keys, kind: Kind, level: usize) -> PlainObject {
        let mut body = Vec::with_capacity(self.body.len() + 4);
        body.extend_from_slice(&[FORMAT, u8::try_from(level).expect("items do not fill 8 levels")]);
        varint::put(self.item_count as u64, &mut body);
        body.extend_from_slice(&self.body);
        PlainObject::new(keys, kind, self.edges, Bytes::from(body))
    }
}

/// Whether a page ends after the item with this hash.
pub(crate) fn is_boundary_hash(hash: u32) -> bool {
    hash.is_multiple_of(PAGE_ITEMS_AVG)
}

/// Ids are hashes already.
pub(crate) fn id_hash(id: &ObjectId) -> u32 {
    u32::from_le_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes"))
}

/// A page split into its header and its items' bytes.
pub(crate) struct RawPage<'a> {
    pub(crate) level: u8,
    pub(crate) item_count: usize,
    pub(crate) items: &'a [u8],
    pub(crate) edges: &'a [ObjectId],
}

impl<'a> RawPage<'a> {
    pub(crate) fn parse(object: &'a PlainObject, expected: Kind) -> Result<Self, PageError> {
        if object.kind != expected {
            return Err(PageError::Kind { expected, found: object.kind });
        }
        let short = PageError::Malformed { what: "header is cut short" };
        let (&[format, level], mut items) = object.body.split_first_chunk().ok_or(short.clone())?;
        if format != FORMAT {
            return Err(PageError::Format { format });
        }
        if level > LEVEL_MAX {
            return Err(PageError::Malformed { what: "level is out of range" });
        }
        let item_count = varint::take(&mut items).ok_or(short)?;
        let item_count = usize::try_from(item_count).ok().filter(|count| *count <= PAGE_ITEMS_MAX);
        let item_count = item_count.ok_or(PageError::Malformed { what: "too many items" })?;
        if level > 0 && (item_count == 0 || object.edges.len() != item_count) {
            return Err(PageError::Malformed { what: "an inner page has one edge per child" });
        }
        Ok(Self { level, item_count, items, edges: &object.edges })
    }

    /// Reads the items with `read`, which takes what it needs off both slices; nothing may be left over.
    pub(crate) fn items<T>(
        &self,
        mut read: impl FnMut(&mut &'a [u8], &mut &'a [ObjectId]) -> Result<T, PageError>,
    ) -> Result<Vec<T>, PageError> {
        let mut bytes = self.items;
        let mut edges = self.edges;
        // Bounded: a page is refused that says it has more than `PAGE_ITEMS_MAX`.
        let mut items = Vec::with_capacity(self.item_count);
        for _ in 0..self.item_count {
            items.push(read(&mut bytes, &mut edges)?);
        }
        if !bytes.is_empty() {
            return Err(PageError::Malformed { what: "bytes follow the last item" });
        }
        if !edges.is_empty() {
            return Err(PageError::Malformed { what: "edges are left over" });
        }
        Ok(items)
    }
}

/// The next edge of a page.
pub(crate) fn take_edge(edges: &mut &[ObjectId]) -> Result<ObjectId, PageError> {
    let (edge, rest) = edges.split_first().ok_or(PageError::Malformed { what: "an edge is missing" })?;
    *edges = rest;
    Ok(*edge)
}
