//! [`WriteSession`]: one client writing into one vault, from its first record to its commit.
//!
//! Records go to an open pack of their class. Sealing makes them durable and visible to everybody: file complete and
//! synced, renamed, directory synced, then one catalog transaction for both packs. Nothing is acknowledged before that,
//! and nothing that failed is tried again: the pack is given up, and with it the session.

use std::collections::HashMap;
use std::path::PathBuf;

use object::{ObjectId, SealedRecord, VaultId};

use crate::catalog::objects::{self, IndexEntry};
use crate::catalog::sessions::{self, SessionOwner};
use crate::catalog::{accounts, packs, snapshots, vaults};
use crate::closure::{self, Memo};
use crate::ids::{PackKey, VaultKey};
use crate::layout::pack::PackClass;
use crate::pack::reader::record_of_span;
use crate::pack::writer::{PACK_TARGET_MAX, RECORD_COUNT_MAX};
use crate::pack::{PackFile, PackWriter};
use crate::pack_cache::damaged;
use crate::read::member_index;
use crate::{DeviceId, ErrorKind, PackId, SessionId, Snapshot, Store, StoreError, Stored, StoredObject, UnixMs};

/// Longest name of a chain, in bytes.
pub const CHAIN_NAME_LEN_MAX: usize = 128;
/// A pack is sealed once it holds this many objects, so that its catalog transaction stays short.
const OBJECT_COUNT_TARGET: usize = RECORD_COUNT_MAX;
/// The free space is measured once for this many bytes taken in.
const SPACE_CHECK_LEN: usize = 1 << 20;

/// What a session is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Adding a snapshot to a chain.
    Backup {
        /// Whose chain.
        device: DeviceId,
        /// Which job; 1 to 128 bytes. Made when it is new.
        chain: &'a str,
        /// The snapshot the client compares with, if it knows one.
        parent_hint: Option<ObjectId>,
    },
    /// Changing the files of the vault's drive.
    Drive {
        /// On whose behalf; `None`: the server's own.
        device: Option<DeviceId>,
    },
}

/// One client writing into one vault.
///
/// Dropped, it loses what was not durable yet and nothing else; its durable records stay, and stay pinned for the
/// client's next session until [`Store::sweep`]. To keep the rest too, [`close`](Self::close) it.
pub struct WriteSession {
    pub(crate) store: Store,
    pub(crate) id: SessionId,
    pub(crate) owner: SessionOwner,
    pub(crate) parent: Option<Snapshot>,
    pub(crate) memo: Memo,
    /// What was sealed since the last commit.
    pub(crate) stored: Stored,
    /// Whether records were put since the last commit.
    pub(crate) has_uncommitted: bool,
    vault: VaultId,
    open: [Option<OpenPack>; 2],
    /// Packs that were begun and are not in their place yet, and their staging files.
    unfinished: Vec<(PackKey, PathBuf)>,
    /// Packs whose files are in place, but whose rows could not be written for want of space.
    published: Vec<Published>,
    put_count: u64,
    durable_count: u64,
    unmeasured_len: usize,
    /// Bytes that the account's quota leaves, as last measured; `None`: it has none.
    quota_left: Option<u64>,
    broken: Option<(ErrorKind, String)>,
}

/// A pack that takes records.
struct OpenPack {
    key: PackKey,
    writer: PackWriter,
    entries: Vec<IndexEntry>,
    index: HashMap<ObjectId, usize>,
}

/// A pack whose file is durable in its place and whose row still says it is being written.
struct Published {
    key: PackKey,
    file: PackFile,
    entries: Vec<IndexEntry>,
}

impl std::fmt::Debug for WriteSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteSession({}, {} of {} records durable)", self.id, self.durable_count, self.put_count)
    }
}

