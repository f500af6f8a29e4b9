//! bupstash with a local repository and a send log of its own, which is how it skips what has not changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

use super::Tool;
use crate::peers::cost::{Cost, measure, prepare};

struct Bupstash {
    home: PathBuf,
    item: String,
}

pub fn open(home: &Path) -> Outcome<Box<dyn Tool>> {
    let bupstash = Bupstash { home: home.to_owned(), item: String::new() };
    prepare(bupstash.command(&["init"]))?;
    let mut command = bupstash.command(&["new-key", "--output"]);
    command.arg(home.join("key"));
    prepare(command)?;
    Ok(Box::new(bupstash))
}

impl Bupstash {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("bupstash");
        command
            .args(arguments)
            .env("BUPSTASH_REPOSITORY", self.repository())
            .env("BUPSTASH_KEY", self.home.join("key"))
            .env("XDG_CACHE_HOME", self.home.join("cache"));
        command
    }
}

impl Tool for Bupstash {
    fn back_up(&mut self, source: &Path) -> Outcome<Cost> {
        let mut command = self.command(&["put", "--quiet", "--send-log"]);
        command.arg(self.home.join("send-log")).arg("::").arg(source);
        let measured = measure(command, None)?;
        measured.output.trim().clone_into(&mut self.item);
        Ok(measured.cost)
    }

    fn restore(&mut self, _: &Path, target: &Path) -> Outcome<(Cost, PathBuf)> {
        let mut command = self.command(&["restore", "--quiet", "--ownership", "--into"]);
        command.arg(target).arg(format!("id={}", self.item));
        Ok((measure(command, None)?.cost, target.to_owned()))
    }

    fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }
}
