//! [`mutate`]: changes a tree the way people and programs do.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::random::Random;

/// One change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// What was done.
    pub what: &'static str,
    /// To what, as it was called before.
    pub path: PathBuf,
}

const CHANGES: [Change; 14] = [
    ("bytes edited in place", edit),
    ("bytes inserted", insert),
    ("bytes appended", append),
    ("file cut short", truncate),
    ("file replaced by a new one", replace),
    ("two regions swapped", swap),
    ("file renamed", rename),
    ("directory renamed", rename_dir),
    ("file deleted", delete),
    ("mode changed", chmod),
    ("touched", touch),
    ("file added", add),
    ("directory added", add_dir),
    ("second name added", link),
];

type Change = (&'static str, fn(&mut Random, &Tree) -> io::Result<Option<PathBuf>>);

/// Makes `count` changes to the tree at `root`, in place: what is not changed keeps its inode and its times.
///
/// Only ordinary files that the process may write are changed; a kind of change that finds nothing to change is not
/// made, so fewer may come back.
///
/// # Errors
/// Of the file system.
pub fn mutate(root: &Path, seed: u64, count: usize) -> io::Result<Vec<Mutation>> {
    let mut random = Random::new(seed);
    let mut mutations = Vec::new();
    let mut once = CHANGES.iter();
    for _ in 0..count {
        let tree = Tree::read(root)?;
        // Each kind once before any comes twice.
        let (what, change) = *once.next().unwrap_or_else(|| random.pick(&CHANGES));
        if let Some(path) = change(&mut random, &tree)? {
            mutations.push(Mutation { what, path });
        }
    }
    Ok(mutations)
}

/// What can be changed.
struct Tree {
    root: PathBuf,
    /// Not empty, below 64 MiB, and writable.
    files: Vec<PathBuf>,
    /// The root left out.
    dirs: Vec<PathBuf>,
}

impl Tree {
    fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self { root: root.to_path_buf(), files: Vec::new(), dirs: Vec::new() };
        let mut pending = vec![root.to_path_buf()];
        while let Some(dir) = pending.pop() {
            // Paths get too long in very deep trees; there is enough to change above.
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries {
                let entry = entry?;
                let Ok(metadata) = entry.metadata() else { continue };
                let is_mine = metadata.permissions().mode() & 0o600 == 0o600;
                if metadata.is_dir() && is_mine && entry.path().as_os_str().len() < 2000 {
                    pending.push(entry.path());
                    tree.dirs.push(entry.path());
                } else if metadata.is_file() && is_mine && (1..64 << 20).contains(&metadata.len()) {
                    tree.files.push(entry.path());
                }
            }
        }
        tree.files.sort();
        tree.dirs.sort();
        Ok(tree)
    }

    fn file(&self, random: &mut Random) -> Option<PathBuf> {
        (!self.files.is_empty()).then(|| random.pick(&self.files).clone())
    }

    fn dir(&self, random: &mut Random) -> PathBuf {
        if self.dirs.is_empty() { self.root.clone() } else { random.pick(&self.dirs).clone() }
    }

    fn free_path(&self, random: &mut Random) -> PathBuf {
        self.dir(random).join(format!("new-{:016x}", random.next_u64()))
    }
}

fn edit(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let file = File::options().write(true).open(&path)?;
    let len = file.metadata()?.len();
    for _ in 0..=random.below(5) {
        let offset = random.below(len);
        let edit_len = 1 + random.index(100);
        let bytes = random.bytes(edit_len.min(usize::try_from(len - offset).unwrap_or(usize::MAX)));
        file.write_all_at(&bytes, offset)?;
    }
    Ok(Some(path))
}

fn insert(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let mut content = fs::read(&path)?;
    let at = random.index(content.len());
    let len = 1 + random.index(1000);
    content.splice(at..at, random.bytes(len));
    fs::write(&path, content)?;
    Ok(Some(path))
}

fn append(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let file = File::options().write(true).open(&path)?;
    let len = 1 + random.index(10_000);
    file.write_all_at(&random.text(len), file.metadata()?.len())?;
    Ok(Some(path))
}

fn truncate(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let file = File::options().write(true).open(&path)?;
    file.set_len(random.below(file.metadata()?.len()))?;
    Ok(Some(path))
}

/// As editors save: a new file under another name, renamed over the old one. Same length, other content.
fn replace(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let len = usize::try_from(fs::metadata(&path)?.len()).expect("it is below 64 MiB");
    let new = tree.free_path(random);
    fs::write(&new, random.bytes(len))?;
    fs::rename(&new, &path)?;
    Ok(Some(path))
}

fn swap(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let mut content = fs::read(&path)?;
    let middle = content.len() / 2;
    content.rotate_left(middle);
    fs::write(&path, content)?;
    Ok(Some(path))
}

fn rename(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    fs::rename(&path, tree.free_path(random))?;
    Ok(Some(path))
}

fn rename_dir(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let path = tree.dir(random);
    let new = tree.free_path(random);
    // Nothing goes into itself.
    let is_below = new.as_os_str().as_bytes().starts_with(path.as_os_str().as_bytes());
    if path == tree.root || is_below {
        return Ok(None);
    }
    fs::rename(&path, new)?;
    Ok(Some(path))
}

fn delete(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    fs::remove_file(&path)?;
    Ok(Some(path))
}

fn chmod(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let mode = fs::metadata(&path)?.mode() ^ 0o011;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
    Ok(Some(path))
}

fn touch(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1 + random.below(2_000_000_000_000_000_000));
    File::options().write(true).open(&path)?.set_modified(time)?;
    Ok(Some(path))
}

fn add(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let path = tree.free_path(random);
    let len = random.index(300_000);
    fs::write(&path, random.text(len))?;
    Ok(Some(path))
}

fn add_dir(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let path = tree.free_path(random);
    fs::create_dir(&path)?;
    fs::write(path.join("inside"), random.bytes(100))?;
    Ok(Some(path))
}

fn link(random: &mut Random, tree: &Tree) -> io::Result<Option<PathBuf>> {
    let Some(path) = tree.file(random) else { return Ok(None) };
    fs::hard_link(&path, tree.free_path(random))?;
    Ok(Some(path))
}
