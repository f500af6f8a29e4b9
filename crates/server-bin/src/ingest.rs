//! [`Ingest`]: what becomes of each record that a client puts, before it is stored.
//!
//! In a managed vault nothing is stored unseen: every record is opened and its ids are recomputed. A delta is rebuilt and
//! checked, then made anew against whole chunks, to the byte: what travels and what rests are different deltas of the same
//! chunk. In a sealed vault nobody here can look: a record is stored as it was sent.

use std::sync::Arc;

use object::{BASIS_COUNT_MAX, ObjectId, SealedRecord, VaultId};
use store::{StoreError, WriteSession};
use vault::{
    Basis as EncoderBasis, CompressionLevel, DeltaEncoder, ExactDelta, Keys, OpenError, Opened, Opener, PlainObject,
    SealError, SealedDelta, Sealer, rebuild,
};

use crate::basis::{Basis, BasisCache, BasisError, BasisForm, BasisReader};
use crate::failure::Failure;
use crate::keys::random;
use crate::metrics::Metrics;
use crate::vaults::{Contents, OpenVault};

/// A delta is worth its dependence on other chunks when it takes at most half of what the chunk takes whole.
const WORTH_DIVISOR: usize = 2;
/// What a chunk takes whole is guessed from its bases, within a few per cent mostly, and up to double where the new
/// content is of another kind. A delta below an eighth of the guess is worth it whatever the error.
const SURELY_WORTH_DIVISOR: usize = 8;

/// What to do with a record.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Store this: the record as it was sent, or what was made of it.
    Store(Stored),
    /// Store nothing: this delta does not make its chunk. The client sends the chunk whole.
    Refuse(ObjectId),
}

/// What is stored of a record.
#[derive(Debug)]
pub(crate) struct Stored {
    /// A basis that the record needs and that comes before it.
    pub(crate) supplement: Option<SealedRecord>,
    /// The record.
    pub(crate) record: SealedRecord,
}

impl From<SealedRecord> for Stored {
    fn from(record: SealedRecord) -> Self {
        Self { supplement: None, record }
    }
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

/// Looks at the records of one session; keeps its tables between records.
pub(crate) struct Ingest {
    vault: Arc<OpenVault>,
    metrics: Arc<Metrics>,
    bases: Arc<BasisCache>,
    managed: Option<ManagedIngest>,
}

struct ManagedIngest {
    vault: VaultId,
    opener: Opener,
    encoder: DeltaEncoder,
    sealer: Sealer,
}

impl Ingest {
    /// For one session in `vault`.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness.
    pub(crate) fn new(vault: Arc<OpenVault>, bases: Arc<BasisCache>, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let managed = match &vault.contents {
            Contents::Managed(managed) => Some(ManagedIngest {
                vault: vault.id,
                opener: Opener::new(Arc::clone(&managed.keys)),
                encoder: DeltaEncoder::new(),
                sealer: new_sealer(&managed.keys)?,
            }),
            Contents::Sealed { .. } => None,
        };
        Ok(Self { vault, metrics, bases, managed })
    }

    /// Decides about one record.
    ///
    /// # Errors
    /// [`IngestError`]: the session has to end.
    pub(crate) fn take(&mut self, session: &mut WriteSession, record: SealedRecord) -> Result<Verdict, IngestError> {
        self.metrics.records_received.add(1);
        self.metrics.record_bytes_received.add(record.bytes().len() as u64);
        if record.view().head().codec().is_delta() {
            self.metrics.deltas_received.add(1);
        }
        let verdict = match &mut self.managed {
            Some(managed) => managed.take(session, record, &self.bases),
            None => take_sealed(session, &self.vault, record),
        };
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
        match self.opener.open(record.view()).map_err(IngestError::Mismatch)? {
            Opened::Objects(_) => Ok(Verdict::Store(record.into())),
            Opened::Delta(delta) => self.take_delta(session, &delta, cache),
        }
    }

