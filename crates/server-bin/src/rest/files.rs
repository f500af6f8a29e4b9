//! `/api/v1/files/PATH`: a file's bytes: download, upload, into the trash.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use proto::DrivePath;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::audit::Event;
use crate::drive::DriveError;
use crate::live::{Activity, ActivityKind, refused};
use crate::login::Login;
use crate::rest::content::Presentation;
use crate::rest::parse::{ChangeKey, Conditions, encoded, etag, path_below, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::upload::{FileBytes, OnConflict, Outcome, Request, Taken, check_room, left_alone, take};
use crate::rest::{Changed, change, content, json, on_pool, problem, version_at, with_drive};
use crate::service::Service;

/// What comes before a file's path.
const PREFIX: &str = "/api/v1/files/";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// An old version.
    version: Option<u64>,
}

/// A file's bytes, to be saved; `ETag`, and `Repr-Digest` where it is known.
#[utoipa::path(
    get,
    path = "/api/v1/files/{path}",
    params(
        ("path" = String, Path, description = "Names with / between them, each percent-encoded"),
        GetQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        (
            "If-None-Match" = Option<String>,
            Header,
            description = "`*`: only when there is no such file; entity tags: not when it has one of these versions",
        ),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for", content_type = "application/octet-stream"),
        (status = 304, description = "Known already"),
        ProblemBody,
    )
)]
pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = path_below(&uri, PREFIX)?;
    let GetQuery { version } = query(&uri)?;
    let answering = Arc::clone(&service);
    with_drive(&service, &login, move |service, drive| {
        let file = version_at(service, drive, &path, version)?;
        content::answer(&answering, drive, (&path, &file), Presentation::Saved, &headers)
    })
    .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PutQuery {
    #[serde(default)]
    conflict: OnConflict,
    mtime_ms: Option<i64>,
}

/// What an upload came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PutAnswer {
    outcome: Outcome,
    /// The file's address.
    href: String,
    version: u64,
    size: u64,
    /// In hexadecimal; left out where a file stayed that nobody has seen whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sha256: Option<String>,
    /// Bytes the server's store grew by.
    bytes_stored: u64,
    objects_stored: u64,
    delta_objects: u64,
}

impl PutAnswer {
    pub(super) fn of(service: &Service, taken: &Taken) -> Self {
        Self {
            outcome: taken.outcome,
            href: href(service, &taken.path),
            version: taken.version,
            size: taken.size,
            sha256: taken.sha256.map(|sha256| object::hex::encode(&sha256)),
            bytes_stored: taken.stored.bytes,
            objects_stored: taken.stored.objects,
            delta_objects: taken.stored.delta_objects,
        }
    }
}

/// A file's address.
pub(super) fn href(service: &Service, path: &DrivePath) -> String {
    service.home.settings.base_path.of(&format!("{PREFIX}{}", encoded(path.as_bytes())))
}

/// Takes a file in. Only what changed against the version before is stored.
#[utoipa::path(
    put,
    path = "/api/v1/files/{path}",
    params(
        ("path" = String, Path, description = "Names with / between them, each percent-encoded"),
        PutQuery,
        (
            "If-Match" = Option<String>,
            Header,
            description = "Entity tags: 412 when the file has none of these versions",
        ),
        (
            "If-None-Match" = Option<String>,
            Header,
            description = "`*`: only when there is no such file; entity tags: not when it has one of these versions",
        ),
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body(content = FileBytes, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "A new version, the same content, or a file that stays", body = PutAnswer),
        (status = 201, description = "A new file", body = PutAnswer),
        ProblemBody,
    )
)]
pub(crate) async fn put(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let path = path_below(&uri, PREFIX)?;
    if path.is_root() {
        return Err(problem::new(StatusCode::CONFLICT, "the root is not a file"));
    }
    let PutQuery { conflict, mtime_ms } = query(&uri)?;
    conflict.check(&login)?;
    if headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key(header::CONTENT_RANGE) {
        let detail = "send the file as it is and whole: no Content-Encoding, no Content-Range";
        return Err(problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let conditions = Conditions::of(&headers)?;
    let ChangeKey { key, is_said } = ChangeKey::of(&headers)?;
    let len = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    let (checked_path, checked) = (path.clone(), conditions.clone());
    let present = with_drive(&service, &login, move |service, drive| {
        let room = check_room(service, drive, len.unwrap_or_default());
        room.inspect_err(|problem| refused(service, &drive.vault, &checked_path, problem))?;
        // What would be refused at the end is refused before bytes are read.
        let present = match drive.view(service).look(&checked_path) {
            Ok(found) => found,
            Err(DriveError::NotFound) => None,
            Err(error) => return Err(problem::of_drive("looking for a file", &error)),
        };
        match is_said || checked.hold(present.as_ref().map(|file| file.version)) {
            true => Ok(present),
            false => Err(problem::new(StatusCode::PRECONDITION_FAILED, "the file is not what the request expects")),
        }
    });
    let taken = match present.await? {
        // None of its bytes are wanted.
        Some(present) if conflict == OnConflict::Skip && !is_said => left_alone(&present, &path),
        _ => {
            let request = Request { path, on_conflict: conflict, conditions, key, may_repeat: is_said, mtime_ms };
            take(&service, &login.account, request, (body.into_data_stream(), len)).await?
        }
    };
    let mut response = json(taken.status(), &PutAnswer::of(&service, &taken));
    let value = |text: &str| HeaderValue::from_str(text).expect("made of visible ASCII");
    response.headers_mut().insert(header::ETAG, value(&etag(taken.version)));
    response.headers_mut().insert(header::LOCATION, value(&href(&service, &taken.path)));
    Ok(response)
}

/// Moves a file or folder to the trash.
#[utoipa::path(
    delete,
    path = "/api/v1/files/{path}",
    params(
        ("path" = String, Path, description = "Names with / between them, each percent-encoded"),
        (
            "If-Match" = Option<String>,
            Header,
            description = "Entity tags: 412 when the file has none of these versions",
        ),
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    responses((status = 200, description = "Done", body = Changed), ProblemBody)
)]
pub(crate) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = path_below(&uri, PREFIX)?;
    let conditions = Conditions::of(&headers)?;
    let ChangeKey { key, is_said } = ChangeKey::of(&headers)?;
    let looked = path.clone();
    let expected = with_drive(&service, &login, move |service, drive| {
        let version = match drive.view(service).look(&looked) {
            Ok(found) => found.map(|file| file.version),
            Err(DriveError::NotFound) if is_said => None,
            Err(error) => return Err(problem::of_drive("looking for a file", &error)),
        };
        match is_said || conditions.hold(version) {
            true => Ok(conditions.expected_version(version)),
            false => Err(problem::new(StatusCode::PRECONDITION_FAILED, "the file is not what the request expects")),
        }
    })
    .await?;
    let removed = path.clone();
    let response = change(&service, &login, move |editor| editor.remove(key, &path, expected)).await;
    if response.status().is_success() {
        service.feed.push(Activity::of_drive(ActivityKind::Delete, &login.account, &removed, String::new()));
        let noted = on_pool(&service, "noting a deletion", move |service| {
            login.actor().note(&service.home.store, Event::DriveRemoved, &login.account.name, "");
            Ok(())
        });
        noted.await?;
    }
    Ok(response)
}
