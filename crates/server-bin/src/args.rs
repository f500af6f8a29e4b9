//! The command line: what may be said, and how the help explains it. What is said means is decided elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::audit::Event;
use crate::host_port::HostPort;
use crate::options::Options;
use crate::retention::Policy;
use crate::units::{ByteCount, Span, UnitError};

const AFTER_HELP: &str = "\
First steps:
  backup-server serve --data-dir /srv/backup --listen 0.0.0.0:8080 (prints a link to set it up)
  backup-server enroll --data-dir /srv/backup --device laptop      (prints a string)
  backup-client connect STRING                                     (on the laptop)

Every setting has an environment variable, named in its help, and every flag of `serve` a line of
the same name in a TOML file: the one named by --config, else server.toml in the data directory. A
flag wins over its variable, the variable over the file, the file over the default.

Exit codes: 0 done; 1 wrong usage or internal error; 3 done, but not for every file; 4 data directory
missing, full or in use; 5 not allowed; 6 stored data or keys are damaged.";

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
    /// Look at everything that a server needs, and say what is wrong and what to do about it
    Doctor(Doctor),
    /// Collect garbage: give the space of what no snapshot and no file needs back
    Gc(Gc),
    /// Add, list and change accounts, and give them passwords
    #[command(subcommand)]
    Account(AccountCommand),
    /// Tell what was done: logins, accounts, devices, tokens, policies, deletions
    Audit(Audit),
    /// List and revoke devices
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Add, list and revoke tokens that scripts log in with by HTTP
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make, list and revoke links to files and folders of a drive
    #[command(subcommand)]
    Share(ShareCommand),
    /// Read what is stored and compare all checksums; what cannot be read is marked, so that the next backup sends it again
    Verify(Verify),
    /// Make the store sound again: adds and sets aside, deletes nothing
    Repair(Repair),
    /// Rebuild the catalog from the packs, after it was lost, damaged or put back from a copy; the server must not run
    Reindex(Reindex),
    /// Back up the catalog, and put a backup of it back
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Say what stays of each chain of snapshots, and let the rest go
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Keep a folder of ordinary files in step with a drive or a chain
    Mirror(Mirror),
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write everything that can be set to one file, and take such a file in
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Take keys out, to be kept elsewhere
    #[command(subcommand)]
    Key(KeyCommand),
    /// Restore from packs and a key file alone, without server and catalog
    Rescue(Rescue),
}

/// Read what is stored.
#[derive(Debug, Args)]
pub struct Verify {
    /// The server.
    #[command(flatten)]
    pub place: Place,
    /// Everything, and the whole index; this is what it does when nothing is said
    #[arg(long, conflicts_with_all = ["recent", "snapshot"])]
    pub full: bool,
    /// Only packs of the last 24 hours, as after a loss of power
    #[arg(long, conflicts_with = "snapshot")]
    pub recent: bool,
    /// Only what this snapshot refers to; the beginning of its id will do
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<String>,
}

/// Keep a folder of ordinary files in step.
#[derive(Debug, Args)]
pub struct Mirror {
    /// The folder: a new or empty one, or one that mirrors the same already. Its files are the server's user's
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// Mirror the drive of this account
    #[arg(long, env = "BACKUP_SERVER_DRIVE", value_name = "ACCOUNT", required_unless_present = "chain")]
    pub drive: Option<String>,
    /// Mirror a chain, as its name or DEVICE/CHAIN: its newest snapshot
    #[arg(long, env = "BACKUP_SERVER_CHAIN", value_name = "CHAIN", conflicts_with = "drive")]
    pub chain: Option<String>,
    /// All snapshots of the chain, each in a folder named by when it was received; what is the same in several takes its
    /// space once where the file system can do that
    #[arg(long, requires = "chain")]
    pub every_snapshot: bool,
    /// Restore owners, devices and set-id bits too, which only root can: for chains of devices that are trusted
    #[arg(long, requires = "chain")]
    pub privileged: bool,
    /// Only tell what would be done
    #[arg(
        long,
        env = "BACKUP_SERVER_DRY_RUN",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub dry_run: bool,
    /// The server.
    #[command(flatten)]
    pub place: Place,
}

