//! Readers of WebDAV requests that only fuzz targets call from outside.

use axum::body::Body;
use futures_util::FutureExt;

use crate::dav::listing::Wanted;
use crate::dav::{XML_LEN_MAX, mtime_ms, xml};

/// Reads the body of a PROPFIND, as far as its length and depth are allowed.
pub fn wanted(body: Vec<u8>) -> bool {
    let read = xml(XML_LEN_MAX, Body::from(body)).now_or_never().expect("it is all there");
    let Ok(body) = read else { return false };
    Wanted::read(&body).is_ok()
}

/// Reads the time that a client says a file is of.
pub fn mtime(said: &str) -> Option<i64> {
    mtime_ms(said).ok()
}
