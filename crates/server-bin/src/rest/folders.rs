//! What is where: one entry, a folder page by page, and changes that move no bytes.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use proto::DriveName;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::live::Activity;
use crate::login::Login;
use crate::rest::entries::{Entry, Page, entry_of};
use crate::rest::parse::{ChangeKey, body, encoded, path, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{Changed, change, json, problem, with_drive};
use crate::service::Service;

const PAGE_LEN: usize = 1000;
const PAGE_LEN_MAX: usize = 10_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatQuery {
    /// Percent-encoded within, as in an entry's `path`; empty for the root.
    #[serde(default)]
    path: String,
}

/// One file or folder.
#[utoipa::path(
    get,
    path = "/api/v1/entry",
    params(StatQuery),
    responses((status = 200, description = "The entry", body = Entry), ProblemBody)
)]
pub(crate) async fn stat(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let StatQuery { path: said } = query(&uri)?;
    let path = path(&said)?;
    let found = with_drive(&service, &login, move |service, drive| {
        let found = drive.view(service).look(&path);
        let found = found.map_err(|error| problem::of_drive("looking for an entry", &error))?;
        Ok(Entry::of(&path, found.as_ref()))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    #[serde(default)]
    path: String,
    /// Where the page before ended, as it said.
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Where a page ended: the next one shows the same state of the drive.
pub(super) struct Cursor {
    pub(super) version: u64,
    pub(super) name: DriveName,
}

impl Cursor {
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let read = text.split_once('.').and_then(|(version, name)| {
            let name: Vec<u8> = percent_encoding::percent_decode_str(name).collect();
            Some(Self { version: version.parse().ok()?, name: DriveName::new(Bytes::from(name))? })
        });
        read.ok_or_else(|| problem::new(StatusCode::BAD_REQUEST, "the cursor is none of ours"))
    }

    pub(super) fn text(&self) -> String {
        format!("{}.{}", self.version, encoded(self.name.as_bytes()))
    }
}

/// What is in a folder, by name. The pages that follow the first show the state that it showed.
#[utoipa::path(
    get,
    path = "/api/v1/folder",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<Entry>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { path: said, cursor, limit } = query(&uri)?;
    let path = path(&said)?;
    let after = cursor.map(|cursor| Cursor::read(&cursor)).transpose()?;
    let limit = limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX);
    let page = with_drive(&service, &login, move |service, drive| {
        let (version, after) = after.map_or((None, None), |Cursor { version, name }| (Some(version), Some(name)));
        let view = drive.view(service);
        let listing = service.folders.listing(&view, &path, version);
        let listing = listing.map_err(|error| problem::of_drive("listing a folder", &error))?;
        let (shown, has_more) = listing.page(after.as_ref(), limit);
        let last = shown.last().filter(|_| has_more).and_then(|last| last.name.clone());
        let page = Page {
            items: shown.iter().filter_map(|entry| entry_of(&path, entry)).collect(),
            next: last.map(|name| Cursor { version: listing.version, name }.text()),
        };
        Ok((page, service.searches.should_prepare(view.vault(), Instant::now())))
    });
    let (page, should_prepare) = page.await?;
    if should_prepare {
        tokio::spawn(prepare_search(service, login));
    }
    Ok(json(StatusCode::OK, &page))
}

/// Makes the first search of a drive as fast as those after it. What goes wrong is told to who searches.
async fn prepare_search(service: Arc<Service>, login: Arc<Login>) {
    let prepared = with_drive(&service, &login, |service, drive| {
        let prepared = service.searches.prepare(&drive.view(service), Instant::now());
        prepared.map_err(|error| problem::of_drive("preparing a search", &error))
    });
    if let Err(problem) = prepared.await {
        tracing::debug!(detail = problem.detail(), "the names of a drive are not read ahead");
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FolderBody {
    path: String,
}

/// Makes a folder.
#[utoipa::path(
    post,
    path = "/api/v1/folder",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = FolderBody,
    responses((status = 200, description = "Done", body = Changed), ProblemBody)
)]
pub(crate) async fn make(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let FolderBody { path: said } = body(&headers, said).await?;
    let (path, key) = (path(&said)?, ChangeKey::of(&headers)?.key);
    Ok(change(&service, &login, move |editor| editor.make_directory(key, &path)).await)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MoveBody {
    from: String,
    to: String,
    /// The file's present version. Refused when it is another.
    version: Option<u64>,
}

/// Gives a file or folder another place or name. No bytes move.
#[utoipa::path(
    post,
    path = "/api/v1/move",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = MoveBody,
    responses((status = 200, description = "Done", body = Changed), ProblemBody)
)]
pub(crate) async fn move_to(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let MoveBody { from, to, version } = body(&headers, said).await?;
    let (from, to, key) = (path(&from)?, path(&to)?, ChangeKey::of(&headers)?.key);
    let activity = Activity::of_moving(&login.account, &from, &to);
    let response = change(&service, &login, move |editor| editor.move_to(key, &from, &to, version)).await;
    if response.status().is_success() {
        service.feed.push(activity);
    }
    Ok(response)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CopyBody {
    from: String,
    to: String,
}

/// Makes a second file or folder with the same content. No bytes move.
#[utoipa::path(
    post,
    path = "/api/v1/copy",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = CopyBody,
    responses((status = 200, description = "Done", body = Changed), ProblemBody)
)]
pub(crate) async fn copy(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let CopyBody { from, to } = body(&headers, said).await?;
    let (from, to, key) = (path(&from)?, path(&to)?, ChangeKey::of(&headers)?.key);
    Ok(change(&service, &login, move |editor| editor.copy(key, &from, &to)).await)
}
