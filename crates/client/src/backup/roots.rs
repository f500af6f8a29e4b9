//! [`Roots`]: which paths are backed up, as a tree of names below `/`.
//!
//! A snapshot's tree begins at `/` and holds every root under its full path, so directories on the way to a root are in
//! it too, with nothing in them but what leads there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::error::ClientError;

/// A directory on the way to roots, or a root.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    /// Backed up with everything below.
    pub(crate) is_root: bool,
    /// The only names that matter here, unless this is a root.
    pub(crate) children: BTreeMap<Vec<u8>, Roots>,
}

impl Roots {
    /// Takes paths as the user gave them, relative to `current`.
    ///
    /// Symbolic links on the way to the last component are followed, the last one itself only when the path ends in `/`:
    /// as in other tools, a link that is named is backed up as a link.
    ///
    /// # Errors
    /// [`ClientError::Usage`] without paths; [`ClientError::NotFound`] when one does not exist.
    pub(crate) fn new(paths: &[PathBuf], current: &Path) -> Result<(Self, Vec<Vec<u8>>), ClientError> {
        if paths.is_empty() {
            return Err(ClientError::Usage("no path was given to back up".to_owned()));
        }
        let mut roots = Self::default();
        let mut resolved = Vec::new();
        for path in paths {
            let path = resolve(&current.join(path))?;
            roots.add(&path);
            resolved.push(path.into_os_string().into_vec());
        }
        resolved.sort();
        resolved.dedup();
        Ok((roots, resolved))
    }

    fn add(&mut self, path: &Path) {
        let mut node = self;
        for component in path.components() {
            if let Component::Normal(name) = component {
                node = node.children.entry(name.as_bytes().to_vec()).or_default();
            }
        }
        node.is_root = true;
    }
}

fn resolve(path: &Path) -> Result<PathBuf, ClientError> {
    let missing = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ClientError::NotFound { what: format!("file or directory {}", path.display()) },
        _ => ClientError::Io { verb: "look at", path: path.to_owned(), source },
    };
    let ends_in_slash = path.as_os_str().as_bytes().ends_with(b"/");
    let last = path.components().next_back();
    match (path.parent(), last) {
        (Some(parent), Some(Component::Normal(name))) if !ends_in_slash => {
            let resolved = fs::canonicalize(parent).map_err(missing)?.join(OsStr::new(name));
            fs::symlink_metadata(&resolved).map_err(missing)?;
            Ok(resolved)
        }
        _ => fs::canonicalize(path).map_err(missing),
    }
}
