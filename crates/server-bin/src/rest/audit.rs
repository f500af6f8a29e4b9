//! `/api/v1/audit`: what was done, by whom, newest first.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::AuditQuery;
use utoipa::{IntoParams, ToSchema};

use crate::audit::Event;
use crate::clock;
use crate::rest::entries::Page;
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
    responses((status = 200, description = "A page", body = Page<AuditItem>), ProblemBody)
)]
pub(crate) async fn list(State(service): State<Arc<Service>>, uri: Uri) -> Result<Response, Problem> {
    let ListQuery { event, account, cursor, limit } = query(&uri)?;
    let before = cursor.map(Numeral::get);
    let limit = u32::from(limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX));
    let page = on_pool(&service, "reading the audit log", move |service| {
        let event = event.map(Event::name);
        let (event, name) = (event.as_deref(), account.as_deref());
        let found = service.home.store.audit(&AuditQuery { before, event, name, limit });
        let found = found.map_err(|error| problem::of_store("reading the audit log", &error))?;
        let next = found.last().filter(|last| found.len() == limit as usize && last.number > 1);
        let next = next.map(|last| last.number.to_string());
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
        Ok(Page { items: items.collect(), next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}
