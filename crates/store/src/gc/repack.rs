//! Repacking: the records of a pack that are kept move to a new one, byte for byte, and the pack is condemned.
//!
//! [`Target`] is the pack being filled. A source's copies are let go only after every target that took one of its records
//! is sealed, in one transaction that finds the source unstamped since the mark and everything it relies on sealed.
//! Cut off before that, objects are stored twice, and a later collection sees to it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use object::{Kind, ObjectId, Record};

use crate::catalog::collection::{self, SwitchRule};
use crate::catalog::objects::{self, Copies, Copy, Location, StoredForm};
use crate::catalog::{packs, vaults};
use crate::gc::{GcAction, GcPhase, GcRefusal, Marked};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::layout::pack::PackClass;
use crate::pack::writer::{PACK_TARGET_MAX, RECORD_COUNT_MAX};
use crate::pack::{PackFault, PackReader, PackWriter, Span};
use crate::pack_cache::damaged;
use crate::{ErrorKind, PackId, Store, StoreError, UnixMs};

/// A pack that takes records.
struct Target {
    store: Store,
    key: PackKey,
    id: PackId,
    vault: VaultKey,
    writer: Option<PackWriter>,
    path: Option<PathBuf>,
    copies: Vec<Copy>,
    is_published: bool,
}

/// A pack whose kept records have been copied.
struct Source {
    key: PackKey,
    vault: VaultKey,
    /// The copies in it of objects that are kept. Those of others stay: a commit may yet want them, and takes the
    /// condemnation back then.
    copies: Vec<(HalfId, Span)>,
    /// Packs that hold what is kept of it.
    relies_on: BTreeSet<PackKey>,
    bytes: u64,
    moved_bytes: u64,
    dropped_copies: u64,
}

/// Sources of one vault and class, and the target they go to.
#[derive(Default)]
struct Move {
    target: Option<Target>,
    /// Copied in full; the last of it may stand in `target`.
    copied: Vec<Source>,
}

