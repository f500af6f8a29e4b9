//! `doctor`: looks at everything that a server needs, and says what is wrong and what to do about it. Changes nothing.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::admin::command::{self, about};
use crate::admin::{Item, Order, StatusItem};
use crate::args::Place;
use crate::catalog_backup;
use crate::clock;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, keys_dir, load_keys};
use crate::metrics::{MEMORY_ADVICE, memory_doubt};
use crate::private_files;
use crate::validity::Validity;

const DAY: Duration = Duration::from_secs(86_400);
/// A certificate of ours is made anew earlier than that.
const CERTIFICATE_LEFT_MIN: Duration = Duration::from_secs(14 * 86_400);
/// Backups of the catalog are made daily, and after each collection.
const CATALOG_BACKUP_AGE_MAX: Duration = Duration::from_secs(3 * 86_400);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Beside those of connections: packs, the catalog, logs.
const OTHER_FILES: u64 = 128;
const PROBE: &[u8] = b"written by backup-server doctor; may be deleted\n";

/// What was looked at, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct CheckItem {
    pub(crate) name: String,
    pub(crate) state: CheckState,
    /// What was found.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CheckState {
    Good,
    /// It works; somebody should look at it.
    Doubtful,
    Bad,
}

impl CheckItem {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let state = match self.state {
            CheckState::Good => "good",
            CheckState::Doubtful => "doubtful",
            CheckState::Bad => "BAD",
        };
        let hint = self.hint.iter().map(|hint| format!("\n{:27}{hint}", "")).collect::<String>();
        format!("{state:9} {:16} {}{hint}", self.name, self.text)
    }
}

/// Looks, tells, and fails when something is bad.
///
/// # Errors
/// [`Failure`] when a check came out bad.
pub(crate) fn run(place: Place, print: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let is_json = place.json;
    let (mut looked, mut bad) = (0, 0);
    let mut tell = |check: CheckItem| {
        looked += 1;
        bad += u32::from(check.state == CheckState::Bad);
        command::tell(is_json, print, &Item::Check(check));
    };
    match command::settings(place) {
        Ok(settings) => {
            tell(good("settings", "they can be used; `backup-server config show` lists them"));
            look(&settings, &mut tell);
        }
        Err(failure) => tell(of_failure("settings", &failure)),
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(FailureKind::Usage, format!("{bad} of {looked} checks came out bad"))),
    }
}

fn look(settings: &Settings, tell: &mut dyn FnMut(CheckItem)) {
    let mut status = None;
    let asked = command::perform(settings, &Order::Status, &mut |item| {
        if let Item::Status(item) = item {
            status = Some(item);
        }
    });
    match (asked, status) {
        (Ok(()), Some(status)) => {
            tell(good("store", &format!("{} in {} packs", about(status.bytes_stored), status.packs)));
            tell(match &status.running {
                Some(running) => reached(&running.url),
                None => doubtful("server", "it does not run", "start it: `backup-server serve`"),
            });
            of_status(&status, settings).into_iter().for_each(&mut *tell);
            tell(catalog_backups(settings));
            catalog_copy(settings).into_iter().for_each(&mut *tell);
        }
        (Err(failure), _) => tell(of_failure("store", &failure)),
        (Ok(()), None) => tell(bad("store", "it does not say how it is", "look at the server's log")),
    }
    tell(match load_keys(settings) {
        Ok(_) => good("keys", "the master key is there, and nobody else can read it; keep a copy of keys/ elsewhere"),
        Err(failure) => of_failure("keys", &failure),
    });
    tell(certificate(&keys_dir(settings), clock::wall()));
    tell(disk(&settings.data_dir));
    tell(open_files(settings));
}

/// What a running server finds out of all this without writing anything or asking itself over the network.
pub(crate) fn of_running(status: &StatusItem, home: &Home) -> Vec<CheckItem> {
    let settings = &home.settings;
    let mut checks = vec![good("store", &format!("{} in {} packs", about(status.bytes_stored), status.packs))];
    checks.extend(of_status(status, settings));
    checks.push(match catalog_backup::list(&settings.data_dir) {
        Ok(backups) => of_catalog_backups(backups.last().map(|backup| backup.created_ms)),
        Err(failure) => of_failure("catalog backup", &failure),
    });
    checks.extend(catalog_copy(settings));
    checks.push(certificate(&home.keys_dir(), clock::wall()));
    checks.push(open_files(settings));
    checks
}

