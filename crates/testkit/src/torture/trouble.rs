//! [`trouble`]: kills the server, also in the middle of a collection, and lets it collect, verify and repair.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Tortured;
use crate::process::{Outcome, Run, Server};
use crate::tree::Random;

pub(super) const COLLECT: [&str; 4] = ["gc", "--now", "--grace", "0s"];

/// Goes on until it is over.
pub(super) fn trouble(server: &RwLock<Server>, is_over: &AtomicBool, random: &mut Random) -> Outcome<Tortured> {
    let mut done = Tortured::default();
    while !is_over.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(100 + random.below(900)));
        match random.below(8) {
            0 => {
                kill(server, random, None)?;
                done.servers_killed += 1;
            }
            1..4 => {
                let commands: [&[&str]; 4] = [&COLLECT, &COLLECT, &["repair"], &["catalog", "backup"]];
                let command = commands[random.index(commands.len())];
                kill(server, random, Some(command))?;
                done.servers_killed += 1;
            }
            4..7 => {
                check_collection(&run(server, &COLLECT)?)?;
                done.collections += 1;
            }
            _ => {
                let commands: [&[&str]; 3] = [&["verify", "--recent"], &["verify", "--full"], &["repair"]];
                let command = commands[random.index(commands.len())];
                run(server, command)?.succeeded()?;
            }
        }
    }
    Ok(done)
}

/// Kills the server, perhaps while it does what an administrator asked for, and starts it again.
fn kill(server: &RwLock<Server>, random: &mut Random, at: Option<&[&str]>) -> Outcome {
    let mut server = server.write().map_err(|_| "somebody panicked with the server")?;
    if !server.is_running()? {
        return Err(format!("the server ended by itself:\n{}", server.log()));
    }
    let running = at.map(|arguments| server.admin(arguments)).transpose()?;
    if running.is_some() {
        thread::sleep(Duration::from_millis(random.below(250)));
    }
    server.kill()?;
    if let Some(running) = running {
        // It lost its server, or was done before.
        running.wait()?;
    }
    thread::sleep(Duration::from_millis(random.below(200)));
    server.restart()
}

/// Runs an administrator's command on a server that is not killed meanwhile.
pub(super) fn run(server: &RwLock<Server>, arguments: &[&str]) -> Outcome<Run> {
    let server = server.read().map_err(|_| "somebody panicked with the server")?;
    server.admin(arguments)?.wait()
}

/// A collection finds everything that is needed, and does its work; or the one by schedule is at it.
pub(super) fn check_collection(run: &Run) -> Outcome {
    if run.errors.contains("garbage is being collected already") {
        return Ok(());
    }
    let is_wrong = |cycle: &serde_json::Value| {
        let refusals = cycle["refusals"].as_array().into_iter().flatten();
        let is_unexpected = |refusal: &serde_json::Value| {
            !refusal.as_str().is_some_and(|why| why.contains("no backup of the catalog knows yet"))
        };
        cycle["objects_lost"] != 0
            || cycle["packs_damaged"] != serde_json::json!([])
            || refusals.into_iter().any(is_unexpected)
    };
    if !run.status.success() || run.all("gc").any(is_wrong) {
        return Err(format!("a collection went wrong: {run}"));
    }
    Ok(())
}
