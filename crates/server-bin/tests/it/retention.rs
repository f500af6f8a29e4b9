//! Retention, trash and holds, as devices and administrators meet them; and what tokens are good for.

use proto::{
    ChangeKind, Changed, ClientRequest, FailCode, Failure, IdempotencyKey, ServerReply, SnapshotChange, Snapshots,
};
use server_bin::Span;
use std::time::Duration;

use crate::backup::{Backup, sealer};
use crate::client::{Client, Device, Token};
use crate::server::{TestServer, text, wait_until};

/// Backs up into `home`: one snapshot after the other, each of its own content.
async fn back_up(device: &mut Device, numbers: std::ops::Range<u8>) -> Vec<object::ObjectId> {
    let mut ids = Vec::new();
    for number in numbers {
        let backup = Backup::new(&device.keys, &[("file", &[number; 100])]);
        device.client.begin("home").await;
        device.client.put(&backup.records(&mut sealer(&device.keys))).await;
        device.client.commit(number, backup.snapshot).await.unwrap();
        ids.push(backup.snapshot);
    }
    ids
}

async fn change(
    client: &mut Client,
    number: u8,
    kind: ChangeKind,
    snapshots: &[object::ObjectId],
) -> Result<Changed, Failure> {
    // Commits have keys of their own.
    let key = IdempotencyKey::from_bytes([0x80 | number; 16]);
    let snapshots = snapshots.iter().collect();
    match client.ask(&ClientRequest::SnapshotChange(SnapshotChange { key, kind, snapshots })).await? {
        ServerReply::Changed(changed) => Ok(changed),
        other => panic!("{other:?}"),
    }
}

async fn trash(client: &mut Client) -> Vec<proto::SnapshotItem> {
    let request = Snapshots { chain: None, before: None, limit: 100, in_trash: true };
    match client.ask(&ClientRequest::Snapshots(request)).await.unwrap() {
        ServerReply::SnapshotsAnswer(answer) => answer.items,
        other => panic!("{other:?}"),
    }
}

async fn live(client: &mut Client) -> Vec<object::ObjectId> {
    client.snapshots(None, None, 100).await.items.into_iter().map(|item| item.snapshot).collect()
}

