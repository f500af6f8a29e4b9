//! [`Server`]: a real `backup-server` on a free loopback port, ended when dropped.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use object::VaultId;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vault::{KeySlot, Unlock, VaultKey};

use super::{Home, Output, files_below, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_e2e-server");

/// A server and its data directory; it may be stopped and started again.
pub(crate) struct Server {
    data_dir: PathBuf,
    options: Vec<String>,
    /// Most files it may have open.
    files_max: Option<u32>,
    log: PathBuf,
    port_file: PathBuf,
    running: Option<Child>,
    port: u16,
}

impl Server {
    /// Starts a server on the folder `data` of `home`.
    pub(crate) fn start(home: &Home, options: &[&str]) -> Self {
        Self::start_on(home, "server", &home.path("data"), options)
    }

    /// Starts a server of another name, on any folder.
    pub(crate) fn start_on(home: &Home, name: &str, data_dir: &Path, options: &[&str]) -> Self {
        Self::new(home, name, data_dir, None, options)
    }

    /// Starts a server that may have so many files open at once, sockets included.
    pub(crate) fn start_limited(home: &Home, files_max: u32, options: &[&str]) -> Self {
        Self::new(home, "server", &home.path("data"), Some(files_max), options)
    }

    fn new(home: &Home, name: &str, data_dir: &Path, files_max: Option<u32>, options: &[&str]) -> Self {
        let mut server = Self {
            data_dir: data_dir.to_owned(),
            options: options.iter().map(ToString::to_string).collect(),
            files_max,
            log: home.path(&format!("{name}.log")),
            port_file: home.path(&format!("{name}.port")),
            running: None,
            port: 0,
        };
        server.restart();
        server
    }

    /// Starts again what was stopped, on another port; waits until it listens.
    pub(crate) fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let _ = fs::remove_file(&self.port_file);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log can be written");
        let child = command_limited(self.files_max)
            .arg("serve")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--listen", "127.0.0.1:0", "--log-level", "debug", "--port-file"])
            .arg(&self.port_file)
            .args(&self.options)
            // Machines that run tests may have little room.
            .env("BACKUP_SERVER_MIN_FREE", "1MiB")
            .env("BACKUP_SERVER_RESERVE", "0B")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("descriptors are left"))
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let child = self.running.insert(child);
        let mut text = String::new();
        wait_until("the server listens", || {
            let ended = child.try_wait().expect("it is our child");
            assert!(
                ended.is_none(),
                "the server ended at once:\n{}",
                fs::read_to_string(&self.log).unwrap_or_default()
            );
            text = fs::read_to_string(&self.port_file).unwrap_or_default();
            text.ends_with('\n')
        });
        self.port = text.trim().parse().expect("a port stands in the port file");
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let status = self.end(Signal::TERM);
        assert_eq!(status.code(), Some(0), "a server that is asked to stop ends well: {status}\n{}", self.log());
    }

    /// Ends it at once (SIGKILL).
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let status = self.end(Signal::KILL);
        assert_eq!(status.signal(), Some(9), "it ended before: {status}\n{}", self.log());
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.running.take().expect("it runs");
        signal_to(&child, signal);
        let mut status = None;
        wait_until("the server ends", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it was waited for")
    }

    /// Waits until it has ended by itself, and tells its exit code.
    #[track_caller]
    pub(crate) fn wait_until_ended(&mut self) -> Option<i32> {
        let mut child = self.running.take().expect("it runs");
        let mut status = None;
        wait_until("the server ends by itself", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its packs.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let mut packs = files_below(&self.data_dir.join("packs"));
        packs.retain(|path| path.extension().is_some_and(|extension| extension == "pack"));
        packs
    }

    /// The packs that hold contents of files.
    pub(crate) fn data_packs(&self) -> Vec<PathBuf> {
        self.packs_of(0)
    }

    /// The packs that hold trees, lists and snapshots.
    pub(crate) fn metadata_packs(&self) -> Vec<PathBuf> {
        self.packs_of(1)
    }

    /// By the class that stands in a pack's header.
    fn packs_of(&self, class: u8) -> Vec<PathBuf> {
        let mut packs = self.packs();
        packs.retain(|path| fs::read(path).expect("it is ours")[10] == class);
        packs
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An administrator's command on its data directory.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Output {
        run(command().args(arguments).arg("--data-dir").arg(&self.data_dir))
    }

    /// An enrolment string of the account `admin`.
    #[track_caller]
    pub(crate) fn enroll(&self, device: &str) -> String {
        self.enroll_with(&["--device", device])
    }

    /// An enrolment string, as these arguments say.
    #[track_caller]
    pub(crate) fn enroll_with(&self, arguments: &[&str]) -> String {
        let output = self.admin(&[&["enroll"], arguments].concat()).expect(0);
        String::from_utf8(output.stdout).expect("it is ASCII").trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.admin(&["status", "--json"]).expect(0).last("status")
    }

    /// The id of a device.
    #[track_caller]
    pub(crate) fn device_id(&self, name: &str) -> String {
        let devices = self.admin(&["device", "list", "--json"]).expect(0).all("device");
        let found = devices.iter().find(|device| device["name"] == name).expect("the device is listed");
        found["device"].as_str().expect("an id is text").to_owned()
    }

    /// The keys of all its vaults, unwrapped with the master key.
    pub(crate) fn vault_keys(&self) -> Vec<(VaultId, VaultKey)> {
        let master_key = fs::read(self.data_dir.join("keys/master.key")).expect("it is ours");
        let wrapping_key = blake3::derive_key("delta-backup v1 server wrapping key", &master_key);
        let path = self.data_dir.join("catalog.sqlite3");
        let catalog = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it is ours");
        let query = "SELECT vault.id, vault_slot.bytes FROM vault JOIN vault_slot USING (vault)";
        let mut statement = catalog.prepare(query).expect("the catalog has both tables");
        let rows = statement.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, Vec<u8>>(1)?)));
        rows.expect("they can be read")
            .map(|row| {
                let (id, slot) = row.expect("they can be read");
                let id = VaultId::from_bytes(id);
                let key = KeySlot::from_bytes(slot).open(id, Unlock::WrappingKey(&wrapping_key));
                (id, key.expect("the master key unwraps it"))
            })
            .collect()
    }

    /// Waits until no session writes: whatever a client left has been made safe then.
    #[track_caller]
    pub(crate) fn wait_until_quiet(&self) {
        wait_until("no session writes", || self.status()["running"]["sessions"] == 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            // It may have ended already; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.len().saturating_sub(8000);
            let shown = log.get(skipped..).unwrap_or(&log);
            eprintln!("--- log of the server on {}\n{shown}", self.data_dir.display());
        }
    }
}

/// Runs a command of the server's program that ends by itself.
pub(crate) fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().expect("the server's program can be started");
    Output {
        command: shown,
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The server's program, in an environment that says nothing about it.
pub(crate) fn command() -> Command {
    command_limited(None)
}

/// The same, with at most so many files open at once. The shell becomes the program, so that signals reach that.
fn command_limited(files_max: Option<u32>) -> Command {
    let mut command = match files_max {
        None => Command::new(PROGRAM),
        Some(files) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), PROGRAM]);
            shell
        }
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BACKUP_")) {
        command.env_remove(name);
    }
    // Where temporary folders are in memory, tests are as good.
    command.env("BACKUP_SERVER_ANY_FILE_SYSTEM", "true");
    command
}

/// Sends a signal to a child that was not waited for yet.
pub(crate) fn signal_to(child: &Child, signal: Signal) {
    // A child that has ended keeps its number until it is waited for.
    let _ = kill_process(Pid::from_child(child), signal);
}
