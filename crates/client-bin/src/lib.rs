//! `backup-client`, the command line: arguments in, words and exit codes out. What it does is in crate `client`.
//!
//! Data and `--json` go to standard output, progress and errors to standard error. Exit codes: see [`failure`].

mod args;
mod commands;
mod failure;
mod machine;
mod output;
mod progress;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use self::args::Args;
use self::failure::Exit;

/// Runs the command line `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are printed to standard output and are no failure.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.code();
        }
    };
    machine::set_limits();
    match commands::run(&args) {
        Ok(exit) => exit.code(),
        Err(failure) => failure.report(args.wants_events()).code(),
    }
}
