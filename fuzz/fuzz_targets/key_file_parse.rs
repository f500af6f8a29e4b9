//! Any text as a key file: refused, or one that is read the same from what it writes; and a change of a real one is found.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use object::VaultId;
use vault::{KeyFile, KeyFileVault, KeySlot, Mode, VaultKey};

#[derive(Arbitrary, Debug)]
struct Job {
    /// Lines after the first.
    lines: String,
    /// The last line is the right one for them.
    with_end: bool,
    account: String,
    name: String,
    /// Places in a real key file, and what to change there.
    changes: Vec<(u8, u8)>,
}

fuzz_target!(|job: Job| {
    let mut text = format!("delta-backup key file 1\n{}", job.lines);
    if job.with_end {
        text.push('\n');
        let check = blake3::hash(text.as_bytes()).to_hex();
        text.push_str(&format!("end {}\n", &check[..16]));
    }
    check(&text);
    check(&job.lines);

    let id = VaultId::from_bytes([2; 16]);
    let key = VaultKey::from_bytes([3; 32]);
    let slots = vec![KeySlot::wrap(&key, id, &[1; 32], [4; 32])];
    let (account, name) = (job.account.clone(), job.name.clone());
    let real = KeyFile { vaults: vec![KeyFileVault { id, mode: Mode::Managed, account, name, slots, key: Some(key) }] };
    let real = real.to_text();
    let read = check(&real).expect("what is written is read");
    assert_eq!((&read.vaults[0].account, &read.vaults[0].name), (&job.account, &job.name));
    let mut bytes = real.trim_end().as_bytes().to_vec();
    for (at, change) in job.changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= change;
    }
    if bytes != real.trim_end().as_bytes()
        && let Ok(text) = std::str::from_utf8(&bytes)
    {
        assert!(check(text).is_none(), "a change goes unnoticed");
    }
});

/// Reads a text, writes what was read, and reads that.
fn check(text: &str) -> Option<KeyFile> {
    let read = KeyFile::parse(text).ok()?;
    let written = read.to_text();
    assert_eq!(*KeyFile::parse(&written).expect("what is written is read").to_text(), *written);
    Some(read)
}
