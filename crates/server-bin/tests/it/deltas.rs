//! Deltas: rebuilt and checked before they count, made anew for storage; signatures to make them with.

use std::sync::Arc;

use bytes::Bytes;
use delta_core::{BasisSet, BlockLen, ExactMatcher, Limits, Matcher, OpList, Signature, SignatureParams, StrongKind};
use object::{Kind, ObjectId, SealedRecord, VaultId};
use proto::{ClientRequest, FailCode, ServerReply, SignatureRange, SignatureRequest};
use store::{NewVault, Store, StoreOptions, UnixMs, VaultMode};
use vault::{Compress, DeltaEncoder, Keys, PlainObject, Sealer, VaultKey};

use crate::backup::{Backup, noise, restore, sealer};
use crate::client::{Client, Device};
use crate::server::{TestServer, text};

/// A file of one chunk, backed up; and what makes a second version of it.
struct Versions {
    device: Device,
    sealer: Sealer,
    key: u8,
}

impl Versions {
    async fn new(server: &TestServer) -> Self {
        let device = Device::new(server).await;
        let sealer = sealer(&device.keys);
        Self { device, sealer, key: 0 }
    }

    /// Backs a version up whole; the one chunk it is.
    async fn back_up(&mut self, bytes: &[u8]) -> PlainObject {
        let backup = self.one_chunk(bytes);
        self.device.client.begin("home").await;
        let records = backup.records(&mut self.sealer);
        self.device.client.put(&records).await;
        self.commit(&backup).await;
        backup.chunks[0].clone()
    }

    fn one_chunk(&self, bytes: &[u8]) -> Backup {
        let backup = Backup::new(&self.device.keys, &[("file", bytes)]);
        assert_eq!(backup.chunks.len(), 1, "the test wants a file of one chunk");
        backup
    }

    /// Begins a session in which all of a version but its chunk is put.
    async fn begin(&mut self, bytes: &[u8]) -> Backup {
        let backup = self.one_chunk(bytes);
        self.device.client.begin("home").await;
        let metadata = self.sealer.seal(&backup.metadata).unwrap();
        self.device.client.put(&[metadata]).await;
        backup
    }

    async fn commit(&mut self, backup: &Backup) -> proto::Committed {
        self.key += 1;
        self.device.client.commit(self.key, backup.snapshot).await.unwrap()
    }

    /// The record in which the server keeps an object.
    async fn stored(&mut self, id: ObjectId) -> SealedRecord {
        let (mut records, missing) = self.device.client.fetch(&[id], false).await.unwrap();
        assert_eq!((records.len(), missing.len()), (1, 0));
        records.remove(0)
    }

    async fn restored(&mut self, backup: &Backup) -> Vec<u8> {
        let keys = Arc::clone(&self.device.keys);
        restore(&mut self.device.client, &keys, backup.snapshot).await.remove(0).1
    }
}

/// A delta as a client would send it.
fn delta(sealer: &mut Sealer, target: &PlainObject, bases: &[&PlainObject]) -> SealedRecord {
    let slices: Vec<&[u8]> = bases.iter().map(|basis| &basis.body[..]).collect();
    let mut ops = OpList::new();
    ExactMatcher::new().diff(&slices, &target.body, &mut ops).unwrap();
    let named: Vec<_> = bases.iter().map(|basis| (basis.id, u32::try_from(basis.body.len()).unwrap())).collect();
    let encoded = DeltaEncoder::new().encode_matched(&ops, &named, &target.body).expect("they have much in common");
    sealer.seal_delta(&target.id, target.body.len(), &encoded.bases, &encoded.encoded).unwrap()
}

fn edges(record: &SealedRecord) -> Vec<ObjectId> {
    record.view().head().members().next().unwrap().edges.iter().collect()
}

