//! [`Options`]: every setting of a server, as flags, environment variables and lines of a file give it. One list, so that
//! the three cannot drift apart.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::base_path::BasePath;
use crate::host_port::HostPort;
use crate::mirror::MirrorSetting;
use crate::units::{ByteCount, Span};

/// Every setting of a server; `None` where nobody said anything.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Directory that holds everything the server keeps; made at the first start
    #[arg(long, env = "BACKUP_SERVER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address and port to listen on; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, env = "BACKUP_SERVER_LISTEN", value_name = "ADDRESS:PORT", help_heading = "Network")]
    pub listen: Option<SocketAddr>,
    /// Where clients find the server, for enrolment strings [default: where it listens]
    #[arg(long, env = "BACKUP_SERVER_ADDRESS", value_name = "HOST:PORT", help_heading = "Network")]
    pub address: Option<HostPort>,
    /// Names under which browsers find the server, beside that of --address; several with commas between them. IP addresses
    /// and localhost are always known
    #[arg(long, env = "BACKUP_SERVER_HOSTS", value_name = "NAMES", help_heading = "Network", value_delimiter = ',')]
    pub hosts: Option<Vec<String>>,
    /// Path below which a proxy shows the server to browsers, such as /backup [default: /]
    #[arg(long, env = "BACKUP_SERVER_BASE_PATH", value_name = "PATH", help_heading = "Network")]
    pub base_path: Option<BasePath>,
    /// Proxies that are believed when they say for whom they ask (X-Forwarded-For); several with commas between them
    #[arg(
        long,
        env = "BACKUP_SERVER_TRUSTED_PROXIES",
        value_name = "ADDRESSES",
        help_heading = "Network",
        value_delimiter = ','
    )]
    pub trusted_proxies: Option<Vec<IpAddr>>,
    /// Write the port to this file once the server listens
    #[arg(long, env = "BACKUP_SERVER_PORT_FILE", value_name = "FILE", help_heading = "Network")]
    pub port_file: Option<PathBuf>,
    /// Accept connections without TLS too; only when listening on loopback
    #[arg(
        long, env = "BACKUP_SERVER_PLAIN_HTTP", value_name = "BOOL", help_heading = "Network",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub plain_http: Option<bool>,
    /// Who may read /metrics [default: loopback]
    #[arg(long, env = "BACKUP_SERVER_METRICS", value_name = "WHO", help_heading = "Network", value_enum)]
    pub metrics: Option<MetricsAccess>,

    /// Length at which a pack is sealed, 64KiB to 128MiB [default: 64MiB]
    #[arg(long, env = "BACKUP_SERVER_PACK_SIZE", value_name = "BYTES", help_heading = "Storage")]
    pub pack_size: Option<ByteCount>,
    /// Longest time that what a client sent stays volatile [default: 5s]
    #[arg(long, env = "BACKUP_SERVER_SEAL_INTERVAL", value_name = "TIME", help_heading = "Storage")]
    pub seal_interval: Option<Span>,
    /// Free disk space below which nothing new is accepted [default: 1GiB]
    #[arg(long, env = "BACKUP_SERVER_MIN_FREE", value_name = "BYTES", help_heading = "Storage")]
    pub min_free: Option<ByteCount>,
    /// Disk space taken in advance, and used on a full disk for what makes room: deletions, collection, the catalog; 0B
    /// for none [default: 256MiB]
    #[arg(long, env = "BACKUP_SERVER_RESERVE", value_name = "BYTES", help_heading = "Storage")]
    pub reserve: Option<ByteCount>,
    /// Take a data directory on a file system that is not known to keep the catalog safe: NFS, SMB, FUSE and the like
    #[arg(
        long, env = "BACKUP_SERVER_ANY_FILE_SYSTEM", value_name = "BOOL", help_heading = "Storage",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub any_file_system: Option<bool>,

    /// Time between two collections of garbage; 0s for never [default: 1d]
    #[arg(long, env = "BACKUP_SERVER_GC_INTERVAL", value_name = "TIME", help_heading = "Storage")]
    pub gc_interval: Option<Span>,
    /// Time from when a pack is found to be needed by nobody to its removal [default: 7d]
    #[arg(long, env = "BACKUP_SERVER_GC_GRACE", value_name = "TIME", help_heading = "Storage")]
    pub gc_grace: Option<Span>,
    /// Share of stored bytes, in percent, that may be wasted before packs are rewritten [default: 5]
    #[arg(long, env = "BACKUP_SERVER_GC_WASTE", value_name = "PERCENT", help_heading = "Storage")]
    pub gc_waste: Option<u8>,

    /// Every pack is read and checked at least once in this time; 0s: never by itself [default: 30d]
    #[arg(long, env = "BACKUP_SERVER_SCRUB_INTERVAL", value_name = "TIME", help_heading = "Upkeep")]
    pub scrub_interval: Option<Span>,
    /// Most bytes a second that this reads [default: 16MiB]
    #[arg(long, env = "BACKUP_SERVER_SCRUB_RATE", value_name = "BYTES", help_heading = "Upkeep")]
    pub scrub_rate: Option<ByteCount>,
    /// The catalog is backed up so often; 0s: only by hand and after deletions [default: 1d]
    #[arg(long, env = "BACKUP_SERVER_CATALOG_BACKUP_INTERVAL", value_name = "TIME", help_heading = "Upkeep")]
    pub catalog_backup_interval: Option<Span>,

    /// Directory in which each backup of the catalog is kept a second time, best on another disk
    #[arg(long, env = "BACKUP_SERVER_CATALOG_BACKUP_COPY", value_name = "DIR", help_heading = "Upkeep")]
    pub catalog_backup_copy: Option<PathBuf>,

    /// Folders of ordinary files that are kept in step with a drive or a chain: drive:ACCOUNT=/FOLDER,
    /// chain:DEVICE/CHAIN=/FOLDER for its newest snapshot, snapshots:DEVICE/CHAIN=/FOLDER for all of them; several with
    /// commas between them
    #[arg(long, env = "BACKUP_SERVER_MIRRORS", value_name = "MIRRORS", help_heading = "Upkeep", value_delimiter = ',')]
    pub mirrors: Option<Vec<MirrorSetting>>,
    /// Time between two looks whether what they mirror has changed; 0s: never [default: 5m]
    #[arg(long, env = "BACKUP_SERVER_MIRROR_INTERVAL", value_name = "TIME", help_heading = "Upkeep")]
    pub mirror_interval: Option<Span>,

    /// Time between looks at what goes by retention [default: 1h]
    #[arg(long, env = "BACKUP_SERVER_RETENTION_INTERVAL", value_name = "TIME", help_heading = "Storage")]
    pub retention_interval: Option<Span>,
    /// Time that what is in the trash can be brought back [default: 7d]
    #[arg(long, env = "BACKUP_SERVER_TRASH_DELAY", value_name = "TIME", help_heading = "Storage")]
    pub trash_delay: Option<Span>,

    /// Time from a connection to its authentication, TLS and HTTP included [default: 10s]
    #[arg(long, env = "BACKUP_SERVER_LOGIN_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub login_timeout: Option<Span>,
    /// Silence after which a client is given up [default: 90s]
    #[arg(long, env = "BACKUP_SERVER_IDLE_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub idle_timeout: Option<Span>,
    /// Time that a client that was cut off has to come back to what it has sent; nothing that was found to be needed by
    /// nobody since it began is removed meanwhile [default: 7d]
    #[arg(long, env = "BACKUP_SERVER_SESSION_LIFETIME", value_name = "TIME", help_heading = "Limits")]
    pub session_lifetime: Option<Span>,
    /// Time that running sessions get to make safe what they hold when the server stops [default: 30s]
    #[arg(long, env = "BACKUP_SERVER_DRAIN_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub drain_timeout: Option<Span>,
    /// Time for which an enrolment string is good [default: 15m]
    #[arg(long, env = "BACKUP_SERVER_ENROLMENT_LIFETIME", value_name = "TIME", help_heading = "Limits")]
    pub enrolment_lifetime: Option<Span>,
    /// Time without a request after which a browser has to log in again [default: 30m]
    #[arg(long, env = "BACKUP_SERVER_LOGIN_IDLE", value_name = "TIME", help_heading = "Limits")]
    pub login_idle: Option<Span>,
    /// Time from a login after which a browser has to log in again [default: 12h]
    #[arg(long, env = "BACKUP_SERVER_LOGIN_LIFETIME", value_name = "TIME", help_heading = "Limits")]
    pub login_lifetime: Option<Span>,
    /// Most connections [default: 4096]
    #[arg(long, env = "BACKUP_SERVER_MAX_CONNECTIONS", value_name = "COUNT", help_heading = "Limits")]
    pub max_connections: Option<NonZeroUsize>,
    /// Most connections of one address that nobody has authenticated yet [default: 256]
    #[arg(long, env = "BACKUP_SERVER_MAX_UNAUTHENTICATED", value_name = "COUNT", help_heading = "Limits")]
    pub max_unauthenticated: Option<NonZeroUsize>,
    /// Most connections of the devices of one account [default: 256]
    #[arg(long, env = "BACKUP_SERVER_MAX_ACCOUNT_CONNECTIONS", value_name = "COUNT", help_heading = "Limits")]
    pub max_account_connections: Option<NonZeroUsize>,
    /// Most sessions that write at the same time; one account gets at most half [default: 64]
    #[arg(long, env = "BACKUP_SERVER_MAX_SESSIONS", value_name = "COUNT", help_heading = "Limits")]
    pub max_sessions: Option<NonZeroUsize>,

    /// Longest file that the drive takes, 1B or more; backups are not limited
    #[arg(long, env = "BACKUP_SERVER_MAX_FILE_SIZE", value_name = "BYTES", help_heading = "Limits")]
    pub max_file_size: Option<ByteCount>,
    /// Who may delete for good what is in the trash of their drive, with their password; else it goes after trash-delay
    /// [default: admins]
    #[arg(long, env = "BACKUP_SERVER_PERMANENT_DELETE", value_name = "WHO", help_heading = "Limits", value_enum)]
    pub permanent_delete: Option<PermanentDelete>,

    /// Least important messages to log [default: info]
    #[arg(long, env = "BACKUP_SERVER_LOG_LEVEL", value_name = "LEVEL", help_heading = "Logs", value_enum)]
    pub log_level: Option<LogLevel>,
    /// How messages look on standard error [default: text]
    #[arg(long, env = "BACKUP_SERVER_LOG_FORMAT", value_name = "FORMAT", help_heading = "Logs", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsAccess {
    /// Nobody
    Off,
    /// Programs on this machine
    Loopback,
    /// Everybody
    Everywhere,
}

