//! [`Marker`]: walks along edges and notes in a [`Census`] what it comes by.
//!
//! Only pages (lists, trees, snapshots) and deltas are opened, a batch at a time, in the order in which packs hold them, and
//! of each only the head of its record. The stack of pages yet to be opened is worked off from its end, so that it holds
//! a few batches of siblings and not a whole level of a tree.

use bytes::Bytes;
use object::{ObjectId, Record};

use crate::catalog::objects::{Copies, Location};
use crate::gc::census::Census;
use crate::gc::release::{Delta, Leaning};
use crate::gc::{GcMonitor, GcPhase, GcRefusal, Stop};
use crate::ids::{VaultKey, half};
use crate::{Store, StoreError};

/// Objects opened together.
const BATCH_LEN: usize = 512;

pub(super) struct Marker<'a> {
    store: &'a Store,
    vault: VaultKey,
    census: &'a mut Census,
    monitor: &'a dyn GcMonitor,
    /// Pages that are kept and whose edges must still be followed.
    pages: Vec<ObjectId>,
    /// Objects that are kept, one copy of which is a delta whose bases must still be kept.
    deltas: Vec<ObjectId>,
    /// Deltas whose bases may be kept for their sake alone.
    leaning: &'a mut Leaning,
    page_count: u64,
    /// The head read last: objects sealed together are often opened together.
    last_head: Option<(Location, Bytes)>,
}

impl<'a> Marker<'a> {
    pub(super) fn new(
        store: &'a Store,
        vault: VaultKey,
        census: &'a mut Census,
        leaning: &'a mut Leaning,
        monitor: &'a dyn GcMonitor,
        page_count: u64,
    ) -> Self {
        let (pages, deltas) = (Vec::new(), Vec::new());
        Self { store, vault, census, monitor, pages, deltas, leaning, page_count, last_head: None }
    }

    /// Keeps a root; what it refers to is kept at the latest when [`finish`](Self::finish) returns.
    pub(super) fn root(&mut self, id: &ObjectId) -> Result<(), Stop> {
        self.reach(id)?;
        if self.pages.len() >= BATCH_LEN { self.drain() } else { Ok(()) }
    }

    /// Keeps all that is left to be kept, and returns how many pages were opened so far.
    pub(super) fn finish(mut self) -> Result<u64, Stop> {
        self.drain()?;
        Ok(self.page_count)
    }

    fn drain(&mut self) -> Result<(), Stop> {
        loop {
            if self.monitor.is_stopped() {
                return Err(Stop::Refused(GcRefusal::Stopped));
            }
            // Deltas first, or they would gather until the last page is opened.
            if self.deltas.len() >= BATCH_LEN || self.pages.is_empty() && !self.deltas.is_empty() {
                let batch = self.deltas.split_off(self.deltas.len().saturating_sub(BATCH_LEN));
                self.open_deltas(batch)?;
            } else if !self.pages.is_empty() {
                let batch = self.pages.split_off(self.pages.len().saturating_sub(BATCH_LEN));
                self.page_count += batch.len() as u64;
                self.monitor.progress(GcPhase::Mark, self.page_count, 0);
                self.open_pages(batch)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Keeps what an edge leads to. An object of which there is no copy might be a page, so nobody knows what it led to.
    fn reach(&mut self, id: &ObjectId) -> Result<(), Stop> {
        let Some(place) = self.census.place(&half(id)) else {
            return Err(Stop::Refused(GcRefusal::Unreadable { id: *id, what: "it is not stored" }));
        };
        self.census.refer(place);
        self.keep(id);
        Ok(())
    }

    /// Keeps an object if it is stored.
    fn keep(&mut self, id: &ObjectId) {
        let Some(place) = self.census.place(&half(id)) else { return };
        if !self.census.keep(place) {
            return;
        }
        let traits = self.census.traits(place);
        if traits.is_metadata {
            self.pages.push(*id);
        } else if traits.has_delta {
            self.deltas.push(*id);
        }
    }

    fn open_pages(&mut self, batch: Vec<ObjectId>) -> Result<(), Stop> {
        for (id, copies) in self.located(batch)? {
            let edges = self.page_edges(&id, &copies)?;
            let edges = edges.ok_or(Stop::Refused(GcRefusal::Unreadable { id, what: "no copy of it can be read" }))?;
            edges.iter().try_for_each(|edge| self.reach(edge))?;
        }
        Ok(())
    }

    /// Keeps the bases of every copy that is a delta. A basis that is gone makes its copy useless, and loses nothing that the
    /// basis would lead to: it is data.
    fn open_deltas(&mut self, batch: Vec<ObjectId>) -> Result<(), Stop> {
        for (id, copies) in self.located(batch)? {
            let is_only_delta = copies.iter().all(|location| location.form.is_delta);
            for location in copies.iter().filter(|location| location.form.is_delta) {
                let Some((bases, plain_len)) = self.member(&id, location)? else { continue };
                bases.iter().for_each(|basis| self.keep(basis));
                if is_only_delta {
                    self.leaning.add(self.census, Delta { vault: self.vault, object: id, plain_len, bases });
                }
            }
        }
        Ok(())
    }

    /// The readable copies of objects, in the order in which packs hold the best ones.
    fn located(&self, mut ids: Vec<ObjectId>) -> Result<Vec<(ObjectId, Copies)>, StoreError> {
        ids.sort_unstable();
        ids.dedup();
        let copies = self.store.locate(self.vault, &ids)?;
        let mut located: Vec<(ObjectId, Copies)> = ids.into_iter().zip(copies).collect();
        located.sort_by_key(|(_, copies)| copies.best().map(|location| (location.pack, location.span)));
        Ok(located)
    }

    fn page_edges(&mut self, id: &ObjectId, copies: &Copies) -> Result<Option<Vec<ObjectId>>, StoreError> {
        for location in copies.iter() {
            if let Some((edges, _)) = self.member(id, location)? {
                return Ok(Some(edges));
            }
        }
        Ok(None)
    }

    /// The edges of one copy, and the length of its content; `None` when it cannot be read.
    fn member(&mut self, id: &ObjectId, location: Location) -> Result<Option<(Vec<ObjectId>, usize)>, StoreError> {
        let known = self.last_head.take().filter(|(last, _)| (last.pack, last.span) == (location.pack, location.span));
        let head = match known {
            Some((_, head)) => head,
            None => match self.store.head(location) {
                Ok(head) => head,
                Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let member = Record::parse_head(&head)?.members().find(|member| member.id == *id);
        let found = member.map(|member| (member.edges.iter().collect(), member.plain_len));
        self.last_head = Some((location, head));
        Ok(found)
    }
}
