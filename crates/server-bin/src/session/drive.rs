//! The drive of a managed vault as clients see it: [`DriveView`] reads it, [`DriveEditor`] changes it.
//!
//! The catalog holds a name sealed, and finds it by a keyed hash that covers the folder too. What stands for a folder in
//! both is its *salt*: eight bytes of the nonce its own name was sealed with, known before the folder has a number,
//! different for every folder, the same for as long as it exists. Nonces are not drawn but derived from the change's
//! idempotency key, so that a change that is asked for twice looks the same twice; the seal (AES-GCM-SIV) bears a nonce
//! that comes again.

use std::sync::PoisonError;

use bytes::{Buf, BufMut};
use object::VaultId;
use proto::{
    DriveContent, DriveEntry, DriveName, DriveNode, DrivePath, DrivePut, DriveRemove, IdempotencyKey, Timestamp,
};
use store::{DriveChange, DriveCommitted, Store, StoreError, WriteSession};
use vault::{Keys, SealedName};

use crate::clock;
use crate::vaults::Managed;

/// The root has no name and no nonce.
const ROOT_SALT: i64 = 0;
const NONCE_LEN: usize = 12;
/// Entries read from the catalog at once.
const LIST_BATCH: usize = 1000;
/// What is hashed for a nonce begins like this, which no name does.
const NAME_NONCE: &[u8] = b"/name nonce";
const METADATA_NONCE: &[u8] = b"/metadata nonce";
/// First byte of sealed metadata, which no name holds: neither is ever taken for the other.
const METADATA_MARK: u8 = b'/';
const METADATA_FORMAT: u8 = 1;
const METADATA_LEN: usize = 18;
/// Directories of a drive have no metadata of their own.
const DIRECTORY_MODE: u32 = 0o755;

/// Why the drive does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    /// There is nothing at this path.
    #[error("there is no such file or directory")]
    NotFound,
    /// The vault's key is not here.
    #[error("the server cannot read the drive of a sealed vault")]
    Sealed,
    /// A name or its metadata does not open: the catalog was altered.
    #[error("an entry of the drive cannot be read")]
    Unreadable,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a drive.
pub(super) struct DriveView<'a> {
    store: &'a Store,
    vault: VaultId,
    keys: &'a Keys,
}

impl<'a> DriveView<'a> {
    pub(super) fn new(store: &'a Store, vault: VaultId, keys: &'a Keys) -> Self {
        Self { store, vault, keys }
    }

    /// One entry; for the root it has no name.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path.
    pub(super) fn stat(&self, path: &DrivePath) -> Result<DriveEntry, DriveError> {
        let node = self.find(path)?;
        self.entry(path.name(), node)
    }

    /// All entries of a directory, in byte order of their names. Memory: the whole directory.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is no directory at this path.
    pub(super) fn list(&self, path: &DrivePath) -> Result<Vec<DriveEntry>, DriveError> {
        let directory = self.find(path)?;
        if directory.file.is_some() {
            return Err(DriveError::NotFound);
        }
        let salt = salt(&directory.sealed_name);
        let mut entries = Vec::new();
        let mut after = None;
        loop {
            let nodes = self.store.drive_list(self.vault, directory.id, after, LIST_BATCH)?;
            let is_last = nodes.len() < LIST_BATCH;
            after = nodes.last().map(|node| node.name_key);
            for node in nodes {
                let name = SealedName::from_bytes(node.sealed_name.clone()).open(self.keys, salt).ok();
                let name = name.and_then(|name| DriveName::new(name.into())).ok_or(DriveError::Unreadable)?;
                entries.push(self.entry(Some(name), node)?);
            }
            if is_last {
                break;
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
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
        let content = match file.content {
            store::DriveContent::Empty => DriveContent::Empty,
            store::DriveContent::Chunk(id) => DriveContent::Chunk(id),
            store::DriveContent::List(id) => DriveContent::List(id),
        };
        let metadata = Metadata::open(file.sealed_metadata, self.keys, content).ok_or(DriveError::Unreadable)?;
        Ok(DriveEntry {
            name,
            node: DriveNode::File { size: file.size, content },
            mtime: metadata.mtime,
            mode: metadata.mode,
            version: node.version,
        })
    }
}

/// Changes a drive, for the session of one client.
pub(super) struct DriveEditor<'a> {
    store: &'a Store,
    session: &'a mut WriteSession,
    vault: VaultId,
    managed: &'a Managed,
}

impl<'a> DriveEditor<'a> {
    pub(super) fn new(store: &'a Store, session: &'a mut WriteSession, vault: VaultId, managed: &'a Managed) -> Self {
        Self { store, session, vault, managed }
    }

