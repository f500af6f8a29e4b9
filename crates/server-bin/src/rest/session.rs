//! `/api/v1/session` and `/api/v1/sessions`: browsers log in and out, and see which others are logged in.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use proto::Secret;
use serde::{Deserialize, Serialize};
use store::{Account, NewWebSession, StoreError, WebSession, WebSessionId};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::audit::Event;
use crate::clock;
use crate::keys::random;
use crate::live::{Activity, ActivityKind};
use crate::login::cookie::SessionCookie;
use crate::login::{self, Caller, Login, Means};
use crate::rest::account::Me;
use crate::rest::entries::Page;
use crate::rest::paging::PageQuery;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{done, json, on_pool, problem};
use crate::service::Service;

/// Longest name of a browser that is kept, in bytes.
const AGENT_LEN_MAX: usize = 200;

/// A browser's session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    /// Who is logged in; nobody, when there is no session.
    me: Option<Me>,
    /// What a page says as `X-CSRF-Token` with whatever changes something.
    csrf_token: Option<String>,
    /// When the browser has to log in again, whatever it does until then; milliseconds since 1970.
    ends_ms: Option<u64>,
}

impl Session {
    const NONE: Self = Self { me: None, csrf_token: None, ends_ms: None };
}

/// Whether this browser is logged in.
#[utoipa::path(
    get,
    path = "/api/v1/session",
    responses((status = 200, description = "The session, or that there is none", body = Session), ProblemBody),
    security(())
)]
pub(crate) async fn look(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(cookie) = SessionCookie::of(&headers, caller.is_tls) else {
        return Ok(json(StatusCode::OK, &Session::NONE));
    };
    let session = match login::by_cookie(&service, &cookie).await? {
        None => Session::NONE,
        Some(found) => {
            let means = Means::Session(found.id);
            let login = Login { account: found.account, means, address: caller.address };
            let ends_ms = clock::wire_ms(found.created) + lifetime_ms(&service);
            Session {
                me: Some(Me::of(&service, &login).await?),
                csrf_token: Some(cookie.csrf_token()),
                ends_ms: Some(ends_ms),
            }
        }
    };
    Ok(json(StatusCode::OK, &session))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogInBody {
    account: String,
    #[schema(value_type = String)]
    password: Zeroizing<String>,
    /// Of the second factor, or a recovery code; asked for by an answer of type `urn:delta-backup:code-wanted`.
    code: Option<String>,
}

/// Logs a browser in: the answer sets its cookie, a new one each time.
#[utoipa::path(
    post,
    path = "/api/v1/session",
    request_body = LogInBody,
    responses((status = 200, description = "Logged in", body = Session), ProblemBody),
    security(())
)]
pub(crate) async fn log_in(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let LogInBody { account: name, password, code } = body(&headers, said).await?;
    let wrong = |detail: &str| problem::new(StatusCode::UNAUTHORIZED, detail);
    let Some(found) = login::by_password(&service, caller.address, &name, password).await? else {
        service.metrics.authentications_refused.add(1);
        return Err(wrong("account or password are wrong"));
    };
    if found.has_second_factor {
        let Some(code) = code else {
            let detail = "the account has a second factor: say its code, too";
            return Err(problem::of_kind(login::CODE_WANTED, StatusCode::UNAUTHORIZED, detail));
        };
        if !login::is_right_code(&service, found.account.id, &code).await? {
            login::refused(&service, caller.address, &name, "code").await;
            service.metrics.authentications_refused.add(1);
            return Err(wrong("the code is wrong, or was used before"));
        }
    }
    service.back_off.succeeded(&name, caller.address);
    service.metrics.authentications_ok.add(1);
    begin(&service, caller, &headers, found.account, true).await
}

/// Begins a session in place of the one that the browser had.
pub(super) async fn begin(
    service: &Arc<Service>,
    caller: Caller,
    headers: &HeaderMap,
    account: Account,
    is_login: bool,
) -> Result<Response, Problem> {
    let drawing = |error| problem::internal("drawing a session's secret", &error);
    let cookie = SessionCookie { secret: Secret::new(random().map_err(drawing)?) };
    let id = WebSessionId::from_bytes(random().map_err(drawing)?);
    let login = Login { account, means: Means::Session(id), address: caller.address };
    let before = SessionCookie::of(headers, caller.is_tls);
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let agent: String = agent.chars().take(AGENT_LEN_MAX).collect();
    let keys = &service.home.keys;
    let secret_hash = keys.web_session_hash(&cookie.secret);
    let replaces = before.map(|before| keys.web_session_hash(&before.secret));
    let (account, address, actor) = (login.account_id(), caller.address.to_string(), login.actor());
    let name = login.account.name.clone();
    on_pool(service, "beginning a session", move |service| {
        let new = NewWebSession { id, secret_hash, account, address: &address, agent: &agent };
        let store = &service.home.store;
        let begun = store.create_web_session(&new, replaces.as_ref(), clock::now());
        begun.map_err(|error| problem::of_store("beginning a session", &error))?;
        if is_login {
            actor.note(store, Event::Login, &name, &agent);
            service
                .feed
                .push(Activity { account: Some((account, name)), ..Activity::of_server(ActivityKind::Login, address) });
        }
        Ok(())
    })
    .await?;
    let session = Session {
        me: Some(Me::of(service, &login).await?),
        csrf_token: Some(cookie.csrf_token()),
        ends_ms: Some(clock::now_ms() + lifetime_ms(service)),
    };
    let mut response = json(StatusCode::OK, &session);
    response.headers_mut().insert(header::SET_COOKIE, cookie.kept(is_secure(caller, headers)));
    Ok(response)
}

