//! One client's connection, from its greeting to its end: [`run`] drives a [`ServerExchange`] over a stream of bytes.
//!
//! The task reads, writes and decides; whatever blocks is done elsewhere, by [`Hands`]. What changes the store goes to the
//! session's own thread ([`writer`]) and keeps its order; what only reads goes to the pool, two requests of a connection at
//! a time. While much waits to be stored or to be sent, nothing more is read: a fast client fills its own connection and
//! nobody else's memory, and a slow one holds up nobody.
//!
//! [`Driver`] itself knows neither socket nor thread: with other hands, and a clock that it is given, `simulation` runs it.

mod change_rate;
mod event;
mod fetch;
mod hands;
mod listing;
mod login;
mod outbox;
mod pins;
mod refusal;
mod restoring;
mod signatures;
#[cfg(test)]
mod simulation;
mod snapshots;
mod writer;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use object::SealedRecord;
use proto::{
    Access, BackupProgress, Begun, ClientRequest, CloseReason, FailCode, Failure, FrameCodec, FrameError, HeldAnswer,
    Ids, Parent, Purpose, Secret, ServerAction, ServerConfig, ServerExchange, ServerReply, SoftwareName, StreamId,
    VaultOpened,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_util::codec::Decoder;

use crate::access::{self, Action, Who};
use crate::audit::{self, Actor};
use crate::clock;
use crate::drive::{DriveError, DriveView};
use crate::ingest::Ingest;
use crate::listen::Peer;
use crate::live::{About, ConnectedDevice, TransferKind};
use crate::service::{Ended, Service};
use crate::slots::AccountSlot;
use crate::vaults::{Contents, OpenVault, OpenVaultError};
use event::Event;
use hands::{Fetching, Hands, Tasks};
use listing::Listings;
use login::Client;
use outbox::Outbox;
use pins::Pins;
use restoring::Restoring;
use writer::{Job, NewSession, Question, Writer};

/// Bytes that may wait before reading stops.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Of records to be stored.
    waiting_len: usize,
    /// Of frames to be written.
    outbox_len: usize,
}

const ROOM: Room = Room { waiting_len: 8 << 20, outbox_len: 8 << 20 };
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
    let hands = Tasks::new(Arc::clone(&service), peer.address, events.clone());
    let driver = Driver::new(peer, service, ROOM, hands, events);
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
    _slot: AccountSlot,
    _connected: ConnectedDevice,
}

struct Driver<H> {
    service: Arc<Service>,
    peer: Arc<Peer>,
    exchange: ServerExchange,
    codec: FrameCodec,
    received: BytesMut,
    outbox: Outbox,
    stage: Stage,
    writer: Option<Writer>,
    hands: H,
    events: UnboundedSender<Event>,
    room: Room,
    /// Bytes of records that wait for the writer.
    waiting_len: usize,
    listings: Arc<Listings>,
    pins: Arc<Pins>,
    restoring: Arc<Restoring>,
    /// The server stops; the connection ends when the writer has.
    is_stopping: bool,
    end: Option<CloseReason>,
}

