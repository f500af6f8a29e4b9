//! [`Home`]: an open data directory: store, keys and identity. One process has it at a time.

use std::path::PathBuf;

use proto::{DeviceName, Secret};
use store::{Account, AccountId, NewEnrolment, NewVault, Role, Scope, Store, StoreError, StoreOptions, VaultMode};
use vault::{SlotError, VaultKey};

use crate::clock;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::host_port::HostPort;
use crate::identity::Identity;
use crate::keys::{ServerKeys, random};
use crate::lan;
use crate::private_files;
use crate::vault_keys;

/// The account that the first start makes.
pub(crate) const FIRST_ACCOUNT: &str = "admin";
const DEFAULT_VAULT: &str = "default";
const ACCOUNT_NAME_LEN_MAX: usize = 64;

/// An open data directory.
#[derive(Debug)]
pub(crate) struct Home {
    /// What is stored.
    pub(crate) store: Store,
    /// What the master key is used for.
    pub(crate) keys: ServerKeys,
    /// What holds here.
    pub(crate) settings: Settings,
}

impl Home {
    /// Opens the directory; with `is_server` it is made when it is missing, and completed when a first start was cut off.
    ///
    /// # Errors
    /// [`Failure`]: no store there, used by another process, keys missing or exposed.
    pub(crate) fn open(settings: Settings, is_server: bool) -> Result<Self, Failure> {
        if is_server {
            private_files::ensure_dir(&settings.data_dir)?;
        }
        let store = open_store(&settings, is_server)?;
        let accounts = store.accounts().map_err(|error| failed("cannot read the catalog", &error))?;
        let keys = open_keys(&settings, accounts.is_empty())?;
        let home = Self { store, keys, settings };
        if accounts.is_empty() {
            home.add_account(FIRST_ACCOUNT, Role::Admin)?;
        }
        for account in &accounts {
            home.ensure_default_vault(account.id)?;
        }
        vault_keys::keep(&home.keys_dir(), &home.store)?;
        Ok(home)
    }

    /// The folder of keys and certificates.
    pub(crate) fn keys_dir(&self) -> PathBuf {
        keys_dir(&self.settings)
    }

