//! [`Tally`]: what is kept of a pack. Taken from the index; heads are read only where records hold several objects.

use std::collections::HashMap;

use object::ObjectId;

use crate::catalog::collection::{self, PackFacts, Wait};
use crate::catalog::objects::{Copies, Copy, preference};
use crate::catalog::packs::PackState;
use crate::gc::census::{Census, CensusTaker, Traits};
use crate::gc::delete::rule;
use crate::gc::{Found, GcAction, GcPhase, GcPlan, GcRefusal, PAGE_LEN, Shared, Stop};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::pack::PackFault;
use crate::{Store, StoreError, UnixMs};

/// A pack is small that is shorter than this part of what packs are meant to be, and alike are those of which the longest is
/// less than so many times as long as the shortest.
const SMALL_SHARE: u64 = 8;
/// Most objects stored twice over that one collection looks after.
const DOUBLED_MAX: usize = 1 << 16;

/// What is kept of a pack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) facts: PackFacts,
    /// Copies in it.
    pub(super) copies: u64,
    /// Copies of objects that are kept: with one, the pack is.
    pub(super) kept_copies: u64,
    /// Copies that are the best of an object that is kept.
    pub(super) live_copies: u64,
    /// Bytes of records with such a copy. Too much where records hold several objects, until [`refine`].
    pub(super) live_bytes: u64,
    /// No record can be left out: what is not needed shares its record with what is, and moving them gains nothing.
    pub(super) is_tight: bool,
    /// What would be done with it.
    pub(super) plan: Option<GcAction>,
}

impl Tally {
    pub(super) fn new(facts: PackFacts) -> Self {
        Self { facts, copies: 0, kept_copies: 0, live_copies: 0, live_bytes: 0, is_tight: false, plan: None }
    }

    /// Bytes that are not kept, framing included.
    fn dead_bytes(&self) -> u64 {
        self.facts.bytes.saturating_sub(self.live_bytes)
    }
}

/// Takes a vault's census from the index; `progress` is called with the number of objects so far and may stop it.
pub(super) fn take_census(
    store: &Store,
    vault: VaultKey,
    expected_count: u64,
    mut progress: impl FnMut(u64) -> Result<(), Stop>,
) -> Result<Census, Stop> {
    let mut taker = CensusTaker::new(expected_count);
    let mut count = 0;
    each_object(store, vault, |id, copies| {
        let traits = Traits {
            is_metadata: copies.iter().any(|copy| copy.form.form.kind.is_metadata()),
            has_delta: copies.iter().any(|copy| copy.form.form.is_delta),
        };
        if !taker.add(id, traits) {
            return Err(Stop::Failed(StoreError::CatalogUnusable { what: "a vault has 2^32 objects".to_owned() }));
        }
        count += 1;
        if u64::is_multiple_of(count, PAGE_LEN as u64) { progress(count) } else { Ok(()) }
    })?;
    Ok(taker.finish())
}

