//! [`DecodeError`]: a frame whose content is not the message its type says.

use std::error::Error;

use object::RecordError;

use crate::message::{LimitError, SignatureRequestError, TextError};
use crate::{MessageType, Side};

/// A frame is sound, but its content is not a message. The peer is at fault, or the bytes were damaged on the way.
#[derive(Debug, thiserror::Error)]
#[error("{message_type} is malformed")]
#[non_exhaustive]
pub struct DecodeError {
    /// The type of the frame.
    pub message_type: MessageType,
    /// What is wrong with it.
    #[source]
    pub fault: DecodeFault,
}

/// What is wrong with the content of a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeFault {
    /// The head or an encoded list does not decode.
    #[error("its encoding is broken")]
    Codec(#[source] Box<dyn Error + Send + Sync>),
    /// More bytes than the message needs.
    #[error("{extra} bytes too many")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A count or value is outside its bounds.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A text is too long, or holds control characters.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A signature is asked for in a way that is not allowed.
    #[error(transparent)]
    Signature(#[from] SignatureRequestError),
    /// A record's head is not sound, or its end is missing.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Fields and body do not fit together.
    #[error("it breaks the rule: {rule}")]
    Rule {
        /// What should hold.
        rule: &'static str,
    },
    /// The other side's messages have this type.
    #[error("only the {sender} sends it")]
    Sender {
        /// Who does.
        sender: Side,
    },
}
