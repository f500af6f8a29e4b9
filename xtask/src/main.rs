//! `cargo xtask …`: what developers and CI run.

mod acceptance;
mod bench;
mod demo;
mod fuzz;
mod install;
mod invariants;
mod layout;
mod lengths;
mod openapi;
mod peers;
mod rdiff;
mod run;
mod secrets;
mod simulate;
mod suites;
mod test;
mod tidy;
mod torture;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--keep]            back up a real tree to a real server, change it, back up again, restore, compare
cargo xtask test [STEP]...           everything CI runs: format, tidy, lints, fuzz targets, docs, dependency rules,
                                     doctests, web, suites, tests
cargo xtask acceptance [LINE]...      the promised bounds on large data: tree, database, image, sparse, kills,
                                     uploads (3 GB), crowd (200 at once), folder (100,000 files)
cargo xtask bench [delta|store|all]  speed: criterion benches, beside the peers' libraries where there are any
cargo xtask bench peers [--install] [ROW]... [--scale small|full] [--peers LIST] [--runs N] [--work DIR] [--json]
                                     the programs beside restic, borg, rustic, bupstash and rsync, on the same data
cargo xtask bench growth [--files N,...] [--gigabytes N,...] [--svg FILE]
                                     costs and memory while files become more, and longer
cargo xtask torture [--minutes N] [--clients N] [--seed N]
                                     many real clients beside a real server, both killed again and again; 10 minutes, 20
cargo xtask simulate [--seeds N | --seed S]
                                     random histories of the store on the simulated disk, and of clients, network and
                                     server with it, endlessly unless a count is said
cargo xtask suites [SUITE]...        programs of others against our server: tuspy, tus-js, litmus, rclone, promtool,
                                     systemd, proxies (nginx and Caddy), sslyze, schemathesis,
                                     lighthouse
cargo xtask fuzz [--minutes N] [TARGET]...   every fuzz target, or those named; one minute each by default
cargo xtask openapi                  writes the description of REST anew, of which the application's types are made
cargo xtask web dist | dev | check | browser | large
                                     the browser application: a build of it, one that follows its sources, its tests, and
                                     what is promised of 3 GB and of 100,000 files
cargo xtask tidy [--accept-formats]  rules of the workspace that no compiler checks
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &arguments[..] {
        ["demo", rest @ ..] => demo::run(rest),
        ["test", rest @ ..] => test::run(rest),
        ["acceptance", rest @ ..] => acceptance::run(rest),
        ["bench", line @ ("peers" | "growth"), rest @ ..] => peers::run(line, rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["torture", rest @ ..] => torture::run(rest),
        ["simulate", rest @ ..] => simulate::run(rest),
        ["suites", rest @ ..] => suites::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["openapi"] => openapi::run(),
        ["web", rest @ ..] => web::run(rest),
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
