//! `/api/v1/events`: what goes on, as it does, in the form of Server-Sent Events.
//!
//! A listener is a place in the feed and what it was told last. What comes next is made when the connection takes more, so
//! the slowest reader has no queue; one that is too late is told that it missed something, and asks for the rest elsewhere.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::clock;
use crate::live::{Shown, Viewer};
use crate::login::{self, Caller, Login};
use crate::rest::parse::query;
use crate::rest::problem::{self, Problem, ProblemBody};
use crate::service::{Ended, Service};
use crate::slots::AccountSlot;

/// Time between two looks at what moves.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// After so much silence something is said, so that nobody in between thinks that the connection is dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A login that ended is noticed in this time, however it ended.
const LOGIN_INTERVAL: Duration = Duration::from_secs(5);
/// What browsers wait before they come back, in milliseconds.
const RETRY_MS: u64 = 2000;
const NEWS_AT_ONCE: usize = 64;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// As `Last-Event-ID`, for pages that open the stream anew.
    after: Option<String>,
}

/// The event `hello`, the first: which life of the server this is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Hello {
    /// Another after each start of the server. Ids are this, a hyphen, and a number.
    epoch: String,
    /// The newest number; what is newer comes from here.
    number: u64,
    /// Whether something happened since the id that was said, and is not told: look at `/api/v1/activity`.
    has_missed: bool,
}

/// The event `now`: sent when anything of it changes, at most twice a second.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Now {
    /// Those that go on, the oldest first; at most 100.
    transfers: Vec<Shown>,
    /// How many more there are.
    hidden_count: usize,
    /// Ids of devices that are connected.
    connected_devices: Vec<String>,
}

