//! The data: small files of different text, or one file that is half text and half noise.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use testkit::tree::Random;

/// Between making files and their backup: longer than a client takes files to be changing.
pub const AGE: Duration = Duration::from_millis(2100);

const FILES_PER_FOLDER: u64 = 500;
const FILE_LEN_MAX: u64 = 1000;
const MB: usize = 1_000_000;

/// What there is more and more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Files,
    Gigabytes,
}

impl Kind {
    pub fn unit(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Gigabytes => "GB",
        }
    }

    pub fn file_count(self, size: u64) -> u64 {
        match self {
            Self::Files => size,
            Self::Gigabytes => 1,
        }
    }

    /// CPU seconds of one unit, for people.
    pub fn show_each(self, seconds: f64) -> String {
        match self {
            Self::Files => format!("{:.1} µs", seconds * 1e6),
            Self::Gigabytes => format!("{seconds:.2} s"),
        }
    }
}

pub fn make(kind: Kind, size: u64, folder: &Path) -> std::io::Result<()> {
    let mut random = Random::new(41);
    match kind {
        Kind::Files => (0..size).try_for_each(|number| {
            let below = folder.join(format!("folder-{}", number / FILES_PER_FOLDER));
            if number % FILES_PER_FOLDER == 0 {
                fs::create_dir(&below)?;
            }
            let len = usize::try_from(random.below(FILE_LEN_MAX)).expect("small");
            fs::write(below.join(format!("file-{number}")), random.text(len))
        }),
        Kind::Gigabytes => {
            let mut file = File::create(folder.join("file"))?;
            (0..size * 500).try_for_each(|_| {
                file.write_all(&random.bytes(MB))?;
                file.write_all(&random.text(MB))
            })
        }
    }
}

/// Files below a folder.
pub fn count(folder: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { self::count(&entry.path())? } else { 1 };
    }
    Ok(count)
}
