//! [`Entry`]: something on the drive, as answers show it.

use proto::{DriveEntry, DriveNode, DrivePath, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::drive::FileVersion;
use crate::rest::parse::encoded;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// What to say as `cursor` for the next page; none after the last.
    pub(super) next: Option<String>,
}

/// A file or a folder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    /// For people: what is not UTF-8 in it is replaced.
    name: String,
    /// For programs: each name percent-encoded, exact whatever bytes it has.
    path: String,
    #[serde(flatten)]
    node: EntryNode,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum EntryNode {
    File(FileFacts),
    Folder,
}

/// What is known of one state of a file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileFacts {
    pub(super) version: u64,
    pub(super) size: u64,
    /// When the content was changed last, in milliseconds since 1970.
    pub(super) mtime_ms: i64,
    /// In hexadecimal; of files that devices put it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) sha256: Option<String>,
    /// When the server got it; lists of folders do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) received_ms: Option<u64>,
}

impl FileFacts {
    pub(super) fn of(file: &FileVersion) -> Self {
        Self {
            version: file.version,
            size: file.size,
            mtime_ms: ms(file.mtime),
            sha256: file.sha256.map(|sha256| object::hex::encode(&sha256)),
            received_ms: Some(file.received_ms),
        }
    }
}

impl Entry {
    /// What is at a path.
    pub(super) fn of(path: &DrivePath, file: Option<&FileVersion>) -> Self {
        let name = path.name();
        let name = name.as_ref().map_or(&[][..], |name| name.as_bytes());
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            path: encoded(path.as_bytes()),
            node: file.map_or(EntryNode::Folder, |file| EntryNode::File(FileFacts::of(file))),
        }
    }
}

/// What a listing of `folder` shows of one entry.
pub(super) fn entry_of(folder: &DrivePath, entry: &DriveEntry) -> Option<Entry> {
    let name = entry.name.as_ref()?.as_bytes();
    let path = match folder.is_root() {
        true => encoded(name),
        false => format!("{}/{}", encoded(folder.as_bytes()), encoded(name)),
    };
    let node = match &entry.node {
        DriveNode::Directory => EntryNode::Folder,
        DriveNode::File { size, .. } => {
            let (version, size, mtime_ms) = (entry.version, *size, ms(entry.mtime));
            EntryNode::File(FileFacts { version, size, mtime_ms, sha256: None, received_ms: None })
        }
    };
    Some(Entry { name: String::from_utf8_lossy(name).into_owned(), path, node })
}

fn ms(moment: Timestamp) -> i64 {
    moment.secs().saturating_mul(1000).saturating_add(i64::from(moment.nanos() / 1_000_000))
}
