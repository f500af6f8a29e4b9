//! `/api/v1/versions`: all states of a file, and making an old one the newest.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::login::Login;
use crate::rest::entries::{FileFacts, Page};
use crate::rest::paging::PageQuery;
use crate::rest::parse::{ChangeKey, body, path, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{Changed, change, json, problem, with_drive};
use crate::service::Service;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    path: String,
    /// Where the page before ended, as it said.
    cursor: Option<String>,
    /// 1 to 1000, which is also what it is when nothing is said.
    limit: Option<usize>,
}

/// All states of a file, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/versions",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<FileFacts>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { path: said, cursor, limit } = query(&uri)?;
    let path = path(&said)?;
    let page = with_drive(&service, &login, move |service, drive| {
        let versions = drive.view(service).versions(&path);
        let versions = versions.map_err(|error| problem::of_drive("listing versions", &error))?;
        let (versions, next) = PageQuery { cursor, limit }.cut(versions, |version| version.version.to_string())?;
        Ok(Page { items: versions.iter().map(FileFacts::of).collect(), next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VersionRestore {
    path: String,
    /// Which is to be the newest again.
    version: u64,
    /// The file's present version. Refused when it is another.
    present_version: Option<u64>,
}

/// Makes an old state of a file its newest.
#[utoipa::path(
    post,
    path = "/api/v1/versions/restore",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = VersionRestore,
    responses((status = 200, description = "Done", body = Changed), ProblemBody)
)]
pub(crate) async fn restore(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let VersionRestore { path: said, version, present_version } = body(&headers, said).await?;
    let (path, key) = (path(&said)?, ChangeKey::of(&headers)?.key);
    Ok(change(&service, &login, move |editor| editor.restore_version(key, &path, version, present_version)).await)
}
