//! Disks for tests: [`SimDisk`] fails, tears and loses power on request; [`HookDisk`] calls back before every effect;
//! [`check_disk`] is what every [`Disk`] must do.
//!
//! A [`SimDisk`] is in memory. It keeps apart what programs see (page cache) and what survives a power loss (platter), as
//! strictly as POSIX allows: bytes survive if the file was synced, a name survives if its directory was.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::disk::{Disk, DiskFile, DiskLock, DiskWriter};

/// Free space where nobody said how much.
const FREE_BYTES: u64 = 1 << 40;

/// What goes wrong when a plan comes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation has no effect and returns this error. A sync that fails like this loses what it should have made
    /// durable for good: later syncs succeed and the bytes stay lost, as on Linux.
    Refuse(io::ErrorKind),
    /// The operation returns this error, but an append has appended half, and anything else has happened.
    Tear(io::ErrorKind),
    /// The process dies before the operation. See [`until_death`].
    DieBefore,
    /// The process dies after the operation. See [`until_death`].
    DieAfter,
}

/// An operation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The method of [`Disk`], [`DiskFile`] or [`DiskWriter`].
    pub verb: &'static str,
    /// On what; of renames the new name.
    pub path: PathBuf,
    /// Bytes appended or read.
    pub len: usize,
}

/// The payload of the unwinding that stands for the death of the process.
struct Died;

/// Runs a program until it ends or the disk makes it die; `None` when it died.
///
/// Death is an unwinding without message, so that no error handling of the program runs; the disk does nothing more until
/// [`SimDisk::reboot`].
pub fn until_death<T>(program: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(program)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// A disk in memory that can fail and lose power. Clones share it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    /// Changes of names whose directory was not synced since, in order.
    unsynced_names: Vec<NameChange>,
    locks: HashSet<PathBuf>,
    calls: Vec<Call>,
    effects: u64,
    plan: Option<(u64, Fault)>,
    read_faults: Vec<ReadFault>,
    read_len_max: Option<usize>,
    free_bytes: Option<u64>,
    file_system: Option<u32>,
    dead: bool,
}

/// Bytes of a file that cannot be read, so many times.
struct ReadFault {
    path: PathBuf,
    bytes: Range<u64>,
    times: u64,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes before this one that are not durable never will be: a sync of them failed.
    lost_until: usize,
    /// Bytes of the free space that are free again when the file is removed.
    allocated: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    File(usize),
}

#[derive(Clone)]
struct NameChange {
    path: PathBuf,
    entry: Option<Entry>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk({} effects)", self.effects())
    }
}

