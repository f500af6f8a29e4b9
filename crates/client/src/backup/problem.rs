//! From a [`HostError`] to a [`FileProblem`] that says what happened and what to do.

use std::error::Error;

use host_fs::{HostError, HostErrorKind};

use crate::monitor::FileProblem;

/// The problem that a failure with one file is.
pub(crate) fn problem(error: &HostError) -> FileProblem {
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    let advice = match error.kind() {
        HostErrorKind::NotFound => "; it vanished while the backup ran",
        HostErrorKind::NotAllowed => "; run as a user who may read it, or exclude it",
        HostErrorKind::Changed => "; it was replaced while the backup ran",
        _ => "",
    };
    let message = format!("cannot {}{cause}{advice}", error.verb());
    FileProblem { path: error.path().to_owned(), message, is_loss: true }
}
