//! Uploads that survive whatever breaks on the way: tus 1.0, and what must hold of it.

use std::io::ErrorKind;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use server_bin::{ByteCount, Span};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backup::noise;
use crate::rest::{Answer, Script, packs_len, send, sha256};
use crate::server::{Program, TestServer, command, text, wait_until};

const CONTENT: &str = "application/offset+octet-stream";

fn metadata(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key} {}", Base64::encode_string(value.as_bytes()))).collect();
    pairs.join(",")
}

/// The wire of tus.
impl Script {
    async fn tus(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.ask(method, path, &[&[("Tus-Resumable", "1.0.0")], headers].concat(), body).await;
        assert_eq!(answer.headers["tus-resumable"], "1.0.0", "{method} {path} {}", answer.status);
        answer
    }

    /// Announces a file; its address.
    async fn announce(&self, path: &str, len: usize) -> String {
        let (len, metadata) = (len.to_string(), metadata(&[("path", path)]));
        let headers = [("Upload-Length", len.as_str()), ("Upload-Metadata", &metadata)];
        self.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201).headers["location"].clone()
    }

    async fn patch(&self, upload: &str, offset: usize, body: &[u8]) -> Answer {
        let headers = [("Content-Type", CONTENT), ("Upload-Offset", &offset.to_string())];
        self.tus("PATCH", upload, &headers, body).await
    }

    /// How much is here.
    async fn offset(&self, upload: &str) -> usize {
        self.tus("HEAD", upload, &[], b"").await.expect(200).headers["upload-offset"].parse().unwrap()
    }

    /// Sends the rest, from where the server says that it stands. A request that broke off may still have been on its way
    /// when that was asked: then it is asked again.
    async fn complete(&self, upload: &str, bytes: &[u8]) -> Answer {
        for _ in 0..10 {
            let offset = self.offset(upload).await;
            let answer = self.patch(upload, offset, &bytes[offset..]).await;
            if answer.status != 409 {
                return answer.expect(204);
            }
        }
        panic!("the upload never stands still");
    }

    /// Begins a request and breaks it off once `sent` is on its way.
    async fn break_off(&self, upload: &str, offset: usize, body_len: usize, sent: &[u8]) {
        drop(self.begin(upload, offset, body_len, sent).await);
    }

    /// Begins a request, and keeps its connection. The server may refuse it before everything is on its way: when an earlier
    /// request that broke off was read late, the upload stands elsewhere by now.
    async fn begin(&self, upload: &str, offset: usize, body_len: usize, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "PATCH {upload} HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: {}\r\nTus-Resumable: 1.0.0\r\n\
             Content-Type: {CONTENT}\r\nUpload-Offset: {offset}\r\nContent-Length: {body_len}\r\n\r\n",
            self.authorization
        );
        match stream.write_all(&[head.as_bytes(), sent].concat()).await {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("{error}")
            }
            _ => stream,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_part_by_part() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let bytes = noise(1, 9 << 20);
    let upload = script.announce("photos/a%20b.jpg", bytes.len()).await;
    assert_eq!(script.offset(&upload).await, 0);
    let mut offset = 0;
    for part_len in [1, 99, 256 << 10, 3 << 20, 0, 5 << 20] {
        let answer = script.patch(&upload, offset, &bytes[offset..offset + part_len]).await.expect(204);
        offset += part_len;
        assert_eq!(answer.headers["upload-offset"], offset.to_string());
        assert!(answer.headers["upload-expires"].ends_with(" GMT"));
        assert_eq!(script.offset(&upload).await, offset);
        assert_eq!(script.names("").await, [""; 0], "nobody sees it before it is complete");
    }
    let listed = script.get("/api/v1/uploads").await.expect(200).json();
    assert_eq!(
        (&listed["items"][0]["path"], &listed["items"][0]["offset"]),
        (&json!("photos/a%20b.jpg"), &json!(offset))
    );
    let last = script.patch(&upload, offset, &bytes[offset..]).await.expect(204);
    assert_eq!(
        (last.headers["upload-offset"].as_str(), last.headers["upload-outcome"].as_str()),
        ("9437184", "created")
    );
    assert_eq!(last.headers["content-location"], "/api/v1/files/photos/a%20b.jpg");
    let got = script.get(&last.headers["content-location"]).await.expect(200);
    assert!(got.body == bytes);
    assert_eq!(
        (&got.headers["etag"], &got.headers["repr-digest"]),
        (&last.headers["etag"], &last.headers["repr-digest"])
    );
    let digest = Base64::encode_string(&Sha256::digest(&bytes));
    assert_eq!(last.headers["repr-digest"], format!("sha-256=:{digest}:"));
    // Whoever did not get the answer learns that it is done, and may say the end again.
    let head = script.tus("HEAD", &upload, &[], b"").await.expect(200);
    assert_eq!(
        (&head.headers["upload-offset"], &head.headers["upload-length"]),
        (&"9437184".into(), &"9437184".into())
    );
    assert_eq!(head.headers["upload-metadata"], metadata(&[("path", "photos/a%20b.jpg")]));
    script.patch(&upload, bytes.len(), b"").await.expect(204);
    script.patch(&upload, 0, b"x").await.expect(409);
    assert_eq!(script.get("/api/v1/uploads").await.json()["items"], json!([]));
    // It is cut as if it had come in one piece: nothing is stored of the same file again.
    let packs = packs_len(&server);
    assert_eq!(script.put("copy", &bytes).await.expect(201).json()["objects_stored"], 0);
    assert_eq!(packs_len(&server), packs);
    server.stop().await;
}

