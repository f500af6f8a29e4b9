//! `/api/v1/me`: who is logged in, and their password.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::args::{AccountRole, TokenScope};
use crate::login::{self, Caller, Login, Means};
use crate::porter::Porter;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{done, json, on_pool, problem, session, trash};
use crate::service::Service;

/// Somebody who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    account: String,
    role: AccountRole,
    /// What the token is good for; a password is good for everything.
    scope: TokenScope,
    means: LoginMeans,
    /// Whether a code is asked for beside the password.
    has_second_factor: bool,
    /// Recovery codes that are left.
    recovery_codes: u64,
    /// Bytes that the account's packs take on the disk: what counts against the quota.
    used_bytes: u64,
    /// Most bytes that they may take; none: as many as there are.
    quota_bytes: Option<u64>,
    /// Whether they may delete for good what is in the trash of their drive.
    may_purge: bool,
    /// Longest file that their drive takes, in bytes; none: any.
    max_file_bytes: Option<u64>,
}

/// How somebody is known.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum LoginMeans {
    Session,
    Password,
    Token,
}

impl Me {
    pub(super) async fn of(service: &Arc<Service>, login: &Login) -> Result<Self, Problem> {
        let account = login.account_id();
        let (factor, quota) = on_pool(service, "looking at an account", move |service| {
            let store = &service.home.store;
            let found = store.second_factor(account).and_then(|factor| Ok((factor, store.quota_use(account)?)));
            found.map_err(|error| problem::of_store("looking at an account", &error))
        })
        .await?;
        let factor = factor.filter(|factor| factor.confirmed.is_some());
        Ok(Self {
            account: login.account.name.clone(),
            role: login.account.role.into(),
            scope: login.scope().into(),
            means: match login.means {
                Means::Session(_) => LoginMeans::Session,
                Means::Password => LoginMeans::Password,
                Means::Token(_) => LoginMeans::Token,
            },
            has_second_factor: factor.is_some(),
            recovery_codes: factor.map_or(0, |factor| factor.recovery_codes),
            used_bytes: quota.used_bytes,
            quota_bytes: quota.quota_bytes,
            may_purge: trash::may_purge(service, login),
            max_file_bytes: service.home.settings.max_file_size,
        })
    }
}

/// Who is logged in.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    responses((status = 200, description = "Who", body = Me), ProblemBody)
)]
pub(crate) async fn me(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &Me::of(&service, &login).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    /// The one that holds now.
    #[schema(value_type = String)]
    present: Zeroizing<String>,
    /// 8 to 1024 bytes.
    #[schema(value_type = String)]
    new: Zeroizing<String>,
}

/// Sets another password. All sessions end, but that the browser that asks gets a new one.
#[utoipa::path(
    post,
    path = "/api/v1/me/password",
    request_body = PasswordBody,
    responses((status = 204, description = "Set"), (status = 200, description = "Set, with a new session", body = session::Session), ProblemBody)
)]
pub(crate) async fn set_password(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let PasswordBody { present, new } = body(&headers, said).await?;
    confirm(&service, &login, present).await?;
    let hash = login::hash_password(&service, new).await?;
    let changing = Arc::clone(&login);
    on_pool(&service, "setting a password", move |service| {
        let porter = Porter { home: &service.home, revoked: Some(&service.revoked), actor: changing.actor() };
        let set = porter.set_password(&changing.account, &hash);
        set.map_err(|error| problem::of_store("setting a password", &error))
    })
    .await?;
    renew(&service, caller, &login, &headers).await
}

/// After a change of what opens the account: a new session for the browser that asked.
pub(super) async fn renew(
    service: &Arc<Service>,
    caller: Caller,
    login: &Login,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    match login.means {
        Means::Session(_) => session::begin(service, caller, headers, login.account.clone(), false).await,
        Means::Password | Means::Token(_) => Ok(done()),
    }
}

/// Whether whoever is logged in knows the account's password: a browser that was left open is not enough.
///
/// # Errors
/// The answer when not.
pub(super) async fn confirm(service: &Arc<Service>, login: &Login, password: Zeroizing<String>) -> Result<(), Problem> {
    let name = &login.account.name;
    match login::by_password(service, login.address, name, password).await? {
        Some(_) => Ok(()),
        None => Err(problem::new(StatusCode::FORBIDDEN, "the account's password is another")),
    }
}
