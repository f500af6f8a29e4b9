//! Bodies of requests on their way to a thread that stores them, slice by slice.
//!
//! A few slices wait between the two, so a slow disk slows the sender down, and memory stays the same for any size.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::live::Incoming;
use crate::rest::problem::{self, Problem};
use crate::service::Service;

/// Slices that wait to be stored.
pub(super) const WAITING_MAX: usize = 8;
/// After so much time a body has to have come at the least rate, or nobody is in earnest.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Time in which something has to come.
const IDLE_MAX: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// A part of a body.
pub(super) enum Slice {
    Bytes(Bytes),
    /// That was all. A channel that closes without it closes on a body that is cut short.
    End,
}

/// Gives a body to the thread, until its end, until the thread has ended, or until `stop`.
pub(super) async fn feed<E: std::error::Error>(
    service: &Service,
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    slices: mpsc::Sender<Slice>,
    stop: &CancellationToken,
    incoming: &Incoming,
) -> Result<(), Problem> {
    let started = Instant::now();
    let mut received: u64 = 0;
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(IDLE_MAX, body.next()) => next,
            () = service.stop.cancelled() => {
                return Err(problem::retry(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping", PATIENCE));
            }
            () = stop.cancelled() => {
                return Err(problem::new(StatusCode::CONFLICT, "another request goes on with this").passing());
            }
        };
        let slice = match next {
            Ok(Some(Ok(bytes))) => Slice::Bytes(bytes),
            Ok(None) => Slice::End,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "an upload was cut off");
                return Err(cut_off());
            }
            Err(_) => return Err(problem::new(StatusCode::REQUEST_TIMEOUT, "nothing came for a minute").passing()),
        };
        let is_end = matches!(slice, Slice::End);
        if let Slice::Bytes(bytes) = &slice {
            received += bytes.len() as u64;
            incoming.add(bytes.len());
            let elapsed = started.elapsed();
            if elapsed > PATIENCE && received < elapsed.as_secs() * BYTES_PER_SECOND_MIN {
                return Err(problem::new(StatusCode::REQUEST_TIMEOUT, "the body comes too slowly").passing());
            }
        }
        // The thread has ended: its answer tells why.
        if slices.send(slice).await.is_err() || is_end {
            return Ok(());
        }
    }
}

pub(super) fn cut_off() -> Problem {
    problem::new(StatusCode::BAD_REQUEST, "the body was cut off").passing()
}
