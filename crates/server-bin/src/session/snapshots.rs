//! What a device may do to its snapshots, and report of them.

use object::{ObjectId, VaultId};
use proto::{ChangeKind, Changed, DrillReport, FailCode, Failure};
use store::{DeviceId, Drill, IdempotencyKey, StoreError};

use crate::audit::Event;
use crate::clock;
use crate::retention::Policy;
use crate::service::Service;
use crate::session::login::Client;
use crate::session::refusal;

/// Makes a change to a device's own snapshots.
pub(super) fn change(
    service: &Service,
    vault: VaultId,
    client: &Client,
    change: &proto::SnapshotChange,
) -> Result<Changed, Failure> {
    let (store, device) = (&service.home.store, client.device);
    let now = clock::now();
    let rule = |policy: Option<&str>| Policy::forget_rule(policy, now);
    let kind = match change.kind {
        ChangeKind::Forget => {
            check_clock(service)?;
            store::SnapshotChange::Forget(&rule)
        }
        ChangeKind::Undelete => store::SnapshotChange::Undelete,
        ChangeKind::Hold => store::SnapshotChange::Hold,
        ChangeKind::Unhold => store::SnapshotChange::Unhold,
    };
    let ids: Vec<ObjectId> = change.snapshots.iter().collect();
    let key = IdempotencyKey::from_bytes(*change.key.as_bytes());
    let changed = store.change_snapshots(vault, Some(device), key, &ids, kind, now);
    let changed = changed.map_err(|error| failed(service, "changing snapshots", &error))?;
    let event = match change.kind {
        ChangeKind::Forget => Event::SnapshotsTrashed,
        ChangeKind::Undelete | ChangeKind::Hold | ChangeKind::Unhold => Event::SnapshotsKept,
    };
    let what = match change.kind {
        ChangeKind::Forget => "forgotten",
        ChangeKind::Undelete => "brought back",
        ChangeKind::Hold => "held",
        ChangeKind::Unhold => "held no more",
    };
    client.actor.note(store, event, &client.device_name, &format!("{} {what}", changed.count));
    Ok(answer(changed))
}

/// Keeps what a device found when it restored a sample.
pub(super) fn record_drill(
    service: &Service,
    vault: VaultId,
    device: DeviceId,
    report: &DrillReport,
) -> Result<Changed, Failure> {
    let DrillReport { key, snapshot, files, bytes, problems, duration_ms } = *report;
    let drill = Drill { files, bytes, problems, duration_ms };
    let key = IdempotencyKey::from_bytes(*key.as_bytes());
    let recorded = service.home.store.record_drill(vault, device, key, &snapshot, &drill, clock::now());
    let recorded = recorded.map_err(|error| failed(service, "recording a drill", &error))?;
    tracing::info!(%device, snapshot = %snapshot.short(), files, problems, "drill reported");
    Ok(answer(recorded))
}

/// Age means nothing while the clock may be wrong.
fn check_clock(service: &Service) -> Result<(), Failure> {
    let doubt = service.home.store.watch_clock(&clock::reading());
    match doubt.map_err(|error| failed(service, "looking at the clock", &error))? {
        None => Ok(()),
        Some(doubt) => {
            tracing::warn!(doubt, "nothing is forgotten until the clock is confirmed");
            let message = "the server's clock is in doubt, and its administrator has to confirm it first";
            Err(Failure::new(FailCode::Conflict, message))
        }
    }
}

fn answer(changed: store::Changed) -> Changed {
    Changed { server_time_ms: clock::wire_ms(changed.at), count: changed.count }
}

fn failed(service: &Service, doing: &'static str, error: &StoreError) -> Failure {
    service.note(error);
    refusal::of_store(doing, error)
}
