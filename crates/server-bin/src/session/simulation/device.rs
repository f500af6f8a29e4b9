//! [`Device`]: a client of a simulation: the real [`ClientExchange`] and the real `vault`, driven by the rules of the real
//! client: ask what is held, put the rest, put whole what is refused, ask for the same commit until it is answered.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use object::{ObjectId, SealedRecord, VaultId};
use proto::{
    Authenticate, ChainName, ChangeKind, ClientConfig, ClientEvent, ClientExchange, ClientRequest, Commit, FailCode,
    Failure, Fetch, FrameCodec, IdempotencyKey, Ids, Purpose, ServerReply, SnapshotChange, SoftwareName, StreamId,
};
use testkit::link::{End, Link};
use testkit::tree::Random;
use tokio_util::codec::Decoder;
use vault::{CompressionLevel, Keys, ObjectSource, Reader, Sealer, Timestamp};

use super::Mutation;
use super::files::{Files, Planned};
use super::oracle::Oracle;
use crate::clock;

/// Bytes that may wait to be sent before nothing more is put.
const OUT_LEN_MAX: usize = 8 << 10;
/// Snapshots of its own that it remembers, to restore or forget them.
const REMEMBERED: usize = 4;
const CHAIN: &str = "home";

/// A client.
pub(super) struct Device {
    pub(super) token: Authenticate,
    vault: VaultId,
    keys: Arc<Keys>,
    random: Random,
    files: Files,
    /// What it backed up last, as far as it knows.
    before: Option<Arc<Files>>,
    generation: Option<Generation>,
    /// Backups that it still has to make.
    backups_left: u32,
    line: Option<Line>,
    /// When it connects next, if it has no line.
    dials_at: Duration,
    failures: u32,
    /// Its snapshots, newest last.
    own: VecDeque<ObjectId>,
    pub(super) counts: Counts,
}

/// What came of it all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) committed: u64,
    pub(super) lines: u64,
    pub(super) restored: u64,
    pub(super) put: u64,
    pub(super) refused: u64,
    /// Objects of first backups that were held already: somebody else had stored them.
    pub(super) shared: u64,
    pub(super) repeated: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.lines += other.lines;
        self.restored += other.restored;
        self.put += other.put;
        self.refused += other.refused;
        self.shared += other.shared;
        self.repeated += other.repeated;
    }
}

/// A backup from its plan to its commit, over as many connections as it takes.
struct Generation {
    files: Arc<Files>,
    planned: Vec<Planned>,
    by_id: HashMap<ObjectId, usize>,
    key: IdempotencyKey,
    snapshot: ObjectId,
    /// Put whole, and acknowledged.
    durable: BTreeSet<ObjectId>,
    /// Not to be tried as deltas any more.
    refused: BTreeSet<ObjectId>,
    /// A commit was asked for and not answered.
    is_in_doubt: bool,
    /// Something of it was put.
    is_begun: bool,
}

/// One connection.
struct Line {
    link: u64,
    exchange: ClientExchange,
    codec: FrameCodec,
    received: BytesMut,
    out: BytesMut,
    sealer: Sealer,
    /// Ids asked about, by request.
    asked: BTreeMap<StreamId, Vec<ObjectId>>,
    /// What is to be put; `None` before that is known.
    to_put: Option<VecDeque<usize>>,
    /// What each record held, and whether whole.
    put: Vec<(Vec<ObjectId>, bool)>,
    acknowledged: usize,
    is_committing: bool,
    restoring: Option<Restoring>,
    /// A change of snapshots that was asked for.
    change: Option<StreamId>,
}

/// A snapshot that is fetched, object by object.
struct Restoring {
    snapshot: ObjectId,
    records: Records,
    wanted: Vec<ObjectId>,
    seen: BTreeSet<ObjectId>,
    /// It is to be there until the end.
    is_promised: bool,
}

/// Records in memory.
#[derive(Default)]
struct Records {
    records: Vec<SealedRecord>,
    by_id: HashMap<ObjectId, Vec<usize>>,
}

impl ObjectSource for Records {
    type Error = Infallible;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, Infallible> {
        let mut indexes: Vec<usize> = ids.iter().filter_map(|id| self.by_id.get(id)).flatten().copied().collect();
        indexes.sort_unstable();
        indexes.dedup();
        Ok(indexes.into_iter().map(|index| self.records[index].clone()).collect())
    }
}

