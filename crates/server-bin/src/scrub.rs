//! The scrub: every pack is read and checked within a day after it was written and once in a while from then on, the one that
//! waited longest first, at a bounded rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Due, PackChoice, PackReport, StoreError, UnixMs};

use crate::audit::{Actor, Event};
use crate::clock;
use crate::jobs;
use crate::live::Activity;
use crate::service::Service;

/// Time between two looks whether a pack is due.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// A pack that was written this long ago is read for the first time, unless the interval is shorter.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Packs that are asked for at a time.
const BATCH_LEN: u64 = 256;
/// What opening a pack and noting the result cost, in bytes read: the rate holds for many small packs, too.
const PACK_COST: u64 = 64 << 10;

/// Reads packs that are due until the server stops.
pub(crate) async fn run(service: Arc<Service>) {
    let interval = service.home.settings.scrub_interval;
    if interval.is_zero() {
        return;
    }
    let mut round = Round::default();
    loop {
        let scrubbing = Arc::clone(&service);
        let due = tokio::task::spawn_blocking(move || {
            scrub_due(&scrubbing, interval).inspect_err(|error| scrubbing.note(error))
        });
        let is_idle = match due.await {
            Ok(Ok((count, found))) => {
                round.add(&found);
                count < BATCH_LEN
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "a pack could not be verified");
                true
            }
            Err(error) => {
                tracing::error!(%error, "verifying a pack failed");
                true
            }
        };
        let is_damaged = round.damaged_packs > 0;
        if is_idle && let Some(activity) = round.take() {
            tell_audit(&service, activity.detail.clone()).await;
            jobs::note_scrub(&service, &activity.detail, is_damaged);
            service.feed.push(activity);
        }
        let pause = if is_idle { interval.min(LOOK_INTERVAL_MAX) } else { Duration::ZERO };
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes down when packs were verified, and what that came to.
async fn tell_audit(service: &Arc<Service>, detail: String) {
    let noting = Arc::clone(service);
    let noted = service.pool.run(move || Actor::server().note(&noting.home.store, Event::Verified, "", &detail));
    if let Err(error) = noted.await {
        tracing::error!(%error, "what was verified could not be written down");
    }
}

/// Verifies the packs that waited longest, of those that are due; how many there were, at most [`BATCH_LEN`], and what was
/// found.
fn scrub_due(service: &Service, interval: Duration) -> Result<(u64, Round), StoreError> {
    let store = &service.home.store;
    let due = PackChoice::Due(due(interval, clock::now()));
    let mut pace = Pace::new(service.home.settings.scrub_rate);
    let packs = store.packs_to_verify(due, BATCH_LEN)?;
    let mut found = Round::default();
    for (pack, _) in &packs {
        let mut rest = |bytes| {
            let pause = pace.add(bytes);
            // A server that stops does not wait for it.
            if !service.stop.is_cancelled() {
                std::thread::sleep(pause);
            }
        };
        rest(PACK_COST);
        if service.stop.is_cancelled() {
            break;
        }
        if let Some(report) = store.verify_pack(*pack, None, clock::now(), &mut rest)? {
            tell(&report);
            found.note(&report);
        }
    }
    Ok((packs.len() as u64, found))
}

/// What is due now.
fn due(interval: Duration, now: UnixMs) -> Due {
    let before = |age: Duration| UnixMs(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
    Due { verified_before: before(interval), sealed_before: before(interval.min(FIRST_AFTER_MAX)), now }
}

/// What was verified since there was nothing due.
#[derive(Debug, Default)]
struct Round {
    packs: u64,
    bytes: u64,
    damaged_packs: u64,
    lost_objects: u64,
}

impl Round {
    fn add(&mut self, other: &Self) {
        self.packs += other.packs;
        self.bytes += other.bytes;
        self.damaged_packs += other.damaged_packs;
        self.lost_objects += other.lost_objects;
    }

    fn note(&mut self, report: &PackReport) {
        self.packs += 1;
        self.bytes += report.bytes;
        self.damaged_packs += u64::from(!report.is_sound());
        self.lost_objects += report.damaged.iter().filter(|object| object.is_lost).count() as u64;
    }

    /// What is told of it, if there is anything.
    fn take(&mut self) -> Option<Activity> {
        let Self { packs, bytes, damaged_packs, lost_objects } = std::mem::take(self);
        let sums = [packs, bytes, damaged_packs, lost_objects];
        (packs > 0).then(|| Activity::of_verifying("by schedule: ", sums))
    }
}

fn tell(report: &PackReport) {
    if report.is_sound() {
        tracing::debug!(pack = %report.pack, bytes = report.bytes, "pack verified");
        return;
    }
    let lost = report.damaged.iter().filter(|object| object.is_lost).count();
    tracing::error!(
        pack = %report.pack,
        flaws = report.flaws.len(),
        damaged_objects = report.damaged.len(),
        lost_objects = lost,
        "a pack is damaged; `backup-server verify` tells which files that concerns, `repair` sets it aside"
    );
}

/// Keeps a rate: says how long to pause after some bytes.
struct Pace {
    bytes_per_second: u64,
    started: Instant,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, started: Instant::now(), bytes: 0 }
    }

    fn add(&mut self, bytes: u64) -> Duration {
        self.bytes += bytes;
        let due_ms = u128::from(self.bytes) * 1000 / u128::from(self.bytes_per_second);
        Duration::from_millis(u64::try_from(due_ms).unwrap_or(u64::MAX)).saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use object::VaultId;
    use store::{Flaw, PackId};

    use super::*;

    #[test]
    fn a_round_is_told_once() {
        let mut round = Round::default();
        assert!(round.take().is_none());
        let mut report = PackReport {
            pack: PackId::from_bytes([1; 16]),
            vault: VaultId::from_bytes([2; 16]),
            bytes: 7,
            records: 1,
            is_missing: false,
            flaws: Vec::new(),
            damaged: Vec::new(),
            unindexed: 0,
        };
        round.note(&report);
        report.flaws.push(Flaw { offset: 0, len: 1, what: String::new() });
        round.note(&report);
        let told = round.take().unwrap().detail;
        assert_eq!(told, "by schedule: 2 packs, 14 bytes; 1 packs damaged, 0 objects lost");
        assert!(round.take().is_none());
    }

    #[test]
    fn a_new_pack_is_read_within_a_day() {
        const HOUR_MS: i64 = 3_600_000;
        let now = UnixMs(1_000_000 * HOUR_MS);
        let hours_ago = |hours: i64| UnixMs(now.0 - hours * HOUR_MS);
        let check = |interval_hours: u64, sealed: i64| {
            let found = due(Duration::from_secs(interval_hours * 3600), now);
            let verified = i64::try_from(interval_hours).unwrap();
            assert_eq!(
                found,
                Due { verified_before: hours_ago(verified), sealed_before: hours_ago(sealed), now },
                "every {interval_hours} hours"
            );
        };
        check(30 * 24, 24);
        check(24, 24);
        check(2, 2);
    }

    #[test]
    fn the_pace_is_kept_over_all_bytes() {
        let mut pace = Pace::new(1 << 20);
        let first = pace.add(1 << 20);
        let second = pace.add(1 << 20);
        assert!(first <= Duration::from_secs(1) && second <= Duration::from_secs(2) && second > first);
    }
}
