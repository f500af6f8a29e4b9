//! Administration: what may be asked ([`Order`]) and what comes back ([`Item`]), the same whether the server runs and does
//! it ([`socket`]), or the command opens the data directory itself ([`command`]).

pub(crate) mod affected;
pub(crate) mod command;
pub(crate) mod config_check;
pub(crate) mod desk;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod gc;
mod key_files;
pub(crate) mod origins;
pub(crate) mod reindex;
pub(crate) mod rescue;
mod retention;
pub(crate) mod settings;
pub(crate) mod shares;
pub(crate) mod socket;
pub(crate) mod upkeep;

use serde::{Deserialize, Serialize};

use crate::admin::config_check::{SettingProblemItem, SettingsCheckedItem};
use crate::admin::doctor::CheckItem;
use crate::admin::gc::{GcItem, GcPackItem};
use crate::admin::origins::SettingItem;
use crate::admin::settings::{CatalogSettings, SettingChangeItem};
use crate::admin::shares::{ShareItem, ShareOrder};
use crate::args::{AccountRole, TokenScope};
use crate::audit::Event;
use crate::failure::Failure;
use crate::host_port::HostPort;
use crate::mirror::{MirrorProblemItem, MirrorRequest, MirroredItem};
use crate::retention::Policy;

/// What an administrator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Order {
    Status,
    Enroll {
        /// The oldest account, unless said.
        account: Option<String>,
        device: String,
        scope: TokenScope,
        address: Option<HostPort>,
        plain: bool,
    },
    AddAccount {
        name: String,
        role: AccountRole,
    },
    ListAccounts,
    SetPassword {
        account: String,
        hash: String,
    },
    SetRole {
        account: String,
        role: AccountRole,
    },
    SetDisabled {
        account: String,
        is_disabled: bool,
    },
    /// `None` takes the limit away.
    SetQuota {
        account: String,
        quota_bytes: Option<u64>,
    },
    /// For the oldest account, unless said.
    MakeSetupLink {
        account: Option<String>,
    },
    RemoveSecondFactor {
        account: String,
    },
    ShowAudit {
        event: Option<Event>,
        account: Option<String>,
        limit: u32,
    },
    AddToken {
        /// The oldest account, unless said.
        account: Option<String>,
        name: String,
        scope: TokenScope,
        expires_in_ms: Option<u64>,
    },
    ListTokens {
        account: Option<String>,
    },
    RevokeToken {
        token: String,
    },
    /// One, or all.
    ConfirmTokens {
        token: Option<String>,
    },
    AddShare(Box<ShareOrder>),
    ListShares {
        account: Option<String>,
    },
    RevokeShare {
        share: String,
    },
    ListDevices {
        account: Option<String>,
    },
    RevokeDevice {
        device: String,
    },
    /// One, or all.
    ConfirmDevices {
        device: Option<String>,
    },
    CollectGarbage {
        now: bool,
        grace_ms: Option<u64>,
        dry_run: bool,
    },
    Verify {
        scope: VerifyScope,
    },
    Repair {
        dry_run: bool,
    },
    Mirror {
        request: MirrorRequest,
    },
    BackUpCatalog,
    ListCatalogBackups,
    SetRetention {
        chain: Option<String>,
        policy: Option<Policy>,
    },
    ShowRetention {
        chain: Option<String>,
    },
    SimulateRetention {
        chain: Option<String>,
        policy: Option<Policy>,
    },
    RunRetention {
        chain: Option<String>,
        policy: Option<Policy>,
        is_large_confirmed: bool,
    },
    ExportSettings,
    ImportSettings {
        settings: Box<CatalogSettings>,
        dry_run: bool,
    },
    ConfirmClock,
    /// Of one chain, or of all.
    ConfirmChange {
        chain: Option<String>,
    },
}

/// What to verify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VerifyScope {
    Full,
    Recent,
    Snapshot(String),
}

/// A line of the answer to an [`Order`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Line {
    /// A part of what was asked for.
    Item(Item),
    /// That was all.
    Done,
    /// It did not work.
    Failed(Failure),
}