/// Whether the browser came by TLS: to this server, or to a proxy on this machine.
fn is_secure(caller: Caller, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    caller.is_tls || origin.is_some_and(|origin| origin.starts_with("https://"))
}

fn lifetime_ms(service: &Service) -> u64 {
    u64::try_from(service.home.settings.login_lifetime.as_millis()).unwrap_or(u64::MAX)
}

/// Logs this browser out.
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    responses((status = 204, description = "Logged out"), ProblemBody)
)]
pub(crate) async fn log_out(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Means::Session(id) = login.means else {
        return Err(problem::new(
            StatusCode::CONFLICT,
            "there is no session to end: this request brought its own login",
        ));
    };
    end_sessions(&service, &login, move |session| session.id == id).await?;
    let mut response = done();
    response.headers_mut().insert(header::SET_COOKIE, SessionCookie::forgotten(is_secure(caller, &headers)));
    Ok(response)
}

/// A browser that is logged in.
#[derive(Debug, Serialize, ToSchema)]
struct SessionEntry {
    id: String,
    /// Milliseconds since 1970.
    created_ms: u64,
    /// To the minute.
    last_seen_ms: u64,
    /// Where it was when it logged in.
    address: String,
    /// What it calls itself.
    agent: String,
    /// Whether it is the one that asks.
    is_this: bool,
}

/// Browsers that are logged in, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<SessionEntry>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let page = on_pool(&service, "listing sessions", move |service| {
        let settings = &service.home.settings;
        let sessions = service.home.store.web_sessions(login.account_id());
        let sessions = sessions.map_err(|error| problem::of_store("listing sessions", &error))?;
        let now = clock::now();
        let alive = |session: &WebSession| login::is_alive(session, now, settings.login_idle, settings.login_lifetime);
        let sessions = sessions.into_iter().filter(alive).collect();
        let (sessions, next) = asked.cut(sessions, |session: &WebSession| session.id.to_string())?;
        let entry = |session: WebSession| SessionEntry {
            is_this: login.means == Means::Session(session.id),
            id: session.id.to_string(),
            created_ms: clock::wire_ms(session.created),
            last_seen_ms: clock::wire_ms(session.last_seen),
            address: session.address,
            agent: session.agent,
        };
        Ok(Page { items: sessions.into_iter().map(entry).collect::<Vec<_>>(), next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// Ends all sessions but the one that asks.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions",
    responses((status = 204, description = "Ended"), ProblemBody)
)]
pub(crate) async fn end_others(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
) -> Result<Response, Problem> {
    let own = login.means;
    end_sessions(&service, &login, move |session| own != Means::Session(session.id)).await?;
    Ok(done())
}

/// Ends one session.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    params(("id" = String, Path, description = "As the list has it")),
    responses((status = 204, description = "Ended"), ProblemBody)
)]
pub(crate) async fn end(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id.parse::<WebSessionId>().ok();
    match end_sessions(&service, &login, move |session| id == Some(session.id)).await? {
        0 => Err(problem::new(StatusCode::NOT_FOUND, "there is no such session")),
        _ => Ok(done()),
    }
}

/// Ends those of one's own sessions that are meant; how many these were.
async fn end_sessions(
    service: &Arc<Service>,
    login: &Login,
    is_meant: impl Fn(&WebSession) -> bool + Send + 'static,
) -> Result<u64, Problem> {
    let (account, actor) = (login.account.clone(), login.actor());
    on_pool(service, "ending sessions", move |service| {
        let store = &service.home.store;
        let end_all = || {
            let mut ended = 0;
            for session in store.web_sessions(account.id)?.iter().filter(|session| is_meant(session)) {
                ended += store.end_web_sessions(account.id, Some(session.id))?;
            }
            Ok::<_, StoreError>(ended)
        };
        let ended = end_all().map_err(|error| problem::of_store("ending sessions", &error))?;
        if ended > 0 {
            actor.note(store, Event::SessionsEnded, &account.name, &ended.to_string());
        }
        Ok(ended)
    })
    .await
}
