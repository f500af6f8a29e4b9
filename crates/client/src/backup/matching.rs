//! [`DeltaFinder`]: what of some chunks the server can copy from chunks it has.
//!
//! In a sealed vault signatures come from the client's own memory of the file only, in one level. In a managed one they
//! come from there or from the server, for all chunks of a window at once: a coarse level over the likely bases, for long
//! runs that nothing explains another over bases from elsewhere in the file, then cells around what that left open and
//! where a moved region begins or ends within a chunk, then finer cells around small edits. At most four questions,
//! however many chunks there are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use delta_core::{
    BASIS_COUNT_MAX, BasisRange, BasisSet, BlockLen, GapRules, Matcher, Op, OpList, Signature, SignatureParams,
};
use object::ObjectId;
use proto::limits::SIGNATURE_RANGE_COUNT_MAX;
use vault::{DeltaEncoder, ExactDelta, Mode, SignatureLevel};

use super::questions::Questions;
use super::seams::at_seams;
use super::window::{FileContext, WindowChunk};
use crate::error::ClientError;
use crate::session::Session;
use crate::signature_cache::BasisChunk;

/// Shorter chunks are sent whole: a delta would cost as much.
const TARGET_LEN_MIN: usize = 4 * 1024;
/// Bases up to this length need only one level, of cells.
const SMALL_BASIS_LEN: u32 = 32 * 1024;
/// Cells of 512 bytes are asked for around literals of at least one cell. What an edit moved is looked for a little
/// further on.
pub(super) const CELLS: Cells = Cells { block_len: BlockLen::FINE, literal_lens: 512..=u32::MAX, reach: 2 * 1024 };
/// Cells of 64 bytes are asked for around literals that a few bytes of edit have left; for longer ones they would cost
/// more than they save.
const FINEST_CELLS: Cells = Cells { block_len: BlockLen::FINEST, literal_lens: 192..=1536, reach: 64 };
/// Literals at least this long are looked for in the rest of the file: signatures of so much cost less than they bring.
pub(super) const LONG_LITERAL_LEN: u32 = 32 * 1024;
/// The same where the client remembers the signatures: any stretch of that length has a whole coarse block in it.
const LONG_LITERAL_LEN_REMEMBERED: u32 = 16 * 1024;

/// A level of cells, and which literals it is for.
pub(super) struct Cells {
    block_len: BlockLen,
    pub(super) literal_lens: RangeInclusive<u32>,
    /// Bytes of basis looked at beyond as many as the literal has.
    pub(super) reach: u32,
}

/// Finds deltas; one per thread.
pub(crate) struct DeltaFinder<'s> {
    session: &'s Session,
    mode: Mode,
    matcher: Matcher,
    encoder: DeltaEncoder,
}

/// One chunk on its way to becoming a delta.
pub(super) struct Job<'w> {
    pub(super) chunk: &'w WindowChunk,
    /// Slots of `ops`, in order.
    pub(super) bases: Vec<BasisChunk>,
    /// How many of them have been matched against.
    tried: usize,
    pub(super) ops: OpList,
}

impl<'s> DeltaFinder<'s> {
    pub(crate) fn new(session: &'s Session) -> Self {
        let matcher = Matcher::new(session.keys().hash_key());
        Self { session, mode: session.mode(), matcher, encoder: DeltaEncoder::new() }
    }

    /// Whether there is anything that a delta of this chunk could stand on, and one is likely to help.
    pub(crate) fn is_worth_trying(&self, chunk: &WindowChunk) -> bool {
        let len = chunk.bytes.len();
        len >= TARGET_LEN_MIN
            && !chunk.near_bases(self.mode).is_empty()
            && (chunk.is_beside_kept || chunk.file.is_worth_matching(len))
    }

    /// For each chunk the delta it can be sent as; `None` where it is better sent whole.
    pub(crate) fn find(&mut self, chunks: &[&WindowChunk]) -> Result<Vec<Option<ExactDelta>>, ClientError> {
        let mut jobs: Vec<Job<'_>> = chunks.iter().map(|chunk| Job::new(chunk, self.mode)).collect();
        self.match_coarse(&mut jobs.iter_mut().collect::<Vec<_>>())?;
        let mut widened: Vec<&mut Job<'_>> =
            jobs.iter_mut().filter_map(|job| job.widen(self.mode).then_some(job)).collect();
        self.match_coarse(&mut widened)?;
        if self.mode == Mode::Managed {
            let seams = (0..jobs.len()).map(|index| at_seams(&jobs, index)).collect::<Vec<_>>();
            let seams = jobs.iter_mut().zip(seams).map(|(job, seams)| job.with_slots(seams)).collect();
            self.match_cells(&mut jobs, &CELLS, seams)?;
            self.match_cells(&mut jobs, &FINEST_CELLS, Vec::new())?;
        }
        Ok(jobs.iter().map(|job| self.encode(job)).collect())
    }

