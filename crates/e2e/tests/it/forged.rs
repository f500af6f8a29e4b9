//! A snapshot that somebody forged who has the vault's key: whoever restores it, client, rescue or mirror, changes nothing
//! outside of the target, names what is wrong, and restores the rest (P-18).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object::{Kind, ObjectId, VaultId};
use serde_json::Value;
use store::{IdempotencyKey, Purpose, Store, StoreOptions, UnixMs};
use testkit::tree::{CompareOptions, TreeImage};
use vault::{
    CompressionLevel, Content, Entry, EntryKind, HardLink, Keys, ListBuilder, Metadata, Piece, PlainObject, Sealer,
    Snapshot, Timestamp,
};

use crate::support::{Client, NOBODY, Output, Pair, User, is_root, server};

const CHAIN: &str = "forged";
/// What the honest files of the snapshot hold.
const HONEST: &[u8] = b"honest bytes";

/// Makes objects with a valid key, and no encoder that would refuse what they say.
struct Forge {
    keys: Keys,
    objects: Vec<PlainObject>,
}

impl Forge {
    fn object(&mut self, kind: Kind, edges: Vec<ObjectId>, body: Vec<u8>) -> ObjectId {
        let object = PlainObject::new(&self.keys, kind, edges, Bytes::from(body));
        let id = object.id;
        self.objects.push(object);
        id
    }

    fn chunk(&mut self, bytes: &[u8]) -> ObjectId {
        self.object(Kind::Data, Vec::new(), bytes.to_vec())
    }

    /// A page with these entries as they are, in this order.
    fn page(&mut self, entries: &[Entry]) -> ObjectId {
        let mut body = vec![1, 0, u8::try_from(entries.len()).unwrap()];
        let mut edges = Vec::new();
        for entry in entries {
            let edge = match entry.kind {
                EntryKind::File { content, .. } => content.id(),
                EntryKind::Directory { tree } => Some(tree),
                _ => None,
            };
            entry.to_bytes(&mut body);
            body.truncate(body.len() - edge.map_or(0, |_| ObjectId::LEN));
            edges.extend(edge);
        }
        self.object(Kind::Tree, edges, body)
    }

    /// A page above these, whatever their first names are.
    fn above(&mut self, pages: &[(&str, ObjectId)]) -> ObjectId {
        let mut body = vec![1, 1, u8::try_from(pages.len()).unwrap()];
        for (name, _) in pages {
            body.push(u8::try_from(name.len()).unwrap());
            body.extend_from_slice(name.as_bytes());
        }
        self.object(Kind::Tree, pages.iter().map(|(_, page)| *page).collect(), body)
    }

    /// A list of one chunk twice, which says that each has `len` bytes.
    fn list(&mut self, chunk: ObjectId, len: u64) -> Content {
        let mut list = ListBuilder::new();
        let Self { keys, objects } = self;
        for _ in 0..2 {
            list.push(keys, Piece::Chunk { len, id: chunk }, &mut |page| objects.push(page));
        }
        list.finish(keys, &mut |page| objects.push(page))
    }

    fn honest(&mut self, name: &str) -> Entry {
        let chunk = self.chunk(HONEST);
        file(name, HONEST.len() as u64, Content::Chunk(chunk))
    }

    /// A directory with one honest file.
    fn folder(&mut self, name: &str, child: &str) -> Entry {
        let child = self.honest(child);
        let tree = self.page(&[child]);
        entry(name, EntryKind::Directory { tree })
    }
}

/// Somebody's own: when nobody is root, nobody else's can be restored.
fn metadata(mode: u32) -> Metadata {
    let owner = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    Metadata { mode, uid: owner, gid: group, mtime: Timestamp { secs: 1_700_000_000, nanos: 0 }, ..Metadata::default() }
}

fn entry(name: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    let mode = if matches!(kind, EntryKind::Directory { .. }) { 0o755 } else { 0o644 };
    Entry { name: name.as_ref().to_vec(), kind, metadata: metadata(mode) }
}

fn file(name: impl AsRef<[u8]>, size: u64, content: Content) -> Entry {
    entry(name, EntryKind::File { size, content })
}

fn link(name: &str, target: &Path) -> Entry {
    entry(name, EntryKind::Symlink { target: target.as_os_str().as_bytes().to_vec() })
}

/// The targets, and everything around them, which must stay as it is.
struct Scene {
    around: PathBuf,
    before: TreeImage,
}

