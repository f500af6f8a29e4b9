//! [`RestoreOptions`], and [`Rights`]: who restores, and what that allows.

use std::fs;

use rustix::process::geteuid;

/// What a restore may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Restore what reaches beyond the files of one user: owners, set-id bits of files, device nodes, attributes of the
    /// system (`trusted.*`, `security.*`). Otherwise each of them is [`NotApplied`](crate::NotApplied).
    pub privileged: bool,
    /// Restore as root even into a directory that somebody else can rearrange meanwhile.
    pub trust_target: bool,
}

impl RestoreOptions {
    /// Privileged when the process runs as root; the target is not trusted.
    #[must_use]
    pub fn for_this_process() -> Self {
        Self { privileged: geteuid().is_root(), trust_target: false }
    }
}

/// What the process is, read once for a whole restore.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) privileged: bool,
    pub(crate) uid: u32,
    /// Bits that files lack when they are made; all bits when unknown.
    pub(crate) umask: u32,
    /// Whether a file without a name can be given one for certain.
    pub(crate) can_name: bool,
}

impl Rights {
    pub(crate) fn new(options: RestoreOptions) -> Self {
        Self {
            privileged: options.privileged,
            uid: geteuid().as_raw(),
            umask: umask().unwrap_or(0o777),
            can_name: fs::symlink_metadata("/proc/self/fd").is_ok(),
        }
    }
}

/// Asking the kernel for the mask means setting it, for all threads; `/proc` only tells.
fn umask() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}
