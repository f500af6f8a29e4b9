//! Everything that turns files and directories into sealed objects and back: keys, sealing, paged lists and trees,
//! snapshots, deltas.
//!
//! This crate is pure. Objects come from an [`ObjectSource`] and go to the caller as records; randomness and time come
//! in as arguments; no path of the host is ever opened here. The same code runs in clients and, for managed vaults, in
//! the server. Byte layouts are in `docs/formats.md`.

mod compress;
mod content;
mod cut;
mod delta;
mod entry;
mod fields;
mod key_file;
mod keys;
mod list;
mod name;
mod paged;
mod reader;
mod seal;
mod signing;
mod slot;
mod snapshot;
mod supplement;
mod tree;

pub use compress::{Compress, CompressionLevel, DecompressError};
pub use content::Content;
pub use cut::{CHUNK_LEN_MAX, CutProfile};
pub use delta::{Basis, DeltaEncoder, DeltaError, EncodedDelta, ExactDelta, is_worth_its_bases, rebuild};
pub use entry::{Entry, EntryKind, HardLink, Metadata, Timestamp, UnknownField};
pub use key_file::{KeyFile, KeyFileError, KeyFileVault};
pub use keys::{Keys, SignatureTag, VaultKey};
pub use list::{ListBuilder, ListPage, Piece};
pub use name::{NameError, NameKey, SealedName};
pub use reader::{ObjectSource, PieceCursor, ReadError, Reader, TreeCursor};
pub use seal::{OpenError, Opened, Opener, PlainObject, SealError, SealedDelta, Sealer};
pub use signing::{Mode, SignatureLevel};
pub use slot::{KeySlot, PassphraseCost, SlotError, Unlock};
pub use snapshot::Snapshot;
pub use tree::{PageError, TreeBuilder, TreePage};
