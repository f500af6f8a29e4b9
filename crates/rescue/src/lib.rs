//! Restores snapshots from packs and keys alone, when there is no server and no catalog any more.
//!
//! [`Packs`] reads what stands in a folder of packs, however it is laid out and whatever is missing or damaged;
//! [`Rescue`] lists the snapshots that the keys open, and restores them through `host-fs`, as the client does.
//!
//! **Invariants**
//! - Nothing is written but below the target of a restore.
//! - A file whose bytes cannot be had, all of them, checked against their ids, does not appear, and is reported.

mod packs;
mod restore;

pub use packs::{Packs, PacksError};
pub use restore::{Problem, RescueReport};

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use host_fs::{HostError, RestoreOptions};
use object::{ObjectId, VaultId};
use vault::{Keys, PageError, ReadError, Reader, Snapshot, VaultKey};

/// Opened objects that are kept while a snapshot is restored.
const RECENT_BYTES: usize = 64 << 20;

/// Packs, and keys to open them.
pub struct Rescue {
    packs: Arc<Packs>,
    vaults: Vec<(VaultId, Arc<Keys>)>,
}

/// A snapshot that can be opened.
#[derive(Clone, Debug)]
pub struct FoundSnapshot {
    /// Its object.
    pub id: ObjectId,
    /// Whose it is.
    pub vault: VaultId,
    /// What it says.
    pub snapshot: Snapshot,
}

/// Why a snapshot is not restored at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RescueError {
    /// There is none whose id begins like that.
    #[error("there is no snapshot {prefix} that these keys open")]
    NotFound {
        /// What was asked for.
        prefix: String,
    },
    /// There are several whose id begins like that.
    #[error("several snapshots begin with {prefix}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
    },
    /// The target cannot be written to.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Rescue {
    /// Takes packs and the keys of vaults.
    pub fn new<'k>(packs: Packs, keys: impl IntoIterator<Item = (VaultId, &'k VaultKey)>) -> Self {
        let vaults = keys.into_iter().map(|(vault, key)| (vault, Arc::new(Keys::new(key)))).collect();
        Self { packs: Arc::new(packs), vaults }
    }

    /// The snapshots that stand in the packs and open, oldest first by the clock of the machine that made them.
    #[must_use]
    pub fn snapshots(&self) -> Vec<FoundSnapshot> {
        let mut found: Vec<_> =
            self.packs.snapshots().filter_map(|(id, vault)| self.open_snapshot(id, vault)).collect();
        found.sort_by_key(|found| (found.snapshot.started, found.id));
        found
    }

    /// The one snapshot whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`RescueError::NotFound`], [`RescueError::Ambiguous`].
    pub fn find(&self, prefix: &str) -> Result<FoundSnapshot, RescueError> {
        let mut matching =
            self.snapshots().into_iter().filter(|found| !prefix.is_empty() && found.id.to_string().starts_with(prefix));
        match (matching.next(), matching.next()) {
            (None, _) => Err(RescueError::NotFound { prefix: prefix.to_owned() }),
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(RescueError::Ambiguous { prefix: prefix.to_owned() }),
        }
    }

    /// Restores everything in a snapshot below `target`, each root under its full path; `on_entry` hears of every entry
    /// met. Reads and writes one file after the other; memory does not depend on their size.
    ///
    /// # Errors
    /// [`RescueError::Host`] when the target cannot be used or is full. Trouble with single files is in the report.
    pub fn restore(
        &self,
        snapshot: &FoundSnapshot,
        target: &Path,
        options: RestoreOptions,
        on_entry: &mut dyn FnMut(),
    ) -> Result<RescueReport, RescueError> {
        let keys = self.vaults.iter().find(|(vault, _)| *vault == snapshot.vault).map(|(_, keys)| keys);
        let Some(keys) = keys else { return Err(RescueError::NotFound { prefix: snapshot.id.to_string() }) };
        let reader = Reader::new(self.packs.source(), Arc::clone(keys), RECENT_BYTES);
        restore::restore(reader, snapshot.snapshot.tree, target, options, on_entry)
    }

    /// Opens a snapshot with its vault's key, or, where a damaged pack does not tell the vault, with whatever key fits.
    fn open_snapshot(&self, id: ObjectId, vault: Option<VaultId>) -> Option<FoundSnapshot> {
        let fitting = self.vaults.iter().filter(|(known, _)| vault.is_none_or(|vault| vault == *known));
        fitting.into_iter().find_map(|(vault, keys)| {
            let snapshot = open(&mut Reader::new(self.packs.source(), Arc::clone(keys), 0), id).ok()?;
            Some(FoundSnapshot { id, vault: *vault, snapshot })
        })
    }
}

fn open(reader: &mut Reader<packs::PackSource>, id: ObjectId) -> Result<Snapshot, ReadError<Infallible>> {
    let object = reader.object(id)?;
    Snapshot::decode(&object).map_err(|source: PageError| ReadError::Page { id, source })
}
