//! Records in memory, as the other tests' source of objects.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use object::{ObjectId, SealedRecord};
use vault::{CompressionLevel, Keys, ObjectSource, PlainObject, Reader, Sealer, VaultKey};

pub(crate) fn keys() -> Arc<Keys> {
    Arc::new(Keys::new(&VaultKey::from_bytes([7; 32])))
}

pub(crate) fn sealer(keys: &Keys) -> Sealer {
    Sealer::new(keys, [9; 16], CompressionLevel::DEFAULT)
}

/// Holds sealed records and counts what is asked of it.
#[derive(Default)]
pub(crate) struct MemoryStore {
    records: Vec<SealedRecord>,
    by_id: HashMap<ObjectId, usize>,
    pub(crate) fetches: usize,
}

impl MemoryStore {
    pub(crate) fn put(&mut self, record: SealedRecord) {
        for member in record.view().head().members() {
            self.by_id.insert(member.id, self.records.len());
        }
        self.records.push(record);
    }

    pub(crate) fn put_all(&mut self, sealer: &mut Sealer, objects: &[PlainObject]) {
        for object in objects {
            self.put(sealer.seal(std::slice::from_ref(object)).unwrap());
        }
    }

    pub(crate) fn reader(self, keys: &Arc<Keys>) -> Reader<Self> {
        Reader::new(self, Arc::clone(keys), 1 << 20)
    }
}

impl ObjectSource for MemoryStore {
    type Error = Infallible;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, Infallible> {
        self.fetches += 1;
        let mut at: Vec<usize> = ids.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
        at.sort_unstable();
        at.dedup();
        Ok(at.into_iter().map(|at| self.records[at].clone()).collect())
    }
}
