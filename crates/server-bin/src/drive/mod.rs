//! The drive of a managed vault: its live files. [`DriveView`] reads names, [`DriveEditor`] changes them,
//! [`UploadWriter`] takes a file's bytes in, [`RangeReader`] gives them out.

mod archive;
mod batches;
mod content;
mod download;
mod editor;
mod folders;
mod metadata;
mod names;
mod previous;
mod properties;
mod search;
mod unfinished;
mod upload;
mod view;

pub(crate) use archive::{Archive, ArchiveError};
pub(crate) use content::{VaultSource, content_of, from_stored};
pub(crate) use download::RangeReader;
pub(crate) use editor::{DriveEditor, NewVersion};
pub(crate) use folders::{Folders, Listing};
pub(crate) use metadata::Metadata;
pub(crate) use names::salt;
pub(crate) use properties::{Properties, Property};
pub(crate) use search::Searches;
pub use search::{Facts, Filter as NameFilter, FoundKind, NameIndex, NameQuery, Whereabouts};
pub(crate) use unfinished::Unfinished;
pub(crate) use upload::{UploadError, UploadWriter, Uploaded};
pub(crate) use view::{DriveView, FileVersion, timestamp};

use store::StoreError;

/// Why the drive does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    /// There is nothing at this path.
    #[error("there is no such file or directory")]
    NotFound,
    /// The vault's key is not here.
    #[error("the server cannot read the drive of a sealed vault")]
    Sealed,
    /// A name or its metadata does not open: the catalog was altered.
    #[error("an entry of the drive cannot be read")]
    Unreadable,
    /// One change cannot make so many entries.
    #[error("more than {count_max} entries at once")]
    TooMany {
        /// How many it can.
        count_max: usize,
    },
    /// What would be made is too deep.
    #[error("a path would be too long")]
    PathTooLong,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
