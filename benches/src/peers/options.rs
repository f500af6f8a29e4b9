//! [`Options`]: what is measured, how large and where.

use std::path::PathBuf;

use testkit::process::Outcome;

use super::data::{self, DataSet};
use super::tool;

const HELP: &str = "\
usage: cargo xtask bench peers [ROW]... [options]
rows: source, database, random, image, log, edits; all by default
  --only LIST          the same rows, separated by commas
  --scale small|full   how large the data is: a tenth by default, or as the goals say
  --peers LIST         tools to compare with, separated by commas: restic, borg, rustic, bupstash, rsync
  --runs N             passes over each row [default: 3]
  --work DIR           where data, repositories and restored files go; data made there is used again [default: a folder
                       that is removed afterwards]
  --json               one JSON object per line instead of tables";

const RUNS: usize = 3;
const RUNS_MAX: usize = 100;

/// How large the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A hundredth of the full size: for counts only.
    Smoke,
    /// About a tenth of the full size.
    Small,
    /// As the goals say.
    Full,
}

impl Scale {
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Small => "small",
            Self::Full => "full",
        }
    }

    /// `full` of something, or a part of it.
    pub fn of(self, full: u64) -> u64 {
        match self {
            Self::Smoke => full / 100,
            Self::Small => full / 10,
            Self::Full => full,
        }
    }
}

/// One row of the comparison.
#[derive(Clone, Copy)]
pub enum Row {
    /// Backups and restores of a set of data.
    Data(&'static DataSet),
    /// Bytes on the wire after small edits of a file.
    Edits,
}

impl Row {
    const EDITS: &str = "edits";

    fn named(name: &str) -> Option<Self> {
        if name == Self::EDITS {
            return Some(Self::Edits);
        }
        data::SETS.iter().find(|set| set.name == name).map(Self::Data)
    }

    fn all() -> Vec<Self> {
        data::SETS.iter().map(Self::Data).chain([Self::Edits]).collect()
    }
}

pub struct Options {
    pub rows: Vec<Row>,
    pub scale: Scale,
    /// Names of the tools, all of them known.
    pub peers: Vec<String>,
    pub runs: usize,
    pub work: Option<PathBuf>,
    pub is_json: bool,
}

impl Options {
    /// # Errors
    /// What is wrong with the arguments, or the help when it is asked for.
    pub fn parse(arguments: &[&str]) -> Outcome<Self> {
        let mut options = Self {
            rows: Vec::new(),
            scale: Scale::Small,
            peers: tool::NAMES.iter().map(|&name| name.to_owned()).collect(),
            runs: RUNS,
            work: None,
            is_json: false,
        };
        let row = |name: &str| Row::named(name).ok_or_else(|| format!("there is no row {name}\n{HELP}"));
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let mut value = || arguments.next().copied().ok_or_else(|| format!("{argument} wants a value\n{HELP}"));
            match argument {
                "--scale" => {
                    options.scale = match value()? {
                        "small" => Scale::Small,
                        "full" => Scale::Full,
                        other => return Err(format!("--scale {other}: small or full\n{HELP}")),
                    }
                }
                "--peers" => options.peers = value()?.split(',').map(str::to_owned).collect(),
                "--runs" => {
                    let runs = value()?.parse().ok().filter(|runs| (1..=RUNS_MAX).contains(runs));
                    options.runs = runs.ok_or_else(|| format!("--runs takes a number from 1 to {RUNS_MAX}"))?;
                }
                "--only" => {
                    for name in value()?.split(',') {
                        options.rows.push(row(name)?);
                    }
                }
                "--work" => options.work = Some(PathBuf::from(value()?)),
                "--json" => options.is_json = true,
                name => options.rows.push(row(name)?),
            }
        }
        if options.rows.is_empty() {
            options.rows = Row::all();
        }
        match options.peers.iter().find(|peer| !tool::NAMES.contains(&peer.as_str())) {
            Some(unknown) => Err(format!("there is no peer {unknown}\n{HELP}")),
            None => Ok(options),
        }
    }
}
