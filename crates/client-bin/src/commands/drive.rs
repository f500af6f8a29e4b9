//! `put`, `get`, `rlist`, `rm`: the drive.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use client::{ClientError, DriveItem, GetTarget};
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::words;

pub(super) fn put(context: &mut Context, files: &[PathBuf], to: &OsStr) -> Result<Exit, ClientError> {
    let mut all = Vec::new();
    for file in files {
        all.extend(client::files_below(file, trimmed(to))?);
    }
    let line = context.line()?;
    let report = client::put(&line, &context.folders, &all, &*context.watch)?;
    let duration = context.watch.finish();
    for file in &report.files {
        context.output.event(&json!({
            "event": "put",
            "path": words::json_name(&file.target),
            "size": file.size,
            "version": file.version,
            "identical": file.is_identical,
        }))?;
        let state = if file.is_identical { "identical, nothing to do" } else { "saved" };
        let path = words::path(Path::new(OsStr::from_bytes(&file.target)));
        context.output.summary(&format!("{path}: version {}, {}, {state}", file.version, words::bytes(file.size)))?;
    }
    context.output.event(&json!({
        "event": "committed",
        "files": report.files.len(),
        "bytes_read": report.bytes_read,
        "bytes_sent": report.traffic.sent,
        "bytes_received": report.traffic.received,
        "bytes_stored": report.bytes_stored,
        "delta_objects": report.delta_objects,
        "problems": report.problems.len(),
        "seconds": duration.as_secs_f64(),
        "server_time": words::utc_time(report.server_time_ms),
    }))?;
    context.output.summary(&format!(
        "read {}, sent {}, received {}, stored {}, took {}",
        words::bytes(report.bytes_read),
        words::bytes(report.traffic.sent),
        words::bytes(report.traffic.received),
        words::bytes(report.bytes_stored),
        words::duration(duration),
    ))?;
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Partial })
}

pub(super) fn get(context: &mut Context, path: &OsStr, file: Option<&Path>) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let name = Path::new(path).file_name().unwrap_or(path);
    let bytes = match file {
        Some(file) if file == Path::new("-") => {
            let target = GetTarget::Stream(&mut std::io::stdout());
            client::get(&line, trimmed(path), target, &*context.watch)?;
            return Ok(Exit::Done);
        }
        Some(file) if file.is_dir() => {
            client::get(&line, trimmed(path), GetTarget::File(&file.join(name)), &*context.watch)?
        }
        Some(file) => client::get(&line, trimmed(path), GetTarget::File(file), &*context.watch)?,
        None => client::get(&line, trimmed(path), GetTarget::File(Path::new(name)), &*context.watch)?,
    };
    let duration = context.watch.finish();
    context.output.event(&json!({
        "event": "got",
        "path": words::json_name(path.as_bytes()),
        "size": bytes,
        "bytes_received": line.traffic().received,
        "seconds": duration.as_secs_f64(),
    }))?;
    let shown = words::path(Path::new(path));
    context.output.summary(&format!("{shown}: {}, took {}", words::bytes(bytes), words::duration(duration)))?;
    Ok(Exit::Done)
}

pub(super) fn list(context: &mut Context, dir: &OsStr) -> Result<Exit, ClientError> {
    let line = context.line()?;
    let items = client::list_drive(&line, trimmed(dir))?;
    context.watch.finish();
    for DriveItem { name, file } in &items {
        let shown = words::path(Path::new(OsStr::from_bytes(name)));
        match file {
            None => {
                context.output.event(&json!({
                    "event": "entry", "name": words::json_name(name), "type": "directory",
                }))?;
                context.output.line(&format!("{:>11}  {:19}  {shown}/", "", ""))?;
            }
            Some(file) => {
                let (secs, nanos) = file.mtime;
                context.output.event(&json!({
                    "event": "entry",
                    "name": words::json_name(name),
                    "type": "file",
                    "size": file.size,
                    "mtime": words::utc_instant(secs, nanos),
                    "mode": file.mode,
                    "version": file.version,
                }))?;
                let mtime = words::local_time(u64::try_from(secs).unwrap_or(0).saturating_mul(1000));
                context.output.line(&format!("{:>11}  {mtime:19}  {shown}", words::bytes(file.size)))?;
            }
        }
    }
    Ok(Exit::Done)
}

pub(super) fn remove(context: &mut Context, path: &OsStr) -> Result<Exit, ClientError> {
    let line = context.line()?;
    client::remove(&line, trimmed(path))?;
    context.output.event(&json!({ "event": "removed", "path": words::json_name(path.as_bytes()) }))?;
    let shown = words::path(Path::new(path));
    context.output.summary(&format!("{shown} is in the trash; `undelete --drive {shown}` brings it back"))?;
    Ok(Exit::Done)
}

/// A path on the drive without the slashes that people put around it.
pub(super) fn trimmed(path: &OsStr) -> &[u8] {
    let mut bytes = path.as_bytes();
    while let Some(rest) = bytes.strip_prefix(b"/") {
        bytes = rest;
    }
    while let Some(rest) = bytes.strip_suffix(b"/") {
        bytes = rest;
    }
    bytes
}
