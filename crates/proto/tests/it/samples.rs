//! One fixed message of every type, and small things to build others from.

use std::time::Instant;

use bytes::Bytes;
use object::{Codec, Kind, ObjectId, RecordHeadWriter, SealedRecord, VaultId};
use proto::*;

/// A moment to count from; the tests never wait.
#[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn id(seed: u8) -> ObjectId {
    ObjectId::from_bytes([seed; 32])
}

pub(crate) fn ids(seeds: impl IntoIterator<Item = u8>) -> Ids {
    seeds.into_iter().map(id).collect()
}

/// A sound record of one chunk with this id.
pub(crate) fn record(chunk: ObjectId, body: &[u8]) -> SealedRecord {
    record_of(Codec::Raw, chunk, &[], body)
}

/// A sound record of a delta with this id.
pub(crate) fn delta_record(chunk: ObjectId, basis: ObjectId, body: &[u8]) -> SealedRecord {
    record_of(Codec::Delta, chunk, &[basis], body)
}

fn record_of(codec: Codec, chunk: ObjectId, edges: &[ObjectId], body: &[u8]) -> SealedRecord {
    let mut writer = RecordHeadWriter::new(codec, 0, &[0x5a; 24]);
    writer.member(Kind::Data, &chunk, body.len(), edges).unwrap();
    let mut bytes = writer.finish(body.len()).unwrap();
    RecordHeadWriter::append_body(&mut bytes, |_head, place| place.copy_from_slice(body));
    SealedRecord::new(bytes.into()).unwrap()
}

pub(crate) fn path(text: &'static str) -> DrivePath {
    DrivePath::new(Bytes::from_static(text.as_bytes())).unwrap()
}

pub(crate) fn name(text: &'static str) -> DriveName {
    DriveName::new(Bytes::from_static(text.as_bytes())).unwrap()
}

pub(crate) fn chain(text: &str) -> ChainName {
    ChainName::new(text).unwrap()
}

pub(crate) fn key(seed: u8) -> IdempotencyKey {
    IdempotencyKey::from_bytes([seed; 16])
}

pub(crate) fn mtime() -> Timestamp {
    Timestamp::new(-2, 999_999_999).unwrap()
}

pub(crate) fn hello() -> ClientMessage {
    ClientMessage::Hello(Hello {
        versions: VersionRange::CURRENT,
        capabilities: Capabilities::from_bits(0x1_0000_0001),
        software: SoftwareName::new("backup-client 0.1.0").unwrap(),
    })
}

pub(crate) fn authenticate() -> ClientRequest {
    ClientRequest::Authenticate(Authenticate {
        device: DeviceId::from_bytes([0xd0; 8]),
        secret: Secret::new([0x5e; 32]),
    })
}

pub(crate) fn enroll() -> ClientRequest {
    ClientRequest::Enroll(Enroll { secret: Secret::new([0x5e; 16]), host: HostName::new("laptop").unwrap() })
}

pub(crate) fn begin_backup() -> ClientRequest {
    ClientRequest::Begin(Purpose::Backup { chain: chain("home"), parent_hint: Some(id(0x11)) })
}

pub(crate) fn begin_drive() -> ClientRequest {
    ClientRequest::Begin(Purpose::Drive)
}

pub(crate) fn commit() -> ClientRequest {
    ClientRequest::Commit(Commit { key: key(0xcc), snapshot: id(0x22) })
}

pub(crate) fn drive_put() -> ClientRequest {
    ClientRequest::DrivePut(DrivePut {
        key: key(0xcc),
        path: path("photos/2019.tar"),
        mtime: mtime(),
        mode: 0o644,
        size: 5_000_000_000,
        content: DriveContent::List(id(0x33)),
        expected_version: Some(0),
    })
}

pub(crate) fn drive_remove() -> ClientRequest {
    ClientRequest::DriveRemove(DriveRemove { key: key(0xcc), path: path("photos"), expected_version: Some(7) })
}

pub(crate) fn snapshot_change() -> ClientRequest {
    ClientRequest::SnapshotChange(SnapshotChange { key: key(0xcc), kind: ChangeKind::Hold, snapshots: ids([1, 2]) })
}

pub(crate) fn drive_undelete() -> ClientRequest {
    ClientRequest::DriveUndelete(DriveUndelete { key: key(0xcc), path: path("photos") })
}

