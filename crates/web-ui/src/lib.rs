//! The browser application, built by `build.rs` and embedded, and [`answer`], which finds what a request asks for.
//!
//! Nothing here knows sockets or HTTP types: a [`Request`] is what matters of one, an [`Answer`] what the server must send.
//! Behind a proxy that shows the server below a path, pages are told by [`Request::base`] where their files are; these find
//! each other by themselves.
//! Without the feature `build-ui` one page is embedded that says how to get the application; the paths stay the same.

use std::borrow::Cow;

/// Folder of files whose names carry a hash of what they hold.
const HASHED: &str = "assets/";
const INDEX: &str = "index.html";
/// The page in which a PDF is drawn, and its script.
const FRAME: &str = "pdf/page.html";
const FRAME_SCRIPT: &str = "pdf/draw.js";
const PAGES: [&str; 2] = [INDEX, FRAME];
/// Below these there are no screens: an address that is wrong there is answered as wrong, to browsers too.
const NOT_SCREENS: [&str; 3] = ["api/", "content/", "dav/"];

/// A file of the build.
struct File {
    /// Path below the build's folder.
    name: &'static str,
    /// 32 hex digits that change with the bytes.
    hash: &'static str,
    bytes: &'static [u8],
}

/// Ordered by name.
const BUILD: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// What of a GET request decides its answer. Absent headers are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'r> {
    /// The path, with its leading slash, below the base.
    pub path: &'r str,
    /// The path below which browsers find the application: empty, or a slash and what follows, of letters, digits and
    /// `-._~/`.
    pub base: &'r str,
    /// Header `Accept`.
    pub accept: &'r str,
    /// Header `Accept-Encoding`.
    pub accept_encoding: &'r str,
    /// Header `If-None-Match`.
    pub if_none_match: &'r str,
}

/// How a compressed file was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Brotli.
    Brotli,
    /// gzip.
    Gzip,
}

impl Encoding {
    /// Best first.
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// What stands in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }
}

/// What a file is to the application, as its headers tell browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A page or a file of it, for its own pages only.
    Own,
    /// The page that it frames: of no origin, so that nothing in it reaches the application.
    Frame,
    /// The script of that page, for which the server is another site.
    FrameScript,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bytes; `None` when the browser has them already (status 304).
    pub body: Option<Cow<'static, [u8]>>,
    /// What the file is.
    pub part: Part,
    /// Header `Content-Type`.
    pub content_type: &'static str,
    /// Header `Content-Encoding`. What `Vary` says does not depend on it: always `Accept, Accept-Encoding`.
    pub encoding: Option<Encoding>,
    /// Header `Cache-Control`.
    pub cache_control: &'static str,
    /// Header `ETag`, with its quotes; of these bytes, so each encoding has its own.
    pub etag: String,
}

/// What the application has at this path, or `None`: then there is nothing at this address.
///
/// A path without a file is a screen when the browser wants a page; scripts that miss something are told so.
pub fn answer(request: Request<'_>) -> Option<Answer> {
    answer_from(BUILD, request)
}

fn answer_from(files: &[File], request: Request<'_>) -> Option<Answer> {
    let path = request.path.strip_prefix('/')?;
    let name = match path {
        "" => INDEX,
        path if content_type(path).is_some() && find(files, path).is_some() => path,
        path if NOT_SCREENS.iter().any(|prefix| path.starts_with(prefix)) => return None,
        _ if wants_page(request.accept) => INDEX,
        _ => return None,
    };
    // Pages say where the rest is from the root on, as they are shown at any path.
    let is_moved = !request.base.is_empty() && PAGES.contains(&name);
    let (file, encoding) = best(files, name, if is_moved { "" } else { request.accept_encoding })?;
    let etag = format!("\"{}{}\"", file.hash, if is_moved { request.base } else { "" });
    let is_known = request.if_none_match.split(',').any(|known| known.trim().trim_start_matches("W/") == etag);
    Some(Answer {
        body: (!is_known).then(|| if is_moved { moved(file, request.base) } else { Cow::Borrowed(file.bytes) }),
        part: match name {
            FRAME => Part::Frame,
            FRAME_SCRIPT => Part::FrameScript,
            _ => Part::Own,
        },
        content_type: content_type(name)?,
        encoding,
        cache_control: if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" },
        etag,
    })
}

