//! Any text as a connection file: refused, or the same after it is written again; and a real one with anything in its texts.

#![no_main]

use client::fuzzing;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Job {
    text: String,
    host: String,
    port: u16,
    pin: Option<[u8; 32]>,
    device: [u8; 8],
    secret: [u8; 32],
    name: String,
}

fuzz_target!(|job: Job| {
    fuzzing::connection(&job.text);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let quoted = |text: &str| text.chars().map(|letter| format!("\\U{:08x}", u32::from(letter))).collect::<String>();
    let identity = job.pin.map_or_else(|| "plain".to_owned(), |pin| hex(&pin));
    let text = format!(
        "host = \"{}\"\nport = {}\nidentity = \"{identity}\"\ndevice = \"{}\"\nsecret = \"{}\"\n\
         device_name = \"{}\"\naccount = \"admin\"\n",
        quoted(&job.host),
        job.port,
        hex(&job.device),
        hex(&job.secret),
        quoted(&job.name)
    );
    assert!(fuzzing::connection(&text));
});