pub(crate) fn drill_report() -> ClientRequest {
    ClientRequest::DrillReport(DrillReport {
        key: key(0xcc),
        snapshot: id(0x22),
        files: 20,
        bytes: 70_000,
        problems: 0,
        duration_ms: 300,
    })
}

pub(crate) fn signature_request(basis: u8) -> SignatureRequest {
    let ranges = vec![SignatureRange::new(0, 512).unwrap(), SignatureRange::new(4096, 70_000).unwrap()];
    SignatureRequest::new(id(basis), 9, 2, 100, ranges).unwrap()
}

/// One request of every type, in the order of their numbers.
pub(crate) fn requests() -> Vec<ClientRequest> {
    vec![
        authenticate(),
        enroll(),
        ClientRequest::OpenVault(Some(VaultId::from_bytes([0xaa; 16]))),
        begin_backup(),
        ClientRequest::Held(ids([1, 2])),
        ClientRequest::Signatures(vec![signature_request(1), SignatureRequest::new(id(2), 13, 4, 0, vec![]).unwrap()]),
        ClientRequest::Flush,
        commit(),
        ClientRequest::Snapshots(Snapshots {
            chain: Some(chain("home")),
            before: Some(300),
            limit: 1000,
            in_trash: true,
        }),
        ClientRequest::Fetch(Fetch { ids: ids([1, 2]), with_basis: true }),
        ClientRequest::DriveList(DriveList { path: path("photos"), after: Some(name("2018.tar")), limit: 10_000 }),
        ClientRequest::DriveStat(path("photos/2019.tar")),
        drive_put(),
        drive_remove(),
        snapshot_change(),
        ClientRequest::DriveTrash(DriveTrash { before: Some(300), limit: 1000 }),
        drive_undelete(),
        drill_report(),
    ]
}

pub(crate) fn backup_progress() -> BackupProgress {
    let done = Extent { files: 300, bytes: 70_000 };
    BackupProgress { done, expected: Some(Extent { files: 1000, bytes: 5_000_000_000 }) }
}

/// One client message of every type, in the order of their numbers.
pub(crate) fn client_messages() -> Vec<ClientMessage> {
    let mut messages: Vec<_> = requests().into_iter().map(ClientMessage::Request).collect();
    messages.insert(0, hello());
    messages.insert(7, ClientMessage::Put(vec![record(id(1), b"one"), delta_record(id(2), id(1), b"two")]));
    messages.splice(16..16, [ClientMessage::Ping, ClientMessage::Bye]);
    messages.push(ClientMessage::Progress(backup_progress()));
    messages
}

pub(crate) fn welcome() -> ServerMessage {
    ServerMessage::Welcome(Welcome {
        version: 1,
        capabilities: Capabilities::from_bits(3),
        software: SoftwareName::new("backup-server 0.1.0").unwrap(),
        server_time_ms: 1_700_000_000_000,
    })
}

pub(crate) fn authenticated() -> ServerReply {
    ServerReply::Authenticated(Authenticated {
        device_name: DeviceName::new("laptop").unwrap(),
        account: AccountName::new("admin").unwrap(),
    })
}

pub(crate) fn enrolled() -> ServerReply {
    ServerReply::Enrolled(Enrolled {
        device: DeviceId::from_bytes([0xd0; 8]),
        secret: Secret::new([0x5e; 32]),
        device_name: DeviceName::new("laptop").unwrap(),
        account: AccountName::new("admin").unwrap(),
    })
}

pub(crate) fn vault_opened() -> ServerReply {
    let access = Access::Managed { key: Secret::new([0x4e; 32]) };
    ServerReply::VaultOpened(VaultOpened { vault: VaultId::from_bytes([0xaa; 16]), access })
}

pub(crate) fn sealed_vault_opened() -> ServerReply {
    let access = Access::Sealed { slots: vec![Bytes::from_static(b"slot 1"), Bytes::new()] };
    ServerReply::VaultOpened(VaultOpened { vault: VaultId::from_bytes([0xaa; 16]), access })
}

pub(crate) fn session() -> SessionId {
    SessionId::from_bytes([0x77; 16])
}

pub(crate) fn begun() -> ServerReply {
    ServerReply::Begun(Begun { session: session(), parent: None })
}