/// A part of what was asked for. As JSON it is what `--json` prints.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Item {
    Status(Box<StatusItem>),
    Enrolment(EnrolmentItem),
    Account(AccountItem),
    Password(PasswordItem),
    SetupLink(SetupLinkItem),
    Audit(AuditItem),
    Setting(SettingItem),
    SettingProblem(Box<SettingProblemItem>),
    SettingsChecked(SettingsCheckedItem),
    SettingsExported { file: Option<String>, text: Option<String> },
    SettingChange(SettingChangeItem),
    CatalogSettings(Box<CatalogSettings>),
    Check(CheckItem),
    Token(TokenItem),
    Share(Box<ShareItem>),
    Device(DeviceItem),
    Gc(Box<GcItem>),
    GcPack(GcPackItem),
    RetentionPolicy(PolicyItem),
    RetentionVerdict(VerdictItem),
    RetentionRun(RetentionRunItem),
    ChangeConfirmed(AlarmItem),
    Progress(ProgressItem),
    DamagedPack(DamagedPackItem),
    DamagedFile(DamagedFileItem),
    IncompleteVersion(IncompleteVersionItem),
    IncompleteSnapshot(IncompleteSnapshotItem),
    RepairedPack(RepairedPackItem),
    AdoptedPack { pack: String },
    AdoptedSnapshot(AdoptedSnapshotItem),
    Verified(VerifiedItem),
    Repaired(RepairedItem),
    Reindexed(ReindexedItem),
    CatalogBackup(CatalogBackupItem),
    CatalogRestored(CatalogRestoredItem),
    MirrorProblem(MirrorProblemItem),
    Mirrored(Box<MirroredItem>),
    KeysExported { file: String, vaults: u64, with_passphrase: bool },
}

/// An account's password was set.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PasswordItem {
    pub(crate) account: String,
    /// When it was drawn and not said.
    pub(crate) password: Option<String>,
}

/// A link to set an account up.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SetupLinkItem {
    pub(crate) account: String,
    pub(crate) setup_link: String,
    pub(crate) expires_ms: u64,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditItem {
    pub(crate) number: u64,
    pub(crate) at_ms: u64,
    pub(crate) actor: String,
    pub(crate) means: String,
    pub(crate) address: String,
    /// What was done; `event` is taken by the kind of the line.
    pub(crate) what: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// What a script logs in with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TokenItem {
    /// Its id.
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) scope: TokenScope,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) last_used_ms: Option<u64>,
    pub(crate) revoked_ms: Option<u64>,
    /// Whether it waits to be confirmed.
    pub(crate) suspended: bool,
    /// What to log in with; known only when it was made.
    pub(crate) secret: Option<String>,
}

/// How far something long has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgressItem {
    pub(crate) stage: String,
    /// What is counted: `bytes`, `packs`, `objects`, `pages`, `entries`.
    pub(crate) unit: String,
    pub(crate) done: u64,
    /// 0 while it is not known.
    pub(crate) total: u64,
}

/// A pack that is not, in every byte, what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamagedPackItem {
    pub(crate) pack: String,
    pub(crate) vault: String,
    pub(crate) is_missing: bool,
    pub(crate) flaws: Vec<FlawItem>,
    pub(crate) damaged: Vec<DamagedObjectItem>,
    /// Objects in it that the index did not know.
    pub(crate) unindexed: u64,
}

/// A file beside the packs that is not what was written: catalog, ANCHOR, LEDGER, a key, a backup of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamagedFileItem {
    pub(crate) path: String,
    pub(crate) what: String,
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlawItem {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) what: String,
}

/// A copy of an object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamagedObjectItem {
    /// The first half of its id.
    pub(crate) object: String,
    pub(crate) kind: String,
    pub(crate) offset: u64,
    /// Whether there is no other copy.
    pub(crate) is_lost: bool,
}

