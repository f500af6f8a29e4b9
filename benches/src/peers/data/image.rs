//! A disk image of 4.3 GB: half random, a quarter text, a quarter zeros, as in a file system that is in use. The next version
//! has 66 MiB overwritten: some new files of several MiB, and many scattered runs of pages.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use testkit::process::Outcome;
use testkit::tree::Random;

use crate::peers::options::Scale;

const MIB: usize = 1 << 20;
const PAGE_LEN: u64 = 4096;
/// In MiB.
const LEN: u64 = 4100;
/// Runs of pages that are overwritten: how long each is, in pages, and how many there are.
const OVERWRITTEN: [(u64, u64); 4] = [(2048, 4), (64, 60), (8, 500), (1, 860)];

pub fn make(folder: &Path, scale: Scale) -> Outcome {
    write(&folder.join("disk.img"), scale.of(LEN)).map_err(|error| error.to_string())
}

pub fn edit(folder: &Path, scale: Scale) -> Outcome<u64> {
    overwrite(&folder.join("disk.img"), scale).map_err(|error| error.to_string())
}

fn write(file: &Path, len: u64) -> std::io::Result<()> {
    let mut random = Random::new(25);
    let mut file = File::create(file)?;
    for area in 0..len {
        let bytes = match area % 4 {
            0 | 1 => random.bytes(MIB),
            2 => random.text(MIB),
            _ => vec![0; MIB],
        };
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn overwrite(file: &Path, scale: Scale) -> std::io::Result<u64> {
    let mut random = Random::new(26);
    let file = OpenOptions::new().write(true).open(file)?;
    let pages = file.metadata()?.len() / PAGE_LEN;
    let mut new_len = 0;
    for (run, count) in OVERWRITTEN {
        for _ in 0..scale.of(count).max(1) {
            let len = run * PAGE_LEN;
            let bytes = random.bytes(usize::try_from(len).expect("8 MiB at most"));
            file.write_all_at(&bytes, random.below(pages - run) * PAGE_LEN)?;
            new_len += len;
        }
    }
    Ok(new_len)
}
