//! Any message, within its limits.

use bytes::Bytes;
use object::{ObjectId, SealedRecord, VaultId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proto::*;

use crate::samples::{delta_record, record};

pub(crate) fn client_message() -> impl Strategy<Value = ClientMessage> {
    prop_oneof![
        1 => hello(),
        8 => client_request().prop_map(ClientMessage::Request),
        2 => records().prop_map(ClientMessage::Put),
        1 => backup_progress().prop_map(ClientMessage::Progress),
        1 => Just(ClientMessage::Ping),
        1 => Just(ClientMessage::Bye),
    ]
}

fn backup_progress() -> impl Strategy<Value = BackupProgress> {
    let extent = || any::<(u64, u64)>().prop_map(|(files, bytes)| Extent { files, bytes });
    (extent(), option::of(extent())).prop_map(|(done, expected)| BackupProgress { done, expected })
}

pub(crate) fn client_request() -> impl Strategy<Value = ClientRequest> {
    let authenticate = (any::<[u8; 8]>(), any::<[u8; 32]>()).prop_map(|(device, secret)| {
        ClientRequest::Authenticate(Authenticate { device: DeviceId::from_bytes(device), secret: Secret::new(secret) })
    });
    let enroll = (any::<[u8; 16]>(), text::<255>())
        .prop_map(|(secret, host)| ClientRequest::Enroll(Enroll { secret: Secret::new(secret), host }));
    let backup = (chain(), option::of(id()))
        .prop_map(|(chain, parent_hint)| ClientRequest::Begin(Purpose::Backup { chain, parent_hint }));
    let commit = (key(), id()).prop_map(|(key, snapshot)| ClientRequest::Commit(Commit { key, snapshot }));
    let snapshots = (option::of(chain()), option::of(any::<u64>()), 1..=1000u32, any::<bool>()).prop_map(
        |(chain, before, limit, in_trash)| ClientRequest::Snapshots(Snapshots { chain, before, limit, in_trash }),
    );
    let change =
        (key(), prop::sample::select(&ChangeKind::ALL[..]), vec(id(), 1..20)).prop_map(|(key, kind, snapshots)| {
            let snapshots = snapshots.iter().collect();
            ClientRequest::SnapshotChange(SnapshotChange { key, kind, snapshots })
        });
    let drill = (key(), id(), any::<[u64; 4]>()).prop_map(|(key, snapshot, numbers)| {
        let [files, bytes, problems, duration_ms] = numbers;
        ClientRequest::DrillReport(DrillReport { key, snapshot, files, bytes, problems, duration_ms })
    });
    let fetch = (ids(), any::<bool>()).prop_map(|(ids, with_basis)| ClientRequest::Fetch(Fetch { ids, with_basis }));
    let list = (path(), option::of(name()), 1..=10_000u32)
        .prop_map(|(path, after, limit)| ClientRequest::DriveList(DriveList { path, after, limit }));
    prop_oneof![
        authenticate,
        enroll,
        option::of(vault()).prop_map(ClientRequest::OpenVault),
        backup,
        Just(ClientRequest::Begin(Purpose::Drive)),
        ids().prop_map(ClientRequest::Held),
        vec(signature_request(), 0..5).prop_map(ClientRequest::Signatures),
        Just(ClientRequest::Flush),
        commit,
        snapshots,
        fetch,
        list,
        path().prop_map(ClientRequest::DriveStat),
        drive_put(),
        (key(), file_path(), option::of(any::<u64>())).prop_map(|(key, path, expected_version)| {
            ClientRequest::DriveRemove(DriveRemove { key, path, expected_version })
        }),
        change,
        (option::of(any::<u64>()), 1..=1000u32)
            .prop_map(|(before, limit)| ClientRequest::DriveTrash(DriveTrash { before, limit })),
        (key(), file_path()).prop_map(|(key, path)| ClientRequest::DriveUndelete(DriveUndelete { key, path })),
        drill,
    ]
}

pub(crate) fn server_message() -> impl Strategy<Value = ServerMessage> {
    let welcome = (any::<u16>(), any::<u64>(), text(), any::<u64>()).prop_map(
        |(version, capabilities, software, server_time_ms)| {
            let capabilities = Capabilities::from_bits(capabilities);
            ServerMessage::Welcome(Welcome { version, capabilities, software, server_time_ms })
        },
    );
    prop_oneof![
        1 => welcome,
        12 => server_reply().prop_map(ServerMessage::Reply),
        1 => any::<u64>().prop_map(ServerMessage::Durable),
        1 => vec(id(), 1..20).prop_map(|ids| ServerMessage::Refused(ids.iter().collect())),
        1 => Just(ServerMessage::Pong),
        1 => failure().prop_map(ServerMessage::Failed),
    ]
}

pub(crate) fn server_reply() -> impl Strategy<Value = ServerReply> {
    let authenticated = (text(), text())
        .prop_map(|(device_name, account)| ServerReply::Authenticated(Authenticated { device_name, account }));
    let enrolled =
        (any::<[u8; 8]>(), any::<[u8; 32]>(), text(), text()).prop_map(|(device, secret, device_name, account)| {
            let (device, secret) = (DeviceId::from_bytes(device), Secret::new(secret));
            ServerReply::Enrolled(Enrolled { device, secret, device_name, account })
        });
    let access = prop_oneof![
        any::<[u8; 32]>().prop_map(|key| Access::Managed { key: Secret::new(key) }),
        vec(bytes(1024), 0..=32).prop_map(|slots| Access::Sealed { slots }),
    ];
    let parent = (id(), any::<u64>(), any::<u64>()).prop_map(|(snapshot, seq, received_ms)| Parent {
        snapshot,
        seq,
        received_ms,
    });
    let begun = (any::<[u8; 16]>(), option::of(parent))
        .prop_map(|(session, parent)| ServerReply::Begun(Begun { session: SessionId::from_bytes(session), parent }));
    let snapshots = (vec(snapshot_item(), 0..5), option::of(any::<u64>()))
        .prop_map(|(items, next)| ServerReply::SnapshotsAnswer(SnapshotsAnswer { items, next }));
    let objects = (records(), vec(any::<u32>(), 0..20), any::<bool>())
        .prop_map(|(records, missing, last)| ServerReply::Objects(Objects { records, missing, last }));
    let entries = (vec(drive_entry(), 0..5), any::<bool>())
        .prop_map(|(entries, more)| ServerReply::DriveEntries(DriveEntries { entries, more }));
    prop_oneof![
        authenticated,
        enrolled,
        (vault(), access).prop_map(|(vault, access)| ServerReply::VaultOpened(VaultOpened { vault, access })),
        begun,
        vec(any::<bool>(), 0..50).prop_map(|held| ServerReply::HeldAnswer(held.into_iter().collect())),
        vec(bytes(50), 0..5).prop_map(ServerReply::SignaturesAnswer),
        any::<u64>().prop_map(ServerReply::Flushed),
        (any::<[u64; 5]>(), any::<bool>()).prop_map(|(numbers, repeated)| {
            let [seq, server_time_ms, bytes_stored, objects_stored, delta_objects] = numbers;
            ServerReply::Committed(Committed {
                seq,
                server_time_ms,
                bytes_stored,
                objects_stored,
                delta_objects,
                repeated,
            })
        }),
        snapshots,
        objects,
        entries,
        any::<[u64; 5]>().prop_map(|numbers| {
            let [version, server_time_ms, bytes_stored, objects_stored, delta_objects] = numbers;
            ServerReply::DriveCommitted(DriveCommitted {
                version,
                server_time_ms,
                bytes_stored,
                objects_stored,
                delta_objects,
            })
        }),
        any::<[u64; 2]>().prop_map(|[server_time_ms, count]| ServerReply::Changed(Changed { server_time_ms, count })),
        (vec(trashed_item(), 0..5), option::of(any::<u64>()))
            .prop_map(|(items, next)| ServerReply::DriveTrashed(DriveTrashed { items, next })),
    ]
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        (prop::sample::select(&FailCode::ALL[..]), any::<String>())
            .prop_map(|(code, message)| Failure::new(code, &message)),
        (any::<String>(), ids()).prop_map(|(message, ids)| Failure::missing(&message, ids).unwrap()),
    ]
}

