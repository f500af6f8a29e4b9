//! Limits of the process: as many open files as the system lets it have, and no core dumps, which would hold keys.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sets them; a system that refuses is no reason not to serve.
pub(crate) fn set() {
    let files = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let no_cores = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    for (what, set) in [("open files", raised), ("core dumps", no_cores)] {
        if let Err(error) = set {
            tracing::warn!(%error, what, "cannot change a limit of the process");
        }
    }
}
