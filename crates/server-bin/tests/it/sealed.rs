//! A sealed vault from end to end: the client library with a passphrase, the real server without.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::client::{
    BackupJob, BackupReport, ClientError, Connection, ErrorKind, Event, Folders, GetTarget, Line, Monitor, Passphrase,
    Progress, PutFile, RestoreJob, Session, SnapshotPath,
};
use host_fs::RestoreOptions;
use object::VaultId;
use proto::{Access, ClientRequest, EnrolmentString, ServerReply};
use store::{NewVault, Role, Store, StoreOptions, UnixMs, VaultMode};
use tempfile::TempDir;
use vault::{KeySlot, PassphraseCost, SlotError, VaultKey};

use crate::backup::noise;
use crate::client::{Client, Token};
use crate::rest::Script;
use crate::server::{Program, command, text};

const ACCOUNT: &str = "sealed";
const PASSPHRASE: &[u8] = b"canary passphrase of the vault";
const NAME_CANARY: &str = "canary-name-of-a-file";
const CONTENT_CANARY: &[u8] = b"canary content of a file";
const VAULT: VaultId = VaultId::from_bytes([5; 16]);
const KEY: [u8; 32] = *b"canary key: the vault's 32 bytes";
const MIB: usize = 1 << 20;

fn slot(passphrase: &[u8], salt: u8) -> KeySlot {
    let cheapest = PassphraseCost::new(64 * 1024, 3, 1).unwrap();
    KeySlot::wrap_passphrase(&VaultKey::from_bytes(KEY), VAULT, passphrase, cheapest, [salt; 32]).unwrap()
}

/// A server with an account whose one vault is sealed.
struct Sealed {
    /// Ends before its files go.
    program: Program,
    folder: TempDir,
}

impl Sealed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let program = Program::serve(&data_dir, &[]);
        program.signal("TERM");
        assert!(program.output().status.success());
        let store = open_store(&data_dir);
        let account = store.create_account(ACCOUNT, Role::Member, UnixMs(1)).unwrap();
        let slots = [slot(PASSPHRASE, 1).as_bytes().to_vec()];
        let vault = NewVault { id: VAULT, account, name: "sealed", mode: VaultMode::Sealed, slots: &slots };
        store.create_vault(&vault, UnixMs(1)).unwrap();
        drop(store);
        let program = Self::serve(&data_dir);
        Self { program, folder }
    }

    fn serve(data_dir: &Path) -> Program {
        Program::serve(data_dir, &["--log-level", "debug", "--log-format", "json", "--hosts", "server"])
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn invite(&self, account: &str, device: &str) -> EnrolmentString {
        let output = command(&self.data_dir(), &["enroll", "--account", account, "--device", device]);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).trim().parse().unwrap()
    }

    /// A new device of the account, and its files.
    fn machine(&self, name: &str) -> Machine {
        let connection = Session::enroll(&self.invite(ACCOUNT, name), name).unwrap();
        let root = self.folder.path().join(name);
        fs::create_dir_all(root.join("files")).unwrap();
        let folders = Folders { config: root.join("config"), cache: root.join("cache") };
        Machine { connection, folders, root }
    }

    /// Stops the server, changes its store, and starts it again at another port.
    fn change(self, change: impl FnOnce(&Store)) -> Self {
        self.offline(|data_dir| change(&open_store(data_dir)))
    }

    /// Stops the server, does something to its directory, and starts it again at another port.
    fn offline(self, act: impl FnOnce(&Path)) -> Self {
        let Self { program, folder } = self;
        program.signal("TERM");
        assert!(program.output().status.success());
        let data_dir = folder.path().join("data");
        act(&data_dir);
        let program = Self::serve(&data_dir);
        Self { program, folder }
    }
}

fn open_store(data_dir: &Path) -> Store {
    let mut options = StoreOptions::default();
    options.min_free_bytes = 0;
    Store::open(data_dir, &options, UnixMs(1)).unwrap()
}

/// A client's machine.
struct Machine {
    connection: Connection,
    folders: Folders,
    root: PathBuf,
}

#[derive(Default)]
struct Silent(Progress);

