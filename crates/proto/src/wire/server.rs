//! The server's messages on the wire.

use bytes::Bytes;
use object::{ObjectId, VaultId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::codec::{decode, encode};
use super::list::List;
use super::parse::{WireTime, content, content_parts, ids, no_body, record_pieces, records, rule};
use super::{DecodeError, DecodeFault};
use crate::frame::{EncodeError, EncodedFrame, Frame, StreamId};
use crate::limits::{
    DRIVE_ENTRY_COUNT_MAX, DRIVE_TRASH_COUNT_MAX, FETCH_ID_COUNT_MAX, REFUSED_ID_COUNT_MAX,
    SIGNATURE_REQUEST_COUNT_MAX, SLOT_COUNT_MAX, SNAPSHOT_COUNT_MAX,
};
use crate::message::{
    Access, AccountName, Authenticated, Begun, ChainName, Changed, Committed, DeviceId, DeviceName, DriveCommitted,
    DriveContent, DriveEntries, DriveEntry, DriveName, DriveNode, DrivePath, DriveTrashed, Enrolled, FailCode, Failure,
    FailureText, HeldAnswer, Ids, LimitError, Objects, Parent, Secret, ServerMessage, ServerReply, SessionId,
    SnapshotItem, SnapshotsAnswer, SoftwareName, TrashedItem, VaultOpened, Welcome,
};
use crate::{Capabilities, MessageType};

#[derive(Serialize, Deserialize)]
struct WireWelcome<'a> {
    version: u16,
    capabilities: u64,
    software: &'a str,
    server_time_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireAuthenticated<'a> {
    device_name: &'a str,
    account: &'a str,
}

#[derive(Serialize, Deserialize)]
struct WireEnrolled<'a> {
    device: [u8; DeviceId::LEN],
    secret: Zeroizing<[u8; 32]>,
    device_name: &'a str,
    account: &'a str,
}

#[derive(Serialize, Deserialize)]
struct WireVaultOpened<'a> {
    vault: [u8; VaultId::LEN],
    #[serde(borrow)]
    access: WireAccess<'a>,
}

#[derive(Serialize, Deserialize)]
enum WireAccess<'a> {
    Managed {
        key: Zeroizing<[u8; 32]>,
    },
    Sealed {
        #[serde(borrow)]
        slots: List<&'a [u8], SLOT_COUNT_MAX>,
    },
}

#[derive(Serialize, Deserialize)]
struct WireBegun {
    session: [u8; SessionId::LEN],
    parent: Option<WireParent>,
}

#[derive(Serialize, Deserialize)]
struct WireParent {
    snapshot: [u8; ObjectId::LEN],
    seq: u64,
    received_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireHeldAnswer {
    count: u32,
}

#[derive(Serialize, Deserialize)]
struct WireSignaturesAnswer {
    lens: List<u32, SIGNATURE_REQUEST_COUNT_MAX>,
}

#[derive(Serialize, Deserialize)]
struct WireRecordCount {
    record_count: u64,
}

#[derive(Serialize, Deserialize)]
struct WireCommitted {
    seq: u64,
    server_time_ms: u64,
    bytes_stored: u64,
    objects_stored: u64,
    delta_objects: u64,
    repeated: bool,
}

#[derive(Serialize, Deserialize)]
struct WireSnapshotsAnswer {
    next: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireSnapshotItem<'a> {
    snapshot: [u8; ObjectId::LEN],
    chain: &'a str,
    seq: u64,
    received_ms: u64,
    bytes_stored: u64,
    device_name: &'a str,
    is_held: bool,
    trashed_ms: Option<u64>,
    purge_ms: Option<u64>,
    verified_ms: Option<u64>,
    drilled_ms: Option<u64>,
    is_damaged: bool,
}

#[derive(Serialize, Deserialize)]
struct WireObjects {
    last: bool,
    missing: List<u32, FETCH_ID_COUNT_MAX>,
}

#[derive(Serialize, Deserialize)]
struct WireDriveEntries {
    more: bool,
}

#[derive(Serialize, Deserialize)]
struct WireDriveEntry<'a> {
    name: &'a [u8],
    is_dir: bool,
    size: u64,
    mtime: WireTime,
    mode: u32,
    version: u64,
    content_kind: u8,
    content: [u8; ObjectId::LEN],
}

