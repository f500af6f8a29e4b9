//! `cargo xtask tidy`: rules of the workspace that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::invariants;
use crate::layout;
use crate::lengths;
use crate::run::{Outcome, cargo, read, workspace};
use crate::secrets;

/// Which crates a crate of the workspace may use. What is not here must not be there.
const EDGES: [(&str, &[&str]); 16] = [
    ("delta-core", &[]),
    ("object", &[]),
    ("vault", &["delta-core", "object"]),
    ("proto", &["object"]),
    ("store", &["object"]),
    ("placement", &[]),
    ("host-fs", &["placement", "vault"]),
    ("client", &["delta-core", "host-fs", "object", "proto", "vault"]),
    ("client-bin", &["client", "host-fs", "proto", "vault"]),
    ("rescue", &["host-fs", "object", "store", "vault"]),
    ("server-bin", &["delta-core", "host-fs", "object", "proto", "rescue", "store", "vault", "web-ui"]),
    ("web-ui", &[]),
    ("testkit", &["store"]),
    ("e2e", &["client-bin", "server-bin"]),
    ("benches", &["object", "store", "testkit"]),
    ("xtask", &["testkit"]),
];
/// Crates that wait for nothing: no runtime below them.
const WITHOUT_RUNTIME: [&str; 9] =
    ["delta-core", "object", "vault", "proto", "store", "placement", "host-fs", "rescue", "web-ui"];
/// The one crate that may decode with it: unmaintained, and dangerous without limits.
const BINCODE_IN: &str = "proto";
/// Words that mark something unfinished.
const UNFINISHED: [&str; 5] = ["todo!(", "unimplemented!(", "FIXME", "XXX", "for now"];
const DECISION_LINES_MAX: usize = 40;
const FILE_LEN_MAX: u64 = 512 * 1024;

pub fn run(arguments: &[&str]) -> Outcome {
    let is_accepted = match arguments {
        [] => false,
        ["--accept-formats"] => true,
        _ => return Err("tidy knows only --accept-formats".to_owned()),
    };
    let checks = [
        edges(),
        files(),
        decisions(),
        invariants::check(),
        layout::check(is_accepted),
        lengths::check(),
        secrets::check(),
    ];
    let complaints: Vec<String> = checks.into_iter().filter_map(Result::err).collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

fn edges() -> Outcome {
    let metadata = read(cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut complaints = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = allowed.get(name) else {
            complaints.push(format!("{name}: a new crate must be added to the table of edges in xtask/src/tidy.rs"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        let used: BTreeSet<&str> = normal.clone().filter_map(|dependency| dependency["name"].as_str()).collect();
        let inside: BTreeSet<&str> =
            normal.filter(|dependency| dependency["path"].is_string()).filter_map(|d| d["name"].as_str()).collect();
        for other in inside.iter().filter(|other| !allowed.contains(other)) {
            complaints.push(format!("{name} must not use {other}: see docs/architecture.md"));
        }
        if WITHOUT_RUNTIME.contains(&name) && used.contains("tokio") {
            complaints.push(format!("{name} must not use tokio"));
        }
        if name != BINCODE_IN && used.contains("bincode") {
            complaints.push(format!("{name} must not use bincode: only {BINCODE_IN} does, under a limit"));
        }
    }
    report(complaints)
}

fn files() -> Outcome {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(workspace());
    let list = read(list)?;
    let mut complaints = Vec::new();
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let path = workspace().join(name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.len() > FILE_LEN_MAX {
            complaints.push(format!("{name}: {} KiB; large files do not belong here", metadata.len() / 1024));
        }
        let is_source = [".rs", ".ts", ".svelte"].iter().any(|ending| name.ends_with(ending));
        if !is_source || name == "xtask/src/tidy.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = UNFINISHED.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{name}:{}: `{word}` marks something unfinished", number + 1));
            }
        }
    }
    report(complaints)
}

fn decisions() -> Outcome {
    let folder = workspace().join("docs/decisions");
    let mut complaints = Vec::new();
    let entries = fs::read_dir(&folder).map_err(|error| format!("docs/decisions: {error}"))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.lines().count();
        if lines > DECISION_LINES_MAX {
            complaints.push(format!("{}: {lines} lines; a decision has at most {DECISION_LINES_MAX}", path.display()));
        }
    }
    report(complaints)
}

fn report(complaints: Vec<String>) -> Outcome {
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}
