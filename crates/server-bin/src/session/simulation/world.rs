//! [`World`]: clients, links, a server on a simulated disk, the clocks, and all that goes wrong with them; in one thread,
//! each step chosen by the seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blake3::Hasher;
use object::VaultId;
use proto::{Authenticate, Secret};
use store::{
    ClockReading, ErrorKind, NewEnrolment, NewVault, PackChoice, Role, Scope, Store, StoreOptions, UnixMs, VaultMode,
};
use tempfile::TempDir;
use testkit::disk::{Fault, SimDisk, until_death};
use testkit::link::{End, Link, Trouble};
use testkit::tree::Random;
use vault::{Keys, VaultKey};

use super::Mutation;
use super::device::{Counts, Device, Surroundings, Wish};
use super::files::common_chunk;
use super::host::{Host, Links, Turn};
use super::oracle::{Oracle, list};
use super::rot::{Quiet, Rot};
use crate::clock::{self, simulated};
use crate::config::Settings;
use crate::home::Home;
use crate::keys::ServerKeys;
use crate::options::Options;
use crate::retention::Policy;
use crate::units::Span;
use crate::{housekeeping, private_files};

const DEVICES: u64 = 3;
const VAULT: VaultId = VaultId::from_bytes([0x77; 16]);
const VAULT_KEY: [u8; 32] = [0x66; 32];
const BEGINNING: UnixMs = UnixMs(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Nothing younger goes.
const MIN_AGE_MS: u64 = 30_000;
/// Things go wrong for so long.
const TROUBLED: Duration = Duration::from_secs(120);
/// After that every client is done within this time: timeouts of 60 and 90 s, waits of up to half a minute.
const RECOVERY: Duration = Duration::from_secs(900);
/// Longest frame of a client here, and more.
const FRAME_LEN_MAX: usize = 32 << 10;
const STEPS_MAX: u64 = 200_000;
const ROOMY: u64 = 1 << 40;

/// A store with an account, its devices and a vault, to be copied for each history.
struct Template {
    scratch: TempDir,
    disk: SimDisk,
    tokens: Vec<Authenticate>,
    keys: Arc<Keys>,
}

/// What a history came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) troubles: u64,
    pub(super) starts: u64,
    pub(super) collections: u64,
    pub(super) checked: u64,
    pub(super) purged: u64,
    pub(super) counts: Counts,
    /// Of all that happened, in order.
    pub(super) trace: [u8; 32],
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.troubles += other.troubles;
        self.starts += other.starts;
        self.collections += other.collections;
        self.checked += other.checked;
        self.purged += other.purged;
        self.counts.add(other.counts);
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
enum Actor {
    Device(usize),
    Connection(usize, Turn),
    Writing(usize),
    Trouble,
    Upkeep,
    Start,
}

/// All of it.
pub(super) struct World {
    random: Random,
    mutation: Option<Mutation>,
    start: Instant,
    /// Time since the beginning, by the clock that only goes on.
    now: Duration,
    /// What the clock on the wall is ahead of that one.
    wall_ahead_ms: i64,
    boot: u8,
    booted: Duration,
    /// Time that the machines slept since then.
    slept: Duration,
    slept_ever: Duration,
    /// The clock on the wall was set to something else at least once.
    is_clock_odd: bool,
    root: PathBuf,
    disk: SimDisk,
    options: StoreOptions,
    settings: Settings,
    keys: Arc<Keys>,
    host: Option<Host>,
    /// When the server is started next, if it is down.
    starts_at: Duration,
    links: Links,
    last_link: u64,
    devices: Vec<Device>,
    oracle: Oracle,
    trouble_at: Duration,
    upkeep_at: Duration,
    space_returns_at: Option<Duration>,
    is_peaceful: bool,
    tally: Tally,
    trace: Hasher,
    _scratch: TempDir,
}

/// Ids that count up, so that they are the same in every run.
#[derive(Debug, Default)]
struct CountingRandom(AtomicU64);

impl store::Random for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        let hash = blake3::hash(&count.to_le_bytes());
        bytes.copy_from_slice(&hash.as_bytes()[..bytes.len()]);
        Ok(())
    }
}

/// A directory in memory where there is such a thing: the catalog syncs a lot.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("there is room")
}

