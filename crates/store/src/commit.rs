//! The one commit: every reference to an object becomes visible here, snapshots and drive changes alike.
//!
//! Stamp-and-check. Everything the new root refers to is stored: found by a walk before the transaction, and held true
//! inside it, because every pack the walk relied on is still readable and gets the current epoch, and because the parent
//! it was compared with is still a root. Garbage collection condemns only packs that no root needs *and* whose stamp is
//! older than its epoch, so whatever happens between walk and transaction, one of the two sees the other. No lock, lease
//! or clock takes part. Then the ANCHOR is raised, and only then the caller hears of it.

use blake3::Hasher;
use object::{Kind, ObjectId};
use rusqlite::Transaction;

use crate::catalog::drive::{self, ChangeContext};
use crate::catalog::idempotency::{self, Answer};
use crate::catalog::uploads::{self, UploadProgress};
use crate::catalog::{alarms, next_generation, packs, sessions, snapshots};
use crate::{DriveChange, DriveContent, IdempotencyKey, StoreError, UnixMs, UploadId, WriteSession, closure};

/// Walks begun anew because garbage collection or purge changed what the one before relied on.
const ATTEMPTS_MAX: usize = 8;

/// What was added to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of packs.
    pub bytes: u64,
    /// Objects, deltas included.
    pub objects: u64,
    /// Objects stored as deltas.
    pub delta_objects: u64,
}

/// A committed snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The snapshot's number in this store: [`Snapshot::number`](crate::Snapshot::number).
    pub number: u64,
    /// The snapshot's number in its chain, from 1.
    pub seq: u64,
    /// When it was committed.
    pub received: UnixMs,
    /// What the session added since its last commit.
    pub stored: Stored,
    /// Whether this key was committed before; nothing was changed now.
    pub repeated: bool,
}

/// Committed changes of a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveCommitted {
    /// The version of each change, in order.
    pub versions: Vec<u64>,
    /// When they were committed.
    pub received: UnixMs,
    /// What the session added since its last commit.
    pub stored: Stored,
    /// Whether this key was committed before; nothing was changed now.
    pub repeated: bool,
}

/// The inside of a commit's transaction, after stamp and check: what rows that refer to objects are inserted with.
pub(crate) struct Checked<'a> {
    tx: &'a Transaction<'a>,
}

impl<'a> Checked<'a> {
    pub(crate) fn transaction(&self) -> &'a Transaction<'a> {
        self.tx
    }
}

/// An object that is about to be referred to, and what it has to be.
struct Root {
    id: ObjectId,
    kind: Kind,
}

/// What a commit asks for, apart from what it inserts.
struct Request {
    /// What names the change, and the hash of what it is; `None` for one that may be made any number of times.
    once: Option<(IdempotencyKey, [u8; 32])>,
    roots: Vec<Root>,
    now: UnixMs,
}

/// Why a transaction was rolled back that may succeed after another walk.
enum Stale {
    Parent,
    Memo,
}

impl WriteSession {
    /// Makes a snapshot visible, with everything this session put. The same `key` always gets the same answer.
    ///
    /// # Errors
    /// [`StoreError::Missing`] names objects to be put first; the session goes on. [`StoreError::Conflict`] when the key
    /// was used for something else, or the snapshot was committed under another key. [`StoreError::Invalid`] when this is
    /// no backup session, or the object no snapshot. After any other error it is unknown whether the commit took place:
    /// asking again with the same key tells.
    pub fn commit_snapshot(
        &mut self,
        key: IdempotencyKey,
        snapshot: ObjectId,
        now: UnixMs,
    ) -> Result<Committed, StoreError> {
        self.commit_snapshot_with_alarm(key, snapshot, None, now)
    }

    /// As [`commit_snapshot`](Self::commit_snapshot), and where something is unusual about the snapshot it raises an
    /// [`Alarm`](crate::Alarm) with it: nothing older in the chain goes before somebody confirms the change.
    ///
    /// # Errors
    /// As [`commit_snapshot`](Self::commit_snapshot).
    pub fn commit_snapshot_with_alarm(
        &mut self,
        key: IdempotencyKey,
        snapshot: ObjectId,
        alarm: Option<&str>,
        now: UnixMs,
    ) -> Result<Committed, StoreError> {
        let (vault, Some(chain)) = (self.owner.vault, self.owner.chain) else {
            return Err(StoreError::Invalid { what: "a drive session commits no snapshots" });
        };
        let mut hasher = Hasher::new_derive_key("delta-backup v1 commit of a snapshot");
        hasher.update(&chain.to_le_bytes()).update(snapshot.as_bytes());
        let request = Request {
            once: Some((key, *hasher.finalize().as_bytes())),
            roots: vec![Root { id: snapshot, kind: Kind::Snapshot }],
            now,
        };
        let (answer, repeated) = self.commit(&request, |checked, generation, stored| {
            let (number, seq) = snapshots::insert(checked, vault, chain, snapshot, generation, stored, now)?;
            if let Some(what) = alarm {
                alarms::raise(checked.transaction(), (chain, seq), snapshot, what, now)?;
            }
            Ok(vec![seq, number])
        })?;
        self.store.keep_ledger()?;
        let [seq, number] = *answer.numbers.first_chunk().unwrap_or(&[0; 2]);
        Ok(Committed { number, seq, received: answer.received, stored: answer.stored, repeated })
    }

