//! The plain mirror: a folder of ordinary files kept in step with a drive, or with a chain's newest snapshot or all of them.
//!
//! [`run`] brings one folder in step, [`Walker`] one tree of it; [`Record`] is how the mirror knows its own files. A run
//! begins by asking what is stored now, and a run that is cut off at any moment is gone on with by the next.
#![expect(clippy::disallowed_methods, reason = "the record of a mirror stands in the mirror, and is written here")]

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod record;
mod report;
mod schedule;
mod setting;
mod source;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use report::{MirrorProblemItem, MirroredItem};
pub(crate) use schedule::keep_in_step;
pub use setting::{MirrorSetting, MirrorSettingError};

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_fs::{HostError, HostErrorKind, Listing, Name, RestoreDir, RestoreOptions, RestoreRoot};
use object::{ObjectId, VaultId, hex};
use proto::DrivePath;
use serde::{Deserialize, Serialize};
use store::{ChainId, RetainedSnapshot, UnixMs};
use time::OffsetDateTime;
use vault::{Keys, Metadata, Timestamp};

use crate::admin::Item;
use crate::drive::DriveView;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, failed};
use crate::keeper::Keeper;
use crate::mirror::record::{Record, RecordReader, path_in};
use crate::mirror::report::Teller;
use crate::mirror::source::{Contents, Folder, Trouble, own_metadata};
use crate::mirror::walk::{Task, Walker, record_failed};
use crate::private_files;
use crate::vaults::managed_key;

/// The folder of the mirror's own in each target.
const OWN_FOLDER: &str = ".delta-backup-mirror";
/// In it: what the mirror is of.
const OWN_FILE: &str = "mirror";
/// In it: held by whoever is at work.
const LOCK_FILE: &str = "lock";
/// In it: the name of the record of a mirror of one tree.
const ONE_TREE: &str = "files";
/// What is placed into folders of snapshots can be seen by whoever can come into the target.
const SNAPSHOT_MODE: u32 = 0o755;

/// What a mirror is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MirrorSource {
    /// The drive of an account.
    Drive(String),
    /// The newest snapshot of a chain.
    Latest(String),
    /// All snapshots of a chain, each in a folder of its own.
    Snapshots(String),
}

impl fmt::Display for MirrorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive(account) => write!(f, "drive:{account}"),
            Self::Latest(chain) => write!(f, "chain:{chain}"),
            Self::Snapshots(chain) => write!(f, "snapshots:{chain}"),
        }
    }
}

/// What is to be brought in step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MirrorRequest {
    pub(crate) source: MirrorSource,
    /// Absolute: the server has a working directory of its own.
    pub(crate) target: PathBuf,
    pub(crate) is_dry_run: bool,
    /// Whether owners, devices and set-id bits come along, where the server may make them.
    pub(crate) is_privileged: bool,
}

/// What a mirror is of, found.
struct Found {
    vault: VaultId,
    keys: Arc<Keys>,
    what: What,
    /// For people.
    shown: String,
    /// What tells this source from every other.
    identity: String,
}

enum What {
    Drive { version: u64 },
    Latest(Option<RetainedSnapshot>),
    Snapshots(Vec<RetainedSnapshot>),
}

impl Found {
    /// What a run would bring in step with: as long as it is the same, there is nothing new.
    fn position(&self) -> Vec<ObjectId> {
        match &self.what {
            What::Drive { version } => {
                let mut bytes = [0; ObjectId::LEN];
                bytes[..8].copy_from_slice(&version.to_le_bytes());
                vec![ObjectId::from_bytes(bytes)]
            }
            What::Latest(snapshot) => snapshot.iter().map(|snapshot| snapshot.id).collect(),
            What::Snapshots(snapshots) => snapshots.iter().map(|snapshot| snapshot.id).collect(),
        }
    }
}

