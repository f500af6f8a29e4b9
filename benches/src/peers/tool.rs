//! [`Tool`]: a backup program with a repository; [`Peer`]: how one is come by.

mod borg;
mod bupstash;
pub mod ours;
mod restic;
mod rsync;
mod rustic;

use std::env;
use std::path::{Path, PathBuf};

use testkit::process::Outcome;

use super::cost::Cost;

pub use self::rsync::wire_of_stats;

/// Peers a person can name.
pub const NAMES: [&str; 5] = ["restic", "borg", "rustic", "bupstash", "rsync"];

/// What a tool is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The programs of this project.
    Ours,
    /// Keeps versions in a repository that stores equal content once: what the goals are measured against.
    Dedup,
    /// Keeps one plain copy: for orientation.
    Copy,
}

/// A backup program with a repository of its own, which is empty at first.
pub trait Tool {
    /// Backs up a folder; figures of the repository are filled in by the caller.
    ///
    /// # Errors
    /// When the program fails.
    fn back_up(&mut self, source: &Path) -> Outcome<Cost>;

    /// Restores what was backed up last below the empty folder `target`: the cost, and the folder's copy.
    ///
    /// # Errors
    /// When the program fails.
    fn restore(&mut self, source: &Path, target: &Path) -> Outcome<(Cost, PathBuf)>;

    /// Where the repository is.
    fn repository(&self) -> PathBuf;
}

/// A kind of tool.
pub struct Peer {
    pub name: &'static str,
    pub class: Class,
    /// Makes one whose repository and caches are in an empty folder.
    pub open: fn(&Path) -> Outcome<Box<dyn Tool>>,
    /// The program it needs, and how to come by it; none for ours.
    program: Option<(&'static str, &'static str)>,
}

const ALL: [Peer; 6] = [
    Peer { name: "ours", class: Class::Ours, open: ours::open, program: None },
    Peer {
        name: "restic",
        class: Class::Dedup,
        open: restic::open,
        program: Some(("restic", "apt-get install restic")),
    },
    Peer { name: "borg", class: Class::Dedup, open: borg::open, program: Some(("borg", "apt-get install borgbackup")) },
    Peer {
        name: "rustic",
        class: Class::Dedup,
        open: rustic::open,
        program: Some(("rustic", "cargo install rustic-rs")),
    },
    Peer {
        name: "bupstash",
        class: Class::Dedup,
        open: bupstash::open,
        program: Some(("bupstash", "apt-get install libsodium-dev pkg-config; cargo install bupstash")),
    },
    Peer { name: "rsync", class: Class::Copy, open: rsync::open, program: Some(("rsync", "apt-get install rsync")) },
];

/// Ours and those of `names` that the machine has; the names of the others, and how to install them.
pub fn find(names: &[String]) -> (Vec<Peer>, Vec<(&'static str, &'static str)>) {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for peer in ALL {
        match peer.program {
            None => found.push(peer),
            Some(_) if !names.iter().any(|name| name == peer.name) => {}
            Some((program, _)) if is_installed(program) => found.push(peer),
            Some((_, hint)) => missing.push((peer.name, hint)),
        }
    }
    (found, missing)
}

/// Whether one of the folders in `PATH` has a program.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Where a tool that restores whole paths has put a folder.
fn below(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap_or(source))
}
