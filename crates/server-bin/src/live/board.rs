//! [`Board`]: the transfers and connected devices of this moment.
//!
//! A transfer is put up and taken down under a lock; in between it counts with atomics and nobody waits for anybody. The
//! board has a fixed number of places; what finds none goes on unseen.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::{BackupProgress, Extent};
use serde::Serialize;
use store::{AccountId, DeviceId};
use utoipa::ToSchema;

use crate::clock;
use crate::live::{DeviceName, Viewer, shortened};
use crate::metrics::Counter;

/// Transfers on the board: some 600 bytes each.
const PLACES: usize = 1024;
/// Most that are shown at once.
const SHOWN_MAX: usize = 100;
/// A rate is that of so much time, at the least: whoever looks more often is told the one before.
const RATE_WINDOW: Duration = Duration::from_millis(900);

/// Before this, and beyond that many seconds, nobody can tell how long something takes.
const FORESIGHT_AFTER: Duration = Duration::from_secs(2);
const FORESIGHT_MAX_SECS: u64 = 30 * 86_400;

/// What a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TransferKind {
    /// A device's snapshot on its way in.
    Backup,
    /// Content of snapshots, or of the drive, on its way to a device.
    Restore,
    /// A file on its way into the drive.
    Upload,
    /// A file on its way out.
    Download,
}

/// What is known of a transfer when it begins.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) kind: TransferKind,
    pub(crate) account: AccountId,
    /// Whose it is, for people.
    pub(crate) account_name: String,
    pub(crate) device: Option<DeviceName>,
    /// Of a chain or a file.
    pub(crate) name: String,
    /// Bytes that are here from an earlier try.
    pub(crate) offset: u64,
    /// How many there will be, where that is known.
    pub(crate) total_bytes: Option<u64>,
}

#[derive(Debug)]
struct Transfer {
    number: u64,
    about: About,
    started: Instant,
    started_ms: u64,
    bytes: Counter,
    files: Counter,
    meter: Mutex<Meter>,
    said: Mutex<BackupProgress>,
}

/// The last look at how many bytes there were.
#[derive(Clone, Copy, Debug)]
struct Meter {
    at: Instant,
    bytes: u64,
    bytes_per_second: u64,
}

impl Transfer {
    fn rate(&self, bytes: u64, now: Instant) -> u64 {
        let mut meter = lock(&self.meter);
        let elapsed = now.saturating_duration_since(meter.at);
        if elapsed >= RATE_WINDOW {
            let elapsed_ms = elapsed.as_millis().max(1);
            let rate = u128::from(bytes.saturating_sub(meter.bytes)) * 1000 / elapsed_ms;
            let bytes_per_second = u64::try_from(rate).unwrap_or(u64::MAX);
            *meter = Meter { at: now, bytes, bytes_per_second };
        }
        meter.bytes_per_second
    }
}

/// A transfer of which the other side says how far it is. That is for people only: it may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Outlook {
    transfer: Arc<Transfer>,
}

impl Outlook {
    /// Takes what the other side says; where it does not know what there will be, what was expected before stays.
    pub(crate) fn say(&self, said: BackupProgress) {
        let mut kept = lock(&self.transfer.said);
        *kept = BackupProgress { expected: said.expected.or(kept.expected), ..said };
    }
}

/// Time left, in seconds, where it goes on as it went so far.
fn seconds_left(said: &BackupProgress, elapsed: Duration) -> Option<u64> {
    let expected = said.expected?;
    let by_bytes = (said.done.bytes, expected.bytes);
    let (done, total) = if expected.bytes > 0 { by_bytes } else { (said.done.files, expected.files) };
    if elapsed < FORESIGHT_AFTER || done == 0 || done >= total {
        return None;
    }
    let left = elapsed.as_millis().saturating_mul(u128::from(total - done)) / u128::from(done) / 1000;
    u64::try_from(left).ok().filter(|seconds| *seconds < FORESIGHT_MAX_SECS)
}