/// A snapshot that does not restore in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncompleteSnapshotItem {
    pub(crate) snapshot: String,
    pub(crate) account: String,
    pub(crate) vault: String,
    pub(crate) device: String,
    pub(crate) chain: String,
    pub(crate) seq: u64,
    pub(crate) received_ms: u64,
    /// What is lost in it; empty in a sealed vault, whose names the server cannot read.
    pub(crate) paths: Vec<String>,
    /// How many paths there are; `paths` has the first of them.
    pub(crate) paths_total: u64,
    /// Whether it is in the trash.
    pub(crate) in_trash: bool,
}

/// A version of a file of a drive that cannot be read in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncompleteVersionItem {
    pub(crate) account: String,
    pub(crate) vault: String,
    /// None in a sealed vault, whose names the server cannot read.
    pub(crate) path: Option<String>,
    pub(crate) version: u64,
    pub(crate) received_ms: u64,
    /// Whether it is what the file is now.
    pub(crate) is_newest: bool,
    pub(crate) in_trash: bool,
}

/// What became of a damaged pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepairedPackItem {
    pub(crate) pack: String,
    /// The pack that holds what could be saved.
    pub(crate) moved_to: Option<String>,
    pub(crate) records: u64,
    pub(crate) is_set_aside: bool,
    pub(crate) marked: u64,
    pub(crate) indexed: u64,
}

/// A snapshot that the catalog had forgotten, and knows again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AdoptedSnapshotItem {
    pub(crate) snapshot: String,
    pub(crate) vault: String,
    pub(crate) device: String,
    pub(crate) chain: String,
    pub(crate) received_ms: u64,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifiedItem {
    pub(crate) packs: u64,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) damaged_packs: u64,
    /// Files beside the packs; looked at in full only.
    pub(crate) damaged_files: u64,
    /// Objects of which no sound copy is left, among those looked at.
    pub(crate) lost_objects: u64,
    /// Those in the trash too.
    pub(crate) incomplete_snapshots: u64,
    /// Of files of drives, those in the trash too.
    pub(crate) incomplete_versions: u64,
}

/// What was repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepairedItem {
    pub(crate) is_dry_run: bool,
    pub(crate) packs: u64,
    pub(crate) damaged_packs: u64,
    pub(crate) adopted_packs: u64,
    pub(crate) strangers: Vec<String>,
    pub(crate) incomplete_snapshots: u64,
    pub(crate) incomplete_versions: u64,
}

/// What was rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReindexedItem {
    pub(crate) packs: u64,
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
    pub(crate) damaged_packs: Vec<String>,
    pub(crate) missing_packs: Vec<String>,
    pub(crate) adopted_snapshots: u64,
    /// Snapshots that are in the packs and were not taken in: something that they refer to is not there.
    pub(crate) incomplete_snapshots: Vec<String>,
    /// Vaults that packs are of and that nobody knows, their keys neither.
    pub(crate) unknown_vaults: Vec<String>,
    /// Snapshots that were not taken in because they had been purged.
    pub(crate) purged_snapshots: u64,
    /// Devices that do not get in before somebody confirms them.
    pub(crate) suspended_devices: u64,
    /// Tokens of scripts that do not, either.
    pub(crate) suspended_tokens: u64,
    /// Why nothing may be deleted, if so.
    pub(crate) deletion_latch: Option<String>,
}

/// A backup of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CatalogBackupItem {
    pub(crate) name: String,
    /// Where it is.
    pub(crate) folder: String,
    pub(crate) created_ms: u64,
    pub(crate) generation: u64,
    pub(crate) bytes: u64,
}

/// A catalog that took the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CatalogRestoredItem {
    /// The backup; `None`: an empty catalog was made.
    pub(crate) backup: Option<String>,
    pub(crate) generation: u64,
    /// Where the one before is now.
    pub(crate) set_aside: Option<String>,
}

