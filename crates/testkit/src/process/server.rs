//! A real `backup-server` on a free loopback port, stopped when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Outcome, read};

/// Starting means making keys and a catalog; a busy machine may take its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Server {
    program: PathBuf,
    data_dir: PathBuf,
    child: Child,
}

impl Server {
    /// Starts `program` in the empty folder `home`, and waits until it listens.
    pub fn start(program: &Path, home: &Path) -> Outcome<Self> {
        let data_dir = home.join("server");
        let port_file = home.join("port");
        let log = File::create(home.join("server.log")).map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .arg("serve")
            .arg("--data-dir")
            .arg(&data_dir)
            .args(["--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut server = Self { program: program.to_owned(), data_dir, child };
        let started = Instant::now();
        while fs::read(&port_file).unwrap_or_default().is_empty() {
            if let Some(status) = server.child.try_wait().map_err(|error| error.to_string())? {
                let log = fs::read_to_string(home.join("server.log")).unwrap_or_default();
                return Err(format!("the server ended at once ({status}):\n{log}"));
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!("the server does not listen after {} s", START_TIMEOUT.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// An enrolment string for a new device.
    pub fn enroll(&self, device: &str) -> Outcome<String> {
        let mut command = Command::new(&self.program);
        command.args(["enroll", "--device", device, "--data-dir"]).arg(&self.data_dir);
        Ok(read(command)?.trim().to_owned())
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Leaves it running; its process id.
    pub fn keep(self) -> u32 {
        let id = self.child.id();
        std::mem::forget(self);
        id
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