/// A transfer as somebody sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Shown {
    /// Stays the same while it goes on.
    number: u64,
    kind: TransferKind,
    account: String,
    /// The device's id.
    device: Option<String>,
    device_name: Option<String>,
    /// Of the chain, or of the file; none when that is nobody else's business.
    name: Option<String>,
    /// Bytes that went over the network.
    bytes: u64,
    /// How many there will be, where that is known.
    total_bytes: Option<u64>,
    /// Files that are through, where they are told apart.
    files: u64,
    /// How many there will be, as far as the device can tell.
    files_total: Option<u64>,
    /// Of a backup: bytes of files that are through, read or not, as the device says.
    source_bytes: Option<u64>,
    /// The same of how many there will be.
    source_total_bytes: Option<u64>,
    /// Of a backup: seconds left, where it goes on as it went so far.
    seconds_left: Option<u64>,
    bytes_per_second: u64,
    /// Milliseconds since 1970.
    started_ms: u64,
}

/// What goes on now.
#[derive(Debug, Default)]
pub(crate) struct Board {
    transfers: Mutex<Places>,
    devices: Mutex<HashMap<DeviceId, (AccountId, usize)>>,
}

#[derive(Debug, Default)]
struct Places {
    last_number: u64,
    taken: Vec<Arc<Transfer>>,
}

/// A transfer that goes on; taken down when dropped.
#[derive(Debug)]
pub(crate) struct Moving {
    board: Arc<Board>,
    transfer: Arc<Transfer>,
}

/// A device that is connected; until dropped.
#[derive(Debug)]
pub(crate) struct ConnectedDevice {
    board: Arc<Board>,
    device: DeviceId,
}

impl Board {
    /// Puts a transfer up.
    pub(crate) fn begin(self: &Arc<Self>, about: About) -> Moving {
        let started = clock::instant();
        let bytes = Counter::default();
        bytes.add(about.offset);
        let mut places = lock(&self.transfers);
        places.last_number += 1;
        let transfer = Arc::new(Transfer {
            number: places.last_number,
            meter: Mutex::new(Meter { at: started, bytes: about.offset, bytes_per_second: 0 }),
            about: About { name: shortened(about.name), ..about },
            started,
            started_ms: clock::now_ms(),
            bytes,
            files: Counter::default(),
            said: Mutex::default(),
        });
        if places.taken.len() < PLACES {
            places.taken.push(Arc::clone(&transfer));
        }
        Moving { board: Arc::clone(self), transfer }
    }

    /// The transfers that somebody may see, the oldest first, and how many more there are.
    pub(crate) fn transfers(&self, viewer: Viewer, now: Instant) -> (Vec<Shown>, usize) {
        let mut seen: Vec<Arc<Transfer>> = {
            let places = lock(&self.transfers);
            let own = places.taken.iter().filter(|transfer| viewer.sees(Some(transfer.about.account)));
            own.cloned().collect()
        };
        seen.sort_unstable_by_key(|transfer| transfer.number);
        let hidden_count = seen.len().saturating_sub(SHOWN_MAX);
        seen.truncate(SHOWN_MAX);
        let shown = seen.iter().map(|transfer| {
            let about = &transfer.about;
            let bytes = transfer.bytes.get();
            let is_file = matches!(about.kind, TransferKind::Upload | TransferKind::Download);
            let said = *lock(&transfer.said);
            let has_said = said.done != Extent::default();
            let is_readable = !is_file || viewer.reads_names_of(about.account);
            Shown {
                number: transfer.number,
                kind: about.kind,
                account: about.account_name.clone(),
                device: about.device.as_ref().map(|device| device.id.to_string()),
                device_name: about.device.as_ref().map(|device| device.name.clone()),
                name: (is_readable && !about.name.is_empty()).then(|| about.name.clone()),
                bytes,
                total_bytes: about.total_bytes,
                files: transfer.files.get().max(said.done.files),
                files_total: said.expected.map(|expected| expected.files.max(said.done.files)),
                source_bytes: has_said.then_some(said.done.bytes),
                source_total_bytes: said.expected.map(|expected| expected.bytes.max(said.done.bytes)),
                seconds_left: seconds_left(&said, now.saturating_duration_since(transfer.started)),
                bytes_per_second: transfer.rate(bytes, now),
                started_ms: transfer.started_ms,
            }
        });
        (shown.collect(), hidden_count)
    }

