//! `/api/v1/activity`: what happened since the server was started, newest first, as far as it is kept.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use store::DeviceId;
use utoipa::IntoParams;

use crate::live::{ActivityKind, Filter, News, Viewer};
use crate::login::Login;
use crate::rest::entries::Page;
use crate::rest::parse::{Numeral, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, problem};
use crate::service::Service;

const PAGE_LEN: u16 = 50;
const PAGE_LEN_MAX: u16 = 500;
const TEXT_LEN_MAX: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this.
    kind: Option<ActivityKind>,
    /// Only what this device did.
    device: Option<String>,
    /// Only what has this in its words.
    text: Option<String>,
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
    limit: Option<u16>,
}

/// What happened lately, newest first: the account's own; to an administrator, all of it.
#[utoipa::path(
    get,
    path = "/api/v1/activity",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<News>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { kind, device, text, cursor, limit } = query(&uri)?;
    let bad = |detail: &str| problem::new(StatusCode::BAD_REQUEST, detail);
    let device = device.map(|id| id.parse::<DeviceId>().map_err(|_| bad("a device's id has 16 hex digits")));
    let text = text.filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.len() > TEXT_LEN_MAX) {
        return Err(bad(&format!("a text to look for has at most {TEXT_LEN_MAX} bytes")));
    }
    let filter = Filter { kind, device: device.transpose()?, text };
    let limit = usize::from(limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX));
    let items = service.feed.page(Viewer::new(&login), &filter, cursor.map(Numeral::get), limit);
    let next = items.last().filter(|last| items.len() == limit && last.number > 1);
    let next = next.map(|last| last.number.to_string());
    Ok(json(StatusCode::OK, &Page { items, next }))
}