/// Brings a folder in step with what it mirrors.
///
/// # Errors
/// [`Failure`]: of kind `Integrity` when something cannot be read from the store, `Partial` when something is not in step for
/// another reason, each after everything else was done; of other kinds when the run could not go on.
pub(crate) fn run(
    home: &Home,
    request: &MirrorRequest,
    is_wanted: &dyn Fn() -> bool,
    emit: &mut dyn FnMut(Item),
) -> Result<MirroredItem, Failure> {
    let found = find(home, &request.source)?;
    let place = Place::open(home, request, &found.identity)?;
    let report = MirroredItem {
        source: found.shown.clone(),
        target: request.target.display().to_string(),
        is_dry_run: request.is_dry_run,
        ..MirroredItem::default()
    };
    let mut walker = Walker {
        contents: Contents::new(&home.store, found.vault, found.keys),
        teller: Teller::new(report, emit, is_wanted),
        root: place.as_ref().map(|place| &place.root),
        min_free: home.settings.min_free,
        known: HashMap::new(),
        unlooked_bytes: None,
    };
    match found.what {
        What::Drive { .. } => one_tree(&mut walker, place.as_ref(), Ok(Folder::Drive(DrivePath::ROOT)))?,
        What::Latest(None) => one_tree(&mut walker, place.as_ref(), Ok(Folder::Gone))?,
        What::Latest(Some(snapshot)) => {
            let folder = walker.contents.snapshot(snapshot.id);
            one_tree(&mut walker, place.as_ref(), folder)?;
        }
        What::Snapshots(snapshots) => every_snapshot(&mut walker, place.as_ref(), &snapshots)?,
    }
    let report = walker.teller.report;
    emit(Item::Mirrored(Box::new(report.clone())));
    outcome(&report).map(|()| report)
}

fn outcome(report: &MirroredItem) -> Result<(), Failure> {
    let target = report.target.escape_debug();
    if report.damaged > 0 {
        return Err(Failure::new(FailureKind::Integrity, format!("{target} is not in step: something cannot be read"))
            .hint("what was there of it is left as it was; `backup-server verify` tells what is damaged"));
    }
    if report.kept > 0 || report.refused > 0 {
        return Err(Failure::new(FailureKind::Partial, format!("{target} is not in step everywhere")).hint(
            "`backup-server mirror` names what it is; move away what was changed by hand, and the next run puts what \
                   belongs there in its place",
        ));
    }
    Ok(())
}

/// Finds what is to be mirrored.
fn find(home: &Home, source: &MirrorSource) -> Result<Found, Failure> {
    let unreadable = |error: store::StoreError| failed("cannot read the catalog", &error);
    let (vault, chain) = match source {
        MirrorSource::Drive(account) => {
            let account = home.account(account)?;
            let vault = home.store.vaults(account.id).map_err(unreadable)?.into_iter().next();
            (vault.ok_or_else(|| Failure::usage(format!("the account `{}` has no vault", account.name)))?, None)
        }
        MirrorSource::Latest(name) | MirrorSource::Snapshots(name) => {
            let chain = Keeper::new(&home.store).chains(Some(name))?.remove(0);
            (vault_of(home, chain.id)?, Some(chain))
        }
    };
    let key = managed_key(&home.keys, &vault).map_err(|error| match vault.mode {
        store::VaultMode::Sealed => Failure::usage("the vault is sealed: the server cannot read what is in it")
            .hint("`backup-client restore` on a machine that has its passphrase writes ordinary files"),
        store::VaultMode::Managed => failed("cannot open the vault", &error),
    })?;
    let keys = Arc::new(Keys::new(&key));
    let vault_name = hex::encode(vault.id.as_bytes());
    let Some(chain) = chain else {
        let version = DriveView::new(&home.store, vault.id, &keys).version();
        let version = version.map_err(|error| failed("cannot read the drive", &error))?;
        let MirrorSource::Drive(account) = source else { unreachable!("only a drive is of no chain") };
        let (shown, identity) = (format!("drive of {account}"), format!("drive {vault_name}"));
        return Ok(Found { vault: vault.id, keys, what: What::Drive { version }, shown, identity });
    };
    let snapshots = home.store.retained_snapshots(chain.id).map_err(unreadable)?;
    let (device, name) = (chain.device, &chain.name);
    let shown = format!("{}/{name}", chain.device_name);
    let (what, manner) = match source {
        MirrorSource::Snapshots(_) => (What::Snapshots(snapshots), "snapshots"),
        _ => (What::Latest(snapshots.last().copied()), "latest"),
    };
    let identity = format!("{manner} {vault_name} {device} {}", name.escape_default());
    Ok(Found { vault: vault.id, keys, what, shown, identity })
}

