//! REST over HTTP: files in and out, changes without bytes, who may.

use std::collections::HashMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backup::noise;
use crate::server::{TestServer, text, wait_until};

/// A script with a token.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    pub(crate) authorization: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if status >= 400 {
            assert_eq!(self.headers["content-type"], "application/problem+json");
            assert_eq!(self.json()["status"], status);
        }
        self
    }
}

/// Sends one request, and reads the answer to its end.
pub(crate) async fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let sent = async {
        write.write_all(head.as_bytes()).await?;
        write.write_all(body).await
    };
    let mut bytes = Vec::new();
    // Who answers before the body has come may close on what is still on its way.
    let (_, _) = tokio::join!(sent, read.read_to_end(&mut bytes));
    let split = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("an answer has headers");
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = bytes[split + 4..].to_vec();
    let body = if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        unchunked(&body)
    } else {
        body
    };
    Answer { status, headers, body }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|end| end == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        whole.extend_from_slice(&bytes[end + 2..end + 2 + len]);
        bytes = &bytes[end + 4 + len..];
        if len == 0 {
            break;
        }
    }
    whole
}

impl Script {
    pub(crate) async fn new(server: &TestServer, account: &str, scope: &str) -> Self {
        let output = server.command(&["token", "add", "test", "--account", account, "--scope", scope]).await;
        assert!(output.status.success(), "{output:?}");
        Self::with(server, format!("Bearer {}", text(&output.stdout).trim()))
    }

    pub(crate) fn with(server: &TestServer, authorization: String) -> Self {
        Self { address: server.server.address(), authorization }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: {}\r\nContent-Length: {}\r\n",
            self.authorization,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        send(self.address, &head, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").await
    }

    pub(crate) async fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.ask("PUT", &format!("/api/v1/files/{path}"), &[], body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).await
    }

    pub(crate) async fn file(&self, path: &str) -> Vec<u8> {
        self.get(&format!("/api/v1/files/{path}")).await.expect(200).body
    }