/// Runs a command that must succeed; its lines as JSON.
async fn run(server: &TestServer, arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = server.command(&[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is exported is imported, by a running server too; a chain that is not there yet waits.
#[tokio::test(flavor = "multi_thread")]
async fn rules_of_chains_are_in_the_file_of_all_settings() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    back_up(&mut device, 1..2).await;
    run(&server, &["retention", "set", "laptop/home", "--keep-last", "2", "--keep-within", "3d"]).await;
    let file = server.dir.path().with_extension("settings.toml");
    let file = file.to_str().unwrap();
    run(&server, &["settings", "export", "--out", file]).await;
    let exported = std::fs::read_to_string(file).unwrap();
    let rules = "[chain.\"laptop/home\"]\nkeep-last = 2\nkeep-within = \"3d\"\nmin-age = \"14d\"\n";
    assert!(exported.ends_with(rules), "{exported}");
    run(&server, &["retention", "set", "laptop/home", "--keep-last", "7"]).await;
    let planned = run(&server, &["settings", "import", file, "--dry-run"]).await;
    let of_chain = planned.iter().find(|change| change["name"] == "retention of laptop/home").unwrap();
    assert_eq!((&of_chain["event"], &of_chain["state"]), (&"setting-change".into(), &"planned".into()));
    let now = async || run(&server, &["settings", "export"]).await[0]["text"].as_str().unwrap().to_owned();
    assert!(now().await.contains("keep-last = 7"), "a dry run changes nothing");
    run(&server, &["settings", "import", file]).await;
    assert!(now().await.ends_with(rules));

    std::fs::write(file, exported.replace("laptop/home", "laptop/other")).unwrap();
    let waits = server.command(&["settings", "import", file]).await;
    assert_eq!(waits.status.code(), Some(3), "{waits:?}");
    let told = text(&waits.stdout);
    assert!(told.contains("NOT changed   retention of laptop/other: ") && told.contains("there is no chain"), "{told}");
    std::fs::remove_file(file).unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_make_young_snapshots_disappear() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let ids = back_up(&mut device, 1..4).await;
    // Fourteen days hold without anybody saying so, and for every snapshot.
    let failure = change(&mut device.client, 1, ChangeKind::Forget, &ids[..1]).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::NotAllowed);
    assert!(failure.message().as_str().contains("too young"), "{failure}");
    assert_eq!(live(&mut device.client).await.len(), 3);
    // An administrator may decide otherwise, for a chain of its own.
    run(&server, &["retention", "set", "laptop/home", "--keep-last", "2", "--min-age", "0s"]).await;
    assert_eq!(change(&mut device.client, 2, ChangeKind::Forget, &ids[..1]).await.unwrap().count, 1);
    let trashed = trash(&mut device.client).await;
    assert_eq!(trashed.iter().map(|item| item.snapshot).collect::<Vec<_>>(), ids[..1]);
    let week_ms = 7 * 86_400_000;
    assert_eq!(trashed[0].purge_ms, trashed[0].trashed_ms.map(|ms| ms + week_ms));
    assert_eq!(device.client.fetch(&ids[..1], false).await.unwrap().1, [], "it can still be read");
    assert_eq!(change(&mut device.client, 3, ChangeKind::Undelete, &ids[..1]).await.unwrap().count, 1);
    assert_eq!(live(&mut device.client).await.len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_snapshots_stay_whatever_happens() {
    let server = TestServer::start_with(|options| {
        options.retention_interval = Some(Span(Duration::from_millis(100)));
        options.trash_delay = Some(Span(Duration::ZERO));
    })
    .await;
    let mut device = Device::new(&server).await;
    let ids = back_up(&mut device, 1..5).await;
    assert_eq!(change(&mut device.client, 1, ChangeKind::Hold, &ids[..1]).await.unwrap().count, 1);
    // From now on the server does it all by itself: trash at once, purge at once.
    run(&server, &["retention", "set", "--keep-last", "1", "--min-age", "0s"]).await;
    let client = tokio::sync::Mutex::new(&mut device.client);
    wait_until("retention and purge", || async {
        let mut client = client.lock().await;
        live(&mut client).await == [ids[3], ids[0]] && trash(&mut client).await.is_empty()
    })
    .await;
    let failure = change(&mut device.client, 2, ChangeKind::Forget, &ids[..1]).await.unwrap_err();
    assert!(failure.message().as_str().contains("is held"), "{failure}");
    let failure = change(&mut device.client, 3, ChangeKind::Undelete, &ids[1..2]).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::NotFound, "purged is gone");
    assert_eq!(device.client.fetch(&ids[1..2], false).await.unwrap().1, ids[1..2]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_simulated_before_they_run() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let ids = back_up(&mut device, 1..21).await;
    let shown = run(&server, &["retention", "show"]).await;
    assert_eq!((&shown[0]["chain"], shown[0]["is_own"].as_bool()), (&serde_json::Value::Null, Some(true)));
    assert_eq!(shown[0]["text"], "keep everything, nothing younger than 14d goes");
    let chain = shown[1]["chain"].as_str().unwrap().to_owned();
    assert_eq!(chain, "laptop/home");

    let rules = ["--keep-last", "5", "--min-age", "0s"];
    let simulated = run(&server, &[&["retention", "simulate"][..], &rules].concat()).await;
    let (summary, verdicts) = simulated.split_last().unwrap();
    assert_eq!(summary["goes"], 15);
    assert_eq!(summary["is_unusual"], true);
    assert_eq!(verdicts.len(), 20);
    assert_eq!(verdicts[0]["snapshot"], ids[19].to_string());
    assert_eq!(verdicts[0]["reasons"], serde_json::json!(["the newest", "one of the last 5"]));
    assert_eq!((&verdicts[5]["stays"], &verdicts[5]["reasons"][0]), (&false.into(), &"no rule keeps it".into()));
    assert_eq!(live(&mut device.client).await.len(), 20, "nothing happened");

    // So much at once wants to be confirmed.
    run(&server, &[&["retention", "set"][..], &rules].concat()).await;
    let refused = server.command(&["retention", "run"]).await;
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).contains("15 of 20 snapshots would go"), "{refused:?}");
    assert_eq!(live(&mut device.client).await.len(), 20);
    let ran = run(&server, &["retention", "run", "home", "--confirm-large"]).await;
    assert_eq!((&ran[0]["goes"], &ran[0]["stays"]), (&15.into(), &5.into()));
    assert_eq!(live(&mut device.client).await, ids[15..].iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(trash(&mut device.client).await.len(), 15);
    assert_eq!(run(&server, &["retention", "run", &chain]).await[0]["goes"], 0);
    for wrong in [&["retention", "run", "nothing"][..], &["retention", "set"], &["retention", "set", "--inherit"]] {
        assert_eq!(server.command(wrong).await.status.code(), Some(1), "{wrong:?}");
    }
    // The same without a server.
    let dir = server.stop().await;
    let output = crate::server::command(dir.path(), &["retention", "simulate", "home", "--json"]);
    assert_eq!(text(&output.stdout).lines().count(), 6, "{output:?}");
}

/// As ransomware would have it: everything is something else, and what came before ages out by the policy.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_an_unusual_change_stays_until_somebody_confirms_it() {
    let server = TestServer::start_with(|options| {
        options.retention_interval = Some(Span(Duration::from_millis(100)));
        options.trash_delay = Some(Span(Duration::ZERO));
    })
    .await;
    let mut device = Device::new(&server).await;
    let names: Vec<String> = (0..120).map(|number| format!("file {number:03}")).collect();
    let mut ids = Vec::new();
    for (number, count) in [(1, 120), (2, 119), (3, 47)] {
        let files: Vec<(&str, &[u8])> = names[..count].iter().map(|name| (name.as_str(), &b"content"[..])).collect();
        let backup = Backup::new(&device.keys, &files);
        device.client.begin("home").await;
        device.client.put(&backup.records(&mut sealer(&device.keys))).await;
        device.client.commit(number, backup.snapshot).await.unwrap();
        ids.push(backup.snapshot);
    }
    let alarms = run(&server, &["status"]).await[0]["alarms"].clone();
    assert_eq!((&alarms[0]["chain"], &alarms[0]["snapshot"]), (&"laptop/home".into(), &ids[2].to_string().into()));
    assert_eq!(alarms.as_array().unwrap().len(), 1, "{alarms}");
    assert_eq!(alarms[0]["what"], "more than 60 % of its files are gone");
    ids.extend(back_up(&mut device, 4..6).await);

    // The newest alone would stay: by itself the server takes what came since, and nothing older.
    run(&server, &["retention", "set", "--keep-last", "1", "--min-age", "0s"]).await;
    let client = tokio::sync::Mutex::new(&mut device.client);
    let expected = [ids[4], ids[1], ids[0]];
    wait_until("retention", || async { live(&mut **client.lock().await).await == expected }).await;
    let simulated = run(&server, &["retention", "simulate"]).await;
    for (verdict, id) in simulated.iter().zip(expected).skip(1) {
        let reasons = serde_json::json!(["from before an unusual change that nobody has confirmed"]);
        assert_eq!((&verdict["snapshot"], &verdict["reasons"]), (&id.to_string().into(), &reasons));
    }
    assert_eq!(run(&server, &["retention", "run", "--confirm-large"]).await[0]["goes"], 0);
    let told = server.command(&["status"]).await;
    assert!(text(&told.stdout).contains("UNUSUAL         laptop/home, snapshot "), "{told:?}");

    for wrong in [&["retention", "confirm-change"][..], &["retention", "confirm-change", "nothing"]] {
        assert_eq!(server.command(wrong).await.status.code(), Some(1), "{wrong:?}");
    }
    let confirmed = run(&server, &["retention", "confirm-change", "laptop/home"]).await;
    assert_eq!((&confirmed[0]["event"], &confirmed[0]["chain"]), (&"change-confirmed".into(), &"laptop/home".into()));
    assert_eq!(server.command(&["retention", "confirm-change", "home"]).await.status.code(), Some(1), "only once");
    assert_eq!(run(&server, &["retention", "confirm-change", "--all"]).await.len(), 0);
    assert_eq!(run(&server, &["status"]).await[0]["alarms"], serde_json::json!([]));
    let client = tokio::sync::Mutex::new(&mut device.client);
    wait_until("what was kept goes", || async { live(&mut **client.lock().await).await == ids[4..] }).await;
    server.stop().await;
}

/// The clock jumps, or snapshots have dates that cannot be: nothing goes for it.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_take_nothing_away() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let ids = back_up(&mut device, 1..6).await;
    run(&server, &["retention", "set", "--keep-daily", "1", "--min-age", "1d"]).await;
    let dir = server.stop().await;
    // What a catalog looks like after the clock was ten years ahead, then ten years behind, then right again.
    let catalog = rusqlite::Connection::open(dir.path().join("catalog.sqlite3")).unwrap();
    let shift = |seq: i64, days: i64| {
        let sql = "UPDATE snapshot SET received_ms = received_ms + ?2 WHERE seq = ?1";
        assert_eq!(catalog.execute(sql, (seq, days * 86_400_000)).unwrap(), 1);
    };
    shift(2, 3650);
    shift(4, -3650);
    drop(catalog);
    let server = TestServer::start_in(dir, |_| ()).await;
    let ran = run(&server, &["retention", "run"]).await;
    assert_eq!((&ran[0]["goes"], &ran[0]["stays"]), (&0.into(), &5.into()), "all are of this day");
    device.reconnect(server.server.address()).await;
    let failure = change(&mut device.client, 1, ChangeKind::Forget, &ids[3..4]).await.unwrap_err();
    assert!(failure.message().as_str().contains("too young"), "old by its date, young by the order: {failure}");

    // The clock itself is in doubt: two days more than the machine can have lived through.
    let dir = server.stop().await;
    let catalog = rusqlite::Connection::open(dir.path().join("catalog.sqlite3")).unwrap();
    catalog.execute("UPDATE meta SET clock_ms = clock_ms - 2 * 86400000", ()).unwrap();
    catalog.execute("UPDATE snapshot SET received_ms = received_ms - 30 * 86400000", ()).unwrap();
    drop(catalog);
    let server = TestServer::start_in(dir, |_| ()).await;
    let refused = server.command(&["retention", "run"]).await;
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).contains("retention confirm-clock"), "{refused:?}");
    device.reconnect(server.server.address()).await;
    let failure = change(&mut device.client, 2, ChangeKind::Forget, &ids[..1]).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::Conflict);
    assert_eq!(live(&mut device.client).await.len(), 5);
    assert_eq!(back_up(&mut device, 7..8).await.len(), 1, "backups go on");
    let status = run(&server, &["status"]).await;
    assert!(status[0]["clock_doubt"].as_str().unwrap().contains("ahead"), "{status:?}");
    let confirmed = run(&server, &["retention", "confirm-clock"]).await;
    assert_eq!(confirmed[0]["clock_doubt"], serde_json::Value::Null);
    assert_eq!(change(&mut device.client, 3, ChangeKind::Forget, &ids[..1]).await.unwrap().count, 1);
    server.stop().await;
}

