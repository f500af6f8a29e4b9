//! `/api/v1/health`: what is wrong, with what to do, and how each device's backups are doing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::clock;
use crate::live::{Health, Viewer};
use crate::login::Login;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;

/// How the account's devices are doing, and what is wrong; to an administrator, those of all accounts, and the server.
#[utoipa::path(
    get,
    path = "/api/v1/health",
    responses((status = 200, description = "As it is now", body = Health), ProblemBody)
)]
pub(crate) async fn look(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
) -> Result<Response, Problem> {
    let health = on_pool(&service, "looking whether all is well", move |service| {
        let health = Health::look(service, Viewer::new(&login), clock::now());
        health.map_err(|error| problem::of_store("looking whether all is well", &error))
    });
    Ok(json(StatusCode::OK, &health.await?))
}
