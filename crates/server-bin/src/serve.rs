//! [`Server`]: a running server, from the open data directory to the last session made safe.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::admin::socket::AdminSocket;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::gate::GateLimits;
use crate::home::Home;
use crate::host_port::HostPort;
use crate::listen::{self, Front};
use crate::service::Service;
use crate::{housekeeping, http, private_files};

/// A running server.
pub struct Server {
    service: Arc<Service>,
    address: SocketAddr,
    pin: [u8; 32],
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
        let listener = bind(settings.listen)?;
        let address = listener.local_addr().map_err(|error| cannot_listen(settings.listen, &error))?;
        let admin = AdminSocket::bind(&settings.data_dir).map_err(|error| {
            let message = format!("cannot make the administration socket in {}", settings.data_dir.display());
            Failure::new(FailureKind::Unavailable, message).because(&error)
        })?;
        if let Some(path) = &settings.port_file {
            private_files::replace(path, format!("{}\n", address.port()).as_bytes(), 0o644).map_err(|error| {
                Failure::usage(format!("cannot write the port to {}", path.display())).because(&error)
            })?;
        }
        let service = Service::new(home);
        let front = Front {
            limits: GateLimits {
                sockets: settings.max_connections,
                strangers_per_address: settings.max_unauthenticated,
            },
            login_timeout: settings.login_timeout,
            plain_http: settings.plain_http,
            tls: identity.tls(),
            router: http::router(Arc::clone(&service)),
            metrics: Arc::clone(&service.metrics),
            stop: service.stop.clone(),
            tasks: TaskTracker::new(),
        };
        let server = Self {
            address,
            pin: identity.pin(),
            connections: front.tasks.clone(),
            accepting: tokio::spawn(listen::accept(listener, front)),
            service: Arc::clone(&service),
        };
        service.tasks.spawn(admin.serve(Arc::clone(&service), HostPort::from(address), server.url()));
        service.tasks.spawn(housekeeping::run(Arc::clone(&service)));
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

    /// Where a browser finds it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.service.home.settings.plain_http { "http" } else { "https" };
        format!("{scheme}://{}/", self.address)
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
        match service.fatal() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }
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
    if let Some(reason) = home.store.deletion_latch() {
        tracing::error!(reason, "nothing will be deleted until the catalog is rebuilt");
    }
}
