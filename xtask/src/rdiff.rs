//! [`measure`]: how fast librsync's `rdiff` makes signatures, deltas and files, on data as that of delta-core's benches.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::run::Outcome;

/// Large enough that starting a process does not count.
const LEN: usize = 64 << 20;
const EDITED_LEN: usize = 1 << 20;
/// The coarse level of delta-core's benches: length of a block, and of its strong hash that `fast_rsync` gets there too.
const LEVEL: &str = "8K";
const BLOCK_LEN: &str = "--block-size=8192";
const STRONG_LEN: &str = "--sum-size=8";
const RUNS: usize = 5;

/// Bytes per nanosecond of each thing that `rdiff` does, by the name of the bench beside it; none without `rdiff`.
pub fn measure() -> Outcome<BTreeMap<String, f64>> {
    let mut speeds = BTreeMap::new();
    let version = Command::new("rdiff").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("rdiff is missing and left out: apt-get install rdiff");
        return Ok(speeds);
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let [basis, target, signature, delta, out] =
        ["basis", "target", "signature", "delta", "out"].map(|name| folder.path().join(name));
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()));
    let old = random_bytes(1, LEN);
    write(&basis, &old)?;
    let sign = ["signature".as_ref(), basis.as_os_str(), signature.as_os_str()];
    speeds.insert(format!("signature/{LEVEL}"), speed(&sign)?);
    let mut edited = old.clone();
    edited[LEN / 2..LEN / 2 + EDITED_LEN].copy_from_slice(&random_bytes(2, EDITED_LEN));
    let shifted = [&b"x"[..], &old[..LEN - 1]].concat();
    let cases = [("identical", old), ("edited", edited), ("shifted", shifted), ("unrelated", random_bytes(3, LEN))];
    for (name, bytes) in cases {
        write(&target, &bytes)?;
        let diff = ["delta".as_ref(), signature.as_os_str(), target.as_os_str(), delta.as_os_str()];
        speeds.insert(format!("diff/{name}/{LEVEL}"), speed(&diff)?);
        let patch = ["patch".as_ref(), basis.as_os_str(), delta.as_os_str(), out.as_os_str()];
        speeds.insert(format!("apply/{name}"), speed(&patch)?);
    }
    Ok(speeds)
}

/// The median of some runs, in bytes of the file per nanosecond.
fn speed(arguments: &[&std::ffi::OsStr]) -> Outcome<f64> {
    let mut seconds = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let mut command = Command::new("rdiff");
        command.args(["--force", BLOCK_LEN, STRONG_LEN]).args(arguments);
        let begun = Instant::now();
        let status = command.status().map_err(|error| format!("rdiff: {error}"))?;
        seconds.push(begun.elapsed().as_secs_f64());
        if !status.success() {
            return Err(format!("rdiff {arguments:?}: {status}"));
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(LEN as f64 / seconds[RUNS / 2] / 1e9)
}

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
