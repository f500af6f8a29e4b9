//! Byte layouts of the files in a data directory, as `docs/formats.md` gives them: little-endian, checked, refused when
//! unknown. Converts to and from the types of the crate; touches no file.

pub(crate) mod anchor;
pub(crate) mod ledger;
pub(crate) mod pack;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("the magic number is missing")]
    Magic,
    #[error("the checksum does not match")]
    Checksum,
    #[error("{what} {value} is not supported")]
    Unsupported { what: &'static str, value: u64 },
    #[error("the file is too short")]
    Short,
    #[error("the lengths in the footer do not add up")]
    Footer,
    #[error("the hash does not match")]
    Hash,
}

/// Splits an array off the front of `bytes`, which callers know to be long enough.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("layouts have fixed lengths");
    *bytes = rest;
    *head
}
