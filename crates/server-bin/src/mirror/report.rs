//! [`Teller`]: tells what a mirror does as it does it, and counts it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use host_fs::{Aspect, HostError, HostErrorKind, NotApplied, Placement, Reason};
use serde::{Deserialize, Serialize};

use crate::admin::{Item, ProgressItem};
use crate::failure::{Failure, FailureKind};
use crate::mirror::source::told;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Problems of each kind that are told; all are counted.
const TOLD_MAX: u64 = 1000;

/// What a mirror did, or would do. Files are all entries but folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirroredItem {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) is_dry_run: bool,
    /// Snapshots whose folders were gone through; of the others everything is where it belongs.
    pub(crate) snapshots: u64,
    /// Files made of what is stored; in a dry run, all that would be made.
    pub(crate) written: u64,
    /// Files that are a further name of one that was there.
    pub(crate) linked: u64,
    /// Files that share their bytes with one that was there.
    pub(crate) reflinked: u64,
    /// Files copied from one that was there.
    pub(crate) copied: u64,
    /// Files that were left alone.
    pub(crate) unchanged: u64,
    /// Files of the mirror's own that are not in what it mirrors any more.
    pub(crate) removed: u64,
    /// What was changed by hand, or stands where something of the mirror belongs: left as it is.
    pub(crate) kept: u64,
    /// What somebody else put there, and is in nobody's way.
    pub(crate) foreign: u64,
    /// Files and folders that cannot be read from the store.
    pub(crate) damaged: u64,
    /// Files that this machine would not take.
    pub(crate) refused: u64,
    pub(crate) bytes_written: u64,
    /// What files and folders lack, and how many lack it.
    pub(crate) not_applied: BTreeMap<String, u64>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirrorProblemItem {
    pub(crate) kind: MirrorProblem,
    /// Below the target.
    pub(crate) path: String,
    pub(crate) message: String,
}

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MirrorProblem {
    /// Changed by hand, or in the way: it stays.
    Kept,
    /// Somebody else's, and in nobody's way.
    Foreign,
    /// The store does not have it any more.
    Damaged,
    /// This machine would not take it.
    Refused,
}

/// Tells and counts.
pub(super) struct Teller<'a> {
    pub(super) report: MirroredItem,
    entries: u64,
    bytes: u64,
    told: Instant,
    emit: &'a mut dyn FnMut(Item),
    is_wanted: &'a dyn Fn() -> bool,
}

impl<'a> Teller<'a> {
    pub(super) fn new(report: MirroredItem, emit: &'a mut dyn FnMut(Item), is_wanted: &'a dyn Fn() -> bool) -> Self {
        Self { report, entries: 0, bytes: 0, told: Instant::now(), emit, is_wanted }
    }

    /// One more entry is gone through.
    ///
    /// # Errors
    /// When nobody wants more.
    pub(super) fn entry(&mut self) -> Result<(), Failure> {
        self.entries += 1;
        self.go_on()
    }

    /// More bytes were read.
    ///
    /// # Errors
    /// When nobody wants more.
    pub(super) fn bytes(&mut self, len: u64) -> Result<(), Failure> {
        self.bytes += len;
        self.go_on()
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        if !(self.is_wanted)() {
            return Err(Failure::new(FailureKind::Unavailable, "the mirror was stopped before it was done")
                .hint("what is there is right; the next run goes on from there"));
        }
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            // Bytes are part of it, so that a file of any length shows that somebody is at work.
            let stage = format!("mirroring, {} MiB read", self.bytes >> 20);
            (self.emit)(Item::Progress(ProgressItem {
                stage,
                unit: "entries".to_owned(),
                done: self.entries,
                total: 0,
            }));
        }
        Ok(())
    }

    pub(super) fn problem(&mut self, kind: MirrorProblem, path: &[u8], message: impl Into<String>) {
        let report = &mut self.report;
        let count = match kind {
            MirrorProblem::Kept => &mut report.kept,
            MirrorProblem::Foreign => &mut report.foreign,
            MirrorProblem::Damaged => &mut report.damaged,
            MirrorProblem::Refused => &mut report.refused,
        };
        *count += 1;
        if *count <= TOLD_MAX {
            let path = String::from_utf8_lossy(path).escape_debug().to_string();
            (self.emit)(Item::MirrorProblem(MirrorProblemItem { kind, path, message: message.into() }));
        }
    }

    /// This machine would not take something; when it is full, that is the end.
    ///
    /// # Errors
    /// When it is full.
    pub(super) fn refused(&mut self, path: &[u8], error: &HostError) -> Result<(), Failure> {
        if error.kind() == HostErrorKind::Full {
            return Err(Failure::new(FailureKind::Unavailable, "the target of the mirror is full")
                .because(error)
                .hint("make room there; the next run goes on from where this one stopped"));
        }
        self.problem(MirrorProblem::Refused, path, told(error));
        Ok(())
    }

    pub(super) fn lacking(&mut self, lacking: &[NotApplied]) {
        for NotApplied { aspect, reason } in lacking {
            // Names of attributes are somebody's data.
            let aspect = match aspect {
                Aspect::Xattr(_) => "Xattr".to_owned(),
                aspect => format!("{aspect:?}"),
            };
            let reason = match reason {
                Reason::Refused(kind) => kind.to_string(),
                reason => format!("{reason:?}"),
            };
            *self.report.not_applied.entry(format!("{aspect}: {reason}")).or_default() += 1;
        }
    }

    pub(super) fn placed(&mut self, placement: Placement) {
        let report = &mut self.report;
        *match placement {
            Placement::Reflink => &mut report.reflinked,
            Placement::HardLink => &mut report.linked,
            Placement::Copy(_) => &mut report.copied,
        } += 1;
    }

    /// How many things are not as they should be, what is in nobody's way left out.
    pub(super) fn problems(&self) -> u64 {
        let MirroredItem { kept, damaged, refused, .. } = self.report;
        kept + damaged + refused
    }
}

impl MirroredItem {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let Self { source, target, written, linked, reflinked, copied, unchanged, removed, .. } = self;
        let target = target.escape_debug();
        let would = if self.is_dry_run { ", nothing was changed; a run would do this" } else { "" };
        let mut text = format!(
            "{}: {target}{would}\n  written {written}, linked {linked}, reflinked {reflinked}, copied {copied}, \
             unchanged {unchanged}, removed {removed}",
            source.escape_debug()
        );
        let more = [
            (self.kept, "changed by hand or in the way, left as they are"),
            (self.foreign, "of somebody else, left alone"),
            (self.damaged, "that cannot be read from the store"),
            (self.refused, "that could not be made or removed here"),
        ];
        more.iter()
            .filter(|(count, _)| *count > 0)
            .for_each(|(count, what)| text.push_str(&format!("\n  {count} {what}")));
        self.not_applied.iter().for_each(|(what, count)| text.push_str(&format!("\n  {count} without {what}")));
        text
    }
}
