//! What a [`Store`] does when its catalog is old, damaged or gone: copies of it, putting one back, and making a new one
//! around packs that are there.
//!
//! Whatever comes of these is older than what was acknowledged, or may be: deletion stays off until
//! [`Store::reindex`] has looked at the packs.

use std::path::{Path, PathBuf};

use crate::catalog::{Catalog, copy, next_generation};
use crate::data_dir::DataDir;
use crate::store::{check_carrier, draw};
use crate::{CatalogCopy, Store, StoreError, StoreId, StoreOptions, UnixMs, anchor};

impl Store {
    /// Copies the catalog to the new file `to`, without the object index: the packs tell that again. The copy is one
    /// moment's; writing goes on meanwhile. Every copy has a generation of its own, higher than those of copies before it,
    /// unless the store is halted: copies are ordered by it, whatever the clocks said.
    ///
    /// # Errors
    /// When the catalog cannot be read, or the copy not written.
    pub fn copy_catalog(&self, to: &Path) -> Result<CatalogCopy, StoreError> {
        if self.catalog().halted().is_none() {
            self.catalog().write(next_generation)?;
        }
        copy::copy_to(&self.dir().catalog_path(), to)
    }

    /// Puts a copy of the catalog in the place of the present one, which gets another name; that name, if there was one. `copy` must be on the same file system, and is used up.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the store is in use; [`StoreError::Conflict`] when the copy is of another store;
    /// [`StoreError::CatalogUnusable`] when it is not a catalog, or damaged. Nothing was changed then.
    pub fn put_catalog_back(
        dir: &Path,
        options: &StoreOptions,
        copy: &Path,
    ) -> Result<(CatalogCopy, Option<PathBuf>), StoreError> {
        let data = DataDir::new(dir, options.disk.clone());
        check_carrier(&data, options)?;
        let _lock = data.lock()?;
        let facts = copy::check(copy)?;
        if let Ok(anchor) = anchor::read(&data)?
            && anchor.store != facts.store
        {
            return Err(StoreError::Conflict { what: "the copy is of another store" });
        }
        let aside = copy::set_aside(&data.catalog_path())?;
        // Durable first: a power loss must not bring the old log back beside the new file.
        data.sync_dir(data.root())?;
        copy::put_in_place(copy, &data.catalog_path())?;
        data.sync_dir(data.root())?;
        Ok((facts, aside))
    }

    /// Makes a new, empty catalog for packs whose catalog is lost, and opens it; a damaged one gets another name.
    /// Deletion is off. Packs whose vaults are made again can be taken in by [`reindex`](Self::reindex).
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the store is in use; [`StoreError::NotFound`] when there are no packs either.
    pub fn create_again(dir: &Path, options: &StoreOptions, now: UnixMs) -> Result<Self, StoreError> {
        let data = DataDir::new(dir, options.disk.clone());
        check_carrier(&data, options)?;
        let lock = data.lock()?;
        match data.list(&data.packs_path()) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound { what: "store" });
            }
            listed => drop(listed?),
        }
        copy::set_aside(&data.catalog_path())?;
        data.sync_dir(data.root())?;
        let store = match anchor::read(&data)? {
            Ok(anchor) => anchor.store,
            Err(_) => StoreId::from_bytes(draw(options)?),
        };
        Catalog::create_latched(&data.catalog_path(), store, now.0, "the catalog was lost and made again")?;
        data.sync_dir(data.root())?;
        Self::open_locked(data, lock, options, now)
    }
}