/// Who may delete for good what is in the trash of their drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermanentDelete {
    /// Nobody
    Off,
    /// Administrators
    Admins,
    /// Everybody who may change the drive
    Everybody,
}

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something is broken
    Error,
    /// Something needs looking at
    Warn,
    /// What happens
    Info,
    /// What happens, in detail
    Debug,
}

/// How messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line for people
    Text,
    /// One JSON object per line
    Json,
}

/// Only there so that the environment is read by the same rules without a command line.
#[derive(Parser)]
struct Environment {
    #[command(flatten)]
    options: Options,
}

impl Options {
    /// What the environment says.
    ///
    /// # Errors
    /// What is wrong with a variable, for people.
    pub fn from_environment() -> Result<Self, clap::Error> {
        Ok(Environment::try_parse_from(["backup-server"])?.options)
    }

    /// These settings, and where they say nothing, the `others`.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(others.data_dir),
            listen: self.listen.or(others.listen),
            address: self.address.or(others.address),
            hosts: self.hosts.or(others.hosts),
            base_path: self.base_path.or(others.base_path),
            trusted_proxies: self.trusted_proxies.or(others.trusted_proxies),
            port_file: self.port_file.or(others.port_file),
            plain_http: self.plain_http.or(others.plain_http),
            metrics: self.metrics.or(others.metrics),
            pack_size: self.pack_size.or(others.pack_size),
            seal_interval: self.seal_interval.or(others.seal_interval),
            min_free: self.min_free.or(others.min_free),
            reserve: self.reserve.or(others.reserve),
            any_file_system: self.any_file_system.or(others.any_file_system),
            gc_interval: self.gc_interval.or(others.gc_interval),
            gc_grace: self.gc_grace.or(others.gc_grace),
            gc_waste: self.gc_waste.or(others.gc_waste),
            scrub_interval: self.scrub_interval.or(others.scrub_interval),
            scrub_rate: self.scrub_rate.or(others.scrub_rate),
            catalog_backup_interval: self.catalog_backup_interval.or(others.catalog_backup_interval),
            catalog_backup_copy: self.catalog_backup_copy.or(others.catalog_backup_copy),
            mirrors: self.mirrors.or(others.mirrors),
            mirror_interval: self.mirror_interval.or(others.mirror_interval),
            retention_interval: self.retention_interval.or(others.retention_interval),
            trash_delay: self.trash_delay.or(others.trash_delay),
            login_timeout: self.login_timeout.or(others.login_timeout),
            idle_timeout: self.idle_timeout.or(others.idle_timeout),
            session_lifetime: self.session_lifetime.or(others.session_lifetime),
            drain_timeout: self.drain_timeout.or(others.drain_timeout),
            enrolment_lifetime: self.enrolment_lifetime.or(others.enrolment_lifetime),
            login_idle: self.login_idle.or(others.login_idle),
            login_lifetime: self.login_lifetime.or(others.login_lifetime),
            max_connections: self.max_connections.or(others.max_connections),
            max_unauthenticated: self.max_unauthenticated.or(others.max_unauthenticated),
            max_account_connections: self.max_account_connections.or(others.max_account_connections),
            max_sessions: self.max_sessions.or(others.max_sessions),
            max_file_size: self.max_file_size.or(others.max_file_size),
            permanent_delete: self.permanent_delete.or(others.permanent_delete),
            log_level: self.log_level.or(others.log_level),
            log_format: self.log_format.or(others.log_format),
        }
    }
}
