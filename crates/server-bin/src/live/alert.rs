//! [`Health`]: what is wrong, in plain words with what to do, and how each device's backups are doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use store::{Account, Device, Store, StoreError, UnixMs};
use utoipa::ToSchema;

use crate::clock;
use crate::live::{Activity, ActivityKind, DeviceName, Viewer};
use crate::metrics::{MEMORY_ADVICE, memory_doubt};
use crate::service::Service;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Times of backups that tell what is usual.
const TIMES_LOOKED_AT: u64 = 9;
/// With fewer nobody knows what is usual.
const TIMES_MIN: usize = 3;
/// A device of which nobody knows what is usual is overdue after this.
const OVERDUE_DEFAULT_MS: i64 = 7 * DAY_MS;
/// No device is overdue earlier: a night, and a bit.
const OVERDUE_MIN_MS: i64 = 26 * HOUR_MS;
/// So many times what is usual.
const OVERDUE_FACTOR: i64 = 3;
/// Less than so many times the room that is kept free is nearly full.
const NEARLY_FULL_FACTOR: u64 = 5;
/// Nor are lost objects counted further.
const LOST_COUNTED_MAX: u64 = 10_000;
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Alert {
    pub(crate) kind: AlertKind,
    /// Whether bytes may be lost, or nothing is backed up, until somebody does something.
    is_urgent: bool,
    /// Whose it is; none: the server's.
    account: Option<String>,
    /// The device's id.
    device: Option<String>,
    /// What is wrong, for people.
    pub(crate) text: String,
    /// What to do.
    advice: String,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AlertKind {
    /// The store has stopped writing.
    Halted,
    /// The catalog was older than the packs: nothing is deleted.
    DeletionLatched,
    /// Something that is stored cannot be read.
    Damaged,
    /// No room for more.
    DiskFull,
    /// Nearly none.
    DiskNearlyFull,
    /// The clock is not believed.
    ClockDoubtful,
    /// What came was not what was sent, several times.
    MemoryDoubtful,
    /// Devices wait for an administrator.
    DevicesSuspended,
    /// A snapshot keeps unusually little of the one before.
    ChangeUnusual,
    /// A device has not backed up for unusually long.
    BackupOverdue,
    /// An account has nearly used its quota.
    QuotaNearlyUsed,
}

/// How a device's backups are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeviceState {
    /// As usual.
    Ok,
    /// It has not backed up yet.
    New,
    /// It has not backed up for unusually long.
    Overdue,
    /// It waits for an administrator.
    Suspended,
}

/// A device that is not revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DeviceHealth {
    id: String,
    name: String,
    account: String,
    is_connected: bool,
    /// Milliseconds since 1970.
    last_seen_ms: Option<u64>,
    last_backup_ms: Option<u64>,
    /// What is usual between two of its backups, in milliseconds, once there are enough to tell.
    usual_interval_ms: Option<u64>,
    state: DeviceState,
}

/// How the server and its devices are doing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// What is wrong, the worst first.
    pub(crate) alerts: Vec<Alert>,
    /// The devices, by account and age.
    pub(crate) devices: Vec<DeviceHealth>,
}

impl Health {
    /// Looks after everything that `viewer` may know. Asks the catalog a few times for each device.
    ///
    /// # Errors
    /// When the catalog fails.
    pub(crate) fn look(service: &Service, viewer: Viewer, now: UnixMs) -> Result<Self, StoreError> {
        let found = findings(service, now)?;
        let seen = |account: &Option<Account>| viewer.sees(account.as_ref().map(|account| account.id));
        let alerts = found.alerts.into_iter().filter(|(account, _)| seen(account)).map(|(_, alert)| alert);
        let devices = found.devices.into_iter().filter(|(account, _)| viewer.sees(Some(account.id)));
        let mut alerts: Vec<Alert> = alerts.collect();
        alerts.sort_by_key(|alert| !alert.is_urgent);
        Ok(Self { alerts, devices: devices.map(|(_, device)| device).collect() })
    }
}

