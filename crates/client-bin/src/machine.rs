//! What this machine and process are.

use std::path::PathBuf;

use host_fs::OwnerNames;
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};

/// Every directory on the way to a file under way is held open, so deep trees take many descriptors.
const OPEN_FILES_WANTED: u64 = 65_536;

/// Sets the limits of the process: no core dumps, which would hold keys, and as many open files as the hard limit allows.
pub(crate) fn set_limits() {
    // A system that refuses is no reason not to back up.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES_WANTED, |maximum| maximum.min(OPEN_FILES_WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        // With the old limit very deep trees may fail, with an error of their own.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

/// The machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who runs this process.
pub(crate) fn user() -> String {
    let uid = getuid().as_raw();
    let name = OwnerNames::read().user(uid).to_vec();
    if name.is_empty() { uid.to_string() } else { String::from_utf8_lossy(&name).into_owned() }
}

/// A folder named by an environment variable that is set and not empty.
pub(crate) fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_is_dumped_and_many_files_are_open_at_once() {
        set_limits();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let files = getrlimit(Resource::Nofile);
        let wanted = files.maximum.unwrap_or(u64::MAX).min(OPEN_FILES_WANTED);
        assert!(files.current.is_none_or(|current| current >= wanted), "{files:?}");
    }
}
