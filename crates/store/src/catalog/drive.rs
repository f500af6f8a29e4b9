//! Drives: the live files of a vault. Names arrive as keyed hashes and sealed text; rows change in the commit only.

use object::{ObjectId, VaultId};
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::{clock, row, rows, signed, unknown_number, unsigned, uploads};
use crate::commit::Checked;
use crate::ids::VaultKey;
use crate::{NameKey, NodeId, Store, StoreError, UnixMs, UploadId};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveContent {
    /// No bytes.
    Empty,
    /// One chunk.
    Chunk(ObjectId),
    /// A list of chunks.
    List(ObjectId),
}

impl DriveContent {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Chunk(_) => 1,
            Self::List(_) => 2,
        }
    }

    pub(crate) fn id(self) -> Option<ObjectId> {
        match self {
            Self::Empty => None,
            Self::Chunk(id) | Self::List(id) => Some(id),
        }
    }
}

/// One state of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveVersion {
    /// Grows with every change to the drive, so it never comes twice.
    pub version: u64,
    /// The file's bytes.
    pub content: DriveContent,
    /// How many.
    pub size: u64,
    /// Times, modes and the like, as the caller sealed them.
    pub sealed_metadata: Vec<u8>,
    /// When it was put.
    pub received: UnixMs,
}

/// A file or directory of a drive that is not in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveNode {
    /// Its number; stays when the file gets a new version.
    pub id: NodeId,
    /// Its name, hashed.
    pub name_key: NameKey,
    /// Its name, as the caller sealed it.
    pub sealed_name: Vec<u8>,
    /// Version of the last change to it.
    pub version: u64,
    /// Its newest state; directories have none.
    pub file: Option<DriveVersion>,
}

/// One step of a path, as a name that may have to be made.
#[derive(Clone, Copy, Debug)]
pub struct DriveName<'a> {
    /// Keyed hash of the name.
    pub key: NameKey,
    /// The name, sealed.
    pub sealed: &'a [u8],
}

/// A change to a drive.
#[derive(Clone, Copy, Debug)]
pub enum DriveChange<'a> {
    /// Gives a file its next version; makes it, and directories on the way, where they are missing.
    Put {
        /// From the root; not empty.
        path: &'a [DriveName<'a>],
        /// The file's present version, 0 for none. Refused when it is another.
        expected_version: Option<u64>,
        /// The new bytes.
        content: DriveContent,
        /// How many.
        size: u64,
        /// Times, modes and the like, sealed.
        sealed_metadata: &'a [u8],
    },
    /// Makes a directory, and those on the way to it. Refused when something has its name.
    MakeDirectory {
        /// From the root; not empty.
        path: &'a [DriveName<'a>],
    },
    /// Gives a file, or a directory with all in it, another place or name; its versions go along, and no bytes move.
    Move {
        /// From the root; not empty.
        from: &'a [NameKey],
        /// From the root; not empty. Directories on the way are made where they are missing; the name is free.
        to: &'a [DriveName<'a>],
        /// The present version. Refused when it is another.
        expected_version: Option<u64>,
    },
    /// Moves a file, or a directory with all in it, to the trash.
    Remove {
        /// From the root; not empty.
        path: &'a [NameKey],
        /// The present version. Refused when it is another.
        expected_version: Option<u64>,
    },
    /// Brings a file, or a directory with all in it, back from the trash; of several that were there, the one removed
    /// last.
    Undelete {
        /// From the root; not empty.
        path: &'a [NameKey],
    },
    /// Brings exactly this file, or directory with all in it, back from the trash, into the directory it was in. What the
    /// key of the commit remembers is the node, not the name.
    BringBack {
        /// Which, as [`drive_trash`](Store::drive_trash) said.
        node: NodeId,
        /// What it is called from now on; `None`: as it was.
        name: Option<DriveName<'a>>,
    },
    /// Remembers what a client wants to be remembered of a file or directory, in place of what was.
    SetProperties {
        /// From the root.
        path: &'a [NameKey],
        /// All of it, sealed; at most [`DRIVE_PROPERTIES_LEN_MAX`], empty for nothing.
        sealed: &'a [u8],
    },
    /// Says that a file that came in part by part is what it was to become. Has no version: 0.
    EndUpload {
        /// Which.
        upload: UploadId,
        /// What it was made of; they are forgotten.
        parts: &'a [UploadId],
    },
}

