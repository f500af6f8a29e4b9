//! [`DriveView`]: reads the names of a drive.

use object::VaultId;
use proto::limits::PATH_LEN_MAX;
use proto::{
    DriveContent, DriveEntry, DriveName, DriveNode, DrivePath, DriveTrash, DriveTrashed, Timestamp, TrashedItem,
};
use store::{DrivePlace, NodeId, Store};
use vault::{Keys, SealedName};

use crate::clock;
use crate::drive::batches::each_batch;
use crate::drive::content::from_stored;
use crate::drive::metadata::Metadata;
use crate::drive::names::{ROOT_SALT, name_key, salt};
use crate::drive::{DriveError, Properties};

/// Entries read from the catalog at once.
const BATCH: usize = 4000;
/// Most files of one size among which a content is looked for.
const CONTENTS_COMPARED_MAX: usize = 256;
/// Directories of a drive have no metadata of their own.
const DIRECTORY_MODE: u32 = 0o755;

/// One state of a file.
#[derive(Clone, Debug)]
pub(crate) struct FileVersion {
    /// Grows with every change to the drive.
    pub(crate) version: u64,
    /// Where the bytes are.
    pub(crate) content: DriveContent,
    /// How many.
    pub(crate) size: u64,
    /// When they were changed last.
    pub(crate) mtime: Timestamp,
    /// Unix permission bits.
    pub(crate) mode: u32,
    /// Of all of them, where the server has seen them whole.
    pub(crate) sha256: Option<[u8; 32]>,
    /// When it was put.
    pub(crate) received_ms: u64,
}

impl FileVersion {
    /// What is to be known of it where it is put once more.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata { mtime: Some(self.mtime), mode: self.mode, sha256: self.sha256 }
    }
}

/// Where something is, and what it is called.
pub(crate) struct Placed {
    pub(crate) node: NodeId,
    pub(crate) parent: NodeId,
    /// For people: what is not UTF-8 in it is replaced.
    pub(crate) name: String,
    /// Itself; what it is in may be, too.
    pub(crate) is_trashed: bool,
    /// The newest state of a file.
    pub(crate) file: Option<FileVersion>,
}

/// Reads a drive.
pub(crate) struct DriveView<'a> {
    store: &'a Store,
    vault: VaultId,
    keys: &'a Keys,
}

impl<'a> DriveView<'a> {
    pub(crate) fn new(store: &'a Store, vault: VaultId, keys: &'a Keys) -> Self {
        Self { store, vault, keys }
    }

    /// Whose drive it is.
    pub(crate) fn vault(&self) -> VaultId {
        self.vault
    }

    /// The number of the last change to the drive.
    ///
    /// # Errors
    /// [`DriveError::Store`].
    pub(crate) fn version(&self) -> Result<u64, DriveError> {
        Ok(self.store.drive_version(self.vault)?)
    }

    /// One entry; for the root it has no name.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path.
    pub(crate) fn stat(&self, path: &DrivePath) -> Result<DriveEntry, DriveError> {
        let node = self.find(path)?;
        self.entry(path.name(), node)
    }

