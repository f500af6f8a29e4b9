//! The `backup-server` program: see [`server_bin`].

fn main() -> std::process::ExitCode {
    server_bin::run(std::env::args_os())
}
