//! [`Store::check_files`]: what verification reads beside the packs.

use std::path::{Path, PathBuf};

use crate::catalog::{check, copy};
use crate::{CatalogCopy, Store, StoreError, anchor};

/// A file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFlaw {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl Store {
    /// Reads the catalog, ANCHOR and LEDGER again and tells what is wrong with them. `on_table` hears before each table of the
    /// catalog how many were read, and of how many; `false` ends it there.
    ///
    /// # Errors
    /// When a file cannot be asked for at all. Damage is no error but a finding, and so is a disk that cannot read.
    pub fn check_files(&self, on_table: &mut dyn FnMut(u64, u64) -> bool) -> Result<Vec<FileFlaw>, StoreError> {
        let mut flaws = Vec::new();
        let mut add = |path: PathBuf, what: String| flaws.push(FileFlaw { path, what });
        let dir = self.dir();
        let facts = self.catalog().read(copy::facts)?;
        match anchor::read(dir) {
            Ok(Ok(anchor)) if anchor.store == facts.store => {}
            Ok(Ok(_)) => add(dir.anchor_path(), "it is of another store".to_owned()),
            Ok(Err(what)) => add(dir.anchor_path(), what),
            Err(error) => add(dir.anchor_path(), told(&error)),
        }
        match self.read_ledger() {
            Ok(ledger) if ledger.is_damaged => {
                add(dir.ledger_path(), "entries of it are not what was written".to_owned());
            }
            Ok(_) => {}
            Err(error) => add(dir.ledger_path(), told(&error)),
        }
        if let Some(what) = check::check(&dir.catalog_path(), on_table)? {
            add(dir.catalog_path(), what);
        }
        Ok(flaws)
    }

    /// Looks whether a copy of the catalog is sound, of this store, and one that this version can put back; what it says of
    /// itself.
    ///
    /// # Errors
    /// [`StoreError::CatalogUnusable`], [`StoreError::CatalogDamaged`] or [`StoreError::Conflict`] when it is not.
    pub fn check_catalog_copy(&self, path: &Path) -> Result<CatalogCopy, StoreError> {
        let facts = copy::check(path)?;
        if self.catalog().read(copy::facts)?.store != facts.store {
            return Err(StoreError::Conflict { what: "the copy is of another store" });
        }
        Ok(facts)
    }
}

/// An error with the one below it.
fn told(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
