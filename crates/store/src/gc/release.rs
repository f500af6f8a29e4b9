//! [`Leaning`]: deltas that keep bases which nothing else needs.
//!
//! A snapshot that is gone leaves chunks behind that only deltas of later ones stand on. Where a delta's own such bases take
//! more than its object would take whole, storing that whole frees them. The store cannot do that, it knows no keys: it
//! says which objects these are, and whoever has the keys puts them. The next cycle then finds the delta replaced, and its
//! bases dead.

use std::collections::HashMap;

use object::{ObjectId, VaultId};

use crate::catalog::objects::Copies;
use crate::catalog::vaults;
use crate::gc::Found;
use crate::gc::census::Census;
use crate::ids::{HalfId, VaultKey, half};
use crate::{Store, StoreError};

/// Deltas remembered while marking; what does not fit waits for another cycle.
const LEANING_MAX: usize = 16 * 1024;
/// Objects named by one collection.
const RELEASES_MAX: usize = 1024;

/// An object that is stored as a delta, and what is kept for that alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcRelease {
    /// Where it is.
    pub vault: VaultId,
    /// The object. Once it is stored whole, its delta goes.
    pub object: ObjectId,
    /// Bytes of records that go with the delta, its own not counted. Others may share these records.
    pub bases_len: u64,
}

/// Deltas that were met while marking, and those of their bases that nothing had referred to by then.
#[derive(Debug, Default)]
pub(super) struct Leaning {
    deltas: Vec<Delta>,
    /// Deltas of each basis, also of those that are not remembered.
    dependent_counts: HashMap<(VaultKey, HalfId), u32>,
}

/// An object that is stored as a delta only.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) vault: VaultKey,
    pub(super) object: ObjectId,
    /// Bytes of the object's content.
    pub(super) plain_len: usize,
    /// What it stands on.
    pub(super) bases: Vec<ObjectId>,
}

impl Leaning {
    /// Remembers a delta.
    pub(super) fn add(&mut self, census: &Census, mut delta: Delta) {
        delta.bases.retain(|basis| !census.is_referenced(&half(basis)));
        if delta.bases.is_empty() || self.dependent_counts.len() >= LEANING_MAX {
            return;
        }
        for basis in &delta.bases {
            *self.dependent_counts.entry((delta.vault, half(basis))).or_default() += 1;
        }
        self.deltas.push(delta);
    }

    /// What is worth storing whole, most first, now that everything was marked.
    pub(super) fn releases(self, store: &Store, found: &Found) -> Result<Vec<GcRelease>, StoreError> {
        let Self { deltas, dependent_counts } = self;
        let mut releases = Vec::new();
        for Delta { vault, object, plain_len, mut bases } in deltas {
            let is_own = |basis: &ObjectId| {
                let half_id = half(basis);
                let is_referenced = found.censuses.get(&vault).is_some_and(|census| census.is_referenced(&half_id));
                !is_referenced && dependent_counts.get(&(vault, half_id)) == Some(&1)
            };
            bases.retain(is_own);
            bases.sort_unstable();
            let copies = store.locate(vault, &bases)?;
            let bases_len = copies.iter().filter_map(Copies::best).map(|best| u64::from(best.span.len)).sum();
            // A lone basis is mostly about as long as what stands on it: then nothing is won, and nobody need look.
            if bases.is_empty() || bases.len() == 1 && bases_len <= plain_len as u64 {
                continue;
            }
            let id = store.catalog().read(|catalog| vaults::id(catalog, vault))?;
            releases.extend(id.map(|vault| GcRelease { vault, object, bases_len }));
        }
        releases.sort_by_key(|release| std::cmp::Reverse(release.bases_len));
        releases.truncate(RELEASES_MAX);
        Ok(releases)
    }
}
