//! rustic with a local repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

use super::{Tool, below};
use crate::peers::cost::{Cost, measure, prepare};

struct Rustic {
    home: PathBuf,
}

pub fn open(home: &Path) -> Outcome<Box<dyn Tool>> {
    let rustic = Rustic { home: home.to_owned() };
    prepare(rustic.command(&["init"]))?;
    Ok(Box::new(rustic))
}

impl Rustic {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("rustic");
        command
            .args(["--no-progress", "--log-level", "warn"])
            .args(arguments)
            .env("RUSTIC_REPOSITORY", self.repository())
            .env("RUSTIC_PASSWORD", "bench")
            .env("RUSTIC_CACHE_DIR", self.home.join("cache"));
        command
    }
}

impl Tool for Rustic {
    fn back_up(&mut self, source: &Path) -> Outcome<Cost> {
        let mut command = self.command(&["backup"]);
        command.arg(source);
        Ok(measure(command, None)?.cost)
    }

    fn restore(&mut self, source: &Path, target: &Path) -> Outcome<(Cost, PathBuf)> {
        let mut command = self.command(&["restore", "latest"]);
        command.arg(target);
        Ok((measure(command, None)?.cost, below(target, source)))
    }

    fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }
}
