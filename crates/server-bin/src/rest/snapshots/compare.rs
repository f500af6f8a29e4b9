//! What became of a snapshot's files in another.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::browse::{Change, Walk, change};
use crate::login::Login;
use crate::rest::parse::query;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::browse::{LOOKED_AT_MAX, SnapshotEntry, SnapshotPage, tree_path};
use crate::rest::snapshots::{Own, refused};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;

const PAGE_LEN: usize = 500;
const PAGE_LEN_MAX: usize = 5000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The snapshot before: its 64 digits.
    with: String,
    /// Where the page before ended, as it said.
    cursor: Option<String>,
    limit: Option<usize>,
}

/// A path that is not the same in both.
#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    change: Change,
    /// As it was; none when it was not there.
    before: Option<SnapshotEntry>,
    /// As it is; none when it is not there any more.
    after: Option<SnapshotEntry>,
}

/// What was added, removed and changed in a snapshot since the one it is compared `with`, in the order of paths. Folders
/// that are the same in both are not looked into. One request looks at 100 000 entries at most: where `next` is said, there
/// is more to be looked at.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/diff",
    params(("id" = String, Path, description = "All 64 digits"), DiffQuery),
    responses((status = 200, description = "A page", body = SnapshotPage<Difference>), ProblemBody)
)]
pub(crate) async fn diff(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let DiffQuery { with, cursor, limit } = query(&uri)?;
    let cursor = tree_path(cursor.as_deref().unwrap_or_default())?;
    let limit = limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX);
    let page = on_pool(&service, "comparing snapshots", move |service| {
        let (after, before) = (Own::find(service, &login, &id)?, Own::find(service, &login, &with)?);
        if after.vault.id != before.vault.id {
            let detail = "these are of different vaults: what is the same has different names there";
            return Err(problem::new(StatusCode::CONFLICT, detail));
        }
        let failed = |error| refused("comparing snapshots", &error);
        let (mut browser, root) = after.browse(service)?;
        let root_before = browser.root(before.snapshot.id).map_err(failed)?;
        let mut walk = Walk::new(Some(root_before), Some(root));
        walk.skip_to(&mut browser, &cursor).map_err(failed)?;
        let mut page = SnapshotPage { items: Vec::new(), next: None, unreadable: 0 };
        let mut looked_at = 0;
        while let Some((path, pair)) = walk.next(&mut browser).map_err(failed)? {
            if let Some(change) = change(&pair) {
                let [before, after] =
                    [&pair.before, &pair.after].map(|entry| Some(SnapshotEntry::new(&path, entry.as_ref()?)));
                page.items.push(Difference { change, before, after });
            }
            looked_at += 1;
            if page.items.len() == limit || looked_at == LOOKED_AT_MAX || service.stop.is_cancelled() {
                page.next = Some(path.encode());
                break;
            }
        }
        page.unreadable = walk.unreadable;
        Ok(page)
    });
    Ok(json(StatusCode::OK, &page.await?))
}