pub(crate) fn committed() -> ServerReply {
    ServerReply::Committed(Committed {
        seq: 41,
        server_time_ms: 1_700_000_000_000,
        bytes_stored: 70_000,
        objects_stored: 300,
        delta_objects: 2,
        repeated: false,
    })
}

pub(crate) fn drive_committed() -> ServerReply {
    ServerReply::DriveCommitted(DriveCommitted {
        version: 1,
        server_time_ms: 1_700_000_000_000,
        bytes_stored: 70_000,
        objects_stored: 300,
        delta_objects: 2,
    })
}

pub(crate) fn snapshot_item(seq: u64) -> SnapshotItem {
    SnapshotItem {
        snapshot: id(0x22),
        chain: chain("home"),
        seq,
        received_ms: 1_700_000_000_000,
        bytes_stored: 70_000,
        device_name: DeviceName::new("laptop").unwrap(),
        is_held: true,
        trashed_ms: Some(1_700_000_000_001),
        purge_ms: Some(1_700_000_000_002),
        verified_ms: Some(1_700_000_000_003),
        drilled_ms: None,
        is_damaged: true,
    }
}

pub(crate) fn changed(count: u64) -> ServerReply {
    ServerReply::Changed(Changed { server_time_ms: 1_700_000_000_000, count })
}

pub(crate) fn trashed_item(number: u64) -> TrashedItem {
    TrashedItem {
        number,
        path: path("photos/2019.tar"),
        size: Some(70_000),
        trashed_ms: 1_700_000_000_001,
        purge_ms: 1_700_000_000_002,
    }
}

pub(crate) fn drive_file(file_name: &'static str) -> DriveEntry {
    DriveEntry {
        name: Some(name(file_name)),
        node: DriveNode::File { size: 70_000, content: DriveContent::Chunk(id(0x33)) },
        mtime: mtime(),
        mode: 0o644,
        version: 3,
    }
}

pub(crate) fn drive_dir(dir_name: &'static str) -> DriveEntry {
    DriveEntry {
        name: Some(name(dir_name)),
        node: DriveNode::Directory,
        mtime: Timestamp::new(0, 0).unwrap(),
        mode: 0o755,
        version: 1,
    }
}

pub(crate) fn objects(last: bool) -> ServerReply {
    ServerReply::Objects(Objects { records: vec![record(id(1), b"one")], missing: vec![1], last })
}

/// One server message of every type, in the order of their numbers.
pub(crate) fn server_messages() -> Vec<ServerMessage> {
    let parent = Some(Parent { snapshot: id(0x11), seq: 40, received_ms: 1_600_000_000_000 });
    let answer = ServerReply::HeldAnswer([true, false, true].into_iter().collect());
    let signatures = vec![Bytes::from_static(b"signature"), Bytes::new(), Bytes::from_static(b"another")];
    let snapshots = SnapshotsAnswer { items: vec![snapshot_item(41), snapshot_item(40)], next: Some(40) };
    let trashed = DriveTrashed { items: vec![trashed_item(41), trashed_item(40)], next: Some(40) };
    let entries = DriveEntries { entries: vec![drive_file("2019.tar"), drive_dir("raw")], more: true };
    vec![
        welcome(),
        ServerMessage::Reply(authenticated()),
        ServerMessage::Reply(enrolled()),
        ServerMessage::Reply(vault_opened()),
        ServerMessage::Reply(ServerReply::Begun(Begun { session: session(), parent })),
        ServerMessage::Reply(answer),
        ServerMessage::Reply(ServerReply::SignaturesAnswer(signatures)),
        ServerMessage::Durable(300),
        ServerMessage::Refused(ids([2])),
        ServerMessage::Reply(ServerReply::Flushed(70_000)),
        ServerMessage::Reply(committed()),
        ServerMessage::Reply(ServerReply::SnapshotsAnswer(snapshots)),
        ServerMessage::Reply(objects(true)),
        ServerMessage::Reply(ServerReply::DriveEntries(entries)),
        ServerMessage::Reply(drive_committed()),
        ServerMessage::Pong,
        ServerMessage::Failed(Failure::missing("two objects are missing", ids([1, 2])).unwrap()),
        ServerMessage::Reply(changed(1)),
        ServerMessage::Reply(ServerReply::DriveTrashed(trashed)),
    ]
}
