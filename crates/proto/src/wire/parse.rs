//! What several messages have in common on the wire: bodies of ids, of records and of nothing, times and contents.

use bytes::Bytes;
use object::{ObjectId, Records, SealedRecord};
use serde::{Deserialize, Serialize};

use super::DecodeFault;
use crate::message::{DriveContent, DrivePath, Ids, Timestamp};

/// The content kinds of a file on a drive.
const EMPTY: u8 = 0;
const CHUNK: u8 = 1;
const LIST: u8 = 2;

/// [`Timestamp`] on the wire.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct WireTime {
    secs: i64,
    nanos: u32,
}

impl WireTime {
    pub(super) fn parse(self) -> Result<Timestamp, DecodeFault> {
        Timestamp::new(self.secs, self.nanos).ok_or(rule("nanoseconds are below a second"))
    }
}

impl From<Timestamp> for WireTime {
    fn from(time: Timestamp) -> Self {
        Self { secs: time.secs(), nanos: time.nanos() }
    }
}

/// The content kind and id of `content`; all zeros for an empty one.
pub(super) fn content_parts(content: DriveContent) -> (u8, [u8; ObjectId::LEN]) {
    match content {
        DriveContent::Empty => (EMPTY, [0; ObjectId::LEN]),
        DriveContent::Chunk(id) => (CHUNK, *id.as_bytes()),
        DriveContent::List(id) => (LIST, *id.as_bytes()),
    }
}

pub(super) fn content(kind: u8, id: [u8; ObjectId::LEN]) -> Result<DriveContent, DecodeFault> {
    match kind {
        EMPTY if id == [0; ObjectId::LEN] => Ok(DriveContent::Empty),
        EMPTY => Err(rule("empty content has no id")),
        CHUNK => Ok(DriveContent::Chunk(ObjectId::from_bytes(id))),
        LIST => Ok(DriveContent::List(ObjectId::from_bytes(id))),
        _ => Err(rule("content is empty, a chunk or a list")),
    }
}

pub(super) fn rule(rule: &'static str) -> DecodeFault {
    DecodeFault::Rule { rule }
}

pub(super) fn no_body(body: &Bytes) -> Result<(), DecodeFault> {
    match body.len() {
        0 => Ok(()),
        extra => Err(DecodeFault::Trailing { extra }),
    }
}

pub(super) fn ids(body: Bytes) -> Result<Ids, DecodeFault> {
    Ids::new(body).ok_or(rule("ids have 32 bytes each"))
}

pub(super) fn one_id(body: &Bytes) -> Result<ObjectId, DecodeFault> {
    let id = <[u8; ObjectId::LEN]>::try_from(&body[..]).map_err(|_| rule("the body is one id"))?;
    Ok(ObjectId::from_bytes(id))
}

pub(super) fn path(body: Bytes) -> Result<DrivePath, DecodeFault> {
    DrivePath::new(body).ok_or(rule("a path is allowed names with a slash between them"))
}

pub(super) fn records(body: Bytes) -> Result<Vec<SealedRecord>, DecodeFault> {
    Ok(Records::new(body).collect::<Result<_, _>>()?)
}

pub(super) fn record_pieces(records: &[SealedRecord]) -> Vec<Bytes> {
    records.iter().map(|record| record.bytes().clone()).collect()
}
