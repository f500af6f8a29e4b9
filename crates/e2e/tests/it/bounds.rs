//! Memory of the real programs: the most that is resident, as the kernel counts it, stays where I-35 says, however long a file
//! is and however many there are. `cargo xtask bench` measures the same at a million files.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use testkit::process::{Client, Run, Server};

use crate::support::{Home, files_below};

const MIB: u64 = 1 << 20;
const BASE_MAX: u64 = 256 * MIB;
const SESSION_MAX: u64 = 8 * MIB;
const ENTRY_MAX: u64 = 200;
/// Two runs of the same work differ by less.
const NOISE: u64 = 24 * MIB;

/// A server and a client that is connected to it.
struct Pair {
    server: Server,
    client: Client,
    home: Home,
}

impl Pair {
    fn new() -> Self {
        let home = Home::new();
        let server = Server::start(Path::new(env!("CARGO_BIN_EXE_e2e-server")), &home.folder("server")).unwrap();
        let client = Client::new(Path::new(env!("CARGO_BIN_EXE_e2e-client")), &home.folder("client"));
        client.run(&["connect", &server.enroll("laptop").unwrap()]).unwrap();
        Self { server, client, home }
    }

    /// Runs a command that must succeed, within the client's bound; returns the most it had resident.
    fn peak(&self, arguments: &[&str], entries_held: u64) -> u64 {
        let Run { peak_resident, words, .. } = self.client.try_run(arguments).unwrap().succeeded().unwrap();
        let bound = BASE_MAX + ENTRY_MAX * entries_held;
        assert!(peak_resident < bound, "{words}: {} MiB resident", peak_resident / MIB);
        peak_resident
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let peak = self.server.peak_resident();
        if !std::thread::panicking() {
            assert!(peak < BASE_MAX + SESSION_MAX, "the server had {} MiB resident", peak / MIB);
        }
    }
}

#[test]
fn a_server_has_few_arenas_whoever_starts_it() {
    let pair = Pair::new();
    // As the kernel tells it: the environment with which the process began its present program.
    let environment = fs::read(format!("/proc/{}/environ", pair.server.id())).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|line| line == b"MALLOC_ARENA_MAX=2"), "it did not start anew");
}

/// 10 GiB, and 3 MiB in it.
#[test]
fn a_file_of_any_length_takes_the_memory_of_a_short_one() {
    const LEN: u64 = 10 << 30;
    let pair = Pair::new();
    let (sparse, short) = (pair.home.path("sparse"), pair.home.path("short"));
    let island = |offset: u64| {
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new().update(&offset.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    let offsets = [MIB + 1, LEN / 2, LEN - MIB];
    let file = File::create(&sparse).unwrap();
    file.set_len(LEN).unwrap();
    for offset in offsets {
        file.write_all_at(&island(offset), offset).unwrap();
    }
    fs::write(&short, island(0)).unwrap();
    let [sparse_text, short_text] = [&sparse, &short].map(|path| path.to_str().unwrap());
    let of_short = pair.peak(&["backup", "--chain", "short", short_text], 0);
    let of_long = pair.peak(&["backup", sparse_text], 0);
    assert!(of_long < of_short + 3 * MIB + NOISE, "{} and {} MiB", of_short / MIB, of_long / MIB);

    let target = pair.home.path("restored");
    pair.peak(&["restore", "latest", target.to_str().unwrap()], 0);
    let restored = File::open(files_below(&target).remove(0)).unwrap();
    let metadata = restored.metadata().unwrap();
    assert_eq!(metadata.len(), LEN);
    assert!(metadata.blocks() * 512 < 16 * MIB, "its holes are none");
    for offset in offsets {
        let mut bytes = vec![0; 1 << 20];
        restored.read_exact_at(&mut bytes, offset).unwrap();
        assert!(bytes == island(offset), "what stands at {offset}");
    }
}

/// What a client keeps of each entry, in its memory, from ten thousand to a hundred and fifty thousand.
#[test]
fn entries_cost_a_client_little_memory() {
    let pair = Pair::new();
    let trees = [(10, "few"), (150, "many")].map(|(folders, name)| {
        let tree = pair.home.folder(name);
        for folder in 0..folders {
            let folder = tree.join(format!("folder-{folder:03}"));
            fs::create_dir(&folder).unwrap();
            for file in 0..1000 {
                File::create(folder.join(format!("a file with a name of usual length {file:04}"))).unwrap();
            }
        }
        (folders * 1000, tree.to_str().unwrap().to_owned(), name)
    });
    for arguments in [&["backup", "--chain"][..], &["backup", "--reread-every", "1", "--chain"]] {
        let peaks = trees
            .each_ref()
            .map(|(entries, tree, chain)| (*entries, pair.peak(&[arguments, &[chain, tree]].concat(), *entries)));
        let [(few, of_few), (many, of_many)] = peaks;
        let grown = of_many.saturating_sub(of_few);
        assert!(grown < ENTRY_MAX * (many - few) + NOISE, "{arguments:?}: {} MiB for {many} entries", grown / MIB);
    }
    pair.peak(&["restore", "latest", pair.home.path("restored").to_str().unwrap()], 150_000);
}
