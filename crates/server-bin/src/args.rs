//! The command line: what may be said, and how the help explains it. What is said means is decided elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::host_port::HostPort;
use crate::options::Options;

const AFTER_HELP: &str = "\
First steps:
  backup-server serve --data-dir /srv/backup --listen 0.0.0.0:8080
  backup-server enroll --data-dir /srv/backup --device laptop      (prints a string)
  backup-client connect STRING                                     (on the laptop)

Every flag has an environment variable, named in its help, and every flag of `serve` a line of the same name in a TOML
file: the one named by --config, else server.toml in the data directory. A flag wins over its variable, the variable
over the file, the file over the default.

Exit codes: 0 done; 1 wrong usage or internal error; 4 data directory missing, full or in use; 5 not allowed;
6 stored data or keys are damaged.";

/// Self-hosted backup server: sends and stores only what changed.
#[derive(Debug, Parser)]
#[command(name = "backup-server", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server; the first start makes the data directory, its keys and the account `admin`
    Serve(Box<Serve>),
    /// Print an enrolment string: a client that connects with it becomes a device of the account
    Enroll(Enroll),
    /// Tell what is stored and whether the server runs
    Status(Status),
    /// Add and list accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// List and revoke devices
    #[command(subcommand)]
    Device(DeviceCommand),
}

/// Run the server.
#[derive(Debug, Args)]
pub struct Serve {
    /// TOML file with settings [default: server.toml in the data directory, if there is one]
    #[arg(long, env = "BACKUP_SERVER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// All the rest.
    #[command(flatten)]
    pub options: Options,
}

/// Which server an administrative command is for: it talks to the one that runs there, or opens the directory itself.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Directory that holds everything the server keeps
    #[arg(long, env = "BACKUP_SERVER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// TOML file with settings [default: server.toml in the data directory, if there is one]
    #[arg(long, env = "BACKUP_SERVER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, one object per line
    #[arg(
        long,
        env = "BACKUP_SERVER_JSON",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub json: bool,
}

/// Print an enrolment string.
#[derive(Debug, Args)]
pub struct Enroll {
    /// The server.
    #[command(flatten)]
    pub place: Place,
    /// What the new device is called
    #[arg(long, env = "BACKUP_SERVER_DEVICE", value_name = "NAME")]
    pub device: String,
    /// The account it belongs to
    #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME", default_value = "admin")]
    pub account: String,
    /// Where the client finds the server [default: the setting `address`, else where it listens]
    #[arg(long, env = "BACKUP_SERVER_ADDRESS", value_name = "HOST:PORT")]
    pub address: Option<HostPort>,
    /// Let the client connect without TLS: only for a server with --plain-http, and a client on the same machine
    #[arg(
        long,
        env = "BACKUP_SERVER_PLAIN",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub plain: bool,
}

/// Tell what is stored.
#[derive(Debug, Args)]
pub struct Status {
    /// The server.
    #[command(flatten)]
    pub place: Place,
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account, with a vault of its own
    Add {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// List all accounts
    List {
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// Devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List devices
    List {
        /// Only those of this account
        #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
        account: Option<String>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Take a device's access away, at once and for good
    Revoke {
        /// Its id, as `device list` shows it
        #[arg(env = "BACKUP_SERVER_DEVICE_ID", value_name = "ID")]
        device: String,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}
