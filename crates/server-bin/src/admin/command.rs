//! Administrative commands: they ask the server that runs on the data directory, or do it themselves when none does.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use crate::admin::desk::Desk;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::admin::shares::ShareOrder;
use crate::admin::{
    AccountItem, AdoptedSnapshotItem, AlarmItem, AuditItem, CatalogRestoredItem, DeviceItem, EnrolmentItem, Item,
    Order, PasswordItem, PolicyItem, ProgressItem, ReserveItem, RetentionRunItem, StatusItem, TokenItem, VerdictItem,
    gc, socket,
};
use crate::args::{Place, TokenScope};
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::home::Home;
use crate::keys::random;
use crate::login::passwords::{self, PASSWORD_LEN_MAX};
use crate::metrics::{MEMORY_ADVICE, memory_doubt};
use crate::options::Options;

/// Time that a server gets which has taken the data directory, and does not answer yet because it is starting.
const STARTING: Duration = Duration::from_secs(10);
/// Random bytes in a password that is drawn.
const DRAWN_LEN: usize = 12;
const RETRY: Duration = Duration::from_millis(100);

/// Carries out an order; each line for standard output goes to `print`.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(place: Place, order: &Order, print: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let is_json = place.json;
    perform(&settings(place)?, order, &mut |item| tell(is_json, print, &item))
}

