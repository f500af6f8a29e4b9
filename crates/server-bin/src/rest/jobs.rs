//! `/api/v1/jobs`: collecting garbage and verifying, by schedule and started by hand.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
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
use crate::rest::{done, json, on_pool, problem};
use crate::service::Service;

/// What was done by schedule or started by hand since the server was started, newest first; the last 20.
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

/// Starts a job. There is one at a time, beside what the schedule does.
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

/// Has a job end before its time, as soon as it can. What it did so far stays done.
#[utoipa::path(
    delete,
    path = "/api/v1/jobs/{number}",
    params(("number" = String, Path, description = "As the list has it")),
    responses((status = 204, description = "It ends"), ProblemBody)
)]
pub(crate) async fn cancel(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    let missing = || problem::new(StatusCode::NOT_FOUND, "there is no such job");
    let number: u64 = number.parse().map_err(|_| missing())?;
    if !service.jobs.cancel(number).ok_or_else(missing)? {
        return Err(problem::new(StatusCode::CONFLICT, "the job is over"));
    }
    on_pool(&service, "noting a job", move |service| {
        login.actor().note(&service.home.store, Event::JobCancelled, &number.to_string(), "");
        Ok(())
    })
    .await?;
    Ok(done())
}
