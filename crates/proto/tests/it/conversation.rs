//! Whole backups over a simulated link: both exchanges, their codecs, a store in memory, a clock that only these tests
//! move. The link delays, cuts into pieces, and breaks at a byte of our choice; what the server had not made durable is
//! lost with it.
//!
//! A client that comes back asks which objects are held, and sends the others. It never sends again what it was told is
//! durable, and its snapshot is committed once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use object::{Codec, ObjectId, SealedRecord};
use proto::*;
use testkit::link::{End, Link, Trouble};
use testkit::tree::Random;
use tokio_util::codec::Decoder;

use crate::bytes_of;
use crate::samples::{authenticate, authenticated, begin_backup, delta_record, epoch, id, key, record, vault_opened};

/// Chunks of the backup; every third is first tried as a delta.
const CHUNK_COUNT: u8 = 12;
/// Ids asked for, and records put, at once.
const BATCH_LEN: usize = 3;

fn snapshot() -> ObjectId {
    id(0xff)
}

fn chunks() -> impl Iterator<Item = ObjectId> {
    (0..CHUNK_COUNT).map(id)
}

/// The server's side of things: what survives a broken connection.
#[derive(Default)]
struct Store {
    durable: BTreeMap<ObjectId, SealedRecord>,
    commits: Vec<(IdempotencyKey, ObjectId)>,
    commit_count: usize,
}

/// The client's side of things: what it knows for sure, and what it did.
#[derive(Default)]
struct Knowledge {
    durable: BTreeSet<ObjectId>,
    put_count: usize,
    is_committed: bool,
}

fn id_of(record: &SealedRecord) -> ObjectId {
    record.view().head().members().next().expect("a record has a member").id
}

/// The server as its driver runs it, for the length of one connection.
struct Server<'a> {
    exchange: ServerExchange,
    codec: FrameCodec,
    received: BytesMut,
    store: &'a mut Store,
    /// Stored, but not durable yet, by number.
    volatile: BTreeMap<u64, SealedRecord>,
    /// Answers that take their time.
    answers: Vec<(StreamId, Result<ServerReply, Failure>)>,
}

impl Server<'_> {
    /// Takes bytes off the link, and does what they lead to.
    fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.exchange.on_progress(now);
        self.received.extend_from_slice(bytes);
        loop {
            self.codec.set_phase(self.exchange.frame_phase());
            match self.codec.decode(&mut self.received).expect("the link does not damage") {
                Some(frame) => self.exchange.on_frame(frame, now),
                None => return,
            }
        }
    }

    /// Does what the exchange wants done; the bytes to be sent.
    fn work(&mut self, random: &mut Random) -> Vec<u8> {
        let mut sent = Vec::new();
        // Whatever is ready is said in any order, some of it later.
        while !self.answers.is_empty() && random.below(4) > 0 {
            let index = random.below(self.answers.len() as u64);
            let (stream, answer) = self.answers.swap_remove(usize::try_from(index).unwrap());
            self.exchange.on_answer(stream, answer).expect("the answer fits");
        }
        if random.below(4) == 0 {
            self.seal();
        }
        while let Some(action) = self.exchange.poll_action() {
            match action {
                ServerAction::Send(frame) => sent.extend_from_slice(&bytes_of(frame)),
                ServerAction::Store { first_record_number, records, .. } => {
                    for (number, record) in (first_record_number..).zip(records) {
                        assert!(self.volatile.insert(number, record).is_none(), "each record has its own number");
                    }
                }
                ServerAction::Ask { stream, request, record_count } => self.ask(stream, &request, record_count),
                ServerAction::Show(_) | ServerAction::Close(CloseReason::Bye) => {}
                ServerAction::Close(reason) => panic!("{reason:?}"),
            }
        }
        sent
    }

    fn ask(&mut self, stream: StreamId, request: &ClientRequest, record_count: u64) {
        let answer = match request {
            ClientRequest::Authenticate(_) => Ok(authenticated()),
            ClientRequest::OpenVault(_) => Ok(vault_opened()),
            ClientRequest::Begin(_) => {
                Ok(ServerReply::Begun(Begun { session: SessionId::from_bytes([1; 16]), parent: None }))
            }
            ClientRequest::Held(ids) => {
                let held = ids.iter().map(|id| self.store.durable.contains_key(&id));
                Ok(ServerReply::HeldAnswer(held.collect()))
            }
            ClientRequest::Flush => {
                self.seal();
                Ok(ServerReply::Flushed(record_count))
            }
            ClientRequest::Commit(commit) => self.commit(commit),
            other => panic!("{other:?}"),
        };
        self.answers.push((stream, answer));
    }

    /// Makes durable what rebuilds. Deltas of odd chunks do not.
    fn seal(&mut self) {
        let Some(session) = self.exchange.session() else { return };
        let Some((&last, _)) = self.volatile.last_key_value() else { return };
        let mut refused = Vec::new();
        for record in std::mem::take(&mut self.volatile).into_values() {
            let id = id_of(&record);
            if record.view().head().codec() == Codec::Delta && id.as_bytes()[0] % 2 == 1 {
                refused.push(id);
            } else {
                self.store.durable.insert(id, record);
            }
        }
        self.exchange.on_refused(session, refused.iter().collect()).unwrap();
        self.exchange.on_durable(session, last).unwrap();
    }

    fn commit(&mut self, commit: &Commit) -> Result<ServerReply, Failure> {
        self.seal();
        let missing: Ids = chunks().chain([snapshot()]).filter(|id| !self.store.durable.contains_key(id)).collect();
        if !missing.is_empty() {
            return Err(Failure::missing("objects are missing", missing).unwrap());
        }
        let repeated = self.store.commits.contains(&(commit.key, commit.snapshot));
        if !repeated {
            self.store.commits.push((commit.key, commit.snapshot));
        }
        self.store.commit_count += 1;
        Ok(ServerReply::Committed(Committed {
            seq: self.store.commits.len() as u64,
            server_time_ms: 0,
            bytes_stored: 0,
            objects_stored: 0,
            delta_objects: 0,
            repeated,
        }))
    }
}

