//! `Upload-Checksum`: what the sender says the hash of one request's bytes is.

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use base64ct::{Base64, Encoding};

use crate::rest::problem::{self, Problem};

/// As `Tus-Checksum-Algorithm` says it. tuspy asks for SHA-1, which still finds what a line did to bytes.
pub(super) const ALGORITHMS: &str = "sha256,sha512,sha1";
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");

/// The hash of one request's bytes, and what it has to be.
pub(super) struct Checksum {
    hash: Context,
    expected: Vec<u8>,
}

impl Checksum {
    /// What a request says, if it does.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(said) = headers.get(UPLOAD_CHECKSUM) else { return Ok(None) };
        let bad = |detail: &str| problem::new(StatusCode::BAD_REQUEST, detail);
        let said = said.to_str().ok().and_then(|said| said.split_once(' '));
        let (name, expected) = said.ok_or_else(|| bad("a checksum is a name, a space and base64"))?;
        let algorithm: &'static Algorithm = match name {
            "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &SHA256,
            "sha512" => &SHA512,
            _ => return Err(bad(&format!("checksums are one of {ALGORITHMS}"))),
        };
        let expected = Base64::decode_vec(expected).ok().filter(|bytes| bytes.len() == algorithm.output_len());
        let expected = expected.ok_or_else(|| bad("the checksum is not base64 of the right length"))?;
        Ok(Some(Self { hash: Context::new(algorithm), expected }))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    pub(super) fn is_right(&self) -> bool {
        self.hash.clone().finish().as_ref() == self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &str) -> Option<Checksum> {
        let headers = HeaderMap::from_iter([(UPLOAD_CHECKSUM, said.parse().unwrap())]);
        Checksum::of(&headers).ok().flatten()
    }

    #[test]
    fn checksums_are_compared() {
        for (said, bytes, is_right) in [
            ("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "hello world", true),
            ("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "hello worle", false),
            ("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "abc", true),
            ("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "", false),
        ] {
            let mut checksum = read(said).unwrap();
            checksum.update(bytes.as_bytes());
            assert_eq!(checksum.is_right(), is_right, "{said}");
        }
        for wrong in
            ["sha1", "sha1 !", "sha1 Kq5s", "md5 XrY7u+Ae7tCTyyK7j1rNww==", "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0="]
        {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert!(Checksum::of(&HeaderMap::new()).unwrap_or_else(|_| panic!()).is_none());
    }
}