    /// Notes that a device is connected.
    pub(crate) fn connect(self: &Arc<Self>, account: AccountId, device: DeviceId) -> ConnectedDevice {
        lock(&self.devices).entry(device).or_insert((account, 0)).1 += 1;
        ConnectedDevice { board: Arc::clone(self), device }
    }

    /// All connected devices.
    pub(crate) fn devices(&self) -> HashSet<DeviceId> {
        lock(&self.devices).keys().copied().collect()
    }

    /// The connected devices that somebody may see, in the order of their ids.
    pub(crate) fn connected(&self, viewer: Viewer) -> Vec<DeviceId> {
        let devices = lock(&self.devices);
        let seen = devices.iter().filter(|(_, (account, _))| viewer.sees(Some(*account)));
        let mut seen: Vec<DeviceId> = seen.map(|(device, _)| *device).collect();
        seen.sort_unstable_by_key(|device| *device.as_bytes());
        seen
    }
}

impl Moving {
    /// So many bytes more went over the network.
    pub(crate) fn add(&self, bytes: u64) {
        self.transfer.bytes.add(bytes);
    }

    /// One more file is through.
    pub(crate) fn add_file(&self) {
        self.transfer.files.add(1);
    }

    /// What went over the network since it began.
    pub(crate) fn bytes(&self) -> u64 {
        self.transfer.bytes.get() - self.transfer.about.offset
    }

    /// For what the other side says of it.
    pub(crate) fn outlook(&self) -> Outlook {
        Outlook { transfer: Arc::clone(&self.transfer) }
    }

    /// What it is.
    pub(crate) fn about(&self) -> &About {
        &self.transfer.about
    }

    /// How long it takes by now.
    pub(crate) fn elapsed(&self) -> Duration {
        clock::instant().saturating_duration_since(self.transfer.started)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut places = lock(&self.board.transfers);
        if let Some(index) = places.taken.iter().position(|transfer| Arc::ptr_eq(transfer, &self.transfer)) {
            places.taken.swap_remove(index);
        }
    }
}

