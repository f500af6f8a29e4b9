//! [`Session`]: an open vault on a server. Its methods wait, and any thread may call them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use object::{ObjectId, SealedRecord, VaultId};
use proto::{
    Access, Authenticate, BackupProgress, Begun, ChainName, Changed, ClientRequest, Commit, Committed, DeviceId,
    DrillReport, DriveCommitted, DriveEntries, DriveList, DrivePath, DrivePut, DriveRemove, DriveTrash, DriveTrashed,
    DriveUndelete, Enroll, EnrolmentString, Failure, Fetch, HeldAnswer, HostName, IdempotencyKey, Ids, Purpose,
    ServerReply, SignatureRequest, SnapshotChange, Snapshots, SnapshotsAnswer, VaultOpened,
};
use tokio::runtime::Runtime;
use vault::{KeySlot, Keys, Mode, ObjectSource, Unlock, VaultKey};

use crate::config::{Connection, Identity};
use crate::connect::{Endpoint, connect};
use crate::counted::{Counter, Traffic};
use crate::driver::{self, Answers, Link, LinkError};
use crate::error::ClientError;
use crate::passphrase::Passphrase;

/// Most ids in one question.
const HELD_IDS_MAX: usize = 16 * 1024;
const SOFTWARE: &str = concat!("backup-client ", env!("CARGO_PKG_VERSION"));

/// A connection whose greeting is over.
struct Conversation {
    link: Link,
    plain: Arc<Counter>,
    wire: Arc<Counter>,
    address: String,
    /// Ends last: its tasks are the connection.
    runtime: Runtime,
}

impl Conversation {
    fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let address = endpoint.address();
        let failed = |source| ClientError::Connect { address: address.clone(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("session")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (link, plain, wire) = runtime.block_on(async {
            let connected = connect(endpoint).await?;
            let (link, welcomed) = driver::start(connected.stream, Arc::clone(&connected.plain), SOFTWARE);
            let welcome = welcomed.await.unwrap_or_else(|_| Err(LinkError::lost("the connection has ended")));
            welcome.map_err(into_error)?;
            Ok::<_, ClientError>((link, connected.plain, connected.wire))
        })?;
        Ok(Self { link, plain, wire, address, runtime })
    }

    fn ask(&self, request: ClientRequest) -> Result<ServerReply, ClientError> {
        self.link.ask(request).next().map_err(into_error)
    }
}

/// An open vault on a server.
pub struct Session {
    conversation: Conversation,
    device: DeviceId,
    vault: VaultId,
    mode: Mode,
    keys: Arc<Keys>,
    has_begun_drive: Mutex<bool>,
}

impl Session {
    /// Connects, shows this device's token and opens the account's vault; a sealed one with `passphrase`, which takes
    /// about a second.
    ///
    /// With a passphrase only a sealed vault is opened: a server that says that the vault is managed might name a key of
    /// its own and read what is encrypted with it.
    ///
    /// # Errors
    /// [`ClientError::Locked`] when the passphrase does not open the vault; others of every kind: see
    /// [`ClientError::kind`].
    pub fn open(connection: &Connection, passphrase: Option<&Passphrase>) -> Result<Self, ClientError> {
        let endpoint = Endpoint { host: connection.host.clone(), port: connection.port, identity: connection.identity };
        let conversation = Conversation::open(&endpoint)?;
        let token = Authenticate { device: connection.device, secret: connection.secret.clone() };
        conversation.ask(ClientRequest::Authenticate(token))?;
        let ServerReply::VaultOpened(opened) = conversation.ask(ClientRequest::OpenVault(None))? else {
            unreachable!("the exchange matches replies to requests");
        };
        let (mode, key) = unlock(&opened, passphrase)?;
        let (device, vault) = (connection.device, opened.vault);
        Ok(Self {
            conversation,
            device,
            vault,
            mode,
            keys: Arc::new(Keys::new(&key)),
            has_begun_drive: Mutex::new(false),
        })
    }

    /// Makes this machine a device of the server that the enrolment string names.
    ///
    /// # Errors
    /// [`ClientError`] of every kind: see [`ClientError::kind`].
    pub fn enroll(enrolment: &EnrolmentString, host: &str) -> Result<Connection, ClientError> {
        let identity = match enrolment.identity {
            proto::ServerIdentity::Pinned(pin) => Identity::Pinned(pin),
            proto::ServerIdentity::Plain => Identity::Plain,
        };
        let endpoint = Endpoint { host: enrolment.host.clone(), port: enrolment.port, identity };
        let conversation = Conversation::open(&endpoint)?;
        let enroll = Enroll { secret: enrolment.secret.clone(), host: HostName::lossy(host) };
        let ServerReply::Enrolled(enrolled) = conversation.ask(ClientRequest::Enroll(enroll))? else {
            unreachable!("the exchange matches replies to requests");
        };
        conversation.link.bye();
        Ok(Connection {
            host: endpoint.host,
            port: endpoint.port,
            identity,
            device: enrolled.device,
            secret: enrolled.secret,
            device_name: enrolled.device_name.to_string(),
            account: enrolled.account.to_string(),
        })
    }

