//! The binary protocol of Delta Backup, without sockets: what goes over the wire, and who may say what when.
//!
//! [`FrameCodec`] finds [`Frame`]s in a stream of bytes. [`ClientMessage`] and [`ServerMessage`] are what frames mean.
//! [`ClientExchange`] and [`ServerExchange`] are the two ends of one conversation: machines that are told what
//! happened, and say what is to be done; sockets, clocks and storage belong to whoever drives them. Same input, same
//! output, however the bytes were cut into pieces.
//!
//! The peer is never trusted: no length it names reaches an allocator, every count has a limit in [`limits`], and
//! whatever is out of order is a [`Violation`]. The byte layout is in `docs/formats.md`.
//!
//! Both ends, wired together in memory:
//! ```
//! use bytes::{Buf, BytesMut};
//! use proto::*;
//! use tokio_util::codec::Decoder;
//!
//! # #[expect(clippy::disallowed_methods)]
//! # fn now() -> std::time::Instant { std::time::Instant::now() }
//! let now = now();
//! let mut client = ClientExchange::new(ClientConfig::new(SoftwareName::lossy("client 1.0")), now);
//! let mut server = ServerExchange::new(ServerConfig::new(SoftwareName::lossy("server 1.0")), now, 1_700_000_000_000);
//!
//! // Client to server: what poll_send gives goes into the socket, and comes out of a codec.
//! let mut codec = FrameCodec::new();
//! let mut hello = client.poll_send().unwrap();
//! let mut received = BytesMut::from(&hello.copy_to_bytes(hello.remaining())[..]);
//! codec.set_phase(server.frame_phase());
//! server.on_frame(codec.decode(&mut received)?.unwrap(), now);
//!
//! // Server to client: the same for every ServerAction::Send.
//! let Some(ServerAction::Send(mut welcome)) = server.poll_action() else { unreachable!() };
//! let mut received = BytesMut::from(&welcome.copy_to_bytes(welcome.remaining())[..]);
//! let event = client.on_frame(FrameCodec::new().decode(&mut received)?.unwrap(), now)?;
//! assert!(matches!(event, Some(ClientEvent::Welcome(_))));
//! assert_eq!(client.negotiated().unwrap().version, PROTOCOL_VERSION);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod limits;

mod client;
mod conversation;
mod enrolment;
mod expected;
mod frame;
mod message;
mod message_type;
mod negotiate;
mod server;
mod violation;
mod wire;

pub use client::{ClientConfig, ClientEvent, ClientExchange, RequestError, ServerSilent};
pub use enrolment::{EnrolmentError, EnrolmentString, ServerIdentity};
pub use frame::{EncodeError, EncodedFrame, Frame, FrameCodec, FrameError, FramePhase, StreamId};
pub use message::{
    Access, AccountName, Authenticate, Authenticated, BackupProgress, Begun, ChainName, ChangeKind, Changed,
    ClientMessage, ClientRequest, Commit, Committed, DeviceId, DeviceName, DrillReport, DriveCommitted, DriveContent,
    DriveEntries, DriveEntry, DriveList, DriveName, DriveNode, DrivePath, DrivePut, DriveRemove, DriveTrash,
    DriveTrashed, DriveUndelete, Enroll, Enrolled, Extent, FailCode, Failure, FailureText, Fetch, HeldAnswer, Hello,
    HostName, IdempotencyKey, Ids, LimitError, Objects, Parent, Purpose, Secret, ServerMessage, ServerReply, SessionId,
    SignatureRange, SignatureRequest, SignatureRequestError, SnapshotChange, SnapshotItem, Snapshots, SnapshotsAnswer,
    SoftwareName, Text, TextError, Timestamp, TrashedItem, VaultOpened, Welcome,
};
pub use message_type::MessageType;
pub use negotiate::{Capabilities, Negotiated, PROTOCOL_VERSION, VersionRange};
pub use server::{AnswerError, CloseReason, ServerAction, ServerConfig, ServerExchange};
pub use violation::{Breach, ReplyFault, Side, Violation};
pub use wire::{DecodeError, DecodeFault};
