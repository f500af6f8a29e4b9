//! `verify`.

use client::{ClientError, SnapshotPath};
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::words;

pub(super) fn verify(context: &mut Context, at: &SnapshotPath, chain: Option<&str>) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let found = client::find(&line, at, chain)?;
    let report = client::verify(&line, &found, &*context.watch)?;
    let duration = context.watch.finish();
    let is_sound = report.problems.is_empty();
    context.output.event(&json!({
        "event": "verified",
        "snapshot": found.snapshot.to_string(),
        "is_sound": is_sound,
        "files": report.files,
        "bytes": report.bytes,
        "bytes_checked": report.bytes_checked,
        "bytes_received": report.traffic.received,
        "problems": report.problems.len(),
        "seconds": duration.as_secs_f64(),
    }))?;
    let what = if is_sound {
        "can be restored".to_owned()
    } else {
        let problems = words::counted(report.problems.len() as u64, "problem", "problems");
        format!("is damaged: {problems}, see the warnings above")
    };
    context.output.summary(&format!(
        "snapshot {} {what}: {}, {}, {} read and checked, took {}",
        found.snapshot.short(),
        words::counted(report.files, "file", "files"),
        words::bytes(report.bytes),
        words::bytes(report.bytes_checked),
        words::duration(duration),
    ))?;
    Ok(if is_sound { Exit::Done } else { Exit::Integrity })
}