/// Calls `with` for each object of a vault's index, in the order of ids, with all its rows.
fn each_object(
    store: &Store,
    vault: VaultKey,
    mut with: impl FnMut(HalfId, &[Copy]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut after: Option<Copy> = None;
    let mut pending: Vec<Copy> = Vec::new();
    loop {
        let page = store.catalog().read(|catalog| collection::index_page(catalog, vault, after.as_ref(), PAGE_LEN))?;
        let is_last = page.len() < PAGE_LEN;
        after = page.last().copied().or(after);
        pending.extend(page);
        // The last object's rows may go on in the next page.
        let whole_len = if is_last {
            pending.len()
        } else {
            let last = pending[pending.len() - 1].id;
            pending.partition_point(|copy| copy.id < last)
        };
        for copies in pending[..whole_len].chunk_by(|a, b| a.id == b.id) {
            with(copies[0].id, copies)?;
        }
        pending.drain(..whole_len);
        if is_last {
            return Ok(());
        }
    }
}

/// Adds up what is kept of each pack.
pub(super) fn count(shared: &mut Shared<'_>, found: &mut Found) -> Result<(), Stop> {
    let (store, monitor) = (shared.store.clone(), shared.monitor);
    let Found { censuses, packs, doubled, .. } = found;
    let places: HashMap<PackKey, usize> = packs.iter().map(|tally| tally.facts.key).zip(0..).collect();
    let total = censuses.values().map(Census::len).sum();
    let mut counted: u64 = 0;
    let mut lost = 0;
    for (vault, census) in censuses.iter() {
        each_object(&store, *vault, |id, copies| {
            let is_kept = census.is_kept(&id);
            let is_readable = |copy: &&Copy| {
                let state = places.get(&copy.pack).map(|place| packs[*place].facts.state);
                matches!(state, Some(PackState::Sealed | PackState::Condemned))
                    && !copy.form.is_damaged
                    && !store.is_absent(copy.pack)
            };
            let best = copies.iter().filter(is_readable).min_by_key(|copy| {
                let condemned = packs[places[&copy.pack]].facts.state == PackState::Condemned;
                preference(copy.form.form, condemned, copy.pack, copy.span)
            });
            let best = best.filter(|_| is_kept).copied();
            lost += u64::from(is_kept && best.is_none());
            for copy in copies {
                let Some(tally) = places.get(&copy.pack).map(|place| &mut packs[*place]) else { continue };
                tally.copies += 1;
                tally.kept_copies += u64::from(is_kept);
                if best == Some(*copy) {
                    tally.live_copies += 1;
                    tally.live_bytes += u64::from(copy.span.len);
                }
            }
            if best.is_some_and(|best| !best.form.form.is_delta)
                && copies.iter().any(|copy| copy.form.form.is_delta)
                && doubled.len() < DOUBLED_MAX
            {
                doubled.push((*vault, id));
            }
            counted += 1;
            if counted.is_multiple_of(PAGE_LEN as u64) {
                monitor.progress(GcPhase::Tally, counted, total);
                if monitor.is_stopped() {
                    return Err(Stop::Refused(GcRefusal::Stopped));
                }
            }
            Ok(())
        })?;
    }
    shared.report.objects_live = censuses.values().map(Census::kept_count).sum();
    shared.report.objects_dead = total - shared.report.objects_live;
    shared.report.objects_lost = lost;
    Ok(())
}

/// Decides what to do with each pack, and whether that is too much.
pub(super) fn plan(shared: &mut Shared<'_>, found: &mut Found) -> Result<(), Stop> {
    refine(shared, found);
    for tally in &mut found.packs {
        tally.plan = match (tally.facts.state, tally.kept_copies) {
            (PackState::Sealed, 0) if tally.facts.is_indexed && tally.facts.touched_epoch < found.epoch => {
                Some(GcAction::Condemn)
            }
            (PackState::Condemned, 0) => Some(GcAction::Delete),
            (PackState::Condemned, _) => Some(GcAction::Reprieve),
            _ => None,
        };
    }
    plan_repacks(shared.options.waste_percent_max, found);
    plan_joins(shared.options.join_count_min, shared.store.options().pack_target_bytes, found);
    let sealed = || found.packs.iter().filter(|tally| tally.facts.state == PackState::Sealed);
    let stored_bytes: u64 = sealed().map(|tally| tally.facts.bytes).sum();
    let dead_bytes: u64 = sealed().filter(|tally| tally.plan.is_some()).map(Tally::dead_bytes).sum();
    let percent_max = shared.options.loss_percent_max;
    let is_much = u128::from(dead_bytes) * 100 > u128::from(stored_bytes) * u128::from(percent_max);
    if is_much { shared.ask(GcRefusal::TooMuch { dead_bytes, stored_bytes, percent_max }) } else { Ok(()) }
}

/// Chooses the emptiest packs, until the waste in the others is little enough.
fn plan_repacks(waste_percent_max: u8, found: &mut Found) {
    let epoch = found.epoch;
    let is_candidate = |tally: &Tally| tally.facts.state == PackState::Sealed && tally.kept_copies > 0;
    let mut bytes: u64 = found.packs.iter().filter(|tally| is_candidate(tally)).map(|tally| tally.facts.bytes).sum();
    let mut waste: u64 = found.packs.iter().filter(|tally| is_candidate(tally)).map(Tally::dead_bytes).sum();
    let mut order: Vec<&mut Tally> = found
        .packs
        .iter_mut()
        .filter(|tally| is_candidate(tally) && tally.facts.is_indexed && tally.facts.touched_epoch < epoch)
        .filter(|tally| tally.live_copies < tally.copies && !tally.is_tight)
        .collect();
    // Emptiest first: a.live / a.bytes < b.live / b.bytes.
    order.sort_by(|a, b| {
        let share = |this: &Tally, other: &Tally| u128::from(this.live_bytes) * u128::from(other.facts.bytes);
        share(a, b).cmp(&share(b, a)).then(a.facts.key.cmp(&b.facts.key))
    });
    for tally in order {
        if u128::from(waste) * 100 <= u128::from(bytes) * u128::from(waste_percent_max) {
            return;
        }
        waste -= tally.dead_bytes();
        bytes -= tally.dead_bytes();
        tally.plan = Some(GcAction::Repack);
    }
}

/// Joins packs that many small commits left. Only those of about the same length are joined, so the next length takes eight
/// times as many, and a record moves a few times at most until its pack is long enough.
fn plan_joins(count_min: usize, pack_target_len: u64, found: &mut Found) {
    let epoch = found.epoch;
    let mut alike: HashMap<_, Vec<&mut Tally>> = HashMap::new();
    for tally in &mut found.packs {
        let facts = tally.facts;
        let is_small = facts.bytes < pack_target_len / SMALL_SHARE;
        let is_free = facts.is_indexed && facts.touched_epoch < epoch && tally.plan.is_none();
        if facts.state == PackState::Sealed && is_small && is_free {
            let tier = facts.bytes.max(1).ilog2() / SMALL_SHARE.ilog2();
            alike.entry((facts.vault, facts.class, tier)).or_default().push(tally);
        }
    }
    for tally in alike.into_values().filter(|alike| alike.len() >= count_min).flatten() {
        tally.plan = Some(GcAction::Repack);
    }
}

/// Counts records instead of objects where records hold several and some are dead. A pack that cannot be read keeps its
/// estimate: repacking it finds out.
fn refine(shared: &Shared<'_>, found: &mut Found) {
    let total = found.packs.len();
    for index in 0..total {
        shared.monitor.progress(GcPhase::Tally, index as u64, total as u64);
        let tally = found.packs[index];
        let is_doubtful = tally.facts.record_count < tally.facts.object_count
            && (1..tally.copies).contains(&tally.live_copies)
            && tally.facts.state == PackState::Sealed;
        if is_doubtful && let Ok((live_bytes, record_bytes)) = live_record_bytes(&shared.store, found, tally) {
            found.packs[index].live_bytes = live_bytes;
            found.packs[index].is_tight = live_bytes == record_bytes;
        }
    }
}

/// Bytes of the records of a pack that a repack would move, and of all its records.
fn live_record_bytes(store: &Store, found: &Found, tally: Tally) -> Result<(u64, u64), StoreError> {
    let Tally { facts, kept_copies, live_copies, .. } = tally;
    let pack = store.packs().get(facts.key, store.dir(), store.catalog())?;
    let fault = |fault: PackFault| crate::pack_cache::damaged(pack.header().pack, 0, &fault);
    let (mut live_bytes, mut record_bytes) = (0, 0);
    for span in pack.spans().map_err(fault)?.1 {
        let head = pack.head(span).map_err(fault)?;
        let members = object::Record::parse_head(&head)?.members().map(|member| member.id);
        let mut kept: Vec<ObjectId> = members.filter(|id| found.is_kept(facts.vault, &half(id))).collect();
        kept.sort_unstable();
        kept.dedup();
        let is_best = |copies: &Copies| copies.best().is_some_and(|best| (best.pack, best.span) == (facts.key, span));
        // Only where some have a better copy elsewhere the index has to be asked again.
        let is_live = match live_copies == kept_copies {
            true => !kept.is_empty(),
            false => store.locate(facts.vault, &kept)?.iter().any(is_best),
        };
        if is_live {
            live_bytes += u64::from(span.len);
        }
        record_bytes += u64::from(span.len);
    }
    Ok((live_bytes, record_bytes))
}

/// What would be done with which pack.
pub(super) fn plans(shared: &Shared<'_>, found: &Found, now: UnixMs) -> Result<Vec<GcPlan>, StoreError> {
    let rule = rule(&shared.options, found.epoch, now);
    shared.store.catalog().read(|catalog| {
        let planned = found.packs.iter().filter_map(|tally| Some((tally, tally.plan?)));
        let plans = planned.map(|(tally, plan)| {
            let Tally { facts, live_bytes, .. } = tally;
            let action = match plan {
                GcAction::Delete => match collection::wait_of(catalog, facts.key, &rule)? {
                    Some(Wait::Grace) => GcAction::WaitForGrace,
                    Some(Wait::Session) => GcAction::WaitForSession,
                    Some(Wait::Backup) => GcAction::WaitForBackup,
                    _ => GcAction::Delete,
                },
                plan => plan,
            };
            let pack = collection::pack_id(catalog, facts.key)?;
            Ok(GcPlan { pack, action, bytes: facts.bytes, live_bytes: *live_bytes })
        });
        plans.collect()
    })
}
