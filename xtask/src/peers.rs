//! `cargo xtask bench peers` and `growth`: the released programs beside other backup tools, and with more and more data.

use std::process::Command;

use crate::install;
use crate::run::{Outcome, cargo, path_with_tools, run as run_command, target_dir};

/// Builds what is released, and runs a line of `benches`. `--install` gets the other programs first.
pub fn run(line: &str, arguments: &[&str]) -> Outcome {
    let arguments: Vec<&str> = match arguments.split_first() {
        Some((&"--install", rest)) => {
            install::peers();
            rest.to_vec()
        }
        _ => arguments.to_vec(),
    };
    // Standard output is for figures: it may be read by a program.
    eprintln!("building backup-server, backup-client and benches");
    let packages = ["--package", "server-bin", "--package", "client-bin", "--package", "benches"];
    run_command(cargo(&[&["build", "--release", "--quiet"], &packages[..]].concat()))?;
    let mut command = Command::new(target_dir().join("release/benches"));
    command.arg(line).args(arguments).env("PATH", path_with_tools()?);
    run_command(command)
}