/// Whatever breaks at whatever byte, what was acknowledged stays, and the file becomes what it was to become.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_off_anywhere_is_completed() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let bytes = noise(2, 700_000);
    let runtime = tokio::runtime::Handle::current();
    let cuts = proptest::collection::vec(1..400_000_usize, 1..6);
    tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
        let checked = runner.run(&cuts, |cuts| {
            runtime.block_on(async {
                let upload = script.announce("file", bytes.len()).await;
                let (mut acknowledged, mut sent) = (0, 0);
                for len in cuts {
                    let until = (acknowledged + len).min(bytes.len() - 1);
                    // What an earlier request sent may come as late as now.
                    sent = sent.max(until);
                    script
                        .break_off(&upload, acknowledged, bytes.len() - acknowledged, &bytes[acknowledged..until])
                        .await;
                    let offset = script.offset(&upload).await;
                    prop_assert!((acknowledged..=sent).contains(&offset), "{offset} of {sent}");
                    acknowledged = offset;
                }
                let last = script.complete(&upload, &bytes).await;
                prop_assert_eq!(&last.headers["upload-offset"], &bytes.len().to_string());
                prop_assert!(script.file("file").await == bytes);
                Ok(())
            })
        });
        checked.unwrap();
    })
    .await
    .unwrap();
    server.stop().await;
}