impl Driver<Tasks> {
    async fn run<S>(mut self, stream: S, mut events: UnboundedReceiver<Event>, mut revoked: watch::Receiver<Ended>)
    where
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
            let deadline = self.exchange.poll_deadline().unwrap_or_else(clock::instant);
            tokio::select! {
                read = reader.read_buf(&mut self.received), if self.may_take() => self.on_read(read),
                written = self.outbox.write_some(&mut writer), if !self.outbox.is_done() => match written {
                    Ok(()) => self.exchange.on_progress(clock::instant()),
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
        self.hands.let_go();
        self.restoring.end(&service, matches!(self.end, Some(CloseReason::Bye)));
        // Who was cut off may come back to what it restores; who says good-bye has what it wanted.
        if matches!(self.end, Some(CloseReason::Bye)) && self.pins.is_any() {
            let (store, pins) = (service.home.store.clone(), Arc::clone(&self.pins));
            let released = service.pool.run(move || pins.release(&store)).await;
            let released = settle(&service, "letting go of what was restored", released);
            drop(released.inspect_err(|failure| tracing::debug!(%failure, "pins stay for their time")));
        }
        let farewell = async {
            while !self.outbox.is_done() {
                self.outbox.write_some(&mut writer).await?;
            }
            writer.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

impl<H: Hands> Driver<H> {
    fn new(peer: Arc<Peer>, service: Arc<Service>, room: Room, hands: H, events: UnboundedSender<Event>) -> Self {
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
            hands,
            events,
            room,
            waiting_len: 0,
            listings: Arc::new(Listings::new(Arc::clone(&service.folders))),
            pins: Arc::default(),
            restoring: Arc::default(),
            is_stopping: false,
            end: None,
            service,
        }
    }

    /// Whether more may be read: not while much waits already.
    fn may_take(&self) -> bool {
        !self.is_stopping && self.waiting_len < self.room.waiting_len && self.outbox.len() < self.room.outbox_len
    }

    /// Deals with the frames that have arrived.
    fn take_frames(&mut self) {
        while self.may_take() && self.end.is_none() {
            self.codec.set_phase(self.exchange.frame_phase());
            match self.codec.decode(&mut self.received) {
                Ok(Some(frame)) => self.exchange.on_frame(frame, clock::instant()),
                Ok(None) => break,
                Err(error) => self.exchange.on_frame_error(error),
            }
            self.act(None);
        }
    }

    fn on_read(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(0) => self.exchange.on_frame_error(FrameError::Truncated),
            Ok(_) => self.exchange.on_progress(clock::instant()),
            Err(error) => self.exchange.on_frame_error(FrameError::Io(error)),
        }
    }

    fn on_tick(&mut self) {
        let now = clock::instant();
        if self.is_stopping || self.waiting_len >= self.room.waiting_len {
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

    fn on_revoked(&mut self, ended: &Ended) {
        let Some(client) = self.client() else { return };
        if ended.devices.contains(&client.device) {
            self.exchange.fail(Failure::new(FailCode::Authentication, "this device's access was taken away"));
        } else if ended.accounts.get(&client.account).is_some_and(|changed| self.peer.accepted <= *changed) {
            // Whoever connects again is told what holds now.
            self.exchange.fail(Failure::new(FailCode::Busy, "what the account may do was changed; connect again"));
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
                let slot = self.service.connections.take(client.account, &self.service.metrics.clients);
                match slot {
                    None => {
                        let failure =
                            Failure::new(FailCode::Busy, "this account has too many connections; try again later");
                        self.exchange.on_answer(stream, Err(failure))
                    }
                    // Whoever was shed a moment ago stays shed.
                    Some(slot) if self.peer.pass.authenticated() => {
                        let Client { device, device_name, account_name, .. } = &client;
                        let address = self.peer.address;
                        tracing::info!(%address, %device, name = ?device_name, account = ?account_name, "client connected");
                        let connected = self.service.board.connect(client.account, client.device);
                        self.stage = Stage::Known(Known { client, _slot: slot, _connected: connected });
                        self.exchange.on_answer(stream, Ok(reply))
                    }
                    Some(_) => Ok(()),
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
                let (writer, writing) = Writer::new(Arc::clone(&self.service), *session, self.events.clone());
                let answer = match self.hands.write(writing) {
                    Ok(()) => {
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
                ServerAction::Show(said) => self.show(said),
                ServerAction::Ask { stream, request, .. } => self.ask(stream, request),
                ServerAction::Close(reason) => self.end = Some(reason),
            }
        }
    }

    /// Whoever may not put has no session to show.
    fn show(&self, said: BackupProgress) {
        if let Some(writer) = &self.writer {
            writer.show(said);
        }
    }

    fn store(&mut self, records: Vec<SealedRecord>) {
        if !access::allowed(self.who(), Action::Add) {
            return self.exchange.fail(not_allowed());
        }
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

    /// What the other end is to the rules of access.
    fn who(&self) -> Who {
        let is_local = self.peer.caller().is_loopback();
        self.client().map_or(Who::Stranger { is_local }, |client| client.who)
    }

    fn ask(&mut self, stream: StreamId, request: ClientRequest) {
        if !access::allowed(self.who(), access::action_of(&request)) {
            tracing::info!(address = %self.peer.address, request = %request.message_type(), "not allowed");
            let told = self.exchange.on_answer(stream, Err(not_allowed()));
            return told.unwrap_or_else(|error| self.exchange.fail(refusal::internal("refusing", &error)));
        }
        match (request, &self.stage) {
            (ClientRequest::Authenticate(token), Stage::Stranger) => self.log_in(stream, move |service, address| {
                let (client, answer) = login::authenticate(service, &token, address)?;
                Ok((client, ServerReply::Authenticated(answer)))
            }),
            (ClientRequest::Enroll(request), Stage::Stranger) => self.log_in(stream, move |service, address| {
                let (client, answer) = login::enroll(service, &request, address)?;
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
            ClientRequest::DriveUndelete(undelete) => self.ask_writer(stream, Question::DriveUndelete(undelete)),
            ClientRequest::Signatures(requests) => self.hands.sign(stream, vault, requests),
            ClientRequest::Fetch(fetch) => {
                let pins = Arc::clone(&self.pins);
                let restoring = Arc::clone(&self.restoring);
                self.hands.fetch(stream, Fetching { client, vault: vault.id, pins, restoring, fetch });
            }
            ClientRequest::Snapshots(asked) => self.look_up(stream, move |service| {
                let delay_ms = service.home.settings.trash_delay_ms();
                let answer = listing::snapshots(&service.home.store, vault.id, client.device, &asked, delay_ms);
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
            ClientRequest::SnapshotChange(change) => self.look_up(stream, move |service| {
                let changed = snapshots::change(service, vault.id, &client, &change)?;
                Ok(Event::answer(stream, Ok(ServerReply::Changed(changed))))
            }),
            ClientRequest::DrillReport(report) => self.look_up(stream, move |service| {
                let changed = snapshots::record_drill(service, vault.id, client.device, &report)?;
                Ok(Event::answer(stream, Ok(ServerReply::Changed(changed))))
            }),
            ClientRequest::DriveTrash(asked) => self.look_up(stream, move |service| {
                let delay_ms = service.home.settings.trash_delay_ms();
                let trashed = drive(service, &vault).and_then(|drive| drive.trash(&asked, delay_ms));
                let trashed = trashed.map_err(|error| refusal::of_drive(&error))?;
                Ok(Event::answer(stream, Ok(ServerReply::DriveTrashed(trashed))))
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

    /// Finds out who the client is.
    fn log_in(
        &mut self,
        stream: StreamId,
        look: impl FnOnce(&Service, IpAddr) -> Result<(Client, ServerReply), Failure> + Send + 'static,
    ) {
        let address = self.peer.caller();
        let look = move |service: &Service| {
            let looked = look(service, address);
            if let Err(failure) = &looked
                && failure.code() == FailCode::Authentication
                && service.refusals.admits(clock::instant())
            {
                Actor::known("", "device", address).note(&service.home.store, audit::Event::LoginRefused, "", "");
            }
            looked
        };
        self.hands.log_in(stream, Box::new(look));
    }

    /// Does something that only reads.
    fn look_up(&mut self, stream: StreamId, look: impl FnOnce(&Service) -> Result<Event, Failure> + Send + 'static) {
        self.hands.look_up(stream, Box::new(look));
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

fn not_allowed() -> Failure {
    Failure::new(FailCode::NotAllowed, "this device's token, or its account, is not good for that")
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
        .take(client.account, &service.metrics.sessions)
        .ok_or_else(|| Failure::new(FailCode::Busy, "too many backups are running; try again later"))?;
    let (kind, name) = match purpose {
        Purpose::Backup { chain, .. } => (TransferKind::Backup, chain.as_str().to_owned()),
        Purpose::Drive => (TransferKind::Upload, String::new()),
    };
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
    let compared = parent.as_ref().map(|parent| parent.id);
    // Whoever may not read has nothing to compare with.
    let parent = parent.filter(|_| access::allowed(client.who, Action::Read)).map(|parent| Parent {
        snapshot: parent.id,
        seq: parent.number,
        received_ms: clock::wire_ms(parent.received),
    });
    let reply = ServerReply::Begun(Begun { session: proto::SessionId::from_bytes(*session.id().as_bytes()), parent });
    let actor = client.actor.clone();
    let moving = service.board.begin(About {
        kind,
        account: client.account,
        account_name: client.account_name.clone(),
        device: Some(client.device_name()),
        name,
        offset: 0,
        total_bytes: None,
    });
    // Until the client says more, it is taken to be as the last time.
    let expected = compared.and_then(|snapshot| writer::extent_of(service, vault, snapshot));
    moving.outlook().say(BackupProgress { expected, ..BackupProgress::default() });
    let session = NewSession { vault: Arc::clone(vault), session, parent: compared, ingest, slot, actor, moving };
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
