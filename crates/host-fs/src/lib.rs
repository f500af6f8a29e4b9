//! Everything that touches a person's files: listing directories, reading metadata and data, and restoring.
//!
//! **Reading.** A walk begins at [`HostDir::open_root`] and goes down by [`HostDir::open_child`]; [`Listing`] holds a
//! directory's names, [`Stat`] decides whether a file changed, [`SourceFile`] reads it, [`Describer`] reads what a
//! snapshot keeps besides. **Restoring.** [`RestoreRoot`] opens the target; [`RestoreDir`] makes directories, files,
//! links and devices in one directory, and says as [`NotApplied`] what an entry lacks. [`DirStack`] holds the way down
//! to a directory with a bounded number of descriptors.
//!
//! What holds everywhere: a name is one component ([`Name`]); below the first directory nothing is found by a path, only
//! by a name in a directory that is held open; no symbolic link is followed; nothing is printed and nothing retried in
//! the background. Calls block. The platform is Linux; where a file system lacks something, the callers are told.

mod beneath;
mod describe;
mod dir;
mod error;
mod listing;
mod name;
mod owners;
mod path;
mod read_behind;
mod restore;
mod segment;
mod shown;
mod source;
mod stack;
mod stat;
mod xattr;

pub use describe::{Described, Describer};
pub use dir::{HostDir, ParkedHostDir};
pub use error::{HostError, HostErrorKind};
pub use listing::{Listed, Listing};
pub use name::Name;
pub use owners::OwnerNames;
pub use placement::{Placement, Policy};
pub use restore::{
    Aspect, Leaf, LinkSource, NotApplied, ParkedRestoreDir, PresentFile, Reason, RestoreDir, RestoreFile,
    RestoreOptions, RestoreRoot, Restored, is_temporary,
};
pub use segment::{Segment, SegmentKind, Segments};
pub use shown::Shown;
pub use source::SourceFile;
pub use stack::{DirStack, Parkable};
pub use stat::{FileKind, Stat};
