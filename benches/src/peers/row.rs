//! [`run`]: a row, pass by pass, tool by tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use testkit::process::Outcome;

use super::cost::{Cost, warm};
use super::data::{DataSet, copy};
use super::digest::digest;
use super::options::Options;
use super::table::Table;
use super::tool::{Class, Peer, Tool};
use crate::rig::len_below;

/// Between a change and the backup after it: longer than the clocks of file systems are coarse.
const AGE: Duration = Duration::from_millis(2100);

/// A pass takes about so many times the length of its data: a copy of it, a repository for each tool, restored files.
const ROOM_FACTOR: u64 = 7;
/// So many files are removed while a pass is still running; to remove more makes creating files slow for minutes.
const FILES_FEW: u64 = 500;

/// What the tools do in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    First,
    Unchanged,
    Edited,
    Restore,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Unchanged => "unchanged",
            Self::Edited => "edited",
            Self::Restore => "restore",
        }
    }
}

/// Where a row's first version is, and where its passes go.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    pub base: &'p Path,
    pub run: &'p Path,
}

/// A tool at work, and what its repository has grown to.
struct Runner<'p> {
    peer: &'p Peer,
    home: PathBuf,
    tool: Box<dyn Tool>,
    stored_len: u64,
}

/// Measures all passes of a row into `table`; the folders they leave are noted in `passes`.
///
/// # Errors
/// When data cannot be made, ours fails, or anyone restores other bytes. A peer that fails is noted and left out from then on.
pub fn run(
    table: &mut Table,
    set: &'static DataSet,
    peers: &[Peer],
    options: &Options,
    place: &Place<'_>,
    passes: &mut Vec<PathBuf>,
) -> Outcome {
    let Place { base, run } = *place;
    let mut taking_part: Vec<&Peer> = peers.iter().collect();
    let mut last_pass_len = 0;
    for pass in 0..options.runs {
        let folder = run.join(format!("{}-{pass}", set.name));
        let room = last_pass_len * 5 / 4;
        if free_len(run)? < room.max(len_below(base).map_err(|error| error.to_string())? * ROOM_FACTOR) {
            table.note(&format!("{}: no room for pass {pass} beside those before: they were removed", set.name));
            remove_all(passes)?;
        }
        passes.push(folder.clone());
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let free_before = free_len(run)?;
        run_pass(table, set, &mut taking_part, options, pass, base, &folder)?;
        last_pass_len = free_before.saturating_sub(free_len(run)?);
        // Another one begins each time, so that nobody always has the machine as the same other one left it.
        taking_part.rotate_left(1);
    }
    table.row_done(set.name);
    Ok(())
}

fn run_pass(
    table: &mut Table,
    set: &'static DataSet,
    taking_part: &mut Vec<&Peer>,
    options: &Options,
    pass: usize,
    base: &Path,
    folder: &Path,
) -> Outcome {
    let source = folder.join("source");
    copy(base, &source)?;
    let mut runners = Vec::new();
    for peer in taking_part.iter().copied() {
        let home = folder.join(peer.name);
        fs::create_dir(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        let tool = (peer.open)(&home).map_err(|error| format!("{}: {error}", peer.name))?;
        runners.push(Runner { peer, home, stored_len: stored_len(tool.as_ref())?, tool });
    }
    let mut phases = vec![Phase::First];
    phases.extend(set.has_unchanged.then_some(Phase::Unchanged));
    phases.extend(set.edit.map(|_| Phase::Edited));
    phases.push(Phase::Restore);
    thread::sleep(AGE);
    for phase in phases {
        if let (Phase::Edited, Some(edit)) = (phase, set.edit) {
            let new_len = edit(&source, options.scale)?;
            table.new_len(set.name, new_len);
            thread::sleep(AGE);
        }
        let mut failed = Vec::new();
        for (index, runner) in runners.iter_mut().enumerate() {
            match runner.run(phase, &source) {
                Ok(cost) => table.cost(set.name, phase, runner.peer, pass, cost),
                Err(error) if runner.peer.class == Class::Ours => return Err(format!("{}: {error}", set.name)),
                Err(error) => {
                    table.note(&format!("{}: {} is left out: {error}", set.name, runner.peer.name));
                    failed.push(index);
                }
            }
        }
        for index in failed.into_iter().rev() {
            let left_out = runners.remove(index).peer.name;
            taking_part.retain(|peer| peer.name != left_out);
        }
    }
    Ok(())
}

impl Runner<'_> {
    fn run(&mut self, phase: Phase, source: &Path) -> Outcome<Cost> {
        let at = |error: std::io::Error| error.to_string();
        if phase == Phase::Restore {
            let target = self.home.join("restored");
            fs::create_dir(&target).map_err(at)?;
            warm(&self.tool.repository()).map_err(at)?;
            let (cost, copy) = self.tool.restore(source, &target)?;
            if digest(&copy)? != digest(source)? {
                return Err("it restored other names or bytes".to_owned());
            }
            if count_files(&target).map_err(at)? <= FILES_FEW {
                // Makes room for the next tool's; the freeing of few files is over with the sync before it.
                remove(&target)?;
            }
            return Ok(Cost { stored_len: self.stored_len, ..cost });
        }
        warm(source).map_err(at)?;
        let cost = self.tool.back_up(source)?;
        let stored_len = stored_len(self.tool.as_ref())?;
        let grown_len = stored_len.saturating_sub(self.stored_len);
        self.stored_len = stored_len;
        Ok(Cost { stored_len, grown_len, ..cost })
    }
}

/// Bytes in a repository; 0 before there is one.
fn stored_len(tool: &dyn Tool) -> Outcome<u64> {
    let repository = tool.repository();
    if repository.exists() { len_below(&repository).map_err(|error| error.to_string()) } else { Ok(0) }
}

fn count_files(folder: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

fn free_len(folder: &Path) -> Outcome<u64> {
    let status = rustix::fs::statvfs(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(status.f_bavail * status.f_frsize)
}

/// Removes what passes left, and waits until the disk has done it.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_all(passes: &mut Vec<PathBuf>) -> Outcome {
    for folder in passes.drain(..) {
        remove(&folder)?;
    }
    rustix::fs::sync();
    Ok(())
}

fn remove(folder: &Path) -> Outcome {
    fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}
