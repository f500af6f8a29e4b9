//! [`Conversation`]: where a connection stands, by rules that are the same at both ends. The server holds the client
//! to them, and the client itself.
//!
//! ```text
//! AwaitHello ─ Welcome ─► AwaitAuth ─ Authenticated ─► AwaitVault ─ VaultOpened ─► Ready(session)
//! session: None ─ Begin ─► Opening ─ Begun ─► Open ─ Committed ─► None
//! ```

use std::collections::BTreeMap;

use crate::expected::Expected;
use crate::limits::{REQUEST_COUNT_MAX, REQUEST_LEN_MAX, SIGNATURE_PENDING_LEN_MAX};
use crate::message::{ClientRequest, Failure, LimitError, Purpose, ServerReply, SessionId};
use crate::{Breach, FramePhase, MessageType, ReplyFault, StreamId};

/// Where a connection stands.
#[derive(Debug)]
pub(crate) struct Conversation {
    stage: Stage,
    window: Window,
    last_stream: StreamId,
}

#[derive(Debug)]
enum Stage {
    AwaitHello,
    AwaitAuth,
    AwaitVault,
    Ready(Session),
}

/// The session of writing, of which a connection has at most one.
#[derive(Debug)]
enum Session {
    None,
    Opening(SessionKind),
    Open(OpenSession),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionKind {
    Backup,
    Drive,
}

/// A session that records can be put into.
#[derive(Debug)]
pub(crate) struct OpenSession {
    kind: SessionKind,
    id: SessionId,
    is_committing: bool,
    record_count: u64,
    durable_count: u64,
    refused_count: u64,
}

/// Why a request cannot be made now.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not as the conversation stands; the text completes "is not allowed".
    WrongState(&'static str),
    /// Not before others were answered.
    TooMuchAtOnce(LimitError),
}

impl Conversation {
    pub(crate) fn new() -> Self {
        Self { stage: Stage::AwaitHello, window: Window::default(), last_stream: StreamId::CONNECTION }
    }

    /// Hello and Welcome have been exchanged.
    pub(crate) fn welcome(&mut self) {
        self.stage = Stage::AwaitAuth;
    }

    pub(crate) fn frame_phase(&self) -> FramePhase {
        match self.stage {
            Stage::AwaitHello | Stage::AwaitAuth => FramePhase::BeforeAuth,
            Stage::AwaitVault | Stage::Ready(_) => FramePhase::AfterAuth,
        }
    }

    /// Whether the client may say this now; otherwise the text completes "is not allowed".
    pub(crate) fn check_order(&self, message_type: MessageType) -> Result<(), &'static str> {
        let is_allowed = match (&self.stage, message_type) {
            (_, MessageType::Bye) | (Stage::AwaitHello, MessageType::Hello) => true,
            (Stage::AwaitAuth, MessageType::Authenticate | MessageType::Enroll)
            | (Stage::AwaitVault, MessageType::OpenVault) => self.window.is_empty(),
            (Stage::AwaitVault | Stage::Ready(_), MessageType::Ping) => true,
            (Stage::Ready(session), message_type) => session.allows(message_type),
            _ => false,
        };
        if is_allowed { Ok(()) } else { Err(self.state()) }
    }