/// How the server and its store are doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusItem {
    pub(crate) version: String,
    pub(crate) data_dir: String,
    /// Only while the server runs.
    pub(crate) running: Option<RunningItem>,
    /// Why writing has stopped, if it has.
    pub(crate) halted: Option<String>,
    /// Why nothing may be deleted, if so.
    pub(crate) deletion_latch: Option<String>,
    /// Why the clock is not believed, if so: nothing goes by age then.
    pub(crate) clock_doubt: Option<String>,
    /// Unusual changes that nobody confirmed.
    pub(crate) alarms: Vec<AlarmItem>,
    pub(crate) accounts: u64,
    pub(crate) devices: u64,
    /// Those of them that do not get in before somebody confirms them.
    pub(crate) suspended_devices: u64,
    /// Tokens of scripts that do not, either.
    pub(crate) suspended_tokens: u64,
    pub(crate) vaults: u64,
    pub(crate) snapshots: u64,
    /// In the trash.
    pub(crate) trashed_snapshots: u64,
    /// Purged, and kept because somebody is restoring them.
    pub(crate) pinned_snapshots: u64,
    pub(crate) packs: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) objects_stored: u64,
    pub(crate) free_bytes: u64,
    /// Whether less is free than is kept free: nothing new is accepted.
    pub(crate) is_full: bool,
    pub(crate) reserve: ReserveItem,
}

/// A snapshot that keeps unusually little of the one before: until somebody confirms that, nothing older in its chain goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlarmItem {
    /// Device and chain by name.
    pub(crate) chain: String,
    pub(crate) snapshot: String,
    pub(crate) raised_ms: u64,
    /// What is unusual about it, for people.
    pub(crate) what: String,
}

/// What is held in reserve for a full disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReserveItem {
    /// 0 for none.
    pub(crate) bytes: u64,
    /// If not, it was used, or could not be taken.
    pub(crate) is_held: bool,
    /// Why it could not be taken, when last tried.
    pub(crate) problem: Option<String>,
}

impl From<store::ReserveStatus> for ReserveItem {
    fn from(status: store::ReserveStatus) -> Self {
        let store::ReserveStatus { bytes, is_held, problem } = status;
        Self { bytes, is_held, problem }
    }
}

/// What only a running server knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningItem {
    pub(crate) pid: u32,
    pub(crate) url: String,
    pub(crate) started_ms: u64,
    pub(crate) sockets: u64,
    pub(crate) clients: u64,
    pub(crate) sessions: u64,
    /// Snapshots since it was started that keep unusually little of the one before.
    pub(crate) unusual_snapshots: u64,
    /// Records since then whose content was not what their ids promise.
    pub(crate) hash_mismatches: u64,
}

/// An invitation.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct EnrolmentItem {
    pub(crate) enrolment: String,
    pub(crate) account: String,
    pub(crate) device: String,
    pub(crate) address: HostPort,
    pub(crate) expires_in_s: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountItem {
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) created_ms: u64,
    pub(crate) devices: u64,
    pub(crate) snapshots: u64,
    pub(crate) bytes_stored: u64,
    /// Bytes of it that count against the quota: all but what collection found to be needed by nobody.
    pub(crate) used_bytes: u64,
    /// Most bytes that may count; none: as many as there are.
    pub(crate) quota_bytes: Option<u64>,
    /// Since when nobody gets in by it.
    pub(crate) disabled_ms: Option<u64>,
    /// Whether a code is asked for beside its password.
    pub(crate) has_second_factor: bool,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceItem {
    pub(crate) device: String,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) scope: TokenScope,
    pub(crate) created_ms: u64,
    pub(crate) last_seen_ms: Option<u64>,
    pub(crate) revoked_ms: Option<u64>,
    /// It does not get in before somebody confirms it.
    pub(crate) suspended: bool,
}

/// What stays of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyItem {
    /// Device and chain by name; none: the default.
    pub(crate) chain: Option<String>,
    /// Whether it is the chain's own, not the default.
    pub(crate) is_own: bool,
    pub(crate) policy: Policy,
    /// The same in words.
    pub(crate) text: String,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerdictItem {
    pub(crate) chain: String,
    pub(crate) snapshot: String,
    pub(crate) received_ms: u64,
    pub(crate) stays: bool,
    pub(crate) reasons: Vec<String>,
}

/// What became, or would become, of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetentionRunItem {
    pub(crate) chain: String,
    pub(crate) is_simulated: bool,
    pub(crate) stays: u64,
    pub(crate) goes: u64,
    /// Whether so many go that a run must be confirmed.
    pub(crate) is_unusual: bool,
}
