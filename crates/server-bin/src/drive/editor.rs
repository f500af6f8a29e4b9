//! [`DriveEditor`]: changes the names of a drive, through the one commit.
//!
//! While a change is put together the drive is held, so that between the look at a path and the commit nobody else of
//! this server makes or removes its folders.

use std::sync::PoisonError;

use bytes::Bytes;
use object::VaultId;
use proto::{DriveContent, DriveName, DrivePath, IdempotencyKey};
use store::{DriveChange, DriveCommitted, NameKey, NodeId, Store, UploadId, WriteSession};
use vault::SealedName;

use crate::clock;
use crate::drive::content::to_stored;
use crate::drive::metadata::Metadata;
use crate::drive::names::{NONCE_LEN, ROOT_SALT, name_key, nonce, salt};
use crate::drive::{DriveError, DriveView, Properties};
use crate::vaults::Managed;

/// What is hashed for a nonce begins like this, which no name does.
const NAME_NONCE: &[u8] = b"/name nonce";
/// Most entries copied by one change.
const COPIED_MAX: usize = 10_000;
/// Most numbers tried for a free name.
const NAMES_TRIED_MAX: u32 = 100;

/// A file's next state.
#[derive(Clone, Debug)]
pub(crate) struct NewVersion {
    /// Where.
    pub(crate) path: DrivePath,
    /// The bytes; they are stored.
    pub(crate) content: DriveContent,
    /// How many.
    pub(crate) size: u64,
    /// What is known beside them.
    pub(crate) metadata: Metadata,
    /// The file's present version, 0 for none. Refused when it is another.
    pub(crate) expected_version: Option<u64>,
}

/// Changes a drive, within one session.
pub(crate) struct DriveEditor<'a> {
    store: &'a Store,
    session: &'a mut WriteSession,
    vault: VaultId,
    managed: &'a Managed,
    ended: Option<(UploadId, &'a [UploadId])>,
    replaced: Option<&'a DrivePath>,
}

/// A path of names that may have to be made.
struct NewPath {
    keys: Vec<NameKey>,
    sealed: Vec<Vec<u8>>,
}

impl NewPath {
    fn names(&self) -> Vec<store::DriveName<'_>> {
        self.keys.iter().zip(&self.sealed).map(|(key, sealed)| store::DriveName { key: *key, sealed }).collect()
    }
}

impl<'a> DriveEditor<'a> {
    pub(crate) fn new(store: &'a Store, session: &'a mut WriteSession, vault: VaultId, managed: &'a Managed) -> Self {
        Self { store, session, vault, managed, ended: None, replaced: None }
    }

    /// The same, whose change is also the end of an upload and of the parts it was made of.
    pub(crate) fn ending(self, upload: UploadId, parts: &'a [UploadId]) -> Self {
        Self { ended: Some((upload, parts)), ..self }
    }

    /// The same, whose change also moves what is at this path to the trash first.
    pub(crate) fn replacing(self, path: Option<&'a DrivePath>) -> Self {
        Self { replaced: path, ..self }
    }

    /// Ends the upload, if this is the end of one, and changes nothing: the file is what it was to make it.
    ///
    /// # Errors
    /// [`DriveError::Store`].
    pub(crate) fn leave(&mut self, key: IdempotencyKey) -> Result<(), DriveError> {
        if self.ended.is_some() {
            self.commit(key, &[])?;
        }
        Ok(())
    }

