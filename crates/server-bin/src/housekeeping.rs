//! What a running server does by itself, now and then: it forgets rows of the catalog that have served their time.

use std::sync::Arc;
use std::time::Duration;

use store::{Sweep, UnixMs};

use crate::clock;
use crate::service::Service;

const INTERVAL: Duration = Duration::from_secs(3600);
const HOUR_MS: i64 = 3_600_000;
/// A client that was cut off has so long to come back to what it has sent.
const SESSION_LIFETIME_MS: i64 = 7 * 24 * HOUR_MS;
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
            let swept = sweeping.home.store.sweep(&limits(clock::now()));
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

fn limits(now: UnixMs) -> Sweep {
    Sweep {
        sessions_idle_since: UnixMs(now.0 - SESSION_LIFETIME_MS),
        answers_before: UnixMs(now.0 - ANSWER_LIFETIME_MS),
        enrolments_before: UnixMs(now.0 - ENROLMENT_AFTERLIFE_MS),
    }
}