/// Longest sealed properties of one file or directory.
pub const DRIVE_PROPERTIES_LEN_MAX: usize = 10 << 10;
/// Most files and directories of a vault that have some.
const WITH_PROPERTIES_MAX: u64 = 10_000;

/// Where something of a drive is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrivePlace {
    /// Which.
    pub node: NodeId,
    /// The directory it is in.
    pub parent: NodeId,
    /// Its name, as the caller sealed it.
    pub sealed_name: Vec<u8>,
    /// That of the directory.
    pub parent_sealed_name: Vec<u8>,
    /// Whether it is in the trash, itself.
    pub is_trashed: bool,
    /// The newest state of a file.
    pub file: Option<DriveVersion>,
    /// The drive's version since which all this is so.
    pub changed: u64,
}

/// An entry of a drive's trash: what was removed, not what was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveTrashed {
    /// Its number.
    pub node: NodeId,
    /// Its name and those of the directories it was in, as the caller sealed them; from the root.
    pub sealed_path: Vec<Vec<u8>>,
    /// Bytes in a file; `None` for a directory.
    pub size: Option<u64>,
    /// Since when it is there.
    pub trashed: UnixMs,
}

impl Store {
    /// The file or directory at this path from the root; the empty path is the root.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_find(&self, vault: VaultId, path: &[NameKey]) -> Result<Option<DriveNode>, StoreError> {
        let vault = self.vault_key(vault)?;
        self.catalog().read(|catalog| {
            let mut node = root(catalog, vault)?;
            for name in path {
                match child(catalog, node, *name)? {
                    Some(entry) => node = entry.node,
                    None => return Ok(None),
                }
            }
            row(catalog, &format!("{SELECT_NODE} {WITH_VERSION} WHERE drive_node.node = ?1"), [node.0], node_row)
        })
    }

    /// The number of the last change to a drive.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_version(&self, vault: VaultId) -> Result<u64, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT drive_version FROM vault WHERE vault = ?1";
        let version = self.catalog().read(|catalog| row(catalog, sql, [vault.0], |row| unsigned(row, 0)))?;
        version.ok_or(StoreError::NotFound { what: "vault" })
    }

    /// What was made, moved, removed, brought back or given a new state after the drive's version `after`, oldest first,
    /// `limit` of them at most: each as it is now. After version 0 that is all there is, but the root.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_places(&self, vault: VaultId, after: u64, limit: usize) -> Result<Vec<DrivePlace>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT here.node, here.parent, here.sealed_name, above.sealed_name, here.trashed_ms IS NOT NULL,
                       max(here.placed, here.version), here.is_dir,
                       drive_version.version, content_kind, content, size, sealed_metadata, received_ms
                   FROM drive_node here JOIN drive_node above ON above.node = here.parent
                   LEFT JOIN drive_version ON drive_version.node = here.node AND drive_version.version = here.version
                   WHERE here.vault = ?1 AND max(here.placed, here.version) > ?2
                   ORDER BY max(here.placed, here.version) LIMIT ?3";
        self.catalog().read(|catalog| {
            rows(catalog, sql, (vault.0, signed(after), signed(limit as u64)), |row| {
                Ok(DrivePlace {
                    node: NodeId(row.get(0)?),
                    parent: NodeId(row.get(1)?),
                    sealed_name: row.get(2)?,
                    parent_sealed_name: row.get(3)?,
                    is_trashed: row.get(4)?,
                    changed: unsigned(row, 5)?,
                    file: if row.get(6)? { None } else { Some(version_row(row, 7)?) },
                })
            })
        })
    }

    /// The names on the way to something of a drive, from the root; `None` when it is gone, or in the trash.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_path(&self, vault: VaultId, node: NodeId) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let vault = self.vault_key(vault)?;
        self.catalog().read(|catalog| match is_out_of_trash(catalog, vault, node)? {
            true => sealed_path(catalog, node).map(Some),
            false => Ok(None),
        })
    }

    /// The names on the way to something of a drive, in the trash or not, from the root; `None` when it is gone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_path_of_any(&self, vault: VaultId, node: NodeId) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT 1 FROM drive_node WHERE node = ?1 AND vault = ?2";
        self.catalog().read(|catalog| match row(catalog, sql, (node.0, vault.0), |_| Ok(()))? {
            Some(()) => sealed_path(catalog, node).map(Some),
            None => Ok(None),
        })
    }

    /// Lists a directory in the order of the nodes' numbers, after `after`, `limit` entries at most. In this order they lie
    /// in the catalog: a large directory is read from one end to the other.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_list(
        &self,
        vault: VaultId,
        directory: NodeId,
        after: Option<NodeId>,
        limit: usize,
    ) -> Result<Vec<DriveNode>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = format!(
            "{SELECT_NODE} INDEXED BY drive_node_by_parent {WITH_VERSION}
             WHERE parent = ?1 AND trashed_ms IS NULL AND drive_node.node > ?2 AND vault = ?3
             ORDER BY drive_node.node LIMIT ?4"
        );
        let after = after.map_or(0, |node| node.0);
        let limit = signed(limit as u64);
        self.catalog().read(|catalog| rows(catalog, &sql, (directory.0, after, vault.0, limit), node_row))
    }

    /// States of files of a drive that have so many bytes, those in the trash included, of the files made last first: `limit`
    /// at most.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_contents(&self, vault: VaultId, size: u64, limit: usize) -> Result<Vec<DriveVersion>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT drive_version.version, content_kind, content, size, sealed_metadata, received_ms
                   FROM drive_version JOIN drive_node USING (node)
                   WHERE size = ?1 AND vault = ?2
                   ORDER BY drive_version.node DESC, drive_version.version DESC LIMIT ?3";
        self.catalog().read(|catalog| {
            rows(catalog, sql, (signed(size), vault.0, signed(limit as u64)), |row| version_row(row, 0))
        })
    }

    /// What a client wants to be remembered of a file or directory, as the caller sealed it; empty for nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drive_properties(&self, node: NodeId) -> Result<Vec<u8>, StoreError> {
        let sql = "SELECT sealed FROM drive_property WHERE node = ?1";
        self.catalog().read(|catalog| Ok(row(catalog, sql, [node.0], |row| row.get(0))?.unwrap_or_default()))
    }

    /// Whether any file or directory of a drive has such properties.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn has_drive_properties(&self, vault: VaultId) -> Result<bool, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT 1 FROM drive_property WHERE vault = ?1 LIMIT 1";
        self.catalog().read(|catalog| Ok(row(catalog, sql, [vault.0], |_| Ok(()))?.is_some()))
    }

    /// What is in the drive's trash, highest number first: `limit` entries at most, below `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_trash(
        &self,
        vault: VaultId,
        before: Option<NodeId>,
        limit: usize,
    ) -> Result<Vec<DriveTrashed>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT drive_node.node, trashed_ms, size FROM drive_node LEFT JOIN drive_version
                       ON drive_version.node = drive_node.node AND drive_version.version = drive_node.version
                   WHERE vault = ?1 AND trashed_ms IS NOT NULL AND drive_node.node < ?2
                   ORDER BY drive_node.node DESC LIMIT ?3";
        let before = before.map_or(i64::MAX, |node| node.0);
        self.catalog().read(|catalog| {
            let trashed = rows(catalog, sql, (vault.0, before, signed(limit as u64)), |row| {
                Ok(DriveTrashed {
                    node: NodeId(row.get(0)?),
                    sealed_path: Vec::new(),
                    size: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
                    trashed: UnixMs(row.get(1)?),
                })
            })?;
            trashed
                .into_iter()
                .map(|entry| Ok(DriveTrashed { sealed_path: sealed_path(catalog, entry.node)?, ..entry }))
                .collect()
        })
    }

    /// All states of a file, newest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_versions(&self, vault: VaultId, file: NodeId) -> Result<Vec<DriveVersion>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT drive_version.version, content_kind, content, size, sealed_metadata, received_ms
                   FROM drive_version JOIN drive_node USING (node)
                   WHERE node = ?1 AND vault = ?2 ORDER BY drive_version.version DESC";
        self.catalog().read(|catalog| rows(catalog, sql, (file.0, vault.0), |row| version_row(row, 0)))
    }
}

