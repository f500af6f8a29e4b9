//! WebDAV under `/dav`: the drive of an account's first managed vault, for programs that mount it and for rclone.
//!
//! `dav-server` speaks the protocol: properties, conditions, locks. What is behind it is the same as behind REST, so files
//! look the same from both sides, and what one refuses the other does: [`tree::Tree`]. Bytes do not pass through the
//! library: files come and go by the ways of REST.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod listing;
mod locks;
mod tree;

use std::sync::{Arc, Mutex};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use dav_server::DavHandler;
use proto::DrivePath;

use crate::base_path::BasePath;
use crate::dav::listing::Wanted;
use crate::dav::locks::DriveLocks;
use crate::dav::tree::{Asked, LOCK, Refusal, Tree, system_time};
use crate::login::Login;
use crate::rest::content::{self, Presentation};
use crate::rest::parse::{Conditions, path as parsed};
use crate::rest::problem::{self, Problem};
use crate::rest::with_drive;
use crate::service::Service;

pub(crate) use locks::Locks;

const PROPFIND: &str = "PROPFIND";
const PREFIX: &str = "/dav";
/// Longest body of a request that brings no file.
const XML_LEN_MAX: usize = 64 << 10;
/// Longest of one that asks for a lock, which keeps what it says of its owner.
const LOCK_LEN_MAX: usize = 4 << 10;
/// Most tags in either: the library reads nested elements by calling itself.
const TAGS_MAX: usize = 512;

const METHODS: &str = "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK";
const X_OC_MTIME: HeaderName = HeaderName::from_static("x-oc-mtime");
const DAV: HeaderName = HeaderName::from_static("dav");
const DEPTH: HeaderName = HeaderName::from_static("depth");
const IF: HeaderName = HeaderName::from_static("if");
const DESTINATION: HeaderName = HeaderName::from_static("destination");
const FINITE_DEPTH: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
                            <D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n";

