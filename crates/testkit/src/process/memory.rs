//! How much memory a process has, and has had.

use std::fs;

use super::Outcome;

/// The most bytes a running process has had resident so far, as the kernel counts them; `None` when it is gone.
#[must_use]
pub fn peak_resident(process: u32) -> Option<u64> {
    field(process, "VmHWM:")
}

/// The bytes that a running process has resident now; `None` when it is gone.
#[must_use]
pub fn resident(process: u32) -> Option<u64> {
    field(process, "VmRSS:")
}

/// Begins anew what [`peak_resident`] tells of a process.
///
/// # Errors
/// When it is not this user's, or gone.
pub fn forget_peak(process: u32) -> Outcome {
    let path = format!("/proc/{process}/clear_refs");
    fs::write(&path, "5").map_err(|error| format!("{path}: {error}"))
}

fn field(process: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
