//! [`ClientExchange`]: a client's conversation with its server, without a socket. [`ClientEvent`] is what the server
//! said.
//!
//! It says only what is allowed, and believes nothing that cannot be: each reply fits its request, numbers stay within
//! what was sent, lists go on from where they ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use object::SealedRecord;

use crate::conversation::{Conversation, OpenSession, Refusal};
use crate::limits::{PING_INTERVAL, PUT_LEN_TARGET, SILENCE_TIMEOUT};
use crate::message::{
    BackupProgress, ClientMessage, ClientRequest, Failure, Hello, Ids, LimitError, ServerMessage, ServerReply,
    SoftwareName, Welcome,
};
use crate::wire::encode_put;
use crate::{
    Breach, Capabilities, EncodeError, EncodedFrame, Frame, FramePhase, MessageType, Negotiated, ReplyFault, Side,
    StreamId, VersionRange, Violation,
};

/// What a client is, for its greeting, and how long it waits.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What the client calls itself.
    pub software: SoftwareName,
    /// Versions it speaks.
    pub versions: VersionRange,
    /// What it can do beyond the version.
    pub capabilities: Capabilities,
    /// Time without a frame of its own after which it sends a `Ping`.
    pub ping_interval: Duration,
    /// Time without a byte in either direction after which the server is given up.
    pub silence_timeout: Duration,
}

impl ClientConfig {
    /// This version, with the usual times.
    #[must_use]
    pub fn new(software: SoftwareName) -> Self {
        Self {
            software,
            versions: VersionRange::CURRENT,
            capabilities: Capabilities::PROGRESS,
            ping_interval: PING_INTERVAL,
            silence_timeout: SILENCE_TIMEOUT,
        }
    }
}

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The greeting is over; [`ClientExchange::negotiated`] says what was agreed upon.
    Welcome(Welcome),
    /// The answer to a request. [`ServerReply::Objects`] may come in parts, of which one is the `last`.
    Reply {
        /// The request it answers.
        stream: StreamId,
        /// It fits the request.
        reply: ServerReply,
    },
    /// A request failed. An open session stays open.
    Failed {
        /// The request it answers.
        stream: StreamId,
        /// Why.
        failure: Failure,
    },
    /// So many records of the session survive power loss, counted from its first, but for those refused before.
    Durable(u64),
    /// The deltas of these objects did not rebuild: they must be put again, whole.
    Refused(Ids),
    /// The server ends the connection.
    Closed(Failure),
}

/// Why the client cannot say that.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not as the conversation stands.
    #[error("{message_type} is not allowed {state}")]
    WrongState {
        /// What should have been said.
        message_type: MessageType,
        /// Where the conversation stands.
        state: &'static str,
    },
    /// Too many requests wait for their answer. Ask again after the next [`ClientEvent::Reply`].
    #[error("too much is asked at once")]
    TooMuchAtOnce(#[source] LimitError),
    /// It exceeds a limit. Ask for less, or put less, at once.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection has had all its four thousand million requests. Make another one.
    #[error("the connection has no more streams")]
    NoStream,
    /// The conversation is over.
    #[error("the connection is closed")]
    Closed,
}

/// Nothing was heard of the server for too long, although it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server has been silent for {} s", silence.as_secs())]
pub struct ServerSilent {
    /// For how long.
    pub silence: Duration,
}

/// A client's conversation with its server.
///
/// After each call, write what [`poll_send`](Self::poll_send) gives, and arm the timer from
/// [`poll_deadline`](Self::poll_deadline). What was said but not yet polled waits here: a driver that does not write
/// should not say more either.
#[derive(Debug)]
pub struct ClientExchange {
    config: ClientConfig,
    conversation: Conversation,
    negotiated: Option<Negotiated>,
    progress: Instant,
    /// When the last frame was queued.
    spoke: Instant,
    awaits_pong: bool,
    is_closed: bool,
    out: VecDeque<EncodedFrame>,
}