    /// All entries of a directory, in byte order of their names. Memory: the whole directory.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is no directory at this path.
    pub(crate) fn list(&self, path: &DrivePath) -> Result<Vec<DriveEntry>, DriveError> {
        let directory = self.find(path)?;
        if directory.file.is_some() {
            return Err(DriveError::NotFound);
        }
        let salt = salt(&directory.sealed_name);
        let mut entries = Vec::new();
        let read = |after| self.store.drive_list(self.vault, directory.id, after, BATCH).map_err(DriveError::from);
        each_batch(
            BATCH,
            None,
            |node| Some(node.id),
            read,
            |nodes| {
                for node in nodes {
                    let name = SealedName::from_bytes(node.sealed_name.clone()).open(self.keys, salt).ok();
                    let name = name.and_then(|name| DriveName::new(name.into())).ok_or(DriveError::Unreadable)?;
                    entries.push(self.entry(Some(name), node)?);
                }
                Ok(())
            },
        )?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// One page of what was removed, newest first; each can be brought back for `delay_ms` after it went.
    ///
    /// # Errors
    /// [`DriveError`].
    pub(crate) fn trash(&self, asked: &DriveTrash, delay_ms: u64) -> Result<DriveTrashed, DriveError> {
        let before = asked.before.map(|number| NodeId(i64::try_from(number).unwrap_or(i64::MAX)));
        let limit = asked.limit as usize;
        let mut found = self.store.drive_trash(self.vault, before, limit + 1)?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let number = |node: NodeId| u64::try_from(node.0).unwrap_or_default();
        let next = found.last().filter(|_| has_more).map(|last| number(last.node));
        let mut items = Vec::with_capacity(found.len());
        for entry in found {
            let trashed_ms = clock::wire_ms(entry.trashed);
            items.push(TrashedItem {
                number: number(entry.node),
                path: self.open_path(entry.sealed_path)?,
                size: entry.size,
                trashed_ms,
                purge_ms: trashed_ms.saturating_add(delay_ms),
            });
        }
        Ok(DriveTrashed { items, next })
    }

    /// The path of an entry, cut from the front when it is longer than paths may be.
    ///
    /// # Errors
    /// [`DriveError::Unreadable`] when a name does not open.
    pub(crate) fn open_path(&self, sealed_names: Vec<Vec<u8>>) -> Result<DrivePath, DriveError> {
        let mut folder_salt = ROOT_SALT;
        let mut names = Vec::new();
        for sealed in sealed_names {
            let own_salt = salt(&sealed);
            let name =
                SealedName::from_bytes(sealed).open(self.keys, folder_salt).map_err(|_| DriveError::Unreadable)?;
            names.push(name);
            folder_salt = own_salt;
        }
        let mut path = names.join(&b'/');
        if path.len() > PATH_LEN_MAX {
            let start = path.len() - PATH_LEN_MAX;
            path.drain(..path[start..].iter().position(|byte| *byte == b'/').map_or(start, |at| start + at + 1));
        }
        DrivePath::new(path.into()).ok_or(DriveError::Unreadable)
    }

    /// Where something is now; `None` when it is gone, or in the trash.
    ///
    /// # Errors
    /// [`DriveError`].
    pub(crate) fn path_of(&self, node: NodeId) -> Result<Option<DrivePath>, DriveError> {
        let Some(sealed_names) = self.store.drive_path(self.vault, node)? else { return Ok(None) };
        self.open_path(sealed_names).map(Some)
    }

    /// What something is called, in the trash or not: the salt of its folder, its name, and the same sealed.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when it is gone.
    pub(super) fn name_of_any(&self, node: NodeId) -> Result<(i64, Vec<u8>, Vec<u8>), DriveError> {
        let mut path = self.store.drive_path_of_any(self.vault, node)?.ok_or(DriveError::NotFound)?;
        let sealed = path.pop().ok_or(DriveError::NotFound)?;
        let folder_salt = path.last().map_or(ROOT_SALT, |folder| salt(folder));
        let name = SealedName::from_bytes(sealed.clone()).open(self.keys, folder_salt);
        Ok((folder_salt, name.map_err(|_| DriveError::Unreadable)?, sealed))
    }

    /// The number of what is at a path, and whether it is a directory.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path.
    pub(crate) fn node_at(&self, path: &DrivePath) -> Result<(NodeId, bool), DriveError> {
        let node = self.find(path)?;
        Ok((node.id, node.file.is_none()))
    }

    /// Hands over what was made, moved, removed, brought back or given a new state after the drive's version `after`.
    ///
    /// # Errors
    /// [`DriveError`], of `take` too.
    pub(crate) fn places(
        &self,
        after: u64,
        mut take: impl FnMut(Placed) -> Result<(), DriveError>,
    ) -> Result<(), DriveError> {
        let read = |after| self.store.drive_places(self.vault, after, BATCH).map_err(DriveError::from);
        each_batch(
            BATCH,
            after,
            |place: &DrivePlace| place.changed,
            read,
            |places| places.into_iter().try_for_each(|place| take(self.open_place(place)?)),
        )
    }

    fn open_place(&self, place: DrivePlace) -> Result<Placed, DriveError> {
        let folder_salt = salt(&place.parent_sealed_name);
        let name = SealedName::from_bytes(place.sealed_name).open(self.keys, folder_salt);
        let name = name.map_err(|_| DriveError::Unreadable)?;
        let file = place.file.map(|version| self.open_version(version)).transpose()?;
        Ok(Placed {
            node: place.node,
            parent: place.parent,
            name: String::from_utf8_lossy(&name).into_owned(),
            is_trashed: place.is_trashed,
            file,
        })
    }

    fn find(&self, path: &DrivePath) -> Result<store::DriveNode, DriveError> {
        let mut node = self.store.drive_find(self.vault, &[])?.ok_or(DriveError::NotFound)?;
        let mut keys = Vec::new();
        for name in path.names() {
            keys.push(name_key(self.keys, salt(&node.sealed_name), &name));
            node = self.store.drive_find(self.vault, &keys)?.ok_or(DriveError::NotFound)?;
        }
        Ok(node)
    }

    /// The newest state of the file at a path; `None` for a directory.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path.
    pub(crate) fn look(&self, path: &DrivePath) -> Result<Option<FileVersion>, DriveError> {
        self.find(path)?.file.map(|version| self.open_version(version)).transpose()
    }

    /// What clients want to be remembered of the entry at a path.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path.
    pub(crate) fn properties(&self, path: &DrivePath) -> Result<Properties, DriveError> {
        let node = self.find(path)?;
        let sealed = self.store.drive_properties(node.id)?;
        Properties::open(sealed, self.keys, salt(&node.sealed_name)).ok_or(DriveError::Unreadable)
    }

    /// All states of the file at a path, newest first.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is no file at this path.
    pub(crate) fn versions(&self, path: &DrivePath) -> Result<Vec<FileVersion>, DriveError> {
        let node = self.find(path)?;
        if node.file.is_none() {
            return Err(DriveError::NotFound);
        }
        let versions = self.store.drive_versions(self.vault, node.id)?;
        versions.into_iter().map(|version| self.open_version(version)).collect()
    }

    /// Whether some file of the drive has so many bytes, in any state that can be brought back.
    ///
    /// # Errors
    /// [`DriveError`].
    pub(crate) fn has_size(&self, size: u64) -> Result<bool, DriveError> {
        Ok(!self.store.drive_contents(self.vault, size, 1)?.is_empty())
    }

    /// Where these very bytes are, if some file of the drive has them, in any state that can be brought back. Of many files
    /// of one size, those made last are looked at.
    ///
    /// # Errors
    /// [`DriveError`].
    pub(crate) fn find_content(&self, size: u64, sha256: &[u8; 32]) -> Result<Option<DriveContent>, DriveError> {
        for version in self.store.drive_contents(self.vault, size, CONTENTS_COMPARED_MAX)? {
            let file = self.open_version(version)?;
            if file.sha256.as_ref() == Some(sha256) {
                return Ok(Some(file.content));
            }
        }
        Ok(None)
    }

    fn open_version(&self, version: store::DriveVersion) -> Result<FileVersion, DriveError> {
        let content = from_stored(version.content);
        let metadata = Metadata::open(version.sealed_metadata, self.keys, content).ok_or(DriveError::Unreadable)?;
        let received_ms = clock::wire_ms(version.received);
        Ok(FileVersion {
            version: version.version,
            content,
            size: version.size,
            mtime: metadata.mtime.unwrap_or_else(|| timestamp(version.received.0)),
            mode: metadata.mode,
            sha256: metadata.sha256,
            received_ms,
        })
    }

    fn entry(&self, name: Option<DriveName>, node: store::DriveNode) -> Result<DriveEntry, DriveError> {
        let Some(file) = node.file else {
            let mtime = Timestamp::new(0, 0).expect("no nanoseconds");
            return Ok(DriveEntry {
                name,
                node: DriveNode::Directory,
                mtime,
                mode: DIRECTORY_MODE,
                version: node.version,
            });
        };
        let version = node.version;
        let FileVersion { content, size, mtime, mode, .. } = self.open_version(file)?;
        Ok(DriveEntry { name, node: DriveNode::File { size, content }, mtime, mode, version })
    }
}

/// A moment in milliseconds since 1970.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    let nanos = u32::try_from(ms.rem_euclid(1000)).expect("below 1000") * 1_000_000;
    Timestamp::new(ms.div_euclid(1000), nanos).expect("nanoseconds are below 10^9")
}
