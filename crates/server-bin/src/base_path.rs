//! [`BasePath`]: below which path a proxy shows the server, where it is not alone under its name.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LEN_MAX: usize = 255;
/// How paths of ours begin: below one of these, a request whose base the proxy took off would look as if it had it still.
const OWN: [&str; 10] = ["api", "assets", "content", "dav", "healthz", "metrics", "pdf", "readyz", "s", "u"];

/// The path below which browsers find the server: empty, or `/backup`, `/a/b`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

/// The text is no path below which the server could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BasePathError {
    /// It is not made of names.
    #[error("expected a path such as /backup, of letters, digits and -._~ between slashes")]
    Malformed,
    /// It begins with what the server has itself.
    #[error("the server has something of its own at /{0}: choose another first name")]
    Own(&'static str),
}

impl BasePath {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of what the server has at `path`, which begins with a slash.
    pub(crate) fn of(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// The path below the base of one that a client says; as it is when it is not below it: a proxy may have taken the base
    /// off already, and whoever comes without the proxy never had it.
    pub(crate) fn strip<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(&self.0) {
            Some("") if !self.0.is_empty() => "/",
            Some(below) if below.starts_with('/') => below,
            _ => path,
        }
    }

    /// The same of what a request asks for.
    pub(crate) fn strip_from(&self, uri: &mut Uri) {
        let path = self.strip(uri.path());
        if path.len() == uri.path().len() {
            return;
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
        if let Ok(below) = Uri::from_parts(parts) {
            *uri = below;
        }
    }
}

impl FromStr for BasePath {
    type Err = BasePathError;

    fn from_str(text: &str) -> Result<Self, BasePathError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let names = text.strip_prefix('/').filter(|_| text.len() <= LEN_MAX).ok_or(BasePathError::Malformed)?;
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(is_known);
        if !names.split('/').all(is_name) {
            return Err(BasePathError::Malformed);
        }
        match OWN.into_iter().find(|own| names.split('/').next() == Some(own)) {
            Some(own) => Err(BasePathError::Own(own)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BasePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

impl<'de> Deserialize<'de> for BasePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Route;

    fn base(text: &str) -> BasePath {
        text.parse().unwrap()
    }

    #[test]
    fn a_base_is_names_between_slashes() {
        for (said, is) in
            [("", ""), ("/", ""), ("/backup", "/backup"), ("/backup/", "/backup"), ("/a/b-._~1", "/a/b-._~1")]
        {
            assert_eq!(base(said).to_string(), is, "{said}");
            assert_eq!(base(said).of("/files"), format!("{is}/files"), "{said}");
        }
        let long = format!("/{}", "a".repeat(LEN_MAX));
        for wrong in ["backup", "//", "/a//b", "/.", "/a/..", "/a b", "/a%20b", "/a?b", "/ä", "https://host/a", &long]
        {
            assert_eq!(wrong.parse::<BasePath>(), Err(BasePathError::Malformed), "{wrong}");
        }
        assert_eq!("/dav/a".parse::<BasePath>(), Err(BasePathError::Own("dav")));
        assert_eq!(base("/davy").to_string(), "/davy");
    }

    /// Whatever the server has is either below a name that no base begins with, or a screen.
    #[test]
    fn no_base_begins_like_something_of_ours() {
        for route in Route::ALL {
            let first = route.path().split('/').nth(1).unwrap();
            let is_screen = matches!(route, Route::Page | Route::Screen);
            assert!(is_screen || OWN.contains(&first), "{}", route.path());
        }
    }

    #[test]
    fn requests_lose_the_base_that_they_have() {
        for (base_text, asked, is) in [
            ("/backup", "/backup", "/"),
            ("/backup", "/backup/", "/"),
            ("/backup", "/backup?a=b", "/?a=b"),
            ("/backup", "/backup/api/v1/me?a=/backup/b", "/api/v1/me?a=/backup/b"),
            ("/backup", "/backup/backup/x", "/backup/x"),
            ("/backup", "https://host:1/backup/x?y", "https://host:1/x?y"),
            ("/backup", "/backups/x", "/backups/x"),
            ("/backup", "/api/v1/me", "/api/v1/me"),
            ("/a/b", "/a/b/s/%20", "/s/%20"),
            ("/a/b", "/a/x", "/a/x"),
            ("", "/x?y", "/x?y"),
            ("", "/", "/"),
            ("/backup", "*", "*"),
        ] {
            let mut uri: Uri = asked.parse().unwrap();
            base(base_text).strip_from(&mut uri);
            assert_eq!(uri.to_string(), is, "{base_text} {asked}");
        }
    }
}
