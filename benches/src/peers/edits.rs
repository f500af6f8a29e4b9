//! The row `edits`: bytes on the wire, both directions, when a file of 10 MiB changed a little.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::process::Outcome;
use testkit::tree::Random;

use super::cost::{measure, prepare};
use super::table::{EditLine, Table};
use super::tool::{Class, is_installed, ours, wire_of_stats};

const LEN: usize = 10 << 20;

/// A small change of the file.
struct Edit {
    name: &'static str,
    change: fn(&mut Vec<u8>),
}

const EDITS: [Edit; 5] = [
    Edit { name: "one aligned 4 KiB block changed", change: |bytes| fill(bytes, 5 << 20, 4096) },
    Edit { name: "1 byte inserted at the front", change: |bytes| bytes.insert(0, b'x') },
    Edit { name: "1 KiB appended", change: |bytes| bytes.extend(Random::new(32).bytes(1024)) },
    Edit { name: "two 1 MiB regions swapped", change: |bytes| swap(bytes) },
    Edit { name: "20 scattered 100-byte edits", change: |bytes| scatter(bytes) },
];

fn fill(bytes: &mut [u8], at: usize, len: usize) {
    bytes[at..at + len].copy_from_slice(&Random::new(31 + at as u64).bytes(len));
}

fn swap(bytes: &mut [u8]) {
    let (front, back) = bytes.split_at_mut(6 << 20);
    front[2 << 20..3 << 20].swap_with_slice(&mut back[1 << 20..2 << 20]);
}

fn scatter(bytes: &mut [u8]) {
    let mut random = Random::new(33);
    for _ in 0..20 {
        let at = random.index(LEN - 100);
        fill(bytes, at, 100);
    }
}

/// Measures every edit with ours, `rsync -z`, `rdiff` and `xdelta3`.
///
/// # Errors
/// When one of the programs that are there fails.
pub fn run(table: &mut Table, work: &Path) -> Outcome {
    let folder = work.join("edits");
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(fail)?;
    }
    fs::create_dir_all(&folder).map_err(fail)?;
    for (program, hint) in [("rsync", "rsync"), ("rdiff", "rdiff"), ("xdelta3", "xdelta3")] {
        if !is_installed(program) {
            table.missing(program, &format!("apt-get install {hint}"));
        }
    }
    let mut tool = ours::open(&folder)?;
    for (index, Edit { name, change }) in EDITS.iter().enumerate() {
        let source = folder.join(index.to_string());
        fs::create_dir(&source).map_err(fail)?;
        let file = source.join("file");
        let old = folder.join(format!("{index}.old"));
        let mut bytes = Random::new(30).bytes(LEN);
        fs::write(&file, &bytes).and_then(|()| fs::write(&old, &bytes)).map_err(fail)?;
        tool.back_up(&source)?;
        change(&mut bytes);
        fs::write(&file, &bytes).map_err(fail)?;
        let wire = tool.back_up(&source)?.wire.ok_or_else(|| format!("{:?} counts no bytes", Class::Ours))?;
        table.edit(EditLine {
            name,
            ours: wire,
            rsync: optional("rsync", || rsync(&file, &old))?,
            rdiff: optional("rdiff", || rdiff(&file, &old))?,
            xdelta3: optional("xdelta3", || xdelta3(&file, &old))?,
        });
    }
    drop(tool);
    fs::remove_dir_all(&folder).map_err(fail)
}

fn optional(program: &str, run: impl FnOnce() -> Outcome<u64>) -> Outcome<Option<u64>> {
    if is_installed(program) { run().map(Some) } else { Ok(None) }
}

/// Sent and received of `rsync -z`, the old version being at the other end.
fn rsync(file: &Path, old: &Path) -> Outcome<u64> {
    let mut command = Command::new("rsync");
    command.args(["--archive", "--ignore-times", "--compress", "--no-whole-file", "--stats"]);
    // To a copy: the other programs want the old version too.
    let copy = old.with_extension("copy");
    fs::copy(old, &copy).map_err(|error| error.to_string())?;
    command.arg(file).arg(&copy);
    Ok(wire_of_stats(&measure(command, None)?.output)?.both())
}

/// A signature one way, a delta the other.
fn rdiff(file: &Path, old: &Path) -> Outcome<u64> {
    let [signature, delta] = ["signature", "delta"].map(|extension| old.with_extension(extension));
    let mut command = Command::new("rdiff");
    command.arg("--force").arg("signature").arg(old).arg(&signature);
    prepare(command)?;
    let mut command = Command::new("rdiff");
    command.arg("--force").arg("delta").arg(&signature).arg(file).arg(&delta);
    prepare(command)?;
    Ok(len(&signature)? + len(&delta)?)
}

/// A delta by someone who has both versions: the floor.
fn xdelta3(file: &Path, old: &Path) -> Outcome<u64> {
    let delta = old.with_extension("xdelta3");
    let mut command = Command::new("xdelta3");
    command.args(["-f", "-e", "-9", "-s"]).arg(old).arg(file).arg(&delta);
    prepare(command)?;
    len(&delta)
}

fn len(path: &Path) -> Outcome<u64> {
    path.metadata().map(|metadata| metadata.len()).map_err(|error| format!("{}: {error}", path.display()))
}
