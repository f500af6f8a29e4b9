//! `/api/v1/me/second-factor`: codes of an authenticator app beside the password.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::{ErrorKind, StoreError};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::audit::Event;
use crate::clock;
use crate::keys::random;
use crate::login::code::{Code, CodeSecret, recovery_codes};
use crate::login::{Caller, Login};
use crate::porter::Porter;
use crate::qr;
use crate::rest::account::{confirm as confirm_password, renew};
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem, session};
use crate::service::Service;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmedBody {
    /// The account's, again.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// What an authenticator app needs.
#[derive(Serialize, ToSchema)]
struct Begun {
    /// To be typed into the app.
    secret: String,
    /// The same as the app reads it.
    uri: String,
    /// The same as a QR code: an SVG document.
    qr_svg: Option<String>,
}

/// Begins a second factor. Nothing is asked for until a code of it was shown.
#[utoipa::path(
    post,
    path = "/api/v1/me/second-factor",
    request_body = ConfirmedBody,
    responses((status = 200, description = "For the app", body = Begun), ProblemBody)
)]
pub(crate) async fn begin(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let ConfirmedBody { password } = body(&headers, said).await?;
    confirm_password(&service, &login, password).await?;
    let salt = random().map_err(|error| problem::internal("drawing a second factor", &error))?;
    let secret = CodeSecret::new(&service.home.keys, &salt);
    let account = login.account_id();
    on_pool(&service, "beginning a second factor", move |service| {
        let begun = service.home.store.begin_second_factor(account, &salt);
        begun.map_err(|error| problem::of_store("beginning a second factor", &error))
    })
    .await?;
    let uri = secret.uri(&login.account.name);
    Ok(json(StatusCode::OK, &Begun { secret: secret.text(), qr_svg: qr::svg(&uri), uri }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeBody {
    /// Six digits that the app shows.
    code: String,
}

/// What stands in for the app when it is lost.
#[derive(Serialize, ToSchema)]
struct Confirmed {
    /// Each works once. They are not shown again.
    recovery_codes: Vec<String>,
}

/// Asks for the second factor from now on. All sessions end, but that the browser that asks gets a new one.
#[utoipa::path(
    post,
    path = "/api/v1/me/second-factor/confirm",
    request_body = CodeBody,
    responses((status = 200, description = "Asked for from now on", body = Confirmed), ProblemBody)
)]
pub(crate) async fn confirm(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let CodeBody { code } = body(&headers, said).await?;
    let account = login.account_id();
    let (actor, name) = (login.actor(), login.account.name.clone());
    let codes = on_pool(&service, "confirming a second factor", move |service| {
        let store = &service.home.store;
        let failed = |error: StoreError| match error.kind() {
            ErrorKind::Conflict => problem::new(StatusCode::CONFLICT, "no second factor waits to be confirmed"),
            _ => problem::of_store("confirming a second factor", &error),
        };
        let factor = store.second_factor(account).map_err(failed)?;
        let factor = factor.filter(|factor| factor.confirmed.is_none());
        let factor = factor.ok_or_else(|| failed(StoreError::Conflict { what: "" }))?;
        let secret = CodeSecret::new(&service.home.keys, &factor.salt);
        let step = match Code::parse(&code) {
            Some(Code::Digits(digits)) => secret.step_of(digits, clock::now_ms()),
            _ => None,
        };
        let detail = "this is not the code that the app shows now; look at the clocks of both";
        let step = step.ok_or_else(|| problem::new(StatusCode::FORBIDDEN, detail))?;
        let (shown, hashes) =
            recovery_codes(&service.home.keys).map_err(|error| problem::internal("drawing recovery codes", &error))?;
        store.confirm_second_factor(account, step, &hashes, clock::now()).map_err(failed)?;
        store.end_web_sessions(account, None).map_err(failed)?;
        actor.note(store, Event::SecondFactorAdded, &name, "");
        Ok(shown)
    })
    .await?;
    let renewed = renew(&service, caller, &login, &headers).await?;
    let mut response = json(StatusCode::OK, &Confirmed { recovery_codes: codes });
    if let Some(cookie) = renewed.headers().get(header::SET_COOKIE) {
        response.headers_mut().insert(header::SET_COOKIE, cookie.clone());
    }
    Ok(response)
}

/// Asks for it no more. All sessions end, but that the browser that asks gets a new one.
#[utoipa::path(
    post,
    path = "/api/v1/me/second-factor/remove",
    request_body = ConfirmedBody,
    responses((status = 204, description = "Removed"), (status = 200, description = "Removed, with a new session", body = session::Session), ProblemBody)
)]
pub(crate) async fn remove(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let ConfirmedBody { password } = body(&headers, said).await?;
    confirm_password(&service, &login, password).await?;
    let removing = Arc::clone(&login);
    on_pool(&service, "removing a second factor", move |service| {
        let porter = Porter { home: &service.home, revoked: Some(&service.revoked), actor: removing.actor() };
        match porter.remove_second_factor(&removing.account) {
            Ok(true) => Ok(()),
            Ok(false) => Err(problem::new(StatusCode::NOT_FOUND, "the account has no second factor")),
            Err(error) => Err(problem::of_store("removing a second factor", &error)),
        }
    })
    .await?;
    renew(&service, caller, &login, &headers).await
}
