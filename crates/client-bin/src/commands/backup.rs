//! `backup`.

use std::path::PathBuf;

use client::{BackupJob, BackupReport, ClientError, Connection};
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::{machine, words};

pub(super) fn backup(
    context: &mut Context,
    paths: &[PathBuf],
    chain: &str,
    excludes: &[String],
    reread_every: u32,
) -> Result<Exit, ClientError> {
    let connection = Connection::load(&context.folders)?;
    let current_dir = std::env::current_dir().map_err(|source| ClientError::Io {
        verb: "look up",
        path: "the current directory".into(),
        source,
    })?;
    let job = BackupJob {
        paths: paths.to_vec(),
        current_dir,
        chain: chain.to_owned(),
        excludes: excludes.to_vec(),
        host: machine::host(),
        user: machine::user(),
        reread_every,
        max_wait: context.max_wait,
    };
    let report = client::backup(&connection, None, &context.folders, &job, &*context.watch)?;
    let duration = context.watch.finish();
    let is_partial = report.problems.iter().any(|problem| problem.is_loss);
    let exit = if is_partial { Exit::Partial } else { Exit::Done };
    context.output.event(&json!({
        "event": "committed",
        "snapshot": report.snapshot.to_string(),
        "chain": chain,
        "seq": report.seq,
        "files": report.files,
        "directories": report.directories,
        "others": report.others,
        "bytes": report.bytes,
        "bytes_read": report.bytes_read,
        "full_read": report.is_full_read,
        "bytes_sent": report.traffic.sent,
        "bytes_received": report.traffic.received,
        "wire_bytes_sent": report.wire_traffic.sent,
        "wire_bytes_received": report.wire_traffic.received,
        "bytes_stored": report.bytes_stored,
        "objects_stored": report.objects_stored,
        "delta_objects": report.delta_objects,
        "problems": report.problems.len(),
        "seconds": duration.as_secs_f64(),
        "server_time": words::utc_time(report.server_time_ms),
    }))?;
    let BackupReport { files, directories, others, bytes, bytes_read, traffic, bytes_stored, .. } = report;
    let mut what =
        vec![words::counted(files, "file", "files"), words::counted(directories, "directory", "directories")];
    if others > 0 {
        what.push(words::counted(others, "other", "others"));
    }
    let short = report.snapshot.short();
    context.output.summary(&format!("snapshot {short}: {}, {}", what.join(", "), words::bytes(bytes)))?;
    context.output.summary(&format!(
        "  read {}, sent {}, received {}, stored {} ({}), took {}",
        words::bytes(bytes_read),
        words::bytes(traffic.sent),
        words::bytes(traffic.received),
        words::bytes(bytes_stored),
        words::counted(report.delta_objects, "delta", "deltas"),
        words::duration(duration),
    ))?;
    if is_partial {
        let problems = words::counted(report.problems.len() as u64, "file", "files");
        context.output.summary(&format!("  {problems} with problems: see the warnings above"))?;
    }
    Ok(exit)
}