impl Monitor for Silent {
    fn event(&self, _: Event) {}

    fn progress(&self) -> &Progress {
        &self.0
    }
}

#[expect(clippy::print_stdout, reason = "figures, for who runs the test to see them")]
fn note(figures: &str) {
    println!("{figures}");
}

fn passphrase() -> Passphrase {
    Passphrase::new(PASSPHRASE.to_vec())
}

impl Machine {
    fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    fn back_up(&self) -> BackupReport {
        let job = BackupJob {
            paths: vec![self.files()],
            current_dir: self.root.clone(),
            chain: "home".to_owned(),
            excludes: Vec::new(),
            host: "host".to_owned(),
            user: "user".to_owned(),
            reread_every: 30,
            max_wait: Duration::ZERO,
        };
        let monitor = Silent::default();
        let report = ::client::backup(&self.connection, Some(&passphrase()), &self.folders, &job, &monitor).unwrap();
        assert_eq!(report.problems, []);
        report
    }

    fn try_line(&self, passphrase: Option<&Passphrase>) -> Result<Line, ClientError> {
        Line::open(&self.connection, passphrase, Duration::ZERO, Arc::new(Silent::default()))
    }

    fn line(&self) -> Line {
        self.try_line(Some(&passphrase())).unwrap()
    }

    /// Restores a snapshot and compares it with `files`.
    fn check_restore(&self, snapshot: &str, files: &BTreeMap<PathBuf, Vec<u8>>) {
        let target = tempfile::tempdir_in(&self.root).unwrap();
        let line = self.line();
        let at: SnapshotPath = format!("{snapshot}:{}", self.files().display()).parse().unwrap();
        let found = ::client::find(&line, &at, None).unwrap();
        let options = RestoreOptions { trust_target: true, ..RestoreOptions::for_this_process() };
        let job = RestoreJob { target: target.path().join("out"), options };
        let monitor: Arc<dyn Monitor> = Arc::new(Silent::default());
        let report = ::client::restore(&line, found, &job, &monitor).unwrap();
        assert!(!report.is_damaged && report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(&read_all(&job.target), files);
    }

    fn now(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        read_all(&self.files())
    }

    fn lose_caches(&self) {
        fs::remove_dir_all(&self.folders.cache).unwrap();
    }
}

fn read_all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
    }
    files
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

fn both_ways(report: &BackupReport) -> u64 {
    report.traffic.sent + report.traffic.received
}

#[test]
fn ten_generations_cost_what_changed_and_restore_identically() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    let path = machine.files().join("image");
    fs::write(&path, noise(1, 10 * MIB)).unwrap();
    let first = machine.back_up();
    let unchanged = machine.back_up();
    assert!(both_ways(&unchanged) < 3000, "{}", both_ways(&unchanged));
    let mut generations = vec![(first, machine.now())];
    // One block in each of the ten, always near the others: they lie in one or two chunks.
    for generation in 1..=10 {
        let at = 3 * MIB + generation * 9 * 4096;
        overwrite(&path, at, &noise(100 + generation as u64, 4096));
        generations.push((machine.back_up(), machine.now()));
    }
    let spent: Vec<u64> = generations.iter().map(|(report, _)| both_ways(report)).collect();
    let stored: Vec<u64> = generations.iter().map(|(report, _)| report.bytes_stored).collect();
    note(&format!("4 KiB in 10 MiB, sent and received: {spent:?}, stored: {stored:?}"));
    assert!(generations[1..].iter().all(|(report, _)| report.delta_objects >= 1));
    assert!(spent[1] <= 12_000 && stored[1] <= 12_000, "{spent:?} {stored:?}");
    // Now and then the supplements of a chunk are folded into one.
    assert!(spent[1..].iter().sum::<u64>() <= 150_000 && spent[1..].iter().all(|spent| *spent < 50_000), "{spent:?}");
    for (report, files) in &generations {
        machine.check_restore(&report.snapshot.to_string(), files);
    }
    let line = machine.line();
    let found = ::client::find(&line, &"latest".parse().unwrap(), None).unwrap();
    let verified = ::client::verify(&line, &found, &Silent::default()).unwrap();
    assert_eq!((verified.files, verified.problems), (1, vec![]));
    let mut names = Vec::new();
    ::client::list(&line, &found, true, &mut |path, _| {
        names.push(path.to_owned());
        Ok(())
    })
    .unwrap();
    assert!(names.iter().any(|name| name.ends_with("files/image")), "{names:?}");
    let snapshots = ::client::snapshots(&line, Some("home"), false).unwrap();
    assert!(snapshots.len() == 12 && snapshots.iter().all(|snapshot| snapshot.details.is_ok()));
}

