//! `/api/v1/accounts`: what an administrator does about accounts.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use store::{Account, StoreError};
use utoipa::ToSchema;

use crate::args::AccountRole;
use crate::clock;
use crate::login::Login;
use crate::porter::{Porter, SetupLink};
use crate::rest::entries::Page;
use crate::rest::paging::PageQuery;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{done, json, on_pool, problem};
use crate::service::Service;

/// An account, to an administrator.
#[derive(Debug, Serialize, ToSchema)]
struct AccountEntry {
    account: String,
    role: AccountRole,
    /// Milliseconds since 1970.
    created_ms: u64,
    /// Since when nobody gets in by it.
    disabled_ms: Option<u64>,
    /// Whether somebody can log in with a password.
    has_password: bool,
    has_second_factor: bool,
    /// Devices that are not revoked.
    devices: u64,
    /// Bytes that its packs take on the disk: what counts against the quota.
    used_bytes: u64,
    /// Most bytes that they may take; none: as many as there are.
    quota_bytes: Option<u64>,
}

impl AccountEntry {
    fn of(service: &Service, account: Account) -> Result<Self, Problem> {
        let store = &service.home.store;
        let look = || {
            let password = store.password(&account.name)?;
            let devices = store.devices(account.id)?.iter().filter(|device| device.revoked.is_none()).count();
            Ok::<_, StoreError>((password, devices as u64, store.quota_use(account.id)?))
        };
        let (password, devices, quota) = look().map_err(failed)?;
        Ok(Self {
            role: account.role.into(),
            created_ms: clock::wire_ms(account.created),
            disabled_ms: account.disabled.map(clock::wire_ms),
            has_password: password.as_ref().is_some_and(|password| password.hash.is_some()),
            has_second_factor: password.is_some_and(|password| password.has_second_factor),
            devices,
            used_bytes: quota.used_bytes,
            quota_bytes: quota.quota_bytes,
            account: account.name,
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: StoreError) -> Problem {
    problem::of_store("looking after accounts", &error)
}

/// All accounts, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/accounts",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<AccountEntry>), ProblemBody)
)]
pub(crate) async fn list(State(service): State<Arc<Service>>, uri: Uri) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let page = on_pool(&service, "listing accounts", move |service| {
        let accounts = service.home.store.accounts().map_err(failed)?;
        let (accounts, next) = asked.cut(accounts, |account| account.name.clone())?;
        let entries = accounts.into_iter().map(|account| AccountEntry::of(service, account));
        Ok(Page { items: entries.collect::<Result<Vec<_>, _>>()?, next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddBody {
    /// 1 to 64 letters, digits or characters of `.`, `_`, `-`, `@`.
    account: String,
    role: AccountRole,
    quota_bytes: Option<u64>,
}

/// A link with which somebody sets an account up.
#[derive(Serialize, ToSchema)]
struct Link {
    account: String,
    /// Good once; whoever has it sets name and password.
    setup_link: String,
    /// After this it is void; milliseconds since 1970.
    expires_ms: u64,
}

impl Link {
    fn of(account: String, link: SetupLink) -> Self {
        let expires_ms = clock::wire_ms(link.expires);
        Self { account, setup_link: link.into_url(), expires_ms }
    }
}

/// Adds an account with a vault of its own. The link in the answer is for its owner.
#[utoipa::path(
    post,
    path = "/api/v1/accounts",
    request_body = AddBody,
    responses((status = 201, description = "For its owner", body = Link), ProblemBody)
)]
pub(crate) async fn add(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let AddBody { account: name, role, quota_bytes } = body(&headers, said).await?;
    let link = on_pool(&service, "adding an account", move |service| {
        let porter = porter(service, &login);
        let of_failure = |failure| problem::of_failure("adding an account", &failure);
        if service.home.store.account_by_name(&name).map_err(failed)?.is_some() {
            return Err(problem::new(StatusCode::CONFLICT, &format!("an account `{name}` exists already")));
        }
        porter.add_account(&name, role.into()).map_err(of_failure)?;
        let account = find(service, &name)?;
        if quota_bytes.is_some() {
            porter.set_quota(&account, quota_bytes).map_err(failed)?;
        }
        let link = porter.setup_link(&account, &service.listens).map_err(of_failure)?;
        Ok(Link::of(name, link))
    });
    Ok(json(StatusCode::CREATED, &link.await?))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct ChangeBody {
    role: Option<AccountRole>,
    /// While it is, nobody gets in by the account.
    is_disabled: Option<bool>,
    /// Most bytes that its packs may take; null: as many as there are.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    quota_bytes: Option<Option<u64>>,
}

/// What is said and null is not what is not said.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes what is said of an account, and nothing else.
#[utoipa::path(
    patch,
    path = "/api/v1/accounts/{name}",
    params(("name" = String, Path, description = "The account")),
    request_body = ChangeBody,
    responses((status = 200, description = "As it is now", body = AccountEntry), ProblemBody)
)]
pub(crate) async fn change(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let ChangeBody { role, is_disabled, quota_bytes } = body(&headers, said).await?;
    let entry = on_pool(&service, "changing an account", move |service| {
        let porter = porter(service, &login);
        let account = find(service, &name)?;
        if let Some(role) = role {
            porter.set_role(&account, role.into()).map_err(failed)?;
        }
        if let Some(is_disabled) = is_disabled {
            porter.set_disabled(&account, is_disabled).map_err(failed)?;
        }
        if let Some(quota_bytes) = quota_bytes {
            porter.set_quota(&account, quota_bytes).map_err(failed)?;
        }
        AccountEntry::of(service, find(service, &name)?)
    });
    Ok(json(StatusCode::OK, &entry.await?))
}

/// Makes a link with which the account's owner sets name and password anew.
#[utoipa::path(
    post,
    path = "/api/v1/accounts/{name}/setup-link",
    params(("name" = String, Path, description = "The account")),
    responses((status = 201, description = "For its owner", body = Link), ProblemBody)
)]
pub(crate) async fn make_setup_link(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let link = on_pool(&service, "making a set-up link", move |service| {
        let link = porter(service, &login).setup_link(&find(service, &name)?, &service.listens);
        link.map(|link| Link::of(name, link)).map_err(|failure| problem::of_failure("making a set-up link", &failure))
    });
    Ok(json(StatusCode::CREATED, &link.await?))
}

/// Takes the second factor of an account away, whose owner lost it.
#[utoipa::path(
    delete,
    path = "/api/v1/accounts/{name}/second-factor",
    params(("name" = String, Path, description = "The account")),
    responses((status = 204, description = "It has none now"), ProblemBody)
)]
pub(crate) async fn remove_second_factor(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    on_pool(&service, "removing a second factor", move |service| {
        porter(service, &login).remove_second_factor(&find(service, &name)?).map_err(failed)
    })
    .await?;
    Ok(done())
}

fn porter<'a>(service: &'a Service, login: &Login) -> Porter<'a> {
    Porter { home: &service.home, revoked: Some(&service.revoked), actor: login.actor() }
}

fn find(service: &Service, name: &str) -> Result<Account, Problem> {
    let found = service.home.store.account_by_name(name).map_err(failed)?;
    found.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "there is no such account"))
}