/// What is spoken here; anybody may know.
pub(crate) async fn terms() -> Response {
    let headers = [
        (DAV, HeaderValue::from_static("1, 2, 3")),
        (HeaderName::from_static("ms-author-via"), HeaderValue::from_static("DAV")),
        (header::ALLOW, HeaderValue::from_static(METHODS)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    (StatusCode::OK, headers).into_response()
}

/// Answers whatever else is asked.
pub(crate) async fn serve(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = match path_below(parts.uri.path()) {
        Ok(path) => path,
        Err(problem) => return problem.into_response(),
    };
    let answered = match parts.method {
        Method::GET | Method::HEAD => give(&service, &login, path, parts.headers).await,
        ref method if method == PROPFIND => tell(&service, &login, path, &parts.headers, body).await,
        _ => hand_over(&service, login, path, (parts.method, parts.uri, parts.headers), body).await,
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// The path behind the prefix; a folder's may end with a slash.
fn path_below(path: &str) -> Result<DrivePath, Problem> {
    let elsewhere = || problem::new(StatusCode::BAD_GATEWAY, "the destination is not on this drive");
    let path =
        path.strip_prefix(PREFIX).filter(|path| path.is_empty() || path.starts_with('/')).ok_or_else(elsewhere)?;
    let path = path.strip_prefix('/').unwrap_or_default();
    parsed(path.strip_suffix('/').unwrap_or(path))
}

/// A file's bytes, as REST gives them out.
async fn give(service: &Arc<Service>, login: &Login, path: DrivePath, headers: HeaderMap) -> Result<Response, Problem> {
    let answering = Arc::clone(service);
    with_drive(service, login, move |service, drive| {
        let found = drive.view(service).look(&path);
        let found = found.map_err(|error| problem::of_drive("looking for a file", &error))?;
        let detail = "a folder has no bytes: PROPFIND lists what is in it";
        let file = found.ok_or_else(|| problem::new(StatusCode::METHOD_NOT_ALLOWED, detail))?;
        let mut response = content::answer(&answering, drive, (&path, &file), Presentation::Saved, &headers)?;
        if let Some(mtime) = system_time(file.mtime) {
            let mtime = HeaderValue::from_str(&httpdate::fmt_http_date(mtime)).expect("made of visible ASCII");
            response.headers_mut().insert(header::LAST_MODIFIED, mtime);
        }
        Ok(response)
    })
    .await
}

/// What is there.
async fn tell(
    service: &Arc<Service>,
    login: &Login,
    path: DrivePath,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let is_deep = match headers.get(DEPTH).map(HeaderValue::as_bytes) {
        Some(b"0") => false,
        Some(b"1") => true,
        _ => {
            let headers = [(header::CONTENT_TYPE, "application/xml; charset=utf-8")];
            return Ok((StatusCode::FORBIDDEN, headers, FINITE_DEPTH).into_response());
        }
    };
    let wanted = Wanted::read(&xml(XML_LEN_MAX, body).await?)?;
    let drive = with_drive(service, login, |_, drive| Ok(drive.clone())).await?;
    let locks = DriveLocks { locks: Arc::clone(&service.locks), vault: drive.vault.id, refusal: Refusal::default() };
    listing::list(service, (login.account_id(), drive), path, (wanted, is_deep), locks).await
}

/// Everything else.
async fn hand_over(
    service: &Arc<Service>,
    login: Arc<Login>,
    path: DrivePath,
    (method, uri, mut headers): (Method, Uri, HeaderMap),
    body: Body,
) -> Result<Response, Problem> {
    let base_path = &service.home.settings.base_path;
    let unreadable = || problem::new(StatusCode::BAD_REQUEST, detail(StatusCode::BAD_REQUEST));
    let is_put = method == Method::PUT;
    if is_put && (headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key(header::CONTENT_RANGE)) {
        let detail = "send the file as it is and whole: no Content-Encoding, no Content-Range";
        return Err(problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if let Some(destination) = text(&headers, &DESTINATION) {
        let said = base_path.strip(path_of(destination));
        // The library reads a name up to there.
        if said.contains(['?', '#']) {
            return Err(unreadable());
        }
        if path_below(said)?.is_root() || path.is_root() {
            return Err(problem::new(StatusCode::FORBIDDEN, "the root stays where it is, and as it is"));
        }
        let destination = HeaderValue::from_str(&base_path.of(said)).map_err(|_| unreadable())?;
        headers.insert(DESTINATION, destination);
    }
    if let Some(conditions) = text(&headers, &IF).map(|said| with_base(said, base_path)) {
        headers.insert(IF, HeaderValue::from_str(&conditions).map_err(|_| unreadable())?);
    }
    if path.is_root() && method == Method::DELETE {
        return Err(problem::new(StatusCode::FORBIDDEN, "the root cannot be removed"));
    }
    let mtime_ms = text(&headers, &X_OC_MTIME).filter(|_| is_put).map(mtime_ms).transpose()?;
    // The library gets what it reads itself, and of a file only that there is one.
    let (file, xml) = match is_put {
        true => (Some(body.into_data_stream()), Bytes::new()),
        false => (None, xml(if method == LOCK { LOCK_LEN_MAX } else { XML_LEN_MAX }, body).await?),
    };
    let asked = Asked {
        is_shallow: text(&headers, &DEPTH) == Some("0"),
        conditions: Conditions::of(&headers)?,
        len: text(&headers, &header::CONTENT_LENGTH).and_then(|len| len.parse().ok()),
        mtime_ms,
        path,
        method: method.clone(),
    };
    headers.remove(header::CONTENT_LENGTH);
    headers.remove("x-expected-entity-length");
    let drive = with_drive(service, &login, |_, drive| Ok(drive.clone())).await?;
    let refusal = Refusal::default();
    let (locks, vault, principal) = (Arc::clone(&service.locks), drive.vault.id, login.account.name.clone());
    let tree = Tree {
        service: Arc::clone(service),
        login,
        drive: Arc::new(drive),
        asked: Arc::new(asked),
        body: Arc::new(Mutex::new(file)),
        replaced: Arc::default(),
        refusal: refusal.clone(),
    };
    let handler = DavHandler::builder()
        .filesystem(Box::new(tree))
        .locksystem(Box::new(DriveLocks { locks, vault, refusal: refusal.clone() }))
        .strip_prefix(base_path.of(PREFIX))
        .principal(principal)
        .build_handler();
    let mut request = Request::new(Body::from(xml));
    // Addresses that clients say have the base, and so have those that the library answers with.
    let uri = base_path.of(uri.path()).parse().map_err(|_| unreadable())?;
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    let mut response = handler.handle(request).await.map(Body::new);
    let status = response.status();
    // Every change is whole: where something was refused, nothing was done.
    if let Some(problem) = refusal.take() {
        return Err(problem);
    }
    if status.is_client_error() || status.is_server_error() {
        return Err(problem::new(status, detail(status)));
    }
    if mtime_ms.is_some() {
        response.headers_mut().insert(X_OC_MTIME, HeaderValue::from_static("accepted"));
    }
    Ok(response)
}

/// What a header says, if it is text.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The path in an address; any host is taken for ours.
fn path_of(address: &str) -> &str {
    match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => address,
    }
}

/// The header `If` (RFC 4918, 10.4), with all resources that it names below the base: outside of parentheses they stand in
/// angle brackets.
fn with_base(said: &str, base_path: &BasePath) -> String {
    let rewritten = said.split_inclusive(')').map(|list| {
        let (before, inside) = list.split_at(list.find('(').unwrap_or(list.len()));
        let tag =
            before.trim().strip_prefix('<').and_then(|tag| tag.strip_suffix('>')).filter(|tag| !tag.contains('<'));
        match tag {
            Some(tag) => {
                let path = path_of(tag);
                format!("<{}{}> {inside}", &tag[..tag.len() - path.len()], base_path.of(base_path.strip(path)))
            }
            None => list.to_owned(),
        }
    });
    rewritten.collect()
}

/// What is wrong, where the library does not say.
fn detail(status: StatusCode) -> &'static str {
    match status {
        StatusCode::LOCKED => "somebody holds a lock here; its token is to be in `If`",
        StatusCode::NOT_FOUND => "there is no such file or directory",
        StatusCode::CONFLICT => "the folder it should be in is missing, or there is no such lock",
        StatusCode::PRECONDITION_FAILED => "what is there is not what the request expects",
        StatusCode::METHOD_NOT_ALLOWED => "that cannot be done with what is there",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "a body is not expected here",
        StatusCode::BAD_REQUEST => "the request cannot be understood",
        _ => "the request was refused",
    }
}

/// The body of a request that brings no file.
async fn xml(len_max: usize, body: Body) -> Result<Bytes, Problem> {
    let body = axum::body::to_bytes(body, len_max)
        .await
        .map_err(|_| problem::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {len_max} bytes")))?;
    if body.iter().filter(|byte| **byte == b'<').count() > TAGS_MAX {
        return Err(problem::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {TAGS_MAX} tags")));
    }
    Ok(body)
}

/// Seconds since 1970, maybe with a fraction.
fn mtime_ms(said: &str) -> Result<i64, Problem> {
    let (seconds, fraction) = said.trim().split_once('.').unwrap_or((said.trim(), ""));
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    let read = || seconds.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(milliseconds.parse::<u16>().ok()?.into());
    read().ok_or_else(|| problem::new(StatusCode::BAD_REQUEST, "X-OC-Mtime is seconds since 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_rest() {
        let read =
            |path: &str| path_below(path).map(|path| path.as_bytes().to_vec()).map_err(|problem| problem.status());
        assert_eq!(read("/dav"), Ok(Vec::new()));
        assert_eq!(read("/dav/"), Ok(Vec::new()));
        assert_eq!(read("/dav/a%20b/c/"), Ok(b"a b/c".to_vec()));
        for wrong in ["/dav/..", "/dav/a/../b", "/dav/a%2fb", "/dav/%5c", "/dav/a//b", "/dav/%00"] {
            assert_eq!(read(wrong), Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
        for elsewhere in ["", "/", "/davy/a", "/api/v1/files/a"] {
            assert_eq!(read(elsewhere), Err(StatusCode::BAD_GATEWAY), "{elsewhere}");
        }
    }

    #[test]
    fn conditions_name_resources_below_the_base() {
        let base: BasePath = "/b".parse().unwrap();
        for (said, is) in [
            ("(<urn:x> [\"e\"])", "(<urn:x> [\"e\"])"),
            ("<http://h:1/dav/a> (<urn:x>)", "<http://h:1/b/dav/a> (<urn:x>)"),
            ("<http://h/b/dav/a> (<urn:x>) (Not <urn:y>)", "<http://h/b/dav/a> (<urn:x>) (Not <urn:y>)"),
            (
                "<http://h/dav/a>(<urn:x>)<https://h/b/dav/c> ([W/\"e\"])",
                "<http://h/b/dav/a> (<urn:x>)<https://h/b/dav/c> ([W/\"e\"])",
            ),
            ("", ""),
            ("<", "<"),
            ("<a><b> (x)", "<a><b> (x)"),
        ] {
            assert_eq!(with_base(said, &base), is, "{said}");
        }
        let plain = "<http://h/dav/a> (<urn:x>)";
        assert_eq!(with_base(plain, &BasePath::default()), plain);
    }

    #[test]
    fn times_of_files_are_read() {
        let read = |said: &str| mtime_ms(said).map_err(|problem| problem.status());
        assert_eq!(read("1405056000"), Ok(1_405_056_000_000));
        assert_eq!(read("1405056000.123456"), Ok(1_405_056_000_123));
        assert_eq!(read("0.5"), Ok(500));
        for wrong in ["", "x", "1.x", "9223372036854775807", "1.-5"] {
            assert_eq!(read(wrong), Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
    }

    #[tokio::test]
    async fn deep_bodies_are_not_read() {
        let deep = "<a>".repeat(TAGS_MAX + 1);
        let problem = xml(XML_LEN_MAX, Body::from(deep)).await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let long = " ".repeat(LOCK_LEN_MAX + 1);
        assert!(xml(XML_LEN_MAX, Body::from(long.clone())).await.is_ok());
        assert!(xml(LOCK_LEN_MAX, Body::from(long)).await.is_err());
    }
}
