//! The ledger's header and its entries: what became of snapshots, beside the packs that hold them.

use object::{ObjectId, VaultId};

use crate::catalog::snapshots::SnapshotState;
use crate::layout::{LayoutError, take};
use crate::{StoreId, UnixMs};

pub(crate) const HEADER_LEN: usize = 64;
pub(crate) const ENTRY_LEN: usize = 96;
const MAGIC: &[u8; 8] = b"DBLEDGER";
const FORMAT: u32 = 1;
/// Stands for a time that is none.
const NEVER: i64 = i64::MIN;

/// What one change made of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LedgerEntry {
    pub(crate) vault: VaultId,
    pub(crate) snapshot: ObjectId,
    /// The catalog's generation of the change.
    pub(crate) generation: u64,
    pub(crate) state: SnapshotState,
    pub(crate) held: Option<UnixMs>,
    pub(crate) trashed: Option<UnixMs>,
}

/// The first bytes of the ledger of a store.
pub(crate) fn header(store: StoreId) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..32].copy_from_slice(store.as_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whose ledger it is.
pub(crate) fn parse_header(bytes: &[u8; HEADER_LEN]) -> Result<StoreId, LayoutError> {
    let mut rest = &bytes[..];
    if take::<8>(&mut rest) != *MAGIC {
        return Err(LayoutError::Magic);
    }
    if crc32c::crc32c(&bytes[..60]) != u32::from_le_bytes(*bytes.last_chunk().expect("64 bytes")) {
        return Err(LayoutError::Checksum);
    }
    let format = u32::from_le_bytes(take(&mut rest));
    if format != FORMAT {
        return Err(LayoutError::Unsupported { what: "ledger format", value: format.into() });
    }
    take::<4>(&mut rest);
    Ok(StoreId::from_bytes(take(&mut rest)))
}

impl LedgerEntry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..16].copy_from_slice(self.vault.as_bytes());
        bytes[16..48].copy_from_slice(self.snapshot.as_bytes());
        bytes[48..56].copy_from_slice(&self.generation.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.held.map_or(NEVER, |at| at.0).to_le_bytes());
        bytes[64..72].copy_from_slice(&self.trashed.map_or(NEVER, |at| at.0).to_le_bytes());
        bytes[72] = self.state as u8;
        let crc = crc32c::crc32c(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; ENTRY_LEN]) -> Result<Self, LayoutError> {
        if crc32c::crc32c(&bytes[..92]) != u32::from_le_bytes(*bytes.last_chunk().expect("96 bytes")) {
            return Err(LayoutError::Checksum);
        }
        let mut rest = &bytes[..];
        let vault = VaultId::from_bytes(take(&mut rest));
        let snapshot = ObjectId::from_bytes(take(&mut rest));
        let generation = u64::from_le_bytes(take(&mut rest));
        let [held, trashed] =
            [take(&mut rest), take(&mut rest)].map(i64::from_le_bytes).map(|at| (at != NEVER).then_some(UnixMs(at)));
        let [number] = take(&mut rest);
        let state = SnapshotState::from_number(number.into())
            .ok_or(LayoutError::Unsupported { what: "state of a snapshot", value: number.into() })?;
        Ok(Self { vault, snapshot, generation, state, held, trashed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LedgerEntry {
        LedgerEntry {
            vault: VaultId::from_bytes([0xaa; 16]),
            snapshot: ObjectId::from_bytes([0xbb; 32]),
            generation: 0x0102_0304,
            state: SnapshotState::Trash,
            held: None,
            trashed: Some(UnixMs(0x0506)),
        }
    }

    /// Changing these bytes is a new ledger format.
    #[test]
    fn golden_ledger() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let store = StoreId::from_bytes([0xab; 16]);
        let expected = ["44424c4544474552".to_owned() + "01000000" + "00000000", "ab".repeat(16), "00".repeat(28)];
        assert_eq!(hex(&header(store)[..60]), expected.concat());
        assert_eq!(parse_header(&header(store)), Ok(store));
        let expected = [
            "aa".repeat(16),
            "bb".repeat(32),
            "0403020100000000".to_owned() + "0000000000000080" + "0605000000000000" + "02",
            "00".repeat(19),
        ];
        assert_eq!(hex(&sample().encode()[..92]), expected.concat());
        for state in [SnapshotState::Live, SnapshotState::Trash, SnapshotState::Purged] {
            let entry = LedgerEntry { state, held: Some(UnixMs(-1)), ..sample() };
            assert_eq!(LedgerEntry::decode(&entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for bit in 0..ENTRY_LEN * 8 {
            let mut bytes = sample().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(LedgerEntry::decode(&bytes).is_err(), "bit {bit} of an entry");
        }
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = header(StoreId::from_bytes([1; 16]));
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_header(&bytes).is_err(), "bit {bit} of the header");
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused() {
        let mut bytes = header(StoreId::from_bytes([1; 16]));
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(parse_header(&bytes), Err(LayoutError::Unsupported { what: "ledger format", value: 2 }));
        let mut bytes = sample().encode();
        bytes[72] = 4;
        let crc = crc32c::crc32c(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_le_bytes());
        let expected = LayoutError::Unsupported { what: "state of a snapshot", value: 4 };
        assert_eq!(LedgerEntry::decode(&bytes), Err(expected));
    }
}
