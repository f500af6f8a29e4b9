//! [`Incoming`]: a file on its way into the drive by HTTP.

use std::sync::Arc;

use proto::DrivePath;
use store::{Account, AccountId, Traffic};

use crate::live::{About, Activity, ActivityKind, Moving, TransferKind, name_of};
use crate::rest::upload::Taken;
use crate::service::Service;

/// Counts what comes of a file.
pub(crate) struct Incoming {
    service: Arc<Service>,
    moving: Moving,
}

impl Incoming {
    /// The file that is to be at `path`, or a part of one; `offset` bytes of it are here, and `len` there will be.
    pub(crate) fn new(
        service: &Arc<Service>,
        account: &Account,
        path: Option<&DrivePath>,
        (offset, total_bytes): (u64, Option<u64>),
    ) -> Self {
        let moving = service.board.begin(About {
            kind: TransferKind::Upload,
            account: account.id,
            account_name: account.name.clone(),
            device: None,
            name: path.map(name_of).unwrap_or_default(),
            offset,
            total_bytes,
        });
        Self { service: Arc::clone(service), moving }
    }

    /// So many bytes more have come.
    pub(crate) fn add(&self, len: usize) {
        self.moving.add(len as u64);
    }

    /// It is a file now. What requests before this one brought was counted with them.
    pub(crate) fn taken(&self, taken: &Taken) {
        let brought = taken.brought.traffic(taken.brought.sent_bytes, taken.stored.bytes);
        let account: (AccountId, String) = (self.moving.about().account, self.moving.about().account_name.clone());
        self.service.tally.add(account.0, brought);
        self.service.feed.push(Activity {
            account: Some(account),
            name: name_of(&taken.path),
            traffic: Some(Traffic { source_bytes: taken.size, sent_bytes: taken.size, ..brought }),
            files: Some(1),
            duration_ms: u64::try_from(self.moving.elapsed().as_millis()).ok(),
            ..Activity::of_server(ActivityKind::Upload, String::new())
        });
    }
}
