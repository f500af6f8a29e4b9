//! Backups by REST: chains, snapshots, what is in them, what became of it; trash, retention, jobs.

use std::collections::BTreeMap;
use std::io::Read;

use base64ct::{Base64, Encoding};
use object::ObjectId;
use serde_json::{Value, json};
use vault::{Content, Entry, EntryKind, Keys, Metadata, PlainObject, Snapshot, Timestamp, TreeBuilder};

use crate::backup::{Backup, noise, sealer, take_apart};
use crate::client::Device;
use crate::rest::Script;
use crate::server::{TestServer, text, wait_until};

/// Files by path; `->` before the content makes it a link.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn files(list: &[(&str, &[u8])]) -> Files {
    list.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect()
}

/// A backup of folders.
fn backup(keys: &Keys, files: &Files) -> Backup {
    let (mut chunks, mut metadata) = (Vec::new(), Vec::new());
    let paths: Vec<(Vec<&str>, &[u8])> =
        files.iter().map(|(path, bytes)| (path.split('/').collect(), bytes.as_slice())).collect();
    let tree = folder(keys, &paths, &mut chunks, &mut metadata);
    let bytes = files.values().map(|bytes| bytes.len() as u64).sum();
    let snapshot = Snapshot { files: files.len() as u64, bytes, ..made(tree) }.encode(keys);
    let id = snapshot.id;
    metadata.push(snapshot);
    Backup { chunks, metadata, snapshot: id }
}

fn made(tree: ObjectId) -> Snapshot {
    Snapshot {
        tree,
        started: Timestamp { secs: 1_700_000_000, nanos: 0 },
        finished: Timestamp { secs: 1_700_000_001, nanos: 500_000_000 },
        host: "host".into(),
        user: "user".into(),
        software: "test".into(),
        roots: vec![b"/home".to_vec()],
        excludes: Vec::new(),
        files: 0,
        directories: 1,
        others: 0,
        bytes: 0,
        problems: 0,
        parent: None,
        device: Vec::new(),
        chain: String::new(),
        unknown: Vec::new(),
    }
}

/// The names on the way to a file, and its content.
type FileAt<'a> = (Vec<&'a str>, &'a [u8]);

