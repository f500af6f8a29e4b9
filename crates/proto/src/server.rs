//! [`ServerExchange`]: one client's conversation as the server has it, without a socket. [`ServerAction`] is what it
//! wants done.
//!
//! It holds the client to the protocol, so that its driver only ever sees requests that are allowed, in order and
//! within the limits. What has been received stays received: a client that breaks the protocol loses its connection,
//! not the records it sent before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use object::SealedRecord;

use crate::conversation::{Conversation, OpenSession, Refusal};
use crate::limits::{AUTH_TIMEOUT, IDLE_TIMEOUT};
use crate::message::{
    ClientMessage, ClientRequest, FailCode, Failure, Hello, Ids, ServerMessage, ServerReply, SessionId, SoftwareName,
    Welcome,
};
use crate::{
    BackupProgress, Breach, Capabilities, EncodeError, EncodedFrame, Frame, FrameError, FramePhase, Negotiated,
    ReplyFault, Side, StreamId, VersionRange, Violation,
};

/// What a server is, for its greeting, and how long it waits.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What the server calls itself.
    pub software: SoftwareName,
    /// Versions it speaks.
    pub versions: VersionRange,
    /// What it can do beyond the version.
    pub capabilities: Capabilities,
    /// Time from the connection being accepted to the client being authenticated.
    pub auth_timeout: Duration,
    /// Time without a byte in either direction after which the client is given up.
    pub idle_timeout: Duration,
}

