//! Deltas of chunks, sealed, read back through a reader, and refused when they are wrong.

use bytes::Bytes;
use object::Kind;
use vault::{Basis, DeltaEncoder, DeltaError, OpenError, PlainObject, ReadError, rebuild};

use crate::store::{MemoryStore, keys, sealer};

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn a_chunk_stored_as_a_delta_reads_like_any_other() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let basis = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(noise(1, 300_000)));
    let mut edited = basis.body.to_vec();
    edited.splice(1000..1000, *b"inserted");
    edited[200_000] ^= 1;
    let target = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(edited));

    let delta = DeltaEncoder::new()
        .encode_exact(&[Basis { id: basis.id, bytes: &basis.body }], &target.body)
        .expect("nearly everything was copied");
    let record = sealer.seal_delta(&target.id, target.body.len(), &delta.bases, &delta.encoded).unwrap();
    assert!(record.bytes().len() < 300, "{} bytes for 9 new ones", record.bytes().len());

    let mut store = MemoryStore::default();
    store.put(record);
    store.put_all(&mut sealer, std::slice::from_ref(&basis));
    let mut reader = store.reader(&keys);
    assert_eq!(reader.object(target.id).unwrap(), target);
    assert_eq!(reader.objects(&[basis.id, target.id, basis.id]).unwrap(), [basis.clone(), target, basis]);
}

#[test]
fn unrelated_chunks_are_not_worth_a_delta() {
    let basis = noise(1, 100_000);
    let id = keys().chunk_id(&basis);
    assert_eq!(DeltaEncoder::new().encode_exact(&[Basis { id, bytes: &basis }], &noise(2, 100_000)), None);
}

#[test]
fn a_delta_against_the_wrong_basis_is_refused() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let basis = noise(1, 50_000);
    let target = [&basis[..25_000], b"change", &basis[25_000..]].concat();
    let (basis_id, target_id) = (keys.chunk_id(&basis), keys.chunk_id(&target));
    let delta = DeltaEncoder::new().encode_exact(&[Basis { id: basis_id, bytes: &basis }], &target).unwrap();
    let record = sealer.seal_delta(&target_id, target.len(), &delta.bases, &delta.encoded).unwrap();
    let vault::Opened::Delta(sealed) = vault::Opener::new(keys.clone()).open(record.view()).unwrap() else {
        panic!("sealed as a delta");
    };
    assert_eq!(rebuild(&keys, &sealed, &[&basis]).unwrap().body, target);
    assert_eq!(rebuild(&keys, &sealed, &[&noise(3, 50_000)]).unwrap_err(), DeltaError::WrongId);
    assert!(matches!(rebuild(&keys, &sealed, &[&noise(3, 10)]), Err(DeltaError::Malformed(_))));
    assert!(rebuild(&keys, &sealed, &[]).is_err());
}

#[test]
fn a_missing_or_nested_basis_is_named() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let first = noise(1, 50_000);
    let second = [&first[..], b"2"].concat();
    let third = [&second[..], b"3"].concat();
    let [id1, id2, id3] = [&first, &second, &third].map(|chunk| keys.chunk_id(chunk));
    let mut encoder = DeltaEncoder::new();
    let mut store = MemoryStore::default();
    for (basis, basis_id, target, id) in [(&first, id1, &second, id2), (&second, id2, &third, id3)] {
        let delta = encoder.encode_exact(&[Basis { id: basis_id, bytes: basis }], target).unwrap();
        store.put(sealer.seal_delta(&id, target.len(), &delta.bases, &delta.encoded).unwrap());
    }
    let mut reader = store.reader(&keys);
    assert!(matches!(reader.object(id2), Err(ReadError::Missing { id }) if id == id1));
    assert!(
        matches!(reader.object(id3), Err(ReadError::Delta { source: DeltaError::BasisIsDelta { basis }, .. }) if basis == id2)
    );
}

#[test]
fn a_frame_that_unpacks_to_too_much_is_refused() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let bomb = vec![0; 4 << 20];
    let record = sealer.seal_delta(&keys.chunk_id(b""), 10, &[keys.chunk_id(b"basis")], &bomb).unwrap();
    let error = vault::Opener::new(keys).open(record.view()).unwrap_err();
    assert!(matches!(error, OpenError::Decompress(_)), "{error}");
}
