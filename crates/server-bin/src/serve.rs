//! [`Server`]: a running server, from the open data directory to the last session made safe.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::admin::socket::AdminSocket;
use crate::audit::Actor;
use crate::clock;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::gate::GateLimits;
use crate::home::Home;
use crate::host_port::HostPort;
use crate::identity::Shown;
use crate::lan;
use crate::listen::{self, Front};
use crate::porter::Porter;
use crate::service::Service;
use crate::{catalog_backup, collect, housekeeping, http, live, mirror, private_files, scrub, supervisor};

/// A running server.
pub struct Server {
    service: Arc<Service>,
    address: SocketAddr,
    pin: [u8; 32],
    setup_links: Vec<String>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.url())
    }
}

impl Server {
    /// Opens the data directory, listens, and serves. Must be called within a runtime.
    ///
    /// # Errors
    /// [`Failure`] when the directory cannot be used, or the address cannot be listened on.
    pub async fn start(settings: Settings) -> Result<Self, Failure> {
        Self::start_on(settings, None).await
    }

    /// The same with a socket that listens already, instead of the address of the settings.
    ///
    /// # Errors
    /// As [`start`](Self::start); and when it is to serve without TLS, and the socket is not one of loopback.
    pub async fn start_on(settings: Settings, passed: Option<std::net::TcpListener>) -> Result<Self, Failure> {
        let opening = tokio::task::spawn_blocking(move || {
            let home = Home::open(settings, true)?;
            let identity = home.identity()?;
            Ok((home, identity))
        });
        let opened = opening.await.map_err(|error| {
            Failure::new(FailureKind::Internal, "the server failed while it started").because(&error)
        })?;
        let (home, identity) = opened?;
        log_recovery(&home);
        let settings = home.settings.clone();
        let listener = match passed {
            Some(passed) => listen::take_over(passed).map_err(|error| cannot_listen(settings.listen, &error))?,
            None => bind(settings.listen)?,
        };
        let address = listener.local_addr().map_err(|error| cannot_listen(settings.listen, &error))?;
        settings.check_plain(address)?;
        let admin = AdminSocket::bind(&settings.data_dir).map_err(|error| {
            let message = format!("cannot make the administration socket in {}", settings.data_dir.display());
            Failure::new(FailureKind::Unavailable, message).because(&error)
        })?;
        if let Some(path) = &settings.port_file {
            private_files::replace(path, format!("{}\n", address.port()).as_bytes(), 0o644).map_err(|error| {
                Failure::usage(format!("cannot write the port to {}", path.display())).because(&error)
            })?;
        }
        let listens = HostPort::from(address);
        let (home, setup_links) = tokio::task::spawn_blocking(move || {
            let links = first_setup_links(&home, &listens)?;
            Ok((home, links))
        })
        .await
        .map_err(|error| Failure::new(FailureKind::Internal, "the server failed while it started").because(&error))??;
        let service = Service::new(home, HostPort::from(address))?;
        let pin = identity.pin();
        let identity = Shown::new(identity);
        let front = Front {
            limits: GateLimits {
                sockets: settings.max_connections,
                strangers_per_address: settings.max_unauthenticated,
                proxies: service.proxies.clone(),
            },
            login_timeout: settings.login_timeout,
            plain_http: settings.plain_http,
            identity: Arc::clone(&identity),
            base_path: settings.base_path.clone(),
            router: http::router(Arc::clone(&service)),
            metrics: Arc::clone(&service.metrics),
            stop: service.stop.clone(),
            tasks: TaskTracker::new(),
        };
        let server = Self {
            address,
            pin,
            setup_links,
            connections: front.tasks.clone(),
            accepting: tokio::spawn(listen::accept(listener, front)),
            service: Arc::clone(&service),
        };
        service.tasks.spawn(admin.serve(Arc::clone(&service), HostPort::from(address), server.url()));
        service.tasks.spawn(housekeeping::run(Arc::clone(&service)));
        service.tasks.spawn(housekeeping::fold_log(Arc::clone(&service)));
        service.tasks.spawn(housekeeping::renew_certificate(Arc::clone(&service), identity));
        service.tasks.spawn(collect::run_by_schedule(Arc::clone(&service)));
        service.tasks.spawn(catalog_backup::run(Arc::clone(&service)));
        service.tasks.spawn(scrub::run(Arc::clone(&service)));
        service.tasks.spawn(mirror::keep_in_step(Arc::clone(&service)));
        service.tasks.spawn(housekeeping::keep(Arc::clone(&service)));
        service.tasks.spawn(live::keep_tally(Arc::clone(&service)));
        service.tasks.spawn(live::watch(Arc::clone(&service)));
        service.tasks.spawn(supervisor::keep_alive(Arc::clone(&service)));
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SHA-256 of its key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// The link with which the administrator sets name and password, under each address that is known; none once an
    /// administrator has a password.
    #[must_use]
    pub fn setup_links(&self) -> &[String] {
        &self.setup_links
    }

    /// Where a browser on this machine finds it.
    #[must_use]
    pub fn url(&self) -> String {
        self.urls().swap_remove(0)
    }

    /// Where a browser finds it: one address, or several where it listens on all of them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let settings = &self.service.home.settings;
        lan::places(&HostPort::from(self.address)).iter().map(|place| settings.url_at(place)).collect()
    }