    /// Where the conversation stands, to complete "is not allowed".
    fn state(&self) -> &'static str {
        match &self.stage {
            Stage::AwaitHello => "before Hello",
            Stage::AwaitAuth if self.window.is_empty() => "before authentication",
            Stage::AwaitAuth => "while authentication is under way",
            Stage::AwaitVault if self.window.is_empty() => "before a vault is open",
            Stage::AwaitVault => "while a vault is being opened",
            Stage::Ready(Session::None) => "without a session",
            Stage::Ready(Session::Opening(_)) => "while a session is being opened",
            Stage::Ready(Session::Open(session)) if session.is_committing => "while a commit is under way",
            Stage::Ready(Session::Open(OpenSession { kind: SessionKind::Backup, .. })) => "in a backup session",
            Stage::Ready(Session::Open(OpenSession { kind: SessionKind::Drive, .. })) => "in a drive session",
        }
    }

    /// Takes the stream of a request: each has a greater number than the one before.
    pub(crate) fn open_stream(&mut self, stream: StreamId, message_type: MessageType) -> Result<(), Breach> {
        if stream <= self.last_stream {
            return Err(Breach::WrongStream { message_type, stream });
        }
        self.last_stream = stream;
        Ok(())
    }

    /// A stream for the next request; `None` when all numbers are used up.
    pub(crate) fn next_stream(&self) -> Option<StreamId> {
        self.last_stream.number().checked_add(1).map(StreamId::new)
    }

    /// Whether a request that takes `payload_len` bytes may be made now.
    pub(crate) fn check(&self, request: &ClientRequest, payload_len: usize) -> Result<(), Refusal> {
        self.check_order(request.message_type()).map_err(Refusal::WrongState)?;
        let signature_len = Expected::of(request, 0).signature_len();
        self.window.check(payload_len, signature_len).map_err(Refusal::TooMuchAtOnce)
    }

    /// Remembers a request that [`check`](Self::check) allowed; the number of records put before it.
    pub(crate) fn admit(&mut self, stream: StreamId, request: &ClientRequest, payload_len: usize) -> u64 {
        let record_count = self.session().map_or(0, |session| session.record_count);
        self.window.open(stream, Expected::of(request, record_count), payload_len);
        match (&mut self.stage, request) {
            (Stage::Ready(session), ClientRequest::Begin(purpose)) => {
                *session = Session::Opening(match purpose {
                    Purpose::Backup { .. } => SessionKind::Backup,
                    Purpose::Drive => SessionKind::Drive,
                });
            }
            (Stage::Ready(Session::Open(session)), ClientRequest::Commit(_)) => session.is_committing = true,
            _ => {}
        }
        record_count
    }

    /// Holds the answer to a request against it, and goes on from there.
    ///
    /// An answer that does not fit changes nothing.
    pub(crate) fn settle(&mut self, stream: StreamId, answer: &Result<ServerReply, Failure>) -> Result<(), ReplyFault> {
        let asked = self.window.close(stream, answer)?;
        let Stage::Ready(session) = &mut self.stage else {
            match answer {
                Ok(ServerReply::Authenticated(_) | ServerReply::Enrolled(_)) => self.stage = Stage::AwaitVault,
                Ok(ServerReply::VaultOpened(_)) => self.stage = Stage::Ready(Session::None),
                _ => {}
            }
            return Ok(());
        };
        match (session, answer) {
            (session, Ok(ServerReply::Begun(begun))) => {
                if let Session::Opening(kind) = *session {
                    *session = Session::Open(OpenSession::new(kind, begun.session));
                }
            }
            (session @ Session::Opening(_), Err(_)) if asked == MessageType::Begin => *session = Session::None,
            (Session::Open(session), Ok(ServerReply::Flushed(record_count))) => {
                session.durable_count = session.durable_count.max(*record_count);
            }
            (session, Ok(ServerReply::Committed(_))) => *session = Session::None,
            (Session::Open(session), Err(_)) if asked == MessageType::Commit => session.is_committing = false,
            _ => {}
        }
        Ok(())
    }

    /// The session that is open, if one is.
    pub(crate) fn session(&self) -> Option<&OpenSession> {
        match &self.stage {
            Stage::Ready(Session::Open(session)) => Some(session),
            _ => None,
        }
    }

    /// The session that is open, if one is.
    pub(crate) fn session_mut(&mut self) -> Option<&mut OpenSession> {
        match &mut self.stage {
            Stage::Ready(Session::Open(session)) => Some(session),
            _ => None,
        }
    }

    /// Requests that wait for their answer.
    pub(crate) fn open_request_count(&self) -> usize {
        self.window.open.len()
    }
}

