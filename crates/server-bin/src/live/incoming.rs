//! [`Incoming`]: a file on its way into the drive by HTTP.

use std::sync::Arc;

use proto::DrivePath;
use store::{Account, AccountId, Traffic};

use crate::live::{About, Activity, ActivityKind, Moving, TransferKind, name_of};
use crate::rest::problem::Problem;
use crate::rest::upload::{Outcome, Taken};
use crate::service::Service;
use crate::vaults::OpenVault;

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

    /// It did not become a file.
    pub(crate) fn failed(&self, problem: &Problem) {
        let about = self.moving.about();
        tell_failure(&self.service, (about.account, about.account_name.clone()), about.name.clone(), problem);
    }

    /// It is a file now, or was one before. What requests before this one brought was counted with them.
    pub(crate) fn taken(&self, taken: &Taken) {
        let brought = taken.brought.traffic(taken.brought.sent_bytes, taken.stored.bytes);
        let account: (AccountId, String) = (self.moving.about().account, self.moving.about().account_name.clone());
        self.service.tally.add(account.0, brought);
        let (kind, detail) = match taken.outcome {
            Outcome::Created | Outcome::NewVersion => (ActivityKind::Upload, ""),
            Outcome::Identical => (ActivityKind::Skip, "identical to what is there"),
            Outcome::Skipped => (ActivityKind::Skip, "the name is taken"),
        };
        self.service.feed.push(Activity {
            account: Some(account),
            name: name_of(&taken.path),
            traffic: Some(Traffic { source_bytes: taken.size, sent_bytes: taken.size, ..brought }),
            files: Some(1),
            duration_ms: u64::try_from(self.moving.elapsed().as_millis()).ok(),
            ..Activity::of_server(kind, detail.to_owned())
        });
    }
}

/// Tells that a file was refused before anything of it came.
pub(crate) fn refused(service: &Service, vault: &OpenVault, path: &DrivePath, problem: &Problem) {
    tell_failure(service, (vault.account, vault.account_name.clone()), name_of(path), problem);
}

fn tell_failure(service: &Service, account: (AccountId, String), name: String, problem: &Problem) {
    if !problem.is_passing() {
        let failure = Activity::of_server(ActivityKind::Error, problem.detail().to_owned());
        service.feed.push(Activity { account: Some(account), name, ..failure });
    }
}
