//! The `backup-server` program: see [`server_bin`].

fn main() -> std::process::ExitCode {
    server_bin::main()
}
