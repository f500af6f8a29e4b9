//! `backup-server` under a name that tests can start: see [`server_bin`].

fn main() -> std::process::ExitCode {
    server_bin::main()
}
