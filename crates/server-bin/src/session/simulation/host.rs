//! [`Host`]: the server of a simulation: the real [`Driver`]s, [`Writing`]s and [`Service`] over the simulated disk, without
//! a runtime: whatever takes time is a [`Task`] that the simulation does when it likes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use proto::{CloseReason, FrameError, ServerReply, SignatureRequest, StreamId};
use store::{GcOptions, Marked};
use testkit::link::{End, Link};
use testkit::tree::Random;
use tokio::io::AsyncWrite;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Mutation;
use crate::clock;
use crate::gate::{Gate, GateLimits};
use crate::home::Home;
use crate::listen::Peer;
use crate::proxies::Proxies;
use crate::service::Service;
use crate::session::event::Event;
use crate::session::fetch::FetchReader;
use crate::session::hands::{ANSWERS_AT_ONCE, Fetching, Hands, LogIn, LookUp, known};
use crate::session::writer::{Job, Writing};
use crate::session::{Driver, FAREWELL, Room, settle, signatures};
use crate::vaults::OpenVault;

/// Small, so that small backups reach it.
const ROOM: Room = Room { waiting_len: 8 << 10, outbox_len: 8 << 10 };

/// Links by number.
pub(super) type Links = BTreeMap<u64, Link>;

/// The server while it runs.
pub(super) struct Host {
    pub(super) service: Arc<Service>,
    pub(super) connections: Vec<Connection>,
    pub(super) writings: Vec<Writing>,
    /// The collection of garbage that is under way, and how many of its steps were taken.
    pub(super) collection: Option<(Marked<'static>, u64)>,
    gate: Arc<Gate>,
    /// Sessions that get no thread.
    pub(super) refused_threads: u32,
    is_stopping: bool,
}

/// What can happen to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Read,
    Write,
    Event,
    Timer,
    Task,
}

/// One connection, and what its task would hold.
pub(super) struct Connection {
    driver: Driver<Later>,
    events: UnboundedReceiver<Event>,
    pub(super) link: u64,
    /// Until when what is queued may still be written; set when the conversation is over.
    leaves_at: Option<Instant>,
}

/// Work for later.
enum Task {
    LogIn { stream: StreamId, at: Instant, look: LogIn },
    LookUp { stream: StreamId, look: LookUp },
    Sign { stream: StreamId, vault: Arc<OpenVault>, requests: Vec<SignatureRequest> },
    Fetch { stream: StreamId, fetching: Fetching },
    Read { stream: StreamId, reader: Box<FetchReader> },
}

/// Hands that do nothing at once.
struct Later {
    service: Arc<Service>,
    address: SocketAddr,
    events: UnboundedSender<Event>,
    answers: Arc<Semaphore>,
    tasks: Vec<Task>,
    writings: Vec<Writing>,
    refused_threads: u32,
}

impl Host {
    pub(super) fn new(home: Home) -> Self {
        Self {
            service: Service::new(home, SocketAddr::from(([127, 0, 0, 1], 1)).into()).unwrap(),
            connections: Vec::new(),
            writings: Vec::new(),
            collection: None,
            gate: Gate::new(GateLimits { sockets: 64, strangers_per_address: 64, proxies: Proxies::default() }),
            refused_threads: 0,
            is_stopping: false,
        }
    }