/// Carries out an order.
///
/// # Errors
/// [`Failure`].
pub(crate) fn perform(settings: &Settings, order: &Order, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        if socket::order(&settings.data_dir, order, emit)?.is_some() {
            return Ok(());
        }
        match Home::open(settings.clone(), false) {
            Ok(home) => return Desk { home: &home, live: None }.perform(order.clone(), emit),
            // The lock is held and nobody answers: a server that is starting or stopping, or a command like this one.
            Err(failure) if failure.kind() == FailureKind::InUse && started.elapsed() < STARTING => {
                std::thread::sleep(RETRY);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Does something that needs no server, and, where it writes, none that runs.
///
/// # Errors
/// [`Failure`].
pub(crate) fn alone(
    place: Place,
    print: &mut dyn FnMut(&str),
    perform: impl FnOnce(&Settings, &mut dyn FnMut(Item)) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let is_json = place.json;
    let settings = settings(place)?;
    perform(&settings, &mut |item| tell(is_json, print, &item))
}

/// Gives an account a password: one that is drawn and printed, or the first line of standard input.
///
/// # Errors
/// [`Failure`].
pub(crate) fn set_password(
    place: Place,
    account: String,
    from_stdin: bool,
    print: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let said = if from_stdin { said_password()? } else { Zeroizing::new(object::hex::encode(&random::<DRAWN_LEN>()?)) };
    let order = Order::SetPassword { account: account.clone(), hash: passwords::hash(&said)? };
    let is_json = place.json;
    run(place, &order, print)?;
    let drawn = (!from_stdin).then(|| said.to_string());
    tell(is_json, print, &Item::Password(PasswordItem { account, password: drawn }));
    Ok(())
}

/// Makes a share; with the first line of standard input as its password, if it is to have one.
///
/// # Errors
/// [`Failure`].
pub(crate) fn add_share(
    place: Place,
    mut share: ShareOrder,
    has_password: bool,
    print: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    if has_password {
        share.password_hash = Some(passwords::hash(&said_password()?)?);
    }
    run(place, &Order::AddShare(Box::new(share)), print)
}

/// The first line of standard input.
fn said_password() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(2 * PASSWORD_LEN_MAX as u64)
        .read_line(&mut line)
        .map_err(|error| Failure::usage("the password cannot be read from standard input").because(&error))?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Prints an item: as JSON, or for people, whom progress interests on a terminal only.
pub(crate) fn tell(is_json: bool, print: &mut dyn FnMut(&str), item: &Item) {
    match item {
        Item::Progress(progress) if !is_json => show_progress(progress),
        item => print(&if is_json { json(item) } else { for_people(item) }),
    }
}

/// The settings of the server: its flags are not known here, its environment and file may be.
pub(super) fn settings(place: Place) -> Result<Settings, Failure> {
    let environment = Options::from_environment()
        .map_err(|error| Failure::usage("an environment variable is not what it should be").because(&error))?;
    let said = Options { data_dir: place.data_dir, ..Options::default() };
    Settings::resolve(said.or(environment), place.config.as_deref())
}

fn json(item: &Item) -> String {
    serde_json::to_string(item).expect("items are plain structures")
}

fn for_people(item: &Item) -> String {
    match item {
        Item::Status(status) => status_text(status),
        Item::Setting(setting) => setting.text(),
        Item::SettingProblem(problem) => problem.text(),
        Item::SettingsChecked(checked) => checked.text(),
        Item::SettingChange(change) => change.text(),
        Item::SettingsExported { text: Some(text), .. } => text.trim_end().to_owned(),
        Item::SettingsExported { file, text: None } => {
            format!("wrote the settings to {}", file.as_deref().unwrap_or("-"))
        }
        Item::Check(check) => check.text(),
        Item::Enrolment(enrolment) => enrolment_text(enrolment),
        Item::Account(account) => account_text(account),
        Item::Password(item) => item.password.clone().unwrap_or_else(|| format!("{}: password set", item.account)),
        // Standard output holds the link alone, so that a script can pass it on.
        Item::SetupLink(link) => link.setup_link.clone(),
        Item::Audit(entry) => audit_text(entry),
        Item::Token(token) => token_text(token),
        Item::Share(share) => share.text(),
        Item::Device(device) => device_text(device),
        Item::Gc(item) => gc::text(item),
        Item::GcPack(item) => gc::pack_text(item),
        Item::RetentionPolicy(policy) => policy_text(policy),
        Item::RetentionVerdict(verdict) => verdict_text(verdict),
        Item::RetentionRun(run) => run_text(run),
        Item::ChangeConfirmed(alarm) => format!("{}: confirmed", alarm_text(alarm)),
        item => upkeep_text(item),
    }
}

/// Standard output holds the string alone, so that a script can pass it on.
fn enrolment_text(item: &EnrolmentItem) -> String {
    item.enrolment.clone()
}

fn status_text(item: &StatusItem) -> String {
    let mut lines = vec![match &item.running {
        Some(running) => format!("running at {} (pid {}, version {})", running.url, running.pid, item.version),
        None => "not running".to_owned(),
    }];
    lines.push(format!("data directory  {}", item.data_dir));
    if let Some(running) = &item.running {
        lines.push(format!("connected       {}, of these writing {}", running.clients, running.sessions));
        if running.unusual_snapshots > 0 {
            lines.push(format!(
                "WARNING         snapshots that keep unusually little of the one before: {}; see the log",
                running.unusual_snapshots
            ));
        }
    }
    let doubt = item.running.as_ref().and_then(|running| memory_doubt(running.hash_mismatches));
    lines.extend(doubt.map(|doubt| format!("MEMORY          {doubt}; {MEMORY_ADVICE}")));
    lines.push(format!("accounts        {}", item.accounts));
    lines.push(format!("devices         {}", item.devices));
    lines.push(format!("vaults          {}", item.vaults));
    lines.push(match item.trashed_snapshots {
        0 => format!("snapshots       {}", item.snapshots),
        count => format!("snapshots       {}, in the trash {count}", item.snapshots),
    });
    if item.pinned_snapshots > 0 {
        lines.push(format!("kept            {} purged snapshots that are being restored", item.pinned_snapshots));
    }
    lines.push(format!("stored          {} in {} packs", about(item.bytes_stored), item.packs));
    let full = if item.is_full { " - too little: nothing new is accepted" } else { "" };
    lines.push(format!("free            {}{full}", about(item.free_bytes)));
    lines.extend(reserve_text(&item.reserve));
    lines.extend(item.halted.as_ref().map(|reason| format!("HALTED          {reason}; restart the server")));
    let hint = "nothing older goes; look at the machine, then say `backup-server retention confirm-change`";
    lines.extend(item.alarms.iter().map(|alarm| format!("UNUSUAL         {}; {hint}", alarm_text(alarm))));
    let hint = "`backup-server retention confirm-clock` if it is right";
    lines.extend(item.clock_doubt.as_ref().map(|doubt| format!("CLOCK           nothing goes: {doubt}; {hint}")));
    if item.suspended_devices > 0 {
        let hint = "revoke those that should be, then say `backup-server device confirm --all`";
        lines.push(format!("SUSPENDED       {} devices, by an older catalog; {hint}", item.suspended_devices));
    }
    if item.suspended_tokens > 0 {
        let hint = "revoke those that should be, then say `backup-server token confirm --all`";
        lines.push(format!("SUSPENDED       {} tokens, by an older catalog; {hint}", item.suspended_tokens));
    }
    lines.extend(item.deletion_latch.as_ref().map(|reason| format!("no deletion     {reason}")));
    lines.join("\n")
}

/// Only what somebody should look at.
fn reserve_text(item: &ReserveItem) -> Option<String> {
    let ReserveItem { bytes, is_held, problem } = item;
    let state = match problem {
        _ if *is_held || *bytes == 0 => return None,
        Some(problem) => format!("cannot be taken: {problem}"),
        None => format!("in use; taken again when {} are free", about(2 * bytes)),
    };
    Some(format!("reserve         {state}"))
}

fn account_text(item: &AccountItem) -> String {
    let AccountItem { account, role, devices, snapshots, bytes_stored, used_bytes, .. } = item;
    let quota = item.quota_bytes.map(|quota| format!(", of a quota of {}: {}", about(quota), about(*used_bytes)));
    let disabled = if item.disabled_ms.is_some() { ", disabled" } else { "" };
    let factor = if item.has_second_factor { ", second factor" } else { "" };
    let quota = quota.unwrap_or_default();
    let stored = about(*bytes_stored);
    format!("{account}  {role}, devices: {devices}, snapshots: {snapshots}, {stored}{quota}{factor}{disabled}")
}

fn audit_text(item: &AuditItem) -> String {
    let AuditItem { at_ms, actor, means, address, what, subject, detail, .. } = item;
    let who = if actor.is_empty() { means.clone() } else { format!("{actor} ({means})") };
    let place = if address.is_empty() { String::new() } else { format!(" from {address}") };
    let rest = [subject, detail].into_iter().filter(|text| !text.is_empty()).map(|text| text.escape_debug());
    let rest: Vec<String> = rest.map(|text| text.to_string()).collect();
    format!("{}  {what}  {}{place}  {}", minute(*at_ms), who.escape_debug(), rest.join("; ")).trim_end().to_owned()
}

/// Day and minute in UTC, of milliseconds since 1970.
fn minute(ms: u64) -> String {
    let at = i64::try_from(ms / 1000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    at.map_or_else(String::new, |at| {
        let (hour, minute, _) = at.to_hms();
        format!("{} {hour:02}:{minute:02}", at.date())
    })
}

/// Of a token that was just made, standard output holds the token alone, so that a script can pass it on.
fn token_text(item: &TokenItem) -> String {
    let TokenItem { token, name, account, .. } = item;
    let revoked = match (item.revoked_ms, item.suspended) {
        (Some(_), _) => ", revoked",
        (None, true) => ", suspended",
        (None, false) => "",
    };
    let scope = scope_text(item.scope);
    match &item.secret {
        Some(secret) => secret.clone(),
        None => format!("{token}  {} of {account}{scope}{revoked}", name.escape_debug()),
    }
}

fn scope_text(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::Admin => "",
        TokenScope::PutOnly => ", put-only",
        TokenScope::Read => ", read",
        TokenScope::Restore => ", restore",
    }
}

fn device_text(item: &DeviceItem) -> String {
    let DeviceItem { device, name, account, .. } = item;
    let revoked = match (item.revoked_ms, item.suspended) {
        (Some(_), _) => ", revoked",
        (None, true) => ", suspended",
        (None, false) => "",
    };
    let scope = scope_text(item.scope);
    format!("{device}  {} of {account}{scope}{revoked}", name.escape_debug())
}

fn policy_text(item: &PolicyItem) -> String {
    let PolicyItem { chain, is_own, text, .. } = item;
    let chain = chain.as_ref().map_or_else(|| "default".to_owned(), |chain| chain.escape_debug().to_string());
    let origin = if *is_own { "" } else { " (default)" };
    format!("{chain}  {text}{origin}")
}

fn verdict_text(item: &VerdictItem) -> String {
    let VerdictItem { chain, snapshot, received_ms, stays, reasons } = item;
    let (short, received) = (short(snapshot), minute(*received_ms));
    let word = if *stays { "stays" } else { "goes " };
    format!("{word}  {short}  {received}  {}  {}", chain.escape_debug(), reasons.join("; "))
}

fn alarm_text(item: &AlarmItem) -> String {
    let AlarmItem { chain, snapshot, raised_ms, what } = item;
    format!("{}, snapshot {} of {}: {what}", chain.escape_debug(), short(snapshot), minute(*raised_ms))
}

/// The beginning of a snapshot's id, which is enough to name it.
fn short(snapshot: &str) -> String {
    snapshot.chars().take(8).collect()
}

fn run_text(item: &RetentionRunItem) -> String {
    let RetentionRunItem { chain, is_simulated, stays, goes, is_unusual } = item;
    let (go, stay) = if *is_simulated { ("would go", "would stay") } else { ("went to the trash", "stay") };
    let unusual = if *is_unusual && *is_simulated { "; a run must be confirmed with --confirm-large" } else { "" };
    format!("{}: {goes} {go}, {stays} {stay}{unusual}", chain.escape_debug())
}

fn progress_text(item: &ProgressItem) -> String {
    let ProgressItem { stage, unit, done, total } = item;
    let (done, counted) =
        if unit == "bytes" { (about(*done), about(*total)) } else { (done.to_string(), format!("{total} {unit}")) };
    if *total == 0 { format!("{stage}: {done}") } else { format!("{stage}: {done} of {counted}") }
}

/// Overwrites the line before, if there is a person to see it.
fn show_progress(item: &ProgressItem) {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        // Nobody to see it is no reason to stop.
        let _ = write!(out, "\r\x1b[K{}\r", progress_text(item)).and_then(|()| out.flush());
    }
}

/// What verifying, repairing and rebuilding tell.
pub(crate) fn upkeep_text(item: &Item) -> String {
    match item {
        Item::DamagedPack(pack) => {
            let what = pack.flaws.iter().map(|flaw| format!("\n  at byte {}: {}", flaw.offset, flaw.what));
            let lost = pack.damaged.iter().filter(|object| object.is_lost).count();
            let (damaged, flaws) = (pack.damaged.len(), what.collect::<String>());
            format!("pack {}: {damaged} objects damaged, {lost} of them lost{flaws}", pack.pack)
        }
        Item::DamagedFile(file) => format!("{}: {}", file.path, file.what),
        Item::IncompleteSnapshot(snapshot) => {
            let mut text = format!(
                "snapshot {} ({} of {}, {}{}): {} paths do not restore",
                &snapshot.snapshot[..12.min(snapshot.snapshot.len())],
                snapshot.chain.escape_debug(),
                snapshot.device.escape_debug(),
                snapshot.account,
                if snapshot.in_trash { ", in the trash" } else { "" },
                snapshot.paths_total
            );
            snapshot.paths.iter().for_each(|path| text.push_str(&format!("\n  {path}")));
            if snapshot.paths_total > snapshot.paths.len() as u64 {
                text.push_str("\n  and more");
            }
            text
        }
        Item::IncompleteVersion(version) => format!(
            "drive of {}: {}, version {}{}{}: cannot be read",
            version.account,
            version.path.as_deref().unwrap_or("a file"),
            version.version,
            if version.is_newest { "" } else { ", not the newest" },
            if version.in_trash { ", in the trash" } else { "" },
        ),
        Item::RepairedPack(pack) => match &pack.moved_to {
            Some(new) => format!("pack {}: set aside; {} sound records are in {new} now", pack.pack, pack.records),
            None if pack.is_set_aside => format!("pack {}: set aside; nothing of it could be saved", pack.pack),
            None => format!("pack {}: {} rows of the index mended, {} marked", pack.pack, pack.indexed, pack.marked),
        },
        Item::AdoptedPack { pack } => format!("pack {pack}: taken in"),
        Item::AdoptedSnapshot(snapshot) => {
            let AdoptedSnapshotItem { snapshot, device, chain, .. } = snapshot;
            format!("snapshot {snapshot}: taken in again ({} of {})", chain.escape_debug(), device.escape_debug())
        }
        Item::Verified(item) if item.packs == 0 => format!("verified {} objects, {}", item.objects, about(item.bytes)),
        Item::Verified(item) => format!(
            "verified {} packs, {}: {} damaged, {} objects lost, {} snapshots and {} versions of drives incomplete{}",
            item.packs,
            about(item.bytes),
            item.damaged_packs,
            item.lost_objects,
            item.incomplete_snapshots,
            item.incomplete_versions,
            match item.damaged_files {
                0 => String::new(),
                count => format!(", {count} other files damaged"),
            }
        ),
        Item::Repaired(item) => format!(
            "looked at {} packs: {} {}, {} taken in, {} snapshots and {} versions of drives incomplete{}",
            item.packs,
            item.damaged_packs,
            if item.is_dry_run { "need repair" } else { "repaired" },
            item.adopted_packs,
            item.incomplete_snapshots,
            item.incomplete_versions,
            item.strangers.iter().map(|path| format!("\n  not ours, left alone: {path}")).collect::<String>()
        ),
        Item::Reindexed(item) => format!(
            "read {} packs, {}: {} objects; {} packs damaged, {} missing; {} snapshots taken in again, {} incomplete, \
             {} purged before{}{}{}",
            item.packs,
            about(item.bytes),
            item.objects,
            item.damaged_packs.len(),
            item.missing_packs.len(),
            item.adopted_snapshots,
            item.incomplete_snapshots.len(),
            item.purged_snapshots,
            match item.suspended_devices {
                0 => String::new(),
                count => format!(
                    "\n  {count} devices are suspended: revoke those that should be (`device list`), then say \
                     `device confirm --all`"
                ),
            },
            match item.suspended_tokens {
                0 => String::new(),
                count => format!(
                    "\n  {count} tokens are suspended: revoke those that should be (`token list`), then say `token \
                     confirm --all`"
                ),
            },
            item.unknown_vaults.iter().map(|vault| format!("\n  vault {vault}: no key")).collect::<String>()
        ),
        Item::CatalogBackup(item) => {
            format!("{}  generation {}, {}, in {}", item.name, item.generation, about(item.bytes), item.folder)
        }
        Item::CatalogRestored(CatalogRestoredItem { backup, generation, set_aside }) => {
            let what = match backup {
                Some(backup) => format!("put the catalog back from {backup}, generation {generation}"),
                None => "made an empty catalog: no backup of it was there".to_owned(),
            };
            let before = set_aside.as_ref().map(|path| format!("\n  the one before is {path} now"));
            what + &before.unwrap_or_default()
        }
        Item::KeysExported { file, vaults, with_passphrase } => {
            let how = if *with_passphrase { "protected by the passphrase" } else { "not protected: keep it safe" };
            format!("wrote the keys of {vaults} vaults to {file}, {how}")
        }
        Item::MirrorProblem(problem) => format!("{}: {}", problem.path, problem.message),
        Item::Mirrored(report) => report.text(),
        Item::Progress(progress) => progress_text(progress),
        Item::Status(_)
        | Item::Enrolment(_)
        | Item::Account(_)
        | Item::Device(_)
        | Item::Password(_)
        | Item::SetupLink(_)
        | Item::Audit(_)
        | Item::Setting(_)
        | Item::SettingProblem(_)
        | Item::SettingsChecked(_)
        | Item::SettingsExported { .. }
        | Item::SettingChange(_)
        | Item::CatalogSettings(_)
        | Item::Check(_)
        | Item::Token(_)
        | Item::Gc(_)
        | Item::GcPack(_)
        | Item::RetentionPolicy(_)
        | Item::RetentionVerdict(_)
        | Item::RetentionRun(_)
        | Item::Share(_)
        | Item::ChangeConfirmed(_) => json(item),
    }
}

/// A size with one digit after the point; exact when it is small.
pub(super) fn about(bytes: u64) -> String {
    let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(about(0), "0 B");
        assert_eq!(about(1023), "1023 B");
        assert_eq!(about(1536), "1.5 KiB");
        assert_eq!(about(u64::MAX), "16777215.9 TiB");
    }
}
