//! `cargo xtask fuzz`: every fuzz target for some minutes, with the nightly toolchain.

use std::fs;
use std::process::Command;

use crate::run::{Outcome, path_with_tools, read, run as run_command, target_dir, tool, workspace};

const FUZZ_VERSION: &str = "0.13.2";

pub fn run(arguments: &[&str]) -> Outcome {
    let (minutes, named): (u32, &[&str]) = match arguments {
        ["--minutes", minutes, named @ ..] => {
            (minutes.parse().map_err(|_| format!("{minutes} is not a number of minutes"))?, named)
        }
        named => (1, named),
    };
    tool("cargo-fuzz", FUZZ_VERSION)?;
    let mut check = Command::new("cargo");
    check.args(["+nightly", "--version"]);
    read(check)
        .map_err(|error| format!("fuzzing needs the nightly toolchain (rustup toolchain add nightly): {error}"))?;
    let mut targets = targets()?;
    if let Some(unknown) = named.iter().find(|name| !targets.iter().any(|target| target == *name)) {
        return Err(format!("there is no target {unknown}; there are {}", targets.join(", ")));
    }
    targets.retain(|target| named.is_empty() || named.contains(&target.as_str()));

    // What one target finds says nothing about the others.
    let mut failed = Vec::new();
    for target in targets {
        println!("== {target}, {minutes} min");
        if let Err(error) = fuzz(&target, minutes) {
            eprintln!("xtask: {error}");
            failed.push(target);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}; inputs are in fuzz/artifacts", failed.join(", "))) }
}

/// Runs one target on what earlier runs found, which is kept in the target folder, and on the seeds of the project.
fn fuzz(target: &str, minutes: u32) -> Outcome {
    let corpus = target_dir().join("fuzz-corpus").join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let seeds = workspace().join("fuzz/corpus").join(target);
    let mut command = Command::new("cargo");
    // In one piece, the server's crate takes the compiler longer than all fuzzing.
    command.args(["+nightly", "fuzz", "run", "--codegen-units", "16", target]).arg(&corpus).current_dir(workspace());
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    let time = format!("-max_total_time={}", minutes * 60);
    // Inputs grow ten times as fast as by default: in a minute, slow targets would not get past 30 bytes.
    command.args(["--", &time, "-len_control=10", "-rss_limit_mb=1024", "-timeout=10"]);
    // Two static tables of SQLite, in one file, have the same name.
    command.env("ASAN_OPTIONS", "detect_odr_violation=0");
    command.env("PATH", path_with_tools()?);
    run_command(command)
}

fn targets() -> Outcome<Vec<String>> {
    let folder = workspace().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}
