//! [`real_sources`]: a tree of real source files, from what the machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::process::Outcome;

/// Debian's kernel sources where they are installed, else what cargo keeps of its registry.
pub fn real_sources(target: &Path) -> Outcome<String> {
    let archives = fs::read_dir("/usr/src").into_iter().flatten().flatten().map(|entry| entry.path());
    let archive = archives.filter(|path| path.to_string_lossy().contains("linux-source-")).find(|path| path.is_file());
    if let Some(archive) = archive {
        let mut unpack = Command::new("tar");
        unpack.arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(target);
        succeed(unpack)?;
        return Ok(archive.display().to_string());
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let registry = home.map(|home| home.join("registry/src")).filter(|folder| folder.is_dir());
    let registry = registry.ok_or("there are no kernel sources in /usr/src, and no registry of cargo")?;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(&registry).arg(target.join("registry"));
    succeed(copy)?;
    Ok(registry.display().to_string())
}

/// Runs a command that must succeed.
pub fn succeed(mut command: Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
