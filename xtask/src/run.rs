//! Running programs: [`run`] shows their output, [`read`] takes it; [`tool`] installs one that is missing.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a step failed, for people.
pub type Outcome<T = ()> = Result<T, String>;

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

/// The folder of everything that is built.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// `PATH`, with what was installed into the target folder first.
pub fn path_with_tools() -> Outcome<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(target_dir().join("tools/bin")).chain(std::env::split_paths(&path));
    std::env::join_paths(paths).map_err(|error| error.to_string())
}

/// A cargo command in the workspace.
pub fn cargo<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Builds the programs as the step `tests` does: by themselves, packages would be built with other features, all over.
pub fn build_as_tests() -> Command {
    cargo(&["build", "--quiet", "--workspace", "--bins", "--tests"])
}

/// Runs a command with its output shown.
pub fn run(mut command: Command) -> Outcome {
    let shown = shown(&command);
    let status = command.status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed: {status}")) }
}

/// Runs a command and takes its standard output.
pub fn read(mut command: Command) -> Outcome<String> {
    let shown = shown(&command);
    command.stderr(Stdio::inherit());
    let output = command.output().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{shown}` printed something that is not UTF-8"))
}

/// A cargo subcommand's program, such as `cargo-deny`: the machine's, or one installed into the target folder.
pub fn tool(name: &str, version: &str) -> Outcome<PathBuf> {
    let works = |program: &Path| {
        let subcommand = name.strip_prefix("cargo-").unwrap_or(name);
        let mut command = Command::new(program);
        command.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let installed = target_dir().join("tools/bin").join(name);
    for program in [PathBuf::from(name), installed.clone()] {
        if works(&program) {
            return Ok(program);
        }
    }
    println!("{name} is missing: installing {version} into {}", target_dir().join("tools").display());
    let root = target_dir().join("tools");
    // Not optimised: it runs for seconds, and takes minutes to build.
    let mut install = cargo(&["install", name, "--version", version, "--locked", "--debug", "--root"]);
    install.arg(&root).env("CARGO_PROFILE_DEV_DEBUG", "false");
    run(install).map_err(|error| format!("{error}; install {name} by hand, or give this machine its registry"))?;
    Ok(installed)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