#[test]
fn other_edits_of_a_10_mib_file() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    let path = machine.files().join("file");
    let check = |what: &str, budget: u64, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = noise(1, 10 * MIB);
        fs::write(&path, &bytes).unwrap();
        machine.back_up();
        edit(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let report = machine.back_up();
        note(&format!("{what}: {} bytes both ways, {} stored", both_ways(&report), report.bytes_stored));
        assert!(both_ways(&report) <= budget, "{what}: {} bytes", both_ways(&report));
        machine.check_restore("latest", &machine.now());
    };
    check("one byte inserted in front", 12_000, &|bytes| bytes.insert(0, 7));
    check("1 KiB appended", 12_000, &|bytes| bytes.extend(noise(2, 1024)));
    check("two regions of 1 MiB swapped", 40_000, &|bytes| {
        let (front, back) = bytes.split_at_mut(6 * MIB);
        front[MIB..2 * MIB].swap_with_slice(&mut back[MIB..2 * MIB]);
    });
    check("20 scattered edits of 100 bytes", 90_000, &|bytes| {
        for edit in 0..20 {
            bytes[edit * 500_000 + 333..][..100].copy_from_slice(&noise(10 + edit as u64, 100));
        }
    });
}

#[test]
fn an_image_with_scattered_overwrites() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    let path = machine.files().join("image");
    fs::write(&path, noise(1, 48 * MIB)).unwrap();
    machine.back_up();
    let changed = 50 * 4096;
    for generation in 0..3u64 {
        let places = noise(50 + generation, 100);
        for (index, place) in places.chunks_exact(2).enumerate() {
            let page = usize::from(u16::from_le_bytes([place[0], place[1]])) % (48 * MIB / 4096);
            overwrite(&path, page * 4096, &noise(1000 * generation + index as u64, 4096));
        }
        let report = machine.back_up();
        let (sent, stored) = (report.traffic.sent, report.bytes_stored);
        note(&format!("50 pages of 48 MiB: {sent} bytes sent, {stored} stored, {changed} changed"));
        assert!(sent < 3 * changed && stored < 3 * changed);
        machine.check_restore("latest", &machine.now());
    }
}

#[test]
fn without_caches_changed_chunks_go_whole_once() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    let path = machine.files().join("image");
    fs::write(&path, noise(1, 6 * MIB)).unwrap();
    machine.back_up();
    // So that the chunk is stored as a delta when the caches are lost.
    overwrite(&path, 3 * MIB, &noise(2, 4096));
    machine.back_up();
    machine.lose_caches();
    overwrite(&path, 3 * MIB + 8192, &noise(3, 4096));
    let lost = machine.back_up();
    assert!(lost.delta_objects == 0 && lost.traffic.sent < 5 * MIB as u64, "{:?}", lost.traffic);
    machine.check_restore("latest", &machine.now());
    overwrite(&path, 3 * MIB + 16_384, &noise(4, 4096));
    let after = machine.back_up();
    note(&format!("lost caches: {} bytes both ways, then {}", both_ways(&lost), both_ways(&after)));
    assert!(both_ways(&after) <= 30_000 && after.delta_objects == 1, "{:?}", after.traffic);
    machine.check_restore("latest", &machine.now());
}

