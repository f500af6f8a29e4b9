//! Runs one test again in a process of its own, with other rights or limits.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Set in the process of its own.
const INSIDE: &str = "HOST_FS_TEST_INSIDE";

/// What the process is like.
pub(crate) enum Process {
    /// Not root: the user and group 65534, with no other groups.
    Nobody,
    /// With so many descriptors.
    Descriptors(u32),
    /// Without `/proc`.
    NoProc,
}

/// Returns true in the process that is to run the test's body. Elsewhere runs the test named `test` there, and returns
/// false when it has passed.
///
/// # Panics
/// When it fails there.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
pub(crate) fn is_inside(process: &Process, test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let is_root = rustix::process::geteuid().is_root();
    match process {
        Process::Nobody if !is_root => return true,
        Process::NoProc if !is_root => {
            eprintln!("left out: unmounting /proc needs root");
            return false;
        }
        _ => {}
    }
    // Others may not come where cargo builds, so they run a copy.
    let place = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let program = place.path().join("test");
    fs::copy(env::current_exe().expect("this is a program"), &program).expect("it can be copied");
    let mut command = match process {
        Process::Nobody => with("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"]),
        Process::Descriptors(count) => {
            let limited = format!("ulimit -n {count} && exec \"$@\"");
            with("sh", &["-c", &limited, "sh"])
        }
        Process::NoProc => {
            let bare = "umount -l /proc && exec \"$@\"";
            with("unshare", &["--mount", "sh", "-c", bare, "sh"])
        }
    };
    command.arg(&program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").stdin(Stdio::null());
    let output = command.output().expect("the process starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{test} fails in its own process:\n{said}");
    false
}

fn with(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
