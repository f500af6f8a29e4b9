//! [`Reader`]: plain objects by id, rebuilt and checked, from wherever an [`ObjectSource`] has records.
//!
//! [`TreeCursor`] and [`PieceCursor`] walk a directory's entries and a file's pieces page by page.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use object::{Kind, ObjectId, SealedRecord};

use crate::content::Content;
use crate::delta::{DeltaError, rebuild};
use crate::entry::Entry;
use crate::keys::Keys;
use crate::list::{ListPage, Piece};
use crate::paged::PageError;
use crate::seal::{OpenError, Opened, Opener, PlainObject, SealedDelta};
use crate::tree::TreePage;

/// Children of an inner page that are asked for at once.
const CHILDREN_AHEAD: usize = 32;

/// Where records come from: a session with a server, or a store.
pub trait ObjectSource {
    /// Why records cannot be had.
    type Error;

    /// Records that hold the objects `ids`, in any order, each record once; missing objects are left out, other objects
    /// may come along.
    ///
    /// # Errors
    /// When the source fails as a whole.
    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, Self::Error>;
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ReadError<E> {
    /// The source failed.
    #[error("objects cannot be fetched")]
    Source(#[source] E),
    /// The source does not have it.
    #[error("object {} is missing", id.short())]
    Missing { id: ObjectId },
    /// A record did not open.
    #[error("object {} cannot be opened", id.short())]
    Open { id: ObjectId, source: OpenError },
    /// A delta did not rebuild.
    #[error("chunk {} cannot be rebuilt", id.short())]
    Delta { id: ObjectId, source: DeltaError },
    /// A list or tree page is malformed.
    #[error("object {} is malformed", id.short())]
    Page { id: ObjectId, source: PageError },
}

impl PlainObject {
    /// The bytes of a chunk.
    ///
    /// # Errors
    /// [`ReadError::Page`] for an object of another kind: whoever named it as a part of a file was wrong.
    pub fn into_chunk<E>(self) -> Result<Bytes, ReadError<E>> {
        let (id, found) = (self.id, self.kind);
        match found {
            Kind::Data => Ok(self.body),
            _ => Err(ReadError::Page { id, source: PageError::Kind { expected: Kind::Data, found } }),
        }
    }
}

/// Reads objects of one vault; keeps recently opened ones, within a bound.
pub struct Reader<S> {
    source: S,
    opener: Opener,
    recent: Recent,
}

impl<S: ObjectSource> Reader<S> {
    /// A reader that keeps at most `recent_bytes` of opened objects.
    pub fn new(source: S, keys: Arc<Keys>, recent_bytes: usize) -> Self {
        Self { source, opener: Opener::new(keys), recent: Recent::new(recent_bytes) }
    }

    /// The vault's keys.
    pub fn keys(&self) -> &Arc<Keys> {
        self.opener.keys()
    }

    /// Where records come from.
    pub fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// One object.
    ///
    /// # Errors
    /// As [`objects`](Self::objects).
    pub fn object(&mut self, id: ObjectId) -> Result<PlainObject, ReadError<S::Error>> {
        Ok(self.objects(&[id])?.remove(0))
    }

    /// The objects `ids`, in that order; deltas are rebuilt. Callers bound the memory by how many they ask for.
    ///
    /// # Errors
    /// [`ReadError`] names the first object that cannot be had.
    pub fn objects(&mut self, ids: &[ObjectId]) -> Result<Vec<PlainObject>, ReadError<S::Error>> {
        self.objects_with(ids, &[])
    }

    /// As [`objects`](Self::objects); what is in `records`, which were fetched before, is not asked for again.
    ///
    /// # Errors
    /// As [`objects`](Self::objects).
    pub fn objects_with(
        &mut self,
        ids: &[ObjectId],
        records: &[SealedRecord],
    ) -> Result<Vec<PlainObject>, ReadError<S::Error>> {
        let mut found: HashMap<ObjectId, PlainObject> = HashMap::with_capacity(ids.len());
        let mut deltas = self.open_into(records, &mut found)?;
        let rebuilt: HashSet<ObjectId> = deltas.iter().map(|delta| delta.id).collect();
        let mut wanted = Vec::new();
        for id in ids.iter().filter(|id| !rebuilt.contains(*id)) {
            if found.contains_key(id) {
                continue;
            }
            match self.recent.get(id) {
                Some(object) => drop(found.insert(*id, object)),
                None => wanted.push(*id),
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        deltas.extend(self.fetch_into(&wanted, &mut found)?);
        self.rebuild_into(deltas, &mut found)?;
        ids.iter().map(|id| found.get(id).cloned().ok_or(ReadError::Missing { id: *id })).collect()
    }

    /// Opens records for `wanted`; whole objects, and what came along, go to `found`; deltas are returned.
    fn fetch_into(
        &mut self,
        wanted: &[ObjectId],
        found: &mut HashMap<ObjectId, PlainObject>,
    ) -> Result<Vec<SealedDelta>, ReadError<S::Error>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.source.fetch(wanted).map_err(ReadError::Source)?;
        self.open_into(&records, found)
    }

    /// Opens records; whole objects go to `found`, deltas are returned.
    fn open_into(
        &mut self,
        records: &[SealedRecord],
        found: &mut HashMap<ObjectId, PlainObject>,
    ) -> Result<Vec<SealedDelta>, ReadError<S::Error>> {
        let mut deltas = Vec::new();
        for record in records {
            let record = record.view();
            let id = record.head().members().next().expect("a record has a member").id;
            match self.opener.open(record).map_err(|source| ReadError::Open { id, source })? {
                Opened::Delta(delta) => deltas.push(delta),
                Opened::Objects(objects) => {
                    for object in objects {
                        found.insert(object.id, object.clone());
                        self.recent.keep(object);
                    }
                }
            }
        }
        Ok(deltas)
    }

    fn rebuild_into(
        &mut self,
        deltas: Vec<SealedDelta>,
        found: &mut HashMap<ObjectId, PlainObject>,
    ) -> Result<(), ReadError<S::Error>> {
        let mut bases: HashMap<ObjectId, PlainObject> = HashMap::new();
        let mut missing: Vec<ObjectId> = Vec::new();
        for id in deltas.iter().flat_map(|delta| &delta.bases) {
            match found.get(id).cloned().or_else(|| self.recent.get(id)) {
                Some(object) => drop(bases.insert(*id, object)),
                None => missing.push(*id),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        if let Some(nested) = self.fetch_into(&missing, &mut bases)?.first() {
            let source = DeltaError::BasisIsDelta { basis: nested.id };
            return Err(ReadError::Delta { id: nested.id, source });
        }
        for delta in deltas {
            let id = delta.id;
            let slices: Option<Vec<&[u8]>> =
                delta.bases.iter().map(|basis| bases.get(basis).map(|object| &object.body[..])).collect();
            let Some(slices) = slices else {
                let lost = delta.bases.iter().find(|basis| !bases.contains_key(*basis));
                return Err(ReadError::Missing { id: *lost.expect("one basis is not there") });
            };
            let object =
                rebuild(self.opener.keys(), &delta, &slices).map_err(|source| ReadError::Delta { id, source })?;
            found.insert(id, object.clone());
            self.recent.keep(object);
        }
        Ok(())
    }

    /// One page of a tree.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tree_page(&mut self, id: ObjectId) -> Result<TreePage, ReadError<S::Error>> {
        let object = self.object(id)?;
        TreePage::decode(&object).map_err(|source| ReadError::Page { id, source })
    }

    /// The entry `name` of the directory whose tree starts at `tree`; reads one page per level.
    ///
    /// # Errors
    /// [`ReadError`]; a name that is not there is `None`.
    pub fn lookup(&mut self, tree: ObjectId, name: &[u8]) -> Result<Option<Entry>, ReadError<S::Error>> {
        let mut id = tree;
        let mut above = None;
        loop {
            match self.tree_page(id)? {
                TreePage::Leaf(entries) => {
                    check_level(id, above, 0)?;
                    return Ok(entries.into_iter().find(|entry| entry.name == name));
                }
                TreePage::Inner { level, children } => {
                    check_level(id, above, level)?;
                    above = Some(level);
                    match children.iter().rev().find(|(first, _)| first.as_slice() <= name) {
                        Some((_, child)) => id = *child,
                        None => return Ok(None),
                    }
                }
            }
        }
    }
}

/// Walks the entries of one directory.
pub struct TreeCursor {
    walk: PageWalk,
    entries: VecDeque<Entry>,
    /// Only what comes after this name is given out.
    after: Vec<u8>,
    /// The last name of the page before: a forged tree may have one name in two pages, as a link and as a directory.
    last: Vec<u8>,
}

impl TreeCursor {
    /// Starts before the first entry.
    #[must_use]
    pub fn new(tree: ObjectId) -> Self {
        Self::after(tree, Vec::new())
    }

    /// Starts behind `name`, whether or not there is such an entry. Of the pages before it, only those on the way down are
    /// read.
    #[must_use]
    pub fn after(tree: ObjectId, name: Vec<u8>) -> Self {
        Self { walk: PageWalk::new(tree), entries: VecDeque::new(), after: name, last: Vec::new() }
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// [`ReadError`]; unless it is the source's, the walk can go on, behind the page that cannot be read.
    pub fn next<S: ObjectSource>(&mut self, reader: &mut Reader<S>) -> Result<Option<Entry>, ReadError<S::Error>> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Ok(Some(entry));
            }
            let Some((id, above, object)) = self.walk.next(reader)? else {
                return Ok(None);
            };
            match TreePage::decode(&object).map_err(|source| ReadError::Page { id, source })? {
                TreePage::Leaf(mut entries) => {
                    check_level(id, above, 0)?;
                    if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
                        if first.name <= self.last {
                            let source = PageError::Malformed { what: "its names do not come after those before it" };
                            return Err(ReadError::Page { id, source });
                        }
                        self.last.clone_from(&last.name);
                    }
                    let passed = entries.partition_point(|entry| entry.name <= self.after);
                    self.entries = entries.split_off(passed).into();
                }
                TreePage::Inner { level, children } => {
                    check_level(id, above, level)?;
                    let passed = children.partition_point(|(first, _)| *first <= self.after).saturating_sub(1);
                    self.walk.descend(level, children.into_iter().skip(passed).map(|(_, child)| child));
                }
            }
        }
    }
}

/// Walks the pieces of one file.
pub struct PieceCursor {
    walk: PageWalk,
    pieces: VecDeque<Piece>,
}

impl PieceCursor {
    /// Starts before the first piece of a file with this content and size.
    #[must_use]
    pub fn new(content: Content, size: u64) -> Self {
        let (walk, pieces) = match content {
            Content::Empty => (PageWalk::empty(), VecDeque::new()),
            Content::Chunk(id) => (PageWalk::empty(), VecDeque::from([Piece::Chunk { len: size, id }])),
            Content::List(id) => (PageWalk::new(id), VecDeque::new()),
        };
        Self { walk, pieces }
    }

