//! Pages for people who have a link and no account: HTML made here, with one style and no script.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#d5dade;--muted:#59636c;--accent:#0b6b5d;--on:#fff;--card:#fff;--ground:#f6f7f8;\
--text:#1b2126;--bad:#a4262c}\
@media(prefers-color-scheme:dark){:root{--line:#343c43;--muted:#a3adb5;--accent:#5cc7b4;--on:#06231e;--card:#1c2125;\
--ground:#14181b;--text:#e8ecef;--bad:#ff9a9a}}\
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--text);font:1rem/1.5 system-ui,sans-serif}\
main{width:min(44rem,100%);margin:0 auto;padding:1.5rem 1rem}h1{font-size:1.25rem;margin:0 0 1rem;overflow-wrap:anywhere}\
.card{padding:1rem;border:1px solid var(--line);border-radius:.75rem;background:var(--card)}p{margin:0 0 1rem}\
.muted{color:var(--muted)}.bad{color:var(--bad)}ul{list-style:none;margin:0 0 1rem;padding:0}\
li{display:flex;gap:1rem;justify-content:space-between;align-items:baseline;padding:.5rem 0;border-bottom:1px solid var(--line)}\
li a{overflow-wrap:anywhere;min-width:0}li span{color:var(--muted);white-space:nowrap}a{color:var(--accent)}\
.act,button{display:inline-block;min-height:2.75rem;padding:.6rem 1.1rem;border:0;border-radius:.5rem;\
background:var(--accent);color:var(--on);font:inherit;font-weight:600;text-decoration:none;cursor:pointer}\
label{display:block;margin-bottom:.25rem}input{width:100%;min-height:2.75rem;margin-bottom:1rem;padding:.5rem;font:inherit;\
color:inherit;background:transparent;border:1px solid var(--muted);border-radius:.5rem}\
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}";

/// Nothing but the page, its own style, and forms that come back here.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = Base64::encode_string(&Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    );
    HeaderValue::from_str(&policy).expect("made of visible ASCII")
});

/// A piece of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Html(pub(super) String);

impl Html {
    /// Adds markup of ours.
    pub(super) fn raw(mut self, markup: &str) -> Self {
        self.0.push_str(markup);
        self
    }

    /// Adds what somebody wrote: it stays text, and shows what would change its direction or hide.
    pub(super) fn text(mut self, text: &str) -> Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c if is_hidden(c) => self.0.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => self.0.push(c),
            }
        }
        self
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A whole page.
pub(super) fn page(status: StatusCode, title: &str, content: &Html) -> Response {
    let html = Html::default()
        .raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
        .text(title)
        .raw("</title><meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"><style>")
        .raw(STYLE)
        .raw("</style></head><body><main><h1>")
        .text(title)
        .raw("</h1><div class=\"card\">")
        .raw(&content.0)
        .raw("</div></main></body></html>");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
        // Without any, browsers would call the origin of a form null.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (status, headers, html.0).into_response()
}

/// What there is for whoever has no good link: the same, whatever is wrong with it.
pub(super) fn gone() -> Response {
    let text = "The link is wrong, or it is not good any more. Ask whoever gave it to you for another one.";
    page(StatusCode::NOT_FOUND, "There is nothing here", &Html::default().raw("<p>").text(text).raw("</p>"))
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit, rounded; what would be 1024 of one is one of the next.
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_stays_text() {
        let html = Html::default().text("<script>\"'&\u{202e}\n\u{0}ä").0;
        assert_eq!(html, "&lt;script&gt;&quot;&#39;&amp;\\u{202e}\\u{a}\\u{0}ä");
    }

    #[test]
    fn sizes_have_units() {
        let shown: Vec<String> = [0, 1023, 1024, 1536, 1 << 20, 1 << 30, u64::MAX].into_iter().map(size).collect();
        assert_eq!(shown[..6], ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB"]);
        assert!(shown[6].ends_with("EiB"), "{}", shown[6]);
    }
}