impl SimDisk {
    /// A disk with nothing but the directory `root` and those above it, all durable.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let disk = Self::default();
        let mut state = disk.state();
        for path in root.ancestors() {
            state.names.insert(path.to_owned(), Entry::Directory);
        }
        state.durable_names = state.names.clone();
        drop(state);
        disk
    }

    /// Reads that touch these bytes of a file fail from now on, `times` times.
    pub fn fail_reads(&self, path: &Path, bytes: Range<u64>, times: u64) {
        self.state().read_faults.push(ReadFault { path: path.to_owned(), bytes, times });
    }

    /// From now on everything can be read again.
    pub fn forget_read_faults(&self) {
        self.state().read_faults.clear();
    }

    /// No read gives more than this many bytes from now on.
    pub fn shorten_reads(&self, len_max: usize) {
        self.state().read_len_max = Some(len_max);
    }

    /// A disk that holds the same, with everything below `root` moved below `new_root`.
    #[must_use]
    pub fn fork(&self, root: &Path, new_root: &Path) -> Self {
        let move_path = |path: &Path| match path.strip_prefix(root) {
            Ok(below) if below.as_os_str().is_empty() => new_root.to_owned(),
            Ok(below) => new_root.join(below),
            Err(_) => path.to_owned(),
        };
        let move_names = |names: &BTreeMap<PathBuf, Entry>| -> BTreeMap<PathBuf, Entry> {
            let new_parents = new_root.ancestors().map(|path| (path.to_owned(), Entry::Directory));
            new_parents.chain(names.iter().map(|(path, entry)| (move_path(path), *entry))).collect()
        };
        let state = self.state();
        let change = |change: &NameChange| NameChange { path: move_path(&change.path), entry: change.entry };
        let forked = State {
            files: state.files.clone(),
            names: move_names(&state.names),
            durable_names: move_names(&state.durable_names),
            unsynced_names: state.unsynced_names.iter().map(change).collect(),
            free_bytes: state.free_bytes,
            file_system: state.file_system,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(forked)) }
    }

    /// Makes the operation after the next `effects` effective ones go wrong.
    pub fn plan(&self, effects: u64, fault: Fault) {
        let mut state = self.state();
        state.plan = Some((state.effects + effects, fault));
    }

    /// Whether a plan has not come due yet; forgets it.
    #[must_use]
    pub fn take_plan(&self) -> bool {
        self.state().plan.take().is_some()
    }

    /// Operations so far that change something or make it durable.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.state().effects
    }

    /// The operations since this was last asked.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// What [`Disk::file_system`] answers from now on.
    pub fn set_file_system(&self, number: u32) {
        self.state().file_system = Some(number);
    }

    /// What [`Disk::free_bytes`] answers from now on; what [`Disk::allocate`] takes goes off it.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = Some(bytes);
    }

    /// Starts the machine again after the process died: everything it wrote is there, its locks are gone.
    pub fn reboot(&self) {
        let mut state = self.state();
        state.dead = false;
        state.plan = None;
        state.locks.clear();
    }

    /// Loses power and starts the machine again: what was not synced is gone.
    ///
    /// With a seed some of it is there after all: any of the names that were changed, any sectors of 512 bytes.
    pub fn lose_power(&self, seed: Option<u64>) {
        let mut random = seed.map(Random);
        let mut is_kept = move || random.as_mut().is_some_and(|random| random.next().is_multiple_of(2));
        let mut state = self.state();
        for change in std::mem::take(&mut state.unsynced_names) {
            if is_kept() {
                apply(&mut state.durable_names, &change);
            }
        }
        let survives = |path: &Path, names: &BTreeMap<PathBuf, Entry>| {
            path.ancestors().skip(1).all(|parent| names.get(parent) == Some(&Entry::Directory))
        };
        let names = state.durable_names.clone();
        state.durable_names.retain(|path, _| survives(path, &names));
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            let durable_len = file.durable.len();
            for sector in file.bytes[durable_len..].chunks(512) {
                if is_kept() {
                    file.durable.extend_from_slice(sector);
                } else if is_kept() {
                    file.durable.resize(file.durable.len() + sector.len(), 0);
                } else {
                    break;
                }
            }
            file.bytes.clone_from(&file.durable);
            file.lost_until = 0;
        }
        drop(state);
        self.reboot();
    }

    /// All files, in order of their names.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.names.iter().filter(|(_, entry)| matches!(entry, Entry::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// A file's bytes.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Vec<u8> {
        let mut state = self.state();
        state.file(path).bytes.clone()
    }

    /// Changes a file's bytes behind everybody's back, durably. For damage.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.file(path);
        change(&mut file.bytes);
        file.durable.clone_from(&file.bytes);
    }

    /// Removes a file's name behind everybody's back, durably. For damage.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn lose_file(&self, path: &Path) {
        let mut state = self.state();
        state.durable_names.remove(path);
        state.names.remove(path).expect("the file exists");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an effective operation, lets a plan come due, and runs `happen` if it is to happen.
    fn effect<T>(
        &self,
        call: Call,
        happen: impl FnOnce(&mut State) -> io::Result<T>,
        tear: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.state();
        state.check_alive()?;
        state.calls.push(call);
        let fault = match state.plan {
            Some((due, fault)) if due == state.effects => {
                state.plan = None;
                Some(fault)
            }
            _ => None,
        };
        state.effects += 1;
        match fault {
            None => happen(&mut state),
            Some(Fault::Refuse(kind)) => Err(kind.into()),
            Some(Fault::Tear(kind)) => {
                tear(&mut state);
                Err(kind.into())
            }
            Some(Fault::DieBefore) => {
                state.dead = true;
                drop(state);
                resume_unwind(Box::new(Died))
            }
            Some(Fault::DieAfter) => {
                let done = happen(&mut state);
                drop(done);
                state.dead = true;
                drop(state);
                resume_unwind(Box::new(Died))
            }
        }
    }

    fn name_effect<T>(
        &self,
        verb: &'static str,
        path: &Path,
        happen: impl Fn(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.effect(Call::new(verb, path, 0), &happen, |state| drop(happen(state)))
    }
}

impl Call {
    fn new(verb: &'static str, path: &Path, len: usize) -> Self {
        Self { verb, path: path.to_owned(), len }
    }
}