    /// Makes or replaces a file, and makes the directories on the way to it.
    ///
    /// # Errors
    /// [`DriveError::Store`], most often a conflict.
    pub(super) fn put(&mut self, put: &DrivePut) -> Result<DriveCommitted, DriveError> {
        let keys = &*self.managed.keys;
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name_keys = Vec::new();
        let mut sealed_names = Vec::new();
        let mut folder_salt = ROOT_SALT;
        let mut exists = true;
        for name in put.path.names() {
            let key = name_key(keys, folder_salt, &name);
            name_keys.push(key);
            let node = if exists { self.store.drive_find(self.vault, &name_keys)? } else { None };
            exists = node.is_some();
            let sealed = match node {
                Some(node) => node.sealed_name,
                None => {
                    let nonce = nonce(keys, folder_salt, NAME_NONCE, put.key, key.as_bytes());
                    SealedName::seal(keys, folder_salt, name.as_bytes(), nonce).as_bytes().to_vec()
                }
            };
            folder_salt = salt(&sealed);
            sealed_names.push(sealed);
        }
        let path: Vec<store::DriveName<'_>> =
            name_keys.iter().zip(&sealed_names).map(|(key, sealed)| store::DriveName { key: *key, sealed }).collect();
        let change = DriveChange::Put {
            path: &path,
            expected_version: put.expected_version,
            content: match put.content {
                DriveContent::Empty => store::DriveContent::Empty,
                DriveContent::Chunk(id) => store::DriveContent::Chunk(id),
                DriveContent::List(id) => store::DriveContent::List(id),
            },
            size: put.size,
            sealed_metadata: &Metadata { mtime: put.mtime, mode: put.mode }.seal(keys, put.content, put.key),
        };
        Ok(self.session.commit_drive(store_key(put.key), &[change], clock::now())?)
    }

    /// Moves an entry to the trash, with all that is in it.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path.
    pub(super) fn remove(&mut self, remove: &DriveRemove) -> Result<DriveCommitted, DriveError> {
        let keys = &*self.managed.keys;
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut path = Vec::new();
        let mut folder_salt = ROOT_SALT;
        for name in remove.path.names() {
            path.push(name_key(keys, folder_salt, &name));
            // What is not there any more may have been removed by this very change.
            folder_salt = self.store.drive_find(self.vault, &path)?.map_or(ROOT_SALT, |node| salt(&node.sealed_name));
        }
        let change = DriveChange::Remove { path: &path, expected_version: remove.expected_version };
        Ok(self.session.commit_drive(store_key(remove.key), &[change], clock::now())?)
    }
}

/// What a catalog knows of a file beside its content; sealed, and bound to that content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Metadata {
    mtime: Timestamp,
    mode: u32,
}

impl Metadata {
    fn seal(self, keys: &Keys, content: DriveContent, key: IdempotencyKey) -> Vec<u8> {
        let mut plain = Vec::with_capacity(METADATA_LEN);
        plain.put_u8(METADATA_MARK);
        plain.put_u8(METADATA_FORMAT);
        plain.put_i64_le(self.mtime.secs());
        plain.put_u32_le(self.mtime.nanos());
        plain.put_u32_le(self.mode);
        let salt = content_salt(content);
        let nonce = nonce(keys, salt, METADATA_NONCE, key, &plain);
        SealedName::seal(keys, salt, &plain, nonce).as_bytes().to_vec()
    }

    fn open(sealed: Vec<u8>, keys: &Keys, content: DriveContent) -> Option<Self> {
        let plain = SealedName::from_bytes(sealed).open(keys, content_salt(content)).ok()?;
        let mut plain = &plain[..];
        if plain.len() != METADATA_LEN || plain.get_u8() != METADATA_MARK || plain.get_u8() != METADATA_FORMAT {
            return None;
        }
        let (secs, nanos, mode) = (plain.get_i64_le(), plain.get_u32_le(), plain.get_u32_le());
        Some(Self { mtime: Timestamp::new(secs, nanos)?, mode })
    }
}

/// What stands for a folder in the hashes and seals of the names in it.
fn salt(sealed_name: &[u8]) -> i64 {
    sealed_name.first_chunk().map_or(ROOT_SALT, |bytes| i64::from_le_bytes(*bytes))
}

fn content_salt(content: DriveContent) -> i64 {
    match content {
        DriveContent::Empty => ROOT_SALT,
        DriveContent::Chunk(id) | DriveContent::List(id) => salt(id.as_bytes()),
    }
}

fn name_key(keys: &Keys, folder_salt: i64, name: &DriveName) -> store::NameKey {
    let key = vault::NameKey::new(keys, folder_salt, name.as_bytes());
    store::NameKey::from_bytes(*key.as_bytes().first_chunk().expect("the hash is longer"))
}

/// A nonce that is the same whenever the same change is asked for; nobody without the vault's key can tell what it is of.
fn nonce(keys: &Keys, salt: i64, purpose: &[u8], change: IdempotencyKey, of: &[u8]) -> [u8; NONCE_LEN] {
    let hash = vault::NameKey::new(keys, salt, &[purpose, change.as_bytes(), of].concat());
    *hash.as_bytes().first_chunk().expect("the hash is longer")
}

fn store_key(key: IdempotencyKey) -> store::IdempotencyKey {
    store::IdempotencyKey::from_bytes(*key.as_bytes())
}

#[cfg(test)]
mod tests {
    use object::ObjectId;
    use vault::VaultKey;

    use super::*;

    #[test]
    fn metadata_opens_only_beside_its_content() {
        let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
        let metadata = Metadata { mtime: Timestamp::new(-5, 999).unwrap(), mode: 0o4755 };
        let content = DriveContent::Chunk(ObjectId::from_bytes([2; 32]));
        let key = IdempotencyKey::from_bytes([3; 16]);
        let sealed = metadata.seal(&keys, content, key);
        assert_eq!(sealed, metadata.seal(&keys, content, key), "a repeated change looks the same");
        assert_eq!(Metadata::open(sealed.clone(), &keys, content), Some(metadata));
        assert_eq!(Metadata::open(sealed.clone(), &keys, DriveContent::Empty), None);
        let other = Keys::new(&VaultKey::from_bytes([2; 32]));
        assert_eq!(Metadata::open(sealed, &other, content), None);
    }
}
