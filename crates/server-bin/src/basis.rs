//! [`Basis`]: a chunk's bytes, to make signatures and deltas of. [`BasisCache`] keeps those used last, [`BasisReader`]
//! gets them from records, rebuilding chunks that are stored as deltas.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use object::{Kind, ObjectId, VaultId};
use store::{Store, StoreError, StoredObject, WriteSession};
use vault::{DeltaError, OpenError, Opened, Opener, PlainObject, SealedDelta, rebuild};

use crate::metrics::Metrics;

/// Bytes of chunks kept, all vaults together.
const CACHE_LEN_MAX: usize = 24 << 20;
/// So often a chunk alone is taken out of a group; then the group is opened whole. Edits all over a tree want one or two
/// files of a group of a hundred, edits of a folder most of them.
const TAKEN_ALONE_MAX: u8 = 2;
/// Groups of which it is known how often they were wanted.
const GROUPS_NOTED: usize = 64;
/// What a chunk costs beside its bytes.
const ENTRY_LEN: usize = 256;

/// A chunk's bytes, checked against its id.
#[derive(Debug)]
pub(crate) struct Basis {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// How the chunk is stored.
    pub(crate) form: BasisForm,
}

/// How a chunk is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BasisForm {
    /// Whole.
    Whole {
        /// Bytes of the record, shared among all chunks in it.
        record_len: usize,
        /// Plain bytes of all chunks in the record.
        plain_len: usize,
    },
    /// As a delta against these chunks, which are stored whole.
    Delta {
        /// One to eight.
        bases: Vec<ObjectId>,
    },
}

/// Why a chunk cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BasisError {
    /// The vault does not hold it.
    #[error("the chunk is not stored")]
    NotHeld,
    /// What is stored does not open or rebuild.
    #[error("the stored chunk does not open")]
    Open(#[from] OpenError),
    /// What is stored does not rebuild.
    #[error("the stored chunk does not rebuild")]
    Rebuild(#[from] DeltaError),
    /// It is not a chunk.
    #[error("the object is not a chunk")]
    NotData,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for BasisError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NotHeld,
            error => Self::Store(error),
        }
    }
}

/// Where records come from.
pub(crate) trait RecordSource {
    /// The record that holds an object.
    fn record(&mut self, id: &ObjectId) -> Result<StoredObject, StoreError>;
}

/// What is visible to everybody.
pub(crate) struct Visible<'s> {
    /// The store.
    pub(crate) store: &'s Store,
    /// The vault in it.
    pub(crate) vault: VaultId,
}

impl RecordSource for Visible<'_> {
    fn record(&mut self, id: &ObjectId) -> Result<StoredObject, StoreError> {
        self.store.read(self.vault, id)
    }
}

/// A session sees what it has put itself, too.
impl RecordSource for WriteSession {
    fn record(&mut self, id: &ObjectId) -> Result<StoredObject, StoreError> {
        self.read(id)
    }
}

/// The chunks used last, of all vaults, within a bound.
#[derive(Debug)]
pub(crate) struct BasisCache {
    kept: Mutex<Kept>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Kept {
    chunks: HashMap<(VaultId, ObjectId), (Arc<Basis>, u64)>,
    /// Least recently used first.
    order: BTreeMap<u64, (VaultId, ObjectId)>,
    clock: u64,
    len: usize,
    /// Groups by their first members, and how often a chunk was taken out of each; noted last at the end.
    groups: VecDeque<((VaultId, ObjectId), u8)>,
}

impl BasisCache {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { kept: Mutex::default(), metrics }
    }

    fn get(&self, key: (VaultId, ObjectId)) -> Option<Arc<Basis>> {
        let found = self.kept.lock().expect("nobody panics with it").get(key);
        if found.is_some() {
            self.metrics.basis_cache_hits.add(1);
        }
        found
    }

    fn may_take_alone(&self, group: (VaultId, ObjectId)) -> bool {
        self.kept.lock().expect("nobody panics with it").may_take_alone(group)
    }

