//! `backup-client` under a name that tests can start: see [`client_bin`].

use std::process::ExitCode;

fn main() -> ExitCode {
    client_bin::run(std::env::args_os())
}
