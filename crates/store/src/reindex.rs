//! [`Store::reindex`]: rebuilds everything the catalog says about stored objects from the packs alone.
//!
//! Every pack is read to its end, and one transaction replaces what the catalog knew: rows of the index, lengths, hashes,
//! packs that are gone. Objects that were known and of which no sound copy is found stay known as damaged. The generation is
//! lifted above whatever ANCHOR and pack headers bear witness of. Snapshots that the catalog does not know are reported,
//! and come back through [`Store::adopt_snapshot`], which is a commit like any other. Only then
//! [`Store::lift_latch`] allows deletion again.

use std::collections::BTreeSet;

use object::{Kind, ObjectId, VaultId};

use crate::catalog::packs::{self, PackState};
use crate::catalog::sessions::{self, SessionOwner};
use crate::catalog::snapshots::SnapshotState;
use crate::catalog::{accounts, objects, snapshots, vaults};
use crate::closure::Memo;
use crate::recover::{self, Recovery};
use crate::{
    Committed, DeviceId, IdempotencyKey, PackId, SessionId, Store, StoreError, UnixMs, WriteSession, anchor, verify,
};

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReindexReport {
    /// Packs read.
    pub packs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Copies of objects found.
    pub objects: u64,
    /// Packs that are not, in every byte, what was written.
    pub damaged: Vec<PackId>,
    /// Packs that should be there and are not. Their objects count as damaged, and the packs as set aside, from now on.
    pub missing: Vec<PackId>,
    /// Snapshots that stand in packs and that the catalog does not know, in the order in which their packs were begun.
    pub unknown: Vec<UnknownSnapshot>,
}

/// A snapshot that stands in a pack and that the catalog does not know: never committed, purged, or forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownSnapshot {
    /// Generation at which its pack was begun.
    pub generation: u64,
    /// Whose it is.
    pub vault: VaultId,
    /// Its object.
    pub id: ObjectId,
}

/// Where a snapshot that is taken in again belongs.
#[derive(Clone, Copy, Debug)]
pub struct Adoption<'a> {
    /// Whose it is.
    pub vault: VaultId,
    /// Its object.
    pub snapshot: ObjectId,
    /// Who made it, if that is known. A device that the catalog does not know is made again, without access.
    pub device: Option<DeviceId>,
    /// The name of who made it.
    pub device_name: &'a str,
    /// Which of the device's jobs; 1 to 128 bytes.
    pub chain: &'a str,
    /// When it was made, as well as anybody knows.
    pub received: UnixMs,
}

impl Store {
    /// Rebuilds all that the catalog says about stored objects: see the module. Reads every pack; nobody may write
    /// meanwhile. Either all of it takes effect or nothing.
    ///
    /// `on_bytes` hears how many bytes were read since the last call.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while a session is open.
    pub fn reindex(&self, now: UnixMs, on_bytes: &mut dyn FnMut(u64)) -> Result<ReindexReport, StoreError> {
        if !self.sessions().is_empty() {
            return Err(StoreError::Conflict { what: "somebody is writing" });
        }
        self.adopt_orphans(now)?;
        self.catalog().settle()?;
        let witnessed = anchor::read(self.dir())?.map_or(0, |anchor| anchor.generation);
        let files = recover::list_packs(self.dir(), &mut Recovery::default())?;
        let (report, generation) = self.catalog().write(|tx| {
            objects::mark_all(tx)?;
            objects::forget_dangling(tx)?;
            let mut report = ReindexReport::default();
            let mut unknown = BTreeSet::new();
            let mut highest = witnessed;
            for row in packs::all(tx)? {
                if !matches!(row.state, PackState::Sealed | PackState::Condemned) {
                    continue;
                }
                let facts = packs::facts(tx, row.id)?.ok_or(StoreError::NotFound { what: "pack" })?;
                highest = highest.max(facts.header.created_generation);
                if !files.contains(&row.id) {
                    packs::set_bad(tx, row.key)?;
                    report.missing.push(row.id);
                    continue;
                }
                let Ok(pack) = self.open_to_verify(&facts)? else {
                    report.damaged.push(row.id);
                    continue;
                };
                report.packs += 1;
                report.bytes += pack.len();
                let mut survey = verify::survey(pack, facts.hash, on_bytes);
                if !survey.flaws.is_empty() {
                    report.damaged.push(row.id);
                }
                report.objects += survey.entries.len() as u64;
                for entry in survey.entries.iter().filter(|entry| entry.form.kind == Kind::Snapshot) {
                    if !snapshots::is_known(tx, row.vault, entry.id)? {
                        let generation = facts.header.created_generation;
                        unknown.insert(UnknownSnapshot { generation, vault: facts.header.vault, id: entry.id });
                    }
                }
                survey.entries.sort_unstable_by_key(|entry| (entry.id, entry.span));
                objects::put(tx, recover::rows_of(row.vault, row.key, &survey.entries))?;
                // A hash that the file does not bear out stays, so that the damage is still seen.
                let mut file = survey.file;
                file.hash = file.hash.filter(|_| survey.flaws.is_empty()).or(facts.hash);
                packs::set_file(tx, row.key, &file, survey.entries.len())?;
                packs::unsettle(tx, row.key)?;
                packs::set_verified(tx, row.key, now)?;
            }
            report.unknown = first_of_each(unknown);
            let generation = crate::catalog::lift_generation(tx, highest)?;
            Ok((report, generation))
        })?;
        self.raise_anchor(generation)?;
        self.note_rebuilt();
        Ok(report)
    }

