//! The drive: files with versions, names that only the vault's key can read.

use bytes::Bytes;
use proto::{
    ClientRequest, DriveCommitted, DriveContent, DriveEntries, DriveEntry, DriveList, DriveName, DriveNode, DrivePath,
    DrivePut, DriveRemove, FailCode, Failure, IdempotencyKey, Purpose, ServerReply, Timestamp,
};
use serde_json::json;

use crate::backup::{noise, sealer, take_apart};
use crate::client::Device;
use crate::rest::Script;
use crate::server::TestServer;

fn path(text: &str) -> DrivePath {
    DrivePath::new(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

struct Drive {
    device: Device,
    next_key: u8,
}

impl Drive {
    async fn new(server: &TestServer) -> Self {
        let mut device = Device::new(server).await;
        device.client.ask(&ClientRequest::Begin(Purpose::Drive)).await.unwrap();
        Self { device, next_key: 0 }
    }

    fn request(&mut self, name: &str, content: DriveContent, size: u64, expected_version: Option<u64>) -> DrivePut {
        self.next_key += 1;
        DrivePut {
            key: IdempotencyKey::from_bytes([self.next_key; 16]),
            path: path(name),
            mtime: Timestamp::new(1_700_000_000, 5).unwrap(),
            mode: 0o640,
            size,
            content,
            expected_version,
        }
    }

    /// Puts a file with its content.
    async fn put(&mut self, name: &str, bytes: &[u8], expected: Option<u64>) -> Result<DriveCommitted, Failure> {
        let (mut chunks, mut metadata) = (Vec::new(), Vec::new());
        let (content, size) = take_apart(&self.device.keys, bytes, &mut chunks, &mut metadata);
        let mut sealer = sealer(&self.device.keys);
        let objects = chunks.iter().chain(&metadata);
        let records: Vec<_> = objects.map(|object| sealer.seal(std::slice::from_ref(object)).unwrap()).collect();
        self.device.client.put(&records).await;
        let content = match content {
            vault::Content::Empty => DriveContent::Empty,
            vault::Content::Chunk(id) => DriveContent::Chunk(id),
            vault::Content::List(id) => DriveContent::List(id),
        };
        let request = self.request(name, content, size, expected);
        self.change(ClientRequest::DrivePut(request)).await
    }

    async fn remove(&mut self, name: &str, expected_version: Option<u64>) -> Result<DriveCommitted, Failure> {
        self.next_key += 1;
        let key = IdempotencyKey::from_bytes([self.next_key; 16]);
        self.change(ClientRequest::DriveRemove(DriveRemove { key, path: path(name), expected_version })).await
    }

    async fn change(&mut self, request: ClientRequest) -> Result<DriveCommitted, Failure> {
        match self.device.client.ask(&request).await? {
            ServerReply::DriveCommitted(committed) => Ok(committed),
            other => panic!("{other:?}"),
        }
    }

    async fn stat(&mut self, name: &str) -> Result<DriveEntry, Failure> {
        match self.device.client.ask(&ClientRequest::DriveStat(path(name))).await? {
            ServerReply::DriveEntries(mut entries) => Ok(entries.entries.remove(0)),
            other => panic!("{other:?}"),
        }
    }

    /// One page of a directory: names, and whether there are more.
    async fn page(&mut self, name: &str, after: Option<&str>, limit: u32) -> Result<(Vec<String>, bool), Failure> {
        let after = after.map(|after| DriveName::new(Bytes::copy_from_slice(after.as_bytes())).unwrap());
        let request = ClientRequest::DriveList(DriveList { path: path(name), after, limit });
        match self.device.client.ask(&request).await? {
            ServerReply::DriveEntries(DriveEntries { entries, more }) => {
                let name = |entry: DriveEntry| String::from_utf8(entry.name.unwrap().as_bytes().to_vec()).unwrap();
                Ok((entries.into_iter().map(name).collect(), more))
            }
            other => panic!("{other:?}"),
        }
    }

    async fn list(&mut self, name: &str) -> Vec<String> {
        self.page(name, None, 10_000).await.unwrap().0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_listed_and_removed() {
    let server = TestServer::start().await;
    let mut drive = Drive::new(&server).await;
    assert_eq!(drive.list("").await, Vec::<String>::new());
    let root = drive.stat("").await.unwrap();
    assert_eq!((root.name, root.node), (None, DriveNode::Directory));

    // Longer than any chunk.
    let big = noise(1, 5 << 20);
    let committed = drive.put("photos/2019/b.jpg", &big, None).await.unwrap();
    assert!(committed.bytes_stored >= 5 << 20 && committed.objects_stored >= 3);
    drive.put("photos/2019/a.jpg", b"small", None).await.unwrap();
    drive.put("photos/empty", b"", None).await.unwrap();
    drive.put("photos/\u{e9}t\u{e9}", b"summer", None).await.unwrap();
    assert_eq!(drive.list("").await, ["photos"]);
    assert_eq!(drive.list("photos").await, ["2019", "empty", "\u{e9}t\u{e9}"]);
    assert_eq!(drive.list("photos/2019").await, ["a.jpg", "b.jpg"]);

    let entry = drive.stat("photos/2019/b.jpg").await.unwrap();
    assert_eq!(entry.version, committed.version);
    assert_eq!((entry.mtime, entry.mode), (Timestamp::new(1_700_000_000, 5).unwrap(), 0o640));
    let DriveNode::File { size, content: DriveContent::List(list) } = entry.node else { panic!("{entry:?}") };
    assert_eq!(size, 5 << 20);
    assert_eq!(drive.device.client.held(&[list]).await, [true]);
    let directory = drive.stat("photos").await.unwrap();
    assert_eq!(directory.node, DriveNode::Directory);

    for missing in ["nothing", "photos/2019/c.jpg", "photos/empty/below", "photos/2018/a.jpg"] {
        assert_eq!(drive.stat(missing).await.unwrap_err().code(), FailCode::NotFound, "{missing}");
        assert_eq!(drive.remove(missing, None).await.unwrap_err().code(), FailCode::NotFound, "{missing}");
        assert_eq!(drive.page(missing, None, 1).await.unwrap_err().code(), FailCode::NotFound, "{missing}");
    }
    assert_eq!(drive.page("photos/empty", None, 1).await.unwrap_err().code(), FailCode::NotFound, "a file");
    // A file is no folder, and a folder no file.
    assert_eq!(drive.put("photos/empty/below", b"x", None).await.unwrap_err().code(), FailCode::Conflict);
    assert_eq!(drive.put("photos", b"x", None).await.unwrap_err().code(), FailCode::Conflict);

    drive.remove("photos/2019", None).await.unwrap();
    assert_eq!(drive.list("photos").await, ["empty", "\u{e9}t\u{e9}"]);
    drive.put("photos/2019/new", b"again", None).await.unwrap();
    assert_eq!(drive.list("photos/2019").await, ["new"], "a folder of the same name is another folder");
    let server = server.restart().await;
    drive.device.reconnect(server.server.address()).await;
    assert_eq!(drive.list("photos/2019").await, ["new"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_may_expect_a_version() {
    let server = TestServer::start().await;
    let mut drive = Drive::new(&server).await;
    let first = drive.put("file", b"one", Some(0)).await.unwrap();
    assert_eq!(drive.put("file", b"two", Some(0)).await.unwrap_err().code(), FailCode::Conflict);
    let second = drive.put("file", b"two", Some(first.version)).await.unwrap();
    assert!(second.version > first.version);
    assert_eq!(drive.put("file", b"three", Some(first.version)).await.unwrap_err().code(), FailCode::Conflict);
    assert_eq!(drive.stat("file").await.unwrap().version, second.version);
    assert_eq!(drive.remove("file", Some(first.version)).await.unwrap_err().code(), FailCode::Conflict);
    drive.remove("file", Some(second.version)).await.unwrap();
    assert_eq!(drive.stat("file").await.unwrap_err().code(), FailCode::NotFound);
    drive.put("file", b"anew", Some(0)).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_asked_for_twice_happens_once() {
    let server = TestServer::start().await;
    let mut drive = Drive::new(&server).await;
    // Folders on the way are made by the first, and found by the second.
    let request = drive.request("a/b/c", DriveContent::Empty, 0, Some(0));
    let first = drive.change(ClientRequest::DrivePut(request.clone())).await.unwrap();
    drive.device.reconnect(server.server.address()).await;
    drive.device.client.ask(&ClientRequest::Begin(Purpose::Drive)).await.unwrap();
    let again = drive.change(ClientRequest::DrivePut(request.clone())).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(drive.stat("a/b/c").await.unwrap().version, first.version);
    let other = DrivePut { path: path("a/b/d"), ..request };
    assert_eq!(drive.change(ClientRequest::DrivePut(other)).await.unwrap_err().code(), FailCode::Conflict);

    let key = IdempotencyKey::from_bytes([200; 16]);
    let remove = ClientRequest::DriveRemove(DriveRemove { key, path: path("a/b"), expected_version: None });
    let first = drive.change(remove.clone()).await.unwrap();
    assert_eq!(drive.change(remove).await.unwrap(), first);
    // Told once, too: what went, and which device took it away.
    let script = Script::new(&server, "admin", "read").await;
    let told = script.get("/api/v1/activity?kind=delete").await.expect(200).json();
    let items = told["items"].as_array().unwrap();
    let [item] = &items[..] else { panic!("{told}") };
    assert_eq!((&item["name"], &item["device_name"]), (&json!("b"), &json!("laptop")), "{item}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_has_to_be_there_first() {
    let server = TestServer::start().await;
    let mut drive = Drive::new(&server).await;
    let nothing = object::ObjectId::from_bytes([1; 32]);
    let request = drive.request("file", DriveContent::Chunk(nothing), 5, None);
    let failure = drive.change(ClientRequest::DrivePut(request)).await.unwrap_err();
    assert_eq!(failure.code(), FailCode::Missing);
    assert_eq!(failure.missing_ids().iter().collect::<Vec<_>>(), [nothing]);
    assert_eq!(drive.list("").await, Vec::<String>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_folder_comes_page_by_page_in_order() {
    let server = TestServer::start().await;
    let mut drive = Drive::new(&server).await;
    let mut names: Vec<String> = (0..57).map(|n| format!("{:02}", n * 37 % 57)).collect();
    for name in &names {
        drive.next_key = name.parse().unwrap();
        let request = drive.request(&format!("folder/{name}"), DriveContent::Empty, 0, None);
        drive.change(ClientRequest::DrivePut(request)).await.unwrap();
    }
    names.sort_unstable();
    let mut found: Vec<String> = Vec::new();
    loop {
        let (page, more) = drive.page("folder", found.last().map(String::as_str), 10).await.unwrap();
        assert!(page.len() == 10 || !more);
        found.extend(page);
        if !more {
            break;
        }
    }
    assert_eq!(found, names);
    assert_eq!(drive.page("folder", Some("55x"), 10).await.unwrap(), (vec!["56".to_owned()], false));
    assert_eq!(drive.page("folder", Some("56"), 10).await.unwrap(), (Vec::new(), false));
    server.stop().await;
}
