//! People in browsers: logging in, staying in, and who cannot make them do what they do not want.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
use proto::FailCode;
use serde_json::{Value, json};
use server_bin::Span;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Client, Device, Token};
use crate::rest::{Answer, Script, send};
use crate::server::{Program, TestServer, text, wait_until};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A browser with one page of the server's own.
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) cookie: Option<String>,
    csrf_token: Option<String>,
}

impl Browser {
    fn new(address: SocketAddr) -> Self {
        Self { address, cookie: None, csrf_token: None }
    }

    /// One whose account has a password, and that is logged in.
    pub(crate) async fn logged_in(server: &TestServer, account: &str) -> Self {
        set_password(server, account, PASSWORD).await;
        let mut browser = Self::new(server.server.address());
        browser.log_in(account, PASSWORD, None).await.expect(200);
        browser
    }

    async fn log_in(&mut self, account: &str, password: &str, code: Option<&str>) -> Answer {
        let mut body = json!({ "account": account, "password": password });
        if let Some(code) = code {
            body["code"] = code.into();
        }
        let answer = self.ask("POST", "/api/v1/session", Some(&body)).await;
        if answer.status == 200 {
            self.take(&answer);
        }
        answer
    }

    /// Keeps the cookie and the token of an answer.
    fn take(&mut self, answer: &Answer) {
        if let Some(cookie) = answer.headers.get("set-cookie") {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        if let Some(token) = answer.json()["csrf_token"].as_str() {
            self.csrf_token = Some(token.to_owned());
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let origin = format!("Origin: http://{}\r\n", self.address);
        let token = self.csrf_token.as_ref().map(|token| format!("X-CSRF-Token: {token}\r\n"));
        self.ask_with(method, path, body, &(origin + &token.unwrap_or_default())).await
    }

    /// Under an idempotency key.
    pub(crate) async fn ask_under(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let token = self.csrf_token.as_deref().unwrap_or_default();
        let headers = format!("Origin: http://{}\r\nX-CSRF-Token: {token}\r\nIdempotency-Key: {key}\r\n", self.address);
        self.ask_with(method, path, (!body.is_null()).then_some(body), &headers).await
    }

    /// With these headers beside the cookie.
    async fn ask_with(&self, method: &str, path: &str, body: Option<&Value>, headers: &str) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Sec-Fetch-Mode: cors\r\nContent-Length: {}\r\n{cookie}{headers}\r\n",
            self.address,
            body.len()
        );
        send(self.address, &head, body.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(&body)).await
    }

    async fn is_logged_in(&self) -> bool {
        !self.get("/api/v1/session").await.expect(200).json()["me"].is_null()
    }
}