impl Scene {
    fn new(pair: &Pair) -> Self {
        let around = pair.home.folder("around");
        for folder in ["outside/dir", "client", "rescue", "mirror", "nobody"] {
            fs::create_dir_all(around.join(folder)).unwrap();
        }
        for secret in ["outside/secret", "outside/dir/secret", "escaped"] {
            fs::write(around.join(secret), b"precious").unwrap();
            fs::set_permissions(around.join(secret), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let before = Self::image(&around);
        Self { around, before }
    }

    fn image(around: &Path) -> TreeImage {
        let image = TreeImage::read(around).unwrap();
        ["client", "rescue", "mirror", "nobody"].into_iter().fold(image, TreeImage::without)
    }

    #[track_caller]
    fn check(&self) {
        let differences = self.before.differences(&Self::image(&self.around), CompareOptions::untouched());
        assert!(differences.is_empty(), "outside of the target: {differences:?}");
    }

    /// What stands in the way of a restore: links that lead outside, and things of another kind.
    fn plant(&self, target: &str) -> PathBuf {
        let target = self.around.join(target);
        symlink(self.around.join("outside/dir"), target.join("planted-link")).unwrap();
        symlink(self.around.join("outside/secret"), target.join("planted-link-file")).unwrap();
        fs::write(target.join("planted-file"), b"in the way").unwrap();
        fs::create_dir(target.join("planted-folder")).unwrap();
        fs::write(target.join("planted-folder/somebody's"), b"in the way").unwrap();
        target
    }
}

/// The root of a snapshot with everything in it that a forger may think of.
fn forge_tree(forge: &mut Forge, around: &Path) -> ObjectId {
    let mut root = Vec::new();
    let mut folder = |name: &str, tree| root.push(entry(name, EntryKind::Directory { tree }));
    let outside = around.join("outside");

    let absolute = outside.join("secret").into_os_string().into_encoded_bytes();
    let names: [&[u8]; 8] =
        [b"..", b".", b"", b"../escaped", b"sub/file", b"nul\0byte", &absolute, b"../outside/dir/secret"];
    for (number, name) in names.iter().enumerate() {
        let honest = forge.honest("file");
        let bad = Entry { name: name.to_vec(), ..honest.clone() };
        let inside = forge.page(&[honest]);
        let bad_folder = entry(name, EntryKind::Directory { tree: inside });
        let [bad, bad_folder] = [[bad], [bad_folder]].map(|entries| forge.page(&entries));
        folder(&format!("name-{number}-file"), bad);
        folder(&format!("name-{number}-folder"), bad_folder);
    }

    // A name twice: in one page, and in two, as a link that leads outside and as a directory in either order.
    let (out, through) = (link("x", &outside.join("dir")), forge.folder("x", "secret"));
    let (out_file, over) = (link("x", &outside.join("secret")), forge.honest("x"));
    for (number, pair) in [
        [&out, &through],
        [&through, &out],
        [&out_file, &over],
        [&over, &out_file],
        [&over, &through],
        [&through, &over],
    ]
    .iter()
    .enumerate()
    {
        let together = forge.page(&pair.map(Clone::clone));
        let apart = pair.map(|entry| forge.page(std::slice::from_ref(entry)));
        let apart = forge.above(&[("x", apart[0]), ("y", apart[1])]);
        folder(&format!("twice-{number}-apart"), apart);
        folder(&format!("twice-{number}-together"), together);
    }
    let [first, second] = ["b", "a"].map(|name| forge.honest(name));
    let [first, second] = [[first], [second]].map(|entries| forge.page(&entries));
    let backwards = forge.above(&[("a", first), ("b", second)]);
    folder("backwards", backwards);

    // Sizes that are not those of the content.
    let chunk = forge.chunk(b"0123456789");
    let (list, lying) = (forge.list(chunk, 10), forge.list(chunk, 4));
    let sizes = [
        file("honest", 20, list),
        file("huge-1", u64::MAX, Content::Chunk(chunk)),
        file("huge-2", u64::MAX, Content::Chunk(chunk)),
        file("huge-list", u64::MAX, list),
        file("long", 11, Content::Chunk(chunk)),
        file("long-list", 21, list),
        file("lying-list", 8, lying),
        file("short", 9, Content::Chunk(chunk)),
        file("short-list", 19, list),
    ];
    let sizes = forge.page(&sizes);
    folder("sizes", sizes);

    // Objects of another kind than whoever names them says.
    let tree = forge.page(&[]);
    let tree_len = 3;
    let Content::List(list_page) = list else { panic!("two pieces make a list") };
    let kinds = [
        entry("folder-of-chunk", EntryKind::Directory { tree: chunk }),
        entry("folder-of-list", EntryKind::Directory { tree: list_page }),
        file("file-of-tree", tree_len, Content::Chunk(tree)),
        file("list-of-chunk", 10, Content::List(chunk)),
        file("list-of-tree", 0, Content::List(tree)),
    ];
    let mut kinds = kinds.to_vec();
    kinds.sort_by(|a, b| a.name.cmp(&b.name));
    let kinds = forge.page(&kinds);
    folder("kinds", kinds);

    // The numbers of a file outside as those of a file with several names.
    let secret = fs::metadata(outside.join("secret")).unwrap();
    let number = HardLink { device: secret.dev(), inode: secret.ino() };
    let linked = ["one", "two"].map(|name| {
        let honest = forge.honest(name);
        Entry { metadata: Metadata { hard_link: Some(number), ..honest.metadata.clone() }, ..honest }
    });
    let links = forge.page(&linked);
    folder("links", links);

    // Rights that only root can give, and devices.
    let mut rights = vec![
        entry("memory", EntryKind::CharDevice { major: 1, minor: 1 }),
        entry("partition", EntryKind::BlockDevice { major: 8, minor: 1 }),
    ];
    for (name, mode, uid) in [("set-both", 0o6755, 0), ("set-group", 0o2755, 0), ("set-user", 0o4755, 0)] {
        let honest = forge.honest(name);
        rights.push(Entry { metadata: Metadata { mode, uid, gid: uid, ..honest.metadata.clone() }, ..honest });
    }
    let rights = forge.page(&rights);
    folder("rights", rights);

    root.push(forge.folder("planted-file", "file"));
    root.push(forge.honest("planted-folder"));
    root.push(forge.folder("planted-link", "secret"));
    root.push(forge.honest("planted-link-file"));
    root.push(forge.honest("honest"));
    root.sort_by(|a, b| a.name.cmp(&b.name));
    forge.page(&root)
}

/// What must be told of: each path below the target.
fn expected_problems() -> BTreeSet<String> {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for number in 0..8 {
        expected.extend(["file", "folder"].map(|kind| format!("name-{number}-{kind}")));
    }
    for number in 0..6 {
        expected.extend(["apart", "together"].map(|kind| format!("twice-{number}-{kind}")));
    }
    expected.insert("backwards".to_owned());
    let sizes = ["huge-1", "huge-2", "huge-list", "long", "long-list", "lying-list", "short", "short-list"];
    expected.extend(sizes.map(|name| format!("sizes/{name}")));
    let kinds = ["file-of-tree", "folder-of-chunk", "folder-of-list", "list-of-chunk", "list-of-tree"];
    expected.extend(kinds.map(|name| format!("kinds/{name}")));
    expected
}

/// What a command told problems of, below the target.
fn problems(output: &Output, event: &str, target: &Path) -> BTreeSet<String> {
    let told = output.all(event);
    let path = |problem: &Value| {
        let path = Path::new(problem["path"].as_str().unwrap()).to_owned();
        path.strip_prefix(target).unwrap_or(&path).to_str().unwrap().to_owned()
    };
    told.iter().map(path).collect()
}

/// What can be restored is, and nothing else.
#[track_caller]
fn check_restored(target: &Path) {
    let holds = |path: &str| fs::read(target.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    for path in ["honest", "planted-file/file", "planted-link/secret", "planted-link-file", "links/one", "links/two"] {
        assert_eq!(holds(path), HONEST, "{path}");
        assert!(!target.join(path).is_symlink(), "{path}");
    }
    assert_eq!(holds("sizes/honest"), b"01234567890123456789");
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(target.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("sizes"), ["honest"]);
    assert_eq!(names("kinds"), ["folder-of-chunk", "folder-of-list"]);
    assert_eq!(names("kinds/folder-of-chunk").len() + names("kinds/folder-of-list").len(), 0);
    for number in 0..8 {
        assert_eq!(names(&format!("name-{number}-file")).len() + names(&format!("name-{number}-folder")).len(), 0);
    }
    // Of a name that stands there twice, the first is what was meant, as far as anything was.
    for number in 0..6 {
        assert_eq!(names(&format!("twice-{number}-together")).len(), 0);
        let path = target.join(format!("twice-{number}-apart/x"));
        let found = fs::symlink_metadata(&path).unwrap().file_type();
        let expected =
            [found.is_symlink(), found.is_dir(), found.is_symlink(), found.is_file(), found.is_file(), found.is_dir()];
        assert!(expected[number], "{}: {found:?}", path.display());
    }
    assert_eq!(names("backwards"), ["b"]);
    let [one, two] = ["one", "two"].map(|name| fs::metadata(target.join("links").join(name)).unwrap());
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
}

/// Writes the forged snapshot straight into the store of a server that does not run.
fn forge_snapshot(pair: &Pair, around: &Path) {
    let (vault, key): (VaultId, _) = pair.server.vault_keys().pop().unwrap();
    let device = pair.server.device_id("laptop").parse().unwrap();
    let mut forge = Forge { keys: Keys::new(&key), objects: Vec::new() };
    let tree = forge_tree(&mut forge, around);
    let now = UnixMs(1_800_000_000_000);
    let snapshot = Snapshot {
        tree,
        started: Timestamp { secs: 1_800_000_000, nanos: 0 },
        finished: Timestamp { secs: 1_800_000_000, nanos: 0 },
        host: "elsewhere".to_owned(),
        user: "somebody".to_owned(),
        software: "a forger".to_owned(),
        roots: vec![b"/".to_vec()],
        excludes: Vec::new(),
        files: 0,
        directories: 0,
        others: 0,
        bytes: 0,
        problems: 0,
        parent: None,
        device: Vec::new(),
        chain: CHAIN.to_owned(),
        unknown: Vec::new(),
    };
    forge.objects.push(snapshot.encode(&forge.keys));
    let mut options = StoreOptions::default();
    (options.min_free_bytes, options.allow_any_file_system) = (1 << 20, true);
    let store = Store::open(pair.server.data_dir(), &options, now).unwrap();
    let purpose = Purpose::Backup { device, chain: CHAIN, parent_hint: None };
    let (mut session, _) = store.begin(vault, &purpose, now).unwrap();
    let mut sealer = Sealer::new(&forge.keys, [7; 16], CompressionLevel::DEFAULT);
    let id = forge.objects.last().unwrap().id;
    let mut seen = BTreeSet::new();
    for object in forge.objects {
        if seen.insert(object.id) {
            session.put(&sealer.seal(&[object]).unwrap(), now).unwrap();
        }
    }
    session.commit_snapshot(IdempotencyKey::from_bytes([9; 16]), id, now).unwrap();
    session.finish(now).unwrap();
}

#[test]
fn whoever_restores_a_forged_snapshot_changes_nothing_around_the_target() {
    let mut pair = Pair::with(&["--scrub-interval", "0s"], User::Same);
    let scene = Scene::new(&pair);
    let export = pair.home.path("rescue.keys");
    pair.server.admin(&["key", "export", export.to_str().unwrap()]).expect(0);
    pair.server.stop();
    forge_snapshot(&pair, &scene.around);

    // From the packs alone, before the server has looked at them.
    let mut occupied = expected_problems();
    occupied.insert("planted-folder".to_owned());
    let rescue = |arguments: &[&str]| {
        let packs = pair.server.data_dir().join("packs");
        let mut command = server::command();
        server::run(command.arg("rescue").arg(packs).arg("--key-file").arg(&export).args(arguments))
    };
    let listed = rescue(&["--list", "--json"]).expect(0).all("snapshot");
    let id = listed[0]["snapshot"].as_str().unwrap();
    let target = scene.plant("rescue");
    let output = rescue(&[id, target.to_str().unwrap(), "--json"]).expect(6);
    assert_eq!(problems(&output, "problem", &target), occupied);
    check_restored(&target);
    scene.check();

    pair.server.restart();
    pair.client.set_connection("port", &pair.server.port().to_string());
    let target = scene.plant("client");
    let output = pair.client.run(&["--json", "restore", "latest:/", target.to_str().unwrap()]).expect(6);
    assert_eq!(problems(&output, "problem", &target), occupied);
    check_restored(&target);
    scene.check();

    let verified = pair.client.run(&["--json", "verify"]).expect(6);
    // What is said of one chunk twice is looked at once.
    let mut expected = expected_problems();
    expected.remove("sizes/huge-2");
    assert_eq!(problems(&verified, "problem", Path::new("/")), expected);

    let target = scene.around.join("mirror");
    let output =
        pair.server.admin(&["mirror", target.to_str().unwrap(), "--json", "--chain", "laptop/forged"]).expect(6);
    assert_eq!(problems(&output, "mirror-problem", &target), expected_problems());
    check_restored(&target);
    scene.check();

    // Of somebody who may not make devices or files of root, nothing gets root's rights.
    if !is_root() {
        return;
    }
    let nobody = Client::new(&pair.home, "nobody", User::Unprivileged);
    // The same device, for snapshots of others nobody restores.
    fs::create_dir(nobody.config_dir()).unwrap();
    fs::copy(pair.client.connection_file(), nobody.connection_file()).unwrap();
    fs::set_permissions(nobody.config_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    for path in [nobody.config_dir(), nobody.connection_file()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let target = scene.around.join("nobody");
    chown(&target, Some(NOBODY), Some(NOBODY)).unwrap();
    let output = nobody.run(&["--json", "restore", "latest:/", target.to_str().unwrap()]).expect(6);
    assert_eq!(problems(&output, "problem", &target), expected_problems());
    check_restored(&target);
    for name in ["set-both", "set-group", "set-user"] {
        let found = fs::symlink_metadata(target.join("rights").join(name)).unwrap();
        assert_eq!((found.mode() & 0o6000, found.uid()), (0, NOBODY), "{name}");
    }
    assert_eq!(fs::read_dir(target.join("rights")).unwrap().count(), 3, "no devices");
    scene.check();
}
