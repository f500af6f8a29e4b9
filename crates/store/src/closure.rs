//! Closure: whether an object and everything it refers to is stored. Needs no key, reads nothing but index and heads.
//!
//! [`Walk`] goes down the edges level by level, each level in batches. Two sets let it stop early: [`Memo`], ids that the
//! session found complete before (or put itself), and the *safe* ids of a commit, which stand in pages of a parent
//! snapshot that is a root. A memo is only as good as the packs it relied on, so it remembers them: the commit stamps
//! every one, or throws the memo away.
//!
//! A delta is complete when every basis is stored whole; a basis that is itself stored only as a delta does not count.

use std::collections::{HashMap, HashSet};

use object::{Kind, ObjectId, Record};

use crate::catalog::objects::{Copies, Location};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::{MISSING_MAX, Store, StoreError};

/// Most ids a memo holds: 7/8 of 2^20, where the set's table is 18 MB. Beyond it ids are looked up again.
const VOUCHED_MAX: usize = (1 << 20) / 8 * 7;
/// Most ids of parent pages, and of new pages, held for one commit. Beyond it ids are looked up instead.
const PARENT_IDS_MAX: usize = 1 << 20;
/// Edges resolved together.
const EDGE_BATCH_LEN: usize = 1 << 16;

/// What a session knows to be complete, and what that knowledge rests on.
#[derive(Debug)]
pub(crate) struct Memo {
    vouched: HashSet<HalfId>,
    packs: HashSet<PackKey>,
    /// The catalog's `condemn_seq` before the first look-up.
    seq: i64,
}

impl Memo {
    pub(crate) fn new(seq: i64) -> Self {
        Self { vouched: HashSet::new(), packs: HashSet::new(), seq }
    }

    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    pub(crate) fn packs(&self) -> impl Iterator<Item = PackKey> {
        self.packs.iter().copied()
    }

    pub(crate) fn relies_on(&self, pack: PackKey) -> bool {
        self.packs.contains(&pack)
    }

    /// Notes that a commit of this session will stand on this pack.
    pub(crate) fn rely_on(&mut self, pack: PackKey) {
        self.packs.insert(pack);
    }

    /// Notes that an object is complete, in packs that are relied on.
    pub(crate) fn vouch(&mut self, id: &ObjectId) {
        if self.vouched.len() < VOUCHED_MAX {
            self.vouched.insert(half(id));
        }
    }

    fn knows(&self, id: &ObjectId) -> bool {
        self.vouched.contains(&half(id))
    }
}

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Closure {
    /// `complete[i]`: root `i` and all it refers to is stored.
    pub(crate) complete: Vec<bool>,
    /// Objects to be sent, [`MISSING_MAX`] at most. A delta without its basis is named itself: whoever has it can send
    /// it whole, while the basis may be gone everywhere.
    pub(crate) missing: Vec<ObjectId>,
}

/// Finds out which of `roots` are complete; those that are, and what they refer to, are added to the memo.
pub(crate) fn check(
    store: &Store,
    vault: VaultKey,
    memo: &mut Memo,
    roots: &[ObjectId],
) -> Result<Closure, StoreError> {
    Walk::new(store, vault, memo, roots).run(None)
}

/// Finds out whether all that `root` refers to is stored, given that `parent` is a root: what stands in pages of the
/// parent that the new tree replaces is not looked at. Adds the packs it relied on to the memo.
pub(crate) fn check_against(
    store: &Store,
    vault: VaultKey,
    memo: &mut Memo,
    root: &ObjectId,
    parent: ObjectId,
) -> Result<Closure, StoreError> {
    Walk::new(store, vault, memo, std::slice::from_ref(root)).run(Some(parent))
}

/// One reference, met on the way down.
struct Edge {
    to: ObjectId,
    from: u32,
    /// The target must be stored whole: it is the basis of a delta.
    is_basis: bool,
}

/// An object whose edges must be followed.
struct Node {
    id: ObjectId,
    index: u32,
    copies: Copies,
    copy_index: usize,
}

impl Node {
    fn copy(&self) -> Option<Location> {
        self.copies.get(self.copy_index)
    }

    fn is_delta(&self) -> bool {
        self.copy().is_some_and(|location| location.form.is_delta)
    }
}