    /// The next piece; `None` after the last. The caller adds up lengths and compares with the size.
    ///
    /// # Errors
    /// [`ReadError`]; the walk cannot go on after that.
    pub fn next<S: ObjectSource>(&mut self, reader: &mut Reader<S>) -> Result<Option<Piece>, ReadError<S::Error>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            let Some((id, above, object)) = self.walk.next(reader)? else {
                return Ok(None);
            };
            match ListPage::decode(&object).map_err(|source| ReadError::Page { id, source })? {
                ListPage::Leaf(pieces) => {
                    check_level(id, above, 0)?;
                    self.pieces = pieces.into();
                }
                ListPage::Inner { level, children } => {
                    check_level(id, above, level)?;
                    self.walk.descend(level, children.into_iter().map(|(_, child)| child));
                }
            }
        }
    }
}

/// Depth-first over pages, asking for siblings ahead.
struct PageWalk {
    /// Pages still to visit, next one last, with the level of the page that named them.
    pending: Vec<(ObjectId, Option<u8>)>,
}

impl PageWalk {
    fn new(root: ObjectId) -> Self {
        Self { pending: vec![(root, None)] }
    }

    fn empty() -> Self {
        Self { pending: Vec::new() }
    }

    fn descend(&mut self, level: u8, children: impl DoubleEndedIterator<Item = ObjectId>) {
        self.pending.extend(children.rev().map(|child| (child, Some(level))));
    }

