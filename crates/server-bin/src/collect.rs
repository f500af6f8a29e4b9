//! Collecting garbage on this data directory: by schedule in a running server, or because somebody asked.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{GcMonitor, GcOptions, GcPhase, GcReport, StoreError};

use crate::audit::{Actor, Event};
use crate::catalog_backup;
use crate::clock;
use crate::home::Home;
use crate::housekeeping;
use crate::jobs;
use crate::live::{Activity, ActivityKind};
use crate::release;
use crate::service::Service;

/// The first collection of a server that was just started, unless collections are more frequent: a server that is
/// started every day collects too.
const FIRST_AFTER: Duration = Duration::from_secs(15 * 60);
/// Progress is told this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// While clients are connected, every stretch of work is followed by a rest so many times as long: they come first.
const REST_FACTOR: u32 = 3;
const REST_MAX: Duration = Duration::from_secs(1);

/// How to collect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Look again at once at what was found dead, and do what is unusual too.
    pub(crate) is_now: bool,
    /// Only tell.
    pub(crate) is_dry_run: bool,
    /// Instead of the setting.
    pub(crate) grace: Option<Duration>,
}

/// Tells of progress now and then, rests while others work, and stops when it should.
struct Teller<'a, P: FnMut(GcPhase, u64, u64)> {
    told: RefCell<(Instant, P)>,
    rested: Cell<Instant>,
    /// The server it runs in, if one runs, and whether it is to end before its time.
    live: Option<(&'a Service, &'a dyn Fn() -> bool)>,
}

impl<'a, P: FnMut(GcPhase, u64, u64)> Teller<'a, P> {
    fn new(progress: P, live: Option<(&'a Service, &'a dyn Fn() -> bool)>) -> Self {
        let now = Instant::now();
        Self { told: RefCell::new((now, progress)), rested: Cell::new(now), live }
    }

    fn rest(&self) {
        if self.live.is_some_and(|(service, _)| service.metrics.clients.get() > 0) && !self.is_stopped() {
            std::thread::sleep((self.rested.get().elapsed() * REST_FACTOR).min(REST_MAX));
        }
        self.rested.set(Instant::now());
    }
}

impl<P: FnMut(GcPhase, u64, u64)> GcMonitor for Teller<'_, P> {
    fn progress(&self, phase: GcPhase, done: u64, total: u64) {
        let (last, tell) = &mut *self.told.borrow_mut();
        if last.elapsed() >= PROGRESS_INTERVAL {
            *last = Instant::now();
            tell(phase, done, total);
        }
        self.rest();
    }

    fn is_stopped(&self) -> bool {
        self.live.is_some_and(|(_, is_stopped)| is_stopped())
    }
}

/// Collects, on its own or in a running server; returns a report for each cycle: one, or two when what the first found dead
/// may go at once.
///
/// # Errors
/// As [`store::Store::collect_garbage`].
pub(crate) fn collect(
    home: &Home,
    request: Request,
    progress: impl FnMut(GcPhase, u64, u64),
    live: Option<(&Service, &dyn Fn() -> bool)>,
) -> Result<Vec<GcReport>, StoreError> {
    let store = &home.store;
    let grace = request.grace.unwrap_or(home.settings.gc_grace);
    let mut options = GcOptions::default();
    options.grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    options.waste_percent_max = home.settings.gc_waste;
    options.allow_unusual = request.is_now;
    options.is_dry_run = request.is_dry_run;
    options.deletion_hold = store.clock_doubt()?;
    options.catalog_backup = Some(newest_backup(home));
    if !request.is_dry_run {
        // Sessions that nobody comes back to keep nothing any longer.
        housekeeping::sweep(store, &home.settings)?;
    }
    let teller = Teller::new(progress, live);
    let first = store.collect_garbage(&options, &teller, clock::now())?;
    back_up_catalog(home, &first);
    let released = release_bases(home, &first, &|| teller.is_stopped());
    let is_more = first.packs_condemned + first.packs_repacked + released > 0 && first.refusals.is_empty();
    tell_audit(home, &first);
    let mut reports = vec![first];
    if request.is_now && !request.is_dry_run && is_more && grace.is_zero() {
        options.catalog_backup = Some(newest_backup(home));
        let second = store.collect_garbage(&options, &teller, clock::now())?;
        back_up_catalog(home, &second);
        tell_audit(home, &second);
        reports.push(second);
    }
    Ok(reports)
}

