//! `verify` and `repair`: what the store finds and does, told as items, with the snapshots and paths it concerns.

use std::time::{Duration, Instant};

use object::{VaultId, hex};
use store::{PackChoice, PackReport, Snapshot, Store, StoreError, UnixMs};
use vault::Keys;

use crate::admin::affected::{self, PATHS_MAX};
use crate::admin::key_files;
use crate::admin::{
    DamagedFileItem, DamagedObjectItem, DamagedPackItem, FlawItem, IncompleteSnapshotItem, IncompleteVersionItem, Item,
    ProgressItem, RepairedItem, RepairedPackItem, VerifiedItem, VerifyScope,
};
use crate::audit::{Actor, Event};
use crate::catalog_backup;
use crate::clock;
use crate::drive::DriveView;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, failed};
use crate::live::Activity;

/// Packs sealed this long ago are recent.
const RECENT_MS: i64 = 24 * 3_600_000;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Tells how far something has come, once a second.
pub(crate) struct Progress<'a> {
    stage: &'static str,
    bytes: u64,
    bytes_total: u64,
    told: Instant,
    emit: &'a mut dyn FnMut(Item),
}

impl<'a> Progress<'a> {
    pub(crate) fn new(stage: &'static str, bytes_total: u64, emit: &'a mut dyn FnMut(Item)) -> Self {
        Self { stage, bytes: 0, bytes_total, told: Instant::now(), emit }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            let (stage, unit) = (self.stage.to_owned(), "bytes".to_owned());
            self.item(Item::Progress(ProgressItem { stage, unit, done: self.bytes, total: self.bytes_total }));
        }
    }

    pub(crate) fn item(&mut self, item: Item) {
        (self.emit)(item);
    }
}

/// Does the work on one open data directory, as long as somebody wants it.
pub(crate) struct Upkeep<'a> {
    pub(crate) home: &'a Home,
    /// Whether to go on: the server is not stopping, and whoever asked still listens.
    pub(crate) is_wanted: &'a dyn Fn() -> bool,
}

