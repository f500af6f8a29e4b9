//! Chunks as deltas: [`DeltaEncoder`] makes them from what a match found, [`rebuild`] turns them back and checks the id.

use bytes::Bytes;
use delta_core::{ApplyError, Delta, EncodeError, ExactMatcher, Limits, OpList, apply};
use object::{BASIS_COUNT_MAX, Kind, ObjectId};

use crate::cut::CHUNK_LEN_MAX;
use crate::keys::Keys;
use crate::seal::{PlainObject, SealedDelta};
use crate::supplement::{Supplemented, take_out};

/// Most chunks that one delta is matched against: further ones give little, and each has to be read to rebuild it.
const MATCHED_MAX: usize = 4;
/// A delta that saves so many bytes is worth its dependence on other chunks, whatever share of the chunk that is: a chunk
/// of 4 MiB that ends where old content begins again would otherwise cost up to half of that once more.
const SAVED_ENOUGH: usize = 256 * 1024;

/// Why a delta does not make the chunk its id names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum DeltaError {
    /// The encoded delta is malformed, or does not fit its bases.
    #[error("delta is malformed")]
    Malformed(#[from] delta_core::DeltaError),
    /// The delta cannot be applied to these bases.
    #[error("delta does not apply to its bases")]
    Apply(#[from] ApplyError),
    /// The record declares another length than the delta makes.
    #[error("delta makes {found} bytes, its record declares {declared}")]
    Length { declared: usize, found: u32 },
    /// What was rebuilt is not what the id names: a block matched by accident, or a basis is wrong.
    #[error("rebuilt chunk does not match its id")]
    WrongId,
    /// A basis must be stored whole.
    #[error("basis {} is stored as a delta itself", basis.short())]
    BasisIsDelta { basis: ObjectId },
}

/// Rebuilds the chunk of a delta from its basis chunks, in their order, and checks its id.
///
/// The delta may come from anyone. Memory: the chunk, at most 4 MiB.
///
/// # Errors
/// [`DeltaError`]; nothing is returned then.
pub fn rebuild(keys: &Keys, delta: &SealedDelta, bases: &[&[u8]]) -> Result<PlainObject, DeltaError> {
    let basis_lens: Vec<u32> = bases.iter().map(|basis| u32::try_from(basis.len()).unwrap_or(u32::MAX)).collect();
    let decoded = Delta::decode(&delta.encoded, &basis_lens, &Limits::default())?;
    if decoded.target_len() as usize != delta.target_len {
        return Err(DeltaError::Length { declared: delta.target_len, found: decoded.target_len() });
    }
    let mut chunk = Vec::new();
    apply(bases, &decoded, CHUNK_LEN_MAX, &mut chunk)?;
    let object = PlainObject::new(keys, Kind::Data, Vec::new(), Bytes::from(chunk));
    if object.id == delta.id { Ok(object) } else { Err(DeltaError::WrongId) }
}

/// A delta ready to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedDelta {
    /// The basis objects, in the order the delta counts them; 1 to 8.
    pub bases: Vec<ObjectId>,
    /// The encoded delta.
    pub encoded: Vec<u8>,
}

/// A delta that is stored as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactDelta {
    /// The delta.
    pub delta: EncodedDelta,
    /// A basis that has to be stored with it.
    pub supplement: Option<PlainObject>,
}

/// A basis that is at hand.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Its name.
    pub id: ObjectId,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Makes deltas; keeps its tables between calls.
pub struct DeltaEncoder {
    exact: ExactMatcher,
    ops: OpList,
}