#[derive(Serialize, Deserialize)]
struct WireDriveCommitted {
    version: u64,
    server_time_ms: u64,
    bytes_stored: u64,
    objects_stored: u64,
    delta_objects: u64,
}

#[derive(Serialize, Deserialize)]
struct WireChanged {
    server_time_ms: u64,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct WireDriveTrashed {
    next: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireTrashedItem<'a> {
    number: u64,
    path: &'a [u8],
    size: Option<u64>,
    trashed_ms: u64,
    purge_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireFailed<'a> {
    code: u8,
    message: &'a str,
}

impl ServerMessage {
    /// Puts the message into a frame; its body is shared, not copied.
    ///
    /// # Errors
    /// [`EncodeError`] when it exceeds a limit.
    pub fn encode(&self, stream: StreamId) -> Result<EncodedFrame, EncodeError> {
        match self {
            Self::Welcome(welcome) => frame(stream, MessageType::Welcome, encode(&WireWelcome::from(welcome)), vec![]),
            Self::Reply(reply) => reply.encode(stream),
            Self::Durable(record_count) => {
                let head = encode(&WireRecordCount { record_count: *record_count });
                frame(stream, MessageType::Durable, head, vec![])
            }
            Self::Refused(ids) => {
                check_refused(ids)
                    .map_err(|source| EncodeError::Limit { message_type: MessageType::Refused, source })?;
                frame(stream, MessageType::Refused, vec![], vec![ids.as_bytes().clone()])
            }
            Self::Pong => frame(stream, MessageType::Pong, vec![], vec![]),
            Self::Failed(failure) => failure.encode(stream),
        }
    }

