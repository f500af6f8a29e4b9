//! The one place that calls bincode: [`encode`] and [`decode`].
//!
//! Fed a hostile length, bincode without a limit aborts the whole process. Here it only ever borrows from the slice it
//! reads, so that a length is compared with the bytes that are there before anything is made of it; lists grow as
//! their elements arrive ([`List`](super::list::List)); and the limit stands behind both.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use super::DecodeFault;
use crate::limits::PAYLOAD_LEN_MAX;

const CONFIG: Configuration<LittleEndian, Varint, Limit<PAYLOAD_LEN_MAX>> =
    bincode::config::standard().with_limit::<PAYLOAD_LEN_MAX>();

/// The bytes of `value`.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, CONFIG).expect("wire structs are plain values of known length")
}

/// The value that `bytes` are, all of them.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeFault> {
    let (value, used) =
        bincode::serde::borrow_decode_from_slice(bytes, CONFIG).map_err(|error| DecodeFault::Codec(error.into()))?;
    match bytes.len() - used {
        0 => Ok(value),
        extra => Err(DecodeFault::Trailing { extra }),
    }
}