const SELECT_NODE: &str = "SELECT drive_node.node, name_key, sealed_name, drive_node.version, is_dir,
        drive_version.version, content_kind, content, size, sealed_metadata, received_ms
    FROM drive_node";
const WITH_VERSION: &str = "LEFT JOIN drive_version
        ON drive_version.node = drive_node.node AND drive_version.version = drive_node.version";

fn set_properties(tx: &Transaction<'_>, vault: VaultKey, node: NodeId, sealed: &[u8]) -> Result<(), StoreError> {
    if sealed.is_empty() {
        tx.execute("DELETE FROM drive_property WHERE node = ?1", [node.0])?;
        return Ok(());
    }
    if sealed.len() > DRIVE_PROPERTIES_LEN_MAX {
        return Err(StoreError::Invalid { what: "more properties than one entry may have" });
    }
    let sql = "SELECT count(*) FROM drive_property WHERE vault = ?1 AND node <> ?2";
    let others: u64 = row(tx, sql, (vault.0, node.0), |row| unsigned(row, 0))?.unwrap_or_default();
    if others >= WITH_PROPERTIES_MAX {
        return Err(StoreError::Invalid { what: "too many entries of the drive have properties" });
    }
    tx.execute("INSERT OR REPLACE INTO drive_property VALUES (?1, ?2, ?3)", (node.0, vault.0, sealed))?;
    Ok(())
}

