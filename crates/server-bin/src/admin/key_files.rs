//! Looks whether the files of keys are still what the server was started with.

use store::{FileFlaw, VaultMode};

use crate::admin::upkeep::all_vaults;
use crate::failure::Failure;
use crate::home::{Home, failed, keys_dir, load_keys};
use crate::identity::Identity;
use crate::keys::ServerKeys;
use crate::vault_keys;
use crate::vaults::managed_key;

/// The keys as their file has them, unless it cannot be used; and the files below `keys/` that cannot be.
pub(crate) fn check(home: &Home) -> (Option<ServerKeys>, Vec<FileFlaw>) {
    let dir = keys_dir(&home.settings);
    let mut flaws = Vec::new();
    let mut add = |path, failure: Failure| flaws.push(FileFlaw { path, what: failure.in_one_line() });
    let keys = match load_keys(&home.settings).and_then(|keys| fits(home, &keys).map(|()| keys)) {
        Ok(keys) => Some(keys),
        Err(failure) => {
            add(dir.join("master.key"), failure);
            None
        }
    };
    if let Err(failure) = vault_keys::read(&dir) {
        add(vault_keys::path(&dir), failure);
    }
    if let Err((path, failure)) = Identity::check(&dir) {
        add(path, failure);
    }
    (keys, flaws)
}

/// Whether the keys open all managed vaults.
fn fits(home: &Home, keys: &ServerKeys) -> Result<(), Failure> {
    for vault in all_vaults(&home.store).map_err(|error| failed("cannot read the catalog", &error))? {
        if vault.mode == VaultMode::Managed {
            managed_key(keys, &vault).map_err(|error| failed("it does not open the key of a vault", &error))?;
        }
    }
    Ok(())
}
