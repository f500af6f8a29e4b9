//! Nothing that is a secret, a name or a content stands anywhere in the clear: not in the data directory, not in the log.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proto::{ClientRequest, DriveContent, DrivePath, DrivePut, IdempotencyKey, Purpose, Timestamp};

use crate::backup::{Backup, sealer, take_apart};
use crate::client::{Client, Token};
use crate::server::{Program, command, text};

const NAME: &str = "canary-name-of-a-backed-up-file";
const CONTENT: &[u8] = b"canary content of a backed-up file";
const DRIVE_FOLDER: &str = "canary-name-of-a-folder";
const DRIVE_NAME: &str = "canary-name-of-a-drive-file";
const DRIVE_CONTENT: &[u8] = b"canary content of a drive file";

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("keys") => {}
            true => files_below(&path, found),
            false => found.push(path),
        }
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let program = Program::serve(&data_dir, &["--log-level", "debug", "--log-format", "json"]);
    let invitation = command(&data_dir, &["enroll", "--device", "laptop"]);
    let invitation: proto::EnrolmentString = text(&invitation.stdout).trim().parse().unwrap();
    let mut client = Client::connect(program.address()).await;
    let enrolled = client.enroll(invitation.secret.clone()).await.unwrap();
    let token = Token { device: enrolled.device, secret: enrolled.secret };
    let proto::ServerReply::VaultOpened(opened) = client.ask(&ClientRequest::OpenVault(None)).await.unwrap() else {
        panic!("not opened")
    };
    let proto::Access::Managed { key } = opened.access else { panic!("not managed") };
    let keys = vault::Keys::new(&vault::VaultKey::from_bytes(*key.expose()));
    let mut sealer = sealer(&keys);

    let backup = Backup::new(&keys, &[(NAME, CONTENT)]);
    client.begin("home").await;
    client.put(&backup.records(&mut sealer)).await;
    client.commit(1, backup.snapshot).await.unwrap();

    client.ask(&ClientRequest::Begin(Purpose::Drive)).await.unwrap();
    let mut chunks = Vec::new();
    let (content, size) = take_apart(&keys, DRIVE_CONTENT, &mut chunks, &mut Vec::new());
    client.put(&[sealer.seal(&chunks).unwrap()]).await;
    let vault::Content::Chunk(id) = content else { panic!("one chunk") };
    let path = DrivePath::new(Bytes::from(format!("{DRIVE_FOLDER}/{DRIVE_NAME}"))).unwrap();
    let put = DrivePut {
        key: IdempotencyKey::from_bytes([2; 16]),
        path: path.clone(),
        mtime: Timestamp::new(0, 0).unwrap(),
        mode: 0,
        size,
        content: DriveContent::Chunk(id),
        expected_version: None,
    };
    client.ask(&ClientRequest::DrivePut(put)).await.unwrap();
    client.ask(&ClientRequest::DriveStat(path)).await.unwrap();
    // Failures are logged, and say no more than successes.
    let missing = DrivePath::new(Bytes::from_static(DRIVE_NAME.as_bytes())).unwrap();
    client.ask(&ClientRequest::DriveStat(missing)).await.unwrap_err();
    let wrong = Token {
        secret: invitation.secret.expose().repeat(2).try_into().map(proto::Secret::new).unwrap(),
        ..token.clone()
    };
    Client::connect(program.address()).await.authenticate(&wrong).await.unwrap_err();
    program.signal("KILL");
    let output = program.output();

    let master_key = fs::read(data_dir.join("keys/master.key")).unwrap();
    let tls_key = text(&fs::read(data_dir.join("keys/tls.key")).unwrap());
    let tls_key_line = tls_key.lines().nth(1).unwrap().as_bytes().to_vec();
    let secrets: [&[u8]; 4] = [invitation.secret.expose(), token.secret.expose(), key.expose(), &master_key];
    let mut canaries: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| [secret.to_vec(), hex(secret)]).collect();
    canaries.push(tls_key_line);
    let texts = [NAME.as_bytes(), CONTENT, DRIVE_FOLDER.as_bytes(), DRIVE_NAME.as_bytes(), DRIVE_CONTENT];
    canaries.extend(texts.iter().map(|text| text.to_vec()));

    let mut files = Vec::new();
    files_below(&data_dir, &mut files);
    let names: Vec<_> = files.iter().filter_map(|path| path.extension()).collect();
    assert!(names.iter().any(|name| *name == "pack") && files.iter().any(|path| path.ends_with("catalog.sqlite3")));
    let mut places: Vec<(String, Vec<u8>)> =
        files.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap_or_default())).collect();
    assert!(text(&output.stderr).contains("authentication refused"), "the log is there");
    places.push(("the log".to_owned(), output.stderr));
    for (place, bytes) in &places {
        for canary in &canaries {
            let found = bytes.windows(canary.len()).any(|window| window == &canary[..]);
            assert!(!found, "{} is in {place}", String::from_utf8_lossy(canary));
        }
    }
}
