//! [`Resealer`]: puts a chunk whose bytes are at hand into the form it rests in: a delta against whole chunks where that
//! is worth it, made to the byte.
//!
//! Every record it makes was opened again and gave what went into it, ids included: failing memory and compressors are what
//! damages backups unseen.

use std::sync::Arc;

use object::{BASIS_COUNT_MAX, ObjectId, SealedRecord, VaultId};
use store::{StoreError, WriteSession};
use vault::{
    Basis as EncoderBasis, CompressionLevel, DeltaEncoder, EncodedDelta, ExactDelta, Keys, Opened, Opener, PlainObject,
    SealError, SealedDelta, Sealer, is_worth_its_bases, rebuild,
};

use crate::basis::{Basis, BasisCache, BasisError, BasisForm, BasisReader};
use crate::failure::Failure;
use crate::keys::random;

/// What a chunk takes whole is guessed from its bases, within a few per cent mostly, and up to double where the new
/// content is of another kind. A delta below an eighth of the guess is worth it whatever the error.
const SURELY_WORTH_DIVISOR: usize = 8;

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

/// Why a chunk cannot be put into its form.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResealError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be made.
    #[error("a chunk could not be sealed")]
    Seal(#[from] SealError),
}

/// Makes records of chunks; keeps its tables between them.
pub(crate) struct Resealer {
    vault: VaultId,
    opener: Opener,
    /// From the first delta on: its tables are 256 KiB, and most sessions of a thousand wait.
    encoder: Option<DeltaEncoder>,
    sealer: Sealer,
}

impl Resealer {
    /// For one session in `vault`.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness.
    pub(crate) fn new(vault: VaultId, keys: &Arc<Keys>) -> Result<Self, Failure> {
        Ok(Self::with_sealer(vault, keys, Sealer::new(keys, random()?, CompressionLevel::DEFAULT)))
    }

    fn with_sealer(vault: VaultId, keys: &Arc<Keys>, sealer: Sealer) -> Self {
        Self { vault, opener: Opener::new(Arc::clone(keys)), encoder: None, sealer }
    }

    /// Opens records of the vault.
    pub(crate) fn opener(&mut self) -> &mut Opener {
        &mut self.opener
    }

    /// Seals an object as it is.
    ///
    /// # Errors
    /// [`SealError`].
    pub(crate) fn seal(&mut self, object: &PlainObject) -> Result<SealedRecord, SealError> {
        let record = self.sealer.seal(std::slice::from_ref(object))?;
        self.prove(record)
    }

    /// Opens a record of whole objects again.
    fn prove(&mut self, record: SealedRecord) -> Result<SealedRecord, SealError> {
        match self.opener.check(record.view()) {
            Ok(()) => Ok(record),
            Err(_) => Err(SealError::NotAsSealed),
        }
    }

