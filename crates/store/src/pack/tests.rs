//! Packs: golden bytes, and damage at every byte.
#![allow(clippy::disallowed_methods, reason = "tests look at files themselves")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::{Codec, Kind, ObjectId, RecordHeadWriter, SealedRecord, VaultId};
use tempfile::TempDir;

use super::reader::PackReader;
use super::scan::{PackFinding, PackScan};
use super::*;
use crate::PackId;
use crate::data_dir::DataDir;
use crate::disk::{Disk, OsDisk};
use crate::layout::LayoutError;
use crate::layout::pack::{HEADER_LEN, PackClass, PackHeader, TRAILER_LEN};

fn header() -> PackHeader {
    PackHeader {
        class: PackClass::Data,
        pack: PackId::from_bytes([0xaa; 16]),
        vault: VaultId::from_bytes([0xbb; 16]),
        created_generation: 5,
    }
}

fn record(number: u8, body_len: usize) -> SealedRecord {
    let mut writer = RecordHeadWriter::new(Codec::Raw, 0, &[number; 24]);
    writer.member(Kind::Data, &ObjectId::from_bytes([number; 32]), 3, &[]).unwrap();
    let mut bytes = writer.finish(body_len).unwrap();
    RecordHeadWriter::append_body(&mut bytes, |_head, body| body.fill(number));
    SealedRecord::new(bytes.into()).unwrap()
}

/// Writes a pack of these records in a fresh directory.
fn pack_of(records: &[SealedRecord]) -> (TempDir, PathBuf, Vec<Span>) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = DataDir::new(scratch.path(), Arc::new(OsDisk));
    dir.ensure_dir(&dir.staging_path()).unwrap();
    let mut writer = PackWriter::create(&dir, header()).unwrap();
    let mut spans = Vec::new();
    for record in records {
        let span = writer.append(record.bytes()).unwrap();
        spans.push(span);
        assert_eq!(&writer.read(span).unwrap()[8..], &record.bytes()[..], "a pack reads what it takes");
    }
    let len = writer.len();
    let finished = writer.finish().unwrap();
    assert_eq!(finished.file.len, len + 4 * records.len() as u64 + TRAILER_LEN as u64);
    assert_eq!(finished.file.record_count as usize, records.len());
    (scratch, finished.path, spans)
}

fn open(path: &Path) -> Result<PackReader, PackFault> {
    PackReader::open(OsDisk.open(path).unwrap())
}

fn sound(path: &Path) -> Vec<(u32, SealedRecord)> {
    PackScan::new(open(path).unwrap())
        .filter_map(|finding| match finding.unwrap() {
            PackFinding::Record { offset, record } => Some((offset, record)),
            PackFinding::Other { .. } => None,
        })
        .collect()
}

/// Changing these bytes is a new pack format.
#[test]
fn golden_pack() {
    let (_scratch, path, _) = pack_of(&[record(1, 3)]);
    let hex: String = std::fs::read(path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        "44425041434b0d0a".to_owned() + "0100" + "0000" + "00000000" + &"aa".repeat(16) + &"bb".repeat(16),
        "0500000000000000".to_owned() + "00000000" + "ef20b59a",
        "f34442529e0d0a1a".to_owned(),
        "01000100".to_owned() + "00000000" + "50000000" + "03000000" + &"01".repeat(24),
        "01000000".to_owned() + "03000000" + &"01".repeat(32),
        "3780444f".to_owned() + "010101" + "702aec24",
        "63000000".to_owned(),
        "04000000".to_owned() + "01000000",
        "0233bda8541c3d9d59e20042da68e271fd6f6d47886a8b5bc8e785eaa974e8a9".to_owned() + "7c0bf609" + "4442504b454e440a",
    ]
    .concat();
    assert_eq!(hex, expected);
}