    pub(crate) async fn names(&self, folder: &str) -> Vec<String> {
        let list = self.get(&format!("/api/v1/folder?path={folder}")).await.expect(200).json();
        list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Bytes in all files of the packs.
pub(crate) fn packs_len(server: &TestServer) -> u64 {
    fn len(path: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| if entry.path().is_dir() { len(&entry.path()) } else { entry.metadata().unwrap().len() })
            .sum()
    }
    len(&server.dir.path().join("packs"))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    object::hex::encode(&Sha256::digest(bytes).into_iter().collect::<Vec<u8>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_come_out() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let bytes = noise(1, 9 << 20);
    let put = script.put("photos/2019/a%20b.jpg", &bytes).await.expect(201);
    let said = put.json();
    assert_eq!(said["outcome"], "created");
    assert_eq!(said["size"], 9 << 20);
    assert_eq!(said["sha256"], sha256(&bytes));
    assert_eq!(said["href"], "/api/v1/files/photos/2019/a%20b.jpg");
    assert_eq!(put.headers["location"], "/api/v1/files/photos/2019/a%20b.jpg");
    assert!(said["bytes_stored"].as_u64().unwrap() >= 9 << 20);
    let got = script.get("/api/v1/files/photos/2019/a%20b.jpg").await.expect(200);
    assert!(got.body == bytes, "the bytes came back");
    assert_eq!(got.headers["etag"], put.headers["etag"]);
    assert_eq!(got.headers["content-length"], (9 << 20).to_string());
    assert_eq!(got.headers["content-type"], "application/octet-stream");
    assert_eq!(got.headers["content-security-policy"], "sandbox; default-src 'none'");
    assert_eq!(got.headers["x-content-type-options"], "nosniff");
    assert!(got.headers["content-disposition"].starts_with("attachment; filename=\"a_b.jpg\""));
    let digest = got.headers["repr-digest"].strip_prefix("sha-256=:").unwrap().strip_suffix(':').unwrap();
    use base64ct::{Base64, Encoding};
    assert_eq!(object::hex::encode(&Base64::decode_vec(digest).unwrap()), sha256(&bytes));
    // The same without the bytes.
    let head = script.ask("HEAD", "/api/v1/files/photos/2019/a%20b.jpg", &[], b"").await.expect(200);
    assert_eq!((head.body.len(), &head.headers["content-length"]), (0, &got.headers["content-length"]));
    let known = [("If-None-Match", got.headers["etag"].as_str())];
    assert_eq!(script.ask("GET", "/api/v1/files/photos/2019/a%20b.jpg", &known, b"").await.status, 304);

    let stat = script.get("/api/v1/entry?path=photos/2019/a%2520b.jpg").await.expect(200).json();
    assert_eq!((&stat["kind"], &stat["sha256"]), (&json!("file"), &json!(sha256(&bytes))));
    assert_eq!(script.names("photos").await, ["2019"]);
    script.put("empty", b"").await.expect(201);
    assert_eq!(script.file("empty").await, b"");
    let (head, body) = crate::http::get(script.address, "/api/v1/openapi.json").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("\"/api/v1/files/{path}\""), "{head}");
    script.get("/api/v1/files/nothing").await.expect(404);
    script.get("/api/v1/files/photos").await.expect(409);
    script.put("photos", b"x").await.expect(409);
    script.put("empty/below", b"x").await.expect(409);
    for wrong in ["a%2fb", "a%00", "..", "a/%2e%2e/b", "a%5cb", "a//b"] {
        script.put(wrong, b"x").await.expect(400);
    }
    server.stop().await;
}

/// A change of 4 KiB in 10 MiB costs at most 12 KB, wherever it is; identical content costs nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_stored() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let mut bytes = noise(2, 10 << 20);
    script.put("image", &bytes).await.expect(201);
    for (seed, at) in [(3, 5 << 20), (4, 0), (5, (10 << 20) - 4096), (6, 5 << 20)] {
        bytes[at..at + 4096].copy_from_slice(&noise(seed, 4096));
        let put = script.put("image", &bytes).await.expect(200).json();
        assert_eq!(put["outcome"], "new-version");
        let stored = put["bytes_stored"].as_u64().unwrap();
        assert!((4096..=12_000).contains(&stored), "an edit at {at} stored {stored} bytes");
        assert!(script.file("image").await == bytes);
    }
    // Bytes that are put in shift all that follows.
    let shifted = [&bytes[..1 << 20], &noise(7, 4096), &bytes[1 << 20..]].concat();
    let put = script.put("image", &shifted).await.expect(200).json();
    let stored = put["bytes_stored"].as_u64().unwrap();
    assert!((4096..=12_000).contains(&stored), "an insertion stored {stored} bytes");
    assert!(script.file("image").await == shifted);
    let version = put["version"].clone();
    let again = script.put("image", &shifted).await.expect(200).json();
    assert_eq!((&again["outcome"], &again["version"]), (&json!("identical"), &version));
    assert_eq!(again["bytes_stored"], 0);
    let versions = script.get("/api/v1/versions?path=image").await.expect(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 6);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_read_and_restored() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let first = script.put("a", b"one").await.expect(201).json()["version"].as_u64().unwrap();
    let second = script.put("a", b"two").await.expect(200).json()["version"].as_u64().unwrap();
    assert_eq!(script.file(&format!("a?version={first}")).await, b"one");
    script.get("/api/v1/files/a?version=999").await.expect(404);
    let restore = |present: u64| json!({ "path": "a", "version": first, "present_version": present });
    script.post("/api/v1/versions/restore", &restore(first)).await.expect(409);
    script.post("/api/v1/versions/restore", &restore(second)).await.expect(200);
    assert_eq!(script.file("a").await, b"one");
    let versions = script.get("/api/v1/versions?path=a").await.expect(200).json();
    let sizes: Vec<&Value> = versions["items"].as_array().unwrap().iter().map(|item| &item["sha256"]).collect();
    assert_eq!(sizes, [&json!(sha256(b"one")), &json!(sha256(b"two")), &json!(sha256(b"one"))]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_may_have_conditions_and_happen_once() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let put = |headers: Vec<(&'static str, String)>, body: &'static [u8]| {
        let script = script.clone();
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            script.ask("PUT", "/api/v1/files/a", &headers, body).await
        }
    };
    let fresh = || vec![("If-None-Match", "*".to_owned())];
    let first = put(fresh(), b"one").await.expect(201).headers["etag"].clone();
    put(fresh(), b"two").await.expect(412);
    let second = put(vec![("If-Match", first.clone())], b"two").await.expect(200).headers["etag"].clone();
    put(vec![("If-Match", first.clone())], b"three").await.expect(412);
    assert_eq!(script.file("a").await, b"two");
    // Asked twice under one key, it is done once, whatever it expects.
    let keyed = || vec![("If-Match", second.clone()), ("Idempotency-Key", "the same".to_owned())];
    let done = put(keyed(), b"three").await.expect(200).json()["version"].clone();
    assert_eq!(put(keyed(), b"three").await.expect(200).json()["version"], done);
    put(keyed(), b"four").await.expect(412);
    // It names one change: another one under it is refused.
    let named = || vec![("Idempotency-Key", "of one change".to_owned())];
    let fourth = put(named(), b"three and more").await.expect(200).json()["version"].clone();
    put(named(), b"something else").await.expect(422);
    assert_eq!(put(named(), b"three and more").await.expect(200).json()["version"], fourth);
    let versions = script.get("/api/v1/versions?path=a").await.expect(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 4);
    let delete = |headers: &'static [(&'static str, &'static str)]| {
        let script = script.clone();
        async move { script.ask("DELETE", "/api/v1/files/a", headers, b"").await }
    };
    delete(&[("If-Match", "\"1\"")]).await.expect(412);
    delete(&[("Idempotency-Key", "away")]).await.expect(200);
    assert_eq!(delete(&[("Idempotency-Key", "away")]).await.expect(200).json()["is_repeated"], true);
    delete(&[]).await.expect(404);
    script.post("/api/v1/trash/restore", &json!({ "path": "a", "more": 1 })).await.expect(400);
    let trash = script.get("/api/v1/trash").await.expect(200).json();
    assert_eq!((&trash["items"][0]["path"], &trash["items"][0]["size"]), (&json!("a"), &json!(14)));
    script.post("/api/v1/trash/restore", &json!({ "path": "a" })).await.expect(200);
    assert_eq!(script.file("a").await, b"three and more");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_removed_from_one_path_each_comes_back_by_its_id() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    for bytes in [b"older", b"newer"] {
        script.put("d/a.txt", bytes).await.expect(201);
        script.ask("DELETE", "/api/v1/files/d/a.txt", &[], b"").await.expect(200);
    }
    let trash = script.get("/api/v1/trash").await.expect(200).json();
    let [newer, older] = [0, 1].map(|index| trash["items"][index]["id"].as_str().unwrap().to_owned());
    let restore = "/api/v1/trash/restore";
    for wrong in [
        json!({}),
        json!({ "id": older, "path": "d/a.txt" }),
        json!({ "path": "d/a.txt", "keep_both": true }),
        json!({ "id": "x" }),
    ] {
        script.post(restore, &wrong).await.expect(400);
    }
    let back = script.post(restore, &json!({ "id": older })).await.expect(200).json();
    assert_eq!(back["path"], "d/a.txt");
    assert_eq!(script.file("d/a.txt").await, b"older");
    script.post(restore, &json!({ "id": newer })).await.expect(409);
    script.post(restore, &json!({ "id": older })).await.expect(404);
    let both = json!({ "id": newer, "keep_both": true }).to_string();
    for is_repeated in [false, true] {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "both")];
        let back = script.ask("POST", restore, &headers, both.as_bytes()).await.expect(200).json();
        assert_eq!((&back["path"], &back["is_repeated"]), (&json!("d/a%20%281%29.txt"), &json!(is_repeated)));
    }
    assert_eq!(script.file("d/a%20%281%29.txt").await, b"newer");
    assert_eq!(script.file("d/a.txt").await, b"older");
    // A folder that comes back under another name still opens what is in it.
    script.ask("DELETE", "/api/v1/files/d", &[], b"").await.expect(200);
    script.put("d/new", b"new").await.expect(201);
    let folder = script.get("/api/v1/trash").await.expect(200).json()["items"][0]["id"].clone();
    let back = script.post(restore, &json!({ "id": folder, "keep_both": true })).await.expect(200).json();
    assert_eq!(back["path"], "d%20%281%29");
    assert_eq!(script.names("d%20%281%29").await, ["a (1).txt", "a.txt"]);
    assert_eq!(script.file("d%20%281%29/a.txt").await, b"older");
    // Another's is as good as none.
    script.ask("DELETE", "/api/v1/files/d/new", &[], b"").await.expect(200);
    let id = script.get("/api/v1/trash").await.expect(200).json()["items"][0]["id"].clone();
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let bob = Script::new(&server, "bob", "admin").await;
    bob.post(restore, &json!({ "id": id })).await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_settled_as_asked() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("d/a.txt", b"one").await.expect(201);
    for (body, name) in [(b"two", "d/a%20%281%29.txt"), (b"tri", "d/a%20%282%29.txt")] {
        let put = script.put("d/a.txt?conflict=keep-both", body).await.expect(201).json();
        assert_eq!(put["href"], format!("/api/v1/files/{name}"));
    }
    assert_eq!(script.names("d").await, ["a (1).txt", "a (2).txt", "a.txt"]);
    assert_eq!(script.file("d/a.txt").await, b"one");
    let headers = [("Idempotency-Key", "k")];
    for _ in 0..2 {
        let put = script.ask("PUT", "/api/v1/files/d/a.txt?conflict=keep-both", &headers, b"kept").await.expect(201);
        assert_eq!(put.json()["href"], "/api/v1/files/d/a%20%283%29.txt");
    }
    script.put("d/a.txt?conflict=replace", b"new").await.expect(201);
    assert_eq!(script.file("d/a.txt").await, b"new");
    let versions = script.get("/api/v1/versions?path=d/a.txt").await.expect(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    assert_eq!(script.get("/api/v1/trash").await.json()["items"][0]["path"], "d/a.txt");
    script.put("d/a.txt?conflict=whatever", b"new").await.expect(400);
    let careful = Script::new(&server, "admin", "restore").await;
    careful.put("d/a.txt?conflict=replace", b"newer").await.expect(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_made_moved_and_copied() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let bytes = noise(9, 2 << 20);
    script.put("a/b/file", &bytes).await.expect(201);
    script.post("/api/v1/folder", &json!({ "path": "a/empty" })).await.expect(200);
    script.post("/api/v1/folder", &json!({ "path": "a/empty" })).await.expect(409);
    let packs = packs_len(&server);
    script.post("/api/v1/move", &json!({ "from": "a", "to": "c/%C3%A4" })).await.expect(200);
    assert!(script.names("").await == ["c"] && script.names("c").await == ["\u{e4}"]);
    assert!(script.file("c/%C3%A4/b/file").await == bytes, "what is in a folder moves along");
    script.post("/api/v1/copy", &json!({ "from": "c/%C3%A4", "to": "copy" })).await.expect(200);
    assert_eq!(script.names("copy").await, ["b", "empty"]);
    assert!(script.file("copy/b/file").await == bytes);
    script.post("/api/v1/copy", &json!({ "from": "c", "to": "copy" })).await.expect(409);
    script.post("/api/v1/move", &json!({ "from": "c", "to": "c/d" })).await.expect(409);
    script.post("/api/v1/move", &json!({ "from": "nothing", "to": "x" })).await.expect(404);
    assert_eq!(packs_len(&server), packs, "no bytes were moved");
    script.put("copy/b/file", b"changed").await.expect(200);
    assert!(script.file("c/%C3%A4/b/file").await == bytes, "a copy is a file of its own");
    for number in 0..25 {
        script.put(&format!("many/{number:02}"), b"").await.expect(201);
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = script.get(&format!("/api/v1/folder?path=many&limit=10{cursor}")).await.expect(200).json();
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, (0..25).map(|number| format!("many/{number:02}")).collect::<Vec<_>>());
    let server = server.restart().await;
    let script = Script::with(&server, script.authorization);
    assert!(script.file("c/%C3%A4/b/file").await == bytes);
    server.stop().await;
}

/// Any range of a file is what a slice of its bytes is.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_slices() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let bytes = [noise(11, 3 << 20), vec![0; 1 << 20], noise(12, 2 << 20)].concat();
    script.put("file", &bytes).await.expect(201);
    let edited = [&bytes[..2 << 20], b"in between", &bytes[2 << 20..]].concat();
    script.put("file", &edited).await.expect(200);
    let len = edited.len();
    let runtime = tokio::runtime::Handle::current();
    let ranges = (0..len, prop_oneof![0..len, 0..70_000_usize], any::<bool>());
    tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
        let checked = runner.run(&ranges, |(first, more, is_suffix)| {
            let last = (first + more).min(len - 1);
            let (range, expected) = match is_suffix {
                true => (format!("bytes=-{}", len - first), first..len),
                false => (format!("bytes={first}-{last}"), first..last + 1),
            };
            let answer = runtime.block_on(script.ask("GET", "/api/v1/files/file", &[("Range", &range)], b""));
            prop_assert_eq!(answer.status, 206);
            let said = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
            prop_assert_eq!(&answer.headers["content-range"], &said);
            prop_assert!(answer.body == edited[expected], "{}", range);
            Ok(())
        });
        checked.unwrap();
        let beyond = runtime.block_on(script.ask("GET", "/api/v1/files/file", &[("Range", "bytes=9999999-")], b""));
        assert_eq!(beyond.expect(416).headers["content-range"], format!("bytes */{len}"));
    })
    .await
    .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_is_not_theirs() {
    let server = TestServer::start().await;
    for (name, role) in [("bob", "member"), ("eve", "read-only")] {
        assert!(server.command(&["account", "add", name, "--role", role]).await.status.success());
    }
    let [ada, bob] = [Script::new(&server, "admin", "admin").await, Script::new(&server, "bob", "admin").await];
    ada.put("secret", b"of ada").await.expect(201);
    for path in ["files/secret", "entry?path=secret", "versions?path=secret", "folder?path=secret"] {
        bob.get(&format!("/api/v1/{path}")).await.expect(404);
    }
    bob.ask("DELETE", "/api/v1/files/secret", &[], b"").await.expect(404);
    bob.post("/api/v1/move", &json!({ "from": "secret", "to": "mine" })).await.expect(404);
    assert_eq!(bob.names("").await, [""; 0]);
    bob.put("secret", b"of bob").await.expect(201);
    assert_eq!(ada.file("secret").await, b"of ada");

    let eve = Script::new(&server, "eve", "admin").await;
    eve.put("x", b"x").await.expect(403);
    let me = eve.get("/api/v1/me").await.expect(200).json();
    assert_eq!((&me["account"], &me["role"], &me["scope"]), (&json!("eve"), &json!("read-only"), &json!("admin")));
    let reader = Script::new(&server, "admin", "read").await;
    assert_eq!(reader.file("secret").await, b"of ada");
    reader.put("secret", b"x").await.expect(403);
    let adder = Script::new(&server, "admin", "restore").await;
    adder.ask("DELETE", "/api/v1/files/secret", &[], b"").await.expect(403);
    // A page of another site that a browser lends its credentials to.
    ada.ask("DELETE", "/api/v1/files/secret", &[("Sec-Fetch-Site", "cross-site")], b"").await.expect(403);
    ada.ask("DELETE", "/api/v1/files/secret", &[("Origin", "https://evil")], b"").await.expect(403);
    assert_eq!(ada.file("secret").await, b"of ada");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_open_and_nothing_else_does() {
    use base64ct::{Base64, Encoding};
    let server = TestServer::start().await;
    let output = server.command(&["account", "password", "admin"]).await;
    assert!(output.status.success(), "{output:?}");
    let password = text(&output.stdout).trim().to_owned();
    let basic = |account: &str, password: &str| {
        let text = Base64::encode_string(format!("{account}:{password}").as_bytes());
        Script::with(&server, format!("Basic {text}"))
    };
    basic("admin", &password).get("/api/v1/me").await.expect(200);
    let token = Script::new(&server, "admin", "read").await;
    let secret = token.authorization.strip_prefix("Bearer ").unwrap().to_owned();
    basic("whoever", &secret).get("/api/v1/me").await.expect(200);
    let refused = basic("admin", "wrong").get("/api/v1/me").await.expect(401);
    assert!(refused.headers["www-authenticate"].starts_with("Basic "));
    let unknown = basic("nobody", "wrong").get("/api/v1/me").await.expect(401);
    assert_eq!(unknown.body, refused.body, "an account that is not there looks like a wrong password");
    Script::with(&server, "Bearer nonsense".to_owned()).get("/api/v1/me").await.expect(401);
    let other = if secret.ends_with('0') { '1' } else { '0' };
    let wrong = format!("Bearer {}{other}", &secret[..secret.len() - 1]);
    Script::with(&server, wrong).get("/api/v1/me").await.expect(401);
    let id = secret.split('_').nth(1).unwrap();
    assert!(server.command(&["token", "revoke", id]).await.status.success());
    token.get("/api/v1/me").await.expect(401);
    let listed = text(&server.command(&["token", "list"]).await.stdout);
    assert!(listed.contains(id) && listed.contains("revoked") && !listed.contains(&secret), "{listed}");
    // Five wrong passwords are free; then the account waits, and tokens do not.
    for _ in 0..5 {
        basic("admin", "wrong").get("/api/v1/me").await;
    }
    let waiting = basic("admin", &password).get("/api/v1/me").await.expect(429);
    assert!(waiting.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    Script::new(&server, "admin", "read").await.get("/api/v1/me").await.expect(200);
    server.stop().await;
}

/// A token that was revoked is valid in an older catalog, and so is a session that was ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalog_lets_no_script_in_before_somebody_confirms() {
    let server = TestServer::start().await;
    let [kept, stolen] = [Script::new(&server, "admin", "read").await, Script::new(&server, "admin", "read").await];
    let id = |script: &Script| script.authorization.split('_').nth(1).unwrap().to_owned();
    let dir = server.stop().await;
    let old = std::fs::read(dir.path().join("catalog.sqlite3")).unwrap();
    let server = TestServer::start_in(dir, |_| ()).await;
    assert!(server.command(&["token", "revoke", &id(&stolen)]).await.status.success());
    let dir = server.stop().await;
    std::fs::write(dir.path().join("catalog.sqlite3"), old).unwrap();

    let server = TestServer::start_in(dir, |_| ()).await;
    let [kept, stolen] = [kept, stolen].map(|script| Script { address: server.server.address(), ..script });
    for script in [&kept, &stolen] {
        script.get("/api/v1/me").await.expect(401);
    }
    assert!(text(&server.command(&["status"]).await.stdout).contains("SUSPENDED       2 tokens"));
    assert!(text(&server.command(&["token", "list"]).await.stdout).contains(", suspended"));
    // One that is made now is not older than anything.
    Script::new(&server, "admin", "read").await.get("/api/v1/me").await.expect(200);

    assert!(server.command(&["token", "revoke", &id(&stolen)]).await.status.success());
    assert!(!server.command(&["token", "confirm"]).await.status.success());
    assert!(server.command(&["token", "confirm", "--all"]).await.status.success());
    kept.get("/api/v1/me").await.expect(200);
    stolen.get("/api/v1/me").await.expect(401);
    server.stop().await;
}

/// What cannot be taken is refused before its bytes are read, and what is cut off leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn refused_and_broken_uploads_leave_nothing() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("a", b"there").await.expect(201);
    let head = |path: &str, more: &str| {
        format!(
            "PUT /api/v1/files/{path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: {}\r\n{more}\r\n",
            script.authorization
        )
    };
    let endless = "Content-Length: 9000000000000000000\r\n";
    send(script.address, &head("b", endless), b"").await.expect(507);
    send(script.address, &head("a", "Content-Length: 9000\r\nIf-None-Match: *\r\n"), b"").await.expect(412);
    send(script.address, &head("b", "Content-Length: 9\r\nContent-Encoding: gzip\r\n"), b"").await.expect(415);
    // Cut off in the middle.
    let mut stream = TcpStream::connect(script.address).await.unwrap();
    stream.write_all(head("b", "Content-Length: 9000000\r\n").as_bytes()).await.unwrap();
    stream.write_all(&noise(1, 6_000_000)).await.unwrap();
    drop(stream);
    wait_until("the end of the upload", || async { server.metric("backup_server_sessions").await == 0 }).await;
    assert_eq!(script.names("").await, ["a"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_wait_for_each_other() {
    let server = TestServer::start_with(|options| options.max_sessions = std::num::NonZeroUsize::new(4)).await;
    let script = Script::new(&server, "admin", "restore").await;
    let file = |number| noise(number, 100_000);
    let mut uploads = tokio::task::JoinSet::new();
    for number in 0..40 {
        let script = script.clone();
        uploads.spawn(async move { script.put(&format!("crowd/{number}"), &file(number)).await.expect(201) });
    }
    uploads.join_all().await;
    for number in 0..40 {
        assert_eq!(script.file(&format!("crowd/{number}")).await, file(number));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_through_folders_finds_the_names_read() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    for number in 0..30 {
        script.put(&format!("many/{number:02}.dat"), b"").await.expect(201);
    }
    assert_eq!(server.metric("backup_server_search_names").await, 0, "nobody looked");
    script.get("/api/v1/folder?path=many&limit=10").await.expect(200);
    wait_until("names that are kept", async || server.metric("backup_server_search_names").await == 31).await;
    script.put("many/new.dat", b"").await.expect(201);
    let found = script.get("/api/v1/search?q=dat").await.expect(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 31);
    assert_eq!(server.metric("backup_server_search_names").await, 32, "one folder");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_and_follow_the_drive() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let found = async |query: &str| -> Vec<String> {
        let page = script.get(&format!("/api/v1/search?q={query}")).await.expect(200).json();
        page["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("x").await, [""; 0], "in a drive without anything");
    script.put("papers/%C3%9Cbersicht%202024.txt", b"one").await.expect(201);
    script.put("photos/uber.jpg", b"two").await.expect(201);
    assert_eq!(found("UBER").await, ["photos/uber.jpg", "papers/%C3%9Cbersicht%202024.txt"]);
    assert_eq!(found("2024+%C3%BCber").await, ["papers/%C3%9Cbersicht%202024.txt"]);
    let item = script.get("/api/v1/search?q=jpg").await.expect(200).json()["items"][0].clone();
    assert_eq!((&item["kind"], &item["size"], &item["name"]), (&json!("file"), &json!(3), &json!("uber.jpg")));
    // Whatever changes is found as it is now.
    script.post("/api/v1/move", &json!({ "from": "photos", "to": "papers/pictures" })).await.expect(200);
    assert_eq!(found("jpg").await, ["papers/pictures/uber.jpg"]);
    assert_eq!((found("photos").await, found("pictures").await), (vec![], vec!["papers/pictures".to_owned()]));
    assert_eq!(script.ask("DELETE", "/api/v1/files/papers", &[], b"").await.status, 200);
    assert_eq!(found("uber").await, [""; 0]);
    script.post("/api/v1/trash/restore", &json!({ "path": "papers" })).await.expect(200);
    assert_eq!(found("uber").await.len(), 2);
    // Page by page; of another account nothing.
    for number in 0..25 {
        script.put(&format!("many/{number:02}.dat"), b"").await.expect(201);
    }
    let (mut paths, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = script.get(&format!("/api/v1/search?q=dat&limit=10{cursor}")).await.expect(200).json();
        paths.extend(page["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paths, (0..25).map(|number| format!("many/{number:02}.dat")).collect::<Vec<_>>());
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let bob = Script::new(&server, "bob", "read").await;
    assert_eq!(bob.get("/api/v1/search?q=dat").await.expect(200).json()["items"], json!([]));
    for wrong in ["", "?q=", "?q=+", "?q=a&cursor=1001", "?q=a&cursor=x", "?q=a&x=1"] {
        script.get(&format!("/api/v1/search{wrong}")).await.expect(400);
    }
    script.get(&format!("/api/v1/search?q={}", "x".repeat(257))).await.expect(400);
    server.stop().await;
}