fn node_row(row: &Row<'_>) -> rusqlite::Result<DriveNode> {
    let name: Vec<u8> = row.get(1)?;
    let is_dir: bool = row.get(4)?;
    Ok(DriveNode {
        id: NodeId(row.get(0)?),
        // The root's name is empty; nobody asks for its key.
        name_key: NameKey::from_bytes(name.try_into().unwrap_or_default()),
        sealed_name: row.get(2)?,
        version: unsigned(row, 3)?,
        file: if is_dir { None } else { Some(version_row(row, 5)?) },
    })
}

fn version_row(row: &Row<'_>, first: usize) -> rusqlite::Result<DriveVersion> {
    Ok(DriveVersion {
        version: unsigned(row, first)?,
        content: content_column(row, first + 1)?,
        size: unsigned(row, first + 3)?,
        sealed_metadata: row.get(first + 4)?,
        received: UnixMs(row.get(first + 5)?),
    })
}

/// Reads the columns `content_kind` and `content`.
pub(crate) fn content_column(row: &Row<'_>, first: usize) -> rusqlite::Result<DriveContent> {
    match row.get(first)? {
        0 => Ok(DriveContent::Empty),
        1 => Ok(DriveContent::Chunk(ObjectId::from_bytes(row.get(first + 1)?))),
        2 => Ok(DriveContent::List(ObjectId::from_bytes(row.get(first + 1)?))),
        number => Err(unknown_number(first, number)),
    }
}

/// A name in a directory.
struct Entry {
    node: NodeId,
    is_dir: bool,
    version: u64,
}

/// A state of a file of a drive, and what it refers to.
pub(crate) struct StateRow {
    pub(crate) node: NodeId,
    pub(crate) version: u64,
    pub(crate) content: ObjectId,
    pub(crate) received: UnixMs,
    pub(crate) is_newest: bool,
}

/// All states of all files of a drive that have any bytes, older ones and those in the trash too, in the order of nodes and
/// versions after this one.
pub(crate) fn states(
    connection: &Connection,
    vault: VaultKey,
    (node, version): (NodeId, u64),
    limit: usize,
) -> Result<Vec<StateRow>, StoreError> {
    let sql = "SELECT drive_node.node, drive_version.version, content, received_ms,
                   drive_version.version = drive_node.version
               FROM drive_version JOIN drive_node ON drive_node.node = drive_version.node
               WHERE vault = ?1 AND content IS NOT NULL
                   AND (drive_version.node, drive_version.version) > (?2, ?3)
               ORDER BY drive_version.node, drive_version.version LIMIT ?4";
    rows(connection, sql, (vault.0, node.0, signed(version), signed(limit as u64)), |row| {
        Ok(StateRow {
            node: NodeId(row.get(0)?),
            version: unsigned(row, 1)?,
            content: ObjectId::from_bytes(row.get(2)?),
            received: UnixMs(row.get(3)?),
            is_newest: row.get(4)?,
        })
    })
}

