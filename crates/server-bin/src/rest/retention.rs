//! What stays of each chain: policies, what they would do, and unusual changes that wait for somebody.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use object::ObjectId;
use serde::{Deserialize, Serialize};
use store::RetainedChain;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::audit::Event;
use crate::clock;
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::login::{Login, Means};
use crate::rest::account::confirm;
use crate::rest::chains::{chain_id, own_chain};
use crate::rest::parse::{Numeral, body};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem};
use crate::retention::Policy;
use crate::service::Service;

/// What is to stay. Rules add up: what one of them keeps, stays. Zero means that there is no such rule; without any,
/// everything stays.
#[derive(Debug, Serialize, ToSchema)]
struct Rules {
    /// So many of the newest.
    keep_last: u32,
    /// The newest of each of so many hours that have any.
    keep_hourly: u32,
    /// The same for days.
    keep_daily: u32,
    /// The same for weeks.
    keep_weekly: u32,
    /// The same for months.
    keep_monthly: u32,
    /// The same for years.
    keep_yearly: u32,
    /// All that are no older, in milliseconds.
    keep_within_ms: u64,
    /// Nothing younger ever goes, in milliseconds.
    min_age_ms: u64,
}

impl From<&Policy> for Rules {
    fn from(policy: &Policy) -> Self {
        let Policy { keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, .. } = *policy;
        let Policy { keep_within_ms, min_age_ms, .. } = *policy;
        Self { keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, keep_within_ms, min_age_ms }
    }
}

/// What is to stay, as somebody wishes it: a rule that is left out is none, and without `min_age_ms` it is 14 days.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct RulesBody {
    keep_last: u32,
    keep_hourly: u32,
    keep_daily: u32,
    keep_weekly: u32,
    keep_monthly: u32,
    keep_yearly: u32,
    keep_within_ms: u64,
    min_age_ms: Option<u64>,
}

impl From<RulesBody> for Policy {
    fn from(rules: RulesBody) -> Self {
        let RulesBody {
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
            keep_within_ms,
            ..
        } = rules;
        let min_age_ms = rules.min_age_ms.unwrap_or(Self::default().min_age_ms);
        Self { keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, keep_within_ms, min_age_ms }
    }
}

/// What stays of a chain, or of all that have no rules of their own.
#[derive(Debug, Serialize, ToSchema)]
struct Retention {
    rules: Rules,
    /// Whether they are the chain's own, not those for all.
    is_own: bool,
    /// The same in words.
    text: String,
}

impl Retention {
    fn new(policy: &Policy, is_own: bool) -> Self {
        Self { rules: policy.into(), is_own, text: policy.to_string() }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionBody {
    /// None: what holds for all.
    rules: Option<RulesBody>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetRetentionBody {
    /// None: what holds for all.
    rules: Option<RulesBody>,
    /// The account's, again: asked of browsers, where a session alone is not enough.
    #[schema(value_type = Option<String>)]
    password: Option<Zeroizing<String>>,
}

/// Makes sure of who sets rules: by rules that keep less, everything older goes. Scripts and commands show what they know with
/// every request.
async fn confirm_person(
    service: &Arc<Service>,
    login: &Login,
    password: Option<Zeroizing<String>>,
) -> Result<(), Problem> {
    match (login.means, password) {
        (_, Some(password)) => confirm(service, login, password).await,
        (Means::Session(_), None) => {
            Err(problem::new(StatusCode::FORBIDDEN, "say the account's password again to set retention"))
        }
        (Means::Password | Means::Token(_), None) => Ok(()),
    }
}

/// What would become of a chain's snapshots.
#[derive(Debug, Serialize, ToSchema)]
struct Simulation {
    /// Newest first.
    items: Vec<Verdict>,
    stays: u64,
    goes: u64,
    /// Whether so many go that a run waits for an administrator.
    is_unusual: bool,
}

/// What would become of a snapshot.
#[derive(Debug, Serialize, ToSchema)]
struct Verdict {
    snapshot: String,
    /// Milliseconds since 1970.
    received_ms: u64,
    stays: bool,
    /// Why it stays, for people; empty when nothing keeps it.
    reasons: Vec<String>,
}

fn broken(failure: &Failure) -> Problem {
    problem::of_failure("looking after retention", failure)
}

/// One of the account's own chains, as retention has it.
fn retained(service: &Service, login: &Login, id: &str) -> Result<RetainedChain, Problem> {
    let own = own_chain(service, login, chain_id(id)?)?;
    let all = service.home.store.retained_chains();
    let all = all.map_err(|error| problem::of_store("listing chains", &error))?;
    let found = all.into_iter().find(|chain| chain.id == own.chain.id);
    found.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "there is no such chain"))
}

/// Keeps a policy, and notes who set it.
fn keep(service: &Service, login: &Login, chain: Option<&RetainedChain>, new: Option<&Policy>) -> Result<(), Problem> {
    let keeper = Keeper::new(&service.home.store);
    let default = keeper.default_policy().map_err(|failure| broken(&failure))?;
    let before = match chain {
        // One that cannot be read is replaced like any other.
        Some(chain) => keeper.policy(chain).unwrap_or_default(),
        None => default.clone(),
    };
    let after = new.unwrap_or(&default);
    let less = if after.keeps_less_than(&before) { "; keeps less than before" } else { "" };
    let text = new.map(Policy::to_text);
    let kept = service.home.store.set_policy(chain.map(|chain| chain.id), text.as_deref());
    kept.map_err(|error| problem::of_store("keeping a policy", &error))?;
    let subject = chain.map_or_else(|| "default".to_owned(), |chain| format!("{}/{}", chain.device_name, chain.name));
    let detail = new.map_or_else(|| "as all others".to_owned(), ToString::to_string);
    login.actor().note(&service.home.store, Event::PolicySet, &subject, &format!("{detail}{less}"));
    Ok(())
}

/// What stays of chains that have no rules of their own.
#[utoipa::path(
    get,
    path = "/api/v1/retention",
    responses((status = 200, description = "The rules", body = Retention), ProblemBody)
)]
pub(crate) async fn look_at_default(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let found = on_pool(&service, "looking after retention", |service| {
        let policy = Keeper::new(&service.home.store).default_policy().map_err(|failure| broken(&failure))?;
        Ok(Retention::new(&policy, true))
    });
    Ok(json(StatusCode::OK, &found.await?))
}

