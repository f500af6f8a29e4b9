//! `/api/v1/audit`: what was done, by whom, newest first.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use store::{AuditQuery, StoreError};
use utoipa::{IntoParams, ToSchema};

use crate::audit::Event;
use crate::clock;
use crate::rest::entries::Page;
use crate::rest::export::{ListFormat, Row, moment};
use crate::rest::parse::{Numeral, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;

const PAGE_LEN: u16 = 100;
const PAGE_LEN_MAX: u16 = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this.
    event: Option<Event>,
    /// Only what this account did, or what was done to it.
    account: Option<String>,
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
    limit: Option<u16>,
    /// A page of it, unless it is said; as a file all of it comes.
    #[serde(default)]
    format: ListFormat,
}

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
struct AuditItem {
    number: u64,
    /// Milliseconds since 1970.
    at_ms: u64,
    /// Who: an account's name as it was then; empty for the server itself, and for commands on its machine.
    actor: String,
    /// How they were known: session, password, token, device, set-up link, command, server.
    means: String,
    /// Where they came from.
    address: String,
    event: String,
    /// What it was done to.
    subject: String,
    detail: String,
}

/// What was done, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    params(ListQuery),
    responses(
        (
            status = 200,
            description = "A page, or all of it",
            content((Page<AuditItem> = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")),
        ),
        ProblemBody,
    )
)]
pub(crate) async fn list(State(service): State<Arc<Service>>, uri: Uri) -> Result<Response, Problem> {
    let ListQuery { event, account, cursor, limit, format } = query(&uri)?;
    let wanted = Wanted { event: event.map(Event::name), account };
    let before = cursor.map(Numeral::get);
    if format != ListFormat::Json {
        return Ok(export(service, wanted, before, format));
    }
    let limit = limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX);
    let page = on_pool(&service, "reading the audit log", move |service| {
        let page = wanted.page(service, before, limit);
        page.map_err(|error| problem::of_store("reading the audit log", &error))
    });
    let (items, next) = page.await?;
    Ok(json(StatusCode::OK, &Page { items, next: next.map(|next| next.to_string()) }))
}

/// Which entries are asked for.
struct Wanted {
    event: Option<String>,
    account: Option<String>,
}

impl Wanted {
    /// The newest of those before `before`, and where to go on.
    fn page(
        &self,
        service: &Service,
        before: Option<u64>,
        limit: u16,
    ) -> Result<(Vec<AuditItem>, Option<u64>), StoreError> {
        let (event, name) = (self.event.as_deref(), self.account.as_deref());
        let found = service.home.store.audit(&AuditQuery { before, event, name, limit: u32::from(limit) })?;
        let next = found.last().filter(|last| found.len() == usize::from(limit) && last.number > 1);
        let next = next.map(|last| last.number);
        let items = found.into_iter().map(|entry| AuditItem {
            number: entry.number,
            at_ms: clock::wire_ms(entry.at),
            actor: entry.actor,
            means: entry.means,
            address: entry.address,
            event: entry.event,
            subject: entry.subject,
            detail: entry.detail,
        });
        Ok((items.collect(), next))
    }
}

/// All entries that are asked for, read on when the client has taken what was read before.
fn export(service: Arc<Service>, wanted: Wanted, before: Option<u64>, format: ListFormat) -> Response {
    let begins = (service, Some((wanted, before, format.head::<AuditItem>())));
    let made = stream::try_unfold(begins, move |(service, left)| async move {
        let Some((wanted, before, head)) = left else { return Ok(None) };
        let working = Arc::clone(&service);
        let read = service.pool.run(move || (wanted.page(&working, before, PAGE_LEN_MAX), wanted)).await;
        let (page, wanted) = read.map_err(|error| broken(&error))?;
        let (items, next) = page.map_err(|error| broken(&error))?;
        let lines = items.iter().map(|item| format.line(item));
        let text: String = std::iter::once(head).chain(lines).collect();
        let left = next.map(|next| (wanted, Some(next), String::new()));
        Ok::<_, std::io::Error>(Some((Bytes::from(text), (service, left))))
    });
    format.answer("audit", Body::from_stream(made))
}

/// The connection ends, so that nobody takes what was sent for the whole.
fn broken(error: &dyn std::error::Error) -> std::io::Error {
    tracing::error!(%error, "the audit log cannot be read to its end");
    std::io::Error::other("the audit log cannot be read to its end")
}

impl Row for AuditItem {
    const COLUMNS: &'static [&'static str] =
        &["number", "at", "actor", "means", "address", "event", "subject", "detail"];

    fn cells(&self) -> Vec<String> {
        let texts = [&self.actor, &self.means, &self.address, &self.event, &self.subject, &self.detail];
        let first = [self.number.to_string(), moment(self.at_ms)];
        first.into_iter().chain(texts.into_iter().cloned()).collect()
    }
}
