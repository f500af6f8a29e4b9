//! [`PackCache`]: the packs that were read last stay open, a bounded number of them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use crate::catalog::{Catalog, packs};
use crate::data_dir::DataDir;
use crate::ids::PackKey;
use crate::pack::{PackFault, PackReader};
use crate::{PackId, StoreError};

pub(crate) struct PackCache {
    capacity: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    packs: HashMap<PackKey, (Arc<PackReader>, u64)>,
    clock: u64,
}

impl PackCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), open: Mutex::default() }
    }

    /// The pack of this key, opened if need be. [`StoreError::Damaged`] when its file is gone or not that pack.
    pub(crate) fn get(&self, key: PackKey, dir: &DataDir, catalog: &Catalog) -> Result<Arc<PackReader>, StoreError> {
        if let Some(pack) = self.lock().hit(key) {
            return Ok(pack);
        }
        let header = catalog.read(|catalog| packs::header(catalog, key))?;
        let header = header.ok_or(StoreError::NotFound { what: "pack" })?;
        let id = header.pack;
        let path = dir.pack_path(id);
        let opened = match dir.open(&path) {
            // What is kept open for later is the first to go.
            Err(error) if is_out_of_descriptors(&error) => {
                self.lock().packs.clear();
                dir.open(&path)
            }
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Damaged { pack: id, offset: 0, what: "its file is gone".to_owned() });
            }
            Err(error) => return Err(error),
        };
        let pack = PackReader::open_known(file, header).map_err(|fault| damaged(id, 0, &fault))?;
        let pack = Arc::new(pack);
        self.lock().keep(key, pack.clone(), self.capacity);
        Ok(pack)
    }

    /// Closes a pack whose file is about to go: an open file keeps its space.
    pub(crate) fn forget(&self, key: PackKey) {
        self.lock().packs.remove(&key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn hit(&mut self, key: PackKey) -> Option<Arc<PackReader>> {
        self.clock += 1;
        let (pack, used) = self.packs.get_mut(&key)?;
        *used = self.clock;
        Some(pack.clone())
    }

    fn keep(&mut self, key: PackKey, pack: Arc<PackReader>, capacity: usize) {
        if self.packs.len() >= capacity {
            let oldest = self.packs.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| self.packs.remove(&key));
        }
        self.packs.insert(key, (pack, self.clock));
    }
}

/// Whether this process, or the system, has as many files open as it may.
fn is_out_of_descriptors(error: &StoreError) -> bool {
    let StoreError::Io { source, .. } = error else { return false };
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
}

/// What a fault in a pack means to whoever asked for an object of it.
pub(crate) fn damaged(pack: PackId, offset: u64, fault: &PackFault) -> StoreError {
    StoreError::Damaged { pack, offset, what: fault.to_string() }
}