    /// Commits a snapshot that stands in packs and that the catalog does not know. `None` when something that it refers to
    /// is not stored: it was never complete, or is no more. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault, [`StoreError::Invalid`] when the chain's name cannot be one or the
    /// object is no snapshot.
    pub fn adopt_snapshot(&self, adoption: &Adoption<'_>, now: UnixMs) -> Result<Option<Committed>, StoreError> {
        let Adoption { vault, snapshot, device, device_name, chain, received } = *adoption;
        if !(1..=crate::CHAIN_NAME_LEN_MAX).contains(&chain.len()) {
            return Err(StoreError::Invalid { what: "the name of a chain has 1 to 128 bytes" });
        }
        let fresh = DeviceId::from_bytes(self.fresh_id()?);
        let (owner, seq) = self.catalog().write(|tx| {
            let (key, account) = vaults::find(tx, vault)?.ok_or(StoreError::NotFound { what: "vault" })?;
            let device = accounts::ensure_former_device(tx, account, (device, fresh), device_name, now)?;
            let chain = sessions::ensure_chain(tx, key, device, chain)?;
            Ok((SessionOwner { vault: key, device: Some(device), chain: Some(chain) }, packs::condemn_seq(tx)?))
        })?;
        let id = SessionId::from_bytes(self.fresh_id()?);
        let mut session = WriteSession::new(self.clone(), id, (vault, owner), None, Memo::new(seq));
        let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 adoption of a snapshot");
        hasher.update(vault.as_bytes()).update(snapshot.as_bytes());
        let key = IdempotencyKey::from_bytes(*hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes"));
        match session.commit_snapshot(key, snapshot, received) {
            Ok(committed) => {
                self.remember(vault, snapshot, now)?;
                Ok(Some(committed))
            }
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the ledger says that a snapshot which the catalog does not know was purged: taken in again, it is purged
    /// again.
    #[must_use]
    pub fn was_purged(&self, vault: VaultId, snapshot: ObjectId) -> bool {
        let ledger = &self.recovery().ledger;
        let last = ledger.last.get(&(vault, snapshot));
        last.is_some_and(|entry| entry.state == SnapshotState::Purged) && !ledger.is_damaged
    }

    /// Makes of a snapshot that was just taken in what the ledger says became of it.
    fn remember(&self, vault: VaultId, snapshot: ObjectId, now: UnixMs) -> Result<(), StoreError> {
        let ledger = &self.recovery().ledger;
        let last = ledger.last.get(&(vault, snapshot));
        let Some(entry) = last.map(|entry| recover::in_doubt(entry, ledger.is_damaged, now)) else { return Ok(()) };
        let generation = self.catalog().write(|tx| {
            let generation = crate::catalog::next_generation(tx)?;
            snapshots::apply(tx, &entry, generation)?;
            Ok(generation)
        })?;
        self.keep_ledger()?;
        self.raise_anchor(generation)
    }

    /// Vaults whose packs are here and that the catalog does not know, with how many packs each has.
    ///
    /// # Errors
    /// When catalog or disk fail.
    pub fn unknown_vaults(&self) -> Result<Vec<(VaultId, u64)>, StoreError> {
        let mut counts = std::collections::BTreeMap::new();
        let known: std::collections::HashSet<PackId> =
            self.catalog().read(packs::all)?.into_iter().map(|row| row.id).collect();
        for id in recover::list_packs(self.dir(), &mut Recovery::default())? {
            if known.contains(&id) {
                continue;
            }
            if let Ok(pack) = recover::open(self.dir(), id)? {
                let vault = pack.header().vault;
                if self.catalog().read(|catalog| vaults::find(catalog, vault))?.is_none() {
                    *counts.entry(vault).or_default() += 1;
                }
            }
        }
        Ok(counts.into_iter().collect())
    }

    /// Allows deletion again, once [`reindex`](Self::reindex) has rebuilt the catalog. The caller has made sure that
    /// nothing is left to be taken in.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the catalog was not rebuilt since the store was opened.
    pub fn lift_latch(&self) -> Result<(), StoreError> {
        if !self.is_rebuilt() {
            return Err(StoreError::Conflict { what: "the catalog was not rebuilt" });
        }
        let generation = self.catalog().write(|tx| {
            tx.execute("UPDATE meta SET latch = NULL", ())?;
            crate::catalog::next_generation(tx)
        })?;
        self.raise_anchor(generation)?;
        self.note_latch_lifted();
        Ok(())
    }
}

/// Each snapshot once, where it was stored first.
fn first_of_each(found: BTreeSet<UnknownSnapshot>) -> Vec<UnknownSnapshot> {
    let mut seen = std::collections::HashSet::new();
    found.into_iter().filter(|snapshot| seen.insert((snapshot.vault, snapshot.id))).collect()
}
