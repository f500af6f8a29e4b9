//! Garbage collection in a running server: by schedule, and because somebody asked, beside clients.

use std::time::Duration;

use server_bin::Span;

use crate::backup::{Backup, noise, restore, sealer};
use crate::client::Device;
use crate::server::{TestServer, text, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn collections_by_schedule_do_not_touch_what_a_session_has_put() {
    let server = TestServer::start_with(|options| {
        options.gc_interval = Some(Span(Duration::from_millis(20)));
        options.gc_grace = Some(Span(Duration::ZERO));
    })
    .await;
    let mut device = Device::new(&server).await;
    let files = [noise(1, 1 << 20), noise(2, 1 << 20)];
    let first = Backup::new(&device.keys, &[("first", &files[0])]);
    device.client.begin("home").await;
    device.client.put(&first.records(&mut sealer(&device.keys))).await;
    device.client.commit(1, first.snapshot).await.unwrap();

    let second = Backup::new(&device.keys, &[("first", &files[0]), ("second", &files[1])]);
    device.client.begin("home").await;
    device.client.put(&second.records(&mut sealer(&device.keys))).await;
    device.client.flush().await.unwrap();
    let runs = server.metric("backup_server_gc_runs_total").await;
    wait_until("collections", async || server.metric("backup_server_gc_runs_total").await > runs + 2).await;
    device.client.commit(2, second.snapshot).await.unwrap();
    for (backup, count) in [(&first, 1), (&second, 2)] {
        assert_eq!(restore(&mut device.client, &device.keys, backup.snapshot).await.len(), count);
    }
    assert_eq!(server.metric("backup_server_gc_packs_deleted_total").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_snapshot_needs_goes_when_an_administrator_asks() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let file = noise(3, 256 << 10);
    let kept = Backup::new(&device.keys, &[("kept", &file)]);
    let large = noise(4, 3 << 20);
    let needless = Backup::new(&device.keys, &[("needless", &large)]);
    device.client.begin("home").await;
    let mut sealer = sealer(&device.keys);
    device.client.put(&[needless.records(&mut sealer), kept.records(&mut sealer)].concat()).await;
    device.client.commit(1, kept.snapshot).await.unwrap();
    let plans = server.command(&["gc", "--dry-run"]).await;
    assert!(text(&plans.stdout).contains("REFUSED         ") && text(&plans.stdout).contains(" would go"), "{plans:?}");

    let collected = server.command(&["gc", "--now", "--grace", "0s", "--json"]).await;
    assert!(collected.status.success(), "{collected:?}");
    let cycles: Vec<serde_json::Value> =
        text(&collected.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &cycles[..] else { panic!("{cycles:?}") };
    assert!(first["packs_repacked"].as_u64().unwrap() > 0 && first["objects_dead"].as_u64().unwrap() > 0, "{first}");
    assert!(second["bytes_freed"].as_u64().unwrap() > large.len() as u64, "{second}");
    assert_eq!(server.metric("backup_server_gc_bytes_freed_total").await, second["bytes_freed"].as_u64().unwrap());
    let restored = restore(&mut device.client, &device.keys, kept.snapshot).await;
    assert_eq!(restored, [("kept".to_owned(), file)]);
    server.stop().await;
}