#[derive(Default)]
struct Findings {
    alerts: Vec<(Option<Account>, Alert)>,
    devices: Vec<(Account, DeviceHealth)>,
}

impl Findings {
    fn add(
        &mut self,
        account: Option<&Account>,
        device: Option<&Device>,
        alert: (AlertKind, bool),
        words: [String; 2],
    ) {
        let ((kind, is_urgent), [text, advice]) = (alert, words);
        let device = device.map(|device| device.id.to_string());
        let name = account.map(|account| account.name.clone());
        self.alerts.push((account.cloned(), Alert { kind, is_urgent, account: name, device, text, advice }));
    }
}

fn findings(service: &Service, now: UnixMs) -> Result<Findings, StoreError> {
    let store = &service.home.store;
    let mut found = Findings::default();
    look_at_server(store, &mut found)?;
    if let Some(doubt) = memory_doubt(service.metrics.hash_mismatches.get()) {
        let words = [format!("{doubt}."), format!("Somebody should {MEMORY_ADVICE}.")];
        found.add(None, None, (AlertKind::MemoryDoubtful, true), words);
    }
    let connected = service.board.devices();
    let mut unusual = BTreeMap::new();
    for chain in store.retained_chains()? {
        if let Some(alarm) = chain.alarm {
            unusual.entry(chain.device.to_string()).or_insert_with(Vec::new).push((chain.name, alarm.what));
        }
    }
    for account in store.accounts()? {
        if account.disabled.is_some() {
            continue;
        }
        look_at_quota(store, &account, &mut found)?;
        for device in store.devices(account.id)?.into_iter().filter(|device| device.revoked.is_none()) {
            for (chain, what) in unusual.remove(&device.id.to_string()).unwrap_or_default() {
                let text = format!("The last snapshot of {} ({chain}) is unusual: {what}.", device.name);
                let advice = "Look at the machine: this is how encryption by ransomware looks. If all is well, say \
                              `backup-server retention confirm-change`; until then nothing older goes.";
                let alert = (AlertKind::ChangeUnusual, true);
                found.add(Some(&account), Some(&device), alert, [text, advice.to_owned()]);
            }
            let health = look_at_device(store, (&account, &device), connected.contains(&device.id), now, &mut found)?;
            found.devices.push((account.clone(), health));
        }
    }
    Ok(found)
}

fn look_at_server(store: &Store, found: &mut Findings) -> Result<(), StoreError> {
    let mut add = |kind, is_urgent, text: String, advice: &str| {
        found.add(None, None, (kind, is_urgent), [text, advice.to_owned()]);
    };
    if let Some(reason) = store.halted() {
        let advice = "Look after the disk, then start the server again: it recovers by itself.";
        add(AlertKind::Halted, true, format!("The store has stopped: {reason}."), advice);
    }
    if let Some(reason) = store.read_only() {
        let text = format!("The store takes nothing in any more: {reason}.");
        let advice = "Restores work. Look after the disk, then start the server again.";
        add(AlertKind::Halted, true, text, advice);
    }
    if let Some(reason) = store.deletion_latch() {
        let text = format!("Nothing is deleted, because the catalog may be old: {reason}.");
        let advice = "Stop the server and run `backup-server reindex`: it rebuilds the catalog from the packs.";
        add(AlertKind::DeletionLatched, true, text, advice);
    }
    let status = store.status()?;
    let lost = store.lost_objects(LOST_COUNTED_MAX)?;
    let bad: u64 = status.packs.iter().filter(|totals| totals.state == store::PackState::Bad).map(|t| t.packs).sum();
    if lost > 0 || bad > 0 {
        let text = format!("Something that is stored cannot be read. Objects lost: {lost}, packs damaged: {bad}.");
        let advice = "Run `backup-server verify`: it names the files. The next backup brings back what its source still \
                      has; `backup-server repair` sets damaged packs aside.";
        add(AlertKind::Damaged, true, text, advice);
    }
    let kept = store.kept_free_bytes();
    let room = "Make room on the disk of the data directory, or let retention keep less.";
    if status.free_bytes < kept {
        add(AlertKind::DiskFull, true, "The disk is full: no backup is taken in.".to_owned(), room);
    } else if status.free_bytes - kept < kept.saturating_mul(NEARLY_FULL_FACTOR) {
        let left = mebibytes(status.free_bytes - kept);
        add(AlertKind::DiskNearlyFull, false, format!("The disk is nearly full: {left} are left."), room);
    }
    if let Some(doubt) = store.clock_doubt()? {
        let advice = "Set the clock right. If it is right now, say `backup-server retention confirm-clock`; until then \
                      nothing goes by its age.";
        add(AlertKind::ClockDoubtful, false, format!("The clock is not believed: {doubt}."), advice);
    }
    if status.suspended_devices > 0 {
        let text = format!("Devices kept out because an older catalog knows them: {}.", status.suspended_devices);
        let advice = "Look at `backup-server device list`, revoke those that should be, then say `backup-server device \
                      confirm`.";
        add(AlertKind::DevicesSuspended, true, text, advice);
    }
    Ok(())
}