    /// Makes a file or gives it a new version, and makes the directories on the way to it.
    ///
    /// # Errors
    /// [`DriveError::Store`], most often a conflict.
    pub(crate) fn put(&mut self, key: IdempotencyKey, new: &NewVersion) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.new_path(&new.path, key)?;
        let sealed_metadata = new.metadata.seal(&self.managed.keys, new.content, key);
        self.commit(key, &[put_change(&path.names(), new, &sealed_metadata)])
    }

    /// Makes a file that takes the place of what is at its path, which goes to the trash with all its versions.
    ///
    /// # Errors
    /// [`DriveError::Store`], most often a conflict.
    pub(crate) fn replace(&mut self, key: IdempotencyKey, new: &NewVersion) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.new_path(&new.path, key)?;
        let sealed_metadata = new.metadata.seal(&self.managed.keys, new.content, key);
        let names = path.names();
        let put = put_change(&names, &NewVersion { expected_version: Some(0), ..new.clone() }, &sealed_metadata);
        let remove = DriveChange::Remove { path: &path.keys, expected_version: new.expected_version };
        match self.store.drive_find(self.vault, &path.keys)? {
            Some(_) => self.commit(key, &[remove, put]),
            None => self.commit(key, &[put]),
        }
    }

    /// Makes a file beside what is at its path: `name (1).ext`, or the first number that is free. Says which.
    ///
    /// # Errors
    /// [`DriveError::Store`] when there is no name left, and others.
    pub(crate) fn put_beside(
        &mut self,
        key: IdempotencyKey,
        new: &NewVersion,
    ) -> Result<(DrivePath, DriveCommitted), DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed_metadata = new.metadata.seal(&self.managed.keys, new.content, key);
        for number in 0..=NAMES_TRIED_MAX {
            let Some(place) = numbered(&new.path, number) else { break };
            let path = self.new_path(&place, key)?;
            let new = NewVersion { path: place, expected_version: Some(0), ..new.clone() };
            // A name that is taken may have been taken by this very change: only the commit knows.
            match self.commit(key, &[put_change(&path.names(), &new, &sealed_metadata)]) {
                Err(DriveError::Store(error)) if error.kind() == store::ErrorKind::Conflict => {}
                committed => return committed.map(|committed| (new.path, committed)),
            }
        }
        Err(DriveError::Store(store::StoreError::Conflict { what: "there is no free name beside it" }))
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`DriveError::Store`], most often a conflict.
    pub(crate) fn make_directory(
        &mut self,
        key: IdempotencyKey,
        path: &DrivePath,
    ) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.new_path(path, key)?;
        self.commit(key, &[DriveChange::MakeDirectory { path: &path.names() }])
    }

    /// Gives an entry another place or name, with all that is in it. No bytes move.
    ///
    /// # Errors
    /// [`DriveError::Store`]: nothing is there, or something is where it should go.
    pub(crate) fn move_to(
        &mut self,
        key: IdempotencyKey,
        from: &DrivePath,
        to: &DrivePath,
        expected_version: Option<u64>,
    ) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.keys_of(from)?;
        let mut path = self.new_path(to, key)?;
        let moved = self.store.drive_find(self.vault, &from)?;
        let nonce = moved.and_then(|node| node.sealed_name.first_chunk::<NONCE_LEN>().copied());
        // What is in a directory is sealed for its nonce, so the new name is sealed with the same.
        if let (Some(nonce), Some(name), Some(sealed)) = (nonce, to.name(), path.sealed.pop()) {
            let folder_salt = path.sealed.last().map_or(ROOT_SALT, |folder| salt(folder));
            drop(sealed);
            let sealed = SealedName::seal(&self.managed.keys, folder_salt, name.as_bytes(), nonce);
            path.sealed.push(sealed.as_bytes().to_vec());
        }
        self.commit(key, &[DriveChange::Move { from: &from, to: &path.names(), expected_version }])
    }

    /// Makes a second entry with the same content, and of a directory all that is in it, up to 10,000 entries. Only the
    /// newest versions are copied, and no bytes.
    ///
    /// # Errors
    /// [`DriveError::TooMany`]; [`DriveError::Store`]: nothing is there, or something is where it should go.
    pub(crate) fn copy(
        &mut self,
        key: IdempotencyKey,
        from: &DrivePath,
        to: &DrivePath,
    ) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copies = Vec::new();
        self.collect(from, to, &mut copies)?;
        let keys = &*self.managed.keys;
        let mut parts = Vec::with_capacity(copies.len());
        for (copy, properties) in &copies {
            let (path, sealed_metadata) = match copy {
                Copy::Directory(path) => (self.new_path(path, key)?, Vec::new()),
                Copy::File(new) => (self.new_path(&new.path, key)?, new.metadata.seal(keys, new.content, key)),
            };
            let own_salt = path.sealed.last().map_or(ROOT_SALT, |name| salt(name));
            let sealed_properties = properties.seal(keys, own_salt, key);
            parts.push((path, sealed_metadata, sealed_properties));
        }
        let names: Vec<Vec<store::DriveName<'_>>> = parts.iter().map(|(path, _, _)| path.names()).collect();
        let mut changes = Vec::with_capacity(copies.len());
        for (((copy, _), names), (path, sealed_metadata, sealed_properties)) in copies.iter().zip(&names).zip(&parts) {
            changes.push(match copy {
                Copy::Directory(_) => DriveChange::MakeDirectory { path: names },
                Copy::File(new) => put_change(names, new, sealed_metadata),
            });
            if !sealed_properties.is_empty() {
                changes.push(DriveChange::SetProperties { path: &path.keys, sealed: sealed_properties });
            }
        }
        self.commit(key, &changes)
    }

    /// Changes what clients want to be remembered of an entry.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at this path; [`DriveError::Store`] when it is too much.
    pub(crate) fn set_properties(
        &mut self,
        key: IdempotencyKey,
        path: &DrivePath,
        change: impl FnOnce(&mut Properties),
    ) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut properties = self.view().properties(path)?;
        change(&mut properties);
        let path = self.keys_of(path)?;
        let node = self.store.drive_find(self.vault, &path)?.ok_or(DriveError::NotFound)?;
        let sealed = properties.seal(&self.managed.keys, salt(&node.sealed_name), key);
        self.commit(key, &[DriveChange::SetProperties { path: &path, sealed: &sealed }])
    }

    /// Makes an old state of a file its newest.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] without such a file or version.
    pub(crate) fn restore_version(
        &mut self,
        key: IdempotencyKey,
        path: &DrivePath,
        version: u64,
        expected_version: Option<u64>,
    ) -> Result<DriveCommitted, DriveError> {
        let versions = self.view().versions(path)?;
        let old = versions.into_iter().find(|old| old.version == version).ok_or(DriveError::NotFound)?;
        let new = NewVersion {
            path: path.clone(),
            content: old.content,
            size: old.size,
            metadata: old.metadata(),
            expected_version,
        };
        self.put(key, &new)
    }

    /// Moves an entry to the trash, with all that is in it.
    ///
    /// # Errors
    /// [`DriveError::Store`] when there is nothing at this path.
    pub(crate) fn remove(
        &mut self,
        key: IdempotencyKey,
        path: &DrivePath,
        expected_version: Option<u64>,
    ) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.keys_of(path)?;
        self.commit(key, &[DriveChange::Remove { path: &path, expected_version }])
    }

    /// Brings an entry back from the trash, with all that was in it.
    ///
    /// # Errors
    /// [`DriveError::Store`] when nothing that was at this path is in the trash.
    pub(crate) fn undelete(&mut self, key: IdempotencyKey, path: &DrivePath) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.keys_of(path)?;
        self.commit(key, &[DriveChange::Undelete { path: &path }])
    }

    /// Brings exactly this back from the trash, with all that was in it, into the folder it was in; where its name is taken
    /// and `beside` is wanted, as `name (1).ext`, or the first number that is free.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when it is gone; [`DriveError::Store`]: it or its folder is not where it should be, or its name
    /// is taken.
    pub(crate) fn bring_back(
        &mut self,
        key: IdempotencyKey,
        node: NodeId,
        beside: bool,
    ) -> Result<DriveCommitted, DriveError> {
        let _alone = self.managed.drive.lock().unwrap_or_else(PoisonError::into_inner);
        let committed = self.commit(key, &[DriveChange::BringBack { node, name: None }]);
        let taken = match committed {
            Err(DriveError::Store(error)) if beside && error.kind() == store::ErrorKind::Conflict => error,
            committed => return committed,
        };
        let keys = &*self.managed.keys;
        let (folder_salt, name, sealed) = self.view().name_of_any(node)?;
        // What is in a directory is sealed for its nonce, so the new name is sealed with the same.
        let nonce = sealed.first_chunk::<NONCE_LEN>().copied().ok_or(DriveError::Unreadable)?;
        for number in 1..=NAMES_TRIED_MAX {
            let Some(name) = DriveName::new(numbered_name(&name, number).into()) else { break };
            let sealed = SealedName::seal(keys, folder_salt, name.as_bytes(), nonce);
            let name = store::DriveName { key: name_key(keys, folder_salt, &name), sealed: sealed.as_bytes() };
            match self.commit(key, &[DriveChange::BringBack { node, name: Some(name) }]) {
                Err(DriveError::Store(error)) if error.kind() == store::ErrorKind::Conflict => {}
                committed => return committed,
            }
        }
        Err(DriveError::Store(taken))
    }

    fn commit(&mut self, key: IdempotencyKey, changes: &[DriveChange<'_>]) -> Result<DriveCommitted, DriveError> {
        let key = store::IdempotencyKey::from_bytes(*key.as_bytes());
        // First, so that the last version is that of the change.
        let ended = self.ended.map(|(upload, parts)| DriveChange::EndUpload { upload, parts });
        let replaced = self.replaced.map(|path| self.keys_of(path)).transpose()?;
        let replaced = replaced.as_ref().map(|path| DriveChange::Remove { path, expected_version: None });
        let changes: Vec<DriveChange<'_>> = ended.into_iter().chain(replaced).chain(changes.iter().copied()).collect();
        Ok(self.session.commit_drive(key, &changes, clock::now())?)
    }

    fn view(&self) -> DriveView<'a> {
        DriveView::new(self.store, self.vault, &self.managed.keys)
    }

    /// Lists what a copy makes: files, and directories before what is in them.
    fn collect(
        &self,
        from: &DrivePath,
        to: &DrivePath,
        copies: &mut Vec<(Copy, Properties)>,
    ) -> Result<(), DriveError> {
        if copies.len() >= COPIED_MAX {
            return Err(DriveError::TooMany { count_max: COPIED_MAX });
        }
        let properties = self.view().properties(from)?;
        let Some(file) = self.view().look(from)? else {
            copies.push((Copy::Directory(to.clone()), properties));
            for entry in self.view().list(from)? {
                let Some(name) = entry.name else { continue };
                let from = below(from, name.as_bytes()).ok_or(DriveError::Unreadable)?;
                let to = below(to, name.as_bytes()).ok_or(DriveError::PathTooLong)?;
                self.collect(&from, &to, copies)?;
            }
            return Ok(());
        };
        let copy = Copy::File(NewVersion {
            path: to.clone(),
            content: file.content,
            size: file.size,
            metadata: file.metadata(),
            expected_version: Some(0),
        });
        copies.push((copy, properties));
        Ok(())
    }

    /// The names of a path as the catalog holds them, or would if they were made by the change `key`.
    fn new_path(&self, path: &DrivePath, key: IdempotencyKey) -> Result<NewPath, DriveError> {
        let keys = &*self.managed.keys;
        let mut new = NewPath { keys: Vec::new(), sealed: Vec::new() };
        let mut folder_salt = ROOT_SALT;
        let mut exists = true;
        for name in path.names() {
            let name_key = name_key(keys, folder_salt, &name);
            new.keys.push(name_key);
            let node = if exists { self.store.drive_find(self.vault, &new.keys)? } else { None };
            exists = node.is_some();
            let sealed = match node {
                Some(node) => node.sealed_name,
                None => {
                    let nonce = nonce(keys, folder_salt, NAME_NONCE, key, name_key.as_bytes());
                    SealedName::seal(keys, folder_salt, name.as_bytes(), nonce).as_bytes().to_vec()
                }
            };
            folder_salt = salt(&sealed);
            new.sealed.push(sealed);
        }
        Ok(new)
    }

    /// The hashes that the catalog finds a path by.
    fn keys_of(&self, path: &DrivePath) -> Result<Vec<NameKey>, DriveError> {
        let mut keys = Vec::new();
        let mut folder_salt = ROOT_SALT;
        for name in path.names() {
            keys.push(name_key(&self.managed.keys, folder_salt, &name));
            // What is not there any more may have been removed by this very change.
            folder_salt = self.store.drive_find(self.vault, &keys)?.map_or(ROOT_SALT, |node| salt(&node.sealed_name));
        }
        Ok(keys)
    }
}

