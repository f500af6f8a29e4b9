//! What is served over HTTP.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use server_bin::{ByteCount, MetricsAccess, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::backup::{Backup, noise, restore, sealer};
use crate::client::{Client, tls};
use crate::server::{TestServer, wait_until};

/// Status line with headers, and body, of a plain request.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n");
    exchange(TcpStream::connect(address).await.unwrap(), request.as_bytes()).await
}

/// Sends bytes, and reads what comes back until the server closes.
pub(crate) async fn exchange(mut stream: impl crate::client::Bytes, request: &[u8]) -> (String, String) {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) => (head.to_owned(), body.to_owned()),
        None => (answer, String::new()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness() {
    let server = TestServer::start().await;
    let (head, body) = get(server.server.address(), "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, r#"{"status":"alive"}"#);
    let (head, body) = get(server.server.address(), "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, r#"{"status":"ready"}"#);
    let dir = server.stop().await;

    let server = TestServer::start_in(dir, |options| options.min_free = Some(ByteCount(u64::MAX / 2))).await;
    let (head, body) = get(server.server.address(), "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, r#"{"reason":"disk full","status":"not ready"}"#);
    // Nothing new is taken, and the client is told why.
    let mut device = crate::client::Device::new(&server).await;
    let failure = device.client.try_begin("home", None).await.unwrap_err();
    assert_eq!(failure.code(), proto::FailCode::Full);
    let (head, _) = get(server.server.address(), "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 "));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_this_is_and_every_answer_is_guarded() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let (head, body) = get(address, "/").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(body.contains("<title>Delta Backup"), "{body}");
    let (missing, problem) = get(address, "/nothing?x=1").await;
    assert!(missing.starts_with("HTTP/1.1 404 ") && problem.contains("\"status\":404"), "{missing}");
    let (long, _) = get(address, &format!("/{}", "x".repeat(9000))).await;
    assert!(long.starts_with("HTTP/1.1 414 "), "{long}");
    assert!(missing.contains("cache-control: no-store"), "{missing}");
    for head in [head, missing, long, get(address, "/healthz").await.0] {
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
            "x-frame-options: DENY",
        ] {
            assert!(head.contains(header), "{header} is not in {head}");
        }
    }
    let (head, _) = exchange(
        TcpStream::connect(address).await.unwrap(),
        b"POST /healthz HTTP/1.1\r\nHost: server\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    server.stop().await;
}

/// The application's screens are pages to browsers, and nothing to anybody else; what a browser has is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn screens_are_pages_and_files_are_compressed_and_kept() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let ask = |path: &'static str, more: String| async move {
        let request = format!("GET {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n{more}\r\n");
        exchange(TcpStream::connect(address).await.unwrap(), request.as_bytes()).await
    };
    let browser = "Accept: text/html,*/*;q=0.8\r\n";
    let (head, body) = ask("/settings", browser.to_owned()).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("<title>Delta Backup"), "{head}");
    assert!(head.contains("cache-control: no-cache") && head.contains("vary: accept, accept-encoding"), "{head}");
    for header in [
        "script-src 'self'; style-src 'self';",
        "frame-src 'self'; ",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(head.contains(header), "{header} is not in {head}");
    }
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let (head, body) = ask("/settings", format!("{browser}If-None-Match: {etag}\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{head}");
    for (path, accept) in [("/settings", "*/*"), ("/api/v1/nothing", "text/html"), ("/%2e%2e/secret.json", "*/*")] {
        let (head, _) = ask(path, format!("Accept: {accept}\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{path} {head}");
    }
    let post = b"POST /settings HTTP/1.1\r\nHost: server\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (head, _) = exchange(TcpStream::connect(address).await.unwrap(), post).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    server.stop().await;
}

/// Nothing may be framed but the page in which a PDF is drawn, which can do nothing but draw; nothing but its script may be
/// loaded by whoever is of another origin, or of none.
#[tokio::test(flavor = "multi_thread")]
#[cfg(feature = "web-ui")]
async fn one_page_may_be_framed_and_it_has_no_origin() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let (head, body) = get(address, "/pdf/page.html").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("/pdf/draw.js"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    let said: Vec<&str> = policy.trim().split("; ").collect();
    let expected = [
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ];
    assert_eq!(said, expected);
    assert!(head.contains("x-frame-options: SAMEORIGIN"), "{head}");
    assert!(head.contains("cross-origin-resource-policy: same-origin"), "{head}");
    let (head, _) = get(address, "/pdf/draw.js").await;
    assert!(head.contains("cross-origin-resource-policy: cross-origin"), "{head}");
    for path in ["/", "/healthz", "/api/v1/me", "/pdf/draw.js", "/licenses.json", "/pdf/other", "/theme.js"] {
        let (head, _) = get(address, path).await;
        assert!(head.contains("frame-ancestors 'none'") && head.contains("x-frame-options: DENY"), "{path}: {head}");
        assert!(path == "/pdf/draw.js" || head.contains("cross-origin-resource-policy: same-origin"), "{path}: {head}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_prometheus_expects() {
    let server = TestServer::start().await;
    let mut device = crate::client::Device::new(&server).await;
    let backup = Backup::new(&device.keys, &[("file", b"content")]);
    device.client.begin("home").await;
    device.client.put(&backup.records(&mut sealer(&device.keys))).await;
    device.client.commit(1, backup.snapshot).await.unwrap();
    let (head, page) = get(server.server.address(), "/metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    check_exposition(&page);
    let value = |sample: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("{sample} ")));
        line.unwrap_or_else(|| panic!("no {sample}")).rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(value("backup_server_clients"), 1);
    assert_eq!(value("backup_server_sockets"), 2);
    assert_eq!(value("backup_server_commits_total"), 1);
    assert_eq!(value("backup_server_records_received_total"), 2);
    assert_eq!(value("backup_server_snapshots"), 1);
    assert!(value("backup_server_received_bytes_total") > 500);
    assert!(value("backup_server_store_bytes{class=\"data\",state=\"sealed\"}") > 100);
    let dir = server.stop().await;
    let server = TestServer::start_in(dir, |options| options.metrics = Some(MetricsAccess::Off)).await;
    assert!(get(server.server.address(), "/metrics").await.0.starts_with("HTTP/1.1 404 "));
    server.stop().await;
}

/// The rules of promtool: names, units, one HELP and TYPE before the samples of each name, no sample twice.
fn check_exposition(page: &str) {
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut current = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!types.contains_key(name) && text.ends_with('.'), "{line}");
            current = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(name == current && matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            types.insert(name, kind);
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            assert!(name == current && types.contains_key(name), "{line}");
            assert!(name.starts_with("backup_server_"), "{line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(value.parse::<f64>().is_ok() && seen.insert(sample), "{line}");
        }
    }
    assert!(types.len() > 25 && page.ends_with('\n'));
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_without_an_upgrade_is_explained() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let (head, body) = get(address, "/api/v1/connect").await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(head.contains("upgrade: delta-backup/1, websocket"), "{head}");
    assert!(head.contains("content-type: application/problem+json") && body.contains("proxy"), "{body}");
    let from_a_page = b"GET /api/v1/connect HTTP/1.1\r\nHost: server\r\nOrigin: https://evil.example\r\n\
        Connection: upgrade\r\nUpgrade: delta-backup/1\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(from_a_page).await.unwrap();
    let head = crate::client::read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_frames_go_through_a_websocket() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let invitation = server.invite("admin", "laptop").await;
    let stream = TcpStream::connect(address).await.unwrap();
    let url = format!("ws://{address}/api/v1/connect");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let (sink, messages) = socket.split();
    let sink =
        sink.with(|bytes: Bytes| async move { Ok::<_, tokio_tungstenite::tungstenite::Error>(Message::Binary(bytes)) });
    let sink = SinkWriter::new(CopyToBytes::new(Box::pin(sink.sink_map_err(std::io::Error::other))));
    let reader = StreamReader::new(Box::pin(messages.map(|message| match message {
        Ok(message) => Ok(message.into_data()),
        Err(error) => Err(std::io::Error::other(error)),
    })));
    let mut client = Client::over(Box::new(tokio::io::join(reader, Chunked(sink)))).await;
    client.enroll(invitation.secret).await.unwrap();
    let keys = client.open_vault(None).await.unwrap().1.unwrap();
    let file = noise(1, 3 << 20);
    let backup = Backup::new(&keys, &[("file", &file)]);
    client.begin("home").await;
    client.put(&backup.records(&mut sealer(&keys))).await;
    client.commit(1, backup.snapshot).await.unwrap();
    assert_eq!(restore(&mut client, &keys, backup.snapshot).await[0].1, file);
    server.stop().await;
}

/// Writes in pieces that fit the server's messages.
struct Chunked<W>(W);

impl<W: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for Chunked<W> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let len = bytes.len().min(proto::limits::WEB_SOCKET_MESSAGE_LEN_MAX);
        std::pin::Pin::new(&mut self.0).poll_write(cx, &bytes[..len])
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_refused_unless_it_was_asked_for() {
    let server = TestServer::start_with(|options| {
        options.plain_http = None;
        options.login_timeout = Some(Span(Duration::from_secs(5)));
    })
    .await;
    let address = server.server.address();
    let (head, body) = get(address, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 426 ") && head.contains("Connection: Upgrade, close"), "{head}");
    assert!(body.contains("https://"), "{body}");
    let (head, _) = exchange(TcpStream::connect(address).await.unwrap(), b"not even HTTP\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");

    // The same port speaks TLS, HTTP/1.1 and HTTP/2.
    let stream = tls(address, server.server.pin(), b"http/1.1").await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";
    let (head, _) = exchange(stream, request).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let stream = tls(address, server.server.pin(), b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_all_measure_are_cut_off() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let many: String = (0..100).map(|n| format!("X-{n}: x\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    for headers in [many, long] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: server\r\nConnection: close\r\n{headers}\r\n");
        let (head, _) = exchange(TcpStream::connect(address).await.unwrap(), request.as_bytes()).await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    }
    let ambiguous = b"GET /healthz HTTP/1.1\r\nHost: s\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx";
    let (head, _) = exchange(TcpStream::connect(address).await.unwrap(), ambiguous).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    server.stop().await;
}

/// Browsers that came with an authority's certificate come by TLS alone from then on; the server's own does not bind them.
#[tokio::test(flavor = "multi_thread")]
async fn an_authoritys_certificate_binds_browsers_to_tls() {
    let is_strict = async |server: &TestServer| {
        let stream = tls(server.server.address(), server.server.pin(), b"http/1.1").await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (head, _) = exchange(stream, request).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        head.to_lowercase().contains("strict-transport-security: max-age=31536000")
    };
    let server = TestServer::start().await;
    assert!(!is_strict(&server).await);

    // It is put in place while the server runs.
    let keys = server.dir.path().join("keys");
    let key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(keys.join("tls.key")).unwrap()).unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let authority = rcgen::Issuer::new(authority, rcgen::KeyPair::generate().unwrap());
    let issued = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(keys.join("tls.crt"), issued.pem()).unwrap();
    server.server.reload();
    wait_until("the certificate is shown", || is_strict(&server)).await;
    let (head, _) = get(server.server.address(), "/healthz").await;
    assert!(!head.to_lowercase().contains("strict-transport-security"), "nobody may be told without TLS: {head}");
    server.stop().await;
}
