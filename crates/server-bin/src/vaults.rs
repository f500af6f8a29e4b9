//! [`OpenVault`]: a vault somebody is connected to, with its keys when the server has them. [`Vaults`] shares them between
//! connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use object::VaultId;
use store::{AccountId, Store, StoreError, VaultMode};
use vault::{KeySlot, Keys, SlotError, VaultKey};

use crate::keys::ServerKeys;

/// A vault somebody is connected to.
#[derive(Debug)]
pub(crate) struct OpenVault {
    /// Its name on the wire.
    pub(crate) id: VaultId,
    /// Whose it is.
    pub(crate) account: AccountId,
    /// Whose it was by name when it was opened, for people.
    pub(crate) account_name: String,
    /// Who can read it.
    pub(crate) contents: Contents,
}

/// Who can read a vault.
#[derive(Debug)]
pub(crate) enum Contents {
    /// The server too.
    Managed(Managed),
    /// Only its clients.
    Sealed {
        /// Wrapped keys, for clients to open.
        slots: Vec<Vec<u8>>,
    },
}

/// What the server can do with a vault whose key it has.
#[derive(Debug)]
pub(crate) struct Managed {
    /// The root key, to be lent to devices.
    pub(crate) key: VaultKey,
    /// Everything derived from it.
    pub(crate) keys: Arc<Keys>,
    /// Held while the drive is changed: between the look at a path and the commit nobody else makes or removes its
    /// folders.
    pub(crate) drive: Mutex<()>,
}

impl OpenVault {
    /// The keys, in a managed vault.
    pub(crate) fn managed(&self) -> Option<&Managed> {
        match &self.contents {
            Contents::Managed(managed) => Some(managed),
            Contents::Sealed { .. } => None,
        }
    }
}

/// Why a vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenVaultError {
    /// The account has no such vault.
    #[error("there is no such vault")]
    NotFound,
    /// The catalog failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its key cannot be unwrapped.
    #[error("the vault's key cannot be opened")]
    Key(#[from] SlotError),
}

/// The vaults somebody is connected to.
#[derive(Debug, Default)]
pub(crate) struct Vaults {
    open: Mutex<HashMap<VaultId, Weak<OpenVault>>>,
}

impl Vaults {
    /// Opens a vault of `account`, or its first one. A vault of another account is not found.
    ///
    /// # Errors
    /// [`OpenVaultError`].
    pub(crate) fn open(
        &self,
        store: &Store,
        keys: &ServerKeys,
        account: AccountId,
        id: Option<VaultId>,
    ) -> Result<Arc<OpenVault>, OpenVaultError> {
        let vault = match id {
            Some(id) => store.vault(id)?.filter(|vault| vault.account == account),
            None => store.vaults(account)?.into_iter().next(),
        };
        let vault = vault.ok_or(OpenVaultError::NotFound)?;
        if let Some(found) = self.lock().get(&vault.id).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let account_name = store.account(account)?.map(|account| account.name).unwrap_or_default();
        let mut open = self.lock();
        if let Some(found) = open.get(&vault.id).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let contents = match vault.mode {
            VaultMode::Managed => {
                let key = managed_key(keys, &vault)?;
                Contents::Managed(Managed { keys: Arc::new(Keys::new(&key)), key, drive: Mutex::new(()) })
            }
            VaultMode::Sealed => Contents::Sealed { slots: vault.slots },
        };
        let opened = Arc::new(OpenVault { id: vault.id, account, account_name, contents });
        open.retain(|_, vault| vault.strong_count() > 0);
        open.insert(opened.id, Arc::downgrade(&opened));
        Ok(opened)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VaultId, Weak<OpenVault>>> {
        self.open.lock().expect("nobody panics with it")
    }
}

/// Unwraps the key of a managed vault.
///
/// # Errors
/// [`SlotError::WrongKey`] when it was made under another master key.
pub(crate) fn managed_key(keys: &ServerKeys, vault: &store::Vault) -> Result<VaultKey, SlotError> {
    let mut failure = SlotError::Malformed;
    for slot in &vault.slots {
        match keys.unwrap(vault.id, &KeySlot::from_bytes(slot.clone())) {
            Ok(key) => return Ok(key),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
