//! Sealing and opening for fuzz targets, under a key that is no secret.

use std::io;

use store::StoreId;
use zeroize::Zeroizing;

use super::seal::{self, Header};

const KEY: [u8; 32] = [1; 32];

/// A backup of `plain`.
pub fn sealed(created_ms: u64, generation: u64, mut plain: &[u8]) -> Vec<u8> {
    let header = Header { created_ms, generation, store: StoreId::from_bytes([7; 16]), salt: [8; 32] };
    let mut out = Vec::new();
    seal::seal(&header, &KEY, &mut plain, &mut out).expect("memory takes it");
    out
}

/// What was backed up.
///
/// # Errors
/// For anything that [`sealed`] did not make.
pub fn opened(mut sealed: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    seal::open(|_| Zeroizing::new(KEY), &mut sealed, &mut out)?;
    Ok(out)
}
