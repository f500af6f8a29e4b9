//! `drill`.

use std::sync::Arc;

use client::{ClientError, Monitor, SnapshotPath};
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::words;

pub(super) fn drill(
    context: &mut Context,
    at: &SnapshotPath,
    sample: usize,
    chain: Option<&str>,
) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let found = client::find(&line, at, chain)?;
    let monitor: Arc<dyn Monitor> = Arc::clone(&context.watch) as _;
    let outcome = client::drill(&line, &found, sample, &context.folders, &monitor)?;
    context.watch.finish();
    let is_sound = outcome.problems.is_empty();
    context.output.event(&json!({
        "event": "drilled",
        "snapshot": outcome.snapshot.to_string(),
        "is_sound": is_sound,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "problems": outcome.problems.len(),
        "seconds": outcome.duration.as_secs_f64(),
        "server_time": words::utc_time(outcome.server_time_ms),
    }))?;
    let what = match is_sound {
        true => "restored and compared".to_owned(),
        false => {
            let problems = words::counted(outcome.problems.len() as u64, "file is not", "files are not");
            format!("restored and compared, {problems} as it should be: see the warnings above")
        }
    };
    context.output.summary(&format!(
        "snapshot {}: {} ({}) {what}, took {}",
        outcome.snapshot.short(),
        words::counted(outcome.files, "file", "files"),
        words::bytes(outcome.bytes),
        words::duration(outcome.duration),
    ))?;
    Ok(if is_sound { Exit::Done } else { Exit::Integrity })
}
