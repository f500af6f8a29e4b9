//! [`Ingest`]: what becomes of each record that a client puts, before it is stored.
//!
//! In a managed vault nothing is stored unseen: every record is opened and its ids are recomputed. A delta is rebuilt and
//! checked, then made anew against whole chunks, to the byte: what travels and what rests are different deltas of the same
//! chunk. In a sealed vault nobody here can look: a record is stored as it was sent.

use std::sync::Arc;

use object::{Kind, ObjectId, SealedRecord};
use store::{StoreError, Traffic, WriteSession};
use vault::{OpenError, Opened, SealError, SealedDelta, rebuild};

use crate::basis::{BasisCache, BasisError};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::reseal::{ResealError, Resealer, Stored, is_damage};
use crate::vaults::{Contents, OpenVault};

/// What to do with a record.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Store this: the record as it was sent, or what was made of it.
    Store(Stored),
    /// Store nothing: this delta does not make its chunk. The client sends the chunk whole.
    Refuse(ObjectId),
}

/// Why the session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    /// The record's content is not what its ids promise: a fault of memory or of the client's code.
    #[error("a record is not what it should be")]
    Mismatch(#[source] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be made.
    #[error("a chunk could not be sealed")]
    Seal(#[from] SealError),
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] Failure),
}

/// What was brought since the last commit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Brought {
    /// Bytes of chunks that the vault did not hold.
    pub(crate) new_bytes: u64,
    /// Of these, bytes of chunks that are stored as deltas.
    pub(crate) delta_bytes: u64,
    /// Bytes that came over the network.
    pub(crate) sent_bytes: u64,
}

impl Brought {
    /// Counts a record that is to be stored.
    pub(crate) fn add(&mut self, record: &SealedRecord) {
        let head = record.view().head();
        let chunks = head.members().filter(|member| member.kind == Kind::Data);
        let len: usize = chunks.map(|member| member.plain_len).sum();
        self.new_bytes += len as u64;
        if head.codec().is_delta() {
            self.delta_bytes += len as u64;
        }
    }

    /// What it comes to, as files of `source_bytes` that the store grew by `stored_bytes` for.
    pub(crate) fn traffic(self, source_bytes: u64, stored_bytes: u64) -> Traffic {
        let Self { new_bytes, delta_bytes, sent_bytes } = self;
        // What is sent twice is no more than what there is.
        let deduplicated_bytes = source_bytes.saturating_sub(new_bytes);
        let delta_bytes = delta_bytes.min(source_bytes - deduplicated_bytes);
        Traffic { source_bytes, deduplicated_bytes, delta_bytes, sent_bytes, stored_bytes, restored_bytes: 0 }
    }
}

/// Looks at the records of one session; keeps its tables between records.
pub(crate) struct Ingest {
    pub(crate) brought: Brought,
    vault: Arc<OpenVault>,
    metrics: Arc<Metrics>,
    bases: Arc<BasisCache>,
    managed: Option<ManagedIngest>,
}

struct ManagedIngest {
    resealer: Resealer,
}

impl Ingest {
    /// For one session in `vault`.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness.
    pub(crate) fn new(vault: Arc<OpenVault>, bases: Arc<BasisCache>, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let managed = match &vault.contents {
            Contents::Managed(managed) => Some(ManagedIngest { resealer: Resealer::new(vault.id, &managed.keys)? }),
            Contents::Sealed { .. } => None,
        };
        Ok(Self { brought: Brought::default(), vault, metrics, bases, managed })
    }

