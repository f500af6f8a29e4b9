//! Props: a client, made of the protocol's own machine and a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use object::{ObjectId, SealedRecord, VaultId};
use proto::{
    Access, Authenticate, BackupProgress, Begun, ChainName, ClientConfig, ClientEvent, ClientExchange, ClientRequest,
    Commit, Committed, DeviceId, Enroll, Enrolled, FailCode, Failure, Fetch, FrameCodec, HostName, IdempotencyKey, Ids,
    Objects, Purpose, Secret, ServerReply, Snapshots, SnapshotsAnswer, SoftwareName, StreamId, VaultOpened,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;
use vault::{Keys, VaultKey};

use crate::server::TestServer;

pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytes for S {}

const UPGRADE: &str =
    "GET /api/v1/connect HTTP/1.1\r\nHost: server\r\nConnection: upgrade\r\nUpgrade: delta-backup/1\r\n\r\n";

/// A device's token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) device: DeviceId,
    pub(crate) secret: Secret<32>,
}

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Bytes>,
    exchange: ClientExchange,
    codec: FrameCodec,
    received: BytesMut,
    /// Deltas the server refused.
    pub(crate) refused: Vec<ObjectId>,
    /// Records that are durable.
    pub(crate) durable: u64,
    /// How the server ended it, if it did.
    pub(crate) closed: Option<Failure>,
}

