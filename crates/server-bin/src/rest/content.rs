//! A file's bytes as the answer to a request: conditions, ranges, and headers that keep a browser from showing them.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use futures_util::stream;
use proto::DrivePath;

use crate::drive::{FileVersion, RangeReader};
use crate::live::Outgoing;
use crate::rest::parse::{Conditions, encoded, etag};
use crate::rest::problem::Problem;
use crate::rest::{Drive, problem};
use crate::service::Service;
use crate::vaults::OpenVault;

pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const NAME_LEN_MAX: usize = 255;
/// Whatever is in it, it does nothing in this origin.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

/// What a browser is to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presentation {
    /// Save it.
    Saved,
    /// Show it, as what it is.
    Shown(&'static str),
}

/// The media type of whatever is not to be shown.
pub(super) const TO_BE_SAVED: &str = "application/octet-stream";
/// What may be shown: nothing that a browser runs, or that may make it run something. Types come from this table alone,
/// never from whoever sent the file.
const SHOWN: [(&str, &str); 20] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("webm", "video/webm"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("m4a", "audio/mp4"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("txt", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("md", "text/plain; charset=utf-8"),
];

/// As what a file that is called so may be shown, wherever it is; `None`: it is only ever saved.
pub(super) fn media_type_of(name: &[u8]) -> Option<&'static str> {
    let extension = &name[name.iter().rposition(|byte| *byte == b'.')? + 1..];
    SHOWN.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known.as_bytes())).map(|(_, media_type)| *media_type)
}

/// Answers with a version of the file at `path`, or the part of it that is asked for.
pub(crate) fn answer(
    service: &Arc<Service>,
    drive: &Drive,
    (path, file): (&DrivePath, &FileVersion),
    presentation: Presentation,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let name = path.name();
    let name = name.as_ref().map_or(&b"file"[..], |name| name.as_bytes());
    answer_as(service, &drive.vault, (name, file), presentation, headers)
}

/// The same with any file of a vault, under any name.
pub(crate) fn answer_as(
    service: &Arc<Service>,
    vault: &Arc<OpenVault>,
    (name, file): (&[u8], &FileVersion),
    presentation: Presentation,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let conditions = Conditions::of(headers)?;
    let tag = etag(file.version);
    let mut answer = HeaderMap::new();
    let mut say = |name: HeaderName, value: &str| {
        answer.insert(name, HeaderValue::from_str(value).expect("made of visible ASCII"));
    };
    say(header::ETAG, &tag);
    say(header::ACCEPT_RANGES, "bytes");
    if conditions.is_excluded(Some(file.version)) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    if !conditions.hold(Some(file.version)) {
        return Err(problem::new(StatusCode::PRECONDITION_FAILED, "the file has another version"));
    }
    match presentation {
        Presentation::Shown(media_type) => say(header::CONTENT_TYPE, media_type),
        Presentation::Saved => {
            say(header::CONTENT_TYPE, TO_BE_SAVED);
            say(header::CONTENT_DISPOSITION, &disposition(name));
        }
    }
    if let Some(sha256) = &file.sha256 {
        say(REPR_DIGEST, &format!("sha-256=:{}:", Base64::encode_string(sha256)));
    }
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    // A range of another version than the client has is of no use to it.
    let is_same = text(header::IF_RANGE).is_none_or(|expected| expected == tag);
    let asked = text(header::RANGE).filter(|_| is_same).map_or(Asked::All, |range| asked(range, file.size));
    let (status, range) = match asked {
        Asked::All => (StatusCode::OK, 0..file.size),
        Asked::Part(range) => {
            say(header::CONTENT_RANGE, &format!("bytes {}-{}/{}", range.start, range.end - 1, file.size));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Asked::Beyond => {
            let size = HeaderValue::from_str(&format!("bytes */{}", file.size)).expect("made of visible ASCII");
            let beyond = problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "the file is not so long");
            return Err(beyond.with(header::CONTENT_RANGE, size));
        }
    };
    say(header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    answer.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let shown = String::from_utf8_lossy(name).into_owned();
    let mut outgoing = Outgoing::new(service, vault, shown, Some(range.end - range.start));
    if range.end - range.start < file.size {
        outgoing.set_part();
    }
    let keys = &vault.managed().expect("looked at when it was opened").keys;
    let reader = RangeReader::new(&service.home.store, vault.id, keys, (file.content, file.size), range);
    Ok((status, answer, body(Arc::clone(service), reader, outgoing)).into_response())
}

/// Reads on when the client has taken what was read before.
fn body(service: Arc<Service>, reader: RangeReader, outgoing: Outgoing) -> Body {
    let chunks = stream::try_unfold((service, reader, outgoing), |(service, mut reader, outgoing)| async move {
        let read = service.pool.run(move || (reader.next(), reader)).await;
        let (next, reader) = read.map_err(|error| broken(&error))?;
        let next: Option<Bytes> = next.map_err(|error| broken(&error))?;
        outgoing.add(next.as_ref().map_or(0, Bytes::len));
        Ok::<_, std::io::Error>(next.map(|bytes| (bytes, (service, reader, outgoing))))
    });
    Body::from_stream(chunks)
}

/// What was sent is right; the connection ends, so that nobody takes it for the whole.
pub(crate) fn broken(error: &(dyn std::error::Error + 'static)) -> std::io::Error {
    tracing::error!(%error, cause = error.source().map(ToString::to_string), "a file cannot be read to its end");
    std::io::Error::other("a file cannot be read to its end")
}

/// To be saved under this name: in ASCII for old clients, and exactly for all others.
pub(super) fn disposition(name: &[u8]) -> String {
    let plain: String = String::from_utf8_lossy(name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .take(NAME_LEN_MAX)
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", encoded(String::from_utf8_lossy(name).as_bytes()))
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    Part(Range<u64>),
    Beyond,
}

/// Reads a `Range` header. One range is answered; of several, and of what is malformed, everything, as RFC 9110 allows.
pub(super) fn asked(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::All;
    };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let range = match (first, last) {
        ("", suffix) => match number(suffix) {
            Some(len) => size.saturating_sub(len)..size,
            None => return Asked::All,
        },
        (first, "") => match number(first) {
            Some(first) => first..size,
            None => return Asked::All,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
            _ => return Asked::All,
        },
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=5-500", Asked::Part(5..10)),
            ("bytes=9-18446744073709551615", Asked::Part(9..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-12", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=3-2", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("bytes=a-b", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("items=0-1", Asked::All),
        ] {
            assert_eq!(asked(text, 10), expected, "{text}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Beyond);
    }

    #[test]
    fn only_what_no_browser_runs_is_shown() {
        let shown = |name: &str| media_type_of(name.as_bytes());
        assert_eq!(shown("a/b.PNG"), Some("image/png"));
        assert_eq!(shown("x.svg.jpeg"), Some("image/jpeg"));
        let never =
            ["html", "htm", "xhtml", "svg", "xml", "pdf", "js", "mjs", "css", "epub", "wasm", "ics", "png ", ""];
        for extension in never {
            assert_eq!(shown(&format!("x.{extension}")), None, "{extension}");
        }
        assert_eq!((shown("png"), shown(".htm")), (None, None));
    }

    #[test]
    fn names_cannot_break_out_of_their_header() {
        assert_eq!(disposition(b"b.txt"), "attachment; filename=\"b.txt\"; filename*=UTF-8''b.txt");
        let hostile = disposition(b"x\"; filename=\r\n\xe2\x80\xae.exe\xff");
        assert!(hostile.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{hostile}");
        assert_eq!(hostile.matches('"').count(), 2);
    }
}