impl ServerConfig {
    /// This version, with the usual times.
    #[must_use]
    pub fn new(software: SoftwareName) -> Self {
        Self {
            software,
            versions: VersionRange::CURRENT,
            capabilities: Capabilities::PROGRESS,
            auth_timeout: AUTH_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

/// What the driver must do.
#[derive(Debug)]
pub enum ServerAction {
    /// Write this frame; frames go out in the order of their actions.
    Send(EncodedFrame),
    /// Do this, and tell [`ServerExchange::on_answer`]. Several may be under way at once, and end in any order, but a
    /// `Flush`, `Commit`, `DrivePut` or `DriveRemove` comes after every `Store` that came before it: all of those are
    /// durable, or refused by [`ServerExchange::on_refused`], before it is answered. The driver reads on meanwhile:
    /// a client that waits long sends pings.
    Ask {
        /// Which request it is; the answer names it.
        stream: StreamId,
        /// What is wanted. Within all limits, and allowed by the order of things; whether this device may have it is
        /// for the driver to know.
        request: ClientRequest,
        /// Records of the open session put before it; 0 without one.
        record_count: u64,
    },
    /// Store these records; tell [`ServerExchange::on_durable`] when they survive power loss.
    Store {
        /// The session they belong to.
        session: SessionId,
        /// The number of the first of them; the records of a session are numbered from 1.
        first_record_number: u64,
        /// At least one. Their heads are sound; their bodies' checksums have not been looked at.
        records: Vec<SealedRecord>,
    },
    /// Show people how far the open backup has come, as the client says. It may be wrong.
    Show(BackupProgress),
    /// Write what is queued, then close the connection. The last action.
    ///
    /// A socket that is closed with unread bytes in it throws away what was just written to it: to have the client
    /// read why it was given up, shut down the writing side first and discard what still arrives, for a moment.
    Close(CloseReason),
}

/// Why a connection ends.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client is done.
    Bye,
    /// The client broke the protocol, and was told so.
    Violation(Violation),
    /// The server gave the client up, and told it why: no common version, not authenticated, silent for too long, or
    /// what the driver said.
    Failed(Failure),
    /// The connection failed; nobody can be told anything.
    Lost(FrameError),
}

/// Why an answer cannot be sent. The driver is at fault; the request still waits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It does not fit the request.
    #[error(transparent)]
    Fault(#[from] ReplyFault),
    /// It exceeds a limit.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It says more than was received.
    #[error(transparent)]
    Count(#[from] Breach),
}

/// One client's conversation as the server has it.
///
/// Getters read. `on_*` tell it what happened outside. `poll_*` say what the driver must do now: after each `on_*`,
/// drain [`poll_action`](Self::poll_action), then arm the timer from [`poll_deadline`](Self::poll_deadline). The driver
/// does not read on while much of what it was told to send or store waits: nothing else holds a fast client back.
///
/// Once a [`ServerAction::Close`] has been polled, everything the driver still says is ignored.
#[derive(Debug)]
pub struct ServerExchange {
    config: ServerConfig,
    accepted: Instant,
    accepted_ms: u64,
    progress: Instant,
    conversation: Conversation,
    negotiated: Option<Negotiated>,
    actions: VecDeque<ServerAction>,
    is_closed: bool,
}

impl ServerExchange {
    /// A conversation on a connection that was accepted at `accepted`, when the clock on the wall said `accepted_ms`
    /// milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn new(config: ServerConfig, accepted: Instant, accepted_ms: u64) -> Self {
        Self {
            config,
            accepted,
            accepted_ms,
            progress: accepted,
            conversation: Conversation::new(),
            negotiated: None,
            actions: VecDeque::new(),
            is_closed: false,
        }
    }

    /// How long frames may be now; the codec must be told before it looks for the next one.
    #[must_use]
    pub fn frame_phase(&self) -> FramePhase {
        self.conversation.frame_phase()
    }

    /// What was agreed upon; `None` before `Hello`.
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// The session that is open; `None` without one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.conversation.session().map(OpenSession::id)
    }

    /// Requests that wait for [`on_answer`](Self::on_answer).
    #[must_use]
    pub fn open_request_count(&self) -> usize {
        self.conversation.open_request_count()
    }

    /// Whether the conversation is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Bytes have been read or written, be it only part of a frame: the client is there.
    pub fn on_progress(&mut self, now: Instant) {
        self.progress = self.progress.max(now);
    }

    /// A frame has arrived.
    pub fn on_frame(&mut self, frame: Frame, now: Instant) {
        if self.is_closed {
            return;
        }
        self.on_progress(now);
        if let Err(breach) = self.receive(frame, now) {
            self.violated(breach);
        }
    }

    /// What has arrived is not a frame, or the connection failed.
    pub fn on_frame_error(&mut self, error: FrameError) {
        if self.is_closed {
            return;
        }
        match error {
            FrameError::Io(_) | FrameError::Truncated => self.close(CloseReason::Lost(error)),
            _ => self.violated(Breach::Frame(error)),
        }
    }

    /// The answer to an [`ServerAction::Ask`], or a part of it ([`ServerReply::Objects`]).
    ///
    /// A failure of `Authenticate` or `Enroll` ends the connection; any other is the client's to deal with, and leaves
    /// an open session open.
    ///
    /// # Errors
    /// [`AnswerError`] when the answer does not fit the request; nothing is sent, and the request still waits.
    pub fn on_answer(&mut self, stream: StreamId, answer: Result<ServerReply, Failure>) -> Result<(), AnswerError> {
        if self.is_closed {
            return Ok(());
        }
        let is_fatal = answer.is_err() && self.frame_phase() == FramePhase::BeforeAuth;
        let frame = match &answer {
            Ok(reply) => reply.encode(stream)?,
            Err(failure) => failure.encode(stream)?,
        };
        self.conversation.settle(stream, &answer)?;
        match answer {
            Err(failure) if is_fatal => self.fail(failure),
            _ => self.actions.push_back(ServerAction::Send(frame)),
        }
        Ok(())
    }

    /// The first `record_count` records of `session` survive power loss, but for those refused before.
    ///
    /// Ignored when it says nothing new, or when the session is over.
    ///
    /// # Errors
    /// [`AnswerError::Count`] when so many have not been received; nothing is sent.
    pub fn on_durable(&mut self, session: SessionId, record_count: u64) -> Result<(), AnswerError> {
        let Some(open) = self.conversation.session_mut().filter(|open| open.id() == session) else {
            return Ok(());
        };
        if self.is_closed || record_count <= open.durable_count() {
            return Ok(());
        }
        open.raise_durable(record_count)?;
        self.send(&ServerMessage::Durable(record_count))?;
        Ok(())
    }

    /// The deltas of these objects did not rebuild; they are not stored. Comes before
    /// [`on_durable`](Self::on_durable) or an answer that covers their records.
    ///
    /// Ignored when the session is over, or when there are none.
    ///
    /// # Errors
    /// [`AnswerError`] for more ids than records were received, or than one message may have; nothing is sent.
    pub fn on_refused(&mut self, session: SessionId, ids: Ids) -> Result<(), AnswerError> {
        let Some(open) = self.conversation.session_mut().filter(|open| open.id() == session) else {
            return Ok(());
        };
        if self.is_closed || ids.is_empty() {
            return Ok(());
        }
        let refused_count = ids.len();
        let frame = ServerMessage::Refused(ids).encode(StreamId::CONNECTION)?;
        open.refuse(refused_count)?;
        self.actions.push_back(ServerAction::Send(frame));
        Ok(())
    }

    /// Ends the connection for a reason of the driver's: the server stops, the device was revoked, something broke.
    pub fn fail(&mut self, failure: Failure) {
        self.close_with(failure.clone(), CloseReason::Failed(failure));
    }

    /// The time of [`poll_deadline`](Self::poll_deadline) may have come.
    ///
    /// Silence is only the client's fault while the driver reads: one that has stopped reading calls
    /// [`on_progress`](Self::on_progress) before this when it goes on.
    pub fn on_tick(&mut self, now: Instant) {
        if self.poll_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.fail(Failure::new(
            FailCode::Timeout,
            match self.frame_phase() {
                FramePhase::BeforeAuth => "authentication took too long",
                FramePhase::AfterAuth => "nothing was heard of the client for too long",
            },
        ));
    }

    /// What the driver must do next; `None` when there is nothing, at the moment or for good.
    pub fn poll_action(&mut self) -> Option<ServerAction> {
        self.actions.pop_front()
    }

    /// When to call [`on_tick`](Self::on_tick) at the latest; `None` when the conversation is over.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        Some(match self.frame_phase() {
            FramePhase::BeforeAuth => self.accepted + self.config.auth_timeout,
            FramePhase::AfterAuth => self.progress + self.config.idle_timeout,
        })
    }

    fn receive(&mut self, frame: Frame, now: Instant) -> Result<(), Breach> {
        let Frame { stream, message_type, .. } = frame;
        let payload_len = frame.payload_len();
        // Looked at before the content: whoever is not authenticated gets to fewer decoders.
        if message_type.sender() == Side::Client {
            let wrong_state = |state| Breach::WrongState { message_type, state };
            self.conversation.check_order(message_type).map_err(wrong_state)?;
        }
        let message = ClientMessage::decode(frame)?;
        match message {
            ClientMessage::Put(_) | ClientMessage::Progress(_) | ClientMessage::Ping | ClientMessage::Bye => {
                if stream != StreamId::CONNECTION {
                    return Err(Breach::WrongStream { message_type, stream });
                }
            }
            ClientMessage::Hello(_) | ClientMessage::Request(_) => {
                self.conversation.open_stream(stream, message_type)?;
            }
        }
        match message {
            ClientMessage::Hello(hello) => self.on_hello(stream, &hello, now),
            ClientMessage::Request(request) => self.on_request(stream, request, payload_len)?,
            ClientMessage::Put(records) => self.on_put(records),
            ClientMessage::Progress(progress) => self.actions.push_back(ServerAction::Show(progress)),
            ClientMessage::Ping => self.send_small(&ServerMessage::Pong),
            ClientMessage::Bye => self.close(CloseReason::Bye),
        }
        Ok(())
    }

    fn on_hello(&mut self, stream: StreamId, hello: &Hello, now: Instant) {
        let ours = self.config.versions;
        let Some(version) = ours.highest_common(hello.versions) else {
            let message = format!("this server speaks version {ours}, the client {}", hello.versions);
            return self.fail(Failure::new(FailCode::Version, &message));
        };
        let since_accepted_ms = now.saturating_duration_since(self.accepted).as_millis();
        let welcome = Welcome {
            version,
            capabilities: self.config.capabilities,
            software: self.config.software.clone(),
            server_time_ms: self.accepted_ms.saturating_add(u64::try_from(since_accepted_ms).unwrap_or(u64::MAX)),
        };
        let capabilities = self.config.capabilities.common(hello.capabilities);
        self.negotiated = Some(Negotiated { version, capabilities });
        self.conversation.welcome();
        let frame = ServerMessage::Welcome(welcome).encode(stream).expect("a greeting is short");
        self.actions.push_back(ServerAction::Send(frame));
    }

    fn on_request(&mut self, stream: StreamId, request: ClientRequest, payload_len: usize) -> Result<(), Breach> {
        let message_type = request.message_type();
        self.conversation.check(&request, payload_len).map_err(|refusal| match refusal {
            Refusal::WrongState(state) => Breach::WrongState { message_type, state },
            Refusal::TooMuchAtOnce(limit) => Breach::TooMuchAtOnce(limit),
        })?;
        let record_count = self.conversation.admit(stream, &request, payload_len);
        self.actions.push_back(ServerAction::Ask { stream, request, record_count });
        Ok(())
    }

    fn on_put(&mut self, records: Vec<SealedRecord>) {
        let session = self.conversation.session_mut().expect("a Put is only allowed in an open session");
        if records.is_empty() {
            return;
        }
        let first_record_number = session.record_count() + 1;
        session.put(records.len());
        let session = session.id();
        self.actions.push_back(ServerAction::Store { session, first_record_number, records });
    }

    fn violated(&mut self, breach: Breach) {
        let failure = Failure::new(FailCode::Protocol, &breach.to_string());
        self.close_with(failure, CloseReason::Violation(Violation { side: Side::Client, breach }));
    }

    fn close_with(&mut self, failure: Failure, reason: CloseReason) {
        if !self.is_closed {
            self.send_small(&ServerMessage::Failed(failure));
            self.close(reason);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.is_closed = true;
        self.actions.push_back(ServerAction::Close(reason));
    }

    fn send(&mut self, message: &ServerMessage) -> Result<(), EncodeError> {
        self.actions.push_back(ServerAction::Send(message.encode(StreamId::CONNECTION)?));
        Ok(())
    }

    fn send_small(&mut self, message: &ServerMessage) {
        self.send(message).expect("pongs and failures are short");
    }
}
