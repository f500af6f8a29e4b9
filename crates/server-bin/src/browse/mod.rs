//! Snapshots of a managed vault as folders: [`Browser`] finds and lists, [`Walk`] goes through one snapshot, or two side by
//! side, [`Across`] through many.
//!
//! Trees are sorted, so that a page of a folder of any size costs a few of its pages. What cannot be read is counted and
//! passed over: damage of one page hides what is on it, and nothing else.

mod across;
mod compare;
mod path;
mod timeline;
mod walk;

pub(crate) use across::{Across, Held};
pub(crate) use compare::{Change, change};
pub(crate) use path::TreePath;
pub(crate) use timeline::{Span, timeline};
pub(crate) use walk::{Pair, Walk};

use std::sync::Arc;

use object::ObjectId;
use proto::DriveContent;
use store::{Store, StoreError};
use vault::{Content, Entry, EntryKind, ReadError, Reader, Snapshot, TreeCursor};

use crate::drive::{FileVersion, VaultSource};
use crate::vaults::OpenVault;

/// Opened pages kept: those of a path, and their neighbours.
const RECENT_BYTES: usize = 16 << 20;

/// Why a snapshot does not show what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrowseError {
    /// Only the vault's clients have its key.
    #[error("the vault is sealed")]
    Sealed,
    /// There is nothing at this path.
    #[error("there is no such file or folder in this snapshot")]
    NotFound,
    /// Something on the way cannot be read.
    #[error("the snapshot cannot be read")]
    Read(#[from] ReadError<StoreError>),
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// The snapshot's `/`, by its tree.
    Root(ObjectId),
    /// Anything below.
    Entry(Entry),
}

impl Node {
    /// The tree of a folder.
    pub(crate) fn tree(&self) -> Option<ObjectId> {
        match self {
            Self::Root(tree) => Some(*tree),
            Self::Entry(entry) => tree_of(entry),
        }
    }
}

/// Part of a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    /// By name.
    pub(crate) entries: Vec<Entry>,
    /// Whether others follow.
    pub(crate) is_more: bool,
    /// Pages passed over because they cannot be read.
    pub(crate) unreadable: u64,
}

/// Reads the snapshots of one vault.
pub(crate) struct Browser {
    reader: Reader<VaultSource>,
}

impl Browser {
    /// Reads the snapshots of `vault`.
    ///
    /// # Errors
    /// [`BrowseError::Sealed`].
    pub(crate) fn new(store: &Store, vault: &OpenVault) -> Result<Self, BrowseError> {
        let managed = vault.managed().ok_or(BrowseError::Sealed)?;
        let source = VaultSource { store: store.clone(), vault: vault.id };
        Ok(Self { reader: Reader::new(source, Arc::clone(&managed.keys), RECENT_BYTES) })
    }

    /// What the makers of these snapshots wrote into them, as far as it can be read.
    pub(crate) fn details(&mut self, ids: &[ObjectId]) -> Vec<Result<Snapshot, BrowseError>> {
        // Fetched together; one that is damaged does not hide the others.
        let together = self.reader.objects(ids).ok();
        let mut details = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            let object = match &together {
                Some(objects) => Ok(objects[index].clone()),
                None => self.reader.object(*id),
            };
            let decoded = object
                .and_then(|object| Snapshot::decode(&object).map_err(|source| ReadError::Page { id: *id, source }));
            details.push(decoded.map_err(BrowseError::from));
        }
        details
    }

    /// The tree of a snapshot's `/`.
    ///
    /// # Errors
    /// [`BrowseError::Read`].
    pub(crate) fn root(&mut self, snapshot: ObjectId) -> Result<ObjectId, BrowseError> {
        let object = self.reader.object(snapshot)?;
        let decoded = Snapshot::decode(&object).map_err(|source| ReadError::Page { id: snapshot, source });
        Ok(decoded?.tree)
    }

    /// What is at `path`, below `root`; reads one page per folder and level.
    ///
    /// # Errors
    /// [`BrowseError::NotFound`], [`BrowseError::Read`].
    pub(crate) fn find(&mut self, root: ObjectId, path: &TreePath) -> Result<Node, BrowseError> {
        let mut node = Node::Root(root);
        for name in path.names() {
            let tree = node.tree().ok_or(BrowseError::NotFound)?;
            node = Node::Entry(self.reader.lookup(tree, name)?.ok_or(BrowseError::NotFound)?);
        }
        Ok(node)
    }

    /// At most `limit` entries of a folder, those behind the name `after`.
    ///
    /// # Errors
    /// [`BrowseError::Read`] when the store fails.
    pub(crate) fn list(&mut self, tree: ObjectId, after: Vec<u8>, limit: usize) -> Result<Listing, BrowseError> {
        let mut cursor = TreeCursor::after(tree, after);
        let mut listing = Listing { entries: Vec::new(), is_more: false, unreadable: 0 };
        while let Some(entry) = next(&mut self.reader, &mut cursor, &mut listing.unreadable)? {
            if listing.entries.len() == limit {
                listing.is_more = true;
                break;
            }
            listing.entries.push(entry);
        }
        Ok(listing)
    }
}

/// The next entry that can be read.
fn next(
    reader: &mut Reader<VaultSource>,
    cursor: &mut TreeCursor,
    unreadable: &mut u64,
) -> Result<Option<Entry>, BrowseError> {
    loop {
        match cursor.next(reader) {
            Ok(entry) => return Ok(entry),
            Err(ReadError::Source(error)) => return Err(ReadError::Source(error).into()),
            Err(error) => {
                tracing::warn!(%error, "a page of a folder cannot be read");
                *unreadable += 1;
            }
        }
    }
}

/// The tree of a folder.
pub(crate) fn tree_of(entry: &Entry) -> Option<ObjectId> {
    match entry.kind {
        EntryKind::Directory { tree } => Some(tree),
        _ => None,
    }
}

/// A file of a snapshot, as the drive's downloads have files. Its version is made of its content: where the content is the
/// same, so is the version.
pub(crate) fn file_of(entry: &Entry) -> Option<FileVersion> {
    let EntryKind::File { size, content } = entry.kind else { return None };
    let mtime = entry.metadata.mtime;
    Some(FileVersion {
        version: version_of(content.id()),
        content: match content {
            Content::Empty => DriveContent::Empty,
            Content::Chunk(id) => DriveContent::Chunk(id),
            Content::List(id) => DriveContent::List(id),
        },
        size,
        mtime: proto::Timestamp::new(mtime.secs, mtime.nanos).expect("vault checked the nanoseconds"),
        mode: entry.metadata.mode,
        sha256: None,
        received_ms: 0,
    })
}

/// Tells contents apart: 0 for none.
pub(crate) fn version_of(content: Option<ObjectId>) -> u64 {
    content.map_or(0, |id| u64::from_le_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes")))
}
