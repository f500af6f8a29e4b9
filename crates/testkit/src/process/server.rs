//! [`Server`]: a real `backup-server` on a free loopback port, ended when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Outcome, Running, peak_resident};

/// Starting means making keys and a catalog; a busy machine may take its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A server program, its folders, and the process it runs in.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    home: PathBuf,
    options: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts `program` in the folder `home`, and waits until it listens.
    ///
    /// # Errors
    /// When it does not start; its log is in the message.
    pub fn start(program: &Path, home: &Path) -> Outcome<Self> {
        Self::start_with(program, home, &[])
    }

    /// The same, with further options of `serve`.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(program: &Path, home: &Path, options: &[&str]) -> Outcome<Self> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let child = spawn(program, home, "127.0.0.1:0", &options)?;
        let mut server = Self { program: program.to_owned(), home: home.to_owned(), options, child };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Starts it again at the same address, after it was ended.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart(&mut self) -> Outcome {
        let address = self.address()?;
        fs::remove_file(self.home.join("port")).map_err(|error| format!("the port file: {error}"))?;
        self.child = spawn(&self.program, &self.home, &address, &self.options)?;
        self.wait_until_it_listens()
    }

    /// Where it listens, as `127.0.0.1:8080`.
    ///
    /// # Errors
    /// When its port file cannot be read.
    pub fn address(&self) -> Outcome<String> {
        let said = fs::read_to_string(self.home.join("port")).map_err(|error| format!("the port file: {error}"))?;
        let said = said.trim();
        Ok(if said.contains(':') { said.to_owned() } else { format!("127.0.0.1:{said}") })
    }

    /// Starts it again with other options, after it was ended.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart_with(&mut self, options: &[&str]) -> Outcome {
        self.options = options.iter().map(ToString::to_string).collect();
        self.restart()
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When the system does not let it be ended.
    pub fn kill(&mut self) -> Outcome {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|error| error.to_string())
    }

    /// An enrolment string for a new device.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn enroll(&self, device: &str) -> Outcome<String> {
        let run = self.admin(&["enroll", "--device", device])?.wait()?.succeeded()?;
        let string = run.last().and_then(|event| event["enrolment"].as_str());
        string.map(str::to_owned).ok_or_else(|| format!("no enrolment string: {run}"))
    }

    /// Starts an administrator's command with `--json`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn admin(&self, arguments: &[&str]) -> Outcome<Running> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--json").arg("--data-dir").arg(self.data_dir());
        command.env("BACKUP_SERVER_ANY_FILE_SYSTEM", "true");
        Running::start(command)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_running(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait().map_err(|error| error.to_string())?.is_none())
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("server.log")).unwrap_or_default()
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("server")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most bytes it has had resident.
    #[must_use]
    pub fn peak_resident(&self) -> u64 {
        peak_resident(self.child.id()).unwrap_or(0)
    }

    /// Leaves it running; its process id.
    #[must_use]
    pub fn keep(self) -> u32 {
        let id = self.child.id();
        std::mem::forget(self);
        id
    }

    fn wait_until_it_listens(&mut self) -> Outcome {
        let started = Instant::now();
        while fs::read(self.home.join("port")).unwrap_or_default().is_empty() {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                let log = fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
                return Err(format!("the server ended at once ({status}):\n{log}"));
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!("the server does not listen after {} s", START_TIMEOUT.as_secs()));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }
}

fn spawn(program: &Path, home: &Path, address: &str, options: &[String]) -> Outcome<Child> {
    let log = File::options().create(true).append(true).open(home.join("server.log"));
    let log = log.map_err(|error| format!("the server's log: {error}"))?;
    Command::new(program)
        .arg("serve")
        .arg("--data-dir")
        .arg(home.join("server"))
        .args(["--listen", address, "--port-file"])
        .arg(home.join("port"))
        // A folder that lives for a minute, and whose length somebody may measure.
        .env("BACKUP_SERVER_RESERVE", "0B")
        // Perhaps in memory.
        .env("BACKUP_SERVER_ANY_FILE_SYSTEM", "true")
        .args(options)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