/// What the server knows of itself.
fn of_status(status: &StatusItem, settings: &Settings) -> Vec<CheckItem> {
    let mut checks = vec![match &status.halted {
        None => good("writing", "new backups are accepted"),
        Some(why) => bad("writing", why, "mend what the log says of the disk, then start the server again"),
    }];
    checks.push(match &status.deletion_latch {
        None => good("deletion", "space of what nobody needs comes back"),
        Some(why) => bad("deletion", why, "stop the server, `backup-server reindex`, start it again"),
    });
    checks.push(match &status.clock_doubt {
        None => good("clock", "it is believed"),
        Some(why) => bad("clock", why, "put the clock right, then `backup-server retention confirm-clock`"),
    });
    let doubt = status.running.as_ref().and_then(|running| memory_doubt(running.hash_mismatches));
    checks.extend(doubt.map(|doubt| bad("memory", &doubt, MEMORY_ADVICE)));
    checks.push(match status.suspended_devices {
        0 => good("devices", &format!("{} of {} accounts", status.devices, status.accounts)),
        n => bad("devices", &format!("{n} kept out since the catalog was put back"), "`backup-server device list`"),
    });
    if status.suspended_tokens > 0 {
        let text = format!("{} are void since the catalog was put back", status.suspended_tokens);
        checks.push(bad("tokens", &text, "`backup-server token list`"));
    }
    checks.extend(status.alarms.iter().map(|alarm| {
        let hint = format!("look at {}, then `backup-server retention confirm-change`", alarm.snapshot);
        doubtful("changes", &format!("{}: {}", alarm.chain, alarm.what), &hint)
    }));
    let free = format!("{} free, {} are kept free", about(status.free_bytes), about(settings.min_free));
    let hint = "make room: delete other files, `backup-server retention run`, `backup-server gc`";
    checks.push(match (status.is_full, status.free_bytes < 2 * settings.min_free) {
        (true, _) => bad("space", &free, hint),
        (false, true) => doubtful("space", &free, hint),
        (false, false) => good("space", &free),
    });
    if status.reserve.bytes > 0 && !status.reserve.is_held {
        checks.push(doubtful("reserve", "it is used up, or could not be taken", hint));
    }
    checks
}

/// Whether something answers where the server says that it listens.
fn reached(url: &str) -> CheckItem {
    let place = url.split('/').nth(2).unwrap_or_default();
    let connected = place.to_socket_addrs().and_then(|addresses| {
        // Of `localhost`, one may be of IPv6, and the server listen by IPv4 alone.
        let nowhere = Err(ErrorKind::AddrNotAvailable.into());
        addresses.fold(nowhere, |reached, next| reached.or_else(|_| TcpStream::connect_timeout(&next, CONNECT_TIMEOUT)))
    });
    match connected {
        Ok(_) => good("server", &format!("it runs at {url}")),
        Err(error) => bad("server", &format!("{url} does not answer: {error}"), "look at its log, and at the firewall"),
    }
}

fn catalog_backups(settings: &Settings) -> CheckItem {
    let mut newest = None;
    let asked = command::perform(settings, &Order::ListCatalogBackups, &mut |item| {
        if let Item::CatalogBackup(backup) = item {
            // They come in order, the newest last.
            newest = Some(backup.created_ms);
        }
    });
    match asked {
        Err(failure) => of_failure("catalog backup", &failure),
        Ok(()) => of_catalog_backups(newest),
    }
}

fn of_catalog_backups(newest_ms: Option<u64>) -> CheckItem {
    of_backup("catalog backup", newest_ms, "`backup-server catalog backup` makes one")
}