/// Something that a copy makes.
enum Copy {
    Directory(DrivePath),
    File(NewVersion),
}

fn put_change<'c>(path: &'c [store::DriveName<'c>], new: &NewVersion, sealed_metadata: &'c [u8]) -> DriveChange<'c> {
    DriveChange::Put {
        path,
        expected_version: new.expected_version,
        content: to_stored(new.content),
        size: new.size,
        sealed_metadata,
    }
}

/// The path of an entry of a directory.
fn below(directory: &DrivePath, name: &[u8]) -> Option<DrivePath> {
    if directory.is_root() {
        return DrivePath::new(Bytes::copy_from_slice(name));
    }
    DrivePath::new([directory.as_bytes(), &b"/"[..], name].concat().into())
}

/// `name (number).ext` beside `name.ext`; the name itself for 0.
fn numbered(path: &DrivePath, number: u32) -> Option<DrivePath> {
    if number == 0 {
        return Some(path.clone());
    }
    let (name, parent) = (path.name()?, path.parent()?);
    below(&parent, &numbered_name(name.as_bytes(), number))
}

/// `name (number).ext` for `name.ext`.
fn numbered_name(name: &[u8], number: u32) -> Vec<u8> {
    // A dot at the start hides a file, it begins no extension.
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    [stem, format!(" ({number})").as_bytes(), extension].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_extension() {
        let number = |path: &'static str, number| {
            let path = DrivePath::new(Bytes::from_static(path.as_bytes())).unwrap();
            String::from_utf8(numbered(&path, number).unwrap().as_bytes().to_vec()).unwrap()
        };
        assert_eq!(number("a/b.txt", 0), "a/b.txt");
        assert_eq!(number("a/b.txt", 1), "a/b (1).txt");
        assert_eq!(number("b.tar.gz", 12), "b.tar (12).gz");
        assert_eq!(number(".profile", 1), ".profile (1)");
        assert_eq!(number("a.b/c", 2), "a.b/c (2)");
    }
}
