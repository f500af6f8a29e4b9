//! [`AnchorKeeper`]: keeps the highest acknowledged generation beside the packs, ahead of every acknowledgement.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::data_dir::DataDir;
use crate::layout::anchor::{ANCHOR_LEN, Anchor};
use crate::{StoreError, StoreId};

pub(crate) struct AnchorKeeper {
    store: StoreId,
    /// Highest generation a caller asked for. All of them are durable in the catalog.
    wanted: AtomicU64,
    /// Generation in the file.
    written: Mutex<u64>,
}

impl AnchorKeeper {
    /// Writes the first anchor of a new store.
    pub(crate) fn create(dir: &DataDir, store: StoreId) -> Result<(), StoreError> {
        let path = dir.fresh_staging_path("anchor");
        // A creation that was cut off may have left it.
        dir.remove(&path)?;
        write(dir, &path, Anchor { store, generation: 0 })?;
        dir.sync_dir(&dir.packs_path())
    }

    pub(crate) fn new(store: StoreId, written: u64) -> Self {
        Self { store, wanted: AtomicU64::new(written), written: Mutex::new(written) }
    }

    /// Makes sure the file holds `generation` or more. One write serves everybody who waited for it.
    ///
    /// The generation must be durable in the catalog. A failed directory sync is returned as `Err(Final)`: whether the
    /// old or the new file will be there after a power loss is unknown then.
    pub(crate) fn raise(&self, dir: &DataDir, generation: u64) -> Result<(), AnchorError> {
        self.wanted.fetch_max(generation, Ordering::SeqCst);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= generation {
            return Ok(());
        }
        let generation = self.wanted.load(Ordering::SeqCst);
        let path = dir.fresh_staging_path("anchor");
        write(dir, &path, Anchor { store: self.store, generation }).map_err(|error| {
            // Nothing of it is visible; the name goes at the next start at the latest.
            drop(dir.remove(&path));
            AnchorError::Refused(error)
        })?;
        dir.sync_dir(&dir.packs_path()).map_err(AnchorError::Final)?;
        *written = generation;
        Ok(())
    }
}

/// Why the anchor was not raised.
#[derive(Debug)]
pub(crate) enum AnchorError {
    /// The old anchor stands; raising it may be tried again.
    Refused(StoreError),
    /// What is durable is unknown.
    Final(StoreError),
}

fn write(dir: &DataDir, path: &std::path::Path, anchor: Anchor) -> Result<(), StoreError> {
    let mut file = dir.create_new(path)?;
    file.append(&anchor.encode()).map_err(|error| StoreError::io("write", path, error))?;
    file.sync_data().map_err(|error| StoreError::io("sync", path, error))?;
    dir.rename_replace(path, &dir.anchor_path())
}

/// Reads the anchor; `Ok(Err(_))` says in words why there is none.
pub(crate) fn read(dir: &DataDir) -> Result<Result<Anchor, String>, StoreError> {
    let path = dir.anchor_path();
    let file = match dir.open(&path) {
        Ok(file) => file,
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Err("ANCHOR is missing".to_owned()));
        }
        Err(error) => return Err(error),
    };
    let mut bytes = [0; ANCHOR_LEN + 1];
    let mut filled = 0;
    loop {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return Err(StoreError::io("read", &path, error)),
        }
        if filled == bytes.len() {
            break;
        }
    }
    let Ok(anchor) = <&[u8; ANCHOR_LEN]>::try_from(&bytes[..filled]) else {
        return Ok(Err(format!("ANCHOR is {filled} bytes long or longer")));
    };
    Ok(Anchor::decode(anchor).map_err(|error| format!("ANCHOR is not sound: {error}")))
}