fn settings(root: &Path) -> Settings {
    let options = Options {
        data_dir: Some(root.to_owned()),
        trash_delay: Some(Span(DAY)),
        seal_interval: Some(Span(Duration::from_secs(2))),
        ..Options::default()
    };
    Settings::resolve(options, None).expect("they are within bounds")
}

fn options(disk: &SimDisk) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.disk = Arc::new(disk.clone());
    options.random = Arc::new(CountingRandom::default());
    options.min_free_bytes = 1000;
    options
}

fn master_key(root: &Path) -> PathBuf {
    root.join("master.key")
}

impl Template {
    fn new() -> Self {
        let scratch = scratch();
        let root = scratch.path();
        let disk = SimDisk::new(root);
        let store = Store::create(root, &options(&disk), BEGINNING).expect("nothing goes wrong yet");
        let keys = ServerKeys::create(&master_key(root)).expect("a key is made");
        let account = store.create_account("ada", Role::Admin, BEGINNING).expect("the name is free");
        let key = VaultKey::from_bytes(VAULT_KEY);
        let slot = keys.wrap(VAULT, &key).expect("a key is wrapped").as_bytes().to_vec();
        let vault = NewVault { id: VAULT, account, name: "main", mode: VaultMode::Managed, slots: &[slot] };
        store.create_vault(&vault, BEGINNING).expect("the name is free");
        let policy = Policy { keep_last: 2, min_age_ms: MIN_AGE_MS, ..Policy::default() };
        store.set_policy(None, Some(&policy.to_text())).expect("a policy is set");
        let tokens = (1..=DEVICES).map(|number| {
            let secret = Secret::new([u8::try_from(number).expect("few devices"); 32]);
            let secret_hash = *blake3::hash(&number.to_le_bytes()).as_bytes();
            let expires = UnixMs(BEGINNING.0 + 1000);
            let name = format!("device {number}");
            let enrolment = NewEnrolment { secret_hash, account, device_name: &name, scope: Scope::Admin, expires };
            store.create_enrolment(&enrolment, BEGINNING).expect("the secret is new");
            let device = store.redeem_enrolment(&secret_hash, &keys.token_hash(&secret), BEGINNING);
            let device = proto::DeviceId::from_bytes(*device.expect("it was just made").id.as_bytes());
            Authenticate { device, secret }
        });
        let tokens = tokens.collect();
        drop(store);
        private_files::ensure_dir(&root.join("keys")).expect("a directory is made");
        Self { keys: Arc::new(Keys::new(&key)), disk, tokens, scratch }
    }
}

