//! `/api/v1/tokens`: what scripts log in with.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::{ApiToken, TokenId};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::args::TokenScope;
use crate::clock;
use crate::login::Login;
use crate::porter::Porter;
use crate::rest::account::confirm;
use crate::rest::entries::Page;
use crate::rest::paging::PageQuery;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{done, json, on_pool, problem};
use crate::service::Service;

/// What a script logs in with.
#[derive(Serialize, ToSchema)]
struct Token {
    id: String,
    /// What it is for.
    name: String,
    scope: TokenScope,
    /// Milliseconds since 1970.
    created_ms: u64,
    /// After this it is void.
    expires_ms: Option<u64>,
    /// To the hour.
    last_used_ms: Option<u64>,
    /// Since when it is void.
    revoked_ms: Option<u64>,
    /// Brought back by an older catalog, and void until an administrator confirms it.
    is_suspended: bool,
    /// What to log in with; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

impl From<ApiToken> for Token {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name,
            scope: token.scope.into(),
            created_ms: clock::wire_ms(token.created),
            expires_ms: token.expires.map(clock::wire_ms),
            last_used_ms: token.last_used.map(clock::wire_ms),
            revoked_ms: token.revoked.map(clock::wire_ms),
            is_suspended: token.is_suspended && token.revoked.is_none(),
            secret: None,
        }
    }
}

/// The account's tokens, oldest first, void ones included.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<Token>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let page = on_pool(&service, "listing tokens", move |service| {
        let tokens = service.home.store.tokens(login.account_id());
        let tokens = tokens.map_err(|error| problem::of_store("listing tokens", &error))?;
        let (tokens, next) = asked.cut(tokens, |token| token.id.to_string())?;
        Ok(Page { items: tokens.into_iter().map(Token::from).collect::<Vec<_>>(), next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    /// What it is for: 1 to 64 bytes.
    name: String,
    scope: TokenScope,
    /// After so many milliseconds it is void; none: never.
    expires_in_ms: Option<u64>,
    /// The account's, again.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// Makes a token. What to log in with is in the answer, and nowhere else.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    request_body = TokenBody,
    responses((status = 201, description = "The token", body = Token), ProblemBody)
)]
pub(crate) async fn make(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let TokenBody { name, scope, expires_in_ms, password } = body(&headers, said).await?;
    confirm(&service, &login, password).await?;
    let token = on_pool(&service, "making a token", move |service| {
        let porter = Porter { home: &service.home, revoked: Some(&service.revoked), actor: login.actor() };
        let made = porter.add_token(&login.account, &name, scope.into(), expires_in_ms);
        let secret = made.map_err(|failure| problem::of_failure("making a token", &failure))?;
        let token = service.home.store.token(secret.id);
        let token = token.map_err(|error| problem::of_store("making a token", &error))?;
        let token = token.ok_or_else(missing)?;
        Ok(Token { secret: Some(secret.text()), ..token.into() })
    });
    Ok(json(StatusCode::CREATED, &token.await?))
}

/// Voids a token for ever.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    params(("id" = String, Path, description = "As the list has it")),
    responses((status = 204, description = "Void"), ProblemBody)
)]
pub(crate) async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    on_pool(&service, "revoking a token", move |service| {
        let failed = |error| problem::of_store("revoking a token", &error);
        let id: TokenId = id.parse().map_err(|_| missing())?;
        let token = service.home.store.token(id).map_err(failed)?;
        // Another's is as good as none.
        token.filter(|token| token.account.id == login.account_id()).ok_or_else(missing)?;
        let porter = Porter { home: &service.home, revoked: Some(&service.revoked), actor: login.actor() };
        porter.revoke_token(&login.account.name, id).map_err(failed)
    })
    .await?;
    Ok(done())
}

fn missing() -> Problem {
    problem::new(StatusCode::NOT_FOUND, "there is no such token")
}
