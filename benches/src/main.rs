//! The released programs on large data, measured from outside. `cargo xtask acceptance` builds them and runs this.

mod acceptance;
mod report;
mod rig;

use std::process::ExitCode;

const HELP: &str = "usage: benches acceptance [tree|database|image|sparse|kills]...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &arguments[..] {
        ["acceptance", names @ ..] => acceptance::run(names),
        _ => Err(HELP.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("benches: {message}");
            ExitCode::FAILURE
        }
    }
}
