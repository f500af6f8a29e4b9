//! [`Announced`]: what was said about a file before its first byte. Kept, sealed, as the headers that said it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use proto::DrivePath;
use store::UploadId;
use vault::{Keys, SealedName};

use crate::drive::salt;
use crate::failure::Failure;
use crate::keys::random;
use crate::rest::parse::{Conditions, path};
use crate::rest::problem::{self, Problem};
use crate::rest::upload::OnConflict;

const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
/// Headers that are kept.
const KEPT: [HeaderName; 4] = [UPLOAD_METADATA, UPLOAD_CONCAT, header::IF_MATCH, header::IF_NONE_MATCH];
const METADATA_LEN_MAX: usize = 4 << 10;
/// Most parts of one file.
const PART_COUNT_MAX: usize = 128;
/// First byte, which no name holds, and second, which tells it from metadata and from what is not cut yet.
const MARK: [u8; 2] = [b'/', 0x82];

/// What was said about a file before its first byte.
#[derive(Debug)]
pub(super) struct Announced {
    headers: HeaderMap,
    pub(super) becomes: Becomes,
}

/// What is to become of the bytes.
#[derive(Debug)]
pub(super) enum Becomes {
    /// A part of a file, until somebody puts it together.
    Part,
    /// A file on the drive.
    File {
        place: Place,
        /// What it is put together from; `None`: from bytes that are sent.
        parts: Option<Vec<UploadId>>,
    },
}

/// Where a file goes, and what of what is there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: DrivePath,
    pub(super) on_conflict: OnConflict,
    /// When the file was changed last, in milliseconds since 1970.
    pub(super) mtime_ms: Option<i64>,
    pub(super) conditions: Conditions,
}

fn bad(detail: &str) -> Problem {
    problem::new(StatusCode::BAD_REQUEST, detail)
}

impl Announced {
    /// Where the file goes; none for a part.
    pub(super) fn path(&self) -> Option<&DrivePath> {
        match &self.becomes {
            Becomes::Part => None,
            Becomes::File { place, .. } => Some(&place.path),
        }
    }

    /// What a request says.
    pub(super) fn of(request: &HeaderMap) -> Result<Self, Problem> {
        let mut headers = HeaderMap::new();
        for name in KEPT {
            for value in request.get_all(&name) {
                if value.to_str().is_err() {
                    return Err(bad(&format!("{name} is not text")));
                }
                headers.append(&name, value.clone());
            }
        }
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let metadata = text(&UPLOAD_METADATA).unwrap_or_default();
        if headers.get_all(&UPLOAD_METADATA).iter().count() > 1 || metadata.len() > METADATA_LEN_MAX {
            return Err(bad(&format!("Upload-Metadata is one header of at most {METADATA_LEN_MAX} bytes")));
        }
        let concat = text(&UPLOAD_CONCAT);
        let parts = match concat.map(|concat| concat.split_once(';').unwrap_or((concat, ""))) {
            Some(("partial", "")) => return Ok(Self { headers, becomes: Becomes::Part }),
            Some(("final", urls)) => Some(parts(urls)?),
            Some(_) => return Err(bad("Upload-Concat is `partial`, or `final;` and addresses of parts")),
            None => None,
        };
        let place = place(metadata, &headers)?;
        Ok(Self { headers, becomes: Becomes::File { place, parts } })
    }

    /// Seals it, for one upload.
    pub(super) fn seal(&self, keys: &Keys, upload: UploadId) -> Result<Vec<u8>, Failure> {
        let mut plain = MARK.to_vec();
        for (name, value) in &self.headers {
            plain.extend_from_slice(name.as_str().as_bytes());
            plain.push(b':');
            plain.extend_from_slice(value.as_bytes());
            plain.push(b'\n');
        }
        Ok(SealedName::seal(keys, salt(upload.as_bytes()), &plain, random()?).as_bytes().to_vec())
    }

    /// Opens what was sealed for this upload.
    pub(super) fn open(sealed: Vec<u8>, keys: &Keys, upload: UploadId) -> Option<Self> {
        let plain = SealedName::from_bytes(sealed).open(keys, salt(upload.as_bytes())).ok()?;
        let mut headers = HeaderMap::new();
        for line in plain.strip_prefix(&MARK[..])?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
        }
        Self::of(&headers).ok()
    }

    /// Whether the same was said.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.headers == other.headers
    }

    /// What answers say of it again.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        [UPLOAD_METADATA, UPLOAD_CONCAT]
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.headers.get(name)?.clone())))
    }
}

/// The uploads that these addresses, with spaces between them, are of. Which server they name does not matter: they can
/// only be ours.
fn parts(urls: &str) -> Result<Vec<UploadId>, Problem> {
    let ids = urls.split_ascii_whitespace().map(|url| url.rsplit('/').next().unwrap_or(url).parse());
    let ids: Result<Vec<UploadId>, _> = ids.collect();
    let ids = ids.map_err(|_| bad("Upload-Concat names something that is no upload"))?;
    if ids.is_empty() || ids.len() > PART_COUNT_MAX {
        return Err(bad(&format!("a file is put together from 1 to {PART_COUNT_MAX} parts")));
    }
    Ok(ids)
}