/// Of the types that the build has. A name that ends otherwise is none of its files: the compressed copies are not.
fn content_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "bcmap" | "pfb" => "application/octet-stream",
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        _ => return None,
    })
}

/// A page below a base.
fn moved(page: &File, base: &str) -> Cow<'static, [u8]> {
    let text = String::from_utf8_lossy(page.bytes);
    Cow::Owned(
        text.replace("src=\"/", &format!("src=\"{base}/")).replace("href=\"/", &format!("href=\"{base}/")).into_bytes(),
    )
}

fn wants_page(accept: &str) -> bool {
    media_ranges(accept).any(|(range, is_refused)| range.eq_ignore_ascii_case("text/html") && !is_refused)
}

fn find<'f>(files: &'f [File], name: &str) -> Option<&'f File> {
    files.binary_search_by(|file| file.name.cmp(name)).ok().map(|index| &files[index])
}

/// The smallest copy that the browser can read.
fn best<'f>(files: &'f [File], name: &str, accept_encoding: &str) -> Option<(&'f File, Option<Encoding>)> {
    for encoding in Encoding::ALL {
        let is_accepted = media_ranges(accept_encoding)
            .any(|(range, is_refused)| range.eq_ignore_ascii_case(encoding.name()) && !is_refused);
        if is_accepted && let Some(file) = find(files, &format!("{name}{}", encoding.ending())) {
            return Some((file, Some(encoding)));
        }
    }
    Some((find(files, name)?, None))
}

