//! [`Life`]: one client, its tree, its chain, and what the oracle knows of each snapshot.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{Torture, Tortured, folder, trouble};
use crate::process::{Client, Outcome, Run, Server};
use crate::tree::{CompareOptions, Random, TreeImage, TreeSpec, mutate};

/// What a client does between two checkpoints.
const STEPS: u64 = 12;
/// With so many snapshots it rather forgets.
const MANY: usize = 7;
/// What retention lets stay.
const KEEP_LAST: usize = 3;
/// Trees that begin alike, so that clients share what they store.
const TREES: u64 = 3;
const LARGE_FILE_LEN: usize = 2_500_000;
/// Exit codes of `backup-client`.
const NOT_FOUND: i32 = 1;
const UNREACHABLE: i32 = 4;

/// What is known of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Listed, and restores.
    Live,
    /// Not listed: in the trash, or purged.
    Gone,
    /// Whoever could tell was killed.
    Unsure,
}

struct Snapshot {
    /// Unknown when the client was killed before it could say that anything was committed.
    id: Option<String>,
    image: TreeImage,
    state: State,
    /// Unknown when nobody could say whether it worked.
    is_held: Option<bool>,
}

/// One client.
pub(super) struct Life {
    name: String,
    client: Client,
    source: PathBuf,
    target: PathBuf,
    random: Random,
    /// Oldest first.
    snapshots: Vec<Snapshot>,
    done: Tortured,
}

impl Life {
    /// Makes a tree and a device.
    pub(super) fn begin(plan: &Torture, index: usize, server: &Server, mut random: Random) -> Outcome<Self> {
        let name = format!("client-{index}");
        let home = folder(&plan.home, &name)?;
        let client = Client::new(&plan.client, &home);
        client.run(&["connect", &server.enroll(&name)?])?;
        let source = home.join("source");
        let kind = random.below(TREES);
        let spec = TreeSpec {
            seed: plan.seed.wrapping_add(kind),
            file_count: 24,
            dir_count: 5,
            file_len_max: 30_000,
            crowd: 0,
            depth: 3,
            // Some of these only root can make, or remove again.
            specials: index == 0 && geteuid().is_root(),
        };
        spec.write(&source).map_err(|error| error.to_string())?;
        let large = Random::new(plan.seed.wrapping_add(kind)).bytes(LARGE_FILE_LEN);
        fs::write(source.join("large"), large).map_err(|error| error.to_string())?;
        let target = home.join("target");
        Ok(Self { name, client, source, target, random, snapshots: Vec::new(), done: Tortured::default() })
    }