fn hello() -> impl Strategy<Value = ClientMessage> {
    (any::<u16>(), any::<u16>(), any::<u64>(), text()).prop_map(|(a, b, capabilities, software)| {
        let versions = VersionRange::new(a.min(b), a.max(b)).unwrap();
        ClientMessage::Hello(Hello { versions, capabilities: Capabilities::from_bits(capabilities), software })
    })
}

fn signature_request() -> impl Strategy<Value = SignatureRequest> {
    let ranges = vec(0..=4u32 << 20, 0..40).prop_map(|mut edges| {
        edges.sort_unstable();
        edges.dedup();
        edges.chunks_exact(2).map(|edge| SignatureRange::new(edge[0], edge[1] - edge[0]).unwrap()).collect()
    });
    (id(), 6..=17u8, 2..=8u8, any::<u32>(), ranges).prop_map(|(basis, log2, strong_len, phase, ranges)| {
        SignatureRequest::new(basis, log2, strong_len, phase & ((1 << log2) - 1), ranges).unwrap()
    })
}

fn drive_put() -> impl Strategy<Value = ClientRequest> {
    (key(), file_path(), time(), any::<u32>(), file(), option::of(any::<u64>())).prop_map(
        |(key, path, mtime, mode, (size, content), expected_version)| {
            ClientRequest::DrivePut(DrivePut { key, path, mtime, mode, size, content, expected_version })
        },
    )
}