/// `bytes` with a few of them changed.
fn edited(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut edited = bytes.to_vec();
    for (index, byte) in noise(seed, 20).into_iter().enumerate() {
        let at = index * bytes.len() / 20 + usize::from(byte);
        edited[at] ^= 0x55;
    }
    edited
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_is_stored_as_a_delta_against_whole_chunks() {
    let server = TestServer::start().await;
    let mut versions = Versions::new(&server).await;
    let first = noise(1, 200 << 10);
    let whole = versions.back_up(&first).await;

    let second = edited(&first, 2);
    let backup = versions.begin(&second).await;
    let second_chunk = backup.chunks[0].clone();
    let sent = delta(&mut versions.sealer, &second_chunk, &[&whole]);
    versions.device.client.put(std::slice::from_ref(&sent)).await;
    let committed = versions.commit(&backup).await;
    assert_eq!(committed.delta_objects, 1);
    assert!(committed.bytes_stored < 8 << 10, "{committed:?}");
    assert_eq!(versions.device.client.refused, []);
    assert_eq!(edges(&versions.stored(second_chunk.id).await), [whole.id]);
    assert_eq!(versions.restored(&backup).await, second);

    // The third version travels as a delta of the second, and rests as one of the first.
    let third = edited(&second, 3);
    let backup = versions.begin(&third).await;
    let sent = delta(&mut versions.sealer, &backup.chunks[0], &[&second_chunk]);
    assert_eq!(edges(&sent), [second_chunk.id]);
    versions.device.client.put(&[sent]).await;
    versions.commit(&backup).await;
    let stored = versions.stored(backup.chunks[0].id).await;
    assert!(stored.view().head().codec().is_delta());
    assert_eq!(edges(&stored), [whole.id]);
    assert_eq!(versions.restored(&backup).await, third);

    // Bases come before what needs them, and each record once.
    let ids = [backup.chunks[0].id, second_chunk.id, whole.id];
    let (records, _) = versions.device.client.fetch(&ids, true).await.unwrap();
    assert_eq!(records.len(), 3);
    assert!(!records[0].view().head().codec().is_delta());
    let (records, _) = versions.device.client.fetch(&ids[..1], true).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(edges(&records[0]), []);
    assert_eq!(server.metric("backup_server_deltas_received_total").await, 2);
    assert_eq!(server.metric("backup_server_deltas_stored_total").await, 2);
    server.stop().await;
}

/// All generations stand on the first one; what each brings is stored with it, and not again with those after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_generation_brings_is_stored_once() {
    let server = TestServer::start().await;
    let mut versions = Versions::new(&server).await;
    let mut content = noise(51, 200 << 10);
    let mut last = versions.back_up(&content).await;
    let first = last.id;
    let mut generations = Vec::new();
    for generation in 0..12 {
        let at = 1000 + 15_000 * generation;
        content[at..at + 3000].copy_from_slice(&noise(60 + generation as u64, 3000));
        let backup = versions.begin(&content).await;
        let sent = delta(&mut versions.sealer, &backup.chunks[0], &[&last]);
        versions.device.client.put(&[sent]).await;
        let committed = versions.commit(&backup).await;
        assert_eq!(committed.delta_objects, 1);
        let stored = versions.stored(backup.chunks[0].id).await;
        assert_eq!(edges(&stored)[0], first);
        // Bases are folded when there are eight of them.
        if generation < 7 {
            assert_eq!(edges(&stored).len(), generation + 2);
            assert!(committed.bytes_stored < 4200, "generation {generation}: {committed:?}");
        }
        last = backup.chunks[0].clone();
        generations.push((backup, content.clone()));
    }
    for (backup, content) in generations {
        assert_eq!(versions.restored(&backup).await, content);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_that_makes_other_bytes_is_refused_and_the_chunk_sent_whole() {
    let server = TestServer::start().await;
    let mut versions = Versions::new(&server).await;
    let first = noise(11, 200 << 10);
    let whole = versions.back_up(&first).await;
    let second = edited(&first, 12);
    let backup = versions.begin(&second).await;
    let chunk = &backup.chunks[0];
    // What a false match of block hashes looks like: the delta makes other bytes than the id names.
    let other = PlainObject { id: chunk.id, body: edited(&first, 13).into(), ..chunk.clone() };
    let wrong = delta(&mut versions.sealer, &other, &[&whole]);
    versions.device.client.put(&[wrong]).await;
    assert_eq!(versions.device.client.flush().await.unwrap(), 2);
    assert_eq!(versions.device.client.refused, [chunk.id]);
    let failure = versions.device.client.commit(99, backup.snapshot).await.unwrap_err();
    assert_eq!(failure.missing_ids().iter().collect::<Vec<_>>(), [chunk.id]);
    let sent_whole = versions.sealer.seal(std::slice::from_ref(chunk)).unwrap();
    versions.device.client.put(&[sent_whole]).await;
    versions.commit(&backup).await;
    assert_eq!(versions.restored(&backup).await, second);
    assert_eq!(server.metric("backup_server_deltas_refused_total").await, 1);

    // So are deltas of chunks the vault does not have.
    let third = edited(&second, 14);
    let backup = versions.begin(&third).await;
    let stranger = PlainObject::new(&versions.device.keys, Kind::Data, Vec::new(), edited(&third, 15).into());
    let sent = delta(&mut versions.sealer, &backup.chunks[0], &[&stranger]);
    versions.device.client.put(&[sent]).await;
    versions.device.client.flush().await.unwrap();
    assert_eq!(versions.device.client.refused, [chunk.id, backup.chunks[0].id]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_that_saves_little_is_stored_whole() {
    let server = TestServer::start().await;
    let mut versions = Versions::new(&server).await;
    let first = noise(21, 200 << 10);
    let whole = versions.back_up(&first).await;
    // Three fifths are new: a delta of more than half.
    let second = [&first[..80 << 10], &noise(22, 120 << 10)].concat();
    let backup = versions.begin(&second).await;
    let sent = delta(&mut versions.sealer, &backup.chunks[0], &[&whole]);
    assert!(sent.bytes().len() < 130 << 10);
    versions.device.client.put(&[sent]).await;
    assert_eq!(versions.commit(&backup).await.delta_objects, 0);
    assert!(!versions.stored(backup.chunks[0].id).await.view().head().codec().is_delta());
    assert_eq!(versions.restored(&backup).await, second);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_anything_makes_deltas_of_signatures() {
    let server = TestServer::start().await;
    let mut versions = Versions::new(&server).await;
    let first = noise(31, 250 << 10);
    let whole = versions.back_up(&first).await;
    let mut second = first.clone();
    second[100_000..100_100].fill(7);
    second.truncate(240 << 10);
    let backup = versions.begin(&second).await;
    let target = backup.chunks[0].clone();
    let keys = Arc::clone(&versions.device.keys);
    let len = u32::try_from(first.len()).unwrap();

    // First coarse blocks of the whole chunk.
    let coarse = SignatureParams::new(BlockLen::new(8192).unwrap(), StrongKind::COARSE, 0).unwrap();
    let coarse_signature = signature(&mut versions.device.client, whole.id, coarse, &[], len, &keys).await;
    let mut bases = BasisSet::new();
    bases.push(0, &coarse_signature).unwrap();
    let mut matcher = Matcher::new(keys.hash_key());
    let mut ops = OpList::new();
    matcher.diff(&bases, &target.body, &mut ops).unwrap();
    assert!(ops.literal_len() < 17 << 10, "{}", ops.literal_len());

    // Then cells of the stretch that did not match.
    let fine = SignatureParams::new(BlockLen::new(512).unwrap(), StrongKind::FINE, 0).unwrap();
    let range = 90_112..114_688;
    let fine_signature =
        signature(&mut versions.device.client, whole.id, fine, std::slice::from_ref(&range), len, &keys).await;
    let mut bases = BasisSet::new();
    bases.push(0, &fine_signature).unwrap();
    matcher.refine(&bases, &target.body, &mut ops).unwrap();
    assert!(ops.literal_len() <= 1024, "{}", ops.literal_len());

    let encoded = DeltaEncoder::new().encode_matched(&ops, &[(whole.id, len)], &target.body).unwrap();
    let sent = versions.sealer.seal_delta(&target.id, target.body.len(), &encoded.bases, &encoded.encoded).unwrap();
    versions.device.client.put(&[sent]).await;
    let committed = versions.commit(&backup).await;
    assert_eq!(versions.device.client.refused, []);
    assert_eq!(committed.delta_objects, 1);
    assert!(committed.bytes_stored < 2048, "{committed:?}");
    assert_eq!(versions.restored(&backup).await, second);

    // What is not there, or no chunk, has no signature.
    let nothing = ObjectId::from_bytes([9; 32]);
    let requests = [nothing, backup.snapshot].map(|id| SignatureRequest::new(id, 13, 4, 0, Vec::new()).unwrap());
    let answer = versions.device.client.ask(&ClientRequest::Signatures(requests.to_vec())).await.unwrap();
    assert_eq!(answer, ServerReply::SignaturesAnswer(vec![Bytes::new(); 2]));
    server.stop().await;
}

async fn signature(
    client: &mut Client,
    basis: ObjectId,
    params: SignatureParams,
    ranges: &[std::ops::Range<u32>],
    basis_len: u32,
    keys: &Keys,
) -> Signature {
    let log2 = u8::try_from(params.block_len().bytes().ilog2()).unwrap();
    let strong_len = u8::try_from(params.strong().hash_len()).unwrap();
    let wire_ranges =
        ranges.iter().map(|range| SignatureRange::new(range.start, range.end - range.start).unwrap()).collect();
    let request = SignatureRequest::new(basis, log2, strong_len, params.phase(), wire_ranges).unwrap();
    let ServerReply::SignaturesAnswer(signatures) =
        client.ask(&ClientRequest::Signatures(vec![request])).await.unwrap()
    else {
        panic!("not signatures")
    };
    let _ = keys;
    let limits = Limits::default();
    match ranges {
        [] => Signature::decode(&signatures[0], params, basis_len, &limits).unwrap(),
        _ => Signature::decode_cells(&signatures[0], ranges, params, basis_len, &limits).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_what_its_id_promises_ends_the_session() {
    let server = TestServer::start().await;
    let mut versions = Versions::new(&server).await;
    let good = versions.back_up(b"good").await;
    versions.device.client.begin("home").await;
    let forged = PlainObject { body: Bytes::from_static(b"other content under the same id"), ..good };
    let record = versions.sealer.seal(&[forged]).unwrap();
    versions.device.client.put(&[record]).await;
    assert_eq!(versions.device.client.end().await.unwrap().code(), FailCode::Integrity);
    assert_eq!(server.metric("backup_server_hash_mismatches_total").await, 1);

    // A record whose body was damaged on its way.
    versions.device.reconnect(server.server.address()).await;
    versions.device.client.begin("home").await;
    let chunk = PlainObject::new(&versions.device.keys, Kind::Data, Vec::new(), Bytes::from_static(b"chunk"));
    let record = versions.sealer.seal(&[chunk]).unwrap();
    let mut bytes = record.bytes().to_vec();
    let at = bytes.len() - 8;
    bytes[at] ^= 1;
    versions.device.client.put(&[SealedRecord::new(bytes.clone().into()).unwrap()]).await;
    assert_eq!(versions.device.client.end().await.unwrap().code(), FailCode::Integrity);
    assert_eq!(server.metric("backup_server_hash_mismatches_total").await, 2);
    for _ in 2..4 {
        let status = text(&server.command(&["status"]).await.stdout);
        assert!(!status.contains("MEMORY"), "a few of them may happen: {status}");
        versions.device.reconnect(server.server.address()).await;
        versions.device.client.begin("home").await;
        versions.device.client.put(&[SealedRecord::new(bytes.clone().into()).unwrap()]).await;
        assert_eq!(versions.device.client.end().await.unwrap().code(), FailCode::Integrity);
    }
    let status = text(&server.command(&["status"]).await.stdout);
    assert!(status.contains("MEMORY          4 records came that are not what their ids promise"), "{status}");
    let checks = text(&server.command(&["doctor"]).await.stdout);
    assert!(checks.contains("BAD       memory"), "{checks}");
    assert!(checks.contains("or this server's when they came from several"), "{checks}");

    // Records of another vault do not open at all.
    versions.device.reconnect(server.server.address()).await;
    versions.device.client.begin("home").await;
    let other = Keys::new(&VaultKey::from_bytes([1; 32]));
    let chunk = PlainObject::new(&other, Kind::Data, Vec::new(), Bytes::from_static(b"chunk"));
    versions.device.client.put(&[sealer(&other).seal(&[chunk]).unwrap()]).await;
    assert_eq!(versions.device.client.end().await.unwrap().code(), FailCode::Integrity);
    server.stop().await;
}

/// Where a bit flips on a client whose memory fails, after it gave the chunk its name.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Plaintext,
    Compressed,
    /// And the checksum is made of what is wrong.
    Sealed,
    Sending,
}

/// Compresses into one raw block (RFC 8878), and flips a bit of it.
struct Flipping {
    bit: usize,
}

impl Compress for Flipping {
    fn compress(&mut self, plain: &[u8], frame: &mut Vec<u8>) -> bool {
        let len = u32::try_from(plain.len()).unwrap();
        *frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&(len << 3 | 1).to_le_bytes()[..3]);
        frame.extend_from_slice(plain);
        flip(&mut frame[12..], self.bit);
        true
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_flips_on_a_client_is_noticed_before_it_is_acknowledged() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let stages = [Stage::Plaintext, Stage::Compressed, Stage::Sealed, Stage::Sending];
    for (number, stage) in stages.into_iter().cycle().take(40).enumerate() {
        let chunk = noise(number as u64, 1000);
        let chunk = PlainObject::new(&device.keys, Kind::Data, Vec::new(), chunk.into());
        let bit = usize::from(u16::from_le_bytes([chunk.body[0], chunk.body[1]]));
        let mut sent = chunk.clone();
        let mut sealer = sealer(&device.keys);
        match stage {
            Stage::Plaintext => {
                let mut body = chunk.body.to_vec();
                flip(&mut body, bit);
                sent.body = body.into();
            }
            Stage::Compressed => {
                let salt = *blake3::hash(&chunk.body).as_bytes().first_chunk().unwrap();
                sealer = Sealer::with_compressor(&device.keys, salt, Box::new(Flipping { bit }));
            }
            Stage::Sealed | Stage::Sending => {}
        }
        let record = sealer.seal(&[sent]).unwrap();
        let mut bytes = record.bytes().to_vec();
        let body = record.view().len().body_offset()..bytes.len() - 4;
        if let Stage::Sealed | Stage::Sending = stage {
            flip(&mut bytes[body.clone()], bit);
        }
        if let Stage::Sealed = stage {
            let crc = crc32c::crc32c(&bytes[body.clone()]);
            bytes[body.end..].copy_from_slice(&crc.to_le_bytes());
        }
        device.client.begin("home").await;
        device.client.put(&[SealedRecord::new(bytes.into()).unwrap()]).await;
        let failure = device.client.flush().await.unwrap_err();
        assert_eq!((failure.code(), device.client.durable), (FailCode::Integrity, 0), "{stage:?}, bit {bit}");
        device.reconnect(server.server.address()).await;
        device.client.begin("home").await;
        assert_eq!(device.client.held(&[chunk.id]).await, [false], "{stage:?}, bit {bit}");
        device.reconnect(server.server.address()).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_sealed_vault_records_are_kept_as_they_were_sent() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let dir = server.stop().await;
    let sealed_vault = VaultId::from_bytes([5; 16]);
    let store = Store::open(dir.path(), &StoreOptions::default(), UnixMs(0)).unwrap();
    let account = store.account_by_name("admin").unwrap().unwrap().id;
    let slots = [b"only clients can open this".to_vec()];
    let vault = NewVault { id: sealed_vault, account, name: "sealed", mode: VaultMode::Sealed, slots: &slots };
    store.create_vault(&vault, UnixMs(0)).unwrap();
    drop(store);
    let server = TestServer::start_in(dir, |_| ()).await;

    device.client = Client::connect(server.server.address()).await;
    device.client.authenticate(&device.token).await.unwrap();
    let (opened, keys_of_server) = device.client.open_vault(Some(sealed_vault)).await.unwrap();
    assert!(opened == sealed_vault && keys_of_server.is_none());
    let keys = Keys::new(&VaultKey::from_bytes([6; 32]));
    let mut sealer = sealer(&keys);
    let chunk = |bytes: Vec<u8>| PlainObject::new(&keys, Kind::Data, Vec::new(), bytes.into());
    let first = chunk(noise(41, 100 << 10));
    let second = chunk(edited(&first.body, 42));
    let third = chunk(edited(&second.body, 43));
    let on_whole = delta(&mut sealer, &second, &[&first]);
    let on_delta = delta(&mut sealer, &third, &[&second]);
    device.client.begin("home").await;
    device.client.put(&[sealer.seal(std::slice::from_ref(&first)).unwrap(), on_whole.clone(), on_delta]).await;
    device.client.flush().await.unwrap();
    assert_eq!(device.client.refused, [third.id], "its basis is not whole");
    let (records, missing) = device.client.fetch(&[second.id, third.id], false).await.unwrap();
    assert_eq!(missing, [third.id]);
    assert_eq!(records[0].bytes(), on_whole.bytes());
    assert_eq!(device.client.held(&[first.id, second.id, third.id]).await, [true, true, false]);

    // The server can compute nothing there.
    let request = SignatureRequest::new(first.id, 13, 4, 0, Vec::new()).unwrap();
    let answer = device.client.ask(&ClientRequest::Signatures(vec![request])).await.unwrap();
    assert_eq!(answer, ServerReply::SignaturesAnswer(vec![Bytes::new()]));
    let failure = device.client.ask(&ClientRequest::DriveStat(proto::DrivePath::ROOT)).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::NotAllowed);
    server.stop().await;
}
