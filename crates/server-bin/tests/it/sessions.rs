//! Backups: put, made durable, committed, listed, fetched; resumed after cuts; kept through kills.

use std::time::Duration;

use proto::{ClientRequest, FailCode, ServerReply};
use server_bin::{ByteCount, Span};

use crate::backup::{Backup, noise, restore, sealer};
use crate::client::{Client, Device};
use crate::server::{Program, TestServer, command, text, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_comes_back_byte_for_byte() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let big = noise(1, 3 << 20);
    let files: [(&str, &[u8]); 3] = [("big", &big), ("empty", b""), ("small", b"a few bytes")];
    let backup = Backup::new(&device.keys, &files);
    let records = backup.records(&mut sealer(&device.keys));

    let begun = device.client.begin("home").await;
    assert_eq!(begun.parent, None);
    let chunk_ids: Vec<_> = backup.chunks.iter().map(|chunk| chunk.id).collect();
    assert!(device.client.held(&chunk_ids).await.iter().all(|held| !held));
    device.client.put(&records).await;
    assert_eq!(device.client.flush().await.unwrap(), records.len() as u64);
    let committed = device.client.commit(1, backup.snapshot).await.unwrap();
    assert!(!committed.repeated);
    assert_eq!(committed.objects_stored, (backup.chunks.len() + backup.metadata.len()) as u64);
    assert_eq!(committed.delta_objects, 0);
    let record_bytes: usize = records.iter().map(|record| record.bytes().len()).sum();
    assert!(committed.bytes_stored >= record_bytes as u64);
    assert!(committed.bytes_stored < record_bytes as u64 + 4096, "packs cost little");

    let listed = device.client.snapshots(None, None, 10).await;
    assert_eq!(listed.next, None);
    let [item] = &listed.items[..] else { panic!("{listed:?}") };
    assert_eq!((item.snapshot, item.seq), (backup.snapshot, committed.seq));
    assert_eq!((item.chain.as_str(), item.device_name.as_str()), ("home", "laptop"));
    assert_eq!((item.bytes_stored, item.received_ms), (committed.bytes_stored, committed.server_time_ms));

    let restored = restore(&mut device.client, &device.keys, backup.snapshot).await;
    let restored: Vec<(&str, &[u8])> = restored.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    assert_eq!(restored, files);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_over_tls() {
    let server = TestServer::start_with(|options| options.plain_http = None).await;
    let address = server.server.address();
    let invitation = server.invite("admin", "laptop").await;
    assert_eq!(invitation.identity, proto::ServerIdentity::Pinned(server.server.pin()));
    assert!(Client::connect_tls(address, [0; 32]).await.is_err(), "another server's key");
    let mut client = Client::connect_tls(address, server.server.pin()).await.unwrap();
    client.enroll(invitation.secret).await.unwrap();
    let (_, keys) = client.open_vault(None).await.unwrap();
    let keys = keys.unwrap();
    let big = noise(2, 9 << 20);
    let backup = Backup::new(&keys, &[("big", &big)]);
    client.begin("home").await;
    client.put(&backup.records(&mut sealer(&keys))).await;
    client.commit(1, backup.snapshot).await.unwrap();
    assert_eq!(restore(&mut client, &keys, backup.snapshot).await, [("big".to_owned(), big)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_backup_knows_the_first_and_sends_nothing_twice() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let file = noise(3, 2 << 20);
    let first = Backup::new(&device.keys, &[("file", &file)]);
    device.client.begin("home").await;
    device.client.put(&first.records(&mut sealer(&device.keys))).await;
    let committed = device.client.commit(1, first.snapshot).await.unwrap();

    let second = Backup::new(&device.keys, &[("file", &file), ("name", b"new")]);
    let begun = device.client.begin("home").await;
    let parent = begun.parent.unwrap();
    assert_eq!((parent.snapshot, parent.seq), (first.snapshot, committed.seq));
    let ids: Vec<_> = second.chunks.iter().chain(&second.metadata).map(|object| object.id).collect();
    let held = device.client.held(&ids).await;
    let new: Vec<_> = second.chunks.iter().chain(&second.metadata).zip(&held).filter(|(_, held)| !**held).collect();
    // The new file's chunk, the changed tree, the snapshot; the old file's list is held with all its chunks.
    assert_eq!(new.len(), 3, "{held:?}");
    let mut sealer = sealer(&device.keys);
    for (object, _) in new {
        device.client.put(&[sealer.seal(std::slice::from_ref(object)).unwrap()]).await;
    }
    let committed = device.client.commit(2, second.snapshot).await.unwrap();
    assert_eq!(committed.objects_stored, 3);
    assert!(committed.bytes_stored < 4096, "{committed:?}");
    let restored = restore(&mut device.client, &device.keys, second.snapshot).await;
    assert_eq!(restored[0].1, file);

    // Snapshots come newest first, page by page.
    let page = device.client.snapshots(Some("home"), None, 1).await;
    assert_eq!(page.items[0].snapshot, second.snapshot);
    let page = device.client.snapshots(Some("home"), page.next, 1).await;
    assert_eq!((page.items[0].snapshot, page.next), (first.snapshot, None));
    assert_eq!(device.client.snapshots(Some("other"), None, 1).await.items, []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_asked_for_twice_happens_once() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let backup = Backup::new(&device.keys, &[("file", b"content")]);
    device.client.begin("home").await;
    device.client.put(&backup.records(&mut sealer(&device.keys))).await;
    let first = device.client.commit(7, backup.snapshot).await.unwrap();

    device.reconnect(server.server.address()).await;
    device.client.begin("home").await;
    let again = device.client.commit(7, backup.snapshot).await.unwrap();
    assert_eq!(again, proto::Committed { repeated: true, ..first });
    assert_eq!(device.client.snapshots(None, None, 10).await.items.len(), 1);

    // The same key for something else is refused.
    let other = Backup::new(&device.keys, &[("file", b"other content")]);
    device.client.begin("home").await;
    device.client.put(&other.records(&mut sealer(&device.keys))).await;
    assert_eq!(device.client.commit(7, other.snapshot).await.unwrap_err().code(), FailCode::Conflict);
    device.client.commit(8, other.snapshot).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_names_what_is_missing_and_the_session_goes_on() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let backup = Backup::new(&device.keys, &[("file", &noise(4, 100))]);
    let records = backup.records(&mut sealer(&device.keys));
    let (data, metadata) = records.split_at(backup.chunks.len());
    device.client.begin("home").await;
    device.client.put(metadata).await;
    let failure = device.client.commit(1, backup.snapshot).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::Missing);
    assert_eq!(failure.missing_ids().iter().collect::<Vec<_>>(), [backup.chunks[0].id]);
    // A chunk is no snapshot.
    device.client.put(data).await;
    assert_eq!(device.client.commit(1, backup.chunks[0].id).await.unwrap_err().code(), FailCode::NotAllowed);
    device.client.commit(1, backup.snapshot).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_becomes_durable_by_itself_and_survives_a_cut() {
    let server = TestServer::start_with(|options| {
        options.seal_interval = Some(Span(Duration::from_millis(50)));
        options.pack_size = Some(ByteCount(1 << 20));
    })
    .await;
    let mut device = Device::new(&server).await;
    let backup = Backup::new(&device.keys, &[("file", &noise(5, 4 << 20))]);
    let records = backup.records(&mut sealer(&device.keys));
    let (first, rest) = records.split_at(2);
    device.client.begin("home").await;
    device.client.put(first).await;
    device.client.until_durable(2).await;
    // More than a pack: sealed because it is full, whatever the time.
    device.client.put(rest).await;
    device.client.until_durable(records.len() as u64).await;

    // The connection is cut without a commit; what was sent need not be sent again.
    device.reconnect(server.server.address()).await;
    device.client.begin("home").await;
    let ids: Vec<_> = backup.chunks.iter().chain(&backup.metadata).map(|object| object.id).collect();
    assert!(device.client.held(&ids).await.iter().all(|held| *held));
    let committed = device.client.commit(1, backup.snapshot).await.unwrap();
    assert_eq!(committed.objects_stored, 0);
    assert_eq!(restore(&mut device.client, &device.keys, backup.snapshot).await[0].1, noise(5, 4 << 20));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_yet_durable_is_sealed_when_the_connection_ends() {
    let server = TestServer::start_with(|options| options.seal_interval = Some(Span(Duration::from_secs(60)))).await;
    let mut device = Device::new(&server).await;
    let backup = Backup::new(&device.keys, &[("file", b"content")]);
    device.client.begin("home").await;
    device.client.put(&backup.records(&mut sealer(&device.keys))).await;
    // The server has them once it answers; nothing is durable.
    assert_eq!(device.client.held(&[backup.snapshot]).await, [true]);
    assert_eq!(device.client.durable, 0);
    drop(device.client);
    wait_until("the end of the session", || async { server.metric("backup_server_sessions").await == 0 }).await;
    let server = server.restart().await;
    let mut client = Client::connect(server.server.address()).await;
    client.authenticate(&device.token).await.unwrap();
    client.open_vault(None).await.unwrap();
    // Also without a session.
    assert_eq!(client.held(&[backup.snapshot]).await, [true]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_write_into_one_vault_at_once() {
    let server = TestServer::start().await;
    let mut one = Device::named(&server, "admin", "one").await;
    let mut two = Device::named(&server, "admin", "two").await;
    let shared = noise(6, 1 << 20);
    let a = Backup::new(&one.keys, &[("a", b"only in one"), ("shared", &shared)]);
    let b = Backup::new(&two.keys, &[("b", b"only in two"), ("shared", &shared)]);
    one.client.begin("home").await;
    two.client.begin("home").await;
    one.client.put(&a.records(&mut sealer(&one.keys))).await;
    two.client.put(&b.records(&mut sealer(&two.keys))).await;
    let first = one.client.commit(1, a.snapshot).await.unwrap();
    let second = two.client.commit(2, b.snapshot).await.unwrap();
    assert!(second.seq > first.seq);
    // What one has put, the other need not.
    let ids: Vec<_> = a.chunks.iter().map(|chunk| chunk.id).collect();
    assert!(two.client.held(&ids).await.iter().all(|held| *held));
    assert_eq!(restore(&mut one.client, &one.keys, a.snapshot).await[1].1, shared);
    assert_eq!(restore(&mut two.client, &two.keys, b.snapshot).await[1].1, shared);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let server = TestServer::start().await;
    let mut slow = Device::named(&server, "admin", "slow").await;
    let backup = Backup::new(&slow.keys, &[("file", &noise(7, 40 << 20))]);
    slow.client.begin("home").await;
    slow.client.put(&backup.records(&mut sealer(&slow.keys))).await;
    slow.client.commit(1, backup.snapshot).await.unwrap();
    // Asks for more than sockets and queues hold, several times over, and does not look at it.
    let ids: proto::Ids = backup.chunks.iter().map(|chunk| chunk.id).collect();
    for _ in 0..5 {
        slow.client.start(&ClientRequest::Fetch(proto::Fetch { ids: ids.clone(), with_basis: false })).await;
    }
    let mut other = Device::named(&server, "admin", "other").await;
    let small = Backup::new(&other.keys, &[("file", b"small")]);
    other.client.begin("home").await;
    other.client.put(&small.records(&mut sealer(&other.keys))).await;
    other.client.commit(2, small.snapshot).await.unwrap();
    assert_eq!(restore(&mut other.client, &other.keys, small.snapshot).await[0].1, b"small");
    drop(slow);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_are_all_answered() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let backup = Backup::new(&device.keys, &[("file", &noise(8, 6 << 20))]);
    device.client.begin("home").await;
    device.client.put(&backup.records(&mut sealer(&device.keys))).await;
    device.client.commit(1, backup.snapshot).await.unwrap();
    let ids: proto::Ids = backup.chunks.iter().map(|chunk| chunk.id).collect();
    let mut streams = Vec::new();
    for index in 0..40 {
        let request = match index % 3 {
            0 => ClientRequest::Held(ids.clone()),
            1 => ClientRequest::Fetch(proto::Fetch { ids: ids.clone(), with_basis: true }),
            _ => ClientRequest::Snapshots(proto::Snapshots { chain: None, before: None, limit: 3, in_trash: false }),
        };
        streams.push(device.client.start(&request).await);
    }
    let mut open: std::collections::HashSet<_> = streams.into_iter().collect();
    while !open.is_empty() {
        match device.client.event().await.unwrap() {
            proto::ClientEvent::Reply { reply: ServerReply::Objects(part), .. } if !part.last => {}
            proto::ClientEvent::Reply { stream, .. } => assert!(open.remove(&stream)),
            other => panic!("{other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_makes_safe_what_sessions_hold_and_says_so() {
    let server = TestServer::start_with(|options| options.seal_interval = Some(Span(Duration::from_secs(60)))).await;
    let mut device = Device::new(&server).await;
    let mut idle = Device::named(&server, "admin", "idle").await;
    let backup = Backup::new(&device.keys, &[("file", b"content")]);
    let records = backup.records(&mut sealer(&device.keys));
    device.client.begin("home").await;
    device.client.put(&records).await;
    assert_eq!(device.client.held(&[backup.snapshot]).await, [true]);
    let stopping = tokio::spawn(server.stop());
    assert_eq!(device.client.end().await.unwrap().code(), FailCode::ShuttingDown);
    assert_eq!(device.client.durable, records.len() as u64);
    assert_eq!(idle.client.end().await.unwrap().code(), FailCode::ShuttingDown);
    let dir = stopping.await.unwrap();

    let server = TestServer::start_in(dir, |_| ()).await;
    device.reconnect(server.server.address()).await;
    device.client.begin("home").await;
    device.client.commit(1, backup.snapshot).await.unwrap();
    server.stop().await;
}

/// The real program, killed: what was acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut program = Program::serve(&data_dir, &[]);
    let enrolled = command(&data_dir, &["enroll", "--device", "laptop"]);
    let invitation: proto::EnrolmentString = text(&enrolled.stdout).trim().parse().unwrap();
    assert_eq!(invitation.port, program.port);
    let mut client = Client::connect(program.address()).await;
    let enrolled = client.enroll(invitation.secret).await.unwrap();
    let token = crate::client::Token { device: enrolled.device, secret: enrolled.secret };
    let keys = client.open_vault(None).await.unwrap().1.unwrap();

    let committed = Backup::new(&keys, &[("file", b"committed")]);
    client.begin("home").await;
    client.put(&committed.records(&mut sealer(&keys))).await;
    client.commit(1, committed.snapshot).await.unwrap();

    let flushed = Backup::new(&keys, &[("file", &noise(9, 2 << 20))]);
    client.begin("home").await;
    client.put(&flushed.records(&mut sealer(&keys))).await;
    client.flush().await.unwrap();
    let lost = Backup::new(&keys, &[("file", &noise(10, 2 << 20))]);
    client.put(&lost.records(&mut sealer(&keys))).await;
    assert_eq!(client.held(&[lost.snapshot]).await, [true]);
    program.signal("KILL");
    program.output();

    program = Program::serve(&data_dir, &[]);
    let mut client = Client::connect(program.address()).await;
    client.authenticate(&token).await.unwrap();
    client.open_vault(None).await.unwrap();
    assert_eq!(restore(&mut client, &keys, committed.snapshot).await[0].1, b"committed");
    let begun = client.begin("home").await;
    assert_eq!(begun.parent.unwrap().snapshot, committed.snapshot);
    assert_eq!(client.held(&[flushed.snapshot, lost.snapshot]).await, [true, false]);
    client.commit(2, flushed.snapshot).await.unwrap();
    assert_eq!(restore(&mut client, &keys, flushed.snapshot).await[0].1, noise(9, 2 << 20));
    drop(client);
    program.signal("TERM");
    assert!(program.output().status.success());
}

/// The real program, asked to stop in the middle of a backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_server_seals_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let program = Program::serve(&data_dir, &["--seal-interval", "60s"]);
    let enrolled = command(&data_dir, &["enroll", "--device", "laptop"]);
    let invitation: proto::EnrolmentString = text(&enrolled.stdout).trim().parse().unwrap();
    let mut client = Client::connect(program.address()).await;
    let enrolled = client.enroll(invitation.secret).await.unwrap();
    let token = crate::client::Token { device: enrolled.device, secret: enrolled.secret };
    let keys = client.open_vault(None).await.unwrap().1.unwrap();
    let backup = Backup::new(&keys, &[("file", &noise(11, 2 << 20))]);
    client.begin("home").await;
    client.put(&backup.records(&mut sealer(&keys))).await;
    assert_eq!(client.held(&[backup.snapshot]).await, [true]);
    program.signal("TERM");
    assert_eq!(client.end().await.unwrap().code(), FailCode::ShuttingDown);
    let output = program.output();
    assert!(output.status.success(), "{output:?}");

    let program = Program::serve(&data_dir, &[]);
    let mut client = Client::connect(program.address()).await;
    client.authenticate(&token).await.unwrap();
    client.open_vault(None).await.unwrap();
    client.begin("home").await;
    assert_eq!(client.commit(1, backup.snapshot).await.unwrap().objects_stored, 0);
    drop(client);
    program.signal("TERM");
    assert!(program.output().status.success());
}