/// What a backup that was cut off left on the client speaks of chunks that never got to the server.
#[test]
fn what_did_not_get_there_is_no_basis() {
    let server = Sealed::new();
    let mut machine = server.machine("laptop");
    let path = machine.files().join("image");
    fs::write(&path, noise(1, 5 * MIB)).unwrap();
    machine.back_up();
    let copy = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(copied.success());
    };
    let server = server.offline(|data_dir| copy(data_dir, &data_dir.with_extension("before")));
    machine.connection.port = server.program.port;
    overwrite(&path, 3 * MIB, &noise(2, 4096));
    machine.back_up();
    let server = server.offline(|data_dir| {
        fs::remove_dir_all(data_dir).unwrap();
        copy(&data_dir.with_extension("before"), data_dir);
    });
    machine.connection.port = server.program.port;
    overwrite(&path, 3 * MIB + 8192, &noise(3, 4096));
    let report = machine.back_up();
    assert!(report.delta_objects == 1 && report.traffic.sent < 20_000, "{:?}", report.traffic);
    machine.check_restore("latest", &machine.now());
}

/// Dedup works across the devices of a vault, and what one of them knows of a chunk the other does not have to.
#[test]
fn two_devices_share_a_sealed_vault() {
    let server = Sealed::new();
    let (one, two) = (server.machine("one"), server.machine("two"));
    let mut bytes = noise(1, 5 * MIB);
    for machine in [&one, &two] {
        fs::write(machine.files().join("file"), &bytes).unwrap();
    }
    one.back_up();
    let report = two.back_up();
    assert!(both_ways(&report) < 6000, "{:?}", report.traffic);
    for generation in 0..3 {
        for (index, machine) in [&one, &two].into_iter().enumerate() {
            let at = (2 * generation + index) * 300_000;
            bytes[at..at + 4096].copy_from_slice(&noise((10 + at) as u64, 4096));
            fs::write(machine.files().join("file"), &bytes).unwrap();
            machine.back_up();
            machine.check_restore("latest", &machine.now());
        }
    }
}

/// The memory takes for whole what is stored as a delta, as it may when a server was set back: the server refuses, the
/// chunk is sent whole, and the memory is given up.
#[test]
fn a_wrong_memory_costs_a_resend_and_is_forgotten() {
    let memory_of = |machine: &Machine| {
        let mut files = fs::read_dir(machine.folders.cache.join("signatures")).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let mut bytes = noise(1, 200_000);
    let (here, there) = (Sealed::new(), Sealed::new());
    let (machine, twin) = (here.machine("laptop"), there.machine("laptop"));
    let path = machine.files().join("file");
    fs::write(&path, &bytes).unwrap();
    machine.back_up();
    bytes[100_000..][..500].copy_from_slice(&noise(2, 500));
    fs::write(&path, &bytes).unwrap();
    assert_eq!(machine.back_up().delta_objects, 1);
    // The same vault on another server, where the same chunk was sent whole.
    fs::write(twin.files().join("file"), &bytes).unwrap();
    assert_eq!(twin.back_up().delta_objects, 0);
    fs::copy(memory_of(&twin), memory_of(&machine)).unwrap();

    let mut next = |seed: u64| {
        bytes[150_000..][..500].copy_from_slice(&noise(seed, 500));
        fs::write(&path, &bytes).unwrap();
        let report = machine.back_up();
        machine.check_restore("latest", &machine.now());
        (report.delta_objects, report.traffic.sent)
    };
    let (deltas, sent) = next(3);
    assert!(deltas == 0 && sent > 200_000, "refused: {deltas} {sent}");
    let (deltas, sent) = next(4);
    assert!(deltas == 0 && sent > 200_000, "forgotten: {deltas} {sent}");
    let (deltas, sent) = next(5);
    assert!(deltas == 1 && sent < 10_000, "known again: {deltas} {sent}");
}

#[test]
fn only_the_passphrase_opens_it() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    let usage = |opened: Result<Line, ClientError>, words: &str| {
        let error = opened.err().expect("it must not open");
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains(words), "{error}");
    };
    usage(machine.try_line(None), "its passphrase was not given");
    let wrong = machine.try_line(Some(&Passphrase::new(b"canary passphrase of the vaulT".to_vec()))).err().unwrap();
    assert!(matches!(wrong, ClientError::Locked { source: SlotError::WrongKey }), "{wrong}");
    assert_eq!(wrong.kind(), ErrorKind::NotAllowed);

    // A server that says a vault is managed gets no data that was meant for a sealed one.
    let managed = Session::enroll(&server.invite("admin", "desktop"), "desktop").unwrap();
    assert!(Session::open(&managed, None).is_ok());
    let refused = Session::open(&managed, Some(&passphrase())).err().unwrap();
    assert!(refused.to_string().contains("the server says that this vault is not sealed"), "{refused}");

    // A drive is what the server reads; a sealed vault has none.
    fs::write(machine.files().join("file"), b"content").unwrap();
    let file = PutFile { source: machine.files().join("file"), target: b"file".to_vec() };
    let line = machine.line();
    let refusals = [
        ::client::put(&line, &machine.folders, &[file], &Silent::default()).err(),
        ::client::remove(&line, b"file").err(),
        ::client::list_drive(&line, b"").err(),
        ::client::get(&line, b"file", GetTarget::Stream(&mut Vec::new()), &Silent::default()).err(),
    ];
    for refusal in refusals {
        assert!(refusal.unwrap().to_string().contains("a sealed vault has no drive"));
    }
}

