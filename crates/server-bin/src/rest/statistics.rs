//! `/api/v1/statistics`: how many bytes went through and lie here, in all and as time went on.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::{AccountId, PackClass, PackState, Store, StoreError, Traffic, TrafficRow, TrafficSpan};
use utoipa::{IntoParams, ToSchema};

use crate::clock;
use crate::live::{Figures, Viewer};
use crate::login::Login;
use crate::rest::parse::query;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;

const POINTS: u16 = 48;
const POINTS_MAX: u16 = 2000;

/// How time is cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Span {
    #[default]
    Hour,
    Day,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatisticsQuery {
    #[serde(default)]
    span: Span,
    /// How many of the last spans, of those in which anything was noted: 48 unless it is said, 2000 at most.
    limit: Option<u16>,
}

/// Bytes, in all and as time went on.
#[derive(Debug, Serialize, ToSchema)]
struct Statistics {
    /// Since the server's catalog was made.
    totals: Figures,
    /// That packs take on the disk: what counts against quotas.
    packed_bytes: u64,
    /// That can still be stored; only for administrators.
    free_bytes: Option<u64>,
    /// The vaults, by account and age.
    vaults: Vec<VaultSize>,
    /// One for each span in which anything was noted, the oldest first.
    series: Vec<Point>,
}

/// What one vault takes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VaultSize {
    vault: String,
    account: String,
    name: String,
    packed_bytes: u64,
    /// Of these, packs of names, attributes and lists.
    metadata_bytes: u64,
    /// That can be restored.
    snapshots: u64,
}

/// What went through in one span.
#[derive(Debug, Serialize, ToSchema)]
struct Point {
    /// When it began; milliseconds since 1970.
    start_ms: u64,
    #[serde(flatten)]
    figures: Figures,
    /// At its end.
    packed_bytes: u64,
}

/// Bytes of the account; to an administrator, of all accounts together.
#[utoipa::path(
    get,
    path = "/api/v1/statistics",
    params(StatisticsQuery),
    responses((status = 200, description = "To this moment", body = Statistics), ProblemBody)
)]
pub(crate) async fn look(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let StatisticsQuery { span, limit } = query(&uri)?;
    let span = match span {
        Span::Hour => TrafficSpan::Hour,
        Span::Day => TrafficSpan::Day,
    };
    let limit = u64::from(limit.unwrap_or(POINTS).clamp(1, POINTS_MAX));
    let statistics = on_pool(&service, "adding up", move |service| {
        let made = Statistics::look(service, Viewer::new(&login), span, limit);
        made.map_err(|error| problem::of_store("adding up", &error))
    });
    Ok(json(StatusCode::OK, &statistics.await?))
}

impl Statistics {
    fn look(service: &Service, viewer: Viewer, span: TrafficSpan, limit: u64) -> Result<Self, StoreError> {
        let store = &service.home.store;
        let only = viewer.only();
        let (pending, kept, rows) = service.tally.while_still(|| {
            let (kept, rows) = (store.traffic(only, TrafficSpan::Ever, 1), store.traffic(only, span, limit));
            (service.tally.pending(only), kept, rows)
        });
        let (kept, mut rows) = (kept?, rows?);
        let totals = kept.first().map_or_else(Traffic::default, |row| row.traffic).plus(pending);
        let vaults = vaults(store, only)?;
        let packed_bytes = vaults.iter().map(|vault| vault.packed_bytes).sum();
        let start = span.start(clock::now());
        match rows.last_mut().filter(|last| last.start == start) {
            Some(last) => *last = TrafficRow { traffic: last.traffic.plus(pending), packed_bytes, ..*last },
            None => rows.push(TrafficRow { start, traffic: pending, packed_bytes }),
        }
        let free_bytes = if viewer.sees_all() { Some(store.status()?.free_bytes) } else { None };
        let point = |row: TrafficRow| Point {
            start_ms: clock::wire_ms(row.start),
            figures: row.traffic.into(),
            packed_bytes: row.packed_bytes,
        };
        let series = rows.into_iter().map(point).collect();
        Ok(Self { totals: totals.into(), packed_bytes, free_bytes, vaults, series })
    }
}

pub(crate) fn vaults(store: &Store, only: Option<AccountId>) -> Result<Vec<VaultSize>, StoreError> {
    let mut found = Vec::new();
    for account in store.accounts()?.into_iter().filter(|account| only.is_none_or(|only| only == account.id)) {
        for vault in store.vaults(account.id)? {
            let usage = store.vault_usage(vault.id)?;
            let is_gone = |state| matches!(state, PackState::Condemned | PackState::Deleting);
            let packs = || usage.packs.iter().filter(|totals| !is_gone(totals.state));
            let metadata = packs().filter(|totals| totals.class == PackClass::Metadata);
            found.push(VaultSize {
                vault: vault.id.to_string(),
                account: account.name.clone(),
                name: vault.name,
                packed_bytes: packs().map(|totals| totals.bytes).sum(),
                metadata_bytes: metadata.map(|totals| totals.bytes).sum(),
                snapshots: usage.snapshots,
            });
        }
    }
    Ok(found)
}
