//! [`Anchor`]: the highest acknowledged catalog generation, kept beside the packs.

use crate::StoreId;
use crate::layout::{LayoutError, take};

pub(crate) const ANCHOR_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"DBANCHOR";
const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) store: StoreId,
    pub(crate) generation: u64,
}

impl Anchor {
    pub(crate) fn encode(&self) -> [u8; ANCHOR_LEN] {
        let mut bytes = [0; ANCHOR_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(self.store.as_bytes());
        bytes[32..40].copy_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; ANCHOR_LEN]) -> Result<Self, LayoutError> {
        let mut rest = &bytes[..];
        if take::<8>(&mut rest) != *MAGIC {
            return Err(LayoutError::Magic);
        }
        if crc32c::crc32c(&bytes[..60]) != u32::from_le_bytes(*bytes.last_chunk().expect("64 bytes")) {
            return Err(LayoutError::Checksum);
        }
        let format = u32::from_le_bytes(take(&mut rest));
        if format != FORMAT {
            return Err(LayoutError::Unsupported { what: "anchor format", value: format.into() });
        }
        take::<4>(&mut rest);
        let store = StoreId::from_bytes(take(&mut rest));
        let generation = u64::from_le_bytes(take(&mut rest));
        Ok(Self { store, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Anchor {
        Anchor { store: StoreId::from_bytes([0xab; 16]), generation: 0x0102_0304 }
    }

    /// Changing these bytes is a new anchor format.
    #[test]
    fn golden_anchor() {
        let hex: String = sample().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = [
            "4442414e43484f52".to_owned() + "01000000" + "00000000",
            "ab".repeat(16) + "0403020100000000" + &"00".repeat(20) + "3c5078a2",
        ]
        .concat();
        assert_eq!(hex, expected);
        assert_eq!(Anchor::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for bit in 0..ANCHOR_LEN * 8 {
            let mut bytes = sample().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Anchor::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let mut bytes = sample().encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Anchor::decode(&bytes), Err(LayoutError::Unsupported { what: "anchor format", value: 2 }));
    }
}
