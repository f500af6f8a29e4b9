//! The client's messages on the wire.

use bytes::Bytes;
use object::{ObjectId, SealedRecord, VaultId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::codec::{decode, encode};
use super::list::List;
use super::parse::{WireTime, content, content_parts, ids, no_body, one_id, path, record_pieces, records, rule};
use super::{DecodeError, DecodeFault};
use crate::frame::{EncodeError, EncodedFrame, Frame, StreamId};
use crate::limits::{SIGNATURE_RANGE_COUNT_MAX, SIGNATURE_REQUEST_COUNT_MAX};
use crate::message::{
    Authenticate, BackupProgress, ChainName, ChangeKind, ClientMessage, ClientRequest, Commit, DeviceId, DrillReport,
    DriveList, DriveName, DrivePut, DriveRemove, DriveTrash, DriveUndelete, Enroll, Extent, Fetch, Hello, HostName,
    IdempotencyKey, Ids, Purpose, Secret, SignatureRange, SignatureRequest, SnapshotChange, Snapshots, SoftwareName,
};
use crate::{Capabilities, MessageType, VersionRange};

#[derive(Serialize, Deserialize)]
struct WireHello<'a> {
    version_min: u16,
    version_max: u16,
    capabilities: u64,
    software: &'a str,
}

#[derive(Serialize, Deserialize)]
struct WireAuthenticate {
    device: [u8; DeviceId::LEN],
    secret: Zeroizing<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct WireEnroll<'a> {
    secret: Zeroizing<[u8; 16]>,
    host: &'a str,
}

#[derive(Serialize, Deserialize)]
struct WireOpenVault {
    vault: Option<[u8; VaultId::LEN]>,
}

#[derive(Serialize, Deserialize)]
enum WirePurpose<'a> {
    Backup {
        #[serde(borrow)]
        chain: &'a str,
        parent_hint: Option<[u8; ObjectId::LEN]>,
    },
    Drive,
}

#[derive(Serialize, Deserialize)]
struct WireSignatures {
    requests: List<WireSignature, SIGNATURE_REQUEST_COUNT_MAX>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    block_len_log2: u8,
    strong_len: u8,
    phase: u32,
    ranges: List<WireRange, SIGNATURE_RANGE_COUNT_MAX>,
}

#[derive(Serialize, Deserialize)]
struct WireRange {
    start: u32,
    len: u32,
}

#[derive(Serialize, Deserialize)]
struct WirePut {
    record_count: u32,
}

#[derive(Serialize, Deserialize)]
struct WireCommit {
    key: [u8; IdempotencyKey::LEN],
}

#[derive(Serialize, Deserialize)]
struct WireSnapshots<'a> {
    #[serde(borrow)]
    chain: Option<&'a str>,
    before: Option<u64>,
    limit: u32,
    in_trash: bool,
}

#[derive(Serialize, Deserialize)]
struct WireFetch {
    with_basis: bool,
}

#[derive(Serialize, Deserialize)]
struct WireDriveList<'a> {
    #[serde(borrow)]
    after: Option<&'a [u8]>,
    limit: u32,
}

