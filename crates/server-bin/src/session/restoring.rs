//! [`Restoring`]: what a connection has been sent of chunks, which is what restoring looks like from here.

use std::sync::{Arc, OnceLock};

use proto::Objects;
use store::Traffic;

use crate::live::{About, Activity, ActivityKind, Moving, TransferKind};
use crate::service::Service;
use crate::session::login::Client;

/// What a connection has been sent of chunks. Nothing is on the board before the first.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    moving: OnceLock<Moving>,
}

impl Restoring {
    /// Counts what is about to be sent to `client`.
    pub(super) fn add(&self, service: &Service, client: &Client, part: &Objects) {
        let chunks = part.records.iter().filter(|record| !record.view().head().is_metadata());
        let bytes: usize = chunks.map(|record| record.bytes().len()).sum();
        if bytes == 0 {
            return;
        }
        let moving = self.moving.get_or_init(|| {
            service.board.begin(About {
                kind: TransferKind::Restore,
                account: client.account,
                account_name: client.account_name.clone(),
                device: Some(client.device_name()),
                name: String::new(),
                offset: 0,
                total_bytes: None,
            })
        });
        moving.add(bytes as u64);
    }

    /// The connection has ended; whether because the client had what it wanted.
    pub(super) fn end(self: Arc<Self>, service: &Service, has_all: bool) {
        // Who still counts is about to find that nobody waits for it.
        let Some(moving) = self.moving.get() else { return };
        let about = moving.about();
        let traffic = Traffic { restored_bytes: moving.bytes(), ..Traffic::default() };
        service.tally.add(about.account, traffic);
        let detail = if has_all { "" } else { "the connection ended before the client was done" };
        service.feed.push(Activity {
            account: Some((about.account, about.account_name.clone())),
            device: about.device.clone(),
            traffic: Some(traffic),
            duration_ms: u64::try_from(moving.elapsed().as_millis()).ok(),
            ..Activity::of_server(ActivityKind::Restore, detail.to_owned())
        });
    }
}
