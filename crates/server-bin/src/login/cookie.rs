//! [`SessionCookie`]: what a browser keeps while it is logged in, and the token that pages must show to change something.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use object::hex;
use proto::Secret;

use crate::keys::is_same_hash;

/// The header in which a page says the token.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// A browser takes this name only from this very host, for all paths, and over TLS.
const NAME: &str = "__Host-bk";
/// Where there is no TLS, on this machine itself, no browser takes a cookie by the other name.
const PLAIN_NAME: &str = "bk";

/// A session's secret, as a browser keeps it.
#[derive(Debug)]
pub(crate) struct SessionCookie {
    /// What nobody else knows.
    pub(crate) secret: Secret<32>,
}

impl SessionCookie {
    /// The cookie of a request; over TLS the one that only this host can have set.
    pub(crate) fn of(headers: &HeaderMap, is_tls: bool) -> Option<Self> {
        let names: &[&str] = if is_tls { &[NAME] } else { &[NAME, PLAIN_NAME] };
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs: Vec<(&str, &str)> =
            texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('=')).collect();
        names.iter().find_map(|name| {
            let (_, value) = pairs.iter().find(|(found, _)| found == name)?;
            Some(Self { secret: Secret::new(hex::decode(value)?) })
        })
    }

    /// The header that makes a browser keep it; with `is_secure`, over TLS only.
    pub(crate) fn kept(&self, is_secure: bool) -> HeaderValue {
        header_value(&hex::encode(self.secret.expose()), is_secure, "")
    }

    /// The header that makes a browser forget it.
    pub(crate) fn forgotten(is_secure: bool) -> HeaderValue {
        header_value("", is_secure, "; Max-Age=0")
    }

    /// What a page of this session shows when it changes something. Whoever has it cannot tell the secret.
    pub(crate) fn csrf_token(&self) -> String {
        hex::encode(&blake3::derive_key("delta-backup v1 token of pages of a session", self.secret.expose()))
    }

    /// Whether a request shows that token.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        is_same_hash(shown, self.csrf_token().as_bytes())
    }
}

/// It ends with the browser: the server decides when it ends earlier.
fn header_value(value: &str, is_secure: bool, more: &str) -> HeaderValue {
    let (name, secure) = if is_secure { (NAME, "; Secure") } else { (PLAIN_NAME, "") };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    HeaderValue::from_str(&text).expect("hexadecimal digits and fixed words")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|cookie| (header::COOKIE, cookie.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let cookie = SessionCookie { secret: Secret::new([0xab; 32]) };
        let text = cookie.kept(true).to_str().unwrap().to_owned();
        let expected = format!("__Host-bk={}; Path=/; HttpOnly; SameSite=Strict; Secure", "ab".repeat(32));
        assert_eq!(text, expected);
        let pair = text.split(';').next().unwrap();
        let found = |cookies: &[&str], is_tls| SessionCookie::of(&headers(cookies), is_tls).is_some();
        assert!(found(&["a=b; c", &format!("x=y; {pair}")], true) && found(&[pair], false));
        let plain = cookie.kept(false).to_str().unwrap().to_owned();
        assert!(plain.starts_with("bk=") && !plain.contains("Secure"), "{plain}");
        let pair = plain.split(';').next().unwrap();
        assert!(found(&[pair], false) && !found(&[pair], true), "over TLS another host could have set it");
        for wrong in ["", "__Host-bk", "__Host-bk=", "__Host-bk=ab", &format!("__host-bk={}", "ab".repeat(32))] {
            assert!(!found(&[wrong], true), "{wrong}");
        }
        assert!(SessionCookie::forgotten(true).to_str().unwrap().ends_with("; Secure; Max-Age=0"));
    }

    #[test]
    fn the_token_is_of_one_session() {
        let [one, two] = [1, 2].map(|byte| SessionCookie { secret: Secret::new([byte; 32]) });
        let shown = |token: &str| HeaderMap::from_iter([(CSRF_HEADER, token.parse().unwrap())]);
        assert!(one.is_shown(&shown(&one.csrf_token())));
        assert!(!one.is_shown(&shown(&two.csrf_token())) && !one.is_shown(&shown("")));
        assert!(!one.is_shown(&HeaderMap::new()));
        assert!(!one.csrf_token().contains(&hex::encode(&[1; 8])));
    }
}
