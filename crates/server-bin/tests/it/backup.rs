//! Props: files as objects, objects as records, and back.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use object::{Kind, ObjectId, SealedRecord};
use vault::{
    CompressionLevel, Content, Entry, EntryKind, Keys, ListBuilder, Metadata, ObjectSource, Piece, PieceCursor,
    PlainObject, Reader, Sealer, Snapshot, Timestamp, TreeBuilder, TreeCursor,
};

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A sealer for one session of a test.
pub(crate) fn sealer(keys: &Keys) -> Sealer {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).unwrap();
    Sealer::new(keys, salt, CompressionLevel::DEFAULT)
}

/// One backup of a flat directory, taken apart.
pub(crate) struct Backup {
    /// Chunks, in order.
    pub(crate) chunks: Vec<PlainObject>,
    /// Lists, trees and the snapshot.
    pub(crate) metadata: Vec<PlainObject>,
    /// The snapshot.
    pub(crate) snapshot: ObjectId,
}

impl Backup {
    /// Takes files apart; names ascend.
    pub(crate) fn new(keys: &Keys, files: &[(&str, &[u8])]) -> Self {
        let mut chunks = Vec::new();
        let mut metadata = Vec::new();
        let mut tree = TreeBuilder::new();
        for (name, bytes) in files {
            let (content, size) = take_apart(keys, bytes, &mut chunks, &mut metadata);
            let kind = EntryKind::File { size, content };
            let entry = Entry { name: name.as_bytes().to_vec(), kind, metadata: Metadata::default() };
            tree.push(keys, entry, &mut |page| metadata.push(page));
        }
        let tree = tree.finish(keys, &mut |page| metadata.push(page));
        let bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let snapshot = Snapshot { files: files.len() as u64, bytes, ..snapshot(tree) }.encode(keys);
        let id = snapshot.id;
        metadata.push(snapshot);
        Self { chunks, metadata, snapshot: id }
    }

    /// All of it as records, each chunk in one of its own.
    pub(crate) fn records(&self, sealer: &mut Sealer) -> Vec<SealedRecord> {
        let mut records: Vec<SealedRecord> =
            self.chunks.iter().map(|chunk| sealer.seal(std::slice::from_ref(chunk)).unwrap()).collect();
        records.push(sealer.seal(&self.metadata).unwrap());
        records
    }
}

/// A file's content, its objects added to the others.
pub(crate) fn take_apart(
    keys: &Keys,
    bytes: &[u8],
    chunks: &mut Vec<PlainObject>,
    metadata: &mut Vec<PlainObject>,
) -> (Content, u64) {
    let mut list = ListBuilder::new();
    for chunk in keys.cutter().chunks(bytes) {
        let object = PlainObject::new(keys, Kind::Data, Vec::new(), Bytes::copy_from_slice(chunk));
        let piece = Piece::Chunk { len: chunk.len() as u64, id: object.id };
        list.push(keys, piece, &mut |page| metadata.push(page));
        chunks.push(object);
    }
    let size = list.file_len();
    (list.finish(keys, &mut |page| metadata.push(page)), size)
}

fn snapshot(tree: ObjectId) -> Snapshot {
    Snapshot {
        tree,
        started: Timestamp { secs: 1, nanos: 0 },
        finished: Timestamp { secs: 2, nanos: 0 },
        host: "host".into(),
        user: "user".into(),
        software: "test".into(),
        roots: vec![b"/".to_vec()],
        excludes: Vec::new(),
        files: 0,
        directories: 1,
        others: 0,
        bytes: 0,
        problems: 0,
        parent: None,
        device: Vec::new(),
        chain: String::new(),
        unknown: Vec::new(),
    }
}

/// Records that were fetched, to be read like a store.
#[derive(Default)]
pub(crate) struct Fetched {
    by_id: HashMap<ObjectId, SealedRecord>,
}

impl Fetched {
    pub(crate) fn new(records: Vec<SealedRecord>) -> Self {
        let mut by_id = HashMap::new();
        for record in records {
            let ids: Vec<ObjectId> = record.view().head().members().map(|member| member.id).collect();
            by_id.extend(ids.into_iter().map(|id| (id, record.clone())));
        }
        Self { by_id }
    }
}

impl ObjectSource for Fetched {
    type Error = std::convert::Infallible;

    fn fetch(&mut self, ids: &[ObjectId]) -> Result<Vec<SealedRecord>, Self::Error> {
        Ok(ids.iter().filter_map(|id| self.by_id.get(id).cloned()).collect())
    }
}

/// Everything that a snapshot reaches, asked of the server level by level; the files in it, put together.
pub(crate) async fn restore(
    client: &mut crate::client::Client,
    keys: &Arc<Keys>,
    snapshot: ObjectId,
) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<SealedRecord> = Vec::new();
    let mut known: std::collections::HashSet<ObjectId> = std::collections::HashSet::new();
    let mut wanted = vec![snapshot];
    while !wanted.is_empty() {
        known.extend(wanted.iter().copied());
        let (records, missing) = client.fetch(&wanted, true).await.unwrap();
        assert_eq!(missing, []);
        wanted.clear();
        for record in &records {
            for member in record.view().head().members() {
                known.insert(member.id);
                wanted.extend(member.edges.iter());
            }
        }
        all.extend(records);
        wanted.retain(|id| !known.contains(id));
        wanted.sort_unstable();
        wanted.dedup();
    }
    let mut reader = Reader::new(Fetched::new(all), Arc::clone(keys), 64 << 20);
    let snapshot = Snapshot::decode(&reader.object(snapshot).unwrap()).unwrap();
    let mut files = Vec::new();
    let mut entries = TreeCursor::new(snapshot.tree);
    while let Some(entry) = entries.next(&mut reader).unwrap() {
        let EntryKind::File { size, content } = entry.kind else { continue };
        let mut bytes = Vec::new();
        let mut pieces = PieceCursor::new(content, size);
        while let Some(piece) = pieces.next(&mut reader).unwrap() {
            match piece {
                Piece::Chunk { id, .. } => bytes.extend_from_slice(&reader.object(id).unwrap().body),
                Piece::Hole { len } => bytes.resize(bytes.len() + usize::try_from(len).unwrap(), 0),
            }
        }
        files.push((String::from_utf8(entry.name).unwrap(), bytes));
    }
    files
}