impl State {
    fn check_alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the process has died")) } else { Ok(()) }
    }

    fn change_name(&mut self, path: &Path, entry: Option<Entry>) {
        let change = NameChange { path: path.to_owned(), entry };
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    fn check_new(&self, path: &Path) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match path.parent().and_then(|parent| self.names.get(parent)) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Entry::File(file)) => Ok(*file),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        let file = self.find(path).expect("the file exists");
        &mut self.files[file]
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: &NameChange) {
    match change.entry {
        Some(entry) => names.insert(change.path.clone(), entry),
        None => names.remove(&change.path),
    };
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.name_effect("create_dir", path, |state| {
            state.check_new(path)?;
            state.change_name(path, Some(Entry::Directory));
            Ok(())
        })
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskWriter>> {
        let file = self.name_effect("create_new", path, |state| {
            state.check_new(path)?;
            state.files.push(Content::default());
            let file = state.files.len() - 1;
            state.change_name(path, Some(Entry::File(file)));
            Ok(file)
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn allocate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.name_effect("allocate", path, |state| {
            state.check_new(path)?;
            if len > state.free_bytes.unwrap_or(FREE_BYTES) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let bytes = vec![0; usize::try_from(len).expect("a simulated disk is small")];
            state.files.push(Content { durable: bytes.clone(), bytes, lost_until: 0, allocated: len });
            let file = state.files.len() - 1;
            state.change_name(path, Some(Entry::File(file)));
            state.free_bytes = state.free_bytes.map(|free| free - len);
            Ok(())
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.check_alive()?;
        state.calls.push(Call::new("open", path, 0));
        let file = state.find(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.name_effect("rename_noreplace", to, |state| {
            let file = state.find(from)?;
            state.check_new(to)?;
            state.change_name(to, Some(Entry::File(file)));
            state.change_name(from, None);
            Ok(())
        })
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.name_effect("rename_replace", to, |state| {
            let file = state.find(from)?;
            state.change_name(to, Some(Entry::File(file)));
            state.change_name(from, None);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.name_effect("remove", path, |state| {
            let file = state.find(path)?;
            let allocated = std::mem::take(&mut state.files[file].allocated);
            state.free_bytes = state.free_bytes.map(|free| free + allocated);
            state.change_name(path, None);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.name_effect("sync_dir", path, |state| {
            if state.names.get(path) != Some(&Entry::Directory) {
                return Err(io::ErrorKind::NotFound.into());
            }
            for change in std::mem::take(&mut state.unsynced_names) {
                if change.path.parent() == Some(path) {
                    apply(&mut state.durable_names, &change);
                } else {
                    state.unsynced_names.push(change);
                }
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.state();
        state.check_alive()?;
        state.calls.push(Call::new("list", path, 0));
        if state.names.get(path) != Some(&Entry::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below =
            state.names.range(path.to_owned()..).map(|(child, _)| child).take_while(|child| child.starts_with(path));
        let children = below.filter(|child| child.parent() == Some(path));
        Ok(children.filter_map(|child| child.file_name().map(ToOwned::to_owned)).collect())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_alive()?;
        Ok(state.free_bytes.unwrap_or(FREE_BYTES))
    }

    fn file_system(&self, _path: &Path) -> io::Result<u32> {
        Ok(self.state().file_system.unwrap_or(0xef53))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let mut state = self.state();
        state.check_alive()?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let guard = SimLock { disk: self.clone(), path: path.to_owned() };
        Ok(Some(DiskLock::new(Box::new(guard))))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    path: PathBuf,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check_alive()?;
        state.calls.push(Call::new("read_at", &self.path, buffer.len()));
        let read_len_max = state.read_len_max.unwrap_or(usize::MAX);
        let bytes = &state.files[self.file].bytes;
        let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let count = buffer.len().min(bytes.len() - start).min(read_len_max);
        let end = offset + count as u64;
        let touched = |fault: &&mut ReadFault| {
            fault.times > 0 && fault.path == self.path && offset < fault.bytes.end && fault.bytes.start < end
        };
        if let Some(fault) = state.read_faults.iter_mut().find(touched) {
            fault.times -= 1;
            return Err(io::Error::other("bytes that cannot be read"));
        }
        let bytes = &state.files[self.file].bytes;
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_alive()?;
        Ok(state.files[self.file].bytes.len() as u64)
    }
}

impl DiskWriter for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file;
        self.disk.effect(
            Call::new("append", &self.path, bytes.len()),
            |state| {
                state.files[file].bytes.extend_from_slice(bytes);
                Ok(())
            },
            |state| state.files[file].bytes.extend_from_slice(&bytes[..bytes.len() / 2]),
        )
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let lose = |state: &mut State| {
            let file = &mut state.files[self.file];
            file.lost_until = file.bytes.len();
        };
        let sync = |state: &mut State| {
            let file = &mut state.files[self.file];
            let lost_until = file.lost_until.max(file.durable.len());
            file.durable.resize(lost_until, 0);
            file.durable.extend_from_slice(&file.bytes[lost_until..]);
            Ok(())
        };
        let result = self.disk.effect(Call::new("sync_data", &self.path, 0), sync, lose);
        if result.is_err() {
            lose(&mut self.disk.state());
        }
        result
    }
}

/// The generator of the seeds' choices (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What [`HookDisk`] calls.
pub type Hook = Box<dyn Fn(&Call) + Send + Sync>;

/// A disk that calls back before every operation that changes something or makes it durable.
pub struct HookDisk<D> {
    inner: D,
    hook: Arc<Hook>,
}

impl<D> HookDisk<D> {
    /// Puts a hook before a disk.
    pub fn new(inner: D, hook: Hook) -> Self {
        Self { inner, hook: Arc::new(hook) }
    }

    fn call(&self, verb: &'static str, path: &Path) {
        (self.hook)(&Call::new(verb, path, 0));
    }
}

impl<D: fmt::Debug> fmt::Debug for HookDisk<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookDisk({:?})", self.inner)
    }
}

impl<D: Disk> Disk for HookDisk<D> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call("create_dir", path);
        self.inner.create_dir(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskWriter>> {
        self.call("create_new", path);
        let inner = self.inner.create_new(path)?;
        Ok(Box::new(HookFile { inner, path: path.to_owned(), hook: self.hook.clone() }))
    }

    fn allocate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.call("allocate", path);
        self.inner.allocate(path, len)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.inner.open(path)
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename_noreplace", to);
        self.inner.rename_noreplace(from, to)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename_replace", to);
        self.inner.rename_replace(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", path);
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call("sync_dir", path);
        self.inner.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_bytes(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<u32> {
        self.inner.file_system(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        self.inner.lock(path)
    }
}

struct HookFile {
    inner: Box<dyn DiskWriter>,
    path: PathBuf,
    hook: Arc<Hook>,
}

impl DiskFile for HookFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl DiskWriter for HookFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        (self.hook)(&Call::new("append", &self.path, bytes.len()));
        self.inner.append(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        (self.hook)(&Call::new("sync_data", &self.path, 0));
        self.inner.sync_data()
    }
}

/// What every [`Disk`] must do; `root` is an empty directory.
///
/// # Panics
/// When the disk does something else.
pub fn check_disk(disk: &dyn Disk, root: &Path) {
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    let names = |path: &Path| {
        let mut names = disk.list(path).unwrap();
        names.sort();
        names
    };
    let directory = root.join("directory");
    disk.create_dir(&directory).unwrap();
    assert_eq!(kind(disk.create_dir(&directory)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(&root.join("missing/child"))), io::ErrorKind::NotFound);
    disk.sync_dir(root).unwrap();
    assert_eq!(disk.list(&root.join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(names(&directory), [""; 0]);

    let first = directory.join("first");
    let mut writer = disk.create_new(&first).unwrap();
    assert_eq!(disk.create_new(&first).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(disk.create_new(&directory).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(writer.len().unwrap(), 0);
    writer.append(b"hello ").unwrap();
    writer.append(b"").unwrap();
    writer.append(b"world").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(writer.read_at(&mut buffer, 6).unwrap(), 5, "a writer reads what it wrote");
    assert_eq!(&buffer[..5], b"world");
    writer.sync_data().unwrap();
    drop(writer);

    let reader = disk.open(&first).unwrap();
    assert_eq!((reader.len().unwrap(), reader.is_empty().unwrap()), (11, false));
    assert_eq!(reader.read_at(&mut buffer, 3).unwrap(), 8);
    assert_eq!(&buffer, b"lo world");
    assert_eq!(reader.read_at(&mut buffer, 11).unwrap(), 0);
    assert_eq!(reader.read_at(&mut buffer, 1000).unwrap(), 0);
    assert_eq!(disk.open(&root.join("missing")).err().unwrap().kind(), io::ErrorKind::NotFound);

    let second = directory.join("second");
    disk.rename_noreplace(&first, &second).unwrap();
    assert_eq!(kind(disk.rename_noreplace(&first, &root.join("third"))), io::ErrorKind::NotFound);
    assert_eq!(reader.read_at(&mut buffer, 3).unwrap(), 8, "open files survive renames");
    let mut writer = disk.create_new(&first).unwrap();
    writer.append(b"other").unwrap();
    assert_eq!(kind(disk.rename_noreplace(&first, &second)), io::ErrorKind::AlreadyExists);
    assert_eq!(names(&directory), ["first", "second"]);
    assert_eq!(disk.open(&second).unwrap().len().unwrap(), 11, "nothing was replaced");
    disk.rename_replace(&first, &second).unwrap();
    assert_eq!(disk.open(&second).unwrap().len().unwrap(), 5);
    assert_eq!(kind(disk.rename_replace(&first, &second)), io::ErrorKind::NotFound);
    assert_eq!(names(&directory), ["second"]);
    disk.remove(&second).unwrap();
    assert_eq!(kind(disk.remove(&second)), io::ErrorKind::NotFound);
    disk.sync_dir(&directory).unwrap();
    assert_eq!(names(&directory), [""; 0]);

    let taken = root.join("taken");
    disk.allocate(&taken, 5000).unwrap();
    assert_eq!(disk.open(&taken).unwrap().len().unwrap(), 5000);
    assert_eq!(kind(disk.allocate(&taken, 1)), io::ErrorKind::AlreadyExists);
    disk.remove(&taken).unwrap();

    assert!(disk.free_bytes(root).unwrap() > 0);
    assert_eq!(disk.file_system(root).unwrap(), disk.file_system(&directory).unwrap());
    let lock = root.join("lock");
    let held = disk.lock(&lock).unwrap();
    assert!(held.is_some());
    assert!(disk.lock(&lock).unwrap().is_none(), "a lock is held once");
    drop(held);
    assert!(disk.lock(&lock).unwrap().is_some(), "a dropped lock is free");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(name: &str, unsynced: &[u8]) -> (SimDisk, PathBuf) {
        let disk = SimDisk::new(Path::new("/d"));
        let path = Path::new("/d").join(name);
        let mut writer = disk.create_new(&path).unwrap();
        writer.append(b"synced").unwrap();
        writer.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        writer.append(unsynced).unwrap();
        (disk, path)
    }

    #[test]
    fn the_simulated_disk_is_a_disk() {
        check_disk(&SimDisk::new(Path::new("/d")), Path::new("/d"));
    }

    #[test]
    fn power_loss_takes_what_was_not_synced() {
        let (disk, path) = disk_with("file", b" and not");
        disk.create_new(Path::new("/d/unsynced name")).unwrap();
        disk.lose_power(None);
        assert_eq!(disk.contents(&path), b"synced");
        assert_eq!(disk.files(), [path]);
    }

    #[test]
    fn seeds_keep_some_of_it() {
        let kept = |seed| {
            let (disk, path) = disk_with("file", &[7; 4096]);
            disk.create_new(Path::new("/d/unsynced name")).unwrap();
            disk.lose_power(Some(seed));
            (disk.contents(&path), disk.files().len())
        };
        let outcomes: HashSet<_> = (0..64).map(kept).collect();
        assert!(outcomes.len() > 10, "{} outcomes", outcomes.len());
        assert!(outcomes.iter().all(|(bytes, _)| bytes.starts_with(b"synced")));
        assert_eq!(kept(5), kept(5));
    }

    #[test]
    fn a_failed_sync_lies_afterwards() {
        let (disk, path) = disk_with("file", b"");
        let mut writer = disk.create_new(Path::new("/d/other")).unwrap();
        writer.append(b"lost").unwrap();
        disk.plan(0, Fault::Refuse(io::ErrorKind::Other));
        writer.sync_data().unwrap_err();
        writer.append(b"kept").unwrap();
        writer.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.lose_power(None);
        assert_eq!(disk.contents(Path::new("/d/other")), b"\0\0\0\0kept");
        assert_eq!(disk.contents(&path), b"synced");
    }

    #[test]
    fn the_dead_do_nothing() {
        let (disk, path) = disk_with("file", b"");
        disk.plan(1, Fault::DieAfter);
        let ran = until_death(|| {
            disk.remove(&path).unwrap();
            disk.create_new(&path).unwrap();
            unreachable!("died");
        });
        assert!(ran.is_none());
        disk.open(&path).err().expect("dead");
        disk.reboot();
        assert_eq!(disk.contents(&path), b"", "the second one was made");
    }

    #[test]
    fn torn_appends_append_half() {
        let (disk, path) = disk_with("file", b"");
        let mut writer = disk.create_new(Path::new("/d/other")).unwrap();
        disk.plan(0, Fault::Tear(io::ErrorKind::StorageFull));
        assert_eq!(writer.append(b"12345678").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.contents(Path::new("/d/other")), b"1234");
        assert!(!disk.take_plan());
        disk.damage(&path, |bytes| bytes[0] = b'S');
        disk.lose_power(None);
        assert_eq!(disk.contents(&path), b"Synced");
    }
}
