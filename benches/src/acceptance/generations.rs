//! Ten generations of one file: each backed up, and each restored in the end.

use std::path::Path;

use testkit::process::{Outcome, Run};

use crate::report::{Report, mebibytes, seconds};
use crate::rig::{Rig, hash, snapshot};

const GENERATIONS: usize = 10;

/// What one generation cost.
pub struct Cost {
    pub run: Run,
    /// Bytes by which the server's folder grew.
    pub grown_len: u64,
}

/// Backs `file` up, then ten times changed by `change`; all eleven versions must come back. What the ten cost.
pub fn run(
    report: &mut Report,
    what: &str,
    rig: &Rig,
    file: &Path,
    mut change: impl FnMut(usize) -> Outcome,
) -> Outcome<Vec<Cost>> {
    let source = file.parent().expect("a file has a folder");
    let name = file.file_name().expect("a file has a name");
    let first = rig.back_up(source)?;
    report.note(&format!("{what}: first backup"), &seconds(first.duration.as_secs_f64()));
    let mut versions = vec![(snapshot(&first), hash(file)?)];
    let mut costs = Vec::new();
    for generation in 0..GENERATIONS {
        change(generation)?;
        let before = rig.stored_len()?;
        let run = rig.back_up(source)?;
        versions.push((snapshot(&run), hash(file)?));
        costs.push(Cost { run, grown_len: rig.stored_len()? - before });
    }
    let slowest = costs.iter().map(|cost| cost.run.duration.as_secs_f64()).fold(0.0, f64::max);
    report.note(&format!("{what}: backup of a generation"), &seconds(slowest));
    for (snapshot, expected) in &versions {
        let (_, target) = rig.restore(snapshot, source)?;
        if hash(&target.join(name))? != *expected {
            return Err(format!("{snapshot} restores other bytes"));
        }
    }
    report.note(&format!("{what}: generations restored identically"), &versions.len().to_string());
    let peaks = costs.iter().map(|cost| cost.run.peak_resident).max().unwrap_or(0);
    report.note(&format!("{what}: peak memory of the client"), &mebibytes(peaks as f64));
    report.note(&format!("{what}: peak memory of the server"), &mebibytes(rig.server.peak_resident() as f64));
    Ok(costs)
}