/// The vault that a chain is in.
fn vault_of(home: &Home, chain: ChainId) -> Result<store::Vault, Failure> {
    let unreadable = |error: store::StoreError| failed("cannot read the catalog", &error);
    for account in home.store.accounts().map_err(unreadable)? {
        for vault in home.store.vaults(account.id).map_err(unreadable)? {
            if home.store.chains(vault.id, None).map_err(unreadable)?.iter().any(|own| own.id == chain) {
                return Ok(vault);
            }
        }
    }
    Err(Failure::usage("the chain has no snapshots"))
}

/// A target that is open, and nobody else's at the moment.
struct Place {
    root: RestoreRoot,
    own: RestoreDir,
    _lock: File,
}

impl Place {
    /// Opens a target, or makes it; `None` where a dry run finds none.
    fn open(home: &Home, request: &MirrorRequest, identity: &str) -> Result<Option<Self>, Failure> {
        let target = &request.target;
        if !target.is_absolute() {
            return Err(Failure::usage(format!("{} is not an absolute path", target.display())));
        }
        let is_there = fs::metadata(target).is_ok();
        if !is_there && request.is_dry_run {
            return Ok(None);
        }
        check_apart(&home.settings.data_dir, target)?;
        make(target).map_err(|error| unusable(target).because(&error))?;
        let options = RestoreOptions { privileged: request.is_privileged, trust_target: false };
        let root = RestoreRoot::open(target, options).map_err(|error| untaken(target, &error))?;
        let own_name = Name::new(OWN_FOLDER.as_bytes()).expect("it is a name");
        let mut listing = Listing::new();
        root.dir().list(&mut listing).map_err(|error| untaken(target, &error))?;
        let is_mirror = listing.iter().any(|listed| listed.name == own_name);
        if !is_mirror && !listing.is_empty() {
            return Err(not_empty(target));
        }
        if !is_mirror && request.is_dry_run {
            return Ok(None);
        }
        let own = if request.is_dry_run { root.dir().open_child(own_name) } else { root.dir().child_dir(own_name) };
        let own = own.map_err(|error| untaken(target, &error))?;
        let lock = lock(&own).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => {
                Failure::new(FailureKind::InUse, format!("{} is being brought in step already", target.display()))
            }
            _ => unusable(target).because(&error),
        })?;
        let file = path_in(&own, OWN_FILE);
        match fs::read_to_string(&file) {
            Ok(text) if text.trim_end() == identity => {}
            Ok(text) => {
                return Err(Failure::usage(format!("{} is the mirror of something else", target.display()))
                    .hint(format!("it is of: {}", text.trim_end().escape_debug()))
                    .hint("name another folder"));
            }
            // New, or cut off before anything was put into it.
            Err(error) if error.kind() == ErrorKind::NotFound && listing.len() <= 1 => {
                if !request.is_dry_run {
                    let text = format!("{identity}\n");
                    private_files::replace(&file, text.as_bytes(), 0o600)
                        .map_err(|error| unusable(target).because(&error))?;
                }
            }
            Err(error) => return Err(unusable(target).because(&error)),
        }
        Ok(Some(Self { root, own, _lock: lock }))
    }

    fn record(&self, name: &str) -> Record {
        Record::new(&self.own, name)
    }
}

/// Whether a mirror could go to this folder, as far as can be told without opening it; changes nothing.
///
/// # Errors
/// [`Failure`] when not.
pub(crate) fn check_target(data_dir: &Path, target: &Path) -> Result<(), Failure> {
    check_apart(data_dir, target)?;
    match fs::read_dir(target) {
        Ok(mut entries) => match entries.next().is_some() && !target.join(OWN_FOLDER).exists() {
            true => Err(not_empty(target)),
            false => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => private_files::check_dir(target),
        Err(error) => Err(unusable(target).because(&error)),
    }
}

fn not_empty(target: &Path) -> Failure {
    Failure::usage(format!("{} is not empty, and no mirror", target.display()))
        .hint("name an empty folder, or one that does not exist yet")
}

fn unusable(target: &Path) -> Failure {
    Failure::new(FailureKind::Unavailable, format!("{} cannot be used for a mirror", target.display()))
}

fn untaken(target: &Path, error: &HostError) -> Failure {
    let failure = unusable(target).because(error);
    match error.kind() {
        HostErrorKind::Untrusted => failure.hint("`chown root` and `chmod go-w` it, or run the server as another user"),
        HostErrorKind::NotAllowed => {
            failure.hint("the server's user has to own it; a unit of systemd has to name it in ReadWritePaths=")
        }
        _ => failure,
    }
}

/// Makes the target, for the server's user alone: plain files of people's backups come into it.
fn make(target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(target) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Neither may be in the other: what is stored would be taken for files of the mirror, or the other way round.
fn check_apart(data_dir: &Path, target: &Path) -> Result<(), Failure> {
    let real = |path: &Path| real_path(path).map_err(|error| unusable(path).because(&error));
    let (data_dir, real_target) = (real(data_dir)?, real(target)?);
    if data_dir.starts_with(&real_target) || real_target.starts_with(&data_dir) {
        return Err(Failure::usage(format!("{} and the data directory are in one another", target.display()))
            .hint("name a folder elsewhere"));
    }
    Ok(())
}

/// Where a path leads, as far as there is something.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == ErrorKind::NotFound => {
            Ok(real_path(parent)?.join(name))
        }
        (real, _, _) => real,
    }
}

