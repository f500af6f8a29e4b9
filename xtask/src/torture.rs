//! `cargo xtask torture`: many real clients beside a real server, both killed again and again.

use std::process::Command;

use crate::run::{Outcome, cargo, run as run_command, target_dir};

pub fn run(arguments: &[&str]) -> Outcome {
    println!("building backup-server, backup-client and benches");
    let packages = ["--package", "server-bin", "--package", "client-bin", "--package", "benches"];
    run_command(cargo(&[&["build", "--release", "--quiet"], &packages[..]].concat()))?;
    let mut command = Command::new(target_dir().join("release/benches"));
    command.arg("torture").args(arguments);
    run_command(command)
}