    /// This device, as the server names it.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The vault that is open.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// Who holds its key.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The vault's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Bytes of this connection so far, but for those of TLS and TCP themselves.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.conversation.plain.traffic()
    }

    /// Bytes of this connection so far as TCP counts them.
    #[must_use]
    pub fn wire_traffic(&self) -> Traffic {
        self.conversation.wire.traffic()
    }

    /// Opens the session of writing for one snapshot of `chain`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn begin_backup(&self, chain: ChainName, parent_hint: Option<ObjectId>) -> Result<Begun, ClientError> {
        self.begin(Purpose::Backup { chain, parent_hint })
    }

    /// Opens the session of writing for changes of the drive, unless it is open: it stays so as long as the connection.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn begin_drive(&self) -> Result<(), ClientError> {
        let mut has_begun = self.has_begun_drive.lock().expect("nobody panics with it");
        if !*has_begun {
            self.begin(Purpose::Drive)?;
            *has_begun = true;
        }
        Ok(())
    }

    fn begin(&self, purpose: Purpose) -> Result<Begun, ClientError> {
        match self.conversation.ask(ClientRequest::Begin(purpose))? {
            ServerReply::Begun(begun) => Ok(begun),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// For each id: whether the vault holds the object with everything below it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn held(&self, ids: &[ObjectId]) -> Result<Vec<bool>, ClientError> {
        let asked: Vec<Answers> = ids
            .chunks(HELD_IDS_MAX)
            .map(|ids| self.conversation.link.ask(ClientRequest::Held(Ids::from_iter(ids))))
            .collect();
        let mut held = Vec::with_capacity(ids.len());
        for mut answers in asked {
            let ServerReply::HeldAnswer(answer) = answers.next().map_err(into_error)? else {
                unreachable!("the exchange matches replies to requests");
            };
            held.extend(HeldAnswer::iter(&answer));
        }
        Ok(held)
    }

    /// Encoded signatures, one per request; empty where the server has none to give.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn signatures(&self, requests: Vec<SignatureRequest>) -> Result<Vec<Bytes>, ClientError> {
        match self.conversation.ask(ClientRequest::Signatures(requests))? {
            ServerReply::SignaturesAnswer(signatures) => Ok(signatures),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// Puts records into the open session; the number of the last of them.
    ///
    /// # Errors
    /// [`ClientError`] when the connection has ended.
    pub(crate) fn put(&self, records: Vec<SealedRecord>) -> Result<u64, ClientError> {
        self.conversation.link.put(records).map_err(into_error)
    }

    /// Tells people who look on how far the open backup has come.
    pub(crate) fn tell(&self, progress: BackupProgress) {
        self.conversation.link.tell(progress);
    }

    /// Records of the open session that survive power loss.
    pub(crate) fn durable_records(&self) -> u64 {
        self.conversation.link.status().durable_records
    }

    /// Objects whose delta was refused since this was last asked.
    pub(crate) fn take_refused(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.conversation.link.status().refused)
    }

    /// Waits until everything put so far survives power loss, or was refused.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn flush(&self) -> Result<(), ClientError> {
        self.conversation.ask(ClientRequest::Flush).map(drop)
    }

    /// Makes a snapshot visible.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn commit(&self, key: IdempotencyKey, snapshot: ObjectId) -> Result<Committed, ClientError> {
        match self.conversation.ask(ClientRequest::Commit(Commit { key, snapshot }))? {
            ServerReply::Committed(committed) => Ok(committed),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// A page of this device's snapshots, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn snapshots(&self, request: Snapshots) -> Result<SnapshotsAnswer, ClientError> {
        match self.conversation.ask(ClientRequest::Snapshots(request))? {
            ServerReply::SnapshotsAnswer(answer) => Ok(answer),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// Records that hold the objects `ids`; those the vault does not hold are left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn fetch(&self, ids: &[ObjectId], with_basis: bool) -> Result<Vec<SealedRecord>, ClientError> {
        let asked: Vec<Answers> = ids
            .chunks(proto::limits::FETCH_ID_COUNT_MAX)
            .map(|ids| {
                let fetch = Fetch { ids: Ids::from_iter(ids), with_basis };
                self.conversation.link.ask(ClientRequest::Fetch(fetch))
            })
            .collect();
        let mut records = Vec::new();
        for mut answers in asked {
            loop {
                let ServerReply::Objects(objects) = answers.next().map_err(into_error)? else {
                    unreachable!("the exchange matches replies to requests");
                };
                records.extend(objects.records);
                if objects.last {
                    break;
                }
            }
        }
        Ok(records)
    }

    /// A page of a folder of the drive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn drive_list(&self, request: DriveList) -> Result<DriveEntries, ClientError> {
        self.drive_entries(ClientRequest::DriveList(request))
    }

    /// One entry of the drive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn drive_stat(&self, path: DrivePath) -> Result<DriveEntries, ClientError> {
        self.drive_entries(ClientRequest::DriveStat(path))
    }

    fn drive_entries(&self, request: ClientRequest) -> Result<DriveEntries, ClientError> {
        match self.conversation.ask(request)? {
            ServerReply::DriveEntries(entries) => Ok(entries),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// Makes or replaces a file of the drive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn drive_put(&self, put: DrivePut) -> Result<DriveCommitted, ClientError> {
        self.drive_change(ClientRequest::DrivePut(put))
    }

    /// Removes an entry of the drive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn drive_remove(&self, remove: DriveRemove) -> Result<DriveCommitted, ClientError> {
        self.drive_change(ClientRequest::DriveRemove(remove))
    }

    /// Brings an entry of the drive back from the trash.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn drive_undelete(&self, undelete: DriveUndelete) -> Result<DriveCommitted, ClientError> {
        self.drive_change(ClientRequest::DriveUndelete(undelete))
    }

    /// A page of the drive's trash.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn drive_trash(&self, request: DriveTrash) -> Result<DriveTrashed, ClientError> {
        match self.conversation.ask(ClientRequest::DriveTrash(request))? {
            ServerReply::DriveTrashed(answer) => Ok(answer),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// Changes snapshots of this device.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn change_snapshots(&self, change: SnapshotChange) -> Result<Changed, ClientError> {
        self.change(ClientRequest::SnapshotChange(change))
    }

    /// Reports what restoring a sample came to.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn report_drill(&self, report: DrillReport) -> Result<Changed, ClientError> {
        self.change(ClientRequest::DrillReport(report))
    }

    fn change(&self, request: ClientRequest) -> Result<Changed, ClientError> {
        match self.conversation.ask(request)? {
            ServerReply::Changed(changed) => Ok(changed),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    fn drive_change(&self, request: ClientRequest) -> Result<DriveCommitted, ClientError> {
        match self.conversation.ask(request)? {
            ServerReply::DriveCommitted(committed) => Ok(committed),
            _ => unreachable!("the exchange matches replies to requests"),
        }
    }

    /// The server's address, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.conversation.address
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.link.bye();
        // The server keeps what was restored until it hears it, or for days.
        self.runtime.block_on(self.link.gone());
    }
}

