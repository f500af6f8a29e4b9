//! [`Service`]: what all connections of a running server share.

use std::collections::{HashMap, HashSet};
#[cfg(test)]
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use store::{AccountId, DeviceId, StoreError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::LineBrake;
use crate::basis::BasisCache;
use crate::clock;
#[cfg(test)]
use crate::config::Settings;
use crate::dav::Locks;
use crate::digests::Digests;
use crate::drive::{Folders, Searches};
use crate::failure::{Failure, FailureKind};
use crate::home::Home;
use crate::host_port::HostPort;
use crate::hosts::Hosts;
use crate::jobs::Jobs;
use crate::live::{Board, Feed, Tally};
use crate::login::back_off::BackOff;
use crate::login::passwords::Passwords;
use crate::login::verified::Verified;
use crate::metrics::Metrics;
#[cfg(test)]
use crate::options::Options;
use crate::pool::Pool;
use crate::proxies::Proxies;
use crate::rest::links::Downloads;
use crate::rest::repeat::Answering;
use crate::rest::tickets::Tickets;
use crate::rest::tus::Turns;
use crate::slots::AccountSlots;
use crate::throttle::Throttle;
use crate::thumbnail::Thumbnails;
#[cfg(test)]
use crate::units::ByteCount;
use crate::vaults::Vaults;

/// Most that are told at a time what goes on, and most of one account.
const LISTENERS_MAX: usize = 256;
const OWN_LISTENERS_MAX: usize = 16;

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
    /// Compares passwords.
    pub(crate) passwords: Passwords,
    /// Passwords that were right a moment ago.
    pub(crate) verified: Verified,
    /// Slows those down who give wrong passwords.
    pub(crate) back_off: BackOff,
    /// Which refused logins get into the audit log.
    pub(crate) refusals: LineBrake,
    /// Which downloads by links do.
    pub(crate) link_uses: LineBrake,
    /// Names of this server.
    pub(crate) hosts: Hosts,
    /// Who may ask for others.
    pub(crate) proxies: Proxies,
    /// Where a browser finds the server when nobody says otherwise.
    pub(crate) listens: HostPort,
    /// Vaults somebody is connected to.
    pub(crate) vaults: Vaults,
    /// Chunks used last.
    pub(crate) bases: Arc<BasisCache>,
    /// Directories clients are listing.
    pub(crate) folders: Arc<Folders>,
    /// Names of drives that are searched.
    pub(crate) searches: Searches,
    /// Whose connections have to end.
    pub(crate) revoked: Revoked,
    /// Who may write now: every session is a thread and memory.
    pub(crate) sessions: AccountSlots,
    /// Downloads by links that go on.
    pub(crate) downloads: Downloads,
    /// What opens files for a minute.
    pub(crate) tickets: Tickets,
    /// SHA-256 of files that were read for it.
    pub(crate) digests: Digests,
    /// Small pictures, and whose turn it is to make one.
    pub(crate) thumbnails: Thumbnails,
    /// Who is at work on which upload.
    pub(crate) turns: Arc<Turns>,
    /// Requests under a key that are being answered.
    pub(crate) answering: Answering,
    /// What an administrator started by hand.
    pub(crate) jobs: Jobs,
    /// What WebDAV clients have locked.
    pub(crate) locks: Arc<Locks>,
    /// Transfers and devices of this moment.
    pub(crate) board: Arc<Board>,
    /// What happened lately.
    pub(crate) feed: Feed,
    /// Bytes that went through.
    pub(crate) tally: Tally,
    /// Who may be told what goes on, as it does.
    pub(crate) listeners: AccountSlots,
    /// Who may be connected now, among those that are known.
    pub(crate) connections: AccountSlots,
    /// Told when what can be another one while the server runs is to be looked at now.
    pub(crate) reload: Notify,
    /// Cancelled when the server stops: sessions make safe what they hold, and end.
    pub(crate) stop: CancellationToken,
    /// Counts the tasks and threads that have to end before the store is closed.
    pub(crate) tasks: TaskTracker,
    fatal: OnceLock<Failure>,
}