impl Store {
    /// Says of each id whether the vault holds the object and all it refers to, as [`WriteSession::held`] does, outside of
    /// a session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn held(&self, vault: VaultId, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
        let vault = self.vault_key(vault)?;
        let mut memo = Memo::new(self.catalog().read(packs::condemn_seq)?);
        Ok(closure::check(self, vault, &mut memo, ids)?.complete)
    }

    /// Begins a session and says which snapshot it is best compared with: the one hinted at if it is this device's, else
    /// the chain's newest. That snapshot stays a root as long as the session is open. A snapshot that lost something to
    /// damage is compared with no more, so that everything it refers to is asked for, and what is lost comes back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when vault or device do not exist, the device was revoked or is of another account;
    /// [`StoreError::Full`] when the reserve of free space is touched, and [`StoreError::Quota`] when a quota is used up,
    /// unless it is the drive that is changed: that may remove something, so it needs room for nothing but its own row, and
    /// is asked when it adds.
    pub fn begin(
        &self,
        vault: VaultId,
        purpose: &Purpose<'_>,
        now: UnixMs,
    ) -> Result<(WriteSession, Option<Snapshot>), StoreError> {
        if let Purpose::Backup { chain, .. } = purpose
            && !(1..=CHAIN_NAME_LEN_MAX).contains(&chain.len())
        {
            return Err(StoreError::Invalid { what: "the name of a chain has 1 to 128 bytes" });
        }
        match purpose {
            Purpose::Backup { .. } => {
                self.faults().check()?;
                self.check_space()?;
                self.check_quota(vault, 0)?;
            }
            // What removes makes room. A session that puts is refused where it does.
            Purpose::Drive { .. } => self.make_room(),
        }
        let id = SessionId::from_bytes(self.fresh_id()?);
        // Open before it has a row: nobody may take the row for that of a session that was cut off.
        self.sessions().insert(id);
        let begun = self.catalog().write(|tx| {
            let (key, account) = vaults::find(tx, vault)?.ok_or(StoreError::NotFound { what: "vault" })?;
            let device = match purpose {
                Purpose::Backup { device, .. } => Some(*device),
                Purpose::Drive { device } => *device,
            };
            let device = match device {
                None => None,
                Some(device) => match accounts::active_device(tx, device)? {
                    Some((device, owner)) if owner == account => Some(device),
                    _ => return Err(StoreError::NotFound { what: "device" }),
                },
            };
            let (chain, parent) = match (purpose, device) {
                (Purpose::Backup { chain, parent_hint, .. }, Some(device)) => {
                    let chain = sessions::ensure_chain(tx, key, device, chain)?;
                    (Some(chain), snapshots::parent(tx, key, chain, *parent_hint)?)
                }
                _ => (None, None),
            };
            let owner = SessionOwner { vault: key, device, chain };
            sessions::insert(tx, id, owner, parent.as_ref().map(|parent| parent.number), now)?;
            Ok((owner, parent, Memo::new(packs::condemn_seq(tx)?)))
        });
        let (owner, parent, memo) = begun.inspect_err(|_| {
            self.sessions().remove(&id);
        })?;
        let mut memo = memo;
        let parent = parent.map(|parent| self.undamaged(owner.vault, parent, &mut memo)).transpose();
        let parent = parent.inspect_err(|_| {
            self.sessions().remove(&id);
        })?;
        let parent = parent.flatten();
        let session = WriteSession::new(self.clone(), id, (vault, owner), parent.clone(), memo);
        Ok((session, parent))
    }

    /// The snapshot, unless something that it refers to was lost to damage.
    pub(crate) fn undamaged(
        &self,
        vault: VaultKey,
        snapshot: Snapshot,
        memo: &mut Memo,
    ) -> Result<Option<Snapshot>, StoreError> {
        if !self.has_lost(vault)? {
            return Ok(Some(snapshot));
        }
        let complete = closure::check(self, vault, memo, &[snapshot.id])?.complete;
        Ok(complete[0].then_some(snapshot))
    }
}

