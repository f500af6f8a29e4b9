//! `restore`.

use std::path::Path;
use std::sync::Arc;

use client::{ClientError, Monitor, RestoreJob, SnapshotPath};
use host_fs::RestoreOptions;
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::words;

pub(super) fn restore(
    context: &mut Context,
    at: &SnapshotPath,
    target: &Path,
    chain: Option<&str>,
    trust_target: bool,
) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let found = client::find(&line, at, chain)?;
    let snapshot = found.snapshot;
    let options = RestoreOptions { trust_target, ..RestoreOptions::for_this_process() };
    let job = RestoreJob { target: target.to_owned(), options };
    let monitor: Arc<dyn Monitor> = Arc::clone(&context.watch) as _;
    let report = client::restore(&line, found, &job, &monitor)?;
    let duration = context.watch.finish();
    context.output.event(&json!({
        "event": "restored",
        "snapshot": snapshot.to_string(),
        "files": report.files,
        "entries": report.entries,
        "bytes": report.bytes,
        "bytes_sent": report.traffic.sent,
        "bytes_received": report.traffic.received,
        "problems": report.problems.len(),
        "not_applied": report.not_applied,
        "seconds": duration.as_secs_f64(),
    }))?;
    context.output.summary(&format!(
        "restored {} of snapshot {} to {}: {}, {}, took {}",
        words::counted(report.entries, "entry", "entries"),
        snapshot.short(),
        words::path(target),
        words::counted(report.files, "file", "files"),
        words::bytes(report.bytes),
        words::duration(duration),
    ))?;
    for (what, count) in &report.not_applied {
        context
            .output
            .summary(&format!("  not restored for {}: {what}", words::counted(*count, "entry", "entries")))?;
    }
    if !report.problems.is_empty() {
        let problems = words::counted(report.problems.len() as u64, "file", "files");
        context.output.summary(&format!("  {problems} could not be restored: see the warnings above"))?;
    }
    Ok(match (report.is_damaged, report.problems.is_empty()) {
        (true, _) => Exit::Integrity,
        (false, false) => Exit::Partial,
        (false, true) => Exit::Done,
    })
}
