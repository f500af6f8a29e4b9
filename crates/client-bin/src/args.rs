//! The command line: [`Args`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use client::{SnapshotName, SnapshotPath};

/// Back up, restore and share files with your own backup-server.
#[derive(Parser)]
#[command(
    name = "backup-client",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 wrong use or internal error; 3 done, but some files could not be read or \
                  restored; 4 server unreachable or full; 5 not allowed; 6 stored data is damaged; 7 the server is not \
                  the one this device was connected to."
)]
pub(crate) struct Args {
    /// One JSON object per line on standard output instead of words.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress, no summary: only errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How long to wait for a server that cannot be reached or is full, in seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60, env = "BACKUP_CLIENT_MAX_WAIT")]
    pub(crate) max_wait: u64,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Whether standard output takes events; not when it takes the bytes of a file.
    pub(crate) fn wants_events(&self) -> bool {
        let takes_bytes = matches!(&self.command, Command::Get { file: Some(file), .. } if file.as_os_str() == "-");
        self.json && !takes_bytes
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make this machine a device of a server, once.
    #[command(
        after_help = "The enrolment string comes from the server: backup-server enroll --data-dir DIR --device NAME"
    )]
    Connect {
        /// What `backup-server enroll` printed: bk1:HOST:PORT:…
        #[arg(value_name = "ENROLMENT_STRING")]
        enrolment: String,
    },
    /// Back up files and directories: sends only what changed.
    Backup {
        /// What to back up.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// The series of snapshots it continues, such as `home` or `nightly`.
        #[arg(long, value_name = "NAME", default_value = "default", env = "BACKUP_CLIENT_CHAIN")]
        chain: String,
        /// Leave out what matches, in the syntax of .gitignore; may be repeated.
        #[arg(long, value_name = "GLOB")]
        exclude: Vec<String>,
        /// Every so many backups read all files, also those that seem unchanged: 1 for this one, 0 for never.
        #[arg(long, value_name = "N", default_value_t = 30, env = "BACKUP_CLIENT_REREAD_EVERY")]
        reread_every: u32,
    },
    /// List this device's snapshots.
    Snapshots {
        /// Only those of one chain.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
        /// Those in the trash, which can still be brought back.
        #[arg(long)]
        trash: bool,
    },
    /// Move snapshots to the trash; those that are held or too young stay.
    #[command(
        after_help = "The server empties the trash by itself, after some days. Until then `undelete` brings back."
    )]
    Forget {
        /// `latest` or the beginning of an id.
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<SnapshotName>,
        /// Look for them in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// Bring snapshots back from the trash; with --drive, files or folders of the drive.
    Undelete {
        /// `latest` or the beginning of an id, as `snapshots --trash` lists them; with --drive, a path.
        #[arg(required = true, value_name = "SNAPSHOT|PATH")]
        names: Vec<OsString>,
        /// Look for the snapshots in this chain only.
        #[arg(long, value_name = "NAME", conflicts_with = "drive")]
        chain: Option<String>,
        /// They are paths on the drive, as `rlist --trash` lists them.
        #[arg(long)]
        drive: bool,
    },
    /// Keep snapshots whatever happens: neither retention nor `forget` takes them away.
    Hold {
        /// `latest` or the beginning of an id.
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<SnapshotName>,
        /// Look for them in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// End a hold.
    Unhold {
        /// `latest` or the beginning of an id.
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<SnapshotName>,
        /// Look for them in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// List what is in a snapshot.
    Ls {
        /// `latest` or the beginning of an id; with `:PATH`, what is directly in that directory.
        #[arg(value_name = "SNAPSHOT[:PATH]")]
        snapshot: SnapshotPath,
        /// Everything below PATH.
        #[arg(long, short)]
        recursive: bool,
        /// Look for the snapshot in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// Restore a snapshot below TARGET with full paths, or the contents of PATH straight into TARGET.
    Restore {
        /// `latest` or the beginning of an id; with `:PATH`, only that file or directory.
        #[arg(value_name = "SNAPSHOT[:PATH]")]
        snapshot: SnapshotPath,
        /// Where to; made if it is missing.
        target: PathBuf,
        /// Look for the snapshot in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
        /// As root, restore even into a directory that other users can change meanwhile.
        #[arg(long)]
        trust_target: bool,
    },
    /// Read and check everything a snapshot needs, without writing anything.
    Verify {
        /// `latest` or the beginning of an id; with `:PATH`, only that file or directory.
        #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
        snapshot: SnapshotPath,
        /// Look for the snapshot in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// Restore a random sample of files to scratch, compare it, and have the server remember that.
    Drill {
        /// `latest` or the beginning of an id; with `:PATH`, only files below it.
        #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
        snapshot: SnapshotPath,
        /// Most files to restore.
        #[arg(long, value_name = "N", default_value_t = std::num::NonZeroU16::new(20).expect("it is not zero"))]
        sample: std::num::NonZeroU16,
        /// Look for the snapshot in this chain only.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// Put files on the drive; of a file that is there already only the change is sent.
    Put {
        /// Files or directories on this machine.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The folder of the drive they go to.
        #[arg(long, value_name = "DIR", default_value = "")]
        to: OsString,
    },
    /// Fetch a file from the drive.
    Get {
        /// The file on the drive.
        path: OsString,
        /// Where to: a file, a directory, or `-` for standard output. Default: its own name, here.
        file: Option<PathBuf>,
    },
    /// List a folder of the drive.
    Rlist {
        /// The folder; default: the root.
        #[arg(default_value = "")]
        dir: OsString,
        /// What was removed and can be brought back, of the whole drive.
        #[arg(long, conflicts_with = "dir")]
        trash: bool,
    },
    /// List a directory of this machine.
    List {
        /// The directory; default: this one.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Remove a file or folder from the drive.
    Rm {
        /// The file or folder on the drive.
        path: OsString,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a screen fills in.
    const FILLED_IN: [(&str, &str); 6] = [
        ("{after}", "0123abcd"),
        ("{before}", "0123abcd"),
        ("{chain}", "home"),
        ("{path}", "/plans/garden.txt"),
        ("{snapshot}", "0123abcd"),
        ("{string}", "bk1:127.0.0.1:8440:secret"),
    ];

    #[test]
    fn commands_on_screens_are_taken() {
        let commands = testkit::shown::commands("backup-client", &FILLED_IN);
        assert!(commands.len() >= 14, "{commands:?}");
        for command in commands {
            if let Err(error) = Args::try_parse_from(&command) {
                panic!("{command:?}: {error}");
            }
        }
    }
}
