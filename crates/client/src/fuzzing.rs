//! Decoders that only fuzz targets call from outside.

use std::path::Path;

use crate::config::Connection;
use crate::signature_cache::RememberedFile;

pub use crate::stat_cache::fuzzing::{cache, directory, entries, root};

/// Reads a connection file: refused, or the same after it is written again.
pub fn connection(text: &str) -> bool {
    let Ok(connection) = Connection::parse(text) else { return false };
    let written = connection.to_text();
    let again = Connection::parse(&written).expect("what is written is read");
    assert_eq!(again.to_text(), written);
    true
}

/// Reads a file of the signature cache; how many chunks it remembers signatures of.
pub fn signatures(path: &Path) -> Option<usize> {
    let file = RememberedFile::open(path)?;
    let keys = vault::Keys::new(&vault::VaultKey::from_bytes([7; 32]));
    let bases: Vec<_> = file.bases_around(0, usize::MAX).copied().collect();
    for basis in &bases {
        let _ = (file.form(&basis.id), file.bases_of(&basis.id));
        let _ = file.signature(&keys, vault::Mode::Managed, &basis.id);
    }
    Some(bases.len())
}