impl WriteSession {
    pub(crate) fn new(
        store: Store,
        id: SessionId,
        (vault, owner): (VaultId, SessionOwner),
        parent: Option<Snapshot>,
        memo: Memo,
    ) -> Self {
        Self {
            store,
            id,
            owner,
            parent,
            memo,
            stored: Stored::default(),
            has_uncommitted: false,
            vault,
            open: [None, None],
            unfinished: Vec::new(),
            published: Vec::new(),
            put_count: 0,
            durable_count: 0,
            unmeasured_len: 0,
            quota_left: None,
            broken: None,
        }
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// How many records were put.
    #[must_use]
    pub fn put_count(&self) -> u64 {
        self.put_count
    }

    /// How many of the records put survive a power loss, counted from the first. Grows whenever a pack is sealed.
    #[must_use]
    pub fn durable_count(&self) -> u64 {
        self.durable_count
    }

    /// What was sealed since the last commit: what the next one will say was added.
    #[must_use]
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Appends a record to the open pack of its class, after checking the body's checksum. Seals what is open when the
    /// pack has reached its target, which takes as long as [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`StoreError::Record`] when the record is damaged. [`StoreError::Full`] when the reserve of free space is touched,
    /// [`StoreError::Quota`] when the account's quota is, [`StoreError::ReadOnly`] when the disk failed too often: nothing was
    /// written, and the session goes on. After any other error the session is broken.
    pub fn put(&mut self, record: &SealedRecord, now: UnixMs) -> Result<(), StoreError> {
        self.check_usable()?;
        let record = record.view();
        record.check_body()?;
        let head = record.head();
        let class = if head.is_metadata() { PackClass::Metadata } else { PackClass::Data };
        self.store.faults().check()?;
        self.check_space(record.bytes().len(), class)?;
        self.check_quota(record.bytes().len() as u64, class)?;
        let pack = match &mut self.open[class as usize] {
            Some(pack) => pack,
            None => {
                let pack = OpenPack::create(&self.store, class, self.owner, self.vault)
                    .inspect_err(|error| self.store.faults().note(error, now))?;
                self.unfinished.push((pack.key, pack.writer.path().to_owned()));
                self.open[class as usize].insert(pack)
            }
        };
        let span = match pack.writer.append(record.bytes()) {
            Ok(span) => span,
            Err(error) => return Err(self.break_written(error, now)),
        };
        for entry in objects::entries_of(head, span) {
            pack.index.entry(entry.id).or_insert(pack.entries.len());
            pack.entries.push(entry);
        }
        self.put_count += 1;
        self.has_uncommitted = true;
        let target = self.store.options().pack_target_bytes.min(PACK_TARGET_MAX);
        if pack.writer.len() >= target || pack.entries.len() >= OBJECT_COUNT_TARGET {
            return match self.flush(now) {
                // The files are complete; only the catalog's turn is put off, so the record was taken.
                Err(error) if error.is_transient() && self.broken.is_none() => Ok(()),
                flushed => flushed.map(|_| ()),
            };
        }
        Ok(())
    }

    /// Seals what is open, and returns how many records are durable: all that were put.
    ///
    /// # Errors
    /// [`StoreError::Full`] may come from the catalog when files are complete already: flushing again goes on from there.
    /// After any other error the session is broken.
    pub fn flush(&mut self, now: UnixMs) -> Result<u64, StoreError> {
        self.check_usable()?;
        let published = self.publish();
        // Even where one pack failed, another may have come through.
        let indexed = self.index_published(now);
        if let Err(error) = published {
            return Err(self.break_written(error, now));
        }
        indexed?;
        self.durable_count = self.put_count;
        Ok(self.durable_count)
    }

    /// Says of each id whether the vault holds the object and all it refers to, what this session put included.
    ///
    /// A client need not send what is held. Should garbage collection take it before the commit, the commit says so.
    ///
    /// # Errors
    /// When catalog or disk fail.
    pub fn held(&mut self, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
        let mut held = vec![true; ids.len()];
        let (indexes, asked): (Vec<usize>, Vec<ObjectId>) =
            ids.iter().enumerate().filter(|(_, id)| !self.is_open(id)).unzip();
        let closure = closure::check(&self.store, self.owner.vault, &mut self.memo, &asked)?;
        self.keep_condemned()?;
        for (index, complete) in indexes.into_iter().zip(closure.complete) {
            held[index] = complete;
        }
        Ok(held)
    }

    /// Takes the condemnation of packs back that this session counts on: its client will not send what they hold, and they
    /// may have been condemned before the session began, so that nothing else keeps them until the commit.
    fn keep_condemned(&self) -> Result<(), StoreError> {
        let catalog = self.store.catalog();
        let condemned = catalog.read(|catalog| packs::condemned_of(catalog, |pack| self.memo.relies_on(pack)))?;
        if condemned.is_empty() {
            return Ok(());
        }
        catalog.write(|tx| packs::take_condemnation_back(tx, &condemned))
    }

    /// Reads an object, also one that this session put a moment ago.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read(&mut self, id: &ObjectId) -> Result<StoredObject, StoreError> {
        let open = self.open.iter_mut().flatten().find_map(|pack| Some((*pack.index.get(id)?, pack)));
        let Some((index, pack)) = open else {
            return self.store.read(self.vault, id);
        };
        let span = pack.entries[index].span;
        let bytes = match pack.writer.read(span) {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.break_with(error)),
        };
        let id_of_pack = pack.writer.header().pack;
        let record = record_of_span(&bytes.into()).map_err(|fault| damaged(id_of_pack, span.offset.into(), &fault))?;
        let member_index = member_index(&record, id).ok_or(StoreError::NotFound { what: "object" })?;
        Ok(StoredObject { record, member_index })
    }

    /// Ends the session, making durable what it still has open; returns how many records are durable.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn close(mut self, now: UnixMs) -> Result<u64, StoreError> {
        let durable_count = self.flush(now)?;
        let (id, is_pinned) = (self.id, self.has_uncommitted);
        self.store
            .catalog()
            .write(|tx| if is_pinned { sessions::touch(tx, id, now) } else { sessions::remove(tx, id) })?;
        Ok(durable_count)
    }

    /// Ends the session of somebody who will not come back: what it put is durable, and stays only as far as something
    /// refers to it.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn finish(mut self, now: UnixMs) -> Result<u64, StoreError> {
        let durable_count = self.flush(now)?;
        let id = self.id;
        self.store.catalog().write(|tx| sessions::remove(tx, id))?;
        Ok(durable_count)
    }

    /// Forgets what was looked up, to look it up again.
    pub(crate) fn forget_memo(&mut self) -> Result<(), StoreError> {
        self.memo = Memo::new(self.store.catalog().read(packs::condemn_seq)?);
        Ok(())
    }

    fn is_open(&self, id: &ObjectId) -> bool {
        self.open.iter().flatten().any(|pack| pack.index.contains_key(id))
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        self.store.catalog().check_running()?;
        match &self.broken {
            None => Ok(()),
            Some((kind, reason)) => Err(StoreError::SessionBroken { kind: *kind, reason: reason.clone() }),
        }
    }

    /// The same after a pack could not be written.
    fn break_written(&mut self, error: StoreError, now: UnixMs) -> StoreError {
        self.store.faults().note(&error, now);
        self.break_with(error)
    }

    fn break_with(&mut self, error: StoreError) -> StoreError {
        self.broken = Some((error.kind(), error.to_string()));
        error
    }

    /// Measures the free space now and then, and before every pack.
    fn check_space(&mut self, len: usize, class: PackClass) -> Result<(), StoreError> {
        self.unmeasured_len += len;
        if self.unmeasured_len >= SPACE_CHECK_LEN || self.open[class as usize].is_none() {
            self.store.check_space()?;
            self.unmeasured_len = 0;
        }
        Ok(())
    }

    /// Measures the account's quota before every pack, and where what was measured last is used up. What other sessions
    /// have in open packs does not count yet.
    fn check_quota(&mut self, len: u64, class: PackClass) -> Result<(), StoreError> {
        let is_spent = self.quota_left.is_some_and(|left| left < len);
        if is_spent || self.open[class as usize].is_none() {
            let open_len: u64 = self.open.iter().flatten().map(|pack| pack.writer.len()).sum();
            self.quota_left = match self.store.quota_of(self.owner.vault)? {
                None => None,
                Some(found) => match found.left().unwrap_or(u64::MAX).checked_sub(open_len.saturating_add(len)) {
                    None => return Err(found.exceeded()),
                    Some(_) => found.left().map(|left| left - open_len),
                },
            };
        }
        self.quota_left = self.quota_left.map(|left| left.saturating_sub(len));
        Ok(())
    }

    /// Completes the files of the open packs and makes bytes and names durable, the names last.
    fn publish(&mut self) -> Result<(), StoreError> {
        let dir = self.store.dir();
        let mut finished = Vec::new();
        for pack in self.open.iter_mut().filter_map(Option::take) {
            let id = pack.writer.header().pack;
            finished.push((id, pack.key, pack.writer.finish()?, pack.entries));
        }
        for (id, key, finished, entries) in finished {
            dir.rename_noreplace(&finished.path, &dir.pack_path(id))?;
            if let Err(error) = dir.sync_dir(&dir.shard_path(id)) {
                self.store.catalog().halt(format!("a pack may not be durable: {error}"));
                return Err(error);
            }
            self.unfinished.retain(|(unfinished, _)| *unfinished != key);
            self.published.push(Published { key, file: finished.file, entries });
        }
        Ok(())
    }

    /// Makes the packs visible whose files are in place.
    fn index_published(&mut self, now: UnixMs) -> Result<(), StoreError> {
        if self.published.is_empty() {
            return Ok(());
        }
        let (session, published) = (self.id, &self.published);
        self.store.catalog().write(|tx| {
            for pack in published {
                packs::seal(tx, pack.key, &pack.file, pack.entries.len(), now)?;
            }
            sessions::touch(tx, session, now)
        })?;
        for pack in self.published.drain(..) {
            self.stored.bytes += pack.file.len;
            self.stored.objects += pack.entries.len() as u64;
            self.memo.rely_on(pack.key);
            for entry in &pack.entries {
                self.stored.delta_objects += u64::from(entry.form.is_delta);
                if entry.form.is_leaf() {
                    self.memo.vouch(&entry.id);
                }
            }
            self.store.catalog().index(self.owner.vault, pack.key, &pack.entries)?;
        }
        Ok(())
    }
}