fn folder(
    keys: &Keys,
    files: &[FileAt<'_>],
    chunks: &mut Vec<PlainObject>,
    metadata: &mut Vec<PlainObject>,
) -> ObjectId {
    let mut names: BTreeMap<&str, Vec<FileAt<'_>>> = BTreeMap::new();
    for (path, bytes) in files {
        names.entry(path[0]).or_default().push((path[1..].to_vec(), *bytes));
    }
    let mut tree = TreeBuilder::new();
    for (name, inside) in names {
        let kind = match &inside[..] {
            [(rest, bytes)] if rest.is_empty() && bytes.starts_with(b"->") => {
                EntryKind::Symlink { target: bytes[2..].to_vec() }
            }
            [(rest, bytes)] if rest.is_empty() => {
                let (content, size) = take_apart(keys, bytes, chunks, metadata);
                EntryKind::File { size, content: if size == 0 { Content::Empty } else { content } }
            }
            _ => EntryKind::Directory { tree: folder(keys, &inside, chunks, metadata) },
        };
        let mtime = Timestamp { secs: 1_600_000_000, nanos: 0 };
        let entry = Entry { name: name.into(), kind, metadata: Metadata { mode: 0o640, mtime, ..Metadata::default() } };
        tree.push(keys, entry, &mut |page| metadata.push(page));
    }
    tree.finish(keys, &mut |page| metadata.push(page))
}

/// Backs `files` up, and says what the snapshot is called.
pub(crate) async fn back_up(device: &mut Device, chain: &str, key: u8, files: &Files) -> String {
    let backup = backup(&device.keys, files);
    device.client.begin(chain).await;
    for records in backup.records(&mut sealer(&device.keys)).chunks(8) {
        device.client.put(records).await;
    }
    device.client.commit(key, backup.snapshot).await.unwrap();
    backup.snapshot.to_string()
}

/// The administrator, by password: tokens do not administer.
async fn person(server: &TestServer) -> Script {
    let password = server.command(&["account", "password", "admin"]).await;
    assert!(password.status.success(), "{password:?}");
    let login = format!("admin:{}", text(&password.stdout).trim());
    Script::with(server, format!("Basic {}", Base64::encode_string(login.as_bytes())))
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// All pages of `limit` items.
async fn pages(script: &Script, address: &str, limit: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = script.get(&format!("{address}limit={limit}{cursor}")).await.expect(200).json();
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= limit, "{} items", found.len());
        assert_eq!(page["unreadable"].as_u64().unwrap_or(0), 0);
        items.extend(found.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('%', "%25")),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_found_and_looked_into() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let script = Script::new(&server, "admin", "read").await;
    let large = noise(1, 5 << 20);
    let mut first = files(&[
        ("docs/a b.txt", b"hello"),
        ("docs/empty", b""),
        ("docs/large", &large),
        ("docs/back\\slash", b"not a folder"),
        ("link", b"->docs/large"),
    ]);
    for number in 0..2500 {
        first.insert(format!("many/file {number:04}"), Vec::new());
    }
    let one = back_up(&mut device, "home", 1, &first).await;
    first.insert("docs/new".into(), b"new".to_vec());
    let two = back_up(&mut device, "home", 2, &first).await;
    let other = back_up(&mut device, "work", 3, &files(&[("x", b"y")])).await;

    let chains = script.get("/api/v1/chains").await.expect(200).json();
    assert_eq!(names(&chains), ["home", "work"]);
    let home = &chains["items"][0];
    assert_eq!((&home["snapshots"], &home["trashed"], &home["is_sealed"]), (&2.into(), &0.into(), &false.into()));
    assert_eq!((&home["device_name"], &home["newest"]["id"]), (&"laptop".into(), &two.clone().into()));
    assert_eq!(home["newest"]["made"]["files"], 2506);
    assert_eq!(home["newest"]["made"]["bytes"], (5 << 20) + 5 + 12 + 12 + 3);
    assert_eq!(home["newest"]["made"]["finished_ms"], 1_700_000_001_500_u64);
    let chain = home["id"].as_str().unwrap();

    let ids = |items: &[Value]| items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    for limit in [1, 100] {
        let all = pages(&script, "/api/v1/snapshots?", limit).await;
        assert_eq!(ids(&all), [other.as_str(), &two, &one]);
        let of_chain = pages(&script, &format!("/api/v1/snapshots?chain={chain}&"), limit).await;
        assert_eq!(ids(&of_chain), [two.as_str(), &one]);
    }
    let look = script.get(&format!("/api/v1/snapshots/{one}")).await.expect(200).json();
    assert_eq!((&look["chain"], &look["made"]["roots"][0]), (&chain.into(), &"/home".into()));

    // Folders, in pages, whatever their length.
    let at = |id: &str, what: &str, path: &str| format!("/api/v1/snapshots/{id}/{what}?path={path}");
    let root = script.get(&at(&one, "entries", "")).await.expect(200).json();
    assert_eq!(names(&root), ["docs", "link", "many"]);
    assert_eq!((&root["items"][1]["kind"], &root["items"][1]["target"]), (&"link".into(), &"docs/large".into()));
    assert_eq!(root["items"][0]["mode"], 0o640);
    for limit in [7, 1000, 2500] {
        let many = pages(&script, &at(&one, "entries", "many&"), limit).await;
        let expected: Vec<String> = (0..2500).map(|number| format!("file {number:04}")).collect();
        assert_eq!(many.iter().map(|item| item["name"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    }

    // Files, whole and in part.
    for (path, bytes) in [("docs/a%20b.txt", &b"hello"[..]), ("docs/empty", b""), ("docs/large", &large)] {
        let path = path.replace('%', "%25");
        let got = script.get(&at(&one, "content", &path)).await.expect(200);
        assert!(got.body == bytes, "{path}");
        assert!(got.headers["content-disposition"].starts_with("attachment;"));
        assert_eq!(got.headers["content-security-policy"], "sandbox; default-src 'none'");
        // The same content in another snapshot is the same to a client that has it.
        let known = [("If-None-Match", got.headers["etag"].as_str())];
        assert_eq!(script.ask("GET", &at(&two, "content", &path), &known, b"").await.status, 304);
    }
    let range = [("Range", "bytes=1048570-3145730")];
    let part = script.ask("GET", &at(&one, "content", "docs/large"), &range, b"").await.expect(206);
    assert!(part.body == large[1_048_570..=3_145_730]);
    assert_eq!(part.headers["content-range"], "bytes 1048570-3145730/5242880");

    // A folder as an archive.
    let packed = script.get(&at(&one, "archive", "docs")).await.expect(200);
    assert!(packed.headers["content-disposition"].starts_with("attachment; filename=\"docs.zip\""));
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(packed.body)).unwrap();
    let mut held = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        held.insert(file.name().unwrap().into_owned(), bytes);
    }
    let expected =
        files(&[("a b.txt", b"hello"), ("back%5Cslash", b"not a folder"), ("empty", b""), ("large", &large)]);
    assert!(held == expected, "{:?}", held.keys());
    let whole = script.get(&at(&one, "archive", "")).await.expect(200);
    let archive = zip::ZipArchive::new(std::io::Cursor::new(whole.body)).unwrap();
    assert_eq!(archive.len(), 2500 + 4 + 1 + 2);
    // Some of it, each under its own name.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let address = format!("/api/v1/snapshots/{one}/archive");
    let some = script.ask("POST", &address, &form, b"path=docs&path=many/file%25200019").await.expect(200);
    assert!(some.headers["content-disposition"].starts_with("attachment; filename=\"snapshot.zip\""));
    let archive = zip::ZipArchive::new(std::io::Cursor::new(some.body)).unwrap();
    let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["docs/", "docs/a b.txt", "docs/back%5Cslash", "docs/empty", "docs/large", "file 0019"]);
    for (body, status) in [("path=", 400), ("path=docs&path=docs", 400), ("path=docs/none", 404), ("x=docs", 400)] {
        script.ask("POST", &address, &form, body.as_bytes()).await.expect(status);
    }

    // Names.
    let search = |id: &str, words: &str| format!("/api/v1/snapshots/{id}/search?q={words}&");
    for limit in [1, 3, 1000] {
        let found = pages(&script, &search(&one, "FILE%20001"), limit).await;
        assert_eq!(found.len(), 10);
        assert_eq!((&found[9]["path"], &found[9]["kind"]), (&"many/file%200019".into(), &"file".into()));
        let found = pages(&script, &search(&one, "a"), limit).await;
        let paths: Vec<&str> = found.iter().map(|item| item["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["docs/a%20b.txt", "docs/back%5Cslash", "docs/large", "many"]);
    }

    for (address, status) in [
        (at(&one, "entries", "nothing"), 404),
        (at(&one, "entries", "link"), 409),
        (at(&one, "entries", "../x"), 400),
        (at(&one, "content", "docs"), 409),
        (at(&one, "content", "docs/nothing"), 404),
        (at(&one, "content", ""), 409),
        (at(&one, "archive", "link"), 409),
        (format!("/api/v1/snapshots/{one}/search?q="), 400),
        (format!("/api/v1/snapshots/{one}/search"), 400),
        (format!("/api/v1/snapshots/{one}/entries?depth=3"), 400),
        (format!("/api/v1/snapshots/{}/entries", "0".repeat(64)), 404),
        ("/api/v1/snapshots/latest".to_owned(), 404),
        ("/api/v1/snapshots?chain=x".to_owned(), 400),
        ("/api/v1/snapshots?chain=999999999999999999".to_owned(), 404),
        ("/api/v1/snapshots?chain=18446744073709551615".to_owned(), 400),
        ("/api/v1/snapshots?cursor=9223372036854775808".to_owned(), 400),
    ] {
        script.get(&address).await.expect(status);
    }
    server.stop().await;
}

/// What a difference says: `+`, `-`, `!` or `~`, and the path.
fn told(difference: &Value) -> String {
    let sign = match difference["change"].as_str().unwrap() {
        "added" => '+',
        "removed" => '-',
        "changed" => '!',
        _ => '~',
    };
    let entry = if difference["after"].is_null() { &difference["before"] } else { &difference["after"] };
    format!("{sign}{}", entry["path"].as_str().unwrap())
}

/// What a walk through both would find, without any folder being skipped.
fn differences(before: &Files, after: &Files) -> Vec<String> {
    let nodes = |files: &Files| {
        let mut nodes: BTreeMap<Vec<String>, Option<Vec<u8>>> = BTreeMap::new();
        for (path, bytes) in files {
            let names: Vec<String> = path.split('/').map(str::to_owned).collect();
            for len in 1..names.len() {
                nodes.insert(names[..len].to_vec(), None);
            }
            nodes.insert(names, Some(bytes.clone()));
        }
        nodes
    };
    let (before, after) = (nodes(before), nodes(after));
    let all: std::collections::BTreeSet<&Vec<String>> = before.keys().chain(after.keys()).collect();
    let mut told = Vec::new();
    for path in all {
        let sign = match (before.get(path), after.get(path)) {
            (None, _) => '+',
            (_, None) => '-',
            (old, new) if old == new => continue,
            _ => '!',
        };
        told.push(format!("{sign}{}", path.join("/")));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn two_snapshots_are_compared_like_two_folders() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let script = Script::new(&server, "admin", "read").await;
    let made = states(7, 6);
    let mut states = Vec::new();
    for (round, state) in made.into_iter().enumerate() {
        let key = u8::try_from(round).unwrap() + 1;
        let id = back_up(&mut device, "home", key, &state).await;
        states.push((id, state));
    }
    for (before, old) in &states {
        for (after, new) in &states {
            let expected = differences(old, new);
            for limit in [1, 4, 5000] {
                let found = pages(&script, &format!("/api/v1/snapshots/{after}/diff?with={before}&"), limit).await;
                assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected, "limit {limit}");
            }
        }
    }
    server.stop().await;
}

/// States of a few folders, each made of the one before. Few names, so that the same path is a file here and a folder there.
fn states(seed: u64, rounds: usize) -> Vec<Files> {
    let random = noise(seed, rounds * 400);
    let mut states: Vec<Files> = Vec::new();
    for bytes in random.chunks(400) {
        let mut state = states.last().cloned().unwrap_or_default();
        for draw in bytes.chunks(8) {
            let depth = usize::from(draw[0] % 4) + 1;
            let path: Vec<String> = draw[1..=depth].iter().map(|byte| format!("n{}", byte % 5)).collect();
            let path = path.join("/");
            // What is there now gives way, above and below.
            state.retain(|other, _| !other.starts_with(&format!("{path}/")) && !path.starts_with(&format!("{other}/")));
            match draw[6] % 3 {
                0 => drop(state.remove(&path)),
                _ => drop(state.insert(path, vec![draw[7] % 4; usize::from(draw[7] % 4) + 1])),
            }
        }
        states.push(state);
    }
    states
}

/// All paths of a state, folders included.
fn paths(state: &Files) -> std::collections::BTreeSet<Vec<String>> {
    let names = state.keys().map(|path| path.split('/').map(str::to_owned).collect::<Vec<_>>());
    names.flat_map(|names| (1..=names.len()).map(move |len| names[..len].to_vec())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_across_all_snapshots() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let script = Script::new(&server, "admin", "read").await;
    let mut expected = Vec::new();
    for (chain, key) in [("home", 0), ("work", 100)] {
        let states = states(11 + u64::from(key), 9);
        let mut ids = Vec::new();
        for (round, state) in states.iter().enumerate() {
            ids.push(back_up(&mut device, chain, key + 1 + u8::try_from(round).unwrap(), state).await);
        }
        let mut having: BTreeMap<Vec<String>, Vec<&String>> = BTreeMap::new();
        for (id, state) in ids.iter().zip(&states) {
            for path in paths(state).into_iter().filter(|path| path.last().unwrap().contains("n3")) {
                having.entry(path).or_default().push(id);
            }
        }
        expected.extend(
            having.into_iter().map(|(path, ids)| {
                format!("{chain} {} {} {} {}", path.join("/"), ids.len(), ids[ids.len() - 1], ids[0])
            }),
        );
    }
    assert!(expected.len() > 30, "{}", expected.len());
    let told = |item: &Value| {
        let at = |which: &str| item[which]["snapshot"].as_str().unwrap();
        let path = item["entry"]["path"].as_str().unwrap();
        let chain = item["chain_name"].as_str().unwrap();
        format!("{chain} {path} {} {} {}", item["snapshots"], at("newest"), at("oldest"))
    };
    for limit in [1, 7, 1000] {
        let found = pages(&script, "/api/v1/search/snapshots?q=N3&", limit).await;
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected, "limit {limit}");
    }
    assert_eq!(pages(&script, "/api/v1/search/snapshots?q=n3%20n4&", 10).await, Vec::<Value>::new());
    for wrong in ["q=", "q=%20", "q=a&cursor=1", "q=a&depth=1"] {
        script.get(&format!("/api/v1/search/snapshots?{wrong}")).await.expect(400);
    }
    server.stop().await;
}

/// One request looks at 100,000 entries; what 40 snapshots of 3000 files share counts once.
#[tokio::test(flavor = "multi_thread")]
async fn what_snapshots_share_is_looked_at_once() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let script = Script::new(&server, "admin", "read").await;
    let mut state: Files = (0..3000).map(|number| (format!("many/file {number:04}"), Vec::new())).collect();
    for round in 0..40_u8 {
        state.insert(format!("many/new {round}"), vec![round]);
        back_up(&mut device, "home", round + 1, &state).await;
    }
    let found = script.get("/api/v1/search/snapshots?q=new%2039").await.expect(200).json();
    assert_eq!(found["next"], Value::Null);
    assert_eq!((&found["items"][0]["entry"]["name"], &found["items"][0]["snapshots"]), (&"new 39".into(), &1.into()));
    let found = script.get("/api/v1/search/snapshots?q=file%202999").await.expect(200).json();
    assert_eq!((&found["items"][0]["snapshots"], &found["items"][0]["versions"]), (&40.into(), &1.into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_followed_through_all_snapshots() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let script = Script::new(&server, "admin", "read").await;
    let contents: [Option<&[u8]>; 6] = [None, Some(b"one"), Some(b"one"), Some(b"two"), None, Some(b"one")];
    let mut ids = Vec::new();
    for (number, content) in contents.into_iter().enumerate() {
        let mut state = files(&[("other", format!("{number}").as_bytes())]);
        if let Some(content) = content {
            state.insert("docs/plan".into(), content.to_vec());
        }
        ids.push(back_up(&mut device, "home", u8::try_from(number).unwrap() + 1, &state).await);
    }
    let chains = script.get("/api/v1/chains").await.expect(200).json();
    let chain = chains["items"][0]["id"].as_str().unwrap();
    let timeline = |path: &str| format!("/api/v1/chains/{chain}/timeline?path={path}");
    let found = script.get(&timeline("docs/plan")).await.expect(200).json();
    let spans = found["items"].as_array().unwrap();
    let told: Vec<(Option<u64>, &str, &str, u64)> = spans
        .iter()
        .map(|span| {
            let id = |which: &str| span[which]["snapshot"].as_str().unwrap();
            (span["entry"]["size"].as_u64(), id("newest"), id("oldest"), span["snapshots"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some(3), ids[5].as_str(), ids[5].as_str(), 1),
            (None, &ids[4], &ids[4], 1),
            (Some(3), &ids[3], &ids[3], 1),
            (Some(3), &ids[2], &ids[1], 2),
            (None, &ids[0], &ids[0], 1),
        ]
    );
    assert_eq!(spans[0]["version"], spans[3]["version"], "the same content is the same version");
    assert_ne!(spans[2]["version"], spans[3]["version"]);
    assert_eq!(found["next"], Value::Null);
    script.get(&timeline("")).await.expect(400);
    script.get("/api/v1/chains/999/timeline?path=x").await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_as_good_as_nothing() {
    let server = TestServer::start().await;
    assert!(server.command(&["account", "add", "bob"]).await.status.success());
    let mut device = Device::named(&server, "bob", "desk").await;
    let id = back_up(&mut device, "home", 1, &files(&[("secret", b"of bob")])).await;
    let bob = Script::new(&server, "bob", "admin").await;
    let chains = bob.get("/api/v1/chains").await.expect(200).json();
    let chain = chains["items"][0]["id"].as_str().unwrap().to_owned();
    bob.get(&format!("/api/v1/snapshots/{id}/content?path=secret")).await.expect(200);

    // An administrator is another account, too.
    let admin = person(&server).await;
    let mut own = Device::new(&server).await;
    let mine = back_up(&mut own, "home", 1, &files(&[("mine", b"own")])).await;
    assert_eq!(admin.get("/api/v1/chains").await.expect(200).json()["items"].as_array().unwrap().len(), 1);
    let all = admin.get("/api/v1/snapshots").await.expect(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    for (who, expected) in [(&admin, "mine"), (&bob, "secret")] {
        let found = pages(who, "/api/v1/search/snapshots?q=e&", 10).await;
        let names: Vec<&Value> = found.iter().map(|item| &item["entry"]["name"]).collect();
        assert_eq!(names, [expected]);
    }
    // A place in another's chain leads nowhere.
    let elsewhere = format!("/api/v1/search/snapshots?q=secret&cursor={chain}.0.");
    assert_eq!(admin.get(&elsewhere).await.expect(200).json()["items"], json!([]));
    let rules = json!({ "rules": { "keep_last": 1 } });
    let nothing = json!({ "rules": null });
    for (method, path, body) in [
        ("GET", format!("/api/v1/snapshots?chain={chain}"), None),
        ("GET", format!("/api/v1/snapshots/{id}"), None),
        ("DELETE", format!("/api/v1/snapshots/{id}"), None),
        ("POST", format!("/api/v1/snapshots/{id}/undelete"), None),
        ("PUT", format!("/api/v1/snapshots/{id}/hold"), None),
        ("DELETE", format!("/api/v1/snapshots/{id}/hold"), None),
        ("GET", format!("/api/v1/snapshots/{id}/entries"), None),
        ("GET", format!("/api/v1/snapshots/{id}/content?path=secret"), None),
        ("GET", format!("/api/v1/snapshots/{id}/thumbnail?path=secret"), None),
        ("GET", format!("/api/v1/snapshots/{id}/thumbnail?path=secret.png"), None),
        ("GET", format!("/api/v1/snapshots/{id}/archive"), None),
        ("GET", format!("/api/v1/snapshots/{id}/search?q=s"), None),
        ("GET", format!("/api/v1/snapshots/{id}/diff?with={mine}"), None),
        ("GET", format!("/api/v1/snapshots/{mine}/diff?with={id}"), None),
        ("GET", format!("/api/v1/chains/{chain}/timeline?path=secret"), None),
        ("GET", format!("/api/v1/chains/{chain}/retention"), None),
        ("PUT", format!("/api/v1/chains/{chain}/retention"), Some(&rules)),
        ("POST", format!("/api/v1/chains/{chain}/retention/simulate"), Some(&nothing)),
        ("POST", format!("/api/v1/chains/{chain}/confirm-change"), Some(&json!({ "snapshot": id }))),
    ] {
        let body = body.map_or_else(Vec::new, |body: &Value| body.to_string().into_bytes());
        let answer = admin.ask(method, &path, &[("Content-Type", "application/json")], &body).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        let said = String::from_utf8(answer.body).unwrap();
        assert!(!said.contains(&id), "{said}");
    }
    let kept = bob.get(&format!("/api/v1/snapshots/{id}")).await.expect(200).json();
    assert_eq!((&kept["held_ms"], &kept["trashed_ms"]), (&Value::Null, &Value::Null));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_bound_by_what_binds_devices() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let admin = person(&server).await;
    let mut ids = Vec::new();
    for number in 1..=4 {
        ids.push(back_up(&mut device, "home", number, &files(&[("file", &[number; 9])])).await);
    }
    let at = |index: usize, more: &str| format!("/api/v1/snapshots/{}{more}", ids[index]);
    let young = admin.ask("DELETE", &at(0, ""), &[], b"").await.expect(409).json();
    assert!(young["detail"].as_str().unwrap().contains("too young"), "{young}");

    let chains = admin.get("/api/v1/chains").await.expect(200).json();
    let chain = chains["items"][0]["id"].as_str().unwrap().to_owned();
    let retention = format!("/api/v1/chains/{chain}/retention");
    let json_type = [("Content-Type", "application/json")];
    let said = |body: Value| body.to_string().into_bytes();
    let shown = admin.get(&retention).await.expect(200).json();
    assert_eq!(
        (&shown["is_own"], &shown["text"]),
        (&false.into(), &"keep everything, nothing younger than 14d goes".into())
    );

    // What rules would do is told before they hold.
    let rules = json!({ "rules": { "keep_last": 2, "min_age_ms": 0 } });
    let simulated = admin.post(&format!("{retention}/simulate"), &rules).await.expect(200).json();
    assert_eq!(
        (&simulated["stays"], &simulated["goes"], &simulated["is_unusual"]),
        (&2.into(), &2.into(), &false.into())
    );
    assert_eq!(simulated["items"][0]["reasons"], json!(["the newest", "one of the last 2"]));
    assert_eq!((&simulated["items"][3]["stays"], &simulated["items"][3]["reasons"]), (&false.into(), &json!([])));
    assert_eq!(admin.get(&retention).await.expect(200).json(), shown, "nothing was set");
    let set = admin.ask("PUT", &retention, &json_type, &said(rules)).await.expect(200).json();
    assert_eq!(
        (&set["is_own"], &set["rules"]["keep_last"], &set["rules"]["min_age_ms"]),
        (&true.into(), &2.into(), &0.into())
    );
    let wrong = json!({ "rules": { "keep-last": 2 } });
    admin.ask("PUT", &retention, &json_type, &said(wrong)).await.expect(400);

    // Held, it stays; then it goes into the trash, and comes back. A device that is revoked changes nothing about that.
    assert!(server.command(&["device", "revoke", &device.token.device.to_string()]).await.status.success());
    assert!(admin.ask("PUT", &at(0, "/hold"), &[], b"").await.expect(200).json()["held_ms"].is_u64());
    let held = admin.ask("DELETE", &at(0, ""), &[], b"").await.expect(409).json();
    assert!(held["detail"].as_str().unwrap().contains("is held"), "{held}");
    assert!(admin.ask("DELETE", &at(0, "/hold"), &[], b"").await.expect(200).json()["held_ms"].is_null());
    let gone = admin.ask("DELETE", &at(0, ""), &[("Idempotency-Key", "once")], b"").await.expect(200).json();
    assert_eq!(gone["purge_ms"].as_u64().unwrap() - gone["trashed_ms"].as_u64().unwrap(), 7 * 86_400_000);
    let trash = admin.get(&format!("/api/v1/snapshots?chain={chain}&trash=true")).await.expect(200).json();
    assert_eq!(trash["items"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get("/api/v1/chains").await.expect(200).json()["items"][0]["trashed"], 1);
    // In the trash it can still be read.
    assert_eq!(admin.get(&at(0, "/content?path=file")).await.expect(200).body, [1; 9]);
    let back = admin.ask("POST", &at(0, "/undelete"), &[], b"").await.expect(200).json();
    assert_eq!(back["trashed_ms"], Value::Null);
    // The same key is the same request: it is not done again.
    let repeated = admin.ask("DELETE", &at(0, ""), &[("Idempotency-Key", "once")], b"").await.expect(200).json();
    assert_eq!(repeated["trashed_ms"], Value::Null);

    let audit = admin.get("/api/v1/audit?event=policy-set").await.expect(200).json();
    assert_eq!(audit["items"][0]["subject"], "laptop/home");
    assert_eq!(audit["items"][0]["detail"], "keep last 2, nothing younger than 0s goes; keeps less than before");
    let audit = admin.get("/api/v1/audit?event=snapshots-trashed").await.expect(200).json();
    assert_eq!((audit["items"].as_array().unwrap().len(), &audit["items"][0]["actor"]), (1, &"admin".into()));
    let inherit = admin.ask("PUT", &retention, &json_type, &said(json!({ "rules": null }))).await.expect(200).json();
    assert_eq!(inherit["is_own"], false);
    let default = json!({ "rules": { "keep_daily": 30 } });
    let default = admin.ask("PUT", "/api/v1/retention", &json_type, &said(default)).await.expect(200).json();
    assert_eq!(default["text"], "keep daily 30, nothing younger than 14d goes");
    assert_eq!(admin.get(&retention).await.expect(200).json()["text"], default["text"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_change_is_shown_and_confirmed() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let admin = person(&server).await;
    let many: Files = (0..120).map(|number| (format!("file {number:03}"), b"content".to_vec())).collect();
    back_up(&mut device, "home", 1, &many).await;
    let few: Files = many.into_iter().take(40).collect();
    let unusual = back_up(&mut device, "home", 2, &few).await;
    let chain = admin.get("/api/v1/chains").await.expect(200).json()["items"][0].clone();
    assert_eq!(chain["alarm"]["snapshot"], unusual.as_str());
    assert_eq!(chain["alarm"]["what"], "more than 60 % of its files are gone");
    let health = admin.get("/api/v1/health").await.expect(200).json();
    let alert = health["alerts"].as_array().unwrap().iter().find(|alert| alert["kind"] == "change-unusual").unwrap();
    assert_eq!((&alert["account"], &alert["is_urgent"]), (&"admin".into(), &true.into()));
    assert_eq!(alert["text"], "The last snapshot of laptop (home) is unusual: more than 60 % of its files are gone.");
    assert!(alert["advice"].as_str().unwrap().contains("retention confirm-change"), "{alert}");
    let confirm = format!("/api/v1/chains/{}/confirm-change", chain["id"].as_str().unwrap());
    admin.post(&confirm, &json!({ "snapshot": "0".repeat(64) })).await.expect(409);
    admin.post(&confirm, &json!({ "snapshot": unusual })).await.expect(204);
    admin.post(&confirm, &json!({ "snapshot": unusual })).await.expect(409);
    assert_eq!(admin.get("/api/v1/chains").await.expect(200).json()["items"][0]["alarm"], Value::Null);
    let audit = admin.get("/api/v1/audit?event=change-confirmed").await.expect(200).json();
    assert_eq!(audit["items"][0]["subject"], "laptop/home");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_in_the_background_and_tell_what_they_did() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    back_up(&mut device, "home", 1, &files(&[("file", &noise(1, 1 << 20))])).await;
    let admin = person(&server).await;
    assert_eq!(admin.get("/api/v1/jobs").await.expect(200).json()["items"], json!([]));
    for (number, kind) in [(1, "gc"), (2, "verify")] {
        let begun = admin.post("/api/v1/jobs", &json!({ "kind": kind })).await.expect(202).json();
        assert_eq!(
            (&begun["number"], &begun["kind"], &begun["account"]),
            (&number.into(), &kind.into(), &"admin".into())
        );
        wait_until("the end of the job", || async {
            admin.get("/api/v1/jobs").await.expect(200).json()["items"][0]["state"] != "running"
        })
        .await;
        let job = admin.get("/api/v1/jobs").await.expect(200).json()["items"][0].clone();
        assert_eq!((&job["number"], &job["state"]), (&number.into(), &"done".into()), "{job}");
        assert!(job["ended_ms"].as_u64() >= job["started_ms"].as_u64());
        let expected = if kind == "gc" { "needed " } else { "verified " };
        assert!(job["lines"][0].as_str().unwrap().starts_with(expected), "{job}");
    }
    for (kind, expected) in [("collection", "packs deleted"), ("verification", "0 packs damaged")] {
        let told = admin.get(&format!("/api/v1/activity?kind={kind}")).await.expect(200).json();
        assert_eq!(told["items"].as_array().unwrap().len(), 1, "{told}");
        assert!(told["items"][0]["detail"].as_str().unwrap().contains(expected), "{told}");
    }
    admin.post("/api/v1/jobs", &json!({ "kind": "repair" })).await.expect(400);
    for (number, status) in [("1", 409), ("99", 404), ("x", 404)] {
        admin.ask("DELETE", &format!("/api/v1/jobs/{number}"), &[], b"").await.expect(status);
    }
    let audit = admin.get("/api/v1/audit?event=job-started").await.expect(200).json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 2);

    // A pack that is not what it was.
    let mut folders = vec![server.dir.path().join("packs")];
    let mut packs = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { packs.push(path) }
        }
    }
    let pack = packs.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    admin.post("/api/v1/jobs", &json!({ "kind": "verify" })).await.expect(202);
    wait_until("the damage", || async {
        admin.get("/api/v1/jobs").await.expect(200).json()["items"][0]["state"] == "damaged"
    })
    .await;
    let job = admin.get("/api/v1/jobs").await.expect(200).json()["items"][0].clone();
    let lines: Vec<&str> = job["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines.iter().any(|line| line.starts_with("pack ") && line.contains("damaged")), "{lines:?}");
    let told = admin.get("/api/v1/activity?kind=verification").await.expect(200).json();
    assert!(told["items"][0]["detail"].as_str().unwrap().contains("1 packs damaged"), "{told}");

    // Until that is dealt with it is an alert, which says what to do.
    let health = admin.get("/api/v1/health").await.expect(200).json();
    let alert = &health["alerts"][0];
    assert_eq!(
        (&alert["kind"], &alert["is_urgent"], &alert["account"]),
        (&"damaged".into(), &true.into(), &Value::Null)
    );
    let says = |field: &str, words: &str| assert!(alert[field].as_str().unwrap().contains(words), "{alert}");
    says("text", "cannot be read");
    says("text", "Objects lost: ");
    says("advice", "backup-server verify");
    server.stop().await;
}
