//! `cargo xtask bench`: the criterion benches of a crate, or of all.

use crate::run::{Outcome, cargo, run as run_command};

/// Names a person types, and the packages whose benches they stand for.
const SETS: [(&str, &[&str]); 3] =
    [("delta", &["delta-core"]), ("store", &["store"]), ("all", &["delta-core", "host-fs", "store"])];

pub fn run(arguments: &[&str]) -> Outcome {
    let name = match arguments {
        [] => "all",
        [name] => name,
        _ => return Err("bench takes one of delta, store, all".to_owned()),
    };
    let set = SETS.iter().find(|(known, _)| *known == name);
    let (_, packages) = set.ok_or_else(|| format!("there is no bench {name}: delta, store or all"))?;
    for package in *packages {
        run_command(cargo(&["bench", "--package", package]))?;
    }
    Ok(())
}