    /// Makes changes to the vault's drive visible, all or none. The same `key` always gets the same answer.
    ///
    /// # Errors
    /// As [`commit_snapshot`](Self::commit_snapshot), and [`StoreError::Conflict`] when an expected version is not the
    /// present one, [`StoreError::NotFound`] when what is to be removed is not there.
    pub fn commit_drive(
        &mut self,
        key: IdempotencyKey,
        changes: &[DriveChange<'_>],
        now: UnixMs,
    ) -> Result<DriveCommitted, StoreError> {
        if self.owner.chain.is_some() {
            return Err(StoreError::Invalid { what: "a backup session changes no drive" });
        }
        let (vault, device) = (self.owner.vault, self.owner.device);
        let roots = changes.iter().filter_map(drive_root).collect();
        let request = Request { once: Some((key, hash_changes(changes))), roots, now };
        let (answer, repeated) = self.commit(&request, |checked, generation, _| {
            let context = ChangeContext { vault, device, generation, now };
            changes.iter().map(|change| drive::apply(checked, change, context)).collect()
        })?;
        let Answer { received, stored, numbers, .. } = answer;
        Ok(DriveCommitted { versions: numbers, received, stored, repeated })
    }

    /// Makes a part of a file on its way in durable: what is stored of it becomes a root.
    ///
    /// # Errors
    /// As [`commit_snapshot`](Self::commit_snapshot), and [`StoreError::NotFound`] when the upload is done or gone.
    pub fn save_upload(
        &mut self,
        upload: UploadId,
        progress: &UploadProgress<'_>,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let vault = self.owner.vault;
        let roots = content_root(progress.content).into_iter().collect();
        let request = Request { once: None, roots, now };
        let saved = self.commit(&request, |checked, _, stored| {
            uploads::save(checked, vault, upload, progress, stored, now)?;
            Ok(Vec::new())
        });
        saved.map(drop)
    }

    /// Commits: says the answer, and whether it had been given before.
    fn commit(
        &mut self,
        request: &Request,
        insert: impl Fn(&Checked<'_>, u64, Stored) -> Result<Vec<u64>, StoreError>,
    ) -> Result<(Answer, bool), StoreError> {
        let vault = self.owner.vault;
        let store = self.store.clone();
        let find = |connection: &_| match &request.once {
            Some((key, hash)) => idempotency::find(connection, vault, *key, hash),
            None => Ok(None),
        };
        if let Some(answer) = store.catalog().read(find)? {
            store.raise_anchor(answer.generation)?;
            return Ok((answer, true));
        }
        self.flush(request.now)?;
        for _ in 0..ATTEMPTS_MAX {
            self.drop_damaged_parent()?;
            self.check_roots(&request.roots)?;
            let mut stale = None;
            let committed = store.catalog().write_on_reserve(|tx| {
                if let Some(answer) = find(tx)? {
                    return Ok((answer, true));
                }
                if let Some(parent) = &self.parent
                    && !snapshots::is_root(tx, parent.number)?
                {
                    stale = Some(Stale::Parent);
                    return Err(StoreError::Contended);
                }
                if !packs::stamp(tx, self.memo.packs(), self.memo.seq())? {
                    stale = Some(Stale::Memo);
                    return Err(StoreError::Contended);
                }
                let generation = next_generation(tx)?;
                let numbers = insert(&Checked { tx }, generation, self.stored)?;
                let answer = Answer { received: request.now, generation, stored: self.stored, numbers };
                if let Some((key, hash)) = &request.once {
                    idempotency::insert(tx, vault, *key, hash, &answer)?;
                }
                sessions::touch(tx, self.id, request.now)?;
                sessions::remove_superseded(tx, self.owner, |id| store.is_session_open(id))?;
                Ok((answer, false))
            });
            match (committed, stale) {
                (Ok((answer, repeated)), _) => {
                    if !repeated {
                        self.stored = Stored::default();
                        self.has_uncommitted = false;
                    }
                    store.raise_anchor(answer.generation)?;
                    return Ok((answer, repeated));
                }
                (Err(_), Some(Stale::Parent)) => self.parent = None,
                (Err(_), Some(Stale::Memo)) => self.forget_memo()?,
                (Err(error), None) => return Err(error),
            }
        }
        Err(StoreError::Contended)
    }

    /// Does without a parent that lost something to damage since the session began: what it has is not complete any more.
    fn drop_damaged_parent(&mut self) -> Result<(), StoreError> {
        if let Some(parent) = self.parent.take() {
            self.parent = self.store.undamaged(self.owner.vault, parent, &mut self.memo)?;
        }
        Ok(())
    }

    /// Finds out whether the roots are what they have to be and all they refer to is stored.
    fn check_roots(&mut self, roots: &[Root]) -> Result<(), StoreError> {
        let mut ids: Vec<ObjectId> = roots.iter().map(|root| root.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let vault = self.owner.vault;
        let copies = self.store.locate(vault, &ids)?;
        for root in roots {
            let index = ids.binary_search(&root.id).expect("made of the same roots");
            if copies[index].best().is_some_and(|location| location.form.kind != root.kind) {
                return Err(StoreError::Invalid { what: "the object is not of the kind it should be" });
            }
        }
        let missing = match (&ids[..], &self.parent) {
            ([root], Some(parent)) => {
                closure::check_against(&self.store, vault, &mut self.memo, root, parent.id)?.missing
            }
            _ => closure::check(&self.store, vault, &mut self.memo, &ids)?.missing,
        };
        if missing.is_empty() { Ok(()) } else { Err(StoreError::Missing { ids: missing }) }
    }
}

fn drive_root(change: &DriveChange<'_>) -> Option<Root> {
    let DriveChange::Put { content, .. } = change else { return None };
    content_root(*content)
}

fn content_root(content: DriveContent) -> Option<Root> {
    let kind = match content {
        DriveContent::Empty => return None,
        DriveContent::Chunk(_) => Kind::Data,
        DriveContent::List(_) => Kind::List,
    };
    content.id().map(|id| Root { id, kind })
}

/// Hashes everything a request for changes says, each part behind its length.
fn hash_changes(changes: &[DriveChange<'_>]) -> [u8; 32] {
    fn part(hasher: &mut Hasher, bytes: &[u8]) {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    fn version(hasher: &mut Hasher, expected: Option<u64>) {
        let bytes = expected.map(u64::to_le_bytes);
        part(hasher, bytes.as_ref().map_or(&[], |bytes| &bytes[..]));
    }
    let mut hasher = Hasher::new_derive_key("delta-backup v1 commit of drive changes");
    for change in changes {
        match change {
            DriveChange::Put { path, expected_version, content, size, sealed_metadata } => {
                part(&mut hasher, b"put");
                part(&mut hasher, &path.iter().flat_map(|name| *name.key.as_bytes()).collect::<Vec<u8>>());
                version(&mut hasher, *expected_version);
                part(&mut hasher, &[content.number()]);
                part(&mut hasher, content.id().as_ref().map_or(&[], |id| &id.as_bytes()[..]));
                part(&mut hasher, &size.to_le_bytes());
                part(&mut hasher, sealed_metadata);
            }
            DriveChange::SetProperties { path, sealed } => {
                part(&mut hasher, b"set properties");
                part(&mut hasher, &path.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>());
                part(&mut hasher, sealed);
            }
            DriveChange::MakeDirectory { path } => {
                part(&mut hasher, b"make directory");
                part(&mut hasher, &path.iter().flat_map(|name| *name.key.as_bytes()).collect::<Vec<u8>>());
            }
            DriveChange::Move { from, to, expected_version } => {
                part(&mut hasher, b"move");
                part(&mut hasher, &from.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>());
                part(&mut hasher, &to.iter().flat_map(|name| *name.key.as_bytes()).collect::<Vec<u8>>());
                version(&mut hasher, *expected_version);
            }
            DriveChange::Remove { path, expected_version } => {
                part(&mut hasher, b"remove");
                part(&mut hasher, &path.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>());
                version(&mut hasher, *expected_version);
            }
            DriveChange::Undelete { path } => {
                part(&mut hasher, b"undelete");
                part(&mut hasher, &path.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>());
            }
            DriveChange::BringBack { node, name: _ } => {
                part(&mut hasher, b"bring back");
                part(&mut hasher, &node.0.to_le_bytes());
            }
            DriveChange::EndUpload { upload, parts } => {
                part(&mut hasher, b"end upload");
                part(&mut hasher, upload.as_bytes());
                part(&mut hasher, &parts.iter().flat_map(|part| *part.as_bytes()).collect::<Vec<u8>>());
            }
        }
    }
    *hasher.finalize().as_bytes()
}