impl Drop for ConnectedDevice {
    fn drop(&mut self) {
        let mut devices = lock(&self.board.devices);
        if let Some((_, count)) = devices.get_mut(&self.device) {
            *count -= 1;
            if *count == 0 {
                devices.remove(&self.device);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(account: i64, kind: TransferKind) -> About {
        About {
            kind,
            account: AccountId(account),
            account_name: format!("account {account}"),
            device: None,
            name: "secret.txt".to_owned(),
            offset: 0,
            total_bytes: None,
        }
    }

    const MEMBER: Viewer = Viewer { account: AccountId(1), sees_all: false };
    const ADMIN: Viewer = Viewer { account: AccountId(2), sees_all: true };

    #[test]
    fn everybody_sees_their_own_and_nobody_reads_names_of_others() {
        let board = Arc::new(Board::default());
        let held = [1, 2, 3].map(|account| board.begin(about(account, TransferKind::Upload)));
        let see = |viewer| board.transfers(viewer, Instant::now()).0;
        let own = see(MEMBER);
        assert_eq!(own.len(), 1);
        assert_eq!((own[0].account.as_str(), own[0].name.as_deref()), ("account 1", Some("secret.txt")));
        let names: Vec<Option<String>> = see(ADMIN).into_iter().map(|shown| shown.name).collect();
        assert_eq!(names, [None, Some("secret.txt".to_owned()), None]);
        drop(held);
        assert!(see(ADMIN).is_empty());
    }

    #[test]
    fn the_board_does_not_grow() {
        let board = Arc::new(Board::default());
        let held: Vec<Moving> = (0..PLACES + 50).map(|_| board.begin(about(1, TransferKind::Download))).collect();
        assert_eq!(lock(&board.transfers).taken.len(), PLACES);
        let (shown, hidden_count) = board.transfers(MEMBER, Instant::now());
        assert_eq!((shown.len(), hidden_count), (SHOWN_MAX, PLACES - SHOWN_MAX));
        drop(held);
        assert!(lock(&board.transfers).taken.is_empty());
        let long = About { name: "ä".repeat(1000), ..about(1, TransferKind::Upload) };
        assert_eq!(board.begin(long).about().name.len(), 254);
    }

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let board = Arc::new(Board::default());
        let moving = board.begin(About { offset: 5000, ..about(1, TransferKind::Upload) });
        let start = moving.transfer.started;
        let rate_at = |ms| board.transfers(MEMBER, start + Duration::from_millis(ms)).0[0].bytes_per_second;
        moving.add(1000);
        assert_eq!(rate_at(100), 0, "not yet known");
        assert_eq!(rate_at(1000), 1000, "what was here before does not count");
        moving.add(500);
        assert_eq!(rate_at(1500), 1000);
        assert_eq!(rate_at(2000), 500);
        assert_eq!(rate_at(3000), 0, "it stands still");
    }

    #[test]
    fn what_a_device_says_of_its_backup_is_shown_and_bounded() {
        let board = Arc::new(Board::default());
        let moving = board.begin(about(1, TransferKind::Backup));
        let outlook = moving.outlook();
        let start = moving.transfer.started;
        let look = |secs| board.transfers(MEMBER, start + Duration::from_secs(secs)).0[0].clone();
        let extent = |files, bytes| Extent { files, bytes };
        let shown = |secs| {
            let shown = look(secs);
            (shown.files, shown.files_total, shown.source_bytes, shown.source_total_bytes, shown.seconds_left)
        };
        assert_eq!(shown(10), (0, None, None, None, None));
        // What the last snapshot was of, before the device has said anything.
        outlook.say(BackupProgress { done: Extent::default(), expected: Some(extent(100, 1000)) });
        assert_eq!(shown(10), (0, Some(100), None, Some(1000), None));
        outlook.say(BackupProgress { done: extent(10, 250), expected: None });
        assert_eq!(shown(10), (10, Some(100), Some(250), Some(1000), Some(30)));
        assert_eq!(shown(1).4, None, "too early to tell");
        outlook.say(BackupProgress { done: extent(300, 5000), expected: None });
        assert_eq!(shown(10), (300, Some(300), Some(5000), Some(5000), None));
        // Whatever is said, nothing breaks.
        outlook.say(BackupProgress { done: extent(u64::MAX, u64::MAX), expected: Some(extent(0, 0)) });
        assert_eq!(shown(10).3, Some(u64::MAX));
        outlook.say(BackupProgress { done: extent(0, 1), expected: Some(extent(0, u64::MAX)) });
        assert_eq!(shown(10).4, None, "nobody waits for that");
    }

    #[test]
    fn a_device_is_connected_until_its_last_connection_ends() {
        let board = Arc::new(Board::default());
        let device = DeviceId::from_bytes([7; 8]);
        let first = board.connect(AccountId(1), device);
        let second = board.connect(AccountId(1), device);
        drop(first);
        assert_eq!(board.connected(MEMBER), [device]);
        assert!(board.connected(Viewer { account: AccountId(3), sees_all: false }).is_empty());
        drop(second);
        assert!(board.connected(ADMIN).is_empty());
    }
}
