//! `cargo xtask web`: the browser application by itself, for those who work on it, for packagers, and for the step `web`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{Outcome, build_as_tests, cargo, read, run as run_command, target_dir, workspace};

/// Oldest Node.js that the build's tools run on.
const NODE_MIN: (u32, u32) = (20, 19);
const HELP: &str = "cargo xtask web knows dist, dev, check, browser and large";

/// Builds it, serves it while it is worked on, or checks it.
pub fn run(arguments: &[&str]) -> Outcome {
    match arguments {
        ["dist"] => {
            install()?;
            npm(&["run", "build"])?;
            println!("built: export BACKUP_WEB_DIST={}", folder().join("dist").display());
            Ok(())
        }
        ["dev"] => {
            install()?;
            npm(&["run", "dev"])
        }
        ["check"] => check(),
        ["browser"] => {
            install()?;
            browser()
        }
        ["large"] => {
            install()?;
            large()
        }
        _ => Err(HELP.to_owned()),
    }
}

/// Types, unit tests, and the real screens in Chromium from the real server.
pub fn check() -> Outcome {
    install()?;
    npm(&["run", "check"])?;
    npm(&["test"])?;
    browser()
}

fn browser() -> Outcome {
    run_command(build_as_tests())?;
    let mut command = npm_command(&["run", "browser"]);
    command.env("BACKUP_SERVER_PROGRAM", target_dir().join("debug/backup-server"));
    command.env("BACKUP_CLIENT_PROGRAM", target_dir().join("debug/backup-client"));
    run_command(command)
}

/// A file of 3 GB and a folder of 100,000 files, in Chromium from the released server; takes minutes.
fn large() -> Outcome {
    run_command(cargo(&["build", "--release", "--quiet", "-p", "server-bin"]))?;
    let mut command = Command::new("node");
    command.arg("browser/large.mjs").current_dir(folder());
    command.env("BACKUP_SERVER_PROGRAM", target_dir().join("release/backup-server"));
    run_command(command)
}

/// Installs what the lock names, unless npm did so after the lock was last changed.
fn install() -> Outcome {
    node_is_new_enough()?;
    let changed = |name: &str| fs::metadata(folder().join(name)).and_then(|metadata| metadata.modified()).ok();
    let installed = changed("node_modules/.package-lock.json");
    if installed.is_some() && installed >= changed("package-lock.json").max(changed("package.json")) {
        return Ok(());
    }
    npm(&["ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"])
}

fn node_is_new_enough() -> Outcome {
    let wanted = format!("the browser application needs Node.js {}.{} or newer, with npm", NODE_MIN.0, NODE_MIN.1);
    let mut command = Command::new("node");
    command.arg("--version");
    let version = read(command).map_err(|error| format!("{wanted}: {error}"))?;
    let mut numbers = version.trim().trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= NODE_MIN => Ok(()),
        _ => Err(format!("{wanted}; this is {}", version.trim())),
    }
}

fn npm(arguments: &[&str]) -> Outcome {
    run_command(npm_command(arguments))
}

fn npm_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.args(arguments).current_dir(folder());
    command
}

fn folder() -> PathBuf {
    workspace().join("crates/web-ui/web")
}
