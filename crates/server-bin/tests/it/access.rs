//! Who gets in, and what they see.

use std::time::Duration;

use proto::{FailCode, Secret};
use server_bin::Span;

use crate::backup::{Backup, sealer};
use crate::client::{Client, Device, Token};
use crate::server::{TestServer, text, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_an_unknown_device_look_alike() {
    let server = TestServer::start().await;
    let device = Device::new(&server).await;
    let wrong_secret = Token { secret: Secret::new([1; 32]), ..device.token.clone() };
    let unknown = Token { device: proto::DeviceId::from_bytes([9; 8]), ..device.token.clone() };
    let mut failures = Vec::new();
    for token in [&wrong_secret, &unknown] {
        let mut client = Client::connect(server.server.address()).await;
        failures.push(client.authenticate(token).await.unwrap_err());
        // It is the end of the connection.
        assert_eq!(client.end().await, Some(failures[failures.len() - 1].clone()));
    }
    assert_eq!(failures[0].code(), FailCode::Authentication);
    assert_eq!(failures[0], failures[1]);
    let (_, page) = crate::http::get(server.server.address(), "/metrics").await;
    assert!(page.contains("backup_server_authentications_total{outcome=\"refused\"} 2"), "{page}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_string_works_once_and_in_time() {
    let server = TestServer::start_with(|options| {
        options.enrolment_lifetime = Some(Span(Duration::from_secs(3)));
    })
    .await;
    let refused = |failure: proto::Failure| assert_eq!(failure.code(), FailCode::Authentication);
    let invitation = server.invite("admin", "laptop").await;
    let expiring = server.invite("admin", "late").await;
    let mut client = Client::connect(server.server.address()).await;
    client.enroll(invitation.secret.clone()).await.unwrap();
    let mut client = Client::connect(server.server.address()).await;
    refused(client.enroll(invitation.secret).await.unwrap_err());
    let mut client = Client::connect(server.server.address()).await;
    refused(client.enroll(Secret::new([7; 16])).await.unwrap_err());
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let mut client = Client::connect(server.server.address()).await;
    refused(client.enroll(expiring.secret).await.unwrap_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_device_ends_its_connections() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let mut other = Device::named(&server, "admin", "other").await;
    device.client.begin("home").await;
    let id = device.token.device.to_string();
    let output = server.command(&["device", "revoke", &id]).await;
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("revoked"));
    let ended = tokio::time::timeout(Duration::from_secs(5), device.client.end()).await;
    assert_eq!(ended.unwrap().unwrap().code(), FailCode::Authentication);
    let mut client = Client::connect(server.server.address()).await;
    let failure = client.authenticate(&device.token).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::Authentication);
    // Others stay, also after a restart.
    other.client.begin("home").await;
    let server = server.restart().await;
    other.reconnect(server.server.address()).await;
    let mut client = Client::connect(server.server.address()).await;
    assert!(client.authenticate(&device.token).await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_account_sees_nothing_of_the_first() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let again = server.command(&["account", "add", "bob"]).await;
    assert_eq!(again.status.code(), Some(1));
    let mut alice = Device::new(&server).await;
    let mut bob = Device::named(&server, "bob", "desk").await;
    assert_ne!(alice.vault, bob.vault);
    let backup = Backup::new(&alice.keys, &[("file", b"of alice")]);
    alice.client.begin("home").await;
    alice.client.put(&backup.records(&mut sealer(&alice.keys))).await;
    alice.client.commit(1, backup.snapshot).await.unwrap();

    assert_eq!(bob.client.snapshots(None, None, 10).await.items, []);
    assert_eq!(bob.client.held(&[backup.snapshot, backup.chunks[0].id]).await, [false, false]);
    let (records, missing) = bob.client.fetch(&[backup.snapshot], true).await.unwrap();
    assert_eq!((records.len(), missing), (0, vec![backup.snapshot]));
    assert_eq!(bob.client.try_begin("home", Some(backup.snapshot)).await.unwrap().parent, None);

    // The vault of another account is as good as none.
    let mut intruder = Client::connect(server.server.address()).await;
    intruder.authenticate(&bob.token).await.unwrap();
    let failure = intruder.open_vault(Some(alice.vault)).await.unwrap_err();
    let nothing = object::VaultId::from_bytes([1; 16]);
    assert_eq!(intruder.open_vault(Some(nothing)).await.unwrap_err(), failure);
    assert_eq!(failure.code(), FailCode::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_sees_its_own_chains_only() {
    let server = TestServer::start().await;
    let mut one = Device::named(&server, "admin", "one").await;
    let mut two = Device::named(&server, "admin", "two").await;
    assert_eq!(one.vault, two.vault);
    let backup = Backup::new(&one.keys, &[("file", b"of one")]);
    one.client.begin("home").await;
    let snapshot = backup.metadata.last().unwrap();
    let mut sealer = sealer(&one.keys);
    one.client.put(&backup.records(&mut sealer)).await;
    one.client.put(&[sealer.seal(std::slice::from_ref(snapshot)).unwrap()]).await;
    one.client.commit(1, backup.snapshot).await.unwrap();

    assert_eq!(two.client.snapshots(None, None, 10).await.items, []);
    assert_eq!(two.client.snapshots(Some("home"), None, 10).await.items, []);
    let (_, missing) = two.client.fetch(&[backup.snapshot], true).await.unwrap();
    assert_eq!(missing, [backup.snapshot]);
    let begun = two.client.try_begin("home", Some(backup.snapshot)).await.unwrap();
    assert_eq!(begun.parent, None);
    // What is the same is still not sent twice.
    assert_eq!(two.client.held(&[backup.chunks[0].id]).await, [true]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_answered_more_and_more_slowly() {
    let server = TestServer::start().await;
    let device = Device::new(&server).await;
    let wrong = Token { secret: Secret::new([1; 32]), ..device.token.clone() };
    let mut times = Vec::new();
    for _ in 0..7 {
        let mut client = Client::connect(server.server.address()).await;
        let started = std::time::Instant::now();
        client.authenticate(&wrong).await.unwrap_err();
        times.push(started.elapsed());
    }
    assert!(times[6] >= Duration::from_millis(500), "{times:?}");
    // The right token works, after the wait.
    let mut client = Client::connect(server.server.address()).await;
    client.authenticate(&device.token).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_limited_and_freed() {
    let server = TestServer::start_with(|options| options.max_sessions = std::num::NonZeroUsize::new(2)).await;
    let mut first = Device::named(&server, "admin", "one").await;
    let mut second = Device::named(&server, "admin", "two").await;
    first.client.begin("home").await;
    // One account gets half of two.
    let failure = second.client.try_begin("home", None).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::Busy);
    drop(first);
    let begun = std::cell::Cell::new(false);
    let client = tokio::sync::Mutex::new(&mut second.client);
    wait_until("a free place", || async {
        begun.set(client.lock().await.try_begin("home", None).await.is_ok());
        begun.get()
    })
    .await;
    server.stop().await;
}
