//! `/api/v1/jobs`: collecting garbage and verifying, started by hand.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::audit::Event;
use crate::jobs::{self, Job, JobKind};
use crate::login::Login;
use crate::rest::entries::Page;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;

/// What was started by hand since the server was started, newest first; the last 20.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    responses((status = 200, description = "All of them", body = Page<Job>), ProblemBody)
)]
pub(crate) async fn list(State(service): State<Arc<Service>>) -> Response {
    json(StatusCode::OK, &Page { items: service.jobs.list(), next: None })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JobBody {
    kind: JobKind,
}

/// Starts a job. There is one at a time.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    request_body = JobBody,
    responses((status = 202, description = "It has begun", body = Job), ProblemBody)
)]
pub(crate) async fn start(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let JobBody { kind } = body(&headers, said).await?;
    let job = jobs::start(&service, kind, &login.account.name);
    let job = job.ok_or_else(|| problem::new(StatusCode::CONFLICT, "another job is running: wait for its end"))?;
    on_pool(&service, "noting a job", move |service| {
        let subject = match kind {
            JobKind::Gc => "gc",
            JobKind::Verify => "verify",
        };
        login.actor().note(&service.home.store, Event::JobStarted, subject, "");
        Ok(())
    })
    .await?;
    Ok(json(StatusCode::ACCEPTED, &job))
}