fn place(metadata: &str, headers: &HeaderMap) -> Result<Place, Problem> {
    let pairs = pairs(metadata).ok_or_else(|| bad("Upload-Metadata is keys and base64 with commas between them"))?;
    let value = |key: &str| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| &value[..]);
    let text = |key: &str| {
        let value = value(key).map(std::str::from_utf8).transpose();
        value.map_err(|_| bad(&format!("{key} in Upload-Metadata is not text")))
    };
    let path = match (text("path")?, value("filename")) {
        (Some(said), _) => path(said)?,
        (None, Some(name)) if !name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) => {
            DrivePath::new(Bytes::copy_from_slice(name)).ok_or_else(|| bad("a name has 1 to 255 bytes"))?
        }
        (None, Some(_)) => return Err(bad("a name holds a slash, a backslash or a zero byte")),
        (None, None) => return Err(bad("Upload-Metadata says neither path nor filename")),
    };
    if path.is_root() {
        return Err(problem::new(StatusCode::CONFLICT, "the root is not a file"));
    }
    let on_conflict = match text("conflict")? {
        None | Some("new-version") => OnConflict::NewVersion,
        Some("keep-both") => OnConflict::KeepBoth,
        Some("replace") => OnConflict::Replace,
        Some("skip") => OnConflict::Skip,
        Some(_) => return Err(bad("conflict in Upload-Metadata is new-version, keep-both, replace or skip")),
    };
    let mtime_ms = text("mtime_ms")?.map(str::parse).transpose();
    let mtime_ms = mtime_ms.map_err(|_| bad("mtime_ms in Upload-Metadata is not a whole number"))?;
    Ok(Place { path, on_conflict, mtime_ms, conditions: Conditions::of(headers)? })
}

/// Keys and values, each key once.
fn pairs(metadata: &str) -> Option<Vec<(&str, Vec<u8>)>> {
    let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
    for pair in metadata.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if pairs.iter().any(|(known, _)| *known == key) {
            return None;
        }
        pairs.push((key, Base64::decode_vec(value.trim()).ok()?));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vault::VaultKey;

    use super::*;

    fn metadata(pairs: &[(&str, &[u8])]) -> String {
        let pairs: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key} {}", Base64::encode_string(value))).collect();
        pairs.join(",")
    }

    fn read(metadata: &str) -> Option<Place> {
        match Announced::of(&HeaderMap::from_iter([(UPLOAD_METADATA, metadata.parse().ok()?)])).ok()?.becomes {
            Becomes::File { place, parts: None } => Some(place),
            _ => None,
        }
    }

    #[test]
    fn metadata_says_where_a_file_goes() {
        let place = read(&metadata(&[
            ("path", b"photos/a%20b.jpg"),
            ("filename", b"other"),
            ("mtime_ms", b"-5"),
            ("conflict", b"keep-both"),
            ("filetype", b"image/jpeg"),
        ]));
        let place = place.unwrap();
        assert_eq!(place.path.as_bytes(), &b"photos/a b.jpg"[..]);
        assert_eq!((place.mtime_ms, place.on_conflict), (Some(-5), OnConflict::KeepBoth));
        let place = read(&metadata(&[("filename", b"50%25 \xff")])).unwrap();
        assert_eq!(place.path.as_bytes(), &b"50%25 \xff"[..], "a name is taken as it is");
        for wrong in [
            String::new(),
            metadata(&[("filename", b"a/b")]),
            metadata(&[("filename", b"..")]),
            metadata(&[("filename", b"")]),
            metadata(&[("path", b"a/../b")]),
            metadata(&[("path", b"a%2fb")]),
            metadata(&[("path", b"")]),
            metadata(&[("path", b"a"), ("path", b"b")]),
            metadata(&[("path", b"a"), ("conflict", b"merge")]),
            metadata(&[("path", b"a"), ("mtime_ms", b"1.5")]),
            "path !!!".to_owned(),
            metadata(&[("path", &[b'a'; METADATA_LEN_MAX])]),
        ] {
            assert!(read(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn parts_are_named_by_their_addresses() {
        let concat = |said: &str| {
            let headers = [
                (UPLOAD_CONCAT, said.parse().unwrap()),
                (UPLOAD_METADATA, metadata(&[("path", b"a")]).parse().unwrap()),
            ];
            Announced::of(&HeaderMap::from_iter(headers)).ok().map(|announced| announced.becomes)
        };
        assert!(matches!(concat("partial"), Some(Becomes::Part)));
        let id = UploadId::from_bytes([0x0a; 16]);
        let urls = format!("final;/api/v1/uploads/{id} https://elsewhere/api/v1/uploads/{id}");
        let Some(Becomes::File { parts: Some(parts), .. }) = concat(&urls) else { panic!() };
        assert_eq!(parts, [id, id]);
        for wrong in [
            "",
            "final",
            "final;",
            "final;/x",
            "partial;x",
            "other",
            &format!("final;{}", format!("{id} ").repeat(129)),
        ] {
            assert!(concat(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn it_opens_for_its_own_upload_only() {
        let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
        let (upload, other) = (UploadId::from_bytes([2; 16]), UploadId::from_bytes([3; 16]));
        let headers = HeaderMap::from_iter([
            (UPLOAD_METADATA, metadata(&[("path", b"a/b")]).parse().unwrap()),
            (header::IF_MATCH, "\"7\"".parse().unwrap()),
            (header::AUTHORIZATION, "secret".parse().unwrap()),
        ]);
        let announced = Announced::of(&headers).unwrap_or_else(|_| panic!());
        let sealed = announced.seal(&keys, upload).unwrap();
        assert!(Announced::open(sealed.clone(), &keys, other).is_none());
        let opened = Announced::open(sealed, &keys, upload).unwrap();
        assert_eq!(opened.headers.len(), 2, "nothing else is kept");
        let Becomes::File { place, .. } = opened.becomes else { panic!() };
        assert_eq!(place.conditions.expected_version(None), Some(7));
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_no_panic(bytes in proptest::collection::vec(32u8..=255, 0..200)) {
            for name in KEPT {
                let value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static(""));
                let _ = Announced::of(&HeaderMap::from_iter([(name, value)]));
            }
        }
    }
}
