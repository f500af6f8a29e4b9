//! Sealed vaults: opened by a passphrase, nothing in common with any other vault, deltas that nobody checks before they are
//! read.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use delta_core::{BasisSet, BlockLen, Matcher, OpList, Signature, StrongKind};
use object::{Kind, ObjectId, SealedRecord, VaultId};
use proptest::prelude::*;
use vault::{
    CompressionLevel, Content, DeltaEncoder, Entry, EntryKind, ExactDelta, KeySlot, Keys, ListBuilder, Metadata, Mode,
    Opened, Opener, Piece, PlainObject, SealedDelta, Sealer, SignatureLevel, SlotError, TreeBuilder, TreePage, Unlock,
    VaultKey, rebuild,
};

use crate::keys::cheapest;
use crate::store::MemoryStore;

const VAULT: VaultId = VaultId::from_bytes([3; 16]);

pub(crate) fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn keys(secret: u8) -> Arc<Keys> {
    Arc::new(Keys::new(&VaultKey::from_bytes([secret; 32])))
}

fn chunk(keys: &Keys, bytes: &[u8]) -> PlainObject {
    PlainObject::new(keys, Kind::Data, vec![], Bytes::copy_from_slice(bytes))
}

pub(crate) fn signature(keys: &Keys, bytes: &[u8], offset: u64) -> Signature {
    let params = Mode::Sealed.params(Mode::Sealed.cached_level(), offset);
    Signature::compute(bytes, params, keys.hash_key()).unwrap()
}

/// What a client of a sealed vault makes of a chunk: it has the signatures of bases, not the bases.
pub(crate) fn seal_against(
    keys: &Keys,
    bases: &[(ObjectId, Signature)],
    target: &[u8],
) -> Option<(SealedRecord, ExactDelta)> {
    let mut ops = OpList::all_literal(u32::try_from(target.len()).unwrap());
    for block_len in [BlockLen::SEALED, BlockLen::FINE, BlockLen::FINEST] {
        let mut set = BasisSet::new();
        for (slot, (_, signature)) in (0..).zip(bases) {
            if signature.params().block_len() == block_len {
                set.push(slot, signature).unwrap();
            }
        }
        Matcher::new(keys.hash_key()).refine(&set, target, &mut ops).unwrap();
    }
    let named: Vec<(ObjectId, u32)> = bases.iter().map(|(id, signature)| (*id, signature.basis_len())).collect();
    let made = DeltaEncoder::encode_supplemented(keys, &ops, &named, target)?;
    let mut sealer = Sealer::new(keys, [1; 16], CompressionLevel::DEFAULT);
    let delta = &made.delta;
    let record = sealer.seal_delta(&keys.chunk_id(target), target.len(), &delta.bases, &delta.encoded).unwrap();
    Some((record, made))
}

fn opened_delta(keys: &Arc<Keys>, record: &SealedRecord) -> SealedDelta {
    match Opener::new(Arc::clone(keys)).open(record.view()).unwrap() {
        Opened::Delta(delta) => delta,
        Opened::Objects(_) => panic!("sealed as a delta"),
    }
}

#[test]
fn what_a_passphrase_sealed_a_passphrase_opens() {
    // One machine makes the vault and fills it.
    let key = VaultKey::from_bytes([0xa5; 32]);
    let slot = KeySlot::wrap_passphrase(&key, VAULT, b"correct horse", cheapest(), [7; 32]).unwrap();
    let writer = Keys::new(&key);
    let (first, second) = (chunk(&writer, &noise(1, 300_000)), chunk(&writer, b"a small file"));
    let mut pages = Vec::new();
    let mut list = ListBuilder::new();
    list.push(&writer, Piece::Chunk { len: 300_000, id: first.id }, &mut |page| pages.push(page));
    list.push(&writer, Piece::Hole { len: 4096 }, &mut |page| pages.push(page));
    let content = list.finish(&writer, &mut |page| pages.push(page));
    let entry = |name: &[u8], size, content| Entry {
        name: name.to_vec(),
        kind: EntryKind::File { size, content },
        metadata: Metadata::default(),
    };
    let entries = [entry(b"large", 304_096, content), entry(b"small", 12, Content::Chunk(second.id))];
    let mut tree = TreeBuilder::new();
    for entry in &entries {
        tree.push(&writer, entry.clone(), &mut |page| pages.push(page));
    }
    let root = tree.finish(&writer, &mut |page| pages.push(page));
    let mut store = MemoryStore::default();
    let mut sealer = Sealer::new(&writer, [9; 16], CompressionLevel::DEFAULT);
    store.put_all(&mut sealer, &pages);
    store.put_all(&mut sealer, &[first.clone(), second.clone()]);
    drop((writer, sealer, key));

    // Another one has the slot, the records and the passphrase.
    let slot = KeySlot::from_bytes(slot.as_bytes().to_vec());
    assert_eq!(slot.open(VAULT, Unlock::Passphrase(b"correct hors")).unwrap_err(), SlotError::WrongKey);
    let reader = Arc::new(Keys::new(&slot.open(VAULT, Unlock::Passphrase(b"correct horse")).unwrap()));
    let mut objects = store.reader(&reader);
    assert_eq!(objects.tree_page(root).unwrap(), TreePage::Leaf(entries.to_vec()));
    assert_eq!(objects.objects(&[second.id, first.id]).unwrap(), [second, first]);
}