    /// Decides about one record.
    ///
    /// # Errors
    /// [`IngestError`]: the session has to end.
    pub(crate) fn take(&mut self, session: &mut WriteSession, record: SealedRecord) -> Result<Verdict, IngestError> {
        self.metrics.records_received.add(1);
        self.metrics.record_bytes_received.add(record.bytes().len() as u64);
        self.brought.sent_bytes += record.bytes().len() as u64;
        if record.view().head().codec().is_delta() {
            self.metrics.deltas_received.add(1);
        }
        let verdict = match &mut self.managed {
            Some(managed) => managed.take(session, record, &self.bases),
            None => take_sealed(session, &self.vault, record),
        };
        if let Ok(Verdict::Store(stored)) = &verdict {
            self.brought.add(&stored.record);
        }
        match &verdict {
            Ok(Verdict::Store(stored)) if stored.record.view().head().codec().is_delta() => {
                self.metrics.deltas_stored.add(1);
            }
            Ok(Verdict::Refuse(id)) => {
                self.metrics.deltas_refused.add(1);
                tracing::debug!(chunk = %id.short(), "delta refused");
            }
            Err(IngestError::Mismatch(_)) => self.metrics.hash_mismatches.add(1),
            _ => {}
        }
        verdict
    }
}

impl ManagedIngest {
    fn take(
        &mut self,
        session: &mut WriteSession,
        record: SealedRecord,
        cache: &BasisCache,
    ) -> Result<Verdict, IngestError> {
        if !record.view().head().codec().is_delta() {
            self.resealer.opener().check(record.view()).map_err(IngestError::Mismatch)?;
            return Ok(Verdict::Store(record.into()));
        }
        match self.resealer.opener().open(record.view()).map_err(IngestError::Mismatch)? {
            Opened::Objects(_) => unreachable!("the head says that it is a delta"),
            Opened::Delta(delta) => self.take_delta(session, &delta, cache),
        }
    }

    fn take_delta(
        &mut self,
        session: &mut WriteSession,
        delta: &SealedDelta,
        cache: &BasisCache,
    ) -> Result<Verdict, IngestError> {
        let keys = Arc::clone(self.resealer.opener().keys());
        let mut reader = self.resealer.reader(session, cache);
        let mut bases = Vec::with_capacity(delta.bases.len());
        for id in &delta.bases {
            match reader.chunk(*id) {
                Ok(basis) => bases.push((*id, basis)),
                Err(error) => return refuse_unless_fatal(delta.id, error),
            }
        }
        let slices: Vec<&[u8]> = bases.iter().map(|(_, basis)| &basis.bytes[..]).collect();
        let chunk = match rebuild(&keys, delta, &slices) {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::debug!(chunk = %delta.id.short(), %error, "a delta does not rebuild");
                return Ok(Verdict::Refuse(delta.id));
            }
        };
        let stored =
            self.resealer.reseal(session, cache, &chunk, &bases, Some(delta)).map_err(|error| match error {
                ResealError::Store(error) => IngestError::Store(error),
                ResealError::Seal(error) => IngestError::Seal(error),
            })?;
        Ok(Verdict::Store(stored))
    }
}

/// In a sealed vault a delta's bases have to be there, whole, or nobody could ever read it.
fn take_sealed(session: &mut WriteSession, vault: &OpenVault, record: SealedRecord) -> Result<Verdict, IngestError> {
    let head = record.view().head();
    if !head.codec().is_delta() {
        return Ok(Verdict::Store(record.into()));
    }
    let member = head.members().next().expect("a record has a member");
    let id = member.id;
    for basis in member.edges.iter() {
        let is_whole = match session.read(&basis) {
            Ok(stored) => !stored.record.view().head().codec().is_delta(),
            Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_whole {
            tracing::debug!(vault = %vault.id, chunk = %id.short(), "a delta's basis is not held whole");
            return Ok(Verdict::Refuse(id));
        }
    }
    Ok(Verdict::Store(record.into()))
}

/// A basis that cannot be had is no reason to end the session: the chunk, sent whole, even heals what is damaged.
fn refuse_unless_fatal(id: ObjectId, error: BasisError) -> Result<Verdict, IngestError> {
    match error {
        BasisError::Store(error) if !is_damage(&error) => Err(error.into()),
        error => {
            tracing::debug!(chunk = %id.short(), %error, "a delta's basis cannot be had");
            Ok(Verdict::Refuse(id))
        }
    }
}