    /// The server's TLS identity, made when it is missing.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read or made.
    pub(crate) fn identity(&self) -> Result<Identity, Failure> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let listen = self.settings.listen.ip();
        names.extend((!listen.is_unspecified() && !listen.is_loopback()).then(|| listen.to_string()));
        if listen.is_unspecified() {
            names.extend(lan::addresses().iter().map(ToString::to_string));
        }
        names.extend(self.settings.address.as_ref().map(|address| address.host.clone()));
        names.dedup();
        Identity::open(&self.keys_dir(), &names, clock::wall())
    }

    /// Makes an account with a managed vault.
    ///
    /// # Errors
    /// [`Failure`] when the name is taken or cannot be one.
    pub(crate) fn add_account(&self, name: &str, role: Role) -> Result<AccountId, Failure> {
        check_account_name(name)?;
        let id = self.store.create_account(name, role, clock::now()).map_err(|error| match error {
            StoreError::Conflict { .. } => Failure::usage(format!("an account `{name}` exists already")),
            error => failed("cannot add the account", &error),
        })?;
        self.ensure_default_vault(id)?;
        vault_keys::keep(&self.keys_dir(), &self.store)?;
        Ok(id)
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`Failure`] when there is none.
    pub(crate) fn account(&self, name: &str) -> Result<Account, Failure> {
        let found = self.store.account_by_name(name).map_err(|error| failed("cannot read the catalog", &error))?;
        found.ok_or_else(|| {
            Failure::usage(format!("there is no account `{name}`")).hint("`backup-server account list` shows all")
        })
    }

    /// The account of this name, or the oldest without one.
    ///
    /// # Errors
    /// [`Failure`] when there is none.
    pub(crate) fn account_or_first(&self, name: Option<&str>) -> Result<Account, Failure> {
        if let Some(name) = name {
            return self.account(name);
        }
        let accounts = self.store.accounts().map_err(|error| failed("cannot read the catalog", &error))?;
        accounts.into_iter().next().ok_or_else(|| Failure::usage("there is no account"))
    }

    /// The oldest account that administers, when nobody who administers has a password yet.
    ///
    /// # Errors
    /// [`Failure`] when the catalog cannot be read.
    pub(crate) fn account_to_set_up(&self) -> Result<Option<Account>, Failure> {
        let unreadable = |error: StoreError| failed("cannot read the catalog", &error);
        let accounts = self.store.accounts().map_err(unreadable)?;
        let admins = accounts.into_iter().filter(|account| account.role == Role::Admin && account.disabled.is_none());
        let mut first = None;
        for admin in admins {
            let password = self.store.password(&admin.name).map_err(unreadable)?;
            if password.is_some_and(|password| password.hash.is_some()) {
                return Ok(None);
            }
            first.get_or_insert(admin);
        }
        Ok(first)
    }

    /// The address of the start page for a browser, with its last slash; `listens` is where the server does. The first of
    /// [`page_urls`](Self::page_urls).
    pub(crate) fn page_url(&self, listens: &HostPort) -> String {
        self.page_urls(listens).swap_remove(0)
    }

    /// The same, under all addresses that are known; the first of a server that listens everywhere is that on this machine.
    pub(crate) fn page_urls(&self, listens: &HostPort) -> Vec<String> {
        let places = lan::places(self.settings.address.as_ref().unwrap_or(listens));
        places.iter().map(|place| self.settings.url_at(place)).collect()
    }

    /// Invites a device; the secret it has to show.
    ///
    /// # Errors
    /// [`Failure`] when the account does not exist or the name cannot be one.
    pub(crate) fn invite(&self, account: AccountId, device: &str, scope: Scope) -> Result<Secret<16>, Failure> {
        let device_name = DeviceName::new(device)
            .ok()
            .filter(|name| !name.as_str().is_empty())
            .ok_or_else(|| Failure::usage("a device's name has 1 to 255 bytes and no control characters"))?;
        let secret = Secret::new(random()?);
        let now = clock::now();
        let lifetime = i64::try_from(self.settings.enrolment_lifetime.as_millis()).unwrap_or(i64::MAX);
        let enrolment = NewEnrolment {
            secret_hash: self.keys.enrolment_hash(&secret),
            account,
            device_name: device_name.as_str(),
            scope,
            expires: store::UnixMs(now.0.saturating_add(lifetime)),
        };
        self.store.create_enrolment(&enrolment, now).map_err(|error| failed("cannot invite the device", &error))?;
        Ok(secret)
    }

    /// Makes an account's first vault, unless a start that was cut off got that far; opens its key if it did.
    fn ensure_default_vault(&self, account: AccountId) -> Result<(), Failure> {
        let vaults = self.store.vaults(account).map_err(|error| failed("cannot read the catalog", &error))?;
        if let Some(vault) = vaults.iter().find(|vault| vault.mode == VaultMode::Managed) {
            return match crate::vaults::managed_key(&self.keys, vault) {
                Ok(_) => Ok(()),
                Err(error @ SlotError::WrongKey) => Err(wrong_master_key(&self.settings).because(&error)),
                Err(error) => Err(failed("cannot open the key of a vault", &error)),
            };
        }
        if !vaults.is_empty() {
            return Ok(());
        }
        let id = object::VaultId::from_bytes(random()?);
        let key = VaultKey::from_bytes(random()?);
        let slot = self.keys.wrap(id, &key)?;
        let vault =
            NewVault { id, account, name: DEFAULT_VAULT, mode: VaultMode::Managed, slots: &[slot.as_bytes().to_vec()] };
        self.store.create_vault(&vault, clock::now()).map_err(|error| failed("cannot make a vault", &error))
    }
}

/// Whether an account may have this name.
///
/// # Errors
/// [`Failure`] when not.
pub(crate) fn check_account_name(name: &str) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    if (1..=ACCOUNT_NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(Failure::usage("an account's name has 1 to 64 letters, digits or characters of `.`, `_`, `-`, `@`"))
}