impl OpenPack {
    /// Notes the intent, then makes the file: whatever happens in between, recovery knows about both.
    fn create(store: &Store, class: PackClass, owner: SessionOwner, vault: VaultId) -> Result<Self, StoreError> {
        let id = PackId::from_bytes(store.fresh_id()?);
        let (key, header) = store.catalog().write(|tx| packs::intend(tx, id, class, (owner.vault, vault)))?;
        match PackWriter::create(store.dir(), header) {
            Ok(writer) => Ok(Self { key, writer, entries: Vec::new(), index: HashMap::new() }),
            Err(error) => {
                drop(store.catalog().write(|tx| packs::forget_intents(tx, &[key])));
                Err(error)
            }
        }
    }
}

impl Drop for WriteSession {
    /// Cleans up what nobody will use. Best effort: recovery does the same at the next start.
    fn drop(&mut self) {
        self.store.sessions().remove(&self.id);
        if std::thread::panicking() || self.store.halted().is_some() {
            return;
        }
        let unfinished = std::mem::take(&mut self.unfinished);
        for (_, path) in &unfinished {
            drop(self.store.dir().remove(path));
        }
        if !unfinished.is_empty() {
            let intents: Vec<PackKey> = unfinished.into_iter().map(|(key, _)| key).collect();
            drop(self.store.catalog().write(|tx| packs::forget_intents(tx, &intents)));
        }
    }
}
