//! [`Across`]: names in many snapshots at once, in the order of their paths; it can be left anywhere and taken up again
//! behind a path.
//!
//! Snapshots in which a folder is the same go down into it as one [`Group`], and a page that several trees share is read once:
//! what did not change costs the same however many snapshots have it. Of a page only what matters is kept: folders, names that
//! are looked for, and the last entry, by which a search that finds nothing knows how far it has come.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use object::ObjectId;
use vault::{Entry, ReadError, TreePage};

use crate::browse::{BrowseError, Browser, TreePath, tree_of};
use crate::drive::NameQuery;

/// Places in pages that are kept on the way down, those of the deepest folder besides; others are looked up again on the way
/// back, so that depth costs no memory.
const KEPT_PLACES: usize = 128;
/// What is kept of pages, in bytes.
const KEPT_BYTES: usize = 8 << 20;
/// About what an entry takes beside its name.
const ENTRY_BYTES: usize = 300;
/// A sound tree brings an entry after a few pages; one that does not in so many is passed over.
const IDLE_PAGES_MAX: usize = 4096;

/// What some of the snapshots have at a path.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    /// Which snapshots have it: as they were numbered, ascending.
    pub(crate) snapshots: Rc<[usize]>,
}

/// Goes through many trees side by side.
pub(crate) struct Across {
    path: TreePath,
    /// From the root down.
    levels: Vec<Level>,
    pages: Pages,
}

impl Across {
    /// Starts before the first entry of these trees, each with the number of its snapshot.
    pub(crate) fn new(wanted: NameQuery, roots: impl IntoIterator<Item = (usize, ObjectId)>) -> Self {
        let pages = Pages { wanted, sifted: HashMap::new(), kept_bytes: 0, looked_at: 0, unreadable: 0 };
        let mut across = Self { path: TreePath::default(), levels: Vec::new(), pages };
        across.enter(roots.into_iter().map(|(snapshot, tree)| (tree, vec![snapshot])));
        across
    }

    /// Whether it has such a name.
    pub(crate) fn is_wanted(&self, entry: &Entry) -> bool {
        self.pages.wanted.fits(&entry.name)
    }

    /// Entries and pages that were looked at so far.
    pub(crate) fn looked_at(&self) -> u64 {
        self.pages.looked_at
    }

    /// Pages passed over because they cannot be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.pages.unreadable
    }

    /// Goes on behind `path`, which was given out before.
    ///
    /// # Errors
    /// [`BrowseError::Read`] when the store fails.
    pub(crate) fn skip_to(&mut self, browser: &mut Browser, path: &TreePath) -> Result<(), BrowseError> {
        for name in path.names() {
            let Some(level) = self.levels.last_mut() else { return Ok(()) };
            level.last.clone_from(name);
            let mut below = Vec::new();
            for group in &mut level.groups {
                group.forget_place();
                match browser.reader.lookup(group.tree, name) {
                    Ok(entry) => {
                        below.extend(entry.and_then(|entry| Some((tree_of(&entry)?, group.snapshots.to_vec()))));
                    }
                    Err(ReadError::Source(error)) => return Err(ReadError::Source(error).into()),
                    Err(_) => self.pages.unreadable += 1,
                }
            }
            self.pages.looked_at += level.groups.len() as u64;
            if !self.enter(below) {
                return Ok(());
            }
            self.path = self.path.child(name);
        }
        Ok(())
    }

    /// The next path that matters, and what the snapshots have there, those with the newest first; `None` after the last. Reads
    /// a few pages at the most. Not every path has a name that is looked for: [`is_wanted`](Self::is_wanted) tells.
    ///
    /// # Errors
    /// [`BrowseError::Read`] when the store fails.
    pub(crate) fn next(&mut self, browser: &mut Browser) -> Result<Option<(TreePath, Vec<Held>)>, BrowseError> {
        while let Some(level) = self.levels.last_mut() {
            let Some(mut held) = level.next(browser, &mut self.pages)? else {
                self.levels.pop();
                self.path = self.path.parent();
                continue;
            };
            held.sort_by_key(|held| held.snapshots.first().copied());
            let path = self.path.child(&level.last);
            let folders = held.iter().filter_map(|held| Some((tree_of(&held.entry)?, held.snapshots.to_vec())));
            if self.enter(folders.collect::<Vec<_>>()) {
                self.path = path.clone();
            }
            return Ok(Some((path, held)));
        }
        Ok(None)
    }

    /// Goes down, where there is a folder.
    fn enter(&mut self, trees: impl IntoIterator<Item = (ObjectId, Vec<usize>)>) -> bool {
        let mut by_tree: BTreeMap<ObjectId, Vec<usize>> = BTreeMap::new();
        for (tree, snapshots) in trees {
            by_tree.entry(tree).or_default().extend(snapshots);
        }
        if by_tree.is_empty() {
            return false;
        }
        let groups = by_tree.into_iter().map(|(tree, mut snapshots)| {
            snapshots.sort_unstable();
            Group::new(tree, snapshots.into())
        });
        self.levels.push(Level { groups: groups.collect(), last: Vec::new() });
        let mut kept = 0;
        for level in self.levels.iter_mut().rev().skip(1) {
            kept += level.groups.len();
            if kept > KEPT_PLACES {
                level.groups.iter_mut().for_each(Group::forget_place);
            }
        }
        true
    }
}