/// Of the copy in a second place, where there is one.
fn catalog_copy(settings: &Settings) -> Option<CheckItem> {
    let newest_ms = catalog_backup::newest_copy_ms(settings)?;
    let hint = "look at the log and at that place; the next backup makes up for what it missed";
    Some(of_backup("catalog copy", Some(newest_ms).filter(|ms| *ms > 0), hint))
}

/// Whether the newest backup is new enough.
fn of_backup(what: &str, newest_ms: Option<u64>, hint: &str) -> CheckItem {
    let Some(newest_ms) = newest_ms else { return doubtful(what, "there is none yet", hint) };
    let Some(age) = clock::now_ms().checked_sub(newest_ms).map(Duration::from_millis) else {
        return doubtful(what, "the newest is of a moment that has not come yet: the clock was wrong, or is", hint);
    };
    let text = format!("the newest is {} days old", age.as_secs() / DAY.as_secs());
    if age > CATALOG_BACKUP_AGE_MAX { doubtful(what, &text, hint) } else { good(what, &text) }
}

/// How long the certificate is good for.
pub(super) fn certificate(keys: &Path, now: SystemTime) -> CheckItem {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let path = keys.join("tls.crt");
    let hint = "put a sound certificate there, or delete the file: the server makes its own";
    let pem = match private_files::read(&path) {
        Ok(Some(pem)) => pem,
        Ok(None) => return doubtful("certificate", "there is none yet", "the server makes one when it starts"),
        Err(failure) => return of_failure("certificate", &failure),
    };
    let first = CertificateDer::pem_slice_iter(&pem).next().and_then(Result::ok);
    let Some(validity) = first.and_then(|certificate| Validity::of(&certificate)) else {
        return bad("certificate", &format!("{} holds none", path.display()), hint);
    };
    match validity.not_after.duration_since(now) {
        Err(_) => bad("certificate", "it has expired", hint),
        Ok(left) => {
            let text = format!("good for {} days", left.as_secs() / DAY.as_secs());
            match left < CERTIFICATE_LEFT_MIN {
                true => doubtful("certificate", &text, "ours is made anew at the next start; one of others you renew"),
                false => good("certificate", &text),
            }
        }
    }
}

/// Whether the data directory takes a file and makes it safe.
fn disk(data_dir: &Path) -> CheckItem {
    let probe = data_dir.join("doctor.probe");
    match private_files::probe(&probe, PROBE) {
        Ok(()) => good("disk", "a file was written, synced and removed"),
        Err(error) => {
            let text = format!("{}: {error}", data_dir.display());
            bad("disk", &text, "look at the disk and at who owns the directory; run this as the server's user")
        }
    }
}

/// Whether the system lets a server have as many files as its connections need.
fn open_files(settings: &Settings) -> CheckItem {
    let needed = settings.max_connections as u64 + OTHER_FILES;
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < needed => {
            let text = format!("at most {most}, and {needed} may be needed");
            doubtful("open files", &text, "raise the limit (LimitNOFILE= of a systemd unit), or lower max-connections")
        }
        _ => good("open files", &format!("{needed} may be needed, and are allowed")),
    }
}

pub(super) fn of_failure(name: &str, failure: &Failure) -> CheckItem {
    let report = failure.report();
    let lines: Vec<&str> = report.lines().map(str::trim).collect();
    let (hints, text): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.starts_with("hint: "));
    let hint = hints.iter().map(|hint| hint.trim_start_matches("hint: ")).collect::<Vec<_>>().join("; ");
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    CheckItem { name: name.to_owned(), state: CheckState::Bad, text: text.join("; "), hint }
}

pub(super) fn good(name: &str, text: &str) -> CheckItem {
    CheckItem { name: name.to_owned(), state: CheckState::Good, text: text.to_owned(), hint: None }
}

pub(super) fn doubtful(name: &str, text: &str, hint: &str) -> CheckItem {
    CheckItem { state: CheckState::Doubtful, hint: Some(hint.to_owned()), ..good(name, text) }
}

pub(super) fn bad(name: &str, text: &str, hint: &str) -> CheckItem {
    CheckItem { state: CheckState::Bad, hint: Some(hint.to_owned()), ..good(name, text) }
}
