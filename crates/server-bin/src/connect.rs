//! `GET /api/v1/connect`: from HTTP to a stream of frames, by `Upgrade: delta-backup/1`, or as binary WebSocket messages
//! where a proxy lets nothing else through.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use proto::limits::WEB_SOCKET_MESSAGE_LEN_MAX;

use crate::listen::Peer;
use crate::login::Caller;
use crate::rest::problem;
use crate::service::Service;
use crate::session;
use crate::websocket::WebSocketBytes;

/// What is upgraded to.
const PROTOCOL: &str = "delta-backup/1";

pub(crate) async fn connect(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        // Programs do not say where they come from, browsers do; no page has any business here.
        return problem::new(StatusCode::FORBIDDEN, "web pages may not connect here").into_response();
    }
    peer.ask_for(caller.address);
    let is_upgrade = request.version() == Version::HTTP_11 && has_token(headers, header::CONNECTION, "upgrade");
    if is_upgrade && has_token(headers, header::UPGRADE, PROTOCOL) {
        upgrade(request, peer, service)
    } else if has_token(headers, header::UPGRADE, "websocket") {
        upgrade_to_websocket(request, peer, service).await
    } else {
        upgrade_required()
    }
}

fn upgrade(request: Request<Body>, peer: Arc<Peer>, service: Arc<Service>) -> Response {
    let upgrading = hyper::upgrade::on(request);
    let tasks = service.tasks.clone();
    tasks.spawn(async move {
        match upgrading.await {
            Ok(upgraded) => session::run(TokioIo::new(upgraded), peer, service).await,
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn upgrade_to_websocket(request: Request<Body>, peer: Arc<Peer>, service: Arc<Service>) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade: Result<_, WebSocketUpgradeRejection> = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(WEB_SOCKET_MESSAGE_LEN_MAX).max_frame_size(WEB_SOCKET_MESSAGE_LEN_MAX),
        Err(rejection) => return problem::new(rejection.status(), &rejection.body_text()).into_response(),
    };
    // The task that axum starts is not ours to count, so this one is.
    let counted = service.tasks.token();
    upgrade.protocols([PROTOCOL]).on_upgrade(move |socket| async move {
        session::run(WebSocketBytes::new(socket), peer, service).await;
        drop(counted);
    })
}

fn upgrade_required() -> Response {
    let detail = format!(
        "this address is for backup clients: it wants HTTP/1.1 with `Connection: upgrade` and `Upgrade: {PROTOCOL}` (or \
         `websocket`); when a client sees this, a proxy in between drops these headers and has to be told to pass them on"
    );
    let mut response = problem::new(StatusCode::UPGRADE_REQUIRED, &detail).into_response();
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("delta-backup/1, websocket"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// Whether a header that is a list of words has this one.
fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_lists() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-other"));
        assert!(has_token(&headers, header::CONNECTION, "upgrade"));
        assert!(has_token(&headers, header::CONNECTION, "x-other"));
        assert!(!has_token(&headers, header::CONNECTION, "up"));
        assert!(!has_token(&headers, header::UPGRADE, "upgrade"));
    }
}