/// Where a device acts: what it shares with the rest of the simulation.
pub(super) struct Surroundings<'a> {
    pub(super) now: Duration,
    pub(super) link: Option<&'a mut Link>,
    pub(super) oracle: &'a mut Oracle,
    pub(super) mutation: Option<Mutation>,
}

/// What a device wants of the network.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing, and there was nothing to do.
    Nothing,
    /// Nothing: it has done something.
    Worked,
    /// A connection.
    Dial,
    /// The end of its connection.
    HangUp,
}

impl Device {
    pub(super) fn new(token: Authenticate, vault: VaultId, keys: Arc<Keys>, backups: u32, mut random: Random) -> Self {
        Self {
            token,
            vault,
            keys,
            files: Files::new(&mut random),
            before: None,
            generation: None,
            backups_left: backups,
            line: None,
            dials_at: Duration::from_millis(random.below(5000)),
            failures: 0,
            own: VecDeque::new(),
            counts: Counts::default(),
            random,
        }
    }

    /// Whether it has made its backups.
    pub(super) fn is_done(&self) -> bool {
        self.backups_left == 0 && self.line.is_none()
    }

    /// What it is doing, for people.
    pub(super) fn state(&self) -> String {
        let planned = self.generation.as_ref().map_or(0, |generation| generation.planned.len());
        let line = self.line.as_ref().map(|line| {
            let (requests, to_put) = (line.exchange.open_request_count(), line.to_put.as_ref().map(VecDeque::len));
            format!("{requests} requests open, {} records put, {to_put:?} objects to put", line.put.len())
        });
        format!("{} backups left, {planned} objects planned, {} failures, {line:?}", self.backups_left, self.failures)
    }

    pub(super) fn link(&self) -> Option<u64> {
        self.line.as_ref().map(|line| line.link)
    }

    /// What was acknowledged of the backup under way and has to be there, whatever happens.
    pub(super) fn durable(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.generation.iter().flat_map(|generation| &generation.durable).copied()
    }

    /// The server may have forgotten sessions and restores of long ago, and with them what was promised.
    pub(super) fn promises_expired(&mut self) {
        if let Some(generation) = &mut self.generation {
            generation.durable.clear();
        }
        if let Some(restoring) = self.line.as_mut().and_then(|line| line.restoring.as_mut()) {
            restoring.is_promised = false;
        }
    }

    /// When it does something without being told anything.
    pub(super) fn deadline(&self, start: std::time::Instant) -> Option<Duration> {
        match &self.line {
            Some(line) => line.exchange.poll_deadline().map(|at| at - start),
            None if self.backups_left > 0 => Some(self.dials_at),
            None => None,
        }
    }

    /// The process dies. What it knew of the backup under way is lost; its files are not.
    pub(super) fn die(&mut self, now: Duration) {
        self.line = None;
        self.generation = None;
        if self.random.chance(50) {
            self.files.edit(&mut self.random);
        }
        self.dials_at = now + Duration::from_millis(self.random.below(20_000));
    }

    /// The connection is of no use any more, or there was none; another try comes later.
    pub(super) fn hang_up(&mut self, now: Duration) {
        self.line = None;
        // Who has finished a backup rests, and who has failed waits, longer each time.
        let longest = if self.generation.is_none() { 20_000 } else { 500 << self.failures.min(6) };
        self.failures += 1;
        self.dials_at = now + Duration::from_millis(self.random.below(longest));
    }

    /// A connection is made.
    pub(super) fn connected(&mut self, link: u64, mutation: Option<Mutation>) {
        self.counts.lines += 1;
        let salt = *self.random.bytes(16).first_chunk().expect("16 bytes");
        if let (Some(generation), Some(Mutation::DrawsAnotherKey)) = (&mut self.generation, mutation) {
            generation.key = fresh_key(&mut self.random);
        }
        self.line = Some(Line {
            link,
            exchange: ClientExchange::new(ClientConfig::new(SoftwareName::lossy("simulated")), clock::instant()),
            codec: FrameCodec::new(),
            received: BytesMut::new(),
            out: BytesMut::new(),
            sealer: Sealer::new(&self.keys, salt, CompressionLevel::DEFAULT),
            asked: BTreeMap::new(),
            to_put: None,
            put: Vec::new(),
            acknowledged: 0,
            is_committing: false,
            restoring: None,
            change: None,
        });
    }

