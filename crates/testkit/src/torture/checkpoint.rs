//! What must hold when nobody disturbs: [`check`], and at the very end [`shrink`] beside [`store_afresh`].

use std::fs;
use std::path::Path;
use std::sync::RwLock;
use std::thread;
use std::time::Duration;

use super::life::Life;
use super::trouble::{self, COLLECT};
use super::{CHECKED_TOGETHER, SERVER_OPTIONS, Torture, Tortured, folder};
use crate::process::{Outcome, Server};

/// Longer than trash and sessions are kept.
const FORGETTING: Duration = Duration::from_secs(3);
/// Collections until nothing more is found; each looks twice.
const COLLECTIONS_MAX: usize = 6;

/// Collects, verifies every byte, and lets every client restore everything.
pub(super) fn check(server: &RwLock<Server>, lives: &mut [Life], tortured: &mut Tortured) -> Outcome {
    trouble::check_collection(&trouble::run(server, &COLLECT)?)?;
    trouble::run(server, &["verify", "--full"])?.succeeded()?;
    for together in lives.chunks_mut(CHECKED_TOGETHER) {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let checking: Vec<_> = together.iter_mut().map(|life| scope.spawn(|| life.check())).collect();
            checking
                .into_iter()
                .map(|life| life.join().map_err(|_| "a checkpoint ended in a panic".to_owned()))
                .collect()
        });
        for outcome in outcomes {
            tortured.add(&outcome??);
        }
    }
    let status = trouble::run(server, &["status"])?.succeeded()?;
    match status.last().map(|status| (&status["deletion_latch"], &status["halted"])) {
        Some((latch, halted)) if latch.is_null() && halted.is_null() => Ok(()),
        _ => Err(format!("the server is not well: {status}")),
    }
}

/// Collects until nothing more is found; bytes of packs then.
pub(super) fn shrink(server: &RwLock<Server>, data_dir: &Path) -> Outcome<u64> {
    {
        // What clients left behind that were cut off is no longer waited for.
        let mut server = server.write().map_err(|_| "somebody panicked with the server")?;
        server.kill()?;
        server.restart_with(&[&SERVER_OPTIONS[..], &["--session-lifetime", "1s"]].concat())?;
    }
    thread::sleep(FORGETTING);
    for _ in 0..COLLECTIONS_MAX {
        let run = trouble::run(server, &COLLECT)?;
        trouble::check_collection(&run)?;
        let is_idle = |cycle: &serde_json::Value| {
            ["packs_deleted", "packs_condemned", "packs_waiting", "packs_repacked"]
                .iter()
                .all(|field| cycle[field] == 0)
        };
        if run.all("gc").last().is_some_and(is_idle) {
            break;
        }
    }
    packs_len(data_dir)
}

/// Puts what is left into a store that never held anything else; bytes of its packs.
pub(super) fn store_afresh(plan: &Torture, lives: &mut [Life]) -> Outcome<u64> {
    let home = folder(&plan.home, "fresh")?;
    let server = Server::start_with(&plan.server, &home, &SERVER_OPTIONS)?;
    for life in lives {
        life.store_afresh(plan, &server)?;
    }
    packs_len(&server.data_dir())
}

/// Bytes of all packs, complete or not.
fn packs_len(data_dir: &Path) -> Outcome<u64> {
    ["packs", "staging", "quarantine"].iter().map(|name| len_below(&data_dir.join(name))).sum()
}

fn len_below(dir: &Path) -> Outcome<u64> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut len = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_dir = entry.file_type().map_err(failed)?.is_dir();
        len += if is_dir { len_below(&entry.path())? } else { entry.metadata().map_err(failed)?.len() };
    }
    Ok(len)
}
