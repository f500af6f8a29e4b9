//! One client's connection, from its greeting to its end: [`run`] drives a [`ServerExchange`] over a stream of bytes.
//!
//! The task reads, writes and decides; whatever blocks is done elsewhere. What changes the store goes to the session's own
//! thread ([`writer`]) and keeps its order; what only reads goes to the pool, two requests of a connection at a time. While
//! much waits to be stored or to be sent, nothing more is read: a fast client fills its own connection and nobody else's
//! memory, and a slow one holds up nobody.

mod drive;
mod event;
mod fetch;
mod listing;
mod login;
mod outbox;
mod refusal;
mod signatures;
mod writer;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use object::SealedRecord;
use proto::{
    Access, Begun, ClientRequest, CloseReason, FailCode, Failure, Fetch, FrameCodec, FrameError, HeldAnswer, Ids,
    Parent, Purpose, Secret, ServerAction, ServerConfig, ServerExchange, ServerReply, SignatureRequest, SoftwareName,
    StreamId, VaultOpened,
};
use store::DeviceId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::codec::Decoder;

use crate::clock;
use crate::ingest::Ingest;
use crate::listen::Peer;
use crate::metrics::Counted;
use crate::service::Service;
use crate::vaults::{Contents, OpenVault, OpenVaultError};
use drive::{DriveError, DriveView};
use event::Event;
use fetch::FetchReader;
pub(crate) use listing::ListingCache;
use listing::Listings;
use login::Client;
use outbox::Outbox;
use signatures::Allowance;
use writer::{Job, NewSession, Question, Writer};

/// Bytes of records that may wait to be stored before reading stops.
const WAITING_LEN_MAX: usize = 8 << 20;
/// Bytes of frames that may wait to be written before reading stops.
const OUTBOX_LEN_MAX: usize = 8 << 20;
/// Answers of one connection that are computed, or wait to be written, at a time.
const ANSWERS_AT_ONCE: usize = 2;
/// Time to write what is queued when the connection ends.
const FAREWELL: Duration = Duration::from_secs(5);
const SOFTWARE: &str = concat!("backup-server ", env!("CARGO_PKG_VERSION"));

/// Talks to one client until the connection ends.
pub(crate) async fn run<S>(stream: S, peer: Arc<Peer>, service: Arc<Service>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    // Taken before anything else, so that no revocation is missed.
    let revoked = service.revoked.watch();
    let (events, received_events) = unbounded_channel();
    let driver = Driver::new(peer, service, events);
    driver.run(stream, received_events, revoked).await;
}

/// How far the client has come.
enum Stage {
    /// Nobody knows who it is.
    Stranger,
    /// It is a device of an account.
    Known(Known),
    /// It has a vault open.
    InVault(Known, Arc<OpenVault>),
}

/// A client that is known, counted as one.
struct Known {
    client: Client,
    _counted: Counted,
}

struct Driver {
    service: Arc<Service>,
    peer: Arc<Peer>,
    exchange: ServerExchange,
    codec: FrameCodec,
    received: BytesMut,
    outbox: Outbox,
    stage: Stage,
    writer: Option<Writer>,
    events: UnboundedSender<Event>,
    /// Bytes of records that wait for the writer.
    waiting_len: usize,
    answers: Arc<Semaphore>,
    allowance: Arc<Mutex<Allowance>>,
    listings: Arc<Listings>,
    tasks: JoinSet<()>,
    /// The server stops; the connection ends when the writer has.
    is_stopping: bool,
    end: Option<CloseReason>,
}

