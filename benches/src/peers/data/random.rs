//! 2 GB that nothing compresses, in 200 files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use testkit::process::Outcome;
use testkit::tree::Random;

use crate::peers::options::Scale;

const FILES: u64 = 200;
const FILES_PER_FOLDER: u64 = 20;
const FILE_LEN: usize = 10_000_000;
const PIECE_LEN: usize = 1_000_000;

pub fn make(folder: &Path, scale: Scale) -> Outcome {
    write(folder, scale.of(FILES)).map_err(|error| error.to_string())
}

fn write(folder: &Path, files: u64) -> std::io::Result<()> {
    let mut random = Random::new(24);
    for number in 0..files {
        let below = folder.join(format!("photos-{}", number / FILES_PER_FOLDER));
        fs::create_dir_all(&below)?;
        let mut file = File::create(below.join(format!("{number}.jpg")))?;
        for _ in 0..FILE_LEN / PIECE_LEN {
            file.write_all(&random.bytes(PIECE_LEN))?;
        }
    }
    Ok(())
}
