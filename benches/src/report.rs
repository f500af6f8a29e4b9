//! [`Report`]: what was measured, beside the bound it has to keep; printed as a table in Markdown.

use std::fmt::Write;

/// Lines of measurements; remembers whether any bound was broken.
#[derive(Default)]
pub struct Report {
    table: String,
    broken: Vec<String>,
}

impl Report {
    /// Notes a figure that has no bound.
    pub fn note(&mut self, what: &str, measured: &str) {
        self.line(what, "", measured);
    }

    /// Notes a figure and its bound, in whatever unit `show` writes.
    pub fn at_most(&mut self, what: &str, measured: f64, bound: f64, show: impl Fn(f64) -> String) {
        let is_kept = measured <= bound;
        let text = if is_kept { show(measured) } else { format!("**{}**", show(measured)) };
        self.line(what, &format!("≤ {}", show(bound)), &text);
        if !is_kept {
            self.broken.push(format!("{what}: {} is more than {}", show(measured), show(bound)));
        }
    }

    fn line(&mut self, what: &str, bound: &str, measured: &str) {
        println!("{what:60} {measured:>16} {bound:>16}");
        writeln!(self.table, "| {what} | {bound} | {measured} |").expect("strings take everything");
    }

    /// Prints the table.
    ///
    /// # Errors
    /// The bounds that were broken.
    pub fn finish(self) -> Result<(), String> {
        println!("\n| measured | bound | figure |\n|---|---|---|\n{}", self.table);
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken.join("\n")) }
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

pub fn times(factor: f64) -> String {
    format!("{factor:.3} ×")
}

pub fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1048576.0)
}

pub fn megabytes(bytes: f64) -> String {
    format!("{:.2} MB", bytes / 1e6)
}

pub fn milliseconds(duration: f64) -> String {
    format!("{:.1} ms", duration * 1000.0)
}

pub fn seconds(duration: f64) -> String {
    format!("{duration:.1} s")
}
