//! Readers of requests that only fuzz targets call from outside.

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::runtime::{Builder, Runtime};

use crate::rest::content::{Asked, asked, disposition};
use crate::rest::folders::Cursor;
use crate::rest::multipart::{Multipart, MultipartError, PartHead};
use crate::rest::parse::{self, Conditions};
use crate::rest::snapshots::find::Place;

/// A part of a form: its name, the name of its file, and its bytes.
pub type Part = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("there are threads"));

/// The parts of a form that comes in these pieces, or what is wrong with it.
pub fn multipart(content_type: &str, pieces: Vec<Vec<u8>>) -> Result<Vec<Part>, String> {
    let content_type = content_type.parse().map_err(|_| "no header".to_owned())?;
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
    let body = stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::from(piece))));
    let parts = RUNTIME.block_on(async {
        let mut multipart = Multipart::new(&headers, body)?;
        let mut parts = Vec::new();
        while let Some(PartHead { name, filename }) = multipart.next().await? {
            let mut whole = Vec::new();
            let mut bytes = multipart.bytes();
            while let Some(bytes) = bytes.next().await {
                whole.extend_from_slice(&bytes?);
            }
            parts.push((name, filename, whole));
        }
        Ok(parts)
    });
    parts.map_err(|error: MultipartError| error.to_string())
}

/// Reads the path of an address: refused, or one that is read the same from its encoded form, and climbs nowhere.
pub fn path(encoded: &str) -> bool {
    let Ok(path) = parse::path(encoded) else { return false };
    assert!(path.as_bytes().split(|byte| *byte == b'/').all(|name| name != b".." && name != b"."));
    let again = parse::path(&parse::encoded(path.as_bytes()));
    assert!(again.is_ok_and(|again| again == path));
    true
}

/// Reads a `Range` header: whatever it says, what is answered is within the file.
pub fn range(range: &str, size: u64) {
    if let Asked::Part(part) = asked(range, size) {
        assert!(part.start < part.end && part.end <= size);
    }
}

/// Reads `If-Match` and `If-None-Match`; whether they hold of a version.
pub fn conditions(matches: &str, excludes: &str, version: Option<u64>) -> Option<bool> {
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_MATCH, matches.parse().ok()?);
    headers.insert(header::IF_NONE_MATCH, excludes.parse().ok()?);
    let conditions = Conditions::of(&headers).ok()?;
    Some(conditions.hold(version) && conditions.expected_version(version).is_some())
}

/// Says how to save a file of this name: a header of one line, whose last part is the name.
pub fn saved_as(name: &[u8]) {
    let said = disposition(name);
    assert!(said.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let (plain, exact) = said.split_once("\"; filename*=UTF-8''").expect("it has both");
    let plain = plain.strip_prefix("attachment; filename=\"").expect("it begins like this");
    assert!(!plain.contains(['"', '\\', ';', '/']));
    let exact: Vec<u8> = percent_encoding::percent_decode_str(exact).collect();
    assert_eq!(exact, String::from_utf8_lossy(name).as_bytes());
}

/// Reads where pages end, in both forms: refused, or the same after it is written again.
pub fn cursor(said: &str) -> bool {
    let folder = Cursor::read(said).ok();
    if let Some(cursor) = &folder {
        assert!(Cursor::read(&cursor.text()).is_ok_and(|again| again.text() == cursor.text()));
    }
    let place = Place::parse(said);
    if let Some(place) = &place {
        assert_eq!(Place::parse(&place.encode()).as_ref(), Some(place));
    }
    folder.is_some() || place.is_some()
}
