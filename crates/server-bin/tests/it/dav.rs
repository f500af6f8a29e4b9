//! WebDAV: the drive as programs that mount it see it, locks that hold, and what is refused.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::backup::noise;
use crate::rest::{Answer, Script, packs_len, send};
use crate::server::{TestServer, command, wait_until};

const LOCK: &str = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
                    <D:locktype><D:write/></D:locktype><D:owner>ada</D:owner></D:lockinfo>";

impl Script {
    async fn dav(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask(method, &format!("/dav/{path}"), headers, body.as_bytes()).await
    }

    async fn listed(&self, path: &str, depth: &str) -> String {
        let answer = self.dav("PROPFIND", path, &[("Depth", depth)], "").await.expect(207);
        String::from_utf8(answer.body).unwrap()
    }

    /// Locks for ten minutes; the token as `If` has it.
    async fn lock(&self, path: &str, depth: &str) -> String {
        let answer = self.dav("LOCK", path, &[("Depth", depth), ("Timeout", "Second-600")], LOCK).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.status);
        answer.headers["lock-token"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_the_same_by_dav_and_by_rest() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let bytes = noise(1, 5 << 20);
    script.dav("MKCOL", "docs", &[], "").await.expect(201);
    script.dav("MKCOL", "docs/", &[], "").await.expect(405);
    script.dav("MKCOL", "none/below", &[], "").await.expect(409);
    script.dav("MKCOL", "more", &[], "<a/>").await.expect(415);
    script.dav("PUT", "none/below", &[], "x").await.expect(409);
    script.dav("PUT", "docs", &[], "x").await.expect(409);
    let put = script.ask("PUT", "/dav/docs/a%20b", &[("X-OC-Mtime", "1405056000.5")], &bytes).await.expect(201);
    assert_eq!(put.headers["x-oc-mtime"], "accepted");
    let got = script.get("/api/v1/files/docs/a%20b").await.expect(200);
    assert!(got.body == bytes, "as REST has it");
    assert_eq!(got.headers["etag"], put.headers["etag"]);
    let stat = script.get("/api/v1/entry?path=docs/a%2520b").await.expect(200).json();
    assert_eq!(stat["mtime_ms"], 1_405_056_000_500_u64);
    script.put("docs/c", b"by REST").await.expect(201);
    assert_eq!(script.dav("GET", "docs/c", &[], "").await.expect(200).body, b"by REST");
    script.dav("PUT", "docs/c", &[], "by DAV").await.expect(204);
    assert_eq!(script.file("docs/c").await, b"by DAV");
    let versions = script.get("/api/v1/versions?path=docs/c").await.expect(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 2, "the version before is kept");

    let part = script.dav("GET", "docs/a%20b", &[("Range", "bytes=1000-1999")], "").await.expect(206);
    assert!(part.body == bytes[1000..2000] && part.headers["content-range"] == format!("bytes 1000-1999/{}", 5 << 20));
    assert_eq!(part.headers["content-security-policy"], "sandbox; default-src 'none'");
    assert_eq!(part.headers["last-modified"], "Fri, 11 Jul 2014 05:20:00 GMT");
    let head = script.dav("HEAD", "docs/a%20b", &[], "").await.expect(200);
    assert_eq!((head.body.len(), &head.headers["etag"]), (0, &put.headers["etag"]));
    script.dav("GET", "docs/", &[], "").await.expect(405);
    script.dav("GET", "nothing", &[], "").await.expect(404);

    let listed = script.listed("docs/", "1").await;
    for expected in ["/dav/docs/</", "/dav/docs/a%20b</", "/dav/docs/c</", "Fri, 11 Jul 2014 05:20:00 GMT", "5242880"] {
        assert!(listed.contains(expected), "{expected} in {listed}");
    }
    let etag = format!("<D:getetag>{}</D:getetag>", put.headers["etag"]);
    assert!(listed.contains(&etag), "{etag} in {listed}");
    assert!(!script.listed("docs", "0").await.contains("/dav/docs/c"));
    for root in ["/dav", "/dav/"] {
        let root = script.ask("PROPFIND", root, &[("Depth", "1")], b"").await.expect(207);
        assert!(String::from_utf8(root.body).unwrap().contains("/dav/docs/"));
    }
    for depth in [&[("Depth", "infinity")][..], &[], &[("Depth", "infinity"), ("X-Litmus", "x")]] {
        let answer = script.dav("PROPFIND", "", depth, "").await;
        assert_eq!(answer.status, 403);
        assert!(String::from_utf8(answer.body).unwrap().contains("propfind-finite-depth"));
    }
    let options =
        send(script.address, "OPTIONS /dav/ HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n", b"").await;
    assert_eq!((options.status, options.headers["dav"].as_str()), (200, "1, 2, 3"));
    assert!(options.headers["allow"].split(", ").all(|method| method != "PATCH"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_move_and_are_copied_as_a_whole_and_no_bytes_move() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("docs/letters/a", &noise(1, 1 << 20)).await.expect(201);
    script.put("docs/b", b"b").await.expect(201);
    script.put("there/old", b"old").await.expect(201);
    let stored = packs_len(&server);
    let to = |path: &str| format!("http://server/dav/{path}");
    let go = async |method: &str, from: &str, destination: &str, more: &[(&str, &str)]| {
        let destination = to(destination);
        let headers = [&[("Destination", destination.as_str())], more].concat();
        script.dav(method, from, &headers, "").await
    };
    go("COPY", "docs", "there", &[("Overwrite", "F")]).await.expect(412);
    go("COPY", "docs", "none/below", &[]).await.expect(409);
    go("COPY", "docs/", "there/", &[]).await.expect(204);
    assert_eq!(script.names("there").await, ["b", "letters"], "what was there is replaced");
    let trash = script.get("/api/v1/trash").await.expect(200).json();
    assert_eq!(trash["items"].as_array().unwrap().len(), 1, "as one entry");
    go("COPY", "docs", "shallow", &[("Depth", "0")]).await.expect(201);
    assert!(script.names("shallow").await.is_empty());
    go("MOVE", "docs/letters", "shallow/mail", &[]).await.expect(201);
    assert!(script.file("shallow/mail/a").await == noise(1, 1 << 20));
    go("MOVE", "docs/b", "there/b", &[("If-Match", "\"999\"")]).await.expect(412);
    go("MOVE", "docs/b", "there/b", &[]).await.expect(204);
    assert!(script.names("docs").await.is_empty());
    for (from, into) in [("there", "there/below"), ("", "x"), ("there", "")] {
        let answer = go("MOVE", from, into, &[]).await;
        assert!(matches!(answer.status, 403 | 409), "{from} to {into}: {}", answer.status);
    }
    for outside in ["http://server/elsewhere", "/api/v1/files/a", "/davy/x"] {
        let headers = [("Destination", outside)];
        script.dav("MOVE", "there", &headers, "").await.expect(502);
    }
    assert_eq!(script.names("").await, ["docs", "shallow", "there"], "nothing moved");
    script.dav("DELETE", "there", &[], "").await.expect(204);
    script.dav("DELETE", "there", &[], "").await.expect(404);
    script.dav("DELETE", "", &[], "").await.expect(403);
    script.post("/api/v1/trash/restore", &json!({ "path": "there" })).await.expect(200);
    assert_eq!(script.names("there").await, ["b", "letters"], "it comes back with all that was in it");
    assert_eq!(packs_len(&server), stored);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_hold_against_everybody_else() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("docs/a", b"one").await.expect(201);
    let token = script.lock("docs/a", "0").await;
    let held = format!("({token})");
    script.dav("PUT", "docs/a", &[], "two").await.expect(423);
    script.dav("DELETE", "docs/a", &[], "").await.expect(423);
    script.dav("DELETE", "docs", &[], "").await.expect(423);
    script.dav("LOCK", "docs/a", &[], LOCK).await.expect(423);
    let destination = [("Destination", "/dav/b")];
    script.dav("MOVE", "docs/a", &destination, "").await.expect(423);
    script.dav("PROPPATCH", "docs/a", &[], PATCH).await.expect(423);
    script.dav("PUT", "docs/a", &[("If", "(<opaquelocktoken:none>)")], "two").await.expect(412);
    assert_eq!(script.file("docs/a").await, b"one");
    script.dav("PUT", "docs/a", &[("If", &held)], "two").await.expect(204);
    assert_eq!(script.file("docs/a").await, b"two");
    assert!(script.listed("docs/a", "0").await.contains(token.trim_matches(['<', '>'])));
    let refreshed = script.dav("LOCK", "docs/a", &[("If", &held), ("Timeout", "Second-30")], "").await.expect(200);
    assert!(String::from_utf8(refreshed.body).unwrap().contains("Second-30"));

    // A lock is of one drive: who has another neither sees it nor opens it.
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let bob = Script::new(&server, "bob", "admin").await;
    bob.put("docs/a", b"of bob").await.expect(201);
    bob.dav("PUT", "docs/a", &[], "still of bob").await.expect(204);
    bob.dav("UNLOCK", "docs/a", &[("Lock-Token", &token)], "").await.expect(409);
    bob.dav("PUT", "docs/a", &[("If", &held)], "x").await.expect(412);

    script.dav("UNLOCK", "docs/a", &[("Lock-Token", &token)], "").await.expect(204);
    script.dav("PUT", "docs/a", &[], "three").await.expect(204);
    // A lock on nothing makes an empty file; one on a folder covers what is in it.
    let token = script.lock("docs/new", "0").await;
    assert_eq!(script.file("docs/new").await, b"");
    script.dav("UNLOCK", "docs/new", &[("Lock-Token", &token)], "").await.expect(204);
    script.lock("docs", "infinity").await;
    script.dav("PUT", "docs/more", &[], "x").await.expect(423);
    script.dav("LOCK", "none/below", &[], LOCK).await.expect(409);
    // Whoever changes things in another way does not ask for locks.
    script.put("docs/a", b"four").await.expect(200);
    server.stop().await;
}

const PATCH: &str = "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:x=\"urn:x\"><D:set><D:prop>\
                     <x:colour>blue &amp; <b>green</b></x:colour></D:prop></D:set></D:propertyupdate>";

#[tokio::test(flavor = "multi_thread")]
async fn properties_are_kept_and_bounded() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("docs/a", b"one").await.expect(201);
    for path in ["docs/a", "docs"] {
        let patched = script.dav("PROPPATCH", path, &[], PATCH).await.expect(207);
        let patched = String::from_utf8(patched.body).unwrap();
        assert!(patched.contains("200 OK") && patched.contains("colour"), "{patched}");
    }
    script.put("docs/a", b"two").await.expect(200);
    let to = [("Destination", "/dav/letters")];
    script.dav("MOVE", "docs", &to, "").await.expect(201);
    let to = [("Destination", "/dav/copy")];
    script.dav("COPY", "letters", &to, "").await.expect(201);
    let server = server.restart().await;
    let script = Script { address: server.server.address(), ..script };
    let ask = "<D:propfind xmlns:D=\"DAV:\"><D:prop><c:colour xmlns:c=\"urn:x\"/></D:prop></D:propfind>";
    for path in ["letters", "letters/a", "copy", "copy/a"] {
        let answer = script.dav("PROPFIND", path, &[("Depth", "0")], ask).await.expect(207);
        let answer = String::from_utf8(answer.body).unwrap();
        assert!(answer.contains("blue &amp; ") && answer.contains("green"), "{path}: {answer}");
        assert!(!answer.contains("404"), "{path}: {answer}");
    }
    // Each property that was asked for has its status, and none comes twice.
    let ask = "<D:propfind xmlns:D=\"DAV:\"><D:prop><c:colour xmlns:c=\"urn:x\"/><c:size xmlns:c=\"urn:x\"/>\
               <D:getetag/><D:displayname/></D:prop></D:propfind>";
    let answer = script.dav("PROPFIND", "copy/a", &[("Depth", "0")], ask).await.expect(207);
    let answer = String::from_utf8(answer.body).unwrap();
    let (found, missing) = answer.split_once("HTTP/1.1 200 OK").unwrap();
    assert!(found.contains("getetag") && found.matches("green").count() == 1, "{found}");
    assert!(
        missing.contains("<size xmlns=\"urn:x\"/><D:displayname/>") && missing.contains("404 Not Found"),
        "{missing}"
    );
    let names = "<D:propfind xmlns:D=\"DAV:\"><D:propname/></D:propfind>";
    let names = script.dav("PROPFIND", "copy/a", &[("Depth", "0")], names).await.expect(207);
    let names = String::from_utf8(names.body).unwrap();
    assert!(names.contains("<D:getetag/>") && names.contains("<colour xmlns=\"urn:x\"/>"), "{names}");
    let long = PATCH.replace("green", &"g".repeat(5000));
    let refused = script.dav("PROPPATCH", "copy/a", &[], &long).await.expect(207);
    assert!(String::from_utf8(refused.body).unwrap().contains("507"));
    // What is nested deeper than the library can bear is not read, and neither is what is no XML.
    let deep = "<a>".repeat(20_000);
    for (method, path) in [("PROPPATCH", "copy/a"), ("PROPFIND", "copy"), ("LOCK", "copy/a")] {
        script.dav(method, path, &[("Depth", "0")], &deep).await.expect(413);
        let nested = "<a>".repeat(500);
        script.dav(method, path, &[("Depth", "0")], &nested).await.expect(400);
        let nested = format!("{nested}{}", "</a>".repeat(12));
        script.dav(method, path, &[("Depth", "0")], &nested).await.expect(400);
    }
    assert!(script.listed("", "1").await.contains("/dav/copy/"), "the server is still there");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_breaks_off_changes_nothing() {
    let server = TestServer::start().await;
    let admin = Script::new(&server, "admin", "admin").await;
    admin.put("a", b"there").await.expect(201);
    let strange =
        |more: &str| format!("PROPFIND /dav/ HTTP/1.1\r\nHost: server\r\nDepth: 1\r\nConnection: close\r\n{more}\r\n");
    let refused = send(admin.address, &strange(""), b"").await.expect(401);
    assert_eq!(refused.headers["www-authenticate"], "Basic realm=\"Delta Backup\", charset=\"UTF-8\"");
    let writer = Script::new(&server, "admin", "put-only").await;
    writer.dav("PROPFIND", "", &[("Depth", "1")], "").await.expect(403);
    let reader = Script::new(&server, "admin", "read").await;
    reader.dav("PROPFIND", "", &[("Depth", "1")], "").await.expect(207);
    for method in ["PUT", "MKCOL", "LOCK", "PROPPATCH", "DELETE", "COPY", "MOVE", "UNLOCK"] {
        reader.dav(method, "b", &[("Destination", "/dav/c")], "").await.expect(403);
    }
    // A token that takes nothing away does not do so by putting something in its place.
    let restore = Script::new(&server, "admin", "restore").await;
    restore.dav("PUT", "b", &[], "b").await.expect(201);
    restore.dav("DELETE", "b", &[], "").await.expect(403);
    for method in ["COPY", "MOVE"] {
        restore.dav(method, "b", &[("Destination", "/dav/a")], "").await.expect(403);
    }
    assert_eq!(admin.file("a").await, b"there");
    admin.dav("PATCH", "a", &[], "x").await.expect(405);
    admin.dav("REPORT", "a", &[], "").await.expect(405);
    for wrong in ["a%2fb", "..", "x/../b", "a%5cb", "a%00", "a//b", "?x", "b?c", "#x", "b#c"] {
        if !wrong.contains(['?', '#']) {
            admin.dav("PUT", wrong, &[], "x").await.expect(400);
        }
        let destination = format!("/dav/{wrong}");
        admin.dav("COPY", "a", &[("Destination", &destination)], "").await.expect(400);
    }
    admin.dav("PUT", "a", &[("If-None-Match", "*")], "x").await.expect(412);
    admin.dav("PUT", "a", &[("If-Match", "\"999\"")], "x").await.expect(412);
    admin.dav("PUT", "a", &[("Content-Range", "bytes 0-0/5")], "x").await.expect(415);

    let head = |path: &str, more: &str| {
        let authorization = &admin.authorization;
        format!(
            "PUT /dav/{path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: {authorization}\r\n{more}\r\n"
        )
    };
    send(admin.address, &head("c", "Content-Length: 9000000000000000000\r\n"), b"").await.expect(507);
    let bytes = noise(1, 6_000_000);
    for (path, more) in [("a", "Content-Length: 9000000\r\n"), ("c", "Transfer-Encoding: chunked\r\n")] {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(head(path, more).as_bytes()).await.unwrap();
        if path == "c" {
            stream.write_all(b"6acfc0\r\n").await.unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
        wait_until("a session", || async { server.metric("backup_server_sessions").await == 1 }).await;
        drop(stream);
        wait_until("its end", || async { server.metric("backup_server_sessions").await == 0 }).await;
    }
    assert_eq!(admin.file("a").await, b"there", "the old version");
    assert_eq!(admin.names("").await, ["a", "b"]);

    let dir = server.dir.path().to_owned();
    let limited =
        tokio::task::spawn_blocking(move || command(&dir, &["account", "quota", "admin", "1B"])).await.unwrap();
    assert!(limited.status.success());
    let full = admin.dav("PUT", "c", &[], "too much").await.expect(507);
    assert!(full.json()["detail"].as_str().unwrap().contains("quota"));
    admin.dav("LOCK", "c", &[], LOCK).await.expect(507);
    admin.dav("DELETE", "b", &[], "").await.expect(204);
    server.stop().await;
}
