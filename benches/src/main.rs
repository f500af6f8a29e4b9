//! The released programs on large data, measured from outside. `cargo xtask acceptance`, `cargo xtask bench peers` and
//! `cargo xtask bench growth` build them and run this.

use std::process::ExitCode;

use benches::{acceptance, growth, load, peers, scale, torture};

const HELP: &str = "\
usage: benches acceptance [tree|database|image|sparse|kills|uploads|crowd|folder]...
       benches peers [source|database|random|image|log|edits]... [options]
       benches growth [options]
       benches torture [--minutes N] [--clients N] [--seed N]
       benches scale [MILLIONS]...
       benches gc-load [--rounds N] [--megabytes N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &arguments[..] {
        ["acceptance", names @ ..] => acceptance::run(names),
        ["peers", rest @ ..] => peers::run(rest),
        ["growth", rest @ ..] => growth::run(rest),
        ["torture", rest @ ..] => torture::run(rest),
        ["scale", rest @ ..] => scale::run(rest),
        ["gc-load", rest @ ..] => load::run(rest),
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
