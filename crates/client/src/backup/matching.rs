//! [`DeltaFinder`]: what of some chunks the server can copy from chunks it has.
//!
//! In a sealed vault signatures come from the client's own memory of the file only, in one level. In a managed one they
//! come from there or from the server, for all chunks of a window at once: a coarse level over the likely bases, for long
//! runs that nothing explains another over bases from elsewhere in the file, then cells around what that left open, then
//! finer cells around small edits. At most four questions, however many chunks there are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use bytes::Bytes;
use delta_core::{
    BASIS_COUNT_MAX, BasisRange, BasisSet, BlockLen, GapRules, Limits, Matcher, Op, OpList, Signature, SignatureParams,
};
use object::ObjectId;
use proto::limits::{SIGNATURE_ANSWER_LEN_MAX, SIGNATURE_RANGE_COUNT_MAX, SIGNATURE_REQUEST_COUNT_MAX};
use proto::{SignatureRange, SignatureRequest};
use vault::{DeltaEncoder, ExactDelta, Mode, SignatureLevel};

use super::window::WindowChunk;
use crate::error::ClientError;
use crate::session::Session;
use crate::signature_cache::BasisChunk;

/// Shorter chunks are sent whole: a delta would cost as much.
const TARGET_LEN_MIN: usize = 4 * 1024;
/// Bases up to this length need only one level, of cells.
const SMALL_BASIS_LEN: u32 = 32 * 1024;
/// Cells of 512 bytes are asked for around literals of at least one cell. What an edit moved is looked for a little
/// further on.
const CELLS: Cells = Cells { block_len: BlockLen::FINE, literal_lens: 512..=u32::MAX, reach: 2 * 1024 };
/// Cells of 64 bytes are asked for around literals that a few bytes of edit have left; for longer ones they would cost
/// more than they save.
const FINEST_CELLS: Cells = Cells { block_len: BlockLen::FINEST, literal_lens: 192..=1536, reach: 64 };
/// Literals at least this long are looked for in the rest of the file.
const LONG_LITERAL_LEN: u32 = 32 * 1024;

/// A level of cells, and which literals it is for.
struct Cells {
    block_len: BlockLen,
    literal_lens: RangeInclusive<u32>,
    /// Bytes of basis looked at beyond as many as the literal has.
    reach: u32,
}

/// Finds deltas; one per thread.
pub(crate) struct DeltaFinder<'s> {
    session: &'s Session,
    mode: Mode,
    matcher: Matcher,
    encoder: DeltaEncoder,
}

/// One chunk on its way to becoming a delta.
struct Job<'w> {
    chunk: &'w WindowChunk,
    /// Slots of `ops`, in order.
    bases: Vec<BasisChunk>,
    /// How many of them have been matched against.
    tried: usize,
    ops: OpList,
}

impl<'s> DeltaFinder<'s> {
    pub(crate) fn new(session: &'s Session) -> Self {
        let matcher = Matcher::new(session.keys().hash_key());
        Self { session, mode: session.mode(), matcher, encoder: DeltaEncoder::new() }
    }

    /// Whether there is anything that a delta of this chunk could stand on, and one is likely to help.
    pub(crate) fn is_worth_trying(&self, chunk: &WindowChunk) -> bool {
        chunk.bytes.len() >= TARGET_LEN_MIN && chunk.file.is_worth_matching() && !chunk.near_bases(self.mode).is_empty()
    }

    /// For each chunk the delta it can be sent as; `None` where it is better sent whole.
    pub(crate) fn find(&mut self, chunks: &[&WindowChunk]) -> Result<Vec<Option<ExactDelta>>, ClientError> {
        let mut jobs: Vec<Job<'_>> = chunks.iter().map(|chunk| Job::new(chunk, self.mode)).collect();
        self.match_coarse(&mut jobs.iter_mut().collect::<Vec<_>>())?;
        let mut widened: Vec<&mut Job<'_>> =
            jobs.iter_mut().filter_map(|job| job.widen(self.mode).then_some(job)).collect();
        self.match_coarse(&mut widened)?;
        if self.mode == Mode::Managed {
            self.match_cells(&mut jobs, &CELLS)?;
            self.match_cells(&mut jobs, &FINEST_CELLS)?;
        }
        Ok(jobs.iter().map(|job| self.encode(job)).collect())
    }

