//! [`DataSet`]: what is backed up in a row, and how it changes. Seeds decide every byte.

mod database;
mod image;
mod log;
mod random;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

use super::options::Scale;
use crate::sources::succeed;

/// What is backed up in a row.
pub struct DataSet {
    /// The row's name.
    pub name: &'static str,
    /// Makes the first version in an empty folder.
    make: fn(&Path, Scale) -> Outcome,
    /// Makes the next version in place; how many bytes are new in it.
    pub edit: Option<fn(&Path, Scale) -> Outcome<u64>>,
    /// Whether a backup with nothing changed is measured.
    pub has_unchanged: bool,
}

pub const SETS: [DataSet; 5] = [
    DataSet { name: "source", make: source::make, edit: Some(source::edit), has_unchanged: true },
    DataSet { name: "database", make: database::make, edit: Some(database::edit), has_unchanged: false },
    DataSet { name: "random", make: random::make, edit: None, has_unchanged: false },
    DataSet { name: "image", make: image::make, edit: Some(image::edit), has_unchanged: false },
    DataSet { name: "log", make: log::make, edit: Some(log::edit), has_unchanged: false },
];

impl DataSet {
    /// The folder of the first version below `work`; made when it is not there yet.
    pub fn base(&self, work: &Path, scale: Scale) -> Outcome<PathBuf> {
        let base = work.join("base").join(format!("{}-{}", self.name, scale.name()));
        if base.is_dir() {
            return Ok(base);
        }
        eprintln!("{}: making data", self.name);
        let partial = base.with_extension("partial");
        let fail = |error: std::io::Error| format!("{}: {error}", partial.display());
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(fail)?;
        }
        fs::create_dir_all(&partial).map_err(fail)?;
        (self.make)(&partial, scale)?;
        fs::rename(&partial, &base).map_err(fail)?;
        Ok(base)
    }
}

/// A copy of a folder, bytes of its own included.
///
/// # Errors
/// When `cp` fails.
pub fn copy(from: &Path, to: &Path) -> Outcome {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=never"]).arg(from).arg(to);
    succeed(copy)
}
