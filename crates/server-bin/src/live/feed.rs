//! [`Feed`]: what happened lately, numbered, for people who look now and for those who come back after a moment.
//!
//! It holds a fixed number of entries. When it is full, whoever has most of them loses the oldest: nobody's flood takes away
//! what others did. Readers hold a number and nothing else, so the slowest costs no memory; one that is too late is told
//! that it missed something. Numbers are counted for each account apart: they tell nobody how much others do.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::DrivePath;
use serde::{Deserialize, Serialize};
use store::{Account, AccountId, DeviceId, Traffic};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::admin::VerifiedItem;
use crate::clock;
use crate::failure::Failure;
use crate::keys::random;
use crate::live::{DeviceName, Viewer, name_of, shortened};

/// Entries kept: some 800 bytes each.
const ENTRIES_MAX: usize = 2048;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActivityKind {
    /// A snapshot was committed.
    Backup,
    /// A backup ended without a snapshot.
    BackupCutOff,
    /// A device was sent content.
    Restore,
    /// A file was taken into the drive.
    Upload,
    /// A file was not taken again: the drive had these very bytes there, or its name was to be left
    /// alone.
    Skip,
    /// A file was not taken into the drive, and nobody will try again without being told.
    Error,
    /// A file was sent whole to a browser or program, or several as an archive.
    Download,
    /// Something of the drive went to the trash.
    Delete,
    /// Something of the drive is in another folder now.
    Move,
    /// Something of the drive is called otherwise now.
    Rename,
    /// A link to something of the drive was made.
    Share,
    /// Somebody without an account used such a link.
    Link,
    /// Somebody logged in.
    Login,
    /// A device was enrolled.
    DeviceEnrolled,
    /// Garbage was collected.
    Collection,
    /// What is stored was verified.
    Verification,
    /// Something is wrong that was not.
    Alert,
    /// Something is not wrong any more.
    AlertOver,
}

impl ActivityKind {
    /// As it is told to programs.
    pub(crate) fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => unreachable!("it is told by its name alone"),
        }
    }

    /// Whether its name and detail are those of somebody's files.
    fn is_of_files(self) -> bool {
        match self {
            Self::Upload
            | Self::Skip
            | Self::Error
            | Self::Download
            | Self::Delete
            | Self::Move
            | Self::Rename
            | Self::Share
            | Self::Link => true,
            Self::Backup
            | Self::BackupCutOff
            | Self::Restore
            | Self::Login
            | Self::DeviceEnrolled
            | Self::Collection
            | Self::Verification
            | Self::Alert
            | Self::AlertOver => false,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    pub(crate) kind: ActivityKind,
    /// Whose it is; none: the server's.
    pub(crate) account: Option<(AccountId, String)>,
    pub(crate) device: Option<DeviceName>,
    /// Of the chain or the file.
    pub(crate) name: String,
    /// What else is worth knowing.
    pub(crate) detail: String,
    pub(crate) traffic: Option<Traffic>,
    pub(crate) files: Option<u64>,
    pub(crate) duration_ms: Option<u64>,
}

impl Activity {
    /// Something the server did by itself.
    pub(crate) fn of_server(kind: ActivityKind, detail: String) -> Self {
        Self {
            kind,
            account: None,
            device: None,
            name: String::new(),
            detail,
            traffic: None,
            files: None,
            duration_ms: None,
        }
    }

    /// Something that became of what is at `path` of an account's drive.
    pub(crate) fn of_drive(kind: ActivityKind, account: &Account, path: &DrivePath, detail: String) -> Self {
        let account = Some((account.id, account.name.clone()));
        Self { account, name: name_of(path), ..Self::of_server(kind, detail) }
    }

    /// What is at `from` is at `to` now.
    pub(crate) fn of_moving(account: &Account, from: &DrivePath, to: &DrivePath) -> Self {
        let (kind, detail) = if from.parent() == to.parent() {
            (ActivityKind::Rename, name_of(to))
        } else {
            let folder = to.parent().map(|folder| String::from_utf8_lossy(folder.as_bytes()).into_owned());
            (ActivityKind::Move, folder.unwrap_or_default())
        };
        Self::of_drive(kind, account, from, detail)
    }

    /// What verifying came to; `how` it came about stands before it.
    pub(crate) fn of_verifying(how: &str, [packs, bytes, damaged_packs, lost_objects]: [u64; 4]) -> Self {
        let detail =
            format!("{how}{packs} packs, {bytes} bytes; {damaged_packs} packs damaged, {lost_objects} objects lost");
        Self::of_server(ActivityKind::Verification, detail)
    }
}

impl From<&VerifiedItem> for Activity {
    /// What verifying came to, whoever wanted it.
    fn from(sum: &VerifiedItem) -> Self {
        Self::of_verifying("", [sum.packs, sum.bytes, sum.damaged_packs, sum.lost_objects])
    }
}

/// Bytes of one piece of work, from the files to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Figures {
    /// Of the files as they are.
    pub(crate) source_bytes: u64,
    /// Of these, what was here before.
    deduplicated_bytes: u64,
    /// Of these, what is stored as deltas.
    delta_bytes: u64,
    /// That came over the network.
    pub(crate) sent_bytes: u64,
    /// That the store grew by.
    pub(crate) stored_bytes: u64,
    /// That went out again, to devices and browsers.
    pub(crate) restored_bytes: u64,
}