impl Marked<'_> {
    /// Moves what is kept out of the emptiest packs, and lets go of deltas of objects that are stored whole.
    ///
    /// # Errors
    /// When catalog or disk fail. Too little space is a refusal.
    pub fn repack(&mut self, now: UnixMs) -> Result<(), StoreError> {
        if self.is_refused || self.shared.options.is_dry_run {
            return Ok(());
        }
        match self.drop_doubled().and_then(|()| self.repack_all(now)) {
            Err(error) if error.kind() == ErrorKind::Full => {
                self.shared.report.refusals.push(GcRefusal::NoSpace);
                Ok(())
            }
            done => done,
        }
    }

    fn repack_all(&mut self, now: UnixMs) -> Result<(), StoreError> {
        let mut chosen: Vec<_> =
            self.found.packs.iter().filter(|tally| tally.plan == Some(GcAction::Repack)).copied().collect();
        chosen.sort_by_key(|tally| (tally.facts.vault, tally.facts.class, tally.facts.key));
        let total = chosen.len() as u64;
        let mut done = 0;
        for group in chosen.chunk_by(|a, b| (a.facts.vault, a.facts.class) == (b.facts.vault, b.facts.class)) {
            let mut moving = Move::default();
            for tally in group {
                if self.is_stopped() {
                    break;
                }
                let facts = tally.facts;
                let pack =
                    self.shared.store.packs().get(facts.key, self.shared.store.dir(), self.shared.store.catalog());
                match pack.and_then(|pack| self.copy(&mut moving, &pack, facts.key, facts.vault, facts.class, now)) {
                    Ok(source) => moving.copied.push(Source { bytes: facts.bytes, ..source }),
                    Err(StoreError::Damaged { pack, .. }) => self.shared.report.packs_damaged.push(pack),
                    Err(error) => return Err(error),
                }
                done += 1;
                self.shared.monitor.progress(GcPhase::Repack, done, total);
            }
            self.seal(&mut moving, now)?;
        }
        Ok(())
    }

    /// Copies what is kept of a pack. [`StoreError::Damaged`] leaves it alone; records copied by then are copies too many.
    fn copy(
        &mut self,
        moving: &mut Move,
        pack: &PackReader,
        key: PackKey,
        vault: VaultKey,
        class: PackClass,
        now: UnixMs,
    ) -> Result<Source, StoreError> {
        let fault = |fault: PackFault| damaged(pack.header().pack, 0, &fault);
        let relies_on = BTreeSet::new();
        let mut source =
            Source { key, vault, copies: Vec::new(), relies_on, bytes: 0, moved_bytes: 0, dropped_copies: 0 };
        for span in pack.spans().map_err(fault)?.1 {
            let head = pack.head(span).map_err(fault)?;
            let members: Vec<ObjectId> = Record::parse_head(&head)?.members().map(|member| member.id).collect();
            let mut kept: Vec<ObjectId> =
                members.into_iter().filter(|id| self.found.is_kept(vault, &half(id))).collect();
            kept.sort_unstable();
            kept.dedup();
            source.copies.extend(kept.iter().map(|id| (half(id), span)));
            let mut replaced_by = BTreeSet::new();
            let mut is_needed = false;
            for (id, copies) in kept.iter().zip(self.shared.store.locate(vault, &kept)?) {
                match copies.best() {
                    Some(best) if (best.pack, best.span) != (key, span) && self.is_sound(vault, id, best)? => {
                        // A better copy in this very pack is copied when its turn comes.
                        replaced_by.extend((best.pack != key).then_some(best.pack));
                    }
                    _ => is_needed = true,
                }
            }
            if is_needed {
                // All its checksums are compared: nothing damaged is passed on.
                let record = pack.record(span).map_err(fault)?;
                let target = self.target(moving, vault, class, now)?;
                target.append(&record)?;
                source.relies_on.insert(target.key);
                source.moved_bytes += u64::from(span.len);
            } else {
                source.dropped_copies += kept.len() as u64;
                source.relies_on.extend(replaced_by);
            }
        }
        Ok(source)
    }

    /// Whether a copy can be relied on: its bytes are right and, if it is a delta, its bases are kept and stored whole.
    fn is_sound(&self, vault: VaultKey, id: &ObjectId, location: Location) -> Result<bool, StoreError> {
        let store = self.shared.store.clone();
        let object = match store.read_at(location, id) {
            Ok(object) => object,
            Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let head = object.record.view().head();
        let Some(member) = head.members().nth(object.member_index) else { return Ok(false) };
        if !head.codec().is_delta() {
            return Ok(true);
        }
        let mut bases: Vec<ObjectId> = member.edges.iter().collect();
        bases.sort_unstable();
        bases.dedup();
        let is_whole = |copies: &Copies| copies.best().is_some_and(|best| best.form.is_leaf());
        Ok(bases.iter().all(|basis| self.found.is_kept(vault, &half(basis)))
            && store.locate(vault, &bases)?.iter().all(is_whole))
    }

    /// The target that takes the next record of this vault and class.
    fn target<'m>(
        &mut self,
        moving: &'m mut Move,
        vault: VaultKey,
        class: PackClass,
        now: UnixMs,
    ) -> Result<&'m mut Target, StoreError> {
        let store = self.shared.store.clone();
        let target_len = store.options().pack_target_bytes.min(PACK_TARGET_MAX);
        if moving.target.as_ref().is_some_and(|target| target.is_full(target_len)) {
            self.seal(moving, now)?;
        }
        match &mut moving.target {
            Some(target) => Ok(target),
            empty => {
                store.check_space_to_move(target_len)?;
                Ok(empty.insert(Target::create(&store, vault, class)?))
            }
        }
    }

    /// Makes the target visible, then lets go of the sources it completes.
    fn seal(&mut self, moving: &mut Move, now: UnixMs) -> Result<(), StoreError> {
        if let Some(target) = moving.target.take() {
            target.publish(now)?;
        }
        for source in moving.copied.drain(..) {
            let Source { key, vault, copies, relies_on, .. } = &source;
            let relies_on: Vec<PackKey> = relies_on.iter().copied().collect();
            let rule = SwitchRule { epoch: self.found.epoch, relies_on: &relies_on };
            let is_done = !relies_on.contains(key)
                && self.shared.store.catalog().write_on_reserve(|tx| {
                    let is_done = collection::let_go(tx, *vault, *key, copies, rule)?;
                    if is_done {
                        collection::condemn(tx, &[*key], rule.epoch, now)?;
                    }
                    Ok(is_done)
                })?;
            if is_done {
                let report = &mut self.shared.report;
                report.packs_repacked += 1;
                report.bytes_repacked += source.bytes;
                report.bytes_moved += source.moved_bytes;
                report.copies_dropped += source.dropped_copies;
            }
        }
        Ok(())
    }

    /// Lets go of deltas of objects that are stored whole, so that what those deltas were made from need not be kept for
    /// them any longer.
    fn drop_doubled(&mut self) -> Result<(), StoreError> {
        let store = self.shared.store.clone();
        let doubled = std::mem::take(&mut self.found.doubled);
        let mut deltas: Vec<(VaultKey, PackKey, PackKey, HalfId, Span)> = Vec::new();
        let total = doubled.len() as u64;
        for ((vault, id), done) in doubled.into_iter().zip(0..) {
            if self.is_stopped() {
                return Ok(());
            }
            self.shared.monitor.progress(GcPhase::Repack, done, total);
            let copies = store.locate(vault, &[padded(&id)])?.into_iter().next().unwrap_or_default();
            let Some(best) = copies.best().filter(|best| best.form.is_leaf()) else { continue };
            if !copies.iter().any(|copy| copy.form.is_delta) || !self.holds_whole(best, &id)? {
                continue;
            }
            let others = copies.iter().filter(|copy| copy.form.is_delta);
            deltas.extend(others.map(|copy| (vault, copy.pack, best.pack, id, copy.span)));
        }
        deltas.sort_unstable();
        for group in deltas.chunk_by(|a, b| a.1 == b.1) {
            let (vault, source) = (group[0].0, group[0].1);
            let copies: Vec<(HalfId, Span)> = group.iter().map(|(_, _, _, id, span)| (*id, *span)).collect();
            let mut relies_on: Vec<PackKey> = group.iter().map(|(_, _, whole, ..)| *whole).collect();
            relies_on.dedup();
            let rule = SwitchRule { epoch: self.found.epoch, relies_on: &relies_on };
            if store.catalog().write_on_reserve(|tx| collection::let_go(tx, vault, source, &copies, rule))? {
                self.shared.report.copies_dropped += copies.len() as u64;
            }
        }
        Ok(())
    }

    /// Whether the record at this place is sound and holds the whole of the object.
    fn holds_whole(&self, location: Location, id: &HalfId) -> Result<bool, StoreError> {
        match self.shared.store.record_at(location) {
            Ok(record) => {
                let head = record.view().head();
                let holds = |member: object::Member<'_>| member.kind == Kind::Data && half(&member.id) == *id;
                Ok(!head.codec().is_delta() && head.members().any(holds))
            }
            Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An id with this first half, for look-ups, which see no more of it.
fn padded(id: &HalfId) -> ObjectId {
    let mut bytes = [0; ObjectId::LEN];
    bytes[..id.len()].copy_from_slice(id);
    ObjectId::from_bytes(bytes)
}

impl Target {
    /// Notes the intent, then makes the file.
    fn create(store: &Store, vault: VaultKey, class: PackClass) -> Result<Self, StoreError> {
        let id = PackId::from_bytes(store.fresh_id()?);
        let (key, header) = store.catalog().write_on_reserve(|tx| {
            let vault_id = vaults::id(tx, vault)?.ok_or(StoreError::NotFound { what: "vault" })?;
            packs::intend(tx, id, class, (vault, vault_id))
        })?;
        let (store, copies) = (store.clone(), Vec::new());
        let mut target = Self { store, key, id, vault, writer: None, path: None, copies, is_published: false };
        let writer = PackWriter::create(target.store.dir(), header)?;
        target.path = Some(writer.path().to_owned());
        target.writer = Some(writer);
        Ok(target)
    }

    fn is_full(&self, target_len: u64) -> bool {
        self.copies.len() >= RECORD_COUNT_MAX || self.writer.as_ref().is_some_and(|writer| writer.len() >= target_len)
    }

    fn append(&mut self, record: &object::SealedRecord) -> Result<(), StoreError> {
        let writer = self.writer.as_mut().ok_or(StoreError::Conflict { what: "the pack is complete" })?;
        let span = writer.append(record.bytes())?;
        let entries = objects::entries_of(record.view().head(), span);
        let pack = self.key;
        self.copies.extend(entries.map(|entry| Copy {
            id: half(&entry.id),
            pack,
            span,
            form: StoredForm { form: entry.form, is_damaged: false },
        }));
        Ok(())
    }

    /// Completes the file, reads it back from the disk, and makes it visible.
    fn publish(mut self, now: UnixMs) -> Result<(), StoreError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let store = self.store.clone();
        self.put_in_place(writer, now).inspect_err(|error| store.faults().note(error, now))
    }

    fn put_in_place(&mut self, writer: PackWriter, now: UnixMs) -> Result<(), StoreError> {
        let store = self.store.clone();
        let dir = store.dir();
        let finished = writer.finish()?;
        let file = dir.open(&finished.path)?;
        file.forget_cached();
        let written = PackReader::open(file).and_then(|pack| pack.verify());
        written.map_err(|fault| damaged(self.id, 0, &fault))?;
        dir.rename_noreplace(&finished.path, &dir.pack_path(self.id))?;
        // From here on the file is a pack: whatever fails, recovery makes it visible.
        self.is_published = true;
        if let Err(error) = dir.sync_dir(&dir.shard_path(self.id)) {
            store.catalog().halt(format!("a pack may not be durable: {error}"));
            return Err(error);
        }
        let (key, vault, copies) = (self.key, self.vault, std::mem::take(&mut self.copies));
        store.catalog().write_on_reserve(|tx| {
            packs::seal(tx, key, &finished.file, copies.len(), now)?;
            collection::index_now(tx, vault, key, copies)
        })
    }
}

impl Drop for Target {
    /// Cleans up what will never be a pack. Best effort: recovery does the same at the next start.
    fn drop(&mut self) {
        if self.is_published || std::thread::panicking() || self.store.halted().is_some() {
            return;
        }
        if let Some(path) = &self.path {
            drop(self.store.dir().remove(path));
        }
        let key = self.key;
        drop(self.store.catalog().write_on_reserve(|tx| packs::forget_intents(tx, &[key])));
    }
}
