//! What the tests share: a store on a simulated disk, records without encryption, ids made of words.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object::{Codec, Kind, ObjectId, RecordHeadWriter, SealedRecord, VaultId};
use store::disk::Disk;
use store::{
    AccountId, DeviceId, IdempotencyKey, NewEnrolment, NewVault, Purpose, Random, Role, Scope, Snapshot, Store,
    StoreError, StoreOptions, UnixMs, VaultMode, WriteSession,
};
use tempfile::TempDir;
use testkit::disk::SimDisk;

pub(crate) const NOW: UnixMs = UnixMs(1_700_000_000_000);
pub(crate) const VAULT: VaultId = VaultId::from_bytes([0x77; 16]);

/// A directory in memory where there is such a thing: the catalog syncs a lot.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Ids that count up, so that packs have the same bytes in every run.
#[derive(Debug, Default)]
pub(crate) struct CountingRandom(AtomicU64);

impl Random for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        let hash = blake3::hash(&count.to_le_bytes());
        bytes.copy_from_slice(&hash.as_bytes()[..bytes.len()]);
        Ok(())
    }
}

/// A store whose packs are on a simulated disk and whose catalog is on a real one.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) disk: SimDisk,
    pub(crate) options: StoreOptions,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    _scratch: TempDir,
}

impl World {
    /// A new store with one account, one device and one vault; small packs. It is closed.
    pub(crate) fn new() -> Self {
        let scratch = scratch();
        let root = scratch.path().to_owned();
        let disk = SimDisk::new(&root);
        let mut options = StoreOptions::default();
        options.disk = Arc::new(disk.clone());
        options.random = Arc::new(CountingRandom::default());
        options.pack_target_bytes = 4096;
        options.min_free_bytes = 0;
        let store = Store::create(&root, &options, NOW).unwrap();
        let (account, device) = populate(&store);
        Self { root, disk, options, account, device, _scratch: scratch }
    }

    /// A world that is the same and goes its own way; nobody has the store open.
    pub(crate) fn fork(&self) -> Self {
        let scratch = scratch();
        let root = scratch.path().to_owned();
        std::fs::copy(self.root.join("catalog.sqlite3"), root.join("catalog.sqlite3")).unwrap();
        let disk = self.disk.fork(&self.root, &root);
        let mut options = self.options.clone();
        options.disk = Arc::new(disk.clone());
        Self { root, disk, options, account: self.account, device: self.device, _scratch: scratch }
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&self.root, &self.options, NOW)
    }

    pub(crate) fn begin(&self, store: &Store) -> WriteSession {
        self.begin_chain(store, "home").0
    }

    pub(crate) fn begin_chain(&self, store: &Store, chain: &str) -> (WriteSession, Option<Snapshot>) {
        let purpose = Purpose::Backup { device: self.device, chain, parent_hint: None };
        store.begin(VAULT, &purpose, NOW).unwrap()
    }

    /// Talks to the catalog behind the store's back, as garbage collection will within it.
    pub(crate) fn sql(&self, statement: &str) {
        let catalog = rusqlite::Connection::open(self.root.join("catalog.sqlite3")).unwrap();
        catalog.execute_batch(statement).unwrap();
    }

    pub(crate) fn ask<T: rusqlite::types::FromSql>(&self, question: &str) -> T {
        let catalog = rusqlite::Connection::open(self.root.join("catalog.sqlite3")).unwrap();
        catalog.query_row(question, (), |row| row.get(0)).unwrap()
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.disk.free_bytes(&self.root).unwrap()
    }

    /// The packs' files, in order.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let files = self.disk.files();
        files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "pack")).collect()
    }
}

/// Makes the account, the device and the vault of the tests.
pub(crate) fn populate(store: &Store) -> (AccountId, DeviceId) {
    let account = store.create_account("ada", Role::Admin, NOW).unwrap();
    let device = enroll(store, account, "laptop");
    let vault = NewVault { id: VAULT, account, name: "main", mode: VaultMode::Managed, slots: &[b"wrapped".to_vec()] };
    store.create_vault(&vault, NOW).unwrap();
    (account, device)
}

pub(crate) fn enroll(store: &Store, account: AccountId, name: &str) -> DeviceId {
    let secret_hash = *blake3::hash(name.as_bytes()).as_bytes();
    let expires = UnixMs(NOW.0 + 1000);
    let enrolment = NewEnrolment { secret_hash, account, device_name: name, scope: Scope::Admin, expires };
    store.create_enrolment(&enrolment, NOW).unwrap();
    store.redeem_enrolment(&secret_hash, &[9; 32], NOW).unwrap().id
}

