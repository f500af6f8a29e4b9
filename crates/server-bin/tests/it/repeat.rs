//! Requests that are made again under their idempotency key: done once, answered the same, by whoever made them alone.

use serde_json::{Value, json};

use crate::browsers::{Browser, PASSWORD};
use crate::rest::Answer;
use crate::server::TestServer;

async fn ask(browser: &Browser, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    browser.ask_under(key, method, path, body).await
}

fn count(answer: &Answer) -> usize {
    answer.json()["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_twice_is_done_once_and_answered_the_same() {
    let server = TestServer::start().await;
    let admin = Browser::logged_in(&server, "admin").await;
    let token = json!({ "name": "script", "scope": "read", "password": PASSWORD });
    let first = ask(&admin, "t", "POST", "/api/v1/tokens", &token).await.expect(201);
    let again = ask(&admin, "t", "POST", "/api/v1/tokens", &token).await.expect(201);
    assert_eq!(first.body, again.body, "the secret, too");
    assert_eq!(count(&admin.get("/api/v1/tokens").await), 1);
    // Another body under the key is refused, another key is another request.
    let other = json!({ "name": "other", "scope": "read", "password": PASSWORD });
    ask(&admin, "t", "POST", "/api/v1/tokens", &other).await.expect(422);
    ask(&admin, "u", "POST", "/api/v1/tokens", &token).await.expect(201);
    assert_eq!(count(&admin.get("/api/v1/tokens").await), 2);
    // So it is elsewhere.
    let bob = json!({ "account": "bob", "role": "member" });
    let made = ask(&admin, "a", "POST", "/api/v1/accounts", &bob).await.expect(201);
    assert_eq!(ask(&admin, "a", "POST", "/api/v1/accounts", &bob).await.expect(201).body, made.body);
    ask(&admin, "b", "POST", "/api/v1/accounts", &bob).await.expect(409);
    let device = json!({ "device": "laptop" });
    let string = ask(&admin, "d", "POST", "/api/v1/enrolments", &device).await.expect(201).json();
    assert_eq!(ask(&admin, "d", "POST", "/api/v1/enrolments", &device).await.expect(201).json(), string);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        ask(&admin, "r", "DELETE", &format!("/api/v1/tokens/{id}"), &Value::Null).await.expect(204);
    }
    for wrong in ["", &"k".repeat(129)] {
        ask(&admin, wrong, "POST", "/api/v1/tokens", &token).await.expect(400);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_outlive_the_server_and_are_for_one_account() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let admin = Browser::logged_in(&server, "admin").await;
    let token = json!({ "name": "script", "scope": "read", "password": PASSWORD });
    let first = ask(&admin, "same", "POST", "/api/v1/tokens", &token).await.expect(201).json();
    let server = server.restart().await;
    let admin = Browser::logged_in(&server, "admin").await;
    assert_eq!(ask(&admin, "same", "POST", "/api/v1/tokens", &token).await.expect(201).json(), first);
    let bob = Browser::logged_in(&server, "bob").await;
    let own = ask(&bob, "same", "POST", "/api/v1/tokens", &token).await.expect(201).json();
    assert_ne!(own["secret"], first["secret"]);
    // The catalog has no secret of it in the clear.
    let secret = first["secret"].as_str().unwrap().as_bytes().to_vec();
    let dir = server.stop().await;
    for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let found = memchr::memmem::find(&bytes, &secret);
        assert_eq!(found, None, "{}", entry.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_may_be_tried_again_under_its_key() {
    let server = TestServer::start().await;
    let admin = Browser::logged_in(&server, "admin").await;
    let token = |password: &str| json!({ "name": "script", "scope": "read", "password": password });
    ask(&admin, "k", "POST", "/api/v1/tokens", &token("wrong password")).await.expect(403);
    ask(&admin, "k", "POST", "/api/v1/tokens", &token(PASSWORD)).await.expect(201);
    assert_eq!(count(&admin.get("/api/v1/tokens").await), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_done() {
    let server = TestServer::start().await;
    let admin = Browser::logged_in(&server, "admin").await;
    let bob = json!({ "account": "bob", "role": "member" });
    let asked = (0..8).map(|_| ask(&admin, "at once", "POST", "/api/v1/accounts", &bob));
    let answers = futures_util::future::join_all(asked).await;
    let (done, waiting): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert!(!done.is_empty() && done.iter().all(|answer| answer.body == done[0].body));
    for answer in waiting {
        let answer = answer.expect(409);
        assert_eq!(answer.headers["retry-after"], "1", "{}", answer.json()["detail"]);
    }
    assert_eq!(count(&admin.get("/api/v1/accounts").await), 2);
    server.stop().await;
}