/// The client as its driver runs it, for the length of one connection.
struct Client<'a> {
    exchange: ClientExchange,
    codec: FrameCodec,
    received: BytesMut,
    knowledge: &'a mut Knowledge,
    /// Ids asked for, by request.
    asked: BTreeMap<StreamId, Vec<ObjectId>>,
    to_put: Vec<ObjectId>,
    /// Ids put, by record number, and whether as a delta.
    put: BTreeMap<u64, (ObjectId, bool)>,
    refused: BTreeSet<ObjectId>,
    flush: Option<StreamId>,
}

impl Client<'_> {
    fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.exchange.on_progress(now);
        self.received.extend_from_slice(bytes);
        loop {
            self.codec.set_phase(self.exchange.frame_phase());
            let Some(frame) = self.codec.decode(&mut self.received).expect("the link does not damage") else { return };
            if let Some(event) = self.exchange.on_frame(frame, now).expect("the server keeps to the protocol") {
                self.on_event(event, now);
            }
        }
    }

    fn request(&mut self, request: &ClientRequest, now: Instant) -> StreamId {
        self.exchange.request(request, now).expect("the client may ask this now")
    }

    fn on_event(&mut self, event: ClientEvent, now: Instant) {
        match event {
            ClientEvent::Welcome(_) => drop(self.request(&authenticate(), now)),
            ClientEvent::Durable(count) => self.on_durable(count),
            ClientEvent::Refused(ids) => {
                self.refused.extend(ids.iter());
                self.to_put.extend(ids.iter());
            }
            ClientEvent::Reply { stream, reply } => self.on_reply(stream, reply, now),
            ClientEvent::Failed { failure, .. } => {
                // Only ever because a delta was refused that the client had not heard of yet: it has now.
                assert_eq!(failure.code(), FailCode::Missing);
                self.put_some(now);
            }
            ClientEvent::Closed(failure) => panic!("{failure}"),
        }
    }

    fn on_reply(&mut self, stream: StreamId, reply: ServerReply, now: Instant) {
        match reply {
            ServerReply::Authenticated(_) => drop(self.request(&ClientRequest::OpenVault(None), now)),
            ServerReply::VaultOpened(_) => drop(self.request(&begin_backup(), now)),
            ServerReply::Begun(_) => {
                for ids in chunks().chain([snapshot()]).collect::<Vec<_>>().chunks(BATCH_LEN) {
                    let stream = self.request(&ClientRequest::Held(ids.iter().collect()), now);
                    self.asked.insert(stream, ids.to_vec());
                }
            }
            ServerReply::HeldAnswer(answer) => {
                let ids = self.asked.remove(&stream).expect("it was asked");
                self.to_put.extend(ids.into_iter().zip(answer.iter()).filter(|(_, held)| !held).map(|(id, _)| id));
                if self.asked.is_empty() {
                    self.put_some(now);
                }
            }
            ServerReply::Flushed(count) => {
                assert_eq!(self.flush.take(), Some(stream));
                self.on_durable(count);
                self.put_some(now);
            }
            ServerReply::Committed(committed) => {
                self.knowledge.is_committed = true;
                assert_eq!(committed.seq, 1, "there is one snapshot, however often it was asked for");
                self.exchange.bye(now).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    fn on_durable(&mut self, count: u64) {
        assert!(count <= self.put.len() as u64, "no more is durable than was put");
        for (id, is_delta) in self.put.range(..=count).map(|(_, put)| *put) {
            if !is_delta || !self.refused.contains(&id) {
                self.knowledge.durable.insert(id);
            }
        }
    }

    /// Puts the next batch and flushes it, or commits when nothing is left to put.
    fn put_some(&mut self, now: Instant) {
        if self.to_put.is_empty() {
            let commit = Commit { key: key(0xcc), snapshot: snapshot() };
            self.request(&ClientRequest::Commit(commit), now);
            return;
        }
        let batch: Vec<_> = self.to_put.drain(..self.to_put.len().min(BATCH_LEN)).collect();
        let mut records = Vec::new();
        for id in batch {
            assert!(!self.knowledge.durable.contains(&id), "{id} was acknowledged and is sent again");
            let as_delta = id.as_bytes()[0] % 3 == 1 && !self.refused.contains(&id);
            let basis = ObjectId::from_bytes([0xb5; 32]);
            records.push(if as_delta { delta_record(id, basis, b"delta") } else { record(id, b"whole") });
            self.put.insert(self.put.len() as u64 + 1, (id, as_delta));
            self.knowledge.put_count += 1;
        }
        let last = self.exchange.put(&records, now).unwrap();
        assert_eq!(last, self.put.len() as u64);
        self.flush = Some(self.request(&ClientRequest::Flush, now));
    }
}

/// How a connection went.
#[derive(Debug)]
struct Ran {
    sent_by_client: u64,
    sent_by_server: u64,
    took: Duration,
}

/// One connection, until the client is done or the link is cut.
fn run(store: &mut Store, knowledge: &mut Knowledge, trouble: Trouble, seed: u64) -> Ran {
    let start = epoch();
    let mut random = Random::new(seed);
    let mut link = Link::new(trouble, seed);
    let mut client = Client {
        exchange: ClientExchange::new(ClientConfig::new(SoftwareName::lossy("client")), start),
        codec: FrameCodec::new(),
        received: BytesMut::new(),
        knowledge,
        asked: BTreeMap::new(),
        to_put: Vec::new(),
        put: BTreeMap::new(),
        refused: BTreeSet::new(),
        flush: None,
    };
    let mut server = Server {
        exchange: ServerExchange::new(ServerConfig::new(SoftwareName::lossy("server")), start, 0),
        codec: FrameCodec::new(),
        received: BytesMut::new(),
        store,
        volatile: BTreeMap::new(),
        answers: Vec::new(),
    };
    let mut now = Duration::ZERO;
    for _ in 0..100_000 {
        while let Some(frame) = client.exchange.poll_send() {
            link.send(End::Client, &bytes_of(frame), now);
        }
        let sent = server.work(&mut random);
        link.send(End::Server, &sent, now);
        let is_over = client.knowledge.is_committed || link.is_cut();
        if is_over && link.next_arrival().is_none() {
            return Ran {
                sent_by_client: link.sent_len(End::Client),
                sent_by_server: link.sent_len(End::Server),
                took: now,
            };
        }
        now = match link.next_arrival() {
            Some(arrival) => now.max(arrival),
            // Nothing is under way: the server takes its time.
            None => now + Duration::from_millis(1),
        };
        client.exchange.on_tick(start + now).expect("the server is not silent for long");
        server.exchange.on_tick(start + now);
        let bytes = link.receive(End::Server, now);
        server.receive(&bytes, start + now);
        let bytes = link.receive(End::Client, now);
        client.receive(&bytes, start + now);
    }
    panic!("the conversation does not end");
}

#[track_caller]
fn assert_complete(store: &Store, knowledge: &Knowledge) {
    assert!(knowledge.is_committed);
    assert_eq!(store.commits, [(key(0xcc), snapshot())]);
    assert!(chunks().chain([snapshot()]).all(|id| store.durable.contains_key(&id)));
}

#[test]
fn an_undisturbed_backup_completes() {
    let (mut store, mut knowledge) = (Store::default(), Knowledge::default());
    let ran = run(&mut store, &mut knowledge, Trouble::NONE, 1);
    assert_complete(&store, &knowledge);
    assert_eq!(store.commit_count, 1);
    let refused_count = chunks().filter(|id| id.as_bytes()[0] % 6 == 1).count();
    assert_eq!(knowledge.put_count, usize::from(CHUNK_COUNT) + 1 + refused_count);
    assert!(ran.took < Duration::from_secs(1));
    // Again: everything is held, so nothing is put.
    let mut knowledge = Knowledge::default();
    let again = run(&mut store, &mut knowledge, Trouble::NONE, 1);
    assert_complete(&store, &knowledge);
    assert_eq!((knowledge.put_count, store.commit_count), (0, 2));
    assert!(again.sent_by_client < ran.sent_by_client);
}

/// Cut at each byte of either direction, once; then in peace.
#[test]
fn a_backup_resumes_after_a_cut_at_any_byte() {
    let whole = run(&mut Store::default(), &mut Knowledge::default(), Trouble::NONE, 1);
    for (end, sent_len) in [(End::Client, whole.sent_by_client), (End::Server, whole.sent_by_server)] {
        assert!(sent_len > 500);
        for cut_at in 0..sent_len {
            let (mut store, mut knowledge) = (Store::default(), Knowledge::default());
            run(&mut store, &mut knowledge, Trouble { cut: Some((end, cut_at)), ..Trouble::NONE }, 1);
            if !knowledge.is_committed {
                run(&mut store, &mut knowledge, Trouble::NONE, 2);
            }
            assert_complete(&store, &knowledge);
        }
    }
}

/// Cut again and again, after a few bytes more each time than greeting and questions take: every connection gets on.
#[test]
fn short_lived_connections_make_progress() {
    let (mut store, mut knowledge) = (Store::default(), Knowledge::default());
    let mut connection_count = 0;
    while !knowledge.is_committed {
        let trouble = Trouble { cut: Some((End::Client, 1200)), ..Trouble::NONE };
        run(&mut store, &mut knowledge, trouble, connection_count);
        connection_count += 1;
        assert!(connection_count < 20, "{} of {CHUNK_COUNT} after {connection_count}", store.durable.len());
    }
    assert!(connection_count > 2);
    assert_complete(&store, &knowledge);
}

/// Any delays, pieces and cuts. `PROTO_SEED=n` runs one seed again.
#[test]
fn backups_complete_over_any_link() {
    let seeds = match std::env::var("PROTO_SEED") {
        Ok(seed) => vec![seed.parse().expect("PROTO_SEED is a number")],
        Err(_) => (0..2000).collect(),
    };
    for seed in seeds {
        let _told = TellSeed(seed);
        let mut random = Random::new(seed);
        let (mut store, mut knowledge) = (Store::default(), Knowledge::default());
        let mut connection_count = 0;
        while !knowledge.is_committed {
            let end = if random.below(2) == 0 { End::Client } else { End::Server };
            let cut = (connection_count < 30 && random.below(8) > 0).then(|| (end, random.below(3000)));
            let delay_max = Duration::from_millis([0, 1, 200, 2000][usize::try_from(random.below(4)).unwrap()]);
            let piece_len_max = [1, 20, 1000, 100_000][usize::try_from(random.below(4)).unwrap()];
            run(
                &mut store,
                &mut knowledge,
                Trouble { cut, delay_max, piece_len_max, ..Trouble::NONE },
                random.next_u64(),
            );
            connection_count += 1;
        }
        assert_complete(&store, &knowledge);
    }
}

/// Says which seed it was when a test fails.
struct TellSeed(u64);

impl Drop for TellSeed {
    #[expect(clippy::print_stderr, reason = "a failing test speaks")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PROTO_SEED={} runs this again", self.0);
        }
    }
}
