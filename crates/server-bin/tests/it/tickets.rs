//! `/content/TICKET`: what whoever has a ticket gets, and what nobody gets by one.

use std::net::SocketAddr;

use serde_json::json;

use crate::backup::noise;
use crate::browsers::Browser;
use crate::client::Device;
use crate::rest::{Answer, Script, send};
use crate::server::TestServer;
use crate::snapshots::{back_up, files};

/// Asks without any login, as an element of a page does.
pub(crate) async fn fetch(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    send(address, &head, b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_version_of_one_file_until_its_session_ends() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let old = script.put("a/b%20c.png", b"old bytes").await.expect(201).json()["version"].as_u64().unwrap();
    script.put("a/b%20c.png", b"0123456789").await.expect(200);
    let browser = Browser::logged_in(&server, "admin").await;
    let address = browser.address;
    let made = browser.post("/api/v1/tickets", json!({ "path": "a/b%20c.png" })).await.expect(201).json();
    assert_eq!((&made["media_type"], &made["size"]), (&json!("image/png"), &json!(10)));
    let href = made["href"].as_str().unwrap().to_owned();
    assert_eq!(href.len(), "/content/".len() + 32);
    let got = fetch(address, &href, "").await.expect(200);
    assert_eq!(got.body, b"0123456789");
    assert_eq!(got.headers["content-type"], "image/png");
    assert!(!got.headers.contains_key("content-disposition") && !got.headers.contains_key("set-cookie"));
    assert_eq!(got.headers["content-security-policy"], "sandbox; default-src 'none'");
    assert_eq!(got.headers["cross-origin-resource-policy"], "same-origin");
    assert_eq!(got.headers["x-content-type-options"], "nosniff");
    assert_eq!(got.headers["cache-control"], "private, no-store");
    let part = fetch(address, &href, "Range: bytes=2-4\r\n").await.expect(206);
    assert_eq!((&part.body[..], part.headers["content-range"].as_str()), (&b"234"[..], "bytes 2-4/10"));

    // The version is that of the ticket, whatever the file becomes.
    let older = browser.post("/api/v1/tickets", json!({ "path": "a/b%20c.png", "version": old })).await.expect(201);
    let older = older.json()["href"].as_str().unwrap().to_owned();
    script.put("a/b%20c.png", b"newest").await.expect(200);
    assert_eq!(fetch(address, &older, "").await.expect(200).body, b"old bytes");
    assert_eq!(fetch(address, &href, "").await.expect(200).body, b"0123456789");

    // What is no ticket, and one whose session is over, are the same nothing.
    let nothing = fetch(address, &format!("/content/{}", "ab".repeat(16)), "").await.expect(404).body;
    for wrong in ["/content/x", &href[..href.len() - 1], &format!("{href}0")] {
        assert_eq!(fetch(address, wrong, "").await.expect(404).body, nothing, "{wrong}");
    }
    assert_eq!(
        send(address, &format!("POST {href} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"), b"")
            .await
            .status,
        405
    );
    browser.post("/api/v1/tickets", json!({ "path": "a" })).await.expect(409);
    browser.post("/api/v1/tickets", json!({ "path": "nothing" })).await.expect(404);
    browser.post("/api/v1/tickets", json!({ "path": "a/b%20c.png", "version": 999 })).await.expect(404);
    assert_eq!(browser.ask("DELETE", "/api/v1/session", None).await.status, 204);
    assert_eq!(fetch(address, &href, "").await.expect(404).body, nothing);

    // A script's is good while its account is.
    let made = script.post("/api/v1/tickets", &json!({ "path": "a/b%20c.png" })).await.expect(201).json();
    let href = made["href"].as_str().unwrap().to_owned();
    assert_eq!(fetch(address, &href, "").await.expect(200).body, b"newest");
    let other = Script::new(&server, "admin", "put-only").await;
    other.post("/api/v1/tickets", &json!({ "path": "a/b%20c.png" })).await.expect(403);
    assert_eq!(fetch(address, "/api/v1/tickets", "").await.status, 405);
    server.stop().await;
}

/// Names decide, never what was sent or said: whatever a browser could run is given out to be saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_a_file_of_a_snapshot() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let film = noise(1, 3 << 20);
    back_up(&mut device, "home", 1, &files(&[("v/film.mp4", &film), ("v/page.html", b"<script>1</script>")])).await;
    let browser = Browser::logged_in(&server, "admin").await;
    let id = browser.get("/api/v1/snapshots").await.expect(200).json()["items"][0]["id"].clone();
    let ticket = |path: &str| json!({ "path": path, "snapshot": id });
    let made = browser.post("/api/v1/tickets", ticket("v/film.mp4")).await.expect(201).json();
    assert_eq!((&made["media_type"], &made["size"]), (&json!("video/mp4"), &json!(film.len())));
    let href = made["href"].as_str().unwrap();
    let part = fetch(browser.address, href, "Range: bytes=2000000-2000099\r\n").await.expect(206);
    assert!(part.body == film[2_000_000..2_000_100] && part.headers["content-type"] == "video/mp4");
    // What a browser could run is saved from there, too.
    let page = browser.post("/api/v1/tickets", ticket("v/page.html")).await.expect(201).json();
    let saved = fetch(browser.address, page["href"].as_str().unwrap(), "").await.expect(200);
    assert_eq!(saved.headers["content-type"], "application/octet-stream");
    browser.post("/api/v1/tickets", ticket("v/nothing")).await.expect(404);
    browser.post("/api/v1/tickets", ticket("v")).await.expect(409);
    let both = json!({ "path": "v/film.mp4", "snapshot": id, "version": 1 });
    browser.post("/api/v1/tickets", both).await.expect(400);
    // Another's snapshot is as good as none.
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let bob = Browser::logged_in(&server, "bob").await;
    bob.post("/api/v1/tickets", ticket("v/film.mp4")).await.expect(404);
    assert_eq!(browser.ask("DELETE", "/api/v1/session", None).await.status, 204);
    fetch(browser.address, href, "").await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_could_run_is_only_saved() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let hostile = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    for name in ["x.html", "x.svg", "x.xhtml", "x.xml", "x.pdf", "x.js", "x.css", "x", "png", "x.PNG.html"] {
        script.put(name, hostile).await.expect(201);
        let made = script.post("/api/v1/tickets", &json!({ "path": name })).await.expect(201).json();
        assert_eq!(made["media_type"], "application/octet-stream", "{name}");
        let got = fetch(script.address, made["href"].as_str().unwrap(), "Accept: text/html\r\n").await.expect(200);
        assert_eq!(got.headers["content-type"], "application/octet-stream", "{name}");
        assert!(got.headers["content-disposition"].starts_with("attachment; "), "{name}");
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
        assert_eq!(got.body, hostile);
    }
    // What is shown is shown as what its name says, and not looked into.
    script.put("x.png", hostile).await.expect(201);
    let made = script.post("/api/v1/tickets", &json!({ "path": "x.png" })).await.expect(201).json();
    let got = fetch(script.address, made["href"].as_str().unwrap(), "").await.expect(200);
    assert_eq!((&*got.headers["content-type"], &*got.headers["x-content-type-options"]), ("image/png", "nosniff"));
    server.stop().await;
}

/// A listing shows one state from its first page to its last, and reads a folder once for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_folder_show_one_state() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    for number in 0..20 {
        script.put(&format!("many/{number:02}"), b"").await.expect(201);
    }
    let first = script.get("/api/v1/folder?path=many&limit=10").await.expect(200).json();
    script.put("many/15b", b"").await.expect(201);
    assert_eq!(script.ask("DELETE", "/api/v1/files/many/16", &[], b"").await.status, 200);
    let next = first["next"].as_str().unwrap();
    let second = script.get(&format!("/api/v1/folder?path=many&limit=10&cursor={next}")).await.expect(200).json();
    let names = |page: &serde_json::Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&second), (10..20).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    let anew = script.names("many").await;
    assert!(anew.contains(&"15b".to_owned()) && !anew.contains(&"16".to_owned()));
    for wrong in ["x", "1", "1.", "x.a", "1.a%2fb"] {
        script.get(&format!("/api/v1/folder?path=many&cursor={wrong}")).await.expect(400);
    }
    server.stop().await;
}