/// Make the store sound again.
#[derive(Debug, Args)]
pub struct Repair {
    /// The server.
    #[command(flatten)]
    pub place: Place,
    /// Only tell what is wrong
    #[arg(long)]
    pub dry_run: bool,
}

/// Look at everything that a server needs.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The server.
    #[command(flatten)]
    pub place: Place,
}

/// Rebuild the catalog.
#[derive(Debug, Args)]
pub struct Reindex {
    /// The server.
    #[command(flatten)]
    pub place: Place,
    /// Allow deletion again although something that was stored could not be found
    #[arg(long)]
    pub accept_loss: bool,
}

/// The catalog's backups.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Back up the catalog now
    Backup {
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Put a backup in the catalog's place, which is set aside; the server must not run. Then say `reindex`
    Restore {
        /// Which: a name that `catalog list` shows, or a file [default: the newest]
        #[arg(value_name = "BACKUP")]
        backup: Option<PathBuf>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// List the backups, oldest first
    List {
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// Settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting, its value, and where it is from: a flag, a variable, the file, or the default
    Show(Box<ConfigArguments>),
    /// Tell what is wrong with the settings and what they name, before `serve` would; changes nothing
    Check(Box<ConfigArguments>),
}

/// The settings that `serve` would have with the same flags.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// What would be said to `serve`.
    #[command(flatten)]
    pub serve: Serve,
    /// Print JSON, one object per line
    #[arg(
        long,
        env = "BACKUP_SERVER_JSON",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub json: bool,
}

/// All settings.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Write all that is set: settings of file and environment, accounts, quotas, retention; no passwords, keys and tokens
    Export {
        /// The new file [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Make all settings those of such a file; what it does not name stays as it is
    ///
    /// Accounts that are missing are added, without a password. Settings of the file `server.toml` are written there only if it is
    /// not there yet; otherwise the lines that differ are told.
    Import {
        /// The file that `settings export` wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only tell what would change
        #[arg(long)]
        dry_run: bool,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// Keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Write the keys of all vaults to a file that `rescue` reads. Whoever has it can read the managed vaults
    Export {
        /// The new file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Protect the keys with the passphrase in this file
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// Restore without server and catalog.
#[derive(Debug, Args)]
pub struct Rescue {
    /// Folder of packs: a data directory, its `packs`, or a copy of some of it
    #[arg(value_name = "PACK_DIR")]
    pub packs: PathBuf,
    /// The file that `key export` wrote
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// File with the passphrase that the keys are protected with
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// List the snapshots
    #[arg(long, conflicts_with_all = ["snapshot", "target"], required_unless_present = "snapshot")]
    pub list: bool,
    /// The snapshot; the beginning of its id will do
    #[arg(value_name = "SNAPSHOT", requires = "target")]
    pub snapshot: Option<String>,
    /// Where to restore it
    #[arg(value_name = "TARGET")]
    pub target: Option<PathBuf>,
    /// Restore as root even where others can write
    #[arg(long)]
    pub trust_target: bool,
    /// Print JSON, one object per line
    #[arg(
        long,
        env = "BACKUP_SERVER_JSON",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub json: bool,
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
    /// The account it belongs to [default: the oldest]
    #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
    pub account: Option<String>,
    /// What the device may do
    #[arg(long, env = "BACKUP_SERVER_SCOPE", value_name = "SCOPE", value_enum, default_value = "admin")]
    pub scope: TokenScope,
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

/// Collect garbage.
#[derive(Debug, Args)]
pub struct Gc {
    /// The server.
    #[command(flatten)]
    pub place: Place,
    /// Look twice in a row instead of leaving the second look to the next run, and do what a scheduled run would refuse
    /// as unusual: to find nothing that is kept, or much that is not
    #[arg(
        long,
        env = "BACKUP_SERVER_NOW",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub now: bool,
    /// Time from the first look at a pack nobody needs to its removal [default: the setting `gc-grace`]
    #[arg(long, env = "BACKUP_SERVER_GRACE", value_name = "TIME")]
    pub grace: Option<Span>,
    /// Only tell what would go, and why
    #[arg(
        long,
        env = "BACKUP_SERVER_DRY_RUN",
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub dry_run: bool,
}

/// Tell what was done.
#[derive(Debug, Args)]
pub struct Audit {
    /// The server.
    #[command(flatten)]
    pub place: Place,
    /// Only this
    #[arg(long, env = "BACKUP_SERVER_EVENT", value_name = "EVENT", value_enum)]
    pub event: Option<Event>,
    /// Only what this account did, or what was done to it
    #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
    pub account: Option<String>,
    /// The newest so many
    #[arg(long, env = "BACKUP_SERVER_LIMIT", value_name = "N", default_value = "100")]
    pub limit: u32,
}

/// A limit of bytes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub Option<ByteCount>);

impl std::str::FromStr for Quota {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|bytes| Self(Some(bytes))) }
    }
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account, with a vault of its own
    Add {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// What its devices may do at most
        #[arg(long, env = "BACKUP_SERVER_ROLE", value_name = "ROLE", value_enum, default_value = "member")]
        role: AccountRole,
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
    /// Give an account another role
    Role {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// What it may do at most, whatever its devices and tokens are good for
        #[arg(env = "BACKUP_SERVER_ROLE", value_name = "ROLE", value_enum)]
        role: AccountRole,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Shut an account: nobody gets in by it, and connections end; what it stored stays
    Disable {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Open an account again
    Enable {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Limit the bytes that an account may store, after dedup, compression and deltas
    Quota {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// Most bytes, such as 500GiB, or `none`
        #[arg(env = "BACKUP_SERVER_QUOTA", value_name = "BYTES")]
        bytes: Quota,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Print a link with which somebody sets an account's name and password in a browser: good once, for 24 hours
    SetupLink {
        /// The account [default: the oldest]
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: Option<String>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Take the second factor of an account away, whose owner lost it
    TotpReset {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Give an account a new password for HTTP, which is printed once
    Password {
        /// Its name
        #[arg(env = "BACKUP_SERVER_NAME", value_name = "NAME")]
        name: String,
        /// Read the password from the first line of standard input instead of drawing one
        #[arg(long)]
        stdin: bool,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// Tokens that scripts log in with.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, which is printed once
    Add {
        /// What it is for, so that it can be told from others
        #[arg(value_name = "NAME")]
        name: String,
        /// Whose [default: the oldest account's]
        #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
        account: Option<String>,
        /// What it is good for
        #[arg(long, env = "BACKUP_SERVER_SCOPE", value_name = "SCOPE", value_enum, default_value = "restore")]
        scope: TokenScope,
        /// Time after which it is void, such as 90d [default: never]
        #[arg(long, value_name = "TIME")]
        expires_in: Option<Span>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// List tokens
    List {
        /// Only those of this account
        #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
        account: Option<String>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Let scripts in again whom an older catalog brought back: after one was put in place, no token of it is good before that
    ///
    /// Tokens that were revoked after that catalog was made count as valid in it. Look at `token list` and revoke those
    /// first; then confirm the others.
    Confirm {
        /// Its id, as `token list` shows it
        #[arg(value_name = "TOKEN", required_unless_present = "all")]
        token: Option<String>,
        /// All that are suspended and not revoked
        #[arg(long, conflicts_with = "token")]
        all: bool,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Void a token for ever
    Revoke {
        /// Its id, as `token list` shows it
        #[arg(value_name = "TOKEN")]
        token: String,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// Links.
#[derive(Debug, Subcommand)]
pub enum ShareCommand {
    /// Make a link to a file or folder of a drive, which is printed once
    Add {
        /// The file or folder, as `backup-client rlist` shows it
        #[arg(value_name = "PATH")]
        path: String,
        /// Whose drive [default: the oldest account's]
        #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
        account: Option<String>,
        /// For putting files into the folder, without seeing what is there, instead of reading
        #[arg(long)]
        upload: bool,
        /// Time after which it is void, such as 12h or 30d
        #[arg(long, value_name = "TIME", default_value = "7d")]
        expires_in: Span,
        /// Never void by itself
        #[arg(long, conflicts_with = "expires_in")]
        forever: bool,
        /// Ask for a password too: the first line of standard input, 8 to 1024 bytes
        #[arg(long)]
        password_stdin: bool,
        /// Most downloads, or files that are put
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        uses_max: Option<u64>,
        /// Longest file that is put, such as 2GiB
        #[arg(long, value_name = "SIZE", requires = "upload")]
        file_len_max: Option<ByteCount>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// List links, those that are void as well
    List {
        /// Only those of this account
        #[arg(long, env = "BACKUP_SERVER_ACCOUNT", value_name = "NAME")]
        account: Option<String>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Void a link for ever
    Revoke {
        /// Its id, as `share list` shows it
        #[arg(value_name = "SHARE")]
        share: String,
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
    /// Let in again whom an older catalog brought back: after one was put in place, no device of it gets in before that
    ///
    /// Devices that were revoked after that catalog was made count as valid in it. Look at `device list` and revoke those
    /// first; then confirm the others.
    Confirm {
        /// Its id, as `device list` shows it
        #[arg(env = "BACKUP_SERVER_DEVICE_ID", value_name = "ID", required_unless_present = "all")]
        device: Option<String>,
        /// All that are suspended and not revoked
        #[arg(long, conflicts_with = "device")]
        all: bool,
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

/// Retention.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Say what stays of a chain, or of all chains that have no policy of their own
    ///
    /// Replaces the policy that was set before. Rules add up: what one of them keeps, stays. The newest snapshot, held ones
    /// and those younger than --min-age always stay.
    Set {
        /// The chain: its name, or DEVICE/CHAIN [default: the policy for all that have none of their own]
        #[arg(env = "BACKUP_SERVER_CHAIN", value_name = "CHAIN")]
        chain: Option<String>,
        /// What stays.
        #[command(flatten)]
        rules: Rules,
        /// Take the chain's own policy away: the default holds again
        #[arg(long, requires = "chain", conflicts_with_all = Rules::NAMES)]
        inherit: bool,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Tell what stays of each chain
    Show {
        /// The chain: its name, or DEVICE/CHAIN
        #[arg(env = "BACKUP_SERVER_CHAIN", value_name = "CHAIN")]
        chain: Option<String>,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Tell of each snapshot whether it would stay, and why; changes nothing
    Simulate {
        /// The chain: its name, or DEVICE/CHAIN
        #[arg(env = "BACKUP_SERVER_CHAIN", value_name = "CHAIN")]
        chain: Option<String>,
        /// Instead of the policy that is set.
        #[command(flatten)]
        rules: Rules,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Move to the trash what does not stay; the running server does it by itself now and then
    Run {
        /// The chain: its name, or DEVICE/CHAIN
        #[arg(env = "BACKUP_SERVER_CHAIN", value_name = "CHAIN")]
        chain: Option<String>,
        /// Instead of the policy that is set.
        #[command(flatten)]
        rules: Rules,
        /// Go on even if more than ten snapshots of a chain go, and more than a third of them
        #[arg(long)]
        confirm_large: bool,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Let retention go on in a chain of which a snapshot kept unusually little, after you looked at the machine
    ///
    /// Until then nothing goes that is older than that snapshot, whatever the policy says: `backup-server status` tells
    /// where that is so. After ransomware, hold what you want to keep before you confirm.
    ConfirmChange {
        /// The chain: its name, or DEVICE/CHAIN
        #[arg(env = "BACKUP_SERVER_CHAIN", value_name = "CHAIN", required_unless_present = "all")]
        chain: Option<String>,
        /// In all chains
        #[arg(long, conflicts_with = "chain")]
        all: bool,
        /// The server.
        #[command(flatten)]
        place: Place,
    },
    /// Believe the clock again, after it jumped and you looked at it
    ConfirmClock {
        /// The server.
        #[command(flatten)]
        place: Place,
    },
}

/// What stays of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    /// Keep so many of the newest
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have any
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have any
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have any
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have any
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have any
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<u32>,
    /// Keep all that are no older
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<Span>,
    /// Let nothing go that is younger, whatever rules or devices say [default: 14d]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_age: Option<Span>,
}

impl Rules {
    /// All flags.
    const NAMES: [&'static str; 8] = [
        "keep_last",
        "keep_hourly",
        "keep_daily",
        "keep_weekly",
        "keep_monthly",
        "keep_yearly",
        "keep_within",
        "min_age",
    ];

    /// The rules that say this policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        let count = |said: u32| (said > 0).then_some(said);
        let span = |ms: u64| Span(Duration::from_millis(ms));
        Self {
            keep_last: count(policy.keep_last),
            keep_hourly: count(policy.keep_hourly),
            keep_daily: count(policy.keep_daily),
            keep_weekly: count(policy.keep_weekly),
            keep_monthly: count(policy.keep_monthly),
            keep_yearly: count(policy.keep_yearly),
            keep_within: (policy.keep_within_ms > 0).then(|| span(policy.keep_within_ms)),
            min_age: Some(span(policy.min_age_ms)),
        }
    }

    /// The policy they say; `None` when they say nothing.
    pub(crate) fn policy(self) -> Option<Policy> {
        if self == Self::default() {
            return None;
        }
        let count = |said: Option<u32>| said.unwrap_or(0);
        let ms = |span: Span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
        Some(Policy {
            keep_last: count(self.keep_last),
            keep_hourly: count(self.keep_hourly),
            keep_daily: count(self.keep_daily),
            keep_weekly: count(self.keep_weekly),
            keep_monthly: count(self.keep_monthly),
            keep_yearly: count(self.keep_yearly),
            keep_within_ms: self.keep_within.map_or(0, ms),
            min_age_ms: self.min_age.map_or(Policy::default().min_age_ms, ms),
        })
    }
}

/// What the token of a device or a script is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScope {
    /// Back up; read and change nothing
    PutOnly,
    /// List, restore, verify; change nothing
    Read,
    /// Back up, restore, put files on the drive, hold and undelete; take nothing away
    Restore,
    /// Everything the account may do
    Admin,
}

impl From<TokenScope> for store::Scope {
    fn from(scope: TokenScope) -> Self {
        match scope {
            TokenScope::PutOnly => Self::PutOnly,
            TokenScope::Read => Self::Read,
            TokenScope::Restore => Self::Restore,
            TokenScope::Admin => Self::Admin,
        }
    }
}

impl From<store::Scope> for TokenScope {
    fn from(scope: store::Scope) -> Self {
        match scope {
            store::Scope::PutOnly => Self::PutOnly,
            store::Scope::Read => Self::Read,
            store::Scope::Restore => Self::Restore,
            store::Scope::Admin => Self::Admin,
        }
    }
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRole {
    /// Everything, other accounts included
    Admin,
    /// Everything within its own vaults
    Member,
    /// Read within its own vaults
    ReadOnly,
}

impl From<AccountRole> for store::Role {
    fn from(role: AccountRole) -> Self {
        match role {
            AccountRole::Admin => Self::Admin,
            AccountRole::Member => Self::Member,
            AccountRole::ReadOnly => Self::ReadOnly,
        }
    }
}

impl From<store::Role> for AccountRole {
    fn from(role: store::Role) -> Self {
        match role {
            store::Role::Admin => Self::Admin,
            store::Role::Member => Self::Member,
            store::Role::ReadOnly => Self::ReadOnly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a screen fills in.
    const FILLED_IN: [(&str, &str); 5] = [
        ("{account}", "ada"),
        ("{name}", "laptop"),
        ("{options}", "--upload --expires-in 7d --password-stdin --uses-max 3 --file-len-max 5MiB"),
        ("{path}", "/photos/2026"),
        (
            "{rules}",
            "laptop/home --keep-last 1 --keep-hourly 1 --keep-daily 1 \
          --keep-weekly 1 --keep-monthly 1 --keep-yearly 1 --keep-within 3d --min-age 14d",
        ),
    ];

    #[test]
    fn commands_on_screens_are_taken() {
        let commands = testkit::shown::commands("backup-server", &FILLED_IN);
        assert!(commands.len() >= 15, "{commands:?}");
        for command in commands {
            if let Err(error) = Arguments::try_parse_from(&command) {
                panic!("{command:?}: {error}");
            }
        }
    }
}