impl Client {
    /// Connects without TLS and is greeted.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(Box::new(upgraded(TcpStream::connect(address).await.unwrap()).await)).await
    }

    /// Connects with TLS to the server that has this key.
    pub(crate) async fn connect_tls(address: SocketAddr, pin: [u8; 32]) -> Result<Self, std::io::Error> {
        let stream = tls(address, pin, b"http/1.1").await?;
        Ok(Self::over(Box::new(upgraded(stream).await)).await)
    }

    /// Is greeted on a stream of frames.
    pub(crate) async fn over(stream: Box<dyn Bytes>) -> Self {
        let config = ClientConfig::new(SoftwareName::lossy("test client"));
        let mut client = Self {
            stream,
            exchange: ClientExchange::new(config, Instant::now()),
            codec: FrameCodec::new(),
            received: BytesMut::new(),
            refused: Vec::new(),
            durable: 0,
            closed: None,
        };
        client.send().await;
        let event = client.event().await;
        assert!(matches!(event, Some(ClientEvent::Welcome(_))), "{event:?}");
        client
    }

    /// Enrolls, and goes on as the new device.
    pub(crate) async fn enroll(&mut self, secret: Secret<16>) -> Result<Enrolled, Failure> {
        let request = Enroll { secret, host: HostName::lossy("test machine") };
        match self.ask(&ClientRequest::Enroll(request)).await? {
            ServerReply::Enrolled(enrolled) => Ok(enrolled),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn authenticate(&mut self, token: &Token) -> Result<(), Failure> {
        let request = Authenticate { device: token.device, secret: token.secret.clone() };
        self.ask(&ClientRequest::Authenticate(request)).await.map(drop)
    }

    /// Opens a vault; its keys when it is managed.
    pub(crate) async fn open_vault(&mut self, vault: Option<VaultId>) -> Result<(VaultId, Option<Arc<Keys>>), Failure> {
        match self.ask(&ClientRequest::OpenVault(vault)).await? {
            ServerReply::VaultOpened(VaultOpened { vault, access: Access::Managed { key } }) => {
                Ok((vault, Some(Arc::new(Keys::new(&VaultKey::from_bytes(*key.expose()))))))
            }
            ServerReply::VaultOpened(VaultOpened { vault, .. }) => Ok((vault, None)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn begin(&mut self, chain: &str) -> Begun {
        self.try_begin(chain, None).await.unwrap()
    }

    pub(crate) async fn try_begin(&mut self, chain: &str, parent_hint: Option<ObjectId>) -> Result<Begun, Failure> {
        let purpose = Purpose::Backup { chain: ChainName::new(chain).unwrap(), parent_hint };
        match self.ask(&ClientRequest::Begin(purpose)).await? {
            ServerReply::Begun(begun) => Ok(begun),
            other => panic!("{other:?}"),
        }
    }

    /// Says how far the backup has come.
    pub(crate) async fn tell(&mut self, progress: BackupProgress) {
        self.exchange.tell(progress, Instant::now()).unwrap();
        self.send().await;
    }

    /// Puts records; what the server says about them meanwhile is kept.
    pub(crate) async fn put(&mut self, records: &[SealedRecord]) {
        self.exchange.put(records, Instant::now()).unwrap();
        self.send().await;
    }

    /// Everything put so far is durable afterwards; how many records that are.
    pub(crate) async fn flush(&mut self) -> Result<u64, Failure> {
        match self.ask(&ClientRequest::Flush).await? {
            ServerReply::Flushed(count) => Ok(count),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn commit(&mut self, key: u8, snapshot: ObjectId) -> Result<Committed, Failure> {
        let commit = Commit { key: IdempotencyKey::from_bytes([key; 16]), snapshot };
        match self.ask(&ClientRequest::Commit(commit)).await? {
            ServerReply::Committed(committed) => Ok(committed),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn held(&mut self, ids: &[ObjectId]) -> Vec<bool> {
        match self.ask(&ClientRequest::Held(ids.iter().collect())).await.unwrap() {
            ServerReply::HeldAnswer(answer) => answer.iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn snapshots(&mut self, chain: Option<&str>, before: Option<u64>, limit: u32) -> SnapshotsAnswer {
        let chain = chain.map(|chain| ChainName::new(chain).unwrap());
        match self.ask(&ClientRequest::Snapshots(Snapshots { chain, before, limit, in_trash: false })).await.unwrap() {
            ServerReply::SnapshotsAnswer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// All parts of a fetch: records, and the ids that are missing.
    pub(crate) async fn fetch(
        &mut self,
        ids: &[ObjectId],
        with_basis: bool,
    ) -> Result<(Vec<SealedRecord>, Vec<ObjectId>), Failure> {
        let request = ClientRequest::Fetch(Fetch { ids: ids.iter().collect::<Ids>(), with_basis });
        let stream = self.start(&request).await;
        let (mut records, mut missing) = (Vec::new(), Vec::new());
        loop {
            match self.answer(stream).await? {
                ServerReply::Objects(Objects { records: part, missing: indexes, last }) => {
                    records.extend(part);
                    missing.extend(indexes.into_iter().map(|index| ids[index as usize]));
                    if last {
                        return Ok((records, missing));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Asks, and waits for the one answer.
    pub(crate) async fn ask(&mut self, request: &ClientRequest) -> Result<ServerReply, Failure> {
        let stream = self.start(request).await;
        self.answer(stream).await
    }

    /// Asks, and does not wait.
    pub(crate) async fn start(&mut self, request: &ClientRequest) -> StreamId {
        let stream = self.exchange.request(request, Instant::now()).unwrap();
        self.send().await;
        stream
    }

    /// The next answer to a request; that the connection ended is one, too.
    pub(crate) async fn answer(&mut self, wanted: StreamId) -> Result<ServerReply, Failure> {
        loop {
            match self.event().await {
                Some(ClientEvent::Reply { stream, reply }) if stream == wanted => return Ok(reply),
                Some(ClientEvent::Failed { stream, failure }) if stream == wanted => return Err(failure),
                Some(ClientEvent::Closed(failure)) => return Err(failure),
                Some(ClientEvent::Durable(_) | ClientEvent::Refused(_)) => {}
                Some(other) => panic!("unexpected {other:?}"),
                None => return Err(self.closed.clone().unwrap_or_else(|| Failure::new(FailCode::Internal, "lost"))),
            }
        }
    }

    /// Reads until the server has ended the connection; why.
    pub(crate) async fn end(&mut self) -> Option<Failure> {
        while self.event().await.is_some() {}
        self.closed.clone()
    }

    /// Waits until so many records are durable.
    pub(crate) async fn until_durable(&mut self, count: u64) {
        while self.durable < count {
            assert!(self.event().await.is_some(), "the connection ended at {}", self.durable);
        }
    }

    /// What the server says next; `None` when the connection is over.
    pub(crate) async fn event(&mut self) -> Option<ClientEvent> {
        loop {
            self.codec.set_phase(self.exchange.frame_phase());
            if let Some(frame) = self.codec.decode(&mut self.received).unwrap() {
                let event = self.exchange.on_frame(frame, Instant::now()).unwrap();
                match &event {
                    Some(ClientEvent::Durable(count)) => self.durable = *count,
                    Some(ClientEvent::Refused(ids)) => self.refused.extend(ids.iter()),
                    Some(ClientEvent::Closed(failure)) => self.closed = Some(failure.clone()),
                    _ => {}
                }
                if event.is_some() {
                    return event;
                }
                continue;
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self) {
        while let Some(mut frame) = self.exchange.poll_send() {
            while frame.has_remaining() {
                // A server that has hung up is noticed when reading.
                if self.stream.write_buf(&mut frame).await.is_err() {
                    return;
                }
            }
        }
        let _ = self.stream.flush().await;
    }
}

/// A device enrolled and connected, with its default vault open.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) token: Token,
    pub(crate) vault: VaultId,
    pub(crate) keys: Arc<Keys>,
}

impl Device {
    /// A new device of the first account.
    pub(crate) async fn new(server: &TestServer) -> Self {
        Self::named(server, "admin", "laptop").await
    }

    pub(crate) async fn named(server: &TestServer, account: &str, name: &str) -> Self {
        let invitation = server.invite(account, name).await;
        let mut client = Client::connect(server.server.address()).await;
        let enrolled = client.enroll(invitation.secret).await.unwrap();
        assert_eq!(enrolled.device_name.as_str(), name);
        assert_eq!(enrolled.account.as_str(), account);
        let (vault, keys) = client.open_vault(None).await.unwrap();
        let token = Token { device: enrolled.device, secret: enrolled.secret };
        Self { client, token, vault, keys: keys.expect("the default vault is managed") }
    }

    /// A new connection of the same device.
    pub(crate) async fn reconnect(&mut self, address: SocketAddr) {
        self.client = Client::connect(address).await;
        self.client.authenticate(&self.token).await.unwrap();
        self.client.open_vault(None).await.unwrap();
    }
}

/// Asks for the upgrade; what follows is frames.
pub(crate) async fn upgraded<S: Bytes>(mut stream: S) -> S {
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Reads up to the empty line, byte for byte, so that nothing behind it is lost.
pub(crate) async fn read_head(stream: &mut impl Bytes) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A TLS connection to the server that has this key.
pub(crate) async fn tls(
    address: SocketAddr,
    pin: [u8; 32],
    alpn: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { pin, provider: Arc::clone(&provider) });
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("server").unwrap();
    let stream = TcpStream::connect(address).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.subject_public_key_info());
        if found.as_ref() == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
