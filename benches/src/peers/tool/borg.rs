//! borg with a local, encrypted repository, compressing by zstd at level 3 as the others do.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

use super::{Tool, below};
use crate::peers::cost::{Cost, measure, prepare};

struct Borg {
    home: PathBuf,
    archive_count: usize,
}

pub fn open(home: &Path) -> Outcome<Box<dyn Tool>> {
    let borg = Borg { home: home.to_owned(), archive_count: 0 };
    let mut command = borg.command(&["init", "--encryption", "repokey-blake2"]);
    command.arg(borg.repository());
    prepare(command)?;
    Ok(Box::new(borg))
}

impl Borg {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("borg");
        command.args(arguments).env("BORG_PASSPHRASE", "bench").env("BORG_BASE_DIR", self.home.join("base"));
        command
    }

    fn latest(&self) -> String {
        format!("{}::{}", self.repository().display(), self.archive_count)
    }
}

impl Tool for Borg {
    fn back_up(&mut self, source: &Path) -> Outcome<Cost> {
        self.archive_count += 1;
        let mut command = self.command(&["create", "--compression", "zstd,3"]);
        command.arg(self.latest()).arg(source);
        Ok(measure(command, None)?.cost)
    }

    fn restore(&mut self, source: &Path, target: &Path) -> Outcome<(Cost, PathBuf)> {
        let mut command = self.command(&["extract"]);
        command.arg(self.latest()).current_dir(target);
        Ok((measure(command, None)?.cost, below(target, source)))
    }

    fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }
}
