//! From an address to a stream of frames: TCP, TLS to the pinned server, the HTTP upgrade; or, where a proxy drops upgrades that
//! it does not know, a WebSocket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite;

use crate::config::{Identity, address};
use crate::counted::{Counted, Counter};
use crate::error::ClientError;
use crate::tls;
use crate::web_socket::WebSocketBytes;

/// Everything from the first packet to the upgrade must happen within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes asked of the socket at once; TLS itself would ask for 4 KiB.
const RECEIVE_LEN: usize = 64 * 1024;
const PROTOCOL: &str = "delta-backup/1";
const PATH: &str = "/api/v1/connect";

/// Where a server is, and how it proves that it is the one.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) identity: Identity,
}

impl Endpoint {
    pub(crate) fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// Both ways of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// How frames get through.
#[derive(Clone, Copy)]
enum Way {
    /// An upgrade to a protocol of our own: nothing is added to the frames.
    Upgrade,
    /// Messages of a WebSocket, which more proxies know.
    WebSocket,
}

/// A connection, and the counts of its bytes.
pub(crate) struct Connected {
    /// Frames go both ways from here on.
    pub(crate) stream: Box<dyn Duplex>,
    /// All bytes of the connection but those of TLS and TCP themselves.
    pub(crate) plain: Arc<Counter>,
    /// All bytes of the TCP connection.
    pub(crate) wire: Arc<Counter>,
}

/// Connects within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Connected, ClientError> {
    let attempts = async {
        match attempt(endpoint, Way::Upgrade).await {
            // What the server says to who asks for no upgrade: the request was stripped of it on its way.
            Err(ClientError::NotABackupServer { status: StatusCode::UPGRADE_REQUIRED, .. }) => {
                attempt(endpoint, Way::WebSocket).await
            }
            connected => connected,
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempts)
        .await
        .unwrap_or_else(|_| Err(unreachable(endpoint, io::ErrorKind::TimedOut.into())))
}

async fn attempt(endpoint: &Endpoint, way: Way) -> Result<Connected, ClientError> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let tcp = tcp.await.map_err(|error| unreachable(endpoint, error))?;
    tcp.set_nodelay(true).map_err(|error| unreachable(endpoint, error))?;
    let is_here = tcp.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    if endpoint.identity == Identity::Plain && !is_here {
        let address = endpoint.address();
        return Err(ClientError::Usage(format!(
            "{address} is another machine, and this device's token would travel there unencrypted: enroll it again with a \
             server that has an identity"
        )));
    }
    let (plain, wire) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let tcp = Counted::new(tcp, Arc::clone(&wire));
    let stream = match endpoint.identity {
        Identity::Plain => open(Counted::new(tcp, Arc::clone(&plain)), endpoint, way).await?,
        Identity::Pinned(pin) => {
            let name = ServerName::try_from(endpoint.host.clone())
                .map_err(|error| unreachable(endpoint, io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let connector = TlsConnector::from(Arc::new(tls::pinned_config(pin)));
            let tls = connector.connect(name, BufReader::with_capacity(RECEIVE_LEN, tcp)).await.map_err(|error| {
                if tls::is_other_server(&error) {
                    ClientError::OtherServer { address: endpoint.address() }
                } else {
                    unreachable(endpoint, error)
                }
            })?;
            open(Counted::new(tls, Arc::clone(&plain)), endpoint, way).await?
        }
    };
    Ok(Connected { stream, plain, wire })
}

async fn open(stream: impl Duplex + 'static, endpoint: &Endpoint, way: Way) -> Result<Box<dyn Duplex>, ClientError> {
    match way {
        Way::Upgrade => upgrade(stream, endpoint).await,
        Way::WebSocket => web_socket(stream, endpoint).await,
    }
}

async fn upgrade(stream: impl Duplex + 'static, endpoint: &Endpoint) -> Result<Box<dyn Duplex>, ClientError> {
    let failed = |error: hyper::Error| unreachable(endpoint, io::Error::other(error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .method(Method::GET)
        .uri(PATH)
        .header(HOST, endpoint.address())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request of fixed parts and an address that was connected to");
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(not_a_backup_server(endpoint, response.status()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(failed)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

async fn web_socket(stream: impl Duplex + 'static, endpoint: &Endpoint) -> Result<Box<dyn Duplex>, ClientError> {
    let url = format!("ws://{}{PATH}", endpoint.address());
    match tokio_tungstenite::client_async(url, stream).await {
        Ok((socket, _)) => Ok(Box::new(WebSocketBytes::new(socket))),
        Err(tungstenite::Error::Http(response)) => Err(not_a_backup_server(endpoint, response.status())),
        Err(error) => Err(unreachable(endpoint, io::Error::other(error))),
    }
}

fn not_a_backup_server(endpoint: &Endpoint, status: StatusCode) -> ClientError {
    ClientError::NotABackupServer { address: endpoint.address(), status }
}

fn unreachable(endpoint: &Endpoint, source: io::Error) -> ClientError {
    ClientError::Connect { address: endpoint.address(), source }
}
