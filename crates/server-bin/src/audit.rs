//! The audit log: [`Actor`] says who, [`Event`] what was done. Names of files are not in it, nor anything secret.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use store::{NewAuditEntry, Store};

use crate::clock;

/// Lines in a minute of what strangers cause: neither guessing nor a link may fill the disk.
const LINES_PER_MINUTE: u32 = 60;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Somebody logged in
    Login,
    /// Somebody tried to
    LoginRefused,
    /// Somebody logged out, or ended sessions
    SessionsEnded,
    /// An account was added
    AccountAdded,
    /// An account has another role
    RoleSet,
    /// An account was shut
    AccountDisabled,
    /// An account was opened again
    AccountEnabled,
    /// An account has another quota
    QuotaSet,
    /// An account has another password
    PasswordSet,
    /// A link to set an account up was made
    SetupLinkMade,
    /// Such a link was used
    AccountSetUp,
    /// An account asks for a second factor now
    SecondFactorAdded,
    /// An account does not any more
    SecondFactorRemoved,
    /// A token was made
    TokenMade,
    /// A token was voided
    TokenRevoked,
    /// Tokens that an older catalog brought back were let in again
    TokensConfirmed,
    /// A link to a file or folder was made
    ShareMade,
    /// Such a link was voided
    ShareRevoked,
    /// Files came in by such a link
    ShareUpload,
    /// A file, or an archive, went out by such a link
    ShareDownload,
    /// An enrolment string was made
    DeviceInvited,
    /// A device was enrolled
    DeviceEnrolled,
    /// A device's access was taken away
    DeviceRevoked,
    /// Devices that an older catalog brought back were let in again
    DevicesConfirmed,
    /// What stays of a chain, or of all, was set
    PolicySet,
    /// Snapshots went to the trash
    SnapshotsTrashed,
    /// Snapshots came back from the trash, were held, or are held no more
    SnapshotsKept,
    /// An entry of the drive went to the trash
    DriveRemoved,
    /// What was in the trash for long enough went for good
    TrashPurged,
    /// The clock was confirmed
    ClockConfirmed,
    /// An unusual change was confirmed: what came before it may go again
    ChangeConfirmed,
    /// A collection of garbage or a verification was started by hand
    JobStarted,
    /// Such a job was ended before its time
    JobCancelled,
    /// A plain mirror of a drive or a chain was brought in step by hand
    MirrorMade,
    /// Garbage was collected
    GarbageCollected,
    /// What is stored was verified
    Verified,
}

impl Event {
    /// As it is kept and shown.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no event is hidden");
        value.get_name().to_owned()
    }
}

/// Who does something, and how they are known.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    name: String,
    means: &'static str,
    address: Option<IpAddr>,
}

impl Actor {
    /// Whoever may run commands on this machine.
    pub(crate) fn command() -> Self {
        Self { name: String::new(), means: "command", address: None }
    }

    /// The server, by itself.
    pub(crate) fn server() -> Self {
        Self { name: String::new(), means: "server", address: None }
    }

    /// Somebody by HTTP or the binary protocol.
    pub(crate) fn known(name: &str, means: &'static str, address: IpAddr) -> Self {
        Self { name: name.to_owned(), means, address: Some(address) }
    }

    /// Adds a line to the audit log. What was done is done: where the line cannot be written, the log says so.
    pub(crate) fn note(&self, store: &Store, event: Event, subject: &str, detail: &str) {
        let address = self.address.map(|address| address.to_string()).unwrap_or_default();
        let (actor, means) = (self.name.as_str(), self.means);
        let event = event.name();
        let entry = NewAuditEntry { actor, means, address: &address, event: &event, subject, detail };
        tracing::info!(event, actor, means, address, subject, detail, "audit");
        if let Err(error) = store.add_audit(&entry, clock::now()) {
            tracing::error!(%error, event, actor, subject, "the audit log could not be written");
        }
    }
}

/// Lets through so many lines a minute, of what strangers can cause.
#[derive(Debug, Default)]
pub(crate) struct LineBrake {
    minute: Mutex<Option<(Instant, u32)>>,
}

impl LineBrake {
    /// Whether one more gets a line.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, count) = match *minute {
            Some((start, count)) if now.saturating_duration_since(start) < Duration::from_secs(60) => (start, count),
            _ => (now, 0),
        };
        *minute = Some((start, count.saturating_add(1)));
        count < LINES_PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_does_not_fill_the_log() {
        let brake = LineBrake::default();
        let now = Instant::now();
        let admitted = (0..1000).filter(|_| brake.admits(now)).count();
        assert_eq!(admitted, 60);
        assert!(brake.admits(now + Duration::from_secs(60)));
    }
}
