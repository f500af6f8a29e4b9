//! Finding snapshots and what is in them: [`snapshots`], [`SnapshotName`], [`find`], [`list`].

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object::ObjectId;
use proto::{ChainName, SnapshotItem};
use vault::{Entry, EntryKind, Reader, Snapshot, TreeCursor};

use crate::error::ClientError;
use crate::line::Line;

/// Snapshots asked for at once.
const PAGE_LEN: u32 = 500;
/// Fewer digits of an id would too often fit several.
const PREFIX_LEN_MIN: usize = 4;
const RECENT_BYTES: usize = 16 << 20;

/// A snapshot as the server and its maker describe it.
#[derive(Clone, Debug)]
pub struct SnapshotSummary {
    /// Its id.
    pub id: ObjectId,
    /// The chain it belongs to.
    pub chain: String,
    /// The device that made it.
    pub device: String,
    /// Its number: ascending in the order in which the server received them.
    pub seq: u64,
    /// When the server received it, in milliseconds since 1970 by its clock.
    pub received_ms: u64,
    /// Bytes the store grew by.
    pub bytes_stored: u64,
    /// Whether nothing takes it away.
    pub is_held: bool,
    /// Since when it is in the trash, in milliseconds since 1970.
    pub trashed_ms: Option<u64>,
    /// From when on it may be gone for good.
    pub purge_ms: Option<u64>,
    /// Since when, at least, everything it needs is known to be as it was written; none while some of it was never read.
    pub verified_ms: Option<u64>,
    /// When a drill last found a sample of it sound.
    pub drilled_ms: Option<u64>,
    /// Whether some of what it needs cannot be read.
    pub is_damaged: bool,
    /// What its maker wrote into it; the error when it cannot be read.
    pub details: Result<Snapshot, String>,
}

/// How a person names a snapshot: `latest`, or the beginning of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotName {
    /// The one received last.
    Latest,
    /// The only one whose id begins like this: hex digits.
    Prefix(String),
}

/// A snapshot, and a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPath {
    /// Which snapshot.
    pub snapshot: SnapshotName,
    /// Which file or directory in it; `None` for all of it.
    pub path: Option<PathBuf>,
}

impl FromStr for SnapshotPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None => (text, None),
        };
        Ok(Self { snapshot: name.parse()?, path })
    }
}

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "latest" => Ok(Self::Latest),
            prefix if prefix.len() < PREFIX_LEN_MIN || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Err(format!("{name:?} is no snapshot: give `latest` or at least 4 hex digits of an id"))
            }
            prefix => Ok(Self::Prefix(prefix.to_ascii_lowercase())),
        }
    }
}

/// Something in a snapshot.
#[derive(Clone, Debug)]
pub struct Found {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// What it is.
    pub node: Node,
}

/// A directory or a file in a snapshot.
#[derive(Clone, Debug)]
pub enum Node {
    /// The snapshot's `/`, by its tree.
    Root(ObjectId),
    /// Anything below.
    Entry(Entry),
}

/// This device's snapshots, or those in the trash, newest first; of one chain when it is named.
///
/// # Errors
/// [`ClientError`].
pub fn snapshots(line: &Line, chain: Option<&str>, in_trash: bool) -> Result<Vec<SnapshotSummary>, ClientError> {
    let items = items(line, chain, in_trash)?;
    let mut reader = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
    let ids: Vec<ObjectId> = items.iter().map(|item| item.snapshot).collect();
    // Fetched together; one that is damaged must not hide the others.
    let together = reader.objects(&ids).ok();
    let mut summaries = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let object = match &together {
            Some(objects) => Ok(objects[index].clone()),
            None => reader.object(item.snapshot),
        };
        let details = object
            .map_err(|error| error.to_string())
            .and_then(|object| Snapshot::decode(&object).map_err(|error| error.to_string()));
        summaries.push(SnapshotSummary {
            id: item.snapshot,
            chain: item.chain.to_string(),
            device: item.device_name.to_string(),
            seq: item.seq,
            received_ms: item.received_ms,
            bytes_stored: item.bytes_stored,
            is_held: item.is_held,
            trashed_ms: item.trashed_ms,
            purge_ms: item.purge_ms,
            verified_ms: item.verified_ms,
            drilled_ms: item.drilled_ms,
            is_damaged: item.is_damaged,
            details,
        });
    }
    Ok(summaries)
}

fn items(line: &Line, chain: Option<&str>, in_trash: bool) -> Result<Vec<SnapshotItem>, ClientError> {
    let chain = chain.map(ChainName::new).transpose();
    let chain = chain.map_err(|error| ClientError::Usage(format!("chain name: {error}")))?;
    let mut items = Vec::new();
    let mut before = None;
    loop {
        let request = proto::Snapshots { chain: chain.clone(), before, limit: PAGE_LEN, in_trash };
        let answer = line.ask(|session| session.snapshots(request.clone()))?;
        items.extend(answer.items);
        before = answer.next;
        if before.is_none() {
            return Ok(items);
        }
    }
}