/// Sets what stays of chains, of all accounts, that have no rules of their own.
#[utoipa::path(
    put,
    path = "/api/v1/retention",
    request_body = SetRetentionBody,
    responses((status = 200, description = "The rules now", body = Retention), ProblemBody)
)]
pub(crate) async fn set_default(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let SetRetentionBody { rules, password } = body(&headers, said).await?;
    confirm_person(&service, &login, password).await?;
    let set = on_pool(&service, "setting retention", move |service| {
        let policy = rules.map_or_else(Policy::default, Policy::from);
        keep(service, &login, None, Some(&policy))?;
        Ok(Retention::new(&policy, true))
    });
    Ok(json(StatusCode::OK, &set.await?))
}

/// What stays of a chain.
#[utoipa::path(
    get,
    path = "/api/v1/chains/{id}/retention",
    params(("id" = Numeral, Path, description = "As the list has it")),
    responses((status = 200, description = "The rules", body = Retention), ProblemBody)
)]
pub(crate) async fn look(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let found = on_pool(&service, "looking after retention", move |service| show(service, &login, &id));
    Ok(json(StatusCode::OK, &found.await?))
}

fn show(service: &Service, login: &Login, id: &str) -> Result<Retention, Problem> {
    let chain = retained(service, login, id)?;
    let policy = Keeper::new(&service.home.store).policy(&chain).map_err(|failure| broken(&failure))?;
    Ok(Retention::new(&policy, chain.policy.is_some()))
}

/// Sets what stays of a chain.
#[utoipa::path(
    put,
    path = "/api/v1/chains/{id}/retention",
    params(("id" = Numeral, Path, description = "As the list has it")),
    request_body = SetRetentionBody,
    responses((status = 200, description = "The rules now", body = Retention), ProblemBody)
)]
pub(crate) async fn set(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let SetRetentionBody { rules, password } = body(&headers, said).await?;
    confirm_person(&service, &login, password).await?;
    let set = on_pool(&service, "setting retention", move |service| {
        let chain = retained(service, &login, &id)?;
        keep(service, &login, Some(&chain), rules.map(Policy::from).as_ref())?;
        show(service, &login, &id)
    });
    Ok(json(StatusCode::OK, &set.await?))
}

/// Says of each snapshot of a chain whether it would stay by these rules, and why. Nothing is changed.
#[utoipa::path(
    post,
    path = "/api/v1/chains/{id}/retention/simulate",
    params(("id" = Numeral, Path, description = "As the list has it")),
    request_body = RetentionBody,
    responses((status = 200, description = "What would become of them", body = Simulation), ProblemBody)
)]
pub(crate) async fn simulate(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let RetentionBody { rules } = body(&headers, said).await?;
    let simulated = on_pool(&service, "simulating retention", move |service| {
        let chain = retained(service, &login, &id)?;
        let policy = rules.map(Policy::from);
        let keeper = Keeper::new(&service.home.store);
        let judged = keeper.judge(&chain, policy.as_ref(), clock::now()).map_err(|failure| broken(&failure))?;
        let goes = judged.going().len() as u64;
        let verdicts = judged.snapshots.iter().rev().map(|(snapshot, verdict)| Verdict {
            snapshot: snapshot.id.to_string(),
            received_ms: clock::wire_ms(snapshot.received),
            stays: verdict.stays(),
            reasons: verdict.reasons.iter().map(ToString::to_string).collect(),
        });
        let items: Vec<Verdict> = verdicts.collect();
        Ok(Simulation { stays: items.len() as u64 - goes, goes, is_unusual: judged.is_unusual(), items })
    });
    Ok(json(StatusCode::OK, &simulated.await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    /// The snapshot that the alarm names: one that was raised since stays.
    snapshot: String,
}

/// Says that an unusual change was meant: retention goes on in the chain.
#[utoipa::path(
    post,
    path = "/api/v1/chains/{id}/confirm-change",
    params(("id" = Numeral, Path, description = "As the list has it")),
    request_body = ConfirmBody,
    responses((status = 204, description = "Retention goes on"), ProblemBody)
)]
pub(crate) async fn confirm_change(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let ConfirmBody { snapshot } = body(&headers, said).await?;
    on_pool(&service, "confirming a change", move |service| {
        let chain = retained(service, &login, &id)?;
        let none = || problem::new(StatusCode::CONFLICT, "no such change waits to be confirmed");
        let snapshot: ObjectId = snapshot.parse().map_err(|_| none())?;
        let confirmed = service.home.store.confirm_change(chain.id, &snapshot);
        if !confirmed.map_err(|error| problem::of_store("confirming a change", &error))? {
            return Err(none());
        }
        let subject = format!("{}/{}", chain.device_name, chain.name);
        let detail = format!("snapshot {}", snapshot.short());
        login.actor().note(&service.home.store, Event::ChangeConfirmed, &subject, &detail);
        Ok(())
    })
    .await?;
    Ok(super::done())
}
