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
use serde::{Deserialize, Serialize};
use store::{AccountId, Store, StoreError, WebSessionId};
use utoipa::ToSchema;

use crate::clock;
use crate::config::Settings;
use crate::drive::FileVersion;
use crate::keys::random;
use crate::login::{Login, Means, is_alive};
use crate::rest::content::{self, Presentation, media_type_of};
use crate::rest::parse::{body, path};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::Own;
use crate::rest::snapshots::browse::{file_in, tree_path};
use crate::rest::{json, on_pool, problem, version_at, with_drive};
use crate::service::Service;
use crate::vaults::OpenVault;

const LIFETIME: Duration = Duration::from_secs(60);
/// Most tickets of one account: the oldest goes.
const OWN_MAX: usize = 64;
/// And of all accounts.
const TICKETS_MAX: usize = 4096;

/// What opens something for whoever has it.
#[derive(Clone, Debug)]
struct Ticket<T> {
    account: AccountId,
    /// Of a browser: it is over when that is.
    session: Option<WebSessionId>,
    opens: T,
    expires: Instant,
}

/// A file that is given out.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    vault: Arc<OpenVault>,
    name: Vec<u8>,
    file: FileVersion,
}

/// The tickets that are good now, by the hash of their secrets.
#[derive(Debug)]
pub(crate) struct Tickets<T = Opened> {
    held: Mutex<HashMap<[u8; 32], Ticket<T>>>,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<T: Clone> Tickets<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Ticket<T>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a ticket; `false` when all accounts together have too many.
    fn add(&self, secret: &[u8; 16], ticket: Ticket<T>, now: Instant) -> bool {
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

    fn find(&self, secret: &[u8; 16], now: Instant) -> Option<Ticket<T>> {
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
    /// A snapshot that the file is in, by all 64 digits, in place of the drive.
    snapshot: Option<String>,
}

/// Where a version of a file can be read without a login.
#[derive(Debug, Serialize, ToSchema)]
struct TicketAnswer {
    /// Its address, good for a minute since it was made; asked for by a browser's session, since it was used last.
    href: String,
    /// As it is given out; what a browser could run is given out to be saved, as `application/octet-stream`.
    media_type: &'static str,
    /// In a snapshot: a number that its content alone has.
    version: u64,
    size: u64,
}

/// Makes a ticket for one version of a file, of the drive or in a snapshot.
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
    let TicketBody { path: said, version, snapshot } = body(&headers, said).await?;
    let (vault, name, file) = match snapshot {
        None => {
            let path = path(&said)?;
            let found = with_drive(&service, &login, move |service, drive| {
                let file = version_at(service, drive, &path, version)?;
                let name = path.name().map(|name| name.as_bytes().to_vec());
                Ok((Arc::clone(&drive.vault), name.unwrap_or_default(), file))
            });
            found.await?
        }
        Some(_) if version.is_some() => {
            let detail = "a file in a snapshot has one version: say either snapshot or version";
            return Err(problem::new(StatusCode::BAD_REQUEST, detail));
        }
        Some(id) => {
            let (path, login) = (tree_path(&said)?, Arc::clone(&login));
            let found = on_pool(&service, "looking for a file", move |service| {
                let own = Own::find(service, &login, &id)?;
                let file = file_in(service, &own, &path)?;
                Ok((own.vault, path.name().unwrap_or_default().to_vec(), file))
            });
            found.await?
        }
    };
    let secret: [u8; 16] = random().map_err(|error| problem::internal("making a ticket", &error))?;
    let session = match login.means {
        Means::Session(id) => Some(id),
        Means::Password | Means::Token(_) => None,
    };
    let answer = TicketAnswer {
        href: service.home.settings.base_path.of(&format!("/content/{}", hex::encode(&secret))),
        media_type: media_type_of(&name).unwrap_or(content::TO_BE_SAVED),
        version: file.version,
        size: file.size,
    };
    let now = Instant::now();
    let opens = Opened { vault, name, file };
    let ticket = Ticket { account: login.account_id(), session, opens, expires: now + LIFETIME };
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
    on_pool(&service, "reading a file", move |_| {
        let Opened { vault, name, file } = &ticket.opens;
        let presentation = media_type_of(name).map_or(Presentation::Saved, Presentation::Shown);
        content::answer_as(&answering, vault, (name, file), presentation, &headers)
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
    use super::*;

    fn ticket(account: i64, expires: Instant) -> Ticket<()> {
        Ticket { account: AccountId(account), session: None, opens: (), expires }
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