fn look_at_quota(store: &Store, account: &Account, found: &mut Findings) -> Result<(), StoreError> {
    let Some(quota) = account.quota_bytes else { return Ok(()) };
    let used = store.quota_use(account.id)?.used_bytes;
    if used < quota - quota / 10 {
        return Ok(());
    }
    let (used, quota) = (mebibytes(used), mebibytes(quota));
    let text = format!("{} has used {used} of its quota of {quota}.", account.name);
    let advice = "Forget snapshots or remove files that are not needed, or ask an administrator for a larger quota.";
    found.add(Some(account), None, (AlertKind::QuotaNearlyUsed, false), [text, advice.to_owned()]);
    Ok(())
}

fn look_at_device(
    store: &Store,
    (account, device): (&Account, &Device),
    is_connected: bool,
    now: UnixMs,
    found: &mut Findings,
) -> Result<DeviceHealth, StoreError> {
    let times = store.backup_times(device.id, TIMES_LOOKED_AT)?;
    let pace = Pace::of(&times);
    let last = times.first().copied();
    let age_ms = now.0.saturating_sub(last.unwrap_or(device.created).0);
    let state = match last {
        _ if device.is_suspended => DeviceState::Suspended,
        _ if age_ms > pace.overdue_after_ms => DeviceState::Overdue,
        None => DeviceState::New,
        Some(_) => DeviceState::Ok,
    };
    if state == DeviceState::Overdue {
        let usual = pace.usual_ms.map(|usual| format!("; usually it does every {}", span(usual))).unwrap_or_default();
        let text = match last {
            Some(_) => format!("{} has not backed up for {}{usual}.", device.name, span(age_ms)),
            None => format!("{} was enrolled {} ago and has not backed up yet.", device.name, span(age_ms)),
        };
        let advice = "Switch the machine on and run `backup-client backup` there: it tells what is wrong. If the machine \
                      is gone, revoke the device; its snapshots stay.";
        found.add(Some(account), Some(device), (AlertKind::BackupOverdue, false), [text, advice.to_owned()]);
    }
    Ok(DeviceHealth {
        id: device.id.to_string(),
        name: device.name.clone(),
        account: account.name.clone(),
        is_connected,
        last_seen_ms: device.last_seen.map(clock::wire_ms),
        last_backup_ms: last.map(clock::wire_ms),
        usual_interval_ms: pace.usual_ms.and_then(|usual| u64::try_from(usual).ok()),
        state,
    })
}

/// How often a device backs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// The median of the times between its last backups.
    usual_ms: Option<i64>,
    overdue_after_ms: i64,
}