/// Whether something of a drive, or a directory that it is in, is in the trash.
pub(crate) fn is_trashed(connection: &Connection, node: NodeId) -> Result<bool, StoreError> {
    let sql = "WITH RECURSIVE way (parent, trashed_ms) AS (
                   SELECT parent, trashed_ms FROM drive_node WHERE node = ?1
                   UNION ALL SELECT above.parent, above.trashed_ms
                   FROM drive_node above JOIN way ON above.node = way.parent)
               SELECT count(trashed_ms) > 0 FROM way";
    Ok(row(connection, sql, [node.0], |row| row.get(0))?.unwrap_or_default())
}

/// The names on the way to a node, from the root.
pub(crate) fn sealed_path(connection: &Connection, node: NodeId) -> Result<Vec<Vec<u8>>, StoreError> {
    let sql = "WITH RECURSIVE way (parent, sealed_name, height) AS (
                   SELECT parent, sealed_name, 0 FROM drive_node WHERE node = ?1
                   UNION ALL SELECT above.parent, above.sealed_name, height + 1
                   FROM drive_node above JOIN way ON above.node = way.parent)
               SELECT sealed_name FROM way WHERE parent IS NOT NULL ORDER BY height DESC";
    rows(connection, sql, [node.0], |row| row.get(0))
}

/// Whether this is there, and neither it nor a directory it is in lies in the trash.
fn is_out_of_trash(connection: &Connection, vault: VaultKey, node: NodeId) -> Result<bool, StoreError> {
    let sql = "WITH RECURSIVE way (parent, trashed_ms) AS (
                   SELECT parent, trashed_ms FROM drive_node WHERE node = ?1 AND vault = ?2
                   UNION ALL SELECT above.parent, above.trashed_ms
                   FROM drive_node above JOIN way ON above.node = way.parent)
               SELECT count(*) > 0 AND count(trashed_ms) = 0 FROM way";
    Ok(row(connection, sql, (node.0, vault.0), |row| row.get(0))?.unwrap_or_default())
}

fn root(connection: &Connection, vault: VaultKey) -> Result<NodeId, StoreError> {
    let sql = "SELECT node FROM drive_node WHERE vault = ?1 AND parent IS NULL";
    let root = row(connection, sql, [vault.0], |row| row.get(0).map(NodeId))?;
    root.ok_or(StoreError::NotFound { what: "drive" })
}

fn child(connection: &Connection, directory: NodeId, name: NameKey) -> Result<Option<Entry>, StoreError> {
    let sql = "SELECT node, is_dir, version FROM drive_node
               WHERE parent = ?1 AND name_key = ?2 AND trashed_ms IS NULL";
    row(connection, sql, (directory.0, name.as_bytes()), |row| {
        Ok(Entry { node: NodeId(row.get(0)?), is_dir: row.get(1)?, version: unsigned(row, 2)? })
    })
}

fn check_expected(entry: Option<&Entry>, expected_version: Option<u64>) -> Result<(), StoreError> {
    match expected_version {
        Some(expected) if expected != entry.map_or(0, |entry| entry.version) => {
            Err(StoreError::Conflict { what: "the file has changed" })
        }
        _ => Ok(()),
    }
}

/// Who changes what, when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeContext {
    pub(crate) vault: VaultKey,
    pub(crate) device: Option<i64>,
    pub(crate) generation: u64,
    pub(crate) now: UnixMs,
}

