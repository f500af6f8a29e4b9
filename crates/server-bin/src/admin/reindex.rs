//! `reindex` and `catalog restore`: a catalog for packs whose own is lost, damaged or old. The server does not run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::VaultId;
use store::{
    Adoption, DeviceId, NewVault, ReindexReport, Role, Store, StoreError, StoreOptions, UnixMs, UnknownSnapshot,
    VaultMode,
};
use vault::{Keys, Mode, Snapshot};

use crate::admin::affected::StoreSource;
use crate::admin::upkeep::{Progress, all_vaults, vault_name};
use crate::admin::{AdoptedSnapshotItem, CatalogRestoredItem, Item, ReindexedItem};
use crate::catalog_backup::{self, Backup};
use crate::clock;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::home::{cannot_open, failed, keys_dir, load_keys, store_options};
use crate::keys::ServerKeys;
use crate::vault_keys;

/// Whose snapshots are when nobody can read them.
const UNKNOWN: &str = "recovered";

/// What rebuilding works on.
struct Rebuild<'a> {
    settings: &'a Settings,
    options: StoreOptions,
    keys: ServerKeys,
}

/// Where a snapshot belongs, as its sealed body or, without key, nobody tells.
struct Origin {
    device: Option<DeviceId>,
    device_name: String,
    chain: String,
    made: UnixMs,
}

/// Puts a backup in the catalog's place: the file or name given, else the newest that opens.
///
/// # Errors
/// [`Failure`] when none opens, or the server runs.
pub(crate) fn restore(settings: &Settings, backup: Option<&Path>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let rebuild = Rebuild { settings, options: store_options(settings), keys: load_keys(settings)? };
    let backups = catalog_backup::list_everywhere(settings)?;
    let restored = match backup {
        Some(said) => {
            let named = backups.iter().find(|backup| backup.path.file_name() == Some(said.as_os_str()));
            rebuild.put_back(named.map_or(said, |backup| backup.path.as_path()))?
        }
        None => rebuild.put_newest_back(&backups)?.ok_or_else(|| {
            Failure::new(FailureKind::Unavailable, "there is no backup of the catalog")
                .hint("`backup-server reindex` rebuilds the catalog from the packs")
        })?,
    };
    emit(Item::CatalogRestored(restored));
    Ok(())
}

/// Rebuilds the catalog from the packs, after putting a backup of it back or making a new one where there is none that
/// opens; takes in snapshots that it had forgotten; and allows deletion again when it has made sure that nothing else is
/// missing, or when `accepts_loss`.
///
/// # Errors
/// [`Failure`] of kind `Integrity` when deletion stays off, with the reasons; `InUse` while the server runs.
pub(crate) fn run(settings: &Settings, accepts_loss: bool, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let rebuild = Rebuild { settings, options: store_options(settings), keys: load_keys(settings)? };
    let (store, is_new) = rebuild.open(emit)?;
    let was_latched = store.deletion_latch().map(str::to_owned);
    rebuild.make_vaults(&store)?;
    let cannot = |error: StoreError| failed("cannot rebuild the catalog", &error);
    let bytes_total = store.packs_to_verify(store::PackChoice::All, i64::MAX.unsigned_abs()).map_err(cannot)?;
    let mut progress = Progress::new("reading packs", bytes_total.iter().map(|(_, bytes)| bytes).sum(), emit);
    let report = store.reindex(clock::now(), &mut |bytes| progress.add(bytes)).map_err(cannot)?;
    let status = store.status().map_err(cannot)?;
    let mut item = ReindexedItem {
        packs: report.packs,
        bytes: report.bytes,
        objects: report.objects,
        damaged_packs: report.damaged.iter().map(ToString::to_string).collect(),
        missing_packs: report.missing.iter().map(ToString::to_string).collect(),
        adopted_snapshots: 0,
        incomplete_snapshots: Vec::new(),
        unknown_vaults: Vec::new(),
        purged_snapshots: 0,
        suspended_devices: status.suspended_devices,
        suspended_tokens: status.suspended_tokens,
        deletion_latch: None,
    };
    // A catalog that is up to date knows every snapshot that counts: what else is in packs was never committed, or purged.
    if was_latched.is_some() {
        rebuild.adopt(&store, &report.unknown, &mut item, emit)?;
    }
    item.unknown_vaults =
        store.unknown_vaults().map_err(cannot)?.into_iter().map(|(vault, _)| vault_name(vault)).collect();
    let losses = losses(&report, &item, is_new, was_latched.is_some() && has_drives(&store).map_err(cannot)?);
    if was_latched.is_some() && (losses.is_empty() || accepts_loss) {
        store.lift_latch().map_err(cannot)?;
    }
    item.deletion_latch = store.deletion_latch().map(str::to_owned);
    let is_latched = item.deletion_latch.is_some();
    emit(Item::Reindexed(item));
    if !is_latched {
        return Ok(());
    }
    let message = format!("the catalog is rebuilt, but nothing will be deleted: {}", losses.join("; "));
    Err(Failure::new(FailureKind::Integrity, message)
        .hint("put back what is missing and say `backup-server reindex` again")
        .hint("or say `backup-server reindex --accept-loss` to let go of it"))
}

