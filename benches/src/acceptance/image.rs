//! A disk image of 1 GiB with 500 scattered overwrites of 4 KiB.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use testkit::process::Outcome;
use testkit::tree::Random;

use super::generations;
use crate::report::{Report, times};
use crate::rig::Rig;

const MIB: usize = 1 << 20;
const LEN: usize = 1024 * MIB;
const PAGE_LEN: usize = 4096;
const PAGES_CHANGED: usize = 500;
const FACTOR_MAX: f64 = 3.0;

pub fn run(report: &mut Report) -> Outcome {
    let rig = Rig::start()?;
    let file = rig.source()?.join("disk.img");
    let mut random = Random::new(6);
    make(&file, &mut random).map_err(|error| error.to_string())?;
    let costs = generations::run(report, "image", &rig, &file, |_| {
        change(&file, &mut random).map_err(|error| error.to_string())
    })?;
    let changed = (PAGES_CHANGED * PAGE_LEN) as f64;
    let most =
        |figure: &dyn Fn(&generations::Cost) -> u64| costs.iter().map(figure).max().unwrap_or(0) as f64 / changed;
    report.at_most(
        "image: sent per generation, of the bytes changed",
        most(&|c| c.run.number("bytes_sent")),
        FACTOR_MAX,
        times,
    );
    report.at_most("image: received per generation", most(&|c| c.run.number("bytes_received")), FACTOR_MAX, times);
    report.at_most("image: data directory grown per generation", most(&|c| c.grown_len), FACTOR_MAX, times);
    Ok(())
}

/// Half random, a quarter text, a quarter zeros, as in a file system that is in use.
fn make(file: &Path, random: &mut Random) -> std::io::Result<()> {
    let mut file = File::create(file)?;
    for area in 0..LEN / MIB {
        let bytes = match area % 4 {
            0 | 1 => random.bytes(MIB),
            2 => random.text(MIB),
            _ => vec![0; MIB],
        };
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn change(file: &Path, random: &mut Random) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    for _ in 0..PAGES_CHANGED {
        let page = random.bytes(PAGE_LEN);
        file.write_all_at(&page, (random.index(LEN / PAGE_LEN) * PAGE_LEN) as u64)?;
    }
    Ok(())
}