    /// Opens a delta again and rebuilds its chunk.
    fn prove_delta(
        &mut self,
        record: SealedRecord,
        delta: &EncodedDelta,
        bases: &[EncoderBasis<'_>],
    ) -> Result<SealedRecord, SealError> {
        let bytes_of = |id: &ObjectId| bases.iter().find(|basis| basis.id == *id).map(|basis| basis.bytes);
        let slices: Option<Vec<&[u8]>> = delta.bases.iter().map(bytes_of).collect();
        let is_sound = match (self.opener.open(record.view()), slices) {
            (Ok(Opened::Delta(opened)), Some(slices)) => {
                opened.bases == delta.bases && rebuild(self.opener.keys(), &opened, &slices).is_ok()
            }
            _ => false,
        };
        if is_sound { Ok(record) } else { Err(SealError::NotAsSealed) }
    }

    /// Gets chunks of the vault, those of `session` too.
    pub(crate) fn reader<'a>(
        &'a mut self,
        session: &'a mut WriteSession,
        cache: &'a BasisCache,
    ) -> BasisReader<'a, WriteSession> {
        BasisReader::new(session, &mut self.opener, self.vault, cache)
    }

    /// What is stored of `chunk`, which has something in common with `bases`; `guide` is a delta that made it of them.
    ///
    /// # Errors
    /// [`ResealError`]. A basis that cannot be read is no error: the chunk can do without it.
    pub(crate) fn reseal(
        &mut self,
        session: &mut WriteSession,
        cache: &BasisCache,
        chunk: &PlainObject,
        bases: &[(ObjectId, Arc<Basis>)],
        guide: Option<&SealedDelta>,
    ) -> Result<Stored, ResealError> {
        let mut whole = Vec::with_capacity(BASIS_COUNT_MAX);
        let mut reader = self.reader(session, cache);
        for id in whole_ids(bases) {
            match reader.chunk(id) {
                Ok(basis) => whole.push((id, basis)),
                Err(BasisError::Store(error)) if !is_damage(&error) => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(self.against(chunk, &whole, guide)?)
    }

    /// Seals a chunk as a delta against whole chunks, or whole when that is not worth it.
    fn against(
        &mut self,
        chunk: &PlainObject,
        whole: &[(ObjectId, Arc<Basis>)],
        guide: Option<&SealedDelta>,
    ) -> Result<Stored, SealError> {
        let bases: Vec<EncoderBasis<'_>> =
            whole.iter().map(|(id, basis)| EncoderBasis { id: *id, bytes: &basis.bytes }).collect();
        let keys = Arc::clone(self.opener.keys());
        // A guide to chunks that are deltas themselves says nothing of those beneath.
        let guide = guide.filter(|guide| guide.bases.iter().eq(whole.iter().map(|(id, _)| id)));
        let exact = match guide {
            Some(guide) => self.encoder.get_or_insert_default().encode_guided(&keys, guide, &bases, &chunk.body),
            None => self.encoder.get_or_insert_default().encode_exact(&keys, &bases, &chunk.body),
        };
        let Some(ExactDelta { delta, supplement }) = exact else {
            return Ok(self.seal(chunk)?.into());
        };
        let record = self.sealer.seal_delta(&chunk.id, chunk.body.len(), &delta.bases, &delta.encoded)?;
        let sealed_supplement = match &supplement {
            Some(object) => Some(self.sealer.seal(std::slice::from_ref(object))?),
            None => None,
        };
        let stored_len = record.bytes().len() + sealed_supplement.as_ref().map_or(0, |record| record.bytes().len());
        let guess = whole_len(chunk.body.len(), whole.iter().map(|(_, basis)| &basis.form));
        if stored_len * SURELY_WORTH_DIVISOR > guess {
            let sealed_whole = self.sealer.seal(std::slice::from_ref(chunk))?;
            if !is_worth_its_bases(stored_len, sealed_whole.bytes().len()) {
                return Ok(self.prove(sealed_whole)?.into());
            }
        }
        let mut bases = bases;
        bases.extend(supplement.as_ref().map(|object| EncoderBasis { id: object.id, bytes: &object.body }));
        let record = self.prove_delta(record, &delta, &bases)?;
        let supplement = sealed_supplement.map(|record| self.prove(record)).transpose()?;
        Ok(Stored { supplement, record })
    }
}

/// Whether stored bytes are damaged, rather than the store as a whole failing.
pub(crate) fn is_damage(error: &StoreError) -> bool {
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
    use vault::Compress;

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

    /// Compresses as it should, and flips a bit of every frame.
    struct Buggy {
        flips: u32,
    }

    impl Compress for Buggy {
        fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool {
            *frame = zstd_frame(plain);
            self.flips += 1;
            let bit = blake3::hash(&self.flips.to_le_bytes()).as_bytes()[..8].try_into().map(u64::from_le_bytes);
            let bit = usize::try_from(bit.unwrap() % (frame.len() as u64 * 8)).unwrap();
            frame[bit / 8] ^= 1 << (bit % 8);
            true
        }
    }

    /// A frame of one raw block, with its length and without a checksum (RFC 8878).
    fn zstd_frame(plain: &[u8]) -> Vec<u8> {
        let len = u32::try_from(plain.len()).unwrap();
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&(len << 3 | 1).to_le_bytes()[..3]);
        frame.extend_from_slice(plain);
        frame
    }

    fn noise(number: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Neither whole nor as a delta does anything leave the sealer that does not open as what it is. A few bits mean nothing.
    #[test]
    fn nothing_is_stored_that_a_broken_compressor_made() {
        let keys = Arc::new(Keys::new(&vault::VaultKey::from_bytes([7; 32])));
        let chunk = |bytes: Vec<u8>| PlainObject::new(&keys, object::Kind::Data, Vec::new(), bytes.into());
        let mut noticed = 0;
        for number in 0..200 {
            let sealer = Sealer::with_compressor(&keys, [8; 16], Box::new(Buggy { flips: number }));
            let mut resealer = Resealer::with_sealer(VaultId::from_bytes([1; 16]), &keys, sealer);
            let old = chunk(noise(number, 40_000));
            let mut new = old.body.to_vec();
            new[20_000..20_100].copy_from_slice(&noise(!number, 100));
            let new = chunk(new);
            match resealer.seal(&old) {
                Err(error) => noticed += u32::from(error == SealError::NotAsSealed),
                Ok(record) => match Opener::new(Arc::clone(&keys)).open(record.view()) {
                    Ok(Opened::Objects(objects)) => assert_eq!(objects, std::slice::from_ref(&old)),
                    other => panic!("{other:?}"),
                },
            }
            let form = BasisForm::Whole { record_len: 40_000, plain_len: 40_000 };
            let basis = Arc::new(Basis { bytes: old.body.clone(), form });
            match resealer.against(&new, &[(old.id, basis)], None) {
                Err(error) => noticed += u32::from(error == SealError::NotAsSealed),
                Ok(stored) => match Opener::new(Arc::clone(&keys)).open(stored.record.view()) {
                    Ok(Opened::Delta(delta)) => assert_eq!(rebuild(&keys, &delta, &[&old.body]), Ok(new)),
                    other => panic!("{other:?}"),
                },
            }
        }
        assert!(noticed > 390, "{noticed} of 400");
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
