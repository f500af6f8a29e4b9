//! Readers of what uploads say that only fuzz targets call from outside.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use store::UploadId;
use vault::{Keys, VaultKey};

use crate::rest::tus::announced::Announced;
use crate::rest::tus::checksum::Checksum;

/// Reads what is said about a file before its first byte: refused, or the same after it was sealed.
pub fn announced(said: &[(&'static str, Vec<u8>)]) -> bool {
    let headers = said
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)));
    let Ok(announced) = Announced::of(&HeaderMap::from_iter(headers)) else { return false };
    let keys = Keys::new(&VaultKey::from_bytes([7; 32]));
    let upload = UploadId::from_bytes([7; 16]);
    let sealed = announced.seal(&keys, upload).expect("there is randomness");
    let again = Announced::open(sealed, &keys, upload).expect("it was sealed for this upload");
    assert_eq!(format!("{again:?}"), format!("{announced:?}"));
    true
}

/// Whether a checksum of one request's bytes can be read.
pub fn checksum(value: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(value) else { return false };
    let headers = HeaderMap::from_iter([(HeaderName::from_static("upload-checksum"), value)]);
    matches!(Checksum::of(&headers), Ok(Some(checksum)) if !checksum.is_right() || checksum.is_right())
}
