//! Condemning and deleting packs: the steps of [`Marked`] that take something away.
//!
//! The order of a deletion is the whole of its safety: durable in the catalog, ANCHOR raised, file removed, directory
//! synced, row forgotten. Cut off anywhere, recovery or the next collection goes on from there.

use object::Record;

use crate::catalog::collection::{self, DeleteRule, Wait};
use crate::catalog::packs::{self, PackState};
use crate::gc::{GcAction, GcOptions, GcPhase, GcRefusal, Marked, tally};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::pack::{PackReader, Span};
use crate::{PackId, Store, StoreError, UnixMs};

/// Packs of one transaction.
const BATCH_LEN: usize = 64;

/// Which condemned packs may go.
pub(super) fn rule(options: &GcOptions, epoch: i64, now: UnixMs) -> DeleteRule {
    let grace_ms = i64::try_from(options.grace_ms).unwrap_or(i64::MAX);
    DeleteRule {
        epoch,
        condemned_until: UnixMs(now.0.saturating_sub(grace_ms)),
        generation_max: options.catalog_backup,
    }
}

impl Marked<'_> {
    /// Condemns what holds nothing that is kept, and takes condemnation back from what does.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn condemn(&mut self, now: UnixMs) -> Result<(), StoreError> {
        if self.is_refused {
            return Ok(());
        }
        if self.shared.options.is_dry_run {
            return self.tell(now);
        }
        self.clear_staging()?;
        let store = self.shared.store.clone();
        let catalog = store.catalog();
        let reprieved = self.planned(GcAction::Reprieve);
        if !reprieved.is_empty() {
            self.shared.report.packs_reprieved += catalog.write(|tx| collection::reprieve(tx, &reprieved))?;
        }
        let epoch = self.found.epoch;
        for batch in self.planned(GcAction::Condemn).chunks(BATCH_LEN) {
            if self.is_stopped() {
                return Ok(());
            }
            let condemned = catalog.write(|tx| collection::condemn(tx, batch, epoch, now))?;
            self.shared.report.packs_condemned += condemned.len() as u64;
            self.shared.report.bytes_condemned += self.bytes_of(&condemned);
        }
        Ok(())
    }

    /// Deletes what an earlier collection condemned, where this one found it dead again and nothing asks to wait.
    ///
    /// # Errors
    /// When catalog or disk fail.
    pub fn delete(&mut self, now: UnixMs) -> Result<(), StoreError> {
        if self.is_refused || self.shared.options.is_dry_run {
            return Ok(());
        }
        let store = self.shared.store.clone();
        // Deletions that failed half-way in this process.
        for pack in store.catalog().read(collection::deleting)? {
            finish_deletion(&store, pack)?;
        }
        let dead = self.planned(GcAction::Delete);
        let rule = rule(&self.shared.options, self.found.epoch, now);
        let mut ripe = Vec::new();
        let mut unknown = Vec::new();
        for pack in dead {
            match store.catalog().read(|catalog| collection::wait_of(catalog, pack, &rule))? {
                Some(Wait::None) => ripe.push(pack),
                // A commit has sealed it again.
                None => {}
                Some(wait) => {
                    self.shared.report.packs_waiting += 1;
                    self.shared.report.bytes_waiting += self.bytes_of(&[pack]);
                    unknown.extend((wait == Wait::Backup).then_some(pack));
                }
            }
        }
        if !unknown.is_empty() {
            let reason = "no backup of the catalog knows yet that they were condemned".to_owned();
            self.shared.report.refusals.push(GcRefusal::Held { packs: unknown.len() as u64, reason });
        }
        if let Some(reason) = &self.shared.options.deletion_hold
            && !ripe.is_empty()
        {
            self.shared.report.packs_waiting += ripe.len() as u64;
            self.shared.report.bytes_waiting += self.bytes_of(&ripe);
            let refusal = GcRefusal::Held { packs: ripe.len() as u64, reason: reason.clone() };
            self.shared.report.refusals.push(refusal);
            return Ok(());
        }
        let total = ripe.len() as u64;
        let mut done = 0;
        for batch in ripe.chunks(BATCH_LEN) {
            if self.is_stopped() {
                return Ok(());
            }
            let (going, generation) =
                store.catalog().write_on_reserve(|tx| collection::start_deleting(tx, batch, &rule))?;
            store.raise_anchor(generation)?;
            for pack in &going {
                finish_deletion(&store, *pack)?;
                self.shared.report.packs_deleted += 1;
                self.shared.report.bytes_freed += self.bytes_of(&[*pack]);
                done += 1;
                self.shared.monitor.progress(GcPhase::Delete, done, total);
            }
        }
        Ok(())
    }

    /// What a dry run has to say.
    fn tell(&mut self, now: UnixMs) -> Result<(), StoreError> {
        let plans = tally::plans(&self.shared, &self.found, now)?;
        let report = &mut self.shared.report;
        for plan in &plans {
            let (packs, bytes) = match plan.action {
                GcAction::Condemn => (&mut report.packs_condemned, Some(&mut report.bytes_condemned)),
                GcAction::Delete => (&mut report.packs_deleted, Some(&mut report.bytes_freed)),
                GcAction::Reprieve => (&mut report.packs_reprieved, None),
                GcAction::Repack => (&mut report.packs_repacked, Some(&mut report.bytes_repacked)),
                GcAction::WaitForGrace | GcAction::WaitForSession | GcAction::WaitForBackup => {
                    (&mut report.packs_waiting, Some(&mut report.bytes_waiting))
                }
            };
            *packs += 1;
            if let Some(total) = bytes {
                *total += plan.bytes;
            }
            report.bytes_moved += if plan.action == GcAction::Repack { plan.live_bytes } else { 0 };
        }
        report.plans = plans;
        Ok(())
    }

    /// The packs this is planned for.
    pub(super) fn planned(&self, action: GcAction) -> Vec<PackKey> {
        let planned = self.found.packs.iter().filter(|tally| tally.plan == Some(action));
        planned.map(|tally| tally.facts.key).collect()
    }

    fn bytes_of(&self, packs: &[PackKey]) -> u64 {
        packs.iter().filter_map(|pack| self.found.tally(*pack)).map(|tally| tally.facts.bytes).sum()
    }

    /// Removes files of packs in `staging/` that nobody is writing: their writer gave them up and could not remove them.
    ///
    /// The names are listed first: a pack's row is there before its file, so a file without a row that says it is being
    /// written will never be finished.
    fn clear_staging(&mut self) -> Result<(), StoreError> {
        let store = self.shared.store.clone();
        let staging = store.dir().staging_path();
        let mut removed = 0;
        for name in store.dir().list(&staging)? {
            let Some(id) = name.split_once('.').and_then(|(stem, _)| stem.parse::<PackId>().ok()) else { continue };
            if store.catalog().read(|catalog| packs::state_by_id(catalog, id))? != Some(PackState::Writing) {
                store.dir().remove(&staging.join(name))?;
                removed += 1;
            }
        }
        self.shared.report.staging_removed += removed;
        Ok(())
    }
}