/// Gives an account this password, by command.
async fn set_password(server: &TestServer, account: &str, password: &str) {
    let (dir, account, password) = (server.dir.path().to_owned(), account.to_owned(), password.to_owned());
    let output = tokio::task::spawn_blocking(move || {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_backup-server"))
            .args(["account", "password", &account, "--stdin", "--data-dir"])
            .arg(dir)
            .env_clear()
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    assert!(output.await.unwrap().status.success());
}

async fn command(server: &TestServer, arguments: &[&str]) -> String {
    let output = server.command(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    text(&output.stdout).trim().to_owned()
}

fn basic(server: &TestServer, account: &str, password: &str) -> Script {
    let text = Base64::encode_string(format!("{account}:{password}").as_bytes());
    Script::with(server, format!("Basic {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_a_new_cookie_that_ends_when_told() {
    let server = TestServer::start().await;
    let mut browser = Browser::logged_in(&server, "admin").await;
    // What a page of another could have planted is not what the login gives.
    let planted = format!("bk={}", "ab".repeat(32));
    browser.cookie = Some(planted.clone());
    assert!(!browser.is_logged_in().await);
    let answer = browser.log_in("admin", PASSWORD, None).await.expect(200);
    let cookie = &answer.headers["set-cookie"];
    assert!(!cookie.starts_with(&planted), "{cookie}");
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict", "without TLS, on this machine");
    assert_eq!(value.len(), "bk=".len() + 64);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.json()["me"]["role"], "admin");
    // Another login ends the session that the browser had.
    let first = Browser { cookie: browser.cookie.clone(), csrf_token: browser.csrf_token.clone(), ..browser };
    browser.log_in("admin", PASSWORD, None).await.expect(200);
    assert!(browser.is_logged_in().await && !first.is_logged_in().await);
    // Behind a proxy that ends TLS, the browser is told to send it over TLS only.
    let origin = format!("Origin: https://{}\r\n", browser.address);
    let body = json!({ "account": "admin", "password": PASSWORD });
    let proxied = Browser::new(browser.address);
    let answer = proxied.ask_with("POST", "/api/v1/session", Some(&body), &origin).await.expect(200);
    let cookie = &answer.headers["set-cookie"];
    assert!(
        cookie.starts_with("__Host-bk=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );

    // Sessions are known after a restart, and are nowhere in the clear.
    let secret = browser.cookie.clone().unwrap()["bk=".len()..].to_owned();
    let server = server.restart().await;
    let mut browser = Browser { address: server.server.address(), ..browser };
    assert!(browser.is_logged_in().await);
    let catalog = std::fs::read(server.dir.path().join("catalog.sqlite3")).unwrap();
    let raw: [u8; 32] = object::hex::decode(&secret).unwrap();
    for needle in [secret.as_bytes(), &raw] {
        assert!(!catalog.windows(needle.len()).any(|bytes| bytes == needle));
    }
    // All of them are listed, one of them is this; others are ended one by one or together.
    let sessions = browser.get("/api/v1/sessions").await.expect(200).json();
    let sessions = sessions["items"].as_array().unwrap().clone();
    assert_eq!(sessions.iter().filter(|session| session["is_this"] == true).count(), 1);
    let other = sessions.iter().find(|session| session["is_this"] == false).unwrap();
    let path = format!("/api/v1/sessions/{}", other["id"].as_str().unwrap());
    browser.ask("DELETE", &path, None).await.expect(204);
    browser.ask("DELETE", &path, None).await.expect(404);
    browser.ask("DELETE", "/api/v1/sessions", None).await.expect(204);
    let left = browser.get("/api/v1/sessions").await.expect(200).json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    let answer = browser.ask("DELETE", "/api/v1/session", None).await.expect(204);
    assert!(answer.headers["set-cookie"].contains("Max-Age=0"));
    assert!(!browser.is_logged_in().await);
    let refused = browser.get("/api/v1/me").await.expect(401);
    assert!(refused.headers["www-authenticate"].starts_with("Bearer "), "pages ask for passwords themselves");
    // A new password ends every session, but the browser that set it has a new one.
    browser.log_in("admin", PASSWORD, None).await.expect(200);
    let mut second = Browser::new(browser.address);
    second.log_in("admin", PASSWORD, None).await.expect(200);
    let before = browser.cookie.clone();
    let wrong = json!({ "present": "not this one", "new": "another password" });
    browser.post("/api/v1/me/password", wrong).await.expect(403);
    let short = json!({ "present": PASSWORD, "new": "short" });
    browser.post("/api/v1/me/password", short).await.expect(400);
    let change = json!({ "present": PASSWORD, "new": "another password" });
    let answer = browser.post("/api/v1/me/password", change).await.expect(200);
    browser.take(&answer);
    assert_ne!(browser.cookie, before);
    assert!(browser.is_logged_in().await && !second.is_logged_in().await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_themselves() {
    let server = TestServer::start_with(|options| {
        options.login_idle = Some(Span(Duration::from_secs(2)));
        options.login_lifetime = Some(Span(Duration::from_secs(4)));
    })
    .await;
    let idle = Browser::logged_in(&server, "admin").await;
    let mut busy = Browser::new(server.server.address());
    busy.log_in("admin", PASSWORD, None).await.expect(200);
    let started = std::time::Instant::now();
    let mut lasted = Duration::ZERO;
    while busy.is_logged_in().await {
        lasted = started.elapsed();
        assert!(lasted < Duration::from_secs(30), "a session outlives its lifetime");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(lasted > Duration::from_secs(2), "one that is used outlives what is idle: {lasted:?}");
    assert!(!idle.is_logged_in().await);
    idle.get("/api/v1/folder").await.expect(401);
    server.stop().await;
}

/// P-25: a cookie alone changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_change_nothing() {
    let server = TestServer::start().await;
    let browser = Browser::logged_in(&server, "admin").await;
    let own = format!("Origin: http://{}\r\n", browser.address);
    let token = format!("X-CSRF-Token: {}\r\n", browser.csrf_token.as_ref().unwrap());
    let foreign = "Origin: https://evil.example\r\n".to_owned();
    let body = json!({ "path": "planted" });
    let make = async |headers: &str| browser.ask_with("POST", "/api/v1/folder", Some(&body), headers).await.status;
    for headers in [
        String::new(),
        token.clone(),
        own.clone(),
        foreign.clone() + &token,
        "Origin: null\r\n".to_owned() + &token,
        own.clone() + "X-CSRF-Token: " + &"0".repeat(64) + "\r\n",
        own.clone() + &token + "Sec-Fetch-Site: cross-site\r\n",
        own.clone() + &token + "Sec-Fetch-Site: same-site\r\n",
        token.clone() + "Sec-Fetch-Site: none\r\n",
    ] {
        assert_eq!(make(&headers).await, 403, "{headers}");
    }
    // No form of another site logs anybody in.
    let login = json!({ "account": "admin", "password": PASSWORD });
    let forged = browser.ask_with("POST", "/api/v1/session", Some(&login), &foreign).await.expect(403);
    assert!(!forged.headers.contains_key("set-cookie"));
    let list = browser.get("/api/v1/folder").await.expect(200).json();
    assert_eq!(list["items"], json!([]), "nothing was planted");
    assert_eq!(make(&(own + &token)).await, 200);
    assert_eq!(make(&(token.clone() + "Sec-Fetch-Site: same-origin\r\n")).await, 409, "it is there now");
    // A token that is said with a login of another kind is no matter; a cookie beside it is not looked at.
    let script = Script::new(&server, "admin", "restore").await;
    script.post("/api/v1/folder", &json!({ "path": "scripted" })).await.expect(200);
    server.stop().await;
}

/// P-25: whatever is answered has the headers, and only what is ours has our name.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_guarded_and_names_are_known() {
    let server = TestServer::start().await;
    let browser = Browser::logged_in(&server, "admin").await;
    let document = browser.get("/api/v1/openapi.json").await.expect(200).json();
    let mut asked = 0;
    for path in document["paths"].as_object().unwrap().keys().map(String::as_str).chain(["/", "/metrics", "/x/y"]) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            for host in [browser.address.to_string(), "evil.example".to_owned()] {
                let path = path.replace("{path}", "x").replace("{id}", "x").replace("{name}", "x");
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let answer = send(browser.address, &head, b"").await;
                for header in [
                    "content-security-policy",
                    "x-content-type-options",
                    "x-frame-options",
                    "referrer-policy",
                    "cross-origin-opener-policy",
                    "cross-origin-resource-policy",
                    "cache-control",
                ] {
                    assert!(answer.headers.contains_key(header), "{header} of {method} {path}");
                }
                assert!(!answer.headers.contains_key("access-control-allow-origin"));
                assert!(answer.status < 500, "{method} {path}: {}", answer.status);
                if host == "evil.example" {
                    assert_eq!(answer.status, 421, "{method} {path}");
                    assert!(answer.json()["detail"].as_str().unwrap().contains("`hosts`"));
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "{asked}");
    // Health is asked by whatever name, devices too.
    for path in ["/healthz", "/readyz", "/api/v1/connect"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: pod-1.cluster\r\nConnection: close\r\n\r\n");
        assert_ne!(send(browser.address, &head, b"").await.status, 421, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_by_whichever_door() {
    let server = TestServer::start().await;
    let mut browser = Browser::logged_in(&server, "admin").await;
    let wrong = browser.log_in("admin", "wrong password", None).await.expect(401);
    let unknown = browser.log_in("nobody", "wrong password", None).await.expect(401);
    assert_eq!(wrong.body, unknown.body, "an account that is not there looks like a wrong password");
    for _ in 0..3 {
        basic(&server, "admin", "wrong password").get("/api/v1/me").await.expect(401);
    }
    // Five were wrong: now both doors wait, also with the right one.
    let waiting = browser.log_in("admin", PASSWORD, None).await.expect(429);
    assert!(waiting.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    basic(&server, "admin", PASSWORD).get("/api/v1/me").await.expect(429);
    assert!(browser.is_logged_in().await, "who is in stays in");
    let audit = browser.get("/api/v1/audit?event=login-refused").await.expect(200).json();
    let items = audit["items"].as_array().unwrap();
    assert_eq!(items.len(), 5, "{audit}");
    assert_eq!(items.iter().filter(|item| item["subject"] == "admin").count(), 4);
    assert_eq!(items.iter().filter(|item| item["subject"] == "").count(), 1, "a name that nobody has is not kept");
    server.stop().await;
}

/// Behind a proxy everybody comes from one address.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_each_client_is_known_by_its_own_address() {
    let server = TestServer::start_with(|options| options.trusted_proxies = Some(vec![[127, 0, 0, 1].into()])).await;
    let browser = Browser::logged_in(&server, "admin").await;
    let guess = async |from: &str, account: &str, password: &str| {
        let body = json!({ "account": account, "password": password }).to_string();
        let head = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             X-Forwarded-For: 8.8.8.8, {from}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        send(browser.address, &head, body.as_bytes()).await.status
    };
    for _ in 0..5 {
        assert_eq!(guess("10.0.0.1", "somebody", "wrong password").await, 401);
    }
    assert_eq!(guess("10.0.0.1", "admin", PASSWORD).await, 429, "that address waits, whatever it asks for");
    assert_eq!(guess("10.0.0.2", "admin", PASSWORD).await, 200, "its neighbours do not");
    let audit = browser.get("/api/v1/audit?event=login-refused").await.expect(200).json();
    let addresses: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|item| item["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["10.0.0.1"; 5], "what a client says of itself counts for nothing");

    // What is for this machine alone is for nobody who comes by the proxy.
    let measure = async |header: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n");
        send(browser.address, &head, b"").await.status
    };
    assert_eq!([measure("").await, measure("X-Forwarded-For: 10.0.0.1\r\n").await], [200, 404]);
    server.stop().await;
}

/// RFC 6238, written apart from the server.
fn code_at(secret: &str, step: u64) -> String {
    let bits: String = secret
        .bytes()
        .map(|sign| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|letter| *letter == sign).unwrap())
        .map(|value| format!("{value:05b}"))
        .collect();
    let key: Vec<u8> =
        (0..bits.len() / 8).map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).unwrap()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

fn step_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 30
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_and_no_code_works_twice() {
    let server = TestServer::start().await;
    let mut browser = Browser::logged_in(&server, "admin").await;
    basic(&server, "admin", PASSWORD).get("/api/v1/me").await.expect(200);
    browser.post("/api/v1/me/second-factor", json!({ "password": "not this one" })).await.expect(403);
    let begun = browser.post("/api/v1/me/second-factor", json!({ "password": PASSWORD })).await.expect(200).json();
    let secret = begun["secret"].as_str().unwrap().to_owned();
    assert!(begun["uri"].as_str().unwrap().contains(&format!("secret={secret}&")));
    assert!(begun["qr_svg"].as_str().unwrap().starts_with("<svg "));
    // Nothing is asked for before a code was shown.
    basic(&server, "admin", PASSWORD).get("/api/v1/me").await.expect(200);
    browser.post("/api/v1/me/second-factor/confirm", json!({ "code": "12345" })).await.expect(403);
    // The server takes the code of the next step, too: nothing here waits for the clock.
    let first = step_now();
    let answer =
        browser.post("/api/v1/me/second-factor/confirm", json!({ "code": code_at(&secret, first) })).await.expect(200);
    browser.take(&answer);
    let recovery = answer.json()["recovery_codes"][0].as_str().unwrap().to_owned();

    let refused = basic(&server, "admin", PASSWORD).get("/api/v1/me").await.expect(401);
    assert!(refused.json()["detail"].as_str().unwrap().contains("log in with a token"));
    Script::new(&server, "admin", "read").await.get("/api/v1/me").await.expect(200);
    let mut other = Browser::new(browser.address);
    let wanted = other.log_in("admin", PASSWORD, None).await.expect(401);
    assert_eq!(wanted.json()["type"], "urn:delta-backup:code-wanted");
    other.log_in("admin", PASSWORD, Some(&code_at(&secret, first))).await.expect(401);
    let code = code_at(&secret, first + 1);
    other.log_in("admin", PASSWORD, Some(&code)).await.expect(200);
    other.log_in("admin", PASSWORD, Some(&code)).await.expect(401);
    other.log_in("admin", PASSWORD, Some(&recovery)).await.expect(200);
    other.log_in("admin", PASSWORD, Some(&recovery)).await.expect(401);
    let me = other.get("/api/v1/me").await.expect(200).json();
    assert_eq!((&me["has_second_factor"], &me["recovery_codes"]), (&json!(true), &json!(9)));

    // Wrong codes count as wrong passwords do: with one password and three codes above, this is the fifth.
    other.log_in("admin", PASSWORD, Some("abc")).await.expect(401);
    other.log_in("admin", PASSWORD, Some("abc")).await.expect(429);
    // Whoever lost everything asks an administrator.
    let listed = command(&server, &["account", "totp-reset", "admin"]).await;
    assert!(!listed.contains("second factor"), "{listed}");
    assert!(!other.is_logged_in().await);
    let again = server.command(&["account", "totp-reset", "admin"]).await;
    assert_eq!(again.status.code(), Some(1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_right_is_not_right_for_ever() {
    let server = TestServer::start().await;
    set_password(&server, "admin", PASSWORD).await;
    for _ in 0..3 {
        basic(&server, "admin", PASSWORD).get("/api/v1/me").await.expect(200);
    }
    set_password(&server, "admin", "another password").await;
    basic(&server, "admin", PASSWORD).get("/api/v1/me").await.expect(401);
    basic(&server, "admin", "another password").get("/api/v1/me").await.expect(200);
    server.stop().await;
}

/// A link's secret and account.
fn parts(link: &str) -> (String, String) {
    let (_, rest) = link.split_once("setup#").unwrap();
    let (secret, account) = rest.split_once('.').unwrap();
    (secret.to_owned(), account.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_listens_everywhere_says_where_it_is_found() {
    let server = TestServer::start_with(|options| {
        options.listen = Some("0.0.0.0:0".parse().unwrap());
        options.plain_http = None;
    })
    .await;
    let port = server.server.address().port();
    let urls = server.server.urls();
    assert_eq!(urls[0], format!("https://localhost:{port}/"));
    assert!(!urls.iter().any(|url| url.contains("0.0.0.0")), "{urls:?}");
    // One link, under each of the addresses.
    let links = server.server.setup_links();
    let pages: Vec<&str> = links.iter().map(|link| link.split_once("setup#").unwrap().0).collect();
    assert_eq!(pages, urls);
    assert!(links.iter().all(|link| parts(link) == parts(&links[0])));
    // A device elsewhere is told the address in the local network, where there is one.
    let enrolled = server.command(&["enroll", "--device", "laptop", "--json"]).await;
    match urls.get(1) {
        Some(url) => {
            let told: Value = serde_json::from_slice(&enrolled.stdout).unwrap();
            assert_eq!(format!("https://{}/", told["address"].as_str().unwrap()), *url);
        }
        None => assert_eq!(enrolled.status.code(), Some(1), "{enrolled:?}"),
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_link_is_good_for_one_of_many() {
    let server = TestServer::start().await;
    let address = server.server.address();
    let (first, account) = parts(server.server.setup_links().first().expect("nobody has a password yet"));
    assert_eq!(account, "admin");
    let link = command(&server, &["account", "setup-link"]).await;
    let (secret, _) = parts(&link);
    assert!(link.starts_with(&format!("http://{address}/setup#")), "{link}");
    let set = async |secret: &str, name: &str, password: &str| {
        let body = json!({ "secret": secret, "account": name, "password": password });
        Browser::new(address).post("/api/v1/setup", body).await.status
    };
    assert_eq!(set(&first, "ada", PASSWORD).await, 403, "another took its place");
    assert_eq!(set(&secret, "a name", PASSWORD).await, 400);
    assert_eq!(set(&secret, "ada", "short").await, 400);
    command(&server, &["account", "add", "taken"]).await;
    assert_eq!(set(&secret, "taken", PASSWORD).await, 409, "and it is still good");
    let names: Vec<String> = (0..6).map(|number| format!("ada{number}")).collect();
    let raced = futures_util::future::join_all(names.iter().map(|name| set(&secret, name, PASSWORD))).await;
    assert_eq!(raced.iter().filter(|status| **status == 204).count(), 1, "{raced:?}");
    assert!(raced.iter().all(|status| matches!(status, 204 | 403 | 429)), "{raced:?}");
    let winner = &names[raced.iter().position(|status| *status == 204).unwrap()];
    // Those that lost count as guesses of this address; its tokens do not wait.
    let audit = command(&server, &["audit", "--event", "account-set-up"]).await;
    assert!(audit.contains(winner.as_str()) && audit.lines().count() == 1, "{audit}");
    let accounts = command(&server, &["account", "list"]).await;
    assert!(accounts.contains(winner.as_str()) && !accounts.contains("admin  "), "{accounts}");
    // Whoever has a password is not offered a link at the next start; the oldest account is still the default.
    let server = server.restart().await;
    assert!(server.server.setup_links().is_empty());
    let enrolment = server.command(&["enroll", "--device", "laptop"]).await;
    assert!(enrolment.status.success(), "{enrolment:?}");
    server.stop().await;
}

/// The real program: its link, a password, a session.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_prints_a_link_that_leads_to_a_login() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = tokio::task::block_in_place(|| Program::serve(&data, &[]));
    let address = program.address();
    let link = tokio::task::block_in_place(|| crate::server::command(&data, &["account", "setup-link", "--json"]));
    let made: Value = serde_json::from_slice(&link.stdout).unwrap();
    assert_eq!(made["event"], "setup-link");
    let (secret, account) = parts(made["setup_link"].as_str().unwrap());
    let mut browser = Browser::new(address);
    let body = json!({ "secret": secret, "account": account, "password": PASSWORD });
    browser.post("/api/v1/setup", body).await.expect(204);
    browser.log_in("admin", PASSWORD, None).await.expect(200);
    assert!(browser.is_logged_in().await);
    program.signal("TERM");
    let output = tokio::task::block_in_place(|| program.output());
    let printed = text(&output.stdout);
    let line = printed.lines().find(|line| line.starts_with("set up at ")).expect(&printed);
    assert!(line.contains(&format!("http://{address}/setup#")), "{line}");
    assert!(!text(&output.stderr).contains(&secret), "the log tells no secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_looked_after_by_administrators_alone() {
    let server = TestServer::start().await;
    let admin = Browser::logged_in(&server, "admin").await;
    let body = json!({ "account": "grace", "role": "member", "quota_bytes": 1000 });
    let made = admin.post("/api/v1/accounts", body.clone()).await.expect(201).json();
    assert_eq!(parts(made["setup_link"].as_str().unwrap()).1, "grace");
    admin.post("/api/v1/accounts", body).await.expect(409);
    admin.post("/api/v1/accounts", json!({ "account": "no/name", "role": "member" })).await.expect(400);
    admin.post("/api/v1/accounts", json!({ "account": "x", "role": "member", "more": 1 })).await.expect(400);
    let grace = Browser::logged_in(&server, "grace").await;
    for (method, path) in [
        ("GET", "/api/v1/accounts"),
        ("POST", "/api/v1/accounts"),
        ("PATCH", "/api/v1/accounts/admin"),
        ("POST", "/api/v1/accounts/admin/setup-link"),
        ("DELETE", "/api/v1/accounts/admin/second-factor"),
        ("GET", "/api/v1/audit"),
    ] {
        grace.ask(method, path, Some(&json!({}))).await.expect(403);
    }
    // The last administrator stays one.
    for change in [json!({ "role": "member" }), json!({ "is_disabled": true })] {
        admin.ask("PATCH", "/api/v1/accounts/admin", Some(&change)).await.expect(409);
    }
    assert!(admin.is_logged_in().await);
    // Quotas are set, left alone, and taken away.
    let quota = async |change: Value| {
        admin.ask("PATCH", "/api/v1/accounts/grace", Some(&change)).await.expect(200).json()["quota_bytes"].clone()
    };
    assert_eq!(quota(json!({ "role": "read-only" })).await, 1000);
    assert_eq!(quota(json!({ "quota_bytes": 5 })).await, 5);
    assert_eq!(quota(json!({ "quota_bytes": null })).await, Value::Null);

    // Who may only read changes nothing but how they log in.
    let make = json!({ "path": "x" });
    grace.post("/api/v1/folder", make.clone()).await.expect(403);
    grace.post("/api/v1/enrolments", json!({ "device": "x" })).await.expect(403);
    grace.get("/api/v1/folder").await.expect(200);
    let token = json!({ "name": "t", "scope": "admin", "password": PASSWORD });
    let token = grace.post("/api/v1/tokens", token).await.expect(201).json()["secret"].as_str().unwrap().to_owned();
    let script = Script::with(&server, format!("Bearer {token}"));
    script.get("/api/v1/folder").await.expect(200);
    script.post("/api/v1/folder", &make).await.expect(403);
    // A token opens nothing that outlives it.
    let another = json!({ "name": "u", "scope": "admin", "password": PASSWORD });
    script.post("/api/v1/tokens", &another).await.expect(403);

    // A shut account lets nobody in, by whichever door, and what is connected ends.
    quota(json!({ "role": "member" })).await;
    let invited = grace.post("/api/v1/enrolments", json!({ "device": "desk" })).await.expect(201).json();
    assert!(invited["qr_svg"].as_str().unwrap().starts_with("<svg "));
    let enrolment: proto::EnrolmentString = invited["enrolment"].as_str().unwrap().parse().unwrap();
    let mut device = Client::connect(server.server.address()).await;
    let enrolled = device.enroll(enrolment.secret).await.unwrap();
    let token = Token { device: enrolled.device, secret: enrolled.secret };
    admin.ask("PATCH", "/api/v1/accounts/grace", Some(&json!({ "is_disabled": true }))).await.expect(200);
    let ended = tokio::time::timeout(Duration::from_secs(5), device.end()).await.unwrap();
    assert_eq!(ended.unwrap().code(), FailCode::Busy);
    let mut again = Client::connect(server.server.address()).await;
    assert_eq!(again.authenticate(&token).await.unwrap_err().code(), FailCode::Authentication);
    assert!(!grace.is_logged_in().await);
    script.get("/api/v1/me").await.expect(401);
    basic(&server, "grace", PASSWORD).get("/api/v1/me").await.expect(403);
    admin.ask("PATCH", "/api/v1/accounts/grace", Some(&json!({ "is_disabled": false }))).await.expect(200);
    let mut again = Client::connect(server.server.address()).await;
    again.authenticate(&token).await.unwrap();
    script.get("/api/v1/me").await.expect(200);

    // Devices and tokens of others are as good as none.
    let devices = grace_again(&server).await.get("/api/v1/devices").await.expect(200).json();
    let device = devices["items"][0]["id"].as_str().unwrap().to_owned();
    admin.ask("DELETE", &format!("/api/v1/devices/{device}"), None).await.expect(404);
    grace_again(&server).await.ask("DELETE", &format!("/api/v1/devices/{device}"), None).await.expect(204);
    assert!(again.end().await.is_some());
    server.stop().await;
}

async fn grace_again(server: &TestServer) -> Browser {
    Browser::logged_in(server, "grace").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_refused_before_bytes_are_read() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("some", &crate::backup::noise(1, 100_000)).await.expect(201);
    let listed = command(&server, &["account", "quota", "admin", "1MiB"]).await;
    assert!(listed.contains("of a quota of 1.0 MiB"), "{listed}");
    // Nothing of this body is ever sent.
    let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
    let token = command(&server, &["token", "add", "t", "--scope", "admin"]).await;
    let head = format!(
        "PUT /api/v1/files/large HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 2000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = crate::client::read_head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 507 "), "{answer}");
    // Of what has no length, as much is taken as there is room for, and then no more.
    let body = crate::backup::noise(2, 3 << 20);
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let head = format!(
        "PUT /api/v1/files/unknown HTTP/1.1\r\nHost: server\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let refused = send(server.server.address(), &head, &chunked).await.expect(507);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("quota of 1048576 bytes"), "{detail}");
    script.put("small", b"there is room for this").await.expect(201);

    // Devices are told the same, and what is full can still be emptied.
    let mut device = Device::new(&server).await;
    command(&server, &["account", "quota", "admin", "1B"]).await;
    let refused = device.client.try_begin("home", None).await.unwrap_err();
    assert_eq!(refused.code(), FailCode::Full);
    assert!(refused.to_string().contains("quota"), "{refused}");
    script.put("more", b"x").await.expect(507);
    script.ask("DELETE", "/api/v1/files/some", &[], b"").await.expect(200);
    command(&server, &["account", "quota", "admin", "none"]).await;
    script.put("more", b"x").await.expect(201);
    device.client.try_begin("home", None).await.unwrap();
    let wrong = server.command(&["account", "quota", "admin", "much"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_alone_sets_no_retention() {
    let server = TestServer::start().await;
    let browser = Browser::logged_in(&server, "admin").await;
    let rules = json!({ "keep_last": 5 });
    for said in [json!({ "rules": rules }), json!({ "rules": rules, "password": "another one" })] {
        browser.ask("PUT", "/api/v1/retention", Some(&said)).await.expect(403);
    }
    assert_eq!(browser.get("/api/v1/retention").await.expect(200).json()["rules"]["keep_last"], 0, "nothing was set");
    let said = json!({ "rules": rules, "password": PASSWORD });
    let set = browser.ask("PUT", "/api/v1/retention", Some(&said)).await.expect(200).json();
    assert_eq!(set["rules"]["keep_last"], 5);
    // Who says the password with every request is not asked again.
    let script = basic(&server, "admin", PASSWORD);
    let headers = [("Content-Type", "application/json")];
    let said = json!({ "rules": null }).to_string();
    let set = script.ask("PUT", "/api/v1/retention", &headers, said.as_bytes()).await.expect(200).json();
    assert_eq!(set["rules"]["keep_last"], 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_an_own_page_gets_an_archive_and_another_does_not() {
    let server = TestServer::start().await;
    let browser = Browser::logged_in(&server, "admin").await;
    browser.post("/api/v1/folder", json!({ "path": "d" })).await.expect(200);
    let ask = async |path: &str, more: &str| {
        let body = "path=d";
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {}\r\nContent-Length: {}\r\n{more}\r\n",
            browser.address,
            browser.cookie.as_deref().unwrap(),
            body.len()
        );
        send(browser.address, &head, body.as_bytes()).await
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let packed = ask("/api/v1/zip", &format!("{form}Sec-Fetch-Site: same-origin\r\n")).await.expect(200);
    assert!(packed.headers["content-disposition"].starts_with("attachment; filename=\"d.zip\""));
    for elsewhere in ["Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n", "Origin: null\r\n", ""] {
        ask("/api/v1/zip", &format!("{form}{elsewhere}")).await.expect(403);
    }
    // What changes something still wants the session's token.
    ask("/api/v1/folder", &format!("{form}Sec-Fetch-Site: same-origin\r\n")).await.expect(403);
    ask("/api/v1/zip", "Content-Type: application/json\r\nSec-Fetch-Site: same-origin\r\n").await.expect(415);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_told_page_by_page() {
    let server = TestServer::start().await;
    let admin = Browser::logged_in(&server, "admin").await;
    command(&server, &["account", "add", "bob"]).await;
    command(&server, &["account", "role", "bob", "read-only"]).await;
    command(&server, &["retention", "set", "--keep-last", "3"]).await;
    let token = command(&server, &["token", "add", "t", "--scope", "admin"]).await;
    let script = Script::with(&server, format!("Bearer {token}"));
    script.put("file", b"x").await.expect(201);
    script.ask("DELETE", "/api/v1/files/file", &[], b"").await.expect(200);
    let device = Device::new(&server).await;
    command(&server, &["device", "revoke", &device.token.device.to_string()]).await;
    let expected = [
        "device-revoked",
        "device-enrolled",
        "device-invited",
        "drive-removed",
        "token-made",
        "policy-set",
        "role-set",
        "account-added",
        "login",
        "password-set",
        "setup-link-made",
    ];
    let told = async |query: &str| {
        let page = admin.get(&format!("/api/v1/audit?limit=4{query}")).await.expect(200).json();
        let events: Vec<String> =
            page["items"].as_array().unwrap().iter().map(|item| item["event"].as_str().unwrap().to_owned()).collect();
        (events, page["next"].as_str().map(str::to_owned), page)
    };
    let (mut all, mut next, newest) = told("").await;
    while let Some(cursor) = next {
        let (events, after, _) = told(&format!("&cursor={cursor}")).await;
        all.extend(events);
        next = after;
    }
    assert_eq!(all, expected);
    let removed = newest["items"].as_array().unwrap().iter().find(|item| item["event"] == "drive-removed").unwrap();
    assert_eq!((&removed["actor"], &removed["means"]), (&json!("admin"), &json!("token")));
    assert!(!newest.to_string().contains("file"), "names of files are not told");
    assert_eq!(told("&event=role-set").await.0, ["role-set"]);
    assert_eq!(told("&account=bob").await.0, ["role-set", "account-added"]);
    admin.get("/api/v1/audit?event=nonsense").await.expect(400);
    // The same by command, oldest first.
    let lines = command(&server, &["audit", "--json", "--limit", "2"]).await;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["what"], &events[1]["what"]), (&json!("device-enrolled"), &json!("device-revoked")));
    wait_until("the log in words", || async {
        command(&server, &["audit", "--account", "bob"]).await.contains("role-set  command  bob; read-only")
    })
    .await;
    server.stop().await;
}
