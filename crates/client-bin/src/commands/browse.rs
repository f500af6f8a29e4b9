//! `snapshots` and `ls`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use client::{ClientError, SnapshotPath, SnapshotSummary};
use serde_json::{Value, json};
use vault::{Entry, EntryKind};

use super::Context;
use crate::failure::Exit;
use crate::words;

pub(super) fn snapshots(context: &mut Context, chain: Option<&str>, in_trash: bool) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let summaries = client::snapshots(&line, chain, in_trash)?;
    context.watch.finish();
    let is_damaged = summaries.iter().any(|summary| summary.details.is_err());
    if summaries.is_empty() && in_trash {
        context.output.line("the trash is empty")?;
    } else if summaries.is_empty() {
        context.output.line("no snapshots yet: backup-client backup PATH makes the first")?;
    } else {
        context
            .output
            .line(&format!("{:8}  {:19}  {:12}  {:>11}  {:>10}  PATHS", "ID", "RECEIVED", "CHAIN", "SIZE", "STORED"))?;
    }
    for summary in summaries.iter().rev() {
        context.output.event(&snapshot_json(summary))?;
        context.output.line(&snapshot_line(summary))?;
    }
    Ok(if is_damaged { Exit::Integrity } else { Exit::Done })
}

fn snapshot_json(summary: &SnapshotSummary) -> Value {
    let mut value = json!({
        "event": "snapshot",
        "snapshot": summary.id.to_string(),
        "chain": summary.chain,
        "device": summary.device,
        "seq": summary.seq,
        "received": words::utc_time(summary.received_ms),
        "bytes_stored": summary.bytes_stored,
        "held": summary.is_held,
        "trashed": summary.trashed_ms.map(words::utc_time),
        "purge": summary.purge_ms.map(words::utc_time),
        "verified": summary.verified_ms.map(words::utc_time),
        "drilled": summary.drilled_ms.map(words::utc_time),
        "damaged": summary.is_damaged,
    });
    match &summary.details {
        Ok(details) => {
            value["started"] = json!(words::utc_instant(details.started.secs, details.started.nanos));
            value["host"] = json!(details.host);
            value["user"] = json!(details.user);
            value["software"] = json!(details.software);
            value["paths"] = details.roots.iter().map(|root| words::json_name(root)).collect();
            value["excludes"] = json!(details.excludes);
            value["files"] = json!(details.files);
            value["directories"] = json!(details.directories);
            value["others"] = json!(details.others);
            value["bytes"] = json!(details.bytes);
            value["problems"] = json!(details.problems);
        }
        Err(error) => value["damaged"] = json!(error),
    }
    value
}

fn snapshot_line(summary: &SnapshotSummary) -> String {
    let (size, paths) = match &summary.details {
        Ok(details) => {
            let paths: Vec<String> =
                details.roots.iter().map(|root| words::path(Path::new(std::ffi::OsStr::from_bytes(root)))).collect();
            let problems = (details.problems > 0).then(|| words::counted(details.problems, "problem", "problems"));
            let marks: Vec<String> = problems.into_iter().chain(marks(summary)).collect();
            let marks = if marks.is_empty() { String::new() } else { format!("  ({})", marks.join(", ")) };
            (words::bytes(details.bytes), paths.join(" ") + &marks)
        }
        Err(error) => ("?".to_owned(), format!("cannot be read: {}", words::escape(error))),
    };
    format!(
        "{:8}  {:19}  {:12}  {:>11}  {:>10}  {}",
        summary.id.short(),
        words::local_time(summary.received_ms),
        words::escape(&summary.chain),
        size,
        words::bytes(summary.bytes_stored),
        paths
    )
}

