//! Random histories of many real clients and one real server, either of which is killed at random moments; [`torture`].
//!
//! Each client has a tree that changes, a chain of snapshots, and an oracle: what the tree was at each backup. A round lets
//! all of them do what people do, and worse, at the same time; at the checkpoint after it every snapshot that was committed
//! and not taken away must be listed and restore identically, whatever was collected or killed in between. At the end the
//! store must be about as small as one into which nothing but the snapshots that are left was ever put.

mod checkpoint;
mod life;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Outcome, Server};
use crate::tree::Random;
use life::Life;

/// Small packs, so that there are many; everything that happens now and then happens all the time.
const SERVER_OPTIONS: [&str; 16] = [
    "--pack-size",
    "1MiB",
    "--seal-interval",
    "500ms",
    "--min-free",
    "64MiB",
    "--gc-interval",
    "3s",
    "--gc-grace",
    "0s",
    "--retention-interval",
    "700ms",
    "--trash-delay",
    "1s",
    "--log-level",
    "info",
];
/// Clients of a checkpoint that restore at the same time.
const CHECKED_TOGETHER: usize = 4;

/// What to do to whom, and for how long.
#[derive(Clone, Debug)]
pub struct Torture {
    /// The program `backup-server`.
    pub server: PathBuf,
    /// The program `backup-client`.
    pub client: PathBuf,
    /// An empty folder; whoever made it removes it.
    pub home: PathBuf,
    /// How many clients.
    pub clients: usize,
    /// When it ends.
    pub length: Length,
    /// Decides what everybody does; not when the processes get to it.
    pub seed: u64,
}

/// When a torture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After so many rounds.
    Rounds(u64),
    /// After the first round that ends later than this.
    Time(Duration),
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tortured {
    /// Rounds, each with a checkpoint.
    pub rounds: u64,
    /// Backups that said they were committed.
    pub backups: u64,
    /// Clients that were killed at work.
    pub clients_killed: u64,
    /// How often the server was killed.
    pub servers_killed: u64,
    /// Collections of garbage that somebody asked for.
    pub collections: u64,
    /// Snapshots that were moved to the trash.
    pub forgotten: u64,
    /// Snapshots that were brought back.
    pub undeleted: u64,
    /// Snapshots that were restored and compared.
    pub restored: u64,
    /// Snapshots that were left at the end.
    pub left: u64,
    /// Bytes of packs at the end.
    pub stored_bytes: u64,
    /// Bytes of packs of a store into which only what was left was put.
    pub fresh_bytes: u64,
}

impl Tortured {
    /// What is stored at the end, as a multiple of what a fresh store needs.
    #[must_use]
    pub fn size_factor(&self) -> f64 {
        self.stored_bytes as f64 / self.fresh_bytes.max(1) as f64
    }

    fn add(&mut self, other: &Self) {
        self.backups += other.backups;
        self.clients_killed += other.clients_killed;
        self.servers_killed += other.servers_killed;
        self.collections += other.collections;
        self.forgotten += other.forgotten;
        self.undeleted += other.undeleted;
        self.restored += other.restored;
    }
}

/// Tortures; `tell` gets a line now and then.
///
/// # Errors
/// The first thing that did not hold, and the seed.
pub fn torture(plan: &Torture, tell: &mut dyn FnMut(&str)) -> Outcome<Tortured> {
    run(plan, tell).map_err(|error| format!("seed {}: {error}", plan.seed))
}

fn run(plan: &Torture, tell: &mut dyn FnMut(&str)) -> Outcome<Tortured> {
    let begun = Instant::now();
    let mut random = Random::new(plan.seed);
    let server_home = folder(&plan.home, "tortured")?;
    let server = Server::start_with(&plan.server, &server_home, &SERVER_OPTIONS)?;
    // Whoever forgets may forget at once.
    server.admin(&["retention", "set", "--min-age", "0s"])?.wait()?.succeeded()?;
    let mut lives = Vec::with_capacity(plan.clients);
    for index in 0..plan.clients {
        lives.push(Life::begin(plan, index, &server, Random::new(random.next_u64()))?);
    }
    let server = RwLock::new(server);
    let mut tortured = Tortured::default();
    loop {
        turmoil(&server, &mut lives, &mut random, &mut tortured)?;
        checkpoint::check(&server, &mut lives, &mut tortured)?;
        tortured.rounds += 1;
        let Tortured { rounds, backups, clients_killed, servers_killed, restored, .. } = tortured;
        let seconds = begun.elapsed().as_secs();
        tell(&format!(
            "{seconds} s: round {rounds} holds; {backups} backups, {clients_killed} clients and {servers_killed} times \
             the server killed, {restored} restored"
        ));
        match plan.length {
            Length::Rounds(count) if rounds < count => {}
            Length::Time(time) if begun.elapsed() < time => {}
            _ => break,
        }
    }
    tortured.left = lives.iter().map(Life::left).sum();
    tortured.stored_bytes = checkpoint::shrink(&server, &server_home.join("server"))?;
    tell(&format!("{} snapshots are left, in packs of {} bytes", tortured.left, tortured.stored_bytes));
    tortured.fresh_bytes = checkpoint::store_afresh(plan, &mut lives)?;
    Ok(tortured)
}

/// All clients at once, and somebody who troubles the server.
fn turmoil(server: &RwLock<Server>, lives: &mut [Life], random: &mut Random, tortured: &mut Tortured) -> Outcome {
    let is_over = AtomicBool::new(false);
    let mut hand = Random::new(random.next_u64());
    thread::scope(|scope| {
        let living: Vec<_> = lives
            .iter_mut()
            .map(|life| {
                let is_over = &is_over;
                scope.spawn(move || life.live(server, is_over).inspect_err(|_| is_over.store(true, Ordering::SeqCst)))
            })
            .collect();
        let troubling = scope.spawn(|| trouble::trouble(server, &is_over, &mut hand));
        let mut outcome = Ok(());
        for life in living {
            match life.join().map_err(|_| "a client's life ended in a panic".to_owned()).and_then(|lived| lived) {
                Ok(lived) => tortured.add(&lived),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        is_over.store(true, Ordering::SeqCst);
        let troubled = troubling.join().map_err(|_| "troubling the server ended in a panic".to_owned())?;
        tortured.add(&outcome.and(troubled)?);
        Ok(())
    })
}

/// A new folder.
fn folder(parent: &Path, name: &str) -> Outcome<PathBuf> {
    let path = parent.join(name);
    fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
