//! What stands in the server's files and in the logs: nothing of what was backed up, and no key or token in the clear.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{XattrFlags, setxattr};
use testkit::tree::{Random, seed};

use crate::support::{Pair, files_below};

/// Something that must not be found.
struct Canary {
    what: String,
    bytes: Vec<u8>,
}

impl Canary {
    fn new(what: &str, bytes: &[u8]) -> Self {
        Self { what: what.to_owned(), bytes: bytes.to_vec() }
    }

    /// A secret, as bytes and as hex digits in both cases.
    fn secret(what: &str, bytes: &[u8]) -> [Self; 3] {
        let hex = hex_of(bytes);
        [
            Self::new(what, bytes),
            Self::new(&format!("{what} in hex"), hex.as_bytes()),
            Self::new(&format!("{what} in upper hex"), hex.to_uppercase().as_bytes()),
        ]
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits")).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    // Almost every place is ruled out by one byte.
    let first = needle[0];
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// None of the canaries stands in any of the files, nor in their names.
#[track_caller]
fn check_absent(canaries: &[Canary], folder: &Path, is_exempt: impl Fn(&Path) -> bool) {
    let files = files_below(folder);
    assert!(files.len() > 3, "there is little to look at: {files:?}");
    for path in files.iter().filter(|path| !is_exempt(path)) {
        // Sockets cannot be read.
        let Ok(bytes) = fs::read(path) else { continue };
        for Canary { what, bytes: canary } in canaries {
            assert!(!contains(&bytes, canary), "{what} stands in {}", path.display());
            assert!(!contains(path.as_os_str().as_encoded_bytes(), canary), "{what} stands in the name of {path:?}");
        }
    }
}

/// Backs up and puts on the drive all kinds of things that have canaries in them, in two generations.
fn use_it(pair: &Pair) -> Vec<Canary> {
    let tree = pair.home.folder("CANARY-root");
    let mut random = Random::new(seed());
    fs::create_dir_all(tree.join("CANARY-folder")).unwrap();
    // Nothing compresses the random ones, so they would stand there as they are.
    let mut content = random.bytes(700_000);
    content[300_000..300_023].copy_from_slice(b"CANARY-of-large-content");
    fs::write(tree.join("CANARY-folder/CANARY-large"), &content).unwrap();
    fs::write(tree.join("CANARY-small"), "CANARY-of-small-content").unwrap();
    fs::write(tree.join("CANARY-excluded"), "CANARY-of-excluded-content").unwrap();
    symlink("CANARY-target", tree.join("CANARY-link")).unwrap();
    // A file system without attributes has none to give away.
    let small = tree.join("CANARY-small");
    let _ = setxattr(small, "user.CANARY-attribute", b"CANARY-value", XattrFlags::empty());
    for generation in 0..2 {
        let arguments = ["--quiet".as_ref(), "backup".as_ref(), "--exclude".as_ref(), "CANARY-exc*".as_ref()];
        pair.client.run(&[&arguments[..], &[tree.as_os_str()]].concat()).expect(0);
        pair.client.run(&["put".as_ref(), "--to".as_ref(), "CANARY-drive".as_ref(), tree.as_os_str()]).expect(0);
        content[100_000 + generation] ^= 1;
        fs::write(tree.join("CANARY-folder/CANARY-large"), &content).unwrap();
    }
    pair.client.run(&["rm", "CANARY-drive/CANARY-root/CANARY-small"]).expect(0);
    pair.client.run(&["get", "CANARY-drive/CANARY-root/CANARY-missing", "-"]).expect(1);
    pair.client.run(&["ls", "latest:/CANARY-missing"]).expect(1);
    let piece = |offset: usize| content[offset..offset + 24].to_vec();
    vec![
        Canary::new("a canary", b"CANARY"),
        Canary::new("content", &piece(0)),
        Canary::new("content", &piece(500_000)),
        Canary::new("content", &piece(100_010)),
    ]
}

#[test]
fn the_server_keeps_no_plaintext_and_no_secret() {
    let mut pair = Pair::new();
    pair.server.admin(&["account", "add", "neighbour"]).expect(0);
    let enrolment = pair.server.enroll("unused");
    let mut canaries = use_it(&pair);
    let data_dir = pair.server.data_dir().to_owned();
    let master_key = fs::read(data_dir.join("keys/master.key")).unwrap();
    let master_key: [u8; 32] = master_key.try_into().unwrap();
    canaries.extend(Canary::secret("the master key", &master_key));
    canaries.extend(Canary::secret("the device's token", &from_hex(&pair.client.connection("secret"))));
    let invitation = enrolment.rsplit(':').next().unwrap();
    canaries.extend(Canary::secret("an enrolment's secret", &from_hex(invitation)));
    // Killed, so that the catalog's journal is still there.
    pair.server.kill();
    let wal = fs::metadata(data_dir.join("catalog.sqlite3-wal")).unwrap();
    assert!(wal.len() > 10_000, "the journal is empty");
    let keys = pair.server.vault_keys();
    assert_eq!(keys.len(), 2);
    for (_, key) in keys {
        canaries.extend(Canary::secret("a vault's key", key.expose()));
    }
    let is_key = |path: &Path| path.ends_with("keys/master.key");
    check_absent(&canaries, &data_dir, is_key);
    pair.server.restart();
    pair.server.stop();
    check_absent(&canaries, &data_dir, is_key);

    // The log, at its most talkative, says nothing either.
    let log = pair.server.log();
    assert!(log.contains("device-enrolled"), "there is no log to look at: {log}");
    for Canary { what, bytes } in &canaries {
        assert!(!contains(log.as_bytes(), bytes), "{what} stands in the log: {log}");
    }
    // All of the keys' folder belongs to the server's user alone.
    assert_eq!(mode(&data_dir) | mode(&data_dir.join("keys")), 0o700);
    for file in files_below(&data_dir.join("keys")) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&data_dir.join("catalog.sqlite3")) & 0o077 & mode(&data_dir), 0);
}

#[test]
fn the_client_keeps_its_secrets_to_itself() {
    let pair = Pair::new();
    use_it(&pair);
    assert_eq!(mode(&pair.client.config_dir()), 0o700);
    assert_eq!(mode(&pair.client.connection_file()), 0o600);
    // The caches hold names.
    assert_eq!(mode(&pair.client.cache_dir()), 0o700);
    let mut secrets = vec![Canary::new("content", b"CANARY-of-")];
    secrets.extend(Canary::secret("the device's token", &from_hex(&pair.client.connection("secret"))));
    check_absent(&secrets, &pair.client.cache_dir(), |_| false);
    let said = files_below(pair.client.config_dir().parent().unwrap());
    for path in said.iter().filter(|path| path.extension().is_some_and(|kind| kind == "out" || kind == "err")) {
        let text = fs::read(path).unwrap();
        assert!(secrets.iter().all(|secret| !contains(&text, &secret.bytes)), "{}", path.display());
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
