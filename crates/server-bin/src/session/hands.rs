//! [`Hands`]: what does for a connection whatever takes time. [`Tasks`] does it on tasks and threads; what comes of it is
//! told by [`Event`]s.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use object::VaultId;
use proto::{FailCode, Failure, Fetch, ServerReply, SignatureRequest, StreamId};
use store::{Store, StoreError};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::clock;
use crate::service::Service;
use crate::session::event::Event;
use crate::session::fetch::FetchReader;
use crate::session::login::Client;
use crate::session::pins::Pins;
use crate::session::restoring::Restoring;
use crate::session::signatures::{self, Allowance};
use crate::session::writer::Writing;
use crate::session::{refusal, settle};
use crate::vaults::OpenVault;

/// Answers of one connection that are computed, or wait to be written, at a time.
pub(super) const ANSWERS_AT_ONCE: usize = 2;

/// Finds out who a client is.
pub(super) type LogIn = Box<dyn FnOnce(&Service) -> Result<(Client, ServerReply), Failure> + Send>;
/// Finds out something else, without changing what is stored.
pub(super) type LookUp = Box<dyn FnOnce(&Service) -> Result<Event, Failure> + Send>;

/// What does for a connection whatever takes time.
pub(super) trait Hands {
    /// Works for a session until it is over.
    ///
    /// # Errors
    /// When there is nobody left to do it.
    fn write(&mut self, writing: Writing) -> io::Result<()>;
    /// Finds out who the client is. Whoever failed before waits first, then everybody gets the same work.
    fn log_in(&mut self, stream: StreamId, look: LogIn);
    /// Does something that only reads, when fewer than [`ANSWERS_AT_ONCE`] others of this connection are under way.
    fn look_up(&mut self, stream: StreamId, look: LookUp);
    /// Makes signatures, at a bounded rate.
    fn sign(&mut self, stream: StreamId, vault: Arc<OpenVault>, requests: Vec<SignatureRequest>);
    /// Sends objects part by part: the next one is read when one of the last two has been written.
    fn fetch(&mut self, stream: StreamId, fetching: Fetching);
    /// The connection has ended: nobody waits for answers any more. Sessions come to their end by themselves.
    fn let_go(&mut self);
}

/// Objects that are asked for.
pub(super) struct Fetching {
    /// By whom.
    pub(super) client: Client,
    /// Of which vault.
    pub(super) vault: VaultId,
    /// Keeps what is read.
    pub(super) pins: Arc<Pins>,
    /// Counts what is sent.
    pub(super) restoring: Arc<Restoring>,
    /// Which ones.
    pub(super) fetch: Fetch,
}

impl Fetching {
    /// Looks where they are.
    ///
    /// # Errors
    /// [`StoreError`] when the catalog fails.
    pub(super) fn open(self, store: &Store) -> Result<FetchReader, StoreError> {
        FetchReader::new(store, self.vault, self.client.device, self.pins, &self.fetch)
    }
}

/// What comes of finding out who a client is.
pub(super) fn known(
    service: &Service,
    address: SocketAddr,
    stream: StreamId,
    looked: Result<(Client, ServerReply), Failure>,
) -> Event {
    match looked {
        Ok((client, reply)) => {
            service.metrics.authentications_ok.add(1);
            Event::Known { stream, client, reply }
        }
        Err(failure) => {
            if failure.code() == FailCode::Authentication {
                service.metrics.authentications_refused.add(1);
                service.throttle.failed(address.ip(), clock::instant());
                tracing::warn!(%address, "authentication refused");
            }
            Event::answer(stream, Err(failure))
        }
    }
}

/// Tasks of the runtime, its pool, and a thread for each session.
#[derive(Debug)]
pub(super) struct Tasks {
    service: Arc<Service>,
    address: SocketAddr,
    events: UnboundedSender<Event>,
    answers: Arc<Semaphore>,
    allowance: Arc<Mutex<Allowance>>,
    running: JoinSet<()>,
}

impl Tasks {
    pub(super) fn new(service: Arc<Service>, address: SocketAddr, events: UnboundedSender<Event>) -> Self {
        Self {
            service,
            address,
            events,
            answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)),
            allowance: Arc::new(Mutex::new(Allowance::new(clock::instant()))),
            running: JoinSet::new(),
        }
    }

    /// Starts a task that ends with the connection.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        // Those that have ended stay in the set until somebody looks.
        while self.running.try_join_next().is_some() {}
        self.running.spawn(task);
    }
}

impl Hands for Tasks {
    fn write(&mut self, writing: Writing) -> io::Result<()> {
        std::thread::Builder::new().name("session".to_owned()).spawn(move || writing.run()).map(drop)
    }

    fn log_in(&mut self, stream: StreamId, look: LogIn) {
        let (service, events, address) = (Arc::clone(&self.service), self.events.clone(), self.address);
        self.spawn(async move {
            tokio::time::sleep(service.throttle.delay(address.ip(), clock::instant())).await;
            let looking = Arc::clone(&service);
            let looked = service.pool.run(move || look(&looking)).await;
            let looked = looked.unwrap_or_else(|error| Err(refusal::panicked("authenticating", error)));
            let _ = events.send(known(&service, address, stream, looked));
        });
    }

    fn look_up(&mut self, stream: StreamId, look: LookUp) {
        let (service, events, answers) = (Arc::clone(&self.service), self.events.clone(), Arc::clone(&self.answers));
        self.spawn(async move {
            let slot = answers.acquire_owned().await.expect("the semaphore is never closed");
            let looking = Arc::clone(&service);
            let looked = service.pool.run(move || look(&looking)).await;
            let looked = looked.unwrap_or_else(|error| Err(refusal::panicked("looking things up", error)));
            let _ = events.send(Event::looked_up(stream, looked, slot));
        });
    }

    fn sign(&mut self, stream: StreamId, vault: Arc<OpenVault>, requests: Vec<SignatureRequest>) {
        let (service, events, answers) = (Arc::clone(&self.service), self.events.clone(), Arc::clone(&self.answers));
        let allowance = Arc::clone(&self.allowance);
        self.spawn(async move {
            let slot = answers.acquire_owned().await.expect("the semaphore is never closed");
            let wait = allowance.lock().expect("nobody panics with it").wait(clock::instant());
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

    fn fetch(&mut self, stream: StreamId, fetching: Fetching) {
        let (service, events, answers) = (Arc::clone(&self.service), self.events.clone(), Arc::clone(&self.answers));
        self.spawn(async move {
            let mut slot = Arc::clone(&answers).acquire_owned().await.expect("the semaphore is never closed");
            let store = service.home.store.clone();
            let (client, restoring) = (fetching.client.clone(), Arc::clone(&fetching.restoring));
            let opened = service.pool.run(move || fetching.open(&store)).await;
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
                    restoring.add(&service, &client, part);
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

    fn let_go(&mut self) {
        self.running.abort_all();
    }
}
