//! Files that are here already: told before a byte is sent, placed without one, and left alone where that is wanted.

use serde_json::{Value, json};

use crate::backup::noise;
use crate::browsers::{Browser, PASSWORD};
use crate::rest::{Script, packs_len, sha256};
use crate::server::TestServer;

async fn state(script: &Script, file: Value) -> String {
    let answer = script.post("/api/v1/known", &json!({ "files": [file] })).await.expect(200).json();
    answer["states"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_drive_has_anywhere_is_placed_without_its_bytes() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let bytes = noise(1, 3 << 20);
    let digest = sha256(&bytes);
    script.put("a/original", &bytes).await.expect(201);
    let size = bytes.len();
    assert_eq!(state(&script, json!({ "path": "a/original", "size": size })).await, "same-size");
    assert_eq!(state(&script, json!({ "path": "a/original", "size": size, "sha256": digest })).await, "identical");
    assert_eq!(state(&script, json!({ "path": "b", "size": size })).await, "same-size-elsewhere");
    assert_eq!(state(&script, json!({ "path": "b", "size": size, "sha256": digest })).await, "elsewhere");
    assert_eq!(state(&script, json!({ "path": "b", "size": size, "sha256": sha256(b"") })).await, "absent");
    assert_eq!(state(&script, json!({ "path": "b", "size": size + 1 })).await, "absent");
    assert_eq!(state(&script, json!({ "path": "b", "size": 0 })).await, "absent");
    script.put("b", b"old").await.expect(201);
    assert_eq!(state(&script, json!({ "path": "b", "size": 4 })).await, "different");
    let before = packs_len(&server);
    let place = json!({ "path": "b", "size": size, "sha256": digest, "mtime_ms": 1_000 });
    let placed = script.post("/api/v1/place", &place).await.expect(200).json();
    assert_eq!((&placed["outcome"], &placed["bytes_stored"]), (&json!("new-version"), &json!(0)));
    assert!(script.file("b").await == bytes);
    assert_eq!(script.post("/api/v1/place", &place).await.expect(200).json()["outcome"], "identical");
    let both = json!({ "path": "b", "size": size, "sha256": digest, "conflict": "keep-both" });
    // The very same file is not kept twice, whatever is asked for.
    assert_eq!(script.post("/api/v1/place", &both).await.expect(200).json()["outcome"], "identical");
    assert!(packs_len(&server) - before < 4096, "nothing but names was stored");
    // What is in the trash counts as long as it can be brought back.
    for path in ["a", "b"] {
        script.ask("DELETE", &format!("/api/v1/files/{path}"), &[], b"").await.expect(200);
    }
    let fresh = json!({ "path": "c/d", "size": size, "sha256": digest });
    let placed = script.post("/api/v1/place", &fresh).await.expect(201).json();
    assert_eq!(placed["href"], "/api/v1/files/c/d");
    assert!(script.file("c/d").await == bytes);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_or_gets_what_others_have() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let (ada, bob) = (Script::new(&server, "admin", "admin").await, Script::new(&server, "bob", "admin").await);
    let bytes = noise(2, 100_000);
    ada.put("secret", &bytes).await.expect(201);
    let file = json!({ "path": "secret", "size": bytes.len(), "sha256": sha256(&bytes) });
    assert_eq!(state(&bob, json!({ "path": "secret", "size": bytes.len() })).await, "absent");
    assert_eq!(state(&bob, file.clone()).await, "absent");
    bob.post("/api/v1/place", &file).await.expect(404);
    let reader = Script::new(&server, "admin", "read").await;
    reader.post("/api/v1/place", &file).await.expect(403);
    for wrong in [
        json!({ "path": "", "size": 1, "sha256": sha256(b"x") }),
        json!({ "path": "a", "size": 1, "sha256": "x" }),
        json!({ "path": "a/../b", "size": 1, "sha256": sha256(b"x") }),
        json!({ "path": "a", "size": 1u64 << 53, "sha256": sha256(b"x") }),
    ] {
        let refused = ada.post("/api/v1/place", &wrong).await;
        assert!(matches!(refused.status, 400 | 409), "{wrong}: {}", refused.status);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_left_alone_where_that_is_wanted() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let put = |path: &'static str, body: &'static [u8]| {
        let script = script.clone();
        async move { script.ask("PUT", &format!("/api/v1/files/{path}?conflict=skip"), &[], body).await }
    };
    assert_eq!(put("a", b"first").await.expect(201).json()["outcome"], "created");
    let skipped = put("a", b"another").await.expect(200).json();
    assert_eq!((&skipped["outcome"], &skipped["size"]), (&json!("skipped"), &json!(5)));
    assert_eq!(skipped["sha256"], sha256(b"first"));
    assert_eq!(put("a", b"first").await.expect(200).json()["outcome"], "skipped");
    let form = b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nthird\r\n\
                 --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"b\"\r\n\r\nnew\r\n--x--\r\n";
    let headers = [("Content-Type", "multipart/form-data; boundary=x"), ("Idempotency-Key", "form")];
    for _ in 0..2 {
        let answer = script.ask("POST", "/api/v1/files?conflict=skip", &headers, form).await.expect(200).json();
        assert_eq!(answer["files"][0]["stored"]["outcome"], "skipped");
        assert_ne!(answer["files"][1]["stored"]["outcome"], "new-version");
    }
    assert_eq!((script.file("a").await, script.file("b").await), (b"first".to_vec(), b"new".to_vec()));
    let versions = script.get("/api/v1/versions?path=a").await.expect(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    // What was not taken is told as that.
    let skipped = script.get("/api/v1/activity?kind=skip&text=name").await.expect(200).json();
    let told = &skipped["items"][0];
    assert_eq!((&told["name"], &told["detail"]), (&json!("a"), &json!("the name is taken")), "{skipped}");
    let identical = script.get("/api/v1/activity?kind=skip&text=identical").await.expect(200).json();
    assert_eq!(identical["items"].as_array().unwrap().len(), 1, "{identical}");
    assert_eq!(
        script.get("/api/v1/activity?kind=upload").await.expect(200).json()["items"].as_array().unwrap().len(),
        2
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_comes_again_under_its_key_is_taken_once() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    let form = b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\none\r\n\
                 --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\ntwo\r\n--x--\r\n";
    let post = |key: &'static str| {
        let script = script.clone();
        async move {
            let headers = [("Content-Type", "multipart/form-data; boundary=x"), ("Idempotency-Key", key)];
            script.ask("POST", "/api/v1/files?conflict=keep-both", &headers, form).await.expect(200).json()
        }
    };
    let first = post("one").await;
    assert_eq!(post("one").await["files"][1]["stored"]["href"], first["files"][1]["stored"]["href"]);
    assert_eq!(script.names("").await, ["a (1).txt", "a.txt"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_long_is_refused_before_its_bytes_are_read() {
    let server = TestServer::start_with(|options| options.max_file_size = Some(server_bin::ByteCount(1000))).await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("fits", &noise(1, 1000)).await.expect(201);
    let refused = script.put("long", &noise(1, 1001)).await.expect(413);
    assert!(refused.json()["detail"].as_str().unwrap().contains("1000 bytes"));
    // Announced, without a length, in a form, and by WebDAV.
    let metadata = "path bG9uZw==";
    let tus = [("Tus-Resumable", "1.0.0"), ("Upload-Length", "1001"), ("Upload-Metadata", metadata)];
    script.ask("POST", "/api/v1/uploads", &tus, b"").await.expect(413);
    let terms = script.ask("OPTIONS", "/api/v1/uploads", &[], b"").await;
    assert_eq!(terms.headers["tus-max-size"], "1000");
    let body = noise(2, 1001);
    let form =
        [&b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"long\"\r\n\r\n"[..], &body, b"\r\n--x--\r\n"];
    let headers = [("Content-Type", "multipart/form-data; boundary=x")];
    let answer = script.ask("POST", "/api/v1/files", &headers, &form.concat()).await;
    assert_eq!((answer.status, &answer.json()["files"][0]["status"]), (413, &json!(413)));
    assert_eq!(script.ask("PUT", "/dav/long", &[], &body).await.status, 413);
    assert_eq!(script.names("").await, ["fits"]);
    let refused = script.get("/api/v1/activity?kind=error").await.expect(200).json();
    let refused = refused["items"].as_array().unwrap();
    assert_eq!(refused.len(), 4, "{refused:?}");
    assert!(
        refused.iter().all(|item| item["name"] == "long" && item["detail"].as_str().unwrap().contains("1000 bytes"))
    );
    let me = script.get("/api/v1/me").await.expect(200).json();
    assert_eq!(me["max_file_bytes"], 1000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_found_by_kind_size_and_age() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "restore").await;
    for (path, len, mtime_ms) in [("p/old.jpg", 10, 1_000), ("p/new.JPG", 2000, 9_000), ("p/new.mp3", 3000, 9_000)] {
        let address = format!("/api/v1/files/{path}?mtime_ms={mtime_ms}");
        script.ask("PUT", &address, &[], &noise(3, len)).await.expect(201);
    }
    let find = |query: &'static str| {
        let script = script.clone();
        async move {
            let found = script.get(&format!("/api/v1/search?{query}")).await.expect(200).json();
            let names = found["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    };
    assert_eq!(find("kind=image").await, ["new.JPG", "old.jpg"]);
    assert_eq!(find("kind=folder").await, ["p"]);
    assert_eq!(find("q=new&kind=audio").await, ["new.mp3"]);
    assert_eq!(find("min_size=2000").await, ["new.JPG", "new.mp3"]);
    assert_eq!(find("max_size=10").await, ["old.jpg"]);
    assert_eq!(find("after_ms=5000&max_size=2500").await, ["new.JPG"]);
    assert_eq!(find("before_ms=1000").await, ["old.jpg"]);
    // A new version is found as what it is now.
    script.ask("PUT", "/api/v1/files/p/old.jpg?mtime_ms=9500", &[], &noise(4, 5000)).await.expect(200);
    assert_eq!(find("min_size=5000&after_ms=9500").await, ["old.jpg"]);
    for wrong in ["", "q=", "kind=thing", "min_size=-1", "q=a&after_ms=x"] {
        script.get(&format!("/api/v1/search?{wrong}")).await.expect(400);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_trash_goes_for_good_where_that_is_allowed() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let admin = Browser::logged_in(&server, "admin").await;
    let script = Script::new(&server, "admin", "admin").await;
    for path in ["d/a", "d/b", "e"] {
        script.put(path, b"x").await.expect(201);
    }
    for path in ["d/a", "d", "e"] {
        script.ask("DELETE", &format!("/api/v1/files/{path}"), &[], b"").await.expect(200);
    }
    let ids = || async {
        let trash = script.get("/api/v1/trash").await.expect(200).json();
        let ids = trash["items"].as_array().unwrap().iter();
        ids.map(|item| (item["path"].as_str().unwrap().to_owned(), item["id"].clone())).collect::<Vec<_>>()
    };
    let trashed = ids().await;
    assert_eq!(trashed.len(), 3);
    let folder = trashed.iter().find(|(path, _)| path == "d").unwrap().1.clone();
    let purge = |ids: Value, password: &str| json!({ "ids": ids, "password": password });
    let address = "/api/v1/trash/purge";
    // Neither a script, nor who does not know the password, nor whoever is not let.
    script.post(address, &purge(json!([folder]), PASSWORD)).await.expect(403);
    admin.post(address, purge(json!([folder]), "wrong password")).await.expect(403);
    let bob = Browser::logged_in(&server, "bob").await;
    bob.post(address, purge(json!([folder]), PASSWORD)).await.expect(403);
    admin.post(address, purge(json!([]), PASSWORD)).await.expect(400);
    assert_eq!(ids().await.len(), 3);
    for (browser, may) in [(&admin, true), (&bob, false)] {
        assert_eq!(browser.get("/api/v1/me").await.expect(200).json()["may_purge"], may);
    }
    // A folder goes with all that is in it; what is not there is not counted.
    let done = admin.post(address, purge(json!([folder, "999999"]), PASSWORD)).await.expect(200).json();
    assert_eq!(done["purged"], 1);
    let left: Vec<String> = ids().await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, ["e"]);
    script.post("/api/v1/trash/restore", &json!({ "id": folder })).await.expect(404);
    script.post("/api/v1/trash/restore", &json!({ "path": "e" })).await.expect(200);
    // What is not in the trash stays where it is.
    let live = admin.post(address, purge(json!(["1", "2", "3", "4", "5", "6"]), PASSWORD)).await.expect(200).json();
    assert_eq!(live["purged"], 0);
    assert_eq!(script.names("").await, ["e"]);
    server.stop().await;
}
