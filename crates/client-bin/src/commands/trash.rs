//! `forget`, `undelete`, `hold`, `unhold`, and `rlist --trash`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use client::{ChangeReport, ClientError, Line, SnapshotName};
use serde_json::json;

use super::Context;
use super::drive::trimmed;
use crate::failure::Exit;
use crate::words;

/// Changes the snapshots that were named.
type Run = fn(&Line, &[SnapshotName], Option<&str>) -> Result<ChangeReport, ClientError>;

/// What a command does to snapshots, and how it is told.
pub(super) struct Change {
    run: Run,
    event: &'static str,
    done: &'static str,
    undone: &'static str,
}

pub(super) const FORGET: Change =
    Change { run: client::forget, event: "forgotten", done: "in the trash", undone: "in the trash already" };
pub(super) const UNDELETE: Change =
    Change { run: client::undelete, event: "undeleted", done: "back from the trash", undone: "not in the trash" };
pub(super) const HOLD: Change =
    Change { run: client::hold, event: "held", done: "held: nothing takes it away", undone: "held already" };
pub(super) const UNHOLD: Change =
    Change { run: client::unhold, event: "unheld", done: "no longer held", undone: "not held" };

pub(super) fn change(
    context: &mut Context,
    change: &Change,
    names: &[SnapshotName],
    chain: Option<&str>,
) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let report = (change.run)(&line, names, chain)?;
    context.watch.finish();
    context.output.event(&json!({
        "event": change.event,
        "snapshots": report.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "changed": report.changed,
        "server_time": words::utc_time(report.server_time_ms),
    }))?;
    let state = if report.changed > 0 { change.done } else { change.undone };
    for snapshot in &report.snapshots {
        context.output.summary(&format!("snapshot {}: {state}", snapshot.short()))?;
    }
    Ok(Exit::Done)
}

pub(super) fn undelete_paths(context: &mut Context, paths: &[OsString]) -> Result<Exit, ClientError> {
    let session = context.line()?.session();
    let trimmed: Vec<Vec<u8>> = paths.iter().map(|path| trimmed(path).to_vec()).collect();
    client::undelete_path(&session, &trimmed)?;
    context.watch.finish();
    for path in paths {
        context.output.event(&json!({ "event": "undeleted", "path": words::json_name(path.as_bytes()) }))?;
        context.output.summary(&format!("{} is back", words::path(Path::new(path))))?;
    }
    Ok(Exit::Done)
}

pub(super) fn list_drive_trash(context: &mut Context) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let files = client::drive_trash(&line)?;
    context.watch.finish();
    for file in &files {
        let kind = if file.size.is_some() { "file" } else { "directory" };
        context.output.event(&json!({
            "event": "trashed",
            "path": words::json_name(&file.path),
            "type": kind,
            "size": file.size,
            "trashed": words::utc_time(file.trashed_ms),
            "purge": words::utc_time(file.purge_ms),
        }))?;
        let size = file.size.map_or_else(String::new, words::bytes);
        let slash = if file.size.is_some() { "" } else { "/" };
        let shown = words::path(Path::new(OsStr::from_bytes(&file.path)));
        let (trashed, purge) = (words::local_time(file.trashed_ms), words::local_time(file.purge_ms));
        context.output.line(&format!("{size:>11}  removed {trashed}  kept until {purge}  {shown}{slash}"))?;
    }
    Ok(Exit::Done)
}