impl Service {
    /// A service that nobody uses yet.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness yet.
    pub(crate) fn new(home: Home, listens: HostPort) -> Result<Arc<Self>, Failure> {
        let metrics = Arc::new(Metrics::new(clock::wall()));
        Ok(Arc::new(Self {
            pool: Pool::new(),
            throttle: Throttle::default(),
            passwords: Passwords::new(),
            verified: Verified::new()?,
            back_off: BackOff::default(),
            refusals: LineBrake::default(),
            link_uses: LineBrake::default(),
            hosts: Hosts::new(&home.settings),
            proxies: Proxies::new(&home.settings.trusted_proxies),
            listens,
            vaults: Vaults::default(),
            bases: Arc::new(BasisCache::new(Arc::clone(&metrics))),
            folders: Arc::default(),
            searches: Searches::default(),
            revoked: Revoked::default(),
            sessions: AccountSlots::new(home.settings.max_sessions, home.settings.max_sessions.div_ceil(2)),
            downloads: Downloads::default(),
            tickets: Tickets::default(),
            digests: Digests::default(),
            thumbnails: Thumbnails::default(),
            turns: Arc::default(),
            answering: Answering::default(),
            jobs: Jobs::default(),
            locks: Arc::default(),
            board: Arc::default(),
            feed: Feed::new()?,
            tally: Tally::default(),
            listeners: AccountSlots::new(LISTENERS_MAX, OWN_LISTENERS_MAX),
            // All together are limited at the gate.
            connections: AccountSlots::new(usize::MAX, home.settings.max_account_connections),
            stop: CancellationToken::new(),
            reload: Notify::new(),
            tasks: TaskTracker::new(),
            fatal: OnceLock::new(),
            metrics,
            home,
        }))
    }

    /// Looks whether a failure of the store means that this process must end: what is durable is unknown then, and the
    /// next start finds out.
    pub(crate) fn note(&self, error: &StoreError) {
        if self.home.store.halted().is_none() {
            return;
        }
        self.fatal.get_or_init(|| {
            Failure::new(FailureKind::Disk, "the store failed, and what is durable is unknown")
                .because(error)
                .hint("look after the disk, then start the server again: it recovers by itself")
        });
        self.stop.cancel();
    }

    /// The same after something whose error went elsewhere.
    pub(crate) fn note_halt(&self) {
        if let Some(reason) = self.home.store.halted() {
            self.note(&StoreError::Halted { reason: reason.to_owned() });
        }
    }

    /// Why the server has to end, if it has to.
    pub(crate) fn fatal(&self) -> Option<&Failure> {
        self.fatal.get()
    }
}

#[cfg(test)]
impl Service {
    /// The service of an empty store in `dir`, for whoever tests a part of it.
    pub(crate) fn of_test(dir: &std::path::Path) -> Arc<Self> {
        let options = Options {
            data_dir: Some(dir.to_owned()),
            min_free: Some(ByteCount(0)),
            reserve: Some(ByteCount(0)),
            ..Options::default()
        };
        let home = Home::open(Settings::resolve(options, None).unwrap(), true).unwrap();
        Self::new(home, SocketAddr::from(([127, 0, 0, 1], 1)).into()).unwrap()
    }
}

/// Whose connections have to end, because what they may do was changed while the server ran.
#[derive(Debug)]
pub(crate) struct Revoked {
    ended: watch::Sender<Ended>,
}

/// Whose connections have to end.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Devices whose access was taken away, for good.
    pub(crate) devices: HashSet<DeviceId>,
    /// Accounts that were changed, and when: what connected before does not know of it.
    pub(crate) accounts: HashMap<AccountId, Instant>,
}

impl Default for Revoked {
    fn default() -> Self {
        Self { ended: watch::Sender::new(Ended::default()) }
    }
}

impl Revoked {
    /// Ends the connections of a device, which the catalog already calls revoked.
    pub(crate) fn add(&self, device: DeviceId) {
        self.ended.send_modify(|ended| {
            ended.devices.insert(device);
        });
    }

    /// Ends the connections that an account's devices have now, after the catalog was changed.
    pub(crate) fn add_account(&self, account: AccountId) {
        self.ended.send_modify(|ended| {
            ended.accounts.insert(account, Instant::now());
        });
    }

    /// Tells of every change. To be taken before the catalog is asked about a device: then no change is missed.
    pub(crate) fn watch(&self) -> watch::Receiver<Ended> {
        self.ended.subscribe()
    }
}