/// Generation of the newest backup of the catalog: what was condemned later stays, so that whoever puts that backup back
/// still finds the packs it names.
fn newest_backup(home: &Home) -> u64 {
    let backups = catalog_backup::list(&home.settings.data_dir).unwrap_or_else(|failure| {
        tracing::warn!(report = failure.report(), "backups of the catalog cannot be listed");
        Vec::new()
    });
    backups.iter().map(|backup| backup.generation).max().unwrap_or(0)
}

/// Stores whole what frees more than it takes; how many objects. Where that fails, another collection tries again.
fn release_bases(home: &Home, report: &GcReport, is_stopped: &dyn Fn() -> bool) -> u64 {
    if report.is_dry_run || !report.refusals.is_empty() {
        return 0;
    }
    let stored = release::store_whole(home, &report.releases, is_stopped);
    let objects = stored.unwrap_or_else(|failure| {
        tracing::warn!(report = failure.report(), "bases of deltas are kept");
        0
    });
    if objects > 0 {
        tracing::info!(objects, "stored whole, so that what they stood on can go");
    }
    objects
}

/// Backs the catalog up when a collection changed which packs there are. Where that fails, the next deletion waits.
fn back_up_catalog(home: &Home, report: &GcReport) {
    let is_changed = report.packs_condemned + report.packs_repacked + report.packs_deleted > 0;
    if is_changed
        && !report.is_dry_run
        && let Err(failure) = catalog_backup::make(home)
    {
        tracing::warn!(report = failure.report(), "the catalog is not backed up: deletion waits");
    }
}

/// Writes down when garbage was collected, and what that came to.
fn tell_audit(home: &Home, report: &GcReport) {
    if report.is_dry_run {
        return;
    }
    let reasons = report.refusals.len();
    let less = if reasons > 0 { format!("; it did less than it could for {reasons} reasons") } else { String::new() };
    let GcReport { packs_deleted, packs_condemned, bytes_freed, .. } = report;
    let detail = format!("{packs_deleted} packs deleted, {packs_condemned} are to go, {bytes_freed} bytes freed{less}");
    Actor::server().note(&home.store, Event::GarbageCollected, "", &detail);
}

/// Notes in log and metrics what a collection did.
pub(crate) fn note(reports: &[GcReport], service: Option<&Service>) {
    for report in reports.iter().filter(|report| !report.is_dry_run) {
        let GcReport { packs_condemned, packs_deleted, packs_repacked, bytes_freed, bytes_moved, .. } = *report;
        tracing::info!(packs_condemned, packs_deleted, packs_repacked, bytes_freed, bytes_moved, "garbage collected");
        for refusal in &report.refusals {
            tracing::warn!(%refusal, "garbage collection did less than it could");
        }
        for pack in &report.packs_damaged {
            tracing::error!(%pack, "pack left as it is: something in it is damaged");
        }
        if let Some(service) = service {
            let metrics = &service.metrics;
            metrics.gc_runs.add(1);
            metrics.gc_refusals.add(report.refusals.len() as u64);
            metrics.gc_packs_deleted.add(packs_deleted);
            metrics.gc_bytes_freed.add(bytes_freed);
            metrics.gc_bytes_moved.add(bytes_moved);
            let detail = format!("{packs_deleted} packs deleted, {bytes_freed} bytes freed");
            service.feed.push(Activity::of_server(ActivityKind::Collection, detail));
        }
    }
}

/// Collects at the times that the settings say, until the server stops.
pub(crate) async fn run_by_schedule(service: Arc<Service>) {
    let interval = service.home.settings.gc_interval;
    if interval.is_zero() {
        return;
    }
    let mut wait = interval.min(FIRST_AFTER);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = interval;
        let collecting = Arc::clone(&service);
        if let Err(error) = tokio::task::spawn_blocking(move || jobs::collect_by_schedule(&collecting)).await {
            tracing::error!(%error, "collecting garbage failed");
        }
    }
}
