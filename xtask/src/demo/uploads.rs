//! A file that a browser or script sends: by tus 1.0, in two parts, and once more after a small change.

use testkit::process::{Script, Server};
use testkit::tree::Random;

use crate::demo::{PAGE_LEN, SEED, megabytes};
use crate::run::Outcome;

const LEN: usize = 10 << 20;
/// The second upload of the same file may store so much: the page that changed, and what stands around it.
const STORED_MAX: u64 = 12_000;
const PATH: &str = "/api/v1/files/disk.img";
/// `path disk.img`, its value in base64.
const METADATA: &str = "path ZGlzay5pbWc=";

/// What the second upload stored of a file of [`LEN`] bytes.
pub(super) fn run(server: &Server) -> Outcome<u64> {
    let script = Script::new(server, "demo")?;
    let mut file = Random::new(SEED).bytes(LEN);
    let first = upload(&script, &file)?;
    file[LEN / 2..LEN / 2 + PAGE_LEN].copy_from_slice(&Random::new(SEED + 2).bytes(PAGE_LEN));
    let second = upload(&script, &file)?;
    if script.ask("GET", PATH, &[], &[])?.body != file {
        return Err("the file that was uploaded comes back with other bytes".to_owned());
    }
    println!(
        "\na file of {} by tus (browsers, scripts): stored {}; again after a change of 4 KiB: stored {}",
        megabytes(LEN as u64),
        megabytes(first),
        megabytes(second)
    );
    if second > STORED_MAX {
        return Err(format!("the second upload stored {second} bytes, and {STORED_MAX} are enough"));
    }
    Ok(second)
}

/// Sends a file in two parts; the bytes that were stored for it.
fn upload(script: &Script, file: &[u8]) -> Outcome<u64> {
    let len = file.len().to_string();
    let ask = |method, path: &str, headers: &[(&str, &str)], body| {
        script.ask(method, path, &[headers, &[("Tus-Resumable", "1.0.0")]].concat(), body)
    };
    let announced = [("Upload-Length", len.as_str()), ("Upload-Metadata", METADATA)];
    let announced = ask("POST", "/api/v1/uploads", &announced, &[])?;
    let place = announced.header("location").ok_or("the upload has no address")?;
    let half = file.len() / 2;
    let mut stored = None;
    for (offset, part) in [(0, &file[..half]), (half, &file[half..])] {
        let offset = offset.to_string();
        let headers = [("Upload-Offset", offset.as_str()), ("Content-Type", "application/offset+octet-stream")];
        stored = ask("PATCH", place, &headers, part)?.header("upload-stored").map(str::to_owned);
    }
    let stored = stored.and_then(|text| text.parse().ok());
    stored.ok_or_else(|| "the server does not say what it stored".to_owned())
}
