//! The one port: connections are accepted, counted, told apart by their first byte (TLS or not), and given to HTTP.
//!
//! Whatever a connection does before its client is authenticated has one deadline, from the moment it was accepted:
//! TLS handshake, HTTP request, upgrade, greeting. Neither silence nor single bytes can stretch it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use store::AccountId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base_path::BasePath;
use crate::clock;
use crate::gate::{Gate, GateLimits, Pass};
use crate::http::Transport;
use crate::identity::Shown;
use crate::metered::Metered;
use crate::metrics::{Counted, Metrics};
use crate::service::Service;
use crate::slots::AccountSlot;

const FIRST_BYTE_OF_TLS: u8 = 0x16;
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_COUNT_MAX: usize = 64;
/// Longest HTTP/1 request line and headers, longest HTTP/2 header list.
const HEADERS_LEN_MAX: usize = 16 << 10;
const HTTP2_STREAM_COUNT_MAX: u32 = 128;
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// Time that sent bytes may stay unacknowledged before the connection is given up.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
const BACKLOG: i32 = 1024;
/// Time to wait after the system had no socket left for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection, as far as is known.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Where they come from.
    pub(crate) address: SocketAddr,
    /// For whom they ask, where they are a proxy of one client.
    asks_for: OnceLock<IpAddr>,
    /// When the connection was accepted.
    pub(crate) accepted: Instant,
    /// The same by the clock on the wall, in Unix milliseconds.
    pub(crate) accepted_ms: u64,
    /// Their right to be connected.
    pub(crate) pass: Pass,
    /// The right to one more connection of the first account that logged in here.
    slot: Mutex<Option<AccountSlot>>,
    _socket: Counted,
}

impl Peer {
    /// Somebody who was let in just now.
    pub(crate) fn new(address: SocketAddr, pass: Pass, metrics: &Metrics) -> Self {
        Self {
            address,
            asks_for: OnceLock::new(),
            accepted: clock::instant(),
            accepted_ms: clock::now_ms(),
            pass,
            slot: Mutex::default(),
            _socket: metrics.sockets.enter(),
        }
    }

    /// Who it is that is connected.
    pub(crate) fn caller(&self) -> IpAddr {
        self.asks_for.get().copied().unwrap_or_else(|| self.address.ip().to_canonical())
    }

    /// Notes for whom this connection is from now on.
    pub(crate) fn ask_for(&self, caller: IpAddr) {
        let _ = self.asks_for.set(caller);
    }

    /// Notes that the other end has logged in: the connection is not closed for being a stranger's any more. False when
    /// its account has too many connections, or this one had to make room already.
    pub(crate) fn log_in(&self, account: AccountId, service: &Service) -> bool {
        // Held throughout: the requests of one HTTP/2 connection come here side by side.
        let mut kept = self.slot();
        if kept.is_none() {
            let slot = service.connections.take(account, &service.metrics.clients);
            *kept = slot.filter(|_| self.pass.authenticated());
        }
        kept.is_some()
    }

    fn is_known(&self) -> bool {
        self.slot().is_some()
    }

