//! What a running server does by itself, now and then: it forgets rows of the catalog that have served their time, folds the
//! catalog's log while nobody writes, moves to the trash what retention lets go, and takes out of the trash what has been
//! there long enough.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Purged, ReserveStatus, Store, StoreError, Sweep, UnixMs};

use crate::audit::{Actor, Event};
use crate::clock;
use crate::config::Settings;
use crate::failure::Failure;
use crate::identity::Shown;
use crate::keeper::Keeper;
use crate::service::Service;

const INTERVAL: Duration = Duration::from_secs(3600);
const FOLDING_INTERVAL: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
/// A restore whose connection broke, and that did not come back since, is over by then.
const PIN_LIFETIME_MS: i64 = 7 * 24 * HOUR_MS;
/// A change that is asked for again within this time is known to be the same.
const ANSWER_LIFETIME_MS: i64 = 30 * 24 * HOUR_MS;
/// Kept a little longer than they are good for.
const ENROLMENT_AFTERLIFE_MS: i64 = 24 * HOUR_MS;

/// Sweeps until the server stops.
pub(crate) async fn run(service: Arc<Service>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let sweeping = Arc::clone(&service);
        let swept = service.pool.run(move || {
            look_after_reserve(&sweeping.home.store);
            sweeping.searches.sweep(Instant::now());
            let swept = sweep(&sweeping.home.store, &sweeping.home.settings);
            swept.inspect_err(|error| sweeping.note(error))
        });
        match swept.await {
            Ok(Ok(0)) => {}
            Ok(Ok(rows)) => tracing::debug!(rows, "catalog swept"),
            Ok(Err(error)) => tracing::warn!(%error, "the catalog could not be swept"),
            Err(error) => tracing::error!(%error, "sweeping the catalog failed"),
        }
    }
}

/// Folds the catalog's log while nothing is written, until the server stops.
pub(crate) async fn fold_log(service: Arc<Service>) {
    let mut interval = tokio::time::interval(FOLDING_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        if service.metrics.sessions.get() > 0 {
            continue;
        }
        let folding = Arc::clone(&service);
        match service.pool.run(move || folding.home.store.fold_log().inspect_err(|error| folding.note(error))).await {
            Ok(Ok(0)) => {}
            Ok(Ok(bytes)) => tracing::debug!(bytes, "the catalog's log is folded"),
            Ok(Err(error)) => tracing::warn!(%error, "the catalog's log could not be folded"),
            Err(error) => tracing::error!(%error, "folding the catalog's log failed"),
        }
    }
}

/// Shows the certificate that lies in `keys`, made anew in time where it is the server's own, until the server stops.
pub(crate) async fn renew_certificate(service: Arc<Service>, identity: Arc<Shown>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
            () = service.reload.notified() => {}
        }
        let (asking, shown) = (Arc::clone(&service), Arc::clone(&identity));
        let renew = move || shown.renew(&asking.home.keys_dir(), || asking.home.identity());
        match service.pool.run(renew).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => tracing::info!("the certificate is another one from now on"),
            Ok(Err(failure)) => tracing::error!(%failure, "the certificate that was there stays in use"),
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}

/// Takes the reserve again where there is room, and says so where there is not.
fn look_after_reserve(store: &Store) {
    store.refill_reserve();
    let ReserveStatus { bytes, is_held, problem } = store.reserve();
    match problem {
        _ if is_held || bytes == 0 => {}
        Some(problem) => tracing::warn!(bytes, problem, "this disk holds nothing in reserve for when it is full"),
        None => tracing::warn!(bytes, "the reserve for a full disk is in use: make room"),
    }
}

/// Looks after retention and trash until the server stops.
pub(crate) async fn keep(service: Arc<Service>) {
    let mut interval = tokio::time::interval(service.home.settings.retention_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let keeping = Arc::clone(&service);
        match service.pool.run(move || keep_once(&keeping)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(report = failure.report(), "retention did not run"),
            Err(error) => tracing::error!(%error, "retention failed"),
        }
    }
}

/// Looks after retention and trash once.
///
/// # Errors
/// [`Failure`] when nothing may go, or the catalog fails.
pub(crate) fn keep_once(service: &Service) -> Result<(), Failure> {
    let store = &service.home.store;
    let keeper = Keeper::new(store);
    if let Some(reason) = store.deletion_latch() {
        tracing::debug!(reason, "nothing goes until the catalog is rebuilt");
        return Ok(());
    }
    keeper.check_clock()?;
    let now = clock::now();
    for chain in keeper.chains(None)? {
        let (device, name) = (chain.device, &chain.name);
        // One chain that has to wait must not keep the others from going on.
        match keeper.judge(&chain, None, now).and_then(|judged| keeper.trash(&judged, false, now)) {
            Ok(0) => {}
            Ok(gone) => {
                let subject = format!("{}/{name}", chain.device_name);
                Actor::server().note(store, Event::SnapshotsTrashed, &subject, &format!("{gone} by retention"));
            }
            Err(failure) => tracing::warn!(%device, chain = ?name, report = failure.report(), "retention waits"),
        }
    }
    let purged = keeper.purge(service.home.settings.trash_delay, now).inspect_err(|error| service.note(error));
    match purged.map_err(|error| crate::home::failed("cannot purge the trash", &error))? {
        Purged { snapshots: 0, drive_nodes: 0 } => {}
        Purged { snapshots, drive_nodes } => {
            let detail = format!("{snapshots} snapshots, {drive_nodes} entries of drives");
            Actor::server().note(store, Event::TrashPurged, "", &detail);
        }
    }
    Ok(())
}

/// Forgets the rows that have served their time; how many. None while the clock is in doubt: a client that asks for the
/// same commit again would be told that it is another one.
///
/// # Errors
/// [`StoreError`] when the catalog fails.
pub(crate) fn sweep(store: &Store, settings: &Settings) -> Result<u64, StoreError> {
    match store.watch_clock(&clock::reading())? {
        None => store.sweep(&limits(settings, clock::now())),
        Some(doubt) => {
            tracing::debug!(doubt, "the catalog is not swept");
            Ok(0)
        }
    }
}

/// Which rows have served their time.
pub(crate) fn limits(settings: &Settings, now: UnixMs) -> Sweep {
    let before =
        |span: Duration| UnixMs(now.0.saturating_sub_unsigned(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)));
    Sweep {
        sessions_idle_since: before(settings.session_lifetime),
        pins_before: UnixMs(now.0 - PIN_LIFETIME_MS),
        answers_before: UnixMs(now.0 - ANSWER_LIFETIME_MS),
        enrolments_before: UnixMs(now.0 - ENROLMENT_AFTERLIFE_MS),
        web_sessions_before: (before(settings.login_lifetime), before(settings.login_idle)),
    }
}
