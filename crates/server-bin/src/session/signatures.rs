//! Signatures of chunks that the server holds, for clients that have none. Only where the server can read, and at a
//! bounded rate: each costs a read, a decryption and a hash of the whole chunk.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use delta_core::{BlockLen, HashKey, Signature, SignatureParams, StrongKind, Xxh3Len};
use proto::{Failure, ServerReply, SignatureRequest};
use vault::Opener;

use crate::basis::{BasisError, BasisReader, Visible};
use crate::service::Service;
use crate::session::refusal;
use crate::vaults::OpenVault;

/// Bytes of chunks that one connection may ask about at once, and per second from then on.
const BURST_LEN: u64 = 1 << 30;
const LEN_PER_SEC: u64 = 256 << 20;

/// Bytes of chunks that one connection may still ask about.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Below zero when more was used than there was.
    left: i64,
    at: Instant,
}

impl Allowance {
    /// All of it.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST_LEN.cast_signed(), at: now }
    }

    /// How long to wait before the next request.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.refill(now);
        match u64::try_from(-self.left) {
            Ok(owed) => Duration::from_millis(owed * 1000 / LEN_PER_SEC),
            Err(_) => Duration::ZERO,
        }
    }

    /// So many bytes were looked at.
    pub(super) fn spend(&mut self, len: u64) {
        self.left = self.left.saturating_sub_unsigned(len);
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_millis();
        let gained = u64::try_from(since).unwrap_or(u64::MAX).saturating_mul(LEN_PER_SEC / 1000);
        self.left = self.left.saturating_add_unsigned(gained).min(BURST_LEN.cast_signed());
        self.at = now;
    }
}

/// Computes what was asked for; an empty signature where the chunk is not to be had. Says how many bytes it looked at.
///
/// Memory: the signatures, and one chunk with its bases.
pub(super) fn compute(
    service: &Service,
    vault: &OpenVault,
    requests: &[SignatureRequest],
) -> Result<(ServerReply, u64), Failure> {
    let Some(managed) = vault.managed() else {
        return Ok((ServerReply::SignaturesAnswer(vec![Bytes::new(); requests.len()]), 0));
    };
    let mut source = Visible { store: &service.home.store, vault: vault.id };
    let mut opener = Opener::new(Arc::clone(&managed.keys));
    let mut reader = BasisReader::new(&mut source, &mut opener, vault.id, &service.bases);
    let mut signatures = Vec::with_capacity(requests.len());
    let mut basis_len = 0;
    for request in requests {
        let signature = match reader.chunk(request.basis()) {
            Ok(basis) => {
                basis_len += basis.bytes.len() as u64;
                sign(request, &basis.bytes, managed.keys.hash_key())
            }
            Err(BasisError::NotHeld | BasisError::NotData) => Bytes::new(),
            Err(BasisError::Store(error)) if error.kind() != store::ErrorKind::Damaged => {
                service.note(&error);
                return Err(refusal::of_store("reading chunks", &error));
            }
            Err(error) => {
                service.metrics.damaged_reads.add(1);
                tracing::error!(vault = %vault.id, chunk = %request.basis().short(), %error, "a chunk cannot be read");
                Bytes::new()
            }
        };
        signatures.push(signature);
    }
    service.metrics.signature_basis_bytes.add(basis_len);
    Ok((ServerReply::SignaturesAnswer(signatures), basis_len))
}

/// One signature; empty when the request does not fit the chunk.
fn sign(request: &SignatureRequest, basis: &[u8], key: &HashKey) -> Bytes {
    let Some(params) = params(request) else {
        return Bytes::new();
    };
    let signature = if request.ranges().is_empty() {
        Signature::compute(basis, params, key)
    } else {
        let ranges: Vec<Range<u32>> = request.ranges().iter().map(|range| range.start()..range.end()).collect();
        Signature::compute_cells(basis, &ranges, params, key)
    };
    let mut encoded = Vec::new();
    if let Ok(signature) = signature {
        signature.encode(&mut encoded);
    }
    encoded.into()
}

fn params(request: &SignatureRequest) -> Option<SignatureParams> {
    let strong = StrongKind::Xxh3(Xxh3Len::new(request.strong_len())?);
    SignatureParams::new(BlockLen::new(request.block_len())?, strong, request.phase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        allowance.spend(BURST_LEN);
        assert_eq!(allowance.wait(start), Duration::ZERO);
        allowance.spend(LEN_PER_SEC);
        assert_eq!(allowance.wait(start), Duration::from_secs(1));
        assert!(allowance.wait(start + Duration::from_millis(500)) <= Duration::from_millis(501));
        assert_eq!(allowance.wait(start + Duration::from_secs(3600)), Duration::ZERO);
        allowance.spend(BURST_LEN + 1);
        assert_eq!(allowance.wait(start + Duration::from_secs(3600)).as_millis(), 0);
    }

    #[test]
    fn every_request_the_protocol_allows_has_parameters() {
        for block_len_log2 in 6..=17 {
            for strong_len in 2..=8 {
                let basis = object::ObjectId::from_bytes([0; 32]);
                let request = SignatureRequest::new(basis, block_len_log2, strong_len, 63, Vec::new()).unwrap();
                assert!(params(&request).is_some(), "{block_len_log2} {strong_len}");
            }
        }
    }
}
