//! [`Outgoing`]: a file, or several, on its way to a browser or program.

use std::sync::Arc;

use store::Traffic;

use crate::live::{About, Moving, TransferKind};
use crate::service::Service;
use crate::vaults::OpenVault;

/// Counts what is sent; dropped, it has all been sent, or nobody wants the rest.
pub(crate) struct Outgoing {
    service: Arc<Service>,
    moving: Moving,
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
        Self { service: Arc::clone(service), moving }
    }

    /// So many bytes more are handed over.
    pub(crate) fn add(&self, len: usize) {
        self.moving.add(len as u64);
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let traffic = Traffic { restored_bytes: self.moving.bytes(), ..Traffic::default() };
        self.service.tally.add(self.moving.about().account, traffic);
    }
}
