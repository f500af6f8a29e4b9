//! Drives: the live files of a vault. Names arrive as keyed hashes and sealed text; rows change in the commit only.

use object::{ObjectId, VaultId};
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::{row, rows, signed, unknown_number, unsigned};
use crate::commit::Checked;
use crate::ids::VaultKey;
use crate::{NameKey, NodeId, Store, StoreError, UnixMs};

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
    /// Moves a file, or a directory with all in it, to the trash.
    Remove {
        /// From the root; not empty.
        path: &'a [NameKey],
        /// The present version. Refused when it is another.
        expected_version: Option<u64>,
    },
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
            row(catalog, &format!("{SELECT_NODE} WHERE drive_node.node = ?1"), [node.0], node_row)
        })
    }

    /// Lists a directory in the order of the hashed names, after `after`, `limit` entries at most.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn drive_list(
        &self,
        vault: VaultId,
        directory: NodeId,
        after: Option<NameKey>,
        limit: usize,
    ) -> Result<Vec<DriveNode>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = format!(
            "{SELECT_NODE} WHERE parent = ?1 AND trashed_ms IS NULL AND name_key > ?2 AND vault = ?3
             ORDER BY name_key LIMIT ?4"
        );
        let after = after.as_ref().map_or(&[][..], |key| &key.as_bytes()[..]);
        let limit = signed(limit as u64);
        self.catalog().read(|catalog| rows(catalog, &sql, (directory.0, after, vault.0, limit), node_row))
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
    FROM drive_node LEFT JOIN drive_version
        ON drive_version.node = drive_node.node AND drive_version.version = drive_node.version";

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
    let content = match row.get(first + 1)? {
        0 => DriveContent::Empty,
        1 => DriveContent::Chunk(ObjectId::from_bytes(row.get(first + 2)?)),
        2 => DriveContent::List(ObjectId::from_bytes(row.get(first + 2)?)),
        number => return Err(unknown_number(first + 1, number)),
    };
    Ok(DriveVersion {
        version: unsigned(row, first)?,
        content,
        size: unsigned(row, first + 3)?,
        sealed_metadata: row.get(first + 4)?,
        received: UnixMs(row.get(first + 5)?),
    })
}

/// A name in a directory.
struct Entry {
    node: NodeId,
    is_dir: bool,
    version: u64,
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
        DriveChange::Remove { path, expected_version } => {
            let Some((name, directories)) = path.split_last() else {
                return Err(StoreError::Invalid { what: "the root cannot be removed" });
            };
            let missing = StoreError::NotFound { what: "file" };
            let mut directory = root(tx, context.vault)?;
            for key in directories {
                directory = child(tx, directory, *key)?.ok_or(StoreError::NotFound { what: "file" })?.node;
            }
            let entry = child(tx, directory, *name)?.ok_or(missing)?;
            check_expected(Some(&entry), *expected_version)?;
            let version = next_version(tx, context.vault)?;
            let sql = "UPDATE drive_node SET trashed_ms = ?2 WHERE node = ?1";
            tx.execute(sql, (entry.node.0, context.now.0))?;
            Ok(version)
        }
    }
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
    let sql = "INSERT INTO drive_node (vault, parent, name_key, sealed_name, is_dir, version, created_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING node";
    let parameters =
        (context.vault.0, directory.0, name.key.as_bytes(), name.sealed, is_dir, signed(version), context.now.0);
    Ok(tx.query_row(sql, parameters, |row| row.get(0).map(NodeId))?)
}

fn next_version(tx: &Transaction<'_>, vault: VaultKey) -> Result<u64, StoreError> {
    let sql = "UPDATE vault SET drive_version = drive_version + 1 WHERE vault = ?1 RETURNING drive_version";
    Ok(tx.query_row(sql, [vault.0], |row| unsigned(row, 0))?)
}
