//! [`Contents`]: what a mirror is of, folder by folder, and the bytes of its files.

use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;
use std::vec;

use host_fs::{HostError, Name, RestoreDir, Restored, SourceFile};
use object::{ObjectId, VaultId};
use proto::{DriveNode, DrivePath};
use rustix::process::{getegid, geteuid};
use store::{Store, StoreError};
use vault::{
    Content, Entry, EntryKind, Keys, Metadata, Piece, PieceCursor, PlainObject, ReadError, Reader, Snapshot, Timestamp,
    TreeCursor,
};

use crate::admin::affected::StoreSource;
use crate::drive::{DriveError, DriveView, content_of};
use crate::failure::Failure;
use crate::home::failed;

/// A folder of what is mirrored.
#[derive(Clone, Debug)]
pub(super) enum Folder {
    /// Of a snapshot.
    Tree(ObjectId),
    /// Of a drive.
    Drive(DrivePath),
    /// There is none: whatever the mirror put there goes.
    Gone,
}

impl Folder {
    /// The folder that `entry`, which is in this one, is; `None` when its path is too long for a drive.
    pub(super) fn child(&self, entry: &Entry, tree: ObjectId) -> Option<Self> {
        Some(match self {
            Self::Tree(_) => Self::Tree(tree),
            Self::Drive(path) => {
                let separator: &[u8] = if path.is_root() { b"" } else { b"/" };
                Self::Drive(DrivePath::new([path.as_bytes(), separator, &entry.name].concat().into())?)
            }
            Self::Gone => Self::Gone,
        })
    }

    /// Whether its folders have times and owners.
    pub(super) fn has_metadata(&self) -> bool {
        matches!(self, Self::Tree(_))
    }
}

/// The entries of a folder, names ascending, as far as it was not forged.
pub(super) enum Entries {
    /// Page by page.
    Tree(TreeCursor),
    /// All at once.
    Listed(vec::IntoIter<Entry>),
}

/// Hears of bytes that were read; `Err` ends the whole run.
pub(super) type OnBytes<'a> = &'a mut dyn FnMut(u64) -> Result<(), Failure>;

/// Why something cannot be had.
pub(super) enum Trouble {
    /// It is damaged, and nothing else is.
    Damage(String),
    /// The store fails as a whole, or nobody wants more of it.
    Store(Failure),
}

impl From<ReadError<StoreError>> for Trouble {
    fn from(error: ReadError<StoreError>) -> Self {
        match error {
            ReadError::Source(error) => Self::Store(failed("cannot read what is stored", &error)),
            error => Self::Damage(told(&error)),
        }
    }
}

/// An error with all its causes.
pub(super) fn told(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        message.push_str(&format!(": {error}"));
        next = error.source();
    }
    message
}

/// What is mirrored: folders and bytes of one vault.
pub(super) struct Contents {
    store: Store,
    vault: VaultId,
    keys: Arc<Keys>,
    reader: Reader<StoreSource>,
}

impl Contents {
    pub(super) fn new(store: &Store, vault: VaultId, keys: Arc<Keys>) -> Self {
        let reader = StoreSource::reader(store, vault, Arc::clone(&keys));
        Self { store: store.clone(), vault, keys, reader }
    }

    /// The folder of a snapshot's `/`.
    pub(super) fn snapshot(&mut self, id: ObjectId) -> Result<Folder, Trouble> {
        let object = self.reader.object(id)?;
        let decoded = Snapshot::decode(&object).map_err(|source| ReadError::Page { id, source })?;
        Ok(Folder::Tree(decoded.tree))
    }

    /// Begins a folder. One of a drive is listed as a whole.
    pub(super) fn enter(&self, folder: &Folder) -> Result<Entries, Trouble> {
        let path = match folder {
            Folder::Tree(tree) => return Ok(Entries::Tree(TreeCursor::new(*tree))),
            Folder::Gone => return Ok(Entries::Listed(Vec::new().into_iter())),
            Folder::Drive(path) => path,
        };
        match DriveView::new(&self.store, self.vault, &self.keys).list(path) {
            Ok(listed) => {
                let entries: Vec<Entry> = listed.into_iter().filter_map(drive_entry).collect();
                Ok(Entries::Listed(entries.into_iter()))
            }
            // It went while the mirror was on its way there.
            Err(DriveError::NotFound) => Ok(Entries::Listed(Vec::new().into_iter())),
            Err(DriveError::Store(error)) => Err(Trouble::Store(failed("cannot read the drive", &error))),
            Err(error) => Err(Trouble::Damage(told(&error))),
        }
    }