#[test]
fn another_passphrase_opens_the_same_vault() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    fs::write(machine.files().join("file"), CONTENT_CANARY).unwrap();
    let before = machine.back_up();
    drop(machine);
    let new = Passphrase::new(b"another one".to_vec());
    let both = [slot(PASSPHRASE, 1).as_bytes().to_vec(), slot(b"another one", 2).as_bytes().to_vec()];
    let server = server.change(|store| store.set_vault_slots(VAULT, &both).unwrap());
    let machine = server.machine("phone");
    fs::write(machine.files().join("file"), CONTENT_CANARY).unwrap();
    for passphrase in [&passphrase(), &new] {
        let line = machine.try_line(Some(passphrase)).unwrap();
        assert!(::client::snapshots(&line, None, false).unwrap().is_empty(), "a device sees its own chains");
    }
    let again = machine.back_up();
    assert!(again.bytes_stored < before.bytes_stored, "the content was there: it is the same key");
    let server = server.change(|store| store.set_vault_slots(VAULT, &both[1..]).unwrap());
    let machine = server.machine("tablet");
    assert!(matches!(machine.try_line(Some(&passphrase())).err(), Some(ClientError::Locked { .. })));
    assert!(machine.try_line(Some(&new)).is_ok());
    let damaged = [both[1][..125].to_vec()];
    let server = server.change(|store| store.set_vault_slots(VAULT, &damaged).unwrap());
    let machine = server.machine("watch");
    let error = machine.try_line(Some(&new)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
}

/// Over HTTP nobody reads a sealed vault, and who tries is told why and what to do.
#[test]
fn rest_says_that_a_vault_is_sealed() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    fs::write(machine.files().join("file"), b"content").unwrap();
    let snapshot = machine.back_up().snapshot.to_string();
    let token = command(&server.data_dir(), &["token", "add", "test", "--account", ACCOUNT, "--scope", "admin"]);
    assert!(token.status.success(), "{token:?}");
    let authorization = format!("Bearer {}", text(&token.stdout).trim());
    let script = Script { address: server.program.address(), authorization };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        // What the server knows without a key it tells.
        let chains = script.get("/api/v1/chains").await.expect(200).json();
        assert_eq!((&chains["items"][0]["snapshots"], &chains["items"][0]["is_sealed"]), (&1.into(), &true.into()));
        let chain = chains["items"][0]["id"].as_str().unwrap().to_owned();
        let look = script.get(&format!("/api/v1/snapshots/{snapshot}")).await.expect(200).json();
        assert!(look["made"].is_null(), "{look}");
        let found = script.get("/api/v1/search/snapshots?q=file").await.expect(200).json();
        assert_eq!((&found["items"], &found["sealed_chains"]), (&serde_json::json!([]), &1.into()));
        for (method, path) in [
            ("GET", format!("snapshots/{snapshot}/entries")),
            ("GET", format!("snapshots/{snapshot}/content?path=file")),
            ("GET", format!("snapshots/{snapshot}/thumbnail?path=file.png")),
            ("GET", format!("snapshots/{snapshot}/archive")),
            ("GET", format!("snapshots/{snapshot}/search?q=file")),
            ("GET", format!("snapshots/{snapshot}/diff?with={snapshot}")),
            ("GET", format!("chains/{chain}/timeline?path=file")),
            ("GET", "files/file".to_owned()),
            ("PUT", "files/file".to_owned()),
            ("DELETE", "files/file".to_owned()),
            ("GET", "entry?path=file".to_owned()),
            ("GET", "folder".to_owned()),
            ("GET", "versions?path=file".to_owned()),
            ("GET", "trash".to_owned()),
            ("GET", "search?q=file".to_owned()),
            ("GET", "zip?path=file".to_owned()),
        ] {
            let answer = script.ask(method, &format!("/api/v1/{path}"), &[], b"").await;
            assert_eq!(answer.status, 409, "{method} {path}");
            let problem = answer.expect(409).json();
            assert_eq!(problem["type"], "urn:delta-backup:sealed", "{method} {path}");
            assert!(problem["detail"].as_str().unwrap().contains("backup-client"), "{problem}");
        }
    });
}

