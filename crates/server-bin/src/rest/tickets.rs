//! `/api/v1/tickets` and `/content/TICKET`: one version of a file for the pictures, players and readers of a page.
//!
//! Whoever has the ticket reads that version and nothing else, for a minute; a ticket that is used is good for another one
//! while the session that asked for it lasts (decision 42). No cookie and no password is looked at there. What a browser
//! could run is only ever given out to be saved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use object::hex;
use proto::DrivePath;
use serde::{Deserialize, Serialize};
use store::{AccountId, Store, StoreError, WebSessionId};
use utoipa::ToSchema;

use crate::clock;
use crate::config::Settings;
use crate::drive::FileVersion;
use crate::keys::random;
use crate::login::{Login, Means, is_alive};
use crate::rest::content::{self, Presentation, media_type};
use crate::rest::parse::{body, path};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem, version_at, with_drive, with_drive_of};
use crate::service::Service;

const LIFETIME: Duration = Duration::from_secs(60);
/// Most tickets of one account: the oldest goes.
const OWN_MAX: usize = 64;
/// And of all accounts.
const TICKETS_MAX: usize = 4096;

/// What is given out to whoever has the ticket.
#[derive(Clone, Debug)]
struct Ticket {
    account: AccountId,
    /// Of a browser: it is over when that is.
    session: Option<WebSessionId>,
    path: DrivePath,
    file: FileVersion,
    expires: Instant,
}

/// The tickets that are good now, by the hash of their secrets.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    held: Mutex<HashMap<[u8; 32], Ticket>>,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Ticket>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a ticket; `false` when all accounts together have too many.
    fn add(&self, secret: &[u8; 16], ticket: Ticket, now: Instant) -> bool {
        let mut held = self.lock();
        held.retain(|_, other| other.expires > now);
        let own = held.iter().filter(|(_, other)| other.account == ticket.account);
        if own.clone().count() >= OWN_MAX
            && let Some(oldest) = own.min_by_key(|(_, other)| other.expires).map(|(hash, _)| *hash)
        {
            held.remove(&oldest);
        }
        let has_room = held.len() < TICKETS_MAX;
        if has_room {
            held.insert(hash(secret), ticket);
        }
        has_room
    }

    fn find(&self, secret: &[u8; 16], now: Instant) -> Option<Ticket> {
        self.lock().get(&hash(secret)).filter(|ticket| ticket.expires > now).cloned()
    }

    /// Gives a ticket that is used another minute.
    fn renew(&self, secret: &[u8; 16], now: Instant) {
        if let Some(ticket) = self.lock().get_mut(&hash(secret)) {
            ticket.expires = now + LIFETIME;
        }
    }
}

fn hash(secret: &[u8; 16]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TicketBody {
    /// A file, as in an entry's `path`.
    path: String,
    /// An old version; the newest where none is said.
    version: Option<u64>,
}

/// Where a version of a file can be read without a login.
#[derive(Debug, Serialize, ToSchema)]
struct TicketAnswer {
    /// Its address, good for a minute since it was made; asked for by a browser's session, since it was used last.
    href: String,
    /// As it is given out; what a browser could run is given out to be saved, as `application/octet-stream`.
    media_type: &'static str,
    version: u64,
    size: u64,
}

/// Makes a ticket for one version of a file.
#[utoipa::path(
    post,
    path = "/api/v1/tickets",
    request_body = TicketBody,
    responses((status = 201, description = "The ticket", body = TicketAnswer), ProblemBody)
)]
pub(crate) async fn make(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let TicketBody { path: said, version } = body(&headers, said).await?;
    let path = path(&said)?;
    let looked = path.clone();
    let file = with_drive(&service, &login, move |service, drive| version_at(service, drive, &looked, version)).await?;
    let secret: [u8; 16] = random().map_err(|error| problem::internal("making a ticket", &error))?;
    let session = match login.means {
        Means::Session(id) => Some(id),
        Means::Password | Means::Token(_) => None,
    };
    let answer = TicketAnswer {
        href: service.home.settings.base_path.of(&format!("/content/{}", hex::encode(&secret))),
        media_type: media_type(&path).unwrap_or(content::TO_BE_SAVED),
        version: file.version,
        size: file.size,
    };
    let now = Instant::now();
    let ticket = Ticket { account: login.account_id(), session, path, file, expires: now + LIFETIME };
    if !service.tickets.add(&secret, ticket, now) {
        let detail = "too many files are being looked at";
        return Err(problem::retry(StatusCode::SERVICE_UNAVAILABLE, detail, LIFETIME));
    }
    Ok(json(StatusCode::CREATED, &answer))
}

