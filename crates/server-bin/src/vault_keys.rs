//! The keys of all vaults outside of the catalog: `keys/vaults.keys`, kept up to date by the server, wrapped as in the
//! catalog; and, made of it, the file that an administrator keeps elsewhere.
//!
//! Packs can be read again without any catalog as long as this file and the master key are there.

use std::path::{Path, PathBuf};

use store::{Store, VaultMode};
use vault::{KeyFile, KeyFileVault, KeySlot, Mode, PassphraseCost, SlotError};

use crate::failure::{Failure, FailureKind};
use crate::home::failed;
use crate::keys::{ServerKeys, random};
use crate::private_files;

const NAME: &str = "vaults.keys";

/// Adds the vaults that the catalog knows to the file. Vaults that only the file knows stay in it: the catalog may be
/// older than they are.
///
/// # Errors
/// [`Failure`] when the catalog cannot be read, or the file not written.
pub(crate) fn keep(keys_dir: &Path, store: &Store) -> Result<(), Failure> {
    let unreadable = |error: store::StoreError| failed("cannot read the catalog", &error);
    let before = read(keys_dir)?.unwrap_or_default();
    let mut vaults = Vec::new();
    for account in store.accounts().map_err(unreadable)? {
        for vault in store.vaults(account.id).map_err(unreadable)? {
            vaults.push(KeyFileVault {
                id: vault.id,
                mode: match vault.mode {
                    VaultMode::Managed => Mode::Managed,
                    VaultMode::Sealed => Mode::Sealed,
                },
                account: account.name.clone(),
                name: vault.name,
                slots: vault.slots.into_iter().map(KeySlot::from_bytes).collect(),
                key: None,
            });
        }
    }
    let known: Vec<_> = vaults.iter().map(|vault| vault.id).collect();
    vaults.extend(before.vaults.iter().filter(|vault| !known.contains(&vault.id)).cloned());
    vaults.sort_by_key(|vault| vault.id);
    let text = KeyFile { vaults }.to_text();
    if *text == *before.to_text() {
        return Ok(());
    }
    private_files::write(&path(keys_dir), text.as_bytes())
}

/// Reads the file; `None` when there is none.
///
/// # Errors
/// [`Failure`] when it cannot be read, others can, or it was changed.
pub(crate) fn read(keys_dir: &Path) -> Result<Option<KeyFile>, Failure> {
    let path = path(keys_dir);
    private_files::read(&path)?.map(|bytes| parse(&path, &bytes)).transpose()
}

/// Takes a key file's bytes apart.
///
/// # Errors
/// [`Failure`] that names the line that is wrong.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<KeyFile, Failure> {
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(FailureKind::Integrity, format!("{} is not a sound key file", path.display())).because(error)
    };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(&error))?;
    KeyFile::parse(text).map_err(|error| wrong(&error))
}

/// The file to be kept elsewhere: keys of managed vaults, as they are or wrapped with a passphrase; of sealed vaults the
/// slots, which their own passphrases open.
///
/// # Errors
/// [`Failure`] when a key cannot be unwrapped.
pub(crate) fn export(file: &KeyFile, keys: &ServerKeys, passphrase: Option<&[u8]>) -> Result<KeyFile, Failure> {
    let mut exported = KeyFile::default();
    for vault in &file.vaults {
        let mut vault = vault.clone();
        if vault.mode == Mode::Managed {
            let key = vault.open(Some(keys.unlock())).map_err(|error| unwrapped(&vault, &error))?;
            vault.slots.clear();
            match passphrase {
                None => vault.key = Some(key),
                Some(passphrase) => {
                    let slot = KeySlot::wrap_passphrase(&key, vault.id, passphrase, PassphraseCost::DEFAULT, random()?);
                    vault.slots.push(slot.map_err(|error| unwrapped(&vault, &error))?);
                }
            }
        }
        exported.vaults.push(vault);
    }
    Ok(exported)
}

fn unwrapped(vault: &KeyFileVault, error: &SlotError) -> Failure {
    let message = format!("cannot open the key of vault {} of {}", vault.name, vault.account);
    Failure::new(FailureKind::Integrity, message).because(error)
}

/// Where the file is.
pub(crate) fn path(keys_dir: &Path) -> PathBuf {
    keys_dir.join(NAME)
}