/// The id of the object called `name`.
pub(crate) fn id(name: &str) -> ObjectId {
    ObjectId::from_bytes(*blake3::hash(name.as_bytes()).as_bytes())
}

pub(crate) fn ids(names: &[&str]) -> Vec<ObjectId> {
    names.iter().map(|name| id(name)).collect()
}

pub(crate) fn key(number: u8) -> IdempotencyKey {
    IdempotencyKey::from_bytes([number; 16])
}

/// One member of a record to be made: kind, name, edges.
pub(crate) type Draft<'a> = (Kind, &'a str, &'a [&'a str]);

/// A record of these objects, whose body is `body`.
pub(crate) fn record_with(codec: Codec, members: &[Draft<'_>], body: &[u8]) -> SealedRecord {
    let mut writer = RecordHeadWriter::new(codec, 0, &[0; 24]);
    for (kind, name, edges) in members {
        writer.member(*kind, &id(name), 10, &ids(edges)).unwrap();
    }
    let mut bytes = writer.finish(body.len()).unwrap();
    RecordHeadWriter::append_body(&mut bytes, |_head, place| place.copy_from_slice(body));
    SealedRecord::new(bytes.into()).unwrap()
}

/// A body that tells whose it is.
pub(crate) fn body_of(name: &str) -> Vec<u8> {
    format!("body of {name}").into_bytes()
}

pub(crate) fn chunk(name: &str) -> SealedRecord {
    record_with(Codec::Raw, &[(Kind::Data, name, &[])], &body_of(name))
}

pub(crate) fn chunk_of(name: &str, len: usize) -> SealedRecord {
    record_with(Codec::Raw, &[(Kind::Data, name, &[])], &vec![0xc5; len])
}

pub(crate) fn delta(name: &str, bases: &[&str]) -> SealedRecord {
    record_with(Codec::Delta, &[(Kind::Data, name, bases)], &body_of(name))
}

pub(crate) fn list(name: &str, edges: &[&str]) -> SealedRecord {
    record_with(Codec::Zstd, &[(Kind::List, name, edges)], &body_of(name))
}

pub(crate) fn tree(name: &str, edges: &[&str]) -> SealedRecord {
    record_with(Codec::Zstd, &[(Kind::Tree, name, edges)], &body_of(name))
}

pub(crate) fn snapshot(name: &str, root: &str) -> SealedRecord {
    record_with(Codec::Zstd, &[(Kind::Snapshot, name, &[root])], &body_of(name))
}

pub(crate) fn put_all(session: &mut WriteSession, records: &[SealedRecord]) {
    for record in records {
        session.put(record, NOW).unwrap();
    }
}

/// Puts chunks `a` and `b`, a tree of them and a snapshot, all with names ending in `suffix`, and commits.
pub(crate) fn back_up(session: &mut WriteSession, suffix: &str, number: u8) -> ObjectId {
    let [a, b, root, snap] = ["a", "b", "root", "snap"].map(|name| format!("{name}{suffix}"));
    put_all(session, &[chunk(&a), chunk(&b), tree(&root, &[&a, &b]), snapshot(&snap, &root)]);
    session.commit_snapshot(key(number), id(&snap), NOW).unwrap();
    id(&snap)
}

/// Everything a snapshot reaches, each object with the body of its record.
pub(crate) fn restore(store: &Store, root: ObjectId) -> HashMap<ObjectId, Vec<u8>> {
    let mut found = HashMap::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        if found.contains_key(&id) {
            continue;
        }
        let object = store.read(VAULT, &id).unwrap_or_else(|error| panic!("{id:?}: {error}"));
        let record = object.record.view();
        let member = record.head().members().nth(object.member_index).unwrap();
        assert_eq!(member.id, id);
        open.extend(member.edges.iter());
        found.insert(id, record.body().to_vec());
    }
    found
}

#[track_caller]
pub(crate) fn check_restores(store: &Store, suffix: &str) {
    let found = restore(store, id(&format!("snap{suffix}")));
    assert_eq!(found.len(), 4);
    for name in ["a", "b", "root", "snap"] {
        let name = format!("{name}{suffix}");
        assert_eq!(found[&id(&name)], body_of(&name), "{name}");
    }
}
