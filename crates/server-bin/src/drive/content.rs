//! [`VaultSource`]: the records of a vault, for readers of content.

use object::{ObjectId, SealedRecord, VaultId};
use proto::DriveContent;
use store::{Store, StoreError};
use vault::{Content, ObjectSource};

/// The records of a vault that are visible to everybody.
pub(crate) struct VaultSource {
    pub(crate) store: Store,
    pub(crate) vault: VaultId,
}

impl ObjectSource for VaultSource {
    type Error = StoreError;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, StoreError> {
        self.store.read_records(self.vault, ids)?.map(|read| read.map(|stored| stored.record)).collect()
    }
}

/// The same in the words of the vault library.
pub(crate) fn content_of(content: DriveContent) -> Content {
    match content {
        DriveContent::Empty => Content::Empty,
        DriveContent::Chunk(id) => Content::Chunk(id),
        DriveContent::List(id) => Content::List(id),
    }
}

/// What the store says a file holds, in the words of the protocol.
pub(crate) fn from_stored(content: store::DriveContent) -> DriveContent {
    match content {
        store::DriveContent::Empty => DriveContent::Empty,
        store::DriveContent::Chunk(id) => DriveContent::Chunk(id),
        store::DriveContent::List(id) => DriveContent::List(id),
    }
}

/// The same the other way round.
pub(super) fn to_stored(content: DriveContent) -> store::DriveContent {
    match content {
        DriveContent::Empty => store::DriveContent::Empty,
        DriveContent::Chunk(id) => store::DriveContent::Chunk(id),
        DriveContent::List(id) => store::DriveContent::List(id),
    }
}
