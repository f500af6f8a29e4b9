//! `/api/v1/zip`: files and folders as one ZIP archive, made while it is sent.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use percent_encoding::percent_decode_str;
use proto::DrivePath;
use utoipa::ToSchema;

use crate::drive::{Archive, ArchiveError};
use crate::live::Outgoing;
use crate::login::Login;
use crate::rest::content::{POLICY, broken, disposition};
use crate::rest::parse::path;
use crate::rest::problem::{self, Problem, ProblemBody};
use crate::rest::{Drive, with_drive};
use crate::service::Service;

/// Longest list of paths in a form.
const FORM_LEN_MAX: usize = 2 << 20;

/// Files and folders as a ZIP archive (ZIP64, not compressed). What cannot be read ends the connection.
#[utoipa::path(
    get,
    path = "/api/v1/zip",
    params(
        ("path" = Vec<String>, Query, description = "One or several, as in an entry's `path`; empty for everything"),
    ),
    responses((status = 200, description = "The archive", content_type = "application/zip"), ProblemBody)
)]
pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    pack(service, login, uri.query().unwrap_or_default()).await
}

/// The same, of more than an address holds. Made by a form of a page, it comes as a download.
#[utoipa::path(
    post,
    path = "/api/v1/zip",
    request_body(content = Paths, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The archive", content_type = "application/zip"), ProblemBody)
)]
pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    pack(service, login, &form(&headers, said).await?).await
}

/// What is to be in an archive.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is read pair by pair")]
pub(super) struct Paths {
    /// One or several, as in an entry's `path`.
    path: Vec<String>,
}

/// The pairs that a form sends.
pub(super) async fn form(headers: &HeaderMap, said: Body) -> Result<String, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let detail = "the body is to be application/x-www-form-urlencoded";
        return Err(problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let said = axum::body::to_bytes(said, FORM_LEN_MAX).await.map_err(|_| {
        problem::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {FORM_LEN_MAX} bytes"))
    })?;
    String::from_utf8(said.into()).map_err(|_| bad("a path is not text"))
}

/// The paths in pairs as an address or a form has them.
pub(super) fn paths_in(pairs: &str) -> Result<Vec<String>, Problem> {
    let path = |pair: &str| {
        let said = pair.strip_prefix("path=");
        let said = said.ok_or_else(|| bad("say path=PATH, once for each file or folder"))?.replace('+', " ");
        let said = percent_decode_str(&said).decode_utf8().map_err(|_| bad("a path is not text"))?;
        Ok(said.into_owned())
    };
    pairs.split('&').map(path).collect()
}

async fn pack(service: Arc<Service>, login: Arc<Login>, pairs: &str) -> Result<Response, Problem> {
    let said = paths_in(pairs)?;
    let paths = said.iter().map(|said| path(said)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = paths.iter().map(DrivePath::name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) || names.len() > 1 && names[0].is_none() {
        return Err(bad("two of them would have the same name in the archive"));
    }
    let answering = Arc::clone(&service);
    with_drive(&service, &login, move |_, drive| of_drive(&answering, drive, &paths)).await
}

/// Answers with an archive of what is at these paths. Blocks.
pub(super) fn of_drive(service: &Arc<Service>, drive: &Drive, paths: &[DrivePath]) -> Result<Response, Problem> {
    let named = match paths {
        [one] => one.name().map_or(b"files".to_vec(), |name| name.as_bytes().to_vec()),
        _ => b"files".to_vec(),
    };
    let shown = String::from_utf8_lossy(&[&named[..], b".zip"].concat()).into_owned();
    let archive = Archive::new(&service.home.store, &drive.vault, paths).map_err(|error| match error {
        ArchiveError::Drive(error) => problem::of_drive("making an archive", &error),
        error => problem::internal("making an archive", &error),
    })?;
    let outgoing = Outgoing::new(service, &drive.vault, shown, None);
    Ok(answer(Arc::clone(service), (archive, outgoing), &named))
}

/// An archive that is to be saved under this name.
pub(super) fn answer(service: Arc<Service>, (archive, outgoing): (Archive, Outgoing), name: &[u8]) -> Response {
    let name = disposition(&[name, b".zip"].concat());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).expect("made of visible ASCII")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    (StatusCode::OK, headers, body(service, archive, outgoing)).into_response()
}

/// Makes more when the client has taken what was made before.
fn body(service: Arc<Service>, archive: Archive, outgoing: Outgoing) -> Body {
    let made = stream::try_unfold((service, archive, outgoing), |(service, mut archive, outgoing)| async move {
        let made = service.pool.run(move || (archive.next(), archive)).await;
        let (next, archive) = made.map_err(|error| broken(&error))?;
        let next: Option<Bytes> = next.map_err(|error| broken(&error))?;
        outgoing.add(next.as_ref().map_or(0, Bytes::len));
        Ok::<_, std::io::Error>(next.map(|bytes| (bytes, (service, archive, outgoing))))
    });
    Body::from_stream(made)
}

fn bad(detail: &str) -> Problem {
    problem::new(StatusCode::BAD_REQUEST, detail)
}