    fn slot(&self) -> MutexGuard<'_, Option<AccountSlot>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What connections are given to.
#[derive(Clone)]
pub(crate) struct Front {
    /// Most connections.
    pub(crate) limits: GateLimits,
    /// Time for everything before authentication.
    pub(crate) login_timeout: Duration,
    /// Whether connections without TLS are served.
    pub(crate) plain_http: bool,
    /// How TLS is spoken, at present.
    pub(crate) identity: Arc<Shown>,
    /// What addresses of the server begin with, behind a proxy.
    pub(crate) base_path: BasePath,
    /// What is served.
    pub(crate) router: axum::Router,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// When this is cancelled, no connection is accepted any more, and open ones finish their request.
    pub(crate) stop: CancellationToken,
    /// Counts the tasks of connections.
    pub(crate) tasks: TaskTracker,
}

/// Binds the port.
///
/// # Errors
/// When the address is not this machine's, or taken.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes a socket that listens already.
///
/// # Errors
/// When the system refuses.
pub(crate) fn take_over(passed: std::net::TcpListener) -> io::Result<TcpListener> {
    passed.set_nonblocking(true)?;
    TcpListener::from_std(passed)
}

/// Accepts connections until told to stop.
pub(crate) async fn accept(listener: TcpListener, front: Front) {
    let front = Arc::new(front);
    let gate = Gate::new(front.limits.clone());
    loop {
        let accepted = tokio::select! {
            () = front.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(stream, address, &gate, &front),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                if gate.shed_one() {
                    front.metrics.connections_shed.add(1);
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(stream: TcpStream, address: SocketAddr, gate: &Arc<Gate>, front: &Arc<Front>) {
    front.metrics.connections.add(1);
    let admission = gate.admit(address.ip());
    if admission.as_ref().is_none_or(|admission| admission.has_shed) {
        front.metrics.connections_shed.add(1);
    }
    let Some(admission) = admission else {
        return;
    };
    let peer = Arc::new(Peer::new(address, admission.pass, &front.metrics));
    let front = Arc::clone(front);
    let tasks = front.tasks.clone();
    tasks.spawn(async move {
        let shed = peer.pass.shed().clone();
        let deadline = tokio::time::Instant::from_std(peer.accepted) + front.login_timeout;
        let waiting = Arc::clone(&peer);
        let too_late = async move {
            tokio::time::sleep_until(deadline).await;
            if waiting.is_known() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = shed.cancelled() => {}
            () = too_late => {}
            served = serve(stream, &front, peer) => if let Err(error) = served {
                tracing::debug!(%address, %error, "connection failed");
            },
        }
    });
}

/// Serves one connection to its end, or until it is upgraded.
async fn serve(
    stream: TcpStream,
    front: &Front,
    peer: Arc<Peer>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    configure(&stream)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    let stream = Metered::new(stream, Arc::clone(&front.metrics));
    if first[0] == FIRST_BYTE_OF_TLS {
        let identity = front.identity.get();
        let stream = TlsAcceptor::from(identity.tls()).accept(stream).await?;
        serve_http(stream, front, peer, Transport { is_tls: true, is_issued: identity.is_issued() }).await
    } else if front.plain_http {
        serve_http(stream, front, peer, Transport { is_tls: false, is_issued: false }).await
    } else {
        Ok(refuse_plain(stream).await?)
    }
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    front: &Front,
    peer: Arc<Peer>,
    transport: Transport,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_headers(HEADER_COUNT_MAX)
        .max_buf_size(HEADERS_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAM_COUNT_MAX)
        .max_header_list_size(u32::try_from(HEADERS_LEN_MAX).expect("a small constant"))
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL);
    let router = TowerToHyperService::new(front.router.clone());
    let base_path = front.base_path.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        base_path.strip_from(request.uri_mut());
        request.extensions_mut().insert(Arc::clone(&peer));
        request.extensions_mut().insert(transport);
        hyper::service::Service::call(&router, request)
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = front.stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

const PLAIN_HINT: &str = "\
HTTP/1.1 426 Upgrade Required\r\n\
Upgrade: TLS/1.3\r\n\
Connection: Upgrade, close\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Length: 81\r\n\
\r\n\
This port speaks TLS: use https://, or the string `backup-server enroll` prints.\n";

/// Reads what may be a request, says what would be right, and closes.
async fn refuse_plain(mut stream: Metered) -> io::Result<()> {
    let mut request = Vec::new();
    while request.len() < HEADERS_LEN_MAX && !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    stream.write_all(PLAIN_HINT.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and lose the hint.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::proxies::Proxies;

    /// A browser's first requests come at once on one connection: none is taken for one connection too many.
    #[test]
    fn requests_of_one_connection_log_in_side_by_side() {
        const REQUEST_COUNT: usize = 4;
        let dir = tempfile::tempdir().unwrap();
        let service = Service::of_test(dir.path());
        let account = service.home.store.accounts().unwrap().remove(0).id;
        let limits = GateLimits { sockets: 1, strangers_per_address: 1, proxies: Proxies::default() };
        let gate = Gate::new(limits);
        for _ in 0..2000 {
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let peer = Peer::new(address, gate.admit(address.ip()).unwrap().pass, &service.metrics);
            let start = Barrier::new(REQUEST_COUNT);
            let welcomed = thread::scope(|scope| {
                let ask = || {
                    start.wait();
                    peer.log_in(account, &service)
                };
                let requests: Vec<_> = (0..REQUEST_COUNT).map(|_| scope.spawn(ask)).collect();
                requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(welcomed, [true; REQUEST_COUNT]);
        }
        assert_eq!(service.metrics.clients.get(), 0);
    }

    #[test]
    fn the_hint_is_as_long_as_it_says() {
        let (_, body) = PLAIN_HINT.split_once("\r\n\r\n").unwrap();
        assert!(PLAIN_HINT.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
