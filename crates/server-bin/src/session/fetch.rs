//! [`FetchReader`]: the objects a client asks for, in parts of a few MiB, read in the order in which packs hold them.
//!
//! Bases come before the deltas that need them. Every record comes once, however many objects of it were asked for.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use object::{Kind, ObjectId, SealedRecord, VaultId};
use proto::{Fetch, Objects};
use store::{DeviceId, RecordReader, Store, StoreError, StoredRecord};

use crate::session::pins::Pins;

/// Bytes of records in one part, unless a single record is longer.
const PART_LEN: usize = 4 << 20;

/// Reads what one `Fetch` asks for.
pub(super) struct FetchReader {
    store: Store,
    vault: VaultId,
    device: DeviceId,
    pins: Arc<Pins>,
    ids: Vec<ObjectId>,
    with_basis: bool,
    records: RecordReader,
    /// Which ids were found.
    is_found: Vec<bool>,
    /// Salts and counters of the records handed out.
    sent: HashSet<[u8; 24]>,
    /// Basis objects handed out, or not to be had.
    bases: HashSet<ObjectId>,
    /// Records to be handed out before more are read.
    queued: VecDeque<SealedRecord>,
    bases_ahead: Option<RecordReader>,
    damaged_count: u64,
}

impl FetchReader {
    /// Looks where the objects are.
    ///
    /// # Errors
    /// [`StoreError`] when the catalog fails.
    pub(super) fn new(
        store: &Store,
        vault: VaultId,
        device: DeviceId,
        pins: Arc<Pins>,
        fetch: &Fetch,
    ) -> Result<Self, StoreError> {
        let ids: Vec<ObjectId> = fetch.ids.iter().collect();
        Ok(Self {
            store: store.clone(),
            vault,
            device,
            pins,
            records: store.read_records(vault, &ids)?,
            is_found: vec![false; ids.len()],
            ids,
            with_basis: fetch.with_basis,
            sent: HashSet::new(),
            bases: HashSet::new(),
            queued: VecDeque::new(),
            bases_ahead: None,
            damaged_count: 0,
        })
    }

    /// The next part; the last one says so, and what is missing. Memory: two parts.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails. An object that is damaged in all its copies is missing.
    pub(super) fn next_part(&mut self) -> Result<Objects, StoreError> {
        let mut records = Vec::new();
        let mut len = 0;
        while len < PART_LEN {
            let Some(record) = self.next_record()? else {
                let missing = (0..).zip(&self.is_found).filter(|(_, found)| !**found).map(|(index, _)| index).collect();
                return Ok(Objects { records, missing, last: true });
            };
            len += record.bytes().len();
            records.push(record);
        }
        Ok(Objects { records, missing: Vec::new(), last: false })
    }

    /// Objects that were stored, and could not be read.
    pub(super) fn damaged_count(&self) -> u64 {
        self.damaged_count
    }

    fn next_record(&mut self) -> Result<Option<SealedRecord>, StoreError> {
        loop {
            if let Some(bases) = &mut self.bases_ahead {
                match bases.next() {
                    Some(Ok(stored)) => {
                        if self.sent.insert(*stored.record.view().head().nonce()) {
                            return Ok(Some(stored.record));
                        }
                        continue;
                    }
                    Some(Err(error)) => {
                        self.passed_over(error)?;
                        continue;
                    }
                    None => self.bases_ahead = None,
                }
            }
            if let Some(record) = self.queued.pop_front() {
                return Ok(Some(record));
            }
            if !self.read_ahead()? {
                return Ok(None);
            }
        }
    }

    /// Reads records for about one part, and finds out which bases have to go before them.
    fn read_ahead(&mut self) -> Result<bool, StoreError> {
        let mut len = 0;
        let mut bases = Vec::new();
        let mut is_any = false;
        while len < PART_LEN {
            let stored = match self.records.next() {
                None => break,
                Some(Ok(stored)) => stored,
                Some(Err(error)) => {
                    self.passed_over(error)?;
                    continue;
                }
            };
            if !self.may_have(&stored)? {
                continue;
            }
            for wanted in &stored.wanted {
                self.is_found[wanted.request_index] = true;
            }
            is_any = true;
            let head = stored.record.view().head();
            if !self.sent.insert(*head.nonce()) {
                continue;
            }
            if self.with_basis && head.codec().is_delta() {
                let edges = head.members().flat_map(|member| member.edges.iter());
                bases.extend(edges.filter(|basis| self.bases.insert(*basis)));
            }
            len += stored.record.bytes().len();
            self.queued.push_back(stored.record);
        }
        if !bases.is_empty() {
            self.bases_ahead = Some(self.store.read_records(self.vault, &bases)?);
        }
        Ok(is_any)
    }

    /// Whether the client may have what it asked of this record: a snapshot only when it is its own, since snapshots of
    /// other devices are as good as not there. Whoever gets a snapshot may restore it: it is pinned first.
    fn may_have(&self, stored: &StoredRecord) -> Result<bool, StoreError> {
        let head = stored.record.view().head();
        if !head.is_metadata() {
            return Ok(true);
        }
        let members: Vec<_> = head.members().collect();
        for wanted in &stored.wanted {
            if members[wanted.member_index].kind != Kind::Snapshot {
                continue;
            }
            if !self.pins.pin(&self.store, self.vault, self.device, &self.ids[wanted.request_index])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn passed_over(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            error @ StoreError::Damaged { .. } => {
                tracing::error!(vault = %self.vault, %error, "an object cannot be read");
                self.damaged_count += 1;
                Ok(())
            }
            error => Err(error),
        }
    }
}