fn drive_entry() -> impl Strategy<Value = DriveEntry> {
    let node =
        prop_oneof![Just(DriveNode::Directory), file().prop_map(|(size, content)| DriveNode::File { size, content }),];
    (option::of(name()), node, time(), any::<u32>(), any::<u64>())
        .prop_map(|(name, node, mtime, mode, version)| DriveEntry { name, node, mtime, mode, version })
}

fn file() -> impl Strategy<Value = (u64, DriveContent)> {
    prop_oneof![
        Just((0, DriveContent::Empty)),
        (1..=u64::MAX, id()).prop_map(|(size, id)| (size, DriveContent::Chunk(id))),
        (1..=u64::MAX, id()).prop_map(|(size, id)| (size, DriveContent::List(id))),
    ]
}

fn snapshot_item() -> impl Strategy<Value = SnapshotItem> {
    (id(), chain(), any::<[u64; 3]>(), text(), any::<[bool; 2]>(), any::<[Option<u64>; 4]>()).prop_map(
        |(snapshot, chain, numbers, device_name, marks, times)| {
            let [seq, received_ms, bytes_stored] = numbers;
            let [is_held, is_damaged] = marks;
            let [trashed_ms, purge_ms, verified_ms, drilled_ms] = times;
            SnapshotItem {
                snapshot,
                chain,
                seq,
                received_ms,
                bytes_stored,
                device_name,
                is_held,
                trashed_ms,
                purge_ms,
                verified_ms,
                drilled_ms,
                is_damaged,
            }
        },
    )
}

fn trashed_item() -> impl Strategy<Value = TrashedItem> {
    (any::<[u64; 3]>(), file_path(), option::of(any::<u64>())).prop_map(|(numbers, path, size)| {
        let [number, trashed_ms, purge_ms] = numbers;
        TrashedItem { number, path, size, trashed_ms, purge_ms }
    })
}

fn records() -> impl Strategy<Value = Vec<SealedRecord>> {
    let any_record = (id(), option::of(id()), vec(any::<u8>(), 0..200)).prop_map(|(chunk, basis, body)| match basis {
        Some(basis) => delta_record(chunk, basis, &body),
        None => record(chunk, &body),
    });
    vec(any_record, 0..4)
}

fn id() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId::from_bytes)
}

fn ids() -> impl Strategy<Value = Ids> {
    vec(id(), 0..20).prop_map(|ids| ids.iter().collect())
}

fn vault() -> impl Strategy<Value = VaultId> {
    any::<[u8; 16]>().prop_map(VaultId::from_bytes)
}

fn key() -> impl Strategy<Value = IdempotencyKey> {
    any::<[u8; 16]>().prop_map(IdempotencyKey::from_bytes)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Timestamp::new(secs, nanos).unwrap())
}

fn text<const MAX: usize>() -> impl Strategy<Value = Text<0, MAX>> {
    any::<String>().prop_map(|text| Text::lossy(&text))
}

fn chain() -> impl Strategy<Value = ChainName> {
    "\\PC{1,32}".prop_map(|text| ChainName::new(&text).unwrap())
}

fn name() -> impl Strategy<Value = DriveName> {
    bytes(255).prop_filter_map("not a name", DriveName::new)
}

fn file_path() -> impl Strategy<Value = DrivePath> {
    vec(name(), 1..5).prop_map(|names| {
        let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        DrivePath::new(names.join(&b'/').into()).unwrap()
    })
}

fn path() -> impl Strategy<Value = DrivePath> {
    prop_oneof![1 => Just(DrivePath::ROOT), 4 => file_path()]
}

fn bytes(len_max: usize) -> impl Strategy<Value = Bytes> {
    vec(1..=u8::MAX, 0..=len_max).prop_map(|bytes| {
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'/').collect();
        bytes.into()
    })
}
