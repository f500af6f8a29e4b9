//! [`keep_in_step`]: the mirrors that settings name, looked after while the server runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use object::ObjectId;
use tokio::time::MissedTickBehavior;

use crate::failure::{Failure, FailureKind};
use crate::mirror::{MirrorSetting, MirroredItem, find, run};
use crate::service::Service;

/// How each mirror was when it was looked at last.
type Looked = HashMap<PathBuf, Last>;

enum Last {
    /// In step with this; nothing is to be done until it is something else.
    InStep(Vec<ObjectId>),
    /// Not in step, for this reason: it is tried again, and told of when it is another reason.
    Failed(String),
}

/// Looks after the mirrors until the server stops: at its start, and then where something new is stored.
pub(crate) async fn keep_in_step(service: Arc<Service>) {
    let settings = &service.home.settings;
    if settings.mirrors.is_empty() || settings.mirror_interval.is_zero() {
        return;
    }
    let mut interval = tokio::time::interval(settings.mirror_interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Looked::new();
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let working = Arc::clone(&service);
        // Not in the pool: it may take hours, and clients must not wait for it.
        let worked = tokio::task::spawn_blocking(move || {
            for mirror in &working.home.settings.mirrors {
                look_after(&working, mirror, &mut looked);
            }
            looked
        });
        looked = match worked.await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(%error, "looking after the mirrors failed");
                Looked::new()
            }
        };
    }
}

fn look_after(service: &Service, mirror: &MirrorSetting, looked: &mut Looked) {
    let target = mirror.target();
    let last = looked.remove(target);
    let position = match &last {
        Some(Last::InStep(position)) => Some(position),
        _ => None,
    };
    let now = match bring_in_step(service, mirror, position) {
        Ok((position, report)) => {
            if let Some(report) = report {
                let MirroredItem { written, linked, reflinked, copied, unchanged, removed, foreign, .. } = report;
                let target = target.display().to_string();
                tracing::info!(
                    target,
                    written,
                    linked,
                    reflinked,
                    copied,
                    unchanged,
                    removed,
                    foreign,
                    "mirror in step"
                );
            }
            Last::InStep(position)
        }
        // Somebody brings it in step by hand.
        Err(failure) if failure.kind() == FailureKind::InUse => return,
        Err(_) if service.stop.is_cancelled() => return,
        Err(failure) => {
            let (report, target) = (failure.report(), target.display().to_string());
            if !matches!(&last, Some(Last::Failed(before)) if *before == report) {
                tracing::warn!(target, report, "a mirror is not in step");
            }
            Last::Failed(report)
        }
    };
    looked.insert(target.to_owned(), now);
}

/// What the mirror is in step with now, and what was done for it, if anything was.
fn bring_in_step(
    service: &Service,
    mirror: &MirrorSetting,
    before: Option<&Vec<ObjectId>>,
) -> Result<(Vec<ObjectId>, Option<MirroredItem>), Failure> {
    let request = mirror.request();
    // Asked before the run, so that what changes meanwhile is seen the next time.
    let position = find(&service.home, &request.source)?.position();
    if before == Some(&position) {
        return Ok((position, None));
    }
    let is_wanted = || !service.stop.is_cancelled();
    // Names of files do not belong into the log; the command tells them.
    let report = run(&service.home, &request, &is_wanted, &mut drop)?;
    Ok((position, Some(report)))
}