/// The second request stops the first, and what that had is kept.
#[tokio::test(flavor = "multi_thread")]
async fn two_requests_never_work_on_one_upload() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let bytes = noise(3, 2 << 20);
    let upload = script.announce("file", bytes.len()).await;
    // A connection that has come to a halt, and that nobody has noticed yet.
    let mut first = script.begin(&upload, 0, bytes.len(), &bytes[..900_000]).await;
    wait_until("the first request", || async { server.metric("backup_server_sessions").await == 1 }).await;
    let offset = script.offset(&upload).await;
    assert!(offset <= 900_000);
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 409 "), "{}", String::from_utf8_lossy(&answer));
    // The same with two that send.
    let halted = script.begin(&upload, offset, bytes.len() - offset, &bytes[offset..offset + 1000]).await;
    wait_until("the second request", || async { server.metric("backup_server_sessions").await == 1 }).await;
    script.complete(&upload, &bytes).await;
    drop(halted);
    assert!(script.file("file").await == bytes);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_moves_nothing() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let upload = script.announce("file", 10).await;
    let old = script.ask("HEAD", &upload, &[("Tus-Resumable", "0.2.2")], b"").await;
    assert_eq!((old.status, old.headers["tus-version"].as_str()), (412, "1.0.0"));
    script.patch(&upload, 1, b"x").await.expect(409);
    script.patch(&upload, 11, b"").await.expect(409);
    let offset = ("Upload-Offset", "0");
    script.tus("PATCH", &upload, &[offset, ("Content-Type", "text/plain")], b"x").await.expect(415);
    script.tus("PATCH", &upload, &[offset], b"x").await.expect(415);
    script
        .tus("PATCH", &upload, &[offset, ("Content-Type", CONTENT), ("Content-Encoding", "gzip")], b"x")
        .await
        .expect(415);
    script.tus("PATCH", &upload, &[("Content-Type", CONTENT)], b"x").await.expect(400);
    script.tus("PATCH", &upload, &[("Content-Type", CONTENT), ("Upload-Offset", "-1")], b"x").await.expect(400);
    // More than was announced: by its length before a byte is read, else when it comes.
    script.patch(&upload, 0, b"01234567890").await.expect(413);
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: {}\r\nTus-Resumable: 1.0.0\r\n\
         Content-Type: {CONTENT}\r\nUpload-Offset: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        script.authorization
    );
    send(script.address, &head, b"b\r\n01234567890\r\n0\r\n\r\n").await.expect(413);
    assert_eq!(script.offset(&upload).await, 0);
    for (checksum, status) in [
        ("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", 460),
        ("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", 460),
        ("md5 XrY7u+Ae7tCTyyK7j1rNww==", 400),
        ("sha256 nonsense", 400),
    ] {
        let headers = [offset, ("Content-Type", CONTENT), ("Upload-Checksum", checksum)];
        script.tus("PATCH", &upload, &headers, b"01234").await.expect(status);
        assert_eq!(script.offset(&upload).await, 0, "{checksum}");
    }
    let checksum = format!("sha256 {}", Base64::encode_string(&Sha256::digest(b"01234")));
    let headers = [offset, ("Content-Type", CONTENT), ("Upload-Checksum", &checksum)];
    script.tus("PATCH", &upload, &headers, b"01234").await.expect(204);
    let checksum = "sha1 nBy7tFbJGY1anRxPtEiljF3W01s=";
    let headers = [("Upload-Offset", "5"), ("Content-Type", CONTENT), ("Upload-Checksum", checksum)];
    script.tus("PATCH", &upload, &headers, b"56789").await.expect(460);
    script.patch(&upload, 5, b"56789").await.expect(204);
    assert_eq!(script.file("file").await, b"0123456789");

    let create = |headers: Vec<(&'static str, String)>| {
        let script = script.clone();
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            script.tus("POST", "/api/v1/uploads", &headers, b"").await
        }
    };
    let at = |path| ("Upload-Metadata", metadata(&[("path", path)]));
    let len = |len: u64| ("Upload-Length", len.to_string());
    create(vec![at("x")]).await.expect(400);
    create(vec![at("x"), ("Upload-Defer-Length", "1".to_owned())]).await.expect(400);
    create(vec![len(1)]).await.expect(400);
    create(vec![len(1), at("../x")]).await.expect(400);
    create(vec![len(1), ("Upload-Metadata", "path !".to_owned())]).await.expect(400);
    create(vec![len(1 << 53), at("x")]).await.expect(413);
    create(vec![len(1 << 52), at("x")]).await.expect(507);
    create(vec![len(1), at("file"), ("If-None-Match", "*".to_owned())]).await.expect(412);
    create(vec![len(1), at("file/below")]).await.expect(409);
    let replace = ("Upload-Metadata", metadata(&[("path", "file"), ("conflict", "replace")]));
    create(vec![len(1), replace]).await.expect(403);
    for upload in ["/api/v1/uploads/nothing", "/api/v1/uploads/00000000000000000000000000000000"] {
        script.tus("HEAD", upload, &[], b"").await;
        script.patch(upload, 0, b"x").await.expect(404);
        script.tus("DELETE", upload, &[], b"").await.expect(404);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_own_an_upload_does_not_find_it() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let [ada, bob] = [Script::new(&server, "admin", "restore").await, Script::new(&server, "bob", "admin").await];
    let upload = ada.announce("file", 10).await;
    let running = ada.begin(&upload, 0, 10, b"01234").await;
    wait_until("the request", || async { server.metric("backup_server_sessions").await == 1 }).await;
    assert_eq!(bob.tus("HEAD", &upload, &[], b"").await.status, 404);
    bob.patch(&upload, 0, b"x").await.expect(404);
    bob.tus("DELETE", &upload, &[], b"").await.expect(404);
    assert_eq!(bob.get("/api/v1/uploads").await.expect(200).json()["items"], json!([]));
    let concat = format!("final;{upload}");
    let headers = [("Upload-Concat", concat.as_str()), ("Upload-Metadata", &metadata(&[("path", "x")]))];
    bob.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(404);
    assert_eq!(server.metric("backup_server_sessions").await, 1, "nobody was stopped by that");
    drop(running);
    let reader = Script::new(&server, "admin", "read").await;
    let headers = [("Tus-Resumable", "1.0.0")];
    assert_eq!(reader.ask("HEAD", &upload, &headers, b"").await.status, 403);
    reader.ask("DELETE", &upload, &headers, b"").await.expect(403);
    let stranger = Script::with(&server, "Bearer nonsense".to_owned());
    assert_eq!(stranger.ask("HEAD", &upload, &headers, b"").await.status, 401);
    // What is spoken, everybody may know.
    let terms = stranger.ask("OPTIONS", "/api/v1/uploads", &[], b"").await;
    assert_eq!((terms.status, terms.headers["tus-version"].as_str()), (204, "1.0.0"));
    assert_eq!(
        terms.headers["tus-extension"],
        "creation,creation-with-upload,termination,checksum,expiration,concatenation"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_may_come_with_their_announcement_and_by_post_alone() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let name = metadata(&[("filename", "a b%41.txt"), ("mtime_ms", "1000")]);
    let headers = [("Upload-Length", "5"), ("Upload-Metadata", &*name), ("Content-Type", CONTENT)];
    let whole = script.tus("POST", "/api/v1/uploads", &headers, b"whole").await.expect(201);
    assert_eq!((&*whole.headers["upload-offset"], &*whole.headers["upload-outcome"]), ("5", "created"));
    assert_eq!(script.file("a%20b%2541.txt").await, b"whole");
    let entry = script.get("/api/v1/entry?path=a%2520b%252541.txt").await.expect(200).json();
    assert_eq!(entry["mtime_ms"], 1000);
    let again = script.tus("POST", "/api/v1/uploads", &headers, b"whole").await.expect(201);
    assert_eq!((&*again.headers["upload-outcome"], &again.headers["etag"]), ("identical", &whole.headers["etag"]));
    script.tus("POST", "/api/v1/uploads", &headers, b"too long").await.expect(413);
    script.tus("POST", "/api/v1/uploads", &headers[..2], b"whole").await.expect(415);
    // A part of it, then the rest; the address may end in a slash.
    let part = script.tus("POST", "/api/v1/uploads/", &headers, b"new").await.expect(201);
    assert_eq!(part.headers["upload-offset"], "3");
    let upload = part.headers["location"].clone();
    let patch = [("Upload-Offset", "3"), ("Content-Type", CONTENT), ("X-HTTP-Method-Override", "PATCH")];
    let last = script.tus("POST", &upload, &patch, b"er").await.expect(204);
    assert_eq!(last.headers["upload-outcome"], "new-version");
    assert_eq!(script.file("a%20b%2541.txt").await, b"newer");
    script.tus("POST", &upload, &[], b"").await.expect(405);
    let empty = [("Upload-Length", "0"), ("Upload-Metadata", &metadata(&[("path", "empty")]))];
    script.tus("POST", "/api/v1/uploads", &empty, b"").await.expect(201);
    assert_eq!(script.file("empty").await, b"");
    for (conflict, name) in [("keep-both", "empty%20%281%29"), ("replace", "empty")] {
        let metadata = metadata(&[("path", "empty"), ("conflict", conflict)]);
        let headers = [("Upload-Length", "1"), ("Upload-Metadata", &*metadata), ("Content-Type", CONTENT)];
        let put = script.tus("POST", "/api/v1/uploads", &headers, b"x").await.expect(201);
        assert_eq!(put.headers["content-location"], format!("/api/v1/files/{name}"));
    }
    assert_eq!(script.get("/api/v1/trash").await.json()["items"][0]["path"], "empty");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_announced_again_under_its_key_is_the_same_upload() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let metadata = metadata(&[("path", "a"), ("conflict", "keep-both")]);
    let bytes = noise(1, 3 << 20);
    let len = bytes.len().to_string();
    let headers = [("Upload-Length", len.as_str()), ("Upload-Metadata", &metadata), ("Idempotency-Key", "one")];
    let first = script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201).headers["location"].clone();
    script.break_off(&first, 0, bytes.len(), &bytes[..1 << 20]).await;
    let again = script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201);
    assert_eq!(again.headers["location"], first);
    // Another file under the key is refused; without one, each is an upload of its own.
    script.tus("POST", "/api/v1/uploads", &[("Upload-Length", "5"), headers[1], headers[2]], b"").await.expect(422);
    assert_ne!(script.tus("POST", "/api/v1/uploads", &headers[..2], b"").await.expect(201).headers["location"], first);
    script.complete(&first, &bytes).await;
    // The last answer was lost, and all of it is asked for again.
    let done = script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201);
    assert_eq!((&done.headers["location"], &done.headers["upload-offset"]), (&first, &len));
    assert_eq!(script.names("").await, ["a"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_or_forgotten_is_gone() {
    let server = TestServer::start_with(|options| options.session_lifetime = Some(Span(Duration::from_secs(2)))).await;
    let script = Script::new(&server, "admin", "restore").await;
    let upload = script.announce("file", 10).await;
    script.patch(&upload, 0, b"01234").await.expect(204);
    script.tus("DELETE", &upload, &[], b"").await.expect(204);
    assert_eq!(script.tus("HEAD", &upload, &[], b"").await.status, 404);
    let upload = script.announce("file", 10).await;
    wait_until("its end", || async { script.tus("HEAD", &upload, &[], b"").await.status == 410 }).await;
    script.patch(&upload, 0, b"01234").await.expect(410);
    assert_eq!(script.get("/api/v1/uploads").await.expect(200).json()["items"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_together_from_parts() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let bytes = noise(5, 6 << 20);
    let part = |bytes: Vec<u8>| {
        let script = script.clone();
        async move {
            let len = bytes.len().to_string();
            let headers = [("Upload-Length", len.as_str()), ("Upload-Concat", "partial")];
            let upload = script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201);
            let upload = upload.headers["location"].clone();
            let half = bytes.len() / 2;
            script.patch(&upload, 0, &bytes[..half]).await.expect(204);
            (upload, bytes, half)
        }
    };
    // The second comes first.
    let (second, second_bytes, second_half) = part(bytes[2_500_000..].to_vec()).await;
    let (first, first_bytes, first_half) = part(bytes[..2_500_000].to_vec()).await;
    let metadata = metadata(&[("path", "whole")]);
    let concat = format!("final;{first} https://server{second}");
    let headers = [("Upload-Concat", concat.as_str()), ("Upload-Metadata", &metadata)];
    script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(409);
    script.patch(&second, second_half, &second_bytes[second_half..]).await.expect(204);
    script.patch(&first, first_half, &first_bytes[first_half..]).await.expect(204);
    let head = script.tus("HEAD", &first, &[], b"").await.expect(200);
    assert_eq!((&*head.headers["upload-concat"], &*head.headers["upload-offset"]), ("partial", "2500000"));
    assert_eq!(script.names("").await, [""; 0]);
    let whole = script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201);
    assert_eq!(whole.headers["upload-outcome"], "created");
    assert!(script.file("whole").await == bytes);
    let upload = whole.headers["location"].clone();
    let head = script.tus("HEAD", &upload, &[], b"").await.expect(200);
    assert_eq!((&head.headers["upload-concat"], &head.headers["upload-length"]), (&concat, &bytes.len().to_string()));
    script.patch(&upload, 0, b"x").await.expect(403);
    assert_eq!(script.tus("HEAD", &first, &[], b"").await.status, 404, "parts go with what they became");
    // Asked again, as by one who did not get the answer.
    let again = script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(201);
    assert_eq!(again.headers["location"], upload);
    assert_eq!(script.put("copy", &bytes).await.expect(201).json()["objects_stored"], 0, "cut as any other");
    server.stop().await;
}

/// A change of 4 KiB in 10 MiB costs at most 12 KB, also when it comes in parts.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_stored_of_an_upload() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let mut bytes = noise(6, 10 << 20);
    script.put("image", &bytes).await.expect(201);
    for (seed, at) in [(7, 5 << 20), (8, 0), (9, (10 << 20) - 4096)] {
        bytes[at..at + 4096].copy_from_slice(&noise(seed, 4096));
        let packs = packs_len(&server);
        let upload = script.announce("image", bytes.len()).await;
        let (first, rest) = bytes.split_at(4_321_000);
        script.patch(&upload, 0, first).await.expect(204);
        let last = script.patch(&upload, first.len(), rest).await.expect(204);
        let stored = packs_len(&server) - packs;
        assert!((4096..=12_000).contains(&stored), "an edit at {at} stored {stored} bytes");
        assert_eq!(last.headers["upload-stored"], stored.to_string());
        assert!(script.file("image").await == bytes);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_too_many_uploads_are_told_at_once() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    for number in 0..256 {
        script.announce(&number.to_string(), 1).await;
    }
    let headers = [("Upload-Length", "1"), ("Upload-Metadata", &metadata(&[("path", "x")]))];
    script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(429);
    let upload = script.get("/api/v1/uploads").await.json()["items"][0]["href"].as_str().unwrap().to_owned();
    script.patch(&upload, 0, b"x").await.expect(204);
    let upload = script.announce("x", 1).await;
    let dir = server.stop().await;
    let full = TestServer::start_in(dir, |options| options.min_free = Some(ByteCount(1 << 60))).await;
    let script = Script::with(&full, script.authorization);
    script.patch(&upload, 0, b"x").await.expect(507);
    script.tus("POST", "/api/v1/uploads", &headers, b"").await.expect(507);
    full.stop().await;
}

/// Twenty interruptions, half of them a server that is killed: the file is what it was to be, and the server stays small.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_interruptions_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let bytes = noise(10, 60 << 20);
    let start =
        || tokio::task::block_in_place(|| Program::serve(&data_dir, &["--seal-interval", "50ms", "--hosts", "server"]));
    let mut program = start();
    let token = command(&data_dir, &["token", "add", "test", "--account", "admin", "--scope", "restore"]);
    assert!(token.status.success(), "{token:?}");
    let authorization = format!("Bearer {}", text(&token.stdout).trim());
    let mut script = Script { address: program.address(), authorization };
    let upload = script.announce("file", bytes.len()).await;
    let (mut offset, mut sent) = (0, 0);
    for round in 0..20 {
        let until = (offset + 1_000_000 + round * 217_331).min(bytes.len() - 1);
        sent = sent.max(until);
        let stream = script.begin(&upload, offset, bytes.len() - offset, &bytes[offset..until]).await;
        if round % 2 == 0 {
            program.signal("KILL");
            drop(program);
            program = start();
            script.address = program.address();
        }
        drop(stream);
        let now = script.offset(&upload).await;
        assert!((offset..=sent).contains(&now), "round {round}: {now} is not in {offset}..={sent}");
        offset = now;
    }
    let before = peak_memory(program.id());
    let last = script.complete(&upload, &bytes).await;
    let grown = peak_memory(program.id()) - before;
    assert!(grown < 64 << 20, "the server grew by {grown} bytes");
    assert_eq!(last.headers["upload-outcome"], "created");
    let entry = script.get("/api/v1/entry?path=file").await.expect(200).json();
    assert_eq!(entry["sha256"], sha256(&bytes));
    assert!(script.file("file").await == bytes);
    drop(program);
}

/// The most memory a process has had at a time, in bytes.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
