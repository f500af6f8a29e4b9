//! From an address to a stream of frames: TCP, TLS to the pinned server, the HTTP upgrade.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Identity, address};
use crate::counted::{Counted, Counter};
use crate::error::ClientError;
use crate::tls;

/// Everything from the first packet to the upgrade must happen within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
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

/// An upgraded connection, and the counts of its bytes.
pub(crate) struct Connected {
    /// Frames go both ways from here on.
    pub(crate) stream: TokioIo<Upgraded>,
    /// All bytes of the connection but those of TLS and TCP themselves.
    pub(crate) plain: Arc<Counter>,
    /// All bytes of the TCP connection.
    pub(crate) wire: Arc<Counter>,
}

/// Connects within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Connected, ClientError> {
    let attempt = tokio::time::timeout(CONNECT_TIMEOUT, attempt(endpoint));
    attempt.await.unwrap_or_else(|_| Err(unreachable(endpoint, io::ErrorKind::TimedOut.into())))
}

async fn attempt(endpoint: &Endpoint) -> Result<Connected, ClientError> {
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
        Identity::Plain => upgrade(Counted::new(tcp, Arc::clone(&plain)), endpoint).await?,
        Identity::Pinned(pin) => {
            let name = ServerName::try_from(endpoint.host.clone())
                .map_err(|error| unreachable(endpoint, io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let connector = TlsConnector::from(Arc::new(tls::pinned_config(pin)));
            let tls = connector.connect(name, tcp).await.map_err(|error| {
                if tls::is_other_server(&error) {
                    ClientError::OtherServer { address: endpoint.address() }
                } else {
                    unreachable(endpoint, error)
                }
            })?;
            upgrade(Counted::new(tls, Arc::clone(&plain)), endpoint).await?
        }
    };
    Ok(Connected { stream, plain, wire })
}

async fn upgrade(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    endpoint: &Endpoint,
) -> Result<TokioIo<Upgraded>, ClientError> {
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
    hyper::upgrade::on(response).await.map(TokioIo::new).map_err(failed)
}

fn not_a_backup_server(endpoint: &Endpoint, status: StatusCode) -> ClientError {
    let answer = match status {
        StatusCode::UPGRADE_REQUIRED => {
            format!("{status} (a proxy in between seems to drop the Upgrade header)")
        }
        _ => status.to_string(),
    };
    ClientError::NotABackupServer { address: endpoint.address(), answer }
}

fn unreachable(endpoint: &Endpoint, source: io::Error) -> ClientError {
    ClientError::Connect { address: endpoint.address(), source }
}
