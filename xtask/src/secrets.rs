//! [`check`]: nobody shows or compares a secret by accident. A type that holds one (which is what [`HOLDS`] says) derives
//! neither `Debug` nor `PartialEq`: what shows is written by hand and shows nothing, what compares takes the same time wherever
//! two differ.

use std::fs;
use std::path::Path;

use crate::run::{Outcome, workspace};

/// Fields that are wiped are secret; so are the keys of hashes.
const HOLDS: [&str; 2] = ["Zeroizing<", "blake3_key: ["];
/// So are plain texts and bytes that are called like this.
const NAMED: [&str; 6] = ["secret", "password", "passphrase", "recovery_codes", "setup_link", "enrolment"];
const CALLED: [&str; 3] = ["Secret", "Recovery", "Password"];
const PLAIN: [&str; 5] = ["String", "Option<String>", "Vec<String>", "Vec<u8>", "[u8;"];
/// Wiped when dropped, as a whole.
const WIPED: &str = "ZeroizeOnDrop";
const FORBIDDEN: [&str; 3] = ["Debug", "PartialEq", "Hash"];
/// The one type that compares itself, in constant time.
const COMPARES: &str = "crates/proto/src/message/secret.rs";

/// Complains of types that hold secrets and derive what they should not.
pub fn check() -> Outcome {
    let mut complaints = Vec::new();
    let crates = workspace().join("crates");
    for entry in fs::read_dir(&crates).map_err(|error| format!("crates: {error}"))? {
        let source = entry.map_err(|error| error.to_string())?.path().join("src");
        if source.is_dir() {
            look_below(&source, &mut complaints)?;
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

fn look_below(folder: &Path, complaints: &mut Vec<String>) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            look_below(&path, complaints)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let shown = path.strip_prefix(workspace()).unwrap_or(&path).display().to_string();
            complaints.extend(careless(&text, shown == COMPARES).into_iter().map(|what| format!("{shown}: {what}")));
        }
    }
    Ok(())
}

/// What is wrong with the types of a file that hold secrets.
fn careless(text: &str, may_compare: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut derived = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(names) = line.strip_prefix("#[derive(") {
            derived.push_str(names);
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| word.starts_with("pub")).collect();
        let ["struct" | "enum", name, ..] = words[..] else {
            if !line.starts_with("#[") && !line.starts_with("//") {
                derived.clear();
            }
            continue;
        };
        let mut body = line.to_owned();
        while !body.ends_with(';') && !body.ends_with("{}") {
            match lines.next() {
                None => break,
                Some(line) if line.trim() == "}" => break,
                Some(line) => body.push_str(line),
            }
        }
        if HOLDS.iter().any(|mark| body.contains(mark)) || derived.contains(WIPED) || holds_named(&body) {
            let name = name.split(['(', '<', '{', ';']).next().unwrap_or(name);
            let derives = |trait_name: &&&str| derived.split([',', ')', ' ']).any(|word| word == **trait_name);
            found.extend(
                FORBIDDEN.iter().filter(derives).map(|derive| format!("`{name}` holds a secret and derives {derive}")),
            );
            if !may_compare && text.contains(&format!("PartialEq for {name}")) {
                found.push(format!("`{name}` holds a secret and compares itself"));
            }
        }
        derived.clear();
    }
    found
}

/// Whether a field, variant or type of plain texts or bytes is called like a secret.
fn holds_named(body: &str) -> bool {
    let is_there = |mark: &str| {
        let is_whole = |at: usize| !body[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        body.match_indices(mark).any(|(at, _)| mark.contains('(') || is_whole(at))
    };
    PLAIN.iter().any(|plain| {
        NAMED.iter().any(|name| is_there(&format!("{name}: {plain}")))
            || CALLED.iter().any(|name| is_there(&format!("{name}({plain}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, count: usize) {
        assert_eq!(careless(text, false).len(), count, "{text}");
    }

    #[test]
    fn what_holds_secrets_is_told_from_the_rest() {
        check("#[derive(Clone)]\npub struct Key(Zeroizing<[u8; 32]>);", 0);
        check("#[derive(Clone, Debug)]\npub struct Key(Zeroizing<[u8; 32]>);", 1);
        check(
            "#[derive(Debug, PartialEq, Eq)]\n/// A key.\npub(crate) struct Key {\n    key: Zeroizing<[u8; 32]>,\n}\n",
            2,
        );
        check("#[derive(Debug)]\nstruct A {\n    b: u8,\n}\nstruct Key(Zeroizing<[u8; 32]>);", 0);
        check("#[derive(Clone, ZeroizeOnDrop, PartialEq)]\npub struct Key([u8; 32]);", 1);
        check("#[derive(Debug, PartialEq)]\nenum A {\n    B(Vec<u8>),\n}\n", 0);
        check("#[derive(Debug, PartialEq)]\nenum Code {\n    Digits(u32),\n    Recovery([u8; 8]),\n}\n", 2);
        check("#[derive(Debug)]\npub(crate) struct CodeSecret([u8; 20]);", 1);
        check("#[derive(Debug)]\nstruct Item {\n    name: String,\n    secret: Option<String>,\n}\n", 1);
        check("#[derive(Debug)]\nstruct Item {\n    has_secret: bool,\n    no_secret: String,\n}\n", 0);
        check("#[derive(Debug)]\nstruct Token {\n    secret: Secret<32>,\n}\n", 0);
        check("struct Key(Zeroizing<[u8; 32]>);\nimpl PartialEq for Key {\n}\n", 1);
    }
}
