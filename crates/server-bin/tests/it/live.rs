//! What goes on, as people are told: events, activity, statistics, health.

use std::net::SocketAddr;

use proto::{BackupProgress, Extent};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backup::{Backup, noise, sealer};
use crate::browsers::Browser;
use crate::client::Device;
use crate::rest::Script;
use crate::server::{TestServer, wait_until};

/// One event, as a browser takes it.
#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

/// Somebody who listens.
struct Listener {
    stream: TcpStream,
    raw: Vec<u8>,
    text: String,
}

impl Listener {
    /// Logged in by `header`; goes on after the id, if one is said. The first event is `hello`.
    async fn open(address: SocketAddr, header: &str, after: Option<&str>) -> (Self, Event) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let after = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n{header}\r\n{after}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = crate::client::read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
        let mut listener = Self { stream, raw: Vec::new(), text: String::new() };
        let hello = listener.next().await.unwrap();
        assert_eq!(hello.name, "hello");
        (listener, hello)
    }

    async fn of(script: &Script, after: Option<&str>) -> (Self, Event) {
        Self::open(script.address, &format!("Authorization: {}", script.authorization), after).await
    }

    /// The next event; `None` when the server has ended it.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let Some(name) = field("event: ") else { continue };
                let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                return Some(Event { name, id: field("id: "), data });
            }
            if self.stream.read_buf(&mut self.raw).await.unwrap_or(0) == 0 {
                return None;
            }
            while let Some(end) = self.raw.windows(2).position(|end| end == b"\r\n") {
                let len = usize::from_str_radix(std::str::from_utf8(&self.raw[..end]).unwrap(), 16).unwrap();
                if self.raw.len() < end + 4 + len {
                    break;
                }
                self.text.push_str(std::str::from_utf8(&self.raw[end + 2..end + 2 + len]).unwrap());
                self.raw.drain(..end + 4 + len);
            }
        }
    }

    /// The next of this name, for which this holds.
    async fn until(&mut self, name: &str, holds: impl Fn(&Value) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the server goes on");
            if event.name == name && holds(&event.data) {
                return event;
            }
        }
    }

    async fn activity(&mut self) -> Event {
        self.until("activity", |_| true).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_goes_on_after_the_last_id() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("before.txt", b"not told").await.expect(201);
    let (mut listener, hello) = Listener::of(&script, None).await;
    assert_eq!((hello.data["number"].as_u64(), hello.data["has_missed"].as_bool()), (Some(1), Some(false)));
    let epoch = hello.data["epoch"].as_str().unwrap().to_owned();
    script.put("first.txt", b"one").await.expect(201);
    let first = listener.activity().await;
    assert_eq!(first.data["name"], "first.txt");
    assert_eq!(first.id.as_deref(), Some(format!("{epoch}-2").as_str()));
    drop(listener);
    script.put("second.txt", b"two").await.expect(201);
    script.put("third.txt", b"three").await.expect(201);
    let (mut listener, hello) = Listener::of(&script, first.id.as_deref()).await;
    assert_eq!(hello.data["has_missed"], false);
    assert_eq!(listener.activity().await.data["name"], "second.txt");
    assert_eq!(listener.activity().await.data["name"], "third.txt");
    // The same as a list, newest first, page by page and filtered.
    let page = script.get("/api/v1/activity?limit=2").await.expect(200).json();
    let names = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect()
    };
    assert_eq!(names(&page), ["third.txt", "second.txt"]);
    let cursor = page["next"].as_str().unwrap();
    let rest = script.get(&format!("/api/v1/activity?limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!((names(&rest), &rest["next"]), (vec![json!("first.txt"), json!("before.txt")], &Value::Null));
    let found = script.get("/api/v1/activity?kind=upload&text=SECOND").await.expect(200).json();
    assert_eq!(names(&found), ["second.txt"]);
    script.get("/api/v1/activity?device=nobody").await.expect(400);
    script.get("/api/v1/activity?kind=nothing").await.expect(400);
    script.get("/api/v1/activity?more=1").await.expect(400);
    // A server that was started again says that it is another life, and does not take the number for one of its own.
    drop(listener);
    let server = server.restart().await;
    let script = Script { address: server.server.address(), ..script };
    let (_, hello) = Listener::of(&script, first.id.as_deref()).await;
    assert_ne!(hello.data["epoch"], epoch.as_str());
    assert_eq!(hello.data["has_missed"], true);
    let (_, hello) = Listener::of(&script, Some("nonsense")).await;
    assert_eq!(hello.data["has_missed"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_taken_are_told_with_the_reason() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("notes.txt", b"the same").await.expect(201);
    script.put("notes.txt", b"the same").await.expect(200);
    // Whoever said under which condition wanted it so.
    script.ask("PUT", "/api/v1/files/notes.txt", &[("If-None-Match", "*")], b"other").await.expect(412);
    script.post("/api/v1/folder", &json!({ "path": "photos" })).await.expect(200);
    script.put("photos", b"x").await.expect(409);
    assert!(server.command(&["account", "quota", "admin", "1B"]).await.status.success());
    script.put("large.bin", &noise(1, 4096)).await.expect(507);
    let told = script.get("/api/v1/activity").await.expect(200).json();
    let told: Vec<(&str, &str)> = told["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["kind"].as_str().unwrap(), item["name"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("error", "large.bin"), ("error", "photos"), ("skip", "notes.txt"), ("upload", "notes.txt")]);
    let refused = script.get("/api/v1/activity?kind=error&limit=1").await.expect(200).json();
    assert!(refused["items"][0]["detail"].as_str().unwrap().contains("quota"), "{refused}");
    // Names of files are for nobody else, and what is said of them is not either.
    assert!(server.command(&["account", "add", "grace", "--role", "admin"]).await.status.success());
    let other = Script::new(&server, "grace", "admin").await;
    let seen = other.get("/api/v1/activity?kind=error").await.expect(200).json();
    assert_eq!((&seen["items"][0]["name"], &seen["items"][0]["detail"]), (&Value::Null, &json!("")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_came_to_is_what_its_commit_says() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let (mut listener, _) = Listener::of(&script, None).await;
    let mut device = Device::new(&server).await;
    let id = listener.activity().await.data["device"].clone();
    listener.until("now", |now| now["connected_devices"] == json!([id])).await;
    let bytes = noise(1, 3 << 20);
    let backup = Backup::new(&device.keys, &[("file", &bytes)]);
    let records = backup.records(&mut sealer(&device.keys));
    let sent: usize = records.iter().map(|record| record.bytes().len()).sum();
    device.client.begin("home").await;
    device.client.put(&records).await;
    let moves = |now: &Value| now["transfers"][0]["bytes"] == sent;
    let now = listener.until("now", moves).await.data["transfers"][0].clone();
    assert_eq!((&now["kind"], &now["name"], &now["device_name"]), (&json!("backup"), &json!("home"), &json!("laptop")));
    assert_eq!(now["total_bytes"], Value::Null, "nobody knows it before the end");
    let outlook = |now: &Value| {
        let outlook = ["files", "files_total", "source_bytes", "source_total_bytes"].map(|name| now[name].as_u64());
        (outlook[0], outlook[1], outlook[2], outlook[3])
    };
    assert_eq!(outlook(&now), (Some(0), None, None, None));
    // What a device says of how far it is is shown, and nothing else comes of it.
    let said = |files, bytes| Extent { files, bytes };
    device.client.tell(BackupProgress { done: said(1, 1000), expected: Some(said(4, 4000)) }).await;
    let says = |now: &Value| now["transfers"][0]["files"] == 1;
    let now = listener.until("now", says).await.data["transfers"][0].clone();
    assert_eq!(outlook(&now), (Some(1), Some(4), Some(1000), Some(4000)));
    device.client.tell(BackupProgress { done: said(u64::MAX, u64::MAX), expected: Some(said(0, 0)) }).await;
    let first = device.client.commit(1, backup.snapshot).await.unwrap();
    let told = listener.activity().await.data;
    assert_eq!((&told["kind"], &told["name"], &told["files"]), (&json!("backup"), &json!("home"), &json!(1)));
    let expected = |source: u64, deduplicated: u64, sent: usize, stored: u64| {
        json!({
            "source_bytes": source, "deduplicated_bytes": deduplicated, "delta_bytes": 0,
            "sent_bytes": sent, "stored_bytes": stored, "restored_bytes": 0,
        })
    };
    assert_eq!(told["figures"], expected(3 << 20, 0, sent, first.bytes_stored));
    listener.until("now", |now| now["transfers"] == json!([])).await;

    // The same again, beside a small new file: nothing but that is sent.
    let new = noise(2, 1000);
    let second = Backup::new(&device.keys, &[("file", &bytes), ("new", &new)]);
    let mut sealer = sealer(&device.keys);
    let chunk = second.chunks.last().unwrap();
    let records = [std::slice::from_ref(chunk), &second.metadata[..]].map(|objects| sealer.seal(objects).unwrap());
    let sent_again: usize = records.iter().map(|record| record.bytes().len()).sum();
    device.client.begin("home").await;
    // It is taken to be as large as the last one.
    let begins = |now: &Value| now["transfers"][0]["files_total"] == 1;
    let now = listener.until("now", begins).await.data["transfers"][0].clone();
    assert_eq!(outlook(&now), (Some(0), Some(1), None, Some(3 << 20)));
    device.client.put(&records).await;
    let committed = device.client.commit(2, second.snapshot).await.unwrap();
    // Asked for again, it is not counted again.
    let (source, stored) = ((3 << 20) + 1000, committed.bytes_stored);
    assert_eq!(listener.activity().await.data["figures"], expected(source, 3 << 20, sent_again, stored));
    device.client.begin("home").await;
    assert!(device.client.commit(2, second.snapshot).await.unwrap().repeated);

    let look = async |server: &TestServer| {
        let script = Script { address: server.server.address(), ..script.clone() };
        script.get("/api/v1/statistics?span=day").await.expect(200).json()
    };

    // A session that is cut off tells what came.
    let third = Backup::new(&device.keys, &[("other", &noise(3, 2000))]);
    let records = third.records(&mut sealer);
    device.client.begin("home").await;
    device.client.put(&records).await;
    device.client.flush().await.unwrap();
    let totals = look(&server).await["totals"].clone();
    assert!(totals["sent_bytes"].as_u64().unwrap() > (sent + sent_again) as u64, "figures move while a backup lasts");
    assert_eq!(totals["source_bytes"], 2 * (3 << 20) + 1000 + 2000);
    drop(device);
    let told = listener.activity().await.data;
    assert_eq!((&told["kind"], &told["figures"]["source_bytes"]), (&json!("backup-cut-off"), &json!(2000)));
    let cut_off = told["figures"].clone();

    let sum = |name: &str, of: [u64; 2]| of[0] + of[1] + cut_off[name].as_u64().unwrap();
    let statistics = look(&server).await;
    let totals = &statistics["totals"];
    assert_eq!(totals["sent_bytes"], sum("sent_bytes", [sent as u64, sent_again as u64]));
    assert_eq!(totals["stored_bytes"], sum("stored_bytes", [first.bytes_stored, committed.bytes_stored]));
    assert_eq!(totals["deduplicated_bytes"], 3 << 20);
    assert!(statistics["packed_bytes"].as_u64().unwrap() >= totals["stored_bytes"].as_u64().unwrap());
    assert!(statistics["free_bytes"].as_u64().unwrap() > 0);
    let days = statistics["series"].as_array().unwrap();
    let all_days: u64 = days.iter().map(|day| day["sent_bytes"].as_u64().unwrap()).sum();
    assert_eq!(totals["sent_bytes"], all_days);
    // It is there after a restart, which counts nothing twice.
    let server = server.restart().await;
    assert_eq!(&look(&server).await["totals"], totals);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_of_an_upload_shows_and_a_restore_is_counted() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let mut bytes = noise(7, 2 << 20);
    script.put("disk.img", &bytes).await.expect(201);
    bytes[1_000_000..1_004_096].copy_from_slice(&noise(8, 4096));
    let (mut listener, _) = Listener::of(&script, None).await;
    let stored = script.put("disk.img", &bytes).await.expect(200).json()["bytes_stored"].as_u64().unwrap();
    let told = listener.activity().await.data;
    let figures = &told["figures"];
    let figure = |name: &str| figures[name].as_u64().unwrap();
    assert_eq!((figure("source_bytes"), figure("sent_bytes")), (2 << 20, 2 << 20));
    assert_eq!(figure("stored_bytes"), stored);
    assert!(stored < 12_000 && figure("delta_bytes") > 0, "{figures}");
    let whole = figure("source_bytes") - figure("deduplicated_bytes") - figure("delta_bytes");
    assert_eq!(whole, 0, "every chunk was here, or is a delta: {figures}");
    assert_eq!(script.file("disk.img").await, bytes);
    let restored = async || {
        let statistics = script.get("/api/v1/statistics").await.expect(200).json();
        statistics["totals"]["restored_bytes"] == bytes.len()
    };
    wait_until("the download is counted", restored).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_others_do() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "grace"]).await.status.success());
    let admin = Script::new(&server, "admin", "admin").await;
    let grace = Script::new(&server, "grace", "admin").await;
    let (mut hers, hello) = Listener::of(&grace, None).await;
    let (mut all, _) = Listener::of(&admin, None).await;
    admin.put("secret.txt", b"of the admin").await.expect(201);
    grace.put("own.txt", b"of grace").await.expect(201);
    // Hers is the first she hears of, and its number tells of no other.
    let told = hers.activity().await;
    assert_eq!((&told.data["name"], &told.data["number"]), (&json!("own.txt"), &json!(1)));
    assert_eq!(hello.data["number"], 0);
    let list = grace.get("/api/v1/activity").await.expect(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let statistics = grace.get("/api/v1/statistics").await.expect(200).json();
    assert_eq!(statistics["totals"]["source_bytes"], 8);
    assert_eq!(statistics["free_bytes"], Value::Null);
    assert_eq!(statistics["vaults"].as_array().unwrap().len(), 1);
    // An administrator is told that she does something, and not what it is called.
    assert_eq!(all.activity().await.data["name"], "secret.txt");
    let told = all.activity().await.data;
    assert_eq!((&told["account"], &told["name"]), (&json!("grace"), &Value::Null));
    let found = admin.get("/api/v1/activity?text=own").await.expect(200).json();
    assert_eq!(found["items"], json!([]));
    // A token that may not see accounts sees no others, whoever it belongs to.
    let narrow = Script::new(&server, "admin", "read").await;
    let list = narrow.get("/api/v1/activity").await.expect(200).json();
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["account"] == "admin"), "{list}");
    assert_eq!(grace.get("/api/v1/health").await.expect(200).json(), json!({ "alerts": [], "devices": [] }));
    let put_only = Script::new(&server, "admin", "put-only").await;
    for path in ["events", "activity", "statistics", "health"] {
        put_only.get(&format!("/api/v1/{path}")).await.expect(403);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_login() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let ends = async |mut listener: Listener| while listener.next().await.is_some() {};
    let browser = Browser::logged_in(&server, "admin").await;
    let cookie = |browser: &Browser| format!("Cookie: {}", browser.cookie.as_ref().unwrap());
    let (listener, _) = Listener::open(address, &cookie(&browser), None).await;
    browser.ask("DELETE", "/api/v1/session", None).await.expect(204);
    ends(listener).await;
    // A revoked token, an account that is shut, and a server that stops.
    let output = server.command(&["token", "add", "listener", "--scope", "read"]).await;
    let secret = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let (listener, _) = Listener::open(address, &format!("Authorization: Bearer {secret}"), None).await;
    let id = secret.split('_').nth(1).unwrap();
    assert!(server.command(&["token", "revoke", id]).await.status.success());
    ends(listener).await;
    assert!(server.command(&["account", "add", "grace"]).await.status.success());
    let grace = Script::new(&server, "grace", "read").await;
    let (listener, _) = Listener::of(&grace, None).await;
    assert!(server.command(&["account", "disable", "grace"]).await.status.success());
    ends(listener).await;
    let admin = Script::new(&server, "admin", "read").await;
    let (listener, _) = Listener::of(&admin, None).await;
    let (_, ()) = tokio::join!(server.stop(), ends(listener));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_listeners() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "read").await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Listener::of(&script, None).await);
    }
    let refused = script.get("/api/v1/events").await.expect(503);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(server.metric("backup_server_listeners").await, 16);
    drop(open);
    let has_ended = async || server.metric("backup_server_listeners").await == 0;
    wait_until("their places are free again", has_ended).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_how_devices_are_doing() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "read").await;
    let mut device = Device::new(&server).await;
    let look = async || {
        let health = script.get("/api/v1/health").await.expect(200).json();
        health["devices"][0].clone()
    };
    let new = look().await;
    assert_eq!((&new["name"], &new["state"], &new["last_backup_ms"]), (&json!("laptop"), &json!("new"), &Value::Null));
    assert_eq!(new["is_connected"], true);
    let backup = Backup::new(&device.keys, &[("file", b"content")]);
    let records = backup.records(&mut sealer(&device.keys));
    device.client.begin("home").await;
    device.client.put(&records).await;
    let committed = device.client.commit(1, backup.snapshot).await.unwrap();
    drop(device);
    let gone = async || look().await["is_connected"] == false;
    wait_until("the device is gone", gone).await;
    let done = look().await;
    assert_eq!((&done["state"], &done["last_backup_ms"]), (&json!("ok"), &json!(committed.server_time_ms)));

    // What is wrong is told in words, with what to do, to those whom it concerns.
    assert!(server.command(&["account", "quota", "admin", "1B"]).await.status.success());
    let health = script.get("/api/v1/health").await.expect(200).json();
    let alert = &health["alerts"][0];
    assert_eq!(
        (&alert["kind"], &alert["is_urgent"], &alert["account"]),
        (&json!("quota-nearly-used"), &json!(false), &json!("admin"))
    );
    assert_eq!(alert["text"], "admin has used 0 MiB of its quota of 0 MiB.");
    assert!(alert["advice"].as_str().unwrap().contains("larger quota"), "{alert}");
    assert!(server.command(&["account", "add", "grace"]).await.status.success());
    let grace = Script::new(&server, "grace", "read").await;
    assert_eq!(grace.get("/api/v1/health").await.expect(200).json()["alerts"], json!([]));
    server.stop().await;
}
