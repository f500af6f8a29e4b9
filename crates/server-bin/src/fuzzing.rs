//! Readers of settings, requests and pictures that only fuzz targets call from outside.

use std::path::PathBuf;

use axum::http::{HeaderMap, header};
use image::ImageFormat;

use crate::Settings;
use crate::browse::TreePath;
use crate::host_port::HostPort;
use crate::hosts::Hosts;
use crate::login;
use crate::login::code::Code;
use crate::login::cookie::SessionCookie;
use crate::login::token::ApiSecret;
use crate::options::Options;
use crate::retention::Policy;
use crate::thumbnail::Picture;

pub use crate::catalog_backup::fuzzing::{opened, sealed};
pub use crate::dav::fuzzing::{mtime, wanted};
pub use crate::mirror::fuzzing::record;
pub use crate::rest::fuzzing::{Part, conditions, cursor, multipart, path, range, saved_as};
pub use crate::rest::tus::fuzzing::{announced, checksum};

/// Reads `server.toml`: settings within their bounds, which are the same after they are shown, or a report that says what is
/// wrong.
pub fn settings(text: &str) -> Result<(), String> {
    let options: Options = toml::from_str(text).map_err(|error| error.to_string())?;
    let options = Options { data_dir: Some(PathBuf::from("/data")), ..options };
    let settings = Settings::from_options(options).map_err(|failure| failure.report())?;
    assert!((64 << 10..=128 << 20).contains(&settings.pack_size) && settings.gc_waste <= 100);
    assert!(settings.max_sessions > 0 && !settings.login_timeout.is_zero());
    let shown = toml::to_string(&settings.as_options()).expect("paths are text, as they came from text");
    let again = toml::from_str(&shown).expect("what is shown is read");
    let again = Settings::from_options(again).expect("what is shown is within its bounds");
    assert_eq!(format!("{again:?}"), format!("{settings:?}"));
    Ok(())
}

/// Reads a rule of retention as the catalog keeps it: refused, or the same after it is written again.
pub fn policy(text: &str) -> bool {
    let Ok(policy) = Policy::parse(Some(text)) else { return false };
    assert_eq!(Policy::parse(Some(&policy.to_text())).ok(), Some(policy));
    true
}

/// Makes a small picture of a file as one of the formats that are decoded: none, or one that shows what it says. Its sides.
pub fn thumbnail(which: u8, file: &[u8]) -> Option<(u32, u32)> {
    let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP];
    let small = Picture::of(file, formats[usize::from(which) % formats.len()]).ok()?;
    let expected = ImageFormat::from_mime_type(small.media_type).expect("one of two that are encoded");
    let shown = image::load_from_memory_with_format(&small.bytes, expected).expect("it was encoded here");
    Some((shown.width(), shown.height()))
}

/// Whether an `Authorization` header says who asks.
pub fn credentials(value: &str) -> bool {
    let Ok(value) = value.parse() else { return false };
    login::credentials(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).is_some()
}

/// The session of a browser's cookies; over TLS never one that another host could have set.
pub fn cookies(value: &str) -> bool {
    let Ok(value) = value.parse() else { return false };
    let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
    let (tls, plain) = (SessionCookie::of(&headers, true), SessionCookie::of(&headers, false));
    assert!(tls.is_none() || plain.is_some());
    tls.is_some()
}

/// Whether a browser may know a server of this name by a `Host` header.
pub fn host(name: &str, said: &str) -> bool {
    let Ok(said) = said.parse() else { return false };
    Hosts::of(&[name]).allow(&HeaderMap::from_iter([(header::HOST, said)]))
}

/// Reads a host and a port: refused, or the same after it is written again.
pub fn host_port(text: &str) -> bool {
    let Ok(read) = text.parse::<HostPort>() else { return false };
    assert_eq!(read.to_string().parse().as_ref(), Ok(&read));
    true
}

/// Reads a place in a snapshot: refused, or the same after it is written again.
pub fn tree_path(text: &str) -> bool {
    let Some(path) = TreePath::parse(text) else { return false };
    assert_eq!(TreePath::parse(&path.encode()).as_ref(), Some(&path));
    true
}

/// Reads what logs in: a token, which is the same after it is written again, or a code.
pub fn secret(text: &str) {
    if let Some(token) = ApiSecret::parse(text) {
        assert!(token.text().eq_ignore_ascii_case(text));
    }
    Code::parse(text);
}
