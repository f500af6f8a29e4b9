//! Behind a proxy that shows the server below a path, whether that takes the path off or not: every address that an answer says
//! has it, and every one is understood with and without it.

use serde_json::{Value, json};

use crate::browsers::Browser;
use crate::rest::{Script, send};
use crate::server::TestServer;
use crate::tickets::fetch;

const BASE: &str = "/to/backup";
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

async fn start() -> TestServer {
    TestServer::start_with(|options| options.base_path = Some(BASE.parse().unwrap())).await
}

/// The address without the base that it has to have.
#[track_caller]
fn below(address: &str) -> &str {
    let below = address.strip_prefix(BASE).unwrap_or_else(|| panic!("{address} is not below {BASE}"));
    assert!(!below.starts_with(BASE), "{address}");
    below
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_is_found_below_the_base_and_past_the_proxy() {
    let server = start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let put = script.ask("PUT", &format!("{BASE}/api/v1/files/a%20b.txt"), &[], b"bytes").await.expect(201);
    assert_eq!(below(&put.headers["location"]), "/api/v1/files/a%20b.txt");
    assert_eq!(put.json()["href"], put.headers["location"].as_str());
    for prefix in [BASE, ""] {
        let got = script.get(&format!("{prefix}/api/v1/files/a%20b.txt")).await.expect(200);
        assert_eq!(got.body, b"bytes", "{prefix}");
        let listed = script.get(&format!("{prefix}/api/v1/folder?path=")).await.expect(200).json();
        assert_eq!(listed["items"][0]["name"], "a b.txt", "{prefix}");
        assert_eq!(fetch(script.address, &format!("{prefix}/healthz"), "").await.status, 200, "{prefix}");
    }
    for elsewhere in ["/to/backups/api/v1/me", "/to/api/v1/me", "/to/backup/to/backup/api/v1/me"] {
        assert_eq!(script.get(elsewhere).await.status, 404, "{elsewhere}");
    }
    let described = script.get(&format!("{BASE}/api/v1/openapi.json")).await.expect(200).json();
    assert_eq!(described["servers"], json!([{ "url": BASE }]), "paths are appended to that");
    let ticket = script.post(&format!("{BASE}/api/v1/tickets"), &json!({ "path": "a%20b.txt" })).await.expect(201);
    let href = ticket.json()["href"].as_str().unwrap().to_owned();
    for address in [&href[..], below(&href)] {
        assert_eq!(fetch(script.address, address, "").await.expect(200).body, b"bytes", "{address}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_on_at_the_address_they_were_told() {
    let server = start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let announced = [TUS, ("Upload-Length", "6"), ("Upload-Metadata", "path YS50eHQ=")];
    let made = script.ask("POST", &format!("{BASE}/api/v1/uploads"), &announced, b"").await.expect(201);
    let upload = made.headers["location"].clone();
    let list = script.get(&format!("{BASE}/api/v1/uploads")).await.expect(200).json();
    assert_eq!(list["items"][0]["href"], upload.as_str());
    let part = |offset| [TUS, ("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", offset)];
    script.ask("PATCH", &upload, &part("0"), b"abc").await.expect(204);
    let done = script.ask("PATCH", below(&upload), &part("3"), b"def").await.expect(204);
    assert_eq!(below(&done.headers["content-location"]), "/api/v1/files/a.txt");
    assert_eq!(script.file("a.txt").await, b"abcdef");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_says_addresses_below_the_base() {
    let server = start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.ask("MKCOL", &format!("{BASE}/dav/docs"), &[], b"").await.expect(201);
    script.ask("PUT", &format!("{BASE}/dav/docs/a"), &[], b"bytes").await.expect(201);
    // A proxy may have taken the base off what is asked for, never off what headers and bodies say.
    for prefix in [BASE, ""] {
        let path = format!("{prefix}/dav/docs/");
        let listed = script.ask("PROPFIND", &path, &[("Depth", "1")], b"").await.expect(207);
        let listed = String::from_utf8(listed.body).unwrap();
        assert!(listed.contains(&format!("<D:href>{BASE}/dav/docs/a</D:href>")), "{listed}");
        assert!(!listed.contains("<D:href>/dav"), "{listed}");
    }
    let address = script.address;
    for (index, destination) in
        [format!("http://{address}{BASE}/dav/docs/"), format!("{BASE}/dav/docs/"), "/dav/docs/".to_owned()]
            .iter()
            .enumerate()
    {
        for (nth, prefix) in [BASE, ""].iter().enumerate() {
            let to = format!("{destination}{index}{nth}");
            script.ask("COPY", &format!("{prefix}/dav/docs/a"), &[("Destination", &to)], b"").await.expect(201);
            assert_eq!(script.file(&format!("docs/{index}{nth}")).await, b"bytes", "{prefix} {to}");
        }
    }
    let outside = [("Destination", "/to/dav/docs/b")];
    script.ask("MOVE", &format!("{BASE}/dav/docs/a"), &outside, b"").await.expect(502);

    // A lock is known by the address that its holder knows.
    let lock = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
                <D:locktype><D:write/></D:locktype></D:lockinfo>";
    let locked = script.ask("LOCK", "/dav/docs/a", &[("Timeout", "Second-600")], lock.as_bytes()).await.expect(200);
    let token = locked.headers["lock-token"].clone();
    let told = String::from_utf8(locked.body).unwrap();
    assert!(told.contains(&format!("{BASE}/dav/docs/a")), "{told}");
    script.ask("PUT", &format!("{BASE}/dav/docs/a"), &[], b"x").await.expect(423);
    for resource in [format!("http://{address}{BASE}/dav/docs/a"), format!("http://{address}/dav/docs/a")] {
        let tagged = format!("<{resource}> ({token})");
        for path in [format!("{BASE}/dav/docs/a"), "/dav/docs/a".to_owned()] {
            let put = script.ask("PUT", &path, &[("If", &tagged)], b"new").await;
            assert_eq!(put.status, 204, "{path} {resource}");
        }
    }
    server.stop().await;
}

/// The addresses in a page, as a browser at `page` would ask for them.
fn links(html: &str, page: &str) -> Vec<String> {
    let folder = &page[..=page.rfind('/').unwrap()];
    let values = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    values.map(|value| if value.starts_with('/') { value } else { format!("{folder}{value}") }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_links_lead_on_below_the_base() {
    let server = start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("public/in%20it/a.txt", b"shared").await.expect(201);
    let browser = Browser::logged_in(&server, "admin").await;
    let share = json!({ "kind": "download", "path": "public", "expires_in_ms": 60_000, "password": "open sesame" });
    let made: Value = browser.post("/api/v1/shares", share).await.expect(201).json();
    let address = browser.address;
    let link = made["link"].as_str().unwrap().strip_prefix(&format!("http://{address}")).unwrap().to_owned();
    assert_eq!(below(&link).len(), "/s/".len() + 32);
    let setup = String::from_utf8(server.command(&["account", "setup-link"]).await.stdout).unwrap();
    assert!(setup.starts_with(&format!("http://{address}{BASE}/setup#")), "{setup}");

    let page = String::from_utf8(fetch(address, &link, "").await.expect(200).body).unwrap();
    let action = page.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(format!("{BASE}/s/{action}"), link, "the form comes back to its page");
    let body = "password=open+sesame";
    let head = format!(
        "POST {link} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n",
        body.len()
    );
    let opened = send(address, &head, body.as_bytes()).await;
    assert_eq!(opened.status, 303);
    let opened = format!("{BASE}/s/{}", opened.headers["location"]);
    let html = String::from_utf8(fetch(address, &opened, "").await.expect(200).body).unwrap();
    let [folder, zip] = &links(&html, &opened)[..] else { panic!("{html}") };
    assert_eq!(fetch(address, zip, "").await.expect(200).headers["content-type"], "application/zip");
    let html = String::from_utf8(fetch(address, folder, "").await.expect(200).body).unwrap();
    let [above, file, _] = &links(&html, folder)[..] else { panic!("{html}") };
    assert_eq!(fetch(address, file, "").await.expect(200).body, b"shared");
    assert_eq!(fetch(address, above, "").await.status, 200);
    server.stop().await;
}
