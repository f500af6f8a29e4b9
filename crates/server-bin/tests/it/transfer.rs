//! Files in forms, files that need not be sent, and many files as one archive.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::backup::noise;
use crate::rest::{Script, sha256};
use crate::server::TestServer;

fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, filename, bytes) in parts {
        let filename = filename.map_or(String::new(), |filename| format!("; filename=\"{filename}\""));
        let head = format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\n\r\n");
        body.extend_from_slice(&[head.as_bytes(), bytes, b"\r\n"].concat());
    }
    [&body[..], b"--limit--\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_forms() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let headers = [("Content-Type", "multipart/form-data; boundary=limit")];
    let large = noise(1, 5 << 20);
    let body = form(&[
        ("file", Some("a b.txt"), b"one\r\n--limi"),
        ("file", Some("large"), &large),
        ("x", Some("empty"), b""),
    ]);
    let put = script.ask("POST", "/api/v1/files?folder=in/here", &headers, &body).await.expect(200).json();
    let hrefs: Vec<&str> =
        put["files"].as_array().unwrap().iter().map(|file| file["stored"]["href"].as_str().unwrap()).collect();
    assert_eq!(
        hrefs,
        ["/api/v1/files/in/here/a%20b.txt", "/api/v1/files/in/here/large", "/api/v1/files/in/here/empty"]
    );
    assert_eq!(script.file("in/here/a%20b.txt").await, b"one\r\n--limi");
    assert!(script.file("in/here/large").await == large);
    assert_eq!(script.file("in/here/empty").await, b"");
    // One that cannot be stored does not keep the others from it, and decides the status.
    let body = form(&[
        ("file", Some("../x"), b"1"),
        ("text", None, b"2"),
        ("file", Some("large"), b"3"),
        ("file", Some("new"), b"4"),
    ]);
    let put = script.ask("POST", "/api/v1/files?folder=in/here", &headers, &body).await;
    assert_eq!(put.status, 400);
    let results = put.json();
    let results = results["files"].as_array().unwrap().iter().map(|file| (file["status"].as_u64(), &file["name"]));
    let expected = [(400, "../x"), (400, "text"), (200, "large"), (201, "new")];
    assert_eq!(results.map(|(status, name)| (status.unwrap(), name.as_str().unwrap())).collect::<Vec<_>>(), expected);
    assert_eq!(script.names("in/here").await, ["a b.txt", "empty", "large", "new"]);
    let cut = &form(&[("file", Some("cut"), &noise(2, 100_000))])[..50_000];
    script.ask("POST", "/api/v1/files", &headers, cut).await.expect(400);
    assert_eq!(script.names("").await, ["in"], "what is cut off leaves nothing");
    script.ask("POST", "/api/v1/files", &[("Content-Type", "text/plain")], b"x").await.expect(415);
    script.ask("POST", "/api/v1/files?conflict=replace", &headers, &body).await.expect(403);
    let reader = Script::new(&server, "admin", "read").await;
    reader.ask("POST", "/api/v1/files", &headers, &body).await.expect(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_already_is_told_before_it_is_sent() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    script.put("d/a%20b", b"12345").await.expect(201);
    let ask = |size: u64, sha256: Option<String>| json!({ "path": "d/a%20b", "size": size, "sha256": sha256 });
    let files = json!({ "files": [
        ask(4, None), ask(5, None), ask(5, Some(sha256(b"12345"))), ask(5, Some(sha256(b"54321"))),
        { "path": "d", "size": 5 }, { "path": "nothing", "size": 0 }, { "path": "d/a%20b/c", "size": 0 },
    ] });
    let states = script.post("/api/v1/known", &files).await.expect(200).json();
    let expected = ["different", "same-size", "identical", "different", "same-size-elsewhere", "absent", "absent"];
    assert_eq!(states["states"], json!(expected));
    for wrong in [json!({ "files": [ask(5, Some("x".to_owned()))] }), json!({ "files": [{ "path": "..", "size": 1 }] })]
    {
        script.post("/api/v1/known", &wrong).await.expect(400);
    }
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let bob = Script::new(&server, "bob", "admin").await;
    let theirs = json!({ "files": [ask(5, Some(sha256(b"12345")))] });
    assert_eq!(bob.post("/api/v1/known", &theirs).await.expect(200).json()["states"], json!(["absent"]));
    server.stop().await;
}

/// What Python reads of an archive: names, lengths and SHA-256, or that it is none.
const READER: &str = "
import hashlib, io, json, sys, zipfile
archive = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
assert archive.testzip() is None
print(json.dumps([[item.filename, item.file_size, hashlib.sha256(archive.read(item)).hexdigest(), item.date_time[0]] for item in archive.infolist()]))
";

#[tokio::test(flavor = "multi_thread")]
async fn many_files_come_as_one_archive() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let large = noise(3, 6 << 20);
    script.put("d/large%C3%A4?mtime_ms=1000000000000", &large).await.expect(201);
    script.put("d/below/small?mtime_ms=-1", b"small").await.expect(201);
    script.post("/api/v1/folder", &json!({ "path": "d/nothing" })).await.expect(200);
    script.put("empty", b"").await.expect(201);
    let got = script.get("/api/v1/zip?path=d&path=empty").await.expect(200);
    assert_eq!(got.headers["content-type"], "application/zip");
    assert!(got.headers["content-disposition"].starts_with("attachment; filename=\"files.zip\""));
    assert_eq!(got.headers["content-security-policy"], "sandbox; default-src 'none'");
    let read = tokio::task::spawn_blocking(move || {
        let mut python =
            Command::new("python3").args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        python.stdin.take().unwrap().write_all(&got.body).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    });
    assert_eq!(
        read.await.unwrap(),
        json!([
            ["d/", 0, sha256(b""), 1980],
            ["d/below/", 0, sha256(b""), 1980],
            ["d/below/small", 5, sha256(b"small"), 1980],
            ["d/large\u{e4}", large.len(), sha256(&large), 2001],
            ["d/nothing/", 0, sha256(b""), 1980],
            ["empty", 0, sha256(b""), this_year()],
        ])
    );
    script.get("/api/v1/zip?path=").await.expect(200);
    // More than an address holds is said as a form.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let names: Vec<String> = (0..500).map(|number| format!("a name of some length {number}")).collect();
    for name in &names {
        script.post("/api/v1/folder", &json!({ "path": name.replace(' ', "%20") })).await.expect(200);
    }
    let pairs: Vec<String> = names.iter().map(|name| format!("path={}", name.replace(' ', "%2520"))).collect();
    let got = script.ask("POST", "/api/v1/zip", &form, pairs.join("&").as_bytes()).await.expect(200);
    let archive = zip::ZipArchive::new(std::io::Cursor::new(got.body)).unwrap();
    assert_eq!(archive.len(), names.len());
    script.ask("POST", "/api/v1/zip", &form, b"path=d&path=d").await.expect(400);
    script.ask("POST", "/api/v1/zip", &form, b"").await.expect(400);
    script.get("/api/v1/zip").await.expect(400);
    script.get("/api/v1/zip?path=d&path=d").await.expect(400);
    script.get("/api/v1/zip?path=missing").await.expect(404);
    script.get("/api/v1/zip?path=..").await.expect(400);
    server.stop().await;
}

/// This year, as files have it that nobody said a time for.
fn this_year() -> i32 {
    time::OffsetDateTime::now_utc().year()
}
