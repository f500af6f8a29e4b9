//! `/api/v1/setup`: whoever has the link for an account sets its name and its password.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use object::hex;
use proto::Secret;
use serde::Deserialize;
use store::{ErrorKind, StoreError};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::audit::{Actor, Event};
use crate::clock;
use crate::home::check_account_name;
use crate::login::{self, Caller};
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{done, on_pool, problem};
use crate::service::Service;
use crate::vault_keys;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetUpBody {
    /// What the link has between `#` and the dot.
    #[schema(value_type = String)]
    secret: Zeroizing<String>,
    /// What the account is called from now on.
    account: String,
    /// 8 to 1024 bytes.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// Sets name and password of the account that a link is for. A link works once.
#[utoipa::path(
    post,
    path = "/api/v1/setup",
    request_body = SetUpBody,
    responses((status = 204, description = "Set; log in now"), ProblemBody),
    security(())
)]
pub(crate) async fn set_up(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let SetUpBody { secret, account: name, password } = body(&headers, said).await?;
    // Wrong links count by address: nobody keeps others from theirs.
    let guess = format!("set-up by {}", caller.address);
    login::check_back_off(&service, caller.address, &guess)?;
    check_account_name(&name).map_err(|failure| problem::of_failure("naming an account", &failure))?;
    let void = || {
        problem::new(
            StatusCode::FORBIDDEN,
            "this link was used, is too old, or another took its place; ask for a new one",
        )
    };
    let hash = hex::decode(&secret).map(|secret| service.home.keys.setup_hash(&Secret::new(secret)));
    let known = match hash {
        None => None,
        Some(hash) => {
            let look = move |service: &Service| {
                let found = service.home.store.setup_link(&hash, clock::now());
                found.map_err(|error| problem::of_store("looking for a set-up link", &error))
            };
            on_pool(&service, "looking for a set-up link", look).await?.map(|_| hash)
        }
    };
    let Some(hash) = known else {
        login::refused(&service, caller.address, &guess, "set-up link").await;
        return Err(void());
    };
    // Only now: hashing a password takes a good part of a second, and is not for everybody.
    let password_hash = login::hash_password(&service, password).await?;
    on_pool(&service, "setting an account up", move |service| {
        let store = &service.home.store;
        let set = store.redeem_setup_link(&hash, &name, &password_hash, clock::now());
        let account = set.map_err(|error: StoreError| match error.kind() {
            ErrorKind::NotFound => void(),
            _ => problem::of_store("setting an account up", &error),
        })?;
        // The copy of keys beside the catalog names accounts; it is made again at the next start, too.
        if let Err(failure) = vault_keys::keep(&service.home.keys_dir(), store) {
            tracing::warn!(report = failure.report(), "the copy of wrapped keys still has an account's old name");
        }
        service.revoked.add_account(account);
        Actor::known(&name, "set-up link", caller.address).note(store, Event::AccountSetUp, &name, "");
        Ok(())
    })
    .await?;
    Ok(done())
}
