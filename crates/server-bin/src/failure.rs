//! [`Failure`]: why a command did not do what it was asked. People read the reasons and hints, scripts the exit code.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a script can do about a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The command or a setting is wrong: correct it.
    Usage,
    /// Something broke that should not have.
    Internal,
    /// The data directory cannot be used now: missing, full, or failing.
    Unavailable,
    /// Another process is using the data directory.
    InUse,
    /// This user may not do that, or others may do too much.
    NotAllowed,
    /// Done, but not for every file.
    Partial,
    /// What is stored is not what was written.
    Integrity,
    /// The disk failed while something was written, and what is durable is unknown: look after it, then start again.
    Disk,
}

impl FailureKind {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Internal => 1,
            Self::Partial => 3,
            Self::Unavailable | Self::InUse => 4,
            Self::NotAllowed => 5,
            Self::Integrity => 6,
            // EX_IOERR of sysexits.h.
            Self::Disk => 74,
        }
    }
}

/// Why a command did not do what it was asked. It can be sent from the running server to the command that asked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    kind: FailureKind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    /// A failure of which nothing more is known than `message`.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// The command line or a setting is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// Adds what `error` and the errors beneath it say.
    #[must_use]
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Wrappers that add nothing repeat what they wrap.
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Says of what it is a failure.
    #[must_use]
    pub fn of(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What a script can do about it.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The ways out, if there are any.
    pub(crate) fn ways_out(&self) -> Option<String> {
        Some(self.hints.join("; ")).filter(|hints| !hints.is_empty())
    }

    /// What happened and why, without the ways out.
    pub(crate) fn in_one_line(&self) -> String {
        std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// All of it, one line each, for standard error.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("error: {}\n", self.message);
        for cause in &self.causes {
            report.push_str(&format!("  caused by: {cause}\n"));
        }
        for hint in &self.hints {
            report.push_str(&format!("hint: {hint}\n"));
        }
        report
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[from] std::io::Error);

    #[test]
    fn a_report_has_reasons_and_hints() {
        let outer = Outer(std::io::Error::other("inner"));
        let failure = Failure::new(FailureKind::Unavailable, "it is gone").because(&outer).hint("look elsewhere");
        let report = "error: it is gone\n  caused by: outer\n  caused by: inner\nhint: look elsewhere\n";
        assert_eq!(failure.report(), report);
        assert_eq!(failure.kind().exit_code(), 4);
    }
}
