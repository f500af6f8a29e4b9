//! `rescue`: a restore that needs packs and a key file, and nothing else of a server.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use host_fs::RestoreOptions;
use object::VaultId;
use rescue::{FoundSnapshot, Packs, RescueError};
use serde_json::json;
use vault::{Unlock, VaultKey};

use crate::admin::export;
use crate::args::Rescue;
use crate::failure::{Failure, FailureKind};
use crate::vault_keys;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Lists or restores; each line for standard output goes to `print`.
///
/// # Errors
/// [`Failure`] of kind `Integrity` when something could not be had from the packs.
pub(crate) fn run(said: &Rescue, print: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let keys = keys(said)?;
    let mut progress = Progress::new(said.json);
    let packs = Packs::open(&said.packs, &mut |read, total| {
        progress.tell(
            print,
            || json!({"event": "progress", "stage": "reading packs", "unit": "packs", "done": read, "total": total}),
        );
    });
    let packs =
        packs.map_err(|error| Failure::new(FailureKind::Unavailable, "cannot read the packs").because(&error))?;
    for (path, reason) in packs.unreadable() {
        tell(
            said,
            print,
            &json!({"event": "unreadable-pack", "path": path.display().to_string(), "reason": reason}),
            || format!("{}: cannot be read: {reason}", path.display()),
        );
    }
    let rescue = rescue::Rescue::new(packs, keys.iter().map(|(vault, key)| (*vault, key)));
    match (&said.snapshot, &said.target) {
        (Some(prefix), Some(target)) => {
            let found = rescue.find(prefix).map_err(|error| not_restored(&error))?;
            let options = RestoreOptions { trust_target: said.trust_target, ..RestoreOptions::for_this_process() };
            let mut entries = 0u64;
            let report = rescue.restore(&found, target, options, &mut || {
                entries += 1;
                progress.tell(print, || json!({"event": "progress", "stage": "restoring", "unit": "entries", "done": entries, "total": 0}));
            });
            let report = report.map_err(|error| not_restored(&error))?;
            for problem in &report.problems {
                let path = problem.path.display().to_string();
                let line = json!({"event": "problem", "path": path, "message": problem.message});
                tell(said, print, &line, || format!("{path}: {}", problem.message));
            }
            let line = json!({
                "event": "restored", "snapshot": found.id.to_string(), "files": report.files, "entries": report.entries,
                "bytes": report.bytes, "problems": report.problems.len(), "not_applied": report.not_applied,
            });
            tell(said, print, &line, || {
                format!("restored {} files, {} entries, {} bytes", report.files, report.entries, report.bytes)
            });
            if report.is_damaged() {
                return Err(Failure::new(FailureKind::Integrity, "some files could not be had from these packs")
                    .hint("look for the packs that are missing, and say the same again"));
            }
            if !report.problems.is_empty() {
                return Err(Failure::new(FailureKind::Partial, "some files could not be written here"));
            }
            Ok(())
        }
        _ => {
            for found in rescue.snapshots() {
                tell(said, print, &listed(&found), || listed_text(&found));
            }
            Ok(())
        }
    }
}

fn keys(said: &Rescue) -> Result<Vec<(VaultId, VaultKey)>, Failure> {
    let bytes = std::fs::read(&said.key_file).map(zeroize::Zeroizing::new).map_err(|error| {
        Failure::new(FailureKind::Unavailable, format!("cannot read {}", said.key_file.display())).because(&error)
    })?;
    let file = vault_keys::parse(&said.key_file, &bytes)?;
    let passphrase = said.passphrase_file.as_deref().map(export::passphrase).transpose()?;
    let unlock = passphrase.as_ref().map(|passphrase| Unlock::Passphrase(passphrase));
    let mut keys = Vec::new();
    let mut failure = None;
    for vault in &file.vaults {
        match vault.open(unlock) {
            Ok(key) => keys.push((vault.id, key)),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if keys.is_empty() => {
            let failure = Failure::new(FailureKind::NotAllowed, "no key in the key file can be used").because(&error);
            Err(failure.hint("name the file with the passphrase: --passphrase-file FILE"))
        }
        _ => Ok(keys),
    }
}

fn listed(found: &FoundSnapshot) -> serde_json::Value {
    let snapshot = &found.snapshot;
    json!({
        "event": "snapshot", "snapshot": found.id.to_string(), "vault": object::hex::encode(found.vault.as_bytes()),
        "host": snapshot.host, "user": snapshot.user, "chain": snapshot.chain, "started_s": snapshot.started.secs,
        "files": snapshot.files, "bytes": snapshot.bytes,
        "roots": snapshot.roots.iter().map(|root| String::from_utf8_lossy(root).into_owned()).collect::<Vec<_>>(),
    })
}

fn listed_text(found: &FoundSnapshot) -> String {
    let snapshot = &found.snapshot;
    let roots: Vec<_> =
        snapshot.roots.iter().map(|root| String::from_utf8_lossy(root).escape_debug().to_string()).collect();
    format!(
        "{}  {}s  {}  {}  {} files, {} bytes",
        found.id.short(),
        snapshot.started.secs,
        snapshot.host.escape_debug(),
        roots.join(" "),
        snapshot.files,
        snapshot.bytes
    )
}

fn tell(said: &Rescue, print: &mut dyn FnMut(&str), line: &serde_json::Value, text: impl Fn() -> String) {
    if said.json { print(&line.to_string()) } else { print(&text()) }
}

fn not_restored(error: &RescueError) -> Failure {
    let kind = match error {
        RescueError::Host(_) => FailureKind::Unavailable,
        _ => FailureKind::Usage,
    };
    Failure::new(kind, "nothing was restored").because(error)
}

/// Tells how far it is, once a second: on standard output as JSON, else on a terminal only.
struct Progress {
    is_json: bool,
    told: Instant,
}

impl Progress {
    fn new(is_json: bool) -> Self {
        Self { is_json, told: Instant::now() }
    }

    fn tell(&mut self, print: &mut dyn FnMut(&str), line: impl FnOnce() -> serde_json::Value) {
        if self.told.elapsed() < PROGRESS_INTERVAL || !(self.is_json || std::io::stdout().is_terminal()) {
            return;
        }
        self.told = Instant::now();
        print(&line().to_string());
    }
}
