//! Trees: the entries of one directory, names ascending. [`TreeBuilder`] writes the pages, [`TreePage`] reads one.

use object::{Kind, ObjectId};

use crate::entry::Entry;
use crate::fields::{put_bytes, take_bytes};
use crate::keys::Keys;
pub use crate::paged::PageError;
use crate::paged::{Layout, PagedBuilder, RawPage, is_boundary_hash, take_edge};
use crate::seal::PlainObject;

/// Entries travel with the hash of their name.
struct TreeLayout;

struct HashedEntry {
    entry: Entry,
    name_hash: u32,
}

impl Layout for TreeLayout {
    type Item = HashedEntry;
    /// The first name of a page.
    type Summary = Vec<u8>;
    const KIND: Kind = Kind::Tree;

    fn is_boundary(&self, item: &HashedEntry) -> bool {
        is_boundary_hash(item.name_hash)
    }

    fn summary(&self, item: &HashedEntry) -> Vec<u8> {
        item.entry.name.clone()
    }

    fn merge(&self, _first: &mut Vec<u8>, _next: Vec<u8>) {}

    fn write_item(&self, item: &HashedEntry, body: &mut Vec<u8>, edges: &mut Vec<ObjectId>) {
        item.entry.write(body, edges);
    }

    fn write_summary(&self, first: &Vec<u8>, body: &mut Vec<u8>) {
        put_bytes(first, body);
    }
}

/// Builds one directory's tree; memory is one open page per level.
pub struct TreeBuilder {
    pages: PagedBuilder<TreeLayout>,
    last_name: Vec<u8>,
}

impl TreeBuilder {
    /// A directory with no entries yet.
    #[must_use]
    pub fn new() -> Self {
        Self { pages: PagedBuilder::new(TreeLayout), last_name: Vec::new() }
    }

    /// Appends an entry; pages that this completes go to `emit`.
    ///
    /// # Panics
    /// If the name cannot stand in a directory ([`Entry::is_name`]) or is not greater than the one before.
    pub fn push(&mut self, keys: &Keys, entry: Entry, emit: &mut dyn FnMut(PlainObject)) {
        assert!(Entry::is_name(&entry.name), "the caller checks names");
        assert!(self.last_name < entry.name, "entries come in ascending order");
        self.last_name.clone_from(&entry.name);
        let name_hash = keys.name_page_hash(&entry.name);
        self.pages.push(keys, &HashedEntry { entry, name_hash }, emit);
    }

    /// Completes the tree; the id of its root page.
    pub fn finish(self, keys: &Keys, emit: &mut dyn FnMut(PlainObject)) -> ObjectId {
        self.pages.finish(keys, emit)
    }
}

impl Default for TreeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// One page of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreePage {
    /// Entries, names strictly ascending.
    Leaf(Vec<Entry>),
    /// Lower pages of level `level - 1`, in order: the first name in each, and its id.
    Inner {
        /// Levels below this page, at least 1.
        level: u8,
        /// The pages, first names strictly ascending.
        children: Vec<(Vec<u8>, ObjectId)>,
    },
}

impl TreePage {
    /// Reads a page.
    ///
    /// # Errors
    /// [`PageError`] for anything but the one encoding of a page; so every name in a page is one path component.
    pub fn decode(object: &PlainObject) -> Result<Self, PageError> {
        let page = RawPage::parse(object, Kind::Tree)?;
        if page.level > 0 {
            let children = page.items(read_child)?;
            ascending(children.iter().map(|(name, _)| name))?;
            return Ok(Self::Inner { level: page.level, children });
        }
        let entries = page.items(Entry::read)?;
        ascending(entries.iter().map(|entry| &entry.name))?;
        Ok(Self::Leaf(entries))
    }
}

fn read_child(bytes: &mut &[u8], edges: &mut &[ObjectId]) -> Result<(Vec<u8>, ObjectId), PageError> {
    let name = take_bytes(bytes).ok_or(PageError::Malformed { what: "a name is cut short" })?;
    if !Entry::is_name(name) {
        return Err(PageError::Malformed { what: "a name cannot stand in a directory" });
    }
    Ok((name.to_vec(), take_edge(edges)?))
}

fn ascending<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), PageError> {
    let mut last: &[u8] = b"";
    for name in names {
        if name.as_slice() <= last {
            return Err(PageError::Malformed { what: "names are not ascending" });
        }
        last = name;
    }
    Ok(())
}
