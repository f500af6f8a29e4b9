//! [`Store::verifications`]: since when everything that a snapshot needs is known to be sound.
//!
//! Which packs a snapshot stands on would take a walk over all its trees. It needs none: packs that stood when it was committed
//! hold all of it, so that the one of them which was read longest ago answers for it. What was moved out of them since was
//! compared with its checksums on the way.

use object::{ObjectId, VaultId};

use crate::catalog::{objects, packs, snapshots};
use crate::closure::{self, Memo};
use crate::ids::VaultKey;
use crate::{Snapshot, Store, StoreError, UnixMs};

/// How far all that a snapshot needs was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Some of it cannot be read.
    Damaged,
    /// Some of it was not read since it was written.
    Pending,
    /// All of it was read at this time or later, and is as it was written.
    Done(UnixMs),
}

impl Verification {
    /// Since when, at least, all of it is known to be as it was written.
    #[must_use]
    pub fn since(self) -> Option<UnixMs> {
        match self {
            Self::Done(moment) => Some(moment),
            Self::Damaged | Self::Pending => None,
        }
    }
}

/// When the packs of a vault were read, in the order in which they were begun.
struct Readings {
    /// Generation of the pack, and when the one of those up to it that was read longest ago was; `None` while one never was.
    up_to: Vec<(u64, Option<UnixMs>)>,
    /// Copies of its objects were damaged or set aside: sound ones may be in packs of any age.
    is_mended: bool,
}

impl Readings {
    fn of(&self, generation: u64) -> Option<UnixMs> {
        let count =
            if self.is_mended { self.up_to.len() } else { self.up_to.partition_point(|(of, _)| *of <= generation) };
        self.up_to[..count].last().and_then(|(_, read)| *read)
    }
}

impl Store {
    /// How far each of these snapshots of a vault was verified, those in the trash too. Looks at the vault's packs in the
    /// catalog; where something in the vault is lost, it walks over the trees of these snapshots as well.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn verifications(&self, vault: VaultId, of: &[Snapshot]) -> Result<Vec<Verification>, StoreError> {
        let key = self.vault_key(vault)?;
        let (readings, generations, seq) = self.catalog().read(|catalog| {
            let readings = readings(catalog, key)?;
            let generations = of
                .iter()
                .map(|snapshot| snapshots::generation(catalog, snapshot.number))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((readings, generations, packs::condemn_seq(catalog)?))
        })?;
        let is_complete = if self.has_lost(key)? {
            let roots: Vec<ObjectId> = of.iter().map(|snapshot| snapshot.id).collect();
            closure::check(self, key, &mut Memo::new(seq), &roots)?.complete
        } else {
            vec![true; of.len()]
        };
        let found = generations.into_iter().zip(is_complete).map(|(generation, is_complete)| {
            if !is_complete {
                return Verification::Damaged;
            }
            readings.of(generation).map_or(Verification::Pending, Verification::Done)
        });
        Ok(found.collect())
    }
}

fn readings(catalog: &rusqlite::Connection, vault: VaultKey) -> Result<Readings, StoreError> {
    let mut up_to = packs::readings(catalog, vault)?;
    let mut longest_ago = Some(UnixMs(i64::MAX));
    for (_, read) in &mut up_to {
        longest_ago = longest_ago.and_then(|longest_ago| Some(longest_ago.min((*read)?)));
        *read = longest_ago;
    }
    let is_mended = objects::has_damaged(catalog, vault)? || packs::has_bad(catalog, vault)?;
    Ok(Readings { up_to, is_mended })
}