    /// The next entry. After damage the entries go on behind it.
    pub(super) fn next(&mut self, entries: &mut Entries) -> Result<Option<Entry>, Trouble> {
        match entries {
            Entries::Tree(cursor) => Ok(cursor.next(&mut self.reader)?),
            Entries::Listed(listed) => Ok(listed.next()),
        }
    }

    /// Writes a file; the inner error is the folder's. Damage leaves nothing new behind.
    pub(super) fn write(
        &mut self,
        dir: &RestoreDir,
        name: Name<'_>,
        (content, size): (Content, u64),
        metadata: &Metadata,
        on_bytes: OnBytes<'_>,
    ) -> Result<Result<Restored, HostError>, Trouble> {
        // Not by the shortcut for small files, which takes the name before the content is there: a process that dies in
        // between would leave what looks like somebody's change.
        let file = match dir.create_file(name, size) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let is_whole = self.each_piece(content, size, on_bytes, |offset, bytes| file.write_at(offset, bytes));
        match is_whole? {
            Ok(()) => Ok(file.finish(metadata)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Whether a file holds just this.
    pub(super) fn is_in(
        &mut self,
        file: &SourceFile,
        (content, size): (Content, u64),
        on_bytes: OnBytes<'_>,
    ) -> Result<bool, Trouble> {
        let mut found = Vec::new();
        // Where there is a hole, a file that has bytes has another time, too.
        let compared = self.each_piece(content, size, on_bytes, |offset, bytes| {
            found.resize(bytes.len(), 0);
            match file.read_at(offset, &mut found) {
                Ok(len) if len == bytes.len() && found == bytes => Ok(()),
                _ => Err(()),
            }
        });
        Ok(compared?.is_ok())
    }

    /// Gives out the chunks of a file, checked against their ids, each with its place; `Err` when `take` wants no more.
    fn each_piece<E>(
        &mut self,
        content: Content,
        size: u64,
        on_bytes: OnBytes<'_>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Trouble> {
        let mut pieces = PieceCursor::new(content, size);
        let mut offset = 0u64;
        while let Some(piece) = pieces.next(&mut self.reader)? {
            if let Piece::Chunk { len, id } = piece {
                let bytes = self.chunk(id, len)?;
                on_bytes(len).map_err(Trouble::Store)?;
                if let Err(error) = take(offset, &bytes) {
                    return Ok(Err(error));
                }
            }
            offset = offset.saturating_add(piece.span_len());
            if offset > size {
                break;
            }
        }
        if offset != size {
            return Err(Trouble::Damage(format!("its list makes {offset} bytes, its entry says {size}")));
        }
        Ok(Ok(()))
    }

    fn chunk(&mut self, id: ObjectId, len: u64) -> Result<impl Deref<Target = [u8]> + use<>, Trouble> {
        let body = self.reader.object(id).and_then(PlainObject::into_chunk)?;
        if body.len() as u64 == len {
            Ok(body)
        } else {
            Err(Trouble::Damage(format!("a chunk of {len} bytes has {}", body.len())))
        }
    }
}

/// An entry of a drive as one of a snapshot would be. Files belong to the server's user; folders have neither owner nor time.
fn drive_entry(entry: proto::DriveEntry) -> Option<Entry> {
    let name = entry.name?.as_bytes().to_vec();
    let kind = match entry.node {
        DriveNode::Directory => EntryKind::Directory { tree: ObjectId::from_bytes([0; ObjectId::LEN]) },
        DriveNode::File { size, content } => EntryKind::File { size, content: content_of(content) },
    };
    let mtime = Timestamp { secs: entry.mtime.secs(), nanos: entry.mtime.nanos() };
    Some(Entry { name, kind, metadata: Metadata { mode: entry.mode, mtime, ..own_metadata() } })
}

/// Of what belongs to the server's user.
pub(super) fn own_metadata() -> Metadata {
    Metadata { uid: geteuid().as_raw(), gid: getegid().as_raw(), ..Metadata::default() }
}