impl Driver {
    fn new(peer: Arc<Peer>, service: Arc<Service>, events: UnboundedSender<Event>) -> Self {
        let mut config = ServerConfig::new(SoftwareName::lossy(SOFTWARE));
        config.auth_timeout = service.home.settings.login_timeout;
        config.idle_timeout = service.home.settings.idle_timeout;
        Self {
            exchange: ServerExchange::new(config, peer.accepted, peer.accepted_ms),
            peer,
            codec: FrameCodec::new(),
            received: BytesMut::new(),
            outbox: Outbox::default(),
            stage: Stage::Stranger,
            writer: None,
            events,
            waiting_len: 0,
            answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)),
            allowance: Arc::new(Mutex::new(Allowance::new(Instant::now()))),
            listings: Arc::new(Listings::new(Arc::clone(&service.listings))),
            tasks: JoinSet::new(),
            is_stopping: false,
            end: None,
            service,
        }
    }

    async fn run<S>(
        mut self,
        stream: S,
        mut events: UnboundedReceiver<Event>,
        mut revoked: watch::Receiver<HashSet<DeviceId>>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let service = Arc::clone(&self.service);
        let shed = self.peer.pass.shed().clone();
        loop {
            self.take_frames();
            if self.end.is_some() {
                break;
            }
            let deadline = self.exchange.poll_deadline().unwrap_or_else(Instant::now);
            tokio::select! {
                read = reader.read_buf(&mut self.received), if self.may_take() => self.on_read(read),
                written = self.outbox.write_some(&mut writer), if !self.outbox.is_done() => match written {
                    Ok(()) => self.exchange.on_progress(Instant::now()),
                    Err(error) => self.exchange.on_frame_error(FrameError::Io(error)),
                },
                Some(event) = events.recv() => self.on_event(event),
                () = tokio::time::sleep_until(deadline.into()) => self.on_tick(),
                () = shed.cancelled() => {
                    self.exchange.fail(Failure::new(FailCode::Busy, "too many connections of unknown clients"));
                }
                () = service.stop.cancelled(), if !self.is_stopping => self.on_stop(),
                Ok(()) = revoked.changed() => self.on_revoked(&revoked.borrow_and_update()),
            }
            self.act(None);
        }
        self.log_end();
        // The writer goes on by itself: it seals what it has, and ends.
        self.writer = None;
        self.tasks.abort_all();
        let farewell = async {
            while !self.outbox.is_done() {
                self.outbox.write_some(&mut writer).await?;
            }
            writer.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// Whether more may be read: not while much waits already.
    fn may_take(&self) -> bool {
        !self.is_stopping && self.waiting_len < WAITING_LEN_MAX && self.outbox.len() < OUTBOX_LEN_MAX
    }

    /// Deals with the frames that have arrived.
    fn take_frames(&mut self) {
        while self.may_take() && self.end.is_none() {
            self.codec.set_phase(self.exchange.frame_phase());
            match self.codec.decode(&mut self.received) {
                Ok(Some(frame)) => self.exchange.on_frame(frame, Instant::now()),
                Ok(None) => break,
                Err(error) => self.exchange.on_frame_error(error),
            }
            self.act(None);
        }
    }

    fn on_read(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(0) => self.exchange.on_frame_error(FrameError::Truncated),
            Ok(_) => self.exchange.on_progress(Instant::now()),
            Err(error) => self.exchange.on_frame_error(FrameError::Io(error)),
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        if self.is_stopping || self.waiting_len >= WAITING_LEN_MAX {
            // The client is not silent; it is the server that does not listen.
            self.exchange.on_progress(now);
        }
        self.exchange.on_tick(now);
    }

    /// The server stops: what the session holds is made safe, then the client is told.
    fn on_stop(&mut self) {
        self.is_stopping = true;
        match &self.writer {
            Some(writer) => writer.give(Job::Stop),
            None => self.fail_for_stop(),
        }
    }

    fn fail_for_stop(&mut self) {
        self.exchange.fail(Failure::new(FailCode::ShuttingDown, "the server is stopping; try again in a moment"));
    }

    fn on_revoked(&mut self, revoked: &HashSet<DeviceId>) {
        if self.client().is_some_and(|client| revoked.contains(&client.device)) {
            self.exchange.fail(Failure::new(FailCode::Authentication, "this device's access was taken away"));
        }
    }

    fn on_event(&mut self, event: Event) {
        let told = match event {
            Event::Answer { stream, answer, slot } => {
                if matches!(answer, Ok(ServerReply::Committed(_))) {
                    // With the commit its session is over; what is asked from now on is not for its thread.
                    self.writer = None;
                }
                let told = self.exchange.on_answer(stream, answer);
                self.act(slot);
                told
            }
            Event::Known { stream, client, reply } => {
                // Whoever was shed a moment ago stays shed.
                if self.peer.pass.authenticated() {
                    let Client { device, device_name, account_name, .. } = &client;
                    let address = self.peer.address;
                    tracing::info!(%address, %device, name = ?device_name, account = ?account_name, "client connected");
                    let counted = self.service.metrics.clients.enter();
                    self.stage = Stage::Known(Known { client, _counted: counted });
                    self.exchange.on_answer(stream, Ok(reply))
                } else {
                    Ok(())
                }
            }
            Event::VaultOpened { stream, vault, reply } => {
                self.stage = match std::mem::replace(&mut self.stage, Stage::Stranger) {
                    Stage::Known(known) => Stage::InVault(known, vault),
                    other => other,
                };
                self.exchange.on_answer(stream, Ok(reply))
            }
            Event::Begun { stream, session, reply } => {
                let answer = match Writer::start(Arc::clone(&self.service), *session, self.events.clone()) {
                    Ok(writer) => {
                        self.writer = Some(writer);
                        Ok(reply)
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no thread for a session");
                        Err(Failure::new(FailCode::Busy, "the server has too much to do"))
                    }
                };
                self.exchange.on_answer(stream, answer)
            }
            Event::Taken(len) => {
                self.waiting_len -= len;
                Ok(())
            }
            Event::Durable(session, record_count) => self.exchange.on_durable(session, record_count),
            Event::Refused(session, ids) => self.exchange.on_refused(session, ids),
            Event::Broken(failure) => {
                self.exchange.fail(failure);
                Ok(())
            }
            Event::WriterEnded(session) => {
                self.on_writer_ended(session);
                Ok(())
            }
        };
        if let Err(error) = told {
            self.exchange.fail(refusal::internal("answering", &error));
        }
    }

    fn on_writer_ended(&mut self, session: proto::SessionId) {
        if self.writer.as_ref().is_some_and(|writer| writer.session() == session) {
            self.writer = None;
            self.waiting_len = 0;
        }
        if self.is_stopping {
            self.fail_for_stop();
        } else if self.exchange.session() == Some(session) {
            // It ended without a commit and without saying why.
            self.exchange.fail(Failure::new(FailCode::Internal, "the session ended unexpectedly"));
        }
    }

    /// Does what the exchange wants done; frames it sends keep `slot` until they are written.
    fn act(&mut self, mut slot: Option<tokio::sync::OwnedSemaphorePermit>) {
        while let Some(action) = self.exchange.poll_action() {
            match action {
                ServerAction::Send(frame) => self.outbox.push(frame, slot.take()),
                ServerAction::Store { records, .. } => self.store(records),
                ServerAction::Ask { stream, request, .. } => self.ask(stream, request),
                ServerAction::Close(reason) => self.end = Some(reason),
            }
        }
    }

    fn store(&mut self, records: Vec<SealedRecord>) {
        if let Some(writer) = &self.writer {
            self.waiting_len += records.iter().map(|record| record.bytes().len()).sum::<usize>();
            writer.give(Job::Store(records));
        }
    }

    fn client(&self) -> Option<&Client> {
        match &self.stage {
            Stage::Stranger => None,
            Stage::Known(known) | Stage::InVault(known, _) => Some(&known.client),
        }
    }

    fn ask(&mut self, stream: StreamId, request: ClientRequest) {
        match (request, &self.stage) {
            (ClientRequest::Authenticate(token), Stage::Stranger) => self.log_in(stream, move |service| {
                let (client, answer) = login::authenticate(service, &token)?;
                Ok((client, ServerReply::Authenticated(answer)))
            }),
            (ClientRequest::Enroll(request), Stage::Stranger) => self.log_in(stream, move |service| {
                let (client, answer) = login::enroll(service, &request)?;
                Ok((client, ServerReply::Enrolled(answer)))
            }),
            (ClientRequest::OpenVault(id), Stage::Known(known)) => {
                let account = known.client.account;
                self.look_up(stream, move |service| open_vault(service, stream, account, id));
            }
            (request, Stage::InVault(known, vault)) => {
                let (client, vault) = (known.client.clone(), Arc::clone(vault));
                self.ask_in_vault(stream, request, client, vault);
            }
            // The exchange lets nothing else through.
            _ => self.exchange.fail(Failure::new(FailCode::Internal, "the request came at the wrong time")),
        }
    }

    fn ask_in_vault(&mut self, stream: StreamId, request: ClientRequest, client: Client, vault: Arc<OpenVault>) {
        match request {
            ClientRequest::Begin(purpose) => {
                self.look_up(stream, move |service| begin(service, stream, &client, &vault, &purpose));
            }
            ClientRequest::Held(ids) => match self.writer {
                Some(_) => self.ask_writer(stream, Question::Held(ids)),
                None => self.look_up(stream, move |service| {
                    held(service, &vault, &ids).map(|reply| Event::answer(stream, Ok(reply)))
                }),
            },
            ClientRequest::Flush => self.ask_writer(stream, Question::Flush),
            ClientRequest::Commit(commit) => self.ask_writer(stream, Question::Commit(commit)),
            ClientRequest::DrivePut(put) => self.ask_writer(stream, Question::DrivePut(put)),
            ClientRequest::DriveRemove(remove) => self.ask_writer(stream, Question::DriveRemove(remove)),
            ClientRequest::Signatures(requests) => self.sign(stream, vault, requests),
            ClientRequest::Fetch(fetch) => self.fetch(stream, client.device, vault, fetch),
            ClientRequest::Snapshots(asked) => self.look_up(stream, move |service| {
                let answer = listing::snapshots(&service.home.store, vault.id, client.device, &asked);
                answer
                    .map(|reply| Event::answer(stream, Ok(reply)))
                    .map_err(|error| refusal::of_store("listing snapshots", &error))
            }),
            ClientRequest::DriveList(asked) => {
                let listings = Arc::clone(&self.listings);
                self.look_up(stream, move |service| {
                    let answer = drive(service, &vault).and_then(|drive| listings.page(&drive, &asked));
                    answer.map(|reply| Event::answer(stream, Ok(reply))).map_err(|error| refusal::of_drive(&error))
                });
            }
            ClientRequest::DriveStat(path) => self.look_up(stream, move |service| {
                let entry = drive(service, &vault).and_then(|drive| drive.stat(&path));
                let entry = entry.map_err(|error| refusal::of_drive(&error))?;
                let entries = proto::DriveEntries { entries: vec![entry], more: false };
                Ok(Event::answer(stream, Ok(ServerReply::DriveEntries(entries))))
            }),
            ClientRequest::Authenticate(_) | ClientRequest::Enroll(_) | ClientRequest::OpenVault(_) => {
                self.exchange.fail(Failure::new(FailCode::Internal, "the request came at the wrong time"));
            }
        }
    }

    fn ask_writer(&mut self, stream: StreamId, question: Question) {
        match &self.writer {
            Some(writer) => writer.give(Job::Answer(stream, question)),
            None => self.exchange.fail(Failure::new(FailCode::Internal, "the session has ended")),
        }
    }

    /// Starts a task that ends with the connection.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        // Those that have ended stay in the set until somebody looks.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    /// Finds out who the client is. Whoever failed before waits first, then everybody gets the same work.
    fn log_in(
        &mut self,
        stream: StreamId,
        look: impl FnOnce(&Service) -> Result<(Client, ServerReply), Failure> + Send + 'static,
    ) {
        let (service, events, address) = (Arc::clone(&self.service), self.events.clone(), self.peer.address);
        self.spawn(async move {
            tokio::time::sleep(service.throttle.delay(address.ip(), Instant::now())).await;
            let looking = Arc::clone(&service);
            let looked = service.pool.run(move || look(&looking)).await;
            let event = match looked.unwrap_or_else(|error| Err(refusal::panicked("authenticating", error))) {
                Ok((client, reply)) => {
                    service.metrics.authentications_ok.add(1);
                    Event::Known { stream, client, reply }
                }
                Err(failure) => {
                    if failure.code() == FailCode::Authentication {
                        service.metrics.authentications_refused.add(1);
                        service.throttle.failed(address.ip(), Instant::now());
                        tracing::warn!(%address, "authentication refused");
                    }
                    Event::answer(stream, Err(failure))
                }
            };
            let _ = events.send(event);
        });
    }

    /// Does something that only reads, on the pool, when fewer than two others of this connection are under way.
    fn look_up(&mut self, stream: StreamId, look: impl FnOnce(&Service) -> Result<Event, Failure> + Send + 'static) {
        let (service, events, answers) = (Arc::clone(&self.service), self.events.clone(), Arc::clone(&self.answers));
        self.spawn(async move {
            let slot = answers.acquire_owned().await.expect("the semaphore is never closed");
            let looking = Arc::clone(&service);
            let looked = service.pool.run(move || look(&looking)).await;
            let event = match looked.unwrap_or_else(|error| Err(refusal::panicked("looking things up", error))) {
                Ok(Event::Answer { stream, answer, .. }) => Event::Answer { stream, answer, slot: Some(slot) },
                Ok(event) => event,
                Err(failure) => Event::answer(stream, Err(failure)),
            };
            let _ = events.send(event);
        });
    }

    fn sign(&mut self, stream: StreamId, vault: Arc<OpenVault>, requests: Vec<SignatureRequest>) {
        let (service, events, answers) = (Arc::clone(&self.service), self.events.clone(), Arc::clone(&self.answers));
        let allowance = Arc::clone(&self.allowance);
        self.spawn(async move {
            let slot = answers.acquire_owned().await.expect("the semaphore is never closed");
            let wait = allowance.lock().expect("nobody panics with it").wait(Instant::now());
            tokio::time::sleep(wait).await;
            let looking = Arc::clone(&service);
            let computed = service.pool.run(move || signatures::compute(&looking, &vault, &requests)).await;
            let computed = computed.unwrap_or_else(|error| Err(refusal::panicked("computing signatures", error)));
            let answer = computed.map(|(reply, basis_len)| {
                allowance.lock().expect("nobody panics with it").spend(basis_len);
                reply
            });
            let _ = events.send(Event::Answer { stream, answer, slot: Some(slot) });
        });
    }

    /// Sends objects part by part: the next one is read when one of the last two has been written.
    fn fetch(&mut self, stream: StreamId, device: DeviceId, vault: Arc<OpenVault>, fetch: Fetch) {
        let (service, events, answers) = (Arc::clone(&self.service), self.events.clone(), Arc::clone(&self.answers));
        self.spawn(async move {
            let mut slot = Arc::clone(&answers).acquire_owned().await.expect("the semaphore is never closed");
            let store = service.home.store.clone();
            let opened = service.pool.run(move || FetchReader::new(&store, vault.id, device, &fetch)).await;
            let mut reader = match settle(&service, "looking for objects", opened) {
                Ok(reader) => reader,
                Err(failure) => return drop(events.send(Event::answer(stream, Err(failure)))),
            };
            loop {
                let read = service.pool.run(move || (reader.next_part(), reader)).await;
                let (part, rest) = match read {
                    Ok((part, rest)) => (settle(&service, "reading objects", Ok(part)), Some(rest)),
                    Err(error) => (Err(refusal::panicked("reading objects", error)), None),
                };
                let is_last = part.as_ref().map_or(true, |part| part.last);
                if let Ok(part) = &part {
                    service.metrics.records_sent.add(part.records.len() as u64);
                }
                let answer = part.map(ServerReply::Objects);
                let _ = events.send(Event::Answer { stream, answer, slot: Some(slot) });
                match rest {
                    Some(rest) if !is_last => reader = rest,
                    rest => {
                        service.metrics.damaged_reads.add(rest.map_or(0, |rest| rest.damaged_count()));
                        return;
                    }
                }
                slot = Arc::clone(&answers).acquire_owned().await.expect("the semaphore is never closed");
            }
        });
    }

    fn log_end(&self) {
        let address = self.peer.address;
        let device = self.client().map(|client| client.device.to_string()).unwrap_or_default();
        match &self.end {
            Some(CloseReason::Violation(violation)) => {
                self.service.metrics.protocol_violations.add(1);
                let reason = violation.breach.to_string();
                tracing::warn!(%address, device, reason, "the client broke the protocol");
            }
            Some(CloseReason::Failed(failure)) => {
                tracing::info!(%address, device, code = %failure.code(), "connection ended");
            }
            Some(CloseReason::Lost(error)) => tracing::debug!(%address, device, %error, "connection lost"),
            _ if device.is_empty() => tracing::debug!(%address, "connection closed"),
            _ => tracing::info!(%address, device, "client gone"),
        }
    }
}

/// The result of work on the pool that asks the store.
fn settle<T>(
    service: &Service,
    doing: &'static str,
    result: Result<Result<T, store::StoreError>, crate::pool::Panicked>,
) -> Result<T, Failure> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            service.note(&error);
            Err(refusal::of_store(doing, &error))
        }
        Err(error) => Err(refusal::panicked(doing, error)),
    }
}