/// Makes a change visible and returns its version.
pub(crate) fn apply(
    checked: &Checked<'_>,
    change: &DriveChange<'_>,
    context: ChangeContext,
) -> Result<u64, StoreError> {
    let tx = checked.transaction();
    match change {
        DriveChange::Put { path, expected_version, content, size, sealed_metadata } => {
            let Some((name, directories)) = path.split_last() else {
                return Err(StoreError::Invalid { what: "the root is not a file" });
            };
            let directory = ensure_directories(tx, directories, context)?;
            let entry = child(tx, directory, name.key)?;
            check_expected(entry.as_ref(), *expected_version)?;
            let version = next_version(tx, context.vault)?;
            let node = match entry {
                Some(Entry { is_dir: true, .. }) => {
                    return Err(StoreError::Conflict { what: "a directory has this name" });
                }
                Some(Entry { node, .. }) => {
                    tx.execute("UPDATE drive_node SET version = ?2 WHERE node = ?1", (node.0, signed(version)))?;
                    node
                }
                None => insert_node(tx, directory, name, false, version, context)?,
            };
            let id = content.id();
            let sql = "INSERT INTO drive_version VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            tx.execute(
                sql,
                (
                    node.0,
                    signed(version),
                    content.number(),
                    id.as_ref().map(|id| &id.as_bytes()[..]),
                    signed(*size),
                    sealed_metadata,
                    context.device,
                    context.now.0,
                    signed(context.generation),
                ),
            )?;
            Ok(version)
        }
        DriveChange::MakeDirectory { path } => {
            let Some((name, directories)) = path.split_last() else {
                return Err(StoreError::Conflict { what: "the root is there already" });
            };
            let directory = ensure_directories(tx, directories, context)?;
            if child(tx, directory, name.key)?.is_some() {
                return Err(StoreError::Conflict { what: "something has this name already" });
            }
            let version = next_version(tx, context.vault)?;
            insert_node(tx, directory, name, true, version, context)?;
            Ok(version)
        }
        DriveChange::Move { from, to, expected_version } => {
            let entry = find_entry(tx, context.vault, from, "the root cannot be moved")?;
            check_expected(Some(&entry), *expected_version)?;
            let Some((name, directories)) = to.split_last() else {
                return Err(StoreError::Conflict { what: "the root is there already" });
            };
            let directory = ensure_directories(tx, directories, context)?;
            if child(tx, directory, name.key)?.is_some_and(|there| there.node != entry.node) {
                return Err(StoreError::Conflict { what: "something has this name already" });
            }
            if is_within(tx, directory, entry.node)? {
                return Err(StoreError::Conflict { what: "a directory cannot be moved into itself" });
            }
            // The number of the newest version names the content, which stays what it was.
            let version = next_version(tx, context.vault)?;
            let sql = "UPDATE drive_node SET parent = ?2, name_key = ?3, sealed_name = ?4, placed = ?5 WHERE node = ?1";
            tx.execute(sql, (entry.node.0, directory.0, name.key.as_bytes(), name.sealed, signed(version)))?;
            Ok(version)
        }
        DriveChange::Remove { path, expected_version } => {
            let entry = find_entry(tx, context.vault, path, "the root cannot be removed")?;
            check_expected(Some(&entry), *expected_version)?;
            let version = next_version(tx, context.vault)?;
            let sql = "UPDATE drive_node SET trashed_ms = ?2, placed = ?3 WHERE node = ?1";
            tx.execute(sql, (entry.node.0, clock::counted(tx, context.now)?.0, signed(version)))?;
            Ok(version)
        }
        DriveChange::Undelete { path } => {
            let Some((name, directories)) = path.split_last() else {
                return Err(StoreError::Invalid { what: "the root is never in the trash" });
            };
            let mut directory = root(tx, context.vault)?;
            for key in directories {
                directory = child(tx, directory, *key)?.ok_or(StoreError::NotFound { what: "directory" })?.node;
            }
            if child(tx, directory, *name)?.is_some() {
                return Err(StoreError::Conflict { what: "something else has this name now" });
            }
            let sql = "SELECT node FROM drive_node WHERE parent = ?1 AND name_key = ?2
                       ORDER BY trashed_ms DESC, node DESC LIMIT 1";
            let node: i64 = row(tx, sql, (directory.0, name.as_bytes()), |row| row.get(0))?
                .ok_or(StoreError::NotFound { what: "file in the trash" })?;
            let version = next_version(tx, context.vault)?;
            let sql = "UPDATE drive_node SET trashed_ms = NULL, placed = ?2 WHERE node = ?1";
            tx.execute(sql, (node, signed(version)))?;
            Ok(version)
        }
        DriveChange::BringBack { node, name } => {
            let sql = "SELECT parent, name_key, sealed_name FROM drive_node
                       WHERE node = ?1 AND vault = ?2 AND trashed_ms IS NOT NULL";
            let found: Option<(i64, Vec<u8>, Vec<u8>)> =
                row(tx, sql, (node.0, context.vault.0), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let (parent, key, sealed) = found.ok_or(StoreError::NotFound { what: "file in the trash" })?;
            if !is_out_of_trash(tx, context.vault, NodeId(parent))? {
                return Err(StoreError::NotFound { what: "directory it was in" });
            }
            let key = name.map_or(key, |name| name.key.as_bytes().to_vec());
            let sealed = name.map_or(sealed, |name| name.sealed.to_vec());
            let sql = "SELECT 1 FROM drive_node WHERE parent = ?1 AND name_key = ?2 AND trashed_ms IS NULL";
            if row(tx, sql, (parent, &key), |_| Ok(()))?.is_some() {
                return Err(StoreError::Conflict { what: "something else has this name now" });
            }
            let version = next_version(tx, context.vault)?;
            let sql = "UPDATE drive_node SET trashed_ms = NULL, name_key = ?2, sealed_name = ?3, placed = ?4
                       WHERE node = ?1";
            tx.execute(sql, (node.0, key, sealed, signed(version)))?;
            Ok(version)
        }
        DriveChange::SetProperties { path, sealed } => {
            let node = match path.is_empty() {
                true => root(tx, context.vault)?,
                false => find_entry(tx, context.vault, path, "the root is looked for elsewhere")?.node,
            };
            set_properties(tx, context.vault, node, sealed)?;
            next_version(tx, context.vault)
        }
        DriveChange::EndUpload { upload, parts } => {
            uploads::end(tx, context.vault, *upload, context.now)?;
            parts.iter().try_for_each(|part| uploads::remove(tx, context.vault, *part).map(drop))?;
            Ok(0)
        }
    }
}