/// The parts of an `Accept…` header, and whether each is refused with `q=0`.
fn media_ranges(header: &str) -> impl Iterator<Item = (&str, bool)> {
    header.split(',').map(|part| {
        let mut parameters = part.split(';').map(str::trim);
        let range = parameters.next().unwrap_or_default();
        let weight = parameters.find_map(|parameter| parameter.strip_prefix("q=")?.trim().parse::<f32>().ok());
        (range, weight.is_some_and(|weight| weight <= 0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[File] = &[
        File { name: "assets/a-1234.js", hash: "00", bytes: b"export {};" },
        File { name: "assets/a-1234.js.br", hash: "01", bytes: b"in brotli" },
        File { name: "assets/a-1234.js.gz", hash: "02", bytes: b"in gzip" },
        File { name: "icon.png", hash: "03", bytes: b"no picture" },
        File { name: "index.html", hash: "04", bytes: b"<!doctype html>" },
        File { name: "index.html.gz", hash: "05", bytes: b"in gzip" },
        File { name: "pdf/draw.js", hash: "06", bytes: b"draw();" },
        File { name: "pdf/page.html", hash: "07", bytes: b"<!doctype html>" },
    ];

    const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

    fn get(path: &str) -> Option<Answer> {
        answer_from(KNOWN, Request { path, ..Request::default() })
    }

    #[test]
    fn files_are_found_by_path_with_their_types() {
        for (path, content_type, bytes) in [
            ("/", "text/html; charset=utf-8", &b"<!doctype html>"[..]),
            ("/index.html", "text/html; charset=utf-8", b"<!doctype html>"),
            ("/assets/a-1234.js", "text/javascript; charset=utf-8", b"export {};"),
            ("/icon.png", "image/png", b"no picture"),
        ] {
            let answer = get(path).unwrap();
            assert_eq!(answer.content_type, content_type, "{path}");
            assert_eq!(answer.body.as_deref(), Some(bytes), "{path}");
            assert_eq!(answer.encoding, None);
        }
    }

    #[test]
    fn what_is_not_there_is_not_answered() {
        for path in
            ["", "index.html", "/nothing", "/assets", "/assets/", "/../Cargo.toml", "/assets/../index.html", "//"]
        {
            assert_eq!(get(path), None, "{path}");
        }
        for copy in ["/index.html.gz", "/assets/a-1234.js.br"] {
            assert_eq!(get(copy), None, "{copy}");
        }
    }

    #[test]
    fn only_two_files_are_of_the_frame() {
        assert_eq!(get("/pdf/page.html").unwrap().part, Part::Frame);
        assert_eq!(get("/pdf/draw.js").unwrap().part, Part::FrameScript);
        for path in ["/", "/index.html", "/assets/a-1234.js", "/icon.png"] {
            assert_eq!(get(path).unwrap().part, Part::Own, "{path}");
        }
        let screen = answer_from(KNOWN, Request { path: "/pdf/page", accept: BROWSER, ..Request::default() });
        assert_eq!(screen.unwrap().part, Part::Own);
    }

    #[test]
    fn only_hashed_names_are_kept_for_good() {
        assert_eq!(get("/assets/a-1234.js").unwrap().cache_control, "public, max-age=31536000, immutable");
        for path in ["/", "/icon.png"] {
            assert_eq!(get(path).unwrap().cache_control, "no-cache", "{path}");
        }
    }

    #[test]
    fn pages_fall_back_to_the_application_and_nothing_else_does() {
        let asked = |path, accept| answer_from(KNOWN, Request { path, accept, ..Request::default() });
        let page = asked("/files/a/b.txt", BROWSER).unwrap();
        assert_eq!(page.body.as_deref(), Some(&b"<!doctype html>"[..]));
        assert_eq!(page.cache_control, "no-cache");
        for accept in ["", "*/*", "application/json", "text/*", "text/html;q=0", "text/htmlx"] {
            assert_eq!(asked("/files/a/b.txt", accept), None, "{accept}");
        }
        for path in ["/api/v1/nothing", "/dav/x", "/content/x"] {
            assert_eq!(asked(path, BROWSER), None, "{path}");
        }
    }

    #[test]
    fn the_best_copy_that_the_browser_reads_is_sent() {
        let encoded = |path, accept_encoding| {
            answer_from(KNOWN, Request { path, accept_encoding, ..Request::default() }).unwrap()
        };
        for (path, accepted, encoding) in [
            ("/assets/a-1234.js", "gzip, deflate, br, zstd", Some(Encoding::Brotli)),
            ("/assets/a-1234.js", "gzip, br;q=0", Some(Encoding::Gzip)),
            ("/assets/a-1234.js", "GZIP;q=0.5", Some(Encoding::Gzip)),
            ("/assets/a-1234.js", "identity, xbr", None),
            ("/", "br, gzip", Some(Encoding::Gzip)),
            ("/icon.png", "br, gzip", None),
        ] {
            assert_eq!(encoded(path, accepted).encoding, encoding, "{path} {accepted}");
        }
        let brotli = encoded("/assets/a-1234.js", "br");
        assert_eq!(brotli.body.as_deref(), Some(&b"in brotli"[..]));
        assert_eq!(brotli.content_type, "text/javascript; charset=utf-8");
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let plain = get("/").unwrap();
        let asked = |known: &str, accept_encoding| {
            answer_from(KNOWN, Request { path: "/", if_none_match: known, accept_encoding, ..Request::default() })
                .unwrap()
        };
        for known in [plain.etag.clone(), format!("\"old\", W/{}", plain.etag)] {
            let answer = asked(&known, "");
            assert_eq!((answer.body, answer.etag), (None, plain.etag.clone()), "{known}");
        }
        assert!(asked("\"old\"", "").body.is_some());
        assert_ne!(asked(&plain.etag, "gzip").body, None, "the compressed copy is other bytes");
    }

    #[test]
    fn pages_below_a_base_say_so_and_are_other_bytes() {
        const PAGE: &[u8] =
            b"<link href=\"/icon.svg\"><script src=\"/a.js\"></script><p>see /files, href=\"https://a/\"</p>";
        let files = &[
            File { name: "a.js", hash: "00", bytes: b"src=\"/x\"" },
            File { name: "index.html", hash: "01", bytes: PAGE },
            File { name: "index.html.br", hash: "02", bytes: b"in brotli" },
        ];
        let asked = |path, base, if_none_match| {
            let request = Request { path, base, accept: BROWSER, accept_encoding: "br", if_none_match };
            answer_from(files, request).unwrap()
        };
        let page = asked("/files/a", "/b", "");
        let moved =
            "<link href=\"/b/icon.svg\"><script src=\"/b/a.js\"></script><p>see /files, href=\"https://a/\"</p>";
        assert_eq!((page.body.as_deref(), page.encoding), (Some(moved.as_bytes()), None));
        assert_eq!(asked("/", "/b", &page.etag).body, None);
        assert!(asked("/", "/c", &page.etag).body.is_some() && asked("/", "", &page.etag).body.is_some());
        assert_eq!(asked("/", "", "").body.as_deref(), Some(&b"in brotli"[..]));
        assert_eq!(asked("/a.js", "/b", "").body.as_deref(), Some(&b"src=\"/x\""[..]), "only pages are changed");
    }

    /// Scripts and style sheets name each other relative to themselves: they are right below any base.
    #[test]
    #[cfg(feature = "build-ui")]
    fn no_file_but_the_pages_names_another_from_the_root_on() {
        let named = BUILD.iter().filter(|file| file.name.starts_with(HASHED) && file.name.rsplit_once('.').is_some());
        let texts = named.filter(|file| file.name.ends_with(".js") || file.name.ends_with(".css"));
        let mut count = 0;
        for file in texts {
            count += 1;
            let text = std::str::from_utf8(file.bytes).unwrap();
            for root in ["\"/assets/", "'/assets/", "`/assets/", "(/assets/", "\"assets/", "\"/icon"] {
                assert!(!text.contains(root), "{} has {root}", file.name);
            }
        }
        assert!(count >= 2);
    }

    #[test]
    fn the_table_is_ordered() {
        assert!(BUILD.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(find(BUILD, INDEX).is_some());
    }

    /// Everything that index.html names is there, is kept for good, and is small together: at most 150 kB in gzip.
    #[test]
    #[cfg(feature = "build-ui")]
    fn the_first_load_is_small() {
        let packed = |path: &str| {
            let request = Request { path, accept_encoding: "gzip", ..Request::default() };
            answer(request).unwrap_or_else(|| panic!("{path} is not in the build")).body.unwrap().len()
        };
        let index = std::str::from_utf8(find(BUILD, INDEX).unwrap().bytes).unwrap();
        let named = index.split('"').filter(|word| word.starts_with('/') && word.contains('.'));
        let (mut bytes, mut hashed) = (packed("/"), 0);
        for path in named {
            bytes += packed(path);
            hashed += usize::from(path.starts_with("/assets/"));
        }
        assert!(hashed >= 2, "a script and a style sheet at least");
        assert!(bytes <= 150_000, "the first load is {bytes} bytes in gzip");
    }

    /// The Content-Security-Policy would block them.
    #[test]
    #[cfg(feature = "build-ui")]
    fn the_pages_have_no_inline_script_or_style() {
        for name in [INDEX, FRAME] {
            let page = std::str::from_utf8(find(BUILD, name).unwrap().bytes).unwrap();
            assert!(!page.contains("<style") && !page.contains("style="), "{name}");
            let scripts = page.matches("<script").count();
            let empty = page.matches("></script>").count();
            assert_eq!(scripts, empty, "every script element of {name} is empty");
        }
    }

    /// The page of PDFs is one script, which is not loaded before it is wanted; what it may want besides is there.
    #[test]
    #[cfg(feature = "build-ui")]
    fn what_draws_pdfs_is_there_and_not_too_large() {
        let page = std::str::from_utf8(find(BUILD, FRAME).unwrap().bytes).unwrap();
        assert_eq!(page.matches("src=").count(), 1);
        assert!(page.contains(&format!("src=\"/{FRAME_SCRIPT}\"")));
        let index = std::str::from_utf8(find(BUILD, INDEX).unwrap().bytes).unwrap();
        assert!(!index.contains("pdf"));
        let packed = find(BUILD, "pdf/draw.js.gz").unwrap().bytes.len();
        assert!(packed <= 600_000, "{packed} bytes in gzip");
        for name in ["jbig2.wasm", "openjpeg.wasm", "FoxitSymbol.pfb", "FoxitDingbats.pfb", "UniJIS-UCS2-H.bcmap"] {
            assert!(get_built(&format!("/pdf/data/{name}")).is_some(), "{name}");
        }
    }

    #[cfg(feature = "build-ui")]
    fn get_built(path: &str) -> Option<Answer> {
        answer(Request { path, ..Request::default() })
    }
}
