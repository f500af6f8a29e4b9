//! What is served over HTTP beside the binary protocol: health, metrics, and a page that says what this is.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, body::Body};
use serde_json::json;

use crate::connect;
use crate::listen::Peer;
use crate::options::MetricsAccess;
use crate::service::Service;

/// Longest path and query.
const URI_LEN_MAX: usize = 8 << 10;

/// On every answer: nothing here is for other sites to embed, frame, guess the type of or be told about.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'sha256-y/mqpWJJhu9xbhefAdf12/XP2AIzoFCYF6DMaY/u1ks='; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static("interest-cohort=()")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Everything that is served.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/connect", get(connect::connect))
        .fallback(nothing_here)
        .layer(middleware::from_fn(guard))
        .with_state(service)
}

/// A failed request, as RFC 9457 has it.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Problem");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn json_body(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn guard(request: Request<Body>, next: Next) -> Response {
    let uri_len = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    let mut response = if uri_len > URI_LEN_MAX {
        problem(StatusCode::URI_TOO_LONG, "the address is too long")
    } else {
        next.run(request).await
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn alive() -> Response {
    json_body(StatusCode::OK, &json!({ "status": "alive" }))
}

/// Whether new backups would be taken. Asks the disk, so it is done on the pool.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    let reason = if service.stop.is_cancelled() {
        Some("stopping")
    } else {
        let asking = Arc::clone(&service);
        let asked = service.pool.run(move || {
            if asking.home.store.halted().is_some() {
                return Some("halted");
            }
            match asking.home.store.status() {
                Ok(status) if status.free_bytes < asking.home.settings.min_free => Some("disk full"),
                Ok(_) => None,
                Err(_) => Some("store failing"),
            }
        });
        asked.await.unwrap_or(Some("store failing"))
    };
    match reason {
        None => json_body(StatusCode::OK, &json!({ "status": "ready" })),
        Some(reason) => {
            let body = json!({ "status": "not ready", "reason": reason });
            json_body(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn metrics(State(service): State<Arc<Service>>, Extension(peer): Extension<Arc<Peer>>) -> Response {
    let is_allowed = match service.home.settings.metrics {
        MetricsAccess::Off => false,
        MetricsAccess::Loopback => peer.address.ip().to_canonical().is_loopback(),
        MetricsAccess::Everywhere => true,
    };
    if !is_allowed {
        return nothing_here().await;
    }
    let asking = Arc::clone(&service);
    let status = service.pool.run(move || asking.home.store.status().ok()).await.unwrap_or_default();
    let text = service.metrics.render(status.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn page() -> Html<&'static str> {
    Html(PAGE)
}

async fn nothing_here() -> Response {
    problem(StatusCode::NOT_FOUND, "there is nothing at this address")
}

const PAGE: &str = include_str!("page.html");
