//! [`Files`]: a small tree in memory, changed at random, and turned into objects and back by the real `vault`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use object::{Kind, ObjectId};
use testkit::tree::Random;
use vault::{
    Basis, DeltaEncoder, Entry, EntryKind, ExactDelta, Keys, ListBuilder, Metadata, ObjectSource, Piece, PieceCursor,
    PlainObject, ReadError, Reader, Snapshot, Timestamp, TreeBuilder, TreeCursor,
};

/// Every tree has this file, and nobody changes it: what one client stored of it no other sends again.
pub(super) const COMMON: &str = "0/common";
const COMMON_LEN: usize = 1500;
/// Directories of a tree.
const DIRECTORIES: usize = 3;
/// Longer files are several chunks of this length, and so have a list. Small beside real ones, like everything here.
const PIECE_LEN: usize = 2048;
/// Contents that any client may come to have: some of them do at the same time.
const SHARED_CONTENTS: u64 = 6;

/// Bytes of files by path: directory, slash, name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

/// An object to be put, and how it may be put instead.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) object: PlainObject,
    pub(super) delta: Option<ExactDelta>,
}

impl Files {
    /// A first tree.
    pub(super) fn new(random: &mut Random) -> Self {
        let mut files = Self::default();
        files.0.insert(COMMON.to_owned(), common());
        for _ in 0..2 + random.index(4) {
            files.add(random);
        }
        files
    }

    /// Changes a few files; at least something is different afterwards.
    pub(super) fn edit(&mut self, random: &mut Random) {
        let before = self.clone();
        while *self == before {
            for _ in 0..1 + random.index(3) {
                let own: Vec<String> = self.0.keys().filter(|path| *path != COMMON).cloned().collect();
                if own.is_empty() || random.chance(25) {
                    self.add(random);
                    continue;
                }
                let path = random.pick(&own).clone();
                if random.chance(15) && own.len() > 1 {
                    self.0.remove(&path);
                    continue;
                }
                let bytes = self.0.get_mut(&path).expect("it is one of the keys");
                let at = random.index(bytes.len() + 1);
                let removed = random.index((bytes.len() - at).min(40) + 1);
                let inserted = random.index(120);
                let inserted = random.text(inserted);
                bytes.splice(at..at + removed, inserted);
            }
        }
    }

    fn add(&mut self, random: &mut Random) {
        let path = format!("{}/file {}", random.index(DIRECTORIES), random.below(40));
        let bytes = if random.chance(40) {
            let number = random.below(SHARED_CONTENTS);
            Random::new(number).text(700 * (1 + usize::try_from(number).expect("a small number")))
        } else {
            let len = random.index(3 * PIECE_LEN);
            if random.chance(50) { random.text(len) } else { random.bytes(len) }
        };
        self.0.insert(path, bytes);
    }