    /// Reads the message out of a frame; its body stays a slice of the frame.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame holds anything but a server's message within its limits.
    pub fn decode(frame: Frame) -> Result<Self, DecodeError> {
        let message_type = frame.message_type;
        parse(frame).map_err(|fault| DecodeError { message_type, fault })
    }
}

impl ServerReply {
    /// Puts the reply into a frame; its body is shared, not copied.
    ///
    /// # Errors
    /// [`EncodeError`] when it exceeds a limit.
    pub fn encode(&self, stream: StreamId) -> Result<EncodedFrame, EncodeError> {
        let message_type = self.message_type();
        self.check().map_err(|source| EncodeError::Limit { message_type, source })?;
        let (head, body) = encode_reply(self);
        frame(stream, message_type, head, body)
    }
}

impl Failure {
    /// Puts the failure into a frame; its body is shared, not copied.
    ///
    /// # Errors
    /// None but those of any frame, which a failure is too short for.
    pub fn encode(&self, stream: StreamId) -> Result<EncodedFrame, EncodeError> {
        let head = encode(&WireFailed { code: self.code() as u8, message: self.message().as_str() });
        frame(stream, MessageType::Failed, head, vec![self.missing_ids().as_bytes().clone()])
    }
}

/// Some heads hold secrets, so all of them are wiped.
fn frame(
    stream: StreamId,
    message_type: MessageType,
    head: Vec<u8>,
    body: Vec<Bytes>,
) -> Result<EncodedFrame, EncodeError> {
    EncodedFrame::new(stream, message_type, &Zeroizing::new(head), body)
}

fn check_refused(ids: &Ids) -> Result<(), LimitError> {
    LimitError::check("id count", ids.len(), 1, REFUSED_ID_COUNT_MAX)
}

fn encode_reply(reply: &ServerReply) -> (Vec<u8>, Vec<Bytes>) {
    match reply {
        ServerReply::Authenticated(Authenticated { device_name, account }) => {
            let (device_name, account) = (device_name.as_str(), account.as_str());
            (encode(&WireAuthenticated { device_name, account }), vec![])
        }
        ServerReply::Enrolled(enrolled) => (encode(&WireEnrolled::from(enrolled)), vec![]),
        ServerReply::VaultOpened(VaultOpened { vault, access }) => {
            (encode(&WireVaultOpened { vault: *vault.as_bytes(), access: access.into() }), vec![])
        }
        ServerReply::Begun(Begun { session, parent }) => {
            let parent = parent.as_ref().map(WireParent::from);
            (encode(&WireBegun { session: *session.as_bytes(), parent }), vec![])
        }
        ServerReply::HeldAnswer(answer) => {
            let count = u32::try_from(answer.len()).expect("made from a u32");
            (encode(&WireHeldAnswer { count }), vec![answer.as_bytes().clone()])
        }
        ServerReply::SignaturesAnswer(signatures) => {
            let lens = signatures.iter().map(|signature| u32::try_from(signature.len()).unwrap_or(u32::MAX));
            (encode(&WireSignaturesAnswer { lens: List(lens.collect()) }), signatures.clone())
        }
        ServerReply::Flushed(record_count) => (encode(&WireRecordCount { record_count: *record_count }), vec![]),
        ServerReply::Committed(committed) => (encode(&WireCommitted::from(committed)), vec![]),
        ServerReply::SnapshotsAnswer(SnapshotsAnswer { items, next }) => {
            let items: Vec<_> = items.iter().map(WireSnapshotItem::from).collect();
            let body = encode(&List::<_, SNAPSHOT_COUNT_MAX>(items));
            (encode(&WireSnapshotsAnswer { next: *next }), vec![body.into()])
        }
        ServerReply::Objects(Objects { records, missing, last }) => {
            let head = WireObjects { last: *last, missing: List(missing.clone()) };
            (encode(&head), record_pieces(records))
        }
        ServerReply::DriveEntries(DriveEntries { entries, more }) => {
            let entries: Vec<_> = entries.iter().map(WireDriveEntry::from).collect();
            let body = encode(&List::<_, DRIVE_ENTRY_COUNT_MAX>(entries));
            (encode(&WireDriveEntries { more: *more }), vec![body.into()])
        }
        ServerReply::DriveCommitted(committed) => (encode(&WireDriveCommitted::from(committed)), vec![]),
        ServerReply::Changed(Changed { server_time_ms, count }) => {
            (encode(&WireChanged { server_time_ms: *server_time_ms, count: *count }), vec![])
        }
        ServerReply::DriveTrashed(DriveTrashed { items, next }) => {
            let items: Vec<_> = items.iter().map(WireTrashedItem::from).collect();
            let body = encode(&List::<_, DRIVE_TRASH_COUNT_MAX>(items));
            (encode(&WireDriveTrashed { next: *next }), vec![body.into()])
        }
    }
}

fn parse(frame: Frame) -> Result<ServerMessage, DecodeFault> {
    match frame.message_type {
        MessageType::Welcome => {
            no_body(&frame.body)?;
            Ok(ServerMessage::Welcome(decode::<WireWelcome<'_>>(&frame.head)?.parse()?))
        }
        MessageType::Durable => {
            no_body(&frame.body)?;
            Ok(ServerMessage::Durable(decode::<WireRecordCount>(&frame.head)?.record_count))
        }
        MessageType::Refused => {
            decode::<()>(&frame.head)?;
            let ids = ids(frame.body)?;
            check_refused(&ids)?;
            Ok(ServerMessage::Refused(ids))
        }
        MessageType::Pong => {
            decode::<()>(&frame.head)?;
            no_body(&frame.body)?;
            Ok(ServerMessage::Pong)
        }
        MessageType::Failed => Ok(ServerMessage::Failed(decode::<WireFailed<'_>>(&frame.head)?.parse(frame.body)?)),
        _ => {
            let reply = parse_reply(frame)?;
            reply.check()?;
            Ok(ServerMessage::Reply(reply))
        }
    }
}

fn parse_reply(frame: Frame) -> Result<ServerReply, DecodeFault> {
    let Frame { message_type, head, body, .. } = frame;
    if !matches!(
        message_type,
        MessageType::HeldAnswer
            | MessageType::SignaturesAnswer
            | MessageType::SnapshotsAnswer
            | MessageType::Objects
            | MessageType::DriveEntries
            | MessageType::DriveTrashed
    ) {
        no_body(&body)?;
    }
    Ok(match message_type {
        MessageType::Authenticated => {
            let WireAuthenticated { device_name, account } = decode(&head)?;
            let (device_name, account) = (DeviceName::new(device_name)?, AccountName::new(account)?);
            ServerReply::Authenticated(Authenticated { device_name, account })
        }
        MessageType::Enrolled => ServerReply::Enrolled(decode::<WireEnrolled<'_>>(&head)?.parse()?),
        MessageType::VaultOpened => {
            let WireVaultOpened { vault, access } = decode(&head)?;
            ServerReply::VaultOpened(VaultOpened { vault: VaultId::from_bytes(vault), access: access.parse(&head) })
        }
        MessageType::Begun => {
            let WireBegun { session, parent } = decode(&head)?;
            let parent = parent.map(WireParent::parse);
            ServerReply::Begun(Begun { session: SessionId::from_bytes(session), parent })
        }
        MessageType::HeldAnswer => {
            let WireHeldAnswer { count } = decode(&head)?;
            let answer = HeldAnswer::new(count, body).ok_or(rule("the body has one bit per id, then zeros"))?;
            ServerReply::HeldAnswer(answer)
        }
        MessageType::SignaturesAnswer => {
            let WireSignaturesAnswer { lens } = decode(&head)?;
            ServerReply::SignaturesAnswer(split_body(body, &lens.0)?)
        }
        MessageType::Flushed => ServerReply::Flushed(decode::<WireRecordCount>(&head)?.record_count),
        MessageType::Committed => ServerReply::Committed(decode::<WireCommitted>(&head)?.into()),
        MessageType::SnapshotsAnswer => {
            let WireSnapshotsAnswer { next } = decode(&head)?;
            let items: List<WireSnapshotItem<'_>, SNAPSHOT_COUNT_MAX> = decode(&body)?;
            let items = items.0.into_iter().map(WireSnapshotItem::parse).collect::<Result<_, _>>()?;
            ServerReply::SnapshotsAnswer(SnapshotsAnswer { items, next })
        }
        MessageType::Objects => {
            let WireObjects { last, missing } = decode(&head)?;
            ServerReply::Objects(Objects { records: records(body)?, missing: missing.0, last })
        }
        MessageType::DriveEntries => {
            let WireDriveEntries { more } = decode(&head)?;
            let entries: List<WireDriveEntry<'_>, DRIVE_ENTRY_COUNT_MAX> = decode(&body)?;
            let entries = entries.0.into_iter().map(|entry| entry.parse(&body)).collect::<Result<_, _>>()?;
            ServerReply::DriveEntries(DriveEntries { entries, more })
        }
        MessageType::DriveCommitted => ServerReply::DriveCommitted(decode::<WireDriveCommitted>(&head)?.into()),
        MessageType::Changed => {
            let WireChanged { server_time_ms, count } = decode(&head)?;
            ServerReply::Changed(Changed { server_time_ms, count })
        }
        MessageType::DriveTrashed => {
            let WireDriveTrashed { next } = decode(&head)?;
            let items: List<WireTrashedItem<'_>, DRIVE_TRASH_COUNT_MAX> = decode(&body)?;
            let items = items.0.into_iter().map(|item| item.parse(&body)).collect::<Result<_, _>>()?;
            ServerReply::DriveTrashed(DriveTrashed { items, next })
        }
        other => return Err(DecodeFault::Sender { sender: other.sender() }),
    })
}

/// Cuts `body` into pieces of these lengths, which must fill it.
fn split_body(mut body: Bytes, lens: &[u32]) -> Result<Vec<Bytes>, DecodeFault> {
    let mut pieces = Vec::with_capacity(lens.len());
    for len in lens {
        let len = *len as usize;
        if len > body.len() {
            return Err(rule("the lengths add up to the body"));
        }
        pieces.push(body.split_to(len));
    }
    no_body(&body)?;
    Ok(pieces)
}

impl<'a> From<&'a Welcome> for WireWelcome<'a> {
    fn from(welcome: &'a Welcome) -> Self {
        Self {
            version: welcome.version,
            capabilities: welcome.capabilities.bits(),
            software: welcome.software.as_str(),
            server_time_ms: welcome.server_time_ms,
        }
    }
}

impl WireWelcome<'_> {
    fn parse(self) -> Result<Welcome, DecodeFault> {
        Ok(Welcome {
            version: self.version,
            capabilities: Capabilities::from_bits(self.capabilities),
            software: SoftwareName::new(self.software)?,
            server_time_ms: self.server_time_ms,
        })
    }
}

impl<'a> From<&'a Enrolled> for WireEnrolled<'a> {
    fn from(enrolled: &'a Enrolled) -> Self {
        Self {
            device: *enrolled.device.as_bytes(),
            secret: enrolled.secret.to_zeroizing(),
            device_name: enrolled.device_name.as_str(),
            account: enrolled.account.as_str(),
        }
    }
}

impl WireEnrolled<'_> {
    fn parse(self) -> Result<Enrolled, DecodeFault> {
        Ok(Enrolled {
            device: DeviceId::from_bytes(self.device),
            secret: Secret::from_zeroizing(self.secret),
            device_name: DeviceName::new(self.device_name)?,
            account: AccountName::new(self.account)?,
        })
    }
}

impl<'a> From<&'a Access> for WireAccess<'a> {
    fn from(access: &'a Access) -> Self {
        match access {
            Access::Managed { key } => Self::Managed { key: key.to_zeroizing() },
            Access::Sealed { slots } => Self::Sealed { slots: List(slots.iter().map(|slot| &slot[..]).collect()) },
        }
    }
}

impl WireAccess<'_> {
    /// `head` is what this was decoded from.
    fn parse(self, head: &Bytes) -> Access {
        match self {
            Self::Managed { key } => Access::Managed { key: Secret::from_zeroizing(key) },
            Self::Sealed { slots } => {
                Access::Sealed { slots: slots.0.into_iter().map(|slot| head.slice_ref(slot)).collect() }
            }
        }
    }
}

