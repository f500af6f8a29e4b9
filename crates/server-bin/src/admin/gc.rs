//! `backup-server gc`: what an administrator gets to see of a collection.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{GcAction, GcPhase, GcPlan, GcReport, StoreError};

use crate::admin::command::about;
use crate::admin::desk::Desk;
use crate::admin::{Item, ProgressItem};
use crate::collect::{self, Request};
use crate::failure::Failure;
use crate::home::failed;

/// What one cycle found and did; see [`GcReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GcItem {
    pub(crate) epoch: u64,
    pub(crate) dry_run: bool,
    pub(crate) packs_examined: u64,
    pub(crate) bytes_examined: u64,
    pub(crate) objects_live: u64,
    pub(crate) objects_dead: u64,
    pub(crate) objects_lost: u64,
    pub(crate) packs_condemned: u64,
    pub(crate) bytes_condemned: u64,
    pub(crate) packs_reprieved: u64,
    pub(crate) packs_deleted: u64,
    pub(crate) bytes_freed: u64,
    pub(crate) packs_waiting: u64,
    pub(crate) bytes_waiting: u64,
    pub(crate) packs_repacked: u64,
    pub(crate) bytes_repacked: u64,
    pub(crate) bytes_moved: u64,
    pub(crate) copies_dropped: u64,
    pub(crate) staging_removed: u64,
    pub(crate) packs_damaged: Vec<String>,
    pub(crate) refusals: Vec<String>,
}

impl From<GcReport> for GcItem {
    fn from(report: GcReport) -> Self {
        Self {
            epoch: report.epoch,
            dry_run: report.is_dry_run,
            packs_examined: report.packs_examined,
            bytes_examined: report.bytes_examined,
            objects_live: report.objects_live,
            objects_dead: report.objects_dead,
            objects_lost: report.objects_lost,
            packs_condemned: report.packs_condemned,
            bytes_condemned: report.bytes_condemned,
            packs_reprieved: report.packs_reprieved,
            packs_deleted: report.packs_deleted,
            bytes_freed: report.bytes_freed,
            packs_waiting: report.packs_waiting,
            bytes_waiting: report.bytes_waiting,
            packs_repacked: report.packs_repacked,
            bytes_repacked: report.bytes_repacked,
            bytes_moved: report.bytes_moved,
            copies_dropped: report.copies_dropped,
            staging_removed: report.staging_removed,
            packs_damaged: report.packs_damaged.iter().map(ToString::to_string).collect(),
            refusals: report.refusals.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What would be done with a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GcPackItem {
    pub(crate) pack: String,
    /// `condemn`, `delete`, `wait`, `reprieve` or `repack`.
    pub(crate) action: String,
    pub(crate) why: String,
    pub(crate) bytes: u64,
    pub(crate) live_bytes: u64,
}

impl From<GcPlan> for GcPackItem {
    fn from(plan: GcPlan) -> Self {
        let (action, why) = match plan.action {
            GcAction::Condemn => ("condemn", "nothing needs what it holds"),
            GcAction::Delete => ("delete", "nothing has needed what it holds for its time of grace"),
            GcAction::WaitForGrace => ("wait", "its time of grace has not passed"),
            GcAction::WaitForSession => ("wait", "a session from before may still count on it"),
            GcAction::WaitForBackup => ("wait", "no backup of the catalog knows that it may go"),
            GcAction::Reprieve => ("reprieve", "what it holds is needed again"),
            GcAction::Repack => ("repack", "little of what it holds is needed"),
            _ => ("other", "this version has no words for it"),
        };
        let GcPlan { pack, bytes, live_bytes, .. } = plan;
        Self { pack: pack.to_string(), action: action.to_owned(), why: why.to_owned(), bytes, live_bytes }
    }
}

impl Desk<'_> {
    pub(super) fn collect_garbage(
        &self,
        is_now: bool,
        grace_ms: Option<u64>,
        is_dry_run: bool,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let request = Request { is_now, is_dry_run, grace: grace_ms.map(Duration::from_millis) };
        let progress = |phase: GcPhase, done, total| {
            let unit = match phase {
                GcPhase::Census | GcPhase::Tally => "objects",
                GcPhase::Mark => "pages",
                _ => "packs",
            };
            let stage = format!("{phase:?}").to_lowercase();
            emit(Item::Progress(ProgressItem { stage, unit: unit.to_owned(), done, total }));
        };
        let is_stopped = || self.live.is_some_and(|live| live.service.stop.is_cancelled());
        let live = self.live.map(|live| (live.service, &is_stopped as &dyn Fn() -> bool));
        let collected = collect::collect(self.home, request, progress, live);
        if let (Err(error), Some(live)) = (&collected, self.live) {
            live.service.note(error);
        }
        let reports = collected.map_err(|error| match error {
            StoreError::Conflict { .. } => Failure::usage("garbage is being collected already")
                .hint("wait for its end, or for the next run by schedule"),
            error => failed("cannot collect garbage", &error),
        })?;
        collect::note(&reports, self.live.map(|live| live.service));
        for report in reports {
            report.plans.iter().for_each(|plan| emit(Item::GcPack((*plan).into())));
            emit(Item::Gc(Box::new(report.into())));
        }
        Ok(())
    }
}

pub(crate) fn text(item: &GcItem) -> String {
    let would = if item.dry_run { "would be " } else { "" };
    let mut lines = vec![
        format!("needed          {} objects; needed by nothing {}", item.objects_live, item.objects_dead),
        format!("in              {} packs of {}", item.packs_examined, about(item.bytes_examined)),
    ];
    let figures = [
        ("deleted", item.packs_deleted, item.bytes_freed),
        ("condemned", item.packs_condemned, item.bytes_condemned),
        ("rewritten", item.packs_repacked, item.bytes_repacked),
        ("waiting", item.packs_waiting, item.bytes_waiting),
    ];
    for (what, packs, bytes) in figures {
        if packs > 0 {
            lines.push(format!("{:<15} {packs} packs of {}", format!("{would}{what}"), about(bytes)));
        }
    }
    if item.packs_reprieved > 0 {
        lines.push(format!("{:<15} {} packs", format!("{would}needed again"), item.packs_reprieved));
    }
    if item.objects_lost > 0 {
        lines.push(format!("LOST            {} objects are needed and cannot be read", item.objects_lost));
    }
    lines.extend(item.packs_damaged.iter().map(|pack| format!("DAMAGED         pack {pack} was left as it is")));
    lines.extend(item.refusals.iter().map(|refusal| format!("REFUSED         {refusal}")));
    lines.join("\n")
}

pub(super) fn pack_text(item: &GcPackItem) -> String {
    let GcPackItem { pack, action, why, bytes, live_bytes } = item;
    format!("{action:<8}  {pack}  {} of {} needed: {why}", about(*live_bytes), about(*bytes))
}