impl ClientExchange {
    /// A conversation on a new connection. It begins with `Hello`; nothing else is allowed before
    /// [`ClientEvent::Welcome`].
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let mut conversation = Conversation::new();
        let hello = ClientMessage::Hello(Hello {
            versions: config.versions,
            capabilities: config.capabilities,
            software: config.software.clone(),
        });
        let frame = hello.encode(Self::HELLO_STREAM).expect("a greeting is short");
        conversation.open_stream(Self::HELLO_STREAM, MessageType::Hello).expect("it is the first");
        Self {
            config,
            conversation,
            negotiated: None,
            progress: now,
            spoke: now,
            awaits_pong: false,
            is_closed: false,
            out: VecDeque::from([frame]),
        }
    }

    const HELLO_STREAM: StreamId = StreamId::new(1);

    /// How long frames may be now; the codec must be told before it looks for the next one.
    #[must_use]
    pub fn frame_phase(&self) -> FramePhase {
        self.conversation.frame_phase()
    }

    /// What was agreed upon; `None` before [`ClientEvent::Welcome`].
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// Requests that wait for their answer.
    #[must_use]
    pub fn open_request_count(&self) -> usize {
        self.conversation.open_request_count()
    }

    /// Records put in the open session; 0 without one.
    #[must_use]
    pub fn sent_records(&self) -> u64 {
        self.conversation.session().map_or(0, OpenSession::record_count)
    }

    /// Records of the open session that survive power loss; 0 without one.
    #[must_use]
    pub fn durable_records(&self) -> u64 {
        self.conversation.session().map_or(0, OpenSession::durable_count)
    }

    /// Frames that wait for [`poll_send`](Self::poll_send).
    #[must_use]
    pub fn queued_frame_count(&self) -> usize {
        self.out.len()
    }

    /// Whether the conversation is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Asks for something; the answer comes as a [`ClientEvent`] of the stream returned.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is said then.
    pub fn request(&mut self, request: &ClientRequest, now: Instant) -> Result<StreamId, RequestError> {
        let message_type = request.message_type();
        self.check_order(message_type)?;
        let stream = self.conversation.next_stream().ok_or(RequestError::NoStream)?;
        let frame = request.encode(stream)?;
        self.conversation.check(request, frame.payload_len()).map_err(|refusal| match refusal {
            Refusal::WrongState(state) => RequestError::WrongState { message_type, state },
            Refusal::TooMuchAtOnce(limit) => RequestError::TooMuchAtOnce(limit),
        })?;
        self.conversation.open_stream(stream, message_type).expect("it is the next");
        self.conversation.admit(stream, request, frame.payload_len());
        self.queue(frame, now);
        Ok(stream)
    }

    /// Puts records into the open session, in frames of about [`PUT_LEN_TARGET`]. They are safe when
    /// [`ClientEvent::Durable`] reaches the number returned: that of the last of them, counted from the session's
    /// first.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is said then.
    pub fn put(&mut self, records: &[SealedRecord], now: Instant) -> Result<u64, RequestError> {
        self.check_order(MessageType::Put)?;
        let frames = put_frames(records)?;
        let session = self.conversation.session_mut().expect("a Put is only allowed in an open session");
        session.put(records.len());
        let record_count = session.record_count();
        for frame in frames {
            self.queue(frame, now);
        }
        Ok(record_count)
    }

    /// Tells how far the open backup has come, if the server wants to know.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is said then.
    pub fn tell(&mut self, progress: BackupProgress, now: Instant) -> Result<(), RequestError> {
        self.check_order(MessageType::Progress)?;
        if self.negotiated.is_some_and(|agreed| agreed.capabilities.contains(Capabilities::PROGRESS)) {
            self.queue_small(&ClientMessage::Progress(progress), now);
        }
        Ok(())
    }

    /// Says goodbye: the server closes the connection, and forgets what it has not answered yet.
    ///
    /// # Errors
    /// [`RequestError::Closed`] when the conversation is over anyway.
    pub fn bye(&mut self, now: Instant) -> Result<(), RequestError> {
        self.check_order(MessageType::Bye)?;
        self.queue_small(&ClientMessage::Bye, now);
        self.is_closed = true;
        Ok(())
    }

    /// Bytes have been read or written, be it only part of a frame: the server is there.
    pub fn on_progress(&mut self, now: Instant) {
        self.progress = self.progress.max(now);
    }

    /// A frame has arrived; what it says, if it is of interest. When the conversation is over it never is.
    ///
    /// # Errors
    /// [`Violation`] when the server broke the protocol: the conversation is over.
    pub fn on_frame(&mut self, frame: Frame, now: Instant) -> Result<Option<ClientEvent>, Violation> {
        if self.is_closed {
            return Ok(None);
        }
        self.on_progress(now);
        self.receive(frame).map_err(|breach| {
            self.is_closed = true;
            Violation { side: Side::Server, breach }
        })
    }

    /// The time of [`poll_deadline`](Self::poll_deadline) may have come.
    ///
    /// # Errors
    /// [`ServerSilent`] when the server is given up: the conversation is over.
    pub fn on_tick(&mut self, now: Instant) -> Result<(), ServerSilent> {
        if self.is_closed {
            return Ok(());
        }
        let silence = now.saturating_duration_since(self.progress);
        if silence >= self.config.silence_timeout {
            self.is_closed = true;
            return Err(ServerSilent { silence });
        }
        if self.ping_at().is_some_and(|ping_at| now >= ping_at) {
            self.awaits_pong = true;
            self.queue_small(&ClientMessage::Ping, now);
        }
        Ok(())
    }

    /// A frame to be written; `None` when there is none, at the moment.
    pub fn poll_send(&mut self) -> Option<EncodedFrame> {
        self.out.pop_front()
    }

    /// When to call [`on_tick`](Self::on_tick) at the latest; `None` when the conversation is over.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        let silent_at = self.progress + self.config.silence_timeout;
        (!self.is_closed).then(|| self.ping_at().map_or(silent_at, |ping_at| ping_at.min(silent_at)))
    }

    fn ping_at(&self) -> Option<Instant> {
        let may_ping = !self.awaits_pong && self.conversation.check_order(MessageType::Ping).is_ok();
        may_ping.then(|| self.spoke + self.config.ping_interval)
    }

    fn check_order(&self, message_type: MessageType) -> Result<(), RequestError> {
        if self.is_closed {
            return Err(RequestError::Closed);
        }
        let wrong_state = |state| RequestError::WrongState { message_type, state };
        self.conversation.check_order(message_type).map_err(wrong_state)
    }

    fn receive(&mut self, frame: Frame) -> Result<Option<ClientEvent>, Breach> {
        let Frame { stream, message_type, .. } = frame;
        let message = ServerMessage::decode(frame)?;
        let is_of_connection =
            matches!(message, ServerMessage::Durable(_) | ServerMessage::Refused(_) | ServerMessage::Pong);
        if is_of_connection && stream != StreamId::CONNECTION {
            return Err(Breach::WrongStream { message_type, stream });
        }
        let unsolicited = ReplyFault::Unsolicited { got: message_type, stream };
        match message {
            ServerMessage::Welcome(welcome) => {
                let is_awaited = self.negotiated.is_none() && stream == Self::HELLO_STREAM;
                if !is_awaited {
                    return Err(unsolicited.into());
                }
                self.on_welcome(&welcome)?;
                Ok(Some(ClientEvent::Welcome(welcome)))
            }
            ServerMessage::Reply(reply) => {
                let answer = Ok(reply);
                self.conversation.settle(stream, &answer)?;
                Ok(answer.ok().map(|reply| ClientEvent::Reply { stream, reply }))
            }
            ServerMessage::Failed(failure) if stream == StreamId::CONNECTION => {
                self.is_closed = true;
                Ok(Some(ClientEvent::Closed(failure)))
            }
            ServerMessage::Failed(failure) => {
                let answer = Err(failure);
                self.conversation.settle(stream, &answer)?;
                Ok(answer.err().map(|failure| ClientEvent::Failed { stream, failure }))
            }
            ServerMessage::Durable(record_count) => {
                let session = self.conversation.session_mut().ok_or(unsolicited)?;
                session.raise_durable(record_count)?;
                Ok(Some(ClientEvent::Durable(record_count)))
            }
            ServerMessage::Refused(ids) => {
                let session = self.conversation.session_mut().ok_or(unsolicited)?;
                session.refuse(ids.len())?;
                Ok(Some(ClientEvent::Refused(ids)))
            }
            ServerMessage::Pong => {
                let was_awaited = std::mem::take(&mut self.awaits_pong);
                if was_awaited { Ok(None) } else { Err(unsolicited.into()) }
            }
        }
    }

    fn on_welcome(&mut self, welcome: &Welcome) -> Result<(), Breach> {
        let Welcome { version, capabilities, .. } = *welcome;
        let offered = self.config.versions;
        if !offered.contains(version) {
            return Err(Breach::Version { version, offered });
        }
        let capabilities = self.config.capabilities.common(capabilities);
        self.negotiated = Some(Negotiated { version, capabilities });
        self.conversation.welcome();
        Ok(())
    }

    fn queue(&mut self, frame: EncodedFrame, now: Instant) {
        self.spoke = now;
        self.out.push_back(frame);
    }

    fn queue_small(&mut self, message: &ClientMessage, now: Instant) {
        let frame = message.encode(StreamId::CONNECTION).expect("pings, goodbyes and a few numbers are short");
        self.queue(frame, now);
    }
}

/// Frames of the records, in order, each of about [`PUT_LEN_TARGET`] bytes; a longer record has a frame of its own.
fn put_frames(records: &[SealedRecord]) -> Result<Vec<EncodedFrame>, EncodeError> {
    let mut frames = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut len = 0;
        let count = rest
            .iter()
            .take_while(|record| {
                len += record.bytes().len();
                len <= PUT_LEN_TARGET
            })
            .count();
        let (now, later) = rest.split_at(count.max(1));
        frames.push(encode_put(StreamId::CONNECTION, now)?);
        rest = later;
    }
    Ok(frames)
}
