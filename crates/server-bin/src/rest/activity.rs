//! `/api/v1/activity`: what happened since the server was started, newest first, as far as it is kept.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use store::DeviceId;
use utoipa::IntoParams;

use crate::live::{ActivityKind, Figures, Filter, News, Viewer};
use crate::login::Login;
use crate::rest::entries::Page;
use crate::rest::export::{ListFormat, Row, moment};
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
    /// A page of it, unless it is said; as a file all of it comes.
    #[serde(default)]
    format: ListFormat,
}

/// What happened lately, newest first: the account's own; to an administrator, all of it.
#[utoipa::path(
    get,
    path = "/api/v1/activity",
    params(ListQuery),
    responses(
        (
            status = 200,
            description = "A page, or all of it",
            content((Page<News> = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")),
        ),
        ProblemBody,
    )
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { kind, device, text, cursor, limit, format } = query(&uri)?;
    let bad = |detail: &str| problem::new(StatusCode::BAD_REQUEST, detail);
    let device = device.map(|id| id.parse::<DeviceId>().map_err(|_| bad("a device's id has 16 hex digits")));
    let text = text.filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.len() > TEXT_LEN_MAX) {
        return Err(bad(&format!("a text to look for has at most {TEXT_LEN_MAX} bytes")));
    }
    let filter = Filter { kind, device: device.transpose()?, text };
    if format != ListFormat::Json {
        let news = service.feed.page(Viewer::new(&login), &filter, cursor.map(Numeral::get), usize::MAX);
        let lines = news.iter().map(|news| format.line(news));
        let text: String = std::iter::once(format.head::<News>()).chain(lines).collect();
        return Ok(format.answer("activity", Body::from(text)));
    }
    let limit = usize::from(limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX));
    let items = service.feed.page(Viewer::new(&login), &filter, cursor.map(Numeral::get), limit);
    let next = items.last().filter(|last| items.len() == limit && last.number > 1);
    let next = next.map(|last| last.number.to_string());
    Ok(json(StatusCode::OK, &Page { items, next }))
}

impl Row for News {
    const COLUMNS: &'static [&'static str] = &[
        "number",
        "at",
        "kind",
        "account",
        "device",
        "name",
        "detail",
        "files",
        "source_bytes",
        "sent_bytes",
        "stored_bytes",
        "restored_bytes",
        "duration_ms",
    ];

    fn cells(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let bytes = |of: fn(&Figures) -> u64| number(self.figures.as_ref().map(of));
        vec![
            self.number.to_string(),
            moment(self.at_ms),
            self.kind.name(),
            text(&self.account),
            text(&self.device_name),
            text(&self.name),
            self.detail.clone(),
            number(self.files),
            bytes(|figures| figures.source_bytes),
            bytes(|figures| figures.sent_bytes),
            bytes(|figures| figures.stored_bytes),
            bytes(|figures| figures.restored_bytes),
            number(self.duration_ms),
        ]
    }
}