    /// Does this and that, until it has done enough or it is over.
    pub(super) fn live(&mut self, server: &RwLock<Server>, is_over: &AtomicBool) -> Outcome<Tortured> {
        for _ in 0..STEPS {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            self.step(server).map_err(|error| format!("{}: {error}", self.name))?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn step(&mut self, server: &RwLock<Server>) -> Outcome {
        let is_many = self.with(State::Live).len() >= MANY;
        match self.random.below(100) {
            0..50 if is_many => self.forget(),
            0..28 => self.back_up(),
            28..45 => self.back_up_killed(),
            45..50 => self.back_up_frozen(),
            50..65 => self.forget(),
            65..77 => self.undelete(),
            77..84 => self.hold(),
            84..92 => self.retain(server),
            _ => self.restore_any(),
        }
    }

    fn change(&mut self) -> Outcome<TreeImage> {
        if self.random.chance(85) {
            let count = 1 + self.random.index(5);
            mutate(&self.source, self.random.next_u64(), count)
                .map_err(|error| format!("changing the tree: {error}"))?;
        }
        TreeImage::read(&self.source).map_err(|error| error.to_string())
    }

    fn back_up(&mut self) -> Outcome {
        let image = self.change()?;
        let run = self.client.try_run(&["backup".as_ref(), self.source.as_os_str()])?;
        self.note_backup(image, &run.succeeded()?)
    }

    fn back_up_killed(&mut self) -> Outcome {
        let image = self.change()?;
        let running = self.client.start(&["backup".as_ref(), self.source.as_os_str()])?;
        thread::sleep(Duration::from_millis(self.random.below(400)));
        let run = running.kill()?;
        self.done.clients_killed += u64::from(run.was_killed());
        let run = if run.was_killed() { run } else { run.succeeded()? };
        self.note_backup(image, &run)
    }

    /// Stops the client for a while; it must come through.
    fn back_up_frozen(&mut self) -> Outcome {
        let image = self.change()?;
        let running = self.client.start(&["backup".as_ref(), self.source.as_os_str()])?;
        let process = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("no process has such a number")?;
        thread::sleep(Duration::from_millis(20 + self.random.below(200)));
        // A process that has ended keeps its number until it is waited for.
        let _ = kill_process(process, Signal::STOP);
        thread::sleep(Duration::from_millis(200 + self.random.below(1500)));
        let _ = kill_process(process, Signal::CONT);
        let run = running.wait()?.succeeded()?;
        self.note_backup(image, &run)
    }

    fn note_backup(&mut self, image: TreeImage, run: &Run) -> Outcome {
        let id = run.all("committed").next().and_then(|event| event["snapshot"].as_str()).map(str::to_owned);
        if id.is_none() && !run.was_killed() {
            return Err(format!("nothing says that it was committed: {run}"));
        }
        let state = if id.is_some() { State::Live } else { State::Unsure };
        self.done.backups += u64::from(id.is_some());
        self.snapshots.push(Snapshot { id, image, state, is_held: Some(false) });
        Ok(())
    }

    fn forget(&mut self) -> Outcome {
        let free: Vec<usize> =
            self.with(State::Live).into_iter().filter(|index| self.snapshots[*index].is_held == Some(false)).collect();
        let Some((index, id)) = self.pick(&free) else { return Ok(()) };
        let running = self.client.start(&["forget", &id])?;
        let run = if self.random.chance(20) {
            thread::sleep(Duration::from_millis(self.random.below(80)));
            running.kill()?
        } else {
            running.wait()?
        };
        self.snapshots[index].state = match run.status.code() {
            Some(0) => State::Gone,
            None | Some(UNREACHABLE) => State::Unsure,
            Some(_) => return Err(format!("what can be forgotten is not: {run}")),
        };
        self.done.forgotten += u64::from(run.status.success());
        Ok(())
    }

    fn undelete(&mut self) -> Outcome {
        let Some((index, id)) = self.pick(&self.with(State::Gone)) else { return Ok(()) };
        let run = self.client.try_run(&["undelete", &id])?;
        self.snapshots[index].state = match run.status.code() {
            Some(0) => State::Live,
            Some(UNREACHABLE) => State::Unsure,
            // Purged.
            Some(NOT_FOUND) => State::Gone,
            _ => return Err(format!("cannot bring back: {run}")),
        };
        self.done.undeleted += u64::from(run.status.success());
        Ok(())
    }

    fn hold(&mut self) -> Outcome {
        let Some((index, id)) = self.pick(&self.with(State::Live)) else { return Ok(()) };
        let is_held = self.snapshots[index].is_held != Some(true);
        let run = self.client.try_run(&[if is_held { "hold" } else { "unhold" }, &id])?;
        self.snapshots[index].is_held = match run.status.code() {
            Some(0) => Some(is_held),
            Some(UNREACHABLE) => None,
            _ => return Err(format!("cannot hold: {run}")),
        };
        Ok(())
    }

    /// Retention, by an administrator.
    fn retain(&mut self, server: &RwLock<Server>) -> Outcome {
        let chain = format!("{}/default", self.name);
        if !self.snapshots.iter().any(|snapshot| snapshot.id.is_some()) {
            return Ok(());
        }
        let keep_last = KEEP_LAST.to_string();
        // Trees change as they like here.
        trouble::run(server, &["retention", "confirm-change", "--all"])?.succeeded()?;
        let run = ["retention", "run", &chain, "--keep-last", &keep_last, "--min-age", "0s", "--confirm-large"];
        trouble::run(server, &run)?.succeeded()?;
        let (mut newer_at_least, mut newer_at_most) = (0, 0);
        for snapshot in self.snapshots.iter_mut().rev() {
            let (state, is_held) = (snapshot.state, snapshot.is_held);
            if state != State::Gone && newer_at_most >= KEEP_LAST && is_held != Some(true) {
                let goes = newer_at_least >= KEEP_LAST && is_held == Some(false);
                snapshot.state = if goes { State::Gone } else { State::Unsure };
            }
            newer_at_least += usize::from(state == State::Live);
            newer_at_most += usize::from(state != State::Gone);
        }
        Ok(())
    }

    fn restore_any(&mut self) -> Outcome {
        let Some((index, id)) = self.pick(&self.with(State::Live)) else { return Ok(()) };
        self.client.run(&["verify", &id])?;
        self.restore_identical(index, &id)
    }

    fn restore_identical(&mut self, index: usize, id: &str) -> Outcome {
        let restored = self.restore(id)?;
        match first_difference(&self.snapshots[index].image, &restored) {
            Some(difference) => Err(format!("snapshot {id} restores differently: {difference}")),
            None => {
                self.done.restored += 1;
                Ok(())
            }
        }
    }

    fn restore(&self, id: &str) -> Outcome<TreeImage> {
        clear(&self.target)?;
        let from = format!("{id}:{}", self.source.display());
        self.client.run(&["restore".as_ref(), from.as_ref(), self.target.as_os_str()])?;
        TreeImage::read(&self.target).map_err(|error| error.to_string())
    }

    /// Compares what is listed with what should be, and restores everything. Nobody disturbs.
    pub(super) fn check(&mut self) -> Outcome<Tortured> {
        self.check_list().map_err(|error| format!("{} at the checkpoint: {error}", self.name))?;
        Ok(std::mem::take(&mut self.done))
    }

    fn check_list(&mut self) -> Outcome {
        let run = self.client.try_run(&["snapshots"])?.succeeded()?;
        let listed: Vec<String> =
            run.all("snapshot").filter_map(|event| event["snapshot"].as_str()).map(str::to_owned).collect();
        for snapshot in &mut self.snapshots {
            let Some(id) = &snapshot.id else { continue };
            let is_listed = listed.contains(id);
            match (snapshot.state, is_listed) {
                (State::Live, false) => return Err(format!("snapshot {id} is lost")),
                (State::Gone, true) => return Err(format!("snapshot {id} was taken away and is listed")),
                (_, true) => snapshot.state = State::Live,
                (_, false) => snapshot.state = State::Gone,
            }
            let held = run.all("snapshot").find(|event| event["snapshot"].as_str() == Some(id));
            let held = held.and_then(|event| event["held"].as_bool());
            match (snapshot.is_held, held) {
                (Some(should), Some(is)) if should != is => {
                    return Err(format!("snapshot {id} held: {is}, not {should}"));
                }
                (_, held) => snapshot.is_held = held.or(snapshot.is_held),
            }
        }
        self.find_unknown(&listed)?;
        // Those nobody ever saw were never committed.
        self.snapshots.retain(|snapshot| snapshot.id.is_some());
        for index in self.with(State::Live) {
            if let Some(id) = self.snapshots[index].id.clone() {
                self.restore_identical(index, &id)?;
            }
        }
        Ok(())
    }

    /// What was committed although the client was killed before it could say so is what the tree was then.
    fn find_unknown(&mut self, listed: &[String]) -> Outcome {
        for id in listed {
            if self.snapshots.iter().any(|snapshot| snapshot.id.as_ref() == Some(id)) {
                continue;
            }
            let restored = self.restore(id)?;
            let is_it = |snapshot: &&mut Snapshot| {
                snapshot.id.is_none() && first_difference(&snapshot.image, &restored).is_none()
            };
            let Some(snapshot) = self.snapshots.iter_mut().find(is_it) else {
                return Err(format!("snapshot {id} is listed, and is nothing that was backed up"));
            };
            (snapshot.id, snapshot.state) = (Some(id.clone()), State::Live);
        }
        Ok(())
    }

    /// How many snapshots are left; after a checkpoint.
    pub(super) fn left(&self) -> u64 {
        self.with(State::Live).len() as u64
    }

    /// Backs up to another server what is left, oldest first.
    pub(super) fn store_afresh(&self, plan: &Torture, server: &Server) -> Outcome {
        let home = folder(&plan.home, &format!("fresh-{}", self.name))?;
        let client = Client::new(&plan.client, &home);
        client.run(&["connect", &server.enroll(&self.name)?])?;
        for index in self.with(State::Live) {
            let Some(id) = &self.snapshots[index].id else { continue };
            self.restore(id)?;
            client.run(&["backup".as_ref(), self.target.as_os_str()])?;
        }
        Ok(())
    }

    /// Indices of the snapshots of this state that have a name.
    fn with(&self, state: State) -> Vec<usize> {
        let is_so = |snapshot: &Snapshot| snapshot.state == state && snapshot.id.is_some();
        (0..self.snapshots.len()).filter(|index| is_so(&self.snapshots[*index])).collect()
    }

    fn pick(&mut self, indices: &[usize]) -> Option<(usize, String)> {
        if indices.is_empty() {
            return None;
        }
        let index = *self.random.pick(indices);
        Some((index, self.snapshots[index].id.clone()?))
    }
}

fn first_difference(original: &TreeImage, restored: &TreeImage) -> Option<String> {
    // Reserved space that nobody wrote to counts as data or as a hole by what happens to be in the page cache.
    let options = CompareOptions { holes: false, ..CompareOptions::for_this_user() };
    let differences = original.differences(restored, options);
    differences.first().map(ToString::to_string)
}

fn clear(path: &Path) -> Outcome {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}
