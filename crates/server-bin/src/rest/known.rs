//! `/api/v1/known`: whether files are here already, before a byte of them is sent.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::drive::DriveError;
use crate::login::Login;
use crate::rest::parse::{body, path};
use crate::rest::problem::{self, Problem, ProblemBody};
use crate::rest::tus::LEN_MAX;
use crate::rest::{json, with_drive};
use crate::service::Service;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KnownBody {
    /// As many as fit into 64 KiB.
    files: Vec<AskedFile>,
}

/// A file that may be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AskedFile {
    /// Where it would go.
    path: String,
    #[schema(maximum = 9007199254740991u64)]
    size: u64,
    /// In hexadecimal; may be left out at first, and said for files of which the answer is `same-size`.
    sha256: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct KnownAnswer {
    /// In the order of the files.
    states: Vec<KnownState>,
}

/// What is at a file's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum KnownState {
    /// Nothing, or a folder.
    Absent,
    /// A file with another content, as far as anybody knows.
    Different,
    /// A file of this size; its SHA-256 would tell whether it is the same.
    SameSize,
    /// A file with these very bytes: nothing has to be sent.
    Identical,
}

/// Tells which files need not be sent, as the drive has exactly them.
#[utoipa::path(
    post,
    path = "/api/v1/known",
    request_body = KnownBody,
    responses((status = 200, description = "What is at their places", body = KnownAnswer), ProblemBody)
)]
pub(crate) async fn ask(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let KnownBody { files } = body(&headers, said).await?;
    let mut asked = Vec::with_capacity(files.len());
    for file in files {
        let sha256 = match file.sha256.as_deref().map(object::hex::decode::<32>) {
            Some(None) => {
                return Err(problem::new(StatusCode::BAD_REQUEST, "a SHA-256 is 64 hexadecimal digits"));
            }
            Some(sha256) => sha256,
            None => None,
        };
        if file.size > LEN_MAX {
            return Err(problem::new(StatusCode::BAD_REQUEST, &format!("a file has at most {LEN_MAX} bytes")));
        }
        asked.push((path(&file.path)?, file.size, sha256));
    }
    let states = with_drive(&service, &login, move |service, drive| {
        let view = drive.view(service);
        let state = |(path, size, sha256): (_, u64, Option<[u8; 32]>)| match view.look(&path) {
            Ok(None) | Err(DriveError::NotFound) => Ok(KnownState::Absent),
            Ok(Some(file)) => Ok(match (file.size == size, file.sha256, sha256) {
                (false, ..) | (true, None, _) => KnownState::Different,
                (true, Some(_), None) => KnownState::SameSize,
                (true, Some(known), Some(asked)) if known == asked => KnownState::Identical,
                (true, Some(_), Some(_)) => KnownState::Different,
            }),
            Err(error) => Err(problem::of_drive("looking for a file", &error)),
        };
        asked.into_iter().map(state).collect::<Result<Vec<_>, _>>()
    });
    Ok(json(StatusCode::OK, &KnownAnswer { states: states.await? }))
}
