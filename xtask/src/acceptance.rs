//! `cargo xtask acceptance`: the promised bounds, on data of the size they are promised for.

use std::process::Command;

use crate::run::{Outcome, cargo, run as run_command, target_dir};

pub fn run(names: &[&str]) -> Outcome {
    println!("building backup-server, backup-client and benches");
    let packages = ["--package", "server-bin", "--package", "client-bin", "--package", "benches"];
    run_command(cargo(&[&["build", "--release", "--quiet"], &packages[..]].concat()))?;
    let mut command = Command::new(target_dir().join("release/benches"));
    command.arg("acceptance").args(names);
    run_command(command)
}
