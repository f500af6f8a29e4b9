//! Snapshots into the trash, back from there, and held. A person is bound by what binds devices: nothing goes that is held,
//! young, or from before an unusual change that nobody confirmed.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use store::{IdempotencyKey, SnapshotChange, StoreError};

use crate::audit::Event;
use crate::clock;
use crate::keeper::Keeper;
use crate::login::Login;
use crate::rest::parse::ChangeKey;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::{Own, SnapshotItem};
use crate::rest::{json, on_pool, problem};
use crate::retention::Policy;
use crate::service::Service;

/// What is to become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Forget,
    Undelete,
    Hold,
    Unhold,
}

/// Does it; what the snapshot is then.
async fn make(
    service: &Arc<Service>,
    login: Arc<Login>,
    id: String,
    key: ChangeKey,
    wish: Wish,
) -> Result<Response, Problem> {
    let made = on_pool(service, "changing a snapshot", move |service| {
        let store = &service.home.store;
        let own = Own::find(service, &login, &id)?;
        let now = clock::now();
        let rule = |policy: Option<&str>| Policy::forget_rule(policy, now);
        let change = match wish {
            Wish::Forget => {
                let doubt = |failure: crate::failure::Failure| problem::new(StatusCode::CONFLICT, &failure.to_string());
                Keeper::new(store).check_clock().map_err(doubt)?;
                SnapshotChange::Forget(&rule)
            }
            Wish::Undelete => SnapshotChange::Undelete,
            Wish::Hold => SnapshotChange::Hold,
            Wish::Unhold => SnapshotChange::Unhold,
        };
        let key = IdempotencyKey::from_bytes(*key.key.as_bytes());
        let changed = store.change_snapshots(own.vault.id, None, key, &[own.snapshot.id], change, now);
        let changed = changed.map_err(|error| {
            service.note(&error);
            match error {
                StoreError::Protected { .. } => problem::new(StatusCode::CONFLICT, &error.to_string()),
                error => problem::of_store("changing a snapshot", &error),
            }
        })?;
        let (event, what) = match wish {
            Wish::Forget => (Event::SnapshotsTrashed, "forgotten"),
            Wish::Undelete => (Event::SnapshotsKept, "brought back"),
            Wish::Hold => (Event::SnapshotsKept, "held"),
            Wish::Unhold => (Event::SnapshotsKept, "held no more"),
        };
        // A request that is made again gets the answer of the first.
        if changed.count > 0 && changed.at == now {
            login.actor().note(store, event, &own.snapshot.device_name, &format!("1 {what}"));
        }
        Own::find(service, &login, &id)?.item(service)
    });
    Ok(json(StatusCode::OK, &made.await?))
}

/// Moves a snapshot to the trash, from where it can be brought back until the server purges it.
#[utoipa::path(
    delete,
    path = "/api/v1/snapshots/{id}",
    params(
        ("id" = String, Path, description = "All 64 digits"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 bytes"),
    ),
    responses((status = 200, description = "As it is now", body = SnapshotItem), ProblemBody)
)]
pub(crate) async fn forget(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    make(&service, login, id, ChangeKey::of(&headers)?, Wish::Forget).await
}

/// Brings a snapshot back from the trash.
#[utoipa::path(
    post,
    path = "/api/v1/snapshots/{id}/undelete",
    params(
        ("id" = String, Path, description = "All 64 digits"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 bytes"),
    ),
    responses((status = 200, description = "As it is now", body = SnapshotItem), ProblemBody)
)]
pub(crate) async fn undelete(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    make(&service, login, id, ChangeKey::of(&headers)?, Wish::Undelete).await
}

/// Holds a snapshot: nothing takes it away until that is over.
#[utoipa::path(
    put,
    path = "/api/v1/snapshots/{id}/hold",
    params(
        ("id" = String, Path, description = "All 64 digits"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 bytes"),
    ),
    responses((status = 200, description = "As it is now", body = SnapshotItem), ProblemBody)
)]
pub(crate) async fn hold(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    make(&service, login, id, ChangeKey::of(&headers)?, Wish::Hold).await
}

/// Ends that.
#[utoipa::path(
    delete,
    path = "/api/v1/snapshots/{id}/hold",
    params(
        ("id" = String, Path, description = "All 64 digits"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 bytes"),
    ),
    responses((status = 200, description = "As it is now", body = SnapshotItem), ProblemBody)
)]
pub(crate) async fn unhold(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    make(&service, login, id, ChangeKey::of(&headers)?, Wish::Unhold).await
}