impl World {
    /// A new one; what happens in it is the seed's choice.
    pub(super) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        thread_local!(static TEMPLATE: RefCell<Option<Template>> = const { RefCell::new(None) });
        TEMPLATE.with_borrow_mut(|template| Self::copy(template.get_or_insert_with(Template::new), seed, mutation))
    }

    fn copy(template: &Template, seed: u64, mutation: Option<Mutation>) -> Self {
        let mut random = Random::new(seed);
        let (old_root, scratch) = (template.scratch.path(), scratch());
        let root = scratch.path().to_owned();
        std::fs::copy(old_root.join("catalog.sqlite3"), root.join("catalog.sqlite3")).expect("there is room");
        std::fs::copy(master_key(old_root), master_key(&root)).expect("there is room");
        let disk = template.disk.fork(old_root, &root);
        let mut options = options(&disk);
        if random.chance(20) {
            disk.shorten_reads(200 + random.index(3000));
        }
        options.pack_target_bytes = *random.pick(&[3000, 8000, 30_000]);
        options.unwritten_rows_max = *random.pick(&[0, 20, 100_000]);
        let devices = template.tokens.iter().map(|token| {
            let (keys, backups) = (Arc::clone(&template.keys), 1 + u32::try_from(random.below(3)).expect("few"));
            Device::new(token.clone(), VAULT, keys, backups, Random::new(random.next_u64()))
        });
        let devices = devices.collect();
        Self {
            mutation,
            start: Instant::now(),
            now: Duration::ZERO,
            wall_ahead_ms: BEGINNING.0,
            boot: 1,
            booted: Duration::ZERO,
            slept: Duration::ZERO,
            slept_ever: Duration::ZERO,
            is_clock_odd: false,
            settings: settings(&root),
            disk,
            options,
            keys: Arc::clone(&template.keys),
            host: None,
            starts_at: Duration::ZERO,
            links: BTreeMap::new(),
            last_link: 0,
            devices,
            oracle: Oracle::default(),
            trouble_at: Duration::from_millis(random.below(10_000)),
            upkeep_at: Duration::from_millis(random.below(10_000)),
            space_returns_at: None,
            is_peaceful: false,
            tally: Tally::default(),
            trace: Hasher::new(),
            root,
            random,
            _scratch: scratch,
        }
    }

    /// Lets everything happen, until all is quiet, and looks at what is left.
    pub(super) fn run(mut self) -> Tally {
        let _clock = ShownClock;
        self.play();
        Tally { trace: *self.trace.finalize().as_bytes(), ..self.tally }
    }

    /// Lets everything happen until all is quiet, and then lets what is left rot.
    pub(super) fn run_and_rot(mut self) -> Rot {
        let _clock = ShownClock;
        self.play();
        let quiet = Quiet {
            store: self.host.as_ref().expect("it runs").service.home.store.clone(),
            vault: VAULT,
            device: store::DeviceId::from_bytes(*self.devices[0].token.device.as_bytes()),
            keys: Arc::clone(&self.keys),
            disk: self.disk.clone(),
            oracle: std::mem::take(&mut self.oracle),
            random: Random::new(self.random.next_u64()),
            now: self.wall(),
        };
        quiet.rot()
    }

    fn play(&mut self) {
        while !self.is_over() {
            self.step();
            self.tally.steps += 1;
            assert!(self.tally.steps < STEPS_MAX, "it goes on and on");
        }
        self.settle();
        for device in &self.devices {
            self.tally.counts.add(device.counts);
        }
    }

    fn is_over(&self) -> bool {
        let is_done = self.devices.iter().all(Device::is_done);
        if self.is_peaceful {
            let late = self.now > TROUBLED + RECOVERY;
            let left = || self.devices.iter().map(Device::state).collect::<Vec<_>>().join("; ");
            assert!(is_done || !late, "not done {} s after the last trouble: {}", RECOVERY.as_secs(), left());
        }
        is_done && self.host.is_some()
    }

    fn wall(&self) -> UnixMs {
        UnixMs(self.wall_ahead_ms + i64::try_from(self.now.as_millis()).expect("a short time"))
    }

    fn show_clock(&self) {
        let since_boot = self.now - self.booted + self.slept;
        let since_boot_ms = i64::try_from(since_boot.as_millis()).expect("a short time");
        let reading = ClockReading { wall: self.wall(), since_boot_ms, boot: [self.boot; 16] };
        simulated::show(Some(simulated::Shown { instant: self.start + self.now, reading }));
    }

    /// Somebody who has something to do does it; when nobody has, time passes.
    fn step(&mut self) {
        self.show_clock();
        if !self.is_peaceful && self.now >= TROUBLED {
            self.make_peace();
        }
        let mut actors = self.actors();
        while !actors.is_empty() {
            let actor = actors.swap_remove(self.random.index(actors.len()));
            if self.act(actor) {
                self.note(&format!("{actor:?}"));
                self.now += Duration::from_micros(self.random.below(1000));
                return;
            }
        }
        self.wait();
    }

    fn actors(&self) -> Vec<Actor> {
        let mut actors: Vec<Actor> = (0..self.devices.len()).map(Actor::Device).collect();
        if let Some(host) = &self.host {
            for index in 0..host.connections.len() {
                let turns = [Turn::Read, Turn::Write, Turn::Event, Turn::Timer, Turn::Task];
                actors.extend(turns.map(|turn| Actor::Connection(index, turn)));
            }
            actors.extend((0..host.writings.len()).map(Actor::Writing));
            actors.push(Actor::Upkeep);
        } else {
            actors.push(Actor::Start);
        }
        actors.push(Actor::Trouble);
        actors
    }

    /// Whether there was anything to do.
    fn act(&mut self, actor: Actor) -> bool {
        match actor {
            Actor::Device(index) => self.let_device(index),
            Actor::Connection(index, turn) => {
                let now = self.now;
                self.on_host(|host, links, random, _| host.turn(index, turn, links, now, random))
            }
            Actor::Writing(index) => self.on_host(|host, _, _, mutation| host.write(index, mutation)),
            Actor::Trouble => self.make_trouble(),
            Actor::Upkeep => self.look_after_server(),
            Actor::Start => self.now >= self.starts_at && self.start_server(),
        }
    }

    fn note(&mut self, what: &str) {
        self.trace.update(what.as_bytes()).update(&self.now.as_micros().to_le_bytes());
        if let Some(host) = &self.host {
            self.trace.update(&[u8::try_from(host.writings.len()).unwrap_or(u8::MAX)]);
            host.check_memory(FRAME_LEN_MAX);
        }
    }

    /// Nobody has anything to do: on to the next moment at which somebody will.
    fn wait(&mut self) {
        let ends = [End::Client, End::Server];
        let links = self.links.values().flat_map(|link| ends.map(|end| link.next_for(end))).flatten();
        let devices = self.devices.iter().filter_map(|device| device.deadline(self.start));
        let host = self.host.as_ref().and_then(Host::deadline).map(|at| at - self.start);
        let own = [self.trouble_at, self.upkeep_at, self.starts_at];
        let next = links.chain(devices).chain(host).chain(own).filter(|at| *at > self.now).min();
        self.now = next.expect("there is always some upkeep");
        self.note("wait");
    }

    fn let_device(&mut self, index: usize) -> bool {
        let device = &mut self.devices[index];
        let link = device.link();
        let link = link.map(|link| self.links.get_mut(&link).expect("its link stays as long as it does"));
        let mut around = Surroundings { now: self.now, link, oracle: &mut self.oracle, mutation: self.mutation };
        match device.turn(&mut around) {
            Wish::Nothing => false,
            Wish::Worked => true,
            Wish::Dial => {
                self.dial(index);
                true
            }
            Wish::HangUp => {
                self.hang_up(index);
                true
            }
        }
    }

    fn hang_up(&mut self, index: usize) {
        if let Some(link) = self.devices[index].link() {
            self.links.get_mut(&link).expect("its link stays as long as it does").close(End::Client, self.now);
        }
        self.devices[index].hang_up(self.now);
        self.forget_links();
    }

    fn dial(&mut self, index: usize) {
        let Some(host) = self.host.as_mut().filter(|host| !host.service.stop.is_cancelled()) else {
            return self.devices[index].hang_up(self.now);
        };
        let random = &mut self.random;
        let mut trouble = Trouble {
            delay_max: Duration::from_millis(*random.pick(&[0, 5, 200])),
            piece_len_max: *random.pick(&[100, 2000, 1 << 20]),
            window_len: *random.pick(&[1000, 20_000, 1 << 20]),
            ..Trouble::NONE
        };
        if !self.is_peaceful && random.chance(35) {
            let end = *random.pick(&[End::Client, End::Server]);
            let longest = *random.pick(&[500, 3000, 30_000]);
            trouble.cut = Some((end, random.below(longest)));
            trouble.is_silent = random.chance(30);
        }
        self.last_link += 1;
        self.links.insert(self.last_link, Link::new(trouble, random.next_u64()));
        host.accept(self.last_link);
        self.devices[index].connected(self.last_link, self.mutation);
    }

    /// Links that nobody holds an end of.
    fn forget_links(&mut self) {
        let (devices, host) = (&self.devices, &self.host);
        self.links.retain(|number, _| {
            devices.iter().any(|device| device.link() == Some(*number))
                || host.as_ref().is_some_and(|host| host.connections.iter().any(|held| held.link == *number))
        });
    }

    /// Does something in the server's process, which may die of it.
    fn on_host(&mut self, work: impl FnOnce(&mut Host, &mut Links, &mut Random, Option<Mutation>) -> bool) -> bool {
        let Some(host) = &mut self.host else { return false };
        let (links, random, mutation) = (&mut self.links, &mut self.random, self.mutation);
        let worked = until_death(|| {
            let worked = work(host, links, random, mutation);
            host.look_for_stop();
            worked
        });
        match worked {
            None => self.kill_server(),
            Some(_) if host.has_stopped() => self.kill_server(),
            Some(worked) => return worked,
        }
        true
    }

    /// The server's process is gone; with it power, sometimes.
    fn kill_server(&mut self) {
        let Some(host) = self.host.take() else { return };
        let loses_power = self.random.chance(50);
        // Clients are told by the system of a process that died; nobody tells of a machine that lost power.
        for connection in &host.connections {
            let link = self.links.get_mut(&connection.link).expect("its link stays as long as it does");
            link.cut(loses_power, self.now);
        }
        self.disk.reboot();
        self.disk.plan(0, Fault::DieBefore);
        let died = until_death(|| {
            // Nothing of it is cleaned up, as the process is dying.
            let _running = host;
            store::disk::Disk::sync_dir(&self.disk, &self.root)
        });
        assert!(died.is_none(), "the process has died");
        if loses_power {
            let seed = self.random.chance(70).then(|| self.random.next_u64());
            self.disk.lose_power(seed);
            (self.boot, self.booted, self.slept) = (self.boot.wrapping_add(1), self.now, Duration::ZERO);
        } else {
            self.disk.reboot();
        }
        self.starts_at = self.now + Duration::from_millis(self.random.below(10_000));
        self.forget_links();
    }

    /// Starts the server, and looks whether everything is there that somebody was told of.
    fn start_server(&mut self) -> bool {
        self.tally.starts += 1;
        if !self.is_peaceful && self.random.chance(15) {
            self.plan_fault(20);
        }
        let opened = until_death(|| {
            let store = Store::open(&self.root, &self.options, clock::now())?;
            let keys = ServerKeys::load(&master_key(&self.root)).expect("it is there").expect("it is there");
            Ok(Home { store, keys, settings: self.settings.clone() })
        });
        match opened {
            Some(Ok(home)) => {
                self.host = Some(Host::new(home));
                self.check();
                return true;
            }
            Some(Err(error)) => {
                let error: store::StoreError = error;
                let kinds = [ErrorKind::Io, ErrorKind::Full, ErrorKind::Halted];
                assert!(!self.is_peaceful && kinds.contains(&error.kind()), "the store does not open: {error:?}");
                self.disk.reboot();
            }
            None if self.random.chance(50) => {
                let seed = self.random.next_u64();
                self.disk.lose_power(Some(seed));
            }
            None => self.disk.reboot(),
        }
        self.starts_at = self.now + Duration::from_secs(1 + self.random.below(5));
        true
    }

    /// Everything is there that somebody was told of.
    fn check(&mut self) {
        let store = self.host.as_ref().expect("it runs").service.home.store.clone();
        self.tally.checked += self.oracle.check(&store, VAULT, &self.keys) as u64;
        for device in &self.devices {
            let durable: Vec<_> = device.durable().collect();
            let held = store.held(VAULT, &durable).expect("a catalog can be read");
            if let Some((id, _)) = durable.iter().zip(held).find(|(_, held)| !held) {
                panic!("{id} was acknowledged and is not there");
            }
        }
    }

    fn plan_fault(&mut self, effects: u64) {
        let kind = *self.random.pick(&[std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull]);
        let fault = *self.random.pick(&[Fault::Refuse(kind), Fault::Tear(kind), Fault::DieBefore, Fault::DieAfter]);
        self.disk.plan(self.random.below(effects), fault);
    }

    /// Something goes wrong, if it is time.
    fn make_trouble(&mut self) -> bool {
        if self.space_returns_at.is_some_and(|at| self.now >= at) {
            self.space_returns_at = None;
            self.disk.set_free_bytes(ROOMY);
        }
        if self.now < self.trouble_at || self.is_peaceful {
            return false;
        }
        self.trouble_at = self.now + Duration::from_millis(self.random.below(6000));
        self.tally.troubles += 1;
        match self.random.below(100) {
            0..25 => {
                let index = self.random.index(self.links.len().max(1));
                let is_silent = self.random.chance(50);
                if let Some(link) = self.links.values_mut().nth(index) {
                    link.cut(is_silent, self.now);
                }
            }
            25..40 => {
                // The network changes under a client: it connects anew, and the server knows nothing of it.
                let index = self.random.index(self.devices.len());
                if let Some(link) = self.devices[index].link() {
                    self.links.get_mut(&link).expect("its link stays as long as it does").cut(true, self.now);
                    self.devices[index].hang_up(self.now);
                    self.forget_links();
                }
            }
            40..48 => {
                let index = self.random.index(self.devices.len());
                if let Some(link) = self.devices[index].link() {
                    self.links.get_mut(&link).expect("its link stays as long as it does").cut(false, self.now);
                }
                self.devices[index].die(self.now);
                self.forget_links();
            }
            48..58 => self.kill_server(),
            58..75 => self.plan_fault(12),
            75..80 => {
                self.disk.set_free_bytes(0);
                self.space_returns_at = Some(self.now + Duration::from_millis(self.random.below(20_000)));
            }
            80..84 => {
                if let Some(host) = &mut self.host {
                    host.refused_threads = 1 + u32::try_from(self.random.below(3)).expect("few");
                }
            }
            84..88 => {
                self.on_host(|host, _, _, _| {
                    host.service.stop.cancel();
                    true
                });
            }
            88..94 => {
                // The clock on the wall is set to something else.
                let day_ms = 86_400_000;
                let jumps = [3650 * day_ms, 3 * day_ms, -day_ms, -60 * day_ms, -3650 * day_ms, -3_600_000, 60_000];
                self.wall_ahead_ms += *self.random.pick(&jumps);
                self.is_clock_odd = true;
            }
            94..97 => self.fail_a_read(),
            _ => {
                // The machines sleep, all of them.
                let slept = *self.random.pick(&[HOUR, DAY, 3 * DAY, 9 * DAY]);
                self.slept += slept;
                self.slept_ever += slept;
                self.wall_ahead_ms += i64::try_from(slept.as_millis()).expect("a short time");
            }
        }
        true
    }

    /// Some bytes of a file cannot be read, once: tried again, they can.
    fn fail_a_read(&mut self) {
        let files = self.disk.files();
        self.disk.forget_read_faults();
        if let Some(path) = (!files.is_empty()).then(|| self.random.pick(&files)) {
            let from = self.random.below(self.disk.contents(path).len() as u64 + 1);
            self.disk.fail_reads(path, from..from + 512, 1);
        }
    }

    /// From now on nothing goes wrong any more, and what is wrong is put right.
    fn make_peace(&mut self) {
        self.is_peaceful = true;
        let _ = self.disk.take_plan();
        self.disk.set_free_bytes(ROOMY);
        self.disk.forget_read_faults();
        self.space_returns_at = None;
        self.starts_at = self.starts_at.min(self.now);
        if let Some(host) = &mut self.host {
            host.refused_threads = 0;
        }
        self.note("peace");
    }

    /// What a server does by itself now and then, if it is time.
    fn look_after_server(&mut self) -> bool {
        if self.now < self.upkeep_at {
            return false;
        }
        self.upkeep_at = self.now + Duration::from_millis(100 + self.random.below(2500));
        if self.host.as_ref().is_some_and(|host| host.service.home.store.read_only().is_some()) {
            // Somebody looks after the disk, and starts the server again.
            self.kill_server();
            return true;
        }
        match self.random.below(100) {
            0..60 => {
                self.tally.collections += 1;
                self.on_host(|host, _, random, _| {
                    if let Err(error) = host.collect(random) {
                        host.service.note(&error);
                        host.collection = None;
                    }
                    true
                });
            }
            60..75 => self.keep(),
            75..85 => self.sweep(),
            85..92 => self.verify(),
            92..96 => {
                // An administrator puts the clock right, and confirms it.
                let ahead = Duration::from_millis(BEGINNING.0.unsigned_abs()) + self.slept_ever;
                self.wall_ahead_ms = i64::try_from(ahead.as_millis()).expect("some thousand years at most");
                self.show_clock();
                self.on_host(|host, _, _, _| {
                    // A store that has halted refuses that, too.
                    drop(host.service.home.store.confirm_clock(&clock::reading()));
                    true
                });
            }
            _ if self.host.is_some() => self.check(),
            _ => {}
        }
        true
    }

    /// Retention and the trash. Nothing goes that is too young for it, nothing that was the newest, and nothing at all while
    /// the clock is in doubt.
    fn keep(&mut self) {
        let Some(host) = &self.host else { return };
        let store = host.service.home.store.clone();
        let (live, trash) = (list(&store, VAULT, false), list(&store, VAULT, true));
        let (now, early) = (self.wall(), self.mutation == Some(Mutation::PurgesTooEarly));
        let delay_ms = i64::try_from(DAY.as_millis()).expect("a day");
        let is_due = |snapshot: &store::Snapshot| snapshot.trashed.is_some_and(|at| now.0 - at.0 >= delay_ms);
        self.on_host(|host, _, _, _| {
            // It may refuse: then nothing has gone.
            drop(housekeeping::keep_once(&host.service));
            if early {
                drop(host.service.home.store.purge(clock::now()));
            }
            true
        });
        if self.host.is_none() {
            // What it did before it died shows when it is up again: whatever was due may have gone.
            return self
                .oracle
                .perhaps_purged(trash.iter().filter(|snapshot| is_due(snapshot)).map(|snapshot| snapshot.id));
        }
        let doubt = store.clock_doubt().expect("a catalog can be read");
        let gone_to_trash = list(&store, VAULT, true);
        for gone in trash.iter().filter(|old| gone_to_trash.iter().all(|snapshot| snapshot.id != old.id)) {
            assert!(is_due(gone) && doubt.is_none(), "snapshot {} was purged before its time", gone.id);
            self.tally.purged += 1;
            self.oracle.purged(gone.id);
        }
        for moved in live.iter().filter(|old| gone_to_trash.iter().any(|snapshot| snapshot.id == old.id)) {
            assert!(doubt.is_none(), "a snapshot went while the clock was in doubt");
            let age_ms = now.0 - moved.received.0;
            let is_old = self.is_clock_odd || age_ms >= i64::try_from(MIN_AGE_MS).expect("a short time");
            assert!(is_old, "snapshot {} of {age_ms} ms ago went", moved.id);
            let newer = live.iter().filter(|other| other.device == moved.device && other.seq > moved.seq).count();
            assert!(newer >= 2, "snapshot {} went although only {newer} were newer", moved.id);
        }
    }

    /// The catalog forgets what has served its time.
    fn sweep(&mut self) {
        let mut may_have_forgotten = true;
        self.on_host(|host, _, _, _| {
            let home = &host.service.home;
            may_have_forgotten = !matches!(housekeeping::sweep(&home.store, &home.settings), Ok(0));
            true
        });
        if may_have_forgotten {
            self.devices.iter_mut().for_each(Device::promises_expired);
        }
    }

    /// Nothing is damaged, whatever else is under way.
    fn verify(&mut self) {
        self.on_host(|host, _, _, _| {
            let store = &host.service.home.store;
            let counts = store.index_counts().expect("a catalog can be read");
            for (pack, _) in store.packs_to_verify(PackChoice::All, u64::MAX >> 1).expect("a catalog can be read") {
                match store.verify_pack(pack, Some(&counts), clock::now(), &mut |_| {}) {
                    Ok(report) => {
                        let is_sound = report.as_ref().is_none_or(store::PackReport::is_sound);
                        assert!(is_sound, "a pack is damaged: {report:?}");
                    }
                    Err(error) => {
                        host.service.note(&error);
                        break;
                    }
                }
            }
            true
        });
    }

    /// When all is quiet, everything is there, nothing is there twice, and what clients share is there once.
    fn settle(&mut self) {
        self.show_clock();
        self.make_peace();
        self.kill_server();
        self.start_server();
        let store = self.host.as_ref().expect("nothing goes wrong any more").service.home.store.clone();
        store.confirm_clock(&clock::reading()).expect("a catalog can be written");
        let mut limits = housekeeping::limits(&self.settings, self.wall());
        limits.sessions_idle_since = UnixMs(i64::MAX);
        limits.pins_before = UnixMs(i64::MAX);
        store.sweep(&limits).expect("a catalog can be written");
        for device in &mut self.devices {
            device.promises_expired();
        }
        let mut options = store::GcOptions::default();
        (options.grace_ms, options.waste_percent_max, options.allow_unusual) = (0, 0, true);
        for cycle in 0.. {
            let report = store.collect_garbage(&options, &(), self.wall()).expect("nothing goes wrong any more");
            assert_eq!(report.refusals, []);
            if (report.packs_condemned, report.packs_repacked, report.packs_waiting, report.copies_dropped)
                == (0, 0, 0, 0)
            {
                break;
            }
            assert!(cycle < 10, "there is always something to collect: {report:?}");
        }
        self.check();
        self.verify();
        let half = common_chunk(&self.keys).as_bytes()[..16].to_vec();
        let catalog = rusqlite::Connection::open(self.root.join("catalog.sqlite3")).expect("it is there");
        let sql = "SELECT count(*) FROM object JOIN pack USING (pack) WHERE half_id = ? AND state IN (2, 3)";
        let copies: i64 = catalog.query_row(sql, [half], |row| row.get(0)).expect("it can be read");
        assert_eq!(copies, 1, "all clients have the same file, and it is stored {copies} times");
    }
}

/// The clocks of this thread are simulated, until this is dropped.
struct ShownClock;

impl Drop for ShownClock {
    fn drop(&mut self) {
        simulated::show(None);
    }
}