/// What is at this path; `root_is` says why it must not be the root.
fn find_entry(
    tx: &Transaction<'_>,
    vault: VaultKey,
    path: &[NameKey],
    root_is: &'static str,
) -> Result<Entry, StoreError> {
    let Some((name, directories)) = path.split_last() else {
        return Err(StoreError::Invalid { what: root_is });
    };
    let mut directory = root(tx, vault)?;
    for key in directories {
        directory = child(tx, directory, *key)?.ok_or(StoreError::NotFound { what: "file" })?.node;
    }
    child(tx, directory, *name)?.ok_or(StoreError::NotFound { what: "file" })
}

/// Whether a directory is `above` or below it.
fn is_within(tx: &Transaction<'_>, directory: NodeId, above: NodeId) -> Result<bool, StoreError> {
    let sql = "WITH RECURSIVE way (node, parent) AS (
                   SELECT node, parent FROM drive_node WHERE node = ?1
                   UNION ALL SELECT higher.node, higher.parent FROM drive_node higher JOIN way ON higher.node = way.parent)
               SELECT 1 FROM way WHERE node = ?2";
    Ok(row(tx, sql, (directory.0, above.0), |_| Ok(()))?.is_some())
}

fn ensure_directories(
    tx: &Transaction<'_>,
    path: &[DriveName<'_>],
    context: ChangeContext,
) -> Result<NodeId, StoreError> {
    let mut directory = root(tx, context.vault)?;
    for name in path {
        directory = match child(tx, directory, name.key)? {
            Some(Entry { node, is_dir: true, .. }) => node,
            Some(_) => return Err(StoreError::Conflict { what: "a file has the name of a directory" }),
            None => {
                let version = next_version(tx, context.vault)?;
                insert_node(tx, directory, name, true, version, context)?
            }
        };
    }
    Ok(directory)
}

fn insert_node(
    tx: &Transaction<'_>,
    directory: NodeId,
    name: &DriveName<'_>,
    is_dir: bool,
    version: u64,
    context: ChangeContext,
) -> Result<NodeId, StoreError> {
    let sql = "INSERT INTO drive_node (vault, parent, name_key, sealed_name, is_dir, version, placed, created_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) RETURNING node";
    let parameters =
        (context.vault.0, directory.0, name.key.as_bytes(), name.sealed, is_dir, signed(version), context.now.0);
    Ok(tx.query_row(sql, parameters, |row| row.get(0).map(NodeId))?)
}

fn next_version(tx: &Transaction<'_>, vault: VaultKey) -> Result<u64, StoreError> {
    let sql = "UPDATE vault SET drive_version = drive_version + 1 WHERE vault = ?1 RETURNING drive_version";
    Ok(tx.query_row(sql, [vault.0], |row| unsigned(row, 0))?)
}