impl From<Traffic> for Figures {
    fn from(traffic: Traffic) -> Self {
        let Traffic { source_bytes, deduplicated_bytes, delta_bytes, sent_bytes, stored_bytes, restored_bytes } =
            traffic;
        Self { source_bytes, deduplicated_bytes, delta_bytes, sent_bytes, stored_bytes, restored_bytes }
    }
}

/// Something that happened, as somebody sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct News {
    /// Grows from one to the next, until the server is started again.
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) kind: ActivityKind,
    /// Whose it is; none: the server's.
    pub(crate) account: Option<String>,
    /// The device's id.
    device: Option<String>,
    pub(crate) device_name: Option<String>,
    /// Of the chain or the file; none when that is nobody else's business.
    pub(crate) name: Option<String>,
    /// What else is worth knowing; of something renamed or moved, its new name or folder.
    pub(crate) detail: String,
    pub(crate) figures: Option<Figures>,
    pub(crate) files: Option<u64>,
    pub(crate) duration_ms: Option<u64>,
}

impl News {
    fn of(entry: &Entry, viewer: Viewer) -> Self {
        let Activity { kind, account, device, name, detail, traffic, files, duration_ms } = &entry.activity;
        let is_readable = !kind.is_of_files() || account.as_ref().is_some_and(|(id, _)| viewer.reads_names_of(*id));
        Self {
            number: entry.number(viewer),
            at_ms: entry.at_ms,
            kind: *kind,
            account: account.as_ref().map(|(_, name)| name.clone()),
            device: device.as_ref().map(|device| device.id.to_string()),
            device_name: device.as_ref().map(|device| device.name.clone()),
            name: (is_readable && !name.is_empty()).then(|| name.clone()),
            detail: if is_readable { detail.clone() } else { String::new() },
            figures: traffic.map(Figures::from),
            files: *files,
            duration_ms: *duration_ms,
        }
    }

    fn says(&self, text: &str) -> bool {
        let said = [Some(&self.detail), self.account.as_ref(), self.device_name.as_ref(), self.name.as_ref()];
        said.into_iter().flatten().any(|said| said.to_lowercase().contains(text))
    }
}

/// What somebody wants to be told of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) kind: Option<ActivityKind>,
    pub(crate) device: Option<DeviceId>,
    /// In any of the words, whether large or small.
    pub(crate) text: Option<String>,
}

/// What happened lately.
#[derive(Debug)]
pub(crate) struct Feed {
    /// One life of the server: numbers of another mean nothing in this one.
    epoch: String,
    entries: Mutex<Entries>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    at_ms: u64,
    number: u64,
    own_number: u64,
    activity: Activity,
}

impl Entry {
    fn owner(&self) -> Option<AccountId> {
        self.activity.account.as_ref().map(|(id, _)| *id)
    }

    fn number(&self, viewer: Viewer) -> u64 {
        if viewer.sees_all() { self.number } else { self.own_number }
    }
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<Arc<Entry>>,
    all: Numbers,
    own: HashMap<Option<AccountId>, Numbers>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    last: u64,
    /// The highest that is not kept any more.
    lost: u64,
    kept_count: usize,
}

impl Entries {
    fn numbers(&self, viewer: Viewer) -> Numbers {
        if viewer.sees_all() {
            return self.all;
        }
        self.own.get(&Some(viewer.account())).copied().unwrap_or_default()
    }