/// What is special about a snapshot.
fn marks(summary: &SnapshotSummary) -> Vec<String> {
    let held = summary.is_held.then(|| "held".to_owned());
    let purge = summary.purge_ms.map(|at| format!("in the trash until {}", words::local_time(at)));
    let damaged = summary.is_damaged.then(|| "damaged: `backup-server verify` tells what".to_owned());
    let verified = summary.verified_ms.map(|at| format!("verified {}", words::local_time(at)));
    let drilled = summary.drilled_ms.map(|at| format!("drilled {}", words::local_time(at)));
    [held, purge, damaged, verified, drilled].into_iter().flatten().collect()
}

pub(super) fn ls(
    context: &mut Context,
    at: &SnapshotPath,
    is_recursive: bool,
    chain: Option<&str>,
) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let found = client::find(&line, at, chain)?;
    context.watch.finish();
    // A whole snapshot is listed as a whole; in a directory that was named, people look for what is in it.
    let is_recursive = is_recursive || at.path.is_none();
    let above = at.path.as_deref().unwrap_or(Path::new("/"));
    let is_directory = client::tree_of(&found.node).is_some();
    let output = &mut context.output;
    client::list(&line, &found, is_recursive, &mut |path, entry| {
        let path = if is_directory { Path::new("/").join(above).join(path) } else { Path::new("/").join(above) };
        output.event(&entry_json(&path, entry))?;
        output.line(&entry_line(&path, entry))
    })?;
    Ok(Exit::Done)
}

fn entry_json(path: &Path, entry: &Entry) -> Value {
    let metadata = &entry.metadata;
    let mut value = json!({
        "event": "entry",
        "path": words::json_name(path.as_os_str().as_bytes()),
        "type": kind_word(&entry.kind),
        "mode": metadata.mode,
        "uid": metadata.uid,
        "gid": metadata.gid,
        "mtime": words::utc_instant(metadata.mtime.secs, metadata.mtime.nanos),
    });
    match &entry.kind {
        EntryKind::File { size, .. } => value["size"] = json!(size),
        EntryKind::Symlink { target } => value["target"] = words::json_name(target),
        _ => {}
    }
    if metadata.changed_while_read {
        value["changed_while_read"] = json!(true);
    }
    value
}

fn kind_word(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::Directory { .. } => "directory",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::CharDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
    }
}

fn entry_line(path: &Path, entry: &Entry) -> String {
    let letter = match &entry.kind {
        EntryKind::File { .. } => '-',
        EntryKind::Directory { .. } => 'd',
        EntryKind::Symlink { .. } => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
        EntryKind::CharDevice { .. } => 'c',
        EntryKind::BlockDevice { .. } => 'b',
    };
    let metadata = &entry.metadata;
    let size = match &entry.kind {
        EntryKind::File { size, .. } => words::bytes(*size),
        _ => String::new(),
    };
    let mtime = u64::try_from(metadata.mtime.secs)
        .map_or_else(|_| "before 1970".to_owned(), |secs| words::local_time(secs.saturating_mul(1000)));
    let target = match &entry.kind {
        EntryKind::Symlink { target } => format!(" -> {}", words::path(Path::new(std::ffi::OsStr::from_bytes(target)))),
        _ => String::new(),
    };
    format!("{letter}{}  {size:>11}  {mtime:19}  {}{target}", permissions(metadata.mode), words::path(path))
}

/// `rwxr-xr-x`, with set-id and sticky bits as `ls` shows them.
fn permissions(mode: u32) -> String {
    let bit = |mask: u32, letter: char| if mode & mask == 0 { '-' } else { letter };
    let execute = |mask: u32, special: u32, lower: char, upper: char| match (mode & mask != 0, mode & special != 0) {
        (true, true) => lower,
        (false, true) => upper,
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't', 'T'),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::permissions;

    #[test]
    fn permissions_look_as_in_ls() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4755), "rwsr-xr-x");
        assert_eq!(permissions(0o2644), "rw-r-Sr--");
        assert_eq!(permissions(0o1777), "rwxrwxrwt");
        assert_eq!(permissions(0), "---------");
    }
}