impl DeltaEncoder {
    /// An encoder without memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self { exact: ExactMatcher::new(), ops: OpList::new() }
    }

    /// Encodes what a match against signatures found; `bases` are the ids and lengths of all slots of `ops`.
    ///
    /// Keeps the four slots that give most. `None` when they give less than a quarter of the target; whether the delta is
    /// worth it then is up to the caller, who knows what the target costs whole.
    #[must_use]
    pub fn encode_matched(&self, ops: &OpList, bases: &[(ObjectId, u32)], target: &[u8]) -> Option<EncodedDelta> {
        let kept = best_slots(ops, MATCHED_MAX);
        let ops = ops.keep_slots(&kept);
        if !gives_enough(&ops) {
            return None;
        }
        let kept: Vec<(ObjectId, u32)> = kept.iter().map(|slot| bases[usize::from(*slot)]).collect();
        encode(&ops, &kept, target)
    }

    /// Finds what `target` has in common with at most eight whole bases, to the byte: for the side that has them all.
    ///
    /// Many new bytes go into a supplement: a chunk of its own, which has to be stored whole before the delta, and is
    /// the last of its bases. `None` as in [`encode_matched`](Self::encode_matched).
    #[must_use]
    pub fn encode_exact(&mut self, keys: &Keys, bases: &[Basis<'_>], target: &[u8]) -> Option<ExactDelta> {
        let bases = &bases[..bases.len().min(BASIS_COUNT_MAX)];
        let slices: Vec<&[u8]> = bases.iter().map(|basis| basis.bytes).collect();
        self.exact.diff(&slices, target, &mut self.ops).ok()?;
        Self::encode_supplemented(keys, &self.ops, &named_lens(bases), target)
    }

    /// As [`encode_exact`](Self::encode_exact), for a target that was rebuilt from `guide` and these bases: what that copies
    /// is not looked for again.
    #[must_use]
    pub fn encode_guided(
        &mut self,
        keys: &Keys,
        guide: &SealedDelta,
        bases: &[Basis<'_>],
        target: &[u8],
    ) -> Option<ExactDelta> {
        let lens: Vec<u32> = named_lens(bases).into_iter().map(|(_, len)| len).collect();
        let slices: Vec<&[u8]> = bases.iter().map(|basis| basis.bytes).collect();
        let mut ops = Delta::decode(&guide.encoded, &lens, &Limits::default()).ok()?.op_list();
        self.exact.refine(&slices, target, &mut ops).ok()?;
        Self::encode_supplemented(keys, &ops, &named_lens(bases), target)
    }

    /// Encodes what a match against signatures found where nobody will encode it anew: like
    /// [`encode_matched`](Self::encode_matched), but with up to eight bases, and with a supplement as
    /// [`encode_exact`](Self::encode_exact) makes them.
    #[must_use]
    pub fn encode_supplemented(
        keys: &Keys,
        ops: &OpList,
        bases: &[(ObjectId, u32)],
        target: &[u8],
    ) -> Option<ExactDelta> {
        let kept = best_slots(ops, BASIS_COUNT_MAX);
        if !gives_enough(&ops.keep_slots(&kept)) {
            return None;
        }
        let Supplemented { kept, ops, supplement } = take_out(ops, kept, BASIS_COUNT_MAX, target);
        let mut named: Vec<(ObjectId, u32)> = kept.iter().map(|slot| bases[usize::from(*slot)]).collect();
        let supplement =
            (!supplement.is_empty()).then(|| PlainObject::new(keys, Kind::Data, Vec::new(), Bytes::from(supplement)));
        if let Some(supplement) = &supplement {
            named.push((supplement.id, u32::try_from(supplement.body.len()).expect("it is part of a chunk")));
        }
        let delta = encode(&ops, &named, target)?;
        Some(ExactDelta { delta, supplement })
    }
}

impl Default for DeltaEncoder {
    fn default() -> Self {
        Self::new()
    }
}

fn named_lens(bases: &[Basis<'_>]) -> Vec<(ObjectId, u32)> {
    let len = |basis: &Basis<'_>| u32::try_from(basis.bytes.len()).expect("chunks are at most 4 MiB");
    bases.iter().map(|basis| (basis.id, len(basis))).collect()
}

/// The slots that give most bytes, at most `count_max`, the best first.
fn best_slots(ops: &OpList, count_max: usize) -> Vec<u8> {
    let copied = ops.copied_lens();
    let mut slots: Vec<u8> = (0..=u8::MAX).zip(&copied).filter(|(_, len)| **len > 0).map(|(slot, _)| slot).collect();
    slots.sort_by_key(|slot| std::cmp::Reverse(copied[usize::from(*slot)]));
    slots.truncate(count_max);
    slots
}

/// Whether so much of the target comes from bases, a quarter or 256 KiB, that sealing it may tell that it is worth it.
fn gives_enough(ops: &OpList) -> bool {
    let copied_len = ops.target_len() - ops.literal_len();
    copied_len > 0 && (copied_len >= ops.target_len() / 4 || copied_len as usize >= SAVED_ENOUGH)
}

/// Whether a delta that takes `stored_len` bytes, its supplement included, is worth its dependence on other chunks, where
/// the chunk takes `whole_len` bytes: it takes at most half, or saves 256 KiB.
#[must_use]
pub fn is_worth_its_bases(stored_len: usize, whole_len: usize) -> bool {
    stored_len <= whole_len / 2 || whole_len.saturating_sub(stored_len) >= SAVED_ENOUGH
}

fn encode(ops: &OpList, bases: &[(ObjectId, u32)], target: &[u8]) -> Option<EncodedDelta> {
    let lens: Vec<u32> = bases.iter().map(|(_, len)| *len).collect();
    let mut encoded = Vec::new();
    match ops.encode(&lens, target, &mut encoded) {
        Ok(()) => {}
        Err(EncodeError::TooManyCopies { .. }) => return None,
        Err(error) => unreachable!("ops were made for this target and these bases: {error}"),
    }
    let bases = bases.iter().map(|(id, _)| *id).collect();
    Some(EncodedDelta { bases, encoded })
}