    /// Looks again at what can be another one while it runs: the certificate.
    pub fn reload(&self) {
        self.service.reload.notify_one();
    }

    /// Comes to an end when the server cannot go on.
    pub async fn failed(&self) {
        self.service.stop.cancelled().await;
    }

    /// Stops: accepts nothing more, lets sessions make safe what they hold, tells clients, closes the store. Takes at
    /// most the drain timeout; what is not done by then is left to die with the process.
    ///
    /// # Errors
    /// The [`Failure`] that made the server stop by itself, if one did.
    pub async fn stop(self) -> Result<(), Failure> {
        let Self { service, connections, accepting, .. } = self;
        service.stop.cancel();
        connections.close();
        service.tasks.close();
        let drained = async {
            // It only waits for the listener, which is closed now.
            let _ = accepting.await;
            connections.wait().await;
            service.tasks.wait().await;
        };
        if tokio::time::timeout(service.home.settings.drain_timeout, drained).await.is_err() {
            tracing::warn!("some sessions did not end in time; what they held and was not durable is lost");
        }
        let keeping = Arc::clone(&service);
        let kept = service.pool.run(move || keeping.tally.keep(&keeping.home.store, clock::now())).await;
        if !matches!(kept, Ok(Ok(()))) {
            tracing::debug!("the last figures for charts are lost");
        }
        match service.fatal() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }
}

fn first_setup_links(home: &Home, listens: &HostPort) -> Result<Vec<String>, Failure> {
    let Some(account) = home.account_to_set_up()? else { return Ok(Vec::new()) };
    let porter = Porter { home, revoked: None, actor: Actor::server() };
    Ok(porter.setup_link(&account, listens)?.urls)
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    listen::bind(address).map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let failure = Failure::usage(format!("cannot listen on {address}")).because(error);
    match error.kind() {
        std::io::ErrorKind::AddrInUse => failure.hint("another program listens there; say --listen ADDRESS:PORT"),
        std::io::ErrorKind::PermissionDenied => {
            failure.hint("ports below 1024 are for the administrator; take another")
        }
        _ => failure,
    }
}

fn log_recovery(home: &Home) {
    let recovery = home.store.recovery();
    if !recovery.was_closed {
        tracing::info!(
            sealed = recovery.sealed.len(),
            dropped = recovery.dropped.len(),
            adopted = recovery.adopted.len(),
            "the last server was not stopped properly; the store has recovered"
        );
    }
    for (packs, what) in
        [(&recovery.quarantined, "pack set aside: it is damaged"), (&recovery.missing, "pack is missing")]
    {
        for pack in packs {
            tracing::error!(%pack, "{what}");
        }
    }
    for path in &recovery.strangers {
        tracing::warn!(path = %path.display(), "a file among the packs is none of ours");
    }
    match home.store.status() {
        Ok(status) if status.suspended_devices > 0 || status.suspended_tokens > 0 => tracing::error!(
            devices = status.suspended_devices,
            tokens = status.suspended_tokens,
            "no device and no token gets in that the older catalog knows, until `backup-server device confirm` and `token \
             confirm`: look at `device list` and `token list` and revoke those that should be, first"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "it is not known whether devices are suspended"),
    }
    if let Some(reason) = home.store.deletion_latch() {
        tracing::error!(reason, "nothing will be deleted until `backup-server reindex` has rebuilt the catalog");
    }
}