    fn keep(&self, key: (VaultId, ObjectId), basis: Arc<Basis>) {
        self.kept.lock().expect("nobody panics with it").keep(key, basis, CACHE_LEN_MAX);
    }
}

impl Kept {
    fn get(&mut self, key: (VaultId, ObjectId)) -> Option<Arc<Basis>> {
        let (basis, used) = self.chunks.get_mut(&key)?;
        self.clock += 1;
        self.order.remove(used);
        self.order.insert(self.clock, key);
        *used = self.clock;
        Some(Arc::clone(basis))
    }

    /// Whether a group was not wanted too often yet; notes that it is wanted now.
    fn may_take_alone(&mut self, group: (VaultId, ObjectId)) -> bool {
        let found = self.groups.iter().position(|(known, _)| *known == group);
        let taken = found.and_then(|index| self.groups.remove(index)).map_or(0, |(_, taken)| taken);
        if self.groups.len() == GROUPS_NOTED {
            self.groups.pop_front();
        }
        self.groups.push_back((group, taken.saturating_add(1)));
        taken < TAKEN_ALONE_MAX
    }

    fn keep(&mut self, key: (VaultId, ObjectId), basis: Arc<Basis>, len_max: usize) {
        let cost = basis.bytes.len() + ENTRY_LEN;
        if cost > len_max || self.chunks.contains_key(&key) {
            return;
        }
        while self.len + cost > len_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some((dropped, _)) = self.chunks.remove(&oldest) {
                self.len -= dropped.bytes.len() + ENTRY_LEN;
            }
        }
        self.clock += 1;
        self.len += cost;
        self.order.insert(self.clock, key);
        self.chunks.insert(key, (basis, self.clock));
    }
}

/// Gets chunks of one vault.
pub(crate) struct BasisReader<'a, S> {
    source: &'a mut S,
    opener: &'a mut Opener,
    vault: VaultId,
    cache: &'a BasisCache,
}

impl<'a, S: RecordSource> BasisReader<'a, S> {
    pub(crate) fn new(source: &'a mut S, opener: &'a mut Opener, vault: VaultId, cache: &'a BasisCache) -> Self {
        Self { source, opener, vault, cache }
    }

    /// A chunk, however it is stored. Memory: the chunk, and its bases when it is a delta.
    ///
    /// # Errors
    /// [`BasisError`].
    pub(crate) fn chunk(&mut self, id: ObjectId) -> Result<Arc<Basis>, BasisError> {
        if let Some(basis) = self.cache.get((self.vault, id)) {
            return Ok(basis);
        }
        match self.open(id)? {
            Loaded::Whole(basis) => Ok(basis),
            Loaded::Delta(delta) => self.rebuild(&delta),
        }
    }

    /// A chunk that is stored whole.
    fn whole_chunk(&mut self, id: ObjectId) -> Result<Arc<Basis>, BasisError> {
        let is_delta = BasisError::Rebuild(DeltaError::BasisIsDelta { basis: id });
        match self.cache.get((self.vault, id)) {
            Some(basis) if matches!(basis.form, BasisForm::Whole { .. }) => return Ok(basis),
            Some(_) => return Err(is_delta),
            None => {}
        }
        match self.open(id)? {
            Loaded::Whole(basis) => Ok(basis),
            Loaded::Delta(_) => Err(is_delta),
        }
    }

    fn rebuild(&mut self, delta: &SealedDelta) -> Result<Arc<Basis>, BasisError> {
        let bases: Vec<Arc<Basis>> =
            delta.bases.iter().map(|id| self.whole_chunk(*id)).collect::<Result<_, BasisError>>()?;
        let slices: Vec<&[u8]> = bases.iter().map(|basis| &basis.bytes[..]).collect();
        let chunk = rebuild(self.opener.keys(), delta, &slices)?;
        let basis = Arc::new(Basis { bytes: chunk.body, form: BasisForm::Delta { bases: delta.bases.clone() } });
        self.cache.keep((self.vault, delta.id), Arc::clone(&basis));
        Ok(basis)
    }

