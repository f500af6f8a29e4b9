//! `cargo xtask bench`: the criterion benches of a crate, or of all, and a table of what they measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use crate::rdiff;
use crate::run::{Outcome, cargo, run as run_command, target_dir};

/// Names a person types, and the packages whose benches they stand for.
const SETS: [(&str, &[&str]); 4] = [
    ("delta", &["delta-core"]),
    ("store", &["store"]),
    ("search", &["server-bin"]),
    ("all", &["delta-core", "host-fs", "store", "server-bin"]),
];

/// Last part of the name of a bench that does another's work by other means.
const PEERS: [&str; 2] = ["fast_rsync", "memcpy"];
/// Stands in for a peer that a bench does not have beside it.
const CEILING: &str = "ceiling";

pub fn run(arguments: &[&str]) -> Outcome {
    let name = match arguments {
        [] => "all",
        [name] => name,
        _ => return Err("bench takes one of delta, store, search, all, or peers and its arguments".to_owned()),
    };
    let set = SETS.iter().find(|(known, _)| *known == name);
    let (_, packages) = set.ok_or_else(|| format!("there is no bench {name}: delta, store, search, all or peers"))?;
    let start = SystemTime::now();
    for package in *packages {
        run_command(cargo(&["bench", "--package", package]))?;
    }
    let mut measured = BTreeMap::new();
    collect(&target_dir().join("criterion"), start, &mut measured)?;
    let rdiff = if packages.contains(&"delta-core") { rdiff::measure()? } else { BTreeMap::new() };
    print(&measured, &rdiff);
    Ok(())
}

/// One bench, as criterion recorded it.
struct Measured {
    median_ns: f64,
    /// Bytes that one iteration works on, where the bench says so.
    bytes: Option<f64>,
}

/// Adds what criterion recorded below `folder` since `start`, by the benches' names.
fn collect(folder: &Path, start: SystemTime, measured: &mut BTreeMap<String, Measured>) -> Outcome {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(|error| at(&error))? {
        let path = entry.map_err(|error| at(&error))?.path();
        if path.is_dir() {
            collect(&path, start, measured)?;
        }
    }
    let estimates = folder.join("estimates.json");
    let written = fs::metadata(&estimates).and_then(|metadata| metadata.modified());
    // The same files stand in `base`, for comparison with the next run.
    if !folder.ends_with("new") || !written.is_ok_and(|written| written >= start) {
        return Ok(());
    }
    let [estimates, bench] = [estimates, folder.join("benchmark.json")].map(|path| {
        let text = fs::read_to_string(path).map_err(|error| at(&error))?;
        serde_json::from_str::<Value>(&text).map_err(|error| at(&error))
    });
    let (estimates, bench) = (estimates?, bench?);
    let name = bench["full_id"].as_str().ok_or_else(|| at(&"the bench has no name"))?;
    let median_ns = estimates["median"]["point_estimate"].as_f64().ok_or_else(|| at(&"the bench has no median"))?;
    let bytes = bench["throughput"]["Bytes"].as_f64();
    measured.insert(name.to_owned(), Measured { median_ns, bytes });
    Ok(())
}

/// A line for each bench: its median, and how many times as fast as its peers it was; `rdiff` has that program's speeds, in
/// bytes per nanosecond.
fn print(measured: &BTreeMap<String, Measured>, rdiff: &BTreeMap<String, f64>) {
    println!("\n{:40} {:>12} {:>8} {:>12} {:>8} {:>8}", "", "median", "GB/s", "x fast_rsync", "x memcpy", "x rdiff");
    for (name, Measured { median_ns, bytes }) in measured {
        if PEERS.iter().any(|peer| name.ends_with(&format!("/{peer}"))) {
            continue;
        }
        let speed = bytes.map(|bytes| bytes / median_ns);
        let [fast_rsync, memcpy] = PEERS.map(|peer| {
            let peer = measured.get(&format!("{name}/{peer}")).or_else(|| measured.get(&format!("{CEILING}/{peer}")));
            peer.filter(|peer| peer.bytes == *bytes).map(|peer| peer.median_ns / median_ns)
        });
        let rdiff = speed.zip(rdiff.get(name)).map(|(speed, rdiff)| speed / rdiff);
        let [speed, fast_rsync, memcpy, rdiff] = [speed, fast_rsync, memcpy, rdiff]
            .map(|number| number.map_or(String::new(), |number| format!("{number:.2}")));
        println!("{name:40} {:>9.1} us {speed:>8} {fast_rsync:>12} {memcpy:>8} {rdiff:>8}", median_ns / 1000.0);
    }
}
