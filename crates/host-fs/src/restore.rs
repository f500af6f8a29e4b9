//! Writing a person's files back, below one target and nowhere else.
//!
//! A [`RestoreRoot`] is opened once; everything else happens through [`RestoreDir`]s that are held open, one name at a
//! time. Nothing is ever written through a link, whoever put it there and whenever. A file appears under its name only
//! when it is complete, and takes an older one's place in that moment.

mod apply;
mod dir;
mod file;
mod kept_times;
mod leaf;
mod link;
mod not_applied;
mod options;
mod place;
mod present;
mod root;
mod write_behind;

pub use dir::{ParkedRestoreDir, RestoreDir};
pub use file::RestoreFile;
pub use leaf::Leaf;
pub use link::LinkSource;
pub use not_applied::{Aspect, NotApplied, Reason};
pub use options::RestoreOptions;
pub use present::{PresentFile, is_temporary};
pub use root::RestoreRoot;

/// What came of restoring one entry.
#[derive(Debug)]
#[must_use = "it tells what could not be applied"]
pub struct Restored {
    /// For further names of the same file; only there when the metadata says that there are any.
    pub link: Option<LinkSource>,
    /// What the entry lacks.
    pub not_applied: Vec<NotApplied>,
}
