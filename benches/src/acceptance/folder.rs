//! A folder of 100,000 files: its first page, and a search in it.

use std::time::Instant;

use testkit::process::{Outcome, Script};

use crate::report::{Report, milliseconds, seconds};
use crate::rig::Rig;

const FILES: u32 = 100_000;
/// Files of one form.
const BATCH: u32 = 1000;
const RUNS: usize = 20;
const FIRST_ROWS_MAX: f64 = 0.5;
const SEARCH_MAX: f64 = 0.2;
const BOUNDARY: &str = "----between-files";

pub fn run(report: &mut Report) -> Outcome {
    let rig = Rig::start_with(&["--plain-http"])?;
    let script = Script::new(&rig.server, "folder")?;
    let begun = Instant::now();
    for first in (0..FILES).step_by(BATCH as usize) {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        script.ask("POST", "/api/v1/files?folder=many", &[("Content-Type", content_type.as_str())], &form(first))?;
    }
    report.note("folder: 100,000 files by forms", &seconds(begun.elapsed().as_secs_f64()));
    for (what, path, bound) in [
        ("first page of 500", "/api/v1/folder?path=many&limit=500", FIRST_ROWS_MAX),
        ("search, rare", "/api/v1/search?q=99999", SEARCH_MAX),
        ("search, everywhere", "/api/v1/search?q=picture", SEARCH_MAX),
        ("search, nowhere", "/api/v1/search?q=nothing+of+that+kind", SEARCH_MAX),
    ] {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let begun = Instant::now();
            script.ask("GET", path, &[], &[])?;
            times.push(begun.elapsed().as_secs_f64());
        }
        let worst = times.iter().copied().fold(0.0, f64::max);
        report.at_most(&format!("folder: {what}, worst of {RUNS}"), worst, bound, milliseconds);
    }
    Ok(())
}

fn form(first: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for number in first..first + BATCH {
        body.extend_from_slice(
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"picture {number}.jpg\"\r\n\r\n\
                 the bytes of {number}\r\n"
            )
            .as_bytes(),
        );
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}
