//! A file of 3 GB by `curl -T`, and by tus with twenty interruptions, each fifth of them the server's end: the server's
//! memory may not follow it, and the file is the same.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::process::{Outcome, Script, forget_peak, peak_resident, resident};
use testkit::tree::Random;

use crate::report::{Report, mebibytes, seconds};
use crate::rig::Rig;
use crate::sources::succeed;

const MIB: u64 = 1 << 20;
const LEN: u64 = 3_000_000_000;
const INTERRUPTIONS: u32 = 20;
/// Each time so many bytes come through, and up to as many more.
const SENT_LEN_MIN: u64 = 60_000_000;
const GROWTH_MAX: f64 = 64.0 * MIB as f64;
/// `path by-tus`, its value in base64.
const METADATA: &str = "path YnktdHVz";
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

pub fn run(report: &mut Report) -> Outcome {
    let mut rig = Rig::start_with(&["--plain-http"])?;
    let file = rig.home().join("file");
    write(&file).map_err(|error| error.to_string())?;
    let digest = sha256(&file)?;
    let script = Script::new(&rig.server, "uploads")?;

    let before = resident(rig.server.id()).ok_or("the server ended")?;
    forget_peak(rig.server.id())?;
    let begun = std::time::Instant::now();
    curl(&script, &file)?;
    report.note("uploads: 3 GB by curl -T", &seconds(begun.elapsed().as_secs_f64()));
    let growth = |id: u32, before: u64| peak_resident(id).map(|peak| peak.saturating_sub(before) as f64);
    let grown = growth(rig.server.id(), before).ok_or("the server ended")?;
    report.at_most("uploads: server's memory grew by, curl -T", grown, GROWTH_MAX, mebibytes);
    check(&script, "by-curl", &digest)?;

    let begun = std::time::Instant::now();
    let grown = by_tus(&mut rig, &script, &file)?;
    report.note("uploads: 3 GB by tus, 20 interruptions", &seconds(begun.elapsed().as_secs_f64()));
    report.at_most("uploads: server's memory grew by, tus", grown, GROWTH_MAX, mebibytes);
    let before = resident(rig.server.id()).ok_or("the server ended")?;
    forget_peak(rig.server.id())?;
    check(&script, "by-tus", &digest)?;
    let grown = growth(rig.server.id(), before).ok_or("the server ended")?;
    report.at_most("uploads: server's memory grew by, download", grown, GROWTH_MAX, mebibytes);
    Ok(())
}

fn write(path: &Path) -> std::io::Result<()> {
    let mut random = Random::new(11);
    let mut file = File::create(path)?;
    let mut left = LEN;
    while left > 0 {
        let len = left.min(MIB);
        file.write_all(&random.bytes(usize::try_from(len).expect("a piece is small")))?;
        left -= len;
    }
    Ok(())
}

fn curl(script: &Script, file: &Path) -> Outcome {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--header", &script.authorization(), "--upload-file"]);
    curl.arg(file).arg(script.url("/api/v1/files/by-curl")).stdout(Stdio::null());
    succeed(curl)
}

/// How much the server's memory grew, in the worst of its lives.
fn by_tus(rig: &mut Rig, script: &Script, path: &Path) -> Outcome<f64> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut random = Random::new(12);
    let len = LEN.to_string();
    let announced = [TUS, ("Upload-Length", len.as_str()), ("Upload-Metadata", METADATA)];
    let place = script.ask("POST", "/api/v1/uploads", &announced, &[])?;
    let place = place.header("location").ok_or("the upload has no address")?.to_owned();
    let mut before = resident(rig.server.id()).ok_or("the server ended")?;
    forget_peak(rig.server.id())?;
    let mut worst = 0;
    for number in 0..=INTERRUPTIONS {
        let offset = script.ask("HEAD", &place, &[TUS], &[])?;
        let offset: u64 = offset.header("upload-offset").and_then(|text| text.parse().ok()).ok_or("no offset")?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| error.to_string())?;
        let at = offset.to_string();
        let headers = [TUS, ("Upload-Offset", at.as_str()), ("Content-Type", "application/offset+octet-stream")];
        if number == INTERRUPTIONS {
            script.send("PATCH", &place, &headers, &mut file, LEN - offset)?;
        } else {
            let sent_len = SENT_LEN_MIN + random.below(SENT_LEN_MIN);
            let broken = script.break_off("PATCH", &place, &headers, (&mut file, LEN - offset), sent_len);
            broken.map_err(|error| error.to_string())?;
        }
        worst = worst.max(peak_resident(rig.server.id()).ok_or("the server ended")?.saturating_sub(before));
        if number % 5 == 4 {
            rig.server.kill()?;
            rig.server.restart()?;
            before = resident(rig.server.id()).ok_or("the server ended")?;
        }
    }
    Ok(worst as f64)
}

/// The file that the server has is the one with this SHA-256, and the server says so.
fn check(script: &Script, name: &str, digest: &str) -> Outcome {
    let said = script.ask("GET", &format!("/api/v1/entry?path={name}"), &[], &[])?;
    let said = String::from_utf8_lossy(&said.body).into_owned();
    if !said.contains(digest) {
        return Err(format!("{name} has the SHA-256 {digest}, and the server says {said}"));
    }
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let sum = sum.as_mut().map_err(|error| format!("sha256sum: {error}"))?;
    let mut input = sum.stdin.take().expect("it is piped");
    script.fetch(&format!("/api/v1/files/{name}"), &mut input)?;
    drop(input);
    let mut output = sum.stdout.take().expect("it is piped");
    let text = std::io::read_to_string(&mut output).map_err(|error| error.to_string())?;
    sum.wait().map_err(|error| error.to_string())?;
    if text.starts_with(digest) { Ok(()) } else { Err(format!("{name} comes back with other bytes")) }
}

/// As `sha256sum` says it.
fn sha256(path: &Path) -> Outcome<String> {
    let output = Command::new("sha256sum").arg(path).output().map_err(|error| format!("sha256sum: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let digest = text.split(' ').next().filter(|digest| digest.len() == 64);
    digest.map(str::to_owned).ok_or_else(|| format!("sha256sum says {text}"))
}
