//! The backup client as a library: everything but words for people and terminals.
//!
//! [`Session`] is an open vault on a server; [`backup()`] brings a machine's files there. Operations block, take as many
//! threads as they need, and tell a [`Monitor`] what they do. Errors of a whole operation are [`ClientError`]s; trouble
//! with single files is in its report.

mod backup;
mod browse;
mod budget;
mod config;
mod connect;
mod counted;
mod drill;
mod drive;
mod driver;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod line;
mod monitor;
mod outward;
mod passphrase;
mod random;
mod restore;
mod rounds;
mod session;
mod signature_cache;
mod stat_cache;
mod tls;
mod trash;
mod verify;
mod web_socket;

pub use backup::{BackupJob, BackupReport, backup};
pub use browse::{Found, Node, SnapshotName, SnapshotPath, SnapshotSummary, find, list, resolve, snapshots, tree_of};
pub use config::{Connection, Folders, Identity};
pub use counted::Traffic;
pub use drill::{DrillOutcome, drill};
pub use drive::{
    DriveFile, DriveItem, GetTarget, PutFile, PutOutcome, PutReport, files_below, get, list_drive, put, remove,
};
pub use error::{ClientError, ConfigError, ErrorKind};
pub use line::Line;
pub use monitor::{Event, FileProblem, Monitor, Progress};
pub use passphrase::Passphrase;
pub use restore::{RestoreJob, RestoreReport, restore};
pub use session::Session;
pub use trash::{ChangeReport, TrashedFile, drive_trash, forget, hold, undelete, undelete_path, unhold};
pub use verify::{VerifyReport, verify};