    /// Lets go of the oldest entry of whoever has most.
    fn make_room(&mut self) {
        let most = self.own.iter().max_by_key(|(_, numbers)| numbers.kept_count).map(|(owner, _)| *owner);
        let index = self.kept.iter().position(|entry| Some(entry.owner()) == most);
        let Some(gone) = index.and_then(|index| self.kept.remove(index)) else { return };
        self.all.lost = self.all.lost.max(gone.number);
        let own = self.own.entry(gone.owner()).or_default();
        own.lost = own.lost.max(gone.own_number);
        own.kept_count -= 1;
    }
}

/// What is new to a reader.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// In the order in which it happened.
    pub(crate) news: Vec<News>,
    /// Whether something happened that nobody can tell any more.
    pub(crate) has_missed: bool,
    /// Where to go on.
    pub(crate) number: u64,
}

impl Feed {
    /// An empty one.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness.
    pub(crate) fn new() -> Result<Self, Failure> {
        let epoch = object::hex::encode(&random::<8>()?);
        Ok(Self { epoch, entries: Mutex::default(), newest: watch::Sender::new(0) })
    }

    /// The life of the server that numbers are of.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Adds what just happened.
    pub(crate) fn push(&self, activity: Activity) {
        let activity = Activity { name: shortened(activity.name), detail: shortened(activity.detail), ..activity };
        let mut entries = self.lock();
        if entries.kept.len() >= ENTRIES_MAX {
            entries.make_room();
        }
        entries.all.last += 1;
        let number = entries.all.last;
        let own = entries.own.entry(activity.account.as_ref().map(|(id, _)| *id)).or_default();
        own.last += 1;
        own.kept_count += 1;
        let own_number = own.last;
        entries.kept.push_back(Arc::new(Entry { at_ms: clock::now_ms(), number, own_number, activity }));
        drop(entries);
        self.newest.send_replace(number);
    }

    /// Tells of everything that is added from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The newest number, as somebody counts.
    pub(crate) fn last_number(&self, viewer: Viewer) -> u64 {
        self.lock().numbers(viewer).last
    }

    /// What somebody may see of what happened after `number`; at most `limit` entries.
    pub(crate) fn after(&self, viewer: Viewer, number: u64, limit: usize) -> Fresh {
        let entries = self.lock();
        let numbers = entries.numbers(viewer);
        let is_new = |entry: &&Arc<Entry>| viewer.sees(entry.owner()) && entry.number(viewer) > number;
        let fresh: Vec<Arc<Entry>> = entries.kept.iter().filter(is_new).take(limit).cloned().collect();
        drop(entries);
        Fresh {
            number: fresh.last().map_or(numbers.last, |entry| entry.number(viewer)),
            news: fresh.iter().map(|entry| News::of(entry, viewer)).collect(),
            has_missed: number < numbers.lost,
        }
    }

