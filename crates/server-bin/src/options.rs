//! [`Options`]: every setting of a server, as flags, environment variables and lines of a file give it. One list, so that
//! the three cannot drift apart.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use serde::Deserialize;

use crate::host_port::HostPort;
use crate::units::{ByteCount, Span};

/// Every setting of a server; `None` where nobody said anything.
#[derive(Clone, Debug, Default, Args, Deserialize)]
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

    /// Time from a connection to its authentication, TLS and HTTP included [default: 10s]
    #[arg(long, env = "BACKUP_SERVER_LOGIN_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub login_timeout: Option<Span>,
    /// Silence after which a client is given up [default: 90s]
    #[arg(long, env = "BACKUP_SERVER_IDLE_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub idle_timeout: Option<Span>,
    /// Time that running sessions get to make safe what they hold when the server stops [default: 30s]
    #[arg(long, env = "BACKUP_SERVER_DRAIN_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub drain_timeout: Option<Span>,
    /// Time for which an enrolment string is good [default: 15m]
    #[arg(long, env = "BACKUP_SERVER_ENROLMENT_LIFETIME", value_name = "TIME", help_heading = "Limits")]
    pub enrolment_lifetime: Option<Span>,
    /// Most connections [default: 4096]
    #[arg(long, env = "BACKUP_SERVER_MAX_CONNECTIONS", value_name = "COUNT", help_heading = "Limits")]
    pub max_connections: Option<NonZeroUsize>,
    /// Most connections of one address that nobody has authenticated yet [default: 64]
    #[arg(long, env = "BACKUP_SERVER_MAX_UNAUTHENTICATED", value_name = "COUNT", help_heading = "Limits")]
    pub max_unauthenticated: Option<NonZeroUsize>,
    /// Most sessions that write at the same time; one account gets at most half [default: 64]
    #[arg(long, env = "BACKUP_SERVER_MAX_SESSIONS", value_name = "COUNT", help_heading = "Limits")]
    pub max_sessions: Option<NonZeroUsize>,

    /// Least important messages to log [default: info]
    #[arg(long, env = "BACKUP_SERVER_LOG_LEVEL", value_name = "LEVEL", help_heading = "Logs", value_enum)]
    pub log_level: Option<LogLevel>,
    /// How messages look on standard error [default: text]
    #[arg(long, env = "BACKUP_SERVER_LOG_FORMAT", value_name = "FORMAT", help_heading = "Logs", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsAccess {
    /// Nobody
    Off,
    /// Programs on this machine
    Loopback,
    /// Everybody
    Everywhere,
}

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
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
            port_file: self.port_file.or(others.port_file),
            plain_http: self.plain_http.or(others.plain_http),
            metrics: self.metrics.or(others.metrics),
            pack_size: self.pack_size.or(others.pack_size),
            seal_interval: self.seal_interval.or(others.seal_interval),
            min_free: self.min_free.or(others.min_free),
            login_timeout: self.login_timeout.or(others.login_timeout),
            idle_timeout: self.idle_timeout.or(others.idle_timeout),
            drain_timeout: self.drain_timeout.or(others.drain_timeout),
            enrolment_lifetime: self.enrolment_lifetime.or(others.enrolment_lifetime),
            max_connections: self.max_connections.or(others.max_connections),
            max_unauthenticated: self.max_unauthenticated.or(others.max_unauthenticated),
            max_sessions: self.max_sessions.or(others.max_sessions),
            log_level: self.log_level.or(others.log_level),
            log_format: self.log_format.or(others.log_format),
        }
    }
}
