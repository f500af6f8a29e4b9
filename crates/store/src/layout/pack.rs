//! [`PackHeader`] and [`PackTrailer`]: the ends of a pack. Records stand between them, each behind [`SYNC_MARKER`].

use object::VaultId;

use crate::PackId;
use crate::layout::{LayoutError, take};

pub(crate) const HEADER_LEN: usize = 64;
pub(crate) const TRAILER_LEN: usize = 52;
pub(crate) const SYNC_MARKER: [u8; 8] = [0xf3, 0x44, 0x42, 0x52, 0x9e, 0x0d, 0x0a, 0x1a];
/// Longest pack a reader accepts.
pub(crate) const PACK_LEN_MAX: u64 = 128 << 20;

const HEADER_MAGIC: &[u8; 8] = b"DBPACK\r\n";
const TRAILER_MAGIC: &[u8; 8] = b"DBPKEND\n";
const FORMAT: u16 = 1;

/// Which kinds of object a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// Chunks, whole or as deltas.
    Data = 0,
    /// Lists, trees and snapshots, so that walks read little.
    Metadata = 1,
}

impl PackClass {
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Data),
            1 => Some(Self::Metadata),
            _ => None,
        }
    }
}

/// First bytes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackHeader {
    pub(crate) class: PackClass,
    pub(crate) pack: PackId,
    pub(crate) vault: VaultId,
    /// Catalog generation of the pack's intent.
    pub(crate) created_generation: u64,
}

impl PackHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(HEADER_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.class as u8).to_le_bytes());
        bytes[16..32].copy_from_slice(self.pack.as_bytes());
        bytes[32..48].copy_from_slice(self.vault.as_bytes());
        bytes[48..56].copy_from_slice(&self.created_generation.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, LayoutError> {
        let mut rest = &bytes[..];
        if take::<8>(&mut rest) != *HEADER_MAGIC {
            return Err(LayoutError::Magic);
        }
        if crc32c::crc32c(&bytes[..60]) != u32::from_le_bytes(*bytes.last_chunk().expect("64 bytes")) {
            return Err(LayoutError::Checksum);
        }
        let format = u16::from_le_bytes(take(&mut rest));
        if format != FORMAT {
            return Err(LayoutError::Unsupported { what: "pack format", value: format.into() });
        }
        let class = u16::from_le_bytes(take(&mut rest)).into();
        let class =
            PackClass::from_number(class).ok_or(LayoutError::Unsupported { what: "pack class", value: class })?;
        let flags = u32::from_le_bytes(take(&mut rest));
        if flags != 0 {
            return Err(LayoutError::Unsupported { what: "pack flags", value: flags.into() });
        }
        Ok(Self {
            class,
            pack: PackId::from_bytes(take(&mut rest)),
            vault: VaultId::from_bytes(take(&mut rest)),
            created_generation: u64::from_le_bytes(take(&mut rest)),
        })
    }
}

/// Last bytes of a pack: proof that it was finished, and what it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackTrailer {
    pub(crate) footer_len: u32,
    pub(crate) record_count: u32,
    /// BLAKE3 of everything in the file before this field.
    pub(crate) hash: [u8; 32],
}

impl PackTrailer {
    pub(crate) fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut bytes = [0; TRAILER_LEN];
        bytes[..8].copy_from_slice(&Self::hashed(self.footer_len, self.record_count));
        bytes[8..40].copy_from_slice(&self.hash);
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        bytes[44..].copy_from_slice(TRAILER_MAGIC);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; TRAILER_LEN]) -> Result<Self, LayoutError> {
        let mut rest = &bytes[..];
        let footer_len = u32::from_le_bytes(take(&mut rest));
        let record_count = u32::from_le_bytes(take(&mut rest));
        let hash = take(&mut rest);
        let crc = u32::from_le_bytes(take(&mut rest));
        if rest != TRAILER_MAGIC {
            return Err(LayoutError::Magic);
        }
        if crc32c::crc32c(&bytes[..40]) != crc {
            return Err(LayoutError::Checksum);
        }
        if u64::from(record_count) * 4 != u64::from(footer_len) {
            return Err(LayoutError::Footer);
        }
        Ok(Self { footer_len, record_count, hash })
    }

    /// The trailer's bytes that the hash still covers.
    pub(crate) fn hashed(footer_len: u32, record_count: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&footer_len.to_le_bytes());
        bytes[4..].copy_from_slice(&record_count.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> PackHeader {
        PackHeader {
            class: PackClass::Metadata,
            pack: PackId::from_bytes([0x11; 16]),
            vault: VaultId::from_bytes([0x22; 16]),
            created_generation: 7,
        }
    }

    #[test]
    fn headers_round_trip_and_every_flipped_bit_is_found() {
        assert_eq!(PackHeader::decode(&header().encode()), Ok(header()));
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(PackHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[track_caller]
    fn refuses(at: usize, value: u8, what: &'static str) {
        let mut bytes = header().encode();
        bytes[at] = value;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(PackHeader::decode(&bytes), Err(LayoutError::Unsupported { what, value: value.into() }));
    }

    #[test]
    fn newer_packs_are_refused() {
        refuses(8, 2, "pack format");
        refuses(10, 2, "pack class");
        refuses(12, 1, "pack flags");
    }

    #[test]
    fn trailers_round_trip_and_every_flipped_bit_is_found() {
        let trailer = PackTrailer { footer_len: 12, record_count: 3, hash: [0x5a; 32] };
        assert_eq!(PackTrailer::decode(&trailer.encode()), Ok(trailer));
        for bit in 0..TRAILER_LEN * 8 {
            let mut bytes = trailer.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(PackTrailer::decode(&bytes).is_err(), "bit {bit}");
        }
        let lying = PackTrailer { footer_len: 13, ..trailer };
        assert_eq!(PackTrailer::decode(&lying.encode()), Err(LayoutError::Footer));
    }
}