    /// The newest entries that somebody may see, the newest first, of those before `before`; at most `limit`.
    pub(crate) fn page(&self, viewer: Viewer, filter: &Filter, before: Option<u64>, limit: usize) -> Vec<News> {
        let kept: Vec<Arc<Entry>> = {
            let entries = self.lock();
            let is_seen = |entry: &&Arc<Entry>| {
                viewer.sees(entry.owner())
                    && before.is_none_or(|before| entry.number(viewer) < before)
                    && filter.kind.is_none_or(|kind| entry.activity.kind == kind)
                    && filter.device.is_none_or(|id| entry.activity.device.as_ref().is_some_and(|own| own.id == id))
            };
            entries.kept.iter().rev().filter(is_seen).cloned().collect()
        };
        let text = filter.text.as_ref().map(|text| text.to_lowercase());
        let news = kept.iter().map(|entry| News::of(entry, viewer));
        news.filter(|news| text.as_ref().is_none_or(|text| news.says(text))).take(limit).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Viewer = Viewer { account: AccountId(1), sees_all: false };
    const OTHER: Viewer = Viewer { account: AccountId(2), sees_all: false };
    const ADMIN: Viewer = Viewer { account: AccountId(3), sees_all: true };

    fn upload(account: i64, name: &str) -> Activity {
        let account = Some((AccountId(account), format!("account {account}")));
        let of_server = Activity::of_server(ActivityKind::Upload, String::new());
        Activity { account, name: name.to_owned(), ..of_server }
    }

    fn names(fresh: &Fresh) -> Vec<Option<&str>> {
        fresh.news.iter().map(|news| news.name.as_deref()).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let feed = Feed::new().unwrap();
        for name in ["a", "b", "c"] {
            feed.push(upload(1, name));
            feed.push(upload(2, "of another"));
        }
        let first = feed.after(MEMBER, 0, 2);
        assert_eq!((names(&first), first.number), (vec![Some("a"), Some("b")], 2));
        let rest = feed.after(MEMBER, first.number, 100);
        assert_eq!((names(&rest), rest.number, rest.has_missed), (vec![Some("c")], 3, false));
        assert!(feed.after(MEMBER, 3, 100).news.is_empty());
        // Whoever sees all counts all, and reads no names of others.
        let all = feed.after(ADMIN, 0, 100);
        assert_eq!((all.number, names(&all)), (6, vec![None; 6]));
        assert_eq!(feed.last_number(OTHER), 3);
    }

    #[test]
    fn what_becomes_of_files_is_for_their_owner_alone() {
        let feed = Feed::new().unwrap();
        let path = |path: &'static str| DrivePath::new(bytes::Bytes::from_static(path.as_bytes())).unwrap();
        let account = Account {
            id: AccountId(1),
            name: "ada".to_owned(),
            role: store::Role::Member,
            created: store::UnixMs(0),
            disabled: None,
            quota_bytes: None,
        };
        let told = |viewer| {
            let news = feed.page(viewer, &Filter::default(), None, 100);
            let told = news.into_iter().map(|news| (news.kind.name(), news.name, news.detail));
            told.collect::<Vec<_>>()
        };
        feed.push(Activity::of_moving(&account, &path("plans/a.txt"), &path("plans/b.txt")));
        feed.push(Activity::of_moving(&account, &path("plans/b.txt"), &path("old/plans/b.txt")));
        let expected = [("move", "b.txt", "old/plans"), ("rename", "a.txt", "b.txt")];
        let expected = expected.map(|(kind, name, detail)| (kind.to_owned(), Some(name.to_owned()), detail.to_owned()));
        assert_eq!(told(MEMBER), expected);
        let hidden = ["move", "rename"].map(|kind| (kind.to_owned(), None, String::new()));
        assert_eq!(told(ADMIN), hidden);
        assert!(told(OTHER).is_empty());
    }

    #[test]
    fn a_flood_is_bounded_and_takes_nothing_away_from_others() {
        let feed = Feed::new().unwrap();
        feed.push(upload(2, "quiet"));
        for number in 0..3 * ENTRIES_MAX {
            feed.push(upload(1, &number.to_string()));
        }
        assert_eq!(feed.lock().kept.len(), ENTRIES_MAX);
        let quiet = feed.after(OTHER, 0, 100);
        assert_eq!((names(&quiet), quiet.has_missed), (vec![Some("quiet")], false));
        let late = feed.after(MEMBER, 0, usize::MAX);
        assert!(late.has_missed);
        assert_eq!(late.news.len(), ENTRIES_MAX - 1);
        assert_eq!(late.number, 3 * ENTRIES_MAX as u64);
        assert!(!feed.after(MEMBER, late.number - 5, 100).has_missed);
    }

    #[test]
    fn a_page_is_what_was_asked_for() {
        let feed = Feed::new().unwrap();
        feed.push(upload(1, "Ärger.txt"));
        feed.push(Activity { kind: ActivityKind::Backup, ..upload(1, "documents") });
        feed.push(upload(1, "b.txt"));
        let page = |viewer, kind, text: Option<&str>, before| {
            let filter = Filter { kind, device: None, text: text.map(str::to_owned) };
            let page = feed.page(viewer, &filter, before, 100);
            page.into_iter().map(|news| news.number).collect::<Vec<_>>()
        };
        assert_eq!(page(MEMBER, None, None, None), [3, 2, 1]);
        assert_eq!(page(MEMBER, None, None, Some(3)), [2, 1]);
        assert_eq!(page(MEMBER, Some(ActivityKind::Backup), None, None), [2]);
        assert_eq!(page(MEMBER, None, Some("ärger"), None), [1]);
        assert_eq!(page(ADMIN, None, Some("ärger"), None), [0; 0], "what is not shown is not found");
        assert_eq!(page(OTHER, None, None, None), [0; 0]);
    }
}
