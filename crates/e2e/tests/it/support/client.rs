//! [`Client`]: a real `backup-client` with folders of its own. [`Running`]: one of its commands under way.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use super::server::signal_to;
use super::{Home, NOBODY, Output, is_root, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_e2e-client");

/// Who runs a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Same,
    /// Somebody who may do nothing special.
    Unprivileged,
}

/// A client with its own configuration and caches.
pub(crate) struct Client {
    program: PathBuf,
    folder: PathBuf,
    user: User,
    runs: AtomicUsize,
}

impl Client {
    /// A client that is not connected yet; its folders are below `home`.
    pub(crate) fn new(home: &Home, name: &str, user: User) -> Self {
        let folder = home.folder(name);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let mut program = PathBuf::from(PROGRAM);
        if user == User::Unprivileged && is_root() {
            // The build's folder may be out of reach for others.
            program = folder.join("backup-client");
            fs::hard_link(PROGRAM, &program).or_else(|_| fs::copy(PROGRAM, &program).map(drop)).expect("a copy");
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
        }
        Self { program, folder, user, runs: AtomicUsize::new(0) }
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.folder.join("config")
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.folder.join("cache")
    }

    pub(crate) fn connection_file(&self) -> PathBuf {
        self.config_dir().join("connection.toml")
    }

    /// Becomes a device.
    #[track_caller]
    pub(crate) fn connect(&self, enrolment: &str) {
        self.run(&["connect", enrolment]).expect(0);
    }

    /// Changes a line of the connection file.
    pub(crate) fn set_connection(&self, field: &str, value: &str) {
        let path = self.connection_file();
        let text = fs::read_to_string(&path).expect("it is connected");
        let is_this = |line: &&str| line.starts_with(&format!("{field} ="));
        assert!(text.lines().any(|line| is_this(&line)), "{field} is no line of {text}");
        let lines: Vec<String> = text
            .lines()
            .map(|line| if is_this(&line) { format!("{field} = {value}") } else { line.to_owned() })
            .collect();
        // Written over, so that owner and mode stay.
        fs::write(&path, lines.join("\n") + "\n").expect("it can be written");
    }

    /// A value of the connection file.
    pub(crate) fn connection(&self, field: &str) -> String {
        let text = fs::read_to_string(self.connection_file()).expect("it is connected");
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{field} = ")));
        value.expect("it is a field").trim_matches('"').to_owned()
    }

    /// Deletes stat and signature caches.
    pub(crate) fn forget_caches(&self) {
        fs::remove_dir_all(self.cache_dir()).expect("there were caches");
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Output {
        self.start(arguments).finish()
    }

    /// Runs a command with `--json`, which must succeed; its last event, which must be of this name.
    #[track_caller]
    pub(crate) fn report(&self, event: &str, arguments: &[impl AsRef<OsStr>]) -> Value {
        let mut all: Vec<&OsStr> = vec!["--json".as_ref()];
        all.extend(arguments.iter().map(AsRef::as_ref));
        self.run(&all).expect(0).last(event)
    }

    /// Backs `path` up into the default chain; the event `committed`.
    #[track_caller]
    pub(crate) fn backup(&self, path: &Path) -> Value {
        self.report("committed", &["backup".as_ref(), path.as_os_str()])
    }

    /// Backs `path` up into a chain; the event `committed`.
    #[track_caller]
    pub(crate) fn backup_to(&self, chain: &str, path: &Path) -> Value {
        self.report("committed", &["backup".as_ref(), "--chain".as_ref(), chain.as_ref(), path.as_os_str()])
    }

    /// Restores what `from` names into `target`; the event `restored`, which must tell of no loss.
    #[track_caller]
    pub(crate) fn restore(&self, from: impl AsRef<OsStr>, target: &Path) -> Value {
        let report = self.report("restored", &["restore".as_ref(), from.as_ref(), target.as_os_str()]);
        assert_eq!(report["problems"], 0, "{report}");
        report
    }

    /// Starts a command.
    pub(crate) fn start(&self, arguments: &[impl AsRef<OsStr>]) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] = ["out", "err"].map(|stream| self.folder.join(format!("run-{run}.{stream}")));
        let file = |path: &Path| File::create_new(path).expect("a file for what it says");
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BACKUP_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("BACKUP_CLIENT_CONFIG_DIR", self.config_dir())
            .env("BACKUP_CLIENT_CACHE_DIR", self.cache_dir())
            .stdin(Stdio::null())
            .stdout(file(&stdout))
            .stderr(file(&stderr));
        if self.user == User::Unprivileged && is_root() {
            // As root this also lets go of all other groups.
            command.uid(NOBODY).gid(NOBODY);
        }
        let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        let command_line = format!("backup-client {}", shown.join(" "));
        let child = command.spawn().expect("the client can be started");
        Running { child, command_line, stdout, stderr }
    }
}

/// A command under way; ended when dropped.
pub(crate) struct Running {
    child: Child,
    command_line: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let status = self.wait();
        self.output(status)
    }

    /// Ends it at once (SIGKILL); it must not have ended before.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        signal_to(&self.child, Signal::KILL);
        let status = self.wait();
        assert_eq!(status.code(), None, "it ended before\n{}", self.output(status));
    }

    /// Stops it where it is (SIGSTOP), until [`Self::resume`].
    pub(crate) fn suspend(&self) {
        signal_to(&self.child, Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        signal_to(&self.child, Signal::CONT);
    }

    /// Waits until it has said this on standard error.
    #[track_caller]
    pub(crate) fn wait_until_says(&mut self, part: &str) {
        wait_until(part, || {
            let text = fs::read_to_string(&self.stderr).unwrap_or_default();
            let status = self.child.try_wait().expect("it is our child");
            assert!(text.contains(part) || status.is_none(), "{} has ended: {text}", self.command_line);
            text.contains(part)
        });
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(&format!("{} ends", self.command_line), || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it was waited for")
    }

    fn output(&self, status: ExitStatus) -> Output {
        Output {
            command: self.command_line.clone(),
            code: status.code(),
            stdout: fs::read(&self.stdout).expect("it is ours"),
            stderr: String::from_utf8_lossy(&fs::read(&self.stderr).expect("it is ours")).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
