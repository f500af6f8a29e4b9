//! What is stored: an **object** is an id, a kind, a list of the ids it refers to (its *edges*) and sealed content.
//!
//! Objects travel and rest inside **records**: one [`Record`] seals one or more objects together, so that small files
//! compress together, while every object keeps its own id and its own readable edges. Start with [`ObjectId`] and
//! [`Record`].
//!
//! This crate knows no keys. Whoever holds a record can walk its edges, check its checksums and move it around; only
//! the vault that sealed it can read the content. The byte layout is in `docs/formats.md`.

pub mod hex;

mod id;
mod kind;
mod record;

pub use id::{ObjectId, ParseIdError, VaultId};
pub use kind::{Codec, Kind, UnknownTag};
pub use record::{
    BASIS_COUNT_MAX, BODY_LEN_MAX, EDGE_COUNT_MAX, Edges, HEAD_LEN_MAX, MEMBER_COUNT_MAX, Member, PLAIN_LEN_MAX,
    RECORD_FORMAT, RECORD_PREFIX_LEN, Record, RecordError, RecordHead, RecordHeadWriter, RecordLen, Records,
    SealedRecord,
};
