//! `/api/v1/trash`: what was removed, and bringing it back.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use proto::DriveTrash;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::login::Login;
use crate::rest::entries::Page;
use crate::rest::parse::{ChangeKey, Numeral, body, encoded, path, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{Changed, change, json, problem, with_drive};
use crate::service::Service;

const PAGE_LEN: u16 = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
    limit: Option<u16>,
}

/// Something that was removed.
#[derive(Debug, Serialize, ToSchema)]
struct Trashed {
    /// Where it was; each name percent-encoded.
    path: String,
    /// Bytes in a file; a folder has none.
    size: Option<u64>,
    /// Since when it is there, in milliseconds since 1970.
    trashed_ms: u64,
    /// When it goes for good.
    purge_ms: u64,
}

/// What was removed, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/trash",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<Trashed>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { cursor, limit } = query(&uri)?;
    let limit = u32::from(limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN));
    let asked = DriveTrash { before: cursor.map(Numeral::get), limit };
    let page = with_drive(&service, &login, move |service, drive| {
        let trashed = drive.view(service).trash(&asked, service.home.settings.trash_delay_ms());
        let trashed = trashed.map_err(|error| problem::of_drive("listing the trash", &error))?;
        let items = trashed.items.into_iter().map(|item| Trashed {
            path: encoded(item.path.as_bytes()),
            size: item.size,
            trashed_ms: item.trashed_ms,
            purge_ms: item.purge_ms,
        });
        Ok(Page { items: items.collect(), next: trashed.next.map(|next| next.to_string()) })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrashRestore {
    path: String,
}

/// Brings back what was removed from a path last.
#[utoipa::path(
    post,
    path = "/api/v1/trash/restore",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = TrashRestore,
    responses((status = 200, description = "Done", body = Changed), ProblemBody)
)]
pub(crate) async fn restore(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let TrashRestore { path: said } = body(&headers, said).await?;
    let (path, key) = (path(&said)?, ChangeKey::of(&headers)?.key);
    Ok(change(&service, &login, move |editor| editor.undelete(key, &path)).await)
}