    /// Opens the record of a chunk. What else is in it is kept once the record was wanted some times, since neighbours are
    /// often wanted next.
    fn open(&mut self, id: ObjectId) -> Result<Loaded, BasisError> {
        self.cache.metrics.basis_cache_misses.add(1);
        let stored = self.source.record(&id)?;
        let record = stored.record.view();
        let head = record.head();
        let (record_len, plain_len) = (record.bytes().len(), head.plain_len());
        let form = BasisForm::Whole { record_len, plain_len };
        let first = head.members().next().expect("a record has a member").id;
        let is_group = head.member_count() > 1 && !head.codec().is_delta();
        if is_group && self.cache.may_take_alone((self.vault, first)) {
            let object = self.opener.open_member(record, stored.member_index)?;
            return if object.kind == Kind::Data { Ok(self.loaded(object, form)) } else { Err(BasisError::NotData) };
        }
        let objects = match self.opener.open(record)? {
            Opened::Delta(delta) => return Ok(Loaded::Delta(delta)),
            Opened::Objects(objects) => objects,
        };
        let mut found = Err(BasisError::NotData);
        for mut object in objects.into_iter().filter(|object| object.kind == Kind::Data) {
            if is_group {
                // Slices of one buffer would keep all of it for the sake of the smallest.
                object.body = Bytes::copy_from_slice(&object.body);
            }
            let is_wanted = object.id == id;
            let loaded = self.loaded(object, form.clone());
            if is_wanted {
                found = Ok(loaded);
            }
        }
        found
    }

    fn loaded(&self, object: PlainObject, form: BasisForm) -> Loaded {
        let basis = Arc::new(Basis { bytes: object.body, form });
        self.cache.keep((self.vault, object.id), Arc::clone(&basis));
        Loaded::Whole(basis)
    }
}

enum Loaded {
    Whole(Arc<Basis>),
    Delta(SealedDelta),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis(len: usize) -> Arc<Basis> {
        Arc::new(Basis { bytes: vec![0; len].into(), form: BasisForm::Whole { record_len: len, plain_len: len } })
    }

    #[test]
    fn a_group_is_opened_whole_when_it_is_wanted_again_and_again() {
        let vault = VaultId::from_bytes([0; 16]);
        let group = |n: usize| (vault, ObjectId::from_bytes([u8::try_from(n).unwrap(); 32]));
        let mut kept = Kept::default();
        let answers: Vec<bool> = (0..4).map(|_| kept.may_take_alone(group(0))).collect();
        assert_eq!(answers, [true, true, false, false]);
        for n in 1..=GROUPS_NOTED {
            assert!(kept.may_take_alone(group(n)));
        }
        assert_eq!(kept.groups.len(), GROUPS_NOTED);
        assert!(kept.may_take_alone(group(0)), "it was forgotten meanwhile");
    }

    #[test]
    fn the_chunk_used_longest_ago_goes_first() {
        let vault = VaultId::from_bytes([0; 16]);
        let key = |n: u8| (vault, ObjectId::from_bytes([n; 32]));
        let mut kept = Kept::default();
        let len_max = 3 * (1000 + ENTRY_LEN);
        for n in 0..3 {
            kept.keep(key(n), basis(1000), len_max);
        }
        assert!(kept.get(key(0)).is_some());
        kept.keep(key(3), basis(1000), len_max);
        assert!(kept.get(key(1)).is_none() && kept.get(key(0)).is_some() && kept.get(key(3)).is_some());
        kept.keep(key(4), basis(2500), len_max);
        assert_eq!((kept.chunks.len(), kept.order.len()), (1, 1));
        assert_eq!(kept.len, 2500 + ENTRY_LEN);
        kept.keep(key(5), basis(len_max), len_max);
        assert!(kept.get(key(5)).is_none(), "longer than the cache");
    }
}