/// Sessions are a source of objects for readers.
impl ObjectSource for &Session {
    type Error = ClientError;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, ClientError> {
        Session::fetch(self, ids, true)
    }
}

/// Who holds the vault's key, and the key.
fn unlock(opened: &VaultOpened, passphrase: Option<&Passphrase>) -> Result<(Mode, VaultKey), ClientError> {
    match (&opened.access, passphrase) {
        (Access::Managed { key }, None) => Ok((Mode::Managed, VaultKey::from_bytes(*key.expose()))),
        (Access::Managed { .. }, Some(_)) => {
            let message = "a passphrase was given, but the server says that this vault is not sealed";
            Err(ClientError::Usage(message.to_owned()))
        }
        (Access::Sealed { .. }, None) => {
            Err(ClientError::Usage("this vault is sealed, and its passphrase was not given".to_owned()))
        }
        (Access::Sealed { slots }, Some(passphrase)) => {
            let slots: Vec<KeySlot> = slots.iter().map(|slot| KeySlot::from_bytes(slot.to_vec())).collect();
            let key = KeySlot::open_any(&slots, opened.vault, Unlock::Passphrase(passphrase.expose()));
            Ok((Mode::Sealed, key.map_err(|source| ClientError::Locked { source })?))
        }
    }
}

fn into_error(error: LinkError) -> ClientError {
    match error {
        LinkError::Failed(failure) => ClientError::Refused(Failure::clone(&failure)),
        LinkError::Lost(source) => {
            let source = std::io::Error::new(source.kind(), source.to_string());
            ClientError::ConnectionLost { source }
        }
    }
}
