//! [`Failure`]: an error, told to a person, with hints; [`Exit`]: what the exit code says.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use client::{ClientError, ConfigError, ErrorKind};
use serde_json::json;

use crate::words::escape;

/// What the exit code says. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done,
    /// Wrong use, or an internal error.
    Usage,
    /// Done, but some files could not be read or restored.
    Partial,
    /// The server cannot be reached or has no room left.
    Unavailable,
    /// The server refuses this device.
    NotAllowed,
    /// Stored data is damaged.
    Integrity,
    /// The server is not the one this device was connected to.
    OtherServer,
}

impl Exit {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 1,
            Self::Partial => 3,
            Self::Unavailable => 4,
            Self::NotAllowed => 5,
            Self::Integrity => 6,
            Self::OtherServer => 7,
        }
    }

    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    source: ClientError,
}

impl Failure {
    /// `what` says what was not done: "back up", "restore latest".
    pub(crate) fn new(what: impl Into<String>, source: ClientError) -> Self {
        Self { what: what.into(), source }
    }

    fn exit(&self) -> Exit {
        match self.source.kind() {
            ErrorKind::Usage | ErrorKind::NotFound => Exit::Usage,
            ErrorKind::Unreachable | ErrorKind::Full => Exit::Unavailable,
            ErrorKind::NotAllowed | ErrorKind::Forbidden => Exit::NotAllowed,
            ErrorKind::Integrity => Exit::Integrity,
            ErrorKind::OtherServer => Exit::OtherServer,
        }
    }

    fn causes(&self) -> Vec<String> {
        let mut causes = vec![self.source.to_string()];
        let mut source = self.source.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = cause.source();
        }
        causes
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match &self.source {
            ClientError::NotConnected => {
                "on the server run `backup-server enroll --data-dir DIR --device NAME`, then here `backup-client connect` \
                 with what it prints"
            }
            ClientError::OtherServer { .. } => {
                "if the server was set up anew on purpose, connect this device again; if not, somebody is in between: \
                 do not"
            }
            ClientError::Config { source: ConfigError::Malformed(_), .. } => {
                "connect this device again, or restore the file"
            }
            ClientError::Connect { .. } => {
                "is the server running, and is its port open? --max-wait SECONDS waits longer"
            }
            ClientError::Io { .. } if self.source.kind() == ErrorKind::Full => {
                "free space on this machine's disk, or name a target elsewhere, then run this again"
            }
            error => match error.kind() {
                ErrorKind::NotAllowed => {
                    "the device may have been revoked, or the enrolment string used or expired: ask for a new one with \
                     `backup-server enroll`"
                }
                ErrorKind::Forbidden => {
                    "what a device may do is said when it is enrolled (`backup-server enroll --scope`), what may be \
                     forgotten by `backup-server retention set --min-age` and `backup-client hold`"
                }
                ErrorKind::Full => {
                    "free space on the server's disk, or raise its limit, then run this again: nothing \
                                    that was sent is sent again"
                }
                ErrorKind::Unreachable => "run this again: nothing that was sent is sent again",
                ErrorKind::Integrity => {
                    "`backup-client verify SNAPSHOT` lists what is affected; a new backup stores again what this \
                     machine still has"
                }
                _ => return None,
            },
        })
    }

    /// Tells it on standard error, with `is_json` as an event on standard output too.
    pub(crate) fn report(&self, is_json: bool) -> Exit {
        let exit = self.exit();
        let mut text = format!("error: cannot {}\n", escape(&self.what));
        for cause in self.causes() {
            text.push_str(&format!("  caused by: {}\n", escape(&cause)));
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // Nobody can be told that standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
        if is_json {
            let event = json!({
                "event": "failed",
                "what": self.what,
                "causes": self.causes(),
                "hint": self.hint(),
                "exit_code": exit.number(),
            });
            let _ = writeln!(std::io::stdout(), "{event}");
        }
        exit
    }
}
