//! The bounds that the project promises, on data of the size they are promised for. Too large for the tests.

mod crowd;
mod database;
mod folder;
mod generations;
mod image;
mod kills;
mod sparse;
mod tree;
mod uploads;

use testkit::process::Outcome;

use crate::report::Report;

type Line = (&'static str, fn(&mut Report) -> Outcome);

const LINES: [Line; 8] = [
    ("tree", tree::run),
    ("database", database::run),
    ("image", image::run),
    ("sparse", sparse::run),
    ("kills", kills::run),
    ("uploads", uploads::run),
    ("crowd", crowd::run),
    ("folder", folder::run),
];

/// Runs all lines, or those named.
pub fn run(names: &[&str]) -> Outcome {
    if let Some(unknown) = names.iter().find(|name| !LINES.iter().any(|(line, _)| line == *name)) {
        return Err(format!("there is no line {unknown}"));
    }
    let mut report = Report::default();
    for (name, line) in LINES.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        println!("== {name}");
        line(&mut report).map_err(|error| format!("{name}: {error}"))?;
    }
    report.finish()
}
