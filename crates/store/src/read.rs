//! Reading objects: one, or many at once with every record read once and packs read in order.
//!
//! Every checksum is compared, and the record must hold the object it was stored for. A copy that fails is passed over
//! for the next one; only when none is left is the object reported as damaged.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object::{Kind, ObjectId, Record, SealedRecord, VaultId};

use crate::catalog::objects::{Copies, Location};
use crate::ids::{PackKey, VaultKey};
use crate::pack::reader::record_of_span;
use crate::pack::{PackFault, PackReader, Span};
use crate::pack_cache::damaged;
use crate::{Store, StoreError};

/// Neighbouring records are read together up to this many bytes.
const READ_LEN_MAX: u64 = 4 << 20;
/// Bytes between two wanted records that are cheaper read than skipped.
const GAP_LEN_MAX: u64 = 64 << 10;

/// A stored object: the record that holds it, and which member of it it is.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// The record; its checksums were right.
    pub record: SealedRecord,
    /// Which of the record's members, from 0.
    pub member_index: usize,
}

/// One record of a batch, and the requests it answers.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The record; its checksums were right.
    pub record: SealedRecord,
    /// What of it was asked for.
    pub wanted: Vec<Wanted>,
}

/// An object of a batch, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which of the ids asked for, from 0.
    pub request_index: usize,
    /// Which of the record's members, from 0.
    pub member_index: usize,
}

/// What a stored object refers to, as its record's head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEdges {
    /// What the object is for.
    pub kind: Kind,
    /// Whether the edges are the basis objects of a delta.
    pub is_delta: bool,
    /// The edges, in order.
    pub edges: Vec<ObjectId>,
}

impl Store {
    /// Reads one object. Of several copies a whole one is preferred to a delta.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the vault does not hold it, [`StoreError::Damaged`] when no copy can be read.
    pub fn read(&self, vault: VaultId, id: &ObjectId) -> Result<StoredObject, StoreError> {
        let vault = self.vault_key(vault)?;
        self.read_copy(vault, id)
    }

    /// Starts reading many objects; ids may repeat. Records come in the order in which packs hold them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault. Objects that are not stored are no error: see
    /// [`RecordReader::missing`].
    pub fn read_records(&self, vault: VaultId, ids: &[ObjectId]) -> Result<RecordReader, StoreError> {
        let vault = self.vault_key(vault)?;
        let mut requests: Vec<(ObjectId, usize)> = ids.iter().copied().zip(0..).collect();
        requests.sort_unstable();
        let mut distinct: Vec<ObjectId> = requests.iter().map(|(id, _)| *id).collect();
        distinct.dedup();
        let copies = self.locate(vault, &distinct)?;
        let mut plan = Vec::with_capacity(requests.len());
        let mut missing = Vec::new();
        let mut distinct_index = 0;
        for (id, request_index) in requests {
            while distinct[distinct_index] != id {
                distinct_index += 1;
            }
            match copies[distinct_index].best() {
                None => missing.push(request_index),
                Some(location) => plan.push(Planned { location, id, request_index }),
            }
        }
        plan.sort_unstable_by_key(|planned| (planned.location.pack, planned.location.span, planned.request_index));
        missing.sort_unstable();
        Ok(RecordReader { store: self.clone(), vault, plan, next: 0, missing, ahead: None, retried: VecDeque::new() })
    }