    /// Does what there is to do.
    pub(super) fn turn(&mut self, around: &mut Surroundings<'_>) -> Wish {
        let now = around.now;
        let Some(line) = &mut self.line else {
            return if self.backups_left > 0 && now >= self.dials_at { Wish::Dial } else { Wish::Nothing };
        };
        let link = around.link.as_deref_mut().expect("a line has a link");
        let instant = clock::instant();
        let mut has_worked = false;
        let bytes = link.receive(End::Client, now);
        if !bytes.is_empty() {
            line.received.extend_from_slice(&bytes);
            line.exchange.on_progress(instant);
            has_worked = true;
        }
        let is_over = link.is_over(End::Client, now);
        while let Some(event) = self.next_event() {
            if !self.on_event(event, around) {
                return Wish::HangUp;
            }
            has_worked = true;
        }
        let line = self.line.as_mut().expect("it is hung up by wish only");
        if is_over || line.exchange.on_tick(instant).is_err() {
            return Wish::HangUp;
        }
        has_worked |= self.put_some(around);
        has_worked |= self.send(around);
        let line = self.line.as_ref().expect("it is hung up by wish only");
        if line.exchange.is_closed() && line.out.is_empty() {
            return Wish::HangUp;
        }
        if has_worked { Wish::Worked } else { Wish::Nothing }
    }

    /// What the server said next.
    fn next_event(&mut self) -> Option<ClientEvent> {
        let line = self.line.as_mut()?;
        loop {
            line.codec.set_phase(line.exchange.frame_phase());
            let frame = line.codec.decode(&mut line.received).expect("a link does not damage")?;
            let event = line.exchange.on_frame(frame, clock::instant());
            if let Some(event) = event.unwrap_or_else(|violation| panic!("the server broke the protocol: {violation}"))
            {
                return Some(event);
            }
        }
    }

    /// Writes what fits; whether that was anything.
    fn send(&mut self, around: &mut Surroundings<'_>) -> bool {
        let line = self.line.as_mut().expect("somebody sends over it");
        while line.out.len() < OUT_LEN_MAX
            && let Some(frame) = line.exchange.poll_send()
        {
            line.out.put(frame);
        }
        let link = around.link.as_deref_mut().expect("a line has a link");
        let sent = link.send(End::Client, &line.out, around.now);
        line.out.advance(sent);
        if sent > 0 {
            line.exchange.on_progress(clock::instant());
        }
        sent > 0
    }

    fn request(&mut self, request: &ClientRequest) -> StreamId {
        let line = self.line.as_mut().expect("somebody asks over it");
        line.exchange.request(request, clock::instant()).expect("it may be asked now")
    }

    /// Deals with what the server said; `false` when that ends the connection.
    fn on_event(&mut self, event: ClientEvent, around: &mut Surroundings<'_>) -> bool {
        match event {
            ClientEvent::Welcome(_) => {
                let token = self.token.clone();
                self.request(&ClientRequest::Authenticate(token));
            }
            ClientEvent::Durable(count) => self.on_durable(count),
            ClientEvent::Refused(ids) => self.put_whole(ids.iter()),
            ClientEvent::Reply { stream, reply } => self.on_reply(stream, reply, around),
            ClientEvent::Failed { stream, failure } => return self.on_failed(stream, &failure, around.mutation),
            ClientEvent::Closed(failure) => {
                check_code(&failure);
                return false;
            }
        }
        true
    }

    fn on_reply(&mut self, stream: StreamId, reply: ServerReply, around: &mut Surroundings<'_>) {
        match reply {
            ServerReply::Authenticated(_) => drop(self.request(&ClientRequest::OpenVault(None))),
            ServerReply::VaultOpened(opened) => {
                assert_eq!(opened.vault, self.vault);
                self.choose();
            }
            ServerReply::Begun(_) => self.on_begun(around.mutation),
            ServerReply::HeldAnswer(answer) => {
                let line = self.line.as_mut().expect("it was asked over it");
                let ids = line.asked.remove(&stream).expect("it was asked");
                let held: Vec<(ObjectId, bool)> = ids.into_iter().zip(answer.iter()).collect();
                self.on_held(&held);
            }
            ServerReply::Flushed(count) => self.on_durable(count),
            ServerReply::Committed(committed) => {
                let generation = self.generation.take().expect("it asked for it");
                around.oracle.acknowledged(generation.snapshot);
                self.counts.committed += 1;
                self.counts.repeated += u64::from(committed.repeated);
                self.failures = 0;
                self.backups_left -= 1;
                self.before = Some(generation.files);
                self.own.push_back(generation.snapshot);
                if self.own.len() > REMEMBERED {
                    self.own.pop_front();
                }
                self.files.edit(&mut self.random);
                self.choose();
            }
            ServerReply::Objects(objects) => self.on_objects(objects, around.oracle),
            ServerReply::Changed(_) => self.leave(),
            other => panic!("nobody asked for {other:?}"),
        }
    }

