//! restic with a local repository, compressing as it does by default.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

use super::{Tool, below};
use crate::peers::cost::{Cost, measure, prepare};

struct Restic {
    home: PathBuf,
}

pub fn open(home: &Path) -> Outcome<Box<dyn Tool>> {
    let restic = Restic { home: home.to_owned() };
    prepare(restic.command(&["init", "--repository-version", "2"]))?;
    Ok(Box::new(restic))
}

impl Restic {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command
            .arg("--quiet")
            .args(arguments)
            .env("RESTIC_REPOSITORY", self.repository())
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", self.home.join("cache"));
        command
    }
}

impl Tool for Restic {
    fn back_up(&mut self, source: &Path) -> Outcome<Cost> {
        let mut command = self.command(&["backup"]);
        command.arg(source);
        Ok(measure(command, None)?.cost)
    }

    fn restore(&mut self, source: &Path, target: &Path) -> Outcome<(Cost, PathBuf)> {
        let mut command = self.command(&["restore", "latest", "--target"]);
        command.arg(target);
        Ok((measure(command, None)?.cost, below(target, source)))
    }

    fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }
}
