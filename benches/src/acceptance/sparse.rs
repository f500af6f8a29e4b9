//! A file of 10 GiB, holes and random bytes: neither side's memory may follow it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use testkit::process::Outcome;
use testkit::tree::Random;

use crate::report::{Report, mebibytes, megabytes, seconds};
use crate::rig::{Rig, hash};

const MIB: usize = 1 << 20;
const LEN: u64 = 10 << 30;
const AREAS: u64 = 64;
const AREA_LEN: usize = 64 * MIB;
const ISLANDS: usize = 500;
const PAGES_CHANGED: usize = 200;
const RESIDENT_MAX: f64 = 256.0 * MIB as f64;

pub fn run(report: &mut Report) -> Outcome {
    let rig = Rig::start()?;
    let source = rig.source()?;
    let file = source.join("sparse");
    let mut random = Random::new(7);
    make(&file, &mut random).map_err(|error| error.to_string())?;
    let first = rig.back_up(&source)?;
    report.note("sparse: read of 10 GiB", &megabytes(first.number("bytes_read") as f64));
    report.note("sparse: first backup", &seconds(first.duration.as_secs_f64()));
    change(&file, &mut random).map_err(|error| error.to_string())?;
    let second = rig.back_up(&source)?;
    report.note("sparse: backup after 200 changed pages", &seconds(second.duration.as_secs_f64()));
    report.note("sparse: sent for them", &megabytes(second.number("bytes_sent") as f64));
    let (restored, target) = rig.restore("latest", &source)?;
    report.note("sparse: restore", &seconds(restored.duration.as_secs_f64()));
    for (what, run) in [("first backup", &first), ("second backup", &second), ("restore", &restored)] {
        let what = format!("sparse: client's memory, {what}");
        report.at_most(&what, run.peak_resident as f64, RESIDENT_MAX, mebibytes);
    }
    report.at_most("sparse: server's memory", rig.server.peak_resident() as f64, RESIDENT_MAX, mebibytes);
    let copy = target.join("sparse");
    if hash(&file)? != hash(&copy)? {
        return Err("it restores other bytes".to_owned());
    }
    let blocks = |path: &Path| path.metadata().map(|metadata| metadata.blocks()).map_err(|error| error.to_string());
    let (original, restored) = (blocks(&file)?, blocks(&copy)?);
    if restored > original + original / 100 {
        return Err(format!("its holes are gone: {restored} blocks instead of {original}"));
    }
    Ok(())
}

fn make(file: &Path, random: &mut Random) -> std::io::Result<()> {
    let file = File::create(file)?;
    file.set_len(LEN)?;
    for area in 0..AREAS {
        let start = LEN / AREAS * area + (area % 3) * 4096;
        for piece in 0..AREA_LEN / MIB {
            file.write_all_at(&random.bytes(MIB), start + (piece * MIB) as u64)?;
        }
    }
    write_pages(&file, random, ISLANDS)
}

fn change(file: &Path, random: &mut Random) -> std::io::Result<()> {
    write_pages(&OpenOptions::new().write(true).open(file)?, random, PAGES_CHANGED)
}

fn write_pages(file: &File, random: &mut Random, count: usize) -> std::io::Result<()> {
    for _ in 0..count {
        file.write_all_at(&random.bytes(4096), random.below(LEN / 4096) * 4096)?;
    }
    Ok(())
}