/// A bit flips in memory after the record was found sound, and before it is in the file: whichever it is, the pack never
/// gets a name.
#[test]
fn what_changes_in_memory_before_it_is_written_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = DataDir::new(scratch.path(), Arc::new(OsDisk));
    dir.ensure_dir(&dir.staging_path()).unwrap();
    let records = [record(1, 20), record(2, 30)];
    let writer = |records: &[SealedRecord]| {
        let mut writer = PackWriter::create(&dir, header()).unwrap();
        for record in records {
            writer.append(record.bytes()).unwrap();
        }
        writer
    };
    let buffered = writer(&records).buffer.len();
    assert!(writer(&records).finish().is_ok());
    for bit in 0..buffered * 8 {
        let mut writer = writer(&records);
        writer.buffer[bit / 8] ^= 1 << (bit % 8);
        let error = writer.finish().unwrap_err();
        assert!(error.to_string().contains("write"), "bit {bit}: {error}");
    }
    for bit in 0..64 {
        let mut writer = writer(&records);
        writer.footer[bit / 8] ^= 1 << (bit % 8);
        assert!(writer.finish().is_err(), "bit {bit} of the footer");
    }
    // One that does not go through the buffer: what is written is what is checked.
    let mut long = record(3, 300_000).bytes().to_vec();
    let mut writer = writer(&records);
    long[200_000] ^= 1;
    assert!(writer.append(&long).is_err());
    assert!(writer.finish().is_err(), "and nothing comes after it");
}

#[test]
fn packs_are_read_as_written() {
    // Shorter than the buffer, longer than it, and longer than what a head is guessed to be.
    let records = [record(1, 10), record(2, 300_000), record(3, 9_000), record(4, 0)];
    let (_scratch, path, spans) = pack_of(&records);
    let pack = open(&path).unwrap();
    assert_eq!(*pack.header(), header());
    assert_eq!(pack.verify().unwrap().1, spans);
    for (record, span) in records.iter().zip(&spans) {
        assert_eq!(pack.record(*span).unwrap().bytes(), record.bytes());
        let head = pack.head(*span).unwrap();
        assert_eq!(object::Record::parse_head(&head).unwrap().len(), record.view().len());
    }
    let found = sound(&path);
    assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), offsets(&spans));
    let missed = Span { offset: spans[1].offset + 1, ..spans[1] };
    assert!(matches!(pack.record(missed), Err(PackFault::Marker)));
    let beyond = Span { offset: spans[3].offset, len: 1 << 20 };
    assert!(matches!(pack.record(beyond), Err(PackFault::Layout(LayoutError::Short))));
}

fn offsets(spans: &[Span]) -> Vec<u32> {
    spans.iter().map(|span| span.offset).collect()
}

#[test]
fn an_empty_pack_is_a_pack() {
    let (_scratch, path, _) = pack_of(&[]);
    assert_eq!(open(&path).unwrap().verify().unwrap().1, []);
    assert!(sound(&path).is_empty());
}

/// Every flipped byte is found by the hash, costs at most the record it is in, and nothing at all in footer and
/// trailer.
#[test]
fn a_flipped_byte_costs_one_record() {
    let records = [record(1, 20), record(2, 30), record(3, 10)];
    let (_scratch, path, spans) = pack_of(&records);
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        if at < HEADER_LEN {
            assert!(open(&path).is_err(), "byte {at}");
            continue;
        }
        assert!(open(&path).unwrap().verify().is_err(), "byte {at}");
        let hit = spans.iter().position(|span| (u64::from(span.offset)..span.end()).contains(&(at as u64)));
        let found = sound(&path);
        let expected: Vec<u32> = (0..3).filter(|index| Some(*index) != hit).map(|index| spans[index].offset).collect();
        assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), expected, "byte {at}");
    }
}

#[test]
fn a_truncated_pack_keeps_what_is_left() {
    let records = [record(1, 20), record(2, 30)];
    let (_scratch, path, spans) = pack_of(&records);
    let bytes = std::fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let Ok(pack) = open(&path) else {
            assert!(len < HEADER_LEN, "{len} bytes");
            continue;
        };
        assert!(pack.verify().is_err(), "{len} bytes");
        let expected = spans.iter().filter(|span| span.end() <= len as u64).count();
        assert_eq!(sound(&path).len(), expected, "{len} bytes");
    }
}

#[test]
fn a_pack_longer_than_any_is_refused() {
    let (_scratch, path, _) = pack_of(&[]);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(crate::layout::pack::PACK_LEN_MAX + 1).unwrap();
    assert!(matches!(open(&path), Err(PackFault::Layout(LayoutError::Unsupported { what: "pack length", .. }))));
}
