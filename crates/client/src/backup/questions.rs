//! [`Questions`]: the signatures that one matching needs of the server, each asked for once, in as few requests as fit.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use delta_core::{Limits, Signature, SignatureParams};
use object::ObjectId;
use proto::limits::{SIGNATURE_ANSWER_LEN_MAX, SIGNATURE_REQUEST_COUNT_MAX};
use proto::{SignatureRange, SignatureRequest};

use crate::error::ClientError;
use crate::session::Session;
use crate::signature_cache::BasisChunk;

/// Signatures to be asked for; equal ones are asked for once.
#[derive(Default)]
pub(super) struct Questions {
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
    /// Asks for the signature of `ranges` of a basis, on behalf of a slot of a job.
    pub(super) fn add(
        &mut self,
        job: usize,
        slot: u8,
        basis: BasisChunk,
        params: SignatureParams,
        ranges: &[Range<u32>],
    ) {
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

    /// Asks all, and says whose each signature is: job and slot. Signatures that the server does not have, or that are not what was asked for, are left out.
    pub(super) fn ask(self, session: &Session) -> Result<Vec<(usize, u8, Signature)>, ClientError> {
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
