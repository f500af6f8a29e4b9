//! [`check`]: no length that comes from outside reaches an allocator unseen. In the crates that decode, room is made for what
//! is in memory (`….len()`) and for constants; anything else says in a comment before it by what it is bounded.

use std::fs;
use std::path::Path;

use crate::run::{Outcome, workspace};

/// Crates that decode what may come from anyone.
const CRATES: [&str; 7] = ["client", "delta-core", "object", "proto", "rescue", "store", "vault"];
/// What makes room; the length is the first argument, or stands behind the semicolon.
const CALLS: [&str; 5] = ["with_capacity(", ".reserve(", ".reserve_exact(", ".resize(", "vec!["];
/// How a comment on one of the three lines before begins.
const REASON: &str = "// Bounded: ";

/// Complains of room that is made for a length nobody vouches for.
pub fn check() -> Outcome {
    let mut complaints = Vec::new();
    for name in CRATES {
        look_below(&workspace().join("crates").join(name).join("src"), &mut complaints)?;
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

fn look_below(folder: &Path, complaints: &mut Vec<String>) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() {
            look_below(&path, complaints)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let shown = path.strip_prefix(workspace()).unwrap_or(&path).display().to_string();
            complaints.extend(unbounded(&text).into_iter().map(|(line, length)| {
                format!("{shown}:{line}: room is made for `{length}`: say before it `{REASON}…`, and make it true")
            }));
        }
    }
    Ok(())
}

/// Lines, from 1, that make room for a length of which nobody says how it is bounded; and that length.
fn unbounded(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let code_count = lines.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(lines.len());
    let mut found = Vec::new();
    for (index, line) in lines[..code_count].iter().enumerate() {
        let has_reason = lines[index.saturating_sub(3)..index].iter().any(|line| line.trim().starts_with(REASON));
        if line.trim().starts_with("//") || has_reason {
            continue;
        }
        let lengths = CALLS.iter().filter_map(|call| length_of(line, call));
        found.extend(lengths.filter(|length| !is_vouched_for(length)).map(|length| (index + 1, length)));
    }
    found
}

/// The length that `call` makes room for in this line.
fn length_of(line: &str, call: &str) -> Option<String> {
    let (_, rest) = line.split_once(call)?;
    let mut depth = 0;
    let mut argument = String::new();
    for letter in rest.chars() {
        match letter {
            ')' | ']' if depth == 0 => break,
            ')' | ']' => depth -= 1,
            '(' | '[' => depth += 1,
            ',' if depth == 0 && call != "vec![" => break,
            _ => {}
        }
        argument.push(letter);
    }
    match call {
        // A list of elements is as long as it looks.
        "vec![" => argument.rsplit_once("; ").map(|(_, length)| length.to_owned()),
        _ => Some(argument),
    }
}

/// Whether a length is made of constants, numbers and lengths of what is in memory alone.
fn is_vouched_for(length: &str) -> bool {
    let words =
        length.split(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '.' | '(' | ')' | ':')));
    words.filter(|word| !word.is_empty()).all(|word| {
        let word = word.trim_start_matches("usize::from").trim_matches(['(', ')']);
        let name = word.rsplit("::").next().unwrap_or(word);
        let is_constant =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        is_constant || word.is_empty() || word.ends_with(".len(") || word.ends_with(".len")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let found: Vec<String> = unbounded(line).into_iter().map(|(_, length)| length).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn lengths_from_outside_are_told_from_others() {
        check("let v = Vec::with_capacity(ids.len());", &[]);
        check("let v = Vec::with_capacity(bytes.len() * 2 + CRC_LEN);", &[]);
        check("out.resize(8 * ObjectId::LEN, 0);", &[]);
        check("let v = vec![0; HEADER_LEN];", &[]);
        check("let v = vec![count, len];", &[]);
        check("let v = Vec::with_capacity(count);", &["count"]);
        check("let v = vec![0; len as usize];", &["len as usize"]);
        check("out.reserve(frame.declared_len());", &["frame.declared_len()"]);
        check("out.resize(at + len, 0);", &["at + len"]);
        check("// Vec::with_capacity(count)", &[]);
        check("// Bounded: by the file.\nlet v = vec![0; len];", &[]);
        check("#[cfg(test)]\nlet v = vec![0; len];", &[]);
    }
}