    /// The objects of a snapshot of these files, each once, what others refer to first, the snapshot last. Where `before`
    /// had a file of the same name, pieces of it are the bases of deltas.
    pub(super) fn plan(&self, keys: &Keys, before: Option<&Self>, started: Timestamp, chain: &str) -> Vec<Planned> {
        let mut plan = Plan::default();
        let mut encoder = DeltaEncoder::new();
        let mut root = TreeBuilder::new();
        for directory in 0..DIRECTORIES {
            let prefix = format!("{directory}/");
            let mut tree = TreeBuilder::new();
            for (path, bytes) in self.0.iter().filter(|(path, _)| path.starts_with(&prefix)) {
                let old = before.and_then(|before| before.0.get(path));
                let mut list = ListBuilder::new();
                for (index, chunk) in pieces(bytes).enumerate() {
                    let old = old.and_then(|old| pieces(old).nth(index)).filter(|old| *old != chunk);
                    let delta = old.and_then(|old| {
                        let basis = Basis { id: keys.chunk_id(old), bytes: old };
                        encoder.encode_exact(keys, &[basis], chunk)
                    });
                    let object = PlainObject::new(keys, Kind::Data, Vec::new(), Bytes::copy_from_slice(chunk));
                    let piece = Piece::Chunk { len: chunk.len() as u64, id: object.id };
                    plan.add(Planned { object, delta });
                    list.push(keys, piece, &mut |page| plan.add_whole(page));
                }
                let size = list.file_len();
                let content = list.finish(keys, &mut |page| plan.add_whole(page));
                let name = path.as_bytes()[prefix.len()..].to_vec();
                let entry = Entry { name, kind: EntryKind::File { size, content }, metadata: metadata() };
                tree.push(keys, entry, &mut |page| plan.add_whole(page));
            }
            let tree = tree.finish(keys, &mut |page| plan.add_whole(page));
            let name = directory.to_string().into_bytes();
            let entry = Entry { name, kind: EntryKind::Directory { tree }, metadata: metadata() };
            root.push(keys, entry, &mut |page| plan.add_whole(page));
        }
        let tree = root.finish(keys, &mut |page| plan.add_whole(page));
        let snapshot = Snapshot {
            tree,
            started,
            finished: started,
            host: "simulated".to_owned(),
            user: String::new(),
            software: String::new(),
            roots: vec![b"/".to_vec()],
            excludes: Vec::new(),
            files: self.0.len() as u64,
            directories: DIRECTORIES as u64,
            others: 0,
            bytes: self.0.values().map(|bytes| bytes.len() as u64).sum(),
            problems: 0,
            parent: None,
            device: Vec::new(),
            chain: chain.to_owned(),
            unknown: Vec::new(),
        };
        plan.add_whole(snapshot.encode(keys));
        plan.planned
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    /// [`ReadError`] when anything of it cannot be had.
    pub(super) fn read<S: ObjectSource>(
        reader: &mut Reader<S>,
        snapshot: ObjectId,
    ) -> Result<Self, ReadError<S::Error>> {
        let malformed = |source| ReadError::Page { id: snapshot, source };
        let snapshot = Snapshot::decode(&reader.object(snapshot)?).map_err(malformed)?;
        let mut files = Self::default();
        let mut root = TreeCursor::new(snapshot.tree);
        while let Some(directory) = root.next(reader)? {
            let EntryKind::Directory { tree } = directory.kind else { panic!("{directory:?} is no directory") };
            let mut entries = TreeCursor::new(tree);
            while let Some(entry) = entries.next(reader)? {
                let EntryKind::File { size, content } = entry.kind else { panic!("{entry:?} is no file") };
                let mut bytes = Vec::new();
                let mut cursor = PieceCursor::new(content, size);
                while let Some(piece) = cursor.next(reader)? {
                    let Piece::Chunk { id, .. } = piece else { panic!("there are no holes") };
                    bytes.extend_from_slice(&reader.object(id)?.body);
                }
                let path = [&directory.name[..], b"/", &entry.name[..]].concat();
                files.0.insert(String::from_utf8(path).expect("names are text"), bytes);
            }
        }
        Ok(files)
    }
}

/// The chunk that is all of [`COMMON`].
pub(super) fn common_chunk(keys: &Keys) -> ObjectId {
    keys.chunk_id(&common())
}

fn common() -> Vec<u8> {
    Random::new(0).text(COMMON_LEN)
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE_LEN)
}

fn metadata() -> Metadata {
    Metadata { mode: 0o644, ..Metadata::default() }
}

#[derive(Default)]
struct Plan {
    planned: Vec<Planned>,
    known: BTreeSet<ObjectId>,
}

impl Plan {
    fn add(&mut self, planned: Planned) {
        if self.known.insert(planned.object.id) {
            self.planned.push(planned);
        }
    }

    fn add_whole(&mut self, object: PlainObject) {
        self.add(Planned { object, delta: None });
    }
}
