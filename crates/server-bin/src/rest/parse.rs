//! What requests say, read once and strictly: paths, conditions, keys, bodies of JSON.

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use proto::{DrivePath, IdempotencyKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::keys::random;
use crate::rest::problem::{self, Problem};

pub(super) const BODY_LEN_MAX: usize = 64 << 10;
const KEY_LEN_MAX: usize = 128;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What stands for itself in a segment of a path.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn bad(detail: &str) -> Problem {
    problem::new(StatusCode::BAD_REQUEST, detail)
}

/// The path below `prefix` of an address, each segment decoded once.
pub(super) fn path_below(uri: &Uri, prefix: &str) -> Result<DrivePath, Problem> {
    path(uri.path().strip_prefix(prefix).unwrap_or_default())
}

/// A path whose segments are percent-encoded.
pub(crate) fn path(encoded: &str) -> Result<DrivePath, Problem> {
    let mut path = Vec::new();
    for (index, segment) in encoded.split('/').enumerate().filter(|_| !encoded.is_empty()) {
        let name: Vec<u8> = percent_decode(segment.as_bytes()).collect();
        if name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
            return Err(bad("a name holds a slash, a backslash or a zero byte"));
        }
        if index > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
    }
    DrivePath::new(Bytes::from(path)).ok_or_else(|| bad("a path is names of 1 to 255 bytes with / between them"))
}

/// A path as addresses have it.
pub(crate) fn encoded(path: &[u8]) -> String {
    let names: Vec<String> =
        path.split(|byte| *byte == b'/').map(|name| percent_encode(name, KEPT).to_string()).collect();
    names.join("/")
}

/// What an address says behind its question mark.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|error| bad(&error.body_text()))
}

/// The JSON in a body.
pub(super) async fn body<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is to be application/json"));
    }
    let body = axum::body::to_bytes(body, BODY_LEN_MAX).await.map_err(|_| too_long())?;
    serde_json::from_slice(&body).map_err(|error| bad(&error.to_string()))
}

pub(super) fn too_long() -> Problem {
    problem::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {BODY_LEN_MAX} bytes"))
}

/// A number that an answer said as text, ids and cursors among them: 1 to 18 digits.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[0-9]{1,18}$")]
pub(super) struct Numeral(u64);

impl Numeral {
    const LEN_MAX: usize = 18;

    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_one = (1..=Self::LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_one { text.parse().ok().map(Self) } else { None }
    }

    pub(super) fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for Numeral {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a number of 1 to 18 digits")
    }
}

/// What names a change, so that asking again does not do it again; drawn when the request does not say.
pub(crate) struct ChangeKey {
    pub(crate) key: IdempotencyKey,
    /// Whether the request said it: then it may have been done before.
    pub(super) is_said: bool,
}

impl ChangeKey {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match Self::said(headers)? {
            Some(said) => Ok(Self::named(said)),
            None => {
                let key = random().map_err(|error| problem::internal("drawing a key", &error))?;
                Ok(Self { key: IdempotencyKey::from_bytes(key), is_said: false })
            }
        }
    }

    /// What a request says of it.
    pub(super) fn said(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
        let said = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
        match said.is_none_or(|said| (1..=KEY_LEN_MAX).contains(&said.len())) {
            true => Ok(said),
            false => Err(bad(&format!("an idempotency key has 1 to {KEY_LEN_MAX} bytes"))),
        }
    }

    /// The key of this name.
    pub(super) fn named(said: &[u8]) -> Self {
        let hash = blake3::derive_key("delta-backup v1 idempotency key of a request", said);
        let key = *hash.first_chunk().expect("the hash is longer");
        Self { key: IdempotencyKey::from_bytes(key), is_said: true }
    }

    /// The key of one of several changes that a request makes.
    pub(super) fn part(&self, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 idempotency key of a part of a request");
        hasher.update(self.key.as_bytes()).update(&index.to_le_bytes());
        let key = *hasher.finalize().as_bytes().first_chunk().expect("the hash is longer");
        Self { key: IdempotencyKey::from_bytes(key), is_said: self.is_said }
    }
}