#[test]
fn two_vaults_have_nothing_in_common() {
    let (ours, others) = (keys(1), keys(2));
    let bytes = noise(1, 3 << 20);
    for (kind, edges) in [(Kind::Data, vec![]), (Kind::List, vec![]), (Kind::Tree, vec![ObjectId::from_bytes([1; 32])])]
    {
        assert_ne!(ours.object_id(kind, &edges, b"same"), others.object_id(kind, &edges, b"same"));
    }
    assert_ne!(ours.cutter().cut(&bytes), others.cutter().cut(&bytes), "lengths of chunks tell nothing either");
    let record =
        |keys: &Keys| Sealer::new(keys, [9; 16], CompressionLevel::DEFAULT).seal(&[chunk(keys, &bytes)]).unwrap();
    assert!(Opener::new(others.clone()).open(record(&ours).view()).is_err());
    assert_ne!(record(&ours).view().body(), record(&others).view().body());
}

/// Whoever has a file and looks at the signatures, or at what deltas say of blocks, must not find the file's blocks in them.
#[test]
fn block_hashes_of_known_blocks_tell_nothing_without_the_key() {
    let block_len = 2048;
    let bytes = noise(1, 64 * block_len);
    let hashes = |keys: &Keys| -> HashSet<Vec<u8>> {
        let mut encoded = Vec::new();
        signature(keys, &bytes, 0).encode(&mut encoded);
        let strong = &encoded[encoded.len() - 64 * 8..];
        strong.chunks(8).map(<[u8]>::to_vec).collect()
    };
    let ours = hashes(&keys(1));
    assert_eq!(ours.len(), 64);
    assert!(ours.is_disjoint(&hashes(&keys(2))));
    let unkeyed = bytes.chunks(block_len).map(|block| blake3::hash(block).as_bytes()[..8].to_vec());
    assert!(unkeyed.into_iter().all(|hash| !ours.contains(&hash)));
    // The weak hashes are keyed as well: the same block has another one in another vault.
    let weak = |keys: &Keys| {
        let mut encoded = Vec::new();
        signature(keys, &bytes, 0).encode(&mut encoded);
        encoded[encoded.len() - 64 * 12..encoded.len() - 64 * 8].to_vec()
    };
    assert!(weak(&keys(1)).chunks(4).zip(weak(&keys(2)).chunks(4)).all(|(ours, others)| ours != others));
}

#[test]
fn no_level_of_a_sealed_vault_has_short_hashes() {
    for level in
        [Mode::Sealed.cached_level(), SignatureLevel::Coarse(BlockLen::COARSE), SignatureLevel::Cells(BlockLen::FINE)]
    {
        let strong = Mode::Sealed.params(level, 12_345).strong();
        assert!(matches!(strong, StrongKind::Blake3Keyed(_)) && strong.hash_len() >= 8, "{level:?}");
    }
}

