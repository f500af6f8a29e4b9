//! [`Service`]: what all connections of a running server share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use store::{AccountId, DeviceId, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::basis::BasisCache;
use crate::failure::{Failure, FailureKind};
use crate::home::Home;
use crate::metrics::{Counted, Metrics};
use crate::pool::Pool;
use crate::session::ListingCache;
use crate::throttle::Throttle;
use crate::vaults::Vaults;

/// What all connections of a running server share.
#[derive(Debug)]
pub(crate) struct Service {
    /// Store, keys, settings.
    pub(crate) home: Home,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Threads for work that blocks.
    pub(crate) pool: Pool,
    /// Slows those down who fail to authenticate.
    pub(crate) throttle: Throttle,
    /// Vaults somebody is connected to.
    pub(crate) vaults: Vaults,
    /// Chunks used last.
    pub(crate) bases: Arc<BasisCache>,
    /// Directories clients are listing.
    pub(crate) listings: Arc<ListingCache>,
    /// Devices whose access was taken away while the server ran.
    pub(crate) revoked: Revoked,
    /// Who may write now.
    pub(crate) sessions: SessionSlots,
    /// Cancelled when the server stops: sessions make safe what they hold, and end.
    pub(crate) stop: CancellationToken,
    /// Counts the tasks and threads that have to end before the store is closed.
    pub(crate) tasks: TaskTracker,
    fatal: OnceLock<Failure>,
}

impl Service {
    /// A service that nobody uses yet.
    pub(crate) fn new(home: Home) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new(SystemTime::now()));
        Arc::new(Self {
            pool: Pool::new(),
            throttle: Throttle::default(),
            vaults: Vaults::default(),
            bases: Arc::new(BasisCache::new(Arc::clone(&metrics))),
            listings: Arc::default(),
            revoked: Revoked::default(),
            sessions: SessionSlots::new(home.settings.max_sessions),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            fatal: OnceLock::new(),
            metrics,
            home,
        })
    }

    /// Looks whether a failure of the store means that this process must end: what is durable is unknown then, and the
    /// next start finds out.
    pub(crate) fn note(&self, error: &StoreError) {
        if self.home.store.halted().is_none() {
            return;
        }
        self.fatal.get_or_init(|| {
            Failure::new(FailureKind::Unavailable, "the store failed, and what is durable is unknown")
                .because(error)
                .hint("look after the disk, then start the server again: it recovers by itself")
        });
        self.stop.cancel();
    }

    /// Why the server has to end, if it has to.
    pub(crate) fn fatal(&self) -> Option<&Failure> {
        self.fatal.get()
    }
}

/// Devices whose access was taken away while the server ran.
#[derive(Debug)]
pub(crate) struct Revoked {
    devices: watch::Sender<HashSet<DeviceId>>,
}

impl Default for Revoked {
    fn default() -> Self {
        Self { devices: watch::Sender::new(HashSet::new()) }
    }
}

impl Revoked {
    /// Ends the connections of a device, which the catalog already calls revoked.
    pub(crate) fn add(&self, device: DeviceId) {
        self.devices.send_modify(|devices| {
            devices.insert(device);
        });
    }

    /// Tells of every change. To be taken before the catalog is asked about a device: then no change is missed.
    pub(crate) fn watch(&self) -> watch::Receiver<HashSet<DeviceId>> {
        self.devices.subscribe()
    }
}

/// Who may write now: every session is a thread and memory.
#[derive(Debug)]
pub(crate) struct SessionSlots {
    max: usize,
    taken: Arc<Mutex<HashMap<AccountId, usize>>>,
}

/// The right to write; given back when dropped.
#[derive(Debug)]
pub(crate) struct SessionSlot {
    taken: Arc<Mutex<HashMap<AccountId, usize>>>,
    account: AccountId,
    _open: Counted,
}

impl SessionSlots {
    fn new(max: usize) -> Self {
        Self { max, taken: Arc::default() }
    }

    /// A slot; `None` when there are too many sessions, or too many of this account.
    pub(crate) fn take(&self, account: AccountId, metrics: &Metrics) -> Option<SessionSlot> {
        let mut taken = self.taken.lock().expect("nobody panics with it");
        let all: usize = taken.values().sum();
        let own = taken.get(&account).copied().unwrap_or_default();
        if all >= self.max || own >= self.max.div_ceil(2) {
            return None;
        }
        taken.insert(account, own + 1);
        Some(SessionSlot { taken: Arc::clone(&self.taken), account, _open: metrics.sessions.enter() })
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().expect("nobody panics with it");
        if let Some(count) = taken.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_gets_half_of_the_sessions() {
        let metrics = Metrics::new(SystemTime::UNIX_EPOCH);
        let slots = SessionSlots::new(4);
        let take = |account| slots.take(AccountId(account), &metrics);
        let held: Vec<_> = (0..2).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none());
        let others = [take(2).unwrap(), take(3).unwrap()];
        assert!(take(4).is_none());
        drop((held, others));
        assert_eq!(metrics.sessions.get(), 0);
        assert!(take(4).is_some());
    }
}
