//! [`Violation`]: a side did what the protocol does not allow, and the connection cannot be trusted any more.

use std::fmt;

use crate::message::LimitError;
use crate::{DecodeError, FrameError, MessageType, StreamId, VersionRange};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that was connected to.
    Server,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// The protocol was broken: whose fault it is, and how. The connection has to end.
#[derive(Debug, thiserror::Error)]
#[error("the {side} broke the protocol")]
#[non_exhaustive]
pub struct Violation {
    /// Who is at fault.
    pub side: Side,
    /// What they did.
    #[source]
    pub breach: Breach,
}

/// A way to break the protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// What was sent is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame's content is not the message its type says.
    #[error(transparent)]
    Message(#[from] DecodeError),
    /// A message at the wrong time.
    #[error("{message_type} is not allowed {state}")]
    WrongState {
        /// The message.
        message_type: MessageType,
        /// Where the conversation stands.
        state: &'static str,
    },
    /// A message of the connection on a request's stream, or a request's on the connection's, or on a used one.
    #[error("{message_type} is not allowed on stream {stream}")]
    WrongStream {
        /// The message.
        message_type: MessageType,
        /// The stream it came on.
        stream: StreamId,
    },
    /// More unanswered requests than a connection may have.
    #[error("too much is asked at once")]
    TooMuchAtOnce(#[from] LimitError),
    /// A reply that does not fit.
    #[error(transparent)]
    Reply(#[from] ReplyFault),
    /// A version that was not offered.
    #[error("version {version} was chosen, {offered} was offered")]
    Version {
        /// The version chosen.
        version: u16,
        /// The versions offered.
        offered: VersionRange,
    },
    /// A watermark that does not grow, or says more than was sent.
    #[error("{record_count} records are called durable after {durable_count}, of {sent_count} sent")]
    Durable {
        /// The new watermark.
        record_count: u64,
        /// The one before.
        durable_count: u64,
        /// Records sent in this session.
        sent_count: u64,
    },
    /// More objects refused than records sent.
    #[error("{refused_count} objects are refused of {sent_count} records sent")]
    Refused {
        /// Objects refused in this session.
        refused_count: u64,
        /// Records sent in this session.
        sent_count: u64,
    },
}

/// Why a reply does not fit the request it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyFault {
    /// No request waits for it.
    #[error("{got} on stream {stream} answers nothing")]
    Unsolicited {
        /// The reply.
        got: MessageType,
        /// The stream it was for.
        stream: StreamId,
    },
    /// The request is answered by another type.
    #[error("{got} does not answer {asked}")]
    WrongType {
        /// The request.
        asked: MessageType,
        /// The reply.
        got: MessageType,
    },
    /// The reply says what this request cannot be answered with.
    #[error("the answer to {asked} breaks the rule: {rule}")]
    Rule {
        /// The request.
        asked: MessageType,
        /// What should hold.
        rule: &'static str,
    },
}
