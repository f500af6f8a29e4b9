//! [`Packs`]: every object in a folder of packs, and where it stands. [`PackSource`] reads records by it.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use object::{Kind, ObjectId, SealedRecord, VaultId};
use store::PackContents;
use store::disk::OsDisk;
use vault::ObjectSource;

/// Folders within folders that are looked into: `packs/00/` stands two below a data directory.
const DEPTH_MAX: usize = 4;
/// Packs held open.
const OPEN_MAX: usize = 64;

/// Every object in a folder of packs. Takes 40 bytes of memory per stored copy.
#[derive(Debug)]
pub struct Packs {
    paths: Vec<PathBuf>,
    unreadable: Vec<(PathBuf, String)>,
    /// By id, whole copies before deltas.
    copies: Vec<Copy>,
    snapshots: Vec<(ObjectId, Option<VaultId>)>,
    open: Mutex<HashMap<u32, Arc<PackContents>>>,
}

/// The folder cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {}", path.display())]
pub struct PacksError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Half an id: ids are keyed hashes, so 128 bits tell them apart. Whoever opens an object compares the whole id.
type HalfId = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    id: HalfId,
    is_delta: bool,
    pack: u32,
    offset: u32,
    len: u32,
}

impl Packs {
    /// Reads what stands in every `*.pack` file of `folder`, which may be a data directory, its `packs`, or a copy of
    /// some of it; `on_pack` hears of every pack read, and how many there are. Packs that cannot be read are left out.
    ///
    /// # Errors
    /// When `folder` cannot be listed.
    pub fn open(folder: &Path, on_pack: &mut dyn FnMut(usize, usize)) -> Result<Self, PacksError> {
        let mut paths = Vec::new();
        collect(folder, DEPTH_MAX, &mut paths)?;
        paths.sort_unstable();
        let mut packs =
            Self { paths, unreadable: Vec::new(), copies: Vec::new(), snapshots: Vec::new(), open: Mutex::default() };
        let mut seen = HashSet::new();
        for (pack, path) in (0u32..).zip(&packs.paths) {
            match PackContents::open(&OsDisk, path) {
                Ok(contents) => {
                    let vault = contents.vault();
                    for object in contents.objects() {
                        let (is_delta, offset, len) = (object.is_delta, object.offset, object.len);
                        packs.copies.push(Copy { id: half(&object.id), is_delta, pack, offset, len });
                        if object.kind == Kind::Snapshot && seen.insert(object.id) {
                            packs.snapshots.push((object.id, vault));
                        }
                    }
                }
                Err(error) => packs.unreadable.push((path.clone(), error.to_string())),
            }
            on_pack(pack as usize + 1, packs.paths.len());
        }
        packs.copies.sort_unstable();
        Ok(packs)
    }

    /// How many packs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// Packs of which nothing can be read, and why.
    #[must_use]
    pub fn unreadable(&self) -> &[(PathBuf, String)] {
        &self.unreadable
    }

    /// Snapshots, and their vaults where the packs tell.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (ObjectId, Option<VaultId>)> {
        self.snapshots.iter().copied()
    }

    /// A source of records for a reader.
    pub(crate) fn source(self: &Arc<Self>) -> PackSource {
        PackSource { packs: Arc::clone(self) }
    }

    fn copies_of(&self, id: &ObjectId) -> &[Copy] {
        let first = self.copies.partition_point(|copy| copy.id < half(id));
        let rest = &self.copies[first..];
        &rest[..rest.partition_point(|copy| copy.id == half(id))]
    }

    /// The record of one copy; `None` when it cannot be read, or is not what it was listed as.
    fn record(&self, copy: &Copy, id: &ObjectId) -> Option<SealedRecord> {
        let record = self.contents(copy.pack)?.record(copy.offset, copy.len).ok()?;
        let is_there = record.view().head().members().any(|member| member.id == *id);
        is_there.then_some(record)
    }

    fn contents(&self, pack: u32) -> Option<Arc<PackContents>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = open.get(&pack) {
            return Some(Arc::clone(contents));
        }
        let contents = Arc::new(PackContents::open(&OsDisk, &self.paths[pack as usize]).ok()?);
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(pack, Arc::clone(&contents));
        Some(contents)
    }
}

/// Reads records from packs. Never fails as a whole: what cannot be read is missing.
pub(crate) struct PackSource {
    packs: Arc<Packs>,
}

impl ObjectSource for PackSource {
    type Error = Infallible;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, Infallible> {
        let mut places = HashSet::new();
        let mut records = Vec::new();
        for id in ids {
            for copy in self.packs.copies_of(id) {
                if places.contains(&(copy.pack, copy.offset)) {
                    break;
                }
                if let Some(record) = self.packs.record(copy, id) {
                    places.insert((copy.pack, copy.offset));
                    records.push(record);
                    break;
                }
            }
        }
        Ok(records)
    }
}

fn half(id: &ObjectId) -> HalfId {
    *id.as_bytes().first_chunk().expect("ids have 32 bytes")
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), PacksError> {
    let failed = |source| PacksError { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "pack") {
            found.push(path);
        }
    }
    Ok(())
}
