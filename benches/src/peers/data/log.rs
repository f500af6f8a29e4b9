//! A log of 500 MB. The next version has 5 MB more at its end.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;

use testkit::process::Outcome;
use testkit::tree::Random;

use crate::peers::options::Scale;

const LEN: u64 = 500_000_000;
const APPENDED_LEN: u64 = 5_000_000;
const PATHS: [&str; 8] =
    ["/", "/login", "/api/v1/items", "/api/v1/items/search", "/static/app.js", "/cart", "/checkout", "/health"];
const AGENTS: [&str; 4] =
    ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Prometheus/2.48.0", "Mozilla/5.0 (iPhone)"];

pub fn make(folder: &Path, scale: Scale) -> Outcome {
    append(&folder.join("access.log"), scale.of(LEN), 27).map_err(|error| error.to_string())
}

pub fn edit(folder: &Path, scale: Scale) -> Outcome<u64> {
    let len = scale.of(APPENDED_LEN);
    append(&folder.join("access.log"), len, 28).map_err(|error| error.to_string())?;
    Ok(len)
}

fn append(file: &Path, len: u64, seed: u64) -> std::io::Result<()> {
    let mut random = Random::new(seed);
    let mut file = BufWriter::new(OpenOptions::new().create(true).append(true).open(file)?);
    let mut written = 0;
    let mut millisecond = seed * 1_000_000_000;
    let mut line = String::new();
    while written < len {
        line.clear();
        millisecond += random.below(40);
        let [a, b] = [random.below(64), random.below(256)];
        let (path, agent) = (random.pick(&PATHS), random.pick(&AGENTS));
        let (status, bytes, micros) =
            (*random.pick(&[200, 200, 200, 304, 404]), random.below(90_000), random.below(900_000));
        writeln!(
            line,
            "{millisecond} 10.0.{a}.{b} \"GET {path} HTTP/1.1\" {status} {bytes} {micros}us \"{agent}\" id={:016x}",
            random.next_u64()
        )
        .expect("strings take everything");
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    file.flush()
}
