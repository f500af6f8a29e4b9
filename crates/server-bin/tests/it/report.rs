//! How the server is doing, as administrators are told; lists as tables; digests of files.

use serde_json::json;

use crate::browsers::Browser;
use crate::rest::{Answer, Script};
use crate::server::TestServer;

/// As `Browser::logged_in` sets it.
const PASSWORD: &str = "correct horse battery";

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

async fn csv(script: &Script, path: &str) -> String {
    text(&script.get(path).await.expect(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_are_told_how_the_server_is() {
    let server = TestServer::start().await;
    server.command(&["account", "add", "ada"]).await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("file.txt", b"content").await.expect(201);
    assert!(server.command(&["verify"]).await.status.success());
    assert!(server.command(&["gc"]).await.status.success());
    let report = script.get("/api/v1/server").await.expect(200).json();
    let checks = report["checks"].as_array().unwrap();
    for name in ["store", "writing", "deletion", "clock", "devices", "space", "catalog backup", "certificate"] {
        assert!(checks.iter().any(|check| check["name"] == name), "{name}: {checks:?}");
    }
    let detail = |deed: &str| report[deed]["detail"].as_str().unwrap().to_owned();
    assert!(detail("last_verification").ends_with("0 packs damaged, 0 objects lost"), "{report}");
    assert!(detail("last_collection").starts_with("0 packs deleted"), "{report}");
    assert!(report["generation"].as_u64().unwrap() > 0 && report["clock_doubt"].is_null());
    let parts = report["storage"]["parts"].as_array().unwrap();
    let sum: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["storage"]["data_dir_bytes"].as_u64(), Some(sum));
    let vaults = report["storage"]["vaults"].as_array().unwrap();
    let of = |account: &str| vaults.iter().find(|vault| vault["account"] == account).unwrap();
    assert!(of("admin")["packed_bytes"].as_u64() > of("admin")["metadata_bytes"].as_u64(), "{vaults:?}");
    assert_eq!(of("ada")["packed_bytes"], 0);
    assert_eq!((&report["devices"], &report["tokens"]), (&json!([]), &json!([])));

    // For nobody else, and what opens something wants a person who knows the password.
    let member = Script::new(&server, "ada", "admin").await;
    member.get("/api/v1/server").await.expect(403);
    let asked = json!({ "what": "clock", "password": PASSWORD });
    let confirm = "/api/v1/server/confirm";
    script.post(confirm, &asked).await.expect(403);
    let browser = Browser::logged_in(&server, "admin").await;
    browser.post(confirm, json!({ "what": "clock", "password": "another" })).await.expect(403);
    browser.post(confirm, asked).await.expect(204);
    browser.post(confirm, json!({ "what": "devices", "password": PASSWORD })).await.expect(204);
    for what in ["devices", "tokens"] {
        for id in ["0123456789abcdef", "none"] {
            browser.post(confirm, json!({ "what": what, "id": id, "password": PASSWORD })).await.expect(404);
        }
    }
    let found = script.get("/api/v1/audit?event=clock-confirmed").await.expect(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(found["items"][0]["actor"], "admin");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_as_tables() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("a.txt", b"content").await.expect(201);
    script.post("/api/v1/move", &json!({ "from": "a.txt", "to": "b, c.txt" })).await.expect(200);
    script.post("/api/v1/folder", &json!({ "path": "folder" })).await.expect(200);
    script.post("/api/v1/move", &json!({ "from": "b, c.txt", "to": "folder/b.txt" })).await.expect(200);
    script.get("/api/v1/files/folder/b.txt").await.expect(200);
    let all = script.get("/api/v1/activity?format=ndjson").await.expect(200);
    assert_eq!(all.headers["content-type"], "application/x-ndjson");
    let all = text(&all);
    let lines = all.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let told: Vec<_> = lines.map(|line| (line["kind"].clone(), line["name"].clone(), line["detail"].clone())).collect();
    let expected = [
        ("download", "b.txt", ""),
        ("move", "b, c.txt", "folder"),
        ("rename", "a.txt", "b, c.txt"),
        ("upload", "a.txt", ""),
    ];
    assert_eq!(told, expected.map(|(kind, name, detail)| (json!(kind), json!(name), json!(detail))));
    let table = script.get("/api/v1/activity?format=csv&kind=rename").await.expect(200);
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    assert!(table.headers["content-disposition"].contains("activity.csv"), "{:?}", table.headers);
    let table = text(&table);
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert!(lines.len() == 3 && lines[1].contains(",rename,admin,,a.txt,\"b, c.txt\","), "{table}");

    // More than one page of the audit log, in the order of its pages.
    for index in 0..3 {
        server.command(&["token", "add", &format!("token {index}")]).await;
    }
    let table = csv(&script, "/api/v1/audit?format=csv&event=token-made").await;
    let numbers: Vec<u64> =
        table.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.len() == 4 && numbers.is_sorted_by(|one, next| one > next), "{table}");
    script.get("/api/v1/audit?format=xml").await.expect(400);
    server.command(&["account", "add", "ada"]).await;
    let member = Script::new(&server, "ada", "admin").await;
    member.get("/api/v1/audit?format=csv").await.expect(403);
    let own = csv(&member, "/api/v1/activity?format=csv").await;
    assert_eq!(own.lines().count(), 1, "{own}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_a_file_is_told_to_its_owner() {
    let server = TestServer::start().await;
    server.command(&["account", "add", "ada"]).await;
    let script = Script::new(&server, "admin", "admin").await;
    script.put("file.txt", b"abc").await.expect(201);
    let told = script.get("/api/v1/sha256?path=file.txt").await.expect(200).json();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(told, json!({ "sha256": abc, "done_bytes": 3, "size": 3 }));
    script.get("/api/v1/sha256?path=file.txt&version=999").await.expect(404);
    script.get("/api/v1/sha256?path=other.txt").await.expect(404);
    let member = Script::new(&server, "ada", "admin").await;
    member.get("/api/v1/sha256?path=file.txt").await.expect(404);
    server.stop().await;
}
