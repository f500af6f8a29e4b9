//! Files that define formats: when one changes, `docs/formats.md` must be looked at again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{Outcome, workspace};

/// Files, and folders with all their Rust files.
const SOURCES: [&str; 26] = [
    "crates/server-bin/src/catalog_backup/seal.rs",
    "crates/server-bin/src/mirror/record.rs",
    "crates/client/src/config.rs",
    "crates/client/src/signature_cache.rs",
    "crates/client/src/stat_cache/layout.rs",
    "crates/delta-core/src/cut.rs",
    "crates/delta-core/src/delta.rs",
    "crates/delta-core/src/key.rs",
    "crates/delta-core/src/signature.rs",
    "crates/delta-core/src/strong.rs",
    "crates/delta-core/src/varint.rs",
    "crates/object/src",
    "crates/vault/src/entry.rs",
    "crates/vault/src/fields.rs",
    "crates/vault/src/key_file.rs",
    "crates/vault/src/keys.rs",
    "crates/vault/src/list.rs",
    "crates/vault/src/name.rs",
    "crates/vault/src/paged.rs",
    "crates/vault/src/seal.rs",
    "crates/vault/src/slot.rs",
    "crates/vault/src/snapshot.rs",
    "crates/proto/src/enrolment.rs",
    "crates/proto/src/frame.rs",
    "crates/proto/src/wire",
    "crates/store/src/layout",
];
const MARK: &str = "<!-- layout: ";

/// Compares the fingerprint noted in `formats.md` with that of the sources; with `is_accepted`, notes the new one.
pub fn check(is_accepted: bool) -> Outcome {
    let page = workspace().join("docs/formats.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("docs/formats.md: {error}"))?;
    let now = fingerprint()?;
    let noted = text.lines().find_map(|line| line.strip_prefix(MARK)?.strip_suffix(" -->"));
    if noted == Some(now.as_str()) {
        return Ok(());
    }
    if !is_accepted {
        return Err(
            "a file that defines a format has changed since docs/formats.md was last looked at: bring the page \
                    up to date, then run `cargo xtask tidy --accept-formats`"
                .to_owned(),
        );
    }
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with(MARK)).collect();
    let text = format!("{}\n{MARK}{now} -->\n", kept.join("\n").trim_end());
    fs::write(&page, text).map_err(|error| format!("docs/formats.md: {error}"))
}

/// Of the code only: comments and empty lines may change freely.
fn fingerprint() -> Outcome<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&workspace().join(source), &mut files)?;
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let code = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        for line in code {
            hasher.update(line.as_bytes());
            hasher.update(b"\n");
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            collect(&path, files)?;
        }
    }
    Ok(())
}