impl Pace {
    /// Of the times of its last backups, the newest first.
    fn of(times: &[UnixMs]) -> Self {
        if times.len() < TIMES_MIN {
            return Self { usual_ms: None, overdue_after_ms: OVERDUE_DEFAULT_MS };
        }
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[0].0.saturating_sub(pair[1].0)).collect();
        gaps.sort_unstable();
        let usual = gaps[gaps.len() / 2];
        let overdue_after_ms = usual.saturating_mul(OVERDUE_FACTOR).max(OVERDUE_MIN_MS);
        Self { usual_ms: Some(usual), overdue_after_ms }
    }
}

/// A span of time in the largest unit of which it has two or more.
fn span(ms: i64) -> String {
    for (len, name) in [(DAY_MS, "days"), (HOUR_MS, "hours")] {
        if ms >= 2 * len {
            return format!("{} {name}", ms / len);
        }
    }
    format!("{} minutes", (ms / MINUTE_MS).max(1))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Looks now and then until the server stops, and tells when something begins to be wrong, and when it is not any more.
pub(crate) async fn watch(service: Arc<Service>) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: Vec<(Option<Account>, Alert)> = Vec::new();
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let looking = Arc::clone(&service);
        match service.pool.run(move || findings(&looking, clock::now())).await {
            Ok(Ok(found)) => {
                tell_changes(&service, &known, &found.alerts);
                known = found.alerts;
            }
            Ok(Err(error)) => tracing::warn!(%error, "it is not known whether all is well"),
            Err(error) => tracing::error!(%error, "looking whether all is well failed"),
        }
    }
}

fn tell_changes(service: &Service, before: &[(Option<Account>, Alert)], now: &[(Option<Account>, Alert)]) {
    // Its words change as time goes on; what it is about does not.
    let has = |all: &[(Option<Account>, Alert)], alert: &Alert| {
        let same =
            |other: &Alert| (other.kind, &other.account, &other.device) == (alert.kind, &alert.account, &alert.device);
        all.iter().any(|(_, other)| same(other))
    };
    let tell = |kind, (account, alert): &(Option<Account>, Alert)| {
        let account = account.as_ref().map(|account| (account.id, account.name.clone()));
        let device = alert.device.as_ref().and_then(|id| id.parse().ok());
        let device = device.map(|id| DeviceName { id, name: String::new() });
        service.feed.push(Activity { account, device, ..Activity::of_server(kind, alert.text.clone()) });
    };
    now.iter().filter(|(_, alert)| !has(before, alert)).for_each(|new| tell(ActivityKind::Alert, new));
    before.iter().filter(|(_, alert)| !has(now, alert)).for_each(|over| tell(ActivityKind::AlertOver, over));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdue_depends_on_what_is_usual() {
        let every = |hours: i64| (0..5).map(|index| UnixMs(-index * hours * HOUR_MS)).collect::<Vec<_>>();
        let after_hours = |times: &[UnixMs]| Pace::of(times).overdue_after_ms / HOUR_MS;
        assert_eq!(after_hours(&every(24)), 72);
        assert_eq!(after_hours(&every(7 * 24)), 21 * 24);
        assert_eq!(after_hours(&every(1)), 26, "a laptop sleeps at night");
        assert_eq!(after_hours(&every(24)[..2]), 7 * 24, "nobody knows yet");
        // One that was done by hand in between does not change what is usual.
        let mut times = every(24);
        times.insert(1, UnixMs(-HOUR_MS));
        assert_eq!(Pace::of(&times).usual_ms, Some(24 * HOUR_MS));
    }

    #[test]
    fn spans_are_told_in_words() {
        for (ms, expected) in
            [(0, "1 minutes"), (119 * MINUTE_MS, "119 minutes"), (47 * HOUR_MS, "47 hours"), (5 * DAY_MS, "5 days")]
        {
            assert_eq!(span(ms), expected);
        }
    }
}
