//! [`PackWriter`]: a pack being written in `staging/`, and [`FinishedPack`], what it became.
//!
//! The first failed write or sync poisons the writer: nothing is tried again, and nothing of it is ever published. So does a
//! record that is not sound any more when it has been written: what was checked when it came may change in failing memory,
//! and the hash of the pack, made of the same bytes, would never tell.

use std::ops::Range;
use std::path::{Path, PathBuf};

use object::Record;

use crate::StoreError;
use crate::data_dir::DataDir;
use crate::disk::DiskWriter;
use crate::layout::pack::{HEADER_LEN, PACK_LEN_MAX, PackHeader, PackTrailer, SYNC_MARKER, TRAILER_LEN};
use crate::pack::{PackFile, SPAN_LEN_MAX, Span};

/// Writes shorter than this are gathered; longer ones go to the file as they are.
const BUFFER_LEN: usize = 256 * 1024;
/// A pack takes no further record once this long: the longest record, its footer entry and the trailer still fit.
pub(crate) const PACK_TARGET_MAX: u64 =
    PACK_LEN_MAX - (SPAN_LEN_MAX + TRAILER_LEN) as u64 - 4 * RECORD_COUNT_MAX as u64;
/// Most records of a pack.
pub(crate) const RECORD_COUNT_MAX: usize = 65_536;

pub(crate) struct PackWriter {
    file: Box<dyn DiskWriter>,
    path: PathBuf,
    header: PackHeader,
    pub(super) buffer: Vec<u8>,
    /// Where the records in `buffer` stand, each with the marker before it.
    buffered: Vec<Range<usize>>,
    /// Bytes in the file; those in `buffer` follow.
    file_len: u64,
    hasher: blake3::Hasher,
    pub(super) footer: Vec<u8>,
    poisoned: bool,
}

/// A finished, synced pack that still stands in `staging/`.
#[derive(Debug)]
pub(crate) struct FinishedPack {
    pub(crate) path: PathBuf,
    pub(crate) file: PackFile,
}

impl PackWriter {
    pub(crate) fn create(dir: &DataDir, header: PackHeader) -> Result<Self, StoreError> {
        let path = dir.fresh_staging_path(&header.pack.to_string());
        let file = dir.create_new(&path)?;
        let mut buffer = Vec::with_capacity(BUFFER_LEN);
        buffer.extend_from_slice(&header.encode());
        Ok(Self {
            file,
            path,
            header,
            buffer,
            buffered: Vec::new(),
            file_len: 0,
            hasher: blake3::Hasher::new(),
            footer: Vec::new(),
            poisoned: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Bytes so far, footer and trailer not counted.
    pub(crate) fn len(&self) -> u64 {
        self.file_len + self.buffer.len() as u64
    }

    /// Appends a record, which the caller has checked.
    pub(crate) fn append(&mut self, record: &[u8]) -> Result<Span, StoreError> {
        let span = Span {
            offset: u32::try_from(self.len()).expect("packs end far below 4 GiB"),
            len: u32::try_from(SYNC_MARKER.len() + record.len()).expect("records are limited"),
        };
        if self.buffer.len() + SYNC_MARKER.len() + record.len() <= BUFFER_LEN {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(&SYNC_MARKER);
            self.buffer.extend_from_slice(record);
            self.buffered.push(start..self.buffer.len());
        } else {
            self.buffer.extend_from_slice(&SYNC_MARKER);
            self.flush_buffer()?;
            self.write(record)?;
            self.check(record)?;
        }
        self.footer.extend_from_slice(&span.len.to_le_bytes());
        Ok(span)
    }

    /// Reads back a span that was appended.
    pub(crate) fn read(&mut self, span: Span) -> Result<Vec<u8>, StoreError> {
        self.flush_buffer()?;
        // Bounded: a span that this writer appended.
        let mut bytes = vec![0; span.len as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let offset = u64::from(span.offset) + filled as u64;
            match self.file.read_at(&mut bytes[filled..], offset) {
                Ok(0) => return Err(self.poison("read", std::io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.poison("read", error)),
            }
        }
        Ok(bytes)
    }

    /// Completes the file and makes its bytes durable; its name still is in `staging/`.
    ///
    /// Closing cannot lose anything after that: the kernel has nothing left to write, so the result of the close,
    /// which std does not tell, would say nothing new.
    pub(crate) fn finish(mut self) -> Result<FinishedPack, StoreError> {
        let footer = std::mem::take(&mut self.footer);
        let footer_len = u32::try_from(footer.len()).expect("the record count is limited");
        let lens = footer.as_chunks().0.iter().map(|len| u64::from(u32::from_le_bytes(*len)));
        if HEADER_LEN as u64 + lens.sum::<u64>() != self.len() {
            return Err(self.changed());
        }
        let record_count = footer_len / 4;
        self.buffer.extend_from_slice(&footer);
        self.buffer.extend_from_slice(&PackTrailer::hashed(footer_len, record_count));
        self.flush_buffer()?;
        let hash = *self.hasher.finalize().as_bytes();
        let trailer = PackTrailer { footer_len, record_count, hash }.encode();
        self.write(&trailer[8..])?;
        if let Err(error) = self.file.sync_data() {
            return Err(self.poison("sync", error));
        }
        let file = PackFile { len: self.file_len, record_count, hash: Some(hash) };
        Ok(FinishedPack { path: self.path, file })
    }

    fn flush_buffer(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() && !self.poisoned {
            return Ok(());
        }
        let is_first = self.file_len == 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        if is_first && buffer.first_chunk().map(PackHeader::decode) != Some(Ok(self.header)) {
            return Err(self.changed());
        }
        for range in std::mem::take(&mut self.buffered) {
            match buffer[range].strip_prefix(&SYNC_MARKER) {
                Some(record) => self.check(record)?,
                None => return Err(self.changed()),
            }
        }
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Holds the bytes of a record that were written against the checksums that came with it.
    fn check(&mut self, record: &[u8]) -> Result<(), StoreError> {
        match Record::parse(record).and_then(|record| record.check_body()) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.changed()),
        }
    }

    fn changed(&mut self) -> StoreError {
        let what = "what was written is not what was checked before: this machine's memory may be failing";
        self.poison("write", std::io::Error::other(what))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(self.poison("write", std::io::Error::other("an earlier write failed")));
        }
        if let Err(error) = self.file.append(bytes) {
            return Err(self.poison("write", error));
        }
        self.hasher.update(bytes);
        self.file_len += bytes.len() as u64;
        Ok(())
    }

    fn poison(&mut self, verb: &'static str, error: std::io::Error) -> StoreError {
        self.poisoned = true;
        StoreError::io(verb, &self.path, error)
    }
}

const _: () = assert!(HEADER_LEN < BUFFER_LEN);