struct Walk<'a> {
    store: &'a Store,
    vault: VaultKey,
    memo: &'a mut Memo,
    safe: HashSet<HalfId>,
    roots: &'a [ObjectId],
    /// Whether a node misses something. The first ones stand for those who ask for the roots, the others for objects.
    broken: Vec<bool>,
    ids: HashMap<ObjectId, u32>,
    /// Child and parent, for every edge between nodes.
    links: Vec<(u32, u32)>,
    missing: Vec<ObjectId>,
    missing_ids: HashSet<ObjectId>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Store, vault: VaultKey, memo: &'a mut Memo, roots: &'a [ObjectId]) -> Self {
        Self {
            store,
            vault,
            memo,
            safe: HashSet::new(),
            roots,
            broken: vec![false; roots.len()],
            ids: HashMap::new(),
            links: Vec::new(),
            missing: Vec::new(),
            missing_ids: HashSet::new(),
        }
    }

    fn run(mut self, parent: Option<ObjectId>) -> Result<Closure, StoreError> {
        let is_relative = parent.is_some();
        let asked = self.roots.iter().zip(0..).map(|(root, from)| Edge { to: *root, from, is_basis: false });
        let mut level = self.resolve(asked.collect())?;
        let mut parent_level: Vec<ObjectId> = parent.into_iter().collect();
        let missing_max = if is_relative { MISSING_MAX } else { usize::MAX };
        while !level.is_empty() && self.missing.len() < missing_max {
            if !parent_level.is_empty() {
                parent_level = self.descend_parent(&parent_level, &level)?;
            }
            level = self.descend(level)?;
        }
        self.spread_breakage();
        if !is_relative {
            for (id, index) in &self.ids {
                if !self.broken[*index as usize] {
                    self.memo.vouch(id);
                }
            }
        }
        let complete = self.broken[..self.roots.len()].iter().map(|broken| !broken).collect();
        Ok(Closure { complete, missing: self.missing })
    }

    /// Follows the edges of a level's nodes, a bounded number at a time, and returns the next level.
    fn descend(&mut self, level: Vec<Node>) -> Result<Vec<Node>, StoreError> {
        let mut next = Vec::new();
        let mut edges = Vec::new();
        let mut deltas = Vec::new();
        let mut level = level.into_iter().peekable();
        while let Some(mut node) = level.next() {
            self.open(&mut node, &mut edges)?;
            if node.is_delta() {
                deltas.push(node);
            }
            if edges.len() >= EDGE_BATCH_LEN || level.peek().is_none() {
                next.append(&mut self.resolve(std::mem::take(&mut edges))?);
                next.extend(deltas.drain(..).filter_map(|delta| self.settle_delta(delta)));
            }
        }
        Ok(next)
    }

    /// Reads a node's edges from the first copy whose head can be read.
    fn open(&mut self, node: &mut Node, edges: &mut Vec<Edge>) -> Result<(), StoreError> {
        while let Some(location) = node.copy() {
            if let Some(found) = self.edges(location, &node.id)? {
                self.memo.rely_on(location.pack);
                let is_basis = location.form.is_delta;
                edges.extend(found.into_iter().map(|to| Edge { to, from: node.index, is_basis }));
                return Ok(());
            }
            node.copy_index += 1;
        }
        self.broken[node.index as usize] = true;
        self.miss(node.id);
        Ok(())
    }

    /// The edges of one copy of an object; `None` when the copy's head is damaged.
    fn edges(&self, location: Location, id: &ObjectId) -> Result<Option<Vec<ObjectId>>, StoreError> {
        match self.store.head(location) {
            Ok(head) => {
                let head = Record::parse_head(&head)?;
                let member = head.members().find(|member| member.id == *id);
                Ok(member.map(|member| member.edges.iter().collect()))
            }
            // A pack that is gone was emptied by garbage collection: whoever asks again finds the object elsewhere.
            Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A delta's edges have been resolved: it is complete, or its next copy must be tried, or it is missing.
    fn settle_delta(&mut self, mut delta: Node) -> Option<Node> {
        let broken = &mut self.broken[delta.index as usize];
        if !*broken {
            return None;
        }
        delta.copy_index += 1;
        if delta.copy().is_none() {
            self.miss(delta.id);
            return None;
        }
        *broken = false;
        Some(delta)
    }

    /// Looks the targets of edges up and returns those that have edges of their own.
    fn resolve(&mut self, mut edges: Vec<Edge>) -> Result<Vec<Node>, StoreError> {
        edges.retain(|edge| {
            if edge.is_basis {
                return true;
            }
            if let Some(index) = self.ids.get(&edge.to) {
                self.links.push((*index, edge.from));
                return false;
            }
            !self.memo.knows(&edge.to) && !self.safe.contains(&half(&edge.to))
        });
        edges.sort_unstable_by_key(|edge| edge.to);
        let mut targets: Vec<ObjectId> = edges.iter().map(|edge| edge.to).collect();
        targets.dedup();
        let copies = self.store.locate(self.vault, &targets)?;
        let mut nodes = Vec::new();
        for (edges, copies) in edges.chunk_by(|a, b| a.to == b.to).zip(copies) {
            match copies.best() {
                Some(location) if location.form.is_leaf() => {
                    self.memo.rely_on(location.pack);
                    self.memo.vouch(&edges[0].to);
                }
                _ => nodes.extend(self.resolve_one(edges, copies)),
            }
        }
        Ok(nodes)
    }

    /// Takes note of a target, of all of `edges`, that is not simply there: it has edges of its own, or it is missing.
    fn resolve_one(&mut self, edges: &[Edge], copies: Copies) -> Option<Node> {
        // No basis is here whole, whatever else is here; the delta is named, not the basis.
        for edge in edges.iter().filter(|edge| edge.is_basis || copies.best().is_none()) {
            self.broken[edge.from as usize] = true;
        }
        let id = edges[0].to;
        let mut referrers = edges.iter().filter(|edge| !edge.is_basis).map(|edge| edge.from).peekable();
        referrers.peek()?;
        if copies.best().is_none() {
            self.miss(id);
            return None;
        }
        let index = u32::try_from(self.broken.len()).expect("far fewer nodes than 2^32 fit in memory");
        self.broken.push(false);
        self.ids.insert(id, index);
        self.links.extend(referrers.map(|from| (index, from)));
        Some(Node { id, index, copies, copy_index: 0 })
    }

    fn miss(&mut self, id: ObjectId) {
        if self.missing.len() < MISSING_MAX && self.missing_ids.insert(id) {
            self.missing.push(id);
        }
    }

    /// Adds the edges of the parent's `pages` to the safe ids, and returns the pages among them that the new tree no
    /// longer has: those stand where its next level stands. Returns none when there is nothing more to gain.
    fn descend_parent(&mut self, pages: &[ObjectId], level: &[Node]) -> Result<Vec<ObjectId>, StoreError> {
        let mut new_edges = HashSet::new();
        for node in level.iter().filter(|node| !node.is_delta()) {
            let Some(location) = node.copy() else { continue };
            new_edges.extend(self.edges(location, &node.id)?.iter().flatten().map(half));
            if new_edges.len() > PARENT_IDS_MAX {
                return Ok(Vec::new());
            }
        }
        if new_edges.iter().all(|edge| self.memo.vouched.contains(edge) || self.safe.contains(edge)) {
            return Ok(Vec::new());
        }
        let mut ids = pages.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let copies = self.store.locate(self.vault, &ids)?;
        let mut next = Vec::new();
        for (id, copies) in ids.iter().zip(copies) {
            let Some(location) = copies.best().filter(|location| location.form.kind != Kind::Data) else { continue };
            for edge in self.edges(location, id)?.into_iter().flatten() {
                if self.safe.insert(half(&edge)) && !new_edges.contains(&half(&edge)) {
                    next.push(edge);
                }
            }
            if self.safe.len() > PARENT_IDS_MAX {
                return Ok(Vec::new());
            }
        }
        Ok(next)
    }

    /// Marks everything broken that refers to something broken.
    fn spread_breakage(&mut self) {
        self.links.sort_unstable();
        let mut unspread: Vec<u32> = (0..).zip(&self.broken).filter(|(_, broken)| **broken).map(|(i, _)| i).collect();
        while let Some(child) = unspread.pop() {
            let first = self.links.partition_point(|(other, _)| *other < child);
            for (_, parent) in self.links[first..].iter().take_while(|(other, _)| *other == child) {
                if !std::mem::replace(&mut self.broken[*parent as usize], true) {
                    unspread.push(*parent);
                }
            }
        }
    }
}
