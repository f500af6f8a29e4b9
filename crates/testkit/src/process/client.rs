//! [`Client`]: a real `backup-client` with folders of its own.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Outcome, peak_resident};

/// How often a running client's memory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A client program and the folders it keeps its state in.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    home: PathBuf,
    user: Option<u32>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    words: String,
    begun: Instant,
    events: JoinHandle<Vec<String>>,
    errors: JoinHandle<String>,
}

/// What came of a command.
#[derive(Debug)]
pub struct Run {
    /// What was run, for messages.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The JSON events it printed, in order.
    pub events: Vec<Value>,
    /// What it wrote to standard error.
    pub errors: String,
    /// How long it took.
    pub duration: Duration,
    /// The most bytes it had resident, less what it grew by in its last 20 ms.
    pub peak_resident: u64,
}

impl Client {
    /// A client whose configuration and caches are in `home`.
    #[must_use]
    pub fn new(program: &Path, home: &Path) -> Self {
        Self { program: program.to_owned(), home: home.to_owned(), user: None }
    }

    /// The same client, run by another user of the system; only root may.
    #[must_use]
    pub fn as_user(self, user: u32) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Where its caches are.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.home.join("cache")
    }

    /// A command with `--json`, for whoever wants to start it in a way of their own.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--json")
            .env("BACKUP_CLIENT_CONFIG_DIR", self.home.join("config"))
            .env("BACKUP_CLIENT_CACHE_DIR", self.cache_dir());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Starts a command with `--json`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome<Running> {
        Running::start(self.command(arguments))
    }

    /// Runs a command to its end, however that is.
    ///
    /// # Errors
    /// When the program cannot be started, or prints what is no JSON.
    pub fn try_run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome<Run> {
        self.start(arguments)?.wait()
    }

    /// Runs a command that must succeed; the last JSON event it printed.
    ///
    /// # Errors
    /// When it does not succeed, or prints nothing.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome<Value> {
        let run = self.try_run(arguments)?.succeeded()?;
        run.last().cloned().ok_or_else(|| format!("backup-client {} printed nothing", run.words))
    }
}

impl Running {
    /// Starts a command of one of the programs that prints JSON.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) fn start(mut command: Command) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let program = PathBuf::from(command.get_program());
        let mut child = command.spawn().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut stderr = child.stderr.take().expect("it is piped");
        let events = std::thread::spawn(move || stdout.lines().map_while(Result::ok).collect());
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What could be read is what there is to show.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy().into_owned()];
        words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
        Ok(Self { child, words: words.join(" "), begun, events, errors })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would; what came of it, unless it had ended by itself.
    ///
    /// # Errors
    /// When the system does not let it be ended.
    pub fn kill(mut self) -> Outcome<Run> {
        self.child.kill().map_err(|error| error.to_string())?;
        self.wait()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it printed what is no JSON.
    pub fn wait(mut self) -> Outcome<Run> {
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_resident(self.child.id()).unwrap_or(0));
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None => std::thread::sleep(LOOK_INTERVAL),
            }
        };
        let duration = self.begun.elapsed();
        let lines = self.events.join().map_err(|_| "the reader of its output failed")?;
        let errors = self.errors.join().map_err(|_| "the reader of its errors failed")?;
        let mut events = Vec::with_capacity(lines.len());
        for line in &lines {
            match serde_json::from_str(line) {
                Ok(event) => events.push(event),
                // What was being written when it was killed.
                Err(_) if !status.success() => break,
                Err(error) => return Err(format!("{} printed {line:?}: {error}", self.words)),
            }
        }
        Ok(Run { words: self.words, status, events, errors, duration, peak_resident: peak })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.words, self.status)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))?;
        f.write_str(&self.errors)
    }
}

impl Run {
    /// Itself, when it ended well.
    ///
    /// # Errors
    /// How it ended, and what it said.
    pub fn succeeded(self) -> Outcome<Self> {
        if self.status.success() { Ok(self) } else { Err(self.to_string()) }
    }

    /// Whether it was killed before it had ended.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.status.signal().is_some()
    }

    /// All events of this name.
    pub fn all(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |value| value["event"] == event)
    }

    /// The last event.
    #[must_use]
    pub fn last(&self) -> Option<&Value> {
        self.events.last()
    }

    /// A number of the last event; 0 when it has none of that name.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.last().and_then(|event| event[field].as_u64()).unwrap_or(0)
    }
}
