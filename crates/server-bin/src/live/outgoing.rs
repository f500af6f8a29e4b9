//! [`Outgoing`]: a file, or several, on its way to a browser or program.

use std::sync::Arc;

use store::Traffic;

use crate::live::{About, Activity, ActivityKind, Moving, TransferKind};
use crate::service::Service;
use crate::vaults::OpenVault;

/// Counts what is sent; dropped, it has all been sent, or nobody wants the rest.
pub(crate) struct Outgoing {
    service: Arc<Service>,
    moving: Moving,
    /// Only a part of a file, which is not told by itself: players and mounts read many.
    is_part: bool,
}

impl Outgoing {
    /// Something of a vault that is called `name`, of so many bytes where that is known.
    pub(crate) fn new(service: &Arc<Service>, vault: &OpenVault, name: String, total_bytes: Option<u64>) -> Self {
        let moving = service.board.begin(About {
            kind: TransferKind::Download,
            account: vault.account,
            account_name: vault.account_name.clone(),
            device: None,
            name,
            offset: 0,
            total_bytes,
        });
        Self { service: Arc::clone(service), moving, is_part: false }
    }

    /// It is only a part of a file.
    pub(crate) fn set_part(&mut self) {
        self.is_part = true;
    }

    /// So many bytes more are handed over.
    pub(crate) fn add(&self, len: usize) {
        self.moving.add(len as u64);
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let (about, bytes) = (self.moving.about(), self.moving.bytes());
        let traffic = Traffic { restored_bytes: bytes, ..Traffic::default() };
        self.service.tally.add(about.account, traffic);
        if self.is_part || bytes == 0 || about.total_bytes.is_some_and(|total| bytes < total) {
            return;
        }
        self.service.feed.push(Activity {
            account: Some((about.account, about.account_name.clone())),
            name: about.name.clone(),
            traffic: Some(traffic),
            duration_ms: u64::try_from(self.moving.elapsed().as_millis()).ok(),
            ..Activity::of_server(ActivityKind::Download, String::new())
        });
    }
}