impl From<&Parent> for WireParent {
    fn from(parent: &Parent) -> Self {
        Self { snapshot: *parent.snapshot.as_bytes(), seq: parent.seq, received_ms: parent.received_ms }
    }
}

impl WireParent {
    fn parse(self) -> Parent {
        Parent { snapshot: ObjectId::from_bytes(self.snapshot), seq: self.seq, received_ms: self.received_ms }
    }
}

impl From<&Committed> for WireCommitted {
    fn from(committed: &Committed) -> Self {
        Self {
            seq: committed.seq,
            server_time_ms: committed.server_time_ms,
            bytes_stored: committed.bytes_stored,
            objects_stored: committed.objects_stored,
            delta_objects: committed.delta_objects,
            repeated: committed.repeated,
        }
    }
}

impl From<WireCommitted> for Committed {
    fn from(wire: WireCommitted) -> Self {
        Self {
            seq: wire.seq,
            server_time_ms: wire.server_time_ms,
            bytes_stored: wire.bytes_stored,
            objects_stored: wire.objects_stored,
            delta_objects: wire.delta_objects,
            repeated: wire.repeated,
        }
    }
}

impl<'a> From<&'a SnapshotItem> for WireSnapshotItem<'a> {
    fn from(item: &'a SnapshotItem) -> Self {
        Self {
            snapshot: *item.snapshot.as_bytes(),
            chain: item.chain.as_str(),
            seq: item.seq,
            received_ms: item.received_ms,
            bytes_stored: item.bytes_stored,
            device_name: item.device_name.as_str(),
            is_held: item.is_held,
            trashed_ms: item.trashed_ms,
            purge_ms: item.purge_ms,
            verified_ms: item.verified_ms,
            drilled_ms: item.drilled_ms,
            is_damaged: item.is_damaged,
        }
    }
}