/// A device whose token has this scope, of a new account with this role.
async fn scoped(server: &TestServer, role: &str, scope: &str) -> Device {
    let account = format!("{role}-{scope}");
    run(server, &["account", "add", &account, "--role", role]).await;
    let enrolled = run(server, &["enroll", "--account", &account, "--device", "laptop", "--scope", scope]).await;
    let string: proto::EnrolmentString = enrolled[0]["enrolment"].as_str().unwrap().parse().unwrap();
    let mut client = Client::connect(server.server.address()).await;
    let enrolled = client.enroll(string.secret).await.unwrap();
    let (vault, keys) = client.open_vault(None).await.unwrap();
    let token = Token { device: enrolled.device, secret: enrolled.secret };
    Device { client, token, vault, keys: keys.unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_for_their_scope_only() {
    let server = TestServer::start().await;
    let is_refused =
        |answer: Result<ServerReply, Failure>| matches!(answer, Err(failure) if failure.code() == FailCode::NotAllowed);
    for (role, scope, adds, reads, keeps, takes) in [
        ("member", "put-only", true, false, false, false),
        ("member", "read", false, true, false, false),
        ("member", "restore", true, true, true, false),
        ("member", "admin", true, true, true, true),
        ("admin", "put-only", true, false, false, false),
        ("read-only", "admin", false, true, false, false),
        ("read-only", "put-only", false, false, false, false),
    ] {
        let mut device = scoped(&server, role, scope).await;
        let what = format!("{scope} of {role}");
        let client = &mut device.client;
        let id = object::ObjectId::from_bytes([1; 32]);
        let key = IdempotencyKey::from_bytes([1; 16]);
        let list = Snapshots { chain: None, before: None, limit: 1, in_trash: false };
        assert_eq!(is_refused(client.ask(&ClientRequest::Snapshots(list)).await), !reads, "{what}");
        let fetch = proto::Fetch { ids: [id].iter().collect(), with_basis: true };
        assert_eq!(is_refused(client.ask(&ClientRequest::Fetch(fetch)).await), !reads, "{what}");
        assert_eq!(is_refused(client.ask(&ClientRequest::Signatures(Vec::new())).await), !reads, "{what}");
        let stat = ClientRequest::DriveStat(proto::DrivePath::ROOT);
        assert_eq!(is_refused(client.ask(&stat).await), !reads, "{what}");
        let held = ClientRequest::Held([id].iter().collect());
        assert_eq!(is_refused(client.ask(&held).await), !adds, "{what}");
        for (kind, may) in [
            (ChangeKind::Hold, keeps),
            (ChangeKind::Undelete, keeps),
            (ChangeKind::Forget, takes),
            (ChangeKind::Unhold, takes),
        ] {
            let snapshots = [id].iter().collect();
            let request = ClientRequest::SnapshotChange(SnapshotChange { key, kind, snapshots });
            assert_eq!(is_refused(client.ask(&request).await), !may, "{kind:?} with {what}");
        }
        let begun = client.try_begin("home", None).await;
        assert_eq!(begun.is_ok(), adds, "{what}");
        if adds {
            let backup = Backup::new(&device.keys, &[("file", b"content")]);
            device.client.put(&backup.records(&mut sealer(&device.keys))).await;
            device.client.commit(1, backup.snapshot).await.unwrap();
            // Who may not read is not even told what was there before.
            let again = device.client.try_begin("home", Some(backup.snapshot)).await.unwrap();
            assert_eq!(again.parent.is_some(), reads, "{what}");
        } else {
            assert_eq!(begun.unwrap_err().code(), FailCode::NotAllowed);
            let drive = ClientRequest::Begin(proto::Purpose::Drive);
            assert!(is_refused(device.client.ask(&drive).await), "{what}");
        }
    }
    let devices = run(&server, &["device", "list"]).await;
    assert_eq!(devices[0]["scope"], "put-only");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_cannot_take_all_connections() {
    let server = TestServer::start_with(|options| {
        options.max_account_connections = std::num::NonZeroUsize::new(2);
    })
    .await;
    let first = Device::new(&server).await;
    let second = Device::named(&server, "admin", "two").await;
    let mut third = Client::connect(server.server.address()).await;
    assert_eq!(third.authenticate(&first.token).await.unwrap_err().code(), FailCode::Busy);
    run(&server, &["account", "add", "bob"]).await;
    Device::named(&server, "bob", "desk").await;
    drop(second);
    let token = first.token.clone();
    let address = server.server.address();
    wait_until("a free place", || async { Client::connect(address).await.authenticate(&token).await.is_ok() }).await;
    server.stop().await;
}
