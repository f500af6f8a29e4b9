//! [`PackReader`]: an open pack whose header is known. Everything else in it is checked when it is read.

use std::io;

use bytes::{Bytes, BytesMut};
use object::{RecordLen, SealedRecord};

use crate::PackId;
use crate::disk::DiskFile;
use crate::layout::LayoutError;
use crate::layout::pack::{HEADER_LEN, PACK_LEN_MAX, PackHeader, PackTrailer, SYNC_MARKER, TRAILER_LEN};
use crate::pack::Span;

/// Metadata records are mostly shorter than this, so that one read brings the whole head.
const HEAD_GUESS_LEN: usize = 8 * 1024;

/// What is wrong with a pack, or with a place in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackFault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Record(#[from] object::RecordError),
    #[error("the file is pack {0}")]
    OtherPack(PackId),
    #[error("no record begins here")]
    Marker,
    #[error("the record is {found} bytes long, {expected} were stored")]
    Length { expected: u32, found: usize },
    #[error("the record does not hold the object that was stored here")]
    Member,
}

pub(crate) struct PackReader {
    file: Box<dyn DiskFile>,
    header: PackHeader,
    header_bytes: [u8; HEADER_LEN],
    header_fault: Option<PackFault>,
    len: u64,
}

impl PackReader {
    /// Reads the header, nothing else.
    pub(crate) fn open(file: Box<dyn DiskFile>) -> Result<Self, PackFault> {
        let len = checked_len(&*file)?;
        let mut header_bytes = [0; HEADER_LEN];
        read_exact_at(&*file, &mut header_bytes, 0)?;
        let header = PackHeader::decode(&header_bytes)?;
        Ok(Self { file, header, header_bytes, header_fault: None, len })
    }

    /// Reads the header of a pack whose header is known already: a damaged one then costs nothing.
    ///
    /// [`PackFault::OtherPack`] when the header is sound and not the one expected.
    pub(crate) fn open_known(file: Box<dyn DiskFile>, expected: PackHeader) -> Result<Self, PackFault> {
        let len = checked_len(&*file)?;
        let mut header_bytes = [0; HEADER_LEN];
        let read = read_exact_at(&*file, &mut header_bytes, 0).map_err(PackFault::from);
        let header_fault = match read.and_then(|()| Ok(PackHeader::decode(&header_bytes)?)) {
            Ok(found) if found == expected => None,
            Ok(found) => return Err(PackFault::OtherPack(found.pack)),
            Err(fault) => Some(fault),
        };
        Ok(Self { file, header: expected, header_bytes, header_fault, len })
    }

    pub(crate) fn header(&self) -> &PackHeader {
        &self.header
    }

    /// The header as it stands in the file.
    pub(crate) fn header_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.header_bytes
    }

    /// What is wrong with the header in the file.
    pub(crate) fn header_fault(&self) -> Option<&PackFault> {
        self.header_fault.as_ref()
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads bytes as they are.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Result<Bytes, PackFault> {
        if offset + len as u64 > self.len {
            return Err(LayoutError::Short.into());
        }
        let mut bytes = BytesMut::zeroed(len);
        read_exact_at(&*self.file, &mut bytes, offset)?;
        Ok(bytes.freeze())
    }

    /// Reads a record and checks all its checksums.
    pub(crate) fn record(&self, span: Span) -> Result<SealedRecord, PackFault> {
        record_of_span(&self.bytes(span.offset.into(), span.len as usize)?)
    }

    /// Reads the head of a record; [`object::Record::parse_head`] accepts what comes back.
    pub(crate) fn head(&self, span: Span) -> Result<Bytes, PackFault> {
        let guess = self.bytes(span.offset.into(), HEAD_GUESS_LEN.min(span.len as usize))?;
        let record = guess.strip_prefix(&SYNC_MARKER).ok_or(PackFault::Marker)?;
        let len = RecordLen::read(record)?;
        if len.total() + SYNC_MARKER.len() != span.len as usize {
            return Err(PackFault::Length { expected: span.len, found: len.total() });
        }
        let head = if record.len() >= len.body_offset() {
            guess.slice(SYNC_MARKER.len()..)
        } else {
            self.bytes(u64::from(span.offset) + SYNC_MARKER.len() as u64, len.body_offset())?
        };
        object::Record::parse_head(&head)?;
        Ok(head)
    }

    /// Reads the trailer and the footer: where each record should be.
    pub(crate) fn spans(&self) -> Result<(PackTrailer, Vec<Span>), PackFault> {
        let Some(trailer_offset) = self.len.checked_sub(TRAILER_LEN as u64) else {
            return Err(LayoutError::Short.into());
        };
        let mut bytes = [0; TRAILER_LEN];
        read_exact_at(&*self.file, &mut bytes, trailer_offset)?;
        let trailer = PackTrailer::decode(&bytes)?;
        let Some(footer_offset) = trailer_offset.checked_sub(trailer.footer_len.into()) else {
            return Err(LayoutError::Footer.into());
        };
        if footer_offset < HEADER_LEN as u64 {
            return Err(LayoutError::Footer.into());
        }
        let footer = self.bytes(footer_offset, trailer.footer_len as usize)?;
        let mut end = HEADER_LEN as u64;
        let mut spans = Vec::with_capacity(footer.len() / 4);
        for entry in footer.as_chunks::<4>().0 {
            let len = u32::from_le_bytes(*entry);
            let offset = u32::try_from(end).map_err(|_| LayoutError::Footer)?;
            spans.push(Span { offset, len });
            end += u64::from(len);
        }
        if end != footer_offset {
            return Err(LayoutError::Footer.into());
        }
        Ok((trailer, spans))
    }

    /// Reads the whole file and compares its hash with the trailer's.
    pub(crate) fn verify(&self) -> Result<(PackTrailer, Vec<Span>), PackFault> {
        const STEP: usize = 1 << 20;
        let (trailer, spans) = self.spans()?;
        let hashed_len = self.len - TRAILER_LEN as u64 + 8;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; STEP];
        let mut offset = 0;
        while offset < hashed_len {
            let step = usize::try_from(hashed_len - offset).map_or(STEP, |rest| rest.min(STEP));
            read_exact_at(&*self.file, &mut buffer[..step], offset)?;
            hasher.update(&buffer[..step]);
            offset += step as u64;
        }
        if hasher.finalize() != trailer.hash {
            return Err(LayoutError::Hash.into());
        }
        Ok((trailer, spans))
    }
}

fn checked_len(file: &dyn DiskFile) -> Result<u64, PackFault> {
    let len = file.len()?;
    if len < HEADER_LEN as u64 {
        return Err(LayoutError::Short.into());
    }
    if len > PACK_LEN_MAX {
        return Err(LayoutError::Unsupported { what: "pack length", value: len }.into());
    }
    Ok(len)
}

/// Takes the bytes of a span apart and checks all checksums of its record.
pub(crate) fn record_of_span(bytes: &Bytes) -> Result<SealedRecord, PackFault> {
    if !bytes.starts_with(&SYNC_MARKER) {
        return Err(PackFault::Marker);
    }
    let record = SealedRecord::new(bytes.slice(SYNC_MARKER.len()..))?;
    record.view().check_body()?;
    Ok(record)
}

/// Fills `buffer`. A read that fails is tried once more: disks remap, and the second answer is checked like the first.
fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    let mut failed = false;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if failed => return Err(error),
            Err(_) => failed = true,
        }
    }
    Ok(())
}
