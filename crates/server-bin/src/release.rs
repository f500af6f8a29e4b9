//! Storing whole what is stored as a delta, where that frees more than it takes: a collection of garbage names such objects
//! ([`GcRelease`]), and only a server that has the vault's keys can do it.

use std::sync::Arc;

use object::{Kind, VaultId};
use store::{GcRelease, Purpose};
use vault::{Keys, PlainObject};

use crate::basis::{BasisCache, BasisReader, Visible};
use crate::clock;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, failed};
use crate::metrics::Metrics;
use crate::reseal::Resealer;
use crate::vaults::managed_key;

/// What is stored whole must free at least this many times its length.
const GAIN_PERCENT_MIN: u64 = 125;

/// Stores what is worth it whole, vault by vault; returns how many objects. What cannot be opened stays as it is. Sealed
/// vaults are left alone.
///
/// # Errors
/// [`Failure`] when catalog or disk fail; what was stored by then is there, and the next collection goes on.
pub(crate) fn store_whole(home: &Home, releases: &[GcRelease], is_stopped: &dyn Fn() -> bool) -> Result<u64, Failure> {
    let mut releases = releases.to_vec();
    releases.sort_by_key(|release| release.vault);
    let mut count = 0;
    for releases in releases.chunk_by(|a, b| a.vault == b.vault) {
        count += store_whole_in(home, releases[0].vault, releases, is_stopped)?;
    }
    Ok(count)
}

fn store_whole_in(
    home: &Home,
    vault: VaultId,
    releases: &[GcRelease],
    is_stopped: &dyn Fn() -> bool,
) -> Result<u64, Failure> {
    let store = &home.store;
    let found = store.vault(vault).map_err(|error| failed("cannot read the catalog", &error))?;
    let Some(found) = found.filter(|vault| vault.mode == store::VaultMode::Managed) else {
        return Ok(0);
    };
    let key = managed_key(&home.keys, &found)
        .map_err(|error| Failure::new(FailureKind::Integrity, "the key of a vault cannot be opened").because(&error))?;
    let keys = Arc::new(Keys::new(&key));
    let mut resealer = Resealer::new(vault, &keys)?;
    // Its own, so that what clients are about to ask for stays in theirs.
    let cache = BasisCache::new(Arc::new(Metrics::new(clock::wall())));
    let (mut session, _) = store
        .begin(vault, &Purpose::Drive { device: None }, clock::now())
        .map_err(|error| failed("cannot write into a vault", &error))?;
    let mut count = 0;
    for release in releases {
        if is_stopped() {
            break;
        }
        let chunk =
            BasisReader::new(&mut Visible { store, vault }, resealer.opener(), vault, &cache).chunk(release.object);
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::warn!(object = %release.object.short(), %error, "a delta is left as it is");
                continue;
            }
        };
        let object = PlainObject::new(&keys, Kind::Data, Vec::new(), chunk.bytes.clone());
        let record = resealer
            .seal(&object)
            .map_err(|error| Failure::new(FailureKind::Internal, "a chunk could not be sealed").because(&error))?;
        let is_same = object.id == release.object;
        if is_same && release.bases_len * 100 >= record.bytes().len() as u64 * GAIN_PERCENT_MIN {
            session.put(&record, clock::now()).map_err(|error| failed("cannot store a chunk", &error))?;
            count += 1;
        }
    }
    session.finish(clock::now()).map_err(|error| failed("cannot store chunks", &error))?;
    Ok(count)
}
