//! Administration: what may be asked ([`Order`]) and what comes back ([`Item`]), the same whether the server runs and does
//! it ([`socket`]), or the command opens the data directory itself ([`command`]).

pub(crate) mod command;
pub(crate) mod desk;
pub(crate) mod socket;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::host_port::HostPort;

/// What an administrator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Order {
    Status,
    Enroll { account: String, device: String, address: Option<HostPort>, plain: bool },
    AddAccount { name: String },
    ListAccounts,
    ListDevices { account: Option<String> },
    RevokeDevice { device: String },
}

/// A line of the answer to an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Item {
    Status(Box<StatusItem>),
    Enrolment(EnrolmentItem),
    Account(AccountItem),
    Device(DeviceItem),
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
    pub(crate) accounts: u64,
    pub(crate) devices: u64,
    pub(crate) vaults: u64,
    pub(crate) snapshots: u64,
    pub(crate) packs: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) objects_stored: u64,
    pub(crate) free_bytes: u64,
    /// Whether less is free than is kept in reserve: nothing new is accepted.
    pub(crate) is_full: bool,
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
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceItem {
    pub(crate) device: String,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) created_ms: u64,
    pub(crate) last_seen_ms: Option<u64>,
    pub(crate) revoked_ms: Option<u64>,
}