impl Upkeep<'_> {
    /// Verifies what `scope` says.
    ///
    /// # Errors
    /// [`Failure`] of kind `Integrity` when anything is damaged, after all of it was told.
    pub(crate) fn verify(&self, scope: &VerifyScope, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let mut sum = VerifiedItem {
            packs: 0,
            objects: 0,
            bytes: 0,
            damaged_packs: 0,
            damaged_files: 0,
            lost_objects: 0,
            incomplete_snapshots: 0,
            incomplete_versions: 0,
        };
        match scope {
            VerifyScope::Full => {
                sum.damaged_files = self.verify_files(emit)?;
                self.verify_packs(PackChoice::All, true, &mut sum, emit)?;
            }
            VerifyScope::Recent => {
                let since = UnixMs(clock::now().0 - RECENT_MS);
                self.verify_packs(PackChoice::SealedSince(since), false, &mut sum, emit)?;
            }
            VerifyScope::Snapshot(prefix) => self.verify_snapshot(prefix, &mut sum, emit)?,
        }
        if !matches!(scope, VerifyScope::Snapshot(_)) {
            (sum.incomplete_snapshots, sum.incomplete_versions) = self.tell_incomplete(emit)?;
        }
        let incomplete = sum.incomplete_snapshots + sum.incomplete_versions;
        let is_sound = sum.damaged_packs == 0 && incomplete == 0 && sum.lost_objects == 0;
        let damaged_files = sum.damaged_files;
        let subject = match scope {
            VerifyScope::Full => Some("everything"),
            VerifyScope::Recent => Some("recent packs"),
            VerifyScope::Snapshot(_) => None,
        };
        if let Some(subject) = subject {
            Actor::server().note(&self.home.store, Event::Verified, subject, &Activity::from(&sum).detail);
        }
        emit(Item::Verified(sum));
        let of_files = |failure: Failure| {
            failure.hint("docs/recovery.md says for each file that is damaged where it comes from again")
        };
        if is_sound && damaged_files == 0 {
            return Ok(());
        }
        if is_sound {
            let message = "the packs are sound, and files beside them are not";
            return Err(of_files(Failure::new(FailureKind::Integrity, message)));
        }
        let failure = Failure::new(FailureKind::Integrity, "something that is stored cannot be read");
        let failure = if damaged_files > 0 { of_files(failure) } else { failure };
        Err(failure
            .hint("what cannot be read counts as not stored: the next backup sends what its source still has")
            .hint("`backup-server repair` sets damaged packs aside and keeps what is sound in them"))
    }

    /// Reads what is kept beside the packs: catalog, ANCHOR, LEDGER, keys, and the catalog's backups, the newest of which is
    /// opened as a catalog. How many files are damaged.
    fn verify_files(&self, emit: &mut dyn FnMut(Item)) -> Result<u64, Failure> {
        let home = self.home;
        let mut on_table = |done, total| {
            let (stage, unit) = ("reading the catalog".to_owned(), "tables".to_owned());
            emit(Item::Progress(ProgressItem { stage, unit, done, total }));
            (self.is_wanted)()
        };
        let looked = home.store.check_files(&mut on_table);
        let mut flaws = looked.map_err(|error| failed("cannot verify the catalog", &error))?;
        self.check_wanted()?;
        let (keys, key_flaws) = key_files::check(home);
        flaws.extend(key_flaws);
        // With another master key no backup opens: that is told of the key.
        if let Some(keys) = keys {
            flaws.extend(catalog_backup::drill(home, &keys, self.is_wanted)?);
        }
        self.check_wanted()?;
        for flaw in &flaws {
            let path = flaw.path.display().to_string();
            tracing::error!(%path, what = flaw.what, "a file is damaged");
            emit(Item::DamagedFile(DamagedFileItem { path, what: flaw.what.clone() }));
        }
        Ok(flaws.len() as u64)
    }

    fn verify_packs(
        &self,
        choice: PackChoice,
        is_full: bool,
        sum: &mut VerifiedItem,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let store = &self.home.store;
        let cannot = |error: StoreError| failed("cannot verify the store", &error);
        let packs = store.packs_to_verify(choice, i64::MAX.unsigned_abs()).map_err(cannot)?;
        let counts = if is_full { Some(store.index_counts().map_err(cannot)?) } else { None };
        let mut progress = Progress::new("verifying", packs.iter().map(|(_, bytes)| bytes).sum(), emit);
        for (pack, _) in packs {
            self.check_wanted()?;
            let report = store.verify_pack(pack, counts.as_ref(), clock::now(), &mut |bytes| progress.add(bytes));
            let Some(report) = report.map_err(cannot)? else { continue };
            sum.packs += 1;
            sum.bytes += report.bytes;
            sum.lost_objects += report.damaged.iter().filter(|object| object.is_lost).count() as u64;
            if !report.is_sound() {
                sum.damaged_packs += 1;
                progress.item(damaged_pack(&report));
            }
        }
        Ok(())
    }

    fn verify_snapshot(&self, prefix: &str, sum: &mut VerifiedItem, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let store = &self.home.store;
        let (vault, snapshot) = self.find(prefix)?;
        let mut progress = Progress::new("verifying", 0, emit);
        let report = store.verify_snapshot(vault.id, snapshot.id, &mut |bytes| progress.add(bytes));
        let report = report.map_err(|error| failed("cannot verify the snapshot", &error))?;
        sum.objects = report.objects;
        sum.bytes = report.bytes;
        sum.lost_objects = report.unreadable.len() as u64;
        if !report.unreadable.is_empty() {
            // The packs these objects should be in are read in full, so that the damage is marked.
            self.verify_packs(PackChoice::All, false, sum, emit)?;
            sum.incomplete_snapshots = 1;
            let account = self.account_of(&vault)?;
            emit(self.incomplete(&account, &vault, snapshot)?);
        }
        Ok(())
    }

    /// Repairs every damaged pack, or tells what it would.
    ///
    /// # Errors
    /// [`Failure`] of kind `Integrity` when snapshots stay incomplete, or, with `is_dry_run`, anything needs repair.
    pub(crate) fn repair(&self, is_dry_run: bool, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let store = &self.home.store;
        let cannot = |error: StoreError| failed("cannot repair the store", &error);
        let mut sum = RepairedItem {
            is_dry_run,
            packs: 0,
            damaged_packs: 0,
            adopted_packs: 0,
            strangers: Vec::new(),
            incomplete_snapshots: 0,
            incomplete_versions: 0,
        };
        if !is_dry_run {
            let orphans = store.adopt_orphans(clock::now()).map_err(cannot)?;
            sum.adopted_packs = orphans.adopted.len() as u64;
            sum.strangers = orphans.strangers.iter().map(|path| path.display().to_string()).collect();
            orphans.adopted.iter().for_each(|pack| emit(Item::AdoptedPack { pack: pack.to_string() }));
        }
        let packs = store.packs_to_verify(PackChoice::All, i64::MAX.unsigned_abs()).map_err(cannot)?;
        let counts = store.index_counts().map_err(cannot)?;
        let mut progress = Progress::new("repairing", packs.iter().map(|(_, bytes)| bytes).sum(), emit);
        for (pack, _) in packs {
            self.check_wanted()?;
            sum.packs += 1;
            if is_dry_run {
                let report = store.inspect_pack(pack, Some(&counts), &mut |bytes| progress.add(bytes));
                if let Some(report) = report.map_err(cannot)?.filter(|report| !report.is_sound()) {
                    sum.damaged_packs += 1;
                    progress.item(damaged_pack(&report));
                }
                continue;
            }
            let repaired = store.repair_pack(pack, Some(&counts), clock::now(), &mut |bytes| progress.add(bytes));
            if let Some(repair) = repaired.map_err(cannot)? {
                sum.damaged_packs += 1;
                tracing::warn!(%pack, set_aside = repair.is_set_aside, records = repair.records, "pack repaired");
                progress.item(Item::RepairedPack(RepairedPackItem {
                    pack: pack.to_string(),
                    moved_to: repair.moved_to.map(|pack| pack.to_string()),
                    records: repair.records,
                    is_set_aside: repair.is_set_aside,
                    marked: repair.marked,
                    indexed: repair.indexed,
                }));
            }
        }
        (sum.incomplete_snapshots, sum.incomplete_versions) = self.tell_incomplete(emit)?;
        let needs_more =
            sum.incomplete_snapshots + sum.incomplete_versions > 0 || (is_dry_run && sum.damaged_packs > 0);
        emit(Item::Repaired(sum));
        if !needs_more {
            return Ok(());
        }
        let failure = if is_dry_run {
            Failure::new(FailureKind::Integrity, "the store needs repair").hint("say the same without --dry-run")
        } else {
            Failure::new(FailureKind::Integrity, "something that was stored is lost")
                .hint("back up again: what the source still has is sent again, and completes the snapshots")
                .hint("a pack whose good copy is put back below `packs/` is taken in when the server starts")
        };
        Err(failure)
    }

    /// Tells of every snapshot that does not restore in full and of every version of a drive's file that cannot be read, those in
    /// the trash too, and says how many there are of each.
    fn tell_incomplete(&self, emit: &mut dyn FnMut(Item)) -> Result<(u64, u64), Failure> {
        let store = &self.home.store;
        let cannot = |error: StoreError| failed("cannot look for incomplete snapshots", &error);
        let (mut snapshots, mut versions) = (0, 0);
        for account in store.accounts().map_err(cannot)? {
            for vault in store.vaults(account.id).map_err(cannot)? {
                for snapshot in store.incomplete_snapshots(vault.id).map_err(cannot)? {
                    self.check_wanted()?;
                    snapshots += 1;
                    emit(self.incomplete(&account.name, &vault, snapshot)?);
                }
                let states = store.incomplete_drive_states(vault.id).map_err(cannot)?;
                if states.is_empty() {
                    continue;
                }
                let keys = crate::vaults::managed_key(&self.home.keys, &vault).ok().map(|key| Keys::new(&key));
                for state in states {
                    versions += 1;
                    let view = keys.as_ref().map(|keys| DriveView::new(store, vault.id, keys));
                    let path = view.and_then(|view| view.open_path(state.sealed_path).ok());
                    emit(Item::IncompleteVersion(IncompleteVersionItem {
                        account: account.name.clone(),
                        vault: vault_name(vault.id),
                        path: path.map(|path| String::from_utf8_lossy(path.as_bytes()).escape_debug().to_string()),
                        version: state.version,
                        received_ms: clock::wire_ms(state.received),
                        is_newest: state.is_newest,
                        in_trash: state.is_trashed,
                    }));
                }
            }
        }
        Ok((snapshots, versions))
    }

    fn incomplete(&self, account: &str, vault: &store::Vault, snapshot: Snapshot) -> Result<Item, Failure> {
        let found = affected::paths(self.home, vault, snapshot.id)?;
        debug_assert!(found.paths.len() <= PATHS_MAX);
        Ok(Item::IncompleteSnapshot(IncompleteSnapshotItem {
            snapshot: snapshot.id.to_string(),
            account: account.to_owned(),
            vault: hex::encode(vault.id.as_bytes()),
            device: snapshot.device_name,
            chain: snapshot.chain,
            seq: snapshot.seq,
            received_ms: clock::wire_ms(snapshot.received),
            paths: found.paths,
            paths_total: found.total,
            in_trash: snapshot.trashed.is_some(),
        }))
    }

    fn find(&self, prefix: &str) -> Result<(store::Vault, Snapshot), Failure> {
        let store = &self.home.store;
        let cannot = |error: StoreError| match error {
            StoreError::Invalid { .. } => Failure::usage(format!("`{prefix}` is not the beginning of a snapshot's id")),
            error => failed("cannot look for the snapshot", &error),
        };
        let mut found = Vec::new();
        for vault in all_vaults(store).map_err(cannot)? {
            for snapshot in store.snapshots_by_prefix(vault.id, None, prefix).map_err(cannot)? {
                found.push((vault.clone(), snapshot));
            }
        }
        if found.len() > 1 {
            return Err(Failure::usage(format!("several snapshots begin with {prefix}")));
        }
        found.pop().ok_or_else(|| Failure::usage(format!("there is no snapshot {prefix}")))
    }

    fn account_of(&self, vault: &store::Vault) -> Result<String, Failure> {
        let accounts = self.home.store.accounts().map_err(|error| failed("cannot read the catalog", &error))?;
        let account = accounts.into_iter().find(|account| account.id == vault.account);
        Ok(account.map(|account| account.name).unwrap_or_default())
    }

    fn check_wanted(&self) -> Result<(), Failure> {
        if (self.is_wanted)() {
            return Ok(());
        }
        Err(Failure::new(FailureKind::Unavailable, "the server is stopping").hint("say the same again later"))
    }
}

/// All vaults of all accounts.
pub(crate) fn all_vaults(store: &Store) -> Result<Vec<store::Vault>, StoreError> {
    let mut vaults = Vec::new();
    for account in store.accounts()? {
        vaults.extend(store.vaults(account.id)?);
    }
    Ok(vaults)
}

fn damaged_pack(report: &PackReport) -> Item {
    Item::DamagedPack(DamagedPackItem {
        pack: report.pack.to_string(),
        vault: hex::encode(report.vault.as_bytes()),
        is_missing: report.is_missing,
        flaws: report
            .flaws
            .iter()
            .map(|flaw| FlawItem { offset: flaw.offset, len: flaw.len, what: flaw.what.clone() })
            .collect(),
        damaged: report
            .damaged
            .iter()
            .map(|object| DamagedObjectItem {
                object: hex::encode(&object.half_id),
                kind: format!("{:?}", object.kind).to_lowercase(),
                offset: object.offset.into(),
                is_lost: object.is_lost,
            })
            .collect(),
        unindexed: report.unindexed,
    })
}

/// Writes a vault's id as items have it.
pub(crate) fn vault_name(vault: VaultId) -> String {
    hex::encode(vault.as_bytes())
}