    fn take_delta(
        &mut self,
        session: &mut WriteSession,
        delta: &SealedDelta,
        cache: &BasisCache,
    ) -> Result<Verdict, IngestError> {
        let keys = Arc::clone(self.opener.keys());
        let mut reader = BasisReader::new(session, &mut self.opener, self.vault, cache);
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
        let mut whole = Vec::with_capacity(BASIS_COUNT_MAX);
        for id in whole_ids(&bases) {
            match reader.chunk(id) {
                Ok(basis) => whole.push((id, basis)),
                // The chunk is right; it can do without this basis.
                Err(BasisError::Store(error)) if !is_damage(&error) => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(Verdict::Store(self.reseal(&chunk, &whole)?))
    }

    /// Seals a chunk as a delta against whole chunks, or whole when that is not worth it.
    fn reseal(&mut self, chunk: &PlainObject, whole: &[(ObjectId, Arc<Basis>)]) -> Result<Stored, SealError> {
        let bases: Vec<EncoderBasis<'_>> =
            whole.iter().map(|(id, basis)| EncoderBasis { id: *id, bytes: &basis.bytes }).collect();
        let keys = Arc::clone(self.opener.keys());
        let Some(ExactDelta { delta, supplement }) = self.encoder.encode_exact(&keys, &bases, &chunk.body) else {
            return Ok(self.sealer.seal(std::slice::from_ref(chunk))?.into());
        };
        let record = self.sealer.seal_delta(&chunk.id, chunk.body.len(), &delta.bases, &delta.encoded)?;
        let supplement = supplement.map(|object| self.sealer.seal(&[object])).transpose()?;
        let stored_len = record.bytes().len() + supplement.as_ref().map_or(0, |record| record.bytes().len());
        let as_delta = Stored { supplement, record };
        let guess = whole_len(chunk.body.len(), whole.iter().map(|(_, basis)| &basis.form));
        if stored_len * SURELY_WORTH_DIVISOR <= guess {
            return Ok(as_delta);
        }
        let sealed_whole = self.sealer.seal(std::slice::from_ref(chunk))?;
        let is_worth_it = stored_len * WORTH_DIVISOR <= sealed_whole.bytes().len();
        Ok(if is_worth_it { as_delta } else { sealed_whole.into() })
    }
}

fn new_sealer(keys: &Keys) -> Result<Sealer, Failure> {
    Ok(Sealer::new(keys, random()?, CompressionLevel::DEFAULT))
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

fn is_damage(error: &StoreError) -> bool {
    matches!(error.kind(), store::ErrorKind::Damaged)
}

/// The whole chunks behind these bases, each once, at most eight: those that are whole themselves first.
fn whole_ids(bases: &[(ObjectId, Arc<Basis>)]) -> Vec<ObjectId> {
    let mut ids = Vec::with_capacity(BASIS_COUNT_MAX);
    let direct = bases.iter().filter(|(_, basis)| matches!(basis.form, BasisForm::Whole { .. })).map(|(id, _)| *id);
    let beneath = bases.iter().flat_map(|(_, basis)| match &basis.form {
        BasisForm::Whole { .. } => &[][..],
        BasisForm::Delta { bases } => bases,
    });
    for id in direct.chain(beneath.copied()) {
        if ids.len() < BASIS_COUNT_MAX && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// What a chunk of `target_len` bytes is likely to take whole: it compresses about as its bases did.
fn whole_len<'a>(target_len: usize, forms: impl Iterator<Item = &'a BasisForm>) -> usize {
    let (mut record_sum, mut plain_sum) = (0, 0);
    for form in forms {
        if let BasisForm::Whole { record_len, plain_len } = form {
            record_sum += record_len;
            plain_sum += plain_len;
        }
    }
    (target_len * record_sum).checked_div(plain_sum).unwrap_or(target_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from_bytes([n; 32])
    }

    fn whole(n: u8) -> (ObjectId, Arc<Basis>) {
        let form = BasisForm::Whole { record_len: 50, plain_len: 100 };
        (id(n), Arc::new(Basis { bytes: bytes::Bytes::new(), form }))
    }

    fn delta(n: u8, bases: &[u8]) -> (ObjectId, Arc<Basis>) {
        let form = BasisForm::Delta { bases: bases.iter().map(|n| id(*n)).collect() };
        (id(n), Arc::new(Basis { bytes: bytes::Bytes::new(), form }))
    }

    #[test]
    fn deltas_are_replaced_by_what_they_stand_on() {
        assert_eq!(whole_ids(&[whole(1), whole(2)]), [id(1), id(2)]);
        assert_eq!(whole_ids(&[delta(1, &[2, 3]), whole(4)]), [id(4), id(2), id(3)]);
        assert_eq!(whole_ids(&[delta(1, &[2]), delta(5, &[2, 6, 7])]), [id(2), id(6), id(7)]);
        assert_eq!(whole_ids(&[delta(1, &[2, 3, 4, 5]), delta(6, &[7, 8, 9, 10, 11])]).len(), BASIS_COUNT_MAX);
    }

    #[test]
    fn a_chunk_is_taken_to_compress_as_its_bases() {
        let half = BasisForm::Whole { record_len: 500, plain_len: 1000 };
        let raw = BasisForm::Whole { record_len: 1000, plain_len: 1000 };
        assert_eq!(whole_len(200, [&half].into_iter()), 100);
        assert_eq!(whole_len(200, [&half, &raw].into_iter()), 150);
        assert_eq!(whole_len(200, std::iter::empty()), 200);
    }
}