/// Every generation is a delta against the one whole chunk and what the generations between have brought, so each costs
/// what is new in it, and now and then what is folded; each rebuilds to the byte.
#[test]
fn ten_generations_rebuild_to_the_byte() {
    let keys = keys(1);
    let first = chunk(&keys, &noise(1, 1 << 20));
    let mut bases = vec![(first.id, signature(&keys, &first.body, 0))];
    let mut bytes = first.body.to_vec();
    let mut store = MemoryStore::default();
    let mut sealer = Sealer::new(&keys, [9; 16], CompressionLevel::DEFAULT);
    store.put_all(&mut sealer, std::slice::from_ref(&first));
    let (mut generations, mut stored) = (vec![first.clone()], Vec::new());
    for generation in 1..=10u8 {
        let at = usize::from(generation) * 90_000;
        match generation % 3 {
            0 => bytes.splice(at..at, noise(generation, 100)).for_each(drop),
            1 => bytes[at / 4096 * 4096..][..4096].copy_from_slice(&noise(100 + generation, 4096)),
            _ => bytes.drain(at..at + 77).for_each(drop),
        }
        let (record, made) = seal_against(&keys, &bases, &bytes).expect("nearly everything was copied");
        assert_eq!(made.delta.bases[0], first.id);
        stored.push(record.bytes().len() + made.supplement.as_ref().map_or(0, |supplement| supplement.body.len()));
        store.put(record);
        if let Some(supplement) = made.supplement {
            store.put_all(&mut sealer, std::slice::from_ref(&supplement));
            let params = Mode::Sealed.params(Mode::Sealed.supplement_level(supplement.body.len()), 0);
            let signature = Signature::compute(&supplement.body, params, keys.hash_key()).unwrap();
            bases.push((supplement.id, signature));
        }
        bases.retain(|(id, _)| made.delta.bases.contains(id));
        generations.push(chunk(&keys, &bytes));
    }
    assert!(stored.iter().sum::<usize>() < 80_000, "{stored:?}");
    let ids: Vec<ObjectId> = generations.iter().map(|chunk| chunk.id).collect();
    assert_eq!(store.reader(&keys).objects(&ids).unwrap(), generations);
}

#[test]
fn another_vaults_signature_matches_nothing() {
    let (ours, others) = (keys(1), keys(2));
    let bytes = noise(1, 200_000);
    let basis = ours.chunk_id(&bytes);
    let target = &bytes[1000..];
    assert!(seal_against(&ours, &[(basis, signature(&ours, &bytes, 0))], target).is_some());
    assert!(seal_against(&ours, &[(basis, signature(&others, &bytes, 0))], target).is_none());
}

/// What is done to a chunk before it is matched again.
#[derive(Clone, Debug)]
enum Edit {
    Overwrite(prop::sample::Index, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Move(prop::sample::Index, usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    let bytes = || prop::collection::vec(any::<u8>(), 1..3000);
    prop_oneof![
        (at(), bytes()).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
        (at(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), 1..5000usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at(), 1..20_000usize).prop_map(|(at, len)| Edit::Move(at, len)),
    ]
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>) {
    match edit {
        Edit::Overwrite(at, new) => {
            let at = at.index(bytes.len());
            let len = new.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&new[..len]);
        }
        Edit::Insert(at, new) => drop(bytes.splice(at.index(bytes.len())..at.index(bytes.len()), new.iter().copied())),
        Edit::Remove(at, len) => {
            let at = at.index(bytes.len());
            drop(bytes.drain(at..(at + len).min(bytes.len() - 1).max(at)));
        }
        Edit::Move(at, len) => {
            let at = at.index(bytes.len());
            let moved: Vec<u8> = bytes.drain(at..(at + len).min(bytes.len() - 1).max(at)).collect();
            bytes.extend(moved);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nobody checks at upload, so every delta that is made at all must rebuild, wherever the chunk stood in its file.
    #[test]
    fn every_delta_rebuilds(
        seed in any::<u8>(), repeats in any::<bool>(), offset in 0..10_000u64,
        edits in prop::collection::vec(any_edit(), 1..6),
    ) {
        let keys = keys(1);
        let basis = if repeats { noise(seed, 5000).repeat(20) } else { noise(seed, 100_000) };
        let mut target = basis.clone();
        for edit in &edits {
            apply(edit, &mut target);
        }
        let basis_id = keys.chunk_id(&basis);
        if let Some((record, made)) = seal_against(&keys, &[(basis_id, signature(&keys, &basis, offset))], &target) {
            let mut bases: Vec<&[u8]> = Vec::new();
            bases.extend(made.delta.bases.contains(&basis_id).then_some(&basis[..]));
            bases.extend(made.supplement.iter().map(|supplement| &supplement.body[..]));
            let rebuilt = rebuild(&keys, &opened_delta(&keys, &record), &bases).unwrap();
            prop_assert_eq!(&rebuilt.body[..], &target[..]);
        }
    }
}