/// A folder on the way down.
struct Level {
    groups: Vec<Group>,
    /// The name that was given out last.
    last: Vec<u8>,
}

impl Level {
    /// What is at the next name.
    fn next(&mut self, browser: &mut Browser, pages: &mut Pages) -> Result<Option<Vec<Held>>, BrowseError> {
        for group in &mut self.groups {
            group.look_ahead(&self.last, browser, pages)?;
        }
        let names = self.groups.iter().filter_map(|group| Some(&group.ahead()?.name));
        let Some(name) = names.min().cloned() else { return Ok(None) };
        let held = self.groups.iter_mut().filter_map(|group| group.take(&name)).collect();
        self.last = name;
        Ok(Some(held))
    }
}

/// Snapshots in which a folder is the same.
struct Group {
    tree: ObjectId,
    snapshots: Rc<[usize]>,
    /// Pages that are still to be looked at, the next one last.
    pending: Vec<ObjectId>,
    page: Rc<[Entry]>,
    next: usize,
}

impl Group {
    fn new(tree: ObjectId, snapshots: Rc<[usize]>) -> Self {
        Self { tree, snapshots, pending: vec![tree], page: Rc::from([]), next: 0 }
    }

    fn forget_place(&mut self) {
        (self.pending, self.page, self.next) = (vec![self.tree], Rc::from([]), 0);
    }

    fn ahead(&self) -> Option<&Entry> {
        self.page.get(self.next)
    }

    /// Takes what is ahead, if it is called so.
    fn take(&mut self, name: &[u8]) -> Option<Held> {
        let entry = self.ahead().filter(|entry| entry.name == name)?.clone();
        self.next += 1;
        Some(Held { entry, snapshots: Rc::clone(&self.snapshots) })
    }

    /// Reads pages until there is an entry behind `last`, or none any more.
    fn look_ahead(&mut self, last: &[u8], browser: &mut Browser, pages: &mut Pages) -> Result<(), BrowseError> {
        let mut idle_pages = 0;
        while self.ahead().is_none() {
            let Some(id) = self.pending.pop() else { return Ok(()) };
            idle_pages += 1;
            if idle_pages > IDLE_PAGES_MAX {
                tracing::warn!(tree = %self.tree.short(), "a folder is passed over: its pages bring nothing");
                pages.unreadable += 1;
                self.pending.clear();
                return Ok(());
            }
            match pages.sifted(id, browser)? {
                Sifted::Leaf(entries) => {
                    self.next = entries.partition_point(|entry| entry.name.as_slice() <= last);
                    self.page = entries;
                }
                Sifted::Inner(children) => {
                    let passed = children.partition_point(|(first, _)| first.as_slice() <= last).saturating_sub(1);
                    self.pending.extend(children[passed..].iter().rev().map(|(_, child)| *child));
                }
                Sifted::Unreadable => {}
            }
        }
        Ok(())
    }
}

/// What matters of pages that were read.
struct Pages {
    wanted: NameQuery,
    sifted: HashMap<ObjectId, Sifted>,
    kept_bytes: usize,
    looked_at: u64,
    unreadable: u64,
}

#[derive(Clone)]
enum Sifted {
    Leaf(Rc<[Entry]>),
    /// First names, and pages.
    Inner(Rc<[(Vec<u8>, ObjectId)]>),
    Unreadable,
}

impl Pages {
    fn sifted(&mut self, id: ObjectId, browser: &mut Browser) -> Result<Sifted, BrowseError> {
        self.looked_at += 1;
        if let Some(known) = self.sifted.get(&id) {
            return Ok(known.clone());
        }
        let (page, len) = match browser.reader.tree_page(id) {
            Ok(TreePage::Leaf(entries)) => {
                self.looked_at += entries.len() as u64;
                let last = entries.len().saturating_sub(1);
                let numbered = entries.into_iter().enumerate();
                let mattering = numbered.filter(|(index, entry)| {
                    *index == last || tree_of(entry).is_some() || self.wanted.fits(&entry.name)
                });
                let kept: Rc<[Entry]> = mattering.map(|(_, entry)| entry).collect();
                let len = kept.iter().map(|entry| entry.name.len() + ENTRY_BYTES).sum::<usize>();
                (Sifted::Leaf(kept), len)
            }
            Ok(TreePage::Inner { children, .. }) => {
                let len = children.iter().map(|(name, _)| name.len() + ENTRY_BYTES).sum::<usize>();
                (Sifted::Inner(children.into()), len)
            }
            Err(ReadError::Source(error)) => return Err(ReadError::Source(error).into()),
            Err(error) => {
                tracing::warn!(%error, "a page of a folder cannot be read");
                self.unreadable += 1;
                (Sifted::Unreadable, ENTRY_BYTES)
            }
        };
        self.kept_bytes += len;
        if self.kept_bytes > KEPT_BYTES {
            self.sifted.clear();
            self.kept_bytes = len;
        }
        self.sifted.insert(id, page.clone());
        Ok(page)
    }
}
