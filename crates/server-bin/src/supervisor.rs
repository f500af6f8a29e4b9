//! Whoever starts the server and watches over it, as systemd does: it may pass a listening socket (`LISTEN_FDS`), and wants
//! to know when the server is ready, stops, and still works (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).

use std::net::TcpListener;
use std::sync::Arc;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::failure::Failure;
use crate::service::Service;

/// The socket that was passed, if one was. Called once, before there are other threads: it takes the variables away, so that
/// no other process takes them for its own.
///
/// # Errors
/// [`Failure`] when what was passed is not one listening socket of TCP.
pub(crate) fn listener() -> Result<Option<TcpListener>, Failure> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(Failure::usage(format!("{} sockets were passed, and there is one port", passed.len()))
            .hint("say one ListenStream= in the socket unit"));
    }
    passed.take_tcp_listener(0).map_err(|error| {
        Failure::usage("what was passed to listen on is not a socket of TCP")
            .because(&error)
            .hint("say ListenStream=PORT or ADDRESS:PORT in the socket unit")
    })
}

/// The server answers at `urls`.
pub(crate) fn ready(urls: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {urls}"))]);
}

/// The server has begun to stop.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("letting sessions make safe what they hold")]);
}

/// Says twice in every interval that whoever watches allows that the server works: the runtime turns, and the pool that does
/// what blocks takes work. Ends at once when nobody watches.
pub(crate) async fn keep_alive(service: Arc<Service>) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut beat = tokio::time::interval(interval / 2);
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        if service.pool.run(|| ()).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "whoever watches over the server could not be told how it is");
    }
}