/// Completes a deletion that is durable in the catalog and in ANCHOR.
fn finish_deletion(store: &Store, pack: PackKey) -> Result<(), StoreError> {
    let (id, vault) = store.catalog().read(|catalog| {
        let vault = packs::vault(catalog, pack)?.ok_or(StoreError::NotFound { what: "pack" })?;
        Ok((collection::pack_id(catalog, pack)?, vault))
    })?;
    let path = store.dir().pack_path(id);
    // The index has no order by pack; while the file is there it tells which rows to look for.
    let held = store.dir().open(&path).ok().and_then(|file| copies_in(&PackReader::open(file).ok()?));
    store.packs().forget(pack);
    store.dir().remove(&path)?;
    store.dir().sync_dir(&store.dir().shard_path(id))?;
    forget(store, vault, pack, held.as_deref())
}

fn forget(store: &Store, vault: VaultKey, pack: PackKey, held: Option<&[(HalfId, Span)]>) -> Result<(), StoreError> {
    store.catalog().write_on_reserve(|tx| match held {
        Some(held) => collection::finish_deleting(tx, vault, pack, held),
        None => packs::forget_deleted(tx, pack),
    })
}

/// Every copy in a pack; `None` when one of its heads cannot be read.
fn copies_in(pack: &PackReader) -> Option<Vec<(HalfId, Span)>> {
    let mut copies = Vec::new();
    for span in pack.spans().ok()?.1 {
        let head = pack.head(span).ok()?;
        let members = Record::parse_head(&head).ok()?.members();
        copies.extend(members.map(|member| (half(&member.id), span)));
    }
    Some(copies)
}