/// What goes on, as it does. `hello` comes first; `now` when something moves; `activity`, with an id, is an item of
/// `/api/v1/activity`; `missed` says that some of these are not told. Ends with the login.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The last id that was seen: goes on after it"),
    ),
    responses((status = 200, description = "Events, until one side ends it", content_type = "text/event-stream", body = Now),
        ProblemBody)
)]
pub(crate) async fn listen(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let EventsQuery { after } = query(&uri)?;
    let said = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let after = said.map(str::to_owned).or(after);
    // Taken before the login is looked at again, so that no revocation is missed.
    let revoked = service.revoked.watch();
    let slot = service.listeners.take(login.account_id(), &service.metrics.listeners).ok_or_else(|| {
        let detail = "too many of this account listen already: close a window";
        problem::retry(StatusCode::SERVICE_UNAVAILABLE, detail, Duration::from_secs(10))
    })?;
    let listener = Listener::new(Asker { service, caller, login, headers }, after.as_deref(), revoked, slot);
    let events = stream::unfold(listener, |mut listener| async move {
        let next = listener.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(next)), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Or nginx keeps what is small until it is a lot.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((StatusCode::OK, headers, Body::from_stream(events)).into_response())
}

/// Who listens.
struct Asker {
    service: Arc<Service>,
    caller: Caller,
    login: Arc<Login>,
    /// With what they logged in.
    headers: HeaderMap,
}

struct Listener {
    asker: Asker,
    viewer: Viewer,
    hello: Option<Hello>,
    /// The last number that was told.
    number: u64,
    news: watch::Receiver<u64>,
    revoked: watch::Receiver<Ended>,
    told: Option<Now>,
    look_at: Instant,
    login_at: Instant,
    heartbeat_at: Instant,
    _slot: AccountSlot,
}

impl Listener {
    fn new(asker: Asker, after: Option<&str>, revoked: watch::Receiver<Ended>, slot: AccountSlot) -> Self {
        let viewer = Viewer::new(&asker.login);
        let feed = &asker.service.feed;
        let news = feed.watch();
        let newest = feed.last_number(viewer);
        let seen = after.map(|after| {
            let (epoch, number) = after.split_once('-')?;
            (epoch == feed.epoch()).then(|| number.parse().ok()).flatten()
        });
        // Ids of another life mean nothing here.
        let has_missed = seen == Some(None);
        let number = seen.flatten().unwrap_or(newest);
        let hello = Hello { epoch: feed.epoch().to_owned(), number: newest, has_missed };
        let now = Instant::now();
        Self {
            asker,
            viewer,
            hello: Some(hello),
            number,
            news,
            revoked,
            told: None,
            look_at: now,
            login_at: now + LOGIN_INTERVAL,
            heartbeat_at: now + HEARTBEAT,
            _slot: slot,
        }
    }

    /// What is said next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let service = Arc::clone(&self.asker.service);
        loop {
            let now = Instant::now();
            if now >= self.login_at {
                self.login_at = now + LOGIN_INTERVAL;
                let Asker { caller, login, headers, .. } = &self.asker;
                if !login::still_holds(&service, *caller, login, headers).await {
                    return None;
                }
            }
            if let Some(said) = self.say(now) {
                self.heartbeat_at = now + HEARTBEAT;
                return Some(said);
            }
            let wake_at = self.look_at.min(self.login_at).min(self.heartbeat_at);
            tokio::select! {
                () = service.stop.cancelled() => return None,
                Ok(()) = self.news.changed() => {}
                Ok(()) = self.revoked.changed() => self.login_at = now,
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    /// What there is to say now.
    fn say(&mut self, now: Instant) -> Option<String> {
        let feed = &self.asker.service.feed;
        if let Some(hello) = self.hello.take() {
            return Some(format!("retry: {RETRY_MS}\n{}", event("hello", None, &hello)));
        }
        let fresh = feed.after(self.viewer, self.number, NEWS_AT_ONCE);
        self.number = fresh.number;
        let mut said = String::new();
        if fresh.has_missed {
            said.push_str("event: missed\ndata: {}\n\n");
        }
        for news in &fresh.news {
            said.push_str(&event("activity", Some(&format!("{}-{}", feed.epoch(), news.number)), news));
        }
        if now >= self.look_at {
            self.look_at = now + LOOK_INTERVAL;
            let found = self.look();
            if self.told.as_ref() != Some(&found) {
                said.push_str(&event("now", None, &found));
                self.told = Some(found);
            }
        }
        if said.is_empty() && now >= self.heartbeat_at {
            said.push_str(":\n\n");
        }
        (!said.is_empty()).then_some(said)
    }

    fn look(&self) -> Now {
        let board = &self.asker.service.board;
        let (transfers, hidden_count) = board.transfers(self.viewer, clock::instant());
        let connected_devices = board.connected(self.viewer).iter().map(ToString::to_string).collect();
        Now { transfers, hidden_count, connected_devices }
    }
}

/// JSON has no line breaks of its own, so an event is one line of data.
fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("events are plain structures");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Activity, ActivityKind};
    use crate::login::Means;

    fn listener(service: &Arc<Service>, after: Option<&str>) -> Listener {
        let account = service.home.store.accounts().unwrap().remove(0);
        let address = [127, 0, 0, 1].into();
        let login = Arc::new(Login { account, means: Means::Password, address });
        let slot = service.listeners.take(login.account_id(), &service.metrics.listeners).unwrap();
        let caller = Caller { address, is_tls: false };
        let asker = Asker { service: Arc::clone(service), caller, login, headers: HeaderMap::new() };
        let mut listener = Listener::new(asker, after, service.revoked.watch(), slot);
        // They showed nothing to log in with.
        listener.login_at += Duration::from_secs(3600);
        listener
    }

    /// Whoever does not read has nothing waiting: what is said when they read again is what is kept, and that there was more.
    #[tokio::test]
    async fn a_slow_reader_is_told_that_it_missed_something() {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::of_test(dir.path());
        let mut slow = listener(&service, None);
        assert!(slow.next().await.unwrap().contains("event: hello"));
        let push = |number: usize| {
            service.feed.push(Activity::of_server(ActivityKind::Verification, number.to_string()));
        };
        (1..=5000).for_each(push);
        let mut said = slow.next().await.unwrap();
        assert_eq!(said.matches("event: missed").count(), 1);
        assert_eq!(said.matches("event: activity").count(), NEWS_AT_ONCE, "no more than that is made at once");
        while !said.contains("\"detail\":\"5000\"") {
            said = slow.next().await.unwrap();
            assert!(!said.contains("event: missed"), "it is told once: {said}");
        }
        // A reader that was there all the time misses nothing.
        push(5001);
        let said = slow.next().await.unwrap();
        assert!(said.contains("\"detail\":\"5001\"") && !said.contains("missed"), "{said}");
        let mut late = listener(&service, Some(&format!("{}-4999", service.feed.epoch())));
        assert!(late.next().await.unwrap().contains("\"has_missed\":false"));
        assert_eq!(late.next().await.unwrap().matches("event: activity").count(), 2);
        service.stop.cancel();
        while late.next().await.is_some() {}
    }
}
