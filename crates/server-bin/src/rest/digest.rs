//! `/api/v1/sha256` and the same of a snapshot: SHA-256 of a file's bytes, also where whoever put it did not tell.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::digests::{self, Known};
use crate::drive::FileVersion;
use crate::login::Login;
use crate::rest::parse::{path, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::Own;
use crate::rest::snapshots::browse::{PathQuery, file_in, tree_path};
use crate::rest::{json, on_pool, problem, version_at, with_drive};
use crate::service::Service;
use crate::vaults::OpenVault;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FileQuery {
    path: String,
    /// The newest unless it is said.
    version: Option<u64>,
}

/// What a file's bytes come to.
#[derive(Debug, Serialize, ToSchema)]
struct FileDigest {
    /// In hexadecimal; none while the file is read: ask again.
    sha256: Option<String>,
    /// That were read so far.
    done_bytes: u64,
    size: u64,
}

/// SHA-256 of a file of the drive. Where it is not known the file is read, as long as somebody goes on asking.
#[utoipa::path(
    get,
    path = "/api/v1/sha256",
    params(FileQuery),
    responses((status = 200, description = "What is known", body = FileDigest), ProblemBody)
)]
pub(crate) async fn of_drive(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let FileQuery { path: said, version } = query(&uri)?;
    let path = path(&said)?;
    let found = with_drive(&service, &login, move |service, drive| {
        Ok((Arc::clone(&drive.vault), version_at(service, drive, &path, version)?))
    });
    let (vault, file) = found.await?;
    answer(&service, &vault, &file)
}

/// The same of a file of a snapshot.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/sha256",
    params(("id" = String, Path, description = "All 64 digits"), PathQuery),
    responses((status = 200, description = "What is known", body = FileDigest), ProblemBody)
)]
pub(crate) async fn of_snapshot(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PathQuery { path } = query(&uri)?;
    let path = tree_path(&path)?;
    let found = on_pool(&service, "looking for a file of a snapshot", move |service| {
        let own = Own::find(service, &login, &id)?;
        let file = file_in(service, &own, &path)?;
        Ok((own.vault, file))
    });
    let (vault, file) = found.await?;
    answer(&service, &vault, &file)
}

fn answer(service: &Arc<Service>, vault: &Arc<OpenVault>, file: &FileVersion) -> Result<Response, Problem> {
    let (sha256, done_bytes) = match digests::ask(service, vault, file) {
        Known::Digest(digest) => (Some(object::hex::encode(&digest)), file.size),
        Known::Going(done_bytes) => (None, done_bytes),
        Known::Broken => {
            return Err(problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read to its end"));
        }
    };
    Ok(json(StatusCode::OK, &FileDigest { sha256, done_bytes, size: file.size }))
}