impl WireSnapshotItem<'_> {
    fn parse(self) -> Result<SnapshotItem, DecodeFault> {
        Ok(SnapshotItem {
            snapshot: ObjectId::from_bytes(self.snapshot),
            chain: ChainName::new(self.chain)?,
            seq: self.seq,
            received_ms: self.received_ms,
            bytes_stored: self.bytes_stored,
            device_name: DeviceName::new(self.device_name)?,
            is_held: self.is_held,
            trashed_ms: self.trashed_ms,
            purge_ms: self.purge_ms,
            verified_ms: self.verified_ms,
            drilled_ms: self.drilled_ms,
            is_damaged: self.is_damaged,
        })
    }
}

impl<'a> From<&'a DriveEntry> for WireDriveEntry<'a> {
    fn from(entry: &'a DriveEntry) -> Self {
        let (is_dir, size, content) = match entry.node {
            DriveNode::Directory => (true, 0, DriveContent::Empty),
            DriveNode::File { size, content } => (false, size, content),
        };
        let (content_kind, content) = content_parts(content);
        Self {
            name: entry.name.as_ref().map_or(&[], |name| name.as_bytes()),
            is_dir,
            size,
            mtime: entry.mtime.into(),
            mode: entry.mode,
            version: entry.version,
            content_kind,
            content,
        }
    }
}

