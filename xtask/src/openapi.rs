//! `cargo xtask openapi`: writes `crates/web-ui/web/openapi.json` anew, the description of REST as the code has it.

use crate::run::{Outcome, cargo, run as run_command};

/// Has the test write the file that else compares it. The web application is left out: it is built from the file.
pub fn run() -> Outcome {
    let mut command = cargo(&["test", "--quiet", "--package", "server-bin", "--no-default-features", "--lib"]);
    command.arg("rest::openapi");
    command.env("BACKUP_WRITE_OPENAPI", "1");
    run_command(command)
}
