//! [`Event`]: what threads and tasks have to tell the connection they work for.

use proto::{Failure, Ids, ServerReply, SessionId, StreamId};
use tokio::sync::OwnedSemaphorePermit;

use crate::session::login::Client;
use crate::session::writer::NewSession;
use crate::vaults::OpenVault;
use std::sync::Arc;

/// What threads and tasks have to tell the connection they work for.
pub(super) enum Event {
    /// A request is answered, or a part of it is.
    Answer {
        /// The request.
        stream: StreamId,
        /// The answer.
        answer: Result<ServerReply, Failure>,
        /// Given back when the answer has been written.
        slot: Option<OwnedSemaphorePermit>,
    },
    /// The client is known now.
    Known {
        /// The request.
        stream: StreamId,
        /// Who it is.
        client: Client,
        /// The answer.
        reply: ServerReply,
    },
    /// The vault is open.
    VaultOpened {
        /// The request.
        stream: StreamId,
        /// The vault.
        vault: Arc<OpenVault>,
        /// The answer.
        reply: ServerReply,
    },
    /// A session has begun.
    Begun {
        /// The request.
        stream: StreamId,
        /// The session.
        session: Box<NewSession>,
        /// The answer.
        reply: ServerReply,
    },
    /// So many bytes of records no longer wait.
    Taken(usize),
    /// So many records of the session are durable.
    Durable(SessionId, u64),
    /// These deltas did not rebuild.
    Refused(SessionId, Ids),
    /// The connection has to end.
    Broken(Failure),
    /// The thread of this session has ended.
    WriterEnded(SessionId),
}

impl Event {
    /// An answer that nothing waits for.
    pub(super) fn answer(stream: StreamId, answer: Result<ServerReply, Failure>) -> Self {
        Self::Answer { stream, answer, slot: None }
    }

    /// What comes of looking something up; an answer keeps `slot` until it is written.
    pub(super) fn looked_up(stream: StreamId, looked: Result<Self, Failure>, slot: OwnedSemaphorePermit) -> Self {
        match looked {
            Ok(Self::Answer { stream, answer, .. }) => Self::Answer { stream, answer, slot: Some(slot) },
            Ok(event) => event,
            Err(failure) => Self::answer(stream, Err(failure)),
        }
    }
}
