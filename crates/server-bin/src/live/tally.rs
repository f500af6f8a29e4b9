//! [`Tally`]: the bytes that went through, added up in memory, and in the catalog once a minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{AccountId, Store, StoreError, Traffic, TrafficSpan, UnixMs};

use crate::clock;
use crate::service::Service;

/// What is younger is lost with a process that is killed.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What went through, and is not in the catalog yet.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pending: Mutex<HashMap<AccountId, Traffic>>,
    /// The hour in which all accounts were last looked at; held while what is pending goes to the catalog.
    hour: Mutex<Option<UnixMs>>,
}

impl Tally {
    /// Adds what a piece of work came to.
    pub(crate) fn add(&self, account: AccountId, traffic: Traffic) {
        if traffic != Traffic::default() {
            let mut pending = lock(&self.pending);
            let sum = pending.entry(account).or_default();
            *sum = sum.plus(traffic);
        }
    }

    /// What is not in the catalog yet: of one account, or of all together.
    pub(crate) fn pending(&self, account: Option<AccountId>) -> Traffic {
        let pending = lock(&self.pending);
        let wanted = pending.iter().filter(|(owner, _)| account.is_none_or(|account| account == **owner));
        wanted.fold(Traffic::default(), |sum, (_, traffic)| sum.plus(*traffic))
    }

    /// Looks at both, while nothing goes from one to the other.
    pub(crate) fn while_still<T>(&self, look: impl FnOnce() -> T) -> T {
        let _held = lock(&self.hour);
        look()
    }

    /// Puts it there, and once an hour how large everybody's packs are.
    ///
    /// # Errors
    /// [`StoreError`]: it is tried again the next time.
    pub(crate) fn keep(&self, store: &Store, now: UnixMs) -> Result<(), StoreError> {
        let hour = TrafficSpan::Hour.start(now);
        let mut last_hour = lock(&self.hour);
        let is_new_hour = *last_hour != Some(hour);
        let mut added = std::mem::take(&mut *lock(&self.pending));
        if is_new_hour {
            match store.accounts() {
                Ok(accounts) => added.extend(accounts.iter().map(|account| (account.id, Traffic::default()))),
                Err(error) => {
                    self.put_back(added);
                    return Err(error);
                }
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        let rows: Vec<(AccountId, Traffic)> = added.iter().map(|(account, traffic)| (*account, *traffic)).collect();
        match store.add_traffic(&rows, now) {
            Ok(()) => *last_hour = Some(hour),
            Err(error) => {
                self.put_back(added);
                return Err(error);
            }
        }
        Ok(())
    }

    fn put_back(&self, added: HashMap<AccountId, Traffic>) {
        added.into_iter().for_each(|(account, traffic)| self.add(account, traffic));
    }
}

/// Keeps the tally until the server stops.
pub(crate) async fn keep_tally(service: Arc<Service>) {
    let mut interval = tokio::time::interval(KEEP_INTERVAL);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let keeping = Arc::clone(&service);
        let kept = service.pool.run(move || {
            let kept = keeping.tally.keep(&keeping.home.store, clock::now());
            kept.inspect_err(|error| keeping.note(error))
        });
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the figures for charts wait"),
            Err(error) => tracing::error!(%error, "keeping the figures for charts failed"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
