//! How messages look on the wire: the structs that exist only there, and their way to and from the messages of the
//! rest of the crate. `docs/formats.md` has the table; a change here is a new version of the protocol.

mod client;
mod codec;
mod error;
mod list;
mod parse;
mod server;

pub(crate) use client::encode_put;
pub use error::{DecodeError, DecodeFault};