impl Session {
    fn allows(&self, message_type: MessageType) -> bool {
        match message_type {
            MessageType::Held
            | MessageType::Signatures
            | MessageType::Snapshots
            | MessageType::Fetch
            | MessageType::DriveList
            | MessageType::DriveStat
            | MessageType::SnapshotChange
            | MessageType::DriveTrash
            | MessageType::DrillReport => true,
            MessageType::Begin => matches!(self, Self::None),
            MessageType::Put | MessageType::Flush => matches!(self, Self::Open(session) if !session.is_committing),
            MessageType::Commit | MessageType::Progress => {
                matches!(self, Self::Open(session) if session.kind == SessionKind::Backup && !session.is_committing)
            }
            MessageType::DrivePut | MessageType::DriveRemove | MessageType::DriveUndelete => {
                matches!(self, Self::Open(session) if session.kind == SessionKind::Drive)
            }
            _ => false,
        }
    }
}

impl OpenSession {
    fn new(kind: SessionKind, id: SessionId) -> Self {
        Self { kind, id, is_committing: false, record_count: 0, durable_count: 0, refused_count: 0 }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Records put so far.
    pub(crate) fn record_count(&self) -> u64 {
        self.record_count
    }

    /// Records known to be durable.
    pub(crate) fn durable_count(&self) -> u64 {
        self.durable_count
    }

    /// Counts records that are put.
    pub(crate) fn put(&mut self, record_count: usize) {
        self.record_count += record_count as u64;
    }

    /// Raises the watermark: it only grows, and never past what was put.
    pub(crate) fn raise_durable(&mut self, record_count: u64) -> Result<(), Breach> {
        if record_count <= self.durable_count || record_count > self.record_count {
            return Err(Breach::Durable {
                record_count,
                durable_count: self.durable_count,
                sent_count: self.record_count,
            });
        }
        self.durable_count = record_count;
        Ok(())
    }

    /// Counts objects that are refused: never more than records were put, since a delta is alone in its record.
    pub(crate) fn refuse(&mut self, object_count: usize) -> Result<(), Breach> {
        let refused_count = self.refused_count + object_count as u64;
        if refused_count > self.record_count {
            return Err(Breach::Refused { refused_count, sent_count: self.record_count });
        }
        self.refused_count = refused_count;
        Ok(())
    }
}

/// The requests that wait for their answer.
#[derive(Debug, Default)]
struct Window {
    open: BTreeMap<StreamId, OpenRequest>,
    request_len: usize,
    signature_len: usize,
}

#[derive(Debug)]
struct OpenRequest {
    expected: Expected,
    request_len: usize,
}

impl Window {
    fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether there is room for one more request.
    fn check(&self, request_len: usize, signature_len: usize) -> Result<(), LimitError> {
        LimitError::check("unanswered requests", self.open.len() + 1, 0, REQUEST_COUNT_MAX)?;
        LimitError::check("bytes of unanswered requests", self.request_len + request_len, 0, REQUEST_LEN_MAX)?;
        let signature_len = self.signature_len + signature_len;
        LimitError::check("bytes of unanswered signatures", signature_len, 0, SIGNATURE_PENDING_LEN_MAX)
    }

    fn open(&mut self, stream: StreamId, expected: Expected, request_len: usize) {
        self.request_len += request_len;
        self.signature_len += expected.signature_len();
        self.open.insert(stream, OpenRequest { expected, request_len });
    }

    /// Takes an answer; the request is done with its last part. Says what was asked.
    fn close(&mut self, stream: StreamId, answer: &Result<ServerReply, Failure>) -> Result<MessageType, ReplyFault> {
        let got = answer.as_ref().map_or(MessageType::Failed, ServerReply::message_type);
        let request = self.open.get_mut(&stream).ok_or(ReplyFault::Unsolicited { got, stream })?;
        let asked = request.expected.asked();
        let is_last = match answer {
            Ok(reply) => request.expected.accept(reply)?,
            Err(failure) => {
                let names_objects = !failure.missing_ids().is_empty();
                if names_objects && !matches!(asked, MessageType::Commit | MessageType::DrivePut) {
                    return Err(ReplyFault::Rule { asked, rule: "only what makes references can miss objects" });
                }
                true
            }
        };
        if is_last {
            self.request_len -= request.request_len;
            self.signature_len -= request.expected.signature_len();
            self.open.remove(&stream);
        }
        Ok(asked)
    }
}
