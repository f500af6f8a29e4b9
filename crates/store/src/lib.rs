//! Keeps sealed objects: packs on a disk, a catalog over them, and the one commit that makes anything visible.
//!
//! Start with [`Store`] and [`WriteSession`]. A session takes records, seals them into packs and commits what refers to
//! them; the store reads them back. Blocking throughout. Knows no key, no plaintext, no clock: what is stored is what
//! crate `object` can parse, and the time is the caller's.
//!
//! **Invariants**
//! - Nothing is visible before it is durable: file synced, renamed, directory synced, then the catalog, which is synced.
//! - Nothing is acknowledged that an older catalog could forget unnoticed: the ANCHOR is raised first.
//! - A file below `packs/` is never opened for writing, and never removed but by a deletion that the catalog made durable.
//! - A failed write or sync is final: the pack is given up; where the catalog or a directory failed, all writing stops.
//! - Every reference is made by one commit, inside the transaction that checks and stamps what it relies on.

mod anchor;
mod catalog;
mod catalog_copy;
mod check;
mod closure;
mod commit;
mod data_dir;
pub mod disk;
mod error;
mod faults;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gc;
mod ids;
mod layout;
mod ledger;
mod pack;
mod pack_cache;
mod random;
mod read;
mod recover;
mod reindex;
mod repair;
mod reserve;
mod session;
mod store;
mod verification;
mod verify;

pub use catalog::accounts::{Account, Device, NewEnrolment, Role, Scope};
pub use catalog::alarms::Alarm;
pub use catalog::audit::{AuditEntry, AuditQuery, NewAuditEntry};
pub use catalog::clock::ClockReading;
pub use catalog::copy::CatalogCopy;
pub use catalog::drive::{
    DRIVE_PROPERTIES_LEN_MAX, DriveChange, DriveContent, DriveName, DriveNode, DrivePlace, DriveTrashed, DriveVersion,
};
pub use catalog::logins::{ApiToken, NewToken, Password};
pub use catalog::packs::{Due, PackChoice, PackState, PackTotals};
pub use catalog::quota::QuotaUse;
pub use catalog::requests::Asked;
pub use catalog::retention::{ChainId, RetainedChain, RetainedSnapshot};
pub use catalog::second_factor::SecondFactor;
pub use catalog::sessions::Sweep;
pub use catalog::shares::{NewShare, Share, ShareKind};
pub use catalog::snapshots::{Chain, Snapshot, SnapshotQuery};
pub use catalog::status::{Status, VaultUsage};
pub use catalog::traffic::{Traffic, TrafficRow, TrafficSpan};
pub use catalog::trash::{Changed, Drill, ForgetRule, Purged, SnapshotChange};
pub use catalog::uploads::{NewUpload, Upload, UploadProgress};
pub use catalog::vaults::{NewVault, Vault, VaultMode};
pub use catalog::web_sessions::{NewWebSession, WebSession};
pub use check::FileFlaw;
pub use commit::{Committed, DriveCommitted, Stored};
pub use error::{ErrorKind, StoreError};
pub use gc::{Collection, GcAction, GcMonitor, GcOptions, GcPhase, GcPlan, GcRefusal, GcRelease, GcReport, Marked};
pub use ids::{
    AccountId, DeviceId, IdempotencyKey, NameKey, NodeId, PackId, SessionId, ShareId, StoreId, TokenId, UnixMs,
    UploadId, WebSessionId,
};
pub use layout::pack::PackClass;
pub use pack::contents::{PackContents, PackedObject};
pub use pack::scan::{PackFinding, PackScan};
pub use random::{OsRandom, Random};
pub use read::{ObjectEdges, RecordReader, StoredObject, StoredRecord, Wanted};
pub use recover::Recovery;
pub use reindex::{Adoption, ReindexReport, UnknownSnapshot};
pub use repair::{Orphans, PackRepair};
pub use reserve::ReserveStatus;
pub use session::{CHAIN_NAME_LEN_MAX, Purpose, WriteSession};
pub use store::{Store, StoreOptions};
pub use verification::Verification;
pub use verify::{DamagedObject, DriveState, Flaw, IndexCounts, PackReport, SnapshotReport};

/// Most ids a [`StoreError::Missing`] names.
pub const MISSING_MAX: usize = 4096;
