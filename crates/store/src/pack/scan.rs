//! [`PackScan`]: every sound record of a pack, whatever happened to the rest of it.

use std::path::Path;

use bytes::{Buf, BytesMut};
use object::{RECORD_PREFIX_LEN, RecordLen, SealedRecord, VaultId};

use crate::disk::Disk;
use crate::layout::pack::{HEADER_LEN, PackHeader, SYNC_MARKER, TRAILER_LEN};
use crate::pack::{PackFault, PackReader, Span};
use crate::pack_cache::damaged;
use crate::{PackClass, PackId, StoreError};

const STEP: usize = 1 << 20;

/// One thing a [`PackScan`] came across.
#[derive(Clone, Debug)]
pub enum PackFinding {
    /// A record whose checksums are right.
    Record {
        /// Where its sync marker stands.
        offset: u32,
        /// The record.
        record: SealedRecord,
    },
    /// Bytes that belong to no sound record. Footer and trailer, which follow the records, are always the last of these.
    Other {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
    },
}

/// Reads a pack's file from its header to its end, without catalog.
///
/// Trusts neither footer nor trailer. Where no sound record begins, it searches the next sync marker, so that damage costs
/// the records it touches and no other. Holds one record and a little more in memory.
pub struct PackScan {
    pack: PackReader,
    /// Bytes of the file from `offset` on.
    window: BytesMut,
    offset: u64,
    other_offset: Option<u64>,
    pending: Option<PackFinding>,
    failed: bool,
    hasher: blake3::Hasher,
}

impl std::fmt::Debug for PackScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackScan({}, at byte {} of {})", self.pack(), self.offset, self.pack.len())
    }
}

impl PackScan {
    /// Opens a pack's file and reads its header.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the file cannot be read, [`StoreError::Layout`] when it does not begin like a pack.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        let file = disk.open(path).map_err(|error| StoreError::io("open", path, error))?;
        match PackReader::open(file) {
            Ok(pack) => Ok(Self::new(pack)),
            Err(PackFault::Io(error)) => Err(StoreError::io("read", path, error)),
            Err(fault) => Err(StoreError::Layout { path: path.to_owned(), what: fault.to_string() }),
        }
    }

    pub(crate) fn new(pack: PackReader) -> Self {
        let offset = HEADER_LEN as u64;
        let mut hasher = blake3::Hasher::new();
        hasher.update(pack.header_bytes());
        Self { pack, window: BytesMut::new(), offset, other_offset: None, pending: None, failed: false, hasher }
    }

    /// BLAKE3 of the bytes that the trailer's hash covers, once the scan has come to its end.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// The pack that is scanned.
    pub(crate) fn reader(&self) -> &PackReader {
        &self.pack
    }

    pub(crate) fn header(&self) -> &PackHeader {
        self.pack.header()
    }

    /// The pack's name, as its header tells.
    #[must_use]
    pub fn pack(&self) -> PackId {
        self.header().pack
    }

    /// The vault whose objects it holds.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.header().vault
    }

    /// Which kinds of object it holds.
    #[must_use]
    pub fn class(&self) -> PackClass {
        self.header().class
    }

    fn advance_to_finding(&mut self) -> Result<Option<PackFinding>, PackFault> {
        if let Some(found) = self.pending.take() {
            return Ok(Some(found));
        }
        loop {
            self.fill(SYNC_MARKER.len() + RECORD_PREFIX_LEN)?;
            if self.window.is_empty() {
                return Ok(self.end_other());
            }
            if let Some((span, record)) = self.record_here()? {
                let other = self.end_other();
                self.advance(span.len as usize);
                let found = PackFinding::Record { offset: span.offset, record };
                if other.is_none() {
                    return Ok(Some(found));
                }
                self.pending = Some(found);
                return Ok(other);
            }
            self.other_offset.get_or_insert(self.offset);
            self.skip_to_marker();
        }
    }

    /// Reads on until `len` bytes are in the window, or the file ends.
    fn fill(&mut self, len: usize) -> Result<(), PackFault> {
        while self.window.len() < len {
            let from = self.offset + self.window.len() as u64;
            let step = usize::try_from(self.pack.len() - from).map_or(STEP, |rest| rest.min(STEP));
            if step == 0 {
                break;
            }
            let bytes = self.pack.bytes(from, step)?;
            let hashed_end = (self.pack.len() + 8).saturating_sub(TRAILER_LEN as u64);
            let hashed = usize::try_from(hashed_end.saturating_sub(from)).map_or(step, |rest| rest.min(step));
            self.hasher.update(&bytes[..hashed]);
            self.window.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// The record at the window's start, if one begins there and is sound.
    fn record_here(&mut self) -> Result<Option<(Span, SealedRecord)>, PackFault> {
        let Some(Ok(len)) = self.window.strip_prefix(&SYNC_MARKER).map(RecordLen::read) else {
            return Ok(None);
        };
        let span_len = SYNC_MARKER.len() + len.total();
        self.fill(span_len)?;
        let Some(bytes) = self.window.get(SYNC_MARKER.len()..span_len) else {
            return Ok(None);
        };
        if object::Record::parse(bytes).and_then(|record| record.check_body()).is_err() {
            return Ok(None);
        }
        let span = Span {
            offset: u32::try_from(self.offset).expect("packs end far below 4 GiB"),
            len: u32::try_from(span_len).expect("records are limited"),
        };
        Ok(Some((span, SealedRecord::new(bytes.to_vec().into())?)))
    }

    /// Drops one byte, and further ones up to where a marker begins or may begin.
    fn skip_to_marker(&mut self) {
        let rest = &self.window[1..];
        let marker = rest.windows(SYNC_MARKER.len()).position(|bytes| bytes == SYNC_MARKER);
        let at_end = self.offset + self.window.len() as u64 == self.pack.len();
        let keep = if at_end { 0 } else { SYNC_MARKER.len() - 1 };
        self.advance(1 + marker.unwrap_or(rest.len().saturating_sub(keep)));
    }

    fn advance(&mut self, count: usize) {
        self.window.advance(count);
        self.offset += count as u64;
    }

    fn end_other(&mut self) -> Option<PackFinding> {
        let offset = self.other_offset.take()?;
        Some(PackFinding::Other { offset, len: self.offset - offset })
    }
}

impl Iterator for PackScan {
    type Item = Result<PackFinding, StoreError>;

    /// The next finding, in the order of the file; after an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.advance_to_finding()
            .map_err(|fault| {
                self.failed = true;
                damaged(self.pack(), self.offset, &fault)
            })
            .transpose()
    }
}