/// Why it is not certain that everything is known again.
fn losses(report: &ReindexReport, item: &ReindexedItem, is_new: bool, has_drives: bool) -> Vec<String> {
    let mut losses = Vec::new();
    if is_new {
        losses.push("no backup of the catalog was left, so files of drives, and their names, are not known".to_owned());
    } else if has_drives {
        losses.push("changes of drives since that catalog are not known".to_owned());
    }
    if !report.missing.is_empty() {
        losses.push(format!("{} packs are missing", report.missing.len()));
    }
    if !report.damaged.is_empty() {
        losses.push(format!("{} packs are damaged", report.damaged.len()));
    }
    if !item.unknown_vaults.is_empty() {
        losses.push(format!("packs of {} vaults are here whose keys are not", item.unknown_vaults.len()));
    }
    losses
}

fn has_drives(store: &Store) -> Result<bool, StoreError> {
    for vault in all_vaults(store)? {
        if let Some(root) = store.drive_find(vault.id, &[])?
            && !store.drive_list(vault.id, root.id, None, 1)?.is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Rebuild<'_> {
    /// Opens the store, whatever became of its catalog, and says whether that had to be made anew.
    fn open(&self, emit: &mut dyn FnMut(Item)) -> Result<(Store, bool), Failure> {
        let dir = &self.settings.data_dir;
        match Store::open(dir, &self.options, clock::now()) {
            Ok(store) => return Ok((store, false)),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) if error.is_catalog_damage() => {}
            Err(error) => return Err(cannot_open(self.settings, &error)),
        }
        if let Some(restored) = self.put_newest_back(&catalog_backup::list_everywhere(self.settings)?)? {
            emit(Item::CatalogRestored(restored));
            let opened = Store::open(dir, &self.options, clock::now());
            return opened.map(|store| (store, false)).map_err(|error| cannot_open(self.settings, &error));
        }
        let store = Store::create_again(dir, &self.options, clock::now())
            .map_err(|error| cannot_open(self.settings, &error))?;
        emit(Item::CatalogRestored(CatalogRestoredItem { backup: None, generation: 0, set_aside: None }));
        Ok((store, true))
    }

    fn put_newest_back(&self, backups: &[Backup]) -> Result<Option<CatalogRestoredItem>, Failure> {
        let mut last = None;
        for backup in backups.iter().rev() {
            match self.put_back(&backup.path) {
                Ok(restored) => return Ok(Some(restored)),
                Err(failure) if failure.kind() == FailureKind::Integrity => {
                    tracing::warn!(backup = %backup.path.display(), %failure, "this backup of the catalog does not open");
                    last = Some(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        match last {
            // With another master key none opens, and neither would the vaults.
            Some(failure) if !backups.is_empty() => Err(failure),
            _ => Ok(None),
        }
    }

    fn put_back(&self, backup: &Path) -> Result<CatalogRestoredItem, Failure> {
        let (copy, set_aside): (_, Option<PathBuf>) =
            catalog_backup::put_back(&self.settings.data_dir, &self.options, &self.keys, backup)?;
        Ok(CatalogRestoredItem {
            backup: Some(backup.display().to_string()),
            generation: copy.generation,
            set_aside: set_aside.map(|path| path.display().to_string()),
        })
    }

    /// Makes the vaults that the catalog does not know and the file of their keys does.
    fn make_vaults(&self, store: &Store) -> Result<(), Failure> {
        let cannot = |error: StoreError| failed("cannot make the vaults again", &error);
        for vault in vault_keys::read(&keys_dir(self.settings))?.unwrap_or_default().vaults {
            if store.vault(vault.id).map_err(cannot)?.is_some() {
                continue;
            }
            let account = match store.account_by_name(&vault.account).map_err(cannot)? {
                Some(account) => account.id,
                None => {
                    let is_first = store.accounts().map_err(cannot)?.is_empty();
                    let role = if is_first { Role::Admin } else { Role::Member };
                    store.create_account(&vault.account, role, clock::now()).map_err(cannot)?
                }
            };
            let slots: Vec<Vec<u8>> = vault.slots.iter().map(|slot| slot.as_bytes().to_vec()).collect();
            let mode = match vault.mode {
                Mode::Managed => VaultMode::Managed,
                Mode::Sealed => VaultMode::Sealed,
            };
            let made = NewVault { id: vault.id, account, name: &vault.name, mode, slots: &slots };
            store.create_vault(&made, clock::now()).map_err(cannot)?;
        }
        Ok(())
    }

    /// Takes in snapshots that the catalog does not know, oldest first.
    fn adopt(
        &self,
        store: &Store,
        unknown: &[UnknownSnapshot],
        item: &mut ReindexedItem,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let cannot = |error: StoreError| failed("cannot take a snapshot in again", &error);
        let mut found = Vec::new();
        for snapshot in unknown {
            found.push((self.origin(store, snapshot)?, *snapshot));
        }
        found.sort_by_key(|(origin, snapshot)| (origin.made, *snapshot));
        for (origin, snapshot) in found {
            let adoption = Adoption {
                vault: snapshot.vault,
                snapshot: snapshot.id,
                device: origin.device,
                device_name: &origin.device_name,
                chain: &origin.chain,
                received: origin.made,
            };
            let adopted = store.adopt_snapshot(&adoption, clock::now()).map_err(cannot)?;
            if store.was_purged(snapshot.vault, snapshot.id) {
                item.purged_snapshots += 1;
                continue;
            }
            if adopted.is_none() {
                item.incomplete_snapshots.push(snapshot.id.to_string());
                continue;
            }
            item.adopted_snapshots += 1;
            emit(Item::AdoptedSnapshot(AdoptedSnapshotItem {
                snapshot: snapshot.id.to_string(),
                vault: vault_name(snapshot.vault),
                device: origin.device_name,
                chain: origin.chain,
                received_ms: clock::wire_ms(origin.made),
            }));
        }
        Ok(())
    }

    /// Reads where a snapshot belongs. The clock is the client's, and never ahead of ours.
    fn origin(&self, store: &Store, unknown: &UnknownSnapshot) -> Result<Origin, Failure> {
        let now = clock::now();
        let nobody = || Origin { device: None, device_name: UNKNOWN.to_owned(), chain: UNKNOWN.to_owned(), made: now };
        let Some(keys) = self.vault_keys(store, unknown.vault)? else { return Ok(nobody()) };
        let object = StoreSource::reader(store, unknown.vault, keys).object(unknown.id);
        let Some(snapshot) = object.ok().and_then(|object| Snapshot::decode(&object).ok()) else { return Ok(nobody()) };
        let named = |text: &str, len_max: usize| {
            let is_name = (1..=len_max).contains(&text.len()) && !text.chars().any(char::is_control);
            if is_name { text.to_owned() } else { UNKNOWN.to_owned() }
        };
        Ok(Origin {
            device: <[u8; DeviceId::LEN]>::try_from(&snapshot.device[..]).ok().map(DeviceId::from_bytes),
            device_name: named(&snapshot.host, 255),
            chain: named(&snapshot.chain, store::CHAIN_NAME_LEN_MAX),
            made: UnixMs(snapshot.finished.secs.saturating_mul(1000).clamp(0, now.0)),
        })
    }

    fn vault_keys(&self, store: &Store, vault: VaultId) -> Result<Option<Arc<Keys>>, Failure> {
        let vault = store.vault(vault).map_err(|error| failed("cannot read the catalog", &error))?;
        let key = vault.and_then(|vault| crate::vaults::managed_key(&self.keys, &vault).ok());
        Ok(key.map(|key| Arc::new(Keys::new(&key))))
    }
}