/// A version of a file, for whoever has its ticket.
pub(crate) async fn content(
    State(service): State<Arc<Service>>,
    Path(said): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || problem::new(StatusCode::NOT_FOUND, "there is nothing at this address");
    let secret: [u8; 16] = hex::decode(&said).ok_or_else(missing)?;
    let ticket = service.tickets.find(&secret, Instant::now()).ok_or_else(missing)?;
    let (account, session) = (ticket.account, ticket.session);
    let is_welcome = on_pool(&service, "looking at a ticket", move |service| {
        let welcome = is_welcome(&service.home.store, &service.home.settings, account, session);
        welcome.map_err(|error| problem::of_store("looking at a ticket", &error))
    });
    if !is_welcome.await? {
        return Err(missing());
    }
    if session.is_some() {
        service.tickets.renew(&secret, Instant::now());
    }
    let answering = Arc::clone(&service);
    with_drive_of(&service, account, move |_, drive| {
        let presentation = media_type(&ticket.path).map_or(Presentation::Saved, Presentation::Shown);
        content::answer(&answering, drive, (&ticket.path, &ticket.file), presentation, &headers)
    })
    .await
}

/// Whether who asked for a ticket is still known.
fn is_welcome(
    store: &Store,
    settings: &Settings,
    account: AccountId,
    session: Option<WebSessionId>,
) -> Result<bool, StoreError> {
    let now = clock::now();
    let is_open = store.account(account)?.is_some_and(|account| account.disabled.is_none());
    let Some(session) = session.filter(|_| is_open) else { return Ok(is_open) };
    let found = store.web_sessions(account)?.into_iter().find(|other| other.id == session);
    Ok(found.is_some_and(|session| is_alive(&session, now, settings.login_idle, settings.login_lifetime)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::{DriveContent, Timestamp};

    use super::*;

    fn ticket(account: i64, expires: Instant) -> Ticket {
        let file = FileVersion {
            version: 1,
            content: DriveContent::Empty,
            size: 0,
            mtime: Timestamp::new(0, 0).unwrap(),
            mode: 0,
            sha256: None,
            received_ms: 0,
        };
        let path = DrivePath::new(Bytes::from_static(b"a")).unwrap();
        Ticket { account: AccountId(account), session: None, path, file, expires }
    }

    #[test]
    fn a_ticket_is_good_for_a_minute_after_it_was_made_or_renewed() {
        let tickets = Tickets::default();
        let now = Instant::now();
        assert!(tickets.add(&[1; 16], ticket(1, now + LIFETIME), now));
        let almost = now + LIFETIME - Duration::from_millis(1);
        assert!(tickets.find(&[1; 16], almost).is_some());
        assert!(tickets.find(&[2; 16], now).is_none() && tickets.find(&[1; 16], now + LIFETIME).is_none());
        tickets.renew(&[1; 16], almost);
        assert!(tickets.find(&[1; 16], now + LIFETIME).is_some());
        assert!(tickets.find(&[1; 16], almost + LIFETIME).is_none());
    }

    #[test]
    fn an_account_that_wants_too_many_loses_its_own_oldest() {
        let tickets = Tickets::default();
        let now = Instant::now();
        assert!(tickets.add(&[0xff; 16], ticket(2, now + LIFETIME), now));
        for number in 0..=u8::try_from(OWN_MAX).unwrap() {
            let expires = now + LIFETIME + Duration::from_millis(number.into());
            assert!(tickets.add(&[number; 16], ticket(1, expires), now));
        }
        assert!(tickets.find(&[0; 16], now).is_none());
        assert!(tickets.find(&[1; 16], now).is_some() && tickets.find(&[0xff; 16], now).is_some());
        // What is over makes room.
        let later = now + 3 * LIFETIME;
        assert!(tickets.add(&[7; 16], ticket(1, later + LIFETIME), later));
        assert_eq!(tickets.lock().len(), 1);
    }
}
