//! [`Line`]: a way to the server that outlives connections. Whoever reads over it waits while it reconnects.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use object::{ObjectId, SealedRecord};
use vault::{Keys, ObjectSource};

use crate::config::Connection;
use crate::counted::Traffic;
use crate::error::ClientError;
use crate::monitor::{Event, Monitor};
use crate::passphrase::Passphrase;
use crate::session::Session;

/// Waiting time before the first attempt to reconnect; it doubles up to the longest.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// An open vault on a server, connected again when the connection is lost. Clones are the same line.
#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    connection: Connection,
    passphrase: Option<Passphrase>,
    monitor: Arc<dyn Monitor>,
    max_wait: Duration,
    keys: Arc<Keys>,
    current: Mutex<Current>,
}

struct Current {
    session: Arc<Session>,
    /// Connections before this one.
    number: u64,
    past: Traffic,
    past_wire: Traffic,
}

/// How often and how long to wait for a server that cannot be reached.
pub(crate) struct Patience {
    deadline: Instant,
    wait: Duration,
}

impl Patience {
    pub(crate) fn new(max_wait: Duration) -> Self {
        Self { deadline: Instant::now() + max_wait, wait: WAIT_MIN }
    }

    /// Waits before another attempt; gives `error` back when it is not worth it, or patience has run out.
    pub(crate) fn wait(&mut self, error: ClientError, monitor: &dyn Monitor) -> Result<(), ClientError> {
        if !error.is_transient() || Instant::now() + self.wait > self.deadline {
            return Err(error);
        }
        let wait_ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        monitor.event(Event::Reconnecting { reason: error.to_string(), wait_ms });
        std::thread::sleep(self.wait);
        self.wait = (self.wait * 2).min(WAIT_MAX);
        Ok(())
    }
}

impl Line {
    /// Connects and opens the vault, a sealed one with `passphrase`; waits for a server that cannot be reached, at most
    /// `max_wait` each time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn open(
        connection: &Connection,
        passphrase: Option<&Passphrase>,
        max_wait: Duration,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Self, ClientError> {
        let session = Arc::new(open_patiently(connection, passphrase, max_wait, &*monitor)?);
        let keys = Arc::clone(session.keys());
        let (past, past_wire) = (Traffic::default(), Traffic::default());
        let current = Mutex::new(Current { session, number: 0, past, past_wire });
        let (connection, passphrase) = (connection.clone(), passphrase.cloned());
        Ok(Self(Arc::new(Inner { connection, passphrase, monitor, max_wait, keys, current })))
    }

    /// The vault's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.0.keys
    }

    /// Bytes of all connections so far, but for those of TLS and TCP themselves.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let current = self.current();
        current.past + current.session.traffic()
    }

    /// The same as TCP counts them.
    #[must_use]
    pub fn wire_traffic(&self) -> Traffic {
        let current = self.current();
        current.past_wire + current.session.wire_traffic()
    }

    /// The connection as it is now, for who writes: when it is lost, what was begun over it is, too.
    #[must_use]
    pub fn session(&self) -> Arc<Session> {
        Arc::clone(&self.current().session)
    }

    /// Asks over the current connection, and over another one when that is lost.
    pub(crate) fn ask<T>(&self, ask: impl Fn(&Session) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let mut patience = Patience::new(self.0.max_wait);
        loop {
            let (session, number) = {
                let current = self.current();
                (Arc::clone(&current.session), current.number)
            };
            match ask(&session) {
                Err(error) if error.is_transient() => {
                    patience.wait(error, &*self.0.monitor)?;
                    self.reconnect(number)?;
                }
                answer => return answer,
            }
        }
    }

    /// Replaces connection `number`, unless another thread has done so.
    fn reconnect(&self, number: u64) -> Result<(), ClientError> {
        let mut current = self.current();
        if current.number != number {
            return Ok(());
        }
        let Inner { connection, passphrase, monitor, max_wait, .. } = &*self.0;
        let session = open_patiently(connection, passphrase.as_ref(), *max_wait, &**monitor)?;
        current.past = current.past + current.session.traffic();
        current.past_wire = current.past_wire + current.session.wire_traffic();
        current.session = Arc::new(session);
        current.number += 1;
        Ok(())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().expect("nobody panics with it")
    }
}

fn open_patiently(
    connection: &Connection,
    passphrase: Option<&Passphrase>,
    max_wait: Duration,
    monitor: &dyn Monitor,
) -> Result<Session, ClientError> {
    let mut patience = Patience::new(max_wait);
    loop {
        match Session::open(connection, passphrase) {
            Ok(session) => return Ok(session),
            Err(error) => patience.wait(error, monitor)?,
        }
    }
}

impl ObjectSource for Line {
    type Error = ClientError;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, ClientError> {
        self.ask(|session| session.fetch(ids, true))
    }
}