    /// What to do next, with a vault open and no session.
    fn choose(&mut self) {
        let restores = !self.own.is_empty() && self.random.chance(30);
        if restores {
            let index = self.random.index(self.own.len());
            let snapshot = self.own[index];
            self.restore(snapshot);
        } else if !self.own.is_empty() && self.random.chance(15) {
            let index = self.random.index(self.own.len());
            let kind = *self.random.pick(&[ChangeKind::Forget, ChangeKind::Forget, ChangeKind::Undelete]);
            let (key, snapshots) = (fresh_key(&mut self.random), [self.own[index]].iter().collect());
            let change = ClientRequest::SnapshotChange(SnapshotChange { key, kind, snapshots });
            let stream = self.request(&change);
            self.line.as_mut().expect("it was asked over it").change = Some(stream);
        } else if self.backups_left > 0 && (self.generation.is_some() || self.random.chance(60)) {
            self.begin();
        } else {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let line = self.line.as_mut().expect("somebody leaves it");
        line.exchange.bye(clock::instant()).expect("the conversation is not over");
    }

    fn begin(&mut self) {
        if self.generation.is_none() {
            self.generation = Some(self.plan());
        }
        let line = self.line.as_mut().expect("it begins over it");
        (line.to_put, line.is_committing) = (None, false);
        line.put.clear();
        line.acknowledged = 0;
        let chain = ChainName::new(CHAIN).expect("a short name");
        let purpose = Purpose::Backup { chain, parent_hint: self.own.back().copied() };
        self.request(&ClientRequest::Begin(purpose));
    }

    fn plan(&mut self) -> Generation {
        let started = Timestamp { secs: i64::try_from(self.random.below(1 << 40)).expect("below 2^40"), nanos: 0 };
        let mut planned = self.files.plan(&self.keys, self.before.as_deref(), started, CHAIN);
        for planned in &mut planned {
            if let Some(delta) = &mut planned.delta
                && self.random.chance(10)
            {
                // One that does not make its chunk, as a hash that matched falsely would.
                let last = delta.delta.encoded.len() - 1;
                delta.delta.encoded[last] ^= 1;
            }
        }
        Generation {
            files: Arc::new(self.files.clone()),
            by_id: planned.iter().enumerate().map(|(index, planned)| (planned.object.id, index)).collect(),
            snapshot: planned.last().expect("a plan ends with its snapshot").object.id,
            planned,
            key: fresh_key(&mut self.random),
            durable: BTreeSet::new(),
            refused: BTreeSet::new(),
            is_in_doubt: false,
            is_begun: false,
        }
    }

    fn on_begun(&mut self, mutation: Option<Mutation>) {
        let generation = self.generation.as_ref().expect("it is what was begun");
        let ids: Vec<ObjectId> = generation.planned.iter().map(|planned| planned.object.id).collect();
        let forgets = generation.is_begun && mutation == Some(Mutation::ForgetsWhatWasNotDurable);
        // Perhaps it is committed; else the server says what is missing.
        if generation.is_in_doubt || forgets {
            self.line.as_mut().expect("it began over it").to_put = Some(VecDeque::new());
            return;
        }
        // Far fewer questions than may be asked at once.
        let batch_len = (1 + self.random.index(ids.len())).max(ids.len() / 20);
        for batch in ids.chunks(batch_len) {
            let stream = self.request(&ClientRequest::Held(batch.iter().collect()));
            self.line.as_mut().expect("it asked over it").asked.insert(stream, batch.to_vec());
        }
    }

    fn on_held(&mut self, held: &[(ObjectId, bool)]) {
        let generation = self.generation.as_mut().expect("it is what was asked about");
        let line = self.line.as_mut().expect("it was asked over it");
        let to_put = line.to_put.get_or_insert_default();
        for (id, is_held) in held {
            assert!(*is_held || !generation.durable.contains(id), "{id} was acknowledged and is not held");
            if !is_held {
                to_put.push_back(generation.by_id[id]);
            } else if self.before.is_none() && generation.durable.is_empty() {
                self.counts.shared += 1;
            }
        }
        // What others refer to goes first.
        to_put.make_contiguous().sort_unstable();
    }

    fn on_durable(&mut self, count: u64) {
        let Some(generation) = &mut self.generation else { return };
        let line = self.line.as_mut().expect("it was told over it");
        let count = usize::try_from(count).expect("few records");
        for (ids, is_whole) in &line.put[line.acknowledged.min(count)..count] {
            generation.durable.extend(ids.iter().filter(|_| *is_whole));
        }
        line.acknowledged = line.acknowledged.max(count);
    }

    /// Puts these again, not as deltas.
    fn put_whole(&mut self, ids: impl Iterator<Item = ObjectId>) {
        let Some(generation) = &mut self.generation else { return };
        let line = self.line.as_mut().expect("it was told over it");
        let to_put = line.to_put.get_or_insert_default();
        for id in ids {
            self.counts.refused += 1;
            generation.refused.insert(id);
            assert!(!generation.durable.contains(&id), "{id} was acknowledged and is asked for");
            // What is not of the plan was made for a delta that is of no use without it.
            if let Some(index) = generation.by_id.get(&id) {
                to_put.push_back(*index);
            }
        }
    }

    /// A request failed; `false` when that ends the connection.
    fn on_failed(&mut self, stream: StreamId, failure: &Failure, mutation: Option<Mutation>) -> bool {
        let line = self.line.as_mut().expect("it was told over it");
        if failure.code() == FailCode::Missing && line.is_committing {
            if mutation == Some(Mutation::ForgetsWhatWasNotDurable) {
                return false;
            }
            line.is_committing = false;
            let generation = self.generation.as_mut().expect("it was to be committed");
            generation.is_in_doubt = false;
            let missing: Vec<ObjectId> = failure.missing_ids().iter().collect();
            if missing.iter().any(|id| !generation.by_id.contains_key(id)) {
                // The basis of a delta is gone: everything that is put as one is put whole.
                let deltas = generation.planned.iter().filter(|planned| planned.delta.is_some());
                let deltas: Vec<ObjectId> = deltas.map(|planned| planned.object.id).collect();
                self.put_whole(deltas.into_iter());
            }
            self.put_whole(missing.into_iter());
            return true;
        }
        match failure.code() {
            // A snapshot that may not be forgotten, or that is gone.
            FailCode::NotAllowed | FailCode::NotFound | FailCode::Conflict if line.change == Some(stream) => {
                self.leave();
                true
            }
            _ => {
                check_code(failure);
                false
            }
        }
    }

    /// Puts what fits, then commits; whether there was anything to do.
    fn put_some(&mut self, around: &mut Surroundings<'_>) -> bool {
        let (Some(line), Some(generation)) = (&mut self.line, &mut self.generation) else { return false };
        let Some(to_put) = line.to_put.as_mut().filter(|_| line.asked.is_empty() && !line.is_committing) else {
            return false;
        };
        if line.exchange.is_closed() || line.out.len() >= OUT_LEN_MAX || line.exchange.queued_frame_count() > 0 {
            return false;
        }
        if to_put.is_empty() {
            line.is_committing = true;
            generation.is_in_doubt = true;
            around.oracle.asked(generation.snapshot, &generation.files);
            let commit = Commit { key: generation.key, snapshot: generation.snapshot };
            self.request(&ClientRequest::Commit(commit));
            return true;
        }
        let count = 1 + self.random.index(to_put.len().min(4));
        let batch: Vec<&Planned> = to_put.drain(..count).map(|index| &generation.planned[index]).collect();
        let mut records = Vec::new();
        for group in batch.chunk_by(|a, b| a.object.kind == b.object.kind && is_small(a) && is_small(b)) {
            let mut whole = Vec::new();
            for planned in group {
                let id = planned.object.id;
                assert!(!generation.durable.contains(&id), "{id} was acknowledged and is sent again");
                match planned.delta.as_ref().filter(|_| !generation.refused.contains(&id)) {
                    None => whole.push(planned.object.clone()),
                    Some(delta) => {
                        if let Some(supplement) = &delta.supplement {
                            let record = line.sealer.seal(std::slice::from_ref(supplement)).expect("it is small");
                            records.push((record, vec![supplement.id], false));
                        }
                        let (delta, len) = (&delta.delta, planned.object.body.len());
                        let record = line.sealer.seal_delta(&id, len, &delta.bases, &delta.encoded);
                        records.push((record.expect("it is small"), vec![id], false));
                    }
                }
            }
            if !whole.is_empty() {
                let record = line.sealer.seal(&whole).expect("they are small");
                records.push((record, whole.iter().map(|object| object.id).collect(), true));
            }
        }
        generation.is_begun = true;
        self.counts.put += records.len() as u64;
        let sealed: Vec<SealedRecord> = records.iter().map(|(record, ..)| record.clone()).collect();
        line.exchange.put(&sealed, clock::instant()).expect("a session is open");
        // What a tree refers to may be held by others, and go before the commit: nothing is promised of it.
        line.put.extend(records.into_iter().map(|(record, ids, is_whole)| {
            let is_data = !record.view().head().is_metadata();
            (ids, is_whole && is_data)
        }));
        if self.random.chance(8) {
            self.request(&ClientRequest::Flush);
        }
        true
    }

    /// Begins to fetch a snapshot.
    fn restore(&mut self, snapshot: ObjectId) {
        let line = self.line.as_mut().expect("it fetches over it");
        line.restoring = Some(Restoring {
            snapshot,
            records: Records::default(),
            wanted: vec![snapshot],
            seen: BTreeSet::from([snapshot]),
            is_promised: true,
        });
        self.fetch();
    }

    fn fetch(&mut self) {
        let restoring = self.line.as_mut().and_then(|line| line.restoring.as_mut()).expect("it is being restored");
        let ids: Ids = restoring.wanted.iter().collect();
        self.request(&ClientRequest::Fetch(Fetch { ids, with_basis: true }));
    }

    fn on_objects(&mut self, objects: proto::Objects, oracle: &Oracle) {
        let line = self.line.as_mut().expect("it was fetched over it");
        let restoring = line.restoring.as_mut().expect("it is being restored");
        for record in objects.records {
            let index = restoring.records.records.len();
            for member in record.view().head().members() {
                restoring.records.by_id.entry(member.id).or_default().push(index);
            }
            restoring.records.records.push(record);
        }
        if !objects.last {
            return;
        }
        let snapshot = restoring.snapshot;
        if let Some(index) = objects.missing.first() {
            let id = restoring.wanted[*index as usize];
            // A snapshot that is gone cannot be restored; one that is being restored is there to the end.
            let is_gone = id == snapshot && !oracle.is_required(&snapshot);
            assert!(is_gone || !restoring.is_promised, "{id} of snapshot {snapshot} is missing in a restore");
            line.restoring = None;
            return self.leave();
        }
        let mut next = Vec::new();
        for id in std::mem::take(&mut restoring.wanted) {
            for index in restoring.records.by_id.get(&id).into_iter().flatten() {
                let head = restoring.records.records[*index].view();
                let member = head.head().members().find(|member| member.id == id).expect("it was found by it");
                let is_delta = head.head().codec().is_delta();
                next.extend(member.edges.iter().filter(|edge| !is_delta && restoring.seen.insert(*edge)));
            }
        }
        restoring.wanted = next;
        if !restoring.wanted.is_empty() {
            return self.fetch();
        }
        let restoring = line.restoring.take().expect("it is being restored");
        let mut reader = Reader::new(restoring.records, Arc::clone(&self.keys), 1 << 20);
        let files = Files::read(&mut reader, snapshot).expect("all of it was fetched");
        assert!(files == *oracle.files(&snapshot), "snapshot {snapshot} was restored as something else");
        self.counts.restored += 1;
        if self.random.chance(50) { self.choose() } else { self.leave() }
    }
}

/// Small objects are sealed together.
fn is_small(planned: &Planned) -> bool {
    planned.object.body.len() < 1000
}

/// A server in trouble says so; it never says that something is wrong with the client.
fn check_code(failure: &Failure) {
    let is_trouble = matches!(
        failure.code(),
        FailCode::Busy | FailCode::Full | FailCode::Internal | FailCode::ShuttingDown | FailCode::Timeout
    );
    assert!(is_trouble, "the server refused: {failure:?}");
}

fn fresh_key(random: &mut Random) -> IdempotencyKey {
    IdempotencyKey::from_bytes(*random.bytes(16).first_chunk().expect("16 bytes"))
}