    /// Matches the jobs against coarse signatures of those of their bases that have not been tried.
    fn match_coarse(&mut self, jobs: &mut [&mut Job<'_>]) -> Result<(), ClientError> {
        let mut signatures: Vec<Vec<(u8, Signature)>> = Vec::new();
        let mut questions = Questions::default();
        let file = file_of_all(jobs);
        // Held while the server answers: another thread with chunks of the same file most likely wants the same.
        let mut answered = file.as_ref().map(|file| file.answered.lock().expect("nobody panics with it"));
        for (index, job) in jobs.iter_mut().enumerate() {
            let mut known = Vec::new();
            for slot in job.tried..job.bases.len() {
                let basis = job.bases[slot];
                let params = coarse_params(self.mode, basis);
                let slot = u8::try_from(slot).expect("at most 36 bases");
                let earlier = || answered.as_ref()?.get(&basis.id, params);
                if let Some(signature) = self.remembered(job.chunk, basis).or_else(earlier) {
                    known.push((slot, signature));
                } else if self.mode == Mode::Managed {
                    questions.add(index, slot, basis, params, &[0..basis.len]);
                }
            }
            job.tried = job.bases.len();
            signatures.push(known);
        }
        for (index, slot, signature) in questions.ask(self.session)? {
            if let Some(answered) = &mut answered {
                answered.keep(jobs[index].bases[usize::from(slot)].id, &signature);
            }
            signatures[index].push((slot, signature));
        }
        drop(answered);
        for (job, mut signatures) in jobs.iter_mut().zip(signatures) {
            signatures.sort_unstable_by_key(|(slot, _)| *slot);
            self.refine(job, &signatures);
        }
        Ok(())
    }

    /// Matches what is still literal against cells of the bases around it, and against those of `further` ranges, for
    /// each job its own.
    fn match_cells(
        &mut self,
        jobs: &mut [Job<'_>],
        cells: &Cells,
        further: Vec<Vec<BasisRange>>,
    ) -> Result<(), ClientError> {
        let mut questions = Questions::default();
        let further = further.into_iter().chain(std::iter::repeat_with(Vec::new));
        for (index, (job, further)) in jobs.iter().zip(further).enumerate() {
            for (slot, ranges) in job.wanted(cells, further) {
                let basis = job.bases[usize::from(slot)];
                let params = self.mode.params(SignatureLevel::Cells(cells.block_len), basis.offset);
                questions.add(index, slot, basis, params, &ranges);
            }
        }
        let mut cells: HashMap<usize, Vec<(u8, Signature)>> = HashMap::new();
        for (index, slot, signature) in questions.ask(self.session)? {
            cells.entry(index).or_default().push((slot, signature));
        }
        for (index, signatures) in cells {
            self.refine(&mut jobs[index], &signatures);
        }
        Ok(())
    }

    /// Matches the literals of a job against signatures of some of its slots, the longest blocks first.
    fn refine(&mut self, job: &mut Job<'_>, signatures: &[(u8, Signature)]) {
        let mut lens: Vec<BlockLen> = signatures.iter().map(|(_, signature)| signature.params().block_len()).collect();
        lens.sort_unstable_by_key(|len| Reverse(len.bytes()));
        lens.dedup();
        for len in lens {
            let mut bases = BasisSet::new();
            for (slot, signature) in signatures.iter().filter(|(_, signature)| signature.params().block_len() == len) {
                // A set that is full has the best bases in it already.
                if bases.push(*slot, signature).is_err() {
                    break;
                }
            }
            let refined = self.matcher.refine(&bases, &job.chunk.bytes, &mut job.ops);
            refined.expect("chunks and signatures are within the matcher's limits");
        }
    }

    /// The signature this client kept of a basis.
    fn remembered(&self, chunk: &WindowChunk, basis: BasisChunk) -> Option<Signature> {
        let remembered = chunk.file.remembered.as_ref()?;
        let signature = remembered.signature(self.session.keys(), self.mode, &basis.id)?;
        (signature.basis_len() == basis.len).then_some(signature)
    }

    fn encode(&self, job: &Job<'_>) -> Option<ExactDelta> {
        let bases: Vec<(ObjectId, u32)> = job.bases.iter().map(|basis| (basis.id, basis.len)).collect();
        match self.mode {
            Mode::Managed => {
                let delta = self.encoder.encode_matched(&job.ops, &bases, &job.chunk.bytes)?;
                Some(ExactDelta { delta, supplement: None })
            }
            Mode::Sealed => DeltaEncoder::encode_supplemented(self.session.keys(), &job.ops, &bases, &job.chunk.bytes),
        }
    }
}

impl<'w> Job<'w> {
    fn new(chunk: &'w WindowChunk, mode: Mode) -> Self {
        let len = u32::try_from(chunk.bytes.len()).expect("chunks are at most 4 MiB");
        Self { chunk, bases: chunk.near_bases(mode), tried: 0, ops: OpList::all_literal(len) }
    }

    /// Which ranges of which slots are worth looking at in cells, in order, those `further` ones included.
    fn wanted(&self, cells: &Cells, further: Vec<BasisRange>) -> Vec<(u8, Vec<Range<u32>>)> {
        let mut wanted = further;
        // With nothing in common so far, cells of everything would cost more than they find.
        if !self.ops.copied_lens().is_empty() {
            let lens: Vec<u32> = self.bases.iter().map(|basis| basis.len).collect();
            let rules = GapRules { literal_len_min: *cells.literal_lens.start(), reach: cells.reach };
            let gaps = self.ops.gaps(&lens, rules);
            let fitting = gaps.filter(|gap| gap.target.end - gap.target.start <= *cells.literal_lens.end());
            wanted.extend(fitting.flat_map(|gap| gap.wanted.into_iter().flatten()));
        }
        // A basis whose coarse blocks were as short already has nothing more to tell.
        wanted.retain(|range| {
            usize::from(range.slot) >= self.tried
                || self.bases[usize::from(range.slot)].len > SMALL_BASIS_LEN
                || cells.block_len.bytes() < BlockLen::FINE.bytes()
        });
        wanted.sort_unstable_by_key(|range| (range.slot, range.range.start));
        let mut slots: Vec<(u8, Vec<Range<u32>>)> = Vec::new();
        for BasisRange { slot, range } in wanted {
            if slots.last().is_none_or(|(last, _)| *last != slot) {
                slots.push((slot, Vec::new()));
            }
            let (_, ranges) = slots.last_mut().expect("there is one by now");
            let has_room = ranges.len() < SIGNATURE_RANGE_COUNT_MAX;
            match ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ if has_room => ranges.push(range),
                _ => {}
            }
        }
        slots
    }

    /// The slots of some ranges of bases, which become bases of this chunk where they are not yet.
    fn with_slots(&mut self, ranges: Vec<(BasisChunk, Range<u32>)>) -> Vec<BasisRange> {
        let mut slots = Vec::new();
        for (basis, range) in ranges {
            let known = self.bases.iter().position(|known| known.id == basis.id);
            let index = known.unwrap_or(self.bases.len());
            if index < usize::from(BASIS_COUNT_MAX) && !range.is_empty() {
                if known.is_none() {
                    self.bases.push(basis);
                }
                slots.push(BasisRange { slot: u8::try_from(index).expect("at most 36 bases"), range });
            }
        }
        slots
    }

    /// Adds bases from elsewhere in the file when long literals are left; whether there are any.
    fn widen(&mut self, mode: Mode) -> bool {
        let before = self.bases.len();
        let is_remembered = self.chunk.file.remembered.is_some();
        let len_min = if is_remembered { LONG_LITERAL_LEN_REMEMBERED } else { LONG_LITERAL_LEN };
        let is_long = |op: &Op| matches!(op, Op::Literal { len } if *len >= len_min);
        if self.ops.ops().iter().any(is_long) {
            let room = usize::from(BASIS_COUNT_MAX) - before;
            let mut further = self.chunk.further_bases(mode);
            further.retain(|basis| self.bases.iter().all(|known| known.id != basis.id));
            self.bases.extend(further.into_iter().take(room));
        }
        self.bases.len() > before
    }
}

/// The file that all chunks are of, if they are of one.
fn file_of_all(jobs: &[&mut Job<'_>]) -> Option<Arc<FileContext>> {
    let file = &jobs.first()?.chunk.file;
    jobs.iter().all(|job| Arc::ptr_eq(&job.chunk.file, file)).then(|| Arc::clone(file))
}

/// Level for a whole basis that is not remembered.
fn coarse_params(mode: Mode, basis: BasisChunk) -> SignatureParams {
    let block_len = if basis.len <= SMALL_BASIS_LEN { BlockLen::FINE } else { BlockLen::COARSE };
    mode.params(SignatureLevel::Coarse(block_len), basis.offset)
}
