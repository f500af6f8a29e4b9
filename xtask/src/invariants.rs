//! [`check`]: the table of invariants in `docs/architecture.md` has a row for each, and every test it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::run::{Outcome, workspace};

const PAGE: &str = "docs/architecture.md";
/// `reliability.md` has I-1 to this.
const LAST: u32 = 37;

/// Complains of rows that are missing or say nothing, and of tests that are nowhere in the sources.
pub fn check() -> Outcome {
    let page = fs::read_to_string(workspace().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let sources = Sources::read()?;
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| I-")) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, _, tests, missing, ""] = columns[..] else {
            complaints.push(format!("{PAGE}: a row of the invariants does not have 4 columns: {line}"));
            continue;
        };
        let numbers =
            name.split("I-").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        seen.extend(numbers.filter_map(|number| number.parse::<u32>().ok()));
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && missing.is_empty() {
            complaints.push(format!("{PAGE}: {name} has neither a test nor a word on what is not built"));
        }
        let unknown = named.into_iter().filter(|named| !sources.have(named));
        complaints.extend(unknown.map(|named| format!("{PAGE}: {name} names the test `{named}`, which is nowhere")));
    }
    let missing = (1..=LAST).filter(|number| !seen.contains(number));
    complaints.extend(missing.map(|number| format!("{PAGE}: there is no row for I-{number}")));
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

/// Names in the sources of all crates.
struct Sources {
    /// Of functions.
    functions: BTreeSet<String>,
    /// Of files without their ending, and of folders: crates and modules.
    modules: BTreeSet<String>,
}

impl Sources {
    fn read() -> Outcome<Self> {
        let mut sources = Self { functions: BTreeSet::new(), modules: BTreeSet::new() };
        sources.add(&workspace().join("crates"))?;
        Ok(sources)
    }

    fn add(&mut self, folder: &Path) -> Outcome {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                self.modules.insert(stem);
                self.add(&path)?;
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let functions = text.lines().filter_map(|line| line.split_once("fn ").map(|(_, name)| name));
                let names = functions.filter_map(|name| name.split(['(', '<']).next());
                self.functions.extend(names.map(str::to_owned));
                self.modules.insert(stem);
            }
        }
        Ok(())
    }

    /// Whether there is what a table calls `module::test`, `test`, `module::*`, or by the name of a module alone; `…` stands
    /// for any end or beginning of a name.
    fn have(&self, named: &str) -> bool {
        let mut parts: Vec<&str> = named.split("::").collect();
        let last = parts.pop().unwrap_or_default();
        let is_module = |name: &&str| self.modules.contains(*name);
        // Modules of tests within a file are no files.
        if !parts.iter().filter(|part| **part != "tests").all(is_module) {
            return false;
        }
        let pieces: Vec<&str> = last.trim_end_matches('*').split('…').filter(|piece| !piece.is_empty()).collect();
        let is_it = |name: &String| match pieces[..] {
            [whole] if whole == last => name == whole,
            _ => pieces.iter().all(|piece| name.contains(piece)),
        };
        last == "*" || is_module(&last) || self.functions.iter().any(is_it)
    }
}
