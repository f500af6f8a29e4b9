//! `cargo xtask …`: what developers and CI run.

mod acceptance;
mod bench;
mod demo;
mod fuzz;
mod layout;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--keep]            back up a real tree to a real server, change it, back up again, restore, compare
cargo xtask test [STEP]...           everything CI runs: format, tidy, lints, docs, dependency rules, tests
cargo xtask acceptance [LINE]...      the promised bounds on large data: tree, database, image, sparse, kills
cargo xtask bench [delta|store|all]  speed: criterion benches, beside the peers' libraries where there are any
cargo xtask fuzz [--minutes N] [TARGET]...   every fuzz target, or those named; one minute each by default
cargo xtask tidy [--accept-formats]  rules of the workspace that no compiler checks
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &arguments[..] {
        ["demo", rest @ ..] => demo::run(rest),
        ["test", rest @ ..] => test::run(rest),
        ["acceptance", rest @ ..] => acceptance::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["tidy", rest @ ..] => tidy::run(rest),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