impl WireDriveEntry<'_> {
    /// `body` is what this was decoded from.
    fn parse(self, body: &Bytes) -> Result<DriveEntry, DecodeFault> {
        let name = match self.name {
            [] => None,
            name => Some(DriveName::new(body.slice_ref(name)).ok_or(rule("a name is allowed"))?),
        };
        let content = content(self.content_kind, self.content)?;
        let node = match (self.is_dir, content, self.size) {
            (true, DriveContent::Empty, 0) => DriveNode::Directory,
            (true, ..) => return Err(rule("a directory has no content")),
            (false, content, size) => DriveNode::File { size, content },
        };
        Ok(DriveEntry { name, node, mtime: self.mtime.parse()?, mode: self.mode, version: self.version })
    }
}

impl From<&DriveCommitted> for WireDriveCommitted {
    fn from(committed: &DriveCommitted) -> Self {
        Self {
            version: committed.version,
            server_time_ms: committed.server_time_ms,
            bytes_stored: committed.bytes_stored,
            objects_stored: committed.objects_stored,
            delta_objects: committed.delta_objects,
        }
    }
}

impl From<WireDriveCommitted> for DriveCommitted {
    fn from(wire: WireDriveCommitted) -> Self {
        Self {
            version: wire.version,
            server_time_ms: wire.server_time_ms,
            bytes_stored: wire.bytes_stored,
            objects_stored: wire.objects_stored,
            delta_objects: wire.delta_objects,
        }
    }
}

impl<'a> From<&'a TrashedItem> for WireTrashedItem<'a> {
    fn from(item: &'a TrashedItem) -> Self {
        let TrashedItem { number, path, size, trashed_ms, purge_ms } = item;
        Self { number: *number, path: path.as_bytes(), size: *size, trashed_ms: *trashed_ms, purge_ms: *purge_ms }
    }
}

impl WireTrashedItem<'_> {
    /// `body` is what this was decoded from.
    fn parse(self, body: &Bytes) -> Result<TrashedItem, DecodeFault> {
        let Self { number, path, size, trashed_ms, purge_ms } = self;
        let path = DrivePath::new(body.slice_ref(path)).filter(|path| !path.is_root());
        let path = path.ok_or(rule("what was removed has a path, which is not the root's"))?;
        Ok(TrashedItem { number, path, size, trashed_ms, purge_ms })
    }
}

impl WireFailed<'_> {
    fn parse(self, body: Bytes) -> Result<Failure, DecodeFault> {
        let code = FailCode::from_tag(self.code).ok_or(rule("the failure has a known code"))?;
        let missing = ids(body)?;
        if code != FailCode::Missing && !missing.is_empty() {
            return Err(rule("only a failure of missing objects names any"));
        }
        Ok(Failure::received(code, FailureText::new(self.message)?, missing)?)
    }
}