    /// Reads what objects refer to, from record heads alone: `None` for those not stored.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault, [`StoreError::Damaged`] when an object is stored but no copy's head
    /// can be read.
    pub fn edges(&self, vault: VaultId, ids: &[ObjectId]) -> Result<Vec<Option<ObjectEdges>>, StoreError> {
        let vault = self.vault_key(vault)?;
        let mut distinct = ids.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let copies = self.locate(vault, &distinct)?;
        ids.iter()
            .map(|id| {
                let index = distinct.binary_search(id).expect("made of the same ids");
                for location in copies[index].iter() {
                    match self.head(location) {
                        Ok(head) => return Ok(edges_of(&head, id)),
                        Err(error) if is_of_copy(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                match self.first_copy(vault, id, |location| self.head(location)) {
                    Ok(head) => Ok(edges_of(&head, id)),
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .collect()
    }

    /// Finds the readable copies of objects; `ids` ascend and do not repeat.
    pub(crate) fn locate(&self, vault: VaultKey, ids: &[ObjectId]) -> Result<Vec<Copies>, StoreError> {
        self.catalog().locate(vault, ids, |pack| self.is_absent(pack))
    }

    /// Reads the head of a record; it parses.
    pub(crate) fn head(&self, location: Location) -> Result<Bytes, StoreError> {
        let pack = self.open_pack(location.pack)?;
        pack.head(location.span).map_err(|fault| fault_at(&pack, location.span, &fault))
    }

    /// Reads the record of one copy of an object; all its checksums are right.
    pub(crate) fn record_at(&self, location: Location) -> Result<SealedRecord, StoreError> {
        let pack = self.open_pack(location.pack)?;
        pack.record(location.span).map_err(|fault| fault_at(&pack, location.span, &fault))
    }

    fn open_pack(&self, pack: PackKey) -> Result<Arc<PackReader>, StoreError> {
        self.packs().get(pack, self.dir(), self.catalog())
    }

    fn read_copy(&self, vault: VaultKey, id: &ObjectId) -> Result<StoredObject, StoreError> {
        self.first_copy(vault, id, |location| self.read_at(location, id))
    }

    /// What `read` makes of the first copy of an object that can be read. Looks for the copies again when none can and they
    /// are not where they were: garbage collection has moved them meanwhile.
    fn first_copy<T>(
        &self,
        vault: VaultKey,
        id: &ObjectId,
        read: impl Fn(Location) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let locate = || -> Result<Copies, StoreError> {
            Ok(self.locate(vault, std::slice::from_ref(id))?.pop().unwrap_or_default())
        };
        let mut copies = locate()?;
        loop {
            let mut failure = StoreError::NotFound { what: "object" };
            for location in copies.iter() {
                match read(location) {
                    Err(error) if is_of_copy(&error) => failure = error,
                    result => return result,
                }
            }
            let now = locate()?;
            if now == copies {
                return Err(failure);
            }
            copies = now;
        }
    }

    /// Reads one copy of an object; all its checksums are right.
    pub(crate) fn read_at(&self, location: Location, id: &ObjectId) -> Result<StoredObject, StoreError> {
        let pack = self.open_pack(location.pack)?;
        let read = || {
            let record = pack.record(location.span)?;
            let member_index = member_index(&record, id).ok_or(PackFault::Member)?;
            Ok(StoredObject { record, member_index })
        };
        read().map_err(|fault| fault_at(&pack, location.span, &fault))
    }
}

/// Whether an error is of one copy of an object: it is damaged, or its pack is gone.
fn is_of_copy(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::NotFound { .. })
}

fn fault_at(pack: &PackReader, span: Span, fault: &PackFault) -> StoreError {
    damaged(pack.header().pack, span.offset.into(), fault)
}

/// Which member of the record is the object.
pub(crate) fn member_index(record: &SealedRecord, id: &ObjectId) -> Option<usize> {
    record.view().head().members().position(|member| member.id == *id)
}

/// The object's kind and edges, if the head has it.
fn edges_of(head: &[u8], id: &ObjectId) -> Option<ObjectEdges> {
    let head = Record::parse_head(head).ok()?;
    let member = head.members().find(|member| member.id == *id)?;
    Some(ObjectEdges { kind: member.kind, is_delta: head.codec().is_delta(), edges: member.edges.iter().collect() })
}

struct Planned {
    location: Location,
    id: ObjectId,
    request_index: usize,
}

/// Bytes of a pack that were read ahead.
struct Ahead {
    pack: PackKey,
    offset: u64,
    bytes: Bytes,
}

/// Reads the records of a batch, each once, in the order in which packs hold them.
///
/// An item that is an error stands for one record that cannot be read in any copy, or for a failing disk; the items after
/// it are not affected. Holds at most 4 MiB and one record in memory beside what it handed out.
pub struct RecordReader {
    store: Store,
    vault: VaultKey,
    plan: Vec<Planned>,
    next: usize,
    missing: Vec<usize>,
    ahead: Option<Ahead>,
    retried: VecDeque<Result<StoredRecord, StoreError>>,
}

impl std::fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordReader({} of {} objects left)", self.plan.len() - self.next, self.plan.len())
    }
}

impl RecordReader {
    /// Which of the ids asked for are not stored, in order; complete when there are no more records.
    #[must_use]
    pub fn missing(&self) -> &[usize] {
        &self.missing
    }

    /// The planned objects of the next record.
    fn take_group(&mut self) -> std::ops::Range<usize> {
        let first = self.next;
        let location = self.plan[first].location;
        let is_other =
            |planned: &Planned| (planned.location.pack, planned.location.span) != (location.pack, location.span);
        self.next = self.plan[first..].iter().position(is_other).map_or(self.plan.len(), |count| first + count);
        first..self.next
    }

    fn read_group(&mut self, group: std::ops::Range<usize>) -> Result<StoredRecord, StoreError> {
        let Location { pack: key, span, .. } = self.plan[group.start].location;
        let pack = self.store.open_pack(key)?;
        let record = self
            .bytes(&pack, key, span, group.end)
            .and_then(|bytes| record_of_span(&bytes))
            .map_err(|fault| fault_at(&pack, span, &fault))?;
        let wanted = wanted(&record, &self.plan[group]).ok_or(PackFault::Member);
        let wanted = wanted.map_err(|fault| fault_at(&pack, span, &fault))?;
        Ok(StoredRecord { record, wanted })
    }

    /// The bytes of a span; reads those of the following records along when they are near.
    fn bytes(&mut self, pack: &PackReader, key: PackKey, span: Span, following: usize) -> Result<Bytes, PackFault> {
        let offset = u64::from(span.offset);
        if let Some(ahead) = &self.ahead
            && ahead.pack == key
            && ahead.offset <= offset
            && span.end() <= ahead.offset + ahead.bytes.len() as u64
        {
            let start = usize::try_from(offset - ahead.offset).expect("within the bytes read");
            return Ok(ahead.bytes.slice(start..start + span.len as usize));
        }
        let mut end = span.end();
        for planned in &self.plan[following..] {
            let next = planned.location.span;
            let is_near = planned.location.pack == key
                && u64::from(next.offset) <= end + GAP_LEN_MAX
                && next.end() <= offset + READ_LEN_MAX;
            if !is_near {
                break;
            }
            end = end.max(next.end());
        }
        let len = usize::try_from(end - offset).expect("limited above");
        // The record asked for must not suffer from a fault in its neighbours.
        match pack.bytes(offset, len) {
            Ok(bytes) => {
                let wanted = bytes.slice(..span.len as usize);
                self.ahead = Some(Ahead { pack: key, offset, bytes });
                Ok(wanted)
            }
            Err(_) => pack.bytes(offset, span.len as usize),
        }
    }

    /// Reads each object of a record that failed from another copy. What has none any more, since damage was found or a
    /// collection ran after the plan was made, is not stored.
    fn retry(&mut self, group: std::ops::Range<usize>) {
        for planned in &self.plan[group] {
            let read = self.store.read_copy(self.vault, &planned.id).map(|object| StoredRecord {
                wanted: vec![Wanted { request_index: planned.request_index, member_index: object.member_index }],
                record: object.record,
            });
            match read {
                Err(StoreError::NotFound { .. }) => {
                    let at = self.missing.partition_point(|index| *index < planned.request_index);
                    self.missing.insert(at, planned.request_index);
                }
                read => self.retried.push_back(read),
            }
        }
    }
}

impl Iterator for RecordReader {
    type Item = Result<StoredRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(retried) = self.retried.pop_front() {
                return Some(retried);
            }
            if self.next == self.plan.len() {
                self.ahead = None;
                return None;
            }
            let group = self.take_group();
            match self.read_group(group.clone()) {
                Err(error) if is_of_copy(&error) => self.retry(group),
                other => return Some(other),
            }
        }
    }
}

/// Which members answer which requests; `None` when the record lacks one of the objects.
fn wanted(record: &SealedRecord, group: &[Planned]) -> Option<Vec<Wanted>> {
    if let [planned] = group {
        let member_index = member_index(record, &planned.id)?;
        return Some(vec![Wanted { request_index: planned.request_index, member_index }]);
    }
    let head = record.view();
    let mut members: Vec<(ObjectId, usize)> = head.head().members().map(|member| member.id).zip(0..).collect();
    members.sort_unstable();
    group
        .iter()
        .map(|planned| {
            let at = members.partition_point(|(id, _)| *id < planned.id);
            let (id, member_index) = members.get(at)?;
            (*id == planned.id).then_some(Wanted { request_index: planned.request_index, member_index: *member_index })
        })
        .collect()
}