#[test]
fn the_server_never_has_the_key() {
    let server = Sealed::new();
    let machine = server.machine("laptop");
    let path = machine.files().join(NAME_CANARY);
    let mut bytes = noise(1, MIB);
    bytes.extend(CONTENT_CANARY.repeat(100));
    fs::write(&path, &bytes).unwrap();
    machine.back_up();
    overwrite(&path, MIB / 2, &CONTENT_CANARY.repeat(3));
    assert_eq!(machine.back_up().delta_objects, 1);
    machine.check_restore("latest", &machine.now());

    // What the server hands out is the slots, and nothing else.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Connection { device, secret, .. } = machine.connection.clone();
    let (opened, connected) = runtime.block_on(async {
        let mut client = Client::connect(server.program.address()).await;
        client.authenticate(&Token { device, secret }).await.unwrap();
        (client.ask(&ClientRequest::OpenVault(None)).await.unwrap(), client)
    });
    let ServerReply::VaultOpened(opened) = opened else { panic!("not opened") };
    let slots = vec![bytes::Bytes::copy_from_slice(slot(PASSPHRASE, 1).as_bytes())];
    assert_eq!(opened.access, Access::Sealed { slots });

    // While somebody is connected the vault is open there, with all that the server knows of its key: the slots.
    let memory = memory_of(server.program.id());
    drop(connected);
    let slot = slot(PASSPHRASE, 1);
    let commitment = &slot.as_bytes()[46..78];
    let holds_slot = memory.windows(commitment.len()).any(|window| window == commitment);
    assert!(holds_slot || memory.is_empty(), "the search finds what is there");
    note(&format!("{} bytes of the server's memory searched", memory.len()));
    let mut places = vec![("the server's memory".to_owned(), memory)];
    server.program.signal("KILL");
    let data_dir = server.folder.path().join("data");
    let output = server.program.output();
    assert!(!output.stderr.is_empty(), "the log is there");
    places.push(("the log".to_owned(), output.stderr));
    collect(&data_dir, &mut places);
    assert!(places.iter().any(|(place, _)| place.ends_with(".pack")));
    let hex = object::hex::encode(&KEY).into_bytes();
    for canary in [&KEY[..], &hex, PASSPHRASE, NAME_CANARY.as_bytes(), CONTENT_CANARY] {
        for (place, bytes) in &places {
            let found = bytes.windows(canary.len()).any(|window| window == canary);
            assert!(!found, "{} is in {place}", String::from_utf8_lossy(canary));
        }
    }
}

/// All memory of a process that can be written to; empty where the system does not let us look.
fn memory_of(process: u32) -> Vec<u8> {
    let mut memory = Vec::new();
    let (Ok(maps), Ok(file)) =
        (fs::read_to_string(format!("/proc/{process}/maps")), File::open(format!("/proc/{process}/mem")))
    else {
        return memory;
    };
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut page = [0; 4096];
        for at in (start..end).step_by(page.len()) {
            if file.read_exact_at(&mut page, at).is_ok() {
                memory.extend_from_slice(&page);
            }
        }
    }
    memory
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, places);
        } else {
            places.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}
