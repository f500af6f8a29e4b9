//! [`run`]: what a first backup, one of nothing new, and a restore cost while the data grows tenfold and tenfold again. Costs
//! should grow in proportion, and the memory of neither side at all.

mod data;
mod plot;

use std::fs;
use std::path::PathBuf;

use testkit::process::Outcome;

use self::data::Kind;
use self::plot::{Curve, plot};
use crate::peers::cost::{Cost, measure};
use crate::report::mebibytes;
use crate::rig::Rig;

const HELP: &str = "\
usage: cargo xtask bench growth [--files N,N,...] [--gigabytes N,N,...] [--svg FILE]
  --files LIST      numbers of small files [default: 1000,10000,100000]
  --gigabytes LIST  lengths of one file, in GB [default: 1]
  --svg FILE        where a plot goes [default: none is made]";

const RESIDENT_MAX: u64 = 128 << 20;
const PHASES: [&str; 3] = ["first", "unchanged", "restore"];

struct Options {
    sizes: Vec<(Kind, Vec<u64>)>,
    svg: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[&str]) -> Outcome<Self> {
        let mut options =
            Self { sizes: vec![(Kind::Files, vec![1000, 10_000, 100_000]), (Kind::Gigabytes, vec![1])], svg: None };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let value = arguments.next().copied().ok_or_else(|| format!("{argument} wants a value\n{HELP}"))?;
            match argument {
                "--files" => options.sizes[0].1 = numbers(value)?,
                "--gigabytes" => options.sizes[1].1 = numbers(value)?,
                "--svg" => options.svg = Some(PathBuf::from(value)),
                other => return Err(format!("there is no option {other}\n{HELP}")),
            }
        }
        Ok(options)
    }
}

/// Numbers above zero between commas; an empty list has none.
fn numbers(list: &str) -> Outcome<Vec<u64>> {
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let numbers: Option<Vec<u64>> = list.split(',').filter(|text| !text.is_empty()).map(number).collect();
    numbers.ok_or_else(|| format!("{list:?} is no list of numbers above zero\n{HELP}"))
}

/// Measures all sizes and prints a table; every size has a server of its own.
///
/// # Errors
/// When something cannot be measured, or a side needed more memory than it may.
pub fn run(arguments: &[&str]) -> Outcome {
    let options = Options::parse(arguments)?;
    println!("| data | phase | wall | CPU | of it server | CPU a unit | client's memory | server's | load |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut curves, mut too_much) = (Vec::new(), Vec::new());
    // Removed at the end only: to delete many files makes ext4 slow at creating others for minutes.
    let mut rigs = Vec::new();
    for (kind, sizes) in &options.sizes {
        let mut points = vec![Vec::new(); PHASES.len()];
        for size in sizes {
            let rig = Rig::start()?;
            let costs = costs(&rig, *kind, *size)?;
            rigs.push(rig);
            for ((phase, cost), points) in PHASES.iter().zip(costs).zip(&mut points) {
                let name = format!("{size} {}", kind.unit());
                print_line(*kind, *size, phase, &cost);
                points.push((*size as f64, cost.cpu + cost.server_cpu));
                for (side, resident) in [("client", cost.resident), ("server", cost.server_resident)] {
                    if resident > RESIDENT_MAX {
                        too_much.push(format!("{name}, {phase}: the {side} needed {}", mebibytes(resident as f64)));
                    }
                }
            }
        }
        let named = PHASES.iter().zip(points).map(|(phase, points)| Curve { name: (*phase).to_owned(), points });
        curves.push((kind.unit(), named.collect::<Vec<_>>()));
    }
    if let Some(path) = &options.svg {
        fs::write(path, plot(&curves)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if too_much.is_empty() { Ok(()) } else { Err(too_much.join("\n")) }
}

fn costs(rig: &Rig, kind: Kind, size: u64) -> Outcome<[Cost; 3]> {
    let source = rig.source()?;
    data::make(kind, size, &source).map_err(|error| format!("{}: {error}", source.display()))?;
    std::thread::sleep(data::AGE);
    let target = rig.home().join("restored");
    let from = format!("latest:{}", source.display());
    let cost = |arguments: &[&std::ffi::OsStr]| {
        measure(rig.client.command(arguments), Some(rig.server.id())).map(|measured| measured.cost)
    };
    let backup = ["backup".as_ref(), source.as_os_str()];
    let costs = [cost(&backup)?, cost(&backup)?, cost(&["restore".as_ref(), from.as_ref(), target.as_os_str()])?];
    if data::count(&target).map_err(|error| error.to_string())? != kind.file_count(size) {
        return Err(format!("{size} {}: it restored another number of files", kind.unit()));
    }
    Ok(costs)
}

fn print_line(kind: Kind, size: u64, phase: &str, cost: &Cost) {
    let Cost { wall, cpu, server_cpu, resident, server_resident, load, .. } = *cost;
    let all = cpu + server_cpu;
    let each = kind.show_each(all / size as f64);
    let [resident, server_resident] = [resident, server_resident].map(|bytes| mebibytes(bytes as f64));
    println!(
        "| {size} {} | {phase} | {wall:.2} s | {all:.2} s | {server_cpu:.2} s | {each} | {resident} | {server_resident} | {load:.1} |",
        kind.unit()
    );
}