/// What a failure of the store means to a command.
pub(crate) fn failed(doing: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let kind = match error.downcast_ref::<StoreError>().map(StoreError::kind) {
        Some(store::ErrorKind::Damaged) => FailureKind::Integrity,
        Some(store::ErrorKind::NotFound | store::ErrorKind::Conflict | store::ErrorKind::Invalid) => FailureKind::Usage,
        Some(_) => FailureKind::Unavailable,
        None => FailureKind::Internal,
    };
    Failure::new(kind, doing).because(error)
}

/// The folder of keys and certificates.
pub(crate) fn keys_dir(settings: &Settings) -> PathBuf {
    settings.data_dir.join("keys")
}

fn open_store(settings: &Settings, is_server: bool) -> Result<Store, Failure> {
    let options = store_options(settings);
    let opened = match Store::open(&settings.data_dir, &options, clock::now()) {
        Err(StoreError::NotFound { .. }) if is_server => Store::create(&settings.data_dir, &options, clock::now()),
        opened => opened,
    };
    opened.map_err(|error| cannot_open(settings, &error))
}

/// How the store is to be opened.
pub(crate) fn store_options(settings: &Settings) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.pack_target_bytes = settings.pack_size;
    options.min_free_bytes = settings.min_free;
    options.reserve_bytes = settings.reserve;
    options.allow_any_file_system = settings.any_file_system;
    options
}

/// What it means that the store does not open.
pub(crate) fn cannot_open(settings: &Settings, error: &StoreError) -> Failure {
    let dir = settings.data_dir.display();
    match error {
        StoreError::NotFound { .. } => Failure::new(FailureKind::Unavailable, format!("there is no store in {dir}"))
            .hint(format!("`backup-server serve --data-dir {dir}` makes one")),
        StoreError::Conflict { .. } => {
            Failure::new(FailureKind::Integrity, format!("there are packs in {dir}, and no catalog"))
                .because(error)
                .hint(format!("`backup-server reindex --data-dir {dir}` rebuilds it"))
        }
        StoreError::Locked { .. } => Failure::new(FailureKind::InUse, format!("another process is using {dir}"))
            .hint("stop the other server, or give this one a data directory of its own"),
        StoreError::Carrier { .. } => {
            Failure::new(FailureKind::Unavailable, format!("the catalog is not safe in {dir}"))
                .because(error)
                .hint("put the data directory on a disk of this machine: ext4, XFS, Btrfs, ZFS, …")
                .hint("or say `any-file-system = true` in the settings, if locks and syncs are known to hold there")
        }
        error if error.kind() == store::ErrorKind::Damaged => {
            Failure::new(FailureKind::Integrity, format!("the store in {dir} is damaged"))
                .because(error)
                .hint(format!("`backup-server reindex --data-dir {dir}` rebuilds the catalog"))
        }
        _ => Failure::new(FailureKind::Unavailable, format!("cannot open the store in {dir}")).because(error),
    }
}

/// The master key, which must be there.
///
/// # Errors
/// [`Failure`] when it is not, or others can read it.
pub(crate) fn load_keys(settings: &Settings) -> Result<ServerKeys, Failure> {
    open_keys(settings, false)
}

fn open_keys(settings: &Settings, is_new: bool) -> Result<ServerKeys, Failure> {
    private_files::ensure_dir(&keys_dir(settings))?;
    let path = keys_dir(settings).join("master.key");
    match ServerKeys::load(&path)? {
        Some(keys) => Ok(keys),
        None if is_new => ServerKeys::create(&path),
        None => Err(Failure::new(FailureKind::Integrity, format!("{} is missing", path.display()))
            .hint("put the file back from your copy of it: without it managed vaults cannot be read")),
    }
}

fn wrong_master_key(settings: &Settings) -> Failure {
    let path = keys_dir(settings).join("master.key");
    let message = format!("{} is not the master key of this data directory", path.display());
    Failure::new(FailureKind::Integrity, message).hint("put the file back from your copy of it")
}
