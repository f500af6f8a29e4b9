//! `/api/v1/search`: files and folders of the drive by parts of their names, their kind, size and age.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::drive::{DriveError, FoundKind, NameFilter, NameQuery};
use crate::login::Login;
use crate::rest::entries::{Entry, Page};
use crate::rest::parse::{Numeral, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, problem, with_drive};
use crate::service::Service;

const PAGE_LEN: u16 = 50;
const PAGE_LEN_MAX: u16 = 200;
/// Nobody looks through more; whoever would says another word.
const FOUND_MAX: usize = 1000;
/// Longest text that is looked for, in bytes.
const QUERY_LEN_MAX: usize = 256;

/// Reads what somebody looks for.
pub(super) fn name_query(q: &str) -> Result<NameQuery, Problem> {
    let wanted = Some(q).filter(|q| q.len() <= QUERY_LEN_MAX).and_then(NameQuery::new);
    let detail = "say what to look for as q: 1 to 256 bytes, and not only spaces";
    wanted.ok_or_else(|| problem::new(StatusCode::BAD_REQUEST, detail))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// Words that a name has to hold, in any order: at most 256 bytes. Case and marks of letters do not matter. May be left
    /// out where something else is said.
    #[serde(default)]
    q: String,
    /// Only this.
    kind: Option<FoundKind>,
    /// Only files of so many bytes or more.
    min_size: Option<Numeral>,
    /// Only files of at most so many bytes.
    max_size: Option<Numeral>,
    /// Only files changed last then or later, in milliseconds since 1970.
    after_ms: Option<i64>,
    /// Only files changed last then or before.
    before_ms: Option<i64>,
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
    /// Entries on a page: 1 to 200.
    limit: Option<u16>,
}

/// Files and folders by parts of their names, their kind, size and age, the best first, at most 1000.
#[utoipa::path(
    get,
    path = "/api/v1/search",
    params(SearchQuery),
    responses((status = 200, description = "A page", body = Page<Entry>), ProblemBody)
)]
pub(crate) async fn find(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let SearchQuery { q, kind, min_size, max_size, after_ms, before_ms, cursor, limit } = query(&uri)?;
    let sizes = (min_size.is_some() || max_size.is_some())
        .then(|| min_size.map_or(0, Numeral::get)..=max_size.map_or(u64::MAX, Numeral::get));
    let changed_ms = (after_ms.is_some() || before_ms.is_some())
        .then(|| after_ms.unwrap_or(i64::MIN)..=before_ms.unwrap_or(i64::MAX));
    let filter = NameFilter { kind, sizes, changed_ms };
    let wanted = match q.trim().is_empty() && filter != NameFilter::NONE {
        true => NameQuery::any(),
        false => name_query(&q)?,
    };
    let start = cursor.map_or(Some(0), |cursor| usize::try_from(cursor.get()).ok());
    let start = start.filter(|start| *start <= FOUND_MAX);
    let start = start.ok_or_else(|| problem::new(StatusCode::BAD_REQUEST, "the cursor is none of ours"))?;
    let end = (start + usize::from(limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX))).min(FOUND_MAX);
    let page = with_drive(&service, &login, move |service, drive| {
        let failed = |error| problem::of_drive("searching a drive", &error);
        let view = drive.view(service);
        let found = service.searches.find(&view, (&wanted, &filter), end + 1, Instant::now()).map_err(failed)?;
        let mut items = Vec::with_capacity(end - start);
        for node in found.iter().take(end).skip(start) {
            // What went meanwhile is not shown.
            let Some(path) = view.path_of(*node).map_err(failed)? else { continue };
            match view.look(&path) {
                Ok(file) => items.push(Entry::of(&path, file.as_ref())),
                Err(DriveError::NotFound) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let next = (found.len() > end && end < FOUND_MAX).then(|| end.to_string());
        Ok(Page { items, next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}