    /// Matches the jobs against coarse signatures of those of their bases that have not been tried.
    fn match_coarse(&mut self, jobs: &mut [&mut Job<'_>]) -> Result<(), ClientError> {
        let mut signatures: Vec<Vec<(u8, Signature)>> = Vec::new();
        let mut questions = Questions::default();
        for (index, job) in jobs.iter_mut().enumerate() {
            let mut remembered = Vec::new();
            for slot in job.tried..job.bases.len() {
                let basis = job.bases[slot];
                let slot = u8::try_from(slot).expect("at most 36 bases");
                if let Some(signature) = self.remembered(job.chunk, basis) {
                    remembered.push((slot, signature));
                } else if self.mode == Mode::Managed {
                    questions.add(index, slot, basis, coarse_params(self.mode, basis), &[0..basis.len]);
                }
            }
            job.tried = job.bases.len();
            signatures.push(remembered);
        }
        for (index, slot, signature) in questions.ask(self.session)? {
            signatures[index].push((slot, signature));
        }
        for (job, mut signatures) in jobs.iter_mut().zip(signatures) {
            signatures.sort_unstable_by_key(|(slot, _)| *slot);
            self.refine(job, &signatures);
        }
        Ok(())
    }

    /// Matches what is still literal against cells of the bases around it.
    fn match_cells(&mut self, jobs: &mut [Job<'_>], cells: &Cells) -> Result<(), ClientError> {
        let mut questions = Questions::default();
        for (index, job) in jobs.iter().enumerate() {
            for (slot, ranges) in job.wanted(cells) {
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

    /// Which ranges of which slots are worth looking at in cells, in order.
    fn wanted(&self, cells: &Cells) -> Vec<(u8, Vec<Range<u32>>)> {
        if self.ops.copied_lens().is_empty() {
            // Nothing in common so far: cells of everything would cost more than they find.
            return Vec::new();
        }
        let lens: Vec<u32> = self.bases.iter().map(|basis| basis.len).collect();
        let rules = GapRules { literal_len_min: *cells.literal_lens.start(), reach: cells.reach };
        let gaps = self.ops.gaps(&lens, rules);
        let fitting = gaps.filter(|gap| gap.target.end - gap.target.start <= *cells.literal_lens.end());
        let mut wanted: Vec<BasisRange> = fitting.flat_map(|gap| gap.wanted.into_iter().flatten()).collect();
        // A basis whose coarse blocks were as short already has nothing more to tell.
        wanted.retain(|range| {
            self.bases[usize::from(range.slot)].len > SMALL_BASIS_LEN
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

    /// Adds bases from elsewhere in the file when long literals are left; whether there are any.
    fn widen(&mut self, mode: Mode) -> bool {
        let before = self.bases.len();
        let is_long = |op: &Op| matches!(op, Op::Literal { len } if *len >= LONG_LITERAL_LEN);
        if self.ops.ops().iter().any(is_long) {
            let room = usize::from(BASIS_COUNT_MAX) - before;
            let mut further = self.chunk.further_bases(mode);
            further.retain(|basis| self.bases.iter().all(|known| known.id != basis.id));
            self.bases.extend(further.into_iter().take(room));
        }
        self.bases.len() > before
    }
}

/// Level for a whole basis that is not remembered.
fn coarse_params(mode: Mode, basis: BasisChunk) -> SignatureParams {
    let block_len = if basis.len <= SMALL_BASIS_LEN { BlockLen::FINE } else { BlockLen::COARSE };
    mode.params(SignatureLevel::Coarse(block_len), basis.offset)
}

/// Signatures to be asked for; equal ones are asked for once.
#[derive(Default)]
struct Questions {
    requests: Vec<SignatureRequest>,
    shapes: Vec<Shape>,
    /// Who wants which: job, slot, request.
    wanted: Vec<(usize, u8, usize)>,
    whole: HashMap<(ObjectId, u32), usize>,
}

/// What a request's answer is read with.
struct Shape {
    ranges: Vec<Range<u32>>,
    params: SignatureParams,
    basis_len: u32,
}

impl Questions {
    fn add(&mut self, job: usize, slot: u8, basis: BasisChunk, params: SignatureParams, ranges: &[Range<u32>]) {
        let is_whole = ranges == [0..basis.len];
        let known = self.whole.get(&(basis.id, params.phase())).copied().filter(|_| is_whole);
        let request = match known {
            Some(request) => request,
            None => {
                let Some(request) = request(basis.id, params, ranges) else {
                    return;
                };
                self.requests.push(request);
                self.shapes.push(Shape { ranges: ranges.to_vec(), params, basis_len: basis.len });
                let index = self.requests.len() - 1;
                if is_whole {
                    self.whole.insert((basis.id, params.phase()), index);
                }
                index
            }
        };
        self.wanted.push((job, slot, request));
    }

    /// Asks all; signatures that the server does not have, or that are not what was asked for, are left out.
    fn ask(self, session: &Session) -> Result<Vec<(usize, u8, Signature)>, ClientError> {
        let mut answers: Vec<Bytes> = Vec::with_capacity(self.requests.len());
        let mut rest = self.requests;
        while !rest.is_empty() {
            let mut answer_len = 0;
            let count = rest
                .iter()
                .take(SIGNATURE_REQUEST_COUNT_MAX)
                .take_while(|request| {
                    answer_len += request.answer_len_max();
                    answer_len <= SIGNATURE_ANSWER_LEN_MAX
                })
                .count();
            let later = rest.split_off(count.max(1));
            answers.extend(session.signatures(rest)?);
            rest = later;
        }
        let decode = |(job, slot, request): &(usize, u8, usize)| {
            let Shape { ranges, params, basis_len } = &self.shapes[*request];
            let bytes = answers.get(*request).filter(|bytes| !bytes.is_empty())?;
            let signature = Signature::decode_cells(bytes, ranges, *params, *basis_len, &Limits::default()).ok()?;
            Some((*job, *slot, signature))
        };
        Ok(self.wanted.iter().filter_map(decode).collect())
    }
}

fn request(basis: ObjectId, params: SignatureParams, ranges: &[Range<u32>]) -> Option<SignatureRequest> {
    let ranges: Option<Vec<SignatureRange>> =
        ranges.iter().map(|range| SignatureRange::new(range.start, range.end - range.start)).collect();
    let block_len_log2 = u8::try_from(params.block_len().bytes().trailing_zeros()).ok()?;
    let strong_len = u8::try_from(params.strong().hash_len()).ok()?;
    SignatureRequest::new(basis, block_len_log2, strong_len, params.phase(), ranges?).ok()
}
