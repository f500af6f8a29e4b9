//! [`peak_resident`]: how much memory a process has had.

use std::fs;

/// The most bytes a running process has had resident so far, as the kernel counts them; `None` when it is gone.
#[must_use]
pub fn peak_resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
