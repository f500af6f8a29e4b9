//! A real source tree of at least 50,000 files, and a tree of every kind of file, each also as an ordinary user.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use testkit::process::{Client, Outcome};
use testkit::tree::{CompareOptions, TreeSpec, compare};

use crate::report::{Report, mebibytes, megabytes, seconds};
use crate::rig::Rig;
use crate::sources::{real_sources, succeed};

const FILES_MIN: u64 = 50_000;
/// `nobody`, as nearly every system has it.
const ORDINARY_USER: u32 = 65_534;

pub fn run(report: &mut Report) -> Outcome {
    let rig = Rig::start()?;
    let source = rig.source()?;
    let sources = source.join("sources");
    fs::create_dir(&sources).map_err(|error| error.to_string())?;
    let what = real_sources(&sources)?;
    TreeSpec::everything(8).write(&source.join("every-kind")).map_err(|error| error.to_string())?;

    let first = rig.back_up(&source)?;
    let files = first.number("files");
    if files < FILES_MIN {
        return Err(format!("{what} has {files} files; at least {FILES_MIN} are wanted: install linux-source"));
    }
    report.note("tree: sources", &what);
    report.note("tree: files", &files.to_string());
    report.note("tree: bytes in files", &megabytes(first.number("bytes") as f64));
    report.note("tree: sent", &megabytes(first.number("bytes_sent") as f64));
    report.note("tree: first backup", &seconds(first.duration.as_secs_f64()));
    let again = rig.back_up(&source)?;
    report.note("tree: nothing changed", &seconds(again.duration.as_secs_f64()));
    report.note("tree: nothing changed, bytes sent", &again.number("bytes_sent").to_string());
    let (restored, target) = rig.restore("latest", &source)?;
    report.note("tree: restore", &seconds(restored.duration.as_secs_f64()));
    let peak = first.peak_resident.max(restored.peak_resident);
    report.note("tree: peak memory of the client", &mebibytes(peak as f64));
    report.note("tree: peak memory of the server", &mebibytes(rig.server.peak_resident() as f64));
    check_equal(&source, &target, CompareOptions::for_this_user())?;
    report.note("tree: restored identically", "yes");
    if rustix::process::geteuid().is_root() {
        as_ordinary_user(&rig, &source)?;
        report.note("tree: restored identically by an ordinary user", "yes");
    } else {
        report.note("tree: restored identically by an ordinary user", "skipped: only root can become one");
    }
    Ok(())
}

/// Another device, run by an ordinary user, backs up what it can read and restores it.
fn as_ordinary_user(rig: &Rig, source: &Path) -> Outcome {
    let fail = |error: std::io::Error| error.to_string();
    let home = tempfile::Builder::new().prefix("delta-backup-nobody.").tempdir().map_err(fail)?;
    let owned = |path: &Path| chown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)).map_err(fail);
    owned(home.path())?;
    let client = Client::new(&home.path().join("backup-client"), home.path()).as_user(ORDINARY_USER);
    fs::copy(crate::rig::program("backup-client")?, home.path().join("backup-client")).map_err(fail)?;
    client.run(&["connect", &rig.server.enroll("ordinary")?])?;
    // Its own copy of the sources, since those of root may be unreadable.
    let own = home.path().join("sources");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(source.join("sources")).arg(&own);
    succeed(copy)?;
    let mut hand_over = Command::new("chown");
    hand_over.arg("-R").arg(format!("{ORDINARY_USER}:{ORDINARY_USER}")).arg(&own);
    succeed(hand_over)?;
    client.run(&["backup".as_ref(), own.as_os_str()])?;
    let target = home.path().join("restored");
    let from = format!("latest:{}", own.display());
    client.run(&["restore".as_ref(), from.as_ref(), target.as_os_str()])?;
    check_equal(&own, &target, CompareOptions::exact())
}

fn check_equal(original: &Path, restored: &Path, options: CompareOptions) -> Outcome {
    let differences = compare(original, restored, options).map_err(|error| error.to_string())?;
    let shown: Vec<String> = differences.iter().take(20).map(ToString::to_string).collect();
    if shown.is_empty() { Ok(()) } else { Err(format!("{} differences:\n{}", differences.len(), shown.join("\n"))) }
}
