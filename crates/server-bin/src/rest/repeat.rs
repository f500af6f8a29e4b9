//! Requests that are made again under the same `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): what they did
//! is done once, and the answer is the same for as long as answers are kept.
//!
//! Changes of drives and snapshots remember their keys in the transaction that makes them. What is here is for the other
//! requests that change something: their answers are kept beside, sealed with what the catalog does not know, as some tell a
//! secret that is told nowhere else. A request that was begun and not answered, because the server died, is not tried
//! again: nobody knows whether it was done.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use store::{AccountId, Asked, IdempotencyKey};

use crate::access::Action;
use crate::clock;
use crate::keys::random;
use crate::login::Login;
use crate::rest::on_pool;
use crate::rest::parse::{BODY_LEN_MAX, ChangeKey, too_long};
use crate::rest::problem::{self, Problem};
use crate::service::Service;

/// Longest answer that is kept.
const ANSWER_LEN_MAX: usize = 1 << 20;
/// What is kept of an answer's headers.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];
/// What tells programs that asking again does not help.
const UNKNOWN_OUTCOME: &str = "urn:delta-backup:unknown-outcome";

/// Whether what wants this changes something, and does not remember its key by itself.
pub(crate) fn is_kept(action: Action) -> bool {
    match action {
        Action::KeepLogins | Action::Admit | Action::Share | Action::Administer | Action::Purge => true,
        Action::Connect
        | Action::LogIn
        | Action::SeeSelf
        | Action::SeeLogins
        | Action::Oversee
        | Action::See
        | Action::Measure(_)
        | Action::Open
        | Action::Add
        | Action::Read
        | Action::Change
        | Action::Keep
        | Action::TakeAway
        | Action::Report => false,
    }
}

/// Requests under a key that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    now: Mutex<HashSet<(AccountId, IdempotencyKey)>>,
}

impl Answering {
    fn enter(&self, whose: (AccountId, IdempotencyKey)) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).insert(whose)
    }

    fn leave(&self, whose: (AccountId, IdempotencyKey)) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).remove(&whose);
    }
}

/// Lets one request at a time be answered.
struct Turn {
    service: Arc<Service>,
    whose: (AccountId, IdempotencyKey),
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.service.answering.leave(self.whose);
    }
}

/// Answers a request of somebody who has logged in: once, if it says a key.
pub(crate) async fn once(service: Arc<Service>, login: &Login, request: Request, next: Next) -> Response {
    answer(service, login, request, next).await.unwrap_or_else(Problem::into_response)
}

async fn answer(service: Arc<Service>, login: &Login, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(said) = ChangeKey::said(request.headers())? else { return Ok(next.run(request).await) };
    let (account, key) = (login.account_id(), IdempotencyKey::from_bytes(*ChangeKey::named(said).key.as_bytes()));
    let seal = Seal { key: service.home.keys.answer_key(account, said) };
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LEN_MAX).await.map_err(|_| too_long())?;
    let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 request under a key");
    for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), &body] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    // Bodies hold passwords: their hashes are no better to guess by than the answer is to open.
    let hash = *blake3::keyed_hash(&seal.key, hasher.finalize().as_bytes()).as_bytes();
    let whose = (account, key);
    if !service.answering.enter(whose) {
        let detail = "this very request is being answered";
        return Err(problem::retry(StatusCode::CONFLICT, detail, Duration::from_secs(1)));
    }
    let turn = Turn { service: Arc::clone(&service), whose };
    let asked = on_pool(&service, "looking for an answer", move |service| {
        let asked = service.home.store.begin_request(account, key, &hash, clock::now());
        asked.map_err(|error| problem::of_store("looking for an answer", &error))
    });
    match asked.await? {
        Asked::First => {}
        Asked::Answered(sealed) => return seal.open(&sealed).and_then(Answer::into_response).ok_or_else(lost),
        Asked::Begun => return Err(lost()),
    }
    let request = Request::from_parts(parts, Body::from(body));
    // Whoever asked may be gone before it is done: then the answer is there for when they ask again.
    let working = async move {
        let answered = keep(&turn, &seal, next.run(request).await).await;
        drop(turn);
        answered
    };
    let done = tokio::spawn(service.tasks.track_future(working)).await;
    done.unwrap_or_else(|error| Err(problem::internal("answering a request", &error)))
}

/// Remembers an answer; one that says that nothing was done is forgotten.
async fn keep(turn: &Turn, seal: &Seal, response: Response) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let failed = |error: &axum::Error| problem::internal("keeping an answer", error);
    let body = axum::body::to_bytes(body, ANSWER_LEN_MAX).await.map_err(|error| failed(&error))?;
    let sealed = match parts.status.is_success() {
        true => {
            let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
            let headers = KEPT.iter().map(|name| parts.headers.get(name).and_then(text)).collect();
            let answer = Answer { status: parts.status.as_u16(), headers, body: body.to_vec() };
            Some(seal.close(&answer)?)
        }
        false => None,
    };
    let (account, key) = turn.whose;
    on_pool(&turn.service, "keeping an answer", move |service| {
        let kept = match sealed {
            Some(sealed) => service.home.store.answer_request(account, key, &sealed),
            None => service.home.store.forget_request(account, key),
        };
        kept.map_err(|error| problem::of_store("keeping an answer", &error))
    })
    .await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn lost() -> Problem {
    let detail = "this request was begun before, and the server ended before it was answered: look whether it was done, and \
                  ask under another key if not";
    problem::of_kind(UNKNOWN_OUTCOME, StatusCode::CONFLICT, detail)
}

/// What is kept of an answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    status: u16,
    /// In the order of [`KEPT`].
    headers: Vec<Option<String>>,
    body: Vec<u8>,
}

impl Answer {
    fn into_response(self) -> Option<Response> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).ok()?;
        for (name, value) in KEPT.into_iter().zip(self.headers) {
            if let Some(value) = value {
                response.headers_mut().insert(name, HeaderValue::from_str(&value).ok()?);
            }
        }
        Some(response)
    }
}

/// Opens an answer for who says the key, and nobody else.
struct Seal {
    key: zeroize::Zeroizing<[u8; 32]>,
}

impl Seal {
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.key[..]).expect("the key has 32 bytes"))
    }

    fn close(&self, answer: &Answer) -> Result<Vec<u8>, Problem> {
        let nonce: [u8; NONCE_LEN] = random().map_err(|error| problem::internal("drawing a nonce", &error))?;
        let mut bytes = serde_json::to_vec(answer).expect("a plain structure");
        let sealed =
            self.cipher().seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes);
        sealed.map_err(|error| problem::internal("sealing an answer", &error))?;
        Ok([&nonce[..], &bytes].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Answer> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = rest.to_vec();
        let plain = self.cipher().open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut bytes);
        serde_json::from_slice(plain.ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_open_with_their_key_alone() {
        let seal = |byte| Seal { key: zeroize::Zeroizing::new([byte; 32]) };
        let answer = Answer { status: 201, headers: vec![Some("text/plain".to_owned()), None, None], body: vec![7] };
        let sealed = seal(1).close(&answer).unwrap_or_else(|_| panic!());
        assert_eq!(seal(1).open(&sealed), Some(answer));
        assert_eq!(seal(2).open(&sealed), None);
        for len in 0..sealed.len() {
            assert_eq!(seal(1).open(&sealed[..len]), None);
        }
    }
}