fn open_vault(
    service: &Service,
    stream: StreamId,
    account: store::AccountId,
    id: Option<object::VaultId>,
) -> Result<Event, Failure> {
    let home = &service.home;
    let vault = service.vaults.open(&home.store, &home.keys, account, id).map_err(|error| match error {
        OpenVaultError::NotFound => Failure::new(FailCode::NotFound, "there is no such vault"),
        OpenVaultError::Store(error) => refusal::of_store("opening a vault", &error),
        OpenVaultError::Key(_) => refusal::internal("opening a vault", &error),
    })?;
    let access = match &vault.contents {
        Contents::Managed(managed) => Access::Managed { key: Secret::new(*managed.key.expose()) },
        Contents::Sealed { slots } => Access::Sealed { slots: slots.iter().map(|slot| slot.clone().into()).collect() },
    };
    let reply = ServerReply::VaultOpened(VaultOpened { vault: vault.id, access });
    Ok(Event::VaultOpened { stream, vault, reply })
}

fn begin(
    service: &Service,
    stream: StreamId,
    client: &Client,
    vault: &Arc<OpenVault>,
    purpose: &Purpose,
) -> Result<Event, Failure> {
    let slot = service
        .sessions
        .take(client.account, &service.metrics)
        .ok_or_else(|| Failure::new(FailCode::Busy, "too many backups are running; try again later"))?;
    let purpose = match purpose {
        Purpose::Backup { chain, parent_hint } => {
            store::Purpose::Backup { device: client.device, chain: chain.as_str(), parent_hint: *parent_hint }
        }
        Purpose::Drive => store::Purpose::Drive { device: Some(client.device) },
    };
    let ingest = Ingest::new(Arc::clone(vault), Arc::clone(&service.bases), Arc::clone(&service.metrics))
        .map_err(|error| refusal::internal("beginning a session", &error))?;
    let begun = service.home.store.begin(vault.id, &purpose, clock::now());
    let (session, parent) = settle(service, "beginning a session", Ok(begun))?;
    let parent = parent.map(|parent| Parent {
        snapshot: parent.id,
        seq: parent.number,
        received_ms: clock::wire_ms(parent.received),
    });
    let reply = ServerReply::Begun(Begun { session: proto::SessionId::from_bytes(*session.id().as_bytes()), parent });
    let session = NewSession { vault: Arc::clone(vault), session, ingest, slot };
    Ok(Event::Begun { stream, session: Box::new(session), reply })
}

fn held(service: &Service, vault: &OpenVault, ids: &Ids) -> Result<ServerReply, Failure> {
    let ids: Vec<object::ObjectId> = ids.iter().collect();
    let held = settle(service, "looking for objects", Ok(service.home.store.held(vault.id, &ids)))?;
    Ok(ServerReply::HeldAnswer(held.into_iter().collect::<HeldAnswer>()))
}

fn drive<'a>(service: &'a Service, vault: &'a OpenVault) -> Result<DriveView<'a>, DriveError> {
    let managed = vault.managed().ok_or(DriveError::Sealed)?;
    Ok(DriveView::new(&service.home.store, vault.id, &managed.keys))
}