    /// Lets a client in.
    pub(super) fn accept(&mut self, link: u64) {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let pass = self.gate.admit(address.ip()).expect("there are few connections").pass;
        let peer = Arc::new(Peer::new(address, pass, &self.service.metrics));
        let (events, received) = unbounded_channel();
        let hands = Later {
            service: Arc::clone(&self.service),
            address,
            events: events.clone(),
            answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)),
            tasks: Vec::new(),
            writings: Vec::new(),
            refused_threads: 0,
        };
        let driver = Driver::new(peer, Arc::clone(&self.service), ROOM, hands, events);
        self.connections.push(Connection { driver, events: received, link, leaves_at: None });
    }

    /// Whether the process has to end, and everything that it still had to do is done.
    pub(super) fn has_stopped(&self) -> bool {
        self.is_stopping && self.connections.is_empty() && self.writings.is_empty()
    }

    /// Tells connections that the server stops, once it does.
    pub(super) fn look_for_stop(&mut self) {
        if self.service.stop.is_cancelled() && !self.is_stopping {
            self.is_stopping = true;
            for connection in &mut self.connections {
                connection.driver.on_stop();
                connection.driver.act(None);
            }
        }
    }

    /// Gives one connection a turn; whether there was anything to do.
    pub(super) fn turn(
        &mut self,
        index: usize,
        turn: Turn,
        links: &mut Links,
        now: Duration,
        random: &mut Random,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(index) else { return false };
        let link = links.get_mut(&connection.link).expect("its link stays as long as it does");
        connection.driver.hands.refused_threads = self.refused_threads;
        let has_worked = connection.turn(turn, link, now, random);
        self.refused_threads = connection.driver.hands.refused_threads;
        self.writings.append(&mut connection.driver.hands.writings);
        if connection.leaves_at.is_some_and(|at| connection.driver.outbox.is_done() || clock::instant() >= at) {
            link.close(End::Server, now);
            self.connections.remove(index);
        }
        has_worked
    }

    /// Lets one session work; whether there was anything to do.
    pub(super) fn write(&mut self, index: usize, mutation: Option<Mutation>) -> bool {
        let Some(writing) = self.writings.get_mut(index) else { return false };
        let job = match writing.jobs.try_recv() {
            Ok(job) => Ok(job),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if writing.worker.seal_at().is_some_and(|at| clock::instant() >= at) => {
                Err(RecvTimeoutError::Timeout)
            }
            Err(TryRecvError::Empty) => return false,
        };
        let is_store = matches!(job, Ok(Job::Store(_)));
        match writing.worker.step(job) {
            ControlFlow::Continue(()) => {
                let told = (writing.worker.wire_session, writing.worker.received_count);
                if is_store && mutation == Some(Mutation::AcknowledgesTooEarly) {
                    self.acknowledge(told);
                }
            }
            ControlFlow::Break(()) => self.writings.swap_remove(index).worker.close(),
        }
        true
    }

    /// Says that so many records of a session are durable, without asking anybody.
    fn acknowledge(&mut self, (session, record_count): (proto::SessionId, u64)) {
        let of_session = |connection: &&mut Connection| connection.driver.exchange.session() == Some(session);
        if let Some(connection) = self.connections.iter_mut().find(of_session) {
            connection.driver.on_event(Event::Durable(session, record_count));
            connection.driver.act(None);
        }
    }

    /// Takes the next step of a collection of garbage, or begins one.
    pub(super) fn collect(&mut self, random: &mut Random) -> Result<(), store::StoreError> {
        let store = &self.service.home.store;
        let Some((marked, steps)) = &mut self.collection else {
            let mut options = GcOptions::default();
            options.grace_ms = 0;
            options.waste_percent_max = 0;
            options.join_count_min = 3;
            options.allow_unusual = true;
            options.deletion_hold = store.clock_doubt()?;
            self.collection = Some((store::Collection::begin(store, &options, &())?.mark()?, 0));
            return Ok(());
        };
        let step = if random.chance(80) { *steps } else { random.below(5) };
        *steps += 1;
        match step {
            0 => marked.condemn(clock::now()),
            1 => marked.delete(clock::now()),
            2 => marked.repack(clock::now()),
            3 => {
                let releases = marked.report().releases.clone();
                // Where it fails another collection tries again.
                drop(crate::release::store_whole(&self.service.home, &releases, &|| false));
                Ok(())
            }
            _ => {
                self.collection = None;
                Ok(())
            }
        }
    }

    /// When something is due that nobody asks for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let connections = self.connections.iter().filter_map(|connection| {
            let tasks = connection.driver.hands.tasks.iter().filter_map(|task| match task {
                Task::LogIn { at, .. } => Some(*at),
                _ => None,
            });
            let driver = connection.leaves_at.or_else(|| connection.driver.exchange.poll_deadline());
            driver.into_iter().chain(tasks.filter(|at| *at > clock::instant())).min()
        });
        let writings = self.writings.iter().filter_map(|writing| writing.worker.seal_at());
        connections.chain(writings).min()
    }

    /// No connection holds more than it may, when no frame of a client is longer than this.
    pub(super) fn check_memory(&self, frame_len_max: usize) {
        for Connection { driver, .. } in &self.connections {
            let (waiting_len, outbox_len) = (driver.waiting_len, driver.outbox.len());
            assert!(waiting_len < ROOM.waiting_len + frame_len_max, "{waiting_len} bytes wait to be stored");
            // Answers are as long as what was asked for: a slot each.
            let answers_len = ANSWERS_AT_ONCE * (128 << 10);
            assert!(outbox_len < ROOM.outbox_len + answers_len, "{outbox_len} bytes wait to be written");
        }
    }
}

impl Connection {
    /// One round of what [`Driver::run`] does, of which one thing happens.
    fn turn(&mut self, turn: Turn, link: &mut Link, now: Duration, random: &mut Random) -> bool {
        if turn == Turn::Write {
            return self.write(link, now);
        }
        if let Some(at) = self.leaves_at {
            return clock::instant() >= at;
        }
        match turn {
            Turn::Read if self.driver.may_take() => {
                let bytes = link.receive(End::Server, now);
                if bytes.is_empty() && !link.is_over(End::Server, now) {
                    return false;
                }
                self.driver.received.extend_from_slice(&bytes);
                self.driver.on_read(Ok(bytes.len()));
            }
            Turn::Event => match self.events.try_recv() {
                Ok(event) => self.driver.on_event(event),
                Err(_) => return false,
            },
            Turn::Timer if self.driver.exchange.poll_deadline().is_some_and(|at| at <= clock::instant()) => {
                self.driver.on_tick();
            }
            Turn::Task => return self.driver.hands.work(random),
            Turn::Read | Turn::Timer | Turn::Write => return false,
        }
        self.driver.act(None);
        self.go_on();
        true
    }