/// The id of the snapshot that a person named.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Usage`] when several fit.
pub fn resolve(line: &Line, name: &SnapshotName, chain: Option<&str>) -> Result<ObjectId, ClientError> {
    choose(&items(line, chain, false)?, name)
}

/// The ids of the snapshots that a person named, each once: those in the trash, those that are not, or either.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn resolve_all(
    line: &Line,
    names: &[SnapshotName],
    chain: Option<&str>,
    in_trash: &[bool],
) -> Result<Vec<ObjectId>, ClientError> {
    let mut all = Vec::new();
    for in_trash in in_trash {
        all.extend(items(line, chain, *in_trash)?);
    }
    let mut ids = Vec::new();
    for name in names {
        let id = choose(&all, name)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn choose(items: &[SnapshotItem], name: &SnapshotName) -> Result<ObjectId, ClientError> {
    match name {
        SnapshotName::Latest => {
            let latest = items.first().map(|item| item.snapshot);
            latest.ok_or_else(|| ClientError::NotFound { what: "snapshot of this device".to_owned() })
        }
        SnapshotName::Prefix(prefix) => {
            let mut fitting = items.iter().filter(|item| item.snapshot.to_string().starts_with(prefix.as_str()));
            match (fitting.next(), fitting.next()) {
                (Some(item), None) => Ok(item.snapshot),
                (None, _) => Err(ClientError::NotFound { what: format!("snapshot {prefix} of this device") }),
                (Some(_), Some(_)) => {
                    Err(ClientError::Usage(format!("several snapshots begin with {prefix}: give more digits")))
                }
            }
        }
    }
}

/// Looks up what a person named.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Damaged`] when the way there cannot be read.
pub fn find(line: &Line, at: &SnapshotPath, chain: Option<&str>) -> Result<Found, ClientError> {
    let snapshot = resolve(line, &at.snapshot, chain)?;
    let mut reader = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
    let object = reader.object(snapshot)?;
    let details = Snapshot::decode(&object).map_err(|error| ClientError::Damaged {
        what: format!("snapshot {}", snapshot.short()),
        source: Box::new(error),
    })?;
    let mut node = Node::Root(details.tree);
    for name in at.path.iter().flat_map(|path| names(path)) {
        let not_found = || ClientError::NotFound {
            what: format!(
                "{} in snapshot {}",
                at.path.as_deref().unwrap_or(Path::new("/")).display(),
                snapshot.short()
            ),
        };
        let tree = tree_of(&node).ok_or_else(not_found)?;
        node = Node::Entry(reader.lookup(tree, &name)?.ok_or_else(not_found)?);
    }
    Ok(Found { snapshot, node })
}

/// Calls `entry` with the path and entry of everything below `found`, or of what is directly in it; of a file, with
/// itself.
///
/// # Errors
/// [`ClientError`], also of `entry`.
pub fn list(
    line: &Line,
    found: &Found,
    is_recursive: bool,
    entry: &mut dyn FnMut(&Path, &Entry) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    use std::os::unix::ffi::OsStrExt;
    let Some(tree) = tree_of(&found.node) else {
        return match &found.node {
            Node::Entry(only) => entry(Path::new(std::ffi::OsStr::from_bytes(&only.name)), only),
            Node::Root(_) => unreachable!("a root has a tree"),
        };
    };
    let mut reader = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
    let mut levels = vec![(PathBuf::new(), TreeCursor::new(tree))];
    while let Some((path, cursor)) = levels.last_mut() {
        match cursor.next(&mut reader)? {
            None => drop(levels.pop()),
            Some(found) => {
                let path = path.join(std::ffi::OsStr::from_bytes(&found.name));
                entry(&path, &found)?;
                if let (true, EntryKind::Directory { tree }) = (is_recursive, &found.kind) {
                    levels.push((path, TreeCursor::new(*tree)));
                }
            }
        }
    }
    Ok(())
}

/// The tree of a node that is a directory.
#[must_use]
pub fn tree_of(node: &Node) -> Option<ObjectId> {
    match node {
        Node::Root(tree) | Node::Entry(Entry { kind: EntryKind::Directory { tree }, .. }) => Some(*tree),
        Node::Entry(_) => None,
    }
}

fn names(path: &Path) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_named_by_word_or_prefix() {
        let parse = |text: &str| text.parse::<SnapshotPath>();
        let latest = SnapshotPath { snapshot: SnapshotName::Latest, path: None };
        assert_eq!(parse("latest"), Ok(latest.clone()));
        assert_eq!(parse("latest:/a:b"), Ok(SnapshotPath { path: Some("/a:b".into()), ..latest }));
        let prefix = SnapshotName::Prefix("abcd12".into());
        assert_eq!(parse("ABcd12:"), Ok(SnapshotPath { snapshot: prefix, path: Some(PathBuf::new()) }));
        assert!(parse("abc").is_err());
        assert!(parse("/etc").is_err());
    }
}
