//! A real `backup-client` with folders of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::Outcome;

pub struct Client {
    program: PathBuf,
    home: PathBuf,
}

impl Client {
    pub fn new(program: &Path, home: &Path) -> Self {
        Self { program: program.to_owned(), home: home.to_owned() }
    }

    /// Runs a command; the last JSON event it printed.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome<Value> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg("--json")
            .env("BACKUP_CLIENT_CONFIG_DIR", self.home.join("config"))
            .env("BACKUP_CLIENT_CACHE_DIR", self.home.join("cache"))
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run {}: {error}", self.program.display()))?;
        let words: Vec<String> = arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
        if !output.status.success() {
            return Err(format!("backup-client {} failed: {}", words.join(" "), output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().ok_or_else(|| format!("backup-client {} printed nothing", words.join(" ")))?;
        serde_json::from_str(last).map_err(|error| format!("backup-client printed {last:?}: {error}"))
    }
}
