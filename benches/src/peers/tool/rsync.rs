//! rsync into a plain folder. The first time it copies; from then on it sends compressed deltas, as it would over a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

use super::Tool;
use crate::peers::cost::{Cost, Wire, measure};

struct Rsync {
    copy: PathBuf,
    has_copy: bool,
}

pub fn open(home: &Path) -> Outcome<Box<dyn Tool>> {
    Ok(Box::new(Rsync { copy: home.join("copy"), has_copy: false }))
}

/// What `rsync --stats` says of the bytes it sent and received.
///
/// # Errors
/// When it says nothing of them.
pub fn wire_of_stats(stats: &str) -> Outcome<Wire> {
    let count = |what: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(what))?;
        line.replace(',', "").trim().parse::<u64>().ok()
    };
    let counts = count("Total bytes sent:").zip(count("Total bytes received:"));
    let (sent, received) = counts.ok_or_else(|| format!("rsync printed no statistics:\n{stats}"))?;
    Ok(Wire { sent, received })
}

fn copy(options: &[&str], from: &Path, to: &Path) -> Outcome<Cost> {
    let mut command = Command::new("rsync");
    command.args(["--archive", "--delete", "--stats"]).args(options);
    command.arg(format!("{}/", from.display())).arg(to);
    let measured = measure(command, None)?;
    Ok(Cost { wire: Some(wire_of_stats(&measured.output)?), ..measured.cost })
}

impl Tool for Rsync {
    fn back_up(&mut self, source: &Path) -> Outcome<Cost> {
        let options: &[&str] = if self.has_copy { &["--compress", "--no-whole-file"] } else { &["--whole-file"] };
        self.has_copy = true;
        copy(options, source, &self.copy)
    }

    fn restore(&mut self, _: &Path, target: &Path) -> Outcome<(Cost, PathBuf)> {
        Ok((copy(&["--whole-file"], &self.copy, target)?, target.to_owned()))
    }

    fn repository(&self) -> PathBuf {
        self.copy.clone()
    }
}