    fn write(&mut self, link: &mut Link, now: Duration) -> bool {
        if self.driver.outbox.is_done() {
            return false;
        }
        let mut pipe = Pipe { link, now };
        let written = pin!(self.driver.outbox.write_some(&mut pipe)).poll(&mut Context::from_waker(Waker::noop()));
        match written {
            Poll::Pending => return false,
            Poll::Ready(_) if self.leaves_at.is_some() => {}
            Poll::Ready(Ok(())) => self.driver.exchange.on_progress(clock::instant()),
            Poll::Ready(Err(error)) => self.driver.exchange.on_frame_error(FrameError::Io(error)),
        }
        self.driver.act(None);
        self.go_on();
        true
    }

    /// Deals with the frames that may be taken now, and comes to an end where that is due.
    fn go_on(&mut self) {
        if self.leaves_at.is_some() {
            return;
        }
        self.driver.take_frames();
        if self.driver.end.is_none() {
            return;
        }
        self.driver.log_end();
        self.driver.writer = None;
        self.driver.hands.let_go();
        if matches!(self.driver.end, Some(CloseReason::Bye)) && self.driver.pins.is_any() {
            drop(self.driver.pins.release(&self.driver.service.home.store));
        }
        self.leaves_at = Some(clock::instant() + FAREWELL);
    }
}

impl Later {
    /// Does one of the tasks; whether there was one that may be done.
    fn work(&mut self, random: &mut Random) -> bool {
        if self.tasks.is_empty() {
            return false;
        }
        let index = random.index(self.tasks.len());
        if matches!(&self.tasks[index], Task::LogIn { at, .. } if *at > clock::instant()) {
            return false;
        }
        let needs_slot = !matches!(self.tasks[index], Task::LogIn { .. });
        let slot = Arc::clone(&self.answers).try_acquire_owned().ok();
        if needs_slot && slot.is_none() {
            return false;
        }
        let service = Arc::clone(&self.service);
        let event = match self.tasks.remove(index) {
            Task::LogIn { stream, look, .. } => known(&service, self.address, stream, look(&service)),
            Task::LookUp { stream, look } => Event::looked_up(stream, look(&service), slot.expect("it was waited for")),
            Task::Sign { stream, vault, requests } => {
                let answer = signatures::compute(&service, &vault, &requests).map(|(reply, _)| reply);
                Event::Answer { stream, answer, slot }
            }
            Task::Fetch { stream, fetching } => {
                match settle(&service, "looking for objects", Ok(fetching.open(&service.home.store))) {
                    Ok(reader) => {
                        self.tasks.push(Task::Read { stream, reader: Box::new(reader) });
                        return true;
                    }
                    Err(failure) => Event::answer(stream, Err(failure)),
                }
            }
            Task::Read { stream, mut reader } => {
                let part = settle(&service, "reading objects", Ok(reader.next_part()));
                if part.as_ref().is_ok_and(|part| !part.last) {
                    self.tasks.push(Task::Read { stream, reader });
                }
                Event::Answer { stream, answer: part.map(ServerReply::Objects), slot }
            }
        };
        let _ = self.events.send(event);
        true
    }
}

impl Hands for Later {
    fn write(&mut self, writing: Writing) -> io::Result<()> {
        if let Some(left) = self.refused_threads.checked_sub(1) {
            self.refused_threads = left;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.writings.push(writing);
        Ok(())
    }

    fn log_in(&mut self, stream: StreamId, look: LogIn) {
        let now = clock::instant();
        let at = now + self.service.throttle.delay(self.address.ip(), now);
        self.tasks.push(Task::LogIn { stream, at, look });
    }

    fn look_up(&mut self, stream: StreamId, look: LookUp) {
        self.tasks.push(Task::LookUp { stream, look });
    }

    fn sign(&mut self, stream: StreamId, vault: Arc<OpenVault>, requests: Vec<SignatureRequest>) {
        self.tasks.push(Task::Sign { stream, vault, requests });
    }

    fn fetch(&mut self, stream: StreamId, fetching: Fetching) {
        self.tasks.push(Task::Fetch { stream, fetching });
    }

    fn let_go(&mut self) {
        self.tasks.clear();
    }
}

/// The server's end of a link, as something to write to.
struct Pipe<'a> {
    link: &'a mut Link,
    now: Duration,
}

impl AsyncWrite for Pipe<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.now;
        if self.link.is_over(End::Server, now) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match self.link.send(End::Server, bytes, now) {
            0 => Poll::Pending,
            written => Poll::Ready(Ok(written)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
