//! `cargo xtask test`: everything CI runs, the tests last, so that their closing lines are the last ones.

use std::time::Instant;

use crate::run::{Outcome, cargo, path_with_tools, run as run_command, target_dir, tool, workspace};
use crate::{suites, tidy, web};

const DENY_VERSION: &str = "0.20.2";
const NEXTEST_VERSION: &str = "0.9.143";

type Step = (&'static str, fn() -> Outcome);

const STEPS: [Step; 10] = [
    ("format", format),
    ("tidy", || tidy::run(&[])),
    ("lints", lints),
    ("fuzz", fuzz_targets),
    ("docs", docs),
    ("dependencies", dependencies),
    ("doctests", doctests),
    ("web", web::check),
    ("suites", suites::run_fast),
    ("tests", tests),
];

/// Runs all steps, or those named.
pub fn run(names: &[&str]) -> Outcome {
    let known: Vec<&str> = STEPS.iter().map(|(known, _)| *known).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no step {unknown}; there are {}", known.join(", ")));
    }
    let started = Instant::now();
    for (name, step) in STEPS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        println!("== {name}");
        let begun = Instant::now();
        step().map_err(|error| format!("{name}: {error}"))?;
        println!("== {name}: ok, {} s", begun.elapsed().as_secs());
    }
    println!("all checks passed in {} s", started.elapsed().as_secs());
    Ok(())
}

fn format() -> Outcome {
    run_command(cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Outcome {
    run_command(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// Fuzz targets are a workspace of their own, which needs another toolchain to run: here they are only compiled, as far as it takes
/// to know that they fit what they try.
fn fuzz_targets() -> Outcome {
    let mut command = cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--quiet"]);
    command.env("RUSTFLAGS", "--cfg fuzzing -D warnings").env("CARGO_TARGET_DIR", target_dir().join("fuzz-check"));
    // It is linked, and not made: that would take a compiler of C++.
    command.env("CUSTOM_LIBFUZZER_PATH", target_dir().join("libFuzzer.a"));
    run_command(command)
}

fn docs() -> Outcome {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--quiet", "--document-private-items"]);
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
    run_command(command)
}

/// The advisory database is a git repository elsewhere: machines that reach only the package registries cannot fetch it,
/// so advisories are checked where `DENY_ADVISORIES` is set.
fn dependencies() -> Outcome {
    let deny = tool("cargo-deny", DENY_VERSION)?;
    let mut command = std::process::Command::new(deny);
    command.current_dir(workspace()).args(["deny", "check", "--hide-inclusion-graph"]);
    if std::env::var_os("DENY_ADVISORIES").is_some() {
        command.arg("advisories");
    } else {
        println!("advisories are not checked: set DENY_ADVISORIES=1 where their database can be fetched");
    }
    command.args(["bans", "licenses", "sources"]);
    run_command(command)
}

fn doctests() -> Outcome {
    run_command(cargo(&["test", "--doc", "--workspace", "--quiet"]))
}

fn tests() -> Outcome {
    tool("cargo-nextest", NEXTEST_VERSION)?;
    let mut command = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
    command.env("PATH", path_with_tools()?);
    run_command(command)
}
