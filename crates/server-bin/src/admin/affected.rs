//! Which paths of a snapshot cannot be restored. Needs the vault's key, so it answers for managed vaults only.

use std::sync::Arc;

use object::{ObjectId, SealedRecord, VaultId};
use store::{Store, StoreError};
use vault::{Entry, EntryKind, Keys, ObjectSource, ReadError, Reader, Snapshot, TreeCursor};

use crate::failure::Failure;
use crate::home::{Home, failed};

/// Most paths told of one snapshot.
pub(crate) const PATHS_MAX: usize = 1000;
/// Opened trees that are kept on the way.
const RECENT_BYTES: usize = 8 << 20;
/// Entries asked about together.
const BATCH_LEN: usize = 512;

/// Paths that cannot be restored.
#[derive(Default)]
pub(crate) struct Affected {
    /// The first of them, in order.
    pub(crate) paths: Vec<String>,
    /// How many there are.
    pub(crate) total: u64,
}

/// Records of one vault in the store; what is damaged is missing.
pub(crate) struct StoreSource {
    store: Store,
    vault: VaultId,
}

impl StoreSource {
    /// A reader of a vault.
    pub(crate) fn reader(store: &Store, vault: VaultId, keys: Arc<Keys>) -> Reader<Self> {
        Reader::new(Self { store: store.clone(), vault }, keys, RECENT_BYTES)
    }
}

impl ObjectSource for StoreSource {
    type Error = StoreError;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, StoreError> {
        let mut records = Vec::new();
        for record in self.store.read_records(self.vault, ids)? {
            match record {
                Ok(record) => records.push(record.record),
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }
}

/// Finds the paths of a snapshot that cannot be restored; none in a sealed vault. Looks only where something is lost.
///
/// # Errors
/// [`Failure`] when the store fails.
pub(crate) fn paths(home: &Home, vault: &store::Vault, snapshot: ObjectId) -> Result<Affected, Failure> {
    let mut affected = Affected::default();
    let Ok(key) = crate::vaults::managed_key(&home.keys, vault) else { return Ok(affected) };
    let mut reader = StoreSource::reader(&home.store, vault.id, Arc::new(Keys::new(&key)));
    let tree = match reader.object(snapshot) {
        Ok(object) => Snapshot::decode(&object).ok().map(|snapshot| snapshot.tree),
        Err(ReadError::Source(error)) => return Err(cannot(&error)),
        Err(_) => None,
    };
    let Some(tree) = tree else {
        affected.add("/".to_owned());
        return Ok(affected);
    };
    let mut levels = vec![(String::new(), TreeCursor::new(tree))];
    let mut batch: Vec<(String, Entry)> = Vec::new();
    while let Some((path, cursor)) = levels.last_mut() {
        let is_over = match cursor.next(&mut reader) {
            Ok(Some(entry)) => {
                let path = format!("{path}/{}", String::from_utf8_lossy(&entry.name).escape_debug());
                batch.push((path, entry));
                false
            }
            Ok(None) => true,
            Err(ReadError::Source(error)) => return Err(cannot(&error)),
            Err(_) => {
                affected.add(format!("{path}/"));
                false
            }
        };
        if is_over {
            levels.pop();
        }
        if batch.len() == BATCH_LEN || (is_over && !batch.is_empty()) {
            settle(home, vault.id, std::mem::take(&mut batch), &mut levels, &mut affected)?;
        }
    }
    Ok(affected)
}

/// Asks which of the entries are held, with all they refer to; directories that are not are gone through.
fn settle(
    home: &Home,
    vault: VaultId,
    batch: Vec<(String, Entry)>,
    levels: &mut Vec<(String, TreeCursor)>,
    affected: &mut Affected,
) -> Result<(), Failure> {
    let contents: Vec<(String, ObjectId, bool)> = batch
        .into_iter()
        .filter_map(|(path, entry)| match entry.kind {
            EntryKind::File { content, .. } => content.id().map(|id| (path, id, false)),
            EntryKind::Directory { tree } => Some((path, tree, true)),
            _ => None,
        })
        .collect();
    let ids: Vec<ObjectId> = contents.iter().map(|(_, id, _)| *id).collect();
    let held = home.store.held(vault, &ids).map_err(|error| cannot(&error))?;
    for ((path, id, is_directory), _) in contents.into_iter().zip(held).filter(|(_, held)| !held) {
        if is_directory {
            levels.push((path, TreeCursor::new(id)));
        } else {
            affected.add(path);
        }
    }
    Ok(())
}

impl Affected {
    fn add(&mut self, path: String) {
        self.total += 1;
        if self.paths.len() < PATHS_MAX {
            self.paths.push(path);
        }
    }
}

fn cannot(error: &StoreError) -> Failure {
    failed("cannot look for the files that are affected", error)
}
