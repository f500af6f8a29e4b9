//! [`Excludes`]: what is left out, by patterns in the syntax of `.gitignore`.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::ClientError;

/// Patterns of names and paths that are not backed up.
#[derive(Debug)]
pub(crate) struct Excludes {
    patterns: Gitignore,
}

impl Excludes {
    /// Takes patterns in the syntax of `.gitignore`, relative to `/`: `*.tmp` anywhere, `/home/*/.cache` there only.
    ///
    /// # Errors
    /// [`ClientError::Usage`] names the pattern that is none.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, ClientError> {
        let mut builder = GitignoreBuilder::new("/");
        for pattern in patterns {
            let added = builder.add_line(None, pattern);
            added.map_err(|error| ClientError::Usage(format!("exclude pattern {pattern:?} is malformed: {error}")))?;
        }
        let patterns = builder.build();
        let patterns =
            patterns.map_err(|error| ClientError::Usage(format!("exclude patterns are malformed: {error}")))?;
        Ok(Self { patterns })
    }

    /// Whether the file or directory at the absolute `path` is left out.
    pub(crate) fn leaves_out(&self, path: &Path, is_directory: bool) -> bool {
        !self.patterns.is_empty() && self.patterns.matched(path, is_directory).is_ignore()
    }
}
