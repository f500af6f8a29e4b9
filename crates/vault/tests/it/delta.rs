//! Deltas of chunks, sealed, read back through a reader, and refused when they are wrong.

use bytes::Bytes;
use delta_core::{BasisSet, BlockLen, Matcher, OpList, Signature, SignatureParams, StrongKind};
use object::Kind;
use vault::{
    Basis, DeltaEncoder, DeltaError, ExactDelta, OpenError, PlainObject, ReadError, SealedDelta, is_worth_its_bases,
    rebuild,
};

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
        .encode_exact(&keys, &[Basis { id: basis.id, bytes: &basis.body }], &target.body)
        .expect("nearly everything was copied")
        .delta;
    let record = sealer.seal_delta(&target.id, target.body.len(), &delta.bases, &delta.encoded).unwrap();
    assert!(record.bytes().len() < 300, "{} bytes for 9 new ones", record.bytes().len());

    let mut store = MemoryStore::default();
    store.put(record);
    store.put_all(&mut sealer, std::slice::from_ref(&basis));
    let mut reader = store.reader(&keys);
    assert_eq!(reader.object(target.id).unwrap(), target);
    assert_eq!(reader.objects(&[basis.id, target.id, basis.id]).unwrap(), [basis.clone(), target, basis]);
}

/// What a client matched by blocks is made exact by whoever has the basis, with the client's copies as a guide.
#[test]
fn a_guide_leads_to_a_delta_as_short_as_without() {
    let keys = keys();
    let basis = noise(1, 300_000);
    let mut target = basis.clone();
    for at in (5_000..300_000).step_by(20_000) {
        target[at..at + 14].copy_from_slice(&noise(2, 14));
    }
    target.splice(100_000..100_000, *b"inserted");
    let basis = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(basis));
    let target = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(target));
    let at_hand = [Basis { id: basis.id, bytes: &basis.body }];
    let rough = blocks_of(&basis.body, &target.body);
    let lens = [(basis.id, 300_000)];
    let rough = DeltaEncoder::new().encode_matched(&rough, &lens, &target.body).unwrap();
    let guide = SealedDelta {
        id: target.id,
        target_len: target.body.len(),
        bases: rough.bases,
        encoded: Bytes::from(rough.encoded),
    };
    let mut encoder = DeltaEncoder::new();
    let guided = encoder.encode_guided(&keys, &guide, &at_hand, &target.body).unwrap().delta;
    let alone = encoder.encode_exact(&keys, &at_hand, &target.body).unwrap().delta;
    assert!(guided.encoded.len() <= alone.encoded.len() + 8, "{} {}", guided.encoded.len(), alone.encoded.len());
    assert!(guided.encoded.len() * 4 < guide.encoded.len(), "{} {}", guided.encoded.len(), guide.encoded.len());
    let exact = SealedDelta { bases: guided.bases, encoded: Bytes::from(guided.encoded), ..guide };
    assert_eq!(rebuild(&keys, &exact, &[&basis.body]).unwrap(), target);
}

/// A small share of a long chunk is worth a delta, the same share of a short one is not.
#[test]
fn a_delta_saves_half_or_enough() {
    let keys = keys();
    let gives = |chunk_len: usize, copied_len: usize| {
        let old = noise(1, copied_len);
        let target = [&old[..], &noise(2, chunk_len - copied_len)].concat();
        let basis = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(old));
        DeltaEncoder::new().encode_exact(&keys, &[Basis { id: basis.id, bytes: &basis.body }], &target).is_some()
    };
    assert!(gives(100_000, 30_000));
    assert!(!gives(100_000, 20_000));
    assert!(gives(3 << 20, 300 << 10));
    assert!(!gives(3 << 20, 200 << 10));
    assert!(is_worth_its_bases(50, 100));
    assert!(!is_worth_its_bases(51, 100));
    assert!(is_worth_its_bases(2_700_000, 3_000_000));
    assert!(!is_worth_its_bases(2_800_000, 3_000_000));
    assert!(!is_worth_its_bases(3_000_000, 2_800_000));
}

/// What matching against a coarse signature finds.
fn blocks_of(basis: &[u8], target: &[u8]) -> OpList {
    let keys = keys();
    let params = SignatureParams::new(BlockLen::new(512).unwrap(), StrongKind::COARSE, 0).unwrap();
    let signature = Signature::compute(basis, params, keys.hash_key()).unwrap();
    let mut bases = BasisSet::new();
    bases.push(0, &signature).unwrap();
    let mut ops = OpList::new();
    Matcher::new(keys.hash_key()).diff(&bases, target, &mut ops).unwrap();
    ops
}

#[test]
fn unrelated_chunks_are_not_worth_a_delta() {
    let basis = noise(1, 100_000);
    let id = keys().chunk_id(&basis);
    assert_eq!(DeltaEncoder::new().encode_exact(&keys(), &[Basis { id, bytes: &basis }], &noise(2, 100_000)), None);
}

#[test]
fn a_delta_against_the_wrong_basis_is_refused() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let basis = noise(1, 50_000);
    let target = [&basis[..25_000], b"change", &basis[25_000..]].concat();
    let (basis_id, target_id) = (keys.chunk_id(&basis), keys.chunk_id(&target));
    let delta =
        DeltaEncoder::new().encode_exact(&keys, &[Basis { id: basis_id, bytes: &basis }], &target).unwrap().delta;
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
        let delta = encoder.encode_exact(&keys, &[Basis { id: basis_id, bytes: basis }], target).unwrap().delta;
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

/// Each generation of a chunk is a delta against what the first one was; what the generations bring is stored once.
#[test]
fn many_generations_store_what_is_new_about_once() {
    let keys = keys();
    let mut sealer = sealer(&keys);
    let mut encoder = DeltaEncoder::new();
    let mut store = MemoryStore::default();
    let first = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(noise(1, 1 << 20)));
    store.put_all(&mut sealer, std::slice::from_ref(&first));
    let mut bases = vec![first.clone()];
    let mut content = first.body.to_vec();
    let (mut generations, mut stored_len, mut new_len) = (Vec::new(), 0, 0);
    for generation in 0..30 {
        let news = noise(100 + generation, 6000);
        new_len += news.len();
        let at = usize::from(generation) * 30_011 + 17;
        content[at..at + news.len()].copy_from_slice(&news);
        let target = PlainObject::new(&keys, Kind::Data, vec![], Bytes::from(content.clone()));
        let at_hand: Vec<Basis<'_>> = bases.iter().map(|basis| Basis { id: basis.id, bytes: &basis.body }).collect();
        let ExactDelta { delta, supplement } = encoder.encode_exact(&keys, &at_hand, &target.body).unwrap();
        let supplement = supplement.expect("6000 bytes are worth a supplement");
        assert_eq!(delta.bases.last(), Some(&supplement.id));
        let record = sealer.seal_delta(&target.id, target.body.len(), &delta.bases, &delta.encoded).unwrap();
        stored_len += record.bytes().len() + supplement.body.len();
        store.put(record);
        store.put_all(&mut sealer, std::slice::from_ref(&supplement));
        bases.push(supplement);
        bases.retain(|basis| delta.bases.contains(&basis.id));
        generations.push(target);
    }
    assert!(stored_len < 3 * new_len, "{stored_len} bytes for {new_len} new ones");
    let mut reader = store.reader(&keys);
    for generation in generations {
        assert_eq!(reader.object(generation.id).unwrap(), generation);
    }
}