#[derive(Serialize, Deserialize)]
struct WireDrivePut {
    key: [u8; IdempotencyKey::LEN],
    mtime: WireTime,
    mode: u32,
    size: u64,
    content_kind: u8,
    expected_version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireDriveRemove {
    key: [u8; IdempotencyKey::LEN],
    expected_version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireSnapshotChange {
    key: [u8; IdempotencyKey::LEN],
    kind: u8,
}

#[derive(Serialize, Deserialize)]
struct WireDriveTrash {
    before: Option<u64>,
    limit: u32,
}

#[derive(Serialize, Deserialize)]
struct WireDriveUndelete {
    key: [u8; IdempotencyKey::LEN],
}

#[derive(Serialize, Deserialize)]
struct WireDrillReport {
    key: [u8; IdempotencyKey::LEN],
    files: u64,
    bytes: u64,
    problems: u64,
    duration_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireProgress {
    done: WireExtent,
    expected: Option<WireExtent>,
}

#[derive(Serialize, Deserialize)]
struct WireExtent {
    files: u64,
    bytes: u64,
}

impl ClientMessage {
    /// Puts the message into a frame; its body is shared, not copied.
    ///
    /// # Errors
    /// [`EncodeError`] when it exceeds a limit.
    pub fn encode(&self, stream: StreamId) -> Result<EncodedFrame, EncodeError> {
        match self {
            Self::Hello(hello) => {
                EncodedFrame::new(stream, MessageType::Hello, &encode(&WireHello::from(hello)), Vec::new())
            }
            Self::Request(request) => request.encode(stream),
            Self::Put(records) => encode_put(stream, records),
            Self::Progress(progress) => {
                EncodedFrame::new(stream, MessageType::Progress, &encode(&WireProgress::from(progress)), Vec::new())
            }
            Self::Ping => EncodedFrame::new(stream, MessageType::Ping, &[], Vec::new()),
            Self::Bye => EncodedFrame::new(stream, MessageType::Bye, &[], Vec::new()),
        }
    }

    /// Reads the message out of a frame; its body stays a slice of the frame.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame holds anything but a client's message within its limits.
    pub fn decode(frame: Frame) -> Result<Self, DecodeError> {
        let message_type = frame.message_type;
        parse(frame).map_err(|fault| DecodeError { message_type, fault })
    }
}

impl ClientRequest {
    /// Puts the request into a frame; its body is shared, not copied.
    ///
    /// # Errors
    /// [`EncodeError`] when it exceeds a limit.
    pub fn encode(&self, stream: StreamId) -> Result<EncodedFrame, EncodeError> {
        let message_type = self.message_type();
        self.check().map_err(|source| EncodeError::Limit { message_type, source })?;
        let (head, body) = encode_request(self);
        EncodedFrame::new(stream, message_type, &head, body)
    }
}

/// A `Put` frame of these records.
pub(crate) fn encode_put(stream: StreamId, records: &[SealedRecord]) -> Result<EncodedFrame, EncodeError> {
    let record_count = u32::try_from(records.len()).unwrap_or(u32::MAX);
    EncodedFrame::new(stream, MessageType::Put, &encode(&WirePut { record_count }), record_pieces(records))
}

fn encode_request(request: &ClientRequest) -> (Zeroizing<Vec<u8>>, Vec<Bytes>) {
    let (head, body) = match request {
        ClientRequest::Authenticate(authenticate) => {
            let device = *authenticate.device.as_bytes();
            (encode(&WireAuthenticate { device, secret: authenticate.secret.to_zeroizing() }), vec![])
        }
        ClientRequest::Enroll(enroll) => {
            let host = enroll.host.as_str();
            (encode(&WireEnroll { secret: enroll.secret.to_zeroizing(), host }), vec![])
        }
        ClientRequest::OpenVault(vault) => {
            (encode(&WireOpenVault { vault: vault.map(|vault| *vault.as_bytes()) }), vec![])
        }
        ClientRequest::Begin(purpose) => (encode(&WirePurpose::from(purpose)), vec![]),
        ClientRequest::Held(ids) => (vec![], vec![ids.as_bytes().clone()]),
        ClientRequest::Signatures(requests) => {
            let basis_ids: Ids = requests.iter().map(SignatureRequest::basis).collect();
            let requests = List(requests.iter().map(WireSignature::from).collect());
            (encode(&WireSignatures { requests }), vec![basis_ids.as_bytes().clone()])
        }
        ClientRequest::Flush => (vec![], vec![]),
        ClientRequest::Commit(commit) => {
            (encode(&WireCommit { key: *commit.key.as_bytes() }), vec![id_body(&commit.snapshot)])
        }
        ClientRequest::Snapshots(snapshots) => {
            let Snapshots { chain, before, limit, in_trash } = snapshots;
            let chain = chain.as_ref().map(ChainName::as_str);
            (encode(&WireSnapshots { chain, before: *before, limit: *limit, in_trash: *in_trash }), vec![])
        }
        ClientRequest::Fetch(fetch) => {
            (encode(&WireFetch { with_basis: fetch.with_basis }), vec![fetch.ids.as_bytes().clone()])
        }
        ClientRequest::DriveList(list) => {
            let after = list.after.as_ref().map(|name| &name.as_bytes()[..]);
            (encode(&WireDriveList { after, limit: list.limit }), vec![list.path.as_bytes().clone()])
        }
        ClientRequest::DriveStat(path) => (vec![], vec![path.as_bytes().clone()]),
        ClientRequest::DrivePut(put) => {
            let (content_kind, id) = content_parts(put.content);
            let head = WireDrivePut {
                key: *put.key.as_bytes(),
                mtime: put.mtime.into(),
                mode: put.mode,
                size: put.size,
                content_kind,
                expected_version: put.expected_version,
            };
            (encode(&head), vec![Bytes::copy_from_slice(&id), put.path.as_bytes().clone()])
        }
        ClientRequest::DriveRemove(remove) => {
            let head = WireDriveRemove { key: *remove.key.as_bytes(), expected_version: remove.expected_version };
            (encode(&head), vec![remove.path.as_bytes().clone()])
        }
        ClientRequest::SnapshotChange(change) => {
            let head = WireSnapshotChange { key: *change.key.as_bytes(), kind: change.kind as u8 };
            (encode(&head), vec![change.snapshots.as_bytes().clone()])
        }
        ClientRequest::DriveTrash(DriveTrash { before, limit }) => {
            (encode(&WireDriveTrash { before: *before, limit: *limit }), vec![])
        }
        ClientRequest::DriveUndelete(undelete) => {
            (encode(&WireDriveUndelete { key: *undelete.key.as_bytes() }), vec![undelete.path.as_bytes().clone()])
        }
        ClientRequest::DrillReport(report) => {
            let DrillReport { key, snapshot, files, bytes, problems, duration_ms } = *report;
            let head = WireDrillReport { key: *key.as_bytes(), files, bytes, problems, duration_ms };
            (encode(&head), vec![id_body(&snapshot)])
        }
    };
    (Zeroizing::new(head), body)
}

fn id_body(id: &ObjectId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn parse(frame: Frame) -> Result<ClientMessage, DecodeFault> {
    match frame.message_type {
        MessageType::Hello => {
            no_body(&frame.body)?;
            Ok(ClientMessage::Hello(decode::<WireHello<'_>>(&frame.head)?.parse()?))
        }
        MessageType::Put => parse_put(frame).map(ClientMessage::Put),
        MessageType::Progress => {
            no_body(&frame.body)?;
            Ok(ClientMessage::Progress(decode::<WireProgress>(&frame.head)?.into()))
        }
        MessageType::Ping => empty(&frame).map(|()| ClientMessage::Ping),
        MessageType::Bye => empty(&frame).map(|()| ClientMessage::Bye),
        _ => {
            let request = parse_request(frame)?;
            request.check()?;
            Ok(ClientMessage::Request(request))
        }
    }
}

fn parse_request(frame: Frame) -> Result<ClientRequest, DecodeFault> {
    let Frame { message_type, head, body, .. } = frame;
    if matches!(
        message_type,
        MessageType::Authenticate | MessageType::Enroll | MessageType::OpenVault | MessageType::Begin
    ) || matches!(message_type, MessageType::Flush | MessageType::Snapshots | MessageType::DriveTrash)
    {
        no_body(&body)?;
    }
    Ok(match message_type {
        MessageType::Authenticate => {
            let WireAuthenticate { device, secret } = decode(&head)?;
            let device = DeviceId::from_bytes(device);
            ClientRequest::Authenticate(Authenticate { device, secret: Secret::from_zeroizing(secret) })
        }
        MessageType::Enroll => {
            let WireEnroll { secret, host } = decode(&head)?;
            ClientRequest::Enroll(Enroll { secret: Secret::from_zeroizing(secret), host: HostName::new(host)? })
        }
        MessageType::OpenVault => {
            ClientRequest::OpenVault(decode::<WireOpenVault>(&head)?.vault.map(VaultId::from_bytes))
        }
        MessageType::Begin => ClientRequest::Begin(decode::<WirePurpose<'_>>(&head)?.parse()?),
        MessageType::Held => {
            decode::<()>(&head)?;
            ClientRequest::Held(ids(body)?)
        }
        MessageType::Signatures => ClientRequest::Signatures(decode::<WireSignatures>(&head)?.parse(body)?),
        MessageType::Flush => {
            decode::<()>(&head)?;
            ClientRequest::Flush
        }
        MessageType::Commit => {
            let key = IdempotencyKey::from_bytes(decode::<WireCommit>(&head)?.key);
            ClientRequest::Commit(Commit { key, snapshot: one_id(&body)? })
        }
        MessageType::Snapshots => ClientRequest::Snapshots(decode::<WireSnapshots<'_>>(&head)?.parse()?),
        MessageType::Fetch => {
            let with_basis = decode::<WireFetch>(&head)?.with_basis;
            ClientRequest::Fetch(Fetch { ids: ids(body)?, with_basis })
        }
        MessageType::DriveList => ClientRequest::DriveList(decode::<WireDriveList<'_>>(&head)?.parse(&head, body)?),
        MessageType::DriveStat => {
            decode::<()>(&head)?;
            ClientRequest::DriveStat(path(body)?)
        }
        MessageType::DrivePut => ClientRequest::DrivePut(decode::<WireDrivePut>(&head)?.parse(body)?),
        MessageType::DriveRemove => {
            let WireDriveRemove { key, expected_version } = decode(&head)?;
            let key = IdempotencyKey::from_bytes(key);
            ClientRequest::DriveRemove(DriveRemove { key, path: path(body)?, expected_version })
        }
        MessageType::SnapshotChange => {
            let WireSnapshotChange { key, kind } = decode(&head)?;
            let key = IdempotencyKey::from_bytes(key);
            let kind = ChangeKind::from_tag(kind).ok_or(rule("the change is of a known kind"))?;
            ClientRequest::SnapshotChange(SnapshotChange { key, kind, snapshots: ids(body)? })
        }
        MessageType::DriveTrash => {
            let WireDriveTrash { before, limit } = decode(&head)?;
            ClientRequest::DriveTrash(DriveTrash { before, limit })
        }
        MessageType::DriveUndelete => {
            let key = IdempotencyKey::from_bytes(decode::<WireDriveUndelete>(&head)?.key);
            ClientRequest::DriveUndelete(DriveUndelete { key, path: path(body)? })
        }
        MessageType::DrillReport => {
            let WireDrillReport { key, files, bytes, problems, duration_ms } = decode(&head)?;
            let (key, snapshot) = (IdempotencyKey::from_bytes(key), one_id(&body)?);
            ClientRequest::DrillReport(DrillReport { key, snapshot, files, bytes, problems, duration_ms })
        }
        other => return Err(DecodeFault::Sender { sender: other.sender() }),
    })
}

fn empty(frame: &Frame) -> Result<(), DecodeFault> {
    decode::<()>(&frame.head)?;
    no_body(&frame.body)
}

fn parse_put(frame: Frame) -> Result<Vec<SealedRecord>, DecodeFault> {
    let WirePut { record_count } = decode(&frame.head)?;
    let records = records(frame.body)?;
    if records.len() != record_count as usize {
        return Err(rule("the body holds as many records as the head says"));
    }
    Ok(records)
}

impl<'a> From<&'a Hello> for WireHello<'a> {
    fn from(hello: &'a Hello) -> Self {
        Self {
            version_min: hello.versions.min(),
            version_max: hello.versions.max(),
            capabilities: hello.capabilities.bits(),
            software: hello.software.as_str(),
        }
    }
}

impl WireHello<'_> {
    fn parse(self) -> Result<Hello, DecodeFault> {
        Ok(Hello {
            versions: VersionRange::new(self.version_min, self.version_max)
                .ok_or(rule("the lowest version is not above the highest"))?,
            capabilities: Capabilities::from_bits(self.capabilities),
            software: SoftwareName::new(self.software)?,
        })
    }
}

impl From<&BackupProgress> for WireProgress {
    fn from(progress: &BackupProgress) -> Self {
        let wire = |Extent { files, bytes }| WireExtent { files, bytes };
        Self { done: wire(progress.done), expected: progress.expected.map(wire) }
    }
}

impl From<WireProgress> for BackupProgress {
    fn from(wire: WireProgress) -> Self {
        let extent = |WireExtent { files, bytes }| Extent { files, bytes };
        Self { done: extent(wire.done), expected: wire.expected.map(extent) }
    }
}

impl<'a> From<&'a Purpose> for WirePurpose<'a> {
    fn from(purpose: &'a Purpose) -> Self {
        match purpose {
            Purpose::Backup { chain, parent_hint } => {
                Self::Backup { chain: chain.as_str(), parent_hint: parent_hint.map(|id| *id.as_bytes()) }
            }
            Purpose::Drive => Self::Drive,
        }
    }
}

impl WirePurpose<'_> {
    fn parse(self) -> Result<Purpose, DecodeFault> {
        Ok(match self {
            Self::Backup { chain, parent_hint } => {
                Purpose::Backup { chain: ChainName::new(chain)?, parent_hint: parent_hint.map(ObjectId::from_bytes) }
            }
            Self::Drive => Purpose::Drive,
        })
    }
}

impl From<&SignatureRequest> for WireSignature {
    fn from(request: &SignatureRequest) -> Self {
        let ranges = request.ranges().iter().map(|range| WireRange { start: range.start(), len: range.len() });
        Self {
            block_len_log2: request.block_len_log2(),
            strong_len: request.strong_len(),
            phase: request.phase(),
            ranges: List(ranges.collect()),
        }
    }
}

impl WireSignature {
    fn parse(self, basis: ObjectId) -> Result<SignatureRequest, DecodeFault> {
        let ranges = self.ranges.0.into_iter().map(|range| SignatureRange::new(range.start, range.len));
        let ranges = ranges.collect::<Option<_>>().ok_or(rule("a signature range is neither empty nor too long"))?;
        Ok(SignatureRequest::new(basis, self.block_len_log2, self.strong_len, self.phase, ranges)?)
    }
}

impl WireSignatures {
    fn parse(self, body: Bytes) -> Result<Vec<SignatureRequest>, DecodeFault> {
        let basis_ids = ids(body)?;
        if basis_ids.len() != self.requests.0.len() {
            return Err(rule("each signature request has one basis id"));
        }
        self.requests.0.into_iter().zip(basis_ids.iter()).map(|(request, basis)| request.parse(basis)).collect()
    }
}

impl WireSnapshots<'_> {
    fn parse(self) -> Result<Snapshots, DecodeFault> {
        let chain = self.chain.map(ChainName::new).transpose()?;
        Ok(Snapshots { chain, before: self.before, limit: self.limit, in_trash: self.in_trash })
    }
}

impl WireDriveList<'_> {
    /// `head` is what this was decoded from.
    fn parse(self, head: &Bytes, body: Bytes) -> Result<DriveList, DecodeFault> {
        let after = match self.after {
            Some(name) => Some(DriveName::new(head.slice_ref(name)).ok_or(rule("a name is allowed"))?),
            None => None,
        };
        Ok(DriveList { path: path(body)?, after, limit: self.limit })
    }
}

impl WireDrivePut {
    fn parse(self, mut body: Bytes) -> Result<DrivePut, DecodeFault> {
        if body.len() < ObjectId::LEN {
            return Err(rule("the body is an id and a path"));
        }
        let id = body.split_to(ObjectId::LEN);
        let id = *id.first_chunk().expect("split to that length");
        Ok(DrivePut {
            key: IdempotencyKey::from_bytes(self.key),
            path: path(body)?,
            mtime: self.mtime.parse()?,
            mode: self.mode,
            size: self.size,
            content: content(self.content_kind, id)?,
            expected_version: self.expected_version,
        })
    }
}
