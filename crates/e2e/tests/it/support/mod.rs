//! Servers, clients and what stands between them: a [`Home`] for a test's files, [`Server`], [`Client`], [`Relay`].

mod client;
mod output;
mod relay;
pub(crate) mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tempfile::TempDir;
use testkit::tree::{CompareOptions, compare};

pub(crate) use self::client::{Client, Running, User};
pub(crate) use self::output::{Output, number};
pub(crate) use self::relay::Relay;
pub(crate) use self::server::Server;

/// The user and group that are nobody.
pub(crate) const NOBODY: u32 = 65_534;
/// Everything that is waited for happens in a fraction of this, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// The folder of one test, removed at its end.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("delta-backup-e2e.").tempdir().expect("a temporary folder");
        // Clients of other users must get through to their own folders in it.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(home)
    }

    /// A path in it; nothing is made.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A folder in it, made when it is missing.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder can be made");
        path
    }
}

/// A server, and a client that is connected to it.
pub(crate) struct Pair {
    // Dropped in this order: the server ends before its folder goes.
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) home: Home,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(&[], User::Same)
    }

    pub(crate) fn with(server_options: &[&str], user: User) -> Self {
        let home = Home::new();
        let server = Server::start(&home, server_options);
        let client = Client::new(&home, "laptop", user);
        client.connect(&server.enroll("laptop"));
        Self { server, client, home }
    }
}

/// Whether tests can become other users, and mount.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// Waits until `is_so`; a test that waits in vain fails.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
pub(crate) fn assert_same_tree(original: &Path, restored: &Path, options: CompareOptions) {
    let differences = compare(original, restored, options).expect("both trees can be read");
    let shown: Vec<String> = differences.iter().take(10).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{} differences, the first:\n{}", differences.len(), shown.join("\n"));
}

#[track_caller]
pub(crate) fn assert_same_file(original: &Path, restored: &Path) {
    let [left, right] = [original, restored].map(|path| match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}", path.display()),
    });
    let differ = left.iter().zip(&right).position(|(left, right)| left != right);
    assert_eq!(left.len(), right.len(), "lengths of {} and {}", original.display(), restored.display());
    assert_eq!(differ, None, "{} and {} differ from there", original.display(), restored.display());
}

/// Everything at or below `path`: every file's path, folders left out.
pub(crate) fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).expect("a folder of the test") {
            let path = entry.expect("a folder of the test").path();
            if path.is_dir() { pending.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Copies a folder with all below it, modes and times too.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("every machine has cp");
    assert!(status.success(), "{} cannot be copied to {}", from.display(), to.display());
}

/// Flips a byte in the middle of each pack.
pub(crate) fn damage_packs(packs: &[PathBuf]) {
    assert!(!packs.is_empty(), "there are packs");
    for pack in packs {
        let mut bytes = fs::read(pack).expect("it is ours");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(pack, bytes).expect("it is ours");
    }
}
