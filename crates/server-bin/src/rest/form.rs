//! `POST /api/v1/files`: files as forms and scripts send them, `curl -F file=@x`, into one folder.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use proto::DrivePath;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::login::Login;
use crate::rest::files::PutAnswer;
use crate::rest::multipart::{Multipart, MultipartError};
use crate::rest::parse::{ChangeKey, Conditions, path, query};
use crate::rest::problem::{self, Problem, ProblemBody};
use crate::rest::upload::{OnConflict, Request, take};
use crate::rest::{json, with_drive};
use crate::service::Service;

/// Most files of one form: their results wait in memory for the answer.
pub(crate) const FILE_COUNT_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FormQuery {
    /// Where the files go: percent-encoded within, as in an entry's `path`; made where it is missing.
    #[serde(default)]
    folder: String,
    #[serde(default)]
    conflict: OnConflict,
}

/// What became of the files of a form.
#[derive(Debug, Serialize, ToSchema)]
struct FormAnswer {
    /// In the order in which they came.
    files: Vec<FileResult>,
}

/// What became of one of them.
#[derive(Debug, Serialize, ToSchema)]
struct FileResult {
    /// As it was sent; what is not UTF-8 in it is replaced.
    name: String,
    /// As if it had been sent alone.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stored: Option<PutAnswer>,
    /// Why it was not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// Files as they are sent.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a body that is read as it comes")]
struct Form {
    #[schema(format = Binary, value_type = Vec<String>)]
    file: Vec<u8>,
}

/// Takes the files of a form into a folder, one after the other. The status is that of the first that was not stored; the
/// others are tried all the same.
#[utoipa::path(
    post,
    path = "/api/v1/files",
    params(
        FormQuery,
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body(content = Form, content_type = "multipart/form-data"),
    responses((status = 200, description = "All of them are stored", body = FormAnswer), ProblemBody)
)]
pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let FormQuery { folder, conflict } = query(&uri)?;
    let folder = path(&folder)?;
    conflict.check(&login)?;
    let key = ChangeKey::of(&headers)?;
    let len = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    with_drive(&service, &login, move |service, drive| {
        let (store, len) = (&service.home.store, len.unwrap_or_default());
        let room = store.check_room(len).and_then(|()| store.check_quota(drive.vault.id, len));
        room.map_err(|error| problem::of_store("taking files in", &error))
    })
    .await?;
    let mut parts = Multipart::new(&headers, body.into_data_stream()).map_err(unreadable)?;
    let mut files = Vec::new();
    let mut status = StatusCode::OK;
    while let Some(head) = parts.next().await.map_err(unreadable)? {
        let name = String::from_utf8_lossy(head.filename.as_ref().unwrap_or(&head.name)).into_owned();
        if files.len() == FILE_COUNT_MAX {
            let detail = format!("a form brings at most {FILE_COUNT_MAX} files; those before are stored");
            return Err(problem::new(StatusCode::PAYLOAD_TOO_LARGE, &detail));
        }
        let taken = match request(&folder, head.filename.as_deref(), conflict, key.part(files.len() as u64)) {
            Ok(request) => take(&service, &login.account, request, (parts.bytes(), None)).await,
            Err(problem) => Err(problem),
        };
        match taken {
            Ok(taken) => {
                let status = taken.status().as_u16();
                files.push(FileResult { name, status, stored: Some(PutAnswer::of(&service, &taken)), detail: None });
            }
            Err(problem) => {
                let own = problem.status();
                let detail = Some(problem.detail().to_owned());
                files.push(FileResult { name, status: own.as_u16(), stored: None, detail });
                status = if status == StatusCode::OK { own } else { status };
                // What the server cannot do now, it cannot do for the next either.
                if own.is_server_error() {
                    break;
                }
            }
        }
    }
    Ok(json(status, &FormAnswer { files }))
}

pub(super) fn request(
    folder: &DrivePath,
    name: Option<&[u8]>,
    on_conflict: OnConflict,
    ChangeKey { key, is_said }: ChangeKey,
) -> Result<Request, Problem> {
    let bad = |detail: &str| problem::new(StatusCode::BAD_REQUEST, detail);
    let name = name.ok_or_else(|| bad("a part of the form is no file: it has no filename"))?;
    if name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
        return Err(bad("a name holds a slash, a backslash or a zero byte"));
    }
    let path = match folder.is_root() {
        true => Bytes::copy_from_slice(name),
        false => [&folder.as_bytes()[..], b"/", name].concat().into(),
    };
    let path = DrivePath::new(path).ok_or_else(|| bad("a name has 1 to 255 bytes, a path at most 4095"))?;
    Ok(Request { path, on_conflict, conditions: Conditions::default(), key, may_repeat: is_said, mtime_ms: None })
}

pub(super) fn unreadable(error: MultipartError) -> Problem {
    let status = match error {
        MultipartError::NotMultipart => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        MultipartError::Headers | MultipartError::CutOff => StatusCode::BAD_REQUEST,
    };
    problem::new(status, &error.to_string())
}