/// What `If-Match` and `If-None-Match` expect of a file that is to be changed: its version, 0 for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Any of these versions; `None`: whatever.
    matches: Option<Tags>,
    /// None of these.
    excludes: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Versions(Vec<u64>),
}

impl Tags {
    fn holds(&self, version: Option<u64>) -> bool {
        match (self, version) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Versions(versions), Some(version)) => versions.contains(&version),
        }
    }
}

impl Conditions {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { matches: tags(headers, &header::IF_MATCH)?, excludes: tags(headers, &header::IF_NONE_MATCH)? })
    }

    /// Whether they hold of a file with this version, or of none.
    pub(super) fn hold(&self, version: Option<u64>) -> bool {
        self.matches.as_ref().is_none_or(|tags| tags.holds(version)) && !self.is_excluded(version)
    }

    /// Whether `If-None-Match` names this version: what was asked for is known already.
    pub(super) fn is_excluded(&self, version: Option<u64>) -> bool {
        self.excludes.as_ref().is_some_and(|tags| tags.holds(version))
    }

    /// The one version that a change has to find, where they say; `present` is the one there is now.
    pub(crate) fn expected_version(&self, present: Option<u64>) -> Option<u64> {
        match (&self.matches, &self.excludes) {
            (Some(Tags::Versions(versions)), _) if versions.len() == 1 => versions.first().copied(),
            (None, Some(Tags::Any)) => Some(0),
            (None, None) => None,
            _ => Some(present.unwrap_or_default()),
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut versions = Vec::new();
    let mut is_said = false;
    for value in headers.get_all(name) {
        is_said = true;
        let value = value.to_str().map_err(|_| bad("a condition is not text"))?;
        for tag in value.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(Some(Tags::Any));
            }
            // A tag that is none of ours names no version there is.
            versions.extend(tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')?.parse::<u64>().ok()));
        }
    }
    Ok(is_said.then_some(Tags::Versions(versions)))
}

/// A version as an entity tag.
pub(crate) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        let read = |text: &str| path(text).map(|path| path.as_bytes().to_vec()).map_err(|_| ());
        assert_eq!(read("a%20b/c%25d"), Ok(b"a b/c%d".to_vec()));
        assert_eq!(read("%FF"), Ok(vec![0xff]));
        assert_eq!(read(""), Ok(Vec::new()));
        for wrong in ["a%2fb", "a%5Cb", "a%00", "..", "a/../b", "%2e%2e/x", "a//b", "a/", "/a", "."] {
            assert_eq!(read(wrong), Err(()), "{wrong}");
        }
        assert_eq!(encoded(b"a b/\xff%"), "a%20b/%FF%25");
    }

    #[test]
    fn numerals_are_what_the_catalog_can_count_to() {
        let read = |text: &str| Numeral::parse(text).map(Numeral::get);
        assert_eq!(read("0042"), Some(42));
        assert_eq!(read("999999999999999999"), Some(999_999_999_999_999_999));
        for wrong in ["", "+1", "-1", "1.0", "0x1", "\u{663}", "9223372036854775808", "1000000000000000000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn conditions_say_what_a_change_expects() {
        let read = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]);
            Conditions::of(&headers).unwrap_or_else(|_| panic!("{value}"))
        };
        let none = Conditions::of(&HeaderMap::new()).unwrap_or_else(|_| panic!());
        assert!(none.hold(None) && none.hold(Some(3)));
        assert_eq!(none.expected_version(Some(3)), None);
        let matches = read("if-match", "\"3\"");
        assert!(matches.hold(Some(3)) && !matches.hold(Some(4)) && !matches.hold(None));
        assert_eq!(matches.expected_version(Some(4)), Some(3));
        let fresh = read("if-none-match", "*");
        assert!(fresh.hold(None) && !fresh.hold(Some(1)));
        assert_eq!(fresh.expected_version(None), Some(0));
        let several = read("if-match", "\"3\", \"5\", W/\"6\", \"x\"");
        assert!(several.hold(Some(5)) && !several.hold(Some(6)));
        assert_eq!(several.expected_version(Some(5)), Some(5));
        assert!(!read("if-match", "\"x\"").hold(Some(1)));
        assert!(read("if-none-match", "\"3\"").is_excluded(Some(3)));
    }
}