    #[expect(clippy::type_complexity, reason = "used twice, right above")]
    fn next<S: ObjectSource>(
        &mut self,
        reader: &mut Reader<S>,
    ) -> Result<Option<(ObjectId, Option<u8>, PlainObject)>, ReadError<S::Error>> {
        let Some((id, above)) = self.pending.pop() else {
            return Ok(None);
        };
        if let Some(object) = reader.recent.get(&id) {
            return Ok(Some((id, above, object)));
        }
        let siblings = self.pending.iter().rev().take_while(|(_, level)| *level == above).map(|(id, _)| *id);
        let ahead: Vec<ObjectId> = std::iter::once(id).chain(siblings.take(CHILDREN_AHEAD - 1)).collect();
        let object = match reader.objects(&ahead) {
            Ok(mut objects) => objects.swap_remove(0),
            Err(ReadError::Source(error)) => return Err(ReadError::Source(error)),
            // A page must not suffer from a fault in its neighbours.
            Err(_) => reader.object(id)?,
        };
        Ok(Some((id, above, object)))
    }
}

/// Levels fall by one, so a forged page cannot lead in circles or to endless depth.
fn check_level<E>(id: ObjectId, above: Option<u8>, level: u8) -> Result<(), ReadError<E>> {
    match above {
        Some(above) if above != level + 1 => {
            Err(ReadError::Page { id, source: PageError::Malformed { what: "a page is on the wrong level" } })
        }
        _ => Ok(()),
    }
}

/// Opened objects, oldest dropped first.
struct Recent {
    objects: HashMap<ObjectId, PlainObject>,
    order: VecDeque<ObjectId>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    fn new(bytes_max: usize) -> Self {
        Self { objects: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn get(&self, id: &ObjectId) -> Option<PlainObject> {
        self.objects.get(id).cloned()
    }

    fn keep(&mut self, object: PlainObject) {
        let cost = cost(&object);
        if cost > self.bytes_max || self.objects.contains_key(&object.id) {
            return;
        }
        while self.bytes + cost > self.bytes_max {
            let oldest = self.order.pop_front().expect("bytes are held by some object");
            let dropped = self.objects.remove(&oldest).expect("order and objects name the same ids");
            self.bytes -= self::cost(&dropped);
        }
        self.bytes += cost;
        self.order.push_back(object.id);
        self.objects.insert(object.id, object);
    }
}

/// What keeping an object costs, tables included.
fn cost(object: &PlainObject) -> usize {
    object.body.len() + object.edges.len() * ObjectId::LEN + 192
}
