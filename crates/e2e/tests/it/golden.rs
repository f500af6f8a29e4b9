//! A repository of format 1, kept in `tests/golden/repository-v1`: rescue, reindex and restore read it, whatever is changed
//! later. It has two snapshots with whole objects, a delta, groups, lists, holes, links and names that are no text.
//!
//! A new version of a format gets a folder of its own beside it, made by `write_a_golden_repository`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::tree::CompareOptions;

use crate::support::{Client, Home, Pair, Server, User, assert_same_tree, copy_folder, files_below, number, server};

/// Where the repositories are.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Bytes that do not compress, the same for ever (xorshift64).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The tree that was backed up first (1) and second (2).
fn write_tree(root: &Path, version: u8) {
    fs::create_dir_all(root.join("folder/empty")).unwrap();
    let file = |name: &[u8], content: &[u8]| fs::write(root.join(OsStr::from_bytes(name)), content).unwrap();
    file(b"nothing", b"");
    file(b"small", b"golden\n");
    file(b"no text \xff\xfe", b"a name may be any bytes");
    // Longer than the longest chunk, and nearly nothing when compressed.
    file(b"long", &b"the same line again and again\n".repeat(170_000));
    let mut noise = noise(40_000);
    if version == 2 {
        noise[20_000..20_008].copy_from_slice(b"changed!");
        file(b"folder/new", b"only in the second");
    } else {
        file(b"folder/old", b"only in the first");
    }
    file(b"folder/noise", &noise);
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 20).unwrap();
    symlink("../small", root.join("folder/link")).unwrap();
    fs::hard_link(root.join("small"), root.join("folder/also small")).unwrap();
    let mut all: Vec<PathBuf> = files_below(root);
    all.extend([root.join("folder/empty"), root.join("folder"), root.to_owned()]);
    for path in &all {
        if !path.is_symlink() {
            let mode = if path.is_dir() { 0o755 } else { 0o640 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    // Folders last, from below: what is done in them changes their times.
    let touched = Command::new("touch").args(["-h", "-d", "@1700000000"]).args(&all).status().unwrap();
    assert!(touched.success());
}

/// Ids of the snapshots, oldest first, and where in them the tree is.
fn expected(repository: &Path) -> (Vec<String>, String) {
    let text = fs::read_to_string(repository.join("snapshots.txt")).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let root = lines.next().unwrap();
    (lines.collect(), root)
}

#[test]
fn a_repository_of_format_1_is_rescued() {
    let home = Home::new();
    let repository = golden("repository-v1");
    let (ids, root) = expected(&repository);
    let [packs, keys] = ["packs", "rescue.keys"].map(|name| repository.join(name));
    let rescue = |arguments: &[&str]| {
        let mut command = server::command();
        server::run(command.arg("rescue").arg(&packs).arg("--key-file").arg(&keys).args(arguments)).expect(0)
    };
    let listed = rescue(&["--list", "--json"]).all("snapshot");
    let found: Vec<_> = listed.iter().map(|snapshot| snapshot["snapshot"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, ids);
    for (version, id) in (1..).zip(&ids) {
        let [tree, target] = ["tree", "rescued"].map(|name| home.path(&format!("{name}-{version}")));
        write_tree(&tree, version);
        rescue(&[id, target.to_str().unwrap()]);
        assert_same_tree(&tree, &target.join(root.strip_prefix('/').unwrap()), CompareOptions::for_this_user());
    }
}

#[test]
fn a_repository_of_format_1_is_indexed_anew_restored_and_continued() {
    let home = Home::new();
    let repository = golden("repository-v1");
    let (ids, root) = expected(&repository);
    let data = home.folder("data");
    for folder in ["packs", "keys"] {
        copy_folder(&repository.join(folder), &data.join(folder));
    }
    // A checkout keeps no modes; keys that others can read are refused.
    for path in files_below(&data) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for folder in [&data, &data.join("keys")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let reindex = ["reindex", "--accept-loss", "--json", "--data-dir", data.to_str().unwrap()];
    let indexed = server::run(server::command().args(reindex)).expect(0).last("reindexed");
    assert_eq!(number(&indexed, "adopted_snapshots"), 2);

    let server = Server::start_on(&home, "server", &data, &[]);
    server.admin(&["verify", "--full"]).expect(0);
    let devices = server.admin(&["device", "list", "--json"]).expect(0).all("device");
    let client = Client::new(&home, "client", User::Same);
    client.connect(&server.enroll(devices[0]["name"].as_str().unwrap()));
    for (version, id) in (1..).zip(&ids) {
        let [tree, target] = ["tree", "restored"].map(|name| home.path(&format!("{name}-{version}")));
        write_tree(&tree, version);
        client.restore(format!("{id}:{root}"), &target);
        assert_same_tree(&tree, &target, CompareOptions::for_this_user());
    }
    // It goes on, and what is there is not stored again.
    let tree = home.path("tree-2");
    let next = client.backup(&tree);
    assert_eq!(number(&next, "seq"), 3);
    assert!(number(&next, "bytes_stored") < 10_000, "{next}");
    server.admin(&["verify", "--full"]).expect(0);
}

/// Makes the repository of today's format in the folder that the environment variable `GOLDEN_REPOSITORY` names.
#[test]
#[ignore = "makes what the other tests read, once per version of a format"]
fn write_a_golden_repository() {
    let target = PathBuf::from(std::env::var_os("GOLDEN_REPOSITORY").expect("GOLDEN_REPOSITORY names a new folder"));
    fs::create_dir(&target).unwrap();
    let Pair { mut server, client, home } = Pair::with(&["--scrub-interval", "0s"], User::Same);
    let tree = home.path("tree");
    let mut lines = vec![tree.to_str().unwrap().to_owned()];
    for version in [1, 2] {
        let _ = fs::remove_dir_all(&tree);
        write_tree(&tree, version);
        let committed = client.backup(&tree);
        assert!(version == 1 || number(&committed, "delta_objects") > 0, "a delta is among it: {committed}");
        lines.push(committed["snapshot"].as_str().unwrap().to_owned());
    }
    server.admin(&["key", "export", target.join("rescue.keys").to_str().unwrap()]).expect(0);
    server.stop();
    copy_folder(&server.data_dir().join("packs"), &target.join("packs"));
    fs::create_dir(target.join("keys")).unwrap();
    for name in ["master.key", "vaults.keys"] {
        fs::copy(server.data_dir().join("keys").join(name), target.join("keys").join(name)).unwrap();
    }
    fs::write(target.join("snapshots.txt"), lines.join("\n") + "\n").unwrap();
    let len: u64 = files_below(&target).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(len < 64 * 1024, "small enough for the tree: {len}");
}