fn lock(own: &RestoreDir) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path_in(own, LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Brings the target in step with one tree.
fn one_tree(walker: &mut Walker<'_>, place: Option<&Place>, folder: Result<Folder, Trouble>) -> Result<(), Failure> {
    walker.teller.report.snapshots += 1;
    let folder = match folder {
        Ok(folder) => folder,
        Err(Trouble::Store(failure)) => return Err(failure),
        Err(Trouble::Damage(message)) => {
            walker.teller.problem(report::MirrorProblem::Damaged, b"", message);
            return Ok(());
        }
    };
    let top = place.map(|place| place.root.dir().clone());
    tree(walker, place, Work { folder, top, name: ONE_TREE, shown: "", previous: None, reserved: OWN_FOLDER })
}

/// One tree, and where it goes.
struct Work<'w> {
    folder: Folder,
    top: Option<RestoreDir>,
    /// Of the record.
    name: &'w str,
    shown: &'w str,
    previous: Option<(RestoreDir, RecordReader)>,
    reserved: &'w str,
}

fn tree(walker: &mut Walker<'_>, place: Option<&Place>, work: Work<'_>) -> Result<(), Failure> {
    let is_dry_run = walker.teller.report.is_dry_run;
    let record = place.map(|place| place.record(work.name));
    let mut was_cut_off = false;
    let (mut reader, mut writer) = (RecordReader::empty(), None);
    if let Some(record) = &record {
        // A dry run changes nothing: what a run that was cut off left is somebody's to it.
        if !is_dry_run {
            was_cut_off = record.settle().map_err(|error| record_failed(&error))?;
            writer = Some(record.write().map_err(|error| record_failed(&error))?);
        }
        reader = record.read().map_err(|error| record_failed(&error))?;
    }
    let problems = walker.teller.problems();
    let task = Task {
        folder: work.folder,
        top: work.top,
        shown: work.shown.as_bytes(),
        record: reader,
        writer,
        previous: work.previous,
        was_cut_off,
        reserved: work.reserved.as_bytes(),
    };
    let written = walker.walk(task)?;
    if let (Some(written), Some(place)) = (written, place) {
        // What the record says is there must be there, whatever becomes of this machine.
        place.root.sync().map_err(|error| unusable(place.root.dir().path()).because(&error))?;
        let is_complete = walker.teller.problems() == problems;
        written.finish(is_complete).map_err(|error| record_failed(&error))?;
    }
    Ok(())
}

