//! `list`: a directory of this machine, in the same shape as `rlist`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use client::ClientError;
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::words;

pub(super) fn list(context: &mut Context, dir: &Path) -> Result<Exit, ClientError> {
    context.watch.finish();
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ClientError::NotFound { what: format!("directory {}", dir.display()) },
        _ => ClientError::Io { verb: "list", path: dir.to_owned(), source },
    };
    let entries: Result<Vec<_>, _> = fs::read_dir(dir).map_err(failed)?.collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata().map_err(failed)?;
        let name = entry.file_name();
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => "directory",
            kind if kind.is_file() => "file",
            kind if kind.is_symlink() => "symlink",
            _ => "other",
        };
        context.output.event(&json!({
            "event": "entry",
            "name": words::json_name(name.as_bytes()),
            "type": kind,
            "size": metadata.len(),
            "mtime": words::utc_instant(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0)),
            "mode": metadata.mode() & 0o7777,
        }))?;
        let mtime = words::local_time(u64::try_from(metadata.mtime()).unwrap_or(0).saturating_mul(1000));
        let (size, slash) = match kind {
            "directory" => (String::new(), "/"),
            _ => (words::bytes(metadata.len()), ""),
        };
        context.output.line(&format!("{size:>11}  {mtime:19}  {}{slash}", words::path(Path::new(&name))))?;
    }
    Ok(Exit::Done)
}
