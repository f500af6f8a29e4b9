//! Links: what people without an account get at, how often and how long, and what they never do.

use serde_json::{Value, json};

use crate::browsers::Browser;
use crate::rest::{Answer, Script, send};
use crate::server::TestServer;
use crate::tickets::fetch;

/// The path of a link on this server, and the share's id.
async fn share(browser: &Browser, body: Value) -> (String, String) {
    let made = browser.post("/api/v1/shares", body).await.expect(201).json();
    let link = made["link"].as_str().unwrap();
    let path = link.splitn(4, '/').nth(3).unwrap();
    assert_eq!(path.len(), 2 + 32, "{link}");
    (format!("/{path}"), made["id"].as_str().unwrap().to_owned())
}

async fn post(browser: &Browser, path: &str, media_type: &str, body: &[u8]) -> Answer {
    let address = browser.address;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
         Content-Length: {}\r\nOrigin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n\r\n",
        body.len()
    );
    send(address, &head, body).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_a_folder_and_nothing_beside_it() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("public/a%20%3Cb%3E.txt", b"shared bytes").await.expect(201);
    script.put("public/deep/er.txt", b"deeper").await.expect(201);
    script.put("private.txt", b"secret").await.expect(201);
    let browser = Browser::logged_in(&server, "admin").await;
    let address = browser.address;
    let (link, id) = share(&browser, json!({ "kind": "download", "path": "public", "expires_in_ms": 60_000 })).await;

    let page = fetch(address, &link, "").await;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("script-src"), "{policy}");
    assert!(!page.headers.contains_key("set-cookie") && page.headers["referrer-policy"] == "same-origin");
    let html = text(&page);
    assert!(html.contains("a &lt;b&gt;.txt") && html.contains(">deep<") && !html.contains("private"), "{html}");
    assert!(!html.contains("<script"));

    let got = fetch(address, &format!("{link}/file?path=a%2520%253Cb%253E.txt"), "").await.expect(200);
    assert_eq!(got.body, b"shared bytes");
    assert!(got.headers["content-disposition"].starts_with("attachment; "));
    assert_eq!(fetch(address, &format!("{link}/file?path=deep/er.txt"), "").await.expect(200).body, b"deeper");
    assert!(text(&fetch(address, &format!("{link}?path=deep"), "").await).contains("er.txt"));
    let zip = fetch(address, &format!("{link}/zip"), "").await.expect(200);
    assert_eq!(zip.headers["content-type"], "application/zip");
    let has = |what: &[u8]| zip.body.windows(what.len()).any(|part| part == what);
    assert!(has(b"public/deep/er.txt") && has(b"deeper") && !has(b"private.txt"));

    // Each use is told to the owner by name, and to the audit log without.
    let log = browser.get("/api/v1/audit?event=share-download").await.expect(200).json();
    let log = log["items"].as_array().unwrap();
    assert_eq!(log.len(), 3);
    for line in log {
        assert_eq!((&line["subject"], &line["detail"]), (&json!("admin"), &json!(id)));
        assert_eq!((&line["means"], &line["address"]), (&json!("link"), &json!("127.0.0.1")));
    }
    let told = browser.get("/api/v1/activity?kind=link").await.expect(200).json();
    let names: Vec<&str> =
        told["items"].as_array().unwrap().iter().map(|used| used["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["public", "er.txt", "a <b>.txt"]);
    assert_eq!(told["items"][0]["detail"], "download from 127.0.0.1");

    // No path leaves it, and whatever is not there is the same page as a wrong link.
    let gone = fetch(address, &format!("/s/{}", "ab".repeat(16)), "").await;
    assert_eq!(gone.status, 404);
    for outside in
        ["../private.txt", "%2e%2e/private.txt", "..%252fprivate.txt", "/private.txt", "deep/../../private.txt"]
    {
        for part in ["", "/file", "/zip"] {
            let answer = fetch(address, &format!("{link}{part}?path={outside}"), "").await;
            assert_eq!((answer.status, &answer.body), (404, &gone.body), "{part} {outside}");
        }
    }
    for wrong in ["/s/x", &link[..link.len() - 1], &link.replace("/s/", "/u/"), &format!("{link}?path=a&x=1")] {
        let answer = fetch(address, wrong, "").await;
        assert_eq!((answer.status, &answer.body), (404, &gone.body), "{wrong}");
    }

    // It follows the folder, is counted, and is over when told, or when the folder is in the trash.
    script.post("/api/v1/move", &json!({ "from": "public", "to": "moved" })).await.expect(200);
    let listed = browser.get("/api/v1/shares").await.expect(200).json();
    let item = &listed["items"][0];
    assert_eq!((&item["path"], &item["uses"], &item["has_password"]), (&json!("moved"), &json!(3), &json!(false)));
    assert!(item["last_used_ms"].is_u64() && item.get("link").is_none());
    assert_eq!(fetch(address, &link, "").await.status, 200);
    assert_eq!(script.ask("DELETE", "/api/v1/files/moved", &[], b"").await.status, 200);
    let answer = fetch(address, &link, "").await;
    assert_eq!((answer.status, &answer.body), (404, &gone.body));
    script.post("/api/v1/trash/restore", &json!({ "path": "moved" })).await.expect(200);
    assert_eq!(fetch(address, &link, "").await.status, 200);
    assert_eq!(browser.ask("DELETE", &format!("/api/v1/shares/{id}"), None).await.status, 204);
    let answer = fetch(address, &link, "").await;
    assert_eq!((answer.status, &answer.body), (404, &gone.body));

    // What opens it is nowhere in the catalog.
    let server = server.restart().await;
    assert_eq!(fetch(server.server.address(), &link, "").await.status, 404);
    let secret: [u8; 16] = object::hex::decode(&link[3..]).unwrap();
    for file in ["catalog.sqlite3", "catalog.sqlite3-wal"] {
        let catalog = std::fs::read(server.dir.path().join(file)).unwrap_or_default();
        assert!(
            !catalog.windows(16).any(|part| part == secret)
                && !catalog.windows(32).any(|part| part == &link.as_bytes()[3..])
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_made_and_voided_by_command() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("public/a%20%3Cb%3E.txt", b"shared bytes").await.expect(201);
    let address = server.server.address();
    let run = async |arguments: &[&str], code: i32| {
        let ran = server.command(arguments).await;
        let complaint = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {complaint}");
        if code == 0 { String::from_utf8(ran.stdout).unwrap().trim_end().to_owned() } else { complaint }
    };
    // Nothing but the link, for a script.
    let made = run(&["share", "add", "/public/a <b>.txt", "--uses-max", "1"], 0).await;
    let (_, link) = made.split_once(&format!("{address}")).unwrap();
    assert_eq!(fetch(address, &format!("{link}/file"), "").await.expect(200).body, b"shared bytes");
    assert_eq!(fetch(address, &format!("{link}/file"), "").await.status, 404, "once was said");
    let listed: Value = serde_json::from_str(&run(&["share", "list", "--json"], 0).await).unwrap();
    let told = ["account", "kind", "path", "uses", "uses_max", "link", "revoked_ms"].map(|name| listed[name].clone());
    let expected = json!(["admin", "download", "public/a <b>.txt", 1, 1, null, null]);
    assert_eq!(Value::from(told.to_vec()), expected);
    let lifetime_ms = listed["expires_ms"].as_u64().unwrap() - listed["created_ms"].as_u64().unwrap();
    assert_eq!(lifetime_ms, 7 * 24 * 3_600_000);

    let made = run(&["share", "add", "public", "--upload", "--forever"], 0).await;
    let (_, link) = made.split_once(&format!("{address}")).unwrap();
    assert!(link.starts_with("/u/"), "{link}");
    assert_eq!(fetch(address, link, "").await.status, 200);
    let browser = Browser::logged_in(&server, "admin").await;
    let listed = browser.get("/api/v1/shares").await.expect(200).json();
    let item = &listed["items"][0];
    assert_eq!((&item["kind"], &item["expires_ms"]), (&json!("upload"), &Value::Null));
    let id = item["id"].as_str().unwrap();
    let voided = run(&["share", "revoke", id], 0).await;
    assert_eq!(voided, format!("{id}  upload of /public of admin, used 0, revoked"));
    assert_eq!(fetch(address, link, "").await.status, 404);
    let audit = run(&["audit"], 0).await;
    assert_eq!((audit.matches("share-made").count(), audit.matches("share-revoked").count()), (2, 1), "{audit}");

    for (wrong, complaint) in [
        (&["share", "add", "nothing"][..], "there is nothing at `nothing` in the drive of `admin`"),
        (&["share", "add", "../public"], "none of them . or .."),
        (&["share", "add", "public/a <b>.txt", "--upload"], "`public/a <b>.txt` is a file"),
        (&["share", "add", "public", "--upload", "--file-len-max", "0"], "a limit of nothing"),
        (&["share", "revoke", "0123456789abcdef"], "there is no share 0123456789abcdef"),
    ] {
        let said = run(wrong, 1).await;
        assert!(said.contains(complaint), "{wrong:?}: {said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_downloads_and_not_their_parts() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("one.bin", b"0123456789").await.expect(201);
    let browser = Browser::logged_in(&server, "admin").await;
    let address = browser.address;
    let body = json!({ "kind": "download", "path": "one.bin", "expires_in_ms": 60_000, "uses_max": 2 });
    let (link, id) = share(&browser, body).await;
    let file = format!("{link}/file");
    let uses = async || browser.get(&format!("/api/v1/shares/{id}")).await.expect(200).json()["uses"].as_u64().unwrap();
    // Looking counts nothing.
    assert!(text(&fetch(address, &link, "").await).contains("Download"));
    let head = format!("HEAD {file} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(send(address, &head, b"").await.status, 200);
    assert_eq!(uses().await, 0);
    // A part is a download when it is the first thing that is asked for, and goes on with one after that.
    assert_eq!(fetch(address, &file, "Range: bytes=0-3\r\n").await.expect(206).body, b"0123");
    assert_eq!(fetch(address, &file, "Range: bytes=4-\r\n").await.expect(206).body, b"456789");
    assert_eq!(uses().await, 1);
    // Of many that want the last one at the same time, one gets it.
    let asked = (0..8).map(|_| fetch(address, &file, ""));
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 404)));
    assert_eq!(uses().await, 2);
    assert_eq!(fetch(address, &link, "").await.status, 404);
    assert_eq!(
        fetch(address, &file, "Range: bytes=4-\r\n").await.expect(206).body,
        b"456789",
        "what was begun is finished"
    );
    // Each of the two is told, and written down: what was used, and from where.
    let told = browser.get("/api/v1/activity?kind=link").await.expect(200).json();
    assert_eq!(told["items"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told["items"][0]["name"], "one.bin");
    let log = browser.get("/api/v1/audit?event=share-download").await.expect(200).json();
    assert_eq!(log["items"].as_array().unwrap().len(), 2, "{log}");
    assert_eq!((&log["items"][0]["detail"], &log["items"][0]["address"]), (&json!(id), &json!("127.0.0.1")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_and_guessing_waits() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("docs/x.txt", b"behind a password").await.expect(201);
    let browser = Browser::logged_in(&server, "admin").await;
    let address = browser.address;
    let body = json!({ "kind": "download", "path": "docs", "expires_in_ms": 600_000, "password": "open sesame" });
    let (link, _) = share(&browser, body).await;
    let asked = fetch(address, &link, "").await;
    assert!(asked.status == 200 && text(&asked).contains("type=\"password\"") && !text(&asked).contains("x.txt"));
    for part in ["/file?path=x.txt", "/zip", "/file?path=x.txt&pass=1-00", "/zip?pass=ffffffffffffffff-00"] {
        assert_eq!(fetch(address, &format!("{link}{part}"), "").await.status, 404, "{part}");
    }
    let form = "application/x-www-form-urlencoded";
    let wrong = post(&browser, &link, form, b"password=open+says+me").await;
    assert!(
        wrong.status == 403 && text(&wrong).contains("not the password") && !wrong.headers.contains_key("location")
    );
    let right = post(&browser, &link, form, b"password=open+sesame").await;
    assert_eq!(right.status, 303);
    assert!(!right.headers.contains_key("set-cookie"));
    // Relative to the page, whatever a proxy puts before it.
    let opened = format!("/s/{}", right.headers["location"]);
    let html = text(&fetch(address, &opened, "").await);
    assert!(html.contains("x.txt") && html.contains("pass="), "{html}");
    let pass = opened.split_once("pass=").unwrap().1;
    let file = format!("{link}/file?path=x.txt&pass={pass}");
    assert_eq!(fetch(address, &file, "").await.expect(200).body, b"behind a password");
    // A pass is good for its share alone, and cannot be made to last.
    let body = json!({ "kind": "download", "path": "docs", "expires_in_ms": 600_000, "password": "open sesame" });
    let (other, _) = share(&browser, body).await;
    assert_eq!(fetch(address, &format!("{other}/file?path=x.txt&pass={pass}"), "").await.status, 404);
    let longer = format!("{:x}{}", u64::from_str_radix(&pass[..11], 16).unwrap() + 1, &pass[11..]);
    assert_eq!(fetch(address, &format!("{link}/file?path=x.txt&pass={longer}"), "").await.status, 404);
    // Pages of other sites guess nothing.
    let head = format!(
        "POST {link} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\nSec-Fetch-Site: cross-site\r\n\r\n"
    );
    assert_eq!(send(address, &head, b"").await.status, 403);
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(post(&browser, &other, form, b"password=guess").await.status);
    }
    assert!(statuses.contains(&403) && statuses.last() == Some(&429), "{statuses:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_by_a_link_that_shows_nothing() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("inbox/a.txt", b"was here").await.expect(201);
    let browser = Browser::logged_in(&server, "admin").await;
    let address = browser.address;
    browser
        .post("/api/v1/shares", json!({ "kind": "upload", "path": "inbox/a.txt", "expires_in_ms": 1 }))
        .await
        .expect(409);
    let body =
        json!({ "kind": "upload", "path": "inbox", "expires_in_ms": 60_000, "uses_max": 3, "file_len_max": 100 });
    let (link, id) = share(&browser, body).await;
    assert!(link.starts_with("/u/"));
    let page = text(&fetch(address, &link, "").await);
    assert!(page.contains("multipart/form-data") && !page.contains("a.txt"), "{page}");
    // It opens nothing, as a link to see files would.
    for other in [link.replace("/u/", "/s/"), format!("{}/file?path=a.txt", link.replace("/u/", "/s/"))] {
        assert_eq!(fetch(address, &other, "").await.status, 404);
    }
    let part = |name: &str, bytes: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{bytes}\r\n")
    };
    let form = "multipart/form-data; boundary=b";
    let long = "x".repeat(101);
    let sent = [part("", ""), part("a.txt", "new"), part("long.txt", &long), part("../b.txt", "x"), "--b--\r\n".into()];
    let answer = post(&browser, &link, form, sent.concat().as_bytes()).await;
    let html = text(&answer);
    assert!(
        html.contains("stored")
            && html.contains("longer than 100 B")
            && html.contains("Files that may still be sent: 2"),
        "{html}"
    );
    assert_eq!(script.names("inbox").await, ["a (1).txt", "a.txt"]);
    assert_eq!(
        (script.file("inbox/a.txt").await, script.file("inbox/a%20%281%29.txt").await),
        (b"was here".to_vec(), b"new".to_vec())
    );
    let sent = [part("c", "1"), part("c", "2"), part("c", "3"), "--b--\r\n".into()];
    let html = text(&post(&browser, &link, form, sent.concat().as_bytes()).await);
    assert!(html.contains("no more files may be sent with this link") && html.contains("No more files"), "{html}");
    assert_eq!(script.names("inbox").await, ["a (1).txt", "a.txt", "c", "c (1)"]);
    assert_eq!(fetch(address, &link, "").await.status, 404);
    assert_eq!(post(&browser, &link, form, part("d", "x").as_bytes()).await.status, 404);
    let told = browser.get("/api/v1/activity?kind=link").await.expect(200).json();
    let names: Vec<&str> =
        told["items"].as_array().unwrap().iter().map(|used| used["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c (1)", "c", "a (1).txt"]);
    let refused = browser.get("/api/v1/activity?kind=error").await.expect(200).json();
    assert_eq!((&refused["items"][0]["name"], &refused["items"][1]), (&json!("long.txt"), &Value::Null), "{refused}");
    let log = browser.get("/api/v1/audit?event=share-upload").await.expect(200).json();
    assert!(log["items"][0]["detail"].as_str().unwrap().starts_with(&id), "{log}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_share_and_what_a_share_may() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("inbox/x", b"x").await.expect(201);
    // What opens more than it is may not be made by what was itself given out.
    let body = json!({ "kind": "download", "path": "inbox", "expires_in_ms": 60_000 });
    script.post("/api/v1/shares", &body).await.expect(403);
    let browser = Browser::logged_in(&server, "admin").await;
    browser.post("/api/v1/shares", json!({ "kind": "download", "path": "inbox" })).await.expect(403);
    let wrong = json!({ "kind": "download", "path": "inbox", "account_password": "wrong horse" });
    browser.post("/api/v1/shares", wrong).await.expect(403);
    browser.post("/api/v1/shares", json!({ "kind": "download", "path": "no", "expires_in_ms": 1 })).await.expect(404);
    let zero = json!({ "kind": "download", "path": "inbox", "expires_in_ms": 60_000, "uses_max": 0 });
    browser.post("/api/v1/shares", zero).await.expect(400);
    let forever = json!({ "kind": "download", "path": "inbox", "account_password": "correct horse battery" });
    let (_, id) = share(&browser, forever).await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let bob = Browser::logged_in(&server, "bob").await;
    bob.get(&format!("/api/v1/shares/{id}")).await.expect(404);
    bob.ask("DELETE", &format!("/api/v1/shares/{id}"), None).await.expect(404);
    assert_eq!(bob.get("/api/v1/shares").await.expect(200).json()["items"], json!([]));

    // A share does what its owner may, and nothing any more when they may not.
    let folder = json!({ "path": "in" });
    bob.post("/api/v1/folder", folder).await.expect(200);
    let (up, _) = share(&bob, json!({ "kind": "upload", "path": "in", "expires_in_ms": 60_000 })).await;
    let (down, _) = share(&bob, json!({ "kind": "download", "path": "in", "expires_in_ms": 60_000 })).await;
    let (brief, _) = share(&bob, json!({ "kind": "download", "path": "in", "expires_in_ms": 0 })).await;
    let address = bob.address;
    let statuses = async || {
        let mut statuses = Vec::new();
        for link in [&up, &down, &brief] {
            statuses.push(fetch(address, link, "").await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 404]);
    assert!(server.command(&["account", "role", "bob", "read-only"]).await.status.success());
    assert_eq!(statuses().await, [404, 200, 404]);
    assert!(server.command(&["account", "disable", "bob"]).await.status.success());
    assert_eq!(statuses().await, [404, 404, 404]);
    server.stop().await;
}