/// Brings the target in step with all snapshots of a chain, the oldest first.
fn every_snapshot(
    walker: &mut Walker<'_>,
    place: Option<&Place>,
    snapshots: &[RetainedSnapshot],
) -> Result<(), Failure> {
    let wanted: BTreeMap<String, &RetainedSnapshot> =
        snapshots.iter().map(|snapshot| (folder_name(snapshot), snapshot)).collect();
    forget_others(walker, place, &wanted)?;
    let mut previous: Option<(RestoreDir, String)> = None;
    for snapshot in snapshots {
        let name = folder_name(snapshot);
        let checked = Name::new(name.as_bytes()).expect("it has digits only");
        let mut top = match place {
            None => None,
            Some(place) => match place.root.dir().open_child(checked) {
                Ok(dir) => Some(dir),
                Err(error) if error.kind() == HostErrorKind::NotFound => None,
                Err(error) => {
                    walker.teller.refused(name.as_bytes(), &error)?;
                    continue;
                }
            },
        };
        if let (Some(place), Some(dir)) = (place, &top)
            && place.record(&name).is_complete().map_err(|error| record_failed(&error))?
        {
            previous = Some((dir.clone(), name));
            continue;
        }
        walker.teller.report.snapshots += 1;
        let folder = match walker.contents.snapshot(snapshot.id) {
            Ok(folder) => folder,
            Err(Trouble::Store(failure)) => return Err(failure),
            Err(Trouble::Damage(message)) => {
                walker.teller.problem(report::MirrorProblem::Damaged, name.as_bytes(), message);
                continue;
            }
        };
        if let Some(place) = place.filter(|_| !walker.teller.report.is_dry_run) {
            if top.is_none() {
                // Somebody removed it, or it is new: either way the record says nothing that is so.
                place.record(&name).remove().map_err(|error| record_failed(&error))?;
            }
            let made = place.root.dir().child_dir(checked).map_err(|error| untaken(place.root.dir().path(), &error))?;
            top = Some(made);
        }
        let before = match (place, previous.take()) {
            (Some(place), Some((dir, name))) => {
                Some((dir, place.record(&name).read().map_err(|error| record_failed(&error))?))
            }
            _ => None,
        };
        let dir = top.clone();
        tree(walker, place, Work { folder, top, name: &name, shown: &name, previous: before, reserved: "" })?;
        if let Some(dir) = dir.filter(|_| !walker.teller.report.is_dry_run) {
            let metadata = Metadata { mode: SNAPSHOT_MODE, mtime: moment(snapshot.received), ..own_metadata() };
            walker.teller.lacking(&dir.finish(&metadata));
            previous = Some((dir, name));
        }
    }
    Ok(())
}

/// Takes away the folders of snapshots that are not there any more, and tells of what else is in the target.
fn forget_others(
    walker: &mut Walker<'_>,
    place: Option<&Place>,
    wanted: &BTreeMap<String, &RetainedSnapshot>,
) -> Result<(), Failure> {
    let Some(place) = place else { return Ok(()) };
    let recorded = recorded_names(&place.own).map_err(|error| record_failed(&error))?;
    let root = place.root.dir();
    let mut listing = Listing::new();
    root.list(&mut listing).map_err(|error| untaken(root.path(), &error))?;
    for listed in listing.iter() {
        let name = String::from_utf8_lossy(listed.name.as_bytes()).into_owned();
        if name != OWN_FOLDER && !wanted.contains_key(&name) && !recorded.contains(&name) {
            let message = "it is not the mirror's";
            walker.teller.problem(report::MirrorProblem::Foreign, listed.name.as_bytes(), message);
        }
    }
    for name in recorded.iter().filter(|name| !wanted.contains_key(*name)) {
        let checked = Name::new(name.as_bytes()).expect("it is the name of a file");
        let opened = match root.open_child(checked) {
            Ok(_) if !walker.teller.report.is_dry_run => root.child_dir(checked),
            opened => opened,
        };
        let is_gone = match opened {
            Err(error) if error.kind() == HostErrorKind::NotFound => true,
            Err(error) => {
                walker.teller.refused(name.as_bytes(), &error)?;
                continue;
            }
            Ok(dir) => {
                let work =
                    Work { folder: Folder::Gone, top: Some(dir), name, shown: name, previous: None, reserved: "" };
                tree(walker, Some(place), work)?;
                walker.teller.report.is_dry_run || root.remove_dir(checked).is_ok()
            }
        };
        if is_gone && !walker.teller.report.is_dry_run {
            place.record(name).remove().map_err(|error| record_failed(&error))?;
        }
    }
    Ok(())
}

/// Names of which there is a record.
fn recorded_names(own: &RestoreDir) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path_in(own, "."))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let ending = [".txt", ".new"].into_iter().find_map(|ending| name.strip_suffix(ending));
        names.extend(ending.map(str::to_owned));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// When the server received a snapshot, in UTC, and the beginning of its id: names in the order of time.
fn folder_name(snapshot: &RetainedSnapshot) -> String {
    let id = &snapshot.id.to_string()[..8];
    let moment = OffsetDateTime::from_unix_timestamp(snapshot.received.0.div_euclid(1000));
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    format!("{date}_{hour:02}-{minute:02}-{second:02}_{id}")
}

fn moment(ms: UnixMs) -> Timestamp {
    let nanos = u32::try_from(ms.0.rem_euclid(1000)).expect("below 1000") * 1_000_000;
    Timestamp { secs: ms.0.div_euclid(1000), nanos }
}
