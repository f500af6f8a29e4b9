//! Clients that mean no good: they get little, and disturb nobody.

use std::time::{Duration, Instant};

use proto::FailCode;
use server_bin::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backup::{Backup, noise, sealer};
use crate::client::{Client, Device, upgraded};
use crate::server::TestServer;

/// Reads until the other end closes; how long that took.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("it is closed");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_give_way_to_others() {
    let server = TestServer::start_with(|options| {
        options.max_unauthenticated = std::num::NonZeroUsize::new(16);
    })
    .await;
    let address = server.server.address();
    let mut device = Device::new(&server).await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Whoever is known goes on, whoever comes is served.
    let backup = Backup::new(&device.keys, &[("file", b"content")]);
    device.client.begin("home").await;
    device.client.put(&backup.records(&mut sealer(&device.keys))).await;
    device.client.commit(1, backup.snapshot).await.unwrap();
    device.reconnect(address).await;
    device.client.begin("home").await;
    assert!(server.metric("backup_server_connections_shed_total").await >= 60);
    assert!(until_closed(&mut silent[0]).await < Duration::from_secs(5), "the oldest was shed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slowness_does_not_stretch_the_deadline() {
    let server = TestServer::start_with(|options| {
        options.login_timeout = Some(Span(Duration::from_secs(2)));
    })
    .await;
    let address = server.server.address();
    let request = b"GET /healthz HTTP/1.1\r\nHost: server\r\nX-Slow: 1234567890123456789012345678901234567890\r\n\r\n";
    let beginnings: [&[u8]; 4] = [b"", b"\x16", b"\x16\x03\x01", b"G"];
    let mut waiting = Vec::new();
    for beginning in beginnings {
        waiting.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            until_closed(&mut stream).await
        }));
    }
    // One byte now and then, over HTTP and, after the upgrade, within a frame.
    waiting.push(tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        trickle(&mut stream, request).await
    }));
    waiting.push(tokio::spawn(async move {
        let mut stream = upgraded(TcpStream::connect(address).await.unwrap()).await;
        trickle(&mut stream, &[0; 64]).await
    }));
    for waiting in waiting {
        let took = waiting.await.unwrap();
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
    server.stop().await;
}

/// Sends a byte at a time until the other end closes; how long that took.
async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let started = Instant::now();
    let mut answer = [0; 256];
    for byte in bytes {
        let _ = stream.write_all(std::slice::from_ref(byte)).await;
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut answer)).await {
            return started.elapsed();
        }
    }
    panic!("it was not closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_announce_too_much_end_the_connection() {
    let server = TestServer::start().await;
    let address = server.server.address();
    // Before authentication 4 KiB are the limit; the announcement is enough.
    let mut stream = upgraded(TcpStream::connect(address).await.unwrap()).await;
    stream.write_all(&frame_header(4097, 0x01)).await.unwrap();
    assert!(until_closed(&mut stream).await < Duration::from_secs(5));
    // Noise, and known types at the wrong time.
    for bytes in [noise(1, 4096), frame_header(0, 0xff).to_vec(), frame_header(0, 0x12).to_vec()] {
        let mut stream = upgraded(TcpStream::connect(address).await.unwrap()).await;
        stream.write_all(&bytes).await.unwrap();
        assert!(until_closed(&mut stream).await < Duration::from_secs(5));
    }
    assert!(server.metric("backup_server_protocol_violations_total").await >= 3);
    // Nobody else noticed.
    Device::new(&server).await;
    server.stop().await;
}

fn frame_header(payload_len: u32, tag: u8) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&payload_len.to_le_bytes());
    header[6] = tag;
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_for_too_long_is_given_up() {
    let server = TestServer::start_with(|options| options.idle_timeout = Some(Span(Duration::from_secs(1)))).await;
    let mut device = Device::new(&server).await;
    assert_eq!(device.client.end().await.unwrap().code(), FailCode::Timeout);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_authenticates_is_told_so() {
    let server = TestServer::start_with(|options| options.login_timeout = Some(Span(Duration::from_secs(1)))).await;
    let mut client = Client::connect(server.server.address()).await;
    assert_eq!(client.end().await.unwrap().code(), FailCode::Timeout);
    server.stop().await;
}
